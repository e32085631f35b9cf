"""On-chip memories: order of accesses, latency, arbitration."""

import random

import pytest
from common import feed, simulate
from migen import Memory

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


def reader(port, addresses, memory, seed, stall, depth=DEPTH, waits=None):
    """Reads, and compares data and latency with the model's content at the handshake."""
    rng = random.Random(seed)
    due, left, offered, waited = [], list(addresses), False, 0
    for clock in range(40*len(addresses) + 100):
        if offered:
            if (yield port.cmd.ready):
                due.append((clock + READ_LATENCY, memory.get(left.pop(0) % depth, 0)))
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


def sides(dut):
    """The three writers and the three readers, first to third."""
    return ((dut.compute_write, dut.vector_write, dut.load_write),
            (dut.compute_read, dut.vector_read, dut.store_read))


@pytest.mark.parametrize("stall, ebr_bits, rams", ((0.0, 2**14, 1), (0.4, 2**14, 1), (0.4, 64, 4)))
def test_activation_buffer_keeps_what_was_written(monkeypatch, stall, ebr_bits, rams):
    monkeypatch.setattr("litepress.gateware.buffers.EBR_BITS", ebr_bits)
    specials = ActivationBuffer(DEPTH).get_fragment().specials
    assert len([s for s in specials if isinstance(s, Memory)]) == 4*rams
    dut = ActivationBuffer(DEPTH)
    writers, readers = sides(dut)
    rng = random.Random(7)
    beats = {}
    addresses = rng.sample(range(2**16), 200)
    # Each writer owns a quarter of the addresses, so that the outcome does not hang on the order.
    for side, endpoint in enumerate(writers):
        beats[endpoint] = [{"address": a - a % DEPTH + a % (DEPTH//4)*4 + side,
                            "data": rng.getrandbits(64)} for a in addresses]
    memory = {}
    for writes in beats.values():
        for beat in writes:
            memory[beat["address"] % DEPTH] = beat["data"]

    order = rng.sample(range(2**16), 300)
    written = dict.fromkeys(range(3), False)
    simulate(dut,
             *(setting(written, i, feed(endpoint, writes, seed=3 + i, stall=stall))
               for i, (endpoint, writes) in enumerate(beats.items())),
             *(after(written, reader(port, rng.sample(order, len(order)), memory, i, stall))
               for i, port in enumerate(readers)), timeout=8000)


# Longest waits of (first, second, third) when all that are there want one bank in every clock.
CONTENTION = {(1, 1, 1): (3, 1, 3), (1, 1, 0): (1, 1, None), (1, 0, 1): (1, None, 2),
              (0, 1, 1): (None, 1, 2), (1, 0, 0): (0, None, None), (0, 1, 0): (None, 0, None),
              (0, 0, 1): (None, None, 0)}


@pytest.mark.parametrize("there", CONTENTION)
def test_nobody_starves(there):
    """Reads of one bank in every clock: each waits as long as promised and no longer."""
    dut  = ActivationBuffer(DEPTH)
    want = CONTENTION[there]
    waits = [[] for _ in there]
    addresses = [DEPTH//4 + i % 8 for i in range(100)]
    simulate(dut, *(reader(port, addresses, {}, i, 0.0, DEPTH, waits[i])
                    for i, port in enumerate(sides(dut)[1]) if there[i]), timeout=2000)
    for seen, longest in zip(waits, want, strict=True):
        assert max(seen[:20], default=None) == longest
        assert max(seen, default=None) == longest


def test_shares_of_a_bank():
    """All three in every clock: VECTOR every 2nd, the others every 4th."""
    dut = ActivationBuffer(DEPTH)
    _, ports = sides(dut)
    seen = []

    def watch():
        for port in ports:
            yield port.cmd.valid.eq(1)
            yield port.cmd.address.eq(DEPTH//2)
        yield
        for _ in range(40):
            ready = []
            for port in ports:
                ready.append((yield port.cmd.ready))
            assert sum(ready) == 1
            seen.append(ready.index(1))
            yield

    simulate(dut, watch(), timeout=100)
    assert seen[8:] == 8*seen[8:12]
    assert sorted(seen[8:12]) == [0, 1, 1, 2] and seen[8] != seen[9]


@pytest.mark.parametrize("seed", range(8))
def test_contention_with_pauses(seed):
    """Requests that come and go at random, most of them for one bank: the bounds hold, every write
    arrives, and every read gives what was there."""
    depth = 32
    dut = ActivationBuffer(depth)
    writers, readers = sides(dut)
    rng = random.Random(seed)
    waits = {}

    def bank_address(third):
        """Of the writers' third of the upper half of a bank, which nobody reads."""
        bank = 1 if rng.random() < 0.8 else rng.randrange(4)
        return 8*bank + 4 + third

    def writer(endpoint, beats, stall, waits):
        rng = random.Random(seed)
        for beat in beats:
            while rng.random() < stall:
                yield endpoint.valid.eq(0)
                yield
            for name, value in beat.items():
                yield getattr(endpoint, name).eq(value)
            yield endpoint.valid.eq(1)
            yield
            waits.append(0)
            while not (yield endpoint.ready):
                waits[-1] += 1
                yield
        yield endpoint.valid.eq(0)

    # Fixed data in the lower halves first, then everything at once.
    fixed  = {8*bank + i: rng.getrandbits(64) for bank in range(4) for i in range(4)}
    memory = {}
    beats  = []
    for third in range(3):
        beats.append([{"address": bank_address(third), "data": rng.getrandbits(64)}
                      for _ in range(200)])
        memory |= {beat["address"]: beat["data"] for beat in beats[-1]}
    done, filled = {}, {"filled": False}
    drivers = [setting(filled, "filled", feed(dut.load_write, [
        {"address": a, "data": d} for a, d in fixed.items()]))]
    for i, (endpoint, port) in enumerate(zip(writers, readers, strict=True)):
        stall = rng.choice((0.0, 0.1, 0.5))
        addresses = [8*(1 if rng.random() < 0.8 else rng.randrange(4)) + rng.randrange(4)
                     for _ in range(200)]
        waits["write", i], waits["read", i] = [], []
        drivers += [
            setting(done, ("write", i), after(filled, writer(
                endpoint, beats[i], stall, waits["write", i]))),
            setting(done, ("read", i), after(filled, reader(
                port, addresses, fixed, seed + i, stall, depth, waits["read", i]))),
        ]
    drivers.append(after(done, reader(dut.store_read, list(memory), memory, 0, 0.0, depth)))
    simulate(dut, *drivers, timeout=6000)
    for kind in ("write", "read"):
        for i, longest in enumerate((3, 1, 3)):
            assert max(waits[kind, i]) <= longest
    assert max(waits["write", 2]) > 0 and max(waits["read", 2]) > 0


def test_different_banks_do_not_meet():
    dut = ActivationBuffer(DEPTH)
    waits = []
    simulate(dut, *(reader(port, [DEPTH//4*i + j % 16 for j in range(50)], {}, 1, 0.0, DEPTH, waits)
                    for i, port in enumerate(sides(dut)[1])), timeout=500)
    assert set(waits) == {0}


@pytest.mark.parametrize("columns", (4, 12))
def test_weight_buffer_slots(columns):
    rng = random.Random(3)
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
            # The copies are read on their own.
            other = (address + 7) % DEPTH
            yield dut.read.address.eq(address)
            yield dut.vector_read.address.eq(other)
            for _ in range(READ_LATENCY + 1):
                yield
            assert (yield dut.read.data) == memory.get(address, 0)
            assert (yield dut.vector_read.data) == memory.get(other, 0)

    simulate(dut, test(), timeout=3000)


@pytest.mark.parametrize("make", [lambda: ActivationBuffer(100), lambda: ActivationBuffer(4),
                                  lambda: WeightBuffer(64, 6), lambda: ParamBuffer(63)])
def test_sizes_that_do_not_exist(make):
    with pytest.raises(ValueError, match="allowed are"):
        make()
