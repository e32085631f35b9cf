"""Improved ZFPe of four int16, one block a clock, format at run time: the formats ``zfpiN``.

Decoder, 3 stages::

    block -> k, s (bits) -> k << s mod 4 -> << s / 4 * 4

Encoder, 8 stages::

    max(q, 0), size -> s -> q*8 >> s mod 4 -> >> s / 4 * 4, d -> sums of d -> odd -> m -> block

An exponent counts from the range of int16: the one that fits a block is the number of zeros that
lead all its values after their signs. Bits per value only limit it, and say where fields lie.
"""

from litex.gen import *
from migen import *

from ...spec.formats import (
    LANES,
    VALUE_BITS,
    ZFPI_HEAD_BITS,
    ZFPI_KINDS,
    ZFPI_MAX_BITS,
    ZFPI_MIN_BITS,
)
from ..mux import select
from .pipeline import Pipeline, any_of

BLOCK_BITS = LANES*VALUE_BITS              # As in the gearboxes; no block has more than 60.
FIELD      = ZFPI_MAX_BITS - 1               # Bits of m at most.
FRACTION   = 3                               # Bits of the encoder's v below the lowest of k.
SHIFT_BITS = 4                               # s = 0 to 12.
SHORT, LONG = sorted({bits for bits, _ in ZFPI_KINDS.values()})   # Exponents, in bits.

# Improved -----------------------------------------------------------------------------------------

class Improved(Pipeline):
    """What both cores have: the format, and what follows from it."""
    def __init__(self, sink_bits, source_bits):
        Pipeline.__init__(self, [("data", sink_bits)], [("data", source_bits)])
        self.bits    = Signal(5)
        self.no_sign = Signal()
        self.narrow  = Signal()

        # # #

        self._top = Signal(SHIFT_BITS)   # The s of e = 0: VALUE_BITS - bits, with no_sign one less.
        self.comb += self._top.eq(VALUE_BITS - self.bits - self.no_sign)

    def _by_bits(self, option):
        """Multiplexer over bits per value; option(n): an expression, None if it does not matter."""
        rates = range(ZFPI_MIN_BITS, ZFPI_MAX_BITS + 1)
        return select(self.bits[:4], [option(n) if n in rates else None for n in range(16)])

# ZFPeImprovedDecoder ------------------------------------------------------------------------------

