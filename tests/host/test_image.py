"""host/image.py: what a file holds, what is refused and in which words, tensors in and out."""

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from networks import random_network
from rich.console import Console

from litepress.host.image import Image, ImageError, decode_activation, encode_activation, row_bytes
from litepress.host.inspect import inspect
from litepress.host.pack import pack
from litepress.spec import image as layout
from litepress.spec.arch import ARCHS
from litepress.spec.formats import Format

FIELD_AT = {}
_at = 0
for _name, _code in layout.HEADER_FIELDS:
    FIELD_AT[_name] = (_at, "<" + _code)
    _at += struct.calcsize("<" + _code)


@pytest.fixture(scope="module")
def image():
    return pack(random_network(3), ARCHS["tiny"])


def changed(image, field, value, entry=None, fix_crc=True):
    """The file with a header field, or a field of section ``entry``, changed."""
    data = bytearray(image.bytes())
    if entry is None:
        at, code = FIELD_AT[field]
    else:
        names = [n for n, _ in layout.SECTION_FIELDS]
        at = layout.HEADER.size + entry * layout.SECTION.size + 4 * names.index(field)
        code = "<I"
    struct.pack_into(code, data, at, value)
    if fix_crc:
        at, code = FIELD_AT["header_crc"]
        struct.pack_into(code, data, at, 0)
        struct.pack_into(code, data, at, zlib.crc32(data[:layout.HEADER_BYTES]))
    return bytes(data)


def test_save_load(image, tmp_path):
    path = tmp_path / "net.lpk"
    image.save(path)
    assert list(tmp_path.iterdir()) == [path]
    again = Image.load(path)
    assert again.bytes() == image.bytes() == path.read_bytes()
    assert again.hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert again.meta == image.meta and again.header == image.header
    assert again.header_bytes() == path.read_bytes()[:layout.HEADER_BYTES]
    assert again.arch == ARCHS["tiny"]


def test_sections_stand_in_the_file_as_the_table_says(image):
    data = image.bytes()
    assert len(data) == image.header["file_bytes"]
    for i, section in enumerate(image.sections):
        kind, offset, dram, size, crc = layout.SECTION.unpack_from(
            data, layout.HEADER.size + i * layout.SECTION.size)
        assert (kind, dram, size) == (section.type, section.dram, section.size)
        assert data[offset:offset + size] == section.data
        assert crc == zlib.crc32(section.data) == section.crc
        assert dram == layout.NOT_LOADED or dram % layout.ALIGN == size % layout.ALIGN == 0


@pytest.mark.parametrize("field, value, fix, message", [
    ("magic", 1, True, "net.lpk: magic = 0x00000001: allowed is 0x4b50504c"),
    ("version", 9, True, "net.lpk: version = 9: allowed is 4"),
    ("region_bytes", 77, False, "net.lpk: header_crc = 0x"),
    ("file_bytes", 1 << 20, True, "net.lpk: truncated: "),
    ("file_bytes", 600, True, "net.lpk: file_bytes = 600: the file has "),
    ("section_count", 200, True, f"section_count = 200: allowed are 0 to {layout.MAX_SECTIONS}"),
    ("section_count", 2, True, "net.lpk: 0 sections of type meta: allowed is 1"),
    ("columns", 7, True, "net.lpk: arch: columns = 7: allowed are multiples of 4"),
    ("output_bytes", 1 << 28, True, "output_offset + output_bytes = "),
    ("program_words", 1 << 24, True, "program_words = 16777216: section program has "),
])
def test_header_is_checked(image, field, value, fix, message):
    with pytest.raises(ImageError) as error:
        Image.parse(changed(image, field, value, fix_crc=fix), "net.lpk")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field, entry, value, message", [
    ("dram", 1, 528, "section 0 (weights) and section 1 (params) overlap in the region"),
    ("dram", 0, 256, "header and section 0 (weights) overlap in the region"),
    ("dram", 0, 1 << 26, "section 0 (weights): dram bytes 67108864 to "),
    ("offset", 2, 512, "section 2 (program): crc = "),
    ("offset", 1, 1 << 26, "section 1 (params): bytes 67108864 to "),
    ("type", 1, 9, "section 1 (9): type = 9: allowed are [1, 2, 3, 4, 5]"),
    ("type", 1, 3, "2 sections of type weights: allowed is 1"),
])
def test_section_table_is_checked(image, field, entry, value, message):
    with pytest.raises(ImageError) as error:
        Image.parse(changed(image, field, value, entry), "net.lpk")
    assert message in str(error.value)


