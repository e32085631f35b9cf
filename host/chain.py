"""Chains: layers that pass their rows on to each other in ABUF, without DRAM in between.

All weights of the chain are loaded once. Then every step makes a few rows of every layer: those
that the next layer will take in the next step. So COMPUTE, VECTOR, LOAD and STORE work at the same
time, each on rows that the others finished a step before. Every tensor has a ring of rows, with
room for what is being read and, unless the chain is *tight*, beside it for what is being written.

A chain begins with any layer; behind it come 1x1 convolutions, depthwise ones and adds. COMPUTE has
no rings that a window of rows may lie across the end of, so depthwise ones are VECTOR's.
"""

from dataclasses import dataclass, field

from ..spec import isa
from ..spec.formats import LANES
from .channels import is_pointwise, place
from .emit import (
    Memories,
    compute_go,
    load_records,
    load_run,
    move_rows,
    vector_go,
    weight_format,
    weight_loads,
)
from .graph import CONV, DEPTHWISE, POOL
from .tiling import Tiling, split

MOST_LAYERS = 8
STEP_ROWS = (1, 2, 4, 8)


@dataclass(frozen=True)
class ChainTiling:
    """rows: of the chain's output a step. tight: which tensors (numbers, in the order of
    Chain.nodes) have rings without room for rows that are written while others are read. channels:
    of a GO that writes or reads such a tensor, so that writing follows reading closely; 0: all."""

    rows: int
    tight: frozenset = frozenset()
    channels: int = 0

    def text(self):
        return f"chain, {self.rows} rows a step" + (", tight" if self.tight else "") + (
            f" by {self.channels} channels" if self.channels else "")


def layer_tiling(geo):
    """How the weights of a chain's layer lie in DRAM: all in one piece."""
    return Tiling(geo.out_rows, geo.cout, geo.cout, False, True, 1, 1)


