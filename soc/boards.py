"""Boards, as data. soc/board.py builds any of them; docs/boards.md says how to add one."""

from dataclasses import dataclass, field

from ..spec.arch import ARCHS
from ..spec.wire import BAUD

SDR, SDR_HALF, DDR3 = "SDR 1:1", "SDR 1:2", "DDR3"
MEMORIES = (SDR, SDR_HALF, DDR3)
FLASHES  = ("no", "yes", "only")
# For Yosys: what a memory gives where it is written in the same clock, nobody uses. That goes for
# FIFOs, for the accelerator's memories (docs/accelerator.md) and for VexRiscv's: it fetches nothing
# while it loads a line, and has what it wrote last in a register. Else there are LUTs round block
# RAMs that give what was there before.
NO_BYPASS = "-no-rw-check"
# For Yosys: no LUTs of 5 inputs and more, which are made of neighbours: fewer, and easier to place.
NO_WIDE = "-nowidelut"


@dataclass(frozen=True)
class Board:
    """One board and what is built for it.

    platform, options: module of litex_boards.platforms and what its Platform takes; device: the
    whole part number, as that Platform names it; clk: request name of the oscillator and its
    frequency in Hz; clk_freq: system clock in Hz.

    memory: SDR (at the system clock), SDR_HALF (SDR SDRAM at twice the system clock) or DDR3 (by
    LiteDRAM's ECP5DDRPHY); sdram_module: its chip, a class of litedram.modules; sdram_clk_phase: of
    an SDR chip's clock at 1:1, in degrees; phy_options, phy_settings: of LiteDRAM's PHY, what it
    takes and what is set afterwards; pad_levels: what further pads of the DRAM are driven with;
    eclk_bridge: DDR3's clock crosses from one side of the FPGA to the other.

    arch: key of spec.arch.ARCHS; accel: options of gateware.accelerator.Accelerator; cpu:
    the VexRiscv (soc/core.py); synthesis: options of Yosys' synth_ecp5.

    rst: request name of a reset button or None, rst_low: it is low when pressed; serial: request
    name of the line to the host, extension: IO to be added to the platform for it; baud: its speed;
    led: request name of a LED that is lit while the accelerator runs or None, led_pad: the
    subsignal of it, led_low: it is lit by a low level; enables: pads to drive high.

    programmer: the board's name for openFPGALoader, or None: it has another way (docs/boards.md);
    flash: what openFPGALoader may do with its configuration flash: "no", "yes", or "only", write it
    but not load the FPGA.
    """
    name: str
    platform: str
    device: str
    arch: str
    clk: tuple
    memory: str
    sdram_module: str
    rst: str = None
    rst_low: bool = False
    options: dict = field(default_factory=dict)
    accel: dict = field(default_factory=dict)
    cpu: str = "lite"
    synthesis: str = ""
    clk_freq: float = 50e6
    sdram_clk_phase: int = 90
    phy_options: dict = field(default_factory=dict)
    phy_settings: dict = field(default_factory=dict)
    pad_levels: dict = field(default_factory=dict)
    eclk_bridge: bool = False
    serial: str = "serial"
    extension: str = None
    baud: int = BAUD
    led: str = None
    led_pad: str = None
    led_low: bool = False
    enables: tuple = ()
    programmer: str = None
    flash: str = "no"

    def __post_init__(self):
        if self.arch not in ARCHS:
            raise ValueError(f"board {self.name}: arch {self.arch!r}: allowed are "
                             f"{', '.join(ARCHS)}")
        if self.memory not in MEMORIES:
            raise ValueError(f"board {self.name}: memory {self.memory!r}: allowed are "
                             f"{', '.join(MEMORIES)}")
        if self.flash not in FLASHES:
            raise ValueError(f"board {self.name}: flash {self.flash!r}: allowed are "
                             f"{', '.join(FLASHES)}")
        if len(self.device.split("-")) != 3:
            raise ValueError(f"board {self.name}: device {self.device!r}: expected a whole part "
                             f"number such as LFE5U-85F-6BG381C")

    @property
    def build_name(self):
        """Of its files, and of its figures."""
        return self.name.replace("-", "_")

    @property
    def size(self):
        """Of the FPGA: 85F, 45F, 25F or 12F."""
        return self.device.split("-")[1]

    @property
    def package(self):
        """Of the FPGA: CABGA381 or as the part number has it, such as BG381."""
        return self.device.split("-")[2][1:].rstrip("CI")


# What fits beside everything else. The codecs a smaller FPGA has no room for are left out, as the
# Archs 45f and 25f leave out VECTOR.
_LARGE  = dict(arch="85f")
_MEDIUM = dict(arch="45f", synthesis=NO_BYPASS)
# A 25F has DSPs to spare instead, which the requantizer takes, for fewer LUTs.
# Its CPU has no cache: it still takes bytes faster than the line brings them.
_SMALL  = dict(arch="25f", accel=dict(codecs=("zfpi",), requant_dsps=3, requant_narrow=True),
               cpu="minimal", synthesis=f"{NO_BYPASS} {NO_WIDE}")

