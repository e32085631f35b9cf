"""The self-test image: small programs for one accelerator, and what the golden model says of them.

``build`` makes the image; it is an ordinary one with a section SELFTEST (spec/image.py), whose
entries a device runs by itself. Tests go from the ground up: first the way through LOAD, ABUF and
STORE, which all others use, then each decoder and encoder, then the engines that compute.
"""

import zlib
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import numpy as np

from ..spec import image as layout
from ..spec.formats import KINDS, WEIGHT_KINDS, WORD_BYTES
from .golden import Golden
from .image import Image
from .selftest_programs import (
    DATA_AT,
    OUTPUT_AT,
    PARAMS_AT,
    PROGRAM_AT,
    RAW16_FORMAT,
    TABLE_AT,
    Entry,
    Programs,
)

NAME = "self-test"


def entries(image):
    """The tests of an image: list of Entry; none where it has no table."""
    table = next((s.data for s in image.sections if s.type == layout.SELFTEST), b"")
    size = layout.SELFTEST_ENTRY.size
    return [Entry(*layout.SELFTEST_ENTRY.unpack_from(table, at))
            for at in range(0, len(table) // size * size, size)]


@lru_cache
def build(arch, kinds=tuple(KINDS)):
    """The self-test Image for an Arch and formats of these kinds (of spec.formats.KINDS)."""
    made = Programs(arch)
    made.copy()
    for kind in kinds:
        made.decode(kind)
    for kind in kinds:
        if kind not in WEIGHT_KINDS:
            made.encode(kind)
    made.convolution()
    if arch.weight_format is None:
        made.depthwise()
        made.pool()
    made.requantize()
    if arch.vector:
        made.vector_depthwise()
        made.vector_add()
        made.vector_pool()
    return _image(made)


def output(image, entry, arch=None):
    """What the golden model leaves in an entry's output: bytes. arch: of the accelerator, if it is
    not the image's. ValueError: the program stops with an error."""
    header = {"region_bytes": image.header["region_bytes"], "input_offset": OUTPUT_AT,
              "input_bytes": 0, "output_offset": entry.output_offset,
              "output_bytes": entry.output_bytes}
    whole = image.section(layout.PROGRAM)
    at = entry.program_offset - whole.dram
    program = SimpleNamespace(data=whole.data[at:at + WORD_BYTES * entry.program_words])
    golden = Golden(SimpleNamespace(header=header, sections=image.sections, arch=arch or image.arch,
                                    section=lambda _: program), exact_bytes=True)
    return golden.run([b""])[0]


def crc(data):
    """As the device has it of an output."""
    return zlib.crc32(data)


# Image --------------------------------------------------------------------------------------------

def _image(made):
    """Programs -> Image, its table with what the golden model says."""
    sections = [(layout.WEIGHTS, DATA_AT, bytes(made.data)),
                (layout.PARAMS, PARAMS_AT, bytes(made.params)),
                (layout.PROGRAM, PROGRAM_AT, np.array(made.words, "<u4").tobytes())]
    ends = (PARAMS_AT, PROGRAM_AT, TABLE_AT)
    assert all(at + len(data) <= end for (_, at, data), end in zip(sections, ends, strict=True))
    unknown = _assemble(made.arch, sections, made.entries)
    known = []
    for entry in made.entries:
        result = output(unknown, entry)
        assert any(result), entry.name
        known.append(replace(entry, output_crc=crc(result)))
    return _assemble(made.arch, sections, known)


def _assemble(arch, sections, table):
    """``litepress run`` can take it too: its input is not used, its output is the first test's."""
    largest = max(e.output_bytes for e in table)
    first = table[0]
    tensors = {name: {"shape": [1, 1, size // 2], "format": str(RAW16_FORMAT), "scale": 1.0,
                      "offset": offset, "row_bytes": size, "bytes": size}
               for name, offset, size in (("input", OUTPUT_AT + largest, 8),
                                          ("output", OUTPUT_AT, first.output_bytes))}
    meta = {"name": NAME, "labels": None, "preprocessing": None, "input": "input",
            "output": "output", "arch": arch.as_dict(), "tensors": tensors, "layers": [],
            "groups": [], "tests": [e.name for e in table]}
    data = b"".join(e.bytes() for e in table)
    return Image.build(arch, [*sections, (layout.SELFTEST, TABLE_AT, data)], first.program_words,
                       OUTPUT_AT + largest + layout.ALIGN, meta)
