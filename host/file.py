"""The coded file of spec/file.py: an image in pieces, Huffman streams where they are shorter."""

import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from ..spec import file as layout
from ..spec import image as image_layout
from ..spec.formats import WORD_BYTES
from ..spec.huffman import HEADER_WORDS
from .codecs.huffman import HuffmanError, data_bytes, decode, shortest


class FileError(ValueError):
    """No valid coded file, or an image that cannot become one: one clear line."""


Head = NamedTuple("Head", [(name, int) for name, _ in layout.HEADER_FIELDS])
Entry = NamedTuple("Entry", [(name, int) for name, _ in layout.PIECE_FIELDS])


@dataclass(frozen=True)
class Piece:
    """``section``, ``layer``: as in spec.file.PIECE_FIELDS; ``data``: bytes of the image;
    ``stored``: those in the file."""

    section: int
    layer: int
    data: bytes
    stored: bytes

    @property
    def file_bytes(self):
        """What the file has for it: its stream, with the code, and its entry in the table."""
        return layout.PIECE.size + len(self.stored)

    def entry(self):
        return layout.PIECE.pack(self.section, self.layer, len(self.data), len(self.stored),
                                 zlib.crc32(self.stored))


# Making -------------------------------------------------------------------------------------------

def pieces(image):
    """An Image -> its Pieces, in order. FileError: its layers do not fit its weights."""
    data = image.bytes()
    at = image_layout.HEADER_BYTES
    cuts = [(layout.IMAGE_HEADER, layout.NO_LAYER, at)]
    for i, section in enumerate(image.sections):
        left = section.size + -section.size % image_layout.ALIGN
        if section.type == image_layout.WEIGHTS:
            sizes = _layer_sizes(image.meta["layers"], section.size)
            if sizes and left - sum(sizes.values()) < image_layout.ALIGN:
                sizes[max(sizes)] += left - sum(sizes.values())     # The section's padding.
            cuts += [(i, layer, size) for layer, size in sizes.items()]
            left -= sum(sizes.values())
        if left:
            cuts.append((i, layout.NO_LAYER, left))
    made, at = [], 0
    for section, layer, size in cuts:
        piece = data[at:at + size]
        stored = min(piece, shortest(piece), key=len)   # Of equally long ones the piece itself.
        made.append(Piece(section, layer, piece, stored))
        at += size
    assert at == len(data)
    return made


def _layer_sizes(layers, room):
    """Layers that have weights -> bytes of these, which follow each other in a section of ``room``
    bytes: dict place in ``layers`` -> size."""
    sizes, left = {}, room
    for i, layer in enumerate(layers):
        size = layer["stored_bytes"]
        if not isinstance(size, int) or size % WORD_BYTES or not 0 <= size <= left:
            raise FileError(f"layer {layer['name']}: stored_bytes = {size!r}: allowed are whole "
                            f"words of {WORD_BYTES} bytes, of which section weights has {left} "
                            f"left")
        if size:
            sizes[i] = size
        left -= size
    return sizes


def encode(image):
    """An Image -> the bytes of its coded file. FileError as of ``pieces``."""
    made = pieces(image)
    table = b"".join(piece.entry() for piece in made)

    def header(crc):
        return layout.HEADER.pack(layout.MAGIC, layout.VERSION, len(made), file_bytes(made),
                                  sum(len(piece.data) for piece in made), crc)

    return b"".join([header(zlib.crc32(header(0) + table)), table,
                     *(piece.stored for piece in made)])


def file_bytes(made):
    """Bytes of the file of Pieces."""
    return layout.HEADER.size + sum(piece.file_bytes for piece in made)


# Reading ------------------------------------------------------------------------------------------

def is_coded(data):
    """Whether the file begins as a coded one."""
    return data[:4] == struct.pack("<I", layout.MAGIC)


def decode_file(data):
    """The bytes of a coded file -> those of its image, which are for Image.parse to check.
    FileError names the piece, the field, its value and what is allowed."""
    entries, at = _table(data)
    out, sections = [], None
    place = 0
    for entry in entries:
        name = "the image's header" if sections is None else _title(entry, sections)
        if sections is not None:
            _check_place(entry, name, place, sections)
        out.append(_piece(entry, name, data[at:at + entry.stored]))
        if sections is None:
            sections = _sections(out[0])
        at += entry.stored
        place += entry.size
    return b"".join(out)


