"""Huffman streams of spec/huffman.py: the second stage of weight compression, for file and line.

Code lengths are the best there are of at most MAX_LENGTH bits: package-merge, Larmore and
Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", J. ACM 37(3), 1990.
"""

import numpy as np
from numba import njit

from ...spec.formats import WORD_BITS, WORD_BYTES
from ...spec.huffman import HEADER_WORDS, LENGTH_BITS, MAX_BITS, MAX_LENGTH

FIELDS = (4, 8, 3)      # Bits of a field that are tried.


class HuffmanError(ValueError):
    """A stream that no encoder made: one line that says what is wrong with it."""


def code_lengths(counts, limit=MAX_LENGTH):
    """counts: how often each value comes, (n,) -> bits of its code, uint8 (n,), 0 where it does not
    come; of all prefix codes of at most ``limit`` bits one of the shortest. ValueError: more values
    than there are such codes."""
    counts = np.asarray(counts)
    present = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), np.uint8)
    if len(present) > 1 << limit:
        raise ValueError(f"Huffman code of {len(present)} values: allowed with {limit} bits are "
                         f"{1 << limit}")
    if len(present) == 1:
        lengths[present] = 1
    if len(present) < 2:
        return lengths
    leaves = sorted((int(counts[value]), (int(value),)) for value in present)
    packages = []
    for _ in range(limit):
        pairs = zip(packages[::2], packages[1::2], strict=False)
        merged = [(a + b, one + two) for (a, one), (b, two) in pairs]
        packages = sorted(leaves + merged, key=lambda package: package[0])
    for _, values in packages[:2 * len(present) - 2]:
        for value in values:
            lengths[value] += 1
    return lengths


def canonical(lengths):
    """The codes of lengths, uint8 (n,): int64 (n,), as numbers of so many bits."""
    codes, code, before = np.zeros(len(lengths), np.int64), 0, 0
    for value in sorted(np.flatnonzero(lengths), key=lambda v: (lengths[v], v)):
        code <<= int(lengths[value]) - before
        before = int(lengths[value])
        codes[value] = code
        code += 1
    return codes


def fields_of(data, bits, count):
    """The first ``count`` fields of data, bytes: uint8 (count,); what is beyond data is zero."""
    return _fields(np.frombuffer(data, np.uint8), bits, count)


@njit(cache=True)
def _fields(data, bits, count):
    out = np.zeros(count, np.uint8)
    for i in range(count):
        at = i * bits
        pair = 0
        if at >> 3 < len(data):
            pair = int(data[at >> 3])
        if (at >> 3) + 1 < len(data):
            pair |= int(data[(at >> 3) + 1]) << 8
        out[i] = pair >> (at & 7) & (1 << bits) - 1
    return out