def can_chain(layers, geos, arch):
    """Whether these consecutive layers, which keep to themselves, can be a chain, ABUF aside."""
    if not 2 <= len(layers) <= MOST_LAYERS:
        return False
    for before, layer, geo in zip([None, *layers[:-1]], layers, geos, strict=True):
        if before is not None and before.output not in layer.inputs:
            return False
        if geo.op == POOL or (geo.op == DEPTHWISE and not geo.vector):
            return False
        if before is not None and geo.op == CONV and not is_pointwise(geo):
            return False
    first = geos[0]
    if first.op == CONV and (first.kh > 1 or first.stride > 1) \
            and any(layers[0].inputs[0] in layer.inputs for layer in layers[1:]):
        return False      # It is loaded by tiles, others would want rows.
    words = {True: 0, False: 0}
    for geo in geos:
        group = 4 if geo.vector else arch.columns
        words[geo.vector] += geo.taps * (1 if geo.shared_weights else -(-geo.cout // group))
    return words[True] <= arch.vbuf_depth and words[False] <= arch.wbuf_depth \
        and sum(geo.cout for geo in geos) <= arch.pbuf_depth


@dataclass
class _Node:
    """A tensor of the chain: ``row`` vectors a row; produced up to row upto[t] at the end of step
    t; ``ring`` rows from ABUF address ``place``; ``slots``: instead of a ring, two tiles of
    ``ring``/2 rows, each loaded as a whole."""

    name: str
    number: int
    rows: int
    row: int
    external: bool
    slots: bool = False
    upto: list = field(default_factory=list)
    ring: int = 0
    place: int = 0


class Chain:
    """The rings of a chain and its steps. ``fits``: they fit ABUF.

    layers, geos: of the chain; tiling: ChainTiling.
    """

    def __init__(self, layers, geos, tiling, arch):
        self.layers, self.geos, self.tiling, self.arch = layers, geos, tiling, arch
        self.nodes = {}
        for layer, geo in zip(layers, geos, strict=True):
            for name in layer.inputs:
                if name not in self.nodes:
                    whole = geo.dense and (geo.kh > 1 or geo.stride > 1)
                    self.nodes[name] = _Node(name, len(self.nodes), geo.in_rows,
                                             geo.cin * geo.in_vecs, True, whole)
            self.nodes[layer.output] = _Node(layer.output, len(self.nodes), geo.out_rows,
                                             geo.cout * geo.out_vecs, False)
        self._schedule()
        self._rings()
        self.fits = self._place()

    def consumers(self, name):
        """(layer, geometry) of the chain's layers that read a tensor."""
        return [(layer, geo) for layer, geo in zip(self.layers, self.geos, strict=True)
                if name in layer.inputs]

    def _lag(self, name):
        """Steps between the last layer's use of a tensor's rows and their production."""
        after = [self._lag(layer.output) for layer, _ in self.consumers(name)]
        return 1 + max(after) if after else 0

    def _schedule(self):
        """``upto`` of all nodes."""
        last = self.layers[-1].output
        deepest = max(self._lag(name) for name in self.nodes)
        rows = self.nodes[last].rows
        self.steps = -(-rows // self.tiling.rows) + deepest
        self.nodes[last].upto = [min(max((t - deepest + 1) * self.tiling.rows, 0), rows)
                                 for t in range(self.steps)]
        for name in sorted(self.nodes, key=self._lag):
            node = self.nodes[name]
            if name == last:
                continue
            for t in range(self.steps):
                node.upto.append(max(
                    geo.input_rows(0, made)[1] if made else 0
                    for layer, geo in self.consumers(name)
                    for made in [self.nodes[layer.output].upto[min(t + 1, self.steps - 1)]]))

    def made(self, name, t):
        """(first, last) row of a tensor that step t makes."""
        upto = self.nodes[name].upto
        return (upto[t - 1] if t else 0), upto[t]

    def _lowest(self, node, t):
        """Lowest row of a tensor that step t reads, its number of rows when none is."""
        low = node.rows
        for layer, geo in self.consumers(node.name):
            first = self.made(layer.output, t)[0] if t < self.steps else geo.out_rows
            if first < geo.out_rows:
                low = min(low, geo.input_rows(first, 1)[0])
        return low

    def _rings(self):
        for node in self.nodes.values():
            if node.slots:
                (layer, geo), = self.consumers(node.name)
                most = max((geo.input_rows(a, b - a) for a, b in
                            (self.made(layer.output, t) for t in range(self.steps)) if b > a),
                           key=lambda span: span[1] - span[0])
                node.ring = 2 * (most[1] - most[0])
            elif node.name == self.layers[-1].output:
                node.ring = min(2 * self.tiling.rows, node.rows)
            else:
                tight = node.number in self.tiling.tight
                node.ring = max(node.upto[t] - min(self._lowest(node, t + tight), node.upto[t])
                                for t in range(self.steps))
                node.ring = max(node.ring, 1)

    def _place(self):
        """ABUF places: what VECTOR reads, what both read, what COMPUTE reads, what STORE reads."""
        groups = [{}, {}, {}, {}]
        for node in self.nodes.values():
            readers = {geo.vector for _, geo in self.consumers(node.name)}
            group = 3 if not readers else 1 if len(readers) == 2 else 0 if True in readers else 2
            groups[group][node.name] = node.ring * node.row
        places = place(groups, self.arch.abuf_depth)
        for node in self.nodes.values():
            node.place = places[node.name] if places else 0
        return places is not None


class ChainEmitter:
    """Appends the GOs of a chain to a Program; ``run()`` once.

    formats: tensor name -> Format; addresses: tensor name -> DRAM word for those in DRAM; places:
    (weights, params) in DRAM words, of every layer."""

    def __init__(self, program, chain, formats, addresses, places, memories=None):
        self.program, self.chain, self.formats = program, chain, formats
        self.addresses, self.places = addresses, places
        self.memories = memories or Memories(chain.arch)
        self.loaded = {}       # Layer -> (W_BASE, P_BASE).

    def run(self):
        chain = self.chain
        for i in range(len(chain.layers)):
            self._constants(i)
        last = chain.layers[-1].output
        for t in range(chain.steps):
            for i in reversed(range(len(chain.layers))):
                first, end = chain.made(chain.layers[i].output, t)
                if end > first:
                    self._layer(i, first, end, t)
                    if chain.layers[i].output == last:
                        self._rows(isa.STORE, chain.nodes[last], first, end)
            for node in chain.nodes.values():
                if node.slots:
                    self._slot(node, t)
                elif node.external:
                    first, end = chain.made(node.name, t)
                    if end > first:
                        self._rows(isa.LOAD, node, first, end)

    # Weights and parameters -----------------------------------------------------------------------

    def _constants(self, i):
        layer, geo = self.chain.layers[i], self.chain.geos[i]
        weights, params = self.places[i]
        fmt, ring = weight_format(geo, layer), (self.memories.vbuf if geo.vector
                                                else self.memories.wbuf)
        (load,), _ = weight_loads(geo, layer_tiling(geo), self.chain.arch, fmt)
        base, _ = ring.place((weights, load.subs), load.words)
        at = 0
        for run in load.runs:
            load_run(self.program, run, weights, 0, run.words, base + at, ring, geo.vector)
            at += run.words
        record, _ = self.memories.pbuf.place((params, 0, geo.cout), geo.cout)
        load_records(self.program, params, geo.cout, record)
        self.loaded[i] = base, record

    # Rows to and from DRAM ------------------------------------------------------------------------

    def _rows(self, engine, node, first, end, place=None):
        """LOAD or STORE of rows first .. end-1, to or from their places in the ring, or ``place``
        on."""
        fmt = self.formats[node.name]
        stride = fmt.run_words(node.row)
        for a, b in ([(first, end)] if place is not None else _pieces(first, end, node)):
            at = place if place is not None else _address(node, a)
            move_rows(self.program, engine, fmt, self.addresses[node.name] + a * stride, b - a,
                      node.row, stride, at)

    def _slot(self, node, t):
        """The rows that the next step takes of a tensor in two tiles."""
        chain = self.chain
        (layer, geo), = chain.consumers(node.name)
        if t + 1 < chain.steps:
            first, end = chain.made(layer.output, t + 1)
            if end > first:
                a, b = geo.input_rows(first, end - first)
                self._rows(isa.LOAD, node, a, b, self._tile(node, t + 1))

    def _tile(self, node, t):
        return node.place + t % 2 * (node.ring // 2) * node.row

    # Layers ---------------------------------------------------------------------------------------

    def _layer(self, i, first, end, t):
        layer, geo, nodes = self.chain.layers[i], self.chain.geos[i], self.chain.nodes
        out = nodes[layer.output]
        sources = [nodes[name] for name in layer.inputs]
        # Rows that lie in one piece in every ring they are read from and written to.
        pieces = [(first, end)]
        for node in {n.name: n for n in
                     [out, *([] if geo.op == DEPTHWISE or sources[0].slots else sources)]}.values():
            pieces = [p for a, b in pieces for p in _pieces(a, b, node)]
        channels = self._channels(layer, geo)
        if len(channels) > 1 and out.number in self.chain.tiling.tight:
            pieces = [(row, row + 1) for a, b in pieces for row in range(a, b)]
        for a, b in pieces:
            for part in channels:
                if geo.op == CONV:
                    self._conv(i, layer, geo, sources[0], out, a, b, first, end, t, part)
                elif geo.op == DEPTHWISE:
                    self._depthwise(i, layer, geo, sources[0], out, a, b, part)
                else:
                    self._add(i, layer, geo, sources, out, a, b)

    def _channels(self, layer, geo):
        """Ranges of channels, a GO each, of a layer."""
        tiling, nodes = self.chain.tiling, self.chain.nodes
        tight = {name for name, node in nodes.items() if node.number in tiling.tight}
        if tiling.channels and ((geo.op == CONV and layer.output in tight)
                                or (geo.op == DEPTHWISE and layer.inputs[0] in tight)):
            return split(geo.cout, tiling.channels)
        return [(0, geo.cout)]

    def _conv(self, i, layer, geo, source, out, a, b, first, end, t, part):
        w_base, p_base = self.loaded[i]
        low, high = part
        w_base = (w_base + low // self.chain.arch.columns * geo.taps) % self.chain.arch.wbuf_depth
        if source.slots:
            row, stop = geo.input_rows(first, end - first)
            place, rows = self._tile(source, t), stop - row
        else:
            row, rows, place = a, b - a, _address(source, a)
        registers = {
            "IN_BASE": place, "IN_ROW": source.row, "IN_ROWS": rows, "IN_W": geo.in_width,
            "IN_CH": geo.in_vecs, "CIN": geo.cin, "KH": geo.kh, "KW": geo.kw, "STRIDE": geo.stride,
            "ROW_OFF": a * geo.stride - geo.padding - row, "PAD_X": geo.padding,
            "KY_STEP": source.row, "OUT_ROWS": b - a, "OUT_VECS": geo.out_vecs,
            "COUT": high - low, "OUT_BASE": _address(out, a) + low * geo.out_vecs,
            "OUT_W": geo.out_width, "W_BASE": w_base, "W_STEP": 1,
            "P_BASE": (p_base + low) % self.chain.arch.pbuf_depth,
            "CLAMP_LO": int(layer.requant.lo), "CLAMP_HI": int(layer.requant.hi),
            "FLAGS": 0, "OUT_CH": geo.out_vecs, "OUT_ROW": out.row, "W_TILE": geo.taps,
        }
        self.program.go(isa.COMPUTE, **registers)

    def _depthwise(self, i, layer, geo, source, out, a, b, part):
        w_base, p_base = self.loaded[i]
        low, high = part
        arch, start = self.chain.arch, a * geo.stride - geo.padding
        vector_go(self.program, geo, layer.requant, high - low, source.place + low * geo.in_vecs,
                  source.row, a, b - a, 0, geo.in_rows, _address(out, a) + low * geo.out_vecs,
                  out.row, (w_base + low // LANES * geo.taps) % arch.vbuf_depth,
                  (p_base + low) % arch.pbuf_depth, ring=source.ring * source.row,
                  at=start * source.row)

    def _add(self, i, layer, geo, sources, out, a, b):
        w_base, p_base = self.loaded[i]
        one, two = (_address(node, a) for node in (sources[0], sources[-1]))
        common = (self.program, geo, layer.requant, geo.cout, one, sources[0].row, a, b - a, a,
                  b - a, _address(out, a), out.row, w_base, p_base)
        if geo.vector:
            vector_go(*common, distance=two - one)
        else:
            compute_go(*common, self.chain.arch, distance=two - one)


def _address(node, row):
    return node.place + row % node.ring * node.row


def _pieces(first, end, node):
    """Rows first .. end-1 cut where the node's ring begins again."""
    out = []
    while first < end:
        stop = min(end, first - first % node.ring + node.ring)
        out.append((first, stop))
        first = stop
    return out


def candidates(layers, geos, arch):
    """Chains that fit ABUF: with room beside what is read, else without, largest tensors first."""
    found = []
    for rows in STEP_ROWS:
        if rows > geos[-1].out_rows:
            break
        tight = []
        while True:
            chain = Chain(layers, geos, ChainTiling(rows, frozenset(tight)), arch)
            if chain.fits:
                found.append(chain)
                sizes = (2 * arch.columns, arch.columns) if tight else ()
                found += [Chain(layers, geos, ChainTiling(rows, frozenset(tight), size), arch)
                          for size in sizes if any(geo.cout > size for geo in geos)]
                break
            left = {node.number: node.ring * node.row
                    for node in chain.nodes.values() if node.number not in tight
                    and not node.slots and node.name != layers[-1].output}
            if not left:
                break
            tight.append(max(left, key=left.get))
    return found
