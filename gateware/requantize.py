"""Requantizer: accumulators to int16 activations, four lanes a clock.

``clamp((((acc*m) >> 16) + b) >> s, lo, hi)`` exactly as spec/isa.py has it: no bit is lost
before the shifts. The 40x16 multiplication is split in parts that fit a DSP::

    acc = hi (18, signed) : mid (17) : lo (5)     3 DSPs a lane, or 2 and 5 rows of LUTs
    acc = hi (18, signed) :      lo (22)          1 DSP  a lane and 16 rows of LUTs
"""

from litex.gen import *
from migen import *
from migen.fhdl.bitcontainer import value_bits_sign

from ..spec.formats import LANES, VALUE_BITS
from ..spec.isa import ACC_BITS, PARAM_B_BITS, PARAM_M_BITS, PARAM_S_BITS
from .multiplier import DSP_BITS, FabricMultiplier, Multiplier

DSPS = (1, 2, 3)    # A lane may take.

SUM_BITS  = max(ACC_BITS, PARAM_B_BITS) + 1     # Width of (acc*m >> 16) + b.
FINE_BITS = 3                                   # Of ``s``, for the second of two shifts.
# Beyond these bits after the first shift, a value is beyond all bounds after the second.
NARROW_BITS = VALUE_BITS + 2**FINE_BITS - 1

# Helpers ------------------------------------------------------------------------------------------

class Delay(LiteXModule):
    """``output`` is ``input`` a number of clocks ago. Without reset, except with reset_less=False
    (valid bits)."""

    def __init__(self, signal, clocks, reset_less=True):
        self.input = signal
        for _ in range(clocks):
            delayed = Signal(value_bits_sign(signal), reset_less=reset_less)
            self.sync += delayed.eq(signal)
            signal = delayed
        self.output = signal


class WideMultiplier(LiteXModule):
    """acc (ACC_BITS, signed) * m (unsigned), shifted right by 16, in the two parts that add up to
    it: ``high`` (signed, to be shifted left by ``high_shift``) and ``low`` (unsigned).
    """
    def __init__(self, dsps=2, primitive=False):
        if dsps not in DSPS:
            raise ValueError(f"requantizer: {dsps} DSPs a lane: allowed are "
                             f"{', '.join(map(str, DSPS))}")
        self.acc  = Signal((ACC_BITS, True))
        self.m    = Signal(PARAM_M_BITS)

        # # #

        split = ACC_BITS - DSP_BITS                       # Bits below the signed part.
        parts = [(0, split)] if dsps == 1 else [(0, split - 17), (split - 17, 17)]

        # Migen takes a slice of a signed signal for signed: parts are cut from unsigned copies.
        bits_of_acc = Signal(ACC_BITS)
        self.top = top = Multiplier(DSP_BITS, PARAM_M_BITS + 1, primitive)
        self.comb += [bits_of_acc.eq(self.acc), top.a.eq(bits_of_acc[split:]), top.b.eq(self.m)]
        products = []
        for position, bits in parts:
            if position or dsps == 3:
                multiplier = Multiplier(bits + 1, PARAM_M_BITS + 1, primitive)
            else:
                multiplier = FabricMultiplier(bits, PARAM_M_BITS)
            self.submodules += multiplier
            self.comb += [
                multiplier.a.eq(bits_of_acc[position:position + bits]),
                multiplier.b.eq(self.m),
            ]
            product = Signal(bits + PARAM_M_BITS)
            self.comb += product.eq(multiplier.p)
            products.append((multiplier, product, position))

        # With 3 DSPs as late as with 2: programs take as many clocks, and products have one more to
        # get here.
        latency = max(m.latency for m, _, _ in products) + (dsps == 3)
        total   = 0
        for multiplier, product, position in products:
            delay = Delay(product, latency - multiplier.latency)
            self.submodules += delay
            total = total + (delay.output << position)
        low_sum = Signal(split + PARAM_M_BITS, reset_less=True)
        self.sync += low_sum.eq(total)
        self.high_delay = high_delay = Delay(top.p, latency + 1 - top.latency)

        # The part below bit 16 of the product lies in low_sum alone: dropping it there is exact.
        self.high_shift = split - PARAM_M_BITS
        self.high       = high_delay.output
        self.low        = low_sum[PARAM_M_BITS:]
        self.latency    = latency + 1


