"""Choices for the planner that take whatever fits, not the best: put in the place of its own."""

from litepress.host.tiling import candidates, geometry


def any_tiling(rng):
    """A ``choose`` that takes any tiling that fits."""
    def choose(layer, tensors, arch, clocks_per_word=1.0):
        geo = geometry(layer, tensors, arch)
        fitting = candidates(geo, arch, hopeless=1e9)
        return geo, fitting[rng.integers(len(fitting))], 1000
    return choose


def any_of_them(rng):
    """A ``choose_together`` that takes any that fits, and sometimes wants it and sometimes not."""
    def choose_together(layers, geos, together, tensors, arch, clocks_per_word=1.0):
        if not together:
            return None
        return together[rng.integers(len(together))].tiling, rng.integers(500, 1500) * len(layers)
    return choose_together
