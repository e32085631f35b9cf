"""EBPC segments and their container: layout, raw fallback, round trips, corrupt data."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepress.host.codecs import EBPC
from litepress.host.codecs.ebpc_many import value_range
from litepress.host.codecs.segments import (
    decode_segments,
    encode_segments,
    pack,
    raw_words,
    segment_lengths,
    unpack,
    unpack_segment,
)

CODES = [(word, block, signed) for word in (8, 16) for block in (8, 16) for signed in (True, False)]
DENSE = [-84, 80, 38, 105, 1, 27, 120, 58]
codes = pytest.mark.parametrize("word, block, signed", CODES)


def sample(rng, word, signed, shape):
    """Rows from all zeros over smooth ones to noise."""
    low, high = value_range(word, signed)
    span = 1 << rng.integers(0, word + 1, (shape[0], 1))
    values = np.clip(rng.integers(0, span, shape) + rng.integers(low, high + 1, (shape[0], 1)),
                     low, high)
    return np.where(rng.random(shape) < rng.choice([0, 0.3, 0.9, 1], (shape[0], 1)), 0, values)


def plain_segment(values, word, block, signed):
    """One segment from the codec's bytes, as the spec says: a list of 32-bit words."""
    def pad(data):
        data = data + bytes(-len(data) % 4)
        return list(struct.unpack(f"<{len(data) // 4}I", data))

    values = [int(v) for v in values]
    znz, bpc = (pad(data) for data in EBPC(word, block, signed).encode(np.array(values, int)))
    raw = pad(b"".join((v % 2**word).to_bytes(word // 8, "little") for v in values))
    if len(znz) + len(bpc) >= len(raw):
        return [len(raw) << 16 | 1 << 31, *raw]
    return [len(znz) | len(bpc) << 16, *znz, *bpc]


# Segments -----------------------------------------------------------------------------------------


@codes
def test_equals_plain_segments(word, block, signed):
    rng = np.random.default_rng(word + block + signed)
    for n in (0, 1, 2, 3, 15, 16, 64, 100, 1024):
        values = sample(rng, word, signed, (25, n))
        words, lengths = encode_segments(values, word, block, signed)
        assert words.dtype == np.uint32 and words.shape == (25, 1 + -(-n * word // 32))
        for row, segment, length in zip(values, words, lengths, strict=True):
            plain = plain_segment(row, word, block, signed)
            assert segment[:length].tolist() == plain and not segment[length:].any()
        assert np.array_equal(segment_lengths(values, word, block, signed), lengths)
        decoded = decode_segments(words, n, word, block, signed)
        assert decoded.dtype == np.int32 and np.array_equal(decoded, values)


def test_words_of_a_segment():
    words, lengths = encode_segments(np.array([[3] * 8, [0] * 8, DENSE]))
    assert lengths.tolist() == [3, 2, 3]
    assert words.tolist() == [
        [1 << 31 | 2 << 16, 0x03030303, 0x03030303],      # 1 + 1 words are no fewer than 2.
        [1, 0x38, 0],                                     # 0 0111, then padding.
        [1 << 31 | 2 << 16, 0x692650ac, 0x3a781b01],
    ]


@codes
def test_never_longer_than_raw(word, block, signed):
    rng = np.random.default_rng(5)
    low, high = value_range(word, signed)
    for n in (1, 7, 48, 333):
        dense = rng.integers(low, high + 1, (40, n))
        values = np.concatenate([dense, np.full((1, n), high), np.zeros((1, n), int)])
        words, lengths = encode_segments(values, word, block, signed)
        assert lengths.max() <= 1 + raw_words(n, word) == words.shape[1]
        assert (words[:40, 0] >> 31).sum() >= 35 or n == 1
        assert np.array_equal(decode_segments(words, n, word, block, signed), values)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(CODES), st.data())
def test_round_trip(code, data):
    low, high = value_range(code[0], code[2])
    n = data.draw(st.integers(1, 40))
    word = st.one_of(st.just(0), st.integers(max(low, -3), 3), st.integers(low, high))
    rows = data.draw(st.lists(st.lists(word, min_size=n, max_size=n), min_size=1, max_size=6))
    words, lengths = encode_segments(np.array(rows), *code)
    assert (lengths <= 1 + raw_words(n, code[0])).all()
    # What follows a segment in its row is not a part of it.
    words = np.pad(words, ((0, 0), (0, 2)))
    words[np.arange(words.shape[1]) >= lengths[:, None]] = 0xdeadbeef
    assert decode_segments(words, n, *code).tolist() == rows


@pytest.mark.parametrize("change, text", [
    ({(1, 0): 1 << 31 | 2 << 16}, "segment 1: raw, with 0 + 2 words: 0 + 4 are expected for 16 "
                                  "values"),
    ({(1, 0): 1 << 31 | 4 << 16 | 1}, "segment 1: 6 words by its header, 5 are there"),
    ({(2, 0): 4 << 16 | 1}, "segment 2: 6 words by its header, 5 are there"),
    ({(2, 0): 0}, "segment 2: 0 ZNZ words: at least 1 are expected for 16 values"),
    ({(0, 0): 1 << 16 | 2}, "segment 0: ZNZ stream has 2 words of 32 bits: 1 are expected"),
    ({(0, 1): 0xff}, "segment 0: ZNZ stream ends at bit 32: a zero run of 5 bits is expected "
                    "from bit 28"),
    ({(0, 1): 0x1ffff}, "segment 0: ZNZ stream, bit 23: padding is 1: 0 is expected"),
    ({(2, 1): 0x1078}, "segment 2: ZNZ stream, bit 11: padding is 1: 0 is expected"),
])
def test_refuses_segments(change, text):
    rows = np.array([[3] * 16, DENSE * 2, [0] * 16])
    words, lengths = encode_segments(rows)
    assert lengths.tolist() == [3, 5, 2]
    for place, value in change.items():
        words[place] = value
    with pytest.raises(ValueError) as error:
        decode_segments(words, 16)
    assert str(error.value) == text


def test_refuses_raw_padding_and_shapes():
    words, _ = encode_segments(np.array([[1, 2, 3]] * 4))
    words[2, 1] |= 1 << 24
    with pytest.raises(ValueError, match="segment 2: padding behind its 3 raw words is not 0"):
        decode_segments(words, 3)
    with pytest.raises(ValueError, match=r"segments of int64 \(2, 2\): allowed is uint32"):
        decode_segments(np.zeros((2, 2), np.int64), 3)
    with pytest.raises(ValueError, match=r"segments of values \(4,\): allowed is \(segments, n\)"):
        encode_segments(np.zeros(4, int))
    with pytest.raises(ValueError, match="segment 0: no words: a header is expected"):
        decode_segments(np.zeros((2, 0), np.uint32), 3)
    with pytest.raises(ValueError, match="segment of 131069 words of 8 bits: allowed are 0 to "
                                         "131068"):
        encode_segments(np.zeros((1, 131069), int))
    with pytest.raises(ValueError, match="EBPC value 300 at 3: allowed is -128 to 127"):
        encode_segments(np.array([[1, 2], [3, 300]]))


def test_longest_segment():
    values = np.tile(DENSE, 16384)[None, :131068]
    words, lengths = encode_segments(values)
    assert lengths[0] == 32768 and words[0, 0] == 0xffff0000
    assert np.array_equal(decode_segments(words, 131068), values)
    sparse = np.where(np.arange(131068) % 50, 0, values)
    words, lengths = encode_segments(sparse)
    assert np.array_equal(decode_segments(words, 131068), sparse)


@codes
def test_damaged_segments_end(word, block, signed):
    """A flipped bit: values or one line that names the segment, whatever it hits."""
    rng = np.random.default_rng(11)
    values = sample(rng, word, signed, (40, 50))
    words, lengths = encode_segments(values, word, block, signed)
    refused = 0
    for i, length in enumerate(lengths):
        for bit in rng.integers(0, 32 * length, 5):
            damaged = words.copy()
            damaged[i, bit // 32] ^= np.uint32(1 << bit % 32)
            try:
                decoded = decode_segments(damaged, 50, word, block, signed)
            except ValueError as error:
                assert str(error).startswith(f"segment {i}: ") and "\n" not in str(error)
                refused += 1
            else:
                others = np.arange(40) != i
                assert np.array_equal(decoded[others], values[others])
    assert refused >= 20


# Container ----------------------------------------------------------------------------------------


@codes
def test_container_round_trip(word, block, signed):
    rng = np.random.default_rng(2)
    for total, n in ((0, 5), (1, 5), (5, 5), (12, 5), (1000, 64), (1024, 64), (300, 1000), (9, 1)):
        values = sample(rng, word, signed, (20, 64)).reshape(-1)[:total]
        data = pack(values, n, word, block, signed)
        assert np.array_equal(unpack(data), values)
        for i in range(-(-total // n)):
            assert np.array_equal(unpack_segment(data, i), values[i * n:(i + 1) * n])


def test_container_layout():
    data = pack(np.array([[0] * 8, DENSE, [3] * 8])[:, :7], 8, 8, 16, True)
    head = struct.unpack("<4s4BQII", data[:24])
    assert head == (b"EBPC", 1, 8, 16, 1, 21, 8, 3)
    index = struct.unpack("<4I", data[24:40])
    values = [0] * 7 + DENSE[:7] + [3] * 7
    words = []
    for i, row in enumerate((values[:8], values[8:16], values[16:])):
        assert index[i] == len(words)
        words += plain_segment(row, 8, 16, True)
    assert index[3] == len(words) and data[40:] == struct.pack(f"<{len(words)}I", *words)


def container():
    values = np.where(np.arange(100) % 3, 0, np.arange(100) - 50)
    return values, bytearray(pack(values, 32))


@pytest.mark.parametrize("at, code, value, text", [
    (0, "<B", 0x65, "EBPC container begins with b'eBPC': b'EBPC' is expected"),
    (4, "<B", 2, "EBPC container of version 2: 1 is expected"),
    (5, "<B", 9, "EBPC word of 9 bits: allowed are (8, 16)"),
    (6, "<B", 4, "EBPC block of 4 words: allowed are (8, 16)"),
    (7, "<B", 2, "EBPC container: signed is 2: 0 or 1 is expected"),
    (8, "<Q", 129, "EBPC container of 4 segments: 5 are expected for 129 values"),
    (8, "<Q", 1 << 60, f"EBPC container of 4 segments: {1 << 55} are expected for {1 << 60} "
                       "values"),
    (16, "<I", 0, "EBPC container of 0 words a segment: 1 or more is expected"),
    (16, "<I", 1 << 30, f"segment of {1 << 30} words of 8 bits: allowed are 0 to 131068"),
    (20, "<I", 3, "EBPC container of 3 segments: 4 are expected for 100 values"),
    (24, "<I", 1, "EBPC container: index entry 0 is 1: 0 is expected"),
    (32, "<I", 0, "EBPC container: index entry 2 is 0: more than 7 is expected"),
    (28, "<I", 5, "segment 0: 7 words by its header, 5 are there"),
    (44, "<I", 2 << 16 | 3, "segment 0 of 6 words: 7 are expected by the index"),
    (44, "<I", 1 << 16, "segment 0: 0 ZNZ words: at least 1 are expected for 32 values"),
])
def test_refuses_container(at, code, value, text):
    _, data = container()
    struct.pack_into(code, data, at, value)
    with pytest.raises(ValueError) as error:
        unpack(data)
    assert str(error.value) == text


def test_refuses_cut_container():
    values, data = container()
    for cut in range(len(data)):
        with pytest.raises(ValueError, match=r"EBPC container of \d+ bytes"):
            unpack(data[:cut])
    with pytest.raises(ValueError, match=r"bytes: .* are expected by its index"):
        unpack(bytes(data) + bytes(4))
    with pytest.raises(ValueError, match="segment 4: the container has 4"):
        unpack_segment(data, 4)
    assert np.array_equal(unpack(data), values)


def test_damaged_segment_leaves_others_readable():
    values, data = container()
    begin = 44 + 4 * struct.unpack_from("<I", data, 28)[0]
    struct.pack_into("<I", data, begin + 4, 0)
    with pytest.raises(ValueError, match="segment 1: ZNZ"):
        unpack(data)
    with pytest.raises(ValueError, match="segment 1: ZNZ"):
        unpack_segment(data, 1)
    for i in (0, 2, 3):
        assert np.array_equal(unpack_segment(data, i), values[32 * i:32 * i + 32])


def test_damaged_containers_end():
    rng = np.random.default_rng(8)
    _, good = container()
    refused = 0
    for _ in range(500):
        data = bytearray(good)
        for at in rng.integers(0, len(data), 1 + rng.integers(3)):
            data[at] ^= 1 << rng.integers(8)
        try:
            unpack(data)
        except ValueError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 300


@pytest.mark.parametrize("n, text", [
    (0, "container of 0 words a segment: allowed is 1 and more"),
    (131069, "segment of 131069 words of 8 bits: allowed are 0 to 131068"),
])
def test_refuses_segment_size(n, text):
    with pytest.raises(ValueError) as error:
        pack([1, 2], n)
    assert str(error.value) == text
