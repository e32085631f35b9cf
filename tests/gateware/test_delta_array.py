"""The delta array and what makes accumulators of its sums: against NumPy, and the carry chains
against their twins."""

import itertools
import random

import numpy as np
import pytest
from array_driver import run_array
from common import simulate
from litex.gen import *
from migen import *
from twins import equal

from litepress.bench import delta_arrays
from litepress.gateware.array import MacArray
from litepress.gateware.delta import DeltaArray, DeltaCombine, FabricArray
from litepress.gateware.delta.array import sum_bits
from litepress.gateware.delta.combine import dsps_needed
from litepress.gateware.delta.multiplier import NarrowMultiplier, NarrowOperand, WideOperand
from litepress.spec.formats import LANES
from litepress.spec.isa import ACC_BITS


def edges(bits):
    return [-1 << bits - 1, (-1 << bits - 1) + 1, -1, 0, 1, (1 << bits - 1) - 1]


def wrapped(values, bits):
    """Modulo 2^bits, as signed numbers (int64)."""
    half = np.int64(1) << bits - 1
    return (np.asarray(values, np.int64) + half & 2 * half - 1) - half


# Multiplier ---------------------------------------------------------------------------------------

class Product(LiteXModule):
    def __init__(self, x_bits, d_bits, primitive=False):
        self.x = Signal((x_bits, True), name="x")
        self.d = Signal((d_bits, True), name="d")
        self.narrow = narrow = NarrowOperand(self.d)
        self.wide = wide = WideOperand(self.x, len(narrow.at))
        self.multiplier = multiplier = NarrowMultiplier(wide, narrow, primitive)
        self.latency = multiplier.latency
        self.p = Signal((x_bits + d_bits, True), name="p")
        self.comb += self.p.eq(multiplier.p)


@pytest.mark.parametrize("x_bits, d_bits", [(8, 2), (8, 3), (8, 4), (16, 4), (8, 5), (16, 6),
                                            (8, 8), (3, 4)])
def test_product(x_bits, d_bits):
    rng = random.Random(x_bits * d_bits)
    every = range(-1 << d_bits - 1, 1 << d_bits - 1)
    pairs = [*itertools.product(edges(x_bits), every if d_bits <= 4 else edges(d_bits))]
    pairs += [(rng.randrange(-1 << x_bits - 1, 1 << x_bits - 1),
               rng.randrange(-1 << d_bits - 1, 1 << d_bits - 1)) for _ in range(60)]
    rng.shuffle(pairs)
    dut = Product(x_bits, d_bits)
    got = []

    def drive():
        for n in range(len(pairs) + dut.latency):
            x, d = pairs[min(n, len(pairs) - 1)]
            yield dut.x.eq(x)
            yield dut.d.eq(d)
            yield
            if n >= dut.latency:
                got.append((yield dut.p))
    simulate(dut, drive())
    assert got == [x * d for x, d in pairs]


# Array --------------------------------------------------------------------------------------------

def groups_of(rng, sizes, columns, x_bits, w_bits):
    """[(operands (n, LANES), weights (n, columns))], int64; half of the numbers are extremes."""
    def numbers(bits, *shape):
        low, high = -1 << bits - 1, (1 << bits - 1) - 1
        values = rng.integers(low, high, shape, endpoint=True)
        return np.where(rng.random(shape) < 0.5, rng.choice([low, high], shape), values)
    groups = [(numbers(x_bits, n, LANES), numbers(w_bits, n, columns)) for n in sizes]
    for n in (2, columns):
        for sign in (-1, 1):
            x = np.full((n, LANES), -1 << x_bits - 1)
            groups.append((x, np.full((n, columns), (-1 << w_bits - 1) if sign > 0
                                      else (1 << w_bits - 1) - 1)))
    return groups


CONFIGURATIONS = [(bits, x_bits, shift) for bits, x_bits, shift in itertools.product(
    (2, 3, 4, 5, 6), (8, 16), (False, True)) if shift == (bits % 2 == 0) or bits == 4]


@pytest.mark.parametrize("bits, x_bits, shift", CONFIGURATIONS)
def test_delta_array(bits, x_bits, shift):
    columns, latency, taps = 2 + (bits == 4), 1 + bits % 3, 5
    seed = bits * 100 + x_bits + shift
    rng = np.random.default_rng(seed)
    groups = groups_of(rng, [1, 5, 1, 3], columns, x_bits, bits)
    # Of full sums of extremes the accumulators hold every bit, but no more.
    groups += [(np.full((taps, LANES), -1 << x_bits - 1), np.full((taps, columns), -1 << bits - 1))]
    dut = DeltaArray(columns, bits, x_bits, latency, taps=taps, shift=shift)
    assert len(dut.out[0]) == int(taps << x_bits + bits - 2).bit_length() + 1
    got = run_array(dut, groups, columns, x_bits, bits, latency, seed, gaps=0.2)
    assert got["out"] == [(x.T @ w[:, j]).tolist() for x, w in groups for j in range(columns)]
    assert got["sums"] == [x.sum(0).tolist() for x, _ in groups for _ in range(columns)]


