"""Cycles a program takes, from its GOs alone: the planner compares tilings by it.

Three engines run side by side, each a list of GOs with WAITs between them. A GO's own time is the
larger of what DRAM and what the data path need; the constants describe gateware/. LOAD and STORE
share the DRAM only through their sum, as a floor of a layer's time; ABUF bank conflicts are not
modelled.
"""

from ..spec import isa
from ..spec.formats import EBPC_KINDS, LANES
from .program import FORMATS

LOAD_LATENCY, STORE_LATENCY = 40, 40    # Clocks of a GO besides its blocks.
COMPUTE_LATENCY = 30
MARK_CLOCKS = 40
# Clocks a 32-bit word takes at the DRAM, refresh and row changes included: what layers that wait
# for DRAM took in the simulated SoC.
CLOCKS_PER_WORD = 1.13


def window_vectors(r):
    """ABUF vectors that one window (KW operands of a row) takes: at most one a clock is read."""
    if r["FLAGS"] & isa.FLAG_POOL:
        return 1
    offset = -r["PAD_X"] % LANES
    return ((offset + (6 if r["STRIDE"] == 2 else 3) + r["KW"] - 1) >> 2) + 1


def compute_clocks(r, columns):
    """Clocks of a COMPUTE GO with registers ``r``: a group (tile, y, x) takes its operands, or a
    clock a channel where requantizing them takes longer."""
    reduction = r["CIN"] * r["KH"] * max(r["KW"], window_vectors(r))
    full, rest = divmod(r["COUT"], columns)
    total = 0
    for tiles, channels in ((full, columns), (1 if rest else 0, rest)):
        operands = reduction * (channels if r["FLAGS"] & isa.FLAG_DEPTHWISE else 1)
        total += tiles * max(operands, channels + 1)
    return total * r["OUT_ROWS"] * r["OUT_VECS"] + COMPUTE_LATENCY


def dma_words(r):
    """32-bit words a LOAD or STORE GO moves."""
    return r["RUNS"] * FORMATS(r["FORMAT"], r["SEGMENT"]).run_words(r["RUN_LEN"])


def dma_clocks(r, clocks_per_word):
    """Clocks of a LOAD or STORE GO: a word or a vector a clock at best, but of ebpc a value."""
    ebpc = FORMATS(r["FORMAT"], r["SEGMENT"]).kind in EBPC_KINDS
    return max(dma_words(r) * clocks_per_word, r["RUNS"] * r["RUN_LEN"] * (LANES if ebpc else 1))


def predict(gos, columns, clocks_per_word=CLOCKS_PER_WORD):
    """gos: list of host.program.Go. Returns a dict a MARK: {slot, cycles, compute, load, store,
    read_words, write_words}; compute, load and store are the clocks each engine works."""
    names = {isa.LOAD: "load", isa.COMPUTE: "compute", isa.STORE: "store"}
    free = dict.fromkeys(names, 0.0)
    ends = {e: [] for e in names}
    layers, begin = [], 0.0
    fresh = {"compute": 0, "load": 0, "store": 0, "read_words": 0, "write_words": 0}
    layer = dict(fresh)
    for go in gos:
        if go.engine == isa.CTRL:
            traffic = (layer["read_words"] + layer["write_words"]) * clocks_per_word
            end = max(*free.values(), begin + traffic) + MARK_CLOCKS
            layers.append({"slot": go.index, "cycles": round(end - begin),
                           **{key: round(value) for key, value in layer.items()}})
            free, layer, begin = dict.fromkeys(names, end), dict(fresh), end
            continue
        if go.engine == isa.COMPUTE:
            clocks = compute_clocks(go.registers, columns)
        else:
            load = go.engine == isa.LOAD
            clocks = dma_clocks(go.registers, clocks_per_word)
            clocks += LOAD_LATENCY if load else STORE_LATENCY
            layer["read_words" if load else "write_words"] += dma_words(go.registers)
        start = max([free[go.engine], *(ends[e][n - 1] for e, n in go.waits.items())])
        free[go.engine] = start + clocks
        ends[go.engine].append(start + clocks)
        layer[names[go.engine]] += clocks
    return layers
