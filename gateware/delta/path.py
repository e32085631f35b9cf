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
from ..path import WEIGHT_LATENCY, ArrayPath
from ..requantize import Delay
from .array import DeltaArray
from .combine import DeltaCombine

# DeltaPath ----------------------------------------------------------------------------------------

class DeltaPath(ArrayPath):
    """Deltas and references: ``head`` words hold each column's reference, lowest bits first. The
    references in use stay while the next tile's come, ``wait`` clocks after its last operand.

    Parameters
    ----------
    columns : int
        Output channels.
    bits : int
        Of a delta, 2 to 6.
    primitive : bool
        Instantiate ECP5 carry chains.
    """
    def __init__(self, columns, bits, primitive=False):
        self.columns, self.bits, self.primitive = columns, bits, primitive
        super().__init__(DeltaArray(columns, bits, weight_latency=WEIGHT_LATENCY,
            primitive=primitive))

    def _accumulators(self):
        columns, bits, array = self.columns, self.bits, self.array
        self.out = [Signal((ACC_BITS, True), name=f"out{i}") for i in range(LANES)]

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
        self.combine = combine = DeltaCombine(params_latency=1,
            primitive=self.primitive)
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
