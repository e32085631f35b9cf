"""EBPC segments: feature maps in DRAM words, and a container for files.

A segment is one header word, a ZNZ and a BPC stream, or raw words (spec/ebpc.py). Functions take
any number of segments of n words at once.

The container holds values in segments of ``n_per_segment`` words, the last one maybe shorter. All
fields are little endian; segments can be read alone.

======================  ============================================================================
offset                  field
======================  ============================================================================
0                       magic ``EBPC``
4, 5, 6, 7              version = 1, bits of a word, words of a block, signed (0 or 1): a byte each
8                       values, 8 bytes
16                      n_per_segment, 4 bytes
20                      segments = ceil(values / n_per_segment), 4 bytes
24                      index: segments + 1 offsets, 4 bytes each, in 32-bit words from the first
                        segment; the first is 0, the last is where the data end
28 + 4 * segments       the segments, without gaps
======================  ============================================================================
"""

import struct

import numpy as np

from ...spec.ebpc import BPC_WORDS, MAX_ZERO_RUN, RAW, ZERO_RUN_BITS, ZNZ_WORDS
from .ebpc import EBPC, as_text, parse
from .ebpc_lockstep import decode_many
from .ebpc_many import check_code, check_values, encode_many, sizes_many

MAGIC, VERSION = b"EBPC", 1
_HEAD = struct.Struct("<4s4BQII")
_MAX_WORDS = (1 << BPC_WORDS[1]) - 1    # The words a raw segment can have.
_LOCKSTEP = 8                           # For fewer segments the plain parser is faster.


