"""The simulated SoC: what a board runs, with the platform swapped, as one Verilator program.

``python -m litepress.soc.sim --arch sim`` builds it below build/sim/ (once: the directory's name is
a hash of everything that goes into it) and prints the directory. docs/simulation.md describes the
program.
"""

import argparse
import fcntl
import hashlib
import json
import logging
import os
import shutil
import sys
import time
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from litedram import modules
from litedram.common import PhySettings, get_default_cl
from litedram.phy.model import BankModel, SDRAMPHYModel
from litex.build.generic_platform import Pins, Subsignal
from litex.build.sim import SimPlatform
from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec.arch import ARCHS, Arch
from . import firmware, verilate
from .core import CPU_VARIANT, LitePressSoC
from .dfi import DFIRegister

ROOT     = Path(__file__).resolve().parents[1]
BUILDS   = ROOT / "build" / "sim"
WORK     = ROOT / "build" / "sim-work"      # Not below BUILDS: unfinished.
NAME     = "litepress_sim"
CLK_FREQ = 50e6
# What a build depends on beside its arch and the versions of tools.
INPUTS   = ("spec/*.py", "gateware/**/*.py", "firmware/*", "soc/accelerator.py", "soc/core.py",
            "soc/dfi.py", "soc/firmware.py", "soc/sim.py", "soc/stage.py", "soc/verilate.py",
            "soc/*.cpp", "soc/*.h")
PACKAGES = ("litex", "litedram", "migen", "pythondata-cpu-vexriscv", "verilator")

IO = [
    ("sys_clk", 0, Pins(1)),
    ("line", 0,
        Subsignal("rx_data",  Pins(8)),
        Subsignal("rx_valid", Pins(1)),
        Subsignal("rx_ready", Pins(1)),
        Subsignal("tx_data",  Pins(8)),
        Subsignal("tx_valid", Pins(1)),
        Subsignal("tx_ready", Pins(1)),
    ),
]

# SoC ----------------------------------------------------------------------------------------------

def half_rate_settings(databits, clk_freq):
    """What LiteDRAM's HalfRateGENSDRPHY says of itself: SDR SDRAM at twice the system clock."""
    cl = get_default_cl(memtype="SDR", tck=1/clk_freq)
    return PhySettings(
        phytype       = "HalfRateGENSDRPHY",
        memtype       = "SDR",
        databits      = databits,
        dfi_databits  = databits,
        nranks        = 1,
        nphases       = 2,
        rdphase       = 0,
        wrphase       = 0,
        cl            = cl,
        read_latency  = (cl + 1)//2 + 1,
        write_latency = 0,
    )


class SimCRG(LiteXModule):
    """The clock from its pad, and a reset when the simulation starts; ``rst`` is the SoC's own."""
    def __init__(self, platform):
        self.rst    = Signal()
        self.cd_sys = ClockDomain()
        self.cd_por = ClockDomain(reset_less=True)

        # # #

        left = Signal(5, reset=31)
        self.sync.por += If(left != 0, left.eq(left - 1))
        clk = platform.request("sys_clk")
        self.comb += [
            self.cd_por.clk.eq(clk),
            self.cd_sys.clk.eq(clk),
            self.cd_sys.rst.eq((left != 0) | self.rst),
        ]


class SimSoC(LitePressSoC):
    """``arch`` : spec.arch.Arch; ``cpu`` : see LitePressSoC. The host's line is the pads ``line``:
    two byte streams."""
    def __init__(self, arch, clk_freq=CLK_FREQ, cpu=CPU_VARIANT):
        platform = SimPlatform("SIM", list(IO))
        self.crg = SimCRG(platform)
        super().__init__(platform, clk_freq, cpu=cpu)

        # Line -----------------------------------------------------------------------------------
        # FIFOs, so that the pads feed registers only: Verilator evaluates what depends on inputs
        # twice a clock.
        line = platform.request("line")
        self.receive_fifo  = receive  = stream.SyncFIFO([("data", 8)], 4)
        self.transmit_fifo = transmit = stream.SyncFIFO([("data", 8)], 4)
        self.comb += [
            receive.sink.valid.eq(line.rx_valid),
            receive.sink.data.eq(line.rx_data),
            line.rx_ready.eq(receive.sink.ready),
            line.tx_valid.eq(transmit.source.valid),
            line.tx_data.eq(transmit.source.data),
            transmit.source.ready.eq(line.tx_ready),
        ]

        # SDRAM: ULX3S's chip and rate. ----------------------------------------------------------
        module      = modules.MT48LC16M16(clk_freq, "1:2")
        self.sdrphy = SDRAMPHYModel(module, settings=half_rate_settings(16, clk_freq),
                                    clk_freq=clk_freq)
        self.dfi    = DFIRegister(self.sdrphy)
        self.add_litepress(arch, self.dfi, module, receive.source, transmit.sink)

    def bank_memories(self):
        """The SDRAM banks' contents: a list of Memory. Word w of the DRAM (32 bits) lies in bank
        ``w // row_words % banks`` at ``w // (row_words * banks) * row_words + w % row_words``."""
        banks = [m for _, m in self.sdrphy._submodules if isinstance(m, BankModel)]
        return [next(s for s in bank._fragment.specials if isinstance(s, Memory))
                for bank in banks]

    @property
    def row_words(self):
        """32-bit words of an SDRAM row."""
        geometry = self.sdrphy.module.geom_settings
        return 2**geometry.colbits*self.sdrphy.settings.databits//32

