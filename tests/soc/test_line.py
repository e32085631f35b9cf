"""A board's serial port, bit by bit: what came at a wrong speed costs no frame at the right one."""

import pytest

pytest.importorskip("litex")

from litex.gen import LiteXModule
from litex.soc.cores.uart import RS232PHY
from litex.soc.interconnect import stream
from migen import Record, run_simulation

from litepress.gateware.wire import WireReceiver
from litepress.host.device.frame import encode
from litepress.soc.board import BAUD_ERROR, max_baud
from litepress.spec import wire

# The slowest at which a board may have the fastest speed: a simulated clock takes a millisecond.
CLOCK = wire.BAUD/max_baud(1)


class Port(LiteXModule):
    """As soc/board.py has it, up to the receiver."""
    def __init__(self, baud, timeout):
        self.pads = Record([("rx", 1), ("tx", 1)])
        self.pads.rx.reset = 1
        self.phy      = RS232PHY(self.pads, CLOCK, baud)
        self.fifo     = stream.SyncFIFO([("data", 8)], 16)
        self.receiver = WireReceiver(512, timeout=timeout)
        self.comb += [
            self.phy.source.connect(self.fifo.sink),
            self.fifo.source.connect(self.receiver.sink),
        ]


def send(pads, data, baud):
    """The bits of ``data``, each as long as ``baud`` has it."""
    sent, now = 0, 0
    for byte in data:
        for bit in (0, *(byte >> i & 1 for i in range(8)), 1):
            yield pads.rx.eq(bit)
            sent += CLOCK/baud
            while now < sent:
                yield
                now += 1


def receive(baud, frames):
    """The words of all frames that arrive at a port of ``baud`` when (data, baud) of ``frames`` are
    sent one after another, with silence between."""
    # Longer than a byte takes.
    timeout = int(20*CLOCK/min(speed for _, speed in frames))
    got, done, dut = [], [], Port(baud, timeout)

    def host():
        for data, speed in frames:
            yield from send(dut.pads, data, speed)
            for _ in range(timeout + 100):
                yield
        done.append(True)

    def device():
        while not done:
            if (yield dut.receiver.words):
                got.append((yield dut.receiver.data))
                yield dut.receiver.pop.eq(1)
                yield
                yield dut.receiver.pop.eq(0)
                yield
            yield

    run_simulation(dut, [host(), device()])
    return got


def hellos_of_a_search(baud, speeds):
    """Words that arrive of HELLOs at all of ``speeds`` and a last one at ``baud``."""
    return receive(baud, [*((encode(wire.HELLO, i), speed) for i, speed in enumerate(speeds)),
                          (encode(wire.HELLO, 99), baud)])


def test_a_search_loses_nothing():
    """The HELLO at the port's own speed comes, alone."""
    assert hellos_of_a_search(1_500_000, (3_000_000, 2_000_000, 1_000_000)) == [
        wire.HELLO | 99 << 8]


@pytest.mark.slow
def test_a_search_through_all_speeds():
    """Two rounds of it, but for its own speed in the first, which a busy device has missed."""
    own = wire.BAUDS[3]
    others = [speed for speed in wire.BAUDS if speed != own] + list(wire.BAUDS[:3])
    assert hellos_of_a_search(own, others) == [wire.HELLO | 99 << 8]


def test_a_false_start_costs_nothing():
    """Nor what looked like the start of a long frame, in the middle of which it became silent."""
    false = wire.SYNC + b"\x01\x00\xe8\x03" + wire.SYNC
    assert receive(wire.BAUD, [(false, wire.BAUD), (encode(wire.HELLO, 9), wire.BAUD)]) == [
        wire.HELLO | 9 << 8]


@pytest.mark.parametrize("off", [1 - BAUD_ERROR, 1, 1 + BAUD_ERROR])
def test_the_fastest_speed_at_the_slowest_clock(off):
    data = encode(wire.READ, 3, bytes((0, 255, 0x55, 0xaa, 1, 0x80, 0x7f, 0xfe)) + wire.SYNC)
    got = receive(wire.BAUD, [(data, wire.BAUD*off)])
    assert b"".join(word.to_bytes(4, "little") for word in got) == data[4:-4]
