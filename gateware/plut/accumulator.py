"""Accumulators that add or subtract in one row of carry cells, and what makes whole sums of narrow
ones.

acc - p is ~(~acc + p): to subtract, the *accumulator* is inverted, not the product, and stays so
until a product of the other sign comes. With ``first`` there are four things to add a product to:
0, ~0, acc, ~acc. Two control bits say which, and a LUT4 of product, acc and both has room for it in
the carry chain. No product needs a row of its own for its sign.
"""

from litex.gen import *
from migen import *

from ..carry import CarryRow, lut4
from ..mux import Selector
from ..requantize import Delay

# A + ((C ? B : 0) ^ D).
ADD_CHANGED = lut4(lambda a, b, c, d: a ^ (b & c) ^ d)
# (C ? B : A) ^ D.
MUX2_FLIPPED = lut4(lambda a, b, c, d: (b if c else a) ^ d)

# SignedAccumulator --------------------------------------------------------------------------------

class SignedAccumulator(LiteXModule):
    """acc <= ((keep ? acc : 0) ^ (flip ? ~0 : 0)) + p when ``enable``, modulo 2^bits.

    Parameters
    ----------
    p : Signal
        Signed.
    bits : int
        Of acc.
    primitive : bool
        Instantiate carry cells (CCU2C) instead of the behavioural twin.
    """
    def __init__(self, p, bits, primitive=False):
        self.keep   = Signal()
        self.flip   = Signal()
        self.enable = Signal()
        self.acc    = acc = Signal(bits, reset_less=True)

        # # #

        # Migen takes a slice of a signed signal for signed: bits are taken from an unsigned copy.
        addend, total = Signal(bits), Signal(bits)
        self.comb += addend.eq(p)
        self.sync += If(self.enable, acc.eq(total))
        if primitive:
            self.row = row = CarryRow([(ADD_CHANGED, addend[i], acc[i], self.keep, self.flip)
                for i in range(bits)])
            self.comb += total.eq(row.sum)
        else:
            kept = acc & Replicate(self.keep, bits)
            self.comb += total.eq((kept ^ Replicate(self.flip, bits)) + addend)


class SignControl(LiteXModule):
    """keep and flip for the accumulators of a column.

    Attributes
    ----------
    valid, first, negative : in
        Of a product, a clock before it is added.
    keep, flip : out
        In the clock in which it is added.
    inverted : out
        The accumulators hold ~sum.
    """
    def __init__(self):
        self.valid    = Signal()
        self.first    = Signal()
        self.negative = Signal()
        self.keep     = Signal(reset_less=True)
        self.flip     = Signal(reset_less=True)
        self.inverted = Signal(reset_less=True)

        # # #

        # Of what is added in this clock; until the next product, of what the accumulators hold.
        sign = Signal(reset_less=True)
        self.sync += [
            If(self.valid,
                sign.eq(self.negative),
                self.keep.eq(~self.first),
                self.flip.eq(self.negative ^ (sign & ~self.first)),
            ),
            self.inverted.eq(sign),
        ]

# FlippingSelector ---------------------------------------------------------------------------------

class FlippingSelector(Selector):
    """``flipped`` = options[index] ^ (flip ? ~0 : 0): the LUTs of a Selector have an input free.

    Parameters
    ----------
    flip : Signal
    index, options, primitive
        As Selector's.
    """
    def __init__(self, index, options, flip, primitive=False):
        self.flip = flip
        super().__init__(index, options, primitive)
        self.flipped = Signal(len(self.out))

        # # #

        inside = primitive and len(index) > 1
        self.comb += self.flipped.eq(self.out if inside else self.out ^ Replicate(flip,
            len(self.out)))

    def _tree(self, index, inputs):
        if len(inputs) > 2:
            return super()._tree(index, inputs)
        out = Signal()
        self.specials += Instance("LUT4", p_INIT=Constant(MUX2_FLIPPED, 16), i_A=inputs[0],
            i_B=inputs[1], i_C=index[0], i_D=self.flip, o_Z=out)
        return out

# Widener ------------------------------------------------------------------------------------------

class Widener(LiteXModule):
    """Whole sums of a lane's columns from accumulators that have only their low bits.

    Between two readings a sum moves by less than half of what the low bits count to, so the new sum
    is the number nearest to the earlier one that has the new low bits. The earlier sums of all
    columns share a block RAM. A sum whose earlier reading is of another group (``fresh``) has not
    moved further from 0 than that either.

    Parameters
    ----------
    low_bits, bits : int
        Of an accumulator and of a whole sum.
    farthest : int
        By how much a sum moves at most; below 2^(low_bits - 1).
    columns : int

    Attributes
    ----------
    index : in
        A column, ``READ`` clocks before its ``low`` and ``fresh``.
    low : in, low_bits bits
    fresh : in
    out : out, bits bits
        Whole sum, ``LATENCY`` clocks after ``low``.
    """
    READ    = 2
    LATENCY = 2
    DEPTH   = 512   # As deep as a block RAM is wide words: what is shallower becomes LUTs.

    def __init__(self, low_bits, bits, farthest, columns):
        self.index = Signal(max=max(columns, 2))
        self.low   = Signal(low_bits)
        self.fresh = Signal()
        self.out   = Signal(bits, reset_less=True)

        # # #

        # Earlier sum ------------------------------------------------------------------------------
        # Bits that are less than the distance of ``farthest`` from half the circle of 2^low_bits
        # decide nothing.
        margin  = (1 << low_bits - 1) - farthest
        skipped = min(margin.bit_length() - 1, low_bits - 2)
        near    = low_bits - skipped
        memory  = Memory(bits - skipped, self.DEPTH)
        read    = memory.get_port(mode=READ_FIRST)
        write   = memory.get_port(write_capable=True, mode=READ_FIRST)
        self.specials += memory, read, write
        earlier = Signal(bits - skipped, reset_less=True)
        self.comb += read.adr.eq(self.index)
        self.sync += earlier.eq(read.dat_r)

        # Which of its neighbours ------------------------------------------------------------------
        # low - earlier: past its opposite in the circle, the upper part changes.
        moved = Signal(near + 1)
        self.comb += moved.eq(self.low[skipped:] - earlier[:near])
        up, down = Signal(reset_less=True), Signal(reset_less=True)
        low   = Signal(low_bits, reset_less=True)
        upper = Signal(bits - low_bits, reset_less=True)
        self.sync += [
            low.eq(self.low),
            # Far above, so it went down; far below, so it went up.
            down.eq(~moved[-1] & moved[-2]),
            up.eq(moved[-1] & ~moved[-2]),
            upper.eq(earlier[near:]),
            If(self.fresh,
                down.eq(self.low[-1]),
                up.eq(0),
                upper.eq(0)
            ),
        ]

        # Whole sum --------------------------------------------------------------------------------
        change = Signal(len(upper))
        self.delay = delay = Delay(self.index, self.READ + self.LATENCY)
        self.comb += [
            change.eq(Cat(up | down, Replicate(down, len(upper) - 1))),
            write.adr.eq(delay.output),
            write.dat_w.eq(self.out[skipped:]),
            write.we.eq(1),
        ]
        whole = Signal(len(upper))
        self.comb += whole.eq(upper + change)
        self.sync += self.out.eq(Cat(low, whole))
