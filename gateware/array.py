"""The array: 4 pixels x ``columns`` output channels of multipliers and accumulators.

Every clock it can take an operand (four pixels and one weight a column). When a group of sums is
complete the accumulators move in one clock into a dump register that then shifts out a column a
clock, and the next group begins at once.
"""

from litex.gen import *
from migen import *

from ..spec.formats import LANES, VALUE_BITS
from ..spec.isa import ACC_BITS
from .multiplier import Multiplier
from .requantize import Delay

# Accumulator --------------------------------------------------------------------------------------

class Accumulator(LiteXModule):
    """acc <= (first ? 0 : acc) + p when ``enable``.

    ``primitive`` puts the gate of ``first`` into the carry chain's own LUTs (CCU2C), which Yosys
    does not do by itself: it saves a LUT a bit. The behavioural twin is the line above.
    """
    def __init__(self, p, primitive=False):
        self.first  = Signal()
        self.enable = Signal()
        self.acc    = Signal((ACC_BITS, True), reset_less=True)

        # # #

        total = Signal((ACC_BITS, True))
        self.sync += If(self.enable, self.acc.eq(total))
        if primitive:
            self._carry_chain(p, total)
        else:
            self.comb += total.eq(Mux(self.first, 0, self.acc) + p)

    def _carry_chain(self, p, total):
        # LUT4 of (A = p, B = acc, C = first, D = 1): A ^ (B & ~C); the low 4 bits make A what the
        # carry is when that does not propagate.
        init  = 0xa6aa
        carry = Constant(0, 1)
        # Unsigned copies: see Multiplier.
        acc, addend, result = Signal(ACC_BITS), Signal(ACC_BITS), Signal(ACC_BITS)
        self.comb += [acc.eq(self.acc), addend.eq(p), total.eq(result)]
        for i in range(0, ACC_BITS, 2):
            carry_out = Signal()
            self.specials += Instance("CCU2C",
                p_INIT0 = Constant(init, 16),
                p_INIT1 = Constant(init, 16),
                p_INJECT1_0 = "NO",
                p_INJECT1_1 = "NO",
                i_CIN  = carry,
                i_A0   = addend[i],
                i_B0   = acc[i],
                i_C0   = self.first,
                i_D0   = 1,
                i_A1   = addend[i + 1],
                i_B1   = acc[i + 1],
                i_C1   = self.first,
                i_D1   = 1,
                o_S0   = result[i],
                o_S1   = result[i + 1],
                o_COUT = carry_out,
            )
            carry = carry_out

# MacArray -----------------------------------------------------------------------------------------

class MacArray(LiteXModule):
    """Multipliers, accumulators and the dump register. No back-pressure: who issues operands leaves
    as many clocks between two ``last`` as the earlier group has columns to shift out.

    Parameters
    ----------
    columns : int
        Output channels.
    weight_latency : int
        Clocks from an operand to its weights (the read of WBUF), 1 or more.
    primitive : bool
        See Multiplier and Accumulator.

    Attributes
    ----------
    valid, operand, first, last, column : in
        An operand: four pixels (lane 0 lowest), begins a sum, ends a group, column that takes it.
    single : in
        Only ``column`` takes operands; otherwise all do.
    weights : in, 16*columns bits
        ``weight_latency`` clocks after the operand.
    dump : out
        Pulse: a group is complete; ``out`` is its column 0 in the next clock, column 1 then...
    out : out
        Four accumulators.
    """
    def __init__(self, columns, weight_latency=3, primitive=False):
        self.valid   = Signal()
        self.operand = Signal(LANES*VALUE_BITS)
        self.first   = Signal()
        self.last    = Signal()
        self.column  = Signal(max=max(columns, 2))
        self.single  = Signal()
        self.weights = Signal(VALUE_BITS*columns)
        self.dump    = Signal()
        self.out     = [Signal((ACC_BITS, True), name=f"out{i}") for i in range(LANES)]

        # # #

        # Operands meet their weights ----------------------------------------------------------
        self.operand_delay = operand_delay = Delay(self.operand, weight_latency)
        latency = weight_latency + Multiplier.latency

        # Control, one step before the accumulators --------------------------------------------
        # Each column has its own enable and first: their fan-out is 4 accumulators.
        self.valid_delay  = valid_delay  = Delay(self.valid, latency - 1, reset_less=False)
        self.last_delay   = last_delay   = Delay(self.valid & self.last, latency + 1, False)
        self.first_delay  = first_delay  = Delay(self.first, latency - 1)
        self.column_delay = column_delay = Delay(self.column, latency - 1)
        self.comb += self.dump.eq(last_delay.output)

        # Columns ------------------------------------------------------------------------------
        dumps = [[Signal((ACC_BITS, True), reset_less=True) for _ in range(LANES)]
            for _ in range(columns)]
        for j in range(columns):
            enable = Signal()
            first  = Signal(reset_less=True)
            taken  = valid_delay.output & (~self.single | (column_delay.output == j))
            self.sync += [
                enable.eq(taken),
                first.eq(first_delay.output & taken),
            ]
            for i in range(LANES):
                multiplier = Multiplier(VALUE_BITS, VALUE_BITS, primitive)
                self.comb += [
                    multiplier.a.eq(operand_delay.output[VALUE_BITS*i:VALUE_BITS*(i + 1)]),
                    multiplier.b.eq(self.weights[VALUE_BITS*j:VALUE_BITS*(j + 1)]),
                ]
                accumulator = Accumulator(multiplier.p, primitive)
                self.submodules += multiplier, accumulator
                self.comb += [
                    accumulator.enable.eq(enable),
                    accumulator.first.eq(first),
                ]
                after = dumps[j + 1][i] if j + 1 < columns else dumps[j][i]
                self.sync += dumps[j][i].eq(Mux(self.dump, accumulator.acc, after))
        self.comb += [out.eq(dump) for out, dump in zip(self.out, dumps[0], strict=True)]
