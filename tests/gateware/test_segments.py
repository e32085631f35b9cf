"""LOAD and STORE of ebpc segments on the whole accelerator, sound and corrupt."""

import numpy as np
import pytest
from bench.programs import Machine, Program

from bench import Bench, Run
from litepress.host.codecs.block import encode_blocks, used_bytes
from litepress.spec import ebpc, isa
from litepress.spec.arch import Arch
from litepress.spec.formats import EBPC8, Format

ARCH = Arch(columns=8, abuf_depth=1024, wbuf_depth=256, pbuf_depth=64)
RAW8, RAW8U, RAW16 = (Format.parse(name) for name in ("raw8", "raw8u", "raw16"))
PROGRAM, REGION = 0xe000, 0xf000   # Words.


@pytest.fixture(scope="module")
def bench():
    return Bench(ARCH)


def feature_map(n, rng, high=128):
    """uint8 (4 n,): zeros and smooth stretches, as after a ReLU, and some noise."""
    steps = rng.normal(0, 2, 4*n) + 20*(rng.random(4*n) < 0.05)*rng.standard_normal(4*n)
    values = np.cumsum(steps)
    values -= np.median(values)
    values[rng.random(4*n) < 0.02] = high - 1
    return values.clip(0, high - 1).astype(np.uint8)


def dense(n, rng):
    """uint8 (4 n,) that nothing compresses."""
    return rng.integers(0, 256, 4*n, dtype=np.uint8)


def place(region, words, at):
    region = bytearray(region)
    region[4*at:4*at + len(words)] = words
    return bytes(region)


def start(data, program):
    region = np.zeros(4*REGION, np.uint8)
    region[:len(data)] = data
    return place(region.tobytes(), program.bytes(), PROGRAM)


def execute(bench, program, data, seeds=(0, 1, 2)):
    region = start(data, program)
    want   = Machine(ARCH, region).run(program.words)
    for seed in seeds:
        out, (status,), (profile,) = bench.run(
            region, [Run(4*PROGRAM, len(program.words), seed=seed)])
        assert status.done and status.error is None, status
        assert out == want
    return dict(zip(isa.COUNTERS, profile[0], strict=True))


@pytest.mark.parametrize("kind", ("map", "dense", "zero"))
@pytest.mark.parametrize("name", ("ebpc8", "ebpc8u"))
def test_copy(bench, name, kind):
    """raw -> ABUF -> ebpc -> ABUF -> raw16, runs and segments of every kind of length."""
    raw   = RAW8 if name == "ebpc8" else RAW8U
    rng   = np.random.default_rng(len(kind))
    data  = {"map": feature_map(1000, rng, 256), "dense": dense(1000, rng),
             "zero": np.zeros(4000, np.uint8)}[kind]
    p, at = Program(), 1000
    for n, runs, segment in ((1, 1, 1), (1, 3, 256), (2, 1, 1), (7, 4, 3), (24, 2, 8), (61, 1, 60),
                             (256, 1, 256), (100, 2, 33)):
        fmt = Format.parse(f"{name}.{segment}")
        words = fmt.run_words(n)
        p.load(ADDR=n, RUNS=runs, RUN_STRIDE=n, RUN_LEN=n, FORMAT=raw.code, DST_MEM=isa.MEM_ABUF,
               DST=3*n, DST_STRIDE=n, after=p.all_done())
        p.store(ADDR=at, RUNS=runs, RUN_STRIDE=words + 2, RUN_LEN=n, FORMAT=fmt.code,
                SEGMENT=segment, SRC=3*n, SRC_STRIDE=n, after=p.all_done())
        p.load(ADDR=at, RUNS=runs, RUN_STRIDE=words + 2, FORMAT=fmt.code, SEGMENT=segment,
               DST=700 + n, after=p.all_done())   # Wraps at 1024.
        at += runs*(words + 2)
        p.store(ADDR=at, RUNS=runs, RUN_STRIDE=2*n, RUN_LEN=n, FORMAT=RAW16.code, SRC=700 + n,
                after=p.all_done())
        at += runs*2*n
    execute(bench, p.mark(0).end(), data)


