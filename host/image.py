"""The DRAM image as an object: built by the packer, saved, loaded, checked, asked for tensors.

The layout is spec/image.py's, of a coded file spec/file.py's; docs/image.md describes both for
people. ``Image.meta`` (the JSON of section META) holds everything needed to run and to report:

``name``, ``input``, ``output`` (tensor names), ``arch``, ``labels``, ``preprocessing``,
``tensors``: name -> {shape [C, H, W], format, scale, offset, row_bytes, bytes}, ``layers``: a list
of {name, op, source, inputs, output, input_shapes, output_shape, macs, weights (count), raw_bytes
(4 a weight), stored_bytes, huffman_bytes (of a Huffman stream of those), param_bytes,
weight_format, input_formats, output_format, slot}, ``groups``: a list over slots, of layers that
run together, of {tiling, predicted}.
"""

import hashlib
import json
import os
import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..spec import image as layout
from ..spec.arch import Arch
from ..spec.formats import LANES, WORD_BYTES, Format
from . import file
from .codecs.block import decode_blocks, encode_blocks, used_bytes


class ImageError(ValueError):
    """A file that is no valid image, or a tensor that does not fit it: one clear line."""


@dataclass(frozen=True)
class Section:
    """``dram``: byte offset in the region or NOT_LOADED; ``crc``: CRC-32 of ``data``."""

    type: int
    dram: int
    data: bytes

    @property
    def size(self):
        return len(self.data)

    @property
    def crc(self):
        return zlib.crc32(self.data)

    @property
    def name(self):
        return layout.SECTION_NAMES.get(self.type, str(self.type))


@dataclass(frozen=True)
class TensorPlace:
    """Where an activation tensor lies: bytes ``offset`` to ``offset + bytes`` of the region, H rows
    of ``row_bytes``. ``shape`` is (C, H, W); real = q * scale."""

    name: str
    shape: tuple
    fmt: Format
    scale: float
    offset: int
    row_bytes: int

    @property
    def bytes(self):
        return self.shape[1] * self.row_bytes


def align(value, to=layout.ALIGN):
    """``value`` rounded up to a multiple of ``to``."""
    return value + -value % to


