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
from litedram.phy import ECP5DDRPHY, GENSDRPHY, HalfRateGENSDRPHY
from litex.gen import *
from litex.soc.cores.uart import RS232PHY
from litex.soc.interconnect import stream
from migen import *

from ..spec.arch import ARCHS
from ..spec.wire import BAUDS, MIN_BAUD, check_baud, revision_text
from .bitstream import Flow, density_of, locked, tool_path
from .boards import BOARDS, DDR3, SDR, SDR_HALF
from .clocking import BoardCRG, check_clocks
from .core import LitePressSoC
from .dfi import DFIRegister
from .firmware import add_firmware
from .fit import DEVICES, check_fit, needs_of
from .floorplan import grid_of
from .revision import revision
from .utilization import table, utilization

ROOT  = Path(__file__).resolve().parents[1]
SEEDS = (1, 2, 3)
BAUD_ERROR = 0.02   # Of the host's serial line, which ours has to bear at least.

# Checks -------------------------------------------------------------------------------------------

def find_board(name):
    """The board of that name; ValueError lists those there are."""
    if name not in BOARDS:
        raise ValueError(f"board {name!r}: allowed are {', '.join(BOARDS)}")
    return BOARDS[name]


def sdram_modules(memory):
    """Names of the chips of litedram.modules for a kind of memory (boards.MEMORIES)."""
    base = modules.DDR3Module if memory == DDR3 else modules.SDRModule
    return sorted(name for name, value in vars(modules).items()
                  if isinstance(value, type) and issubclass(value, base)
                  and hasattr(value, "nrows"))


def check(board):
    """Refuse what cannot be built, before anything that takes long. ValueError: one line."""
    if board.sdram_module not in sdram_modules(board.memory):
        raise ValueError(f"board {board.name}: --sdram-module {board.sdram_module}: known for "
                         f"{board.memory} are {', '.join(sdram_modules(board.memory))}")
    check_clocks(board)
    check_line(board)
    check_fit(board, ARCHS[board.arch])


def max_baud(clk_freq):
    """At which LiteX's UART still takes bytes from a host that is faster by BAUD_ERROR. It takes a
    bit up to 2.5 clocks after its middle: one until the start bit is seen, one that it takes to
    begin, half of one as its clock divider rounds. The last bit's middle comes 9.5 bits after the
    start. A byte it sends has each edge at most a clock late."""
    return clk_freq*(0.5 - 9.5*BAUD_ERROR)/2.5


def check_line(board):
    """ValueError: the serial port cannot run at the board's ``baud``."""
    check_baud(board.baud)
    if board.baud > max_baud(board.clk_freq):
        raise ValueError(f"board {board.name}: --baud {board.baud}: too fast for a clock of "
                         f"{board.clk_freq/1e6:g} MHz with a host that is off by "
                         f"{100*BAUD_ERROR:g} %: allowed are {MIN_BAUD} to "
                         f"{max_baud(board.clk_freq):.0f}")

# SoC ----------------------------------------------------------------------------------------------

class BoardSoC(LitePressSoC):
    """``board`` : boards.Board. The host's line is the board's serial port."""
    def __init__(self, board):
        module   = import_module(f"litex_boards.platforms.{board.platform}")
        platform = module.Platform(toolchain="trellis", **board.options)
        if board.extension:
            platform.add_extension(getattr(module, board.extension))
        self.crg = BoardCRG(platform, board)
        super().__init__(platform, board.clk_freq, ident=f"LitePress on {board.name}",
                         cpu=board.cpu)

        # Serial port: the PHY does not wait, the FIFO does for it. ------------------------------
        self.uart_phy  = phy  = RS232PHY(platform.request(board.serial), board.clk_freq, board.baud)
        self.uart_fifo = fifo = stream.SyncFIFO([("data", 8)], 16)
        self.comb += phy.source.connect(fifo.sink)

        # DRAM and accelerator. ------------------------------------------------------------------
        dram   = self._dram(board)
        rate   = "1:1" if board.memory == SDR else "1:2"
        module = getattr(modules, board.sdram_module)(board.clk_freq, rate)
        self.add_litepress(ARCHS[board.arch], dram, module, fifo.source, phy.sink,
                           primitive=True, **board.accel)
        if board.led:
            self._led(board)

    def _dram(self, board):
        """The DRAM's PHY, ``ddrphy`` where firmware has to train it."""
        pads = self.platform.request("ddram" if board.memory == DDR3 else "sdram")
        if board.memory != DDR3:
            phy_cls     = HalfRateGENSDRPHY if board.memory == SDR_HALF else GENSDRPHY
            self.sdrphy = phy = phy_cls(pads, board.clk_freq, **board.phy_options)
            if board.memory == SDR_HALF:
                self.dfi = phy = DFIRegister(phy)
            return phy
        self.ddrphy = phy = ECP5DDRPHY(pads, board.clk_freq, **board.phy_options)
        for name, value in board.phy_settings.items():
            setattr(phy.settings, name, value)
        self.comb += [
            self.crg.stop.eq(phy.init.stop),
            self.crg.reset.eq(phy.init.reset),
            *(getattr(pads, name).eq(level) for name, level in board.pad_levels.items()),
        ]
        return phy

    def _led(self, board):
        """Lit while the accelerator runs; a LED of several colours has the others dark."""
        pads = self.platform.request(board.led, 0)
        lit  = Signal()
        self.sync += lit.eq(self.accel.busy)
        if board.led_pad is None:
            self.comb += pads.eq(lit ^ board.led_low)
            return
        for name, _ in pads.layout:
            pad = getattr(pads, name)
            self.comb += pad.eq((lit if name == board.led_pad else 0) ^ board.led_low)

