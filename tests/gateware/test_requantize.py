"""The requantizer against exact integers, every lane, every shift."""

import random

import pytest
from isa_model import pack_param, requantize
from litex.gen import *
from migen import *

from litepress.gateware.requantize import Requantizer
from litepress.spec import isa

ACC_EDGES = [0, 1, -1, (1 << 39) - 1, -1 << 39, 1 << 22, (1 << 22) - 1, 1 << 5, 31, -32]
M_EDGES = [0, 1, 0xffff, 0x8000]
B_EDGES = [0, 1, -1, (1 << 41) - 1, -1 << 41]


def channels(rng, count):
    """Random channels: (four accumulators, m, s, b, tail, tag), edges among them."""
    result = []
    for n in range(count):
        width = rng.randrange(1, 40)
        acc = [rng.choice(ACC_EDGES) if rng.random() < 0.2 else
               rng.randrange(-1 << width - 1, 1 << width - 1) if width > 1 else 0
               for _ in range(4)]
        m = rng.choice(M_EDGES) if rng.random() < 0.2 else rng.randrange(1 << 16)
        b = rng.choice(B_EDGES) if rng.random() < 0.2 else \
            rng.randrange(-1 << 41, 1 << 41) >> rng.randrange(42)
        s = n % 64 if rng.random() < 0.5 else max(0, min(63, width - 14 + rng.randrange(-3, 4)))
        result.append((acc, m, s, b, rng.randrange(4), n))
    return result


def run(dut, stream, latency, low, high, pool, rng):
    """Feed the channels with random pauses; list of (vector, tag)."""
    results = []

    def drive():
        yield dut.clamp_lo.eq(low)
        yield dut.clamp_hi.eq(high)
        yield dut.pool.eq(pool)
        yield
        pending = list(stream)
        params = [0] * latency
        for _ in range(3 * len(stream) + 100):
            record = rng.randrange(1 << 64)
            valid = bool(pending) and rng.random() < 0.6
            yield dut.valid.eq(valid)
            if valid:
                acc, m, s, b, tail, tag = pending.pop(0)
                for lane, value in zip(dut.acc, acc, strict=True):
                    yield lane.eq(value)
                yield dut.tail.eq(tail)
                yield dut.tag.eq(tag)
                record = pack_param(m, s, b)
            params.append(record)
            yield dut.params.eq(params.pop(0))
            yield
            if (yield dut.out_valid):
                results.append(((yield dut.out_data), (yield dut.out_tag)))
        assert not pending
    run_simulation(dut, drive())
    return results


@pytest.mark.parametrize("dsps, params_latency, low, high, pool, narrow", [
    (2, 3, -32768, 32767, 0, False),
    (1, 3, -32768, 32767, 0, False),
    (2, 2, 0, 255, 1, False),
    (2, 4, 100, -100, 0, False),
    (1, 2, -128, 127, 1, False),
    (3, 3, -32768, 32767, 0, False),
    (3, 2, -128, 127, 1, True),
    (2, 3, -32768, 32767, 0, True),
    (2, 4, 100, -100, 0, True),
])
def test_requantizer(dsps, params_latency, low, high, pool, narrow):
    rng = random.Random(f"{dsps} {params_latency} {low} {high} {pool}")
    dut = Requantizer(tag_bits=16, params_latency=params_latency, dsps=dsps, narrow=narrow)
    stream = channels(rng, 250)
    want = []
    for acc, m, s, b, tail, tag in stream:
        if pool:
            total = sum(acc) & (1 << isa.ACC_BITS) - 1
            acc = [total - (total >> 39 << 40), *acc[1:]]
        out = [requantize(a, m, s, b, low, high) & 0xffff for a in acc]
        out[tail:] = [out[tail]] * (4 - tail)
        want.append((sum(v << 16 * i for i, v in enumerate(out)), tag))
    assert run(dut, stream, params_latency, low, high, pool, rng) == want


def test_narrow_edges():
    """Values near each power of two, where ``narrow`` finds out which are beyond the bounds."""
    rng = random.Random(7)
    values = [sign*(1 << bits) + more for bits in range(14, 38) for sign in (1, -1)
              for more in (-1, 0, 1)]
    rng.shuffle(values)
    # acc*m >> 16 is acc / 2.
    stream = [([2*value for value in values[i:i + 4]], 0x8000, s, 0, 3, s)
              for s in range(42) for i in range(0, len(values), 4)]
    want = [(sum((requantize(a, m, s, b, -32768, 32767) & 0xffff) << 16*i
                 for i, a in enumerate(acc)), tag) for acc, m, s, b, _, tag in stream]
    dut = Requantizer(tag_bits=16, dsps=3, narrow=True)
    assert run(dut, stream, 3, -32768, 32767, 0, rng) == want


def test_a_third_dsp_takes_no_clock():
    """Programs take as many clocks on a board that has it as on the simulated SoC."""
    assert Requantizer(dsps=3, narrow=True).latency == Requantizer().latency


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="4 DSPs a lane: allowed are 1, 2, 3"):
        Requantizer(dsps=4)
    with pytest.raises(ValueError, match="params_latency = 1: allowed are 2 and more"):
        Requantizer(params_latency=1)
