"""Random programs for all four engines, ordered by nothing but the WAITs their data need, against
an execution in program order."""

import random

import numpy as np
import pytest
from bench.programs import ENGINES, Machine, Program

from bench import Bench, Run
from litepress.spec import isa
from litepress.spec.arch import Arch
from litepress.spec.formats import Format

ARCH = Arch(columns=8, abuf_depth=1024, wbuf_depth=256, pbuf_depth=64)
RAW8, RAW16 = Format.parse("raw8").code, Format.parse("raw16").code

# Pieces of each memory that a program uses as a whole: two slots of ABUF a bank.
SLOT, SLOTS = 128, 8                      # Vectors of ABUF.
WORDS, RECORDS, AREAS = 64, 16, 4         # Of WBUF and VBUF; of PBUF.

# DRAM, in words: what the layers read, and slots for what they write.
ACTIVATIONS, WEIGHTS, PARAMS, STORED, PROGRAM, REGION = (
    0, 0x1000, 0x2000, 0x3000, 0x4000, 0x8000)


def region_of(seed, words):
    rng    = np.random.default_rng(seed)
    region = np.zeros(REGION, "<u4")
    values = region.view("<i2")
    values[:2*WEIGHTS] = rng.integers(-300, 300, 2*WEIGHTS)
    values[2*WEIGHTS:2*PARAMS] = rng.integers(-100, 100, 2*(PARAMS - WEIGHTS))
    for i in range(AREAS*RECORDS):
        m, s = int(rng.integers(1, 2**16)), int(rng.integers(1, 9))
        b = (int(rng.integers(-2**12, 2**12)) + (1 << s >> 1)) % 2**isa.PARAM_B_BITS
        region.view("<u8")[PARAMS//2 + i] = m | s << 16 | b << 22
    region[PROGRAM:PROGRAM + len(words)] = words
    return region.tobytes()


class Writer:
    """Builds a program: knows who wrote and read each piece last, and waits for them."""

    def __init__(self, seed):
        self.rng     = random.Random(seed)
        self.p       = Program()
        self.writers = {}    # Piece -> (engine, its GOs with this one).
        self.readers = {}    # Piece -> {engine: its GOs with the last read}.

    def go(self, engine, reads, writes, **registers):
        after = {}

        def wait(other, count):
            if other != engine or self.rng.random() < 0.2:    # An engine has no need of its own.
                after[other] = max(after.get(other, 0), count)
        for piece in (*reads, *writes):
            if piece in self.writers:
                wait(*self.writers[piece])
        for piece in writes:
            for other, count in self.readers.get(piece, {}).items():
                wait(other, count)
        if self.rng.random() < 0.1:                           # One nobody needs.
            other = self.rng.choice(ENGINES)
            wait(other, self.rng.randint(0, self.p.gos[other]))
        self.p.go(engine, after, **registers)
        for piece in reads:
            self.readers.setdefault(piece, {})[engine] = self.p.gos[engine]
        for piece in writes:
            self.writers[piece] = (engine, self.p.gos[engine])
            self.readers.pop(piece, None)

    # Transfers ------------------------------------------------------------------------------------

    def load_abuf(self, slot):
        reads, addr = [], ACTIVATIONS + self.rng.randrange(0x800)
        if self.rng.random() < 0.4:                           # What was stored before.
            stored = self.rng.randrange(SLOTS)
            reads, addr = [("dram", stored)], STORED + stored*2*SLOT
        fmt  = self.rng.choice((RAW16, RAW8))
        runs = self.rng.choice((1, 4))
        self.go(isa.LOAD, reads, [("abuf", slot)], ADDR=addr, RUNS=runs, RUN_LEN=SLOT//runs,
                RUN_STRIDE=self.rng.randrange(2*SLOT//4) if runs > 1 and not reads else
                (2 if fmt == RAW16 else 1)*SLOT//runs, FORMAT=fmt, DST_MEM=isa.MEM_ABUF,
                DST=slot*SLOT, DST_STRIDE=SLOT//runs)

    def load_weights(self, memory, area):
        name, blocks = {isa.MEM_WBUF: ("wbuf", ARCH.columns//4), isa.MEM_VBUF: ("vbuf", 1)}[memory]
        self.go(isa.LOAD, [], [(name, area)], ADDR=WEIGHTS + self.rng.randrange(0x400), RUNS=1,
                RUN_LEN=WORDS*blocks, FORMAT=RAW16, DST_MEM=memory, DST=area*WORDS,
                LANE_BLOCKS=blocks)

    def load_params(self, area):
        self.go(isa.LOAD, [], [("pbuf", area)], ADDR=PARAMS + 2*RECORDS*self.rng.randrange(AREAS),
                RUNS=1, RUN_LEN=RECORDS, FORMAT=RAW16, DST_MEM=isa.MEM_PBUF, DST=area*RECORDS)

    def store(self, slot):
        self.go(isa.STORE, [("abuf", slot)], [("dram", slot)], ADDR=STORED + slot*2*SLOT, RUNS=1,
                RUN_LEN=SLOT, FORMAT=RAW16, SRC=slot*SLOT)

    # Layers ---------------------------------------------------------------------------------------

    def shape(self, most):
        """(channels, rows, vectors a row, width) of a tensor of up to SLOT vectors."""
        while True:
            c, h, v = (self.rng.randint(1, n) for n in (most, 6, 4))
            if c*h*v <= SLOT:
                return c, h, v, 4*v - self.rng.randrange(4)

    def window(self, c, h, v, w, kh, kw):
        """Registers of both engines for a kernel over a tensor, its rows padded to their size."""
        stride = self.rng.choice(isa.STRIDES)
        off, pad = -(kh//2), kw//2
        rows, width = -(-h//stride), -(-w//stride)
        low = self.rng.randrange(-2**15, 0)
        return {"IN_ROWS": h, "IN_W": w, "KH": kh, "KW": kw, "STRIDE": stride, "ROW_OFF": off,
                "PAD_X": pad, "OUT_ROWS": rows, "OUT_VECS": -(-width//4), "OUT_W": width,
                "CLAMP_LO": low, "CLAMP_HI": low + self.rng.randrange(2**15)}

    def output(self, c, r):
        return {"COUT": c, "OUT_ROW": c*r["OUT_VECS"], "OUT_CH": r["OUT_VECS"]}

    def pieces(self):
        """Slots of ABUF to read and to write, never the same, and areas of weights and PBUF."""
        source, target = self.rng.sample(range(SLOTS), 2)
        return source, target, self.rng.randrange(AREAS), self.rng.randrange(AREAS)

    def compute(self):
        source, target, area, records = self.pieces()
        kernel = self.rng.choice((1, 3))
        while True:
            c, h, v, w = self.shape(6 if kernel == 1 else 3)
            r = self.window(c, h, v, w, kernel, kernel)
            cout = self.rng.randint(1, RECORDS)
            if cout*r["OUT_ROWS"]*r["OUT_VECS"] <= SLOT:
                break
        self.go(isa.COMPUTE, [("abuf", source), ("wbuf", area), ("pbuf", records)],
                [("abuf", target)], IN_BASE=source*SLOT, IN_ROW=c*v, IN_CH=v, CIN=c, KY_STEP=c*v,
                W_BASE=area*WORDS, W_TILE=c*kernel**2, W_STEP=1, P_BASE=records*RECORDS,
                OUT_BASE=target*SLOT, FLAGS=0, **r, **self.output(cout, r))

    def vector(self):
        source, target, area, records = self.pieces()
        kind  = self.rng.choice(("depthwise", "depthwise", "add", "pool"))
        reads = [("abuf", source), ("vbuf", area), ("pbuf", records)]
        c, h, v, w = self.shape(RECORDS)
        row = c*v
        kh, kw = self.rng.randint(1, 5), self.rng.randint(1, 3)
        r = self.window(c, h, v, w, *((kh, kw) if kind == "depthwise" else (1, 1)))
        first = self.rng.randrange(h)             # The rows fill a ring, beginning there.
        place = {"RING": h*row, "IN_AT": (first + r["ROW_OFF"]) % h*row,
                 "Y_STEP": r["STRIDE"] % h*row, "KY_STEP": 1 % h*row, "W_TILE": kh*kw, "FLAGS": 0}
        if kind == "add":
            other = self.rng.choice([s for s in range(SLOTS) if s != target])
            reads.append(("abuf", other))
            r |= {"KH": 2, "IN_ROWS": isa.ROWS_ANY}
            place |= {"RING": 0, "IN_AT": 0, "Y_STEP": r["STRIDE"]*row, "W_TILE": 0,
                      "KY_STEP": (other - source)*SLOT % 2**16}
        elif kind == "pool":
            r |= {"KH": h, "OUT_ROWS": 1, "OUT_VECS": 1, "OUT_W": 1}
            place |= {"IN_AT": first*row, "W_TILE": 1, "FLAGS": isa.FLAG_POOL}
        self.go(isa.VECTOR, reads, [("abuf", target)], IN_BASE=source*SLOT, IN_CH=v,
                W_BASE=area*WORDS, P_BASE=records*RECORDS, OUT_BASE=target*SLOT, **r, **place,
                **self.output(c, r))

    # Program --------------------------------------------------------------------------------------

    def program(self, gos):
        for slot in range(SLOTS):
            self.load_abuf(slot)
        for area in range(AREAS):
            self.load_weights(isa.MEM_WBUF, area)
            self.load_weights(isa.MEM_VBUF, area)
            self.load_params(area)
        for _ in range(gos):
            kind = self.rng.choices(("compute", "vector", "store", "load", "weights", "params"),
                                    (4, 5, 3, 2, 2, 1))[0]
            if kind in ("compute", "vector"):
                getattr(self, kind)()
            elif kind == "store":
                self.store(self.rng.randrange(SLOTS))
            elif kind == "load":
                self.load_abuf(self.rng.randrange(SLOTS))
            elif kind == "weights":
                self.load_weights(self.rng.choice((isa.MEM_WBUF, isa.MEM_VBUF)),
                                  self.rng.randrange(AREAS))
            else:
                self.load_params(self.rng.randrange(AREAS))
        for slot in range(SLOTS):
            self.store(slot)
        return self.p.mark(0).end()


@pytest.fixture(scope="module")
def bench():
    return Bench(ARCH)


@pytest.mark.parametrize("seed", range(20))
def test_random_program(bench, seed):
    p = Writer(seed).program(60)
    assert len(p.words) <= REGION - PROGRAM
    region = region_of(seed, p.words)
    want   = Machine(ARCH, region).run(p.words)
    for stalls in (0, seed + 1, seed + 1000):
        out, (status,), (profile,) = bench.run(region, [Run(4*PROGRAM, len(p.words), seed=stalls)])
        assert status.done and status.error is None, status
        assert out == want
        c = dict(zip(isa.COUNTERS, (int(x) for x in profile[0]), strict=True))
        assert c["vector_busy"] > c["vector_stall"] and c["mac_cycles"]


def test_waits_of_all_engines_for_all():
    """The programs above hold every engine's WAIT for every engine."""
    seen = set()
    for seed in range(20):
        for word in Writer(seed).program(60).words:
            engine, register, _ = isa.split(word)
            if engine != isa.CTRL and register != isa.GO and register in isa.COMMON_REGS.values():
                seen.add((engine, register - isa.WAIT_LOAD))
    assert seen == {(engine, other) for engine in ENGINES for other in ENGINES}
