"""A board's SoC and its bitstream, by Yosys, nextpnr and ecppack.

``python -m litepress.soc.board --board ulx3s-85f`` builds build/board/ulx3s-85f/ulx3s_85f.bit.
Steps are not repeated for the same inputs (soc/bitstream.py). A clock that is missed is an error.
"""

import argparse
import dataclasses
import logging
import os
import sys
from importlib import import_module
from pathlib import Path

from litedram import modules
from litedram.phy import GENSDRPHY, HalfRateGENSDRPHY
from litex.build.io import DDROutput
from litex.gen import *
from litex.soc.cores.clock import ECP5PLL
from litex.soc.cores.uart import RS232PHY
from litex.soc.interconnect import stream
from migen import *

from ..spec.arch import ARCHS
from .bitstream import Flow, tool_path
from .boards import BOARDS
from .core import LitePressSoC
from .firmware import add_firmware

ROOT  = Path(__file__).resolve().parents[1]
SEEDS = (1, 2, 3)

# SoC ----------------------------------------------------------------------------------------------

class BoardCRG(LiteXModule):
    """System clock and SDRAM clocks from the board's oscillator."""
    def __init__(self, platform, board):
        self.rst    = Signal()
        self.cd_sys = ClockDomain()

        # # #

        clk_name, clk_freq = board.clk
        self.pll = pll = ECP5PLL()
        self.comb += pll.reset.eq(platform.request(board.rst) | self.rst)
        pll.register_clkin(platform.request(clk_name), clk_freq)
        pll.create_clkout(self.cd_sys, board.clk_freq)
        if board.sdram_rate == "1:2":
            self.cd_sys2x    = ClockDomain()
            self.cd_sys2x_ps = ClockDomain()
            pll.create_clkout(self.cd_sys2x,    2*board.clk_freq)
            pll.create_clkout(self.cd_sys2x_ps, 2*board.clk_freq, phase=180)
            sdram_clk = ClockSignal("sys2x_ps")
        else:
            self.cd_sys_ps = ClockDomain()
            pll.create_clkout(self.cd_sys_ps, board.clk_freq, phase=90)
            sdram_clk = ClockSignal("sys_ps")
        self.specials += DDROutput(1, 0, platform.request("sdram_clock"), sdram_clk)
        for name in board.enables:
            self.comb += platform.request(name).eq(1)


class BoardSoC(LitePressSoC):
    """``board`` : boards.Board. The host's line is the board's serial port."""
    def __init__(self, board):
        platform = import_module(f"litex_boards.platforms.{board.platform}").Platform(
            device=board.device, toolchain="trellis")
        self.crg = BoardCRG(platform, board)
        super().__init__(platform, board.clk_freq, ident=f"LitePress on {board.name}")

        # Serial port: the PHY does not wait, the FIFO does for it. ------------------------------
        self.uart_phy  = phy  = RS232PHY(platform.request("serial"), board.clk_freq, board.baud)
        self.uart_fifo = fifo = stream.SyncFIFO([("data", 8)], 16)
        self.comb += phy.source.connect(fifo.sink)

        # SDRAM and accelerator. -----------------------------------------------------------------
        phy_cls     = HalfRateGENSDRPHY if board.sdram_rate == "1:2" else GENSDRPHY
        self.sdrphy = phy_cls(platform.request("sdram"), board.clk_freq)
        module      = getattr(modules, board.sdram_module)(board.clk_freq, board.sdram_rate)
        self.add_litepress(ARCHS[board.arch], self.sdrphy, module, fifo.source, phy.sink,
                           primitive=True)

# Build --------------------------------------------------------------------------------------------

def generate(board, say=print):
    """Write Verilog, constraints and LiteX's build script of ``board`` below build/board/; returns
    (directory, script)."""
    directory = ROOT / "build" / "board" / board.name
    directory.mkdir(parents=True, exist_ok=True)
    name = board.name.replace("-", "_")
    soc  = BoardSoC(board)
    say(add_firmware(soc, directory / "firmware"))
    here = os.getcwd()
    try:
        soc.build(build_dir=str(directory), build_name=name, run=False)
    finally:
        os.chdir(here)
    return directory, directory / f"build_{name}.sh"


def flow_of(board, say=print):
    """The Flow of a board whose Verilog is written. RuntimeError: there are no tools for it."""
    path = tool_path(ROOT / "build" / "shims")
    return Flow(*generate(board, say), path, say)


def build(board, seeds=SEEDS, say=print):
    """Build the bitstream of ``board`` from the first of ``seeds`` that meets the clocks; returns
    its path. RuntimeError: a step failed, or a clock was missed by all."""
    flow = flow_of(board, say)
    routed = flow.best(flow.synthesize(), seeds)
    for key, (used, available) in routed.used.items():
        say(f"{key.upper()}: {used:,} of {available:,} ({100*used/available:.0f} %)")
    if routed.margin < 1:
        clock, (achieved, needed) = min(routed.fmax.items(), key=lambda item:
                                        item[1][0]/item[1][1])
        raise RuntimeError(f"clock {clock}: {achieved:.1f} MHz, needed are {needed:.1f}: try other "
                           f"--seeds than {','.join(str(seed) for seed in seeds)}")
    return flow.pack(routed)


def main():
    parser = argparse.ArgumentParser(prog="python -m litepress.soc.board", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: python -m litepress.soc.board --board "
                                            "ulx3s-85f")
    parser.add_argument("--board", default="ulx3s-85f", choices=list(BOARDS))
    parser.add_argument("--arch", help="another size than the board's own: see spec/arch.py")
    parser.add_argument("--sdram-module", help="another chip, a class of litedram.modules: "
                                               "MT48LC16M16, AS4C16M16, AS4C32M16, IS42S16160")
    parser.add_argument("--seeds", default=",".join(str(seed) for seed in SEEDS),
                        help="of placement: until the clocks are met (default: %(default)s)")
    parser.add_argument("--generate-only", action="store_true", help="no Yosys, no nextpnr")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    changes = {"arch": args.arch, "sdram_module": args.sdram_module}
    try:
        board = dataclasses.replace(BOARDS[args.board],
                                    **{k: v for k, v in changes.items() if v is not None})
        if not hasattr(modules, board.sdram_module):
            raise ValueError(f"--sdram-module {board.sdram_module}: not in litedram.modules")
        if args.generate_only:
            print(generate(board)[0])
        else:
            print(build(board, [int(seed) for seed in args.seeds.split(",")]))
    except (RuntimeError, ValueError, OSError) as error:
        sys.exit(f"litepress build: {error}")


if __name__ == "__main__":
    main()
