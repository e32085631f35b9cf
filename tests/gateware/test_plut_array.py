"""Arrays of codes against NumPy, and their ECP5 cells against the twins."""

import itertools
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from array_driver import packed, run_array
from common import simulate
from litex.gen import *
from migen import *
from twins import equal
from verilate import compiled

from litepress.bench import plut_arrays, plut_toggles
from litepress.gateware.plut import CODEBOOKS, PlutArray, ShiftArray
from litepress.gateware.plut.accumulator import SignControl, SignedAccumulator
from litepress.gateware.plut.array import PERIOD, magnitudes
from litepress.gateware.plut.products import Chooser, ProductRow, Shifter, digits
from litepress.spec.formats import LANES

BUILD = Path(__file__).parents[2] / "build" / "tests" / "plut_array"
ODD = (0, 127, 3, 85, 64, 1, 107, 43)    # Any magnitudes, in any order.


# Array --------------------------------------------------------------------------------------------

def weights_of(codes, codebook, bits):
    """int64 weights of codes."""
    index = codes & (1 << bits - 1) - 1
    return np.asarray(codebook, np.int64)[index] * np.where(codes >> bits - 1, -1, 1)


def limits(x_bits, signed):
    return (-1 << x_bits - 1, (1 << x_bits - 1) - 1) if signed else (0, (1 << x_bits) - 1)


def groups_of(rng, sizes, columns, codebook, bits, x_bits, signed=True):
    """[(operands (n, LANES), codes (n, columns))]; a group in three is all extremes."""
    low, high = limits(x_bits, signed)
    top, sign = int(np.argmax(codebook)), 1 << bits - 1
    groups = []
    for k, n in enumerate(sizes):
        x = rng.integers(low, high, (n, LANES), endpoint=True)
        codes = rng.integers(0, 1 << bits, (n, columns))
        if k % 3 == 1:
            # Sums as large as they get, of both signs.
            x = np.broadcast_to(rng.choice([low, high], LANES), (n, LANES))
            codes = np.broadcast_to(top + sign * rng.integers(0, 2, columns), (n, columns))
        elif k % 3 == 2:
            x = rng.choice([low, high, 0], (n, LANES))
            codes = rng.choice([top, top + sign, 0, sign], (n, columns))
        groups.append((x, codes))
    return groups


def sums(groups, codebook, bits):
    return [column.tolist() for x, codes in groups
            for column in weights_of(codes, codebook, bits).T @ x]


KINDS = {"row": lambda *args, **more: PlutArray(*args, organisation="row", **more),
         "static": lambda *args, **more: PlutArray(*args, organisation="static", **more),
         "shift": ShiftArray}
CONFIGURATIONS = [
    # kind, codebook, bits, x_bits, signed, columns, narrow, gaps
    ("row", "pot", 4, 8, True, 3, True, 0),
    ("row", "pot", 3, 16, True, 2, True, 0.2),
    ("row", "apot", 4, 16, True, 2, True, 0),
    ("row", "apot", 4, 8, False, 1, True, 0.2),
    ("row", ODD, 4, 8, True, 1, True, 0.2),
    ("row", (5, 0, 0, 5), 3, 8, False, 2, False, 0),
    ("row", ODD, 4, 16, True, 1, False, 0.2),
    ("static", "pot", 4, 8, True, 2, True, 0.2),
    ("static", "pot", 3, 8, False, 3, True, 0),
    ("static", ODD, 4, 8, True, 1, False, 0),
    ("static", "pot", 4, 16, True, 2, True, 0.2),
    ("static", ODD, 4, 16, False, 2, True, 0),
    ("static", "apot", 4, 11, True, 1, False, 0.2),
    ("shift", "pot", 4, 8, True, 2, True, 0),
    ("shift", "pot", 4, 16, True, 1, False, 0.2),
    ("shift", "pot", 3, 8, False, 2, True, 0.2),
]


@pytest.mark.parametrize("kind, codebook, bits, x_bits, signed, columns, narrow, gaps",
                         CONFIGURATIONS)
