"""Ports of 32 bits on a wider DRAM controller: every word arrives, and idle means written."""

import random

import pytest
from litedram.common import LiteDRAMNativePort
from migen import Module, passive, run_simulation

from litepress.gateware import wideport
from litepress.gateware.dma import RegionReader, RegionWriter
from litepress.gateware.wideport import WideReadPort, WideWritePort

WIDE, WORDS = 128, 512
RATIO = WIDE//32
MASK = (1 << 32) - 1


class Wide(Module):
    """RegionReader and RegionWriter behind converters; their wide ports are the test's."""

    def __init__(self, wide=WIDE):
        bits = 10
        self.read_wide  = LiteDRAMNativePort("read", bits, wide)
        self.write_wide = LiteDRAMNativePort("write", bits, wide)
        self.submodules.narrow_read  = WideReadPort(self.read_wide)
        self.submodules.narrow_write = WideWritePort(self.write_wide)
        self.submodules.reader = RegionReader(self.narrow_read.port)
        self.submodules.writer = RegionWriter(self.narrow_write.port)
        for dma in (self.reader, self.writer):
            self.comb += [dma.region_base.eq(0), dma.region_words.eq(WORDS)]


@passive
def serve_reads(port, memory, rng, stats):
    """Data some clocks after the command, in order, never held."""
    queue, clock = [], 0
    while True:
        yield port.cmd.ready.eq(rng.random() < stats["speed"])
        yield port.rdata.valid.eq(0)
        if queue and queue[0][0] <= clock:
            yield port.rdata.valid.eq(1)
            yield port.rdata.data.eq(queue.pop(0)[1])
        yield
        clock += 1
        if (yield port.rdata.valid):
            assert (yield port.rdata.ready), "data nobody takes"
        if (yield port.cmd.valid) and (yield port.cmd.ready):
            address = (yield port.cmd.addr)
            stats["reads"] += 1
            # Read when the command is taken: the most stale it can be.
            queue.append((clock + 8 + rng.randrange(4), memory[address]))


@passive
def serve_writes(port, memory, rng, stats, ratio):
    queue, clock = [], 0
    while True:
        yield port.cmd.ready.eq(rng.random() < stats["speed"])
        taken = None
        yield port.wdata.ready.eq(0)
        if queue and queue[0][0] <= clock:
            yield port.wdata.ready.eq(1)
            taken = queue.pop(0)[1]
        yield
        clock += 1
        if taken is not None:
            # The controller takes what is there, asking nobody.
            assert (yield port.wdata.valid), "no data for a command"
            data, we = (yield port.wdata.data), (yield port.wdata.we)
            bits = sum(0xff << 8*i for i in range(4*ratio) if we >> i & 1)
            memory[taken] = memory[taken] & ~bits | data & bits
            stats["writes"] += 1
        if (yield port.cmd.valid) and (yield port.cmd.ready):
            assert (yield port.cmd.we)
            queue.append((clock + 3 + rng.randrange(4), (yield port.cmd.addr)))


def runs(rng):
    """Runs of consecutive words, up or down, words here and there, and some again."""
    for _ in range(rng.randrange(1, 6)):
        length = rng.choice((1, 2, 3, 4, 5, 9, 16))
        first = rng.randrange(WORDS - length)
        run = range(first, first + length)
        yield from run if rng.random() < 0.8 else reversed(run)
        if rng.random() < 0.3:
            yield run[-1]


