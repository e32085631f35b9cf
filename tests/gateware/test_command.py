"""CommandFrontend against the register tables of spec/isa.py."""

import random

import pytest
from common import feed, simulate

from litepress.gateware.command import CommandFrontend
from litepress.spec import isa

ENGINES = (isa.LOAD, isa.COMPUTE, isa.STORE, isa.VECTOR)


def random_sets(engine, count, seed):
    """(words, name -> value after them)."""
    rng, words, values = random.Random(seed), [], {}
    for _ in range(count):
        name, (number, bits, signed) = rng.choice(list(isa.REGS[engine].items()))
        low  = -(1 << bits - 1) if signed else 0
        high = (1 << bits - signed) - 1
        values[name] = rng.choice((low, high, rng.randint(low, high)))
        words.append(isa.word(engine, number, values[name]))
    return words, values


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("stall", (0, 0.5))
def test_registers_go_and_done(engine, stall):
    dut = CommandFrontend(engine)
    words, want = [], []
    values = dict.fromkeys(isa.REGS[engine], 0)
    for go in range(6):
        sets, new = random_sets(engine, go*7, seed=go)
        values = values | new
        words += [*sets, isa.word(engine, isa.GO, 0)]
        want.append(values)
    seen = []

    def engine_side():
        rng = random.Random(1)
        while len(seen) < len(want):
            if (yield dut.start):
                first = {}
                for name, signal in dut.r.items():
                    first[name] = yield signal
                seen.append(first)
                yield
                for _ in range(rng.randrange(20)):
                    assert (yield dut.busy)
                    assert not (yield dut.taken)
                    for name, signal in dut.r.items():
                        assert (yield signal) == first[name], "changed during the GO"
                    yield
                yield dut.done.eq(1)
                yield
                yield dut.done.eq(0)
            else:
                yield
        yield
        yield
        assert (yield dut.completed) == len(want)
        assert (yield dut.idle)

    simulate(dut, feed(dut.sink, words, seed=3, stall=stall), engine_side(), timeout=3000)
    assert seen == want


def test_a_register_a_clock():
    dut = CommandFrontend(isa.LOAD)
    words, values = random_sets(isa.LOAD, 100, seed=5)
    clocks = []

    def watch():
        for _ in range(len(words) + 2):
            clocks.append((yield dut.taken))
            yield
        for name, value in values.items():
            assert (yield dut.r[name]) == value

    simulate(dut, feed(dut.sink, words), watch(), timeout=300)
    first = clocks.index(1)
    assert clocks[first:first + len(words)].count(1) >= len(words) - 2


@pytest.mark.parametrize("other", ENGINES)
def test_wait_holds_until_the_count(other):
    dut = CommandFrontend(isa.STORE)
    words = [isa.word(isa.STORE, isa.WAIT_LOAD + other, 5), isa.word(isa.STORE, isa.GO, 0)]

    def counts():
        for count in range(5):
            yield dut.counts[other].eq(count)
            for _ in range(7):
                yield
                assert not (yield dut.start)
            for e, waiting in dut.waiting.items():
                assert (yield waiting) == (e == other)
        yield dut.counts[other].eq(5)
        for clock in range(5):
            yield
            if (yield dut.start):
                assert clock >= 1
                return
        raise AssertionError("still waiting")

    simulate(dut, feed(dut.sink, words), counts(), timeout=200)


@pytest.mark.parametrize("engine, word", [
    (isa.LOAD, isa.LOAD << 29 | 15 << 24),             # No such register.
    (isa.STORE, isa.STORE << 29 | 31 << 24),
    (isa.VECTOR, isa.VECTOR << 29 | 31 << 24),
    (isa.LOAD, isa.LOAD << 29 | 6 << 24 | 1 << 12),    # RUNS has 12 bits.
    (isa.COMPUTE, isa.COMPUTE << 29 | 15 << 24 | 1 << 12),
    (isa.VECTOR, isa.VECTOR << 29 | 14 << 24 | 1 << 2),
])
def test_illegal_word_stops_until_reset(engine, word):
    dut = CommandFrontend(engine)
    name, (number, _, _) = next(iter(isa.REGS[engine].items()))
    good = isa.word(engine, number, 77)
    pulses = []

    def watch():
        for clock in range(40):
            if (yield dut.illegal):
                pulses.append(clock)
            yield
        assert len(pulses) == 1
        assert (yield dut.word) == word
        assert (yield dut.r[name]) == 77
        assert not (yield dut.sink.ready)
        yield dut.reset.eq(1)
        yield
        yield dut.reset.eq(0)
        yield
        assert (yield dut.r[name]) == 0
        assert (yield dut.sink.ready)

    def words():
        yield from feed(dut.sink, [good, word])
        yield dut.sink.data.eq(good + 1)

    simulate(dut, words(), watch(), timeout=200)


def test_unknown_engine():
    with pytest.raises(ValueError, match="engine 4: allowed are"):
        CommandFrontend(isa.CTRL)
