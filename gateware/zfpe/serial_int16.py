"""ZFPe of int16, the storage format ``zfpeN``, one value a clock and a block every four; bits per
value fixed at build. Every bit is that of int16.py, in less than half of the LUTs.
"""

from litex.gen import *
from migen import *

from ...spec.formats import LANES, VALUE_BITS, ZFPE_EXPONENT_BITS, ZFPE_MAX_BITS, ZFPE_MIN_BITS
from ..mux import select
from .int16 import BIAS, E_MAX, ENCODE_LSB
from .pipeline import leading_bit
from .serial import SerialDecoder, SerialEncoder, forward_lift, inverse_lift
from .transform import TOP_BITS, shorten


def _payload(bits):
    if bits not in range(ZFPE_MIN_BITS, ZFPE_MAX_BITS + 1):
        raise ValueError(f"ZFPe bits = {bits!r}: allowed are {ZFPE_MIN_BITS} to {ZFPE_MAX_BITS}")
    return bits - 3

# ZFPeSerialEncoder16 ------------------------------------------------------------------------------

class ZFPeSerialEncoder16(SerialEncoder):
    """
    Parameters
    ----------
    bits : int
        Bits per value, 4 to 16.

    Attributes
    ----------
    sink : Endpoint("data")
        An int16. ``last`` ends a block early: zeros take the place of the values missing.
    source : Endpoint("data")
        A block: 4*bits bits.
    """
    def __init__(self, bits=8):
        payload = _payload(bits)
        SerialEncoder.__init__(self, VALUE_BITS, LANES*bits)

        # # #

        # 1. emax: the length of the largest magnitude, which is that of their OR.
        def magnitude(value):
            sign = value[-1]
            return self.unsigned(self.unsigned(value ^ Replicate(sign, VALUE_BITS)) + sign,
                VALUE_BITS)
        tag, value, size = self.gather(self.sink.data, 0, magnitude, lambda old, new: old | new)
        tag, value, emax = self.stage(tag, value, self.unsigned(leading_bit(size), 5))

        # 2. Block floating point; a block of zeros shifts zeros.
        width = TOP_BITS - 1 - ENCODE_LSB
        shift = self.unsigned(VALUE_BITS - emax, 5)
        e     = self.unsigned(Mux(emax == 0, 0, emax + BIAS), ZFPE_EXPONENT_BITS)
        value = self.signed(Cat(value, value[-1]), width)
        tag, value, shift, e = self.stage(tag, self._shift_left(value, shift[2:4], 4), shift[:2], e)
        tag, value, e = self.stage(tag, self._shift_left(value, shift, 1), e)

        # 3. to 5.
        tag, u, lsb, e = forward_lift(self, tag, value, ENCODE_LSB, e)
        self.finish(tag, e, Cat(*shorten(self, u, lsb, payload)))

    def _shift_left(self, value, index, step):
        return self.signed(select(index, [self.unsigned(value << step*i, len(value))
            for i in range(1 << len(index))]), len(value))

# ZFPeSerialDecoder16 ------------------------------------------------------------------------------

class ZFPeSerialDecoder16(SerialDecoder):
    """
    Parameters
    ----------
    bits : int
        Bits per value, 4 to 16.

    Attributes
    ----------
    sink : Endpoint("data")
        A block: 4*bits bits; stays until it is taken.
    source : Endpoint("data")
        An int16; ``last`` with the fourth of the block that had it.
    """
    def __init__(self, bits=8):
        payload = _payload(bits)
        SerialDecoder.__init__(self, LANES*bits, VALUE_BITS)

        # # #

        tag, value, e = self.pick(payload, ZFPE_EXPONENT_BITS)
        tag, value, e = inverse_lift(self, tag, value, e)

        # With bits 13 to 31 of i, x = value*2^(emax - 17), and floor(x + 1/2) =
        # ((value >> s) + 1) >> 1, s = 16 - emax = 143 - e. Above 143 nothing is shifted: the
        # saturation below does not look at the number then.
        width  = TOP_BITS - 13
        if len(value) < width:
            value = self.signed(Cat(C(0, width - len(value)), value), width)
        beyond = e > E_MAX
        shift  = self.unsigned(E_MAX - e, 8)
        tiny   = shift[5:] != 0   # By 31 all that is left is the sign, and that rounds to 0.
        value, shift, beyond, some = self.stage(value,
            self.unsigned(Mux(tiny, 31, shift[:5]), 5), beyond, value != 0)
        value, shift, beyond, some = self.stage(
            self._shift_right(value, shift[3:], 8), shift[:3], beyond, some)
        value, shift, beyond, some = self.stage(
            self._shift_right(value, shift[1:], 2), shift[0], beyond, some)
        value  = self.signed(Mux(shift, self.signed(value >> 1, width), value), width)
        value, beyond, some = self.stage(value, beyond, some)
        value, sign, beyond, some = self.stage(
            self.signed(self.signed(value + 1, width + 1) >> 1, width), value[-1], beyond, some)

        # Saturate.
        top      = value[VALUE_BITS - 1:]
        fits     = (top == 0) | (top == 2**len(top) - 1)
        limit    = Cat(Replicate(~sign, VALUE_BITS - 1), sign)
        [number] = self.stage(self.unsigned(Mux(beyond, Mux(some, limit, 0),
            Mux(fits, value[:VALUE_BITS], limit)), VALUE_BITS))
        self.finish(number)

    def _shift_right(self, value, index, step):
        return self.signed(select(index, [self.signed(value >> step*i, len(value))
            for i in range(1 << len(index))]), len(value))
