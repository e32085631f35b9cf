"""The coded file (``.lpk`` too): an image of spec/image.py, smaller, for disks and networks.

The image's bytes are cut into pieces: its header, sections, in the section of weights layers. A
piece is in the file as it is, or as a stream of spec/huffman.py with a code of its own where that
is shorter. All little endian::

    HEADER | PIECE, HEADER's ``pieces`` times | the pieces, one after another

Pieces put together are the image, in every byte. Only files are so: what a device holds is the
image itself.
"""

import struct

MAGIC = 0x4b50484c  # "LHPK"
VERSION = 1

# name, struct code
HEADER_FIELDS = (
    ("magic", "I"), ("version", "H"), ("pieces", "H"),
    ("file_bytes", "I"),    # Of this file.
    ("image_bytes", "I"),   # Of all pieces decoded.
    ("crc", "I"),           # CRC-32 of HEADER, this field 0, and the PIECEs.
)
PIECE_FIELDS = (
    ("section", "H"),       # Place in the image's section table, or IMAGE_HEADER.
    ("layer", "H"),         # Place in the ``layers`` of section META, or NO_LAYER.
    ("size", "I"),          # Bytes of the image, whole words.
    ("stored", "I"),        # Bytes in this file: ``size``, or those of a stream, which are fewer.
    ("crc", "I"),           # CRC-32 of the bytes in this file.
)
HEADER = struct.Struct("<" + "".join(code for _, code in HEADER_FIELDS))
PIECE = struct.Struct("<" + "".join(code for _, code in PIECE_FIELDS))

IMAGE_HEADER = 0xffff   # The first piece, spec.image.HEADER_BYTES.
NO_LAYER = 0xffff