# Build --------------------------------------------------------------------------------------------

def directory_of(board):
    """Where all that is built for a board lies."""
    return ROOT / "build" / "board" / board.name


def generate(board, say=print):
    """Write Verilog, constraints and LiteX's build script of ``board`` below build/board/; returns
    (directory, script)."""
    directory = directory_of(board)
    directory.mkdir(parents=True, exist_ok=True)
    soc = BoardSoC(board)
    built_from = revision()
    say(add_firmware(soc, directory / "firmware", built_from))
    say(f"revision: {revision_text(built_from)}")
    if board.baud not in BAUDS:
        say(f"line: {board.baud} baud, which a host does not try by itself: give it --baud "
            f"{board.baud}")
    here = os.getcwd()
    try:
        soc.build(build_dir=str(directory), build_name=board.build_name, run=False,
                  synth_opts=f"{board.synthesis} " if board.synthesis else "")
    finally:
        os.chdir(here)
    return directory, directory / f"build_{board.build_name}.sh"


def flow_of(board, say=print):
    """The Flow of a board whose Verilog is written. RuntimeError: there are no tools for it;
    ValueError: see check."""
    check(board)
    path = tool_path(ROOT / "build" / "shims")
    share = needs_of(board, ARCHS[board.arch]).luts/DEVICES[board.size][0]
    return Flow(*generate(board, say), path, say, grid_of(board.device), density_of(share))


def build(board, seeds=SEEDS, say=print):
    """Build the bitstream of ``board`` from the first of ``seeds`` that meets the clocks; returns
    its path. RuntimeError: a step failed, or a clock was missed by all."""
    check(board)
    with locked(directory_of(board)):
        return _build(board, seeds, say)


def _build(board, seeds, say):
    flow = flow_of(board, say)
    netlist = flow.synthesize()
    routed  = flow.best(netlist, seeds)
    for line in table(utilization(netlist)):
        say(line)
    for key, (used, available) in routed.used.items():
        say(f"{key.upper()}: {used:,} of {available:,} ({100*used/available:.0f} %)")
    for clock, (achieved, needed) in routed.fmax.items():
        say(f"clock {clock}: {achieved:.1f} MHz, asked for {needed:.1f}")
    if routed.margin < 1:
        clock, (achieved, needed) = min(routed.fmax.items(), key=lambda item:
                                        item[1][0]/item[1][1])
        raise RuntimeError(f"clock {clock}: {achieved:.1f} MHz, needed are {needed:.1f}: try other "
                           f"--seeds than {','.join(str(seed) for seed in seeds)}")
    return flow.pack(routed)


def seed_numbers(text):
    """The numbers of a list by commas; ValueError says what is none."""
    seeds = text.split(",")
    wrong = [seed for seed in seeds if not seed.strip().isdecimal()]
    if wrong:
        raise ValueError(f"--seeds {text}: {wrong[0]!r}: allowed are whole numbers, by commas")
    return [int(seed) for seed in seeds]


def main():
    parser = argparse.ArgumentParser(prog="python -m litepress.soc.board", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: python -m litepress.soc.board --board "
                                            "ulx3s-85f")
    parser.add_argument("--board", default="ulx3s-85f", help=f"{', '.join(BOARDS)} (default: "
                                                             f"%(default)s)")
    parser.add_argument("--arch", help="another size than the board's own: see spec/arch.py")
    parser.add_argument("--clk-freq", type=float, metavar="MHZ",
                        help="another system clock than the board's own")
    parser.add_argument("--sdram-module", help="another DRAM chip, a class of litedram.modules")
    parser.add_argument("--baud", type=int,
                        help="another speed of the serial line than the board's own")
    parser.add_argument("--seeds", default=",".join(str(seed) for seed in SEEDS),
                        help="of placement: until the clocks are met (default: %(default)s)")
    parser.add_argument("--generate-only", action="store_true", help="no Yosys, no nextpnr")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    changes = {"arch": args.arch, "sdram_module": args.sdram_module, "baud": args.baud,
               "clk_freq": args.clk_freq and 1e6*args.clk_freq}
    try:
        seeds = seed_numbers(args.seeds)
        board = dataclasses.replace(find_board(args.board),
                                    **{k: v for k, v in changes.items() if v is not None})
        if args.generate_only:
            check(board)
            print(generate(board)[0])
        else:
            print(build(board, seeds))
    except (RuntimeError, ValueError, OSError) as error:
        sys.exit(f"litepress build: {error}")


if __name__ == "__main__":
    main()