def test_sections_may_not_overlap_in_the_file(image):
    """Two sections with the same bytes: both CRCs are right."""
    data = bytearray(changed(image, "offset", 512, 1))
    size, = struct.unpack_from("<I", data, layout.HEADER.size + layout.SECTION.size + 12)
    crc = zlib.crc32(data[512:512 + size])
    at = layout.HEADER.size + layout.SECTION.size
    struct.pack_into("<I", data, at + 16, crc)
    struct.pack_into("<I", data, FIELD_AT["header_crc"][0], 0)
    struct.pack_into("<I", data, FIELD_AT["header_crc"][0], zlib.crc32(data[:512]))
    with pytest.raises(ImageError, match="overlap in the file"):
        Image.parse(bytes(data))


def test_damage_anywhere_is_found(image):
    data, rng = image.bytes(), np.random.default_rng(0)
    for at in [*range(0, layout.HEADER_BYTES, 7),
               *rng.integers(layout.HEADER_BYTES, len(data), 200)]:
        bad = bytearray(data)
        bad[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(ImageError):
            Image.parse(bytes(bad))
    for size in (0, 3, 100, layout.HEADER_BYTES, len(data) - 1):
        with pytest.raises(ImageError, match="truncated"):
            Image.parse(data[:size])
    with pytest.raises(ImageError, match="file_bytes"):
        Image.parse(data + b"\0")


def test_damaged_section_is_named(image):
    for i, name in enumerate(("weights", "params", "program", "meta")):
        bad = bytearray(image.bytes())
        _, offset, *_ = layout.SECTION.unpack_from(bad, layout.HEADER.size
                                                   + i * layout.SECTION.size)
        bad[offset + 5] ^= 4
        with pytest.raises(ImageError, match=rf"x.lpk: section {i} \({name}\): crc = 0x"):
            Image.parse(bytes(bad), "x.lpk")


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (8, 2, 8), (5, 3, 4)])
@pytest.mark.parametrize("name", ["raw8", "raw16", "zfpe8", "zfpe11"])
def test_activation_layout(shape, name):
    """Row after row, channel after channel, blocks of 4 pixels, the last pixel repeated."""
    fmt, rng = Format.parse(name), np.random.default_rng(1)
    q = rng.integers(-100, 100, shape).astype(np.int16)
    data = encode_activation(q, fmt)
    assert len(data) == shape[1] * row_bytes(shape, fmt)
    back = decode_activation(data, shape, fmt)
    if fmt.lossless:
        assert (back == q).all()
    assert back.shape == shape
    if name == "raw16":
        vecs = -(-shape[2] // 4)
        flat = np.frombuffer(data, "<i2").reshape(shape[1], shape[0], 4 * vecs)
        for c, y, x in np.ndindex(*shape):
            assert flat[y, c, x] == q[c, y, x]
        assert (flat[:, :, shape[2]:] == flat[:, :, shape[2] - 1:shape[2]]).all()


def test_input(image):
    place = image.input
    x = np.random.default_rng(2).normal(size=place.shape).astype(np.float32)
    x[0, 0, 0], x[0, 0, 1] = 1e9, 2.5 * place.scale
    q = image.quantize_input(x)
    assert q.dtype == np.int16 and q[0, 0, 0] == place.fmt.range[1] and q[0, 0, 1] == 3
    expected = np.floor(x.astype(np.float64) / place.scale + 0.5)
    assert (q == np.clip(expected, *place.fmt.range)).all()
    data = image.encode_input(x)
    assert data == image.encode_tensor("input", q)
    assert len(data) == image.header["input_bytes"] == place.bytes
    with pytest.raises(ImageError, match=r"input input: float32 \(1, 2\): allowed is floating"):
        image.encode_input(np.zeros((1, 2), np.float32))
    with pytest.raises(ImageError, match="input input: int64"):
        image.encode_input(np.zeros(place.shape, np.int64))
    x[0, 0, 0] = np.nan
    with pytest.raises(ImageError, match="1 values are NaN"):
        image.encode_input(x)


def test_tensors(image):
    out = image.output
    q = np.arange(np.prod(out.shape), dtype=np.int16).reshape(out.shape)
    data = image.encode_tensor(out.name, q)
    assert (image.output_values(data) == image.decode_tensor(out.name, data).ravel()
            * out.scale).all()
    with pytest.raises(ImageError, match="tensor 'nobody': allowed are input, t4, t5"):
        image.tensor("nobody")
    with pytest.raises(ImageError, match="int32"):
        image.encode_tensor(out.name, q.astype(np.int32))
    with pytest.raises(ImageError, match=f"3 bytes: allowed are {out.bytes}"):
        image.decode_tensor(out.name, b"123")


def test_inspect(image):
    console = Console(width=250, record=True, file=io.StringIO())
    inspect(image, console, program=True)
    text = console.export_text()
    assert image.hash in text and "depthwise" in text
    for section in image.sections:
        assert f"{section.crc:08x}" in text and hashlib.sha256(section.data).hexdigest() in text
    listing = [line for line in text.splitlines() if " GO" in line or " LAP" in line]
    assert len(listing) > len(image.meta["layers"])
    assert f"{sum(layer['stored_bytes'] for layer in image.meta['layers']):,} stored" in text
