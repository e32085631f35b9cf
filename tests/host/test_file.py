"""host/file.py: coded files there and back, what lies where in them, and damaged ones."""

import io
import json
import re
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_network
from rich.console import Console
from typer.testing import CliRunner

from litepress.cli import app
from litepress.host import file
from litepress.host.codecs import huffman
from litepress.host.image import Image, ImageError
from litepress.host.inspect import inspect
from litepress.host.pack import pack
from litepress.host.selftest import build
from litepress.models.tiny import calibration_images
from litepress.spec import file as layout
from litepress.spec import image as image_layout
from litepress.spec.arch import ARCHS
from litepress.spec.formats import Format

TINY = ARCHS["tiny"]
HEAD, PIECE = layout.HEADER.size, layout.PIECE.size
PARAMS = 19     # The piece of ``image`` behind its header and 18 layers.


@pytest.fixture(scope="module")
def image():
    return pack(random_network(3), TINY)


@pytest.fixture(scope="module")
def coded(image):
    return file.encode(image)


def data_of(rng, bits, size):
    """``size`` bytes of fields of ``bits`` bits, few values of which are frequent."""
    fields = np.minimum(rng.exponential(rng.uniform(0.05, 40), -(-8 * size // bits)),
                        (1 << bits) - 1).astype(int)
    ones = (fields[:, None] >> np.arange(bits) & 1).astype(np.uint8).ravel()
    return np.packbits(ones[:8 * size], bitorder="little").tobytes()


def any_image(rng, bits, sizes):
    """An image that nobody can run: layers of random weights of ``sizes`` bytes."""
    fmt = Format.parse("raw16")
    tensor = {"shape": [1, 1, 4], "format": str(fmt), "scale": 1.0, "row_bytes": 8, "bytes": 8}
    parts, at = [], image_layout.HEADER_BYTES
    for kind, data in ((image_layout.WEIGHTS, b"".join(data_of(rng, bits, n) for n in sizes)),
                       (image_layout.PARAMS, data_of(rng, 8, 8 * int(rng.integers(0, 40)))),
                       (image_layout.PROGRAM, data_of(rng, 5, 4 * int(rng.integers(1, 200))))):
        parts.append((kind, at, data))
        at += len(data) + -len(data) % 16
    meta = {"name": "any", "input": "in", "output": "out", "groups": [],
            "tensors": {"in": {**tensor, "offset": at}, "out": {**tensor, "offset": at + 16}},
            "layers": [{"name": f"l{i}", "stored_bytes": n} for i, n in enumerate(sizes)]}
    return Image.build(TINY, parts, len(parts[2][2]) // 4, at + 32, meta)


def entries(coded):
    """[section, layer, size, stored, crc] of each piece, and where its bytes begin."""
    *_, count, _, _, _ = layout.HEADER.unpack_from(coded)
    found, at = [], HEAD + count * PIECE
    for i in range(count):
        entry = list(layout.PIECE.unpack_from(coded, HEAD + i * PIECE))
        found.append((entry, at))
        at += entry[3]
    return found


def fixed(coded, pieces=True):
    """The file with all CRCs of spec/file.py right again, where there are such."""
    data = bytearray(coded)
    count = layout.HEADER.unpack_from(data)[2]
    if HEAD + count * PIECE > len(data):
        return bytes(data)
    for i, ((*_, stored, _), at) in enumerate(entries(data) if pieces else ()):
        struct.pack_into("<I", data, HEAD + (i + 1) * PIECE - 4, zlib.crc32(data[at:at + stored]))
    struct.pack_into("<I", data, HEAD - 4, 0)
    struct.pack_into("<I", data, HEAD - 4, zlib.crc32(data[:HEAD + count * PIECE]))
    return bytes(data)


# There and back -----------------------------------------------------------------------------------

@pytest.mark.parametrize("weights", ["pot4", "pot3", "delta3", "raw8", "zfpi6"])
def test_a_coded_file_is_the_same_image(weights, tmp_path):
    image = pack(random_network(4, weights=weights), TINY)
    raw, path = tmp_path / "raw.lpk", tmp_path / "coded.lpk"
    assert image.save(raw) == raw.stat().st_size == len(image.bytes())
    assert image.save(path, coded=True) == path.stat().st_size < raw.stat().st_size
    assert sorted(tmp_path.iterdir()) == [path, raw]
    one, two = Image.load(raw), Image.load(path)
    assert one.bytes() == two.bytes() == image.bytes()
    assert one.hash == two.hash == image.hash
    assert one.meta == two.meta and one.header == two.header and one.sections == two.sections
    assert file.encode(two) == path.read_bytes()


def test_a_self_test_image_has_no_layers(tmp_path):
    image = build(TINY)
    image.save(tmp_path / "t.lpk", coded=True)
    assert Image.load(tmp_path / "t.lpk").hash == image.hash


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 8),
       st.lists(st.integers(0, 90).map(lambda n: 4 * n), max_size=6))
def test_any_sections_there_and_back(seed, bits, sizes):
    image = any_image(np.random.default_rng(seed), bits, sizes)
    coded = file.encode(image)
    assert file.is_coded(coded) and Image.parse(coded).bytes() == image.bytes()
    pieces = file.pieces(image)
    assert file.file_bytes(pieces) == len(coded)
    assert [(p.layer, len(p.data)) for p in pieces if p.layer != layout.NO_LAYER][:-1] \
        == [(i, n) for i, n in enumerate(sizes) if n][:-1]
    assert all(len(p.stored) <= len(p.data) for p in pieces)


def test_a_stream_as_long_as_its_data_is_not_used():
    """Two words of which the stream takes two too would be read as they are."""
    equal = next(data for n in range(4, 200, 4) for seed in range(30)
                 if len(huffman.shortest(data := data_of(np.random.default_rng(seed), 4, n))) == n)
    image = any_image(np.random.default_rng(0), 8, [])
    for extra in (image_layout.PARAMS, image_layout.PROGRAM):
        parts = [(s.type, s.dram, s.data) for s in image.sections[:3]]
        at = 512
        for i, (kind, _, data) in enumerate(parts):
            parts[i] = (kind, at, equal if kind == extra else data)
            at += len(parts[i][2]) + -len(parts[i][2]) % 16
        made = Image.build(TINY, parts, 1, at + 32, {**image.meta, "tensors": {
            name: {**t, "offset": at} for name, t in image.meta["tensors"].items()}})
        assert Image.parse(file.encode(made)).bytes() == made.bytes()


# What lies where ----------------------------------------------------------------------------------

def test_pieces_stand_in_the_file_as_the_table_says(image, coded):
    magic, version, count, file_bytes, image_bytes, crc = layout.HEADER.unpack_from(coded)
    assert (magic, version) == (layout.MAGIC, layout.VERSION)
    assert file_bytes == len(coded) and image_bytes == len(image.bytes())
    assert crc == zlib.crc32(coded[:HEAD - 4] + bytes(4) + coded[HEAD:HEAD + count * PIECE])
    data, streams, sizes = b"", 0, {}
    for (section, layer, size, stored, crc), at in entries(coded):
        piece = coded[at:at + stored]
        assert zlib.crc32(piece) == crc
        streams += stored < size
        piece = huffman.decode(piece) if stored < size else piece
        assert len(piece) == size
        if layer != layout.NO_LAYER:
            assert image.sections[section].type == image_layout.WEIGHTS
            sizes[layer] = size
        data += piece
    assert data == image.bytes() and streams > 5
    layers = [layer["stored_bytes"] for layer in image.meta["layers"]]
    *most, last = layers
    assert [sizes[i] for i in range(len(most))] == most
    assert last <= sizes[len(most)] < last + image_layout.ALIGN


def test_a_layer_has_a_code_of_its_own(tmp_path):
    """Two layers with other weights each: together they would take more."""
    rng = np.random.default_rng(5)
    low, high = (rng.integers(first, first + 4, 2000).astype(np.uint8).tobytes()
                 for first in (0, 200))
    image = any_image(rng, 8, [2000, 2000])
    parts = [(s.type, s.dram, low + high if s.type == image_layout.WEIGHTS else s.data)
             for s in image.sections[:3]]
    image = Image.build(TINY, parts, 1, image.header["region_bytes"], image.meta)
    both = [p for p in file.pieces(image) if p.layer != layout.NO_LAYER]
    assert [p.data for p in both] == [low, high]
    assert sum(p.file_bytes for p in both) < len(huffman.shortest(low + high))


def test_inspect_shows_the_streams(image, coded):
    console = Console(width=300, record=True, file=io.StringIO())
    inspect(image, console)
    text = console.export_text()
    assert f"{len(coded):,} in a coded file" in text.splitlines()[0]
    of_layer = {layer: stored + PIECE for (_, layer, _, stored, _), _ in entries(coded)}
    rows = [line.split("│") for line in text.splitlines() if line.startswith("│")]
    rows = [[cell.strip() for cell in row[1:-1]] for row in rows]
    for i, layer in enumerate(image.meta["layers"]):
        row = next(row for row in rows if row[1] == layer["name"])
        assert row[8:11] == [f"{n:,}" for n in (layer["raw_bytes"], layer["stored_bytes"],
                                                of_layer[i])]
    weights = sum(layer["weights"] for layer in image.meta["layers"])
    total = sum(of_layer[i] for i in range(len(image.meta["layers"])))
    stored = sum(layer["stored_bytes"] for layer in image.meta["layers"])
    assert next(row for row in rows if row[1] == "total")[8:11] == [
        f"{4 * weights:,}", f"{stored:,}", f"{total:,}"]
    assert f"weights: {4 * weights:,} bytes in float32, {weights:,} in int8, " \
        f"{-(-weights // 2):,} in 4 bits; {stored:,} stored" in text
    assert f"{total:,} in a coded file ({4 * weights / total:.2f} to 1)" in text


def test_commands(tmp_path):
    path = tmp_path / "new.lpk"
    np.save(tmp_path / "c.npy", calibration_images(4))
    runner = CliRunner()
    done = runner.invoke(app, ["compress", "litepress.models.tiny:tiny", "--calibration",
                               str(tmp_path / "c.npy"), "-o", str(path), "--arch", "tiny",
                               "--weights", "pot4", "--no-bias-correction", "--no-rounding",
                               "--no-allocation", "--coded"])
    assert done.exit_code == 0, done.output
    image, size = Image.load(path), path.stat().st_size
    assert file.is_coded(path.read_bytes())
    assert f"{size:,} bytes for {len(image.bytes()):,}, sha256 {image.hash}" in done.output
    np.save(tmp_path / "x.npy", np.zeros((1, *image.input.shape), np.float32))
    for command in (["inspect", path], ["run", path, "--input", tmp_path / "x.npy"]):
        done = runner.invoke(app, list(map(str, command)))
        assert done.exit_code == 0 and image.hash in done.output, done.output


# Damage -------------------------------------------------------------------------------------------

@settings(deadline=None, max_examples=300)
@given(st.data())
def test_random_damage_never_gives_another_image(image, coded, data):
    bad = bytearray(coded)
    kind = data.draw(st.sampled_from(["flip", "cut", "more", "lose", "insert"]))
    at = data.draw(st.integers(0, len(bad) - 1))
    if kind == "flip":
        for at in data.draw(st.lists(st.integers(0, len(bad) - 1), min_size=1, max_size=4,
                                     unique=True)):
            bad[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del bad[at:]
    elif kind == "more":
        bad += data.draw(st.binary(min_size=1, max_size=20))
    elif kind == "lose":
        del bad[at:at + data.draw(st.integers(1, 20))]
    else:
        bad[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    if bytes(bad) == coded:
        return
    with pytest.raises(ImageError) as error:
        Image.parse(bytes(bad), "x.lpk")
    assert str(error.value).startswith("x.lpk: ") and "\n" not in str(error.value)


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_damage_with_right_crcs(image, coded, data):
    """Whoever makes the CRCs of the file right meets those of the image."""
    bad = bytearray(coded)
    (_, _, _, stored, _), at = data.draw(st.sampled_from(entries(coded)))
    ranges = [(at, at + stored), (at, min(at + 16, at + stored)),
              (HEAD, HEAD + len(entries(coded)) * PIECE), (0, HEAD)]
    first, end = data.draw(st.sampled_from(ranges))
    for at in data.draw(st.lists(st.integers(first, end - 1), min_size=1, max_size=3,
                                 unique=True)):
        bad[at] ^= data.draw(st.integers(1, 255))
    tracemalloc.start()
    try:
        assert Image.parse(fixed(bad), "x.lpk").bytes() == image.bytes()
    except ImageError as error:
        assert str(error).startswith("x.lpk: ") and "\n" not in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64 * len(coded) + (1 << 20)


def with_entry(coded, piece, **fields):
    """The file with fields of a piece's table entry changed, and image_bytes as they say."""
    bad = bytearray(coded)
    names = [name for name, _ in layout.PIECE_FIELDS]
    at = HEAD + piece * PIECE
    entry = dict(zip(names, layout.PIECE.unpack_from(bad, at), strict=True))
    header = list(layout.HEADER.unpack_from(bad))
    header[4] += fields.get("size", entry["size"]) - entry["size"]
    layout.PIECE.pack_into(bad, at, *(entry | fields).values())
    layout.HEADER.pack_into(bad, 0, *header)
    return fixed(bytes(bad), pieces=False)


def with_stream(coded, piece, change):
    """The file with the stream of a piece changed to one as long."""
    (*_, stored, _), at = entries(coded)[piece]
    changed = change(coded[at:at + stored])
    assert len(changed) == stored
    return fixed(coded[:at] + changed + coded[at + stored:])


def test_a_damaged_piece_is_named(image, coded):
    names = [s.name for s in image.sections]
    for i, ((section, layer, *_), at) in enumerate(entries(coded)):
        bad = bytearray(coded)
        bad[at + 3] ^= 4
        of_layer = "" if layer == layout.NO_LAYER else f", layer {layer}"
        name = f"section {section} ({names[section]}){of_layer}" if i else "the image's header"
        with pytest.raises(ImageError, match=f"^{re.escape(f'x.lpk: {name}: crc = 0x')}"):
            Image.parse(bytes(bad), "x.lpk")


@pytest.mark.parametrize("change, message", [
    (lambda c: c[:4], "truncated: 4 bytes, the header of a coded file takes 20"),
    (lambda c: c[:HEAD + 9], "truncated: 29 bytes, header and table of "),
    (lambda c: c[:-1], "of file_bytes = "),
    (lambda c: c + b"\0", "the file has "),
    (lambda c: c[:4] + b"\7" + c[5:], "version of the coded file = 7: allowed is 1"),
    (lambda c: c[:13] + bytes([c[13] ^ 1]) + c[14:], "header of the coded file: crc = 0x"),
    (lambda c: c[:HEAD] + bytes([c[HEAD] ^ 1]) + c[HEAD + 1:], "table of pieces is damaged"),
    (lambda c: fixed(c[:12] + bytes([c[12] ^ 4]) + c[13:]), "by their size: allowed is "),
    (lambda c: with_entry(c, 2, stored=0), "piece 2: 0 bytes for "),
    (lambda c: with_entry(c, 2, stored=5), "piece 2: 5 bytes for "),
    (lambda c: with_entry(c, 2, size=4), "allowed are whole words of 4 bytes, no more than of"),
    (lambda c: with_entry(c, 0, section=0), "piece 0: Entry(section=0, layer=65535, "),
    (lambda c: with_entry(c, 0, size=1024), "allowed are the 512 bytes of the image's header"),
    (lambda c: with_entry(c, 3, section=9), "section 9 (not in the image), layer 2: allowed are "
     "sections 0 to 3"),
    (lambda c: with_entry(c, 3, section=1), "section 1 (params), layer 2: bytes "),
    (lambda c: with_entry(c, PARAMS, size=1 << 20), "section 1 (params): bytes "),
    (lambda c: with_stream(c, PARAMS, lambda s: s[:8] + bytes([s[8] ^ 1]) + s[9:]),
     "section 1 (params): Huffman stream: its "),
    (lambda c: with_stream(c, PARAMS, lambda s: b"\xff\xff\xff\xff" + s[4:]),
     "section 1 (params): its Huffman stream is of 4294967292 bytes: allowed are "),
    (lambda c: with_stream(c, PARAMS, lambda s: s[:4] + b"\x10" + s[5:]),
     "section 1 (params): its Huffman stream is of "),
    (lambda c: with_stream(c, PARAMS, lambda s: s[:8] + bytes(len(s) - 8)),
     "section 1 (params): Huffman stream: its 0 code lengths are of 0 codes"),
    (lambda c: with_stream(c, PARAMS, lambda s: s[:-4] + b"\xff\xff\xff\xff"),
     "section 1 (params): Huffman stream: "),
])
def test_errors_are_clear(coded, change, message):
    with pytest.raises(ImageError) as error:
        Image.parse(change(coded), "net.lpk")
    assert str(error.value).startswith("net.lpk: ") and message in str(error.value)
    assert "\n" not in str(error.value)


def with_header(image, change, section=None):
    """A file of an image's header, changed, and of one piece more: (section, size, stored)."""
    data = bytearray(image.header_bytes())
    change(data)
    stored = [huffman.shortest(bytes(data)), *(section[2:] if section else [])]
    sizes = [512, *(section[1:2] if section else [])]
    table = layout.PIECE.pack(layout.IMAGE_HEADER, layout.NO_LAYER, 512, len(stored[0]), 0)
    if section:
        table += layout.PIECE.pack(section[0], layout.NO_LAYER, sizes[1], len(stored[1]), 0)
    body = table + b"".join(stored)
    return fixed(layout.HEADER.pack(layout.MAGIC, layout.VERSION, len(stored), HEAD + len(body),
                                    sum(sizes), 0) + body)


@pytest.mark.parametrize("at, value, message", [
    (4, 9, "the image's header: version = 0x9: allowed is 0x4"),
    (0, 9, "the image's header: magic = 0x4b500009: allowed is 0x4b50504c"),
    (6, 999, "the image's header: section_count = 999: allowed are 0 to "),
])
def test_the_images_header_is_checked(image, at, value, message):
    with pytest.raises(ImageError) as error:
        Image.parse(with_header(image, lambda data: struct.pack_into("<H", data, at, value)))
    assert message in str(error.value)


def test_a_small_file_of_a_large_image_is_refused_before_it_grows(image):
    """A section of 1 GiB by all tables, of which the stream has a hundred fields."""
    size = 1 << 30
    stream = struct.pack("<II", size, 8) + huffman.encode(bytes(100), 8)[8:]
    at = image_layout.HEADER.size + 12
    bad = with_header(image, lambda data: struct.pack_into("<I", data, at, size),
                      (0, size, stream))
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="fields in 128 bits"):
            Image.parse(bad)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [6, -4, "4", 1 << 30])
def test_layers_that_do_not_fit_the_weights(size):
    image = any_image(np.random.default_rng(1), 4, [40, 80])
    meta = json.loads(json.dumps(image.meta))
    meta["layers"][1]["stored_bytes"] = size
    parts = [(s.type, s.dram, s.data) for s in image.sections[:3]]
    bad = Image.build(TINY, parts, 1, image.header["region_bytes"], meta)
    with pytest.raises(ValueError, match=rf"layer l1: stored_bytes = {size!r}: allowed are whole"):
        file.encode(bad)


def test_nothing_is_written_where_it_cannot_be_coded(tmp_path):
    image = any_image(np.random.default_rng(1), 4, [40])
    image.meta["layers"][0]["stored_bytes"] = 1000
    with pytest.raises(ValueError, match="stored_bytes = 1000"):
        image.save(tmp_path / "x.lpk", coded=True)
    assert not list(tmp_path.iterdir())
