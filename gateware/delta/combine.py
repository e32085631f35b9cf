"""From the sums of a DeltaArray to accumulators: acc = r*sum(x) + (sum(x*d) << o).

::

    sum(x) --> r's digits of 2 bits --> + --> +        without DSPs
    sum(x) --> r * upper part, r * lower part --> +    with them
                                              |
    sum(x*d) --> << 4 --> << 2 -------------> + --> acc
                                  << 1 in that adder's own LUTs
"""

from litex.gen import *
from migen import *

from ...spec.formats import LANES, REFERENCE_BITS
from ...spec.isa import ACC_BITS
from ..carry import CarryRow
from ..multiplier import DSP_BITS, Multiplier
from ..requantize import Delay
from .multiplier import ADD_CHOSEN, Row

OFFSET_BITS = 3   # o.

# ReferenceMultiplier ------------------------------------------------------------------------------


def parts(bits):
    """How DSPs multiply a signed number of that many bits: [(position, size)] of its parts, the
    lowest first. The top one takes what a DSP can, those below are unsigned and a bit narrower; a
    remainder of 1 or 2 bits takes a pair row instead."""
    lower = max(0, bits - DSP_BITS)
    rest  = lower % (DSP_BITS - 1)
    sizes = [rest] if rest else []
    sizes += [DSP_BITS - 1]*(lower // (DSP_BITS - 1)) + [min(bits, DSP_BITS)]
    return [(sum(sizes[:n]), size) for n, size in enumerate(sizes)]


def dsps_needed(bits):
    """DSPs for r times a number of that many bits."""
    return sum(position != 0 or size > 2 for position, size in parts(bits))


class ReferenceMultiplier(LiteXModule):
    """``p`` = r * x modulo 2^(width of p), ``latency`` clocks later.

    Parameters
    ----------
    x, r : Signal
    p_bits : int
    dsps : bool
        With as many DSPs as ``dsps_needed`` says, otherwise LUTs.
    """
    def __init__(self, x, r, p_bits, dsps=False, primitive=False):
        self.p = Signal((p_bits, True))

        # # #

        terms = self._dsp_terms(x, r, primitive) if dsps else self._row_terms(x, r, primitive)
        self.latency = 2
        while len(terms) > 1 or self.latency == 2:
            self.latency += 1
            level = []
            for low, high in zip(terms[::2], terms[1::2], strict=False):
                width = min(max(len(low[0]), len(high[0]) + high[1] - low[1]) + 1, p_bits - low[1])
                total = Signal((width, True), reset_less=True)
                self.sync += total.eq(low[0] + (high[0] << high[1] - low[1]))
                level.append((total, low[1]))
            if len(terms) % 2:
                rest = Signal.like(terms[-1][0], reset_less=True)
                self.sync += rest.eq(terms[-1][0])
                level.append((rest, terms[-1][1]))
            terms = level
        self.comb += self.p.eq(terms[0][0])

    # Terms: (signed Signal, weight), two clocks after x and r.

    def _row_terms(self, x, r, primitive):
        wide = Signal((len(x), True), reset_less=True)
        self.sync += wide.eq(x)
        terms = []
        for n in range(0, REFERENCE_BITS, 2):
            kind  = "pair" if n < REFERENCE_BITS - 2 else "signed pair"
            digit = Signal(2, reset_less=True)
            row   = Row(kind, wide, digit, primitive=primitive)
            self.submodules += row
            term = Signal.like(row.p, reset_less=True)
            self.sync += [
                digit.eq(r[n:n + 2] ^ (2 if kind == "pair" else 0)),
                term.eq(row.p),
            ]
            terms.append((term, n))
        return terms

    def _dsp_terms(self, x, r, primitive):
        bits = Signal(len(x))
        self.comb += bits.eq(x)
        terms = []
        for position, size in parts(len(x)):
            top  = position + size == len(x)
            part = Signal((size if top else size + 1, True))
            self.comb += part.eq(bits[position:position + size])
            if size <= 2 and not top:
                reference = Signal(REFERENCE_BITS, reset_less=True)
                digit     = Signal(2, reset_less=True)
                row       = Row("pair", reference, digit, primitive=primitive)
                term      = Signal.like(row.p, reset_less=True)
                self.submodules += row
                self.sync += [
                    reference.eq(r),
                    digit.eq(part[:2] ^ 2),
                    term.eq(row.p),
                ]
            else:
                multiplier = Multiplier(len(part), REFERENCE_BITS, primitive)
                term = multiplier.p
                self.submodules += multiplier
                self.comb += [multiplier.a.eq(part), multiplier.b.eq(r)]
            terms.append((term, position))
        return terms

# DeltaCombine -------------------------------------------------------------------------------------

class DeltaCombine(LiteXModule):
    """acc = r*sum + (delta << o), a channel (four lanes) a clock: a pipeline without back-pressure,
    ``latency`` clocks from ``valid`` to ``out_valid``.

    Parameters
    ----------
    delta_bits, sum_bits : int
        Widths of the array's ``out`` and ``sums``.
    acc_bits : int
        Of the result, which is exact modulo 2^acc_bits if both are, and exact if it fits when both
        are exact or acc_bits wide.
    params_latency : int
        Clocks from a channel's ``valid`` to its ``reference`` and ``offset``.
    dsps : bool
        Multiply with DSPs, ``dsps_needed(sum_bits)`` a lane, instead of LUTs.
    primitive : bool
        Instantiate ECP5 carry chains and DSPs.

    Attributes
    ----------
    valid, delta, sums : in
        A channel: four sums of x*d, four sums of x.
    reference, offset : in
        r (8 bits, signed) and o (3 bits) of the channel.
    out_valid, out : out
        Four accumulators.
    """
    def __init__(self, delta_bits=ACC_BITS, sum_bits=ACC_BITS, acc_bits=ACC_BITS, params_latency=0,
        dsps=False, primitive=False):
        self.valid     = Signal()
        self.delta     = [Signal((delta_bits, True), name=f"delta{i}") for i in range(LANES)]
        self.sums      = [Signal((sum_bits, True), name=f"sum{i}") for i in range(LANES)]
        self.reference = Signal((REFERENCE_BITS, True))
        self.offset    = Signal(OFFSET_BITS)
        self.out_valid = Signal()
        self.out       = [Signal((acc_bits, True), name=f"out{i}", reset_less=True)
            for i in range(LANES)]

        # # #

        reference = Signal(REFERENCE_BITS)
        self.comb += reference.eq(self.reference)
        for i in range(LANES):
            # 1. r * sum -----------------------------------------------------------------------
            total = Delay(self.sums[i], params_latency)
            multiplier = ReferenceMultiplier(total.output, reference, acc_bits, dsps, primitive)
            self.submodules += total, multiplier

            # 2. delta << o, but for its lowest bit --------------------------------------------
            delta  = Delay(self.delta[i], params_latency + multiplier.latency - 2)
            offset = Delay(self.offset, multiplier.latency - 2)
            self.submodules += delta, offset
            coarse = Signal((min(delta_bits + 4, acc_bits), True), reset_less=True)
            fine   = Signal((min(delta_bits + 6, acc_bits), True), reset_less=True)
            rest   = Signal(2, reset_less=True)
            lowest = Signal(reset_less=True)
            self.sync += [
                coarse.eq(Mux(offset.output[2], delta.output << 4, delta.output)),
                fine.eq(Mux(rest[1], coarse << 2, coarse)),
                rest.eq(offset.output[:2]),
                lowest.eq(rest[0]),
            ]

            # 3. Both --------------------------------------------------------------------------
            acc = Signal((acc_bits, True))
            self.sync += self.out[i].eq(acc)
            if primitive:
                bits = Signal(acc_bits)
                self.comb += bits.eq(fine)
                row = CarryRow([(ADD_CHOSEN, multiplier.p[k], bits[k - 1] if k else 0, bits[k],
                    lowest) for k in range(acc_bits)])
                self.submodules += row
                self.comb += acc.eq(row.sum)
            else:
                self.comb += acc.eq(multiplier.p + Mux(lowest, fine << 1, fine))

        self.latency = params_latency + multiplier.latency + 1
        self.valid_delay = valid_delay = Delay(self.valid, self.latency, reset_less=False)
        self.comb += self.out_valid.eq(valid_delay.output)
