"""EBPC: the lossless format of feature maps, and the segments that carry it.

A *segment* codes ``n`` words of m = 8 or 16 bits; n is known to whoever reads it. It is a sequence
of 32-bit words, little endian:

============  =====================================================================================
header        ``znz_words`` in bits 15..0, ``bpc_words`` in bits 30..16, ``raw`` in bit 31
ZNZ stream    ``znz_words`` 32-bit words
BPC stream    ``bpc_words`` 32-bit words
============  =====================================================================================

Both streams are sequences of m-bit words, each filled from its most significant bit, the last one
padded with zero bits; the first m-bit word lies lowest in its 32-bit word, the last 32-bit word is
padded with zeros. A segment is ``raw`` when its streams would take as many 32-bit words as the
words themselves or more: then znz_words is 0 and bpc_words = ceil(n * m / 32) words hold them, m
bits each, the first lowest. So a segment never grows by more than its header.

The streams (Cavigelli, Rutishauser & Benini, "EBPC", 2019; blocks of ``BLOCKS`` nonzero words):
ZNZ: nonzero word -> 1, run of L = 1..16 zero words -> 0 and L - 1 in 4 bits.
BPC: see ``host.codecs.ebpc``. ``signed`` says how the differences of a block's words are widened to
m + 1 bits; decoding is the same for both.
"""

WORDS  = (8, 16)     # m
BLOCKS = (8, 16)     # Nonzero words of a BPC block.
MAX_ZERO_RUN, ZERO_RUN_BITS = 16, 4

# Prefixes of the BPC code, as strings of bits.
ZERO_PLANE     = "01"       # A single all-0 DBX.
ZERO_PLANES    = "001"      # + (run - 2) in ceil(log2 m) bits: 2 to m + 1 all-0 DBX.
ALL_ONES       = "00000"    # DBX all ones.
ZERO_DBP       = "00001"    # DBX != 0, DBP = 0.
TWO_ONES       = "00010"    # + position of the first of two adjacent ones, from the MSB.
ONE_ONE        = "00011"    # + position of the only one, from the MSB.
RAW_PLANE      = "1"        # + DBX.

# Segment header: first bit, bits.
ZNZ_WORDS, BPC_WORDS, RAW = (0, 16), (16, 15), (31, 1)
MAX_SEGMENT_BLOCKS = 256    # 4-word blocks (vectors) of a segment the accelerator can hold.