def _table(data):
    """(Entries, where the pieces begin) of a file; sizes add up and stay inside it."""
    if len(data) < layout.HEADER.size:
        raise FileError(f"truncated: {len(data)} bytes, the header of a coded file takes "
                        f"{layout.HEADER.size}")
    head = Head(*layout.HEADER.unpack_from(data))
    if head.version != layout.VERSION:
        raise FileError(f"version of the coded file = {head.version}: allowed is {layout.VERSION}")
    start = layout.HEADER.size + head.pieces * layout.PIECE.size
    if len(data) < start:
        raise FileError(f"truncated: {len(data)} bytes, header and table of {head.pieces} pieces "
                        f"take {start}")
    crc = zlib.crc32(data[:layout.HEADER.size - 4] + bytes(4) + data[layout.HEADER.size:start])
    if crc != head.crc:
        raise FileError(f"header of the coded file: crc = {head.crc:#010x}: computed is "
                        f"{crc:#010x}: the header or the table of pieces is damaged")
    if len(data) < head.file_bytes:
        raise FileError(f"truncated: {len(data)} bytes of file_bytes = {head.file_bytes}")
    if len(data) > head.file_bytes:
        raise FileError(f"file_bytes = {head.file_bytes}: the file has {len(data)}")
    entries = [Entry(*fields) for fields in
               layout.PIECE.iter_unpack(data[layout.HEADER.size:start])]
    for i, entry in enumerate(entries):
        if not 0 < entry.stored <= entry.size or entry.size % WORD_BYTES \
                or entry.stored % WORD_BYTES:
            raise FileError(f"piece {i}: {entry.stored} bytes for {entry.size} of the image: "
                            f"allowed are whole words of {WORD_BYTES} bytes, no more than of the "
                            "image")
    for what, total, said in (
            ("stored", start + sum(e.stored for e in entries), head.file_bytes),
            ("size", sum(e.size for e in entries), head.image_bytes)):
        if total != said:
            raise FileError(f"pieces end at byte {total} by their {what}: allowed is {said}")
    if not entries or entries[0][:3] != (layout.IMAGE_HEADER, layout.NO_LAYER,
                                         image_layout.HEADER_BYTES):
        raise FileError(f"piece 0: {entries[0] if entries else 'there is none'}: allowed are the "
                        f"{image_layout.HEADER_BYTES} bytes of the image's header")
    return entries, start


def _sections(header):
    """The image's header, bytes -> of each section (name, first byte, byte behind it)."""
    fields = image_layout.header_fields(header)
    for name, allowed in (("magic", image_layout.MAGIC), ("version", image_layout.VERSION)):
        if fields[name] != allowed:
            raise FileError(f"the image's header: {name} = {fields[name]:#x}: allowed is "
                            f"{allowed:#x}")
    if fields["section_count"] > image_layout.MAX_SECTIONS:
        raise FileError(f"the image's header: section_count = {fields['section_count']}: allowed "
                        f"are 0 to {image_layout.MAX_SECTIONS}")
    sections = []
    for i in range(fields["section_count"]):
        kind, offset, _, size, _ = image_layout.SECTION.unpack_from(
            header, image_layout.HEADER.size + i * image_layout.SECTION.size)
        sections.append((image_layout.SECTION_NAMES.get(kind, str(kind)), offset,
                         offset + size + -size % image_layout.ALIGN))
    return sections


def _title(entry, sections):
    """How messages call a piece."""
    name = sections[entry.section][0] if entry.section < len(sections) else "not in the image"
    layer = "" if entry.layer == layout.NO_LAYER else f", layer {entry.layer}"
    return f"section {entry.section} ({name}){layer}"


def _check_place(entry, name, place, sections):
    """The piece stays inside its section."""
    if entry.section >= len(sections):
        raise FileError(f"{name}: allowed are sections 0 to {len(sections) - 1}")
    _, first, end = sections[entry.section]
    if not first <= place <= place + entry.size <= end:
        raise FileError(f"{name}: bytes {place} to {place + entry.size} of the image: allowed are "
                        f"those of the section, {first} to {end}")


def _piece(entry, name, stored):
    """A piece's bytes of the image."""
    crc = zlib.crc32(stored)
    if crc != entry.crc:
        raise FileError(f"{name}: crc = {entry.crc:#010x}: computed is {crc:#010x}: it is damaged")
    if entry.stored == entry.size:
        return stored
    try:
        # Before anything is decoded. A shorter stream has no such fields: ``decode`` says so.
        if len(stored) >= HEADER_WORDS * WORD_BYTES and data_bytes(stored) != entry.size:
            raise FileError(f"{name}: its Huffman stream is of {data_bytes(stored)} bytes: allowed "
                            f"are {entry.size}")
        return decode(stored)
    except HuffmanError as error:
        raise FileError(f"{name}: {error}") from None