def test_saturation(bench):
    """int16 beyond the format's range, as a STORE of raw8 has it."""
    p = Program()
    p.load(ADDR=0, RUNS=1, RUN_LEN=90, FORMAT=RAW16.code, DST_MEM=isa.MEM_ABUF, DST=0)
    for i, name in enumerate(("ebpc8.20", "ebpc8u.20")):
        fmt = Format.parse(name)
        p.store(ADDR=1000 + 200*i, RUNS=1, RUN_LEN=90, FORMAT=fmt.code, SEGMENT=20, SRC=0,
                after=p.all_done())
    rng = np.random.default_rng(5)
    execute(bench, p.mark(0).end(), rng.integers(-400, 400, 360).astype("<i2").view(np.uint8))


def test_only_the_words_that_are_needed_move(bench):
    """A value a clock, and DRAM traffic of the segments' own length."""
    n, fmt = 512, Format.parse("ebpc8.128")
    values = feature_map(n, np.random.default_rng(3))
    coded  = encode_blocks(values.astype(np.int16).reshape(1, n, 4), fmt)
    words  = int(used_bytes(coded, fmt, n).sum())//4
    assert words < 0.6*n
    p = Program()
    p.load(ADDR=0, RUNS=1, RUN_LEN=n, FORMAT=RAW8.code, DST_MEM=isa.MEM_ABUF, DST=0)
    p.store(ADDR=2000, RUNS=1, RUN_LEN=n, FORMAT=fmt.code, SEGMENT=128, SRC=0, after=p.all_done())
    p.load(ADDR=2000, FORMAT=fmt.code, SEGMENT=128, DST=512, after=p.all_done())
    counters = execute(bench, p.mark(0).end(), values, seeds=(0,))
    assert counters["write_words"] == words
    assert counters["read_words"] == n + words
    assert counters["store_busy"] <= 4*n + 600   # One segment goes through before it leaves.
    assert counters["load_busy"] <= n + 4*n + 200


def fails(bench, data, segment, n=100, fmt=EBPC8, seeds=(0, 1)):
    p = Program()
    p.load(ADDR=0, RUNS=1, RUN_LEN=n, FORMAT=Format(fmt, 8).code, SEGMENT=segment,
           DST_MEM=isa.MEM_ABUF, DST=0)
    region = start(data, p.end())
    for seed in seeds:
        out, (status,), _ = bench.run(region, [Run(4*PROGRAM, len(p.words), seed=seed)])
        assert out == region
    return status


@pytest.mark.parametrize("segment", (0, 257, 511))
def test_segment_out_of_range(bench, segment):
    status = fails(bench, np.zeros(100, np.uint8), segment)
    register = isa.LOAD_REGS["SEGMENT"][0]
    assert status.error == "PARAMETER"
    assert status.detail == isa.word(isa.LOAD, register, segment)


@pytest.mark.parametrize("header", (
    26 << ebpc.ZNZ_WORDS[0],                              # Longer than the slot.
    1 << ebpc.ZNZ_WORDS[0] | 25 << ebpc.BPC_WORDS[0],
    0xffffffff,
    1 << ebpc.RAW[0] | 24 << ebpc.BPC_WORDS[0],           # Raw, but not all of it.
    1 << ebpc.RAW[0] | 24 << ebpc.BPC_WORDS[0] | 1))
def test_corrupt_header(bench, header):
    data = np.array([header, *range(100)], "<u4").view(np.uint8)
    status = fails(bench, data, 25)
    assert status.error == "STREAM" and status.detail == header


@pytest.mark.parametrize("seed", range(40))
def test_corrupt_streams_end(bench, seed):
    """Flipped bits in segments: the program ends, sound or with an error, and writes nothing."""
    rng  = np.random.default_rng(seed)
    fmt  = Format.parse("ebpc8.25")
    data = encode_blocks(feature_map(100, rng).astype(np.int16).reshape(1, 100, 4), fmt)[0].copy()
    for _ in range(rng.integers(1, 6)):
        at = rng.integers(0, len(data))
        data[at] ^= 1 << rng.integers(0, 8)
    p = Program()
    p.load(ADDR=0, RUNS=1, RUN_LEN=100, FORMAT=fmt.code, SEGMENT=25, DST_MEM=isa.MEM_ABUF, DST=0)
    p.load(ADDR=0, after=p.all_done())
    region = start(data, p.end())
    out, (status,), _ = bench.run(region, [Run(4*PROGRAM, len(p.words), seed=seed)])
    assert out == region
    assert status.done or status.error == "STREAM", status
