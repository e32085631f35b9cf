"""The planner: what runs together, a tiling for every layer, a DRAM place for every tensor, and the
program.

Region of the model, from byte 0: header, weights, parameters, program, activations. A layer's
weights lie in the order in which its tiling loads them, so the tilings are chosen first; where a
tensor lies does not change what a tiling costs. Consecutive layers run as a chain (host/chain.py)
or as a channel pipeline (host/channels.py) where that takes fewer predicted clocks than one after
another.
"""

from dataclasses import dataclass, replace

from ..spec import isa
from ..spec.formats import WORD_BYTES
from ..spec.image import HEADER_BYTES
from . import chain, channels
from .emit import (
    PARAM_WORDS,
    Addresses,
    LayerEmitter,
    Memories,
    weight_format,
    weight_loads,
)
from .image import align, row_bytes
from .predict import CLOCKS_PER_WORD, predict
from .program import Program
from .tiling import Geometry, PlanError, candidates, geometry

TRIED = 6                   # Tilings of a layer that are emitted and timed.
WORD_COST = 8               # Clocks a program word must save: keeps programs small.
SLACK_BYTES = 1024          # Reserved behind the program: addresses change how many words it takes.
APART = 1 << 21             # DRAM words between tensors while only clocks are counted.


@dataclass(frozen=True)
class LayerPlan:
    """A layer with its tiling (of a chain's layer: chain.layer_tiling); weights and params: bytes
    in the region."""

    layer: object
    geo: Geometry
    tiling: object
    loads: list                # of emit.WeightLoad
    weights_at: int
    weight_bytes: int
    params_at: int

    @property
    def param_bytes(self):
        return self.geo.cout * PARAM_WORDS * WORD_BYTES


@dataclass(frozen=True)
class Group:
    """Layers first .. last-1 that run together, a profile slot; tiling: tiling.Tiling of a single
    layer, chain.ChainTiling or channels.ChannelTiling."""

    first: int
    last: int
    tiling: object


@dataclass(frozen=True)
class Plan:
    """layers: LayerPlan each; groups: Group each; places: tensor name -> byte offset, of those that
    are in DRAM; program: host.program.Program; weights_at..: byte offsets in the region;
    region_bytes: its size."""

    layers: list
    groups: list
    places: dict
    program: Program
    weights_at: int
    params_at: int
    program_at: int
    activations_at: int
    region_bytes: int
    predicted: list            # One dict a group: see host.predict.


# Choice -------------------------------------------------------------------------------------------

def _cost(program, arch, clocks_per_word):
    program.mark(0, everything=True)
    cycles = predict(program.gos, arch, clocks_per_word)[0]["cycles"]
    return cycles + len(program.words) * WORD_COST


def choose(layer, tensors, arch, clocks_per_word=CLOCKS_PER_WORD):
    """(Geometry, Tiling, cost) of a layer: the tiling that takes the fewest predicted clocks."""
    geo = geometry(layer, tensors, arch)
    best = None
    nowhere = Addresses(tuple(APART * (i + 1) for i in range(len(layer.inputs))), 3 * APART, 0, 0)
    for tiling in candidates(geo, arch)[:TRIED]:
        program = Program(arch)
        LayerEmitter(program, layer, tensors, geo, tiling, nowhere, arch).run()
        cost = _cost(program, arch, clocks_per_word)
        if best is None or cost < best[0]:
            best = cost, tiling
    return geo, best[1], best[0]


def choose_together(layers, geos, together, tensors, arch, clocks_per_word=CLOCKS_PER_WORD):
    """(tiling, cost) of the best of ``together`` (chain.Chain, channels.Pipeline) of these layers,
    or None."""
    best = None
    inside = {layer.output for layer in layers[:-1]}
    names = {n for layer in layers for n in (*layer.inputs, layer.output)} - inside
    addresses = {name: APART * (i + 1) for i, name in enumerate(sorted(names))}
    if APART * (len(names) + 1) > 1 << 24:
        return None
    constants = [(i, i) for i in range(len(layers))]
    for made in together:
        program = Program(arch)
        _emitter(program, made, tensors, addresses, constants).run()
        cost = _cost(program, arch, clocks_per_word)
        if best is None or cost < best[1]:
            best = made.tiling, cost
    return best


