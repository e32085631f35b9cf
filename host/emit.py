"""One layer's GOs for a given tiling: which rows, channels and weights move when, and to where.

Every memory is a small cache with a fixed order: an input tile, a range of weights or of parameters
is loaded when the next GO needs it and is not there, over what was loaded longest ago. Program
order is simply tile after tile, layer after layer; double buffering comes from alternating places,
and the WAITs from ``Program.go``: so a layer's weights come while the layer before it still works.
"""

from dataclasses import dataclass

from ..spec import isa
from ..spec.formats import DELTA, LANES, RAW8, RAW16, Format
from .graph import ADD, POOL
from .tiling import group_size, split

RAW16_FORMAT = Format(RAW16, 16)
STORED_FORMAT = Format(RAW8, 8)   # Of LOADs of weights that the array takes as they are stored.
PARAM_WORDS = 2            # DRAM words of a PBUF record.
MERGE_WORDS = 256          # WBUF words up to which weights of several COMPUTEs share a LOAD;
MERGE_RECORDS = 128        # records up to which their parameters do.
ALIGNED_BLOCKS = 8         # Blocks that fill whole DRAM words in any format.
BANKS = 4                  # Of ABUF.


@dataclass(frozen=True)
class WeightRun:
    """A run of weight blocks in DRAM: ``groups`` (first channel, channels), each a word (of WBUF or
    VBUF) of ``lane_blocks`` blocks per tap; ``offset``: DRAM words from the layer's first. A LOAD
    may begin at any multiple of ``unit`` words. stride: with deltas every group is a run of its
    own; DRAM words from one to the next, else None."""

    groups: tuple
    lane_blocks: int
    words: int
    offset: int
    fmt: Format
    unit: int
    stride: int = None

    def dram_words(self, words):
        """32-bit words that the first ``words`` of the run take in DRAM."""
        if self.stride is not None:
            return words // self.unit * self.stride
        return self.fmt.run_words(words * self.lane_blocks)


@dataclass(frozen=True)
class WeightLoad:
    """Weights that are loaded together: for ``subs`` (ranges of channels), in ``runs``; ``places``:
    word of each sub's first channel, from the load's first."""

    subs: tuple
    runs: tuple
    words: int
    places: dict


@dataclass(frozen=True)
class Addresses:
    """Where a layer's data lies, in DRAM words: inputs (a list), output, weights, params."""

    inputs: tuple
    output: int
    weights: int
    params: int


def weight_format(geo, layer):
    """Format the layer's weights are stored in."""
    return RAW16_FORMAT if geo.shared_weights else layer.weight_format


def as_stored(geo, arch):
    """Whether the layer's weights go into WBUF as they are stored: see spec/arch.py."""
    return geo.dense and arch.weight_format is not None


def _weight_run(groups, lanes, taps, offset, fmt, stored):
    if stored:
        return WeightRun(groups, lanes, len(groups) * taps, offset, STORED_FORMAT, 1)
    if fmt.kind != DELTA:
        return WeightRun(groups, lanes, len(groups) * taps, offset, fmt, ALIGNED_BLOCKS)
    fmt = fmt.in_run(lanes * LANES)
    return WeightRun(groups, lanes, len(groups) * taps, offset, fmt, taps,
                     fmt.run_words(taps * lanes))


