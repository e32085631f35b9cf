"""ZFPe of four int16, one block a clock, bits per value at run time: the storage format ``zfpeN``.

Decoder, 10 stages::

    block -> fields (bits) -> u -> i -> inverse lift x 4 -> shift x 2 -> + 1/2 -> saturate

Encoder, 12 stages::

    |q| -> OR -> emax -> q << (16 - emax) x 2 -> forward lift x 4 -> u -> flag, payload -> block

The lanes are as wide as they must be for 16 bits per value (13 payload bits): a fixed point number
occupies bits 14..30 of the format's 32 before the forward lift and bits 13..31 after the inverse
one. With fewer payload bits only low bits vanish.
"""

from litex.gen import *
from migen import *

from ...spec.formats import LANES, VALUE_BITS, ZFPE_EXPONENT_BITS, ZFPE_MAX_BITS, ZFPE_MIN_BITS
from ..mux import select
from .pipeline import Pipeline, any_of, leading_bit
from .transform import (
    TOP_BITS,
    forward_lift,
    from_negabinary,
    inverse_lift,
    lengthen,
    shorten,
    to_negabinary,
)

BLOCK_BITS  = LANES*ZFPE_MAX_BITS
PAYLOAD     = ZFPE_MAX_BITS - 3                # Payload bits at most.
BIAS        = 127
E_MAX       = BIAS + VALUE_BITS                # Largest exponent an encoder writes.
ENCODE_LSB  = 30 - VALUE_BITS                  # q << (30 - emax): emax = 16 puts q here.

def _split(payload):
    """Positions in a block: [(flag, first payload bit)] of the lanes."""
    flags = [ZFPE_EXPONENT_BITS + lane*(payload + 1) for lane in range(LANES)]
    return [(flag, flag + 1) for flag in flags]


def _by_bits(bits, option):
    """Multiplexer over bits per value, of which the low 4 bits tell them apart."""
    rates = range(ZFPE_MIN_BITS, ZFPE_MAX_BITS + 1)
    table = {n % 16: option(n - 3) for n in rates}
    return select(bits[:4], [table.get(i) for i in range(16)])

# ZFPeDecoder16 ------------------------------------------------------------------------------------

class ZFPeDecoder16(Pipeline):
    """
    Attributes
    ----------
    bits : Signal(5)
        In: bits per value, 4 to 16; static while blocks are inside.
    sink : Endpoint("data")
        A block in the low 4*bits bits of 64; the rest is ignored.
    source : Endpoint("data")
        Four int16, lane 0 lowest.
    """
    def __init__(self):
        Pipeline.__init__(self, [("data", BLOCK_BITS)], [("data", LANES*VALUE_BITS)])
        self.bits = Signal(5)

        # # #

        # Fields: the payload goes to the top of its PAYLOAD bits.
        data = self.sink.data
        def fields(payload):
            parts = [data[:ZFPE_EXPONENT_BITS]]
            for flag, first in _split(payload):
                zeros  = [C(0, PAYLOAD - payload)] if payload < PAYLOAD else []
                parts += [*zeros, data[first:first + payload], data[flag]]
            return Cat(*parts)
        e, *lanes = self._cut(_by_bits(self.bits, fields),
            [ZFPE_EXPONENT_BITS] + LANES*[PAYLOAD + 1])
        e, lanes = self.stage(e, lanes)

        # Negabinary to two's complement.
        u        = [lengthen(self, lane[PAYLOAD], lane[:PAYLOAD]) for lane in lanes]
        lsb      = TOP_BITS - len(u[0])
        lanes, e = self.stage([from_negabinary(self, lane, lsb) for lane in u], e)

        # Inverse lift. Lanes end with lsb 13: x = lane*2^(emax - 17).
        lanes, e = inverse_lift(self, lanes, e)
        lsb     -= 2

        # floor(x + 1/2) = ((lane >> s) + 1) >> 1, s = 16 - emax = 143 - e. Above 143 nothing is
        # shifted: the saturation below does not look at the number then.
        beyond = e > E_MAX
        shift  = self.unsigned(E_MAX - e, 8)
        tiny   = shift[5:] != 0   # By 31 all that is left is the sign, and that rounds to 0.
        low    = self.unsigned(Mux(tiny, 3, shift[:2]), 2)
        high   = self.unsigned(Mux(tiny, 7, shift[2:5]), 3)
        some   = [lane != 0 for lane in lanes]
        lanes, high, beyond, some = self.stage(
            [self.signed(select(low, [lane >> i for i in range(4)]), len(lane))
                for lane in lanes],
            high, beyond, some)
        lanes, beyond, some = self.stage(
            [self.signed(select(high, [lane >> 4*i for i in range(8)]), len(lane))
                for lane in lanes],
            beyond, some)
        width = len(lanes[0])
        lanes, signs, beyond, some = self.stage(
            [self.signed(self.signed(lane + 1, width + 1) >> 1, width) for lane in lanes],
            [lane[-1] for lane in lanes], beyond, some)

        # Saturate.
        out = []
        for lane, sign, nonzero in zip(lanes, signs, some, strict=True):
            top   = lane[VALUE_BITS - 1:]
            fits  = (top == 0) | (top == 2**len(top) - 1)
            limit = Cat(Replicate(~sign, VALUE_BITS - 1), sign)
            out.append(self.unsigned(Mux(beyond, Mux(nonzero, limit, 0),
                Mux(fits, lane[:VALUE_BITS], limit)), VALUE_BITS))
        [out] = self.stage(out)
        self.finish(data=Cat(*out))

    def _cut(self, value, widths):
        """Signals of the given widths, LSB first, out of ``value``."""
        whole = self.unsigned(value, sum(widths))
        starts = [sum(widths[:i]) for i in range(len(widths))]
        return [whole[start:start + width] for start, width in zip(starts, widths, strict=True)]

