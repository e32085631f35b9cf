"""Sizes of the codes that EBPC is measured against, as its authors define them.

Cavigelli, Rutishauser & Benini compare with three codes, in the open evaluation of their paper for
zero runs of up to 16 and BPC blocks of 8 words. All take words of m bits in order:

zero-RLE
    A nonzero word: 1, its m bits. A run of 1 to 16 zeros: 0, its length - 1 in 4 bits.
ZVC, zero value compression
    A zero: 0. A nonzero word: 1, its m bits.
BPC alone, bit plane compression (Kim, Sullivan, Choukse & Erez, ISCA 2016)
    Blocks of n words, zeros included; what EBPC does with its nonzero words, but a single zero DBX
    takes 3 bits and a run of 2 to m + 1 of them 2 bits and log2(m) more. As in EBPC a block's first
    word is raw and there are m + 1 planes of n - 1 differences.

Only sizes are computed; who would decode them is told the number of words and of bits.
"""

import numpy as np

from ..spec.ebpc import (
    ALL_ONES,
    MAX_ZERO_RUN,
    ONE_ONE,
    RAW_PLANE,
    TWO_ONES,
    ZERO_DBP,
    ZERO_PLANE,
    ZERO_PLANES,
    ZERO_RUN_BITS,
)

# Bits of (a single zero DBX, a run of zero DBX without its length).
BPC_ZEROS = 3, 2
EBPC_ZEROS = len(ZERO_PLANE), len(ZERO_PLANES)
_CHUNK = 1 << 13   # Blocks at a time: what is between stays in the cache.


def zero_rle_bits(rows, word):
    """rows: ints (segments, n) -> int64 (segments,)."""
    segments, n = rows.shape
    stop = np.ones((segments, n + 1), bool)        # Nonzero words, and an end for every segment.
    np.not_equal(rows, 0, out=stop[:, :n])
    zeros = np.diff(np.flatnonzero(stop), prepend=-1) - 1
    stops = np.count_nonzero(stop, axis=1)
    runs = np.add.reduceat(-(-zeros // MAX_ZERO_RUN), np.cumsum(stops) - stops)
    return runs * (1 + ZERO_RUN_BITS) + (stops - 1) * (1 + word)


def zvc_bits(rows, word):
    """rows: ints (segments, n) -> int64 (segments,)."""
    return rows.shape[1] + np.count_nonzero(rows, axis=1) * word


def bpc_bits(rows, word, block=8, zeros=BPC_ZEROS):
    """rows: ints (segments, n), signed or unsigned words -> int64 (segments,). The last block of a
    segment is padded with zeros."""
    segments, n = rows.shape
    blocks = np.pad(rows, ((0, 0), (0, -n % block))).reshape(-1, block)
    bits = [_block_bits(blocks[i:i + _CHUNK], word, zeros)
            for i in range(0, len(blocks), _CHUNK)]
    return np.concatenate(bits).reshape(segments, -1).sum(axis=1)


def _block_bits(blocks, word, zeros):
    """blocks (blocks, n) -> int64 (blocks,).

    Plane by plane, so that a plane of n - 1 bits is one number that a table classifies.
    """
    count, block = blocks.shape
    kinds = _kinds(block)
    costs = np.array([0, len(ALL_ONES), len(ONE_ONE) + _log2(block), len(TWO_ONES) + _log2(block),
                      len(RAW_PLANE) + block - 1])
    single, run = zeros[0], zeros[1] + _log2(word)
    delta = np.diff(blocks.astype(np.int32), axis=1)
    weights = 1 << np.arange(block - 2, -1, -1)
    bits = np.full(count, word, np.int64)
    before = np.zeros(count, np.int64)             # DBP of the plane below.
    length = np.zeros(count, np.int64)             # Zero planes up to here.
    for k in range(word + 1):
        dbp = (delta >> k & 1) @ weights
        dbx = dbp ^ before
        zero = dbx == 0
        ended = np.where(zero, 0, length)
        bits += np.where(ended > 1, run, ended * single)
        length = np.where(zero, length + 1, 0)
        # All ones goes before DBP = 0, and that before the positions.
        kind = kinds[dbx]
        bits += np.where((dbp == 0) & (kind > 1), len(ZERO_DBP), costs[kind])
        before = dbp
    return bits + np.where(length > 1, run, length * single)


def _kinds(block):
    """By DBX: 0 zero, 1 all ones, 2 one 1, 3 two adjacent ones, 4 anything else."""
    kinds = np.full(1 << block - 1, 4, np.int64)
    kinds[3 << np.arange(block - 2)] = 3
    kinds[1 << np.arange(block - 1)] = 2
    kinds[-1], kinds[0] = 1, 0
    return kinds


def _log2(n):
    return n.bit_length() - 1
