"""The contract as one C header, ``litepress_spec.h``, for the firmware.

``python -m litepress.spec.cheader FILE`` writes it.
"""

import os
import struct
import sys
from pathlib import Path

from . import huffman, image, isa, wire

NAME = "litepress_spec.h"
C_TYPES = {"B": "uint8_t", "H": "uint16_t", "I": "uint32_t"}


def _struct(name, fields):
    """A C struct of (name, struct code) fields; they must be laid out without padding."""
    size = struct.calcsize("<" + "".join(code for _, code in fields))
    lines = [f"struct {name} {{"]
    lines += [f"\t{C_TYPES[code]} {field};" for field, code in fields]
    lines += ["};", f'_Static_assert(sizeof(struct {name}) == {size}, "{name} has padding");']
    return lines


def c_header():
    """The text of the header."""
    def define(name, value, comment=""):
        number = f"{value:#x}u" if value > 0xffff else f"{value}"
        return f"#define LP_{name} {number}" + (f"  /* {comment} */" if comment else "")

    lines = ["/* Generated from spec/ by spec/cheader.py: change it there. */", "",
             "#ifndef LITEPRESS_SPEC_H", "#define LITEPRESS_SPEC_H", "", "#include <stdint.h>", "",
             "/* The wire: spec/wire.py. */",
             define("SYNC", int.from_bytes(wire.SYNC, "little"), "as a little-endian word"),
             define("MAX_PAYLOAD", wire.MAX_PAYLOAD),
             define("OVERHEAD", wire.OVERHEAD),
             define("PROTOCOL_VERSION", wire.PROTOCOL_VERSION),
             define("REPLY", wire.REPLY),
             define("ERROR", wire.ERROR)]
    lines += [define(name, number) for number, (name, _, _) in wire.TYPES.items()]
    lines += [define(f"STATE_{name.upper()}", number) for number, name in wire.STATES.items()]
    lines += [define(f"E_{name}", code, text) for code, (name, text) in wire.ERRORS.items()]
    lines += [define(name, getattr(wire, name))
              for name in ("MEM_DATA", "MEM_LINES", "MEM_FILL", "MEM_CHECK")]
    lines += [define(f"TEST_{name.upper()}", number) for number, name in wire.RESULTS.items()]
    lines += ["", "/* The accelerator: spec/isa.py. */",
              define("COUNTERS_WORDS", len(isa.COUNTERS)),
              define("PROFILE_SLOTS", isa.PROFILE_SLOTS),
              define("ENGINE_VECTOR", isa.VECTOR)]
    lines += [define(f"ACCEL_E_{name}", code, text) for code, (name, text) in isa.ERRORS.items()]
    lines += ["", "/* Huffman streams: spec/huffman.py. */"]
    lines += [define(f"HUFFMAN_{name}", getattr(huffman, name))
              for name in ("MAX_BITS", "MAX_LENGTH", "LENGTH_BITS", "HEADER_WORDS")]
    lines += ["", "/* The image: spec/image.py. */",
              define("IMAGE_MAGIC", image.MAGIC),
              define("IMAGE_VERSION", image.VERSION),
              define("IMAGE_HEADER_BYTES", image.HEADER_BYTES),
              define("IMAGE_MAX_SECTIONS", image.MAX_SECTIONS),
              define("IMAGE_NOT_LOADED", image.NOT_LOADED),
              define("IMAGE_SELFTEST", image.SELFTEST), ""]
    lines += _struct("lp_image_header", image.HEADER_FIELDS) + [""]
    lines += _struct("lp_image_section", image.SECTION_FIELDS) + [""]
    lines += _struct("lp_image_selftest", image.SELFTEST_FIELDS)
    lines += ["", "#endif", ""]
    return "\n".join(lines)


def write(path):
    """Write the header to ``path`` (a file), unless it is there with the same text."""
    path = Path(path)
    text = c_header()
    if path.exists() and path.read_text() == text:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
    return path


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m litepress.spec.cheader FILE")
    print(write(sys.argv[1]))