def row_blocks(shape):
    """Blocks (vectors) of one row of a (C, H, W) tensor."""
    return shape[0] * -(-shape[2] // LANES)


def row_bytes(shape, fmt):
    """Bytes of one row of a (C, H, W) tensor: a run of its own."""
    return WORD_BYTES * fmt.run_words(row_blocks(shape))


def encode_activation(q, fmt):
    """q: int16 (C, H, W) -> bytes, H rows of row_bytes((C, H, W), fmt). Lanes beyond W repeat the
    last pixel."""
    h, w = q.shape[1:]
    wide = np.pad(q, ((0, 0), (0, 0), (0, -w % LANES)), mode="edge")
    rows = wide.transpose(1, 0, 2).reshape(h, -1, LANES)
    return encode_blocks(np.ascontiguousarray(rows), fmt).tobytes()


def decode_activation(data, shape, fmt):
    """Inverse of encode_activation: bytes -> int16 (C, H, W)."""
    c, h, w = shape
    runs = np.frombuffer(data, np.uint8).reshape(h, row_bytes(shape, fmt))
    rows = decode_blocks(runs, fmt, row_blocks(shape)).reshape(h, c, -1)[:, :, :w]
    return np.ascontiguousarray(rows.transpose(1, 0, 2))


class Image:
    """``header``: dict of spec.image.HEADER_FIELDS; ``sections``: list of Section; ``meta``: dict.

    Made by ``Image.build``, ``Image.load`` or ``Image.parse``.
    """

    def __init__(self, header, sections, meta):
        self.header, self.sections, self.meta = header, sections, meta
        self._bytes = self._assemble()

    # Making ---------------------------------------------------------------------------------------

    @classmethod
    def build(cls, arch, loaded, program_words, region_bytes, meta):
        """arch: Arch; loaded: list of (type, byte offset in the region, bytes); program_words: of
        the PROGRAM section; region_bytes: what the model needs in all; meta: the dict above."""
        sections = [Section(kind, dram, _padded(data)) for kind, dram, data in loaded]
        sections.append(Section(layout.META, layout.NOT_LOADED, json.dumps(meta).encode()))
        header = dict.fromkeys((name for name, _ in layout.HEADER_FIELDS), 0)
        header |= {"magic": layout.MAGIC, "version": layout.VERSION, "region_bytes": region_bytes,
                   **arch.as_dict(), "program_words": program_words, "program_offset":
                   next(dram for kind, dram, _ in loaded if kind == layout.PROGRAM),
                   "layer_count": len(meta["groups"])}
        for what in ("input", "output"):
            place = meta["tensors"][meta[what]]
            header |= {f"{what}_offset": place["offset"], f"{what}_bytes": place["bytes"]}
        # Through JSON: what was packed and what is loaded must be the same object.
        return cls(header, sections, json.loads(sections[-1].data))

    def _assemble(self):
        self.header["section_count"] = len(self.sections)
        offset, table, body = layout.HEADER_BYTES, b"", b""
        for s in self.sections:
            table += layout.SECTION.pack(s.type, offset + len(body), s.dram, s.size, s.crc)
            body += _padded(s.data)
        self.header["file_bytes"] = layout.HEADER_BYTES + len(body)
        self.header["header_crc"] = 0
        head = self._pack_header(table)
        self.header["header_crc"] = zlib.crc32(head)
        return self._pack_header(table) + body

    def _pack_header(self, table):
        head = layout.HEADER.pack(*(self.header[name] for name, _ in layout.HEADER_FIELDS)) + table
        return head.ljust(layout.HEADER_BYTES, b"\0")

    def bytes(self):
        """The file, not coded: all that counts of an image."""
        return self._bytes

    def header_bytes(self):
        """The first HEADER_BYTES of the file, which the device keeps at the region's start."""
        return self._bytes[:layout.HEADER_BYTES]

    @property
    def hash(self):
        """sha256 of ``bytes()``, hexadecimal: of a coded file the same."""
        return hashlib.sha256(self._bytes).hexdigest()

    @property
    def arch(self):
        return Arch.of(self.header)

    def section(self, kind):
        """The first Section of a type."""
        return next(s for s in self.sections if s.type == kind)

    # Files ----------------------------------------------------------------------------------------

    def save(self, path, coded=False):
        """Write the file under a temporary name, then rename it. coded: with Huffman streams where
        they are shorter (spec/file.py); ``load`` reads both. Returns the file's bytes."""
        path, data = Path(path), file.encode(self) if coded else self._bytes
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return len(data)

    @classmethod
    def load(cls, path):
        """Read and check a file, coded or not. ImageError names the file, the field, its value and
        what is allowed; OSError when it cannot be read."""
        return cls.parse(Path(path).read_bytes(), str(path))

    @classmethod
    def parse(cls, data, name="image"):
        """As ``load``, from bytes; ``name`` stands in the messages."""
        if file.is_coded(data):
            try:
                data = file.decode_file(data)
            except file.FileError as error:
                raise ImageError(f"{name}: {error}") from None
        header, table = _parse_header(data, name)
        sections = _parse_sections(data, name, header, table)
        metas = [s for s in sections if s.type == layout.META]
        try:
            meta = json.loads(metas[0].data)
            image = cls(dict(header), sections, meta)
            for tensor in (meta["input"], meta["output"]):
                image.tensor(tensor)
            list(meta["layers"]), list(meta["groups"])
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise ImageError(f"{name}: section meta: {type(error).__name__}: {error}: expected "
                             "the JSON that the packer writes") from None
        if image._bytes != data:
            raise ImageError(f"{name}: sections are not packed one after another from byte "
                             f"{layout.HEADER_BYTES} on")
        return image

    # Tensors --------------------------------------------------------------------------------------

    def tensor(self, name):
        """The TensorPlace of a tensor; ImageError when there is none."""
        if name not in self.meta["tensors"]:
            raise ImageError(f"tensor {name!r}: allowed are {', '.join(self.meta['tensors'])}")
        t = self.meta["tensors"][name]
        return TensorPlace(name, tuple(t["shape"]), Format.parse(t["format"]), t["scale"],
                           t["offset"], t["row_bytes"])

    @property
    def input(self):
        return self.tensor(self.meta["input"])

    @property
    def output(self):
        return self.tensor(self.meta["output"])

    def quantize_input(self, x):
        """x: float, as the module takes it, preprocessed -> int16 (C, H, W): floor(x / scale +
        1/2), clipped to what the input's format holds."""
        place, x = self.input, np.asarray(x)
        shape = tuple(self.meta.get("input_shape", place.shape))
        if x.shape != shape or x.dtype.kind != "f":
            raise ImageError(f"input {place.name}: {x.dtype} {x.shape}: allowed is floating point "
                             f"{shape}")
        q = np.floor(x.reshape(place.shape).astype(np.float64) / place.scale + 0.5)
        if np.isnan(q).any():
            raise ImageError(f"input {place.name}: {int(np.isnan(q).sum())} values are NaN: "
                             "allowed are numbers")
        return np.clip(q, *place.fmt.range).astype(np.int16)

    def encode_input(self, x):
        """x: float, as the module takes it, preprocessed -> the input tensor's bytes."""
        return self.encode_tensor(self.meta["input"], self.quantize_input(x))

    def encode_tensor(self, name, q):
        """q: int16 (C, H, W) -> the tensor's bytes in the region."""
        place, q = self.tensor(name), np.asarray(q)
        if q.shape != place.shape or q.dtype != np.int16:
            raise ImageError(f"tensor {name}: {q.dtype} {q.shape}: allowed is int16 {place.shape}")
        return encode_activation(q, place.fmt)

    def decode_tensor(self, name, data):
        """The tensor's bytes -> int16 (C, H, W)."""
        place = self.tensor(name)
        if len(data) != place.bytes:
            raise ImageError(f"tensor {name}: {len(data)} bytes: allowed are {place.bytes}")
        return decode_activation(data, place.shape, place.fmt)

    def used_bytes(self, name, data):
        """A tensor's bytes with those that mean nothing set to zero: what ebpc segments leave of
        their slots holds whatever was there before."""
        place = self.tensor(name)
        runs = np.frombuffer(data, np.uint8).reshape(place.shape[1], place.row_bytes)
        mask = used_bytes(runs, place.fmt, row_blocks(place.shape))
        return (runs * mask).astype(np.uint8).tobytes()

    def output_values(self, data):
        """The output tensor's bytes -> float64, flat: q * scale."""
        return self.decode_tensor(self.meta["output"], data).ravel() * float(self.output.scale)


def _padded(data):
    return data + bytes(-len(data) % layout.ALIGN)


# Checks -------------------------------------------------------------------------------------------

def _parse_header(data, name):
    """(header dict, list of section fields) of a file; every field checked."""
    def refuse(field, value, allowed):
        raise ImageError(f"{name}: {field} = {value}: {allowed}")

    if len(data) >= 4:
        magic, = struct.unpack_from("<I", data)
        if magic != layout.MAGIC:
            refuse("magic", f"{magic:#010x}", f"allowed is {layout.MAGIC:#010x}: this is no "
                   "LitePress image")
    if len(data) < layout.HEADER_BYTES:
        raise ImageError(f"{name}: truncated: {len(data)} bytes, the header alone takes "
                         f"{layout.HEADER_BYTES}")
    header = layout.header_fields(data)
    if header["version"] != layout.VERSION:
        refuse("version", header["version"], f"allowed is {layout.VERSION}")
    crc_at = sum(struct.calcsize("<" + code) for _, code in layout.HEADER_FIELDS[:-1])
    blank = data[:crc_at] + bytes(4) + data[crc_at + 4:layout.HEADER_BYTES]
    if zlib.crc32(blank) != header["header_crc"]:
        refuse("header_crc", f"{header['header_crc']:#010x}",
               f"computed is {zlib.crc32(blank):#010x}: the header is damaged")
    if len(data) < header["file_bytes"]:
        raise ImageError(f"{name}: truncated: {len(data)} bytes of file_bytes = "
                         f"{header['file_bytes']}")
    if len(data) > header["file_bytes"]:
        refuse("file_bytes", header["file_bytes"], f"the file has {len(data)}")
    if header["section_count"] > layout.MAX_SECTIONS:
        refuse("section_count", header["section_count"], f"allowed are 0 to {layout.MAX_SECTIONS}")
    try:
        Arch.of(header)
    except ValueError as error:
        raise ImageError(f"{name}: {error}") from None
    for what in ("input", "output"):
        end = header[f"{what}_offset"] + header[f"{what}_bytes"]
        if end > header["region_bytes"]:
            refuse(f"{what}_offset + {what}_bytes", end,
                   f"allowed is region_bytes = {header['region_bytes']} at most")
    table = [dict(zip((n for n, _ in layout.SECTION_FIELDS),
                      layout.SECTION.unpack_from(data, layout.HEADER.size
                                                 + i * layout.SECTION.size), strict=True))
             for i in range(header["section_count"])]
    return header, table


def _parse_sections(data, name, header, table):
    """Sections of a file, each inside the file and the region, apart from each other, CRC right."""
    sections, files, places = [], [], [(0, layout.HEADER_BYTES, "header")]
    for i, entry in enumerate(table):
        what = f"section {i} ({layout.SECTION_NAMES.get(entry['type'], entry['type'])})"
        if entry["type"] not in layout.SECTION_NAMES:
            raise ImageError(f"{name}: {what}: type = {entry['type']}: allowed are "
                             f"{sorted(layout.SECTION_NAMES)}")
        start, end = entry["offset"], entry["offset"] + entry["size"]
        if start < layout.HEADER_BYTES or end > len(data):
            raise ImageError(f"{name}: {what}: bytes {start} to {end}: allowed are "
                             f"{layout.HEADER_BYTES} to {len(data)}")
        files.append((start, end, what))
        content = data[start:end]
        if zlib.crc32(content) != entry["crc"]:
            raise ImageError(f"{name}: {what}: crc = {entry['crc']:#010x}: computed is "
                             f"{zlib.crc32(content):#010x}: the section is damaged")
        if entry["dram"] != layout.NOT_LOADED:
            start, end = entry["dram"], entry["dram"] + entry["size"]
            if end > header["region_bytes"] or start % WORD_BYTES:
                raise ImageError(f"{name}: {what}: dram bytes {start} to {end}: allowed are whole "
                                 f"words up to region_bytes = {header['region_bytes']}")
            places.append((start, end, what))
        sections.append(Section(entry["type"], entry["dram"], content))
    for spans, where in ((files, "the file"), (places, "the region")):
        spans.sort()
        for (_, end, first), (start, _, second) in pairwise(spans):
            if start < end:
                raise ImageError(f"{name}: {first} and {second} overlap in {where}: byte {start} "
                                 f"is before {end}")
    kinds = [s.type for s in sections]
    for kind, title in layout.SECTION_NAMES.items():
        count = kinds.count(kind)
        if count != 1 and not (kind in layout.OPTIONAL and not count):
            raise ImageError(f"{name}: {count} sections of type {title}: allowed is 1")
    program = sections[kinds.index(layout.PROGRAM)]
    start, end = header["program_offset"], 4 * header["program_words"]
    if start != program.dram or end > program.size:
        raise ImageError(f"{name}: program_offset = {start}, program_words = "
                         f"{header['program_words']}: section program has {program.size} bytes at "
                         f"{program.dram}")
    return sections