# ZFPeEncoder16 ------------------------------------------------------------------------------------

class ZFPeEncoder16(Pipeline):
    """
    Attributes
    ----------
    bits : Signal(5)
        In: bits per value, 4 to 16; static while blocks are inside.
    sink : Endpoint("data")
        Four int16, lane 0 lowest.
    source : Endpoint("data")
        A block in the low 4*bits bits of 64; zeros above.
    """
    def __init__(self):
        Pipeline.__init__(self, [("data", LANES*VALUE_BITS)], [("data", BLOCK_BITS)])
        self.bits = Signal(5)

        # # #

        # 1. emax: the length of the largest magnitude, which is that of their OR.
        q = [self.signed(self.sink.data[VALUE_BITS*i:VALUE_BITS*(i + 1)], VALUE_BITS)
            for i in range(LANES)]
        q, size = self.stage(q, [self.unsigned(Mux(v[-1], -v, v), VALUE_BITS) for v in q])
        q, size = self.stage(q, any_of(size))
        q, emax = self.stage(q, self.unsigned(leading_bit(size), 5))

        # 2. Block floating point; a block of zeros shifts zeros.
        width = TOP_BITS - 1 - ENCODE_LSB
        shift = self.unsigned(VALUE_BITS - emax, 5)
        e     = self.unsigned(Mux(emax == 0, 0, emax + BIAS), ZFPE_EXPONENT_BITS)
        lanes, shift, e = self.stage(
            [self._shift_left(v, width, shift[2:4], 4) for v in q], shift[:2], e)
        lanes, e = self.stage([self._shift_left(v, width, shift, 1) for v in lanes], e)

        # 3., 4. Transform.
        lanes, lsbs, e = forward_lift(self, lanes, ENCODE_LSB, e)
        u = [to_negabinary(self, lane, lsb) for lane, lsb in zip(lanes, lsbs, strict=True)]
        cut = TOP_BITS - (PAYLOAD + 4)   # No payload takes bits below this one.
        u, e = self.stage([self.unsigned(v, TOP_BITS - lsb)[cut - lsb:]
            for v, lsb in zip(u, lsbs, strict=True)], e)

        # 5. Flags and payloads, then the payload's top bits to their place.
        pairs, e = self.stage([shorten(self, v, cut, PAYLOAD) for v in u], e)
        def block(payload):
            parts = [e]
            for flag, bits in pairs:
                parts += [flag, bits[PAYLOAD - payload:]]
            return Cat(*parts)
        [data] = self.stage(self.unsigned(_by_bits(self.bits, block), BLOCK_BITS))
        self.finish(data=data)

    def _shift_left(self, value, width, index, step):
        return self.signed(select(index, [self.signed(Cat(C(0, step*i), value) if i else value,
            width) for i in range(1 << len(index))]), width)
