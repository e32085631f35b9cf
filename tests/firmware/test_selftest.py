"""The firmware's tests of a board: of a DRAM with stuck lines, of the toy accelerator."""

import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from native import ToyImage, build, running

from litepress.host.device.client import Client, Request, RequestError, reply_fields
from litepress.host.device.remote import RemoteDevice
from litepress.host.device.selftest import CELLS, CHUNK_BYTES, DATA, LINES, memory
from litepress.spec import image as layout
from litepress.spec import wire

REGION = 1 << 20


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    return build(tmp_path_factory.mktemp("native"))


@pytest.fixture
def client(binary, request):
    with running(binary, *getattr(request, "param", ())) as url:
        client = Client(url, timeout=5)
        client.hello()
        yield client
        client.close()


def words(*values):
    return struct.pack(f"<{len(values)}I", *values)


def refused(client, kind, payload):
    """(name, detail) of the ERROR that answers a request."""
    with pytest.raises(RequestError) as error:
        client.request(Request(kind, payload))
    return wire.ERRORS[error.value.code][0], error.value.detail


# DRAM ---------------------------------------------------------------------------------------------

def memtest(client, what, address, length, flip=0):
    return reply_fields(wire.MEMTEST,
                        client.request(Request(wire.MEMTEST, words(what, address, length, flip))))


GOOD = {"wrong": 0, "address": 0, "expected": 0, "found": 0, "bits": 0}