def test_array(kind, codebook, bits, x_bits, signed, columns, narrow, gaps):
    seed, latency, taps = columns * x_bits + bits, 1 + columns % 3, 20
    book = magnitudes(codebook, bits)
    rng = np.random.default_rng(seed)
    sizes = rng.permutation([1, 1, 2, 5, PERIOD + 1, 2 * PERIOD])
    groups = groups_of(rng, sizes, columns, book, bits, x_bits, signed)
    # Of full sums the accumulators hold every bit, but no more.
    low, high = limits(x_bits, signed)
    edge = low if signed else high
    top = int(np.argmax(book))
    for code in (top, top + (1 << bits - 1)):
        groups.append((np.full((taps, LANES), edge), np.full((taps, columns), code)))
    dut = KINDS[kind](columns, codebook, bits, x_bits=x_bits, signed=signed, weight_latency=latency,
                      taps=taps, narrow=narrow)
    assert len(dut.out[0]) == (taps * max(book) * abs(edge)).bit_length() + 1
    got = run_array(dut, groups, columns, x_bits, bits, latency, seed, gaps)["out"]
    assert got == sums(groups, book, bits)


class Top(LiteXModule):
    """An array with the ports that the harness knows."""
    def __init__(self, columns, codebook):
        self.cd_sys = ClockDomain(reset_less=True)
        self.array = array = PlutArray(columns, codebook, 4, "row", x_bits=8, weight_latency=1,
                                       taps=4096)
        self.ios = {self.cd_sys.clk}
        for name in ("valid", "first", "last", "operand", "weights", "dump"):
            port = Signal(len(getattr(array, name)), name=name)
            ends = (port, getattr(array, name))
            self.comb += ends[0].eq(ends[1]) if name == "dump" else ends[1].eq(ends[0])
            self.ios.add(port)
        for i, out in enumerate(array.out):
            port = Signal((64, True), name=f"out{i}")
            self.comb += port.eq(out)
            self.ios.add(port)


def run_verilated(columns, codebook, groups, gaps=0.0, again=None, seed=0):
    """[[4 sums] a column and group]. again: {group: operand of it that has ``first`` once more}."""
    rng = random.Random(seed)
    rows, codes, since = [], [0], columns
    def clock(flags, operand, code):
        rows.append([flags, packed(operand, 8)])
        codes.append(packed(code, 4))
    for g, (x, c) in enumerate(groups):
        for k in range(len(x)):
            last = k == len(x) - 1
            while rng.random() < gaps or (last and since < columns):
                clock(rng.getrandbits(2) << 1, [rng.getrandbits(8) for _ in range(LANES)], c[0])
                since += 1
            first = k == 0 or (again or {}).get(g) == k
            clock(1 | first << 1 | last << 2, x[k], c[k])
            since = 1 if last else since + 1
    for _ in range(columns + 24):
        clock(0, [0] * LANES, [0] * columns)
    stimulus = np.array([[*row, code] for row, code in zip(rows, codes, strict=False)], np.uint64)
    binary = compiled(Top(columns, codebook), Path(__file__).with_name("plut_sim.cpp"))
    done = subprocess.run([binary], input=stimulus.tobytes(), capture_output=True, check=True,
                          timeout=60)
    out = np.frombuffer(done.stdout, np.int64).reshape(-1, 5)
    return [out[n + 1 + j, 1:].tolist() for n in np.flatnonzero(out[:, 0]) for j in range(columns)]


@pytest.mark.parametrize("columns, codebook", [(16, "pot"), (4, "apot")])
def test_every_length_of_a_group(columns, codebook):
    # Extremes only, an operand a clock: the end comes at every distance from a capture, and sums
    # move as fast as they can.
    book, period = CODEBOOKS[codebook, 4], max(columns, PERIOD)
    top, groups = int(np.argmax(book)), []
    for n in [*range(1, 5 * period), *range(4 * period, 0, -1), 4096]:
        codes = np.full((n, columns), top + 8 * (n % 2))
        groups.append((np.full((n, LANES), (-128, 127)[n % 3 > 0]), codes))
    assert run_verilated(columns, codebook, groups) == sums(groups, book, 4)


@pytest.mark.parametrize("columns, codebook", [(16, "pot"), (4, "apot")])
def test_random_groups(columns, codebook):
    book, rng = CODEBOOKS[codebook, 4], np.random.default_rng(columns)
    groups = groups_of(rng, rng.integers(1, 90, 120), columns, book, 4, 8)
    for gaps in (0, 0.3):
        assert run_verilated(columns, codebook, groups, gaps) == sums(groups, book, 4)


@pytest.mark.parametrize("columns, codebook", [(16, "pot"), (4, "apot")])
def test_a_group_that_begins_again(columns, codebook):
    book, rng = CODEBOOKS[codebook, 4], np.random.default_rng(columns)
    groups = groups_of(rng, rng.integers(2, 90, 60), columns, book, 4, 8)
    again = {g: int(rng.integers(1, len(x))) for g, (x, _) in enumerate(groups)}
    kept = [(x[again[g]:], codes[again[g]:]) for g, (x, codes) in enumerate(groups)]
    assert run_verilated(columns, codebook, groups, 0.1, again) == sums(kept, book, 4)


