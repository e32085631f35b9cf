"""LOAD and STORE on the whole accelerator, against the reference codecs."""

import numpy as np
import pytest
from bench.programs import Machine, Program

from bench import Bench, Run
from litepress.spec import isa
from litepress.spec.arch import Arch
from litepress.spec.formats import Format

ARCH = Arch(columns=8, abuf_depth=1024, wbuf_depth=256, pbuf_depth=64)

FORMATS = [Format.parse(name) for name in
           ("raw8", "raw8u", "raw16", *(f"zfpe{bits}" for bits in range(4, 17)),
            *(f"zfpi{bits}{suffix}" for bits, suffix in zip(
                range(4, 16), 3*("", "u", "n", "nu"), strict=True)))]
RAW8, RAW16 = Format.parse("raw8"), Format.parse("raw16")

PROGRAM = 0x7000   # Word offset of the program in the region.
REGION  = 0x8000   # Words.


@pytest.fixture(scope="module")
def bench():
    return Bench(ARCH)


def region_of(data, words=None, size=REGION, program=PROGRAM):
    """Region with ``data`` (uint8) at its start and the program at its place."""
    region = np.zeros(4*size, np.uint8)
    region[:len(data)] = data
    if words is not None:
        code = np.frombuffer(words, np.uint8)
        region[4*program:4*program + len(code)] = code
    return region.tobytes()


def execute(bench, program, data, seeds=(0, 1, 2), **options):
    """Runs the program with each seed and compares the whole region with Machine's."""
    region = region_of(data, program.bytes())
    want   = Machine(ARCH, region).run(program.words)
    for seed in seeds:
        out, (status,), (profile,) = bench.run(
            region, [Run(4*PROGRAM, len(program.words), seed=seed, **options)])
        assert status.done and status.error is None, status
        assert out == want
    return status, profile


