"""A program under construction: GOs in order; register words and WAITs come by themselves.

``Program.go`` takes the registers that matter for one GO. It emits only those that differ from what
the engine holds, then the WAITs that order this GO behind every earlier GO of another engine that
touches the same memory (one of the two writing), then GO. Nothing is waited for twice, nor when a
WAIT on the way implies it. A WAIT only ever names GOs that come earlier in the program, so the
in-order dispatcher and its finite queues cannot deadlock: the oldest unfinished word can always go
on.

``accesses`` says what a GO touches; ``host/hazards.py`` uses it to check the finished words.
"""

from dataclasses import dataclass, field
from functools import lru_cache

from ..spec import isa
from ..spec.formats import LANES, Format

MEM_DRAM = 4
MEMORY_NAMES = {isa.MEM_ABUF: "ABUF", isa.MEM_WBUF: "WBUF", isa.MEM_PBUF: "PBUF",
                isa.MEM_VBUF: "VBUF", MEM_DRAM: "DRAM"}
ENGINES = (isa.LOAD, isa.COMPUTE, isa.STORE, isa.VECTOR)
WAITS = {e: isa.WAIT_LOAD + e for e in ENGINES}
FORMATS = lru_cache(Format.from_code)
REGISTER_NAMES = {e: {number: name for name, (number, _, _) in isa.REGS[e].items()}
                  for e in ENGINES}


@dataclass
class Go:
    """One GO: ``registers`` name -> int as the engine has them, ``waits`` engine -> completed GOs,
    ``index`` among its engine's GOs, ``position`` of its word. A MARK or LAP is a Go of engine CTRL
    whose index is the slot; its waits are COMPUTE's."""

    engine: int
    index: int
    position: int
    registers: dict = field(default_factory=dict)
    waits: dict = field(default_factory=dict)


# What a GO touches --------------------------------------------------------------------------------

def _wrapped(memory, start, stop, depth, write):
    """Intervals of start..stop modulo depth."""
    if stop - start >= depth:
        return [(memory, 0, depth, write)]
    start, length = start % depth, stop - start
    if start + length <= depth:
        return [(memory, start, start + length, write)]
    return [(memory, start, depth, write), (memory, 0, start + length - depth, write)]


def _runs(first, runs, stride, length):
    """(start, stop) of runs: one interval where they lie close together, else one a run."""
    if runs == 1 or stride <= 2 * length:
        return [(first, first + (runs - 1) * stride + length)]
    return [(first + i * stride, first + i * stride + length) for i in range(runs)]


