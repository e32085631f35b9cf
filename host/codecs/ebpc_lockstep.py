"""EBPC in NumPy, many segments at once: the decoder, in lock-step.

One lane a segment, one symbol of every lane a step. A lane leaves when it is done or wrong, so that
every loop ends: each step moves each lane on. The parsers only say *that* a stream is wrong; the
plain ones in ``host.codecs.ebpc`` refuse the same streams and say why.
"""

from functools import cache

import numpy as np

from ...spec.ebpc import (
    ALL_ONES,
    MAX_ZERO_RUN,
    ONE_ONE,
    RAW_PLANE,
    TWO_ONES,
    ZERO_DBP,
    ZERO_PLANE,
    ZERO_PLANES,
)
from .ebpc_many import ZERO_SYMBOL_BITS, before, log2, pattern, places

RESET = 1 << 15         # Beside the 15 bits of a DBX: "this plane's DBP is 0".
_LANES = 1 << 20        # Words decoded at a time.


def decode_many(znz, znz_words, bpc, bpc_words, n, word, block, signed):
    """Streams as encode_many makes them, their words int64 (segments,) -> (values, bad).

    values: int32 (segments, n); bad: bool (segments,), the streams that end too early or late,
    have padding that is not 0, or symbols that cannot be; their values mean nothing.
    """
    count = len(znz_words)
    values, bad = np.zeros((count, n), np.int32), np.zeros(count, bool)
    znz_end, bpc_end = np.cumsum(znz_words), np.cumsum(bpc_words)
    step = max(1, _LANES // max(1, n))
    for first in range(0, count, step):
        part = slice(first, min(count, first + step))
        z = _Streams(znz, znz_end[part], znz_words[part])
        b = _Streams(bpc, bpc_end[part], bpc_words[part])
        flags, wrong = _parse_znz(z, n)
        flags[wrong] = False
        nonzero = np.count_nonzero(flags, axis=1)
        blocks = -(-nonzero // block)
        symbols, wrong_bpc = _parse_bpc(b, blocks, word, block)
        words = rebuild(symbols, word, block, signed)
        index, spare = places(nonzero, blocks, block)
        values[part][flags] = words[index]
        wrong |= wrong_bpc
        wrong[spare[1][words[spare[0]] != 0]] = True
        bad[part] = wrong
    return values, bad


def rebuild(symbols, word, block, signed):
    """symbols: uint16 (blocks, word + 2), a block's base and its DBX planes, with RESET where DBP
    is 0 -> its words, int32 (blocks * block,). The last plane is redundant and not looked at."""
    base, *planes = np.ascontiguousarray(symbols.T)
    delta = np.zeros((block, len(base)), np.int32)
    delta[0] = base
    shift = np.arange(block - 2, -1, -1, dtype=np.uint16)[:, None]
    dbp = np.zeros(len(base), np.uint16)
    for k, dbx in enumerate(planes[:word]):
        dbp = np.where(dbx & RESET, 0, dbp ^ dbx).astype(np.uint16)
        delta[1:] |= (dbp >> shift & 1).astype(np.int32) << k
    x = np.cumsum(delta, axis=0, dtype=np.int32)
    x &= (1 << word) - 1
    if signed:
        half = 1 << word - 1
        x = (x ^ half) - half
    return x.T.reshape(-1)


# Streams and parsers ------------------------------------------------------------------------------


class _Streams:
    """One stream of every segment: positions are bits from the beginning of ``words``."""

    def __init__(self, words, end, count):
        end, count = end.astype(np.int64), count.astype(np.int64)
        low, high = (int((end - count)[0]), int(end[-1])) if len(end) else (0, 0)
        words = np.concatenate([words[low:high], np.zeros(2, np.uint32)]).astype(np.uint64)
        self.pairs = words[:-1] << np.uint64(32) | words[1:]
        self.begin, self.end = 32 * (end - count - low), 32 * (end - low)

    def window(self, position):
        """The 16 bits from every position, int64."""
        bits = self.pairs[position >> 5] << (position & 31).astype(np.uint64)
        return (bits >> np.uint64(48)).astype(np.int64)

    def padded(self, position):
        """Whether every stream, read up to position, ends in its word and with zeros."""
        rest = -position & 31
        tail = self.pairs[position >> 5] >> np.uint64(32) & ((1 << rest) - 1).astype(np.uint64)
        return (position + rest == self.end) & (tail == 0)


@cache
def _znz_symbols():
    """By 16 bits: (ones, zeros): the ones that they begin with, and the zero run after these."""
    bits = np.arange(1 << 16)
    ones = np.full(1 << 16, 16)
    for count in range(15, -1, -1):
        ones[bits >> 15 - count == (2 << count) - 2] = count
    after = 16 - ones - ZERO_SYMBOL_BITS
    run = (bits >> np.maximum(after, 0) & MAX_ZERO_RUN - 1) + 1
    return ones, np.where(after >= 0, run, 0)


def _parse_znz(streams, n):
    """(flags bool (segments, n), wrong bool (segments,))."""
    table_ones, table_zeros = _znz_symbols()
    segments = len(streams.end)
    edge = np.zeros((segments, n + 1), np.int8)      # +1 where ones begin, -1 behind them.
    wrong = np.zeros(segments, bool)
    final = streams.begin.copy()
    lane = np.arange(segments if n else 0)
    position, end = streams.begin[lane], streams.end[lane]
    place = np.zeros(len(lane), np.int64)
    while len(lane):
        bits = streams.window(position)
        stop = np.minimum(place + table_ones[bits], n)
        zeros = table_zeros[bits]
        zeros[stop == n] = 0                         # What follows is padding or another stream.
        position = position + (stop - place) + ZERO_SYMBOL_BITS * (zeros > 0)
        over = (stop + zeros > n) | (position > end)
        edge[lane, place] += 1
        edge[lane, stop] -= 1
        place = stop + zeros
        wrong[lane[over]] = True
        final[lane] = position
        stay = np.flatnonzero((place < n) & ~over)
        if len(stay) < len(lane):
            lane, position, end, place = lane[stay], position[stay], end[stay], place[stay]
    wrong[~wrong] = ~streams.padded(np.where(wrong, streams.begin, final))[~wrong]
    return np.cumsum(edge, axis=1, dtype=np.int8)[:, :n].astype(bool), wrong


@cache
def _bpc_symbols(word, block):
    """By 9 bits (512 more: of a block's base): (length, planes, dbx, shift, mask), a symbol's bits,
    the planes it stands for, and its DBX: dbx | window >> shift & mask. 99 planes: no symbol."""
    length, planes, dbx, shift, mask = (np.zeros(1024, np.int64) for _ in range(5))

    def enter(text, how_many, value):
        low = 9 - len(text)
        at = slice(int(text, 2) << low, int(text, 2) + 1 << low)
        length[at], planes[at], dbx[at] = len(text), how_many, value

    enter(ZERO_PLANE, 1, 0)
    for run in range(2, word + 2):
        enter(f"{ZERO_PLANES}{run - 2:0{log2(word)}b}", run, 0)
    enter(ALL_ONES, 1, (1 << block - 1) - 1)
    enter(ZERO_DBP, 1, RESET)
    for prefix in (TWO_ONES, ONE_ONE):
        for position in range(block):
            value = pattern(prefix, position, block)
            enter(f"{prefix}{position:0{log2(block)}b}", 99 if value is None else 1, value or 0)
    enter(RAW_PLANE, 1, 0)
    raw, base = slice(256, 512), slice(512, 1024)
    length[raw], shift[raw], mask[raw] = block, 16 - block, (1 << block - 1) - 1
    length[base], planes[base], shift[base], mask[base] = word, 1, 16 - word, (1 << word) - 1
    return length, planes, dbx, shift, mask


def _parse_bpc(streams, blocks, word, block):
    """(symbols uint16 (all blocks, word + 2), wrong bool (segments,)); see rebuild."""
    table_length, table_planes, table_dbx, table_shift, table_mask = _bpc_symbols(word, block)
    width = word + 2
    symbols = np.zeros(blocks.sum() * width, np.uint16)
    wrong = np.zeros(len(blocks), bool)
    final = streams.begin.copy()
    lane = np.flatnonzero(blocks)
    position, end = streams.begin[lane], streams.end[lane]
    slot, last = width * before(blocks)[lane], width * np.cumsum(blocks)[lane]
    plane = np.zeros(len(lane), np.int64)            # 0: a block's base is next.
    while len(lane):
        bits = streams.window(position)
        index = (bits >> 7) + 512 * (plane == 0)
        symbols[slot] = table_dbx[index] | bits >> table_shift[index] & table_mask[index]
        position = position + table_length[index]
        planes = table_planes[index]
        slot = slot + planes
        plane += planes
        over = (plane > width) | (position > end)
        plane[plane == width] = 0
        out = over | (slot >= last)
        if out.any():
            wrong[lane[over]] = True
            final[lane] = position
            stay = np.flatnonzero(~out)
            lane, position, end, plane = lane[stay], position[stay], end[stay], plane[stay]
            slot, last = slot[stay], last[stay]
    wrong[~wrong] = ~streams.padded(np.where(wrong, streams.begin, final))[~wrong]
    return symbols.reshape(-1, width), wrong
