"""Multipliers: the ECP5 DSP block with its registers used, and one made of LUTs.

Yosys infers MULT18X18D without any of its registers, which halves the clock. ``Multiplier`` can
instantiate it with input and output registers; its behavioural twin does the same in plain Migen
for simulation and for other devices.
"""

from litex.gen import *
from migen import *

DSP_BITS = 18  # Operand width of MULT18X18D.

# Multiplier ---------------------------------------------------------------------------------------

class Multiplier(LiteXModule):
    """Signed product of two operands of up to 18 bits; p follows a and b by ``latency`` = 2 clocks
    (a register before and one after the multiplication).

    Parameters
    ----------
    a_bits, b_bits : int
        Widths of the signed operands.
    primitive : bool
        Instantiate MULT18X18D (ECP5) instead of the behavioural twin.
    name : str
        Of that cell in the netlist, where a floorplan is to find it.
    """
    latency = 2

    def __init__(self, a_bits=16, b_bits=16, primitive=False, name=""):
        for bits in (a_bits, b_bits):
            if not 2 <= bits <= DSP_BITS:
                raise ValueError(f"multiplier: operand of {bits} bits: allowed are 2 to {DSP_BITS}")
        self.a = Signal((a_bits, True))
        self.b = Signal((b_bits, True))
        self.p = Signal((a_bits + b_bits, True))

        # # #

        if primitive:
            self._primitive(name)
        else:
            a = Signal((a_bits, True), reset_less=True)
            b = Signal((b_bits, True), reset_less=True)
            self.sync += [
                a.eq(self.a),
                b.eq(self.b),
                self.p.eq(a*b),
            ]
            self.p.reset_less = True

    def _primitive(self, name):
        # Unsigned copies, extended: Yosys reads a design again, unmapped, for the sake of bits of a
        # signed wire on an instance.
        a, b, p = Signal(DSP_BITS), Signal(DSP_BITS), Signal(2*DSP_BITS)
        self.comb += [a.eq(self.a), b.eq(self.b), self.p.eq(p)]
        self.specials += Instance("MULT18X18D", name=name,
            # nextpnr models a registered multiplier only with both inputs registered.
            p_REG_INPUTA_CLK = "CLK0",
            p_REG_INPUTA_CE  = "CE0",
            p_REG_INPUTA_RST = "RST0",
            p_REG_INPUTB_CLK = "CLK0",
            p_REG_INPUTB_CE  = "CE0",
            p_REG_INPUTB_RST = "RST0",
            p_REG_OUTPUT_CLK = "CLK0",
            p_REG_OUTPUT_CE  = "CE0",
            p_REG_OUTPUT_RST = "RST0",
            p_GSR            = "DISABLED",
            i_CLK0    = ClockSignal(),
            i_CE0     = 1,
            i_RST0    = 0,
            i_SIGNEDA = 1,
            i_SIGNEDB = 1,
            i_SOURCEA = 0,
            i_SOURCEB = 0,
            **{f"i_A{i}": a[i] for i in range(DSP_BITS)},
            **{f"i_B{i}": b[i] for i in range(DSP_BITS)},
            **{f"o_P{i}": p[i] for i in range(2*DSP_BITS)},
        )

# FabricMultiplier ---------------------------------------------------------------------------------

class FabricMultiplier(LiteXModule):
    """Unsigned product in LUTs: a tree of adders over the rows of the narrower operand, registered
    at every level; p follows a and b by ``latency`` clocks.

    Written as adders because Yosys would turn a ``*`` into another DSP.
    """
    def __init__(self, a_bits, b_bits):
        self.a = Signal(a_bits)
        self.b = Signal(b_bits)
        self.p = Signal(a_bits + b_bits)

        # # #

        wide, narrow = (self.a, self.b) if a_bits >= b_bits else (self.b, self.a)
        # (value, weight): the terms whose sum, each shifted by its weight, is the product.
        terms = [(wide & Replicate(narrow[i], len(wide)), i) for i in range(len(narrow))]
        self.latency = 0
        while len(terms) > 1 or self.latency == 0:
            level = []
            for low, high in zip(terms[::2], terms[1::2], strict=False):
                shift = high[1] - low[1]
                total = Signal(max(len(low[0]), len(high[0]) + shift) + 1, reset_less=True)
                self.sync += total.eq(low[0] + (high[0] << shift))
                level.append((total, low[1]))
            if len(terms) % 2:
                rest = Signal(len(terms[-1][0]), reset_less=True)
                self.sync += rest.eq(terms[-1][0])
                level.append((rest, terms[-1][1]))
            terms = level
            self.latency += 1
        self.comb += self.p.eq(terms[0][0])
