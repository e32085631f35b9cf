"""On-chip memories: order of accesses, latency, arbitration."""

import random

import pytest
from common import feed, simulate

from litepress.gateware.buffers import (
    READ_LATENCY,
    ActivationBuffer,
    ParamBuffer,
    WeightBuffer,
)

DEPTH = 64


def after(flags, generator):
    """Start when all flags are set."""
    while not all(flags.values()):
        yield
    for _ in range(2):
        yield
    yield from generator


def setting(flags, name, generator):
    """Set the flag at the end."""
    flags[name] = False
    yield from generator
    flags[name] = True


def reader(port, addresses, memory, seed, stall, waits=None):
    """Reads, and compares data and latency with the model's content at the handshake."""
    rng = random.Random(seed)
    due, left, offered, waited = [], list(addresses), False, 0
    for clock in range(40*len(addresses) + 100):
        if offered:
            if (yield port.cmd.ready):
                due.append((clock + READ_LATENCY, memory.get(left.pop(0) % DEPTH, 0)))
                offered = False
                if waits is not None:
                    waits.append(waited)
            else:
                waited += 1
        if due and due[0][0] == clock:
            assert (yield port.valid)
            assert (yield port.data) == due.pop(0)[1]
        else:
            assert not (yield port.valid)
        if not left and not due:
            return
        if not offered and left and rng.random() >= stall:
            yield port.cmd.address.eq(left[0])
            yield port.cmd.valid.eq(1)
            offered, waited = True, 0
        elif not offered:
            yield port.cmd.valid.eq(0)
        yield
    raise AssertionError("reads not finished")


@pytest.mark.parametrize("stall", (0.0, 0.4))
def test_activation_buffer_keeps_what_was_written(stall):
    dut = ActivationBuffer(DEPTH)
    rng = random.Random(7)
    beats = {}
    addresses = rng.sample(range(2**16), 200)
    # The two writers own halves of the addresses, so that the outcome does not hang on the order.
    for side, endpoint in enumerate((dut.compute_write, dut.load_write)):
        beats[endpoint] = [{"address": a*2 % 2**16 + side, "data": rng.getrandbits(64)}
                           for a in addresses]
    memory = {}
    for writes in beats.values():
        for beat in writes:
            memory[beat["address"] % DEPTH] = beat["data"]

    order = rng.sample(range(2**16), 300)
    written = {"compute": False, "load": False}
    simulate(dut,
             *(setting(written, name, feed(endpoint, writes, seed=3, stall=stall))
               for name, (endpoint, writes) in zip(written, beats.items(), strict=True)),
             after(written, reader(dut.compute_read, order, memory, 1, stall)),
             after(written, reader(dut.store_read, order[::-1], memory, 2, stall)), timeout=8000)


def test_compute_first_but_nobody_starves():
    dut = ActivationBuffer(DEPTH)
    compute, store = [], []
    # Both want bank 1 in every clock.
    addresses = [DEPTH//4 + i % 8 for i in range(100)]
    simulate(dut,
             reader(dut.compute_read, addresses, {}, 1, 0.0, compute),
             reader(dut.store_read, addresses, {}, 2, 0.0, store), timeout=2000)
    assert max(compute) == 1
    assert max(store) == 3
    assert store[:20] == [3]*20


def test_different_banks_do_not_meet():
    dut = ActivationBuffer(DEPTH)
    waits = []
    simulate(dut,
             reader(dut.compute_read, [i % 16 for i in range(50)], {}, 1, 0.0, waits),
             reader(dut.store_read, [16 + i % 16 for i in range(50)], {}, 2, 0.0, waits),
             timeout=500)
    assert set(waits) == {0}


def test_weight_buffer_slots():
    columns, rng = 12, random.Random(3)
    dut = WeightBuffer(DEPTH, columns)
    beats, words = [], {}
    for address in rng.sample(range(2**16), 80):
        for slot in rng.sample(range(16), 5):
            data = rng.getrandbits(64)
            beats.append({"address": address, "slot": slot, "data": data})
            if slot < columns//4:
                words.setdefault(address % DEPTH, {})[slot] = data

    def test():
        yield from feed(dut.write, beats)
        for _ in range(2):
            yield
        for address in range(DEPTH):
            yield dut.read.address.eq(address + DEPTH)
            for _ in range(READ_LATENCY + 1):
                yield
            data = yield dut.read.data
            for slot in range(columns//4):
                want = words.get(address, {}).get(slot, 0)
                assert data >> 64*slot & 2**64 - 1 == want
        # A word a clock, READ_LATENCY later.
        seen = []
        for address in range(DEPTH + READ_LATENCY + 1):
            yield dut.read.address.eq(address)
            seen.append((yield dut.read.data))
            yield
        for address in range(DEPTH):
            want = sum(words.get(address, {}).get(s, 0) << 64*s for s in range(columns//4))
            assert seen[address + READ_LATENCY + 1] == want

    simulate(dut, test(), timeout=4000)


def test_param_buffer():
    rng = random.Random(4)
    dut = ParamBuffer(DEPTH)
    beats = [{"address": a, "data": rng.getrandbits(64)} for a in rng.sample(range(2**16), 300)]
    memory = {beat["address"] % DEPTH: beat["data"] for beat in beats}

    def test():
        yield from feed(dut.write, beats, stall=0.3)
        yield
        yield
        for address in range(DEPTH):
            yield dut.read.address.eq(address)
            for _ in range(READ_LATENCY + 1):
                yield
            assert (yield dut.read.data) == memory.get(address, 0)

    simulate(dut, test(), timeout=3000)


@pytest.mark.parametrize("make", [lambda: ActivationBuffer(100), lambda: ActivationBuffer(4),
                                  lambda: WeightBuffer(64, 6), lambda: ParamBuffer(63)])
def test_sizes_that_do_not_exist(make):
    with pytest.raises(ValueError, match="allowed are"):
        make()
