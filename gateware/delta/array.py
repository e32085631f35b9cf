"""Arrays whose multipliers are made of LUTs: for weights of few bits, and for deltas."""

from litex.gen import *
from migen import *

from ...spec.formats import LANES
from ...spec.isa import ACC_BITS
from ..array import Accumulator, MacArray
from ..requantize import Delay
from .multiplier import NarrowMultiplier, NarrowOperand, WideOperand, rows

# Widths -------------------------------------------------------------------------------------------

def sum_bits(taps, *bits):
    """Bits of a sum of ``taps`` products of signed numbers of those widths (or of the numbers
    themselves, for one width), whatever they are."""
    largest = taps << sum(n - 1 for n in bits)
    # A product of two lowest values is positive, one lowest value is not.
    return largest.bit_length() + (1 if len(bits) % 2 == 0 else (largest & (largest - 1) != 0))

# FabricArray --------------------------------------------------------------------------------------

class FabricArray(MacArray):
    """MacArray without DSPs, for weights of ``w_bits`` = 2 bits and more: w_bits - 1 rows of LUTs a
    multiplier. Its ports are MacArray's.

    The operand of a lane is registered once for all columns, a weight once for all lanes.
    """
    def prepare(self, operands, weights):
        self.multiply_latency = 1 + rows(self.w_bits)
        self.wides   = [WideOperand(x, self.multiply_latency) for x in operands]
        self.narrows = [NarrowOperand(w) for w in weights]
        self.submodules += self.wides, self.narrows

    def multiply(self, lane, column):
        multiplier = NarrowMultiplier(self.wides[lane], self.narrows[column], self.primitive)
        self.submodules += multiplier
        return multiplier.p

# DeltaArray ---------------------------------------------------------------------------------------

class DeltaArray(FabricArray):
    """Sums of x*d for every column, and of x itself, which all columns share. A weight
    w = r + (d << o), r and o the same for a whole channel, needs no more: see DeltaCombine.

    There is no ``single``: a depthwise layer has other operands in every column, so that nothing
    could be shared. It is VECTOR's.

    Parameters
    ----------
    columns, weight_latency, primitive, shift
        As MacArray's.
    bits : int
        Of a delta, 2 and more.
    x_bits : int
        Of a pixel.
    taps : int or None
        The most products a sum has: accumulators are as wide as that takes. None: ACC_BITS wide,
        with sums modulo 2^ACC_BITS, from which DeltaCombine makes the exact result whenever that
        fits.

    Attributes
    ----------
    valid, operand, first, last, dump, out
        As MacArray's.
    weights : in, bits*columns bits
        Deltas, column 0 lowest.
    sums : out
        Sums of the four pixels, of the group in ``out`` and for as long.
    """
    def __init__(self, columns, bits=4, x_bits=16, weight_latency=3, primitive=False, taps=None,
        shift=False):
        acc_bits  = ACC_BITS if taps is None else sum_bits(taps, x_bits, bits)
        size      = ACC_BITS if taps is None else sum_bits(taps, x_bits)
        self.sums = [Signal((size, True), name=f"sum{i}", reset_less=True) for i in range(LANES)]
        super().__init__(columns, weight_latency, primitive, x_bits, bits, acc_bits, single=False,
            shift=shift)

        # # #

        enable, first = Signal(), Signal(reset_less=True)
        self.sync += [
            enable.eq(self.valid_delay.output),
            first.eq(self.first_delay.output & self.valid_delay.output),
        ]
        for total, wide in zip(self.sums, self.wides, strict=True):
            accumulator = Accumulator(wide.at[-1], primitive, size)
            self.submodules += accumulator
            self.comb += [
                accumulator.enable.eq(enable),
                accumulator.first.eq(first),
            ]
            # With multiplexers ``dump`` is a clock late: the next group may have begun.
            late = Delay(accumulator.acc, 0 if shift else 1)
            self.submodules += late
            self.sync += If(self.dump, total.eq(late.output))
