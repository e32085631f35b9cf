"""ZFPe of four float32, one block a clock, parameters fixed at build.

Compressor, 13 stages; decompressor, 11 stages. Special values: the compressor takes subnormals for
zero, and Inf and NaN for the largest finite number of their sign. The decompressor returns +0 for
numbers below 2^-126 and the largest finite number for those beyond it.
"""

from itertools import chain

from litex.gen import *
from migen import *

from ...spec.formats import LANES
from ..mux import select
from .pipeline import Pipeline
from .transform import (
    TOP_BITS,
    forward_lift,
    from_negabinary,
    inverse_lift,
    lengthen,
    shorten,
    to_negabinary,
)

FLOAT_BITS, FRACTION_BITS, EXPONENT_BITS = 32, 23, 8
SIGNIFICAND_BITS         = FRACTION_BITS + 1
MIN_PAYLOAD, MAX_PAYLOAD = 1, 19

def _block_bits(payload, exponent_bits):
    if payload not in range(MIN_PAYLOAD, MAX_PAYLOAD + 1):
        raise ValueError(f"ZFPe payload = {payload!r}: allowed are {MIN_PAYLOAD} to {MAX_PAYLOAD}")
    if exponent_bits not in (8, 9):
        raise ValueError(f"ZFPe exponent_bits = {exponent_bits!r}: allowed are 8 and 9")
    return exponent_bits + LANES*(payload + 1)

# ZFPeCompressor -----------------------------------------------------------------------------------