def random_vectors(n, seed):
    """int16 vectors as bytes: neighbours close together, some extremes."""
    rng  = np.random.default_rng(seed)
    base = (rng.standard_normal((n, 1))*2.0**rng.integers(0, 16, (n, 1))).clip(-32768, 32767)
    data = (base + rng.standard_normal((n, 4))*2.0**rng.integers(0, 12, (n, 1)))
    data = data.clip(-32768, 32767).astype("<i2")
    data[rng.integers(0, n, n//16)] = rng.choice([-32768, 32767, 0, -1], (n//16, 4))
    return data.view(np.uint8).ravel()


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_copy_in_every_format(bench, fmt):
    """raw16 -> ABUF -> fmt -> ABUF -> raw16, with lengths that end anywhere in a word."""
    p, at = Program(), 2000
    for n in (1, 2, 3, 7, 8, 9, 61, 256):
        p.load(ADDR=2*n, RUNS=1, RUN_LEN=n, FORMAT=RAW16.code, DST_MEM=isa.MEM_ABUF, DST=3*n,
               after=p.all_done())
        p.store(ADDR=at, RUNS=1, RUN_LEN=n, FORMAT=fmt.code, SRC=3*n, after=p.all_done())
        p.load(ADDR=at, FORMAT=fmt.code, DST=1000 + n, after=p.all_done())   # Wraps at 1024.
        at += fmt.run_words(n)
        p.store(ADDR=at, FORMAT=RAW16.code, SRC=1000 + n, after=p.all_done())
        at += RAW16.run_words(n)
    execute(bench, p.end(), random_vectors(1000, fmt.code))


@pytest.mark.parametrize("seed", range(6))
def test_runs_and_strides(bench, seed):
    rng = np.random.default_rng(seed)
    p, at = Program(), 0x3000
    for _ in range(8):
        fmt    = FORMATS[rng.integers(len(FORMATS))]
        length = int(rng.integers(1, 20))
        runs   = int(rng.integers(1, 12))
        gap    = int(rng.integers(0, 5))
        p.load(ADDR=int(rng.integers(0, 1000)), RUNS=runs, RUN_LEN=length, FORMAT=fmt.code,
               RUN_STRIDE=int(rng.integers(0, 40)), DST_MEM=isa.MEM_ABUF,
               DST=int(rng.integers(0, 2**16)), DST_STRIDE=int(rng.integers(0, 2**16)),
               after=p.all_done())
        fmt    = FORMATS[rng.integers(len(FORMATS))]
        stride = fmt.run_words(length) + gap
        p.store(ADDR=at, RUNS=runs, RUN_LEN=length, FORMAT=fmt.code, RUN_STRIDE=stride,
                SRC=int(rng.integers(0, 2**16)), SRC_STRIDE=int(rng.integers(0, 2**16)),
                after=p.all_done())
        at += runs*stride
    execute(bench, p.end(), rng.integers(0, 256, 4*2048, dtype=np.uint8))


@pytest.mark.parametrize("seed", range(3))
def test_vbuf(bench, seed):
    """A block a word of VBUF, addresses wrap. VECTOR brings all words back: each weight times 2,
    halved again."""
    rng  = np.random.default_rng(seed)
    data = random_vectors(3000, seed)
    data.view("<i2")[:4] = 2
    data.view("<u8")[1] = 1 << 15                  # m = 2^15, s = 0, b = 0.
    p = Program()
    p.load(ADDR=0, RUNS=1, RUN_LEN=1, FORMAT=RAW16.code, DST_MEM=isa.MEM_ABUF, DST=900)
    p.load(ADDR=2, RUNS=ARCH.pbuf_depth, RUN_STRIDE=0, DST_MEM=isa.MEM_PBUF, DST=0, DST_STRIDE=1)
    p.load(ADDR=4, RUNS=1, RUN_LEN=ARCH.vbuf_depth, DST_MEM=isa.MEM_VBUF, DST=5, LANE_BLOCKS=3)
    for _ in range(6):
        p.load(ADDR=int(rng.integers(0, 2000)), RUNS=int(rng.integers(1, 12)),
               RUN_STRIDE=int(rng.integers(0, 40)), RUN_LEN=int(rng.integers(1, 20)),
               DST=int(rng.integers(0, 2**16)), DST_STRIDE=int(rng.integers(0, 2**16)))
    words = 128
    for i in range(ARCH.vbuf_depth//words):
        p.vector(IN_BASE=900, IN_ROWS=1, IN_W=4, KH=1, KW=1, STRIDE=1, OUT_ROWS=1, OUT_VECS=1,
                 COUT=4*words, OUT_BASE=0, OUT_CH=1, OUT_W=4, W_BASE=i*words, W_TILE=1,
                 CLAMP_LO=-2**15, CLAMP_HI=2**15 - 1, after=p.all_done())
        p.store(ADDR=0x2000 + i*words*8, RUNS=1, RUN_LEN=4*words, FORMAT=RAW16.code, SRC=0,
                after=p.all_done())
    region = region_of(data, p.end().bytes())
    out    = np.frombuffer(Machine(ARCH, region).run(p.words), "<i2")
    vbuf   = out[4*0x1000:4*0x1000 + 16*ARCH.vbuf_depth].reshape(-1, 4)
    assert (vbuf == vbuf[:, :1]).all() and len(np.unique(vbuf)) > 1000
    execute(bench, p, data)


@pytest.mark.parametrize("name", ("raw8", "raw16", "zfpe8", "zfpe16"))
def test_a_dram_word_a_clock(bench, name):
    fmt, n = Format.parse(name), 1000
    words = fmt.run_words(n)
    p = Program()
    p.load(ADDR=0, RUNS=1, RUN_LEN=n, FORMAT=fmt.code, DST_MEM=isa.MEM_ABUF, DST=0)
    p.store(ADDR=0x3000, RUNS=1, RUN_LEN=n, FORMAT=fmt.code, SRC=0, after=p.all_done())
    p.mark(5).end()
    status, profile = execute(bench, p, random_vectors(n, 1), seeds=(0,))
    counters = dict(zip(isa.COUNTERS, profile[5], strict=True))
    assert status.layers_done == 1
    assert counters["read_words"] == counters["write_words"] == words
    assert counters["fetch_words"] == len(p.words) - 1   # All but END.
    assert words <= counters["load_busy"] <= words + 50
    assert words <= counters["store_busy"] <= words + 50
    # Without stalls DRAM is only waited for at the start.
    assert counters["load_starved"] <= 30
    assert counters["cycles"] >= counters["load_busy"] + counters["store_busy"]


def test_short_runs_do_not_wait_for_dram(bench):
    """Reading ahead goes on over the ends of runs: 64 runs of 8 words cost no DRAM latency each."""
    p = Program()
    p.load(ADDR=0, RUNS=64, RUN_STRIDE=16, RUN_LEN=8, FORMAT=RAW8.code, DST_MEM=isa.MEM_ABUF,
           DST=0, DST_STRIDE=8)
    p.store(ADDR=0x3000, RUNS=64, RUN_STRIDE=9, RUN_LEN=8, FORMAT=RAW8.code, SRC=0, SRC_STRIDE=8,
            after=p.all_done())
    _, profile = execute(bench, p.mark(0).end(), random_vectors(1000, 2), seeds=(0,))
    counters = dict(zip(isa.COUNTERS, profile[0], strict=True))
    assert counters["load_busy"] <= 64*8 + 50
    assert counters["store_busy"] <= 64*8 + 50


@pytest.mark.parametrize("empty", ({"RUNS": 0, "RUN_LEN": 9}, {"RUNS": 9, "RUN_LEN": 0}))
def test_nothing_to_do(bench, empty):
    p = Program()
    p.load(ADDR=REGION, FORMAT=RAW8.code, **empty)
    p.store(ADDR=REGION, FORMAT=RAW8.code, after=p.all_done(), **empty)
    status, _ = execute(bench, p.end(), random_vectors(10, 1))
    assert status.reads == status.writes == 0


def fails(bench, program, seeds=(0, 1), **options):
    """The Status of a program that ends with an error."""
    for seed in seeds:
        region = region_of((), program.bytes())
        _, (status,), _ = bench.run(region, [Run(4*PROGRAM, len(program.words), seed=seed,
                                                 **options)])
        assert not status.done
        assert status.error is not None
    return status


@pytest.mark.parametrize("code", [10 | 8 << 8, 15 | 16 << 8, 4 | 3 << 8, 7 | 16 << 8,
                                  8 | 9 << 8, 0, 16 << 8, 1 | 9 << 8, 2 | 8 << 8,
                                  3 | 3 << 8, 3 | 17 << 8, 1 << 4 | 8 << 8])
def test_unknown_format(bench, code):
    for go in ("load", "store"):
        p = Program()
        getattr(p, go)(RUNS=1, RUN_LEN=1, FORMAT=code)
        status = fails(bench, p.end())
        assert (status.error, status.detail) == ("FORMAT", code)
        assert status.reads == status.writes == 0


@pytest.mark.parametrize("register, values", [
    ("LANE_BLOCKS", {"DST_MEM": isa.MEM_WBUF, "LANE_BLOCKS": 0}),
    ("LANE_BLOCKS", {"DST_MEM": isa.MEM_WBUF, "LANE_BLOCKS": ARCH.columns//4 + 1}),
])
def test_parameter_out_of_range(bench, register, values):
    p = Program()
    p.load(ADDR=0, RUNS=1, RUN_LEN=1, FORMAT=RAW8.code, **values)
    status = fails(bench, p.end())
    number = isa.LOAD_REGS[register][0]
    assert status.error == "PARAMETER"
    assert status.detail == isa.word(isa.LOAD, number, values[register])


@pytest.mark.parametrize("addr, runs, stride, inside", [
    (REGION - 10, 1, 0, 10),
    (REGION, 1, 0, 0),
    (2**24 - 1, 1, 0, 0),
    (REGION - 4000, 3, 3000, 200),
    (0, 4095, 2**20 - 1, 100),
])
def test_bounds(bench, addr, runs, stride, inside):
    """The first word outside the region is named and never accessed. (The bench itself checks every
    access; the region lies amidst the DRAM.)"""
    words   = [addr + run*stride + i for run in range(runs) for i in range(100)]
    outside = next(word for word in words if word >= REGION)
    base = 0x1000
    for go, error in (("load", "READ_BOUNDS"), ("store", "WRITE_BOUNDS")):
        p = Program()
        extra = {"DST_MEM": isa.MEM_ABUF} if go == "load" else {}
        getattr(p, go)(ADDR=addr, RUNS=runs, RUN_STRIDE=stride, RUN_LEN=100, FORMAT=RAW8.code,
                       **extra)
        region = region_of((), p.end().bytes(), program=0x100)
        dram = bytes(4*base) + region + bytes(4*0x3000)
        for seed in (0, 1):
            out, (status,), _ = bench.run(dram, [Run(4*0x100, len(p.words), 4*base, 4*REGION,
                                                     seed=seed)])
            assert (status.error, status.detail, status.done) == (error, outside, False)
            assert (status.reads if go == "load" else status.writes) <= inside
            assert out[:4*base] == bytes(4*base)
            assert out[4*(base + REGION):] == bytes(4*0x3000)