def raw_words(n, word):
    """32-bit words of n words of ``word`` bits. ValueError where no segment can hold them."""
    words = -(-n * word // 32)
    if not 0 <= words <= _MAX_WORDS:
        raise ValueError(f"segment of {n} words of {word} bits: allowed are 0 to "
                         f"{_MAX_WORDS * 32 // word}")
    return words


def segment_lengths(values, word=8, block=8, signed=True):
    """values: ints (segments, n) -> int64 (segments,): 32-bit words of their segments, header
    included, without making them."""
    values, raw = _check(values, word, block, signed)
    znz, bpc = sizes_many(values, word, block)
    return 1 + np.minimum(_words(znz) + _words(bpc), raw)


def encode_segments(values, word=8, block=8, signed=True):
    """values: ints (segments, n) -> (words, lengths): uint32 (segments, 1 + ceil(n * word / 32)),
    padded with zeros, and int64 (segments,), the words of every segment. ValueError on a value out
    of range."""
    values, raw = _check(values, word, block, signed)
    out = np.zeros((len(values), 1 + raw), np.uint32)
    znz, znz_bits, bpc, bpc_bits = encode_many(values, word, block)
    znz_words, bpc_words = _words(znz_bits), _words(bpc_bits)
    coded = znz_words + bpc_words < raw
    for stream, count, begin in ((znz, znz_words, 0), (bpc, bpc_words, znz_words)):
        keep = np.repeat(coded, count)
        count = np.where(coded, count, 0)
        at = _runs(out.shape[1] * np.arange(len(out)) + 1 + begin, count)
        out.reshape(-1)[at] = _turn(stream[keep], word)
    znz_words[~coded], bpc_words[~coded] = 0, raw
    rest = values[~coded]
    data = np.zeros((len(rest), raw * 32 // word), f"<u{word // 8}")
    data[:, :values.shape[1]] = rest.astype(np.int64) & (1 << word) - 1
    out[~coded, 1:] = data.view("<u4")
    raw_flag = (~coded).astype(np.int64)
    out[:, 0] = znz_words << ZNZ_WORDS[0] | bpc_words << BPC_WORDS[0] | raw_flag << RAW[0]
    return out, 1 + znz_words + bpc_words


def stored_words(words):
    """words: uint32 (segments, k), every segment from the beginning of its row -> int64
    (segments,): the words that its header says it has, header included. ValueError: more than k."""
    header = words[:, 0].astype(np.int64)
    lengths = 1 + sum(header >> first & (1 << bits) - 1 for first, bits in (ZNZ_WORDS, BPC_WORDS))
    if (lengths > words.shape[1]).any():
        i = int(np.argmax(lengths > words.shape[1]))
        raise ValueError(f"segment {i}: {lengths[i]} words: allowed are 1 to {words.shape[1]}")
    return lengths


def decode_segments(words, n, word=8, block=8, signed=True):
    """words: uint32 (segments, k), every segment from the beginning of its row, what follows it is
    ignored -> int32 (segments, n). ValueError naming the segment and what is wrong in it."""
    check_code(word, block)
    words = np.asarray(words)
    if words.dtype != np.uint32 or words.ndim != 2:
        raise ValueError(f"segments of {words.dtype} {words.shape}: allowed is uint32 "
                         f"(segments, words)")
    rows, k = words.shape
    begin = k * np.arange(rows)
    fields = _headers(words.reshape(-1), begin, np.full(rows, k), n, word)
    return _decode(words.reshape(-1), begin, fields, n, word, block, signed)


# Container ----------------------------------------------------------------------------------------


def pack(values, n_per_segment, word=8, block=8, signed=True):
    """values: ints of any shape, taken in order -> bytes; see the module's docstring."""
    check_code(word, block)
    raw_words(n_per_segment, word)
    if n_per_segment < 1:
        raise ValueError(f"container of {n_per_segment} words a segment: allowed is 1 and more")
    values = check_values(values, word, signed).reshape(-1)
    whole = len(values) // n_per_segment * n_per_segment
    data, lengths = [], []
    for rows in (values[:whole].reshape(-1, n_per_segment), values[whole:].reshape(1, -1)):
        if rows.size:
            words, length = encode_segments(rows, word, block, signed)
            data.append(words[np.arange(words.shape[1]) < length[:, None]].astype("<u4").tobytes())
            lengths.append(length)
    index = np.cumsum(np.concatenate([[0], *lengths]).astype(np.int64))
    if index[-1] >= 1 << 32:
        raise ValueError(f"container of {index[-1]} words of 32 bits: allowed are {(1 << 32) - 1}")
    head = _HEAD.pack(MAGIC, VERSION, word, block, bool(signed), len(values), n_per_segment,
                      len(index) - 1)
    return b"".join([head, index.astype("<u4").tobytes(), *data])


def unpack(data):
    """Bytes of pack -> int32 (values,). ValueError on anything that is not such a container."""
    file = _Container(data)
    whole = file.total // file.n
    # All headers first: they bound n, so that a corrupt file cannot ask for too much memory.
    ranges = [(0, whole, file.n)]
    if file.total % file.n:
        ranges.append((whole, whole + 1, file.total % file.n))
    fields = [file.fields(first, last, n) for first, last, n in ranges]
    parts = [_decode(file.words, file.index[first:last], field, n, *file.code, first=first)
             for (first, last, n), field in zip(ranges, fields, strict=True)]
    return np.concatenate([part.reshape(-1) for part in parts])


def unpack_segment(data, i):
    """Bytes of pack -> the words of segment i alone, int32 (n_per_segment or less,)."""
    file = _Container(data)
    if not 0 <= i < file.segments:
        raise ValueError(f"segment {i}: the container has {file.segments}")
    n = min(file.n, file.total - i * file.n)
    fields = file.fields(i, i + 1, n)
    return _decode(file.words, file.index[i:i + 1], fields, n, *file.code, first=i)[0]


class _Container:
    """A container's header and index, checked. ``code``: (word, block, signed)."""

    def __init__(self, data):
        data = memoryview(data).cast("B")
        if len(data) < _HEAD.size:
            raise ValueError(f"EBPC container of {len(data)} bytes: its header takes {_HEAD.size}")
        magic, version, word, block, signed, self.total, self.n, self.segments = (
            _HEAD.unpack_from(data))
        if magic != MAGIC:
            raise ValueError(f"EBPC container begins with {magic!r}: {MAGIC!r} is expected")
        if version != VERSION:
            raise ValueError(f"EBPC container of version {version}: {VERSION} is expected")
        check_code(word, block)
        if signed > 1:
            raise ValueError(f"EBPC container: signed is {signed}: 0 or 1 is expected")
        self.code = word, block, bool(signed)
        if self.n < 1:
            raise ValueError(f"EBPC container of {self.n} words a segment: 1 or more is expected")
        raw_words(self.n, word)
        expected = -(-self.total // self.n)
        if self.segments != expected:
            raise ValueError(f"EBPC container of {self.segments} segments: {expected} are expected "
                             f"for {self.total} values")
        begin = _HEAD.size + 4 * (self.segments + 1)
        if len(data) < begin:
            raise ValueError(f"EBPC container of {len(data)} bytes: header and index take {begin}")
        self.index = np.frombuffer(data[_HEAD.size:begin], "<u4").astype(np.int64)
        wrong = np.flatnonzero(np.diff(self.index) < 1)
        if self.index[0] or len(wrong):
            at = int(wrong[0]) + 1 if not self.index[0] else 0
            what = f"more than {self.index[at - 1]}" if at else "0"
            raise ValueError(f"EBPC container: index entry {at} is {self.index[at]}: {what} is "
                             f"expected")
        if len(data) != begin + 4 * self.index[-1]:
            raise ValueError(f"EBPC container of {len(data)} bytes: {begin + 4 * self.index[-1]} "
                             f"are expected by its index")
        self.words = np.frombuffer(data[begin:], "<u4")

    def fields(self, first, last, n):
        """_headers of segments first .. last - 1; each must be as long as the index says."""
        begin, space = self.index[first:last], np.diff(self.index[first:last + 1])
        fields = _headers(self.words, begin, space, n, self.code[0], first=first)
        wrong = np.flatnonzero(1 + fields[0] + fields[1] != space)
        if len(wrong):
            i = wrong[0]
            raise ValueError(f"segment {first + i} of {1 + fields[0][i] + fields[1][i]} words: "
                             f"{space[i]} are expected by the index")
        return fields


# Parts --------------------------------------------------------------------------------------------


def _check(values, word, block, signed):
    check_code(word, block)
    values = check_values(values, word, signed)
    if values.ndim != 2:
        raise ValueError(f"segments of values {values.shape}: allowed is (segments, n)")
    return values, raw_words(values.shape[1], word)


def _words(bits):
    return -(-bits // 32)


def _runs(begin, count):
    """Indices begin, begin + 1, ..., count of them, for every pair, int64."""
    return np.arange(count.sum()) + np.repeat(begin - (np.cumsum(count) - count), count)


def _turn(words, word):
    """Between 32 bits of a stream, first bit on top, and a DRAM word, first m-bit word lowest."""
    if word == 8:
        return words.byteswap()
    return words << np.uint32(16) | words >> np.uint32(16)


def _headers(words, begin, space, n, word, first=0):
    """Checked headers of the segments at words[begin], which have space words each: (znz_words,
    bpc_words, raw), int64, int64 and bool (segments,)."""
    expected = raw_words(n, word)

    def refuse(wrong, text):
        if wrong.any():
            i = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"segment {first + i}: {text(i)}")

    refuse(space < 1, lambda i: "no words: a header is expected")
    header = words[begin].astype(np.int64)
    znz, bpc, raw = (header >> low & (1 << bits) - 1 for low, bits in (ZNZ_WORDS, BPC_WORDS, RAW))
    raw = raw.astype(bool)
    refuse(1 + znz + bpc > space, lambda i: f"{1 + znz[i] + bpc[i]} words by its header, "
           f"{space[i]} are there")
    refuse(raw & ((znz > 0) | (bpc != expected)), lambda i: f"raw, with {znz[i]} + {bpc[i]} words: "
           f"0 + {expected} are expected for {n} values")
    runs, rest = divmod(n, MAX_ZERO_RUN)
    least = -(-((1 + ZERO_RUN_BITS) * runs + min(1 + ZERO_RUN_BITS, rest)) // 32)   # All zeros.
    refuse(~raw & (znz < least), lambda i: f"{znz[i]} ZNZ words: at least {least} are expected "
           f"for {n} values")
    return znz, bpc, raw


def _decode(words, begin, fields, n, word, block, signed, first=0):
    """Segments at words[begin] with checked headers -> int32 (segments, n)."""
    znz, bpc, raw = fields
    out = np.zeros((len(begin), n), np.int32)

    at = begin[raw][:, None] + 1 + np.arange(raw_words(n, word))
    data = words[at].astype("<u4").view(f"<{'i' if signed else 'u'}{word // 8}")
    wrong = np.flatnonzero(data[:, n:].any(axis=1))
    if len(wrong):
        i = first + int(np.flatnonzero(raw)[wrong[0]])
        raise ValueError(f"segment {i}: padding behind its {n} raw words is not 0")
    out[raw] = data[:, :n]

    coded = np.flatnonzero(~raw)
    znz, bpc, begin = znz[coded], bpc[coded], begin[coded] + 1
    znz_stream = _turn(words[_runs(begin, znz)], word)
    bpc_stream = _turn(words[_runs(begin + znz, bpc)], word)

    def plain(i):
        texts = [as_text(stream[count[:i].sum():count[:i + 1].sum()].astype(">u4").tobytes())
                 for stream, count in ((znz_stream, znz), (bpc_stream, bpc))]
        try:
            return parse(*texts, n, EBPC(word, block, signed), 32)
        except ValueError as error:
            raise ValueError(f"segment {first + coded[i]}: {error}") from None

    if len(coded) < _LOCKSTEP:
        for i, row in enumerate(coded):
            out[row] = plain(i)
        return out
    out[coded], bad = decode_many(znz_stream, znz, bpc_stream, bpc, n, word, block, signed)
    for i in np.flatnonzero(bad)[:1]:
        plain(i)
        raise AssertionError(f"segment {first + coded[i]}: the two parsers disagree")
    return out
