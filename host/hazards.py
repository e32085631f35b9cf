"""Static check of a finished program: every pair of overlapping accesses is ordered.

It reads the words alone, as the accelerator does, and keeps for each engine what it knows to be
complete: through WAITs, what the awaited engine knew in turn, and its own order. Two accesses
of different engines to the same memory, one of them a write, are ordered when the later one's
engine knew at its GO that the earlier was complete. Because WAITs name only earlier GOs, program
order is then the one possible order: the golden model, which runs GO after GO, computes what the
hardware does.
"""


import numpy as np

from ..spec import isa
from ..spec.formats import WORD_BYTES
from .program import ENGINES, MEM_DRAM, MEMORY_NAMES, REGISTER_NAMES, Go, accesses


class HazardError(ValueError):
    """A program whose result would depend on timing, or that leaves its memories."""


def walk(words):
    """Program words -> list of Go, MARKs and LAPs included, up to END. ValueError: an unknown
    register, a WAIT for a GO that comes later, a program without END."""
    registers = {e: dict.fromkeys(isa.REGS[e], 0) for e in ENGINES}
    count = dict.fromkeys(ENGINES, 0)
    waits = {e: {} for e in ENGINES}
    gos = []
    for position, word in enumerate(words):
        engine, reg, value = isa.split(int(word))
        if engine == isa.CTRL:
            if reg == isa.END:
                return gos
            if reg not in (isa.MARK, isa.LAP):
                raise HazardError(f"word {position}: ctrl has no register {reg}")
            gos.append(Go(isa.CTRL, value, position, waits=dict(waits[isa.COMPUTE])))
        elif reg == isa.GO:
            gos.append(Go(engine, count[engine], position, dict(registers[engine]),
                          waits[engine]))
            waits[engine] = {}
            count[engine] += 1
        elif engine in ENGINES and reg <= isa.WAIT_VECTOR:
            other = reg - isa.WAIT_LOAD
            if value > count[other]:
                raise HazardError(f"word {position}: {isa.ENGINES[engine]} waits for GO {value} of "
                                  f"{isa.ENGINES[other]}, which comes later: it would never go on")
            waits[engine][other] = max(value, waits[engine].get(other, 0))
        elif reg in REGISTER_NAMES.get(engine, ()):
            registers[engine][REGISTER_NAMES[engine][reg]] = value
        else:
            name = isa.ENGINES.get(engine, f"engine {engine}")
            raise HazardError(f"word {position}: {name} has no register {reg}")
    raise HazardError("the program has no END")


def check(words, arch, region_bytes, sections_bytes):
    """Raise HazardError, naming the words, unless all overlapping accesses are ordered, no GO of
    COMPUTE writes where it reads, and LOAD and STORE stay inside the region (STORE above
    ``sections_bytes``). Returns the list of Go."""
    gos = walk(words)
    known = {e: [0] * len(ENGINES) for e in ENGINES}
    clocks = {e: [] for e in ENGINES}
    # (memory, start, stop, write, engine, index, position, *what its engine knew of ENGINES)
    rows = []
    for go in gos:
        if go.engine == isa.CTRL:
            continue
        knows = known[go.engine]
        for other, n in go.waits.items():
            if n:
                knows[:] = np.maximum(knows, clocks[other][n - 1]).tolist()
        touched = accesses(go.engine, go.registers, arch)
        _check_go(go, touched, region_bytes, sections_bytes)
        for memory, start, stop, write in touched:
            rows.append((memory, start, stop, write, go.engine, go.index, go.position, *knows))
        knows[go.engine] = go.index + 1
        clocks[go.engine].append(list(knows))
    _check_rows(rows)
    return gos


def _check_go(go, touched, region_bytes, sections_bytes):
    where = f"word {go.position} ({isa.ENGINES[go.engine]})"
    for memory, start, stop, write in touched:
        if memory != MEM_DRAM:
            continue
        if stop * WORD_BYTES > region_bytes:
            raise HazardError(f"{where}: DRAM bytes {start * WORD_BYTES} to {stop * WORD_BYTES}: "
                              f"the region ends at {region_bytes}")
        if write and start * WORD_BYTES < sections_bytes:
            raise HazardError(f"{where}: writes DRAM byte {start * WORD_BYTES}: the sections end "
                              f"at {sections_bytes}")
    if go.engine in (isa.COMPUTE, isa.VECTOR):
        inside = [t for t in touched if t[0] == isa.MEM_ABUF]
        for _, a, b, write in inside:
            for _, start, stop, wrote in inside:
                if write and not wrote and a < stop and start < b:
                    raise HazardError(f"{where}: writes ABUF {a} to {b} while it reads {start} to "
                                      f"{stop}")


def _check_rows(rows):
    """All pairs of accesses of two engines."""
    if not rows:
        return
    table = np.array(rows, np.int64)
    for memory in np.unique(table[:, 0]):
        rows = table[table[:, 0] == memory]
        for first in ENGINES:
            for second in ENGINES:
                if first != second:
                    _check_pairs(rows[rows[:, 4] == first], rows[rows[:, 4] == second], memory)


def _check_pairs(early, late, memory):
    """early, late: accesses of two engines; those of ``late`` that come later in the program must
    know that the others are complete."""
    if not len(early) or not len(late) or not (early[:, 3].any() or late[:, 3].any()):
        return
    # In program order, an engine's indices rise too: those not known to be complete are a range.
    column = 7 + int(early[0, 4])
    first = np.searchsorted(early[:, 5], late[:, column])
    last = np.searchsorted(early[:, 6], late[:, 6])
    for row, low, high in zip(late, first, last, strict=True):
        if low >= high:
            continue
        near = early[low:high]
        bad = ((near[:, 1] < row[2]) & (row[1] < near[:, 2]) & ((near[:, 3] | row[3]) != 0))
        if bad.any():
            other = near[np.argmax(bad)]
            verb = ["reads", "writes"]
            raise HazardError(
                f"word {row[6]} ({isa.ENGINES[int(row[4])]}) {verb[row[3]]} "
                f"{MEMORY_NAMES[int(memory)]} {row[1]} to {row[2]}, which word {other[6]} "
                f"({isa.ENGINES[int(other[4])]}) {verb[other[3]]} ({other[1]} to {other[2]}): "
                "no WAIT orders them")