def _load_store(engine, r, arch):
    if not r["RUNS"] or not r["RUN_LEN"]:
        return []
    words = FORMATS(r["FORMAT"], r["SEGMENT"]).run_words(r["RUN_LEN"])
    load, length = engine == isa.LOAD, r["RUN_LEN"]
    out = [(MEM_DRAM, start, stop, not load)
           for start, stop in _runs(r["ADDR"], r["RUNS"], r["RUN_STRIDE"], words)]
    memory = r["DST_MEM"] if load else isa.MEM_ABUF
    first, stride = (r["DST"], r["DST_STRIDE"]) if load else (r["SRC"], r["SRC_STRIDE"])
    if memory == isa.MEM_WBUF:
        length = -(-length // r["LANE_BLOCKS"])
    depth = {isa.MEM_ABUF: arch.abuf_depth, isa.MEM_WBUF: arch.wbuf_depth,
             isa.MEM_PBUF: arch.pbuf_depth, isa.MEM_VBUF: arch.vbuf_depth}[memory]
    for start, stop in _runs(first, r["RUNS"], stride, length):
        out += _wrapped(memory, start, stop, depth, load)
    return out


def _inputs(r):
    """(start, stop) in ABUF that a COMPUTE reads; pixels it takes as zero do not count."""
    depthwise, pool = r["FLAGS"] & isa.FLAG_DEPTHWISE, r["FLAGS"] & isa.FLAG_POOL
    reach = (r["CIN"] - 1) * r["IN_CH"] + (1 if pool else -(-r["IN_W"] // LANES))
    if depthwise:
        reach += (r["COUT"] - 1) * r["IN_GROUP"]
    spans = []
    for ky in range(r["KH"]):
        # Output rows y whose input row y*STRIDE + ky + ROW_OFF lies in 0 .. IN_ROWS-1.
        shift = ky + r["ROW_OFF"]
        low = max(0, -(shift // r["STRIDE"]))
        high = min(r["OUT_ROWS"] - 1, (r["IN_ROWS"] - 1 - shift) // r["STRIDE"])
        if low > high:
            continue
        step = r["KY_STEP"] - (r["KY_STEP"] >> 15 << 16)
        if r["IN_ROW"] == r["KY_STEP"]:
            step = r["KY_STEP"]
        base = r["IN_BASE"] + r["ROW_OFF"] * r["IN_ROW"] + ky * step
        row = r["STRIDE"] * r["IN_ROW"]
        spans.append((base + low * row, base + high * row + reach))
    return _merged(spans)


def _merged(spans):
    """Sorted intervals, those that touch made one."""
    merged = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _compute(r, arch):
    if not (r["COUT"] and r["OUT_ROWS"] and r["OUT_VECS"]):
        return []
    tiles = -(-r["COUT"] // arch.columns)
    taps = r["CIN"] * r["KH"] * r["KW"]
    words = arch.head_words + (tiles - 1) * r["W_TILE"] + (taps - 1) * r["W_STEP"] + 1
    out = _wrapped(isa.MEM_WBUF, r["W_BASE"], r["W_BASE"] + words, arch.wbuf_depth, False)
    out += _wrapped(isa.MEM_PBUF, r["P_BASE"], r["P_BASE"] + r["COUT"], arch.pbuf_depth, False)
    for start, stop in _inputs(r):
        out += _wrapped(isa.MEM_ABUF, start, stop, arch.abuf_depth, False)
    reach = ((r["COUT"] - 1) * r["OUT_CH"] + (r["OUT_ROWS"] - 1) * r["OUT_ROW"] + r["OUT_VECS"])
    return out + _wrapped(isa.MEM_ABUF, r["OUT_BASE"], r["OUT_BASE"] + reach, arch.abuf_depth,
                          True)


def _vector(r, arch):
    pool = r["FLAGS"] & isa.FLAG_POOL
    rows, vectors = (1, 1) if pool else (r["OUT_ROWS"], r["OUT_VECS"])
    if not (r["COUT"] and rows and vectors):
        return []
    ring = r["RING"] or 1 << 16
    reach = (r["COUT"] - 1) * r["IN_CH"] + -(-r["IN_W"] // LANES)
    stride = 1 if pool else r["STRIDE"]
    firsts = {(r["IN_AT"] + y * r["Y_STEP"] + ky * r["KY_STEP"]) % ring
              for y in range(rows) for ky in range(r["KH"])
              if 0 <= y * stride + ky + r["ROW_OFF"] < r["IN_ROWS"]}
    out = []
    for start, stop in _merged((r["IN_BASE"] + f, r["IN_BASE"] + f + reach) for f in firsts):
        out += _wrapped(isa.MEM_ABUF, start, stop, arch.abuf_depth, False)
    words = (-(-r["COUT"] // LANES) - 1) * r["W_TILE"] + (1 if pool else r["KH"] * r["KW"])
    out += _wrapped(isa.MEM_VBUF, r["W_BASE"], r["W_BASE"] + words, arch.vbuf_depth, False)
    out += _wrapped(isa.MEM_PBUF, r["P_BASE"], r["P_BASE"] + r["COUT"], arch.pbuf_depth, False)
    reach = (r["COUT"] - 1) * r["OUT_CH"] + (rows - 1) * r["OUT_ROW"] + vectors
    return out + _wrapped(isa.MEM_ABUF, r["OUT_BASE"], r["OUT_BASE"] + reach, arch.abuf_depth,
                          True)


def accesses(engine, registers, arch):
    """What a GO touches: list of (memory, start, stop, write). Units: DRAM 32-bit words of the
    region, ABUF vectors, WBUF and VBUF words, PBUF records; strided accesses as the interval around
    them."""
    if engine == isa.COMPUTE:
        return _compute(registers, arch)
    if engine == isa.VECTOR:
        return _vector(registers, arch)
    return _load_store(engine, registers, arch)


# Program ------------------------------------------------------------------------------------------

def _encoder(engine, name):
    """(first word value, lowest, highest, mask) of a register."""
    number, bits, signed = isa.REGS[engine][name]
    low = -(1 << bits - 1) if signed else 0
    return engine << isa.ENGINE_SHIFT | number << isa.REG_SHIFT, low, low + (1 << bits) - 1, \
        (1 << bits) - 1


_ENCODERS = {(e, name): _encoder(e, name) for e in ENGINES for name in isa.REGS[e]}


class Program:
    """``words``: the program so far; ``gos``: its GOs and LAPs as Go, in order."""

    def __init__(self, arch):
        self.arch = arch
        self.words = []
        self.gos = []
        self._registers = {e: dict.fromkeys(isa.REGS[e], 0) for e in ENGINES}
        self._count = dict.fromkeys(ENGINES, 0)
        self._known = {e: dict.fromkeys(ENGINES, 0) for e in ENGINES}  # Completed, as e knows.
        self._clocks = {e: [] for e in ENGINES}       # Per GO: what is complete once it is.
        self._recent = {}       # (memory, engine, write) -> [(GOs, start, stop)], oldest first.

    def go(self, engine, constant=False, **registers):
        """Append a GO with these registers set (the others keep their values). constant: a LOAD of
        what no STORE writes. ValueError: a value does not fit its register."""
        held = self._registers[engine]
        for name, value in registers.items():
            if held[name] != value:
                first, low, high, mask = _ENCODERS[engine, name]
                if not low <= value <= high:
                    raise ValueError(f"{isa.ENGINES[engine]}.{name} = {value}: allowed are {low} "
                                     f"to {high}")
                self.words.append(first | value & mask)
                held[name] = value
        touched = accesses(engine, held, self.arch)
        if constant:
            touched = [a for a in touched if a[0] != MEM_DRAM]
        waits = self._waits(engine, touched)
        self._wait(engine, waits)
        index = self._count[engine]
        self.gos.append(Go(engine, index, len(self.words), dict(held), waits))
        self.words.append(engine << isa.ENGINE_SHIFT | isa.GO << isa.REG_SHIFT)
        self._known[engine][engine] = self._count[engine] = index + 1
        self._clocks[engine].append(dict(self._known[engine]))
        for memory, start, stop, write in touched:
            self._recent.setdefault((memory, engine, write), []).append((index + 1, start, stop))

    def mark(self, slot, everything=False):
        """End of a layer: a LAP into profile slot ``slot`` when COMPUTE comes here, and VECTOR has
        done the layer if COMPUTE had no part in it. everything: when all GOs are complete."""
        e = isa.COMPUTE
        last = next((go.engine for go in reversed(self.gos)
                     if go.engine in (isa.COMPUTE, isa.VECTOR)), e)
        need = ENGINES if everything else (last,)
        waits = {other: self._count[other] for other in need
                 if other != e and self._known[e][other] < self._count[other]}
        self._wait(e, waits)
        self._know(e, waits)
        self.gos.append(Go(isa.CTRL, slot, len(self.words), waits=waits))
        self.words.append(isa.word(isa.CTRL, isa.LAP, slot))

    def end(self):
        self.words.append(isa.word(isa.CTRL, isa.END, 0))

    def _waits(self, engine, touched):
        """engine -> completed GOs to wait for; updates what ``engine`` knows."""
        known, need = self._known[engine], {}
        for memory, start, stop, write in touched:
            for other in ENGINES:
                if other == engine:
                    continue
                for wrote in (True, False) if write else (True,):
                    for n, a, b in reversed(self._recent.get((memory, other, wrote), ())):
                        if n <= known[other]:
                            break
                        if a < stop and start < b:
                            need[other] = max(n, need.get(other, 0))
                            break
        waits = {other: n for other, n in need.items()
                 if not any(self._clocks[third][m - 1][other] >= n
                            for third, m in need.items() if third != other)}
        self._know(engine, waits)
        return waits

    def _wait(self, engine, waits):
        """WAIT words of ``engine``."""
        for other, count in waits.items():
            self.words.append(engine << isa.ENGINE_SHIFT | WAITS[other] << isa.REG_SHIFT | count)

    def _know(self, engine, waits):
        """``engine`` has waited: it knows what those it waited for knew."""
        known = self._known[engine]
        for other, n in waits.items():
            for third, count in self._clocks[other][n - 1].items():
                known[third] = max(known[third], count)