# Build --------------------------------------------------------------------------------------------

def write_verilog(soc, directory):
    """Verilog of a SoC with its firmware in ``directory``; returns the sources and the names of the
    bank memories in it."""
    output = soc.platform.get_verilog(soc, name=NAME)
    (directory / f"{NAME}.v").write_text(output.main_source)
    for name, content in output.data_files.items():
        (directory / name).write_text(content)
    banks = [output.ns.get_name(memory) for memory in soc.bank_memories()]
    return [directory / f"{NAME}.v", *(Path(source[0]) for source in soc.platform.sources)], banks


def build_key(arch, trace):
    """Hash of all that a build depends on, as hexadecimal digits; but for ``exercise``, which
    changes its speed alone."""
    digest = hashlib.sha256()
    versions = {name: metadata.version(name) for name in PACKAGES}
    versions |= {"cc": firmware.compiler_version(), "c++": verilate.compiler_version()}
    digest.update(json.dumps([arch.as_dict(), bool(trace), versions]).encode())
    for pattern in INPUTS:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                digest.update(f"\n{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def build_sim(arch, trace=False, say=print, exercise=None):
    """The directory that holds ``litepress_sim`` for ``arch`` (Arch, or a name of ARCHS), built
    when it is not there. say(text) is told of steps. exercise: see verilate.verilate; an exercised
    build is also what later calls without get. RuntimeError: a tool is missing or failed;
    ValueError: no such arch, or an exercise with tracing."""
    if not isinstance(arch, Arch) and arch not in ARCHS:
        raise ValueError(f"arch {arch!r}: allowed are {', '.join(ARCHS)}")
    if trace and exercise:
        raise ValueError("a simulator with tracing cannot be exercised")
    label = arch if isinstance(arch, str) else "custom"
    arch  = ARCHS.get(label, arch)
    final = BUILDS / build_key(arch, trace)
    with _locked(WORK / f"{final.name}.lock"):
        exercised = final.with_name(f"{final.name}-exercised")
        if exercise or (exercised / NAME).exists():
            final = exercised
        if not (final / NAME).exists():
            _build(arch, trace, final, say, exercise)
        if label in ARCHS:
            _point(BUILDS / (label + ("-trace" if trace else "")), final)
    return final


def _build(arch, trace, final, say, exercise):
    start = time.monotonic()
    work  = WORK / f"{final.name}.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    out   = work / "out"
    out.mkdir(parents=True)
    say(f"simulator {final.name}: {arch.multipliers} multipliers, generating Verilog")
    soc  = SimSoC(arch)
    size = firmware.add_firmware(soc, work / "firmware")
    say(size)
    sources, banks = write_verilog(soc, out)
    say(f"simulator {final.name}: Verilator and C++ (a minute or two"
        + (", twice, with an exercise between)" if exercise else ")"))
    verilate.verilate(work, out / NAME, NAME, sources, banks, soc.row_words, trace, exercise)
    shutil.copy(work / "firmware" / "firmware.elf", out)
    about = {"arch": arch.as_dict(), "clk_freq": soc.sys_clk_freq, "trace": bool(trace),
             "firmware": size, "versions": {name: metadata.version(name) for name in PACKAGES}}
    (out / "about.json").write_text(json.dumps(about, indent=1) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    out.rename(final)
    shutil.rmtree(work)
    say(f"simulator {final.name}: built in {time.monotonic() - start:.0f} s")


@contextmanager
def _locked(path):
    """One builder at a time; a second one waits and finds what the first made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _point(link, target):
    temporary = link.with_name(f"{link.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target.name)
    temporary.replace(link)


def main():
    parser = argparse.ArgumentParser(prog="python -m litepress.soc.sim", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: python -m litepress.soc.sim --arch tiny")
    parser.add_argument("--arch", default="sim", help=f"{', '.join(ARCHS)} (default: sim)")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what LiteX logs")
    parser.add_argument("--trace", action="store_true",
                        help="compile FST tracing in (slower; a separate build)")
    args = parser.parse_args()
    if not args.verbose:
        logging.disable(logging.WARNING)
    try:
        print(build_sim(args.arch, args.trace, say=lambda text: print(text, file=sys.stderr)))
    except (RuntimeError, ValueError, OSError) as error:
        sys.exit(f"litepress sim: {error}")


if __name__ == "__main__":
    main()