class ZFPeCompressor(Pipeline):
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
        Four float32, lane 0 lowest.
    source : Endpoint("data")
        A block: exponent_bits + 4*(payload + 1) bits.
    """
    def __init__(self, payload=5, exponent_bits=8):
        block_bits = _block_bits(payload, exponent_bits)
        Pipeline.__init__(self, [("data", LANES*FLOAT_BITS)], [("data", block_bits)])

        # # #

        # Unpack, special values.
        signs, exponents, significands = [], [], []
        for lane in range(LANES):
            value    = self.sink.data[FLOAT_BITS*lane:FLOAT_BITS*(lane + 1)]
            exponent = value[FRACTION_BITS:FLOAT_BITS - 1]
            special  = exponent == 2**EXPONENT_BITS - 1
            normal   = exponent != 0
            signs.append(value[-1])
            exponents.append(self.unsigned(Mux(special, 2**EXPONENT_BITS - 2, exponent),
                EXPONENT_BITS))
            significands.append(self.unsigned(Mux(special, 2**SIGNIFICAND_BITS - 1,
                Mux(normal, Cat(value[:FRACTION_BITS], 1), 0)), SIGNIFICAND_BITS))
        signs, exponents, significands = self.stage(signs, exponents, significands)

        # 1. The largest exponent.
        def larger(a, b):
            return Mux(a > b, a, b)
        signs, exponents, significands, tops = self.stage(signs, exponents, significands,
            [larger(*exponents[:2]), larger(*exponents[2:])])
        signs, exponents, significands, top = self.stage(signs, exponents, significands,
            larger(*tops))
        # e = emax + 127 is one more than the float's exponent: 2^(emax - 1) <= |x|.
        e      = self.unsigned(Mux(top == 0, 0, top + 1), EXPONENT_BITS)
        shifts = [self.unsigned(top - exponent, EXPONENT_BITS) for exponent in exponents]
        shifts = [self.unsigned(Mux(shift[5:] != 0, 31, shift[:5]), 5) for shift in shifts]
        signs, significands, shifts, e = self.stage(signs, significands, shifts, e)

        # 2. Block floating point.
        lanes  = [Cat(C(0, 30 - SIGNIFICAND_BITS), significand) for significand in significands]
        lanes, signs, shifts, e = self.stage(
            [self.unsigned(select(shift[:2], [lane >> i for i in range(4)]), 30)
                for lane, shift in zip(lanes, shifts, strict=True)],
            signs, [shift[2:] for shift in shifts], e)
        lanes, signs, e = self.stage(
            [self.unsigned(select(shift, [lane >> 4*i for i in range(8)]), 30)
                for lane, shift in zip(lanes, shifts, strict=True)],
            signs, e)
        lanes, e = self.stage(
            [self.signed(Mux(sign, -lane, lane), 31)
                for lane, sign in zip(lanes, signs, strict=True)], e)

        # 3. to 5.
        lanes, lsbs, e = forward_lift(self, lanes, 0, e)
        u, e = self.stage([to_negabinary(self, lane, lsb)
            for lane, lsb in zip(lanes, lsbs, strict=True)], e)
        pairs, e = self.stage([shorten(self, v, 0, payload) for v in u], e)
        ninth = [C(0, 1)]*(exponent_bits - EXPONENT_BITS)   # A float32 never sets it.
        self.finish(data=Cat(e, *ninth, *chain(*pairs)))

# ZFPeDecompressor ---------------------------------------------------------------------------------

class ZFPeDecompressor(Pipeline):
    """
    Parameters
    ----------
    payload, exponent_bits : int
        As of ZFPeCompressor.

    Attributes
    ----------
    sink : Endpoint("data")
        A block: exponent_bits + 4*(payload + 1) bits.
    source : Endpoint("data")
        Four float32, lane 0 lowest.
    """
    def __init__(self, payload=5, exponent_bits=8):
        block_bits = _block_bits(payload, exponent_bits)
        Pipeline.__init__(self, [("data", block_bits)], [("data", LANES*FLOAT_BITS)])

        # # #

        data = self.sink.data
        e    = data[:exponent_bits]
        u    = []
        for lane in range(LANES):
            first = exponent_bits + lane*(payload + 1)
            u.append(lengthen(self, data[first], data[first + 1:first + 1 + payload]))
        lsb      = TOP_BITS - len(u[0])
        lanes, e = self.stage([from_negabinary(self, lane, lsb) for lane in u], e)
        lanes, e = inverse_lift(self, lanes, e)

        # Sign and magnitude.
        width = len(lanes[0])
        signs = [lane[-1] for lane in lanes]
        magnitudes, signs, e = self.stage(
            [self.unsigned(Mux(lane[-1], -lane, lane), width) for lane in lanes], signs, e)

        # Normalize: shift left by 16, 8, 4, 2, 1 wherever that many leading bits are zero.
        zeros = [C(0, 1) for _ in range(LANES)]
        for steps in ((16, 8), (4, 2), (1,)):
            for step in steps:
                pairs = [self._normalize(m, z, step, width)
                    for m, z in zip(magnitudes, zeros, strict=True)]
                magnitudes, zeros = map(list, zip(*pairs, strict=True))
            magnitudes, zeros, signs, e = self.stage(magnitudes, zeros, signs, e)

        # The top bit of width = 32 - lsb bits is worth 2^31 * 2^(e - 157): exponent field e + 1.
        exponents = [self.signed(e + 1 - z, exponent_bits + 2) for z in zeros]
        fractions = []
        for magnitude in magnitudes:
            below = magnitude[:-1]
            if len(below) > FRACTION_BITS:   # Then the bits cut off are zero.
                below = below[len(below) - FRACTION_BITS:]
            fractions.append(Cat(C(0, FRACTION_BITS - len(below)), below)
                if len(below) < FRACTION_BITS else below)
        present = [magnitude[-1] for magnitude in magnitudes]
        exponents, fractions, present, signs = self.stage(exponents, fractions, present, signs)

        out = []
        for x, fraction, some, sign in zip(exponents, fractions, present, signs, strict=True):
            over  = x > 2**EXPONENT_BITS - 2
            under = (x < 1) | (some == 0)   # Not ~some: as a condition that is -2.
            value = Cat(fraction, x[:EXPONENT_BITS], sign)
            most  = Cat(C(2**FRACTION_BITS - 1, FRACTION_BITS),
                C(2**EXPONENT_BITS - 2, EXPONENT_BITS), sign)
            out.append(self.unsigned(Mux(under, 0, Mux(over, most, value)), FLOAT_BITS))
        [out] = self.stage(out)
        self.finish(data=Cat(*out))

    def _normalize(self, magnitude, zeros, step, width):
        """(magnitude, leading zeros found so far) after one step; a step as wide as the number
        cannot happen."""
        if step >= width:
            return magnitude, zeros
        empty = magnitude[width - step:] == 0
        return (self.unsigned(Mux(empty, Cat(C(0, step), magnitude[:width - step]), magnitude),
                    width),
                self.unsigned(zeros + Mux(empty, step, 0), 5))
