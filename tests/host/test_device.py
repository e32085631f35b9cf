"""The device client over TCP: against the native firmware, through lines that lose and corrupt."""

import random
import socket
import struct
import sys
import threading
import time
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from litepress.host.device import DeviceError, connect
from litepress.host.device.client import Client
from litepress.host.device.coded import coded_pieces
from litepress.host.device.frame import Deframer, encode
from litepress.host.device.remote import SEGMENT_BYTES, RemoteDevice, needs
from litepress.host.device.sim import SimDevice
from litepress.host.image import Image, row_bytes
from litepress.spec import image as layout
from litepress.spec import isa, wire
from litepress.spec.arch import ARCHS
from litepress.spec.formats import Format

sys.path.append(str(Path(__file__).resolve().parents[1] / "firmware"))
from native import ToyImage, build, running

WEIGHTS = random.Random(0).randbytes(3 * SEGMENT_BYTES + 1000)


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    return build(tmp_path_factory.mktemp("native"))


@pytest.fixture
def url(binary, request):
    with running(binary, *getattr(request, "param", ("--keep",))) as url:
        yield url


@contextmanager
def line(url, to_device=None, to_host=None, log=None):
    """A proxy in front of ``url``: each function takes and returns bytes as they pass, None hangs
    up. Gives its URL."""
    target = int(url.rsplit(":", 1)[1])
    listener = socket.create_server(("localhost", 0))
    sockets = [listener]

    def pump(source, sink, change):
        try:
            while data := source.recv(4096):
                data = change(data) if change else data
                if data is None:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def serve():
        try:
            while True:
                host = listener.accept()[0]
                device = socket.create_connection(("localhost", target))
                sockets.extend((host, device))
                for args in ((host, device, to_device), (device, host, to_host)):
                    threading.Thread(target=pump, args=args, daemon=True).start()
        except OSError:
            pass

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"socket://localhost:{listener.getsockname()[1]}"
    finally:
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()


class Writes:
    """A tap of a line: the bytes that WRITE frames carry to the device."""

    def __init__(self):
        self.deframer, self.bytes = Deframer(), 0

    def __call__(self, data):
        self.bytes += sum(len(payload) - 4 for kind, _, payload in self.deframer.feed(data)
                          if kind == wire.WRITE)
        return data


def test_load_run_read(url):
    image = ToyImage(WEIGHTS)
    x = np.arange(600) % 251
    steps = []
    with connect(url) as device:
        with pytest.raises(DeviceError, match=r"no image is loaded: call load\(image\) first"):
            device.run(x)
        device.load(image, lambda done, total: steps.append((done, total)))
        for i in range(3):
            assert device.run_raw(image.encode_input(x + i)) == image.expected(x + i)
        assert np.array_equal(device.run(x), np.resize(x, 1500) + 1)
        assert device.run_cycles == 5_000_000_000
        assert device.read_tensor_bytes("in") == image.encode_input(x)
        assert np.array_equal(device.read_tensor("out").ravel(), np.resize(x, 1500) + 1)
        counters = device.counters()
        assert len(counters) == 3
        assert counters[2]["cycles"] == 2000 and counters[2]["fetch_words"] == 2012
        with pytest.raises(DeviceError, match="input of 5 bytes: the image takes 600"):
            device.run(np.zeros(5))
    total = 512 + 16 + len(WEIGHTS)
    assert {t for _, t in steps} == {total} and steps[-1] == (total, total)
    assert [d for d, _ in steps] == sorted(d for d, _ in steps) and len(steps) > 100


