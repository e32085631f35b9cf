"""Boards, as data. soc/board.py builds any of them."""

from dataclasses import dataclass

from ..spec.arch import ARCHS
from ..spec.wire import BAUD


@dataclass(frozen=True)
class Board:
    """One board and what is built for it.

    platform: module of litex_boards.platforms; device: FPGA, as the platform names it; arch: key of
    spec.arch.ARCHS; clk: request name of the oscillator and its frequency in Hz; rst: request
    name of a button that resets; clk_freq: system clock in Hz; sdram_module: class of
    litedram.modules; sdram_rate: "1:1" or "1:2" (SDRAM at twice the system clock); baud: of the
    serial line to the host; enables: pads to drive high.
    """
    name: str
    platform: str
    device: str
    arch: str
    clk: tuple
    rst: str
    sdram_module: str
    clk_freq: float = 50e6
    sdram_rate: str = "1:2"
    baud: int = BAUD
    enables: tuple = ()

    def __post_init__(self):
        if self.arch not in ARCHS:
            raise ValueError(f"board {self.name}: arch {self.arch!r}: allowed are "
                             f"{', '.join(ARCHS)}")
        if self.sdram_rate not in ("1:1", "1:2"):
            raise ValueError(f"board {self.name}: sdram_rate {self.sdram_rate!r}: allowed are 1:1 "
                             f"and 1:2")


# ULX3S boards carry different SDRAM chips: see the one on the board (--sdram-module).
_ULX3S = dict(
    platform     = "radiona_ulx3s",
    clk          = ("clk25", 25e6),
    rst          = "rst",
    sdram_module = "MT48LC16M16",
    enables      = ("wifi_gpio0",),     # Low would let the ESP32 take the FPGA over.
)

BOARDS = {board.name: board for board in (
    Board(name="ulx3s-85f", device="LFE5U-85F", arch="85f", **_ULX3S),
    Board(name="ulx3s-45f", device="LFE5U-45F", arch="45f", **_ULX3S),
    Board(name="ulx3s-25f", device="LFE5U-25F", arch="25f", **_ULX3S),
    Board(name="ulx3s-12f", device="LFE5U-12F", arch="25f", **_ULX3S),
)}
