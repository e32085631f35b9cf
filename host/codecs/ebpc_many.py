"""EBPC in NumPy, many segments at once: the encoder, and the sizes without encoding.

A batch is ``values`` (segments, n). Here a stream is a row of uint32 words whose most significant
bit comes first; every segment's stream begins on a word of its own. ``host.codecs.ebpc`` documents
the code, ``host.codecs.segments`` puts the streams into DRAM words.

The names of Cavigelli et al.: the n - 1 differences of a block, m + 1 bits each, are turned by 90
degrees into m + 1 planes DBP_k of n - 1 bits; DBX_k = DBP_k ^ DBP_(k-1). So DBX_k is also the plane
of bit k of ``g = d ^ d << 1``, and whole planes can be classified without being turned: bit k of
"or of all g_i" says that DBX_k is not 0, and so on. That is how ``sizes`` works.
"""

from functools import cache

import numpy as np

from ...spec.ebpc import (
    ALL_ONES,
    BLOCKS,
    MAX_ZERO_RUN,
    ONE_ONE,
    RAW_PLANE,
    TWO_ONES,
    WORDS,
    ZERO_DBP,
    ZERO_PLANE,
    ZERO_PLANES,
    ZERO_RUN_BITS,
)

ZERO_SYMBOL_BITS = 1 + ZERO_RUN_BITS   # A zero run of ZNZ.
_CHUNK = 1 << 15                       # Words encoded at a time: the buffers stay in the cache.


def check_code(word, block):
    """ValueError unless word and block are of the spec."""
    if word not in WORDS:
        raise ValueError(f"EBPC word of {word} bits: allowed are {WORDS}")
    if block not in BLOCKS:
        raise ValueError(f"EBPC block of {block} words: allowed are {BLOCKS}")


def value_range(word, signed):
    """(lowest, highest) value of a word."""
    return (-(1 << word - 1), (1 << word - 1) - 1) if signed else (0, (1 << word) - 1)


def check_values(values, word, signed):
    """values as an integer array, all within the word; ValueError naming the first that is not."""
    values = np.asarray(values)
    if values.size == 0:
        return values.astype(np.int32)
    if values.dtype.kind not in "iu":
        raise ValueError(f"EBPC values of {values.dtype}: allowed are integers")
    low, high = value_range(word, signed)
    if int(values.min()) < low or int(values.max()) > high:
        flat = values.reshape(-1)
        first = int(np.flatnonzero((flat < low) | (flat > high))[0])
        raise ValueError(f"EBPC value {flat[first]} at {first}: allowed is {low} to {high}")
    return values


# Batches ------------------------------------------------------------------------------------------


def sizes_many(values, word, block):
    """Bits of both streams of every segment, unpadded, without making them.

    values: checked ints (segments, n) -> (znz_bits, bpc_bits), int64 (segments,).
    """
    znz, bpc = [], []
    for part in _chunks(values, _CHUNK):
        _, _, per_segment = _zero_runs(part)
        znz.append(per_segment)
        x, blocks = _nonzero_blocks(part, word, block)
        bpc.append(_sum_groups(_block_bits(x, word), blocks))
    return _concatenate(znz), _concatenate(bpc)


def encode_many(values, word, block):
    """values: checked ints (segments, n) -> (znz, znz_bits, bpc, bpc_bits).

    The streams are uint32, one segment behind the other, ceil(bits / 32) words each; the bits are
    int64 (segments,).
    """
    znz, znz_bits, bpc, bpc_bits = [], [], [], []
    for part in _chunks(values, _CHUNK):
        stream, bits = _encode_znz(part)
        znz.append(stream)
        znz_bits.append(bits)
        stream, bits = _encode_bpc(*_nonzero_blocks(part, word, block), word, block)
        bpc.append(stream)
        bpc_bits.append(bits)
    return (_concatenate(znz, np.uint32), _concatenate(znz_bits),
            _concatenate(bpc, np.uint32), _concatenate(bpc_bits))


