"""Shows people what is in an image: header, sections, layers, program."""

import hashlib

import numpy as np
from rich.table import Table

from ..spec import image as layout
from ..spec import isa
from . import file
from .program import REGISTER_NAMES

HEX_FIELDS = {"magic", "header_crc"}
COMMON = {number: name for name, number in isa.COMMON_REGS.items()}


def _table(title, *columns):
    """columns: names; a leading ">" aligns to the right."""
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left",
                         overflow="fold")
    return table


def header_table(image):
    table = _table("header", "field", ">value")
    for name, _ in layout.HEADER_FIELDS:
        value = image.header[name]
        table.add_row(name, f"{value:#010x}" if name in HEX_FIELDS else f"{value:,}")
    return table


def section_table(image, pieces):
    """pieces: of the image's coded file (host/file.py)."""
    table = _table("sections", "section", ">region", ">bytes", ">coded file", "CRC-32", "sha256")
    for i, s in enumerate(image.sections):
        place = "not loaded" if s.dram == layout.NOT_LOADED else f"{s.dram:,}"
        table.add_row(s.name, place, f"{s.size:,}",
                      f"{sum(p.file_bytes for p in pieces if p.section == i):,}", f"{s.crc:08x}",
                      hashlib.sha256(s.data).hexdigest())
    return table


def layer_table(image, pieces):
    """Operation, shapes, MACs, formats, weight bytes, bits a weight; and of layers that run
    together, in the last one's row: predicted clocks, tiling. pieces: as of section_table."""
    table = _table("layers", ">slot", "layer", "operation", "input", "output", ">MACs", "weights",
                   "activations", ">raw bytes", ">stored bytes", ">coded file", ">bits/weight",
                   ">predicted cycles", "tiling")
    total = dict.fromkeys(("macs", "raw_bytes", "stored_bytes", "weights"), 0)
    coded = {piece.layer: piece.file_bytes for piece in pieces}
    groups = image.meta["groups"]
    last = {layer["slot"]: layer for layer in image.meta["layers"]}
    for i, layer in enumerate(image.meta["layers"]):
        for key in total:
            total[key] += layer[key]
        group = groups[layer["slot"]]
        ends = layer is last[layer["slot"]]
        table.add_row(
            str(layer["slot"]), layer["name"], layer["op"],
            " + ".join("x".join(map(str, shape)) for shape in layer["input_shapes"]),
            "x".join(map(str, layer["output_shape"])), f"{layer['macs']:,}",
            layer["weight_format"],
            f"{', '.join(dict.fromkeys(layer['input_formats']))} -> {layer['output_format']}",
            f"{layer['raw_bytes']:,}", f"{layer['stored_bytes']:,}",
            f"{coded.get(i, 0):,}", bits_per_weight(layer),
            f"{group['predicted']['cycles']:,}" if ends else "", group["tiling"] if ends else "")
    cycles = sum(group["predicted"]["cycles"] for group in groups)
    table.add_section()
    table.add_row("", "total", "", "", "", f"{total['macs']:,}", "", "", f"{total['raw_bytes']:,}",
                  f"{total['stored_bytes']:,}", f"{weight_file_bytes(image, pieces):,}",
                  bits_per_weight(total), f"{cycles:,}", "")
    return table


def weight_file_bytes(image, pieces):
    """What a coded file has for the layers' weights: streams with their codes, table entries."""
    return sum(piece.file_bytes for piece in pieces if piece.layer < len(image.meta["layers"]))


def bits_per_weight(layer):
    """Stored bits a weight, padding and headers included. layer: an entry of meta["layers"]."""
    return f"{8 * layer['stored_bytes'] / layer['weights']:.2f}" if layer["weights"] else "-"


def tensor_table(image):
    table = _table("tensors", "tensor", "shape", "format", ">scale", ">region", ">bytes",
                   ">bits/value")
    for name in image.meta["tensors"]:
        t = image.tensor(name)
        table.add_row(name, "x".join(map(str, t.shape)), str(t.fmt), f"{t.scale:.6g}",
                      f"{t.offset:,}", f"{t.bytes:,}", f"{8 * t.bytes / np.prod(t.shape):.2f}")
    return table


def listing(image):
    """Lines of the program: word position, word, engine, register and value."""
    words = np.frombuffer(image.section(layout.PROGRAM).data, "<u4")
    control = {number: name for name, (number, _, _) in isa.CTRL_REGS.items()}
    for position, word in enumerate(words[:image.header["program_words"]]):
        engine, reg, value = isa.split(int(word))
        names = control if engine == isa.CTRL else REGISTER_NAMES[engine] | COMMON
        name = names.get(reg, f"register {reg}")
        text = "" if name in ("GO", "END") else f" {value}"
        yield f"{position:6d}  {int(word):08x}  {isa.ENGINES[engine]:8s}{name}{text}"


def weight_line(image, pieces):
    """All layers' weights as numbers of 32, 8 and 4 bits, as stored and in a coded file."""
    layers = image.meta["layers"]
    raw = sum(layer["raw_bytes"] for layer in layers)
    stored = sum(layer["stored_bytes"] for layer in layers)
    coded = weight_file_bytes(image, pieces)
    if not coded:
        return "weights: none"
    return (f"weights: {raw:,} bytes in float32, {raw // 4:,} in int8, {-(-raw // 8):,} in 4 bits; "
            f"{stored:,} stored ({raw / stored:.2f} to 1), {coded:,} in a coded file "
            f"({raw / coded:.2f} to 1)")


def inspect(image, console, program=False):
    """Print an Image to a rich Console; ``program``: its words too."""
    pieces = file.pieces(image)
    console.print(f"{image.meta['name']}: {len(image.bytes()):,} bytes, "
                  f"{file.file_bytes(pieces):,} in a coded file, sha256 {image.hash}",
                  soft_wrap=True)
    for table in (header_table(image), section_table(image, pieces), tensor_table(image),
                  layer_table(image, pieces)):
        console.print(table)
    console.print(weight_line(image, pieces), soft_wrap=True)
    console.print(f"the region takes {image.header['region_bytes']:,} bytes", soft_wrap=True)
    if program:
        for line in listing(image):
            console.print(line, highlight=False, soft_wrap=True)