@pytest.mark.parametrize("make, text", [
    (lambda: PlutArray(2, "pot", 5), "codes of 5 bits: allowed are 3 and 4"),
    (lambda: PlutArray(2, "apot", 3),
     "codebook 'apot' of 3 bits: allowed are pot of 3 bits, pot of 4 bits, apot of 4 bits"),
    (lambda: PlutArray(2, (0, 1, 2), 3), "codebook of 3 magnitudes: codes of 3 bits have 4"),
    (lambda: PlutArray(2, (0, 1, 2, 128), 3),
     r"codebook \(0, 1, 2, 128\): allowed are magnitudes of 0 to 127, not all 0"),
    (lambda: PlutArray(2, "pot", 4, "dynamic"),
     "organisation 'dynamic': allowed are row and static"),
    (lambda: PlutArray(2, "pot", 4, "static", x_bits=17),
     "static table for pixels of 17 bits: allowed are 1 to 16"),
    (lambda: ShiftArray(2, "apot", 4), r"shifters have \(0, 1, 2, 4, 8, 16, 32, 64\)"),
])
def test_errors(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_digits():
    for number in range(1, 256):
        terms = digits(number)
        assert sum(sign << place for sign, place in terms) == number
        # No two neighbours: the fewest there can be.
        places = [place for _, place in terms]
        assert all(b - a > 1 for a, b in itertools.pairwise(places))


# Measurements -------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["static_apot8", "shift_pot8_whole", "row_pot16"])
def test_the_measured_arrays_compute(name):
    variant, columns = plut_arrays.VARIANTS[name], 2
    book = magnitudes(variant.codebook, 4)
    groups = groups_of(np.random.default_rng(5), [2, 9, 3, 20], columns, book, 4, variant.x_bits)
    dut = plut_arrays.Surroundings(variant, columns, primitive=False)
    rows = []

    def drive():
        delayed = [0] * 3
        for x, codes in groups:
            for k in range(len(x)):
                delayed.append(packed(codes[k], 4))
                for signal, value in ((dut.valid, 1), (dut.first, k == 0),
                                      (dut.last, k == len(x) - 1),
                                      (dut.operand, packed(x[k], variant.x_bits)),
                                      (dut.weights, delayed[-4])):
                    yield signal.eq(int(value))
                yield
        yield dut.valid.eq(0)
        for n in range(20):
            yield dut.weights.eq(delayed[-3 + n] if n < 3 else 0)
            yield

    def take():
        for _ in range(sum(len(x) for x, _ in groups) + 20):
            yield
            if (yield dut.out_valid):
                row = []
                for lane in range(LANES):
                    value = yield getattr(dut, f"out{lane}")
                    half = 1 << len(dut.out0) - 1
                    row.append((value ^ half) - half)
                rows.append(row)
    simulate(dut, drive(), take())
    assert rows == sums(groups, book, 4)


def test_result_and_table():
    figures = {"lut": 3200, "ff": 640, "ebr": 4, "dsp": 0, "memory_bits": 73728, "lut_per_mac": 50,
               "mac_per_clock": 64}
    clock = {"fmax_mhz": 120.0, "fmax_min_mhz": 90.0, "mac_per_s": 7.68e9, "fmax_by_seed": {}}
    measured = {"shift_pot8_64_85k": figures,
                "static_pot8_64_85k": figures | clock | {"lut": 1600, "lut_per_mac": 25},
                "static_pot8_16_85k": figures | {"lut": 640, "mac_per_clock": 16}}
    flat = plut_arrays.flat(measured)
    assert flat["plut_static_of_shift_lut"] == 0.5 and flat["plut_static_mac_per_s"] == 7.68e9
    assert flat["plut_static_added_mac_lut"] == 20 and "shift_added_mac_lut" not in flat
    assert flat["shift_ff_per_mac"] == 10 and "plut_lut_per_mac" not in flat
    assert plut_arrays.errors(measured) == ["static_pot8_64_85k: 90.0 MHz: at least 100 are needed"]
    page = ("a\n<!-- arrays: made by python -m litepress.bench.plut_arrays -->\nold\n"
            "<!-- /arrays -->\nb\n")
    text = plut_arrays.FAMILY.filled(page, measured)
    assert "old" not in text and text.count("| table in block RAM, pot4 |") == 2
    assert "| 64 | 3,200 | 50.0 |  | 640 | 4 | 0 | 72.0 |  |" in text and "| 120 (90) |" in text
    assert plut_arrays.FAMILY.filled(text, measured) == text


def test_simulated_cells():
    # A LUT4, a multiplexer, a carry cell and a flip-flop: two streams, counted by hand.
    def cell(kind, parameters, **pins):
        return {"type": kind, "parameters": parameters,
                "connections": {name: [net] for name, net in pins.items()}}
    xor, both = f"{0x6666:016b}", f"{0x8888:016b}"
    module = {"ports": {"a": {"bits": [2]}, "b": {"bits": [3]}, "q": {"bits": [8]},
                        "s": {"bits": [6, 7]}},
              "cells": {
        "f": cell("TRELLIS_FF", {"CEMUX": "1 ", "REGSET": "RESET"}, DI=5, Q=8, CLK="0"),
        "x": cell("LUT4", {"INIT": xor}, A=2, B=3, C="0", D="0", Z=4),
        "m": cell("PFUMX", {}, BLUT=4, ALUT="1", C0=3, Z=5),
        "c": cell("CCU2C", {"INIT0": both, "INIT1": xor, "INJECT1_0": "NO", "INJECT1_1": "NO"},
                  CIN="1", A0=2, B0=3, C0="0", D0="0", A1=2, B1=3, C1="0", D1="0", S0=6, S1=7)}}
    simulation = plut_toggles.Simulation(module)
    simulation.step({"a": [0], "b": [0]}, {})
    simulation.counted = True
    out = simulation.step({"a": [0b11], "b": [0b01]}, {})
    # Stream 0: a = b = 1; stream 1: a = 1, b = 0.
    assert out["q"] == [0] and simulation.toggles["LUT4"] == 1 and simulation.toggles["PFUMX"] == 2
    assert [value & 3 for value in out["s"]] == [0b10, 0b11]
    assert simulation.step({}, {})["q"][0] & 3 == 0b11
    assert simulation.toggles["TRELLIS_FF"] == 2


# Primitives ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("bits", [7, 10])
def test_accumulator_equals_its_twin(bits):
    def build(primitive):
        dut = LiteXModule()
        p = Signal((bits - 2, True), name="p")
        dut.control = control = SignControl()
        dut.accumulator = accumulator = SignedAccumulator(p, bits, primitive)
        dut.comb += [accumulator.keep.eq(control.keep), accumulator.flip.eq(control.flip)]
        return dut, [p, control.valid, control.first, control.negative, control.inverted,
                     accumulator.enable, accumulator.acc]
    equal(build, f"plut_accumulator_{bits}", "CCU2C")


@pytest.mark.parametrize("name, codebook, signed", [
    ("pot4", CODEBOOKS["pot", 4], True), ("pot3", CODEBOOKS["pot", 3], True),
    ("apot4", CODEBOOKS["apot", 4], False), ("odd", ODD, True)])
def test_chooser_equals_its_twin(name, codebook, signed):
    def build(primitive):
        dut = LiteXModule()
        x = Signal(5, name="x")
        index = Signal((len(codebook) - 1).bit_length(), name="index")
        dut.row = ProductRow(x, signed, codebook, ProductRow.needs(codebook), 13)
        dut.chooser = Chooser(index, dut.row.options, primitive)
        return dut, [x, index, dut.chooser.out]
    equal(build, f"plut_chooser_{name}", "LUT4", "PFUMX", *["L6MUX21"] * (name == "odd"))


@pytest.mark.parametrize("signed", [False, True])
def test_shifter_equals_its_twin(signed):
    def build(primitive):
        dut = LiteXModule()
        x, amount, zero = Signal(5, name="x"), Signal(3, name="amount"), Signal(name="zero")
        dut.shifter = Shifter(x, signed, amount, zero, 13, primitive)
        return dut, [x, amount, zero, dut.shifter.out]
    equal(build, f"plut_shifter_{signed}", "LUT4")


@pytest.mark.parametrize("kind", ["row", "shift"])
def test_array_equals_its_twin(kind):
    def build(primitive):
        dut = KINDS[kind](3, "pot", 3, x_bits=4, weight_latency=1, primitive=primitive, taps=40,
                          narrow=False)
        return dut, [dut.valid, dut.operand, dut.first, dut.last, dut.weights, dut.dump, *dut.out]
    equal(build, f"plut_array_{kind}", "CCU2C", "LUT4", "PFUMX")
