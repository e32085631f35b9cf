"""The whole accelerator: layers against the reference, counters, errors, corrupt programs."""

import random
from dataclasses import replace

import numpy as np
import pytest
from bench.programs import ENGINES, Machine, Program
from litedram.common import LiteDRAMNativePort

from bench import GO_LIMIT, WATCHDOG, Bench, Run
from litepress.gateware.accelerator import Accelerator
from litepress.spec import isa
from litepress.spec.arch import ARCHS, Arch
from litepress.spec.formats import Format

ARCH = Arch(columns=8, abuf_depth=1024, wbuf_depth=256, pbuf_depth=64)
RAW8, RAW16, ZFPE8 = (Format.parse(name) for name in ("raw8", "raw16", "zfpe8"))

REGION, PROGRAM = 0x8000, 0x7000   # Words.
WEIGHTS, PARAMS, OUT = 0x1000, 0x2000, 0x3000


@pytest.fixture(scope="module")
def bench():
    return Bench(ARCH)


def place(dram, words, offset=PROGRAM):
    dram = bytearray(dram)
    code = np.array(words, "<u4").tobytes()
    dram[4*offset:4*offset + len(code)] = code
    return bytes(dram)


def region_of(seed):
    """Activations, weights and parameters at random, small enough to give lively outputs."""
    rng    = np.random.default_rng(seed)
    region = np.zeros(REGION, "<u4")
    values = region.view("<i2")
    values[:2*WEIGHTS] = rng.integers(-300, 300, 2*WEIGHTS)
    values[2*WEIGHTS:2*PARAMS] = rng.integers(-100, 100, 2*(PARAMS - WEIGHTS))
    records = region.view("<u8")[PARAMS//2:PARAMS//2 + 64]
    for i in range(64):
        m, s = int(rng.integers(1, 2**16)), int(rng.integers(1, 9))
        b = (int(rng.integers(-2**12, 2**12)) + (1 << s >> 1)) % 2**isa.PARAM_B_BITS
        records[i] = m | s << 16 | b << 22
    return region.tobytes()


# Geometry of the layers here: rows of `vecs` vectors, all channels of a row side by side.
H, W, VECS, CIN, COUT = 5, 10, 3, 6, 12
ROW_IN, ROW_OUT = CIN*VECS, COUT*VECS
BASE_OUT = 512


def load_all(p, taps, in_words=CIN):
    p.load(ADDR=PARAMS, RUNS=1, RUN_LEN=COUT, FORMAT=RAW16.code, DST_MEM=isa.MEM_PBUF, DST=5)
    p.load(ADDR=WEIGHTS, RUNS=2, RUN_STRIDE=1000, RUN_LEN=2*taps, FORMAT=RAW16.code,
           DST_MEM=isa.MEM_WBUF, DST=7, DST_STRIDE=taps, LANE_BLOCKS=2)
    p.load(ADDR=0, RUNS=H, RUN_STRIDE=2*ROW_OUT, RUN_LEN=in_words*VECS, FORMAT=RAW16.code,
           DST_MEM=isa.MEM_ABUF, DST=0, DST_STRIDE=in_words*VECS)


def common(**registers):
    return {"IN_BASE": 0, "IN_ROWS": H, "IN_W": W, "OUT_ROWS": H, "OUT_VECS": VECS, "COUT": COUT,
            "OUT_BASE": BASE_OUT, "OUT_ROW": ROW_OUT, "OUT_CH": VECS, "OUT_W": W, "STRIDE": 1,
            "W_BASE": 7, "P_BASE": 5, "W_STEP": 1, "CLAMP_LO": -2000, "CLAMP_HI": 2500,
            "KH": 1, "KW": 1} | registers


def load_vector(p, taps, first_row=0):
    """What load_all does, for VECTOR; the rows lie in a ring, the first at ``first_row``."""
    p.load(ADDR=PARAMS, RUNS=1, RUN_LEN=COUT, FORMAT=RAW16.code, DST_MEM=isa.MEM_PBUF, DST=5)
    p.load(ADDR=WEIGHTS, RUN_LEN=COUT//4*taps, DST_MEM=isa.MEM_VBUF, DST=7)
    for row in range(H):
        p.load(ADDR=row*2*ROW_OUT, RUN_LEN=ROW_OUT, DST_MEM=isa.MEM_ABUF,
               DST=(first_row + row) % H*ROW_OUT)


def common_vector(first_row=0, **registers):
    """RING holds all rows; IN_AT is the place of row ROW_OFF."""
    at = (first_row + registers.get("ROW_OFF", 0)) % H*ROW_OUT
    return {"IN_BASE": 0, "IN_AT": at, "RING": H*ROW_OUT, "Y_STEP": ROW_OUT, "KY_STEP": ROW_OUT,
            "IN_CH": VECS, "IN_ROWS": H, "IN_W": W, "KH": 1, "KW": 1, "STRIDE": 1, "OUT_ROWS": H,
            "OUT_VECS": VECS, "COUT": COUT, "OUT_BASE": BASE_OUT, "OUT_ROW": ROW_OUT,
            "OUT_CH": VECS, "OUT_W": W, "W_BASE": 7, "P_BASE": 5, "CLAMP_LO": -2000,
            "CLAMP_HI": 2500} | registers


def layer(kind):
    """A program with one layer of that kind."""
    p = Program()
    if kind == "conv1x1":
        load_all(p, CIN)
        p.compute(**common(CIN=CIN, IN_ROW=ROW_IN, IN_CH=VECS, KY_STEP=ROW_IN, W_TILE=CIN),
                  after=p.all_done())
    elif kind == "conv3x3":
        load_all(p, 9*CIN)
        p.compute(**common(CIN=CIN, IN_ROW=ROW_IN, IN_CH=VECS, KY_STEP=ROW_IN, W_TILE=9*CIN, KH=3,
                           KW=3, ROW_OFF=-1, PAD_X=1), after=p.all_done())
    elif kind == "conv3x3s2":
        load_all(p, 9*CIN)
        p.compute(**common(CIN=CIN, IN_ROW=ROW_IN, IN_CH=VECS, KY_STEP=ROW_IN, W_TILE=9*CIN, KH=3,
                           KW=3, ROW_OFF=-1, PAD_X=1, STRIDE=2, OUT_ROWS=3, OUT_VECS=2, OUT_W=5),
                  after=p.all_done())
    elif kind == "depthwise":
        load_all(p, 9, COUT)
        p.compute(**common(CIN=1, IN_ROW=ROW_OUT, IN_GROUP=VECS, KY_STEP=ROW_OUT, W_TILE=9, KH=3,
                           KW=3, ROW_OFF=-1, PAD_X=1, FLAGS=isa.FLAG_DEPTHWISE),
                  after=p.all_done())
    elif kind == "add":
        load_all(p, 2, COUT)
        p.compute(**common(CIN=1, IN_ROW=ROW_OUT, IN_GROUP=VECS, KY_STEP=ROW_OUT, KH=2, W_TILE=0,
                           IN_ROWS=isa.ROWS_ANY, OUT_ROWS=H - 1, FLAGS=isa.FLAG_DEPTHWISE),
                  after=p.all_done())
    elif kind == "pool":
        load_all(p, 1, COUT)
        p.compute(**common(CIN=VECS, IN_ROW=ROW_OUT, IN_CH=1, IN_GROUP=VECS, KY_STEP=ROW_OUT, KH=H,
                           W_STEP=0, OUT_ROWS=1, OUT_VECS=1, OUT_W=1,
                           FLAGS=isa.FLAG_DEPTHWISE | isa.FLAG_POOL), after=p.all_done())
    elif kind == "vector_depthwise":
        load_vector(p, 9)
        p.vector(**common_vector(KH=3, KW=3, ROW_OFF=-1, PAD_X=1, W_TILE=9), after=p.all_done())
    elif kind == "vector_depthwise_s2":
        load_vector(p, 9)
        p.vector(**common_vector(KH=3, KW=3, ROW_OFF=-1, PAD_X=1, W_TILE=9, STRIDE=2, OUT_ROWS=3,
                                 Y_STEP=2*ROW_OUT, OUT_VECS=2, OUT_W=5), after=p.all_done())
    elif kind == "vector_ring":
        load_vector(p, 9, first_row=3)
        p.vector(**common_vector(first_row=3, KH=3, KW=3, ROW_OFF=-1, PAD_X=1, W_TILE=9),
                 after=p.all_done())
    elif kind == "vector_add":
        load_vector(p, 2)
        p.vector(**common_vector(KH=2, IN_ROWS=isa.ROWS_ANY, OUT_ROWS=H - 1, RING=0),
                 after=p.all_done())
    elif kind == "vector_pool":
        load_vector(p, 1)
        p.vector(**common_vector(KH=H, W_TILE=1, OUT_ROWS=1, OUT_VECS=1, OUT_W=1,
                                 FLAGS=isa.FLAG_POOL), after=p.all_done())
    p.store(ADDR=OUT, RUNS=H, RUN_STRIDE=2*ROW_OUT, RUN_LEN=ROW_OUT, FORMAT=RAW16.code,
            SRC=BASE_OUT, SRC_STRIDE=ROW_OUT, after=p.all_done())
    p.store(ADDR=OUT + 0x1000, FORMAT=ZFPE8.code)
    return p.mark(0).end()


KINDS = ("conv1x1", "conv3x3", "conv3x3s2", "depthwise", "add", "pool", "vector_depthwise",
         "vector_depthwise_s2", "vector_ring", "vector_add", "vector_pool")


@pytest.mark.parametrize("kind", KINDS)
def test_layer(bench, kind):
    p = layer(kind)
    for seed in (0, 1, 2):
        dram = place(region_of(seed), p.words)
        want = Machine(ARCH, dram).run(p.words)
        # Something was computed, and not only clamped.
        result = np.frombuffer(want, "<i2")[2*OUT:2*OUT + 4*VECS*COUT]
        assert len(np.unique(result)) > (5 if "pool" in kind else 20)
        out, (status,), _ = bench.run(dram, [Run(4*PROGRAM, len(p.words), seed=seed)])
        assert status.done, status
        assert out == want


@pytest.mark.parametrize("kind", ("depthwise", "add", "pool"))
def test_vector_does_what_compute_does(bench, kind):
    """The same layer on either engine: the same bytes, weights laid out for each."""
    taps  = {"depthwise": 9, "add": 2, "pool": 1}[kind]
    array = layer(kind)
    lanes = layer(f"vector_{kind}")
    rng   = np.random.default_rng(1)
    dram  = np.frombuffer(region_of(0), "<i2").copy()
    outs  = []
    weights = rng.integers(-100, 100, (COUT, taps))
    if kind == "add":
        weights[:] = weights[0]            # One word for all: W_TILE = 0.
    elif kind == "pool":
        weights[8:] = weights[:4]          # The same of COMPUTE's tiles.
    for p, columns in ((array, 8), (lanes, 4)):
        # Words of `columns` channels, tap by tap; the second tile of COMPUTE lies 2000 values on.
        for c in range(COUT):
            at = 2*WEIGHTS + c//columns*(2000 if columns == 8 else 4*taps) + c % columns
            dram[at:at + columns*taps:columns] = weights[c]
        dram_bytes = place(dram.tobytes(), p.words)
        out, (status,), _ = bench.run(dram_bytes, [Run(4*PROGRAM, len(p.words), seed=3)])
        assert status.done
        outs.append(np.frombuffer(out, "<i2")[2*OUT:2*OUT + 4*H*ROW_OUT])
    assert (outs[0] == outs[1]).all()
    assert len(np.unique(outs[0])) > 5


def streamed(tiles=6):
    """A 1x1 convolution over tiles, double buffered: LOAD, COMPUTE and STORE overlap."""
    p = Program()
    p.load(ADDR=PARAMS, RUNS=1, RUN_LEN=COUT, FORMAT=RAW16.code, DST_MEM=isa.MEM_PBUF, DST=5)
    p.load(ADDR=WEIGHTS, RUN_LEN=4*CIN, DST_MEM=isa.MEM_WBUF, DST=7, LANE_BLOCKS=2)
    for i in range(tiles):
        size, out = H*ROW_IN, H*ROW_OUT   # 90 and 180 vectors.
        p.load(ADDR=i*2*size, RUN_LEN=size, DST_MEM=isa.MEM_ABUF, DST=i % 2*size,
               after={isa.COMPUTE: max(i - 1, 0)})
        p.compute(**common(CIN=CIN, IN_ROW=ROW_IN, IN_CH=VECS, KY_STEP=ROW_IN, W_TILE=CIN,
                           IN_BASE=i % 2*size, OUT_BASE=BASE_OUT + i % 2*out),
                  after={isa.LOAD: 3 + i, isa.STORE: max(i - 1, 0)})
        p.store(ADDR=OUT + i*2*out, RUNS=1, RUN_LEN=out, FORMAT=RAW16.code,
                SRC=BASE_OUT + i % 2*out, after={isa.COMPUTE: i + 1})
    return p.mark(0).end()


def test_streamed_layer_and_counters(bench):
    p = streamed()
    dram = place(region_of(3), p.words)
    want = Machine(ARCH, dram).run(p.words)
    for seed in range(5):
        out, (status,), (profile,) = bench.run(dram, [Run(4*PROGRAM, len(p.words), seed=seed)])
        assert status.done and out == want
        c = dict(zip(isa.COUNTERS, (int(x) for x in profile[0]), strict=True))
        assert c["fetch_words"] == len(p.words) - 1
        assert c["mac_cycles"] == 6*2*H*VECS*CIN
        assert c["read_words"] == status.reads == 2*(12 + 4*CIN + 6*H*ROW_IN)
        assert c["write_words"] == status.writes == 2*6*H*ROW_OUT
        assert status.run_cycles - 40 <= c["cycles"] <= status.run_cycles
        for name, count in c.items():
            assert count <= c["cycles"] or name in ("fetch_words",)
        if seed == 0:
            # Side by side: sooner done than one after another.
            busy = c["load_busy"] + c["store_busy"] + c["mac_cycles"]
            assert c["cycles"] < 0.8*busy


def chained(tiles=6):
    """Over tiles: a 1x1 convolution, and a depthwise one of its output; all four side by side."""
    p = Program()
    p.load(ADDR=PARAMS, RUNS=1, RUN_LEN=COUT, FORMAT=RAW16.code, DST_MEM=isa.MEM_PBUF, DST=5)
    p.load(ADDR=WEIGHTS, RUN_LEN=4*CIN, DST_MEM=isa.MEM_WBUF, DST=7, LANE_BLOCKS=2)
    p.load(ADDR=WEIGHTS + 500, RUN_LEN=9*COUT//4, DST_MEM=isa.MEM_VBUF, DST=7)
    size, out = H*ROW_IN, H*ROW_OUT        # 90 and 180 vectors.
    for i in range(tiles):
        half = i % 2
        p.load(ADDR=i*2*size, RUN_LEN=size, DST_MEM=isa.MEM_ABUF, DST=half*size,
               after={isa.COMPUTE: max(i - 1, 0)})
        p.compute(**common(CIN=CIN, IN_ROW=ROW_IN, IN_CH=VECS, KY_STEP=ROW_IN, W_TILE=CIN,
                           IN_BASE=half*size, OUT_BASE=2*size + half*out),
                  after={isa.LOAD: 4 + i, isa.VECTOR: max(i - 1, 0)})
        p.vector(**common_vector(KH=3, KW=3, ROW_OFF=-1, PAD_X=1, W_TILE=9,
                                 IN_BASE=2*size + half*out, OUT_BASE=2*size + (2 + half)*out),
                 after={isa.COMPUTE: i + 1, isa.STORE: max(i - 1, 0)})
        p.store(ADDR=OUT + i*2*out, RUNS=1, RUN_LEN=out, FORMAT=RAW16.code,
                SRC=2*size + (2 + half)*out, after={isa.VECTOR: i + 1})
    return p.mark(0).end()


def test_four_engines_and_counters(bench):
    p = chained()
    dram = place(region_of(3), p.words)
    want = Machine(ARCH, dram).run(p.words)
    assert len(np.unique(np.frombuffer(want, "<i2")[2*OUT:2*OUT + 4*6*H*ROW_OUT])) > 100
    for seed in range(5):
        out, (status,), (profile,) = bench.run(dram, [Run(4*PROGRAM, len(p.words), seed=seed)])
        assert status.done and out == want
        c = dict(zip(isa.COUNTERS, (int(x) for x in profile[0]), strict=True))
        assert c["mac_cycles"] == 6*2*H*VECS*CIN
        # VECTOR: KH clocks an output vector, and no more than 80 of a GO beside.
        steps = 6*3*H*VECS*COUT
        assert 0 < c["vector_busy"] - c["vector_stall"] - steps <= 6*3
        assert c["vector_stall"] > 0 and c["stall_vector"] > 0
        if seed == 0:
            assert c["vector_busy"] <= steps + 6*80
            # Side by side: sooner done than one after another.
            busy = c["load_busy"] + c["store_busy"] + c["mac_cycles"] + c["vector_busy"]
            assert c["cycles"] < 0.7*busy


def test_profile_slots_add_up(bench):
    p = Program()
    for slot in (0, 7, 127):
        p.load(ADDR=0, RUNS=1, RUN_LEN=100 + slot, FORMAT=RAW8.code, DST_MEM=isa.MEM_ABUF, DST=0)
        p.mark(slot)
    p.end()
    _, (status,), (profile,) = bench.run(place(region_of(1), p.words),
                                         [Run(4*PROGRAM, len(p.words), seed=4)])
    assert status.layers_done == 3
    slots = profile[[0, 7, 127]]
    assert list(slots[:, isa.COUNTERS.index("read_words")]) == [100, 107, 227]
    cycles = int(slots[:, isa.COUNTERS.index("cycles")].sum())
    assert cycles <= status.run_cycles <= cycles + 40


def test_laps_hold_up_nobody(bench):
    """Counters of COMPUTE's laps add up, and LOAD goes on meanwhile."""
    def program(laps):
        p = Program()
        for slot in range(3):
            p.load(ADDR=0, RUNS=1, RUN_LEN=100 + slot, FORMAT=RAW8.code, DST_MEM=isa.MEM_ABUF,
                   DST=0)
            if laps:
                p.lap(slot, {isa.LOAD: slot} if slot else None)
                p.lap(16 + slot)     # The one before is still being written.
        return p.mark(5).end()

    runs = {}
    for laps in (False, True):
        words = program(laps).words
        _, (status,), (profile,) = bench.run(place(region_of(1), words),
                                             [Run(4*PROGRAM, len(words), seed=0)])
        assert status.done and status.layers_done == (7 if laps else 1)
        runs[laps] = status.run_cycles, profile
    order = [0, 16, 1, 17, 2, 18, 5]
    slots = runs[True][1][order]
    cycles = [int(n) for n in slots[:, isa.COUNTERS.index("cycles")]]
    assert sum(cycles) <= runs[True][0] <= sum(cycles) + 40
    assert cycles[1] == cycles[3] == cycles[5] == 16 + 2
    reads = [int(n) for n in slots[:, isa.COUNTERS.index("read_words")]]
    assert sum(reads) == 303 and reads[0] == 0 and 80 <= reads[2] <= 120 and reads[6] > 50
    # Only the LAPs behind the last LOAD may take longer than it.
    assert abs(runs[True][0] - runs[False][0]) < 30


# Errors -------------------------------------------------------------------------------------------

END = isa.word(isa.CTRL, isa.END, 0)
# A register that is not there; COMPUTE has 32: a value too wide.
BAD_LOAD, BAD_STORE, BAD_VECTOR = (e << 29 | 31 << 24 for e in (isa.LOAD, isa.STORE, isa.VECTOR))
BAD_COMPUTE = isa.COMPUTE << 29 | 31 << 24 | 4


@pytest.mark.parametrize("words, error, detail", [
    ([], "ILLEGAL", 0),
    ([isa.word(isa.LOAD, 5, 5)]*5, "ILLEGAL", 0),            # No END.
    ([BAD_LOAD, END], "ILLEGAL", BAD_LOAD),
    ([BAD_COMPUTE, END], "ILLEGAL", BAD_COMPUTE),
    ([BAD_STORE, END], "ILLEGAL", BAD_STORE),
    ([BAD_VECTOR, END], "ILLEGAL", BAD_VECTOR),
    ([isa.CTRL << 29 | 3 << 24, END], "ILLEGAL", isa.CTRL << 29 | 3 << 24),
    *(([isa.word(isa.LOAD, 5, 5), engine << 29 | 1, END], "ILLEGAL", engine << 29 | 1)
      for engine in (5, 6, 7)),                              # No such engine.
    *(([isa.word(isa.CTRL, n, 128), END], "PARAMETER", isa.word(isa.CTRL, n, 128))
      for n in (isa.MARK, isa.LAP)),
    # COMPUTE: STRIDE is 0.
    (Program().compute(CIN=1, KH=1, KW=1, OUT_ROWS=1, OUT_VECS=1, COUT=1).end().words,
     "PARAMETER", isa.COMPUTE << 29),
    # VECTOR: STRIDE is 0; KH is 0.
    (Program().vector(KH=1, KW=1, OUT_ROWS=1, OUT_VECS=1, COUT=1).end().words,
     "PARAMETER", isa.VECTOR << 29),
    (Program().vector(FLAGS=isa.FLAG_POOL, IN_W=4, OUT_ROWS=1, OUT_VECS=1, COUT=1).end().words,
     "PARAMETER", isa.VECTOR << 29),
    # Each waits for what never comes: waits of LOAD, COMPUTE, STORE, VECTOR in hexadecimal digits
    # 1, 2, 3, 4.
    ([isa.word(isa.STORE, isa.WAIT_COMPUTE, 1), END], "WATCHDOG", 0x02000),
    ([isa.word(isa.LOAD, isa.WAIT_STORE, 1), isa.word(isa.COMPUTE, isa.WAIT_LOAD, 1), END],
     "WATCHDOG", 0x00140),
    ([isa.word(isa.VECTOR, isa.WAIT_STORE, 1), isa.word(isa.STORE, isa.WAIT_VECTOR, 1),
      isa.word(isa.COMPUTE, isa.WAIT_VECTOR, 1), END], "WATCHDOG", 0x48800),
    ([isa.word(isa.VECTOR, isa.WAIT_VECTOR, 1), END], "WATCHDOG", 0x80000),
    # 300 words behind a wait: the queue is full, and the dispatcher held.
    ([isa.word(isa.LOAD, isa.WAIT_STORE, 1)] + [isa.word(isa.LOAD, 5, 1)]*300 + [END],
     "WATCHDOG", 0x00040),
    # A GO that would take for ever: 4096 runs of 30000 words.
    (Program().load(ADDR=0, RUNS=4095, RUN_LEN=30000, FORMAT=RAW8.code).end().words,
     "WATCHDOG", 0x00001),
    # The same of VECTOR: 8191 channels of 4095*1023 vectors, 3 steps each.
    (Program().vector(KH=3, KW=1, STRIDE=1, OUT_ROWS=4095, OUT_VECS=1023, COUT=2**13 - 1).end()
     .words, "WATCHDOG", 0x00008),
])
def test_error(bench, words, error, detail):
    for seed in (0, 1):
        _, (status,), _ = bench.run(place(bytes(4*REGION), words),
                                    [Run(4*PROGRAM, len(words), seed=seed)])
        assert (status.done, status.error, status.detail) == (False, error, detail)
        assert status.clocks < GO_LIMIT + 2*WATCHDOG


@pytest.fixture(scope="module")
def small():
    """What a small FPGA has room for."""
    return Bench(replace(ARCH, vector=False), codecs=("zfpi",), requant_dsps=3, requant_narrow=True)


def test_without_vector(small):
    """COMPUTE does all there is to do, and VECTOR's words are errors."""
    number = isa.STORE_REGS["FORMAT"][0]
    ours   = {isa.word(isa.STORE, number, ZFPE8.code):
              isa.word(isa.STORE, number, Format.parse("zfpi8").code)}
    for kind in ("conv3x3", "depthwise", "add", "pool"):
        words = [ours.get(word, word) for word in layer(kind).words]
        dram = place(region_of(4), words)
        out, (status,), _ = small.run(dram, [Run(4*PROGRAM, len(words), seed=4)])
        assert status.done and out == Machine(ARCH, dram).run(words)
    vector = Program().vector(KH=1).end().words
    for words, error, detail in (
            (vector, "ILLEGAL", vector[0]),
            ([isa.word(isa.STORE, isa.WAIT_VECTOR, 1), END], "WATCHDOG", 0x08000),
            ([isa.word(isa.STORE, isa.WAIT_COMPUTE, 1), END], "WATCHDOG", 0x02000)):
        _, (status,), _ = small.run(place(bytes(4*REGION), words), [Run(4*PROGRAM, len(words))])
        assert (status.done, status.error, status.detail) == (False, error, detail)


def test_without_codecs(small):
    """The formats of those there are not are errors, the others work."""
    def move(name, engine):
        p, fmt = Program(), Format.parse(name).code
        p.load(ADDR=0, RUNS=1, RUN_LEN=8, FORMAT=fmt if engine == isa.LOAD else RAW16.code,
               DST_MEM=isa.MEM_ABUF, DST=0)
        p.store(ADDR=OUT, RUNS=1, RUN_LEN=8, SRC=0, after=p.all_done(),
                FORMAT=fmt if engine == isa.STORE else RAW16.code)
        words = p.end().words
        dram = place(region_of(5), words)
        out, (status,), _ = small.run(dram, [Run(4*PROGRAM, len(words))])
        if status.done:
            assert out == Machine(ARCH, dram).run(words)
        return status.error, status.detail

    for engine in (isa.LOAD, isa.STORE):
        for name in ("raw8", "raw8u", "raw16", "zfpi8", "zfpi6u", "zfpi6n", "zfpi6nu"):
            assert move(name, engine) == (None, 0), name
        for name in ("zfpe8", "ebpc8", "ebpc8u", "delta4", "pot4", "apot4"):
            assert move(name, engine) == ("FORMAT", Format.parse(name).code), name


def test_codecs_have_names():
    ports = [LiteDRAMNativePort(mode, 24, 32) for mode in ("read", "read", "write")]
    with pytest.raises(ValueError, match="codec 'zip': allowed are zfpe, zfpi, ebpc, delta, pot"):
        Accelerator(ARCHS["tiny"], *ports, codecs=("zip",))


@pytest.mark.parametrize("offset, words, detail", [
    (REGION, 1, REGION), (REGION - 3, 10, REGION), (2**30 - 1, 5, 2**30 - 1)])
def test_program_outside_the_region(bench, offset, words, detail):
    """Word addresses of the fetch are checked like all others."""
    for seed in (0, 1):
        _, (status,), _ = bench.run(bytes(4*REGION), [Run(4*offset, words, seed=seed)])
        assert (status.done, status.error, status.detail) == (False, "FETCH_BOUNDS", detail)


# Corrupt programs and abort -----------------------------------------------------------------------

BASE, DRAM = 0x1000, 0x1000 + REGION + 0x1000   # The region lies amidst the DRAM.


def random_words(rng):
    kind = rng.randrange(4)
    if kind == 0:                                  # Anything.
        return [rng.getrandbits(32) for _ in range(rng.randrange(1, 200))]
    if kind == 1:                                  # Registers that exist, values that fit.
        words = []
        for _ in range(rng.randrange(10, 200)):
            engine = rng.choice(ENGINES)
            number, bits, _ = rng.choice(list(isa.REGS[engine].values()))
            if rng.random() < 0.2:
                words.append(isa.word(engine, isa.GO, 0))
            if rng.random() < 0.03:
                words.append(isa.word(engine, rng.randrange(1, 5), rng.randrange(6)))
            value = rng.getrandbits(rng.randint(0, bits))
            if engine in (isa.LOAD, isa.STORE) and number == isa.LOAD_REGS["FORMAT"][0]:
                value = Format.parse(rng.choice(("raw8", "raw8u", "raw16", "zfpe5"))).code
            words.append(engine << 29 | number << 24 | value)
        return [*words, END]
    sound = rng.choice((streamed, chained)) if kind == 2 else lambda: layer(rng.choice(KINDS))
    words = list(sound().words)
    for _ in range(rng.randrange(1, 8)):           # A sound one with bits flipped, words lost.
        if rng.random() < 0.7:
            words[rng.randrange(len(words))] ^= 1 << rng.randrange(32)
        else:
            del words[rng.randrange(len(words))]
    return words


def surround(region, rng):
    """DRAM with the region in its middle and noise around it."""
    return rng.randbytes(4*BASE) + region + rng.randbytes(4*(DRAM - BASE - REGION))


@pytest.mark.parametrize("seed", range(25))
def test_corrupt_program(bench, seed):
    """Ends, leaves all outside the region alone, and the next program works as if nothing was."""
    rng   = random.Random(seed)
    words = random_words(rng)
    dram  = surround(place(region_of(seed), words), rng)
    end   = 4*(BASE + REGION)

    # The corrupt one, then a sound one in a region of its own, on the same accelerator.
    p      = (streamed, chained)[seed % 2]()
    region = place(region_of(99), p.words)
    want   = Machine(ARCH, region).run(p.words)
    out, (corrupt, sound), _ = bench.run(dram + region, [
        Run(4*PROGRAM, len(words), 4*BASE, 4*REGION, seed=seed),
        Run(4*PROGRAM, len(p.words), len(dram), 4*REGION, seed=seed),
    ])
    assert corrupt.done == (corrupt.error is None)
    assert out[:4*BASE] == dram[:4*BASE]
    assert out[end:len(dram)] == dram[end:]
    assert sound.done and sound.error is None
    assert out[len(dram):] == want


@pytest.mark.parametrize("seed", range(12))
def test_abort(bench, seed):
    """At any clock: the accelerator stops soon, and the next program works."""
    p      = (streamed, chained)[seed % 2]()
    region = place(region_of(5), p.words)
    want   = Machine(ARCH, region).run(p.words)
    rng    = random.Random(seed)
    runs   = []
    for i in range(8):
        clock = rng.randrange(0, 60) if i % 2 else rng.randrange(3000)
        runs.append(Run(4*PROGRAM, len(p.words), seed=seed*10 + i, abort=clock))
    runs.append(Run(4*PROGRAM, len(p.words), seed=seed))
    out, statuses, _ = bench.run(region, runs)
    for run, status in zip(runs[:-1], statuses[:-1], strict=True):
        assert status.error is None
        if not status.done:
            assert status.clocks <= run.abort + 300
    assert not all(status.done for status in statuses[:-1])
    assert statuses[-1].done
    assert out == want


def test_repeated_runs_take_the_same_clocks(bench):
    """Nothing of a run is left for the next; without stalls even the clocks are equal."""
    p = chained()
    run = Run(4*PROGRAM, len(p.words), seed=0)
    _, statuses, profiles = bench.run(place(region_of(1), p.words), [run, run, run])
    assert statuses[0] == statuses[1] == statuses[2]
    assert (profiles[0] == profiles[2]).all()


def test_csr_names():
    ports = [LiteDRAMNativePort(mode, 24, 32) for mode in ("read", "read", "write")]
    dut = Accelerator(ARCHS["tiny"], *ports)
    dut.add_csr()
    sizes = {csr.name: csr.size for csr in dut.get_csrs()}
    assert sizes == {"control": 2, "program": 32, "program_words": 32, "region_base": 32,
                     "region_words": 32, "status": 16, "detail": 32, "run_cycles": 64,
                     "layers_done": 32, "profile_address": 11, "profile_data": 32}


def test_port_width():
    ports = [LiteDRAMNativePort(mode, 24, 16) for mode in ("read", "read", "write")]
    with pytest.raises(ValueError, match="DRAM port of 16 bits: the accelerator takes 32"):
        Accelerator(ARCHS["tiny"], *ports)
