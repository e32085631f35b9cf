"""ZFPe of float32, one value a clock and a block every four, parameters fixed at build.

The format, the parameters and the special values are those of float32.py, and so is every bit; the
cores take less than half of the LUTs.
"""

from litex.gen import *
from migen import *

from ..mux import select
from .float32 import EXPONENT_BITS, FLOAT_BITS, FRACTION_BITS, SIGNIFICAND_BITS, _block_bits
from .serial import SerialDecoder, SerialEncoder, forward_lift, inverse_lift
from .transform import shorten

LARGEST = 2**EXPONENT_BITS - 2   # Exponent field of the largest finite number.

# ZFPeSerialCompressor -----------------------------------------------------------------------------

class ZFPeSerialCompressor(SerialEncoder):
    """
    Parameters
    ----------
    payload : int
        Payload bits per value, 1 to 19: payload + 3 bits a value in all with an 8-bit exponent.
    exponent_bits : int
        8, or 9 for the layout of the paper's authors.

    Attributes
    ----------
    sink : Endpoint("data")
        A float32. ``last`` ends a block early: zeros take the place of the values missing.
    source : Endpoint("data")
        A block: exponent_bits + 4*(payload + 1) bits.
    """
    def __init__(self, payload=5, exponent_bits=8):
        SerialEncoder.__init__(self, FLOAT_BITS, _block_bits(payload, exponent_bits))

        # # #

        # 1. Special values to finite ones; the largest exponent.
        def exponent_of(value):
            return value[FRACTION_BITS:FLOAT_BITS - 1]
        data     = self.sink.data
        special  = exponent_of(data) == LARGEST + 1
        largest  = Cat(C(2**FRACTION_BITS - 1, FRACTION_BITS), C(LARGEST, EXPONENT_BITS), data[-1])
        finite   = self.unsigned(Mux(special, largest, data), FLOAT_BITS)
        zero     = Cat(finite[:FRACTION_BITS], C(0, EXPONENT_BITS), finite[-1])
        tag, value, top = self.gather(finite, zero, exponent_of,
            lambda old, new: Mux(old > new, old, new))

        # By 31 nothing is left of a number; and a subnormal counts as 0.
        exponent = exponent_of(value)
        distance = self.unsigned(top - exponent, EXPONENT_BITS)
        gone     = (exponent == 0) | (distance[5:] != 0)
        # e = emax + 127 is one more than the float's exponent: 2^(emax - 1) <= |x|.
        e        = self.unsigned(Mux(top == 0, 0, top + 1), EXPONENT_BITS)
        tag, fraction, sign, shift, e = self.stage(tag, value[:FRACTION_BITS], value[-1],
            self.unsigned(Mux(gone, 31, distance[:5]), 5), e)

        # 2. Block floating point.
        width = 30
        fixed = self.unsigned(Cat(C(0, width - SIGNIFICAND_BITS), fraction, 1), width)
        fixed = self.unsigned(select(shift[3:], [fixed >> 8*i for i in range(4)]), width)
        tag, fixed, sign, shift, e = self.stage(tag, fixed, sign, shift[:3], e)
        fixed = self.unsigned(select(shift[1:], [fixed >> 2*i for i in range(4)]), width)
        tag, fixed, sign, shift, e = self.stage(tag, fixed, sign, shift[0], e)
        fixed = self.unsigned(Cat(Mux(shift, fixed >> 1, fixed), C(0, 1)), width + 1)
        fixed = self.unsigned(fixed ^ Replicate(sign, width + 1))
        tag, fixed, sign, e = self.stage(tag, fixed, sign, e)
        tag, fixed, e = self.stage(tag, self.signed(fixed + sign, width + 1), e)

        # 3. to 5.
        tag, u, lsb, e = forward_lift(self, tag, fixed, 0, e)
        flag, bits     = shorten(self, u, lsb, payload)
        ninth          = [C(0, 1)]*(exponent_bits - EXPONENT_BITS)   # A float32 never sets it.
        self.finish(tag, Cat(e, *ninth), Cat(flag, bits))

# ZFPeSerialDecompressor ---------------------------------------------------------------------------

class ZFPeSerialDecompressor(SerialDecoder):
    """
    Parameters
    ----------
    payload, exponent_bits : int
        As of ZFPeSerialCompressor.

    Attributes
    ----------
    sink : Endpoint("data")
        A block: exponent_bits + 4*(payload + 1) bits; stays until it is taken.
    source : Endpoint("data")
        A float32; ``last`` with the fourth of the block that had it.
    """
    def __init__(self, payload=5, exponent_bits=8):
        SerialDecoder.__init__(self, _block_bits(payload, exponent_bits), FLOAT_BITS)

        # # #

        tag, value, e = self.pick(payload, exponent_bits)
        tag, value, e = inverse_lift(self, tag, value, e)

        # Sign and magnitude.
        width = len(value)
        sign, magnitude, e = self.stage(value[-1],
            self.unsigned(self.unsigned(value ^ Replicate(value[-1], width)) + value[-1], width), e)

        # Normalize: shift left by 16, 8, 4, 2, 1 wherever that many leading bits are zero. The top
        # bit is worth 2^31 * 2^(e - 157): exponent field e + 1.
        zeros = []
        for steps in ((16, 8), (4, 2), (1,)):
            for step in steps:
                empty = C(0, 1)   # A step as wide as the number cannot happen.
                if step < width:
                    empty     = self.unsigned(magnitude[width - step:] == 0)
                    magnitude = self.unsigned(Mux(empty,
                        Cat(C(0, step), magnitude[:width - step]), magnitude), width)
                zeros = [empty, *zeros]
            sign, magnitude, zeros, e = self.stage(sign, magnitude, zeros, e)
        sign, magnitude, exponent = self.stage(sign, magnitude,
            self.signed(e + 1 - Cat(*zeros), exponent_bits + 2))

        # To a float32.
        below    = max(width - 1 - FRACTION_BITS, 0)   # Bits cut off, which are zero.
        fraction = magnitude[below:width - 1]
        if len(fraction) < FRACTION_BITS:
            fraction = Cat(C(0, FRACTION_BITS - len(fraction)), fraction)
        over     = exponent > LARGEST
        under    = (exponent < 1) | (magnitude[-1] == 0)
        number   = Cat(fraction, exponent[:EXPONENT_BITS], sign)
        largest  = Cat(C(2**FRACTION_BITS - 1, FRACTION_BITS), C(LARGEST, EXPONENT_BITS), sign)
        [number] = self.stage(self.unsigned(Mux(under, 0, Mux(over, largest, number)), FLOAT_BITS))
        self.finish(number)
