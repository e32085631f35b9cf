"""The array: 4 pixels x ``columns`` output channels of multipliers and accumulators.

Every clock it can take an operand (four pixels and one weight a column). When a group of sums is
complete the accumulators move in one clock into a dump register that then shifts out a column a
clock, and the next group begins at once.
"""

from litex.gen import *
from migen import *

from ..spec.formats import LANES, VALUE_BITS
from ..spec.isa import ACC_BITS
from .carry import ADD_UNLESS, CarryRow
from .multiplier import Multiplier
from .mux import Selector
from .register import KeptRegister
from .requantize import Delay

# Accumulator --------------------------------------------------------------------------------------

class Accumulator(LiteXModule):
    """acc <= (first ? 0 : acc) + p when ``enable``.

    ``primitive`` puts the gate of ``first`` into the carry chain's own LUTs (CCU2C), which Yosys
    does not do by itself: it saves a LUT a bit. The behavioural twin is the line above.
    ``acc_bits`` is the width of acc, which counts modulo 2^acc_bits.
    """
    def __init__(self, p, primitive=False, acc_bits=ACC_BITS):
        self.first  = Signal()
        self.enable = Signal()
        self.acc    = Signal((acc_bits, True), reset_less=True)

        # # #

        total = Signal((acc_bits, True))
        self.sync += If(self.enable, self.acc.eq(total))
        if primitive:
            self._carry_chain(p, total)
        else:
            self.comb += total.eq(Mux(self.first, 0, self.acc) + p)

    def _carry_chain(self, p, total):
        # Unsigned copies: see Multiplier.
        acc, addend = Signal(len(total)), Signal(len(total))
        self.comb += [acc.eq(self.acc), addend.eq(p)]
        self.row = row = CarryRow([(ADD_UNLESS, addend[i], acc[i], self.first, 1)
            for i in range(len(total))])
        self.comb += total.eq(row.sum)

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
    x_bits, w_bits, acc_bits : int
        Widths of a pixel, a weight and an accumulator; sums are exact modulo 2^acc_bits.
    single : bool
        False: there is no ``single`` and no ``column``.
    shift : bool
        False: multiplexers read the dump register, which does not shift, and ``dump`` comes a clock
        later. It saves up to half a LUT for each bit of the accumulators.

    Attributes
    ----------
    valid, operand, first, last, column : in
        An operand: four pixels (lane 0 lowest), begins a sum, ends a group, column that takes it.
    single : in
        Only ``column`` takes operands; otherwise all do.
    weights : in, w_bits*columns bits
        ``weight_latency`` clocks after the operand.
    dump : out
        Pulse: a group is complete; ``out`` is its column 0 in the next clock, column 1 then...
    out : out
        Four accumulators.
    """
    def __init__(self, columns, weight_latency=3, primitive=False, x_bits=VALUE_BITS,
        w_bits=VALUE_BITS, acc_bits=ACC_BITS, single=True, shift=True):
        self.x_bits    = x_bits
        self.w_bits    = w_bits
        self.primitive = primitive
        self.valid     = Signal()
        self.operand   = Signal(LANES*x_bits)
        self.first     = Signal()
        self.last      = Signal()
        if single:
            self.column = Signal(max=max(columns, 2))
            self.single = Signal()
        self.weights   = Signal(w_bits*columns)
        self.dump      = Signal()
        self.out       = [Signal((acc_bits, True), name=f"out{i}") for i in range(LANES)]

        # # #

        # Operands meet their weights ----------------------------------------------------------
        self.operand_delay = operand_delay = Delay(self.operand, weight_latency)
        self.prepare([operand_delay.output[x_bits*i:x_bits*(i + 1)] for i in range(LANES)],
            [self.weights[w_bits*j:w_bits*(j + 1)] for j in range(columns)])
        latency = weight_latency + self.multiply_latency

        # Control, one step before the accumulators --------------------------------------------
        # Each column has its own enable and first: their fan-out is 4 accumulators.
        self.valid_delay  = valid_delay  = Delay(self.valid, latency - 1, reset_less=False)
        self.last_delay   = last_delay   = Delay(self.valid & self.last, latency, False)
        self.first_delay  = first_delay  = Delay(self.first, latency - 1)
        if single:
            self.column_delay = column_delay = Delay(self.column, latency - 1)
        # Of a group: in the next clock the accumulators are read.
        complete = Signal()
        self.sync += complete.eq(last_delay.output)

        # Columns ------------------------------------------------------------------------------
        dumps = [[Signal((acc_bits, True), reset_less=True) for _ in range(LANES)]
            for _ in range(columns)]
        for j in range(columns):
            enable = Signal()
            first  = Signal(reset_less=True)
            taken  = valid_delay.output
            if single:
                taken = taken & (~self.single | (column_delay.output == j))
            self.sync += [
                enable.eq(taken),
                first.eq(first_delay.output & taken),
            ]
            if shift:
                # One signal for all would drive 160 LUTs a column.
                dump = KeptRegister(last_delay.output, primitive)
                self.submodules += dump
            for i in range(LANES):
                accumulator = Accumulator(self.multiply(i, j), primitive, acc_bits)
                self.submodules += accumulator
                self.comb += [
                    accumulator.enable.eq(enable),
                    accumulator.first.eq(first),
                ]
                if shift:
                    after = dumps[j + 1][i] if j + 1 < columns else dumps[j][i]
                    self.sync += dumps[j][i].eq(Mux(dump.q, accumulator.acc, after))
                else:
                    self.sync += If(complete, dumps[j][i].eq(accumulator.acc))
        if shift:
            self.comb += [
                self.dump.eq(complete),
                *(out.eq(value) for out, value in zip(self.out, dumps[0], strict=True)),
            ]
        else:
            self.sync += self.dump.eq(complete)
            self._select(complete, dumps)

    def _select(self, complete, dumps):
        columns = len(dumps)
        for i, out in enumerate(self.out):
            # An index for each lane: its fan-out is all the lane's bits.
            index    = Signal(max=max(columns, 2), reset_less=True)
            options  = [Signal(len(out)) for _ in range(columns)]
            selector = Selector(index, options + [options[-1]]*(2**len(index) - columns),
                self.primitive)
            self.submodules += selector
            self.comb += [option.eq(dump[i]) for option, dump in zip(options, dumps, strict=True)]
            out.reset_less = True
            self.sync += [
                out.eq(selector.out),
                If(complete,
                    index.eq(0)
                ).Else(
                    index.eq(index + 1)
                ),
            ]

    # What another kind of array replaces --------------------------------------------------------

    multiply_latency = Multiplier.latency

    def prepare(self, operands, weights):
        """Take the operand of each lane and the weight of each column, of one clock."""
        self._operands, self._weights = operands, weights

    def multiply(self, lane, column):
        """Their product, ``multiply_latency`` clocks later: a signed Signal."""
        multiplier = Multiplier(self.x_bits, self.w_bits, self.primitive,
            name=f"array_{column}_{lane}")
        self.submodules += multiplier
        self.comb += [
            multiplier.a.eq(self._operands[lane]),
            multiplier.b.eq(self._weights[column]),
        ]
        return multiplier.p
