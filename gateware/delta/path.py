"""What takes MacArray's place in COMPUTE for weights that stay deltas: references, array, combine.

::

    weights --+--> references of the next tile --> of this tile --+
              +--> DeltaArray --> sums -----------------------> DeltaCombine --> accumulators
"""

from litex.gen import *
from migen import *

from ...spec.formats import LANES, REFERENCE_BITS
from ...spec.isa import ACC_BITS
from ..buffers import READ_LATENCY
from ..requantize import Delay
from .array import DeltaArray
from .combine import DeltaCombine

# DeltaPath ----------------------------------------------------------------------------------------

class DeltaPath(LiteXModule):
    """
    Parameters
    ----------
    columns : int
        Output channels.
    bits : int
        Of a delta, 2 to 6.
    primitive : bool
        Instantiate ECP5 carry chains.

    Attributes
    ----------
    weights : in, bits*columns bits
        WBUF's data.
    head : in
        The word read in this clock is one ahead of a tile's deltas: each column's reference, lowest
        bits first.
    valid, operand, first, last, dump
        As MacArray's, with READ_LATENCY - 1 clocks from an operand to its deltas.
    take : in
        From the clock behind ``dump`` on: a channel of the group.
    valid_out, out : out
        Its four accumulators, ``latency`` clocks later.
    wait : int
        Clocks from a tile's last operand to ``head``, at least, so that the references in use stay.
    """
    def __init__(self, columns, bits, primitive=False):
        self.weights   = Signal(bits*columns)
        self.head      = Signal()
        self.take      = Signal()
        self.valid_out = Signal()
        self.out       = [Signal((ACC_BITS, True), name=f"out{i}") for i in range(LANES)]
        self.array     = array = DeltaArray(columns, bits, weight_latency=READ_LATENCY - 1,
            primitive=primitive)
        for name in ("valid", "operand", "first", "last", "dump"):
            setattr(self, name, getattr(array, name))

        # # #

        self.comb += array.weights.eq(self.weights)

        # References of the next tile --------------------------------------------------------------
        # The first of their words comes with the dump of the last group before it, not earlier: a
        # tile of one group takes its own references with that dump.
        words     = -(-REFERENCE_BITS // bits)
        self.wait = array.multiply_latency + 1
        self.head_delay = head_delay = Delay(self.head, READ_LATENCY, reset_less=False)
        arriving  = [Signal(words*bits, reset_less=True) for _ in range(columns)]
        references = [Signal(REFERENCE_BITS, reset_less=True) for _ in range(columns)]
        missing   = Signal(max=words + 1, reset=words)
        complete  = Signal()
        self.comb += complete.eq(missing == 0)
        for j in range(columns):
            field = self.weights[bits*j:bits*(j + 1)]
            self.sync += [
                If(head_delay.output, arriving[j].eq(Cat(arriving[j][bits:], field))),
                If(self.dump & complete, references[j].eq(arriving[j])),
            ]
        self.sync += If(head_delay.output,
            missing.eq(Mux(complete, words, missing) - 1)
        ).Elif(self.dump & complete,
            missing.eq(words)
        )

        # A channel a clock ------------------------------------------------------------------------
        index     = Signal(max=max(columns, 2), reset_less=True)
        reference = Signal(REFERENCE_BITS, reset_less=True)
        self.combine = combine = DeltaCombine(params_latency=1, primitive=primitive)
        self.latency = combine.latency
        self.sync += [
            reference.eq(Array(references)[index]),
            If(self.dump,
                index.eq(0)
            ).Elif(self.take,
                index.eq(index + 1)
            ),
        ]
        self.comb += [
            combine.valid.eq(self.take),
            [sink.eq(out) for sink, out in zip(combine.delta, array.out, strict=True)],
            [sink.eq(out) for sink, out in zip(combine.sums, array.sums, strict=True)],
            combine.reference.eq(reference),
            combine.offset.eq(REFERENCE_BITS - bits),
            self.valid_out.eq(combine.out_valid),
            [sink.eq(out) for sink, out in zip(self.out, combine.out, strict=True)],
        ]