@njit(cache=True)
def _joined(fields, bits):
    """Fields uint8 (n,) -> bytes, uint8, as many as they fill or begin."""
    out = np.zeros((len(fields) * bits + 7) // 8, np.uint8)
    for i in range(len(fields)):
        at = i * bits
        pair = int(fields[i]) << (at & 7)
        out[at >> 3] |= pair & 255
        if pair >> 8:
            out[(at >> 3) + 1] |= pair >> 8
    return out


def _table_bytes(bits):
    """Bytes of the code lengths of fields of ``bits`` bits."""
    return -(-(LENGTH_BITS << bits) // WORD_BITS) * WORD_BYTES


def _whole(data):
    """uint8 (n,) -> bytes, whole words."""
    return np.pad(data, (0, -len(data) % WORD_BYTES)).tobytes()


def field_bits(data, room=None):
    """Bits of a field, one of FIELDS, with which data, bytes, has the least entropy; room: bytes of
    a stream, if data is cut into streams as long: with which these hold the most data, each with a
    code of its own."""
    def cost(bits):
        counts = np.bincount(fields_of(data, bits, 8 * len(data) // bits))
        share = counts[counts > 0] / counts.sum()
        entropy = -(share * np.log2(share)).sum() / bits
        used = HEADER_WORDS * WORD_BYTES + _table_bytes(bits) if room else 0
        return entropy / (room - used) if room else entropy
    return min(FIELDS, key=cost) if data else FIELDS[0]


def shortest(data):
    """data: bytes, whole 32-bit words -> the shortest stream of them, whatever its field's bits."""
    def size(bits):
        counts = np.bincount(fields_of(data, bits, -(-8 * len(data) // bits)), minlength=1 << bits)
        return _table_bytes(bits) + -(-int(counts @ code_lengths(counts)) // WORD_BITS) * WORD_BYTES
    return encode(data, min(range(1, MAX_BITS + 1), key=size))


def encode(data, bits):
    """data: bytes, whole 32-bit words of fields of ``bits`` bits -> a stream. ValueError: other
    data."""
    if bits not in range(1, MAX_BITS + 1):
        raise ValueError(f"Huffman fields of {bits!r} bits: allowed are 1 to {MAX_BITS}")
    if len(data) % WORD_BYTES:
        raise ValueError(f"Huffman data of {len(data)} bytes: allowed are whole words of "
                         f"{WORD_BYTES}")
    fields = fields_of(data, bits, -(-8 * len(data) // bits))
    counts = np.bincount(fields, minlength=1 << bits)
    lengths = code_lengths(counts)
    table = _joined(np.pad(lengths, (0, _table_bytes(bits) * 8 // LENGTH_BITS - len(lengths))),
                    LENGTH_BITS)
    codes = _emit(fields, lengths, canonical(lengths), int(counts @ lengths))
    return np.array([len(fields), bits], "<u4").tobytes() + table.tobytes() + _whole(codes)


@njit(cache=True)
def _emit(fields, lengths, codes, total):
    """total: bits of all codes -> bytes, uint8."""
    out = np.zeros((total + 7) // 8, np.uint8)
    at = 0
    for field in fields:
        for k in range(lengths[field]):
            out[at >> 3] |= (codes[field] >> lengths[field] - 1 - k & 1) << (at & 7)
            at += 1
    return out


def data_bytes(stream):
    """Bytes of a stream's data, by its header."""
    count, bits = (int(word) for word in np.frombuffer(stream, "<u4", HEADER_WORDS))
    return count * bits // WORD_BITS * WORD_BYTES


def decode(stream):
    """A stream, bytes -> its data, bytes. HuffmanError: it is cut short or too long, its code is
    not complete, or bits that must be zero are not."""
    head = HEADER_WORDS * WORD_BYTES
    if len(stream) < head or len(stream) % WORD_BYTES:
        raise HuffmanError(f"Huffman stream of {len(stream)} bytes: expected are whole words of "
                           f"{WORD_BYTES}, {head} bytes and more")
    count, bits = (int(word) for word in np.frombuffer(stream[:head], "<u4"))
    if bits not in range(1, MAX_BITS + 1):
        raise HuffmanError(f"Huffman stream: fields of {bits} bits: allowed are 1 to {MAX_BITS}")
    table = _table_bytes(bits)
    if len(stream) < head + table:
        raise HuffmanError(f"Huffman stream of {len(stream)} bytes ends in its table of {table}")
    lengths = fields_of(stream[head:head + table], LENGTH_BITS, 8 * table // LENGTH_BITS)
    if lengths[1 << bits:].any():
        raise HuffmanError("Huffman stream: the bits behind its table are not zero")
    lengths = lengths[:1 << bits].astype(np.int64)
    used = lengths[lengths > 0]
    whole = int((1 << MAX_LENGTH - used).sum())
    if whole != 1 << MAX_LENGTH and not (len(used) == 1 and used[0] == 1) \
            and not (count == 0 and len(used) == 0):
        raise HuffmanError(f"Huffman stream: its {len(used)} code lengths are of "
                           f"{whole / (1 << MAX_LENGTH):.3g} codes: allowed is 1")
    ones = np.unpackbits(np.frombuffer(stream[head + table:], np.uint8), bitorder="little")
    order = np.array(sorted(np.flatnonzero(lengths), key=lambda v: (lengths[v], v)), np.int64)
    if count * max(1, int(used.min(initial=1))) > len(ones):
        raise HuffmanError(f"Huffman stream: {count} fields in {len(ones)} bits")
    fields = np.zeros(count, np.uint8)
    end = _read(ones, np.bincount(lengths, minlength=MAX_LENGTH + 1), order, fields)
    if end < 0:
        raise HuffmanError("Huffman stream: it ends before its last field, or has a code that "
                           "stands for nothing")
    if len(ones) - end >= WORD_BITS or ones[end:].any():
        raise HuffmanError(f"Huffman stream: {len(ones) - end} bits behind its last field: allowed "
                           f"are zeros up to the end of the word")
    whole = count * bits // WORD_BITS * WORD_BYTES
    joined = _joined(fields, bits)
    if joined[whole:].any():
        raise HuffmanError("Huffman stream: the data's last field is not zero beyond its last word")
    return joined[:whole].tobytes()


@njit(cache=True)
def _read(ones, per_length, order, fields):
    at = 0
    for i in range(len(fields)):
        code, first, index = 0, 0, 0
        length = 1
        while True:
            if length > MAX_LENGTH or at >= len(ones):
                return -1
            code |= ones[at]
            at += 1
            if code - first < per_length[length]:
                fields[i] = order[index + code - first]
                break
            index += per_length[length]
            first = first + per_length[length] << 1
            code <<= 1
            length += 1
    return at