# ULX3S boards carry different SDRAM chips: see the one on the board (--sdram-module).
_ULX3S = dict(
    platform     = "radiona_ulx3s",
    clk          = ("clk25", 25e6),
    rst          = "rst",
    memory       = SDR_HALF,
    sdram_module = "MT48LC16M16",
    led          = "user_led",
    enables      = ("wifi_gpio0",),     # Low would let the ESP32 take the FPGA over.
    programmer   = "ulx3s",
    flash        = "yes",
)

# A 32-bit SDRAM without mask pins, soldered to the module; serial port and buttons are those of
# the extension board. At 1:1 it gives the accelerator a whole word a clock.
_COLORLIGHT_I5 = dict(
    platform        = "colorlight_i5",
    options         = dict(board="i5", revision="7.0"),
    clk             = ("clk25", 25e6),
    rst             = "cpu_reset_n",
    rst_low         = True,
    memory          = SDR,
    sdram_module    = "M12L64322A",
    sdram_clk_phase = 180,
    led             = "user_led_n",
    led_low         = True,
    programmer      = "colorlight-i5",
    flash           = "yes",
)

# Its USB connector is wired to the FPGA, there is no chip for a serial port: a 3.3 V USB adapter
# goes to the Feather header, its RX to pin 1 (TX), its TX to pin 0 (RX). The only button resets.
_ORANGECRAB = dict(
    platform     = "gsd_orangecrab",
    clk          = ("clk48", 48e6),
    clk_freq     = 48e6,
    rst          = "usr_btn",
    rst_low      = True,
    memory       = DDR3,
    sdram_module = "MT41K64M16",
    # DM pads of the two bytes are swapped; slow clocks want the commands later.
    phy_options  = dict(dm_remapping={0: 1, 1: 0}, cmd_delay=100),
    phy_settings = dict(rtt_nom="disabled"),
    pad_levels   = dict(vccio=0b111111, gnd=0),
    eclk_bridge  = True,
    extension    = "feather_serial",
    led          = "rgb_led",
    led_pad      = "g",
    led_low      = True,
    enables      = ("rst_n",),      # Low would start the bootloader.
    programmer   = "orangeCrab",    # By the bootloader's DFU, into the user's part of the flash.
    flash        = "only",
)

_ECPIX5 = dict(
    platform     = "lambdaconcept_ecpix5",
    clk          = ("clk100", 100e6),
    rst          = "rst_n",
    rst_low      = True,
    memory       = DDR3,
    sdram_module = "MT41K256M16",
    led          = "rgb_led",
    led_pad      = "g",
    led_low      = True,
    programmer   = "ecpix5",
    flash        = "yes",
)

BOARDS = {board.name: board for board in (
    Board(name="ulx3s-85f", device="LFE5U-85F-6BG381C", options=dict(device="LFE5U-85F"),
          **_ULX3S, **_LARGE),
    Board(name="ulx3s-45f", device="LFE5U-45F-6BG381C", options=dict(device="LFE5U-45F"),
          **_ULX3S, **_MEDIUM),
    Board(name="ulx3s-25f", device="LFE5U-25F-6BG381C", options=dict(device="LFE5U-25F"),
          **_ULX3S, **_SMALL),
    Board(name="ulx3s-12f", device="LFE5U-12F-6BG381C", options=dict(device="LFE5U-12F"),
          **_ULX3S, **_SMALL),
    Board(name="colorlight-i5", device="LFE5U-25F-6BG381C", **_COLORLIGHT_I5, **_SMALL),
    Board(name="orangecrab-85f", device="LFE5U-85F-8MG285C", options=dict(device="85F"),
          **_ORANGECRAB, **_LARGE),
    Board(name="orangecrab-25f", device="LFE5U-25F-8MG285C", options=dict(device="25F"),
          **_ORANGECRAB, **_SMALL),
    Board(name="ecpix5-85f", device="LFE5UM5G-85F-8BG554I", options=dict(device="85F"),
          **_ECPIX5, **_LARGE),
    Board(name="ecpix5-45f", device="LFE5UM5G-45F-8BG554I", options=dict(device="45F"),
          **_ECPIX5, **_MEDIUM),
    # The older Versa has an LFE5UM-45F: options=dict(device="LFE5UM").
    Board(name="versa-ecp5", device="LFE5UM5G-45F-8BG381C", options=dict(device="LFE5UM5G"),
          platform="lattice_versa_ecp5", clk=("clk100", 100e6), rst="rst_n", rst_low=True,
          memory=DDR3, sdram_module="MT41K64M16", led="user_led", led_low=True,
          **_MEDIUM),
)}
