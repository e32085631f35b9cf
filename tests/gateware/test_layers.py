"""Random layers, formats, tilings and chains: the accelerator against the golden model.

Networks of random shapes, strides, paddings and storage formats, planned for arrays of 16, 64 and
128 multipliers, with VECTOR and without, and for arrays of deltas and of codes, by a planner that
takes any tiling, chain or pipeline that fits; then executed under Verilator on a DRAM with random
stalls. The output must be the golden model's, byte by byte, and where all tensors have places of
their own, so must they.
"""

from functools import lru_cache

import numpy as np
import pytest
from any_plan import any_of_them, any_tiling
from networks import random_network

from bench import Bench, Run
from litepress.host import plan as planner
from litepress.host.golden import Golden
from litepress.host.graph import CONV
from litepress.host.hazards import walk
from litepress.host.pack import pack
from litepress.soc.alone import region
from litepress.spec import isa
from litepress.spec.arch import MAC, Arch
from litepress.spec.image import PROGRAM

ARCHS = {16: Arch(4, 2048, 2048, 128, 256), 64: Arch(16, 4096, 2048, 256, 512),
         128: Arch(32, 4096, 2048, 256, 512),
         "16 alone": Arch(4, 2048, 2048, 128, 64, vector=False),
         "32 alone": Arch(8, 4096, 2048, 256, 64, vector=False),
         "32 by 4 bits": Arch(8, 2048, 2048, 128, 256, "delta4"),
         "128 by 3 bits": Arch(32, 4096, 2048, 256, 512, "delta3"),
         "32 by pot4": Arch(8, 2048, 2048, 128, 256, "pot4"),
         "96 by apot4": Arch(24, 4096, 2048, 256, 512, "apot4")}
ACTIVATIONS = ["zfpi8", "raw8", "raw16", "zfpe12", "zfpi6u", "zfpe5", "raw8u", "zfpi11nu", "ebpc8",
               "ebpc8u", "zfpi9n"]
WEIGHTS = ["raw16", "raw8", "zfpe8", "zfpi8", "zfpi6n", "zfpe13", "delta2", "delta4", "delta5",
           "pot3", "pot4", "apot4"]


@lru_cache
def bench(arch):
    return Bench(ARCHS[arch], 2**20, 2**27)


def network(rng, seed, stored):
    """stored: the format the array takes, or None."""
    activations = ACTIVATIONS if seed % 3 else ACTIVATIONS[seed // 3 % len(ACTIVATIONS)]
    net = random_network(seed, activations, str(stored or WEIGHTS[seed % len(WEIGHTS)]),
                         layers=int(rng.integers(2, 6)), most=26, channels=44,
                         depthwise=(3,) if stored else (3, 5))
    for layer in net.layers:
        if stored and stored.codebook and layer.op == CONV:
            # Every code as often, instead of the highest levels.
            levels = np.array(stored.codebook) * rng.choice([-1, 1], (*layer.weights.shape, 1))
            layer.weights = rng.permuted(levels, axis=-1)[..., 0].astype(np.int16)
    return net


def run_case(arch, seed, patch):
    stored = ARCHS[arch].weight_format
    rng = np.random.default_rng([seed, ARCHS[arch].multipliers])
    patch.setattr(planner, "choose", any_tiling(rng))
    patch.setattr(planner, "choose_together", any_of_them(rng))
    net, image = network(rng, seed, stored), None
    while image is None:
        try:
            keep = bool(rng.integers(2))
            image = pack(net, ARCHS[arch], keep=keep)
        except planner.PlanError:       # Planes too large for this ABUF: a smaller network.
            seed += 1000
            net = network(rng, seed, stored)
    header = image.header
    x = rng.integers(0, 256, header["input_bytes"], np.uint8)
    if "ebpc" in str(image.input.fmt):
        values = rng.integers(0, 100, image.input.shape).astype(np.int16)
        x = np.frombuffer(image.encode_tensor(image.input.name, values), np.uint8)
    dram = region(image, x.tobytes())
    golden = Golden(image, exact_bytes=True)
    expected, = golden.run([x.tobytes()])
    seeds = (0, int(rng.integers(1, 1 << 30)))      # Without stalls, with stalls.
    for stalls in seeds:
        out, (status,), _ = bench(arch).run(dram, [
            Run(image.section(PROGRAM).dram, header["program_words"], seed=stalls)])
        assert status.done and status.error is None, (seed, stalls, status)
        at = header["output_offset"]
        assert out[at:at + header["output_bytes"]] == expected, (seed, stalls)
        # Without a place of its own, a tensor may be written over in part.
        for name, tensor in image.meta["tensors"].items() if keep else ():
            at, size = tensor["offset"], tensor["bytes"]
            want = golden.read(at, size)[0].tobytes()
            assert out[at:at + size] == want, (seed, stalls, name)
    gos = walk(np.frombuffer(image.section(PROGRAM).data, "<u4")[:header["program_words"]])
    # Each network has a pool, and most have adds.
    assert any(go.engine == isa.VECTOR for go in gos) == ARCHS[arch].vector
    return image


@pytest.mark.parametrize("arch, seed", [
    (name, seed) for name, arch in ARCHS.items() for seed in range(8 if arch.array == MAC else 4)])
def test_random_layers(arch, seed, monkeypatch):
    run_case(arch, seed, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHS)
def test_random_layers_at_length(arch, monkeypatch):
    """400 networks of 4 to 20 layers; every kind of group has been among them."""
    kinds = set()
    for seed in range(100, 180):
        for group in run_case(arch, seed, monkeypatch).meta["groups"]:
            kinds |= {word for word in ("chain", "tight", "channels at a time", "then",
                                        "input kept", "rows outer", "buffers 2+2")
                      if word in group["tiling"]}
    assert len(kinds) == 7
