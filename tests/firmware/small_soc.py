"""The smallest LiteX SoC the firmware runs on: its headers, without the real accelerator."""

from pathlib import Path

from litedram import modules
from litedram.init import get_sdram_phy_c_header
from litedram.phy.model import SDRAMPHYModel
from litex.build.generic_platform import Pins, Subsignal
from litex.build.sim import SimPlatform
from litex.gen import LiteXModule
from litex.soc.integration import export
from litex.soc.integration.soc_core import SoCCore
from litex.soc.interconnect.csr import CSRStatus, CSRStorage
from migen import ClockDomain, If, Signal

from litepress.gateware.wire import WirePort
from litepress.soc.core import CPU_VARIANT
from litepress.soc.stage import WishboneStage

CLOCK = 50_000_000
IO = [
    ("sys_clk", 0, Pins(1)),
    ("sys_rst", 0, Pins(1)),
    ("line", 0, Subsignal("rx_data", Pins(8)), Subsignal("rx_valid", Pins(1)),
                Subsignal("rx_ready", Pins(1)), Subsignal("tx_data", Pins(8)),
                Subsignal("tx_valid", Pins(1)), Subsignal("tx_ready", Pins(1))),
]


class ToyAccelerator(LiteXModule):
    """The registers of the accelerator's CSR bank; a run ends after 100 clocks per program word."""

    def __init__(self):
        self._control = CSRStorage(2)
        self._program = CSRStorage(32)
        self._program_words = CSRStorage(32)
        self._region_base = CSRStorage(32)
        self._region_words = CSRStorage(32)
        self._status = CSRStatus(16)
        self._detail = CSRStatus(32)
        self._run_cycles = CSRStatus(64)
        self._layers_done = CSRStatus(32)
        self._profile_address = CSRStorage(16)
        self._profile_data = CSRStatus(32)
        left, done = Signal(32), Signal()
        self.sync += [
            self._profile_data.status.eq(self._profile_address.storage + 7),
            self._status.status.eq((left != 0) | done << 1),
        ]
        self.sync += If(self._control.re & self._control.storage[0],
            left.eq(100*self._program_words.storage), done.eq(0), self._run_cycles.status.eq(0)
        ).Elif(self._control.re & self._control.storage[1],
            left.eq(0), done.eq(0)
        ).Elif(left != 0,
            left.eq(left - 1), self._run_cycles.status.eq(self._run_cycles.status + 1),
            done.eq(left == 1), self._layers_done.status.eq(left == 1)
        )


class SmallSoC(SoCCore):
    def __init__(self, rom=(), with_sdram=True):
        platform = SimPlatform("SIM", IO)
        self.cd_sys = ClockDomain()
        self.comb += [
            self.cd_sys.clk.eq(platform.request("sys_clk")),
            self.cd_sys.rst.eq(platform.request("sys_rst")),
        ]
        SoCCore.__init__(self, platform, CLOCK, cpu_type="vexriscv", cpu_variant=CPU_VARIANT,
                         integrated_rom_size=0x8000, integrated_rom_init=list(rom),
                         integrated_sram_size=0x2000, with_uart=False,
                         ident="", integrated_main_ram_size=0 if with_sdram else 0x10000)
        self.wire = WirePort()
        self.wire.add_csr()
        line = platform.request("line")
        self.comb += [
            self.wire.sink.valid.eq(line.rx_valid),
            self.wire.sink.data.eq(line.rx_data),
            line.rx_ready.eq(self.wire.sink.ready),
            line.tx_valid.eq(self.wire.source.valid),
            line.tx_data.eq(self.wire.source.data),
            self.wire.source.ready.eq(line.tx_ready),
        ]
        self.accel = ToyAccelerator()
        for name, value in (("ACCEL_COLUMNS", 4), ("ACCEL_ABUF_DEPTH", 2048),
                            ("ACCEL_WBUF_DEPTH", 512), ("ACCEL_PBUF_DEPTH", 256),
                            ("ACCEL_VBUF_DEPTH", 256), ("ACCEL_ARRAY", 0),
                            ("ACCEL_FORMATS", 0x1fff), ("ACCEL_ENGINES", 0xf)):
            self.add_constant(name, value)
        if with_sdram:
            module = modules.MT48LC16M16(CLOCK, "1:1")
            self.sdrphy = SDRAMPHYModel(module, data_width=16, clk_freq=CLOCK)
            self.add_sdram("sdram", phy=self.sdrphy, module=module, l2_cache_size=0)
            self.stage = WishboneStage(self.bus.slaves["main_ram"])     # As soc/core.py has it.
            self.bus.slaves["main_ram"] = self.stage.bus


def write_headers(soc, directory):
    """What LiteX's builder writes to include/generated, for a finalized SoC."""
    generated = Path(directory) / "generated"
    generated.mkdir(parents=True, exist_ok=True)
    files = {
        "csr.h": export.get_csr_header(soc.csr_regions, soc.constants,
                                       csr_base=soc.mem_regions["csr"].origin),
        "mem.h": export.get_mem_header(soc.mem_regions),
        "soc.h": export.get_soc_header(soc.constants),
        "regions.ld": export.get_linker_regions(soc.mem_regions),
        "output_format.ld": export.get_linker_output_format(soc.cpu),
    }
    if hasattr(soc, "sdram"):
        settings = soc.sdram.controller.settings
        files["sdram_phy.h"] = get_sdram_phy_c_header(settings.phy, settings.timing, settings.geom)
    for name, text in files.items():
        (generated / name).write_text(str(text))
    return Path(directory)


def write_verilog(soc, directory):
    """small_soc.v, with its memories' contents, and the CPU's; returns the sources."""
    directory = Path(directory)
    output = soc.platform.get_verilog(soc, name="small_soc")
    (directory / "small_soc.v").write_text(output.main_source)
    for name, content in output.data_files.items():
        (directory / name).write_text(content)
    return [directory / "small_soc.v", *(Path(s[0]) for s in soc.platform.sources)]