def _emitter(program, made, tensors, addresses, constants, memories=None):
    """The emitter of a chain.Chain or channels.Pipeline."""
    if isinstance(made, chain.Chain):
        formats = {name: t.fmt for name, t in tensors.items()}
        return chain.ChainEmitter(program, made, formats, addresses, constants, memories)
    return channels.PipelineEmitter(program, made, tensors, addresses, constants, memories)


def _tilings(group, geos):
    """A Tiling for each layer of a group: how its weights lie in DRAM."""
    if isinstance(group.tiling, chain.ChainTiling):
        return [chain.layer_tiling(geo) for geo in geos]
    if isinstance(group.tiling, channels.ChannelTiling):
        return channels.layer_tilings(geos, group.tiling)
    return [group.tiling]


def _key(layers, tensors):
    """Networks repeat their layers: what the choice depends on."""
    numbers = {}
    key = []
    for layer in layers:
        names = [numbers.setdefault(n, len(numbers)) for n in (*layer.inputs, layer.output)]
        key.append((layer.op, tuple(layer.weights.shape), layer.stride, layer.padding,
                    layer.weight_format, *names,
                    *((tensors[n].shape, tensors[n].fmt) for n in (*layer.inputs, layer.output))))
    return tuple(key)


def _together(layers, geos, arch):
    """All ways to run these layers, which keep to themselves, as one group."""
    found = []
    if chain.can_chain(layers, geos, arch):
        found += chain.candidates(layers, geos, arch)
    if channels.can_pipeline(layers, geos):
        found += channels.candidates(layers, geos, arch)
    return found


def choose_groups(network, arch, fuse=True, clocks_per_word=CLOCKS_PER_WORD):
    """The Groups that take the fewest predicted clocks together, as if one ran after another."""
    layers, known = network.layers, {}
    geos = [geometry(layer, network.tensors, arch) for layer in layers]
    best = {len(layers): (0, ())}
    for first in reversed(range(len(layers))):
        options = []
        for last in range(first + 1, min(first + chain.MOST_LAYERS, len(layers)) + 1):
            some = layers[first:last]
            if last > first + 1 and not fuse:
                break
            if not channels.keeps_to_itself(some, network):
                continue
            key = _key(some, network.tensors)
            if key not in known:
                if last == first + 1:
                    known[key] = choose(some[0], network.tensors, arch, clocks_per_word)[1:]
                else:
                    known[key] = choose_together(
                        some, geos[first:last], _together(some, geos[first:last], arch),
                        network.tensors, arch, clocks_per_word)
            if known[key]:
                tiling, cost = known[key]
                options.append((cost + best[last][0],
                                (Group(first, last, tiling), *best[last][1])))
        best[first] = min(options, key=lambda option: option[0])
    return list(best[0][1])


# Places in DRAM -----------------------------------------------------------------------------------

def lifetimes(network, groups):
    """Tensor name -> (first, last) group during which it must stay in DRAM; tensors inside a chain
    are not there. The input and the output stay for the whole run, so that an image can run again
    without a new input."""
    last = len(groups) - 1
    spans, made = {network.input: (0, last)}, {network.input}
    for i, group in enumerate(groups):
        layers = network.layers[group.first:group.last]
        inside = set()
        for layer in layers:
            for name in layer.inputs:
                if name not in made:
                    raise PlanError(f"layer {layer.name}: input {name} is no output of an earlier "
                                    "layer")
                if name not in inside:
                    spans[name] = (spans[name][0], max(spans[name][1], i))
            if layer.output in made:
                raise PlanError(f"layer {layer.name}: output {layer.output} is already written by "
                                "an earlier layer")
            made.add(layer.output)
            inside.add(layer.output)
        spans[layers[-1].output] = (i, i)
    if network.output not in spans:
        raise PlanError(f"network {network.name}: output {network.output} is written by no layer")
    spans[network.output] = (0, last)
    return spans