def test_a_packed_image(url):
    """host.image.Image: load, tensors to and from the region in their formats."""
    meta = {"name": "toy", "input": "in", "output": "out", "layers": [], "groups": [], "tensors": {
        name: {"shape": [3, 5, 6], "format": fmt, "scale": 0.5, "offset": offset,
               "row_bytes": row_bytes((3, 5, 6), Format.parse(fmt)),
               "bytes": 5 * row_bytes((3, 5, 6), Format.parse(fmt))}
        for name, fmt, offset in (("in", "raw8", 4096), ("out", "zfpe12", 8192))}}
    program = struct.pack("<4I", 4096, 4, 16000, 4)
    image = Image.build(ARCHS["tiny"], [(layout.PROGRAM, 512, program),
                                        (layout.WEIGHTS, 528, WEIGHTS[:3000])], 4, 16384, meta)
    q = np.random.default_rng(0).integers(-128, 128, (3, 5, 6), np.int16)
    with RemoteDevice(url) as device:
        device.load(image)
        device.run_raw(image.encode_tensor("in", q))
        assert np.array_equal(device.read_tensor("in"), q)
        data = image.encode_tensor("out", 100 * q)
        device.client.write(8192, data)
        assert device.read_tensor_bytes("out") == data
        assert np.array_equal(device.read_tensor("out"), image.decode_tensor("out", data))
        assert device.counters() == []


