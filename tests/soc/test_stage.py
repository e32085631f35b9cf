"""soc/stage.py: every access arrives once, with what was asked, and what is given up is dropped."""

import random

import pytest

pytest.importorskip("litex")

from litex.gen import LiteXModule
from litex.gen.sim import run_simulation
from litex.soc.interconnect import wishbone
from migen import passive

from litepress.soc.stage import WishboneStage

WORDS = 16


class Dut(LiteXModule):
    def __init__(self):
        self.slave = wishbone.Interface(data_width=32, adr_width=30, addressing="word")
        self.stage = WishboneStage(self.slave)


@passive
def memory(slave, words, seen, rng):
    """A slave that takes its time; ``seen``: what it was asked."""
    while True:
        if (yield slave.cyc) and (yield slave.stb):
            for _ in range(rng.choice([0, 0, 1, 5])):
                yield
                assert (yield slave.cyc) and (yield slave.stb)
            address, write = (yield slave.adr), (yield slave.we)
            if write:
                for byte in range(4):
                    if (yield slave.sel) >> byte & 1:
                        mask = 0xff << 8*byte
                        words[address] = words[address] & ~mask | (yield slave.dat_w) & mask
            seen.append((address, write))
            wrong = address == WORDS - 1
            yield slave.dat_r.eq(words[address])
            yield (slave.err if wrong else slave.ack).eq(1)
            yield
            yield slave.ack.eq(0)
            yield slave.err.eq(0)
            yield slave.dat_r.eq(rng.getrandbits(32))
        yield


@pytest.mark.parametrize("seed", range(4))
def test_accesses(seed):
    """Reads, masked writes and accesses that are given up, in a row or apart; the last word answers
    with an error."""
    rng = random.Random(seed)
    words, seen, dut = [rng.getrandbits(32) for _ in range(WORDS)], [], Dut()
    expected, asked = list(words), []
    bus = dut.stage.bus

    def master():
        waits = False
        for _ in range(300):
            address, write = rng.randrange(WORDS), rng.random() < 0.5
            data, sel = rng.getrandbits(32), rng.randrange(16)
            for name, value in (("adr", address), ("we", write), ("dat_w", data), ("sel", sel),
                                ("cyc", 1), ("stb", 1)):
                yield getattr(bus, name).eq(value)
            # While one that was given up is under way, another may come, and has to wait.
            patience = rng.choice([1, 2, 3]) if rng.random() < 0.2 and not waits else 100
            clocks, answered = 0, False
            while clocks < patience and not answered:
                yield
                clocks += 1
                answered = (yield bus.ack) or (yield bus.err)
            assert answered or patience < 100, "no answer"
            asked.append((address, write))
            for byte in range(4):
                if write and sel >> byte & 1:
                    mask = 0xff << 8*byte
                    expected[address] = expected[address] & ~mask | data & mask
            if answered:
                assert (yield bus.err) == (address == WORDS - 1)
                if not write and address != WORDS - 1:
                    assert (yield bus.dat_r) == expected[address]
            waits = False
            if answered and rng.random() < 0.5:
                continue
            yield bus.cyc.eq(0)
            yield bus.stb.eq(0)
            gap = rng.choice([1, 20])
            waits = gap == 1 and not answered
            for clock in range(gap):
                yield
                # The answer may be under way in the clock in which the master gives up.
                if answered or clock:
                    assert not (yield bus.ack) and not (yield bus.err)

    run_simulation(dut, [master(), memory(dut.slave, words, seen, rng)])
    assert seen == asked and words == expected