def allocate(sizes, spans, start, keep=False):
    """Places tensors above byte ``start``: name -> byte offset, and the end of the last.

    sizes: name -> bytes; spans: name -> (first, last) group. Tensors that live at the same time do
    not overlap; the largest are placed first, each as low as it fits. keep: none overlap.
    """
    places = {}
    for name in sorted(spans, key=lambda n: (-sizes[n], spans[n])):
        first, last = spans[name]
        taken = sorted((places[other], places[other] + sizes[other]) for other in places
                       if keep or (spans[other][0] <= last and first <= spans[other][1]))
        at = start
        for low, high in taken:
            if at + sizes[name] <= low:
                break
            at = max(at, align(high))
        places[name] = at
    return {n: places[n] for n in spans}, max([start, *(places[n] + sizes[n] for n in places)])


# Plan ---------------------------------------------------------------------------------------------

def _check(network):
    """Every input is made by an earlier layer, every output once."""
    lifetimes(network, [Group(i, i + 1, None) for i in range(len(network.layers))])


def plan(network, arch, keep=False, region_bytes=32 << 20, clocks_per_word=CLOCKS_PER_WORD,
         fuse=True):
    """Plan a graph.Network for an Arch: a Plan.

    keep: a place of its own in DRAM for every tensor, so no chains. fuse: chains are allowed.
    PlanError: a layer that no tiling can run, tensors that do not fit ``region_bytes``, more layers
    than profile slots.
    """
    if not 0 < len(network.layers) <= isa.PROFILE_SLOTS:
        raise PlanError(f"network {network.name}: {len(network.layers)} layers: allowed are 1 to "
                        f"{isa.PROFILE_SLOTS}, one a profile slot")
    _check(network)
    groups = choose_groups(network, arch, fuse and not keep, clocks_per_word)
    layers, weights, params = [], 0, 0
    for group in groups:
        some = network.layers[group.first:group.last]
        geos = [geometry(layer, network.tensors, arch) for layer in some]
        for layer, geo, tiling in zip(some, geos, _tilings(group, geos), strict=True):
            loads, words = weight_loads(geo, tiling, arch, weight_format(geo, layer))
            layers.append(LayerPlan(layer, geo, tiling, loads, weights, words * WORD_BYTES,
                                    params))
            weights += words * WORD_BYTES
            params += layers[-1].param_bytes

    weights_at = HEADER_BYTES
    params_at = align(weights_at + weights)
    program_at = align(params_at + params)
    spans = lifetimes(network, groups)
    sizes = {n: network.tensors[n].shape[1] * row_bytes(network.tensors[n].shape,
                                                        network.tensors[n].fmt) for n in spans}
    layers = [replace(p, weights_at=weights_at + p.weights_at, params_at=params_at + p.params_at)
              for p in layers]
    reserved = SLACK_BYTES
    while True:
        activations_at = align(program_at + reserved)
        places, end = allocate(sizes, spans, activations_at, keep)
        program = _emit(network, groups, layers, places, arch)
        size = len(program.words) * WORD_BYTES
        if size <= reserved:
            break
        reserved = size + SLACK_BYTES
    if end > region_bytes:
        raise PlanError(f"network {network.name}: weights, program and activations take {end} "
                        f"bytes: the region has {region_bytes}")
    predicted = predict(program.gos, arch, clocks_per_word)
    return Plan(layers, groups, places, program, weights_at, params_at, program_at, activations_at,
                align(end), predicted)


def _emit(network, groups, layers, places, arch):
    program, memories = Program(arch), Memories(arch)
    words = {name: at // WORD_BYTES for name, at in places.items()}
    for slot, group in enumerate(groups):
        some = layers[group.first:group.last]
        constants = [(p.weights_at // WORD_BYTES, p.params_at // WORD_BYTES) for p in some]
        try:
            if len(some) == 1:
                p = some[0]
                addresses = Addresses(tuple(words[n] for n in p.layer.inputs),
                                      words[p.layer.output], *constants[0])
                LayerEmitter(program, p.layer, network.tensors, p.geo, p.tiling, addresses, arch,
                             memories).run()
            else:
                kind = chain.Chain if isinstance(group.tiling, chain.ChainTiling) \
                    else channels.Pipeline
                made = kind([p.layer for p in some], [p.geo for p in some], group.tiling, arch)
                assert made.fits
                _emitter(program, made, network.tensors, words, constants, memories).run()
        except PlanError:
            raise
        except ValueError as error:
            raise PlanError(f"{some[0].geo.title}: {error}") from None
        program.mark(slot, everything=group is groups[-1])
    program.end()
    return program
