"""How a layer may be cut: its geometry, and the tilings that fit the on-chip memories.

A layer becomes *tiles* of output rows x output channels. A tile's output is one STORE; its channels
may take several COMPUTEs where their weights do not fit WBUF together. ``candidates`` lists tilings
that fit, those with the least estimated time first; the planner tries the best of them in full.
"""

from dataclasses import dataclass
from itertools import product
from math import ceil, lcm

from ..spec import isa
from ..spec.formats import LANES
from .graph import ADD, CONV, DEPTHWISE, POOL

CHANNEL_STEP = 8         # A row's channel range begins on a DRAM word for any format.
GO_OVERHEAD = 250        # Clocks a COMPUTE counts beside its work: keeps programs small.
HOPELESS = 1.5           # Tilings this much above the best estimate are not worth a try.
CHUNK_COUNTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 256, 512, 1024)


class PlanError(ValueError):
    """A network that this accelerator cannot run: one line naming layer, value and limit."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of one layer. ``taps``: WBUF or VBUF words of one output channel, those ahead of its
    weights included; ``sources``: distinct input tensors; vectors are 4 pixels."""

    title: str            # For messages.
    op: str
    cin: int              # Channels of the input tensor.
    cout: int
    in_rows: int
    in_width: int
    out_rows: int
    out_width: int
    kh: int
    kw: int
    stride: int
    padding: int
    taps: int
    sources: int
    in_words: int         # 32-bit words of one row of one input tensor in DRAM,
    out_words: int        # of one row of the output,
    weight_bits: int      # bits of one stored weight.
    channel_step: int     # Channels of a tile: a multiple of this, or all.
    vector: bool          # Done by VECTOR, else by COMPUTE.

    @property
    def dense(self):
        return self.op == CONV

    @property
    def in_vecs(self):
        return -(-self.in_width // LANES)

    @property
    def out_vecs(self):
        return -(-self.out_width // LANES)

    @property
    def shared_weights(self):
        """All channels take the same weights: one word a tap serves all tiles."""
        return self.op in (ADD, POOL)

    def input_rows(self, first, count):
        """(start, stop) of the input rows that output rows first .. first+count-1 take."""
        if self.op == POOL:
            return 0, self.in_rows
        start = first * self.stride - self.padding
        stop = start + (count - 1) * self.stride + (1 if self.op == ADD else self.kh)
        stop = min(max(stop, 0), self.in_rows)
        return min(max(start, 0), stop), stop

    def tile_rows(self, rows):
        """Most input rows that a tile of ``rows`` output rows takes."""
        if self.op == POOL:
            return self.in_rows
        return min(self.in_rows, (rows - 1) * self.stride + (1 if self.op == ADD else self.kh))

    def in_row_size(self, channels):
        """ABUF vectors of one input row, for a tile of ``channels`` output channels."""
        return self.sources * self.in_vecs * (self.cin if self.dense else channels)

    def weight_depth(self, arch):
        """Words of the memory its weights are loaded into."""
        return arch.vbuf_depth if self.vector else arch.wbuf_depth


@dataclass(frozen=True)
class Tiling:
    """rows, channels: of a tile; sub: channels of one COMPUTE; whole: a slot of ABUF holds all
    input rows, each loaded once, else the rows of one tile; weights_outer: all row tiles of one
    channel range, then the next range, else the other way round; in_slots, out_slots: 2 where
    loading or storing overlaps computing."""

    rows: int
    channels: int
    sub: int
    whole: bool
    weights_outer: bool
    in_slots: int
    out_slots: int

    def text(self):
        return (f"{self.rows} rows x {self.channels} channels"
                + (f" by {self.sub}" if self.sub < self.channels else "")
                + (", input kept" if self.whole else "")
                + (", channels outer" if self.weights_outer else ", rows outer")
                + f", buffers {self.in_slots}+{self.out_slots}")


def geometry(layer, tensors, arch):
    """The Geometry of a graph.Layer; PlanError when it can run on no tiling."""
    title = f"layer {layer.name}" + (f" ({layer.source})" if layer.source
                                     and layer.source != layer.name else "")
    source, out = tensors[layer.inputs[0]], tensors[layer.output]
    cin, in_rows, in_width = source.shape
    cout, out_rows, out_width = out.shape
    kh = kw = 1
    shape = layer.weights.shape
    kernel = shape[2:] if len(shape) == 4 else ("height", "width")
    expected = {CONV: (cout, cin, *kernel), DEPTHWISE: (cout, 1, *kernel), ADD: (2,), POOL: (1,)}
    if layer.op not in expected:
        raise PlanError(f"{title}: operation {layer.op!r}: allowed are {', '.join(expected)}")
    if tuple(shape) != expected[layer.op]:
        raise PlanError(f"{title}: weights of shape {tuple(shape)}: expected is "
                        f"{expected[layer.op]}")
    if layer.op in (CONV, DEPTHWISE):
        kh, kw = shape[2:]
    if layer.op == POOL:
        kh = in_rows
    wanted = {DEPTHWISE: (cin, out_rows, out_width), POOL: (cin, 1, 1), ADD: source.shape}
    if tuple(out.shape) != tuple(wanted.get(layer.op, out.shape)) \
            or any(tuple(tensors[n].shape) != tuple(source.shape) for n in layer.inputs):
        raise PlanError(f"{title}: {layer.op} from {[tensors[n].shape for n in layer.inputs]} to "
                        f"{out.shape}: shapes do not fit")
    taps = {CONV: arch.head_words + cin * kh * kw, DEPTHWISE: kh * kw, ADD: 2, POOL: 1}[layer.op]
    limits = (("stride", layer.stride, isa.STRIDES), ("kernel width", kw, range(1, isa.MAX_KW + 1)),
              ("padding", layer.padding, range(8)), ("input channels", cin, range(1, 4096)),
              ("output channels", cout, range(1, 8192)), ("input width", in_width, range(1, 4096)),
              ("kernel height", kh, range(1, 1024)), ("input height", in_rows, range(1, 2048)))
    for name, value, allowed in limits:
        if value not in allowed:
            raise PlanError(f"{title}: {name} = {value}: allowed are {min(allowed)} to "
                            f"{max(allowed)}")
    if layer.op in (CONV, DEPTHWISE):
        for what, size, outs, k in (("height", in_rows, out_rows, kh),
                                    ("width", in_width, out_width, kw)):
            least, most = ((size + pad - k) // layer.stride + 1
                           for pad in (layer.padding, 2 * max(layer.padding, k - 1)))
            if not max(least, 1) <= outs <= max(most, 1):
                raise PlanError(f"{title}: output {what} = {outs}: allowed are {max(least, 1)} to "
                                f"{max(most, 1)} for an input of {size}")
    vector = arch.vector and (layer.op in (ADD, POOL) or (
        layer.op == DEPTHWISE and kw <= isa.VECTOR_KW and kh <= isa.VECTOR_KH
        and layer.padding <= isa.VECTOR_PAD))
    if not vector:
        _check_array(title, layer, arch)
    if taps > arch.wbuf_depth and not vector:
        raise PlanError(f"{title}: a reduction of {taps} words does not fit WBUF: wbuf_depth is "
                        f"{arch.wbuf_depth}")
    words = {name: t.fmt.run_words(t.shape[0] * -(-t.shape[2] // LANES))
             for name, t in ((n, tensors[n]) for n in (layer.inputs[0], layer.output))}
    return Geometry(title, layer.op, cin, cout, in_rows, in_width, out_rows, out_width, kh, kw,
                    1 if layer.op in (ADD, POOL) else layer.stride,
                    0 if layer.op in (ADD, POOL) else layer.padding, taps,
                    len(set(layer.inputs)), words[layer.inputs[0]], words[layer.output],
                    layer.weight_format.bits, _channel_step(layer, tensors), vector)


def _check_array(title, layer, arch):
    """COMPUTE can do the layer, with weights in the format its array takes."""
    if arch.weight_format is None:
        return
    if layer.op != CONV:
        why = f"larger than VECTOR takes ({isa.VECTOR_KW}x{isa.VECTOR_KH}, padding " \
              f"{isa.VECTOR_PAD})" if arch.vector else "without VECTOR"
        raise PlanError(f"{title}: {layer.op}, {why}: array {arch.array} does dense convolutions "
                        "only")
    if layer.weight_format != arch.weight_format:
        raise PlanError(f"{title}: weights of format {layer.weight_format}: array {arch.array} "
                        f"takes {arch.weight_format}")


def _channel_step(layer, tensors):
    """A tile's part of a row must begin on a DRAM word, and on a segment where there are any."""
    steps = [CHANNEL_STEP]
    for name in [*layer.inputs, layer.output] if layer.op != CONV else [layer.output]:
        t = tensors[name]
        steps.append(t.fmt.segment // -(-t.shape[2] // LANES) if t.fmt.segment else 1)
    return lcm(*steps)


def split(total, size):
    """Ranges (start, stop) of at most ``size``."""
    return [(a, min(a + size, total)) for a in range(0, total, size)]


def group_size(geo, tiling, arch):
    """Output channels that share a word of weights."""
    if geo.vector:
        return LANES
    return arch.columns if geo.dense else min(arch.columns, tiling.channels)


def _channel_sizes(geo, arch):
    """Channels of a tile that are worth trying."""
    unit = lcm(arch.columns, geo.channel_step)
    sizes = {geo.cout}
    for count in CHUNK_COUNTS:
        sizes.add(unit * ceil(ceil(geo.cout / unit) / count))
    if not geo.dense:
        sizes |= {n for n in range(geo.channel_step, arch.columns, geo.channel_step)
                  if n & n - 1 == 0}
    return sorted(size for size in sizes if size <= geo.cout)


def _sub_sizes(geo, channels, arch):
    """Channels of one COMPUTE that are worth trying: as many as WBUF and PBUF take. Where a memory
    must be refilled, half of it, so that loading overlaps computing, and less, to begin sooner."""
    group = LANES if geo.vector else arch.columns if geo.dense else min(arch.columns, channels)
    groups, words = ceil(geo.cout / group), 0 if geo.shared_weights else geo.taps
    fits, sizes, depth = ceil(channels / group), set(), geo.weight_depth(arch)
    if groups * words > depth:
        fits = min(fits, max(1, depth // 2 // words))
        sizes.add(ceil(fits / 3))
    if geo.cout > arch.pbuf_depth:
        fits = min(fits, max(1, arch.pbuf_depth // 2 // group))
    sizes = {min(n, fits) for n in (fits, *sizes)}
    return [min(channels, n * group) for n in sorted(sizes)]


def _row_sizes(geo, most):
    """Output rows of a tile that are worth trying: as many as fit, and parts of it, balanced."""
    sizes = set()
    for part in (1, 2, 4, 8):
        rows = max(1, most // part)
        sizes.add(ceil(geo.out_rows / ceil(geo.out_rows / rows)))
    return sizes


def _most_rows(geo, channels, whole, in_slots, out_slots, arch):
    """Most output rows a tile can have in ABUF; 0 when not even one fits."""
    in_row, out_row = geo.in_row_size(channels), channels * geo.out_vecs

    def fits(rows):
        held = geo.in_rows if whole else geo.tile_rows(rows)
        return in_slots * held * in_row + out_slots * rows * out_row <= arch.abuf_depth

    low, high = 0, geo.out_rows
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _estimate(geo, tiling, arch):
    """Clocks the layer may take, roughly; 4 bytes a clock."""
    chunks, tiles = ceil(geo.cout / tiling.channels), ceil(geo.out_rows / tiling.rows)
    group = group_size(geo, tiling, arch)
    share = 1 if geo.dense else 1 / chunks       # Of the input's channels, in one tile.
    in_row = max(geo.in_words, geo.cin * geo.in_vecs) * geo.sources * share
    out_row = max(geo.out_words, geo.cout * geo.out_vecs) / chunks
    rows = geo.in_rows if tiling.whole else tiles * geo.tile_rows(tiling.rows)
    repeated = chunks if not geo.dense or (not tiling.whole and tiling.weights_outer
                                           and tiles > tiling.in_slots) else 1
    inputs = rows * in_row * repeated
    groups = ceil(geo.cout / group)
    weights = groups * geo.taps * group * geo.weight_bits / 32
    if geo.shared_weights:
        weights = 0
    elif not tiling.weights_outer and groups * geo.taps > geo.weight_depth(arch):
        weights *= tiles
    outputs = geo.out_rows * out_row * chunks
    reduction = geo.taps
    positions = geo.out_rows * geo.out_vecs
    if geo.dense:
        compute = groups * max(reduction, arch.columns + 1) * positions
    elif geo.op == POOL:
        compute = geo.cout * geo.in_rows * geo.in_vecs
    elif geo.vector:
        compute = geo.cout * positions * (2 if geo.op == ADD else geo.kh * geo.stride)
    else:
        compute = geo.cout * reduction * positions
    loads = inputs + weights + 2 * geo.cout
    clocks = max(loads, compute, outputs, loads + outputs)
    if tiling.in_slots == 1 and not tiling.whole:
        clocks = max(clocks, inputs + compute)
    if tiling.out_slots == 1:
        clocks = max(clocks, compute + outputs)
    # What nothing overlaps: the first tile and weights on their way in, the last on its way out.
    steps = chunks * tiles * ceil(tiling.channels / tiling.sub)
    alone = (inputs + outputs) / (chunks * tiles) + weights * tiling.sub / geo.cout
    return clocks + alone + compute / steps + GO_OVERHEAD * steps


def candidates(geo, arch, hopeless=HOPELESS):
    """Tilings that fit, least estimated time first, up to ``hopeless`` times the least. PlanError
    when there is none."""
    found = {}
    for channels in _channel_sizes(geo, arch):
        subs = _sub_sizes(geo, channels, arch)
        single = channels == geo.cout
        for whole in (False, True):
            if geo.op in (ADD, POOL) and whole:
                continue      # No rows are shared between tiles.
            for in_slots in ((1,) if whole and (geo.dense or single) else (1, 2)):
                for out_slots in (1, 2):
                    most = _most_rows(geo, channels, whole, in_slots, out_slots, arch)
                    orders = (True,) if single or not geo.dense else (True, False)
                    for rows, outer, sub in product(_row_sizes(geo, most) if most else (), orders,
                                                    subs):
                        t = Tiling(rows, channels, sub, whole, outer, in_slots, out_slots)
                        found[t] = _estimate(geo, t, arch)
    if not found:
        least = min(_channel_sizes(geo, arch))
        need = geo.tile_rows(1) * geo.in_row_size(least) + least * geo.out_vecs
        raise PlanError(f"{geo.title}: the smallest tile, {geo.tile_rows(1)} input rows and one "
                        f"output row of {least} channels, takes {need} vectors of ABUF: abuf_depth "
                        f"is {arch.abuf_depth}")
    least = min(found.values())
    return sorted((t for t in found if found[t] <= hopeless * least),
                  key=lambda t: (found[t], -t.rows, t.channels))
