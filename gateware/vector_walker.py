"""VECTOR's loop nest: from registers to a stream of steps, all addresses by additions.

::

    RowWalker (c, y) --rows--> StepWalker (v, ky) --steps--> ...        ResultWalker (c, y, x)

A *step* takes one vector ``v`` of one row of the input, the row that tap ``ky`` of an output row
needs: ``ky`` is the innermost loop, so that the KH vectors one above the other come together. With
each step the window of its row moves one vector on. Output vector x is complete once vector
STRIDE*x + 1 has come (+ 2 where KW = 3, STRIDE = 2, PAD_X = 0): with STRIDE = 1 that lies beyond
the row's last. Rather than spend a step on it, the last output of a row is made *late*, by the
steps v = 0 of the next row, which need no window of their own yet; behind the last row of the GO
comes a row of KH steps that read nothing, the *flush*. Where the tensor does have that further
vector, it is walked.

Results come in the order of the loop nest, and are counted once more where they come out.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec import isa
from ..spec.formats import LANES
from .buffers import ADDRESS_BITS
from .walker import Countdown

KY_BITS      = log2_int(isa.VECTOR_KH)
VECTORS_BITS = 11                    # Vectors walked in a row: 2*OUT_VECS + 1 at most.

# First pixel of an output in its window of three vectors: 4 - PAD_X, but 0 where outputs end in a
# third vector, and for POOL.
OFFSETS = (0, 2, 3, 4)

# Setup --------------------------------------------------------------------------------------------

class VectorSetup(LiteXModule):
    """Constants of a GO: the upper ones one clock after the registers ``r`` they come from,
    ``vectors``, ``late`` and ``alone`` three.

    ``any_output``: there is something to write; ``bad``: a register is out of range.
    """
    def __init__(self, r):
        self.pool       = Signal()
        self.double     = Signal()                # STRIDE = 2,
        self.third      = Signal()                # ... and outputs end in a third vector.
        self.any_output = Signal()
        self.bad        = Signal()
        self.kw         = Signal(2)
        self.weights    = Signal(5)               # Rows of weights of a channel.
        self.offset     = Signal(2)               # Index in OFFSETS.
        self.rows       = Signal(12)
        self.out_vecs   = Signal(10)
        self.single     = Signal()                # One output in a row.
        self.y_wrapped  = Signal((ADDRESS_BITS + 1, True))   # Y_STEP - RING.
        self.ky_wrapped = Signal((ADDRESS_BITS + 1, True))
        self.vectors    = Signal(VECTORS_BITS)    # Steps in x of a row.
        self.late       = Signal()                # The last output of a row comes in the next one.
        self.alone      = Signal()                # One vector in a row.

        # # #

        # 1. From the registers ----------------------------------------------------------------
        pool, double = r["FLAGS"][1], r["STRIDE"] == 2
        third  = double & (r["KW"] == 3) & (r["PAD_X"] == 0) & ~pool
        needed = Signal()                # An output needs the vector behind its pixels,
        whole  = Signal(VECTORS_BITS)    # these are the vectors of the pixels,
        within = Signal(VECTORS_BITS)    # and these the tensor has.
        reach  = Signal(3)
        pixels = Signal(VECTORS_BITS + 2)
        self.comb += [
            # Signals of their own: inside an expression Verilog would drop the carries.
            reach.eq(r["PAD_X"] + 2),
            pixels.eq(r["IN_W"] + LANES - 1),
        ]
        self.sync += [
            self.pool.eq(pool),
            self.double.eq(double & ~pool),
            self.third.eq(third),
            self.any_output.eq((r["COUT"] != 0)
                & (pool | ((r["OUT_ROWS"] != 0) & (r["OUT_VECS"] != 0)))),
            self.bad.eq((r["KH"] == 0) | (~pool & ((r["KH"] > isa.VECTOR_KH) | (r["KW"] == 0)
                | (r["PAD_X"] > isa.VECTOR_PAD) | (r["STRIDE"] == 0) | (r["STRIDE"] == 3)))),
            self.kw.eq(Mux(pool, 1, r["KW"])),
            self.weights.eq(Mux(pool, 1, r["KH"])),
            self.offset.eq(Mux(third | pool, 0, 3 - r["PAD_X"])),
            self.rows.eq(Mux(pool, 1, r["OUT_ROWS"])),
            self.out_vecs.eq(Mux(pool, 1, r["OUT_VECS"])),
            self.single.eq(r["OUT_VECS"] == 1),
            self.y_wrapped.eq(r["Y_STEP"] - r["RING"]),
            self.ky_wrapped.eq(r["KY_STEP"] - r["RING"]),
            whole.eq(Mux(double, r["OUT_VECS"] << 1, r["OUT_VECS"])),
            within.eq(pixels[2:]),
            needed.eq(Mux(double, third, r["KW"] >= reach)),
        ]

        # 2. The further vector ----------------------------------------------------------------
        further = Signal()
        self.sync += [
            further.eq(needed & (within > whole)),
            self.vectors.eq(whole + further),
            # A tensor without pixels: one vector of zeros, so that the output is written.
            If(self.pool, self.vectors.eq(Mux(within == 0, 1, within))),
            self.late.eq(~self.pool & (~self.double | self.third) & ~further),
            self.alone.eq(whole == 1),
        ]

# RowWalker ----------------------------------------------------------------------------------------

def step_in_ring(at, step, wrapped):
    """(at + step) % ring, for at, step < ring and wrapped = step - ring: the two sums side by side,
    the sign of the one chooses. With ring = 0 they are the same modulo 2^16."""
    inside, beyond = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS + 1)
    return [inside.eq(at + step), beyond.eq(at + wrapped)], \
        Mux(beyond[ADDRESS_BITS], inside, beyond[:ADDRESS_BITS])

ROW_LAYOUT = [
    ("base",  ADDRESS_BITS),         # IN_BASE + c*IN_CH.
    ("at",    ADDRESS_BITS),         # Place in the ring at ky = 0.
    ("row",   (16, True)),           # r at ky = 0.
    ("begin", 1),                    # First row of the GO.
    ("opens", 1),                    # First row of its channel.
    ("closes", 1),                   # Last row of its channel.
    ("flush", 1),                    # No row: only the late output of the one before.
]


class RowWalker(LiteXModule):
    """The loops over c and y: after ``start`` a row a clock to ``source``."""

    def __init__(self, r, setup):
        self.start  = Signal()
        self.source = source = stream.Endpoint(ROW_LAYOUT)

        # # #

        self.cs = cs = Countdown(13)
        self.ys = ys = Countdown(12)

        base  = Signal(ADDRESS_BITS, reset_less=True)
        at    = Signal(ADDRESS_BITS, reset_less=True)
        row   = Signal((16, True),   reset_less=True)
        begin = Signal(reset_less=True)
        first = Signal(reset_less=True)
        flush = Signal(reset_less=True)
        sums, following = step_in_ring(at, r["Y_STEP"], setup.y_wrapped)
        channel_start = [
            ys.load(setup.rows),
            at.eq(r["IN_AT"]),
            row.eq(r["ROW_OFF"]),
            first.eq(1),
        ]
        self.comb += [
            *sums,
            source.base.eq(base),
            source.at.eq(at),
            source.row.eq(row),
            source.begin.eq(begin),
            source.opens.eq(first),
            source.closes.eq(ys.last),
            source.flush.eq(flush),
        ]
        self.sync += [
            If(self.start,
                source.valid.eq(1),
                cs.load(r["COUT"]),
                base.eq(r["IN_BASE"]),
                begin.eq(1),
                flush.eq(0),
                channel_start,
            ).Elif(source.valid & source.ready,
                begin.eq(0),
                If(~ys.last,
                    ys.step(),
                    at.eq(following),
                    row.eq(row + Mux(setup.double, 2, 1)),
                    first.eq(0),
                ).Else(
                    cs.step(),
                    base.eq(base + r["IN_CH"]),
                    channel_start,
                    If(cs.last,
                        flush.eq(1),
                        source.valid.eq(setup.late),
                    )
                ),
                If(flush, source.valid.eq(0)),
            ),
        ]

# StepWalker ---------------------------------------------------------------------------------------

WORK_LAYOUT = [
    ("mask",      LANES),            # Pixels inside the tensor.
    ("ky",        KY_BITS),
    ("left_zero", 1),                # Nothing lies two vectors to the left of this one,
    ("new_zero",  1),                # ... or this one is not in the window it completes.
    ("complete",  1),                # The step adds to an output,
    ("sum_first", 1),                # begins its sum,
    ("sum_last",  1),                # ends it,
    ("closes",    1),                # and is the last to use its row of weights.
]
STEP_LAYOUT = [
    ("address",   ADDRESS_BITS),
    ("read",      1),                # Otherwise the vector is zeros.
    ("opens",     1),                # The first step to use a row of weights.
] + WORK_LAYOUT


class StepWalker(LiteXModule):
    """The loops over v and ky: rows in, steps out, one a clock."""

    def __init__(self, r, setup):
        self.sink   = sink   = stream.Endpoint(ROW_LAYOUT)
        self.source = source = stream.Endpoint(STEP_LAYOUT)

        # # #

        self.kys = kys = Countdown(10)
        self.vs  = vs  = Countdown(VECTORS_BITS)

        # 1. Loop state ------------------------------------------------------------------------
        active  = Signal()
        advance = Signal()
        ended   = Signal()
        load    = Signal()
        base    = Signal(ADDRESS_BITS, reset_less=True)   # The row's address, of this v,
        at0     = Signal(ADDRESS_BITS, reset_less=True)   # and place in the ring at ky = 0
        at      = Signal(ADDRESS_BITS, reset_less=True)   # and here.
        row0    = Signal((16, True),   reset_less=True)
        row     = Signal((16, True),   reset_less=True)
        left    = Signal((15, True),   reset_less=True)   # IN_W - 4*v.
        ky      = Signal(KY_BITS,      reset_less=True)
        top     = Signal(reset_less=True)                 # ky = 0.
        v_0     = Signal(reset_less=True)                 # v = 0,
        v_1     = Signal(reset_less=True)                 # 1,
        odd     = Signal(reset_less=True)                 # odd.
        fresh   = Signal(reset_less=True)                 # No output of the row yet.
        begin   = Signal(reset_less=True)                 # Flags of the row.
        first   = Signal(reset_less=True)
        last    = Signal(reset_less=True)
        flush   = Signal(reset_less=True)
        first_before = Signal(reset_less=True)            # Of the row before.
        last_before  = Signal(reset_less=True)
        body         = Signal()                           # v completes an output of its own row.
        sums, following = step_in_ring(at, r["KY_STEP"], setup.ky_wrapped)
        self.comb += [
            *sums,
            ended.eq(kys.last & vs.last),
            load.eq(~active | (advance & ended)),
            sink.ready.eq(load),
            body.eq(~v_0 & (~setup.double | (odd ^ setup.third))),
        ]
        self.sync += [
            If(load, active.eq(sink.valid)),
            If(load & sink.valid,
                base.eq(sink.base),
                Cat(at0, at).eq(Replicate(sink.at, 2)),
                row0.eq(sink.row),
                row.eq(sink.row),
                left.eq(r["IN_W"]),
                ky.eq(0),
                top.eq(1),
                kys.load(r["KH"]),
                vs.load(Mux(sink.flush, 1, setup.vectors)),
                v_0.eq(1),
                v_1.eq(0),
                odd.eq(0),
                fresh.eq(1),
                Cat(begin, flush, first, last).eq(
                    Cat(sink.begin, sink.flush, sink.opens, sink.closes)),
                Cat(first_before, last_before).eq(Cat(first, last)),
            ).Elif(advance,
                If(~kys.last,
                    kys.step(),
                    at.eq(following),
                    row.eq(row + 1),
                    ky.eq(ky + 1),
                    top.eq(0),
                ).Else(
                    kys.load(r["KH"]),
                    vs.step(),
                    base.eq(base + 1),
                    at.eq(at0),
                    row.eq(row0),
                    left.eq(left - LANES),
                    ky.eq(0),
                    top.eq(1),
                    v_0.eq(0),
                    v_1.eq(v_0),
                    odd.eq(~odd),
                    If(body, fresh.eq(0)),
                )
            ),
        ]

        # 2. Step ------------------------------------------------------------------------------
        # Migen takes a slice of a signed signal for signed: the bits are looked at unsigned.
        left_bits, row_bits = Signal(15), Signal(16)
        mask   = Signal(LANES, reset_less=True)
        inside = Signal(reset_less=True)
        self.comb += [
            left_bits.eq(left),
            row_bits.eq(row),
            advance.eq(active & (source.ready | ~source.valid)),
            source.mask.eq(mask & Replicate(inside, LANES)),
            source.read.eq(mask[0] & inside),
        ]
        self.sync += [
            If(source.ready, source.valid.eq(0)),
            If(advance,
                source.valid.eq(1),
                source.address.eq(base + at),
                [mask[i].eq(~left_bits[14] & ((left_bits[2:14] != 0) | (left_bits[:2] > i)))
                    for i in range(LANES)],
                inside.eq(~row_bits[15] & (row_bits < r["IN_ROWS"]) & ~flush),
                source.ky.eq(ky),
                If(setup.pool,
                    source.left_zero.eq(0),
                    source.new_zero.eq(0),
                    source.complete.eq(1),
                    source.sum_first.eq(v_0 & top),
                    source.sum_last.eq(ended),
                    source.opens.eq(v_0 & top),
                    source.closes.eq(ended),
                ).Else(
                    source.left_zero.eq(v_1 | setup.alone),
                    source.new_zero.eq(v_0),
                    source.complete.eq(body | (v_0 & setup.late & ~begin)),
                    source.sum_first.eq(top),
                    source.sum_last.eq(kys.last),
                    If(v_0,
                        source.opens.eq(setup.late & ~begin & first_before & setup.single),
                        source.closes.eq(setup.late & ~begin & last_before),
                    ).Else(
                        source.opens.eq(body & first & fresh),
                        source.closes.eq(body & last & vs.last & ~setup.late),
                    )
                ),
            ),
        ]

# ResultWalker -------------------------------------------------------------------------------------

class ResultWalker(LiteXModule):
    """Where results go, in their order: after ``start`` those of the first, after each ``advance``
    those of the next.

    Attributes
    ----------
    start, advance : in
    address, record : out
        Of the output vector, and of its channel in PBUF.
    tail : out
        Last lane inside the tensor.
    final : out
        The last result of the GO.
    """
    def __init__(self, r, setup):
        self.start   = Signal()
        self.advance = Signal()
        self.address = Signal(ADDRESS_BITS, reset_less=True)
        self.record  = Signal(ADDRESS_BITS, reset_less=True)
        self.tail    = Signal(2)
        self.final   = Signal()

        # # #

        self.xs = xs = Countdown(10)
        self.ys = ys = Countdown(12)
        self.cs = cs = Countdown(13)

        in_y      = Signal(ADDRESS_BITS, reset_less=True)   # Address of x = 0,
        in_c      = Signal(ADDRESS_BITS, reset_less=True)   # and of y = 0.
        left      = Signal((14, True),   reset_less=True)   # OUT_W - 4*x.
        following = Signal(ADDRESS_BITS)
        self.comb += If(~xs.last,
            following.eq(self.address + 1)
        ).Elif(~ys.last,
            following.eq(in_y + r["OUT_ROW"])
        ).Else(
            following.eq(in_c + r["OUT_CH"])
        )
        row_start = [
            xs.load(setup.out_vecs),
            left.eq(r["OUT_W"]),
        ]
        self.sync += [
            If(self.start,
                Cat(self.address, in_y, in_c).eq(Replicate(r["OUT_BASE"], 3)),
                self.record.eq(r["P_BASE"]),
                ys.load(setup.rows),
                cs.load(r["COUT"]),
                row_start,
            ).Elif(self.advance,
                self.address.eq(following),
                If(~xs.last,
                    xs.step(),
                    left.eq(left - LANES),
                ).Else(
                    row_start,
                    in_y.eq(following),
                    If(~ys.last,
                        ys.step()
                    ).Else(
                        ys.load(setup.rows),
                        cs.step(),
                        in_c.eq(following),
                        self.record.eq(self.record + 1),
                    )
                )
            ),
        ]
        left_bits = Signal(14)
        short     = Signal()
        self.comb += [
            left_bits.eq(left),
            short.eq(~left_bits[13] & (left_bits[2:13] == 0) & (left_bits[:2] != 0)),
            self.tail.eq(Mux(short, left_bits[:2] - 1, LANES - 1)),
            self.final.eq(xs.last & ys.last & cs.last),
        ]
