"""The DRAM image (``.lpk``): a header, a section table, sections, all little endian.

The file begins with ``HEADER`` and ``SECTION_COUNT`` entries of ``SECTION``; together they fill
``HEADER_BYTES`` (zero padded), and the device keeps these bytes at the start of the model's region.
Sections follow in the file at ``offset``; those with ``dram != NOT_LOADED`` are copied to that byte
offset of the region. Activations live in the region too, above the loaded sections:
``region_bytes`` is what the model needs in all.

A self-test image has a section SELFTEST too: entries of ``SELFTEST_ENTRY``, each a program of its
own and what it must leave in DRAM. The device zeroes the output, runs the program, and compares the
output's CRC-32 (zlib's).
"""

import struct

MAGIC = 0x4b50504c  # "LPPK"
VERSION = 4
HEADER_BYTES = 512
NOT_LOADED = 0xffffffff

# name, struct code
HEADER_FIELDS = (
    ("magic", "I"), ("version", "H"), ("section_count", "H"),
    ("file_bytes", "I"), ("region_bytes", "I"),
    ("columns", "I"), ("abuf_depth", "I"), ("wbuf_depth", "I"), ("pbuf_depth", "I"),
    ("vbuf_depth", "I"), ("array", "I"), ("vector", "I"),
    ("program_offset", "I"), ("program_words", "I"),   # Byte offset in the region; words.
    ("input_offset", "I"), ("input_bytes", "I"),
    ("output_offset", "I"), ("output_bytes", "I"),
    ("layer_count", "I"),
    ("header_crc", "I"),   # CRC-32 of all HEADER_BYTES with this field 0.
)
SECTION_FIELDS = (
    ("type", "I"), ("offset", "I"), ("dram", "I"), ("size", "I"), ("crc", "I"),
)
HEADER = struct.Struct("<" + "".join(code for _, code in HEADER_FIELDS))
SECTION = struct.Struct("<" + "".join(code for _, code in SECTION_FIELDS))

META, PROGRAM, WEIGHTS, PARAMS, SELFTEST = 1, 2, 3, 4, 5
SECTION_NAMES = {META: "meta", PROGRAM: "program", WEIGHTS: "weights", PARAMS: "params",
                 SELFTEST: "selftest"}
OPTIONAL = (SELFTEST,)   # Sections of which an image may have none.
MAX_SECTIONS = (HEADER_BYTES - HEADER.size) // SECTION.size
ALIGN = 16  # Sections and tensors begin on multiples of this many bytes in the region.

SELFTEST_FIELDS = (
    ("id", "I"),                                       # What is tested << 8 | kind of format.
    ("program_offset", "I"), ("program_words", "I"),   # As in the header.
    ("output_offset", "I"), ("output_bytes", "I"), ("output_crc", "I"),
    ("clocks", "I"),                                   # After which the program is stopped.
)
SELFTEST_ENTRY = struct.Struct("<" + "".join(code for _, code in SELFTEST_FIELDS))
(TEST_COPY, TEST_DECODE, TEST_ENCODE, TEST_CONV, TEST_DEPTHWISE, TEST_POOL, TEST_REQUANTIZE,
 TEST_VECTOR_DEPTHWISE, TEST_VECTOR_ADD, TEST_VECTOR_POOL) = range(1, 11)


def header_fields(data):
    """{name of HEADER_FIELDS: value} of an image's first HEADER.size bytes, or more."""
    names = (name for name, _ in HEADER_FIELDS)
    return dict(zip(names, HEADER.unpack_from(data), strict=True))
