"""Registers between LiteDRAM's controller and a PHY.

LiteX's DFIInjector lets firmware drive the DRAM by CSRs: from the CSR bus' address to a pad there
is no register but the pad's own, which at 1:2 has half a system clock.
"""

from copy import copy

from litedram.phy import dfi
from litex.gen import *
from migen import *

# DFIRegister --------------------------------------------------------------------------------------

class DFIRegister(LiteXModule):
    """A PHY whose commands and write data are a system clock late, so that they start in registers.

    Parameters
    ----------
    phy : a LiteDRAM PHY
        Added elsewhere. What it reads passes as it is.

    Attributes
    ----------
    settings : litedram.common.PhySettings
        The PHY's, with a read latency that is a clock longer.
    dfi : litedram.phy.dfi.Interface
    """
    def __init__(self, phy):
        p0 = phy.dfi.phases[0]
        self.settings = copy(phy.settings)
        self.settings.read_latency += 1
        self.dfi = dfi.Interface(len(p0.address), len(p0.bank), len(p0.cs_n), len(p0.wrdata),
                                 len(phy.dfi.phases))

        # # #

        for here, there in zip(self.dfi.phases, phy.dfi.phases, strict=True):
            for name, _, direction in here.layout:
                ours, theirs = getattr(here, name), getattr(there, name)
                if direction == DIR_S_TO_M:
                    self.comb += ours.eq(theirs)
                    continue
                register = Signal(len(ours), reset=ours.reset.value)
                self.sync += register.eq(ours)
                self.comb += theirs.eq(register)
