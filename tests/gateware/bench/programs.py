"""Programs for the test bench: an assembler, and a machine that executes them in program order."""

import numpy as np

from litepress.host.codecs.block import decode_blocks, encode_blocks, used_bytes
from litepress.host.golden_compute import compute, vector
from litepress.spec import isa
from litepress.spec.formats import LANES, Format

ENGINES = (isa.LOAD, isa.COMPUTE, isa.STORE, isa.VECTOR)

class Program:
    """Collects words; ``p.load(ADDR=..., RUNS=...)`` sets registers and ends in a GO, after the
    waits given as ``after={engine: count}``."""

    def __init__(self):
        self.words = []
        self.gos = dict.fromkeys(ENGINES, 0)

    def go(self, engine, after=None, **registers):
        for name, value in registers.items():
            self.words.append(isa.word(engine, isa.REGS[engine][name][0], value))
        for other, count in (after or {}).items():
            self.words.append(isa.word(engine, isa.WAIT_LOAD + other, count))
        self.words.append(isa.word(engine, isa.GO, 0))
        self.gos[engine] += 1
        return self

    def load(self, after=None, **registers):
        return self.go(isa.LOAD, after, **registers)

    def compute(self, after=None, **registers):
        return self.go(isa.COMPUTE, after, **registers)

    def vector(self, after=None, **registers):
        return self.go(isa.VECTOR, after, **registers)

    def store(self, after=None, **registers):
        return self.go(isa.STORE, after, **registers)

    def mark(self, slot):
        self.words.append(isa.word(isa.CTRL, isa.MARK, slot))
        return self

    def lap(self, slot, after=None):
        for other, count in (after or {}).items():
            self.words.append(isa.word(isa.COMPUTE, isa.WAIT_LOAD + other, count))
        self.words.append(isa.word(isa.CTRL, isa.LAP, slot))
        return self

    def end(self):
        self.words.append(isa.word(isa.CTRL, isa.END, 0))
        return self

    def all_done(self):
        """Waits for everything before."""
        return dict(self.gos)

    def bytes(self):
        return np.array(self.words, "<u4").tobytes()


class Machine:
    """Executes a sound program, one word after another, on the bytes of a region."""

    def __init__(self, arch, region):
        self.region = np.frombuffer(region, np.uint8).copy()
        self.abuf = np.zeros((arch.abuf_depth, LANES), np.int16)
        self.wbuf = np.zeros((arch.wbuf_depth, arch.wbuf_lanes), np.int16)
        self.pbuf = np.zeros((arch.pbuf_depth, LANES), np.int16)
        self.vbuf = np.zeros((arch.vbuf_depth, LANES), np.int16)
        self.arch = arch

    def run(self, words):
        registers = {e: {n: 0 for n in isa.REGS[e]} for e in ENGINES}
        names = {e: {n: name for name, (n, _, _) in isa.REGS[e].items()} for e in registers}
        for word in words:
            engine, number, value = isa.split(int(word))
            if engine == isa.CTRL:
                if number == isa.END:
                    return self.region.tobytes()
            elif number == isa.GO:
                r = registers[engine]
                if engine == isa.COMPUTE:
                    compute(self.abuf, self.wbuf, self.pbuf, r, self.arch)
                elif engine == isa.VECTOR:
                    vector(self.abuf, self.vbuf, self.pbuf, r)
                else:
                    (self._load if engine == isa.LOAD else self._store)(r)
            elif number not in isa.COMMON_REGS.values():
                registers[engine][names[engine][number]] = value
        raise ValueError("no END")

    def _runs(self, r, base, stride):
        """(bytes of the region, on-chip addresses) of every run."""
        size = 4*Format.from_code(r["FORMAT"], r["SEGMENT"]).run_words(r["RUN_LEN"])
        for run in range(r["RUNS"]):
            start = 4*(r["ADDR"] + run*r["RUN_STRIDE"])
            assert start + size <= len(self.region), "the program leaves the region"
            yield slice(start, start + size), r[base] + run*r[stride]

    def _load(self, r):
        fmt = Format.from_code(r["FORMAT"], r["SEGMENT"])
        memories = {isa.MEM_ABUF: self.abuf, isa.MEM_PBUF: self.pbuf, isa.MEM_VBUF: self.vbuf}
        i = np.arange(r["RUN_LEN"])
        for where, dst in self._runs(r, "DST", "DST_STRIDE"):
            vectors = decode_blocks(self.region[where], fmt, r["RUN_LEN"])
            if r["DST_MEM"] == isa.MEM_WBUF:
                word, slot = np.divmod(i, r["LANE_BLOCKS"])
                view = self.wbuf.reshape(len(self.wbuf), -1, LANES)
                for w, s, v in zip(dst + word, slot, vectors, strict=True):
                    view[w % len(view), s] = v
            else:
                memory = memories[r["DST_MEM"]]
                for a, v in zip(dst + i, vectors, strict=True):
                    memory[a % len(memory)] = v

    def _store(self, r):
        fmt = Format.from_code(r["FORMAT"], r["SEGMENT"])
        for where, src in self._runs(r, "SRC", "SRC_STRIDE"):
            at = (src + np.arange(r["RUN_LEN"])) % len(self.abuf)
            data = encode_blocks(self.abuf[at], fmt)
            used = used_bytes(data, fmt, r["RUN_LEN"])
            self.region[where][used] = data[used]
