"""The self-test image, and a device that is not what it says, on the golden model."""

import itertools
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from litepress.cli import app
from litepress.host import selftest
from litepress.host.device import remote
from litepress.host.device.base import DeviceError
from litepress.host.device.golden import GoldenDevice
from litepress.host.device.remote import RemoteDevice, needs
from litepress.host.device.selftest import ARRAY, IMAGE, Outcome
from litepress.host.image import Image, ImageError
from litepress.host.selftest_programs import formats
from litepress.spec import image as layout
from litepress.spec import isa, wire
from litepress.spec.arch import ARCHS, Arch
from litepress.spec.formats import KINDS, WEIGHT_KINDS, Format

TINY = ARCHS["tiny"]
SMALLEST = Arch(columns=64, abuf_depth=256, wbuf_depth=64, pbuf_depth=64, vbuf_depth=64)


def names(image):
    return [e.name for e in selftest.entries(image)]


# The image ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("arch", [*ARCHS.values(), SMALLEST, replace(TINY, vector=False),
                                  replace(SMALLEST, columns=16, array="delta2"),
                                  replace(SMALLEST, columns=32, array="delta3")],
                         ids=str)
def test_every_size_has_an_image(arch):
    """Its programs are sound (build checks), it is small, and the golden model passes it."""
    image = selftest.build(arch)
    assert len(image.bytes()) < 70_000 and image.arch == arch
    assert len(set(names(image))) == len(names(image)) > 26
    assert all(o == Outcome(e.name, True) for o, e in zip(
        GoldenDevice().selftest(arch), selftest.entries(image), strict=True))
    assert ("VECTOR, pool" in names(image)) == arch.vector
    assert ("array, depthwise" in names(image)) == (arch.weight_format is None)


def test_it_is_an_ordinary_image(tmp_path):
    """Saved, loaded, run: its output is what the first test leaves."""
    image = selftest.build(TINY)
    image.save(tmp_path / "selftest.lpk")
    loaded = Image.load(tmp_path / "selftest.lpk")
    assert loaded.bytes() == image.bytes() == selftest.build.__wrapped__(TINY).bytes()
    first = selftest.entries(loaded)[0]
    with GoldenDevice() as device:
        device.load(loaded)
        output = device.run_raw(bytes(8))
    assert zlib.crc32(output) == first.output_crc and len(output) == 8 * TINY.abuf_depth
    assert loaded.meta["tests"] == names(loaded)


def test_a_second_table_is_refused():
    image = selftest.build(TINY)
    table = image.section(layout.SELFTEST)
    double = Image(dict(image.header), [*image.sections, replace(table, dram=table.dram + 4096)],
                   image.meta)
    with pytest.raises(ImageError, match="2 sections of type selftest: allowed is 1"):
        Image.parse(double.bytes())


def test_every_format_is_tested():
    """Each kind by a test of its own, with all its rates."""
    seen = {}
    for fmt in (f for kind in KINDS for f in formats(kind, 16)):
        seen.setdefault(fmt.kind, set()).add(fmt.bits)
    every = {}
    for code in range(1 << 13):
        try:
            fmt = Format.from_code(code, 1)
        except ValueError:
            continue
        every.setdefault(fmt.kind, set()).add(fmt.bits)
    assert seen == every
    titles = names(selftest.build(TINY))
    for kind, name in KINDS.items():
        assert f"decoder {name}" in titles
        assert (f"encoder {name}" in titles) == (kind not in WEIGHT_KINDS)


def test_only_what_is_there():
    """No test needs a codec or an engine that the device lacks."""
    kinds = tuple(Format.parse(name).kind for name in ("raw8", "raw8u", "raw16", "zfpi8", "zfpi8u",
                                                       "zfpi8n", "zfpi8nu"))
    image = selftest.build(replace(TINY, vector=False), kinds)
    formats, engines = needs(image)
    assert formats <= set(kinds) and engines == {isa.LOAD, isa.COMPUTE, isa.STORE}
    assert not [n for n in names(image) if "zfpe" in n or "ebpc" in n or "delta" in n]
    assert needs(selftest.build(TINY)) == (set(KINDS), set(isa.ENGINES) - {isa.CTRL})


def test_all_of_abuf_is_copied():
    """Vectors at addresses that differ in some bits hold different values."""
    for arch in (TINY, ARCHS["85f"]):
        image = selftest.build(arch)
        output = np.frombuffer(selftest.output(image, selftest.entries(image)[0]), "<u8")
        address = np.arange(arch.abuf_depth)
        assert len(output) == arch.abuf_depth
        for bit in range(arch.abuf_depth.bit_length() - 1):
            assert (output != output[address ^ 1 << bit]).all()


def test_every_column_and_lane_matters():
    """Weights of any column changed, the convolution's output is another."""
    image = selftest.build(TINY)
    entry = next(e for e in selftest.entries(image) if e.id >> 8 == layout.TEST_CONV)
    output = np.frombuffer(selftest.output(image, entry), "<i2").reshape(3, -1, 2, 4)
    assert output.shape[1] == 2 * TINY.columns - 1
    for channel, lane in itertools.product(range(output.shape[1]), range(4)):
        assert len(np.unique(output[:, channel, :, lane])) > 3


# A device on the golden model ---------------------------------------------------------------------

