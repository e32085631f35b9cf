"""The self-test's programs on the accelerator: right on a sound one, and what is broken by name."""

from dataclasses import replace

import numpy as np
import pytest
from bench.programs import Program
from broken import Crossed, Loose, broken

from bench import Bench, Run
from litepress.host import selftest
from litepress.host.selftest_programs import DATA_AT, RAW16_FORMAT
from litepress.soc.alone import region
from litepress.spec import isa
from litepress.spec.arch import Arch

ARCH = Arch(columns=8, abuf_depth=1024, wbuf_depth=256, pbuf_depth=64)
ARRAY = ["array, convolution", "array, depthwise", "array, pool"]


@pytest.fixture(scope="module")
def bench():
    return Bench(ARCH)


def dirt(arch):
    """A program that leaves something else than zeros everywhere on the chip."""
    p = Program()
    for memory, blocks in ((isa.MEM_ABUF, arch.abuf_depth), (isa.MEM_PBUF, arch.pbuf_depth),
                           (isa.MEM_VBUF, arch.vbuf_depth), (isa.MEM_WBUF, arch.wbuf_depth)):
        p.load(ADDR=DATA_AT // 4, RUNS=1, RUN_LEN=blocks, LANE_BLOCKS=1,
               FORMAT=RAW16_FORMAT.code, DST_MEM=memory)
    return p.end().words


def failing(bench, image, arch=ARCH, seed=0):
    """Names of the tests that fail, each by itself on a dirty chip, as the firmware judges them."""
    sound = region(image, b"")
    words = dirt(arch)
    dram = sound + np.array(words, "<u4").tobytes()
    before = Run(len(sound), len(words), seed=0)
    names = []
    for e in selftest.entries(image):
        out, statuses, _ = bench.run(dram, [before, Run(e.program_offset, e.program_words,
                                                        seed=seed)])
        assert statuses[0].done
        output = out[e.output_offset:e.output_offset + e.output_bytes]
        if statuses[1].error or selftest.crc(output) != e.output_crc:
            names.append(e.name)
    return names


@pytest.mark.parametrize("seed", [0, 5])
def test_a_sound_accelerator(bench, seed):
    assert failing(bench, selftest.build(ARCH), seed=seed) == []


@pytest.mark.parametrize("sizes, names", [
    ({"columns": 16}, [*ARRAY, "requantizer"]), ({"columns": 4}, [*ARRAY, "requantizer"]),
    ({"abuf_depth": 2048}, ["DMA and ABUF"]),
    ({"wbuf_depth": 512}, [*ARRAY, "requantizer"]),
    ({"pbuf_depth": 128}, [*ARRAY, "requantizer", "VECTOR, depthwise", "VECTOR, addition",
                           "VECTOR, pool"]),
    ({"vbuf_depth": 4096}, ["VECTOR, depthwise", "VECTOR, addition", "VECTOR, pool"]),
])
def test_a_size_that_is_not_so(bench, sizes, names):
    """A device that says it is larger, or smaller, than it is."""
    assert failing(bench, selftest.build(replace(ARCH, **sizes))) == names


def test_broken_codecs():
    """What needs them fails, and nothing else."""
    with broken(ZFPeDecoder16=Crossed, ZFPeImprovedEncoder=Loose):
        bench = Bench(ARCH)
    assert failing(bench, selftest.build(ARCH)) == [
        "decoder zfpe", "encoder zfpi", "encoder zfpiu", "encoder zfpin", "encoder zfpinu"]


@pytest.mark.parametrize("array", ["delta4", "pot4"])
def test_arrays_of_codes(array):
    arch = Arch(8, 2048, 2048, 128, 256, array)
    bench = Bench(arch, 2**20, 2**27)       # As test_layers.py has them.
    assert failing(bench, selftest.build(arch), arch) == []