@pytest.mark.parametrize("shift", [False, True])
def test_groups_without_gaps(shift):
    # An operand a clock: the next group is multiplied while the last one is read.
    columns = 4
    groups = groups_of(np.random.default_rng(7), [4, 4, 5, 4, 4], columns, 8, 4)
    dut = DeltaArray(columns, shift=shift, x_bits=8)
    got = run_array(dut, groups, columns, 8, 4, 3, 1, gaps=0)
    assert got["out"] == [(x.T @ w[:, j]).tolist() for x, w in groups for j in range(columns)]
    assert got["sums"] == [x.sum(0).tolist() for x, _ in groups for _ in range(columns)]


@pytest.mark.parametrize("kind, shift", [(FabricArray, True), (MacArray, False)])
def test_plain_array(kind, shift):
    columns = 2
    groups = groups_of(np.random.default_rng(3), [1, 2, 6], columns, 8, 8)
    dut = kind(columns, 2, x_bits=8, w_bits=8, acc_bits=sum_bits(7, 8, 8), single=False,
               shift=shift)
    got = run_array(dut, groups, columns, 8, 8, 2, 5, gaps=0.3)
    assert got["out"] == [(x.T @ w[:, j]).tolist() for x, w in groups for j in range(columns)]


def test_sum_bits():
    for taps, bits in itertools.product((1, 2, 3, 7, 8, 4096), ((8,), (16,), (8, 4), (2, 2))):
        lows = [-1 << n - 1 for n in bits]
        highs = [-1 - low for low in lows]
        ends = [taps * int(np.prod(values)) for values in itertools.product(
            *zip(lows, highs, strict=True))]
        width = next(n for n in range(1, 64) if -1 << n - 1 <= min(ends) and
                     max(ends) < 1 << n - 1)
        assert sum_bits(taps, *bits) == width


def test_width_is_checked():
    with pytest.raises(ValueError, match="operand of 1 bits: allowed are 2 and more"):
        DeltaArray(2, bits=1)


# Combine ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("delta_bits, sums_bits, acc_bits, params_latency, dsps", [
    (24, 20, 32, 0, False), (24, 20, 32, 2, True), (32, 28, 40, 1, True), (32, 28, 40, 3, False),
    (ACC_BITS, ACC_BITS, ACC_BITS, 0, False), (ACC_BITS, ACC_BITS, ACC_BITS, 0, True),
    (12, 18, 28, 1, True), (24, 19, 24, 0, True)])
def test_combine(delta_bits, sums_bits, acc_bits, params_latency, dsps):
    seed = delta_bits + sums_bits + acc_bits + dsps
    rng = np.random.default_rng(seed)
    count = 80

    def numbers(bits, *shape):
        values = rng.integers(-1 << bits - 1, 1 << bits - 1, shape)
        return np.where(rng.random(shape) < 0.4, rng.choice(edges(bits), shape), values)
    delta, sums = numbers(delta_bits, count, LANES), numbers(sums_bits, count, LANES)
    references, offsets = numbers(8, count), rng.integers(0, 8, count)
    valid = rng.random(count) < 0.6
    dut = DeltaCombine(delta_bits, sums_bits, acc_bits, params_latency, dsps)
    clocks, got = count + dut.latency + 2, []

    def drive():
        for n in range(clocks):
            yield dut.valid.eq(int(n < count and valid[n]))
            for i in range(LANES):
                yield dut.delta[i].eq(int(delta[n % count, i]))
                yield dut.sums[i].eq(int(sums[n % count, i]))
            yield dut.reference.eq(int(references[(n - params_latency) % count]))
            yield dut.offset.eq(int(offsets[(n - params_latency) % count]))
            yield

    def take():
        for n in range(clocks):
            yield
            if (yield dut.out_valid):
                row = []
                for signal in dut.out:
                    row.append((yield signal))
                got.append((n - dut.latency, row))
    simulate(dut, drive(), take())
    whole = wrapped(references[:, None] * sums + (delta << offsets[:, None]), acc_bits)
    assert got == [(n, whole[n].tolist()) for n in range(count) if valid[n]]


@pytest.mark.parametrize("bits, dsps", [(18, 1), (20, 1), (21, 2), (28, 2), (35, 2), (37, 2),
                                        (38, 3), (40, 3)])
def test_dsps_needed(bits, dsps):
    assert dsps_needed(bits) == dsps


class Layer(LiteXModule):
    """Array and combine, as they are used."""
    def __init__(self, columns, bits, x_bits, taps, references, offsets):
        self.array = array = DeltaArray(columns, bits, x_bits, 2, taps=taps)
        self.combine = combine = DeltaCombine(len(array.out[0]), len(array.sums[0]))
        self.out, self.out_valid = combine.out, combine.out_valid
        for name in ("valid", "operand", "first", "last", "weights"):
            setattr(self, name, getattr(array, name))
        left = Signal(max=columns + 1)
        self.sync += If(array.dump, left.eq(columns)).Elif(left != 0, left.eq(left - 1))
        self.comb += [
            combine.valid.eq(left != 0),
            *(sink.eq(out) for sink, out in zip(combine.delta, array.out, strict=True)),
            *(sink.eq(out) for sink, out in zip(combine.sums, array.sums, strict=True)),
            Case(left, {columns - j: [combine.reference.eq(r), combine.offset.eq(o)]
                        for j, (r, o) in enumerate(zip(references, offsets, strict=True))}),
        ]


