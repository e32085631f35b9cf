"""Rows of logic in the ECP5's carry cells (CCU2C), a LUT4 a bit.

A position is (INIT, A, B, C, D): what its LUT4 computes and from which bits. Its sum is that
function ^ carry; the carry out is the carry in where the function is 1, otherwise the function of
(A, B, 0, 0), whatever C and D are. An adder leaves two inputs free: enough to gate, invert or
choose an addend in the chain itself, for which Yosys takes a LUT more.
"""

from litex.gen import *
from migen import *

# Functions ----------------------------------------------------------------------------------------

def lut4(function):
    """The INIT of a LUT4."""
    return sum(int(function(i & 1, i >> 1 & 1, i >> 2 & 1, i >> 3 & 1)) << i for i in range(16))


# A + (C ? 0 : B). D = 1.
ADD_UNLESS = lut4(lambda a, b, c, d: a ^ (b & ~c & 1) if d else a)

# CarryRow -----------------------------------------------------------------------------------------

class CarryRow(LiteXModule):
    """``sum``, a bit a position: a chain of CCU2C. Positions: (INIT, A, B, C, D), lowest first."""

    def __init__(self, positions):
        self.sum = Signal(len(positions))

        # # #

        positions = [*positions]
        if len(positions) % 2:
            positions.append((0, 0, 0, 0, 0))
        result = Signal(len(positions))
        carry = Constant(0, 1)
        for n in range(0, len(positions), 2):
            carry_out, ports = Signal(), {}
            for k, (init, *inputs) in enumerate(positions[n:n + 2]):
                ports[f"p_INIT{k}"] = Constant(init, 16)
                ports[f"p_INJECT1_{k}"] = "NO"
                ports[f"o_S{k}"] = result[n + k]
                for name, value in zip("ABCD", inputs, strict=True):
                    ports[f"i_{name}{k}"] = value
            self.specials += Instance("CCU2C", i_CIN=carry, o_COUT=carry_out, **ports)
            carry = carry_out
        self.comb += self.sum.eq(result)
