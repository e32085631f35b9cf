"""What COMPUTE asks of an array, whatever it multiplies: operands and words of WBUF in,
accumulators out, a channel a clock."""

from litex.gen import *
from migen import *

from .array import MacArray
from .buffers import READ_LATENCY

WEIGHT_LATENCY = READ_LATENCY - 1   # Clocks from an operand to its weights.

# ArrayPath ----------------------------------------------------------------------------------------

class ArrayPath(LiteXModule):
    """An array whose sums are the accumulators. A subclass for another kind of array makes
    accumulators of its sums.

    Parameters
    ----------
    array : LiteXModule
        With the ports of MacArray, and WEIGHT_LATENCY clocks from an operand to its weights.

    Attributes
    ----------
    valid, operand, first, last, dump
        As MacArray's.
    single, column : in
        As MacArray's; of no effect where ``dense_only``.
    weights : in
        WBUF's data.
    head : in
        The word read in this clock is one ahead of a tile's weights (Arch.head_words).
    take : in
        From the clock behind ``dump`` on: a channel of the group.
    valid_out, out : out
        Its four accumulators, ``latency`` clocks later.
    latency : int
    wait : int
        Clocks from a tile's last operand to ``head``, at least.
    dense_only : bool
        All columns take every operand: no depthwise layers, no pools.
    """
    dense_only    = True
    latency, wait = 0, 0

    def __init__(self, array):
        self.array = array
        for name in ("valid", "operand", "first", "last", "dump", "weights"):
            setattr(self, name, getattr(array, name))
        self.single    = Signal()
        self.column    = Signal(max=64)
        self.head      = Signal()
        self.take      = Signal()
        self.valid_out = Signal()
        self.out       = array.out
        self._accumulators()

    def _accumulators(self):
        """Drive ``valid_out`` and ``out``."""
        self.comb += self.valid_out.eq(self.take)

# MacPath ------------------------------------------------------------------------------------------

class MacPath(ArrayPath):
    """Plain multipliers, for weights of any format that LOAD decodes.

    Parameters
    ----------
    columns : int
        Output channels.
    primitive : bool
        Instantiate ECP5's DSP blocks and carry chains.
    """
    dense_only = False

    def __init__(self, columns, primitive=False):
        array = MacArray(columns, WEIGHT_LATENCY, primitive)
        super().__init__(array)
        self.single, self.column = array.single, array.column