@pytest.mark.parametrize("flip", [0, 0xffffffff])
def test_fill_and_check(client, flip):
    """Nothing outside is written, no two words are alike, and any that is changed is found."""
    client.write(0x1000, bytes(16) + bytes(1024))
    client.write(0x1000 + 0x2010, bytes(16))
    assert memtest(client, wire.MEM_FILL, 0x1010, 0x2000, flip) == GOOD
    assert client.read(0x1000, 16) == client.read(0x3010, 16) == bytes(16)
    filled = np.frombuffer(client.read(0x1010, 0x2000), "<u4")
    assert len(np.unique(filled)) == len(filled)
    assert memtest(client, wire.MEM_CHECK, 0x1010, 0x2000, flip) == GOOD
    other = memtest(client, wire.MEM_CHECK, 0x1010, 0x2000, ~flip & 0xffffffff)
    assert other["wrong"] == 0x800 and other["bits"] == 0xffffffff
    for at, change in ((0x1010, 1), (0x2000, 0x80000), (0x300c, 0x80000000)):
        right = int(filled[(at - 0x1010) // 4])
        client.write(at, words(right ^ change))
        assert memtest(client, wire.MEM_CHECK, 0x1010, 0x2000, flip) == {
            "wrong": 1, "address": at, "expected": right, "found": right ^ change, "bits": change}
        client.write(at, words(right))


@pytest.mark.parametrize("client, low, high", [
    (("--low", 1 << bit), 1 << bit, 0) for bit in (0, 7, 31)] + [
    (("--high", 1 << bit), 0, 1 << bit) for bit in (0, 16, 31)] + [
    (("--low", 0x00200020), 0x00200020, 0)], indirect=["client"])
def test_stuck_data_bits(client, low, high):
    """Named by each of the tests that writes data."""
    reply = memtest(client, wire.MEM_DATA, 0x400, 8)
    assert reply["bits"] == low | high
    assert reply["address"] in (0x400, 0x404) and reply["wrong"] >= 64
    assert reply["expected"] ^ reply["found"] and not (reply["expected"] ^ reply["found"]) & ~(
        low | high)
    for flip in (0, 0xffffffff):
        memtest(client, wire.MEM_FILL, 0, 0x1000, flip)
        assert memtest(client, wire.MEM_CHECK, 0, 0x1000, flip)["bits"] == low | high


@pytest.mark.parametrize("client, bits", [
    (("--address", 1 << bit), 1 << bit) for bit in (2, 9, 19)] + [
    (("--address", 0x5000), 0x5000)], indirect=["client"])
def test_stuck_address_bits(client, bits):
    assert memtest(client, wire.MEM_DATA, 0, 8)["wrong"] > 0 or bits != 4
    reply = memtest(client, wire.MEM_LINES, 0, REGION)
    assert reply["bits"] == bits and reply["wrong"]
    memtest(client, wire.MEM_FILL, 0, REGION)
    assert memtest(client, wire.MEM_CHECK, 0, REGION)["wrong"] >= REGION // 8


def test_a_good_dram(client):
    assert memtest(client, wire.MEM_DATA, REGION - 8, 8) == GOOD
    assert memtest(client, wire.MEM_LINES, 0, REGION) == GOOD


@pytest.mark.parametrize("client, failing, what", [
    ((), None, None),
    (("--low", 0x00200020), DATA, "wrong bits: 5, 21 (of a 16-bit memory: data line 5)"),
    (("--high", 0x8000), DATA, "wrong bits: 15"),
    (("--low", 0xffffffff), DATA, "any bit can be wrong"),
    (("--address", 1 << 12), LINES, "taken for each other: addresses that differ in bit 12"),
    (("--address", 0x2400), LINES, "addresses that differ in bit 10 or 13"),
], indirect=["client"])
def test_the_host_names_the_line(client, failing, what):
    outcomes = list(memory(client, REGION))
    assert all(o.passed for o in outcomes[:-1])
    if failing is None:
        assert [o.name for o in outcomes] == [DATA, LINES, CELLS]
        assert outcomes[-1].passed and outcomes[-1].what == "1 MiB, all"
    else:
        assert (outcomes[-1].name, outcomes[-1].passed) == (failing, False)
        assert what in outcomes[-1].what, outcomes[-1]


class Worn:
    """A Client whose DRAM has one bit at one place that does not keep a one."""

    def __init__(self, client, address):
        self.client, self.address = client, address

    def request(self, request):
        return self.client.request(request)

    def exchange(self, requests):
        for request in list(requests):
            yield self.client.request(request)
            word, = struct.unpack("<I", self.client.read(self.address, 4))
            self.client.write(self.address, words(word & ~(1 << 9)))


@pytest.mark.parametrize("address", [0, REGION - 4, REGION // 2 + 0x124])
def test_a_worn_cell(client, address):
    """Found in one of the two passes, at the first, the last and any other chunk."""
    outcomes = list(memory(Worn(client, address), REGION))
    assert [o.passed for o in outcomes] == [True, True, False]
    assert f"wrong words: 1, the first at {address:#x}: " in outcomes[-1].what
    assert outcomes[-1].what.endswith("; wrong bits: 9")


@pytest.mark.parametrize("size, tested", [(1, 2), (3 * CHUNK_BYTES, 3), (REGION, 64),
                                          (2 * REGION, 64)])
def test_a_part_of_the_cells(client, size, tested):
    """The first and the last part of the DRAM are always among them."""
    seen, steps = [], []
    exchange = client.exchange

    def spy(requests, *args):
        requests = list(requests)
        seen.extend(struct.unpack("<4I", r.payload) for r in requests if len(r.payload) == 16)
        return exchange(requests, *args)

    client.exchange = spy
    outcomes = list(memory(client, REGION, size, lambda *step: steps.append(step)))
    assert all(o.passed for o in outcomes)
    addresses = sorted({at for what, at, *_ in seen if what == wire.MEM_CHECK})
    assert len(addresses) == tested
    assert addresses[0] == 0 and addresses[-1] == REGION - CHUNK_BYTES
    total = 4 * tested * CHUNK_BYTES
    assert {s[0] for s in steps} == {CELLS} and {s[2] for s in steps} == {total}
    assert steps[-1][1] == total


def test_no_memory(client):
    outcome, = memory(client, 0)
    assert not outcome.passed and "found no moment to read its DRAM" in outcome.what


@pytest.mark.parametrize("payload, error", [
    (words(4, 0, 8, 0), "BAD_LENGTH"), (words(wire.MEM_FILL, 0, 6, 0), "BAD_LENGTH"),
    (words(wire.MEM_DATA, 0, 4, 0), "BAD_LENGTH"), (words(wire.MEM_FILL, 0, 8), "BAD_LENGTH"),
    (words(wire.MEM_FILL, REGION - 4, 8, 0), "OUT_OF_REGION"),
    (words(wire.MEM_CHECK, 2, 8, 0), "OUT_OF_REGION"),
    (words(wire.MEM_LINES, 4, REGION, 0), "OUT_OF_REGION")])
def test_bad_requests(client, payload, error):
    assert refused(client, wire.MEMTEST, payload)[0] == error


# Accelerator --------------------------------------------------------------------------------------

class TableImage(ToyImage):
    """A ToyImage with a table of tests of its program: ``fields`` are changes of an entry's."""

    def __init__(self, *tests):
        super().__init__(bytes(range(1, 101)))
        whole = dict(id=layout.TEST_COPY << 8, program_offset=512, program_words=4,
                     output_offset=self.header["output_offset"], output_bytes=1500, clocks=10**6)
        self.inputs = bytes(range(100)) * 6
        whole["output_crc"] = zlib.crc32(self.expected(list(self.inputs)))
        data = b"".join(layout.SELFTEST_ENTRY.pack(*((whole | fields)[name] for name, _
                                                     in layout.SELFTEST_FIELDS))
                        for fields in tests)
        at = self.header["region_bytes"] + 512
        self.sections.append(SimpleNamespace(
            type=layout.SELFTEST, offset=self.header["file_bytes"], dram=at, data=data,
            size=len(data), crc=zlib.crc32(data)))
        self.header["section_count"] += 1
        self.header["file_bytes"] += len(data)
        self.header["region_bytes"] = at + len(data)

    def load(self, client):
        client.write(0, self.header_bytes())
        for section in self.sections:
            if section.dram != layout.NOT_LOADED:
                client.write(section.dram, section.data)
        client.write(self.header["input_offset"], self.inputs)
        return self


def selftest(client, index=0):
    reply = client.request(Request(wire.SELFTEST, words(index)))
    return tuple(reply_fields(wire.SELFTEST, reply).values())


def test_a_test(client):
    image = TableImage({}, {"id": 7, "output_crc": 5}).load(client)
    crc = zlib.crc32(image.expected(list(image.inputs)))
    for _ in range(2):
        assert selftest(client, 0) == (layout.TEST_COPY << 8, wire.PASSED, crc, crc)
        assert selftest(client, 1) == (7, wire.WRONG, crc, 5)
    client.write(image.header["input_offset"], bytes(4))
    other = zlib.crc32(client.read(image.header["output_offset"], 1500))
    assert other == crc and selftest(client)[:2] == (layout.TEST_COPY << 8, wire.WRONG)
    assert client.status()["state"] == wire.IDLE and client.verify(0) == (0b1111, 4)


def test_what_is_left_over_does_not_pass(client):
    """A program that writes nothing, where the right result is from before."""
    image = TableImage({})
    idle = words(image.header["input_offset"], 600, image.header["output_offset"], 0)
    image.load(client)
    assert selftest(client)[1] == wire.PASSED
    image.sections[1].data = idle
    image.sections[1].crc = zlib.crc32(idle)
    image.load(client)
    assert selftest(client)[1:3] == (wire.WRONG, zlib.crc32(bytes(1500)))
    assert client.read(image.header["output_offset"], 1500) == bytes(1500)


@pytest.mark.parametrize("client", [("--fail", 6)], indirect=True)
def test_a_stopped_program(client):
    TableImage({}).load(client)
    assert selftest(client) == (layout.TEST_COPY << 8, wire.STOPPED, 6, 0x1234)


@pytest.mark.parametrize("client", [("--never-done",)], indirect=True)
def test_a_program_without_end(client):
    """It is stopped: the next one can run."""
    TableImage({"clocks": 20_000}).load(client)
    for _ in range(2):
        _, result, clocks, limit = selftest(client)
        assert (result, limit) == (wire.TIMEOUT, 20_000) and clocks > limit
    assert client.status()["state"] == wire.IDLE


@pytest.mark.parametrize("client", [("--run-ms", 100000)], indirect=True)
def test_not_beside_a_run(client):
    TableImage({}).load(client)
    client.request(Request(wire.RUN, words(5)))
    assert refused(client, wire.SELFTEST, words(0))[0] == "BUSY"
    assert refused(client, wire.MEMTEST, words(0, 0, 8, 0))[0] == "BUSY"
    client.request(Request(wire.ABORT))


def test_what_cannot_be_run(client):
    assert refused(client, wire.SELFTEST, words(0)) == ("NO_IMAGE", 0)
    image = ToyImage(bytes(100))
    for section in (None, *image.sections[1:]):
        client.write(*(0, image.header_bytes()) if section is None else
                     (section.dram, section.data))
    assert refused(client, wire.SELFTEST, words(0)) == ("NO_TEST", 0)
    image = TableImage({"output_offset": REGION}, {"output_bytes": 3},
                       {"program_words": 0x40000001}, {"program_offset": 2}).load(client)
    for index in range(4):
        assert refused(client, wire.SELFTEST, words(index)) == ("OUT_OF_REGION",
                                                                layout.TEST_COPY << 8)
    for index in (4, 0xffffffff):
        assert refused(client, wire.SELFTEST, words(index)) == ("NO_TEST", index)
    client.write(image.sections[-1].dram, bytes(4))
    assert refused(client, wire.SELFTEST, words(0)) == ("SECTION_CRC", 3)
    image.sections[-1].dram = layout.NOT_LOADED
    image.load(client)
    assert refused(client, wire.SELFTEST, words(0)) == ("NO_TEST", 0)


@pytest.mark.parametrize("client", [("--arch", "8,2048,512,256,256,0")], indirect=True)
def test_another_size(client):
    TableImage({}).load(client)
    assert refused(client, wire.SELFTEST, words(0)) == ("ARCH", 0)


def test_a_test_may_write_over_its_image(client):
    """Then the image is not taken for whole any more."""
    image = TableImage({"output_offset": 528, "output_bytes": 16}).load(client)
    assert selftest(client)[1] == wire.WRONG
    assert refused(client, wire.SELFTEST, words(0)) == ("SECTION_CRC", 2)
    assert client.read(528, 16) == bytes(16) and image.sections[2].dram == 528


# Both together ------------------------------------------------------------------------------------

@pytest.mark.parametrize("options, failing, what", [
    (("--fail", 6), "DMA and ABUF", "the accelerator stopped: no progress: a command did not end "
     "(detail 0x1234)"),
    (("--low", 0x100), DATA, "wrong bits: 8"),
])
def test_from_the_host(binary, options, failing, what):
    """RemoteDevice.selftest ends behind a DRAM that does not work; else it runs all tests."""
    with running(binary, *options) as url, RemoteDevice(url) as device:
        outcomes = list(device.selftest(dram_bytes=1))
    bad = [o for o in outcomes if not o.passed]
    assert (bad[0].name, bad[0].what[-len(what):]) == (failing, what)
    if failing == DATA:
        assert len(outcomes) == 2
    else:
        assert len(bad) == len(outcomes) - 5 > 20
