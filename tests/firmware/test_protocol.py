"""The firmware's protocol, request by request, against spec/wire.py."""

import random
import socket
import struct
import zlib

import numpy as np
import pytest
from native import ToyImage, build, running

from litepress.host.codecs import huffman
from litepress.host.device.client import Client, Request, RequestError
from litepress.host.device.frame import Deframer, encode
from litepress.spec import image as layout
from litepress.spec import isa, wire

CODES = {name: code for code, (name, _) in wire.ERRORS.items()}
REGION = 1 << 20
ARCH = (4, 2048, 512, 256, 256, 0, 1)   # The native hardware's.


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    return build(tmp_path_factory.mktemp("native"))


@pytest.fixture
def client(binary, request):
    options = getattr(request, "param", ())
    with running(binary, *options) as url:
        client = Client(url, timeout=5)
        client.hello()
        yield client
        client.close()


def refused(client, kind, payload=b""):
    """(name, detail) of the ERROR that answers a request."""
    with pytest.raises(RequestError) as error:
        client.request(Request(kind, payload))
    return wire.ERRORS[error.value.code][0], error.value.detail


def words(*values):
    return struct.pack(f"<{len(values)}I", *values)


def streams():
    """(bits of a field, words of data, stream) of many kinds."""
    rng = np.random.default_rng(2)
    for bits in range(1, 9):
        for size in (1, 7, 120):
            spread = rng.uniform(0.1, 4, -(-32 * size // bits))
            fields = np.minimum(rng.exponential(spread), (1 << bits) - 1).astype(int)
            ones = (fields[:, None] >> np.arange(bits) & 1).astype(np.uint8).ravel()
            data = np.packbits(ones[:32 * size], bitorder="little").tobytes()
            yield data, huffman.encode(data, bits)


def test_inflate(client):
    """A stream's data is in the region, and nothing else is changed."""
    for data, stream in streams():
        client.write(0x1000, bytes(range(256)) * 4)
        reply = client.request(Request(wire.INFLATE, words(0x1010) + stream))
        assert reply == words(len(data))
        after = client.read(0x1000, 1024)
        assert after[16:16 + len(data)] == data
        assert after[:16] == bytes(range(16))
        assert after[16 + len(data):] == (bytes(range(256)) * 4)[16 + len(data):]
    assert refused(client, wire.INFLATE, words(REGION) + stream) == ("STREAM", REGION)
    assert refused(client, wire.INFLATE, words(REGION + 4) + stream) == ("OUT_OF_REGION",
                                                                        REGION + 4)
    assert refused(client, wire.INFLATE, words(6) + stream) == ("OUT_OF_REGION", 6)
    # Written up to the region's last byte, not one further: the native hardware would abort.
    assert client.request(Request(wire.INFLATE, words(REGION - len(data)) + stream))
    assert refused(client, wire.INFLATE, words(REGION - len(data) + 4) + stream)[0] == "STREAM"


def test_corrupt_streams_are_refused(client):
    """As the host's decoder has it: what it refuses, so does the device."""
    rng = np.random.default_rng(3)
    refusals = 0
    for _, stream in [pair for pair in streams() for _ in range(25)]:
        broken = bytearray(stream)
        if rng.integers(2):
            broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
        elif rng.integers(2):
            del broken[4 * rng.integers(len(broken) // 4):]
        else:
            broken[8:] = rng.integers(0, 256, len(broken) - 8).astype(np.uint8).tobytes()
        try:
            expected = huffman.decode(bytes(broken))
        except huffman.HuffmanError:
            refusals += 1
            assert refused(client, wire.INFLATE, words(0x1000) + bytes(broken))[0] == "STREAM"
        else:
            client.request(Request(wire.INFLATE, words(0x1000) + bytes(broken)))
            assert client.read(0x1000, len(expected)) == expected
    assert refusals > 300


def load(client, image):
    client.write(0, image.header_bytes())
    for section in image.sections:
        if section.dram != layout.NOT_LOADED:
            client.write(section.dram, section.data)


def test_hello(client):
    info = client.hello()
    assert info == {"protocol": wire.PROTOCOL_VERSION, "rx_bytes": 4096, "region_bytes": REGION,
                    "clock_hz": 1000000, "columns": 4, "abuf_depth": 2048, "wbuf_depth": 512,
                    "pbuf_depth": 256, "vbuf_depth": 256, "array": 0,
                    "formats": 0x1fff, "engines": 0xf, "revision": 0, "cycles": info["cycles"]}
    assert client.hello()["cycles"] > info["cycles"] > 0


@pytest.mark.parametrize("client", [("--revision", 0x8db05f81)], indirect=True)
def test_revision(client):
    assert wire.revision_text(client.hello()["revision"]) == "8db05f8+changes"


@pytest.mark.parametrize("size", [4, 1020, 1024, 40000])
def test_write_read_crc(client, size):
    data = random.Random(size).randbytes(size)
    client.write(REGION - size, data)
    assert client.read(REGION - size, size) == data
    assert client.crcs([(REGION - size, size), (REGION - size, 4), (REGION, 0)]) == [
        zlib.crc32(data), zlib.crc32(data[:4]), 0]


@pytest.mark.parametrize("address, size", [
    (REGION, 4), (REGION - 4, 8), (0xfffffffc, 4), (0xfffffffc, 8), (2, 4), (REGION + 4, 0)])
def test_outside_the_region_is_refused(client, address, size):
    before = client.read(REGION - 1024, 1024)
    assert refused(client, wire.WRITE, words(address) + bytes(size)) == ("OUT_OF_REGION", address)
    assert refused(client, wire.READ, words(address, size)) == ("OUT_OF_REGION", address)
    assert refused(client, wire.CRC, words(address, size)) == ("OUT_OF_REGION", address)
    assert client.read(REGION - 1024, 1024) == before
    assert refused(client, wire.CRC, words(4, 0xfffffffc)) == ("OUT_OF_REGION", 4)


@pytest.mark.parametrize("kind, payload", [
    (wire.HELLO, bytes(4)), (wire.WRITE, b""), (wire.WRITE, bytes(3)), (wire.WRITE, bytes(7)),
    (wire.READ, bytes(4)), (wire.READ, bytes(12)), (wire.CRC, bytes(6)), (wire.RUN, b""),
    (wire.STATUS, bytes(8)), (wire.COUNTERS, b""), (wire.VERIFY, bytes(1)), (wire.ABORT, bytes(4)),
    (wire.READ, words(0, 1028)), (wire.READ, words(0, 2)), (wire.CRC, words(0, 5)),
    (wire.RUN, words(0))])
def test_wrong_length_is_refused(client, kind, payload):
    assert refused(client, kind, payload)[0] == "BAD_LENGTH"
    assert client.hello()["protocol"] == wire.PROTOCOL_VERSION   # And the next one is understood.


def test_unknown_types_are_refused(client, monkeypatch):
    for kind in (0, 13, 100, 0x7f):
        monkeypatch.setitem(wire.TYPES, kind, (f"TYPE_{kind}", "", ""))
        assert refused(client, kind, bytes(20)) == ("UNKNOWN_TYPE", kind)


def test_counters(client):
    for slot in (0, 1, isa.PROFILE_SLOTS - 1):
        reply = client.request(Request(wire.COUNTERS, words(slot)))
        count = len(isa.COUNTERS)
        assert struct.unpack(f"<{count}I", reply) == tuple(slot * 1000 + i for i in range(count))
    assert refused(client, wire.COUNTERS, words(isa.PROFILE_SLOTS)) == ("BAD_SLOT",
                                                                        isa.PROFILE_SLOTS)


def test_no_image(client):
    assert refused(client, wire.RUN, words(1)) == ("NO_IMAGE", 0)
    assert refused(client, wire.VERIFY) == ("NO_IMAGE", 0)
    image = ToyImage(bytes(100))
    header = bytearray(image.header_bytes())
    header[300] ^= 1
    client.write(0, bytes(header))
    assert refused(client, wire.RUN, words(1)) == ("NO_IMAGE", 0)


@pytest.mark.parametrize("options, error", [
    ({"version": 9}, ("VERSION", 9)),
    *(({"arch": tuple(size + (i == changed) for i, size in enumerate(ARCH))}, ("ARCH", 0))
      for changed in range(len(ARCH))),
    ({"region_bytes": REGION + 4}, ("TOO_LARGE", REGION + 4)),
    ({"region_bytes": 600}, ("OUT_OF_REGION", 528)),
])
def test_images_that_do_not_fit_are_refused(client, options, error):
    load(client, ToyImage(bytes(100), **options))
    assert refused(client, wire.RUN, words(1)) == error


def test_sections_and_program_stay_in_the_region(client):
    image = ToyImage(bytes(100))
    image.sections[2].size = 0xfffffff0
    load(client, image)
    assert refused(client, wire.VERIFY) == ("OUT_OF_REGION", image.sections[2].dram)
    image = ToyImage(bytes(100))
    image.header["program_words"] = 0x40000001      # Times 4 it would be 4.
    load(client, image)
    assert refused(client, wire.RUN, words(1))[0] == "OUT_OF_REGION"
    image = ToyImage(bytes(100))
    image.header["section_count"] = layout.MAX_SECTIONS + 1
    load(client, image)
    assert refused(client, wire.VERIFY)[0] == "NO_IMAGE"


def test_verify_follows_writes(client):
    rng = random.Random(1)
    image = ToyImage(rng.randbytes(5000))
    load(client, image)
    assert client.verify(0) == (0b111, 3)
    weights = image.sections[2]
    client.write(weights.dram + 4000, bytes(4))
    assert client.verify(0) == (0b011, 3)
    assert refused(client, wire.RUN, words(7)) == ("SECTION_CRC", 2)
    client.write(weights.dram + 4000, weights.data[4000:4004])
    assert client.verify(0) == (0b111, 3)
    client.write(image.sections[1].dram, bytes(4))
    assert client.verify(0) == (0b101, 3)
    client.write(8, bytes(4))           # The header.
    assert refused(client, wire.VERIFY) == ("NO_IMAGE", 0)
    load(client, image)
    client.write(image.header["input_offset"], bytes(600))
    assert client.verify(0) == (0b111, 3)


def wait(client):
    while client.status()["state"] == wire.RUNNING:
        pass
    return client.status()


def test_run(client):
    image = ToyImage(bytes(100))
    load(client, image)
    data = random.Random(2).randbytes(600)
    client.write(image.header["input_offset"], data)
    assert client.status()["state"] == wire.IDLE
    client.request(Request(wire.RUN, words(77)))
    status = wait(client)
    assert status["state"] == wire.DONE and status["token"] == 77 and status["error"] == 0
    assert status["run_cycles"] == 5_000_000_000 and status["layers_done"] == 2
    output = client.read(image.header["output_offset"], 1500)
    assert output == image.expected(list(data))
    # The same token again: answered, but nothing runs.
    client.write(image.header["output_offset"], bytes(1500))
    client.request(Request(wire.RUN, words(77)))
    assert wait(client)["state"] == wire.DONE
    assert client.read(image.header["output_offset"], 1500) == bytes(1500)
    client.request(Request(wire.RUN, words(78)))
    wait(client)
    assert client.read(image.header["output_offset"], 1500) == output


@pytest.mark.parametrize("client", [("--run-ms", 100000)], indirect=True)
def test_while_it_runs(client):
    image = ToyImage(bytes(100))
    load(client, image)
    client.request(Request(wire.RUN, words(5)))
    status = client.status()
    assert status["state"] == wire.RUNNING and status["layers_done"] == 1
    assert client.hello()["columns"] == 4
    client.request(Request(wire.RUN, words(5)))
    for kind, payload in ((wire.RUN, words(6)), (wire.WRITE, bytes(8)), (wire.READ, words(0, 4)),
                          (wire.CRC, words(0, 4)), (wire.VERIFY, b""), (wire.COUNTERS, words(0))):
        assert refused(client, kind, payload)[0] == "BUSY"
    client.request(Request(wire.ABORT))
    assert client.status()["state"] == wire.IDLE
    client.request(Request(wire.RUN, words(5)))      # After ABORT the token is new again.
    assert client.status()["state"] == wire.RUNNING


@pytest.mark.parametrize("client", [("--fail", 6)], indirect=True)
def test_failed_run(client):
    load(client, ToyImage(bytes(100)))
    client.request(Request(wire.RUN, words(5)))
    status = wait(client)
    assert (status["state"], status["error"], status["detail"]) == (wire.FAILED, 6, 0x1234)
    client.request(Request(wire.ABORT))
    assert client.status()["state"] == wire.IDLE


def test_random_requests_never_break_it(binary):
    """Valid frames with random types, lengths and numbers: each gets one answer, in order. The
    sanitizers and the bounds checks of the native hardware end the process otherwise."""
    rng = random.Random(3)
    with running(binary) as url:
        line = socket.create_connection(("localhost", int(url.rsplit(":", 1)[1])), timeout=10)
        deframer, answers = Deframer(), []
        for i in range(600):
            kind = rng.choice([*wire.TYPES, rng.randrange(256)])
            payload = b"".join(words(rng.choice([0, 4, 512, REGION - 4, REGION, 1024,
                                                 rng.getrandbits(32)]))
                               for _ in range(rng.randrange(5))) + bytes(rng.choice([0, 0, 1, 40]))
            line.sendall(rng.randbytes(rng.randrange(3)) + encode(kind, i % 256, payload))
            while len(answers) <= i:
                data = line.recv(65536)
                assert data, "the process ended"
                answers += deframer.feed(data)
            reply, seq, _ = answers[i]
            assert seq == i % 256 and reply in (kind | wire.REPLY, wire.ERROR)
        line.close()
