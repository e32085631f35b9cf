"""The wire port against the host's framing: bit-exact, with stalls, noise and losses."""

import random
import struct
import zlib

import pytest
from litex.gen import LiteXModule
from litex.soc.interconnect import csr_bus
from migen import run_simulation

from litepress.gateware.crc import CRC32
from litepress.gateware.wire import WirePort, WireReceiver, WireTransmitter
from litepress.host.device.frame import Deframer, encode
from litepress.spec.wire import MAX_PAYLOAD, SYNC


def words_of(frame):
    """The words the firmware sees of a frame: without SYNC and CRC."""
    return list(struct.unpack(f"<{len(frame) // 4 - 2}I", frame[4:-4]))


def random_frame(rng, longest=60):
    return encode(rng.randrange(256), rng.randrange(256), rng.randbytes(rng.randrange(longest)))


def drive(sink, data, rng, pause=0.3, limit=200_000):
    """Send bytes with random pauses."""
    clocks = 0
    for byte in data:
        while rng.random() < pause:
            yield
        yield sink.valid.eq(1)
        yield sink.data.eq(byte)
        yield
        while not (yield sink.ready):
            clocks += 1
            assert clocks < limit, "the receiver blocks the line"
            yield
        yield sink.valid.eq(0)


def collect(receiver, got, count, rng, patience=20_000):
    """Read frames as the firmware does, until ``count`` came; some words late."""
    waited = 0
    while len(got) < count:
        left = yield receiver.words
        if not left:
            waited += 1
            assert waited < patience, f"{len(got)} of {count} frames came"
            yield
            continue
        waited, frame = 0, []
        for _ in range(left):
            while rng.random() < 0.3:
                yield
            frame.append((yield receiver.data))
            yield receiver.pop.eq(1)
            yield
            yield receiver.pop.eq(0)
            yield
        got.append(frame)