class GoldenClient:
    """In the place of a Client: a device that says it is ``says`` and is ``arch``."""

    port = "golden"
    detected, baud = False, None

    def __init__(self, arch, says=None, loses=None):
        self.arch, self.says, self.loses = arch, says or arch, loses
        self.region = bytearray(1 << 19)

    def hello(self):
        return self.says.as_dict() | {
            "region_bytes": len(self.region), "formats": sum(1 << kind for kind in KINDS),
            "engines": 7 | self.says.vector << isa.VECTOR}

    def status(self):
        return {"state": wire.IDLE}

    def write(self, address, data, progress=None):
        self.region[address:address + len(data)] = data

    write_coded = write

    def read(self, address, size):
        return bytes(self.region[address:address + size])

    def verify(self, size):
        return (1 << len(self.image().sections)) - 1 & ~(2 if self.loses == IMAGE else 0), 5

    def image(self):
        return selftest.build(self.says)

    def exchange(self, requests):
        return [self.request(r) for r in requests]

    def request(self, request):
        if request.type == wire.MEMTEST:
            return bytes(20)
        index, = struct.unpack("<I", request.payload)
        entry = selftest.entries(self.image())[index]
        if self.loses == entry.name:
            raise DeviceError("device at golden stopped answering")
        try:
            found = zlib.crc32(selftest.output(self.image(), entry, self.arch))
        except (ValueError, IndexError):
            return struct.pack("<4I", entry.id, wire.STOPPED, 7, 0)
        return struct.pack("<4I", entry.id, wire.PASSED if found == entry.output_crc else
                           wire.WRONG, found, entry.output_crc)

    def close(self):
        pass


@pytest.fixture
def device(monkeypatch):
    def make(*args, **options):
        monkeypatch.setattr(remote, "Client", lambda *a, **k: GoldenClient(*args, **options))
        return RemoteDevice("golden")
    return make


def test_a_sound_device(device):
    steps = []
    outcomes = list(device(TINY).selftest(progress=lambda *step: steps.append(step)))
    assert all(o.passed for o in outcomes) and len(outcomes) == 36
    assert {s[0] for s in steps} == {"DRAM, cells", IMAGE}
    assert all(done <= total for _, done, total in steps)


@pytest.mark.parametrize("says, columns", [(16, 8), (8, 16)])
def test_a_device_that_lies(device, says, columns):
    """Its array has another size than HELLO says: the array's tests fail, the first of all."""
    outcomes = list(device(replace(TINY, columns=columns),
                           replace(TINY, columns=says)).selftest())
    bad = [o.name for o in outcomes if not o.passed]
    assert bad == ["array, convolution", "array, depthwise", "array, pool", "requantizer"]


def test_another_size_than_expected(device):
    """It is named; the tests are those for what the device is."""
    wanted = replace(TINY, columns=16, abuf_depth=4096)
    outcomes = list(device(TINY).selftest(arch=wanted))
    assert [o.name for o in outcomes if not o.passed] == [ARRAY]
    assert outcomes[0].what == ("the device says columns = 4, expected is 16; abuf_depth = 2048, "
                                "expected is 4096")
    assert len(outcomes) == 36


def test_an_image_for_another_size(device):
    outcomes = list(device(TINY).selftest(image=selftest.build(ARCHS["25f"])))
    assert [o.name for o in outcomes if not o.passed] == [ARRAY]
    assert outcomes[-1].name == "DRAM, cells"
    with pytest.raises(ValueError, match="it has no self-tests"):
        image = selftest.build(TINY)
        list(device(TINY).selftest(image=Image(
            dict(image.header), [s for s in image.sections if s.type != layout.SELFTEST],
            image.meta)))


def test_what_ends_it(device):
    lost = list(device(TINY, loses=IMAGE).selftest())[-1]
    assert lost.name == IMAGE and "does not hold what was sent" in lost.what
    silent = list(device(TINY, loses="decoder zfpi").selftest())[-1]
    assert silent == Outcome("decoder zfpi", False, "device at golden stopped answering")


# The command --------------------------------------------------------------------------------------

def command(*arguments):
    return CliRunner().invoke(app, ["selftest", *map(str, arguments)])


def test_command(device, monkeypatch, tmp_path):
    done = command("--device", "golden", "--arch", "tiny")
    assert done.exit_code == 0 and "All 31 tests passed." in done.output
    assert sum(line.endswith(" ok") for line in done.output.splitlines()) == 31
    done = command("--write", tmp_path / "t.lpk", "--arch", "tiny")
    assert done.exit_code == 0 and Image.load(tmp_path / "t.lpk").arch == TINY
    device(replace(TINY, columns=8), TINY)
    done = command("--device", "/dev/ttyUSB0", "--image", tmp_path / "t.lpk")
    lines = done.output.splitlines()
    assert done.exit_code == 1
    assert lines[-1] == ("FAILED: array, convolution; array, depthwise; array, pool; requantizer. "
                         "Look at the first one first.")
    assert sum(": wrong result: its CRC-32 is 0x" in line or ": the accelerator stopped: " in line
               for line in lines) == 4


@pytest.mark.parametrize("arguments, text", [
    (["--device", "golden", "--arch", "huge"], "--arch huge: allowed are tiny, "),
    ([], "--device: missing: "),
])
def test_bad_arguments(arguments, text):
    assert text in str(command(*arguments).exception)


def test_help_says_that_it_overwrites():
    text = " ".join(command("--help").output.split())
    assert "overwrites" in text and "litepress selftest --device /dev/ttyUSB0" in text