@pytest.mark.parametrize("bits, share", [(4, 0.85), (3, 0.9), (8, 0.95)])
def test_coded_weights(url, bits, share):
    """Codes of weights go in fewer bytes, over a line that damages frames too; noise as it is."""
    rng = np.random.default_rng(bits)
    fields = np.abs(rng.normal(0, (1 << bits) / 6, 8 * 120_000 // bits))
    fields = np.minimum(fields, (1 << bits) - 1).astype(int)
    ones = (fields[:, None] >> np.arange(bits) & 1).astype(np.uint8)
    weights = np.packbits(ones.ravel(), bitorder="little").tobytes()[:119_996]
    weights += rng.integers(0, 256, 60_000).astype(np.uint8).tobytes()
    image, sent = ToyImage(weights), {}
    for coded in (False, True):
        noise = random.Random(bits)
        with line(url, damage(noise, 1e-5), damage(noise, 1e-5)) as proxy, \
                RemoteDevice(proxy, coded=coded) as device:
            before = device.client.bytes_sent
            device.load(image)
            sent[coded] = device.client.bytes_sent - before
            assert device.client.read(528, len(weights)) == weights
            device.client.write(528, bytes(len(weights)))
    pieces = list(coded_pieces(weights[:119_996]))
    assert sum(len(data) for *_, data in pieces) < share * 119_996
    assert sent[True] < sent[False]
    assert not any(coded for _, _, coded, _ in coded_pieces(weights[119_996:]))


def test_only_what_differs_is_sent(url):
    image = ToyImage(WEIGHTS)
    loaded = 512 + 16 + len(WEIGHTS)

    def load(image):
        writes = Writes()
        with line(url, writes) as proxy, RemoteDevice(proxy) as device:
            device.load(image)
            assert device.run_raw(bytes(600)) == bytes([1] * 1500)
            assert device.skipped_bytes == loaded - (writes.bytes - 600)
        return writes.bytes - 600     # Less the input of the run.

    assert load(image) == loaded
    assert load(image) == 0
    changed = bytearray(WEIGHTS)
    changed[SEGMENT_BYTES + 5] ^= 1
    changed[-1] ^= 1
    # Another header, and the two segments with another byte.
    assert load(ToyImage(bytes(changed))) == 512 + SEGMENT_BYTES + len(WEIGHTS) % SEGMENT_BYTES
    # The same header, but DRAM that lost a byte.
    with RemoteDevice(url) as device:
        device.client.write(528 + 2 * SEGMENT_BYTES, bytes(4))
    assert load(ToyImage(bytes(changed))) == SEGMENT_BYTES


def damage(rng, rate):
    """Flip, lose or add a byte here and there."""
    def change(data):
        out = bytearray()
        for byte in data:
            kind = rng.random() / rate
            if kind < 1:
                out += bytes([byte ^ 1 << rng.randrange(8)])
            elif kind < 2:
                pass
            elif kind < 3:
                out += bytes([byte, rng.randrange(256)])
            else:
                out.append(byte)
        return bytes(out)
    return change


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_line(url, seed):
    """Load and run through a line that damages both ways."""
    rng = random.Random(seed)
    image = ToyImage(WEIGHTS[:60000])
    x = np.arange(600) % 250
    with line(url, damage(rng, 1e-4), damage(rng, 1e-4)) as proxy, RemoteDevice(proxy) as device:
        device.load(image)
        assert device.run_raw(image.encode_input(x)) == image.expected(x)
        assert device.client.retransmissions > 0


def test_only_lost_frames_are_sent_again(url):
    """One byte wrong in the middle of a transfer costs one frame, and no waiting."""
    seen = 0

    def hit(data):
        nonlocal seen
        data = bytearray(data)
        if seen <= 50_000 < seen + len(data):
            data[50_000 - seen] ^= 0x40
        seen += len(data)
        return bytes(data)

    with line(url, hit) as proxy:
        client = Client(proxy)
        client.hello()
        start = time.monotonic()
        client.write(0, WEIGHTS[:100_000])
        assert client.retransmissions == 1
        assert time.monotonic() - start < 5
        assert client.read(0, 100_000) == WEIGHTS[:100_000]
        client.close()


def test_a_load_goes_on_after_a_drop(url):
    image = ToyImage(WEIGHTS)
    seen = 0

    def hang_up(data):
        nonlocal seen
        seen += len(data)
        return data if seen < 160_000 else None

    with line(url, hang_up) as proxy, RemoteDevice(proxy) as device:
        with pytest.raises(DeviceError, match=r"disconnected after WRITE at 0x"):
            device.load(image)
    writes = Writes()
    with line(url, writes) as proxy, RemoteDevice(proxy) as device:
        device.load(image)
        assert device.run_raw(bytes(600)) == bytes([1] * 1500)
    # Two whole segments had arrived; the header too.
    assert writes.bytes - 600 == len(WEIGHTS) - 2 * SEGMENT_BYTES


def test_window_is_kept(url):
    """Never more unanswered bytes than the device said it can hold."""
    sent, answered, worst = {}, set(), 0
    up, down, lock = Deframer(), Deframer(), threading.Lock()

    def to_device(data):
        nonlocal worst
        with lock:
            for _, seq, payload in up.feed(data):
                sent[seq] = 12 + len(payload)
                answered.discard(seq)
            worst = max(worst, sum(n for s, n in sent.items() if s not in answered))
        return data

    def to_host(data):
        with lock:
            answered.update(seq for _, seq, _ in down.feed(data))
        return data

    with line(url, to_device, to_host) as proxy, RemoteDevice(proxy) as device:
        device.client.write(0, WEIGHTS[:40000])
        assert device.client.retransmissions == 0
    assert 2000 < worst <= 4096


@pytest.mark.parametrize("options, message", [
    ({"arch": (8, 2048, 512, 256, 256, 0, 1)},
     r"image is planned for Arch\(columns=8, .*has Arch\(columns=4"),
    ({"arch": (4, 2048, 512, 256, 256, 0, 0)},
     r"image is planned for Arch\(.*vector=False\), .*has Arch\(.*vector=True\)"),
    ({"region_bytes": 1 << 24}, "image needs 16777216 bytes of memory, device at .* has 1048576"),
])
def test_images_that_do_not_fit(url, options, message):
    with RemoteDevice(url) as device, pytest.raises(DeviceError, match=message):
        device.load(ToyImage(bytes(64), **options))


def with_program(image, words):
    """The image, its program's words replaced."""
    section = next(s for s in image.sections if s.type == layout.PROGRAM)
    section.data = struct.pack(f"<{len(words)}I", *words)
    section.size, section.crc = len(section.data), zlib.crc32(section.data)
    return image


@pytest.mark.parametrize("url", [("--formats", "0x87", "--engines", "0x7")], indirect=True)
def test_images_the_bitstream_lacks_something_for(url):
    def go(engine):
        return isa.word(engine, isa.GO, 0)
    def fmt(engine, name):
        number = {isa.LOAD: isa.LOAD_REGS, isa.STORE: isa.STORE_REGS}[engine]["FORMAT"][0]
        return isa.word(engine, number, Format.parse(name).code)
    here = (4, 2048, 512, 256, 256, 0, 0)
    image = with_program(ToyImage(bytes(64), here), [
        fmt(isa.LOAD, "delta4"), go(isa.LOAD), go(isa.COMPUTE), fmt(isa.STORE, "zfpi6nu"),
        fmt(isa.LOAD, "ebpc8"), fmt(isa.LOAD, "raw8u"), fmt(isa.LOAD, "raw16"), go(isa.VECTOR),
        isa.word(isa.CTRL, isa.MARK, 0)])
    assert needs(image) == ({1, 2, 7, 8, 10}, {isa.LOAD, isa.COMPUTE, isa.VECTOR})
    with RemoteDevice(url) as device:
        with pytest.raises(DeviceError, match=r"image needs format delta, ebpc8, device at .* "
                                              r"has raw8, raw8u, raw16, zfpinu$"):
            device.load(image)
        with pytest.raises(DeviceError, match=r"image needs engine vector, device at .* has "
                                              r"load, compute, store$"):
            device.load(with_program(image, [go(isa.VECTOR)]))
        with pytest.raises(DeviceError, match=r"vector=True\), device .* has Arch\(.*vector=False"):
            device.load(ToyImage(bytes(64)))
        assert device.client.read(0, 4) != image.header_bytes()[:4]     # Nothing was sent.
        device.load(ToyImage(bytes(64), here))


def test_a_wrong_section_crc_is_named(url):
    image = ToyImage(bytes(64))
    image.sections[2].crc ^= 1
    with RemoteDevice(url) as device:
        with pytest.raises(DeviceError, match=r"section 2 \(weights\) does not hold what was sent"):
            device.load(image)
        with pytest.raises(DeviceError, match="no image is loaded"):
            device.run_raw(bytes(600))


def test_out_of_region_is_refused(url):
    with RemoteDevice(url) as device:
        with pytest.raises(DeviceError, match=r"refused WRITE at 0x100000: address outside the "
                                              r"model's region \(detail 0x100000\)"):
            device.client.write(1 << 20, bytes(4))
        # Many in flight, one refused: the others are done, the client goes on.
        with pytest.raises(DeviceError, match="refused READ at 0x100000"):
            device.client.read((1 << 20) - 10240, 11264)
        assert device.client.read(0, 4)


@pytest.mark.parametrize("url", [("--fail", "6")], indirect=True)
def test_a_failed_run(url):
    with RemoteDevice(url) as device:
        device.load(ToyImage(bytes(64)))
        with pytest.raises(DeviceError, match=r"run failed after 2 layers: no progress: a command "
                                              r"did not end \(detail 0x1234\)"):
            device.run_raw(bytes(600))


@pytest.mark.parametrize("url", [("--never-done",)], indirect=True)
def test_a_run_without_end(url):
    with RemoteDevice(url, run_timeout=0.3) as device:
        device.load(ToyImage(bytes(64)))
        with pytest.raises(DeviceError, match=r"run made no progress for 0.3 s after 1 layers"):
            device.run_raw(bytes(600))
        assert device.client.status()["state"] == wire.IDLE


@pytest.mark.parametrize("url", [("--run-ms", "600", "--keep")], indirect=True)
def test_loading_stops_a_run_someone_left(url):
    image = ToyImage(bytes(64))
    with RemoteDevice(url) as device:
        device.load(image)
        with pytest.raises(DeviceError, match="was reset during the run"):
            threading.Timer(0.2, lambda: setattr(device, "_token", 1)).start()
            device.run_raw(bytes(600))
        device.load(image)
        assert device.run_raw(bytes(600)) == bytes([1] * 1500)


@pytest.mark.parametrize("url", [("--reset-after", "30")], indirect=True)
def test_a_reset_while_loading_is_survived(url):
    with RemoteDevice(url) as device:
        device.load(ToyImage(WEIGHTS))
        assert device.run_raw(bytes(600)) == bytes([1] * 1500)
        assert device.client.retransmissions > 0


@pytest.mark.parametrize("url", [("--hang-after", "20")], indirect=True)
def test_a_device_that_stops_answering(url):
    with RemoteDevice(url, timeout=1) as device:
        with pytest.raises(DeviceError, match=r"device at socket://localhost:\d+ stopped answering "
                                              r"after WRITE at 0x\w+: no answer to WRITE at 0x"):
            device.load(ToyImage(WEIGHTS))


def test_no_device():
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DeviceError, match=r"no device at socket://localhost:\d+: no answer to "
                                              r"HELLO for 1 s"):
            RemoteDevice(f"socket://localhost:{port}", timeout=1)
    with pytest.raises(DeviceError, match=r"^no device at socket://localhost:\d+: Connection "
                                          r"refused$"):
        connect(f"socket://localhost:{port}")
    with pytest.raises(DeviceError, match=r"^no device at /dev/ttyNOT_THERE: .*No such file"):
        connect("/dev/ttyNOT_THERE")
    with pytest.raises(ValueError, match="device 'board': allowed are golden, sim, sim:ARCH"):
        connect("board")


def test_simulator_process(binary, tmp_path):
    image = ToyImage(WEIGHTS)
    with connect(f"sim:{binary.parent}") as device:
        device.load(image)
        assert device.run_raw(bytes(600)) == bytes([1] * 1500)
        process = device.process
        assert process.poll() is None
    assert process.poll() is not None
    with SimDevice(binary, preload=image) as device:
        sent = device.client.bytes_sent
        device.load(image)
        assert device.client.bytes_sent - sent < 1000
        assert device.run_raw(bytes(600)) == bytes([1] * 1500)
    with pytest.raises(DeviceError, match=r"no simulator at .*: expected the file litepress_sim"):
        SimDevice(tmp_path)
    broken = tmp_path / "litepress_sim"
    broken.write_text("#!/bin/sh\necho cannot open memory\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(DeviceError, match="ended with code 3: cannot open memory"):
        SimDevice(tmp_path)
    broken.write_text("#!/bin/sh\nexec sleep 20\n")
    with pytest.raises(DeviceError, match=r"did not say its port within 0\.5 s"):
        SimDevice(tmp_path, timeout=0.5)


@pytest.mark.parametrize("seed", range(5))
def test_deframer_finds_every_good_frame(seed):
    """Garbage, damaged and cut frames between good ones, in pieces of any size."""
    rng = random.Random(seed)
    stream, expected = bytearray(), []
    for _ in range(60):
        frame = encode(rng.randrange(256), rng.randrange(256), rng.randbytes(rng.randrange(80)))
        damaged = bytearray(frame)
        kind = rng.randrange(4)
        if kind == 1:
            damaged[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
            stream += damaged
        elif kind == 2:
            stream += frame[:rng.randrange(len(frame))]
        elif kind == 3:
            stream += rng.randbytes(20) + wire.SYNC[:rng.randrange(4)]
        stream += frame
        length = int.from_bytes(frame[6:8], "little")
        expected.append((frame[4], frame[5], frame[8:8 + length]))
    deframer, got = Deframer(), []
    while stream:
        n = rng.randrange(1, 50)
        got += deframer.feed(bytes(stream[:n]))
        del stream[:n]
    # A damaged length near the end may still wait for bytes that do not come.
    while len(got) < len(expected) and len(deframer.buffer) >= 4:
        got += deframer.skip()
    assert got == expected
