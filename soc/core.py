"""The SoC that carries LitePress, on a board or simulated: VexRiscv, our firmware, SDRAM.

Its platform, clocks, SDRAM PHY and the host's line come from soc/sim.py or soc/board.py.
"""

from litex.soc.integration.soc_core import SoCCore

from .accelerator import add_accelerator, add_wire
from .stage import WishboneStage

# Of LiteX's VexRiscvs the one with an instruction cache and no DSP: those are for the array, and
# the firmware multiplies nothing. "minimal" has no cache either: half the LUTs.
CPU_VARIANT = "lite"
ROM_BYTES   = 0x2000    # Firmware: code and constants.
SRAM_BYTES  = 0x1000    # Its data and stack.


class LitePressSoC(SoCCore):
    """
    Parameters
    ----------
    platform : GenericPlatform
    clk_freq : float
        System clock in Hz.
    ident : str
        Text for the identifier CSR, "" for none.
    cpu : str
        The VexRiscv, as LiteX names it.

    Firmware lies in the integrated ROM in place of the LiteX BIOS; the whole SDRAM is the model's
    region. There is no LiteX UART: the host's line is the CSR bank ``wire``.
    """
    # Fixed, so that what a board has beside them moves none: firmware and tools find the same
    # registers at the same addresses everywhere.
    csr_map = {"ctrl": 0, "timer0": 1, "sdram": 2, "wire": 3, "accel": 4, "identifier_mem": 5,
               "ddrphy": 6}

    def __init__(self, platform, clk_freq, ident="", cpu=CPU_VARIANT):
        SoCCore.__init__(self, platform, clk_freq,
            cpu_type             = "vexriscv",
            cpu_variant          = cpu,
            integrated_rom_size  = ROM_BYTES,
            integrated_sram_size = SRAM_BYTES,
            with_uart            = False,
            with_timer           = True,    # LiteX wants one interrupt; nothing uses it.
            ident                = ident,
            ident_version        = False,
        )

    def add_litepress(self, arch, phy, module, receive, transmit, **options):
        """SDRAM behind ``phy`` (LiteDRAM PHY) and ``module`` (LiteDRAM module), the accelerator of
        size ``arch`` with ``options``, the host's line ``receive`` and ``transmit`` (see
        add_wire)."""
        self.add_sdram("sdram", phy=phy, module=module, l2_cache_size=0)
        self.main_ram_stage = stage = WishboneStage(self.bus.slaves["main_ram"])
        self.bus.slaves["main_ram"] = stage.bus
        add_wire(self, receive, transmit)
        add_accelerator(self, arch, **options)