def weight_loads(geo, tiling, arch, fmt):
    """(list of WeightLoad, DRAM words in all): how the layer's weights lie in DRAM."""
    group = group_size(geo, tiling, arch)
    ranges = [(a + low, a + high) for a, b in split(geo.cout, tiling.channels)
              for low, high in split(b - a, tiling.sub)]
    if geo.shared_weights:
        lanes = -(-group // LANES)
        run = _weight_run(((0, lanes * LANES),), lanes, geo.taps, 0, fmt, False)
        load = WeightLoad(tuple(ranges), (run,), geo.taps, {a: 0 for a, _ in ranges})
        return [load], run.dram_words(run.words)
    merged, limit = [[]], min(MERGE_WORDS, geo.weight_depth(arch) // 4)
    held = 0
    for a, b in ranges:
        words = -(-(b - a) // group) * geo.taps
        if merged[-1] and held + words > limit:
            merged.append([])
            held = 0
        merged[-1].append((a, b))
        held += words
    loads, offset = [], 0
    for subs in merged:
        groups, places, words = [], {}, 0
        for a, b in subs:
            places[a] = words
            groups += [(a + low, high - low) for low, high in split(b - a, group)]
            words = len(groups) * geo.taps
        runs, first = [], 0
        stored = as_stored(geo, arch)
        blocks = [arch.word_blocks(n) if stored else -(-n // LANES) for _, n in groups]
        for i in range(1, len(groups) + 1):
            if i == len(groups) or blocks[i] != blocks[first]:
                run = _weight_run(tuple(groups[first:i]), blocks[first], geo.taps, offset, fmt,
                                  stored)
                runs.append(run)
                offset += run.dram_words(run.words)
                first = i
        loads.append(WeightLoad(tuple(subs), tuple(runs), words, places))
    return loads, offset


class Ring:
    """WBUF, VBUF or PBUF as a ring: what is loaded takes the place of what was loaded longest
    ago."""

    def __init__(self, depth):
        self.depth, self.head = depth, 0
        self.held = []         # (key, first, words), oldest first.

    def find(self, key):
        """Place of what was loaded as ``key``, or None."""
        return next((first for k, first, _ in self.held if k == key), None)

    def place(self, key, words):
        """(place, words that overlap nothing which the load before it brought)."""
        first, self.head = self.head, (self.head + words) % self.depth
        free = self.depth - self.held[-1][2] if self.held else self.depth
        self.held = [h for h in self.held if (h[1] - first) % self.depth >= words
                     and (first - h[1]) % self.depth >= h[2]]
        self.held.append((key, first, words))
        return first, free


class Memories:
    """What is in the on-chip memories for weights and parameters, from layer to layer."""

    def __init__(self, arch):
        self.wbuf, self.vbuf, self.pbuf = (
            Ring(depth) for depth in (arch.wbuf_depth, arch.vbuf_depth, arch.pbuf_depth))


def registers_of(fmt):
    """What LOAD and STORE must know of a tensor's format."""
    return {"FORMAT": fmt.code} | ({"SEGMENT": fmt.segment} if fmt.segment else {})


def vector_go(program, geo, requant, channels, place, in_row, first, count, row, rows, out, out_row,
              w_base, p_base, distance=0, ring=0, at=None):
    """Append a VECTOR GO: ``channels`` of output rows first .. first+count-1.

    place: ABUF address of input row ``row``; ``rows`` input rows are there from it on, in_row
    vectors apart. With a ring (its size in vectors) place is the ring's first vector and ``at``
    where the first tap's row would be in it. distance: from an ADD's first operand to its second.
    """
    registers = {
        "IN_BASE": place, "IN_CH": geo.in_vecs, "IN_ROWS": rows, "IN_W": geo.in_width,
        "KH": geo.kh, "KW": geo.kw, "STRIDE": geo.stride, "PAD_X": geo.padding,
        "OUT_ROWS": count, "OUT_VECS": geo.out_vecs, "COUT": channels, "OUT_BASE": out,
        "OUT_W": geo.out_width, "W_BASE": w_base, "P_BASE": p_base, "RING": ring,
        "CLAMP_LO": int(requant.lo), "CLAMP_HI": int(requant.hi),
        "FLAGS": isa.FLAG_POOL if geo.op == POOL else 0,
        "W_TILE": 0 if geo.shared_weights else geo.taps,
    }
    size = ring or 1 << 16
    if geo.op in (ADD, POOL):
        registers |= {"IN_AT": 0, "ROW_OFF": 0}
    else:
        offset = first * geo.stride - geo.padding - row
        registers |= {"ROW_OFF": offset,
                      "IN_AT": (offset * in_row if at is None else at) % size}
    if geo.op == ADD:
        registers |= {"KH": 2, "IN_ROWS": isa.ROWS_ANY,
                      "KY_STEP": (distance if geo.sources == 2 else 0) % size}
    elif geo.kh > 1:
        registers["KY_STEP"] = in_row % size
    if count > 1:
        registers |= {"Y_STEP": in_row * geo.stride % size, "OUT_ROW": out_row}
    if channels > 1:
        registers["OUT_CH"] = geo.out_vecs
    program.go(isa.VECTOR, **registers)


def compute_go(program, geo, requant, channels, place, in_row, first, count, row, rows, out,
               out_row, w_base, p_base, arch, distance=0):
    """Append a COMPUTE GO of any layer; arguments as vector_go's."""
    registers = {
        "IN_BASE": place, "IN_ROW": in_row, "IN_ROWS": rows, "IN_W": geo.in_width,
        "CIN": 1, "KH": geo.kh, "KW": geo.kw, "STRIDE": geo.stride,
        "ROW_OFF": first * geo.stride - geo.padding - row, "PAD_X": geo.padding,
        "KY_STEP": in_row, "OUT_ROWS": count, "OUT_VECS": geo.out_vecs, "COUT": channels,
        "OUT_BASE": out, "OUT_W": geo.out_width, "W_BASE": w_base, "W_STEP": 1,
        "P_BASE": p_base, "CLAMP_LO": int(requant.lo), "CLAMP_HI": int(requant.hi), "FLAGS": 0,
    }
    if channels > 1:
        registers["OUT_CH"] = geo.out_vecs
    if count > 1:
        registers["OUT_ROW"] = out_row
    if channels > arch.columns:
        registers["W_TILE"] = 0 if geo.shared_weights else geo.taps
    if geo.dense:
        registers |= {"CIN": geo.cin, "IN_CH": geo.in_vecs}
    else:
        registers |= {"FLAGS": isa.FLAG_DEPTHWISE, "IN_GROUP": geo.in_vecs}
    if geo.op == ADD:
        registers |= {"KH": 2, "IN_ROWS": isa.ROWS_ANY, "ROW_OFF": 0,
                      "KY_STEP": (distance if geo.sources == 2 else 0) % (1 << 16)}
    elif geo.op == POOL:
        registers |= {"FLAGS": isa.FLAG_DEPTHWISE | isa.FLAG_POOL, "CIN": geo.in_vecs,
                      "IN_CH": 1, "W_STEP": 0, "ROW_OFF": 0}
    program.go(isa.COMPUTE, **registers)


def load_run(program, run, weights, start, stop, place, ring, vector):
    """Append the LOAD of words start .. stop-1 of a WeightRun: to ``place`` in ``ring``, VBUF if
    ``vector``, else WBUF. weights: DRAM word of the layer's first."""
    memory = {"DST_MEM": isa.MEM_VBUF} if vector else \
        {"DST_MEM": isa.MEM_WBUF, "LANE_BLOCKS": run.lane_blocks}
    registers = {"RUNS": 1, "RUN_LEN": (stop - start) * run.lane_blocks}
    if run.stride is not None:
        registers = {"RUNS": (stop - start) // run.unit, "RUN_LEN": run.unit * run.lane_blocks,
                     "RUN_STRIDE": run.stride, "DST_STRIDE": run.unit}
    program.go(isa.LOAD, constant=True, ADDR=weights + run.offset + run.dram_words(start),
               **registers, **registers_of(run.fmt), DST=place % ring.depth, **memory)


def load_records(program, address, count, place):
    """Append the LOAD of PBUF records."""
    program.go(isa.LOAD, constant=True, ADDR=address, RUNS=1, RUN_LEN=count,
               FORMAT=RAW16_FORMAT.code, DST_MEM=isa.MEM_PBUF, DST=place)


def move_rows(program, engine, fmt, address, rows, vectors, stride, place):
    """Append a LOAD or STORE of ``rows`` rows of ``vectors`` vectors, one behind the other from
    ABUF ``place`` on; in DRAM ``stride`` words apart from ``address`` on."""
    chip = ("DST", "DST_STRIDE") if engine == isa.LOAD else ("SRC", "SRC_STRIDE")
    registers = {"ADDR": address, "RUNS": rows, "RUN_LEN": vectors, **registers_of(fmt),
                 chip[0]: place}
    if engine == isa.LOAD:
        registers["DST_MEM"] = isa.MEM_ABUF
    if rows > 1:
        registers |= {"RUN_STRIDE": stride, chip[1]: vectors}
    program.go(engine, **registers)


class LayerEmitter:
    """Appends the GOs of one layer (graph.Layer; ``tensors`` are the network's) to a Program.
    ``run()`` once. memories: those of the layers before it."""

    def __init__(self, program, layer, tensors, geo, tiling, addresses, arch, memories=None):
        self.program, self.layer, self.geo, self.tiling = program, layer, geo, tiling
        self.addresses, self.arch = addresses, arch
        self.in_formats = [tensors[n].fmt for n in layer.inputs]
        self.out_format = tensors[layer.output].fmt
        loads, _ = weight_loads(geo, tiling, arch, weight_format(geo, layer))
        self.load_of = {sub: load for load in loads for sub in load.subs}
        memories = memories or Memories(arch)
        self.weights = memories.vbuf if geo.vector else memories.wbuf
        self.pbuf = memories.pbuf
        self.param_loads = self._param_loads()
        self.held_rows = geo.in_rows if tiling.whole else geo.tile_rows(tiling.rows)
        self._allocate()
        self.slots = {}        # Input slot -> (key, first row, rows loaded up to).
        self.in_turn = self.out_turn = 0

    def _allocate(self):
        """ABUF places of input and output slots: a bank each where they fit, so that COMPUTE meets
        neither LOAD nor STORE at a port; else inputs from the bottom, outputs from the top."""
        t, geo, depth = self.tiling, self.geo, self.arch.abuf_depth
        self.source_size = self.held_rows * geo.in_row_size(t.channels) // geo.sources
        in_size = self.source_size * geo.sources
        out_size = t.rows * t.channels * geo.out_vecs
        bank = depth // BANKS
        if max(in_size, out_size) <= bank:
            self.in_places, self.out_places = [0, 2 * bank], [bank, 3 * bank]
        else:
            self.in_places = [0, in_size]
            self.out_places = [depth - out_size, depth - 2 * out_size]

    def _param_loads(self):
        """Channel range of a COMPUTE -> range of parameters to load for it."""
        merged = []
        whole = self.geo.cout <= self.arch.pbuf_depth
        limit = min(MERGE_RECORDS, self.arch.pbuf_depth // (1 if whole else 2))
        for a, b in self.load_of:
            if merged and b - merged[-1][0][0] <= limit:
                merged[-1].append((a, b))
            else:
                merged.append([(a, b)])
        return {sub: (subs[0][0], subs[-1][1]) for subs in merged for sub in subs}

    # What is needed -------------------------------------------------------------------------------

    def load_weights(self, sub):
        """W_BASE of a range of channels, loaded if it is not there."""
        load = self.load_of[sub]
        ring, key = self.weights, (self.addresses.weights, load.subs)
        place = ring.find(key)
        if place is None:
            place, free = ring.place(key, load.words)
            at = 0
            for run in load.runs:
                # What overlaps the weights in use comes in a LOAD of its own, so that the rest
                # need not wait for them.
                cut = (free - at) // run.unit * run.unit
                pieces = [(0, cut), (cut, run.words)] if 64 <= cut < run.words else [(0, run.words)]
                for start, stop in pieces:
                    load_run(self.program, run, self.addresses.weights, start, stop,
                             place + at + start, ring, self.geo.vector)
                at += run.words
        return (place + load.places[sub[0]]) % ring.depth

    def load_params(self, sub):
        """P_BASE of a range of channels, loaded if it is not in PBUF."""
        a, b = self.param_loads[sub]
        key = (self.addresses.params, a, b)
        place = self.pbuf.find(key)
        if place is None:
            place, _ = self.pbuf.place(key, b - a)
            load_records(self.program, self.addresses.params + PARAM_WORDS * a, b - a, place)
        return (place + sub[0] - a) % self.arch.pbuf_depth

    def _load_rows(self, place, channels, start, stop):
        """Rows start..stop of a channel range of every input, to ABUF ``place``."""
        geo = self.geo
        for i in range(geo.sources):
            fmt = self.in_formats[i]
            row = (channels[1] - channels[0]) * geo.in_vecs
            skip = fmt.run_words(channels[0] * geo.in_vecs)
            stride = fmt.run_words(geo.cin * geo.in_vecs)
            registers = {"ADDR": self.addresses.inputs[i] + start * stride + skip,
                         "RUNS": stop - start, "RUN_LEN": row, **registers_of(fmt),
                         "DST_MEM": isa.MEM_ABUF, "DST": place + i * self.source_size}
            if stop - start > 1:
                registers |= {"RUN_STRIDE": stride, "DST_STRIDE": row}
            self.program.go(isa.LOAD, **registers)

    def _input(self, channels, first, count):
        """(ABUF address of the tile's row 0, input row it holds, rows from there) for ``count``
        output rows from ``first`` of a range of channels, loaded if need be."""
        geo = self.geo
        start, stop = geo.input_rows(first, count)
        if geo.dense:
            channels = (0, geo.cin)
        row = (channels[1] - channels[0]) * geo.in_vecs
        low, high = (0, geo.in_rows) if self.tiling.whole else (start, stop)
        key = (channels, low, high)
        slot = next((s for s, (k, _) in self.slots.items() if k == key), None)
        if slot is None:
            slot, self.in_turn = self.in_turn, (self.in_turn + 1) % self.tiling.in_slots
            self.slots[slot] = (key, start)
        place, loaded = self.in_places[slot], self.slots[slot][1]
        if stop > loaded:
            self._load_rows(place + (loaded - low) * row, channels, loaded, stop)
            self.slots[slot] = (key, stop)
        return place, low, high - low

    # The layer ------------------------------------------------------------------------------------

    def run(self):
        """Append all GOs of the layer."""
        geo, t = self.geo, self.tiling
        chunks, tiles = split(geo.cout, t.channels), split(geo.out_rows, t.rows)
        order = [(c, r) for c in chunks for r in tiles] if t.weights_outer else \
            [(c, r) for r in tiles for c in chunks]
        for (a, b), (first, last) in order:
            out, self.out_turn = self.out_places[self.out_turn], (self.out_turn + 1) % t.out_slots
            for low, high in split(b - a, t.sub):
                w_base, p_base = self.load_weights((a + low, a + high)), \
                    self.load_params((a + low, a + high))
                place, row, rows = self._input((a, b), first, last - first)
                in_row = (geo.cin if geo.dense else b - a) * geo.in_vecs
                if not geo.dense:
                    place += low * geo.in_vecs
                self.compute(high - low, first, last - first, place, in_row, row, rows,
                             out + low * geo.out_vecs, (b - a) * geo.out_vecs, w_base, p_base,
                             self.source_size)
            self._store((a, b), first, last - first, out)

    def compute(self, channels, first, count, place, in_row, row, rows, out, out_row, w_base,
                p_base, distance=0):
        """Append the GO of output rows first .. first+count-1 of ``channels``.

        place: ABUF address of input row ``row``; ``rows`` input rows are there, in_row vectors
        apart; out, out_row: where the output goes; distance: see vector_go.
        """
        common = (self.program, self.geo, self.layer.requant, channels, place, in_row, first, count,
                  row, rows, out, out_row, w_base, p_base)
        if self.geo.vector:
            vector_go(*common, distance)
        else:
            compute_go(*common, self.arch, distance)

    def _store(self, chunk, first, count, out):
        geo, fmt = self.geo, self.out_format
        row = (chunk[1] - chunk[0]) * geo.out_vecs
        stride = fmt.run_words(geo.cout * geo.out_vecs)
        move_rows(self.program, isa.STORE, fmt, self.addresses.output + first * stride
                  + fmt.run_words(chunk[0] * geo.out_vecs), count, row, stride, out)