@pytest.mark.parametrize("seed, speed, wide", [(1, 1.0, 128), (2, 0.4, 128), (3, 0.7, 64)])
def test_words_arrive(seed, speed, wide):
    rng, dut, ratio = random.Random(seed), Wide(wide), wide//32
    words  = [rng.getrandbits(32) for _ in range(WORDS)]
    memory = [sum(words[ratio*i + j] << 32*j for j in range(ratio)) for i in range(WORDS//ratio)]
    stats  = {"reads": 0, "writes": 0, "speed": speed}
    clocks = [0]

    def waiting():
        clocks[0] += 1
        assert clocks[0] < 40000, "stuck"

    def issue(dma, addresses, values=None):
        for n, address in enumerate(addresses):
            while rng.random() > 0.8:
                yield
            yield dma.sink.valid.eq(1)
            yield dma.sink.address.eq(address)
            if values:
                yield dma.sink.data.eq(values[n])
            yield
            while not (yield dma.sink.ready):
                waiting()
                yield
            yield dma.sink.valid.eq(0)

    def collect(addresses):
        for address in addresses:
            while True:
                yield dut.reader.source.ready.eq(rng.random() < 0.8)
                yield
                waiting()
                if (yield dut.reader.source.valid) and (yield dut.reader.source.ready):
                    break
            assert (yield dut.reader.source.data) == words[address]
        yield dut.reader.source.ready.eq(0)

    def main():
        for _ in range(4):
            addresses = list(runs(rng))
            values = [rng.getrandbits(32) for _ in addresses]
            yield from issue(dut.writer, addresses, values)
            yield
            while not (yield dut.writer.idle):
                waiting()
                yield
            for address, value in zip(addresses, values, strict=True):
                words[address] = value
            # All of it is written by now, and nothing else.
            for i, burst in enumerate(memory):
                assert burst == sum(words[ratio*i + j] << 32*j for j in range(ratio)), i
            todo = [*runs(rng), *(rng.randrange(WORDS) for _ in range(20)), *addresses]
            reading.append(todo)
            yield from issue(dut.reader, todo)
            while reading:
                waiting()
                yield

    reading = []

    @passive
    def reader():
        while True:
            if reading:
                yield from collect(reading[0])
                reading.pop(0)
            yield

    run_simulation(dut, [main(), reader(), serve_reads(dut.read_wide, memory, rng, stats),
                         serve_writes(dut.write_wide, memory, rng, stats, ratio)])
    assert stats["writes"] and stats["reads"]


def test_a_series_of_words_shares_bursts():
    """64 words each way take 16 bursts, and little more than a clock a word."""
    dut, rng = Wide(), random.Random(1)
    memory, stats = [0]*(WORDS//RATIO), {"reads": 0, "writes": 0, "speed": 1.0}
    took = {}

    def main():
        clock = 0
        for name, dma in (("write", dut.writer), ("read", dut.reader)):
            start = clock
            yield dut.reader.source.ready.eq(1)
            for address in range(64):
                yield dma.sink.valid.eq(1)
                yield dma.sink.address.eq(address)
                if name == "write":
                    yield dma.sink.data.eq(address + 7)
                yield
                clock += 1
                while not (yield dma.sink.ready):
                    yield
                    clock += 1
            yield dma.sink.valid.eq(0)
            yield
            while not (yield dma.idle):
                yield
                clock += 1
            took[name] = clock - start

    run_simulation(dut, [main(), serve_reads(dut.read_wide, memory, rng, stats),
                         serve_writes(dut.write_wide, memory, rng, stats, RATIO)])
    assert (stats["writes"], stats["reads"]) == (16, 16)
    assert memory[:16] == [sum(4*i + j + 7 << 32*j for j in range(4)) for i in range(16)]
    assert took["write"] < 64 + 32 and took["read"] < 64 + 40, took


def test_ratios():
    for width in (48, 32, 16):
        with pytest.raises(ValueError, match=f"port of 32 bits on one of {width}: allowed are 2"):
            wideport.WideReadPort(LiteDRAMNativePort("read", 8, width))


def test_a_read_sees_the_write_before_it():
    """The burst that the last read took is not what the next one gets, once it is written."""
    dut, rng = Wide(), random.Random(1)
    memory, stats = [0]*(WORDS//RATIO), {"reads": 0, "writes": 0, "speed": 1.0}

    def access(dma, address, value=None):
        yield dma.sink.valid.eq(1)
        yield dma.sink.address.eq(address)
        if value is not None:
            yield dma.sink.data.eq(value)
        yield
        while not (yield dma.sink.ready):
            yield
        yield dma.sink.valid.eq(0)
        while value is None and not (yield dma.source.valid):
            yield
        data = (yield dma.source.data) if value is None else None
        yield
        while not (yield dma.idle):
            yield
        return data

    def main():
        yield dut.reader.source.ready.eq(1)
        for n in range(1, 30):
            word = 4*5 + n % 4
            before = (yield from access(dut.reader, word))
            yield from access(dut.writer, word, n)
            after = (yield from access(dut.reader, word))
            assert (before, after) == (max(n - 4, 0), n)

    run_simulation(dut, [main(), serve_reads(dut.read_wide, memory, rng, stats),
                         serve_writes(dut.write_wide, memory, rng, stats, RATIO)])
