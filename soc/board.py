"""A board's SoC and its bitstream, by Yosys, nextpnr and ecppack.

``python -m litepress.soc.board --board ulx3s-85f`` builds build/board/ulx3s-85f/ulx3s_85f.bit.
Tools that are not installed come from the yowasp packages. A clock that is missed is an error.
"""

import argparse
import dataclasses
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import time
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
from .boards import BOARDS
from .core import LitePressSoC
from .firmware import add_firmware

ROOT  = Path(__file__).resolve().parents[1]
TOOLS = ("yosys", "nextpnr-ecp5", "ecppack")

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

# Tools --------------------------------------------------------------------------------------------

def tool_path(directory):
    """PATH on which yosys, nextpnr-ecp5 and ecppack are found: installed ones as they are, for the
    others commands in ``directory`` that start the yowasp ones. RuntimeError: there is neither."""
    directory = Path(directory)
    shims = []
    for tool in TOOLS:
        if shutil.which(tool):
            continue
        yowasp = Path(sys.executable).parent / f"yowasp-{tool}"
        if not yowasp.exists():
            raise RuntimeError(f"{tool} not found: install it, or run `scripts/setup.sh build`, "
                               f"which installs yowasp-{tool}")
        shims.append((tool, yowasp))
    if not shims:
        return os.environ["PATH"]
    if Path("/tmp") in ROOT.parents:
        raise RuntimeError(f"{ROOT}: yowasp tools do not see files under /tmp: move the checkout")
    directory.mkdir(parents=True, exist_ok=True)
    for tool, yowasp in shims:
        shim = directory / tool
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(str(yowasp))} "$@"\n')
        shim.chmod(0o755)
    return f"{directory}{os.pathsep}{os.environ['PATH']}"


def run_steps(script, directory, path, say):
    """Run the commands of LiteX's build script one by one, each with a log; RuntimeError names the
    one that failed."""
    for line in Path(script).read_text().splitlines():
        if not line.strip() or line.startswith(("#", "set ")):
            continue
        step  = line.split()[0]
        log   = directory / f"{step}.log"
        start = time.monotonic()
        say(f"{step}: log in {log}")
        with open(log, "w") as out:
            code = subprocess.run(["sh", "-c", line], cwd=directory, stdout=out,
                                  stderr=subprocess.STDOUT, check=False,
                                  env=os.environ | {"PATH": path}).returncode
        if code:
            errors = [text for text in log.read_text().splitlines() if "ERROR" in text]
            raise RuntimeError(f"{step} failed (exit code {code}): "
                               f"{errors[-1] if errors else f'it did not say why, see {log}'}")
        say(f"{step}: {time.monotonic() - start:.0f} s")

# Build --------------------------------------------------------------------------------------------

def generate(board, seed=1, say=print):
    """Write Verilog, constraints and the build script of ``board`` below build/board/; returns
    (directory, script)."""
    directory = ROOT / "build" / "board" / board.name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    name = board.name.replace("-", "_")
    soc  = BoardSoC(board)
    say(add_firmware(soc, directory / "firmware"))
    soc.platform.toolchain._pnr_opts += "--report report.json "
    here = os.getcwd()
    try:
        # Not strict would pass --timing-allow-fail.
        soc.build(build_dir=str(directory), build_name=name, run=False, timingstrict=True,
                  seed=seed)
    finally:
        os.chdir(here)
    return directory, directory / f"build_{name}.sh"


def build(board, seed=1, say=print):
    """Build the bitstream of ``board``; returns its path. RuntimeError: a step failed, or a clock
    was missed."""
    path = tool_path(ROOT / "build" / "shims")
    directory, script = generate(board, seed, say)
    run_steps(script, directory, path, say)
    report = json.loads((directory / "report.json").read_text())
    for clock, timing in report["fmax"].items():
        say(f"clock {clock}: {timing['achieved']:.1f} MHz, needed {timing['constraint']:.1f}")
        if timing["achieved"] < timing["constraint"]:
            raise RuntimeError(f"clock {clock}: {timing['achieved']:.1f} MHz, needed are "
                               f"{timing['constraint']:.1f}: try another --seed")
    for cell, use in report["utilization"].items():
        if use["used"]:
            say(f"{cell}: {use['used']} of {use['available']}")
    return directory / f"{board.name.replace('-', '_')}.bit"


def main():
    parser = argparse.ArgumentParser(prog="python -m litepress.soc.board", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: python -m litepress.soc.board --board "
                                            "ulx3s-85f")
    parser.add_argument("--board", default="ulx3s-85f", choices=list(BOARDS))
    parser.add_argument("--arch", help="another size than the board's own: see spec/arch.py")
    parser.add_argument("--sdram-module", help="another chip, a class of litedram.modules: "
                                               "MT48LC16M16, AS4C16M16, AS4C32M16, IS42S16160")
    parser.add_argument("--seed", type=int, default=1, help="of placement")
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
            print(generate(board, args.seed)[0])
        else:
            print(build(board, args.seed))
    except (RuntimeError, ValueError, OSError) as error:
        sys.exit(f"litepress build: {error}")


if __name__ == "__main__":
    main()
