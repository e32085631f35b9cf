"""Registers that stay apart.

A register that drives many block RAMs drives them over long wires, which limit the clock; copies of
it, one for each few of them, shorten the wires. But Yosys makes one register of those with the same
input, whatever attributes they carry. It leaves instances of the flip-flop itself alone.
"""

from litex.gen import *
from migen import *

# KeptRegister -------------------------------------------------------------------------------------

class KeptRegister(LiteXModule):
    """``q`` is ``d`` a clock ago. Without reset, 0 at first.

    Parameters
    ----------
    d : Signal
    primitive : bool
        Instantiate ECP5's flip-flops (TRELLIS_FF) instead of the behavioural twin.
    """
    def __init__(self, d, primitive=False):
        self.q = Signal(len(d), reset_less=True)

        # # #

        if not primitive:
            self.sync += self.q.eq(d)
            return
        for i in range(len(d)):
            self.specials += Instance("TRELLIS_FF",
                p_GSR    = "AUTO",
                p_CEMUX  = "1",
                p_CLKMUX = "CLK",
                p_LSRMUX = "LSR",
                p_REGSET = "RESET",
                i_CLK    = ClockSignal("sys"),
                i_LSR    = 0,
                i_DI     = d[i],
                o_Q      = self.q[i],
            )
