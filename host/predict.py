"""Cycles a program takes, from its GOs alone: the planner compares tilings by it.

Four engines run side by side, each a list of GOs with WAITs between them. COMPUTE and VECTOR take
the clocks of their loops; LOAD and STORE stream words at the rate of their codec or of the DRAM,
which they share. The constants describe gateware/; conflicts at ABUF's banks are not modelled.
"""

from ..spec import isa
from ..spec.formats import EBPC_KINDS, LANES
from .program import ENGINES, FORMATS

# Clocks of a GO besides its loop or its blocks.
LATENCY = {isa.LOAD: 40, isa.STORE: 40, isa.COMPUTE: 50, isa.VECTOR: 50}
# Clocks a 32-bit word takes at the DRAM, refresh and row changes included: what layers that wait
# for DRAM took in the simulated SoC.
CLOCKS_PER_WORD = 1.07
HEAD_CLOCKS = 7            # Of a tile with words ahead of its weights, beside those words.


def window_vectors(r):
    """ABUF vectors that one window (KW operands of a row) takes: at most one a clock is read."""
    if r["FLAGS"] & isa.FLAG_POOL:
        return 1
    offset = -r["PAD_X"] % LANES
    return ((offset + (6 if r["STRIDE"] == 2 else 3) + r["KW"] - 1) >> 2) + 1


def compute_clocks(r, arch):
    """Clocks of a COMPUTE GO with registers ``r``: a group (tile, y, x) takes its operands, or a
    clock a channel where requantizing them takes longer; a tile takes the words ahead of it."""
    columns = arch.columns
    reduction = r["CIN"] * r["KH"] * max(r["KW"], window_vectors(r))
    full, rest = divmod(r["COUT"], columns)
    total = 0
    for tiles, channels in ((full, columns), (1 if rest else 0, rest)):
        operands = reduction * (channels if r["FLAGS"] & isa.FLAG_DEPTHWISE else 1)
        total += tiles * max(operands, channels + 1)
    heads = (full + (rest != 0)) * (arch.head_words + HEAD_CLOCKS) if arch.head_words else 0
    return total * r["OUT_ROWS"] * r["OUT_VECS"] + heads + LATENCY[isa.COMPUTE]


def vector_clocks(r):
    """Clocks of a VECTOR GO: one for each input vector under each row of taps, but no fewer than
    fetching a channel's weights takes."""
    if r["FLAGS"] & isa.FLAG_POOL:
        channel = r["KH"] * -(-r["IN_W"] // LANES)
    else:
        steps = r["STRIDE"] * r["OUT_VECS"] * r["KH"] * r["OUT_ROWS"]
        channel = max(steps, r["KH"] * r["KW"])
    return r["COUT"] * channel + LATENCY[isa.VECTOR]


def dma_words(r):
    """32-bit words a LOAD or STORE GO moves."""
    return r["RUNS"] * FORMATS(r["FORMAT"], r["SEGMENT"]).run_words(r["RUN_LEN"])


def codec_clocks(r):
    """Clocks the codec of a LOAD or STORE GO takes at least: a word or a vector a clock, but of
    ebpc a value."""
    ebpc = FORMATS(r["FORMAT"], r["SEGMENT"]).kind in EBPC_KINDS
    return max(dma_words(r), r["RUNS"] * r["RUN_LEN"] * (LANES if ebpc else 1))


class _Stream:
    """LOAD's or STORE's GO at work: ``words`` left, after ``latency`` clocks left."""

    def __init__(self, r, latency):
        self.latency, self.words = latency, float(dma_words(r))
        self.rate = self.words / max(codec_clocks(r), 1)     # Words a clock it can take.


def predict(gos, arch, clocks_per_word=CLOCKS_PER_WORD):
    """gos: list of host.program.Go. Returns a dict a LAP: {slot, cycles, compute, vector, load,
    store, read_words, write_words}; compute .. store are the clocks each engine works.

    clocks_per_word: 0 stands for a memory that never makes anyone wait.
    """
    layers = [{"slot": go.index, "cycles": 0, **dict.fromkeys(isa.ENGINES[e] for e in ENGINES),
               "read_words": 0, "write_words": 0} for go in gos if go.engine == isa.CTRL]
    lists = {e: [] for e in ENGINES}
    total = [dict.fromkeys((*ENGINES, "read_words", "write_words"), 0.0) for _ in layers]
    slot = 0
    for go in gos:
        if go.engine == isa.CTRL:
            lists[isa.COMPUTE].append((None, go.waits, slot))
            slot += 1
            continue
        at = min(slot, len(layers) - 1)
        r = go.registers
        if go.engine in (isa.COMPUTE, isa.VECTOR):
            work = compute_clocks(r, arch) if go.engine == isa.COMPUTE else vector_clocks(r)
            total[at][go.engine] += work
        else:
            work = r
            total[at]["read_words" if go.engine == isa.LOAD else "write_words"] += dma_words(r)
        lists[go.engine].append((work, go.waits, at))
    ends = _run(lists, clocks_per_word, total)
    begin = 0.0
    for layer, end, sums in zip(layers, ends, total, strict=True):
        layer["cycles"] = round(end - begin)
        begin = end
        for e in ENGINES:
            layer[isa.ENGINES[e]] = round(sums[e])
        layer["read_words"], layer["write_words"] = (
            round(sums["read_words"]), round(sums["write_words"]))
    return layers


def _run(lists, clocks_per_word, total):
    """Runs the engines' lists of (work, waits, layer) to their end; returns the time of each LAP
    (work None), adds LOAD's and STORE's clocks to ``total``."""
    now, marks = 0.0, []
    position = dict.fromkeys(ENGINES, 0)
    done = dict.fromkeys(ENGINES, 0)         # GOs completed.
    busy = {}                                # Engine -> time left, or _Stream.
    capacity = 1 / clocks_per_word if clocks_per_word else 2.0
    while True:
        # Start what can start.
        moved = True
        while moved:
            moved = False
            for e in ENGINES:
                if e in busy or position[e] == len(lists[e]):
                    continue
                work, waits, _ = lists[e][position[e]]
                if any(done[other] < n for other, n in waits.items()):
                    continue
                if work is None:
                    marks.append(now)
                    position[e] += 1
                elif e in (isa.COMPUTE, isa.VECTOR):
                    busy[e] = work
                else:
                    busy[e] = _Stream(work, LATENCY[e])
                moved = True
        if not busy:
            return marks
        # Rates of the streams that move words: an even share, what one leaves goes to the other.
        streams = [s for s in busy.values() if isinstance(s, _Stream) and s.latency <= 0]
        rates, left = {}, capacity
        for n, s in enumerate(sorted(streams, key=lambda s: s.rate)):
            rates[s] = min(s.rate, left / (len(streams) - n))
            left -= rates[s]
        step = min(s if not isinstance(s, _Stream) else s.latency if s.latency > 0
                   else s.words / rates[s] if s.words else 0.0 for s in busy.values())
        now += step
        for e, s in list(busy.items()):
            if not isinstance(s, _Stream):
                busy[e] = s - step
                ended = busy[e] <= 1e-6
            else:
                total[lists[e][position[e]][2]][e] += step
                if s.latency > 0:
                    s.latency -= step
                    s.latency = 0 if s.latency < 1e-6 else s.latency
                    ended = s.latency == 0 and s.words == 0
                else:
                    s.words -= step * rates.get(s, 0)
                    ended = s.words <= 1e-6
            if ended:
                del busy[e]
                done[e] += 1
                position[e] += 1