@pytest.mark.parametrize("width", [8, 32])
def test_crc_equals_zlib(width):
    rng = random.Random(width)
    data = rng.randbytes(64)
    dut = CRC32(width)
    values = []

    def bench():
        for _ in range(2):    # Twice: init begins anew.
            yield dut.init.eq(1)
            yield
            yield dut.init.eq(0)
            values.append([])
            for i in range(0, len(data), width // 8):
                yield dut.ce.eq(1)
                yield dut.data.eq(int.from_bytes(data[i:i + width // 8], "little"))
                yield
                yield dut.ce.eq(0)
                while rng.random() < 0.5:
                    yield
                yield
                values[-1].append((yield dut.value))

    run_simulation(dut, bench())
    expected = [zlib.crc32(data[:i]) for i in range(width // 8, len(data) + 1, width // 8)]
    assert values == [expected, expected]


def test_crc_match():
    dut = CRC32(8)
    body = b"litepress"
    matches = []

    def bench():
        for byte in body + zlib.crc32(body).to_bytes(4, "little"):
            yield dut.ce.eq(1)
            yield dut.data.eq(byte)
            yield
            matches.append((yield dut.match))
        yield
        matches.append((yield dut.match))

    run_simulation(dut, bench())
    assert matches == [0] * (len(matches) - 1) + [1]


@pytest.mark.parametrize("seed", range(3))
def test_receives_good_frames(seed):
    rng = random.Random(seed)
    frames = [random_frame(rng) for _ in range(12)] + [encode(3, 7), encode(1, 2, b"x")]
    stream = b"".join(rng.randbytes(rng.randrange(4)) + f for f in frames)
    dut, got = WireReceiver(512, timeout=500), []
    run_simulation(dut, [drive(dut.sink, stream, rng, 0.2 * seed),
                         collect(dut, got, len(frames), random.Random(9))])
    assert got == [words_of(f) for f in frames]


def test_largest_frames_fill_the_memory():
    """Frames larger than the memory in sum: the line waits, nothing is lost."""
    rng = random.Random(4)
    frames = [encode(2, i, rng.randbytes(MAX_PAYLOAD)) for i in range(4)]
    dut, got = WireReceiver(512, timeout=300), []

    def late():
        for _ in range(2500):    # Long after the timeout: a full memory is not a silent line.
            yield
        assert not (yield dut.sink.ready)
        yield from collect(dut, got, len(frames), random.Random(9))

    run_simulation(dut, [drive(dut.sink, b"".join(frames), rng, 0.0), late()])
    assert got == [words_of(f) for f in frames]


@pytest.mark.parametrize("seed", range(4))
def test_noise_costs_only_the_frames_it_hits(seed):
    """Corrupted, lost and added bytes; every undamaged frame behind a good one must come."""
    rng = random.Random(100 + seed)
    stream, expected = b"", []
    for _ in range(14):
        frame = random_frame(rng)
        kind = rng.choice(["good", "flip", "lose", "length", "garbage"])
        if kind == "flip":
            at = rng.randrange(4, len(frame))
            damaged = bytearray(frame)
            damaged[at] ^= 1 << rng.randrange(8)
            if at in (6, 7):             # Lengths have a case of their own.
                damaged[at] = frame[at]
                damaged[4] ^= 0x10
            stream += damaged
        elif kind == "lose":
            at = rng.randrange(len(frame))
            # What follows completes the damaged frame: room for it, so that no good one is eaten.
            stream += frame[:at] + frame[at + 1:] + bytes(80)
        elif kind == "length":
            stream += SYNC + struct.pack("<BBH", 1, 2, rng.randrange(MAX_PAYLOAD + 1, 1 << 16))
        elif kind == "garbage":
            stream += rng.randbytes(30) + SYNC[:3]
        stream += frame
        expected.append(words_of(frame))
    dut, got = WireReceiver(512, timeout=2000), []
    run_simulation(dut, [drive(dut.sink, stream, rng, 0.1),
                         collect(dut, got, len(expected), random.Random(9))])
    assert got == expected


def test_silence_within_a_frame_ends_it():
    rng = random.Random(5)
    frame = encode(5, 6, rng.randbytes(40))
    dut, got = WireReceiver(512, timeout=100), []

    def bench():
        for cut in (5, 9, 30, len(frame) - 1):
            yield from drive(dut.sink, frame[:cut], rng, 0.0)
            for _ in range(120):
                yield
        yield from drive(dut.sink, frame, rng, 0.0)
        for _ in range(5):
            yield
        assert (yield dut.errors) == 4

    run_simulation(dut, [bench(), collect(dut, got, 1, rng)])
    assert got == [words_of(frame)]


@pytest.mark.parametrize("seed", range(3))
def test_sends_what_the_host_decodes(seed):
    rng = random.Random(seed)
    frames = [random_frame(rng) for _ in range(10)] + [encode(0x85, 255), encode(9, 1, b"abc")]
    dut, sent = WireTransmitter(512), bytearray()

    def push():
        for frame in frames:
            for word in words_of(frame):
                while not (yield dut.room) or rng.random() < 0.2:
                    yield
                yield dut.data.eq(word)
                yield dut.push.eq(1)
                yield
                yield dut.push.eq(0)
                yield

    def receive():
        clocks, total = 0, sum(map(len, frames))
        chance = random.Random(seed + 1)
        while len(sent) < total:
            yield dut.source.ready.eq(chance.random() < 0.7)
            yield
            clocks += 1
            assert clocks < 20_000, f"{len(sent)} of {total} bytes came"
            if (yield dut.source.valid) and (yield dut.source.ready):
                sent.append((yield dut.source.data))

    run_simulation(dut, [push(), receive()])
    assert bytes(sent) == b"".join(frames)
    assert len(Deframer().feed(bytes(sent))) == len(frames)


def test_room_never_promises_too_much():
    """With the line held, exactly what ``room`` promised is taken and comes out again."""
    rng = random.Random(8)
    frames = [encode(1, i, rng.randbytes(200)) for i in range(16)]
    dut, sent = WireTransmitter(512), bytearray()
    words = [w for f in frames for w in words_of(f)]

    def bench():
        pushed = 0
        while True:
            if not (yield dut.room):
                break
            yield dut.data.eq(words[pushed])
            yield dut.push.eq(1)
            yield
            yield dut.push.eq(0)
            yield
            pushed += 1
        assert 512 <= pushed <= 514
        yield dut.source.ready.eq(1)
        for _ in range(pushed * 5 + 200):
            yield
            if (yield dut.source.valid):
                sent.append((yield dut.source.data))
    run_simulation(dut, bench())
    assert len(sent) > 2000
    assert b"".join(frames).startswith(bytes(sent))


def test_registers():
    """Through the CSR bus, as the firmware uses them: echo a frame, a CRC, the uptime."""

    class Top(LiteXModule):
        def __init__(self):
            self.wire = WirePort(timeout=500)
            self.wire.add_csr()
            self.bus = csr_bus.Interface(data_width=32, address_width=14, alignment=32)
            bank = csr_bus.CSRBank(self.wire.get_csrs(), bus=self.bus)
            self.bank = bank
            self.address = {c.name: i for i, c in enumerate(bank.simple_csrs)}
            # A storage of one word is called name0.
            self.address |= {n.removesuffix("0"): i for n, i in self.address.items()
                             if not n.startswith("uptime")} | {
                                 "uptime_latch": self.address["uptime_latch0"]}

    top = Top()
    rng = random.Random(6)
    first, second = encode(2, 3, rng.randbytes(24)), encode(4, 5, b"hello")
    sent, result = bytearray(), {}

    def value(name):
        yield top.bus.adr.eq(top.address[name])
        yield top.bus.re.eq(1)
        yield
        yield top.bus.re.eq(0)
        yield
        return (yield top.bus.dat_r)

    def write(name, data):
        yield top.bus.adr.eq(top.address[name])
        yield top.bus.dat_w.eq(data)
        yield top.bus.we.eq(1)
        yield
        yield top.bus.we.eq(0)
        yield

    def wait_frame():
        for _ in range(2000):
            if (yield from value("rx_words")):
                return
        raise AssertionError("no frame")

    def firmware():
        yield from wait_frame()
        assert (yield from value("rx_words")) == len(words_of(first))
        yield from value("rx_data")
        yield from write("rx_drop", 1)
        yield from wait_frame()
        count = yield from value("rx_words")
        assert count == len(words_of(second))
        for i in range(count):
            assert (yield from value("rx_words")) == count - i
            word = yield from value("rx_data")
            assert (yield from value("tx_room")) >= 1
            yield from write("tx_data", word)
        assert (yield from value("rx_errors")) == 1
        yield from write("crc_init", 1)
        for word in (0x12345678, 0x9abcdef0):
            yield from write("crc_data", word)
        result["crc"] = yield from value("crc_value")
        yield from write("uptime_latch", 1)
        low, high = (yield from value("uptime0")), (yield from value("uptime1"))
        result["uptime"] = low, high
        for _ in range(200):
            yield

    def host():
        yield from drive(top.wire.sink, first + first[:-1] + b"?" + second, rng, 0.1)

    def line():
        while "uptime" not in result or len(sent) < len(second):
            yield top.wire.source.ready.eq(1)
            yield
            if (yield top.wire.source.valid) and (yield top.wire.source.ready):
                sent.append((yield top.wire.source.data))

    run_simulation(top, [firmware(), host(), line()])
    assert bytes(sent) == second
    assert result["crc"] == zlib.crc32(struct.pack("<2I", 0x12345678, 0x9abcdef0))
    # The CSR bus is big endian in words: uptime0 is the lower half by its name.
    assert 100 < result["uptime"][0] < 5000 and result["uptime"][1] == 0


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="WireReceiver: depth = 256"):
        WireReceiver(256)
    with pytest.raises(ValueError, match="WireTransmitter: depth = 300"):
        WireTransmitter(300)
    with pytest.raises(ValueError, match="CRC32: data_width = 12"):
        CRC32(12)
