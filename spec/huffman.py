"""Huffman streams: fields of a few bits, coded for the file and for the line to the device.

A stream, in 32-bit words, little endian; everything in it is packed LSB first::

    fields u32 | bits u8, zero u24 | 2^bits code lengths, 4 bits each | codes, padded with zero bits

``fields`` fields of ``bits`` bits (1 to 8) make up the data, LSB first without gaps: as many whole
32-bit words as they fill; what the last field has beyond them is zero. A code length of 0 is for
values that do not come. Codes are canonical: shorter ones first, of one length in the order of the
values, counted up; a code is sent from its first (most significant) bit. Lengths describe a
complete code, but for a single value, whose code is one bit, 0.
"""

MAX_BITS = 8        # Of a field.
MAX_LENGTH = 15     # Of a code.
LENGTH_BITS = 4
HEADER_WORDS = 2
