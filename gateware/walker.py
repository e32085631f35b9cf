"""COMPUTE's loop nest: from registers to a stream of windows, all addresses by additions.

Two walkers share the loops. ``GroupWalker`` does tile, y and x: a *group* is what one (tile, y, x)
gives, up to ``columns`` output vectors. ``WindowWalker`` does j, ci and ky inside a group: a
*window* is the row segment that KW operands are cut from. It gives a window a clock, without a
pause between groups.

POOL is a convolution whose windows are single vectors; a reduction with no term at all becomes one
window of zeros, so that every output is written.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec import isa
from ..spec.formats import LANES
from .buffers import ADDRESS_BITS

MAX_VECTORS = 4                      # Vectors a window can cover: 3 + 3*STRIDE + KW <= 16 pixels.
MASK_BITS   = MAX_VECTORS*LANES

# Helpers ------------------------------------------------------------------------------------------

class Countdown(LiteXModule):
    """Iterations left: ``last`` is registered beside the counter. ``load(n)`` (1 or more) and
    ``step()`` give the statements."""

    def __init__(self, bits):
        self.left = Signal(bits, reset_less=True)
        self.last = Signal(reset_less=True)

    def load(self, n):
        return [self.left.eq(n - 1), self.last.eq(n == 1)]

    def step(self):
        return [self.left.eq(self.left - 1), self.last.eq(self.left == 1)]


class TileCounter(LiteXModule):
    """Walks COUT in tiles of ``columns``. ``step`` at least 2 clocks after ``load`` enters the
    first tile; later steps are at least 2 clocks apart.

    Attributes
    ----------
    cout, load, step : in
    n : out
        Channels of the tile.
    last : out
        It is the last one.
    """
    def __init__(self, columns):
        self.cout = Signal(13)
        self.load = Signal()
        self.step = Signal()
        self.n    = Signal(max=columns + 1, reset_less=True)
        self.last = Signal(reset_less=True)

        # # #

        left      = Signal((15, True),      reset_less=True)  # Channels of the next tiles.
        next_n    = Signal(max=columns + 1, reset_less=True)
        next_last = Signal(reset_less=True)
        self.sync += [
            next_last.eq(left <= columns),
            next_n.eq(Mux(left <= columns, left, columns)),
            If(self.load,
                left.eq(self.cout)
            ).Elif(self.step,
                left.eq(left - columns),
                self.n.eq(next_n),
                self.last.eq(next_last),
            ),
        ]


def times(value, factor):
    """value*factor of a constant factor, by shifts and additions (no multiplier)."""
    return sum((value << i for i in range(1, factor.bit_length()) if factor >> i & 1),
               value if factor & 1 else Constant(0))

# Setup --------------------------------------------------------------------------------------------

class Setup(LiteXModule):
    """Constants of a GO, registered, one clock after the registers ``r`` they come from.

    ``any_output``: there is something to write; ``bad``: a register is out of range.
    """
    def __init__(self, r, columns):
        address = ADDRESS_BITS
        self.depthwise  = Signal()
        self.pool       = Signal()
        self.any_output = Signal()
        self.empty      = Signal()                # No term: windows of zeros.
        self.bad        = Signal()
        self.cin        = Signal(12)              # Loop counts, 1 or more.
        self.kh         = Signal(10)
        self.kw         = Signal(3)
        self.stride2    = Signal()                # Between pixels of an operand.
        self.offset     = Signal(2)               # First pixel inside the window.
        self.vectors    = Signal(2)               # Vectors of a window, less one.
        self.x_start    = Signal((3, True))       # First vector of the window at x = 0.
        self.width      = Signal(13)              # IN_W - 4*x_start.
        self.x_step     = Signal(2)
        self.y_step     = Signal(2)
        self.row_step   = Signal(address)         # IN_ROW * STRIDE.
        self.group_step = Signal(address)         # IN_GROUP, 0 unless DEPTHWISE.
        self.tile_in    = Signal(address)         # columns * group_step.
        self.tile_out   = Signal(address)         # columns * OUT_CH.
        self.row_off    = Signal(12)              # Magnitude of ROW_OFF.

        # # #

        depthwise, pool = r["FLAGS"][0], r["FLAGS"][1]
        empty  = (r["CIN"] == 0) | (r["KH"] == 0) | (r["KW"] == 0)
        double = r["STRIDE"] == 2
        offset = Signal(2)
        pixels = Signal(max=MASK_BITS + 1)
        blocks = Signal(2)
        group  = Signal(address)
        self.comb += [
            blocks.eq(Mux(r["PAD_X"] > LANES, 2, r["PAD_X"] != 0)),
            offset.eq(-r["PAD_X"]),
            # Pixels from the window's first to its last, less one.
            pixels.eq(offset + Mux(double, 6, 3) + r["KW"][:3] - 1),
            group.eq(Mux(depthwise, r["IN_GROUP"], 0)),
        ]
        self.sync += [
            self.depthwise.eq(depthwise),
            self.pool.eq(pool),
            self.any_output.eq((r["COUT"] != 0) & (r["OUT_ROWS"] != 0) & (r["OUT_VECS"] != 0)),
            self.empty.eq(empty),
            self.bad.eq((r["KW"] > isa.MAX_KW) | (r["STRIDE"] == 0) | (r["STRIDE"] == 3)),
            self.cin.eq(Mux(empty, 1, r["CIN"])),
            self.kh.eq(Mux(empty, 1, r["KH"])),
            self.kw.eq(Mux(empty, 1, r["KW"])),
            self.stride2.eq(double & ~pool),
            self.offset.eq(Mux(pool, 0, offset)),
            self.vectors.eq(Mux(pool | empty, 0, pixels[2:])),
            self.x_start.eq(Mux(pool, 0, -blocks)),
            self.width.eq(r["IN_W"] + Cat(Constant(0, 2), blocks)),
            self.x_step.eq(Mux(pool, 0, r["STRIDE"])),
            self.y_step.eq(r["STRIDE"]),
            self.row_step.eq(Mux(double, r["IN_ROW"] << 1, r["IN_ROW"])),
            self.group_step.eq(group),
            self.tile_in.eq(times(group, columns)),
            self.tile_out.eq(times(r["OUT_CH"], columns)),
            self.row_off.eq(Mux(r["ROW_OFF"] < 0, -r["ROW_OFF"], r["ROW_OFF"])),
        ]

# GroupWalker --------------------------------------------------------------------------------------

GROUP_LAYOUT = [
    ("address", ADDRESS_BITS),       # First vector of the window at ci = ky = 0, c = tile*columns.
    ("row",     (16, True)),         # r at ky = 0.
    ("mask",    MASK_BITS),          # Pixels of the window inside 0 .. IN_W - 1.
    ("n",       7),                  # Channels.
    ("tile_end", 1),                 # Last group of its tile.
]
RESULT_LAYOUT = [
    ("address", ADDRESS_BITS),       # Where channel tile*columns goes.
    ("record",  ADDRESS_BITS),       # Its PBUF record.
    ("n",       7),
    ("tail",    2),                  # Last lane inside the tensor.
    ("final",   1),                  # Last group of the GO.
]


class GroupWalker(LiteXModule):
    """The loops over tile, y and x.

    ``base`` is the address at tile = y = x = 0. ``start`` (once ``tile`` has taken its first step)
    begins; every group goes to ``source`` and, the part the results need, to ``results``.
    """
    def __init__(self, r, setup, columns):
        self.base    = Signal(ADDRESS_BITS)
        self.load    = Signal()              # Two clocks or more before start.
        self.start   = Signal()
        self.source  = source  = stream.Endpoint(GROUP_LAYOUT)
        self.results = results = stream.Endpoint(RESULT_LAYOUT)

        # # #

        self.tile = tile = TileCounter(columns)
        self.xs   = xs   = Countdown(10)
        self.ys   = ys   = Countdown(12)

        # 1. Loop state ------------------------------------------------------------------------
        active  = Signal()
        settle  = Signal()   # The clock after a tile step: tile.n is not ready for another.
        advance = Signal()
        def address():
            return Signal(ADDRESS_BITS, reset_less=True)
        in_tile,  in_y,  in_x  = address(), address(), address()
        out_tile, out_y, out_x = address(), address(), address()
        param   = address()
        row     = Signal((16, True), reset_less=True)
        vector  = Signal((13, True), reset_less=True)  # First vector of the window.
        in_left = Signal((16, True), reset_less=True)  # IN_W - 4*vector.
        x_left  = Signal((14, True), reset_less=True)  # OUT_W - 4*x.
        in_next, out_next = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        self.comb += [
            tile.cout.eq(r["COUT"]),
            tile.load.eq(self.load),
            tile.step.eq(self.start | (advance & xs.last & ys.last)),
            If(~xs.last,
                in_next.eq(in_x + setup.x_step),
                out_next.eq(out_x + 1),
            ).Elif(~ys.last,
                in_next.eq(in_y + setup.row_step),
                out_next.eq(out_y + r["OUT_ROW"]),
            ).Else(
                in_next.eq(in_tile + setup.tile_in),
                out_next.eq(out_tile + setup.tile_out),
            ),
        ]
        row_start = [
            xs.load(r["OUT_VECS"]),
            vector.eq(setup.x_start),
            in_left.eq(setup.width),
            x_left.eq(r["OUT_W"]),
        ]
        tile_start = [
            ys.load(r["OUT_ROWS"]),
            row.eq(r["ROW_OFF"]),
        ]
        self.sync += [
            settle.eq(tile.step),
            If(self.start,
                active.eq(1),
                Cat(in_tile, in_y, in_x).eq(Replicate(self.base, 3)),
                Cat(out_tile, out_y, out_x).eq(Replicate(r["OUT_BASE"], 3)),
                param.eq(r["P_BASE"]),
                row_start,
                tile_start,
            ).Elif(advance,
                in_x.eq(in_next),
                out_x.eq(out_next),
                If(~xs.last,
                    xs.step(),
                    vector.eq(vector + setup.x_step),
                    in_left.eq(in_left - Cat(Constant(0, 2), setup.x_step)),
                    x_left.eq(x_left - LANES),
                ).Else(
                    row_start,
                    in_y.eq(in_next),
                    out_y.eq(out_next),
                    If(~ys.last,
                        ys.step(),
                        row.eq(row + setup.y_step),
                    ).Else(
                        tile_start,
                        in_tile.eq(in_next),
                        out_tile.eq(out_next),
                        param.eq(param + columns),
                        If(tile.last, active.eq(0)),
                    )
                )
            ),
        ]

        # 2. Group -----------------------------------------------------------------------------
        # Valid for both streams, until each has taken it. A group takes longer than the clock that
        # is lost here, and `advance` stays clear of both readys.
        self.comb += advance.eq(active & ~settle & ~source.valid & ~results.valid)
        # Migen takes a slice of a signed signal for signed: the bits are looked at unsigned.
        in_bits, x_bits, vector_bits = Signal(16), Signal(14), Signal(13)
        mask   = Signal(MASK_BITS)
        beyond = Signal()   # 16 pixels or more are left.
        short  = Signal()
        self.comb += [
            in_bits.eq(in_left),
            x_bits.eq(x_left),
            vector_bits.eq(vector),
            beyond.eq(in_bits[4:15] != 0),
            short.eq(~x_bits[13] & (x_bits[2:13] == 0) & (x_bits[:2] != 0)),
        ]
        # The window begins at most 2 vectors left of the tensor.
        inside = {0: ~vector_bits[12], 1: ~vector_bits[12] | vector_bits[0]}
        for p in range(MASK_BITS):
            self.comb += mask[p].eq(
                ~in_bits[15] & (beyond | (in_bits[:4] > p)) & inside.get(p//LANES, Constant(1)))
        self.sync += [
            If(source.ready,  source.valid.eq(0)),
            If(results.ready, results.valid.eq(0)),
            If(advance,
                source.valid.eq(1),
                source.address.eq(in_x),
                source.row.eq(row),
                source.mask.eq(mask),
                source.n.eq(tile.n),
                source.tile_end.eq(xs.last & ys.last),
                results.valid.eq(1),
                results.address.eq(out_x),
                results.record.eq(param),
                results.n.eq(tile.n),
                results.tail.eq(Mux(short, x_bits[:2] - 1, LANES - 1)),
                results.final.eq(xs.last & ys.last & tile.last),
            ),
        ]

# WindowWalker -------------------------------------------------------------------------------------

FLAGS_LAYOUT = [
    ("sum_first", 1),                # Begins a sum.
    ("sum_last", 1),                 # Ends one.
    ("group_last", 1),               # Ends a group.
    ("tile_end", 1),                 # ... and a tile.
    ("column",   6),
]
WINDOW_LAYOUT = [
    ("address", ADDRESS_BITS),
    ("zero",    1),                  # The row lies outside.
    ("mask",    MASK_BITS),
] + FLAGS_LAYOUT


class WindowWalker(LiteXModule):
    """The loops over j (DEPTHWISE), ci and ky: groups in, windows out, one a clock."""

    def __init__(self, r, setup):
        self.sink   = sink   = stream.Endpoint(GROUP_LAYOUT)
        self.source = source = stream.Endpoint(WINDOW_LAYOUT)

        # # #

        self.kys = kys = Countdown(10)
        self.cis = cis = Countdown(12)
        self.js  = js  = Countdown(7)

        # 1. Loop state ------------------------------------------------------------------------
        active  = Signal()
        advance = Signal()
        load    = Signal()
        group_j = Signal(ADDRESS_BITS, reset_less=True)  # Address of ky = ci = 0 of this j,
        group_c = Signal(ADDRESS_BITS, reset_less=True)  # of ky = 0 of this ci,
        address = Signal(ADDRESS_BITS, reset_less=True)  # and of this window.
        row0     = Signal((16, True),  reset_less=True)
        row      = Signal((16, True),  reset_less=True)
        left     = Signal((15, True),  reset_less=True)  # POOL: IN_W - 4*ci.
        mask     = Signal(MASK_BITS,   reset_less=True)
        tile_end = Signal(reset_less=True)
        first    = Signal(reset_less=True)
        column   = Signal(6,           reset_less=True)
        ended    = Signal()
        following = Signal(ADDRESS_BITS)
        self.comb += [
            ended.eq(kys.last & cis.last & js.last),
            load.eq(~active | (advance & ended)),
            sink.ready.eq(load),
            If(~kys.last,
                following.eq(address + r["KY_STEP"])
            ).Elif(~cis.last,
                following.eq(group_c + r["IN_CH"])
            ).Else(
                following.eq(group_j + setup.group_step)
            ),
        ]
        sum_start = [
            first.eq(1),
            cis.load(setup.cin),
            left.eq(r["IN_W"]),
        ]
        self.sync += [
            If(load,
                active.eq(sink.valid),
                Cat(group_j, group_c, address).eq(Replicate(sink.address, 3)),
                row0.eq(sink.row),
                row.eq(sink.row),
                mask.eq(sink.mask),
                tile_end.eq(sink.tile_end),
                column.eq(0),
                js.load(Mux(setup.depthwise, sink.n, 1)),
                kys.load(setup.kh),
                sum_start,
            ).Elif(advance,
                address.eq(following),
                If(~kys.last,
                    first.eq(0),
                    kys.step(),
                    row.eq(row + 1),
                ).Else(
                    kys.load(setup.kh),
                    row.eq(row0),
                    group_c.eq(following),
                    If(~cis.last,
                        first.eq(0),
                        cis.step(),
                        left.eq(left - LANES),
                    ).Else(
                        sum_start,
                        group_j.eq(following),
                        js.step(),
                        column.eq(column + 1),
                    )
                )
            ),
        ]

        # 2. Window ----------------------------------------------------------------------------
        left_bits, row_bits = Signal(15), Signal(16)
        lane_mask = Signal(LANES)
        inside    = Signal()
        self.comb += [
            left_bits.eq(left),
            row_bits.eq(row),
            inside.eq(~row_bits[15] & (row_bits < r["IN_ROWS"])),
        ]
        for i in range(LANES):
            self.comb += lane_mask[i].eq(
                ~left_bits[14] & ((left_bits[2:14] != 0) | (left_bits[:2] > i)))
        self.comb += advance.eq(active & (source.ready | ~source.valid))
        self.sync += [
            If(source.ready, source.valid.eq(0)),
            If(advance,
                source.valid.eq(1),
                source.address.eq(address),
                source.zero.eq(~inside | setup.empty),
                source.mask.eq(Mux(setup.pool, lane_mask, mask)),
                source.sum_first.eq(first),
                source.sum_last.eq(kys.last & cis.last),
                source.group_last.eq(ended),
                source.tile_end.eq(tile_end),
                source.column.eq(column),
            ),
        ]