def _chunks(values, words):
    step = max(1, words // max(1, values.shape[1]))
    return (values[i:i + step] for i in range(0, len(values), step))


def _concatenate(parts, dtype=np.int64):
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _sum_groups(values, counts):
    """Sums of consecutive groups of values (1-D), counts of them each, a count may be 0."""
    total = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return np.diff(total[np.concatenate([[0], np.cumsum(counts)])])


def before(counts):
    """Exclusive running sum."""
    return np.cumsum(counts) - counts


def _write(out, code, length, start):
    """OR symbols into out (uint32, two words longer than the stream), most significant bit first.

    code: unsigned, below 2**length; length: 0 to 16; start: int64, ascending; all (symbols,).
    """
    shift = 64 - length - (start & 31)
    code = code.astype(np.uint64) << shift.astype(np.uint64)
    word = start >> 5
    first = np.flatnonzero(np.concatenate([[True], word[1:] != word[:-1]]))
    code, word = np.bitwise_or.reduceat(code, first), word[first]
    out[word] |= (code >> np.uint64(32)).astype(np.uint32)
    out[word + 1] |= code.astype(np.uint32)


# ZNZ ----------------------------------------------------------------------------------------------


def _zero_runs(values):
    """values (segments, n) -> (gap, last, bits): the zeros before every nonzero word and before
    the end of every segment, whether it is the end, and the bits of every segment's stream."""
    segments, n = values.shape
    flags = np.ones((segments, n + 1), bool)
    np.not_equal(values, 0, out=flags[:, :n])
    place = np.flatnonzero(flags)
    gap = np.diff(place, prepend=-1) - 1
    count = np.count_nonzero(flags, axis=1)
    end = np.cumsum(count) - 1
    last = np.zeros(len(place), bool)
    last[end] = True
    runs = _sum_groups((gap + MAX_ZERO_RUN - 1) // MAX_ZERO_RUN, count)
    return gap, last, ZERO_SYMBOL_BITS * runs + count - 1


def _encode_znz(values):
    gap, last, bits = _zero_runs(values)
    # A gap is full runs and one symbol more, the rest of the gap together with the 1 after it.
    full = np.maximum(gap - 1, 0) // MAX_ZERO_RUN
    rest = gap - MAX_ZERO_RUN * full
    at = np.cumsum(full + 1) - 1
    code = np.full(at[-1] + 1, MAX_ZERO_RUN - 1, np.uint8)
    length = np.full(at[-1] + 1, ZERO_SYMBOL_BITS, np.int64)
    run = np.maximum(rest - 1, 0)
    code[at] = np.where(last, run, 2 * run + 1)
    length[at] = ZERO_SYMBOL_BITS * (rest > 0) + ~last

    words = -(-bits // 32)
    symbols = np.diff(at[last], prepend=-1)
    start = before(length) + np.repeat(32 * before(words) - before(bits), symbols)
    out = np.zeros(words.sum() + 2, np.uint32)
    _write(out, code, length, start)
    return out[:-2], bits


# BPC ----------------------------------------------------------------------------------------------


def _nonzero_blocks(values, word, block):
    """(x, blocks): the nonzero words of every segment in blocks, the last padded with zeros, int16
    or int32 (block, all blocks), and the blocks of every segment, int64."""
    flags = values != 0
    nonzero = np.count_nonzero(flags, axis=1)
    blocks = -(-nonzero // block)
    x = np.zeros(block * blocks.sum(), np.int16 if word == 8 else np.int32)
    x[places(nonzero, blocks, block)[0]] = values[flags]
    return np.ascontiguousarray(x.reshape(-1, block).T), blocks


def places(nonzero, blocks, block):
    """Where in the blocks the nonzero words are: (index int64 (all nonzero words,), (index,
    segment) of the padding)."""
    size = block * blocks
    shift = before(size) - before(nonzero)
    index = np.arange(nonzero.sum()) + np.repeat(shift, nonzero)
    spare = size - nonzero
    segment = np.repeat(np.arange(len(nonzero)), spare)
    padding = np.arange(spare.sum()) + np.repeat(np.cumsum(nonzero), spare)
    return index, (padding, segment)


def _differences(x, word):
    """x (block, blocks) -> (d, g), unsigned (block - 1, blocks), word + 1 bits: the differences and
    d ^ d << 1, whose bit planes are DBP and DBX."""
    unsigned = np.uint16 if word == 8 else np.uint32
    mask = unsigned((2 << word) - 1)
    d = (x[1:] - x[:-1]).view(unsigned)
    d &= mask
    g = d << unsigned(1)
    g ^= d
    g &= mask
    return d, g


def _block_bits(x, word):
    """Bits of every block (block, blocks) of nonzero words."""
    d, g = _differences(x, word)
    block = len(x)
    mask = g.dtype.type((2 << word) - 1)
    one = g[0].copy()                    # Bit k: at least one 1 in DBX_k; two; three.
    two, three, adjacent = np.zeros_like(one), np.zeros_like(one), np.zeros_like(one)
    for i in range(1, block - 1):
        three |= two & g[i]
        two |= one & g[i]
        one |= g[i]
        adjacent |= g[i - 1] & g[i]
    ones = np.bitwise_and.reduce(g, axis=0)
    dbp = np.bitwise_or.reduce(d, axis=0)
    zero = ~one & mask
    begins = zero & ~(zero << g.dtype.type(1))
    alone = begins & ~(zero >> g.dtype.type(1))
    # In the order of the code: every mask leaves out what an earlier one takes.
    short = one & (ones | ~dbp)
    rest = one & ~short
    placed = rest & (~two | adjacent & ~three)
    raw = rest & ~placed

    how_many = _ones(word + 1)

    def cost(planes, bits):
        return how_many[planes] * bits

    run_bits = len(ZERO_PLANES) + log2(word)
    return (word + cost(alone, len(ZERO_PLANE)) + cost(begins & ~alone, run_bits)
            + cost(short, len(ALL_ONES)) + cost(placed, len(ONE_ONE) + log2(block))
            + cost(raw, len(RAW_PLANE) + block - 1))


def _encode_bpc(x, blocks, word, block):
    """x (block, all blocks) -> (stream, bits of every segment)."""
    count = x.shape[1]
    step = _CHUNK // block
    bits = np.concatenate([_block_bits(x[:, i:i + step], word) for i in range(0, count, step)]
                          or [np.zeros(0, np.int64)])
    per_segment = _sum_groups(bits, blocks)
    words = -(-per_segment // 32)
    start = before(bits) + np.repeat(32 * before(words) - before(per_segment), blocks)
    out = np.zeros(words.sum() + 2, np.uint32)
    for i in range(0, count, step):
        _write_blocks(out, x[:, i:i + step], start[i:i + step], word)
    return out[:-2], per_segment


def _write_blocks(out, x, start, word):
    """Write the symbols of x (block, blocks) into out, every block's from bit start (blocks,)."""
    block, count = x.shape
    codes, lengths = _plane_symbols(block)
    run_codes, run_lengths = _run_symbols(word)
    d, g = _differences(x, word)

    # 1. Turn: plane k of all blocks, the first difference in the most significant bit.
    bit = (1 << np.arange(word + 1)).astype(g.dtype)[:, None]
    plane = np.zeros((word + 1, count), np.uint16)
    for row in g:
        plane += plane
        plane += (row & bit != 0).view(np.uint8)
    reset = np.bitwise_or.reduce(d, axis=0) & bit == 0

    # 2. Symbols of the planes as if there were no runs of zero planes.
    zero = plane == 0
    plane |= reset.astype(np.uint16) << np.uint16(block - 1)
    code = np.empty((word + 2, count), np.uint16)
    length = np.empty((word + 2, count), np.uint8)
    code[0] = x[0] & (1 << word) - 1
    length[0] = word
    np.take(codes, plane, out=code[1:])
    np.take(lengths, plane, out=length[1:])

    # 3. Runs of zero planes: one symbol for all of them, on the first.
    run = np.zeros(count, np.uint8)
    for k in range(word, -1, -1):
        run += np.uint8(1)
        run *= zero[k]
        begins = zero[k] & ~zero[k - 1] if k else zero[k]
        here = np.where(begins, run, 0)
        code[1 + k] += run_codes[here]
        length[1 + k] += run_lengths[here]

    # 4. Bits, in the order of the stream.
    length = length.T.astype(np.int64)
    _write(out, code.T.reshape(-1), length.reshape(-1),
           (np.cumsum(length, axis=1) - length + start[:, None]).reshape(-1))


@cache
def _ones(bits):
    """How many ones every number of so many bits has, int16 (2**bits,)."""
    count = np.zeros(1, np.int16)
    for _ in range(bits):
        count = np.concatenate([count, count + np.int16(1)])
    return count


def log2(n):
    return n.bit_length() - 1


def pattern(prefix, position, block):
    """The DBX that TWO_ONES and ONE_ONE stand for; None where the position is none."""
    ones = 2 if prefix == TWO_ONES else 1
    low = block - 1 - position - ones
    return ((1 << ones) - 1) << low if low >= 0 else None


@cache
def _plane_symbols(block):
    """(code uint16, length uint8), (2**block,), by DBX | (DBP = 0) << block - 1; nothing for DBX =
    0, which is a matter of runs."""
    dbx = np.arange(1 << block - 1, dtype=np.uint16)
    code = np.empty((2, len(dbx)), np.uint16)
    length = np.empty((2, len(dbx)), np.uint8)
    code[:], length[:] = dbx | int(RAW_PLANE, 2) << block - 1, len(RAW_PLANE) + block - 1
    for prefix in (TWO_ONES, ONE_ONE):
        for position in range(block):
            value = pattern(prefix, position, block)
            if value is not None:
                code[0, value] = int(prefix, 2) << log2(block) | position
                length[0, value] = len(prefix) + log2(block)
    code[1], length[1] = int(ZERO_DBP, 2), len(ZERO_DBP)
    code[:, -1], length[:, -1] = int(ALL_ONES, 2), len(ALL_ONES)
    code[:, 0], length[:, 0] = 0, 0
    return code.reshape(-1), length.reshape(-1)


@cache
def _run_symbols(word):
    """(code uint16, length uint8), (word + 2,), of a run of so many zero planes; 0: nothing."""
    code, length = np.zeros(word + 2, np.uint16), np.zeros(word + 2, np.uint8)
    code[1], length[1] = int(ZERO_PLANE, 2), len(ZERO_PLANE)
    code[2:] = int(ZERO_PLANES, 2) << log2(word) | np.arange(word)
    length[2:] = len(ZERO_PLANES) + log2(word)
    return code, length