class Beyond(LiteXModule):
    """Whether ``total`` (SUM_BITS, signed) after the first of two shifts is beyond NARROW_BITS.

    Attributes
    ----------
    total : in
    shift : in
        The shift in units of 2**FINE_BITS bits.
    above, below : out
        As late as the value is after the second shift: two clocks.
    """
    def __init__(self):
        self.total = Signal(SUM_BITS)
        self.shift = Signal(PARAM_S_BITS - FINE_BITS)
        self.above = Signal(reset_less=True)
        self.below = Signal(reset_less=True)

        # # #

        sign, step = self.total[-1], 2**FINE_BITS
        beyond     = 0
        for i, low in enumerate(range(NARROW_BITS - 1, SUM_BITS - 1, step)):
            part   = self.total[low:min(low + step, SUM_BITS - 1)]
            beyond = beyond | ((self.shift <= i) & (part != Replicate(sign, len(part))))
        above = Signal(reset_less=True)
        below = Signal(reset_less=True)
        self.sync += [
            above.eq(beyond & ~sign),
            below.eq(beyond & sign),
            self.above.eq(above),
            self.below.eq(below),
        ]

# Requantizer --------------------------------------------------------------------------------------

class Requantizer(LiteXModule):
    """A pipeline without back-pressure; ``latency`` clocks from ``valid`` to ``out_valid``.

    Parameters
    ----------
    tag_bits : int
        Width of ``tag``, carried along.
    params_latency : int
        Clocks from a channel's ``valid`` to its ``params`` (the read of PBUF), 2 or more.
    dsps : int
        DSPs a lane: 2, 1 (and about 300 LUTs more a lane) or 3 (and 160 fewer).
    primitive : bool
        See Multiplier.
    narrow : bool
        Shift no more bits than the bounds can reach, and find out beside whether there were any:
        110 LUTs a lane fewer, and more of them in a row behind the sum.

    Attributes
    ----------
    valid, acc, tail, tag : in
        A channel: four accumulators, index of the last lane inside the tensor (the lanes after it
        repeat it), tag.
    params : in, 64 bits
        The channel's PBUF record, ``params_latency`` clocks after ``valid``.
    pool, clamp_lo, clamp_hi : in
        Constant while anything is inside.
    out_valid, out_data, out_tag : out
        A vector, lane 0 lowest.
    """
    def __init__(self, tag_bits=1, params_latency=3, dsps=2, primitive=False, narrow=False):
        if params_latency < 2:
            raise ValueError(f"requantizer: params_latency = {params_latency}: allowed are 2 and "
                             "more (the pooling sum takes that long)")
        self.valid     = Signal()
        self.acc       = [Signal((ACC_BITS, True), name=f"acc{i}") for i in range(LANES)]
        self.tail      = Signal(2)
        self.tag       = Signal(tag_bits)
        self.params    = Signal(64)
        self.pool      = Signal()
        self.clamp_lo  = Signal((VALUE_BITS, True))
        self.clamp_hi  = Signal((VALUE_BITS, True))
        self.out_valid = Signal()
        self.out_data  = Signal(LANES*VALUE_BITS)
        self.out_tag   = Signal(tag_bits)

        # # #

        # 1. Pooling sum into lane 0, while PBUF is read ---------------------------------------
        pairs = [Signal((ACC_BITS, True), reset_less=True) for _ in range(2)]
        acc0  = Signal((ACC_BITS, True), reset_less=True)
        first = Delay(self.acc[0], 1)
        self.submodules += first
        self.sync += [
            pairs[0].eq(self.acc[0] + self.acc[1]),
            pairs[1].eq(self.acc[2] + self.acc[3]),
            acc0.eq(Mux(self.pool, pairs[0] + pairs[1], first.output)),
        ]
        lanes = [Delay(acc0, params_latency - 2)]
        lanes += [Delay(acc, params_latency) for acc in self.acc[1:]]
        self.submodules += lanes

        # 2. Multiply --------------------------------------------------------------------------
        m, s, b = (Signal(PARAM_M_BITS), Signal(PARAM_S_BITS), Signal((PARAM_B_BITS, True)))
        self.comb += Cat(m, s, b).eq(self.params)
        wides = [WideMultiplier(dsps, primitive) for _ in range(LANES)]
        self.submodules += wides
        for wide, lane in zip(wides, lanes, strict=True):
            self.comb += [wide.acc.eq(lane.output), wide.m.eq(m)]
        self.b_delay = b_delay = Delay(b, wides[0].latency)
        self.s_delay = s_delay = Delay(s, wides[0].latency + 2)

        # 3. Add, shift, clamp -----------------------------------------------------------------
        s_fine   = Signal(3, reset_less=True)
        inverted = Signal()
        self.sync += [
            s_fine.eq(s_delay.output[:3]),
            # With lo > hi the upper bound wins.
            inverted.eq(self.clamp_lo > self.clamp_hi),
        ]
        clamped = []
        width   = NARROW_BITS if narrow else SUM_BITS
        for wide in wides:
            low    = Signal((SUM_BITS, True),   reset_less=True)
            high   = Signal.like(wide.high,     reset_less=True)
            total  = Signal((SUM_BITS, True),   reset_less=True)
            coarse = Signal((width, True),      reset_less=True)
            fine   = Signal((width, True),      reset_less=True)
            short  = Signal((VALUE_BITS, True), reset_less=True)
            above  = Signal(reset_less=True)
            below  = Signal(reset_less=True)
            out    = Signal((VALUE_BITS, True), reset_less=True)
            too_high, too_low = fine > self.clamp_hi, fine < self.clamp_lo
            if narrow:
                beyond = Beyond()
                self.submodules += beyond
                self.comb += [beyond.total.eq(total), beyond.shift.eq(s_delay.output[FINE_BITS:])]
                too_high = ~beyond.below & (too_high | beyond.above)
                too_low  = ~beyond.above & (too_low | beyond.below)
            self.sync += [
                low.eq(b_delay.output + wide.low),
                high.eq(wide.high),
                total.eq(low + (high << wide.high_shift)),
                coarse.eq(total >> Cat(Constant(0, 3), s_delay.output[3:])),
                fine.eq(coarse >> s_fine),
                short.eq(fine),
                above.eq(too_high | inverted),
                below.eq(too_low),
                out.eq(Mux(above, self.clamp_hi, Mux(below, self.clamp_lo, short))),
            ]
            clamped.append(out)
        latency = params_latency + wides[0].latency + 6

        # 4. Lanes outside the tensor ----------------------------------------------------------
        self.tail_delay = tail_delay = Delay(self.tail, latency)
        last = Signal(VALUE_BITS)
        self.comb += Case(tail_delay.output, {i: last.eq(lane) for i, lane in enumerate(clamped)})
        for i, lane in enumerate(clamped):
            self.sync += self.out_data[VALUE_BITS*i:VALUE_BITS*(i + 1)].eq(
                Mux(tail_delay.output < i, last, lane))
        self.out_data.reset_less = True

        self.latency = latency + 1
        self.valid_delay = valid_delay = Delay(self.valid, self.latency, reset_less=False)
        self.tag_delay   = tag_delay   = Delay(self.tag, self.latency)
        self.comb += [
            self.out_valid.eq(valid_delay.output),
            self.out_tag.eq(tag_delay.output),
        ]
