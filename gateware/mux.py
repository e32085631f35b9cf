"""Wide multiplexers as an ECP5 slice has them.

A slice joins two LUT4s by a multiplexer (PFUMX), and those again (L6MUX21): 16 inputs in one block
of logic, two inputs a LUT, one hop of routing. Yosys maps a LUT4 to each two-way multiplexer
instead: twice the LUTs, and a hop each for four of the index's bits.
"""


from litex.gen import *
from migen import *

PRIMITIVE_BITS = 4   # Of an index, that one block of logic can decide.
MUX2 = 0xcaca        # LUT4: C ? B : A.

# select -------------------------------------------------------------------------------------------


def select(index, options):
    """options[index] as a tree of two-way multiplexers: half the LUTs of a Case, whose one-hot form
    Yosys keeps. ``options``: 2^len(index) expressions, or None where it does not matter."""
    def tree(bit, options):
        if len(options) == 1:
            return options[0]
        half = len(options)//2
        low, high = tree(bit - 1, options[:half]), tree(bit - 1, options[half:])
        if low is None or high is None:
            return high if low is None else low
        return Mux(index[bit], high, low)
    assert len(options) == 1 << len(index)
    return tree(len(index) - 1, options)

# Selector -----------------------------------------------------------------------------------------


class Selector(LiteXModule):
    """``out`` = options[index].

    Parameters
    ----------
    index : Signal
    options : list
        2^len(index) expressions of one width.
    primitive : bool
        Instantiate the multiplexers of an ECP5 slice (LUT4, PFUMX, L6MUX21) instead of the
        behavioural twin.
    """
    def __init__(self, index, options, primitive=False):
        width = len(options[0])
        self.out = Signal(width)

        # # #

        if not primitive or len(index) < 2:
            self.comb += self.out.eq(select(index, options))
            return
        inputs = [Signal(width) for _ in options]
        self.comb += [i.eq(o) for i, o in zip(inputs, options, strict=True)]
        bits   = min(len(index), PRIMITIVE_BITS)
        groups = [inputs[i:i + (1 << bits)] for i in range(0, len(inputs), 1 << bits)]
        parts  = [Cat(*(self._tree(index[:bits], [i[k] for i in group]) for k in range(width)))
            for group in groups]
        self.comb += self.out.eq(select(index[bits:], parts) if len(parts) > 1 else parts[0])

    def _tree(self, index, inputs):
        half = len(inputs)//2
        out  = Signal()
        if half == 1:
            self.specials += Instance("LUT4", p_INIT=Constant(MUX2, 16), i_A=inputs[0],
                i_B=inputs[1], i_C=index[0], i_D=0, o_Z=out)
            return out
        low, high = (self._tree(index[:-1], part) for part in (inputs[:half], inputs[half:]))
        if half == 2:
            self.specials += Instance("PFUMX", i_BLUT=low, i_ALUT=high, i_C0=index[-1], o_Z=out)
        else:
            self.specials += Instance("L6MUX21", i_D0=low, i_D1=high, i_SD=index[-1], o_Z=out)
        return out
