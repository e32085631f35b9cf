"""Data as Huffman streams for the line: what is cut where, and coded or not."""

import math

from ...spec import wire
from ...spec.formats import WORD_BITS
from ..codecs.huffman import encode, field_bits

ROOM = wire.MAX_PAYLOAD - 4         # Of a request with an address.


def coded_pieces(data):
    """Cut data, bytes in whole words, so that each piece fits a request: (offset, size, whether it
    is coded, its stream or the piece itself). Each piece has a code of its own."""
    at, size, bits = 0, wire.MAX_PAYLOAD, field_bits(data, ROOM)
    unit = math.lcm(bits, WORD_BITS) // 8       # No field reaches into the next piece.
    while at < len(data):
        size = max(size // unit * unit, unit)
        stream = encode(data[at:at + size], bits)
        while len(stream) > ROOM and size > ROOM:
            size = max(int(0.99 * size * ROOM / len(stream)) // unit * unit, unit)
            stream = encode(data[at:at + size], bits)
        size = min(size, len(data) - at)
        coded = len(stream) < size and len(stream) <= ROOM
        size = size if coded else min(size, ROOM)
        yield at, size, coded, stream if coded else data[at:at + size]
        at += size
        # The next one is probably alike: as much as would just have fitted.
        size = max(wire.MAX_PAYLOAD, int(0.98 * size * ROOM / len(stream)))