class ZFPeImprovedDecoder(Improved):
    """
    Attributes
    ----------
    bits : Signal(5)
        In: bits per value, 4 to 15. This and what follows is static while blocks are inside.
    no_sign : Signal
        In: suffix u, values that are not negative.
    narrow : Signal
        In: suffix n, exponents of 2 bits.
    sink : Endpoint("data")
        A block in the low 4*bits bits of 64; the rest is ignored.
    source : Endpoint("data")
        Four int16, lane 0 lowest.
    """
    def __init__(self):
        Improved.__init__(self, BLOCK_BITS, LANES*VALUE_BITS)

        # # #

        # Fields to two's complement: k. Bits that a format does not have are its sign.
        data = self.sink.data
        low  = [Mux(self.narrow, data[SHORT + lane*2//LANES], data[LONG]) for lane in range(LANES)]
        k    = [self._extended(lane, low[lane]) for lane in range(LANES)]
        e    = self.unsigned(Cat(data[:SHORT], data[SHORT:LONG] & ~self.narrow))
        s    = Mux(self._top > e, self._top - e, 0)
        k, s = self.stage(k, self.unsigned(s, SHIFT_BITS))

        # k << s
        k, s = self.stage([self._shift_left(v, s[:2], 1) for v in k], s[2:])
        k, = self.stage([self._shift_left(v, s, 4) for v in k])
        self.finish(data=Cat(*k))

    def _extended(self, lane, low):
        """k of a lane, with its sign up to VALUE_BITS."""
        data = self.sink.data
        def field(n):
            start = ZFPI_HEAD_BITS + lane*(n - 1)
            return data[start:start + n - 1]
        sign = self.unsigned(self._by_bits(lambda n: field(n)[-1]) & ~self.no_sign)
        m    = [self._by_bits(lambda n, i=i: field(n)[i] if i < n - 1 else sign)
            for i in range(FIELD)]
        return self.signed(Cat(low, *m, sign), VALUE_BITS)

    def _shift_left(self, value, index, step):
        return self.signed(select(index, [self.signed(Cat(C(0, step*i), value) if i else value,
            VALUE_BITS) for i in range(1 << len(index))]), VALUE_BITS)

# ZFPeImprovedEncoder ------------------------------------------------------------------------------

class ZFPeImprovedEncoder(Improved):
    """
    Attributes
    ----------
    bits : Signal(5)
        In: bits per value, 4 to 15. This and what follows is static while blocks are inside.
    no_sign : Signal
        In: suffix u, values that are not negative; negative ones become 0.
    narrow : Signal
        In: suffix n, exponents of 2 bits.
    sink : Endpoint("data")
        Four int16, lane 0 lowest.
    source : Endpoint("data")
        A block in the low 4*bits bits of 64; zeros above.
    """
    def __init__(self):
        Improved.__init__(self, LANES*VALUE_BITS, BLOCK_BITS)

        # # #

        # 1. Only the bits that e can count: as many as its largest value. Ones where e must end,
        #    at `top` or at what a short exponent holds.
        q      = [self.sink.data[VALUE_BITS*i:VALUE_BITS*(i + 1)] for i in range(LANES)]
        none   = [v[-1] & self.no_sign for v in q]
        counts = range(2**LONG - 1)
        limit  = Cat(*((self._top <= i) | (self.narrow if i >= 2**SHORT - 1 else 0)
            for i in counts))
        size   = [Cat(*((v[VALUE_BITS - 2 - i] ^ v[-1]) & ~no for i in counts))
            for v, no in zip(q, none, strict=True)]
        q, size = self.stage([Mux(no, 0, v) for v, no in zip(q, none, strict=True)],
            any_of([limit, *size]))
        e = 2**LONG - 1
        for i in reversed(counts):
            e = Mux(size[i], i, e)
        e = self.unsigned(e, LONG)
        q, e, s = self.stage(q, e, self.unsigned(self._top - e, SHIFT_BITS))

        # 2. v = floor(q*8 / 2^s). Of it the low FRACTION + bits bits are right, the ones above are
        #    any: no field takes them. d only depends on v modulo 16.
        signs = [v[-1] for v in q]
        v, e, s, signs = self.stage([self._shift_right(Cat(C(0, FRACTION), v), s[:2], 1)
            for v in q], e, s[2:], signs)
        v     = [self._shift_right(x, s, 4) for x in v]
        part  = [x[:FRACTION + 1] for x in v]
        m, d, up, e, signs = self.stage(
            [x[FRACTION + 1:FRACTION + 1 + FIELD] for x in v],
            [self.unsigned(Mux(f[-1], -f, f), FRACTION + 1) for f in part],
            [f[-1] for f in part], e, signs)

        # 3. The shared lowest bits. The largest m is not rounded up.
        beyond = Cat(*(self._top >= FIELD - i for i in range(FIELD)))   # m's sign, and above.
        full   = [~sign & ((x | beyond) == 2**FIELD - 1) for x, sign in zip(m, signs, strict=True)]
        m, d, up, e = self.stage(m, [d[0] + d[1], d[2] + d[3]],
            [bit & ~no for bit, no in zip(up, full, strict=True)], e)
        most = 4*LANES//2
        both = self.unsigned(d[0] + d[1])
        odd  = [Mux(self.narrow, x > most, both > 2*most) for x in d]
        m, up, e, odd = self.stage(m,
            [bit & ~odd[lane*2//LANES] for lane, bit in enumerate(up)], e, odd)

        # 4. Fields.
        m, e, odd = self.stage([self.unsigned(x + bit, FIELD)
            for x, bit in zip(m, up, strict=True)], e, odd)
        head = Cat(e[:SHORT], Mux(self.narrow, odd[0], e[SHORT:]), odd[1])
        def block(n):
            return Cat(head, *(x[:n - 1] for x in m))
        [data] = self.stage(self.unsigned(self._by_bits(block), BLOCK_BITS))
        self.finish(data=data)

    def _shift_right(self, value, index, step):
        """Bits that come from beyond the top of ``value`` are any."""
        def bit(i):
            return value[i] if i < len(value) else None
        return self.unsigned(Cat(*(select(index, [bit(i + step*j) for j in range(1 << len(index))])
            for i in range(len(value)))))