@pytest.mark.parametrize("bits, x_bits, taps", [(4, 8, 6), (4, 16, None), (6, 16, 6)])
def test_whole_sums(bits, x_bits, taps):
    # Weights are r + (d << o), as the host has them.
    columns = 3
    groups = groups_of(np.random.default_rng(bits * x_bits), [6, 3, 5, 1], columns, x_bits, bits)
    references, offsets = [-128, 127, 77], [7, 0, 3]
    dut = Layer(columns, bits, x_bits, taps, references, offsets)
    got = run_array(dut, groups, columns, x_bits, bits, 2, 1, 0.2, dut.out_valid)
    assert got["out"] == [(x.T @ (references[j] + (d[:, j] << offsets[j]))).tolist()
                          for x, d in groups for j in range(columns)]


@pytest.mark.parametrize("name", [*delta_arrays.VARIANTS])
def test_the_measured_arrays_compute(name):
    variant, columns = delta_arrays.VARIANTS[name], 2
    groups = groups_of(np.random.default_rng(5), [4, 3], columns, variant.x_bits, variant.w_bits)
    dut = delta_arrays.Surroundings(variant, columns, primitive=False)
    r, o = (-77, 5) if variant.weights == "delta" else (0, 0)
    if variant.weights == "delta":
        dut.comb += [dut.reference.eq(r), dut.offset.eq(o)]
    dut.out = [getattr(dut, f"out{lane}") for lane in range(LANES)]
    got = run_array(dut, groups, columns, variant.x_bits, variant.w_bits, 3, 2, 0.2, dut.out_valid)
    whole = [(x.T @ (r + (w[:, j] << o))).tolist() for x, w in groups for j in range(columns)]
    assert wrapped(got["out"], variant.acc_bits).tolist() == whole


def test_result_and_table():
    figures = {"lut": 1000, "ff": 3, "ebr": 0, "dsp": 0, "fmax_mhz": 120.0, "fmax_min_mhz": 90.0,
               "lut_per_mac": 62.5, "mac_per_clock": 16, "mac_per_s": 1.92e9, "fmax_by_seed": {}}
    measured = {"delta8_16_85k": figures,
                "delta8_64_85k": figures | {"lut": 4000, "dsp": 1, "lut_per_mac": 62.5,
                                            "mac_per_clock": 64}}
    flat = delta_arrays.flat(measured)
    assert flat["delta_mac_lut"] == flat["delta_added_mac_lut"] == 62.5
    assert flat["delta_shared_lut"] == 0
    assert "plain_mac_lut" not in flat and flat["delta8_16_85k_mac_per_s"] == 1.92e9
    assert delta_arrays.errors(measured) == [
        "delta8_16_85k: 90.0 MHz: at least 100 are needed",
        "delta8_64_85k: 1 DSPs: allowed are none",
        "delta8_64_85k: 90.0 MHz: at least 100 are needed"]
    page = ("a\n<!-- arrays: made by python -m litepress.bench.delta_arrays -->\nold\n"
            "<!-- /arrays -->\nb\n")
    text = delta_arrays.FAMILY.filled(page, measured)
    assert text.count("| 8 x 4, delta |") == 2 and "old" not in text and text.endswith("\nb\n")
    assert "| 120 (90) | 16 | 1,920 | x 240 |" in text
    assert delta_arrays.FAMILY.filled(text, measured) == text
    with pytest.raises(ValueError, match="no marks <!-- arrays"):
        delta_arrays.FAMILY.filled("nothing", measured)


# Primitives ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("columns, bits, x_bits, taps", [(3, 2, 8, 3), (1, 3, 7, 4), (1, 4, 16, 16),
                                                         (1, 6, 8, 16)])
def test_array_equals_its_twin(columns, bits, x_bits, taps):
    def build(primitive):
        dut = DeltaArray(columns, bits, x_bits, 1, primitive, taps, shift=False)
        return dut, [dut.valid, dut.operand, dut.first, dut.last, dut.weights, dut.dump, *dut.out,
                     *dut.sums]
    equal(build, f"delta_array_{bits}_{x_bits}", "CCU2C")


@pytest.mark.parametrize("delta_bits, sums_bits, acc_bits", [(10, 6, 14), (9, 9, 9)])
def test_combine_equals_its_twin(delta_bits, sums_bits, acc_bits):
    def build(primitive):
        dut = DeltaCombine(delta_bits, sums_bits, acc_bits, primitive=primitive)
        return dut, [dut.valid, *dut.delta, *dut.sums, dut.reference, dut.offset, dut.out_valid,
                     *dut.out]
    equal(build, f"delta_combine_{delta_bits}", "CCU2C")
