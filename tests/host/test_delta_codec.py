"""Delta-compressed weights: the paper's vectors, round trips, ranges, layout, errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepress.host.codecs import Delta
from litepress.host.codecs.delta import (
    paper_claimed_bits,
    paper_clip,
    paper_compress,
    paper_inflate,
    paper_needed_bits,
)

# --- paper mode


@pytest.mark.parametrize(("offset", "d", "expected"), [
    (0, [-16, 16, -8, 8, -4, 4, 0], [-7, 7, -7, 7, -4, 4, 0]),
    (1, [-16, 16, -8, 8, -4, 4, 0], [-15, 15, -8, 8, -4, 4, 2]),
    (2, [-32, 32, -16, 16, -8, 8], [-31, 31, -16, 16, -8, 8])])
def test_paper_clamp_vectors(offset, d, expected):
    assert paper_clip(d, 4, offset).tolist() == expected


@pytest.mark.parametrize(("offset", "d", "expected"), [
    (0, [-9, 9, -4, 4, -2, 1], [-1, 1, -4, 4, -2, 1]),
    (4, [-72, 72, -64, 64, -136, 136, -144, 144], [-64, 64, -64, 64, 0, 0, -16, 16])])
def test_paper_mask_vectors(offset, d, expected):
    assert paper_clip(d, 4, offset, clamp=False).tolist() == expected


def test_paper_fixed_reference_vector():
    q = np.trunc(np.array([1, 1.0625, 1.125, 1.1875, 1.375]) * 16).astype(int)
    d = paper_compress(q, 4)
    assert d.tolist() == [16, 1, 2, 3, 6]
    assert paper_inflate(d).tolist() == q.tolist()


def test_paper_consecutive_is_open_loop():
    """What clipping loses at one weight is lost for all behind it; the last clamp is to 8 bits."""
    d = paper_compress(np.array([0, 20, 20, 22]), 4, reference="consecutive")
    assert d.tolist() == [0, 7, 0, 2]
    assert paper_inflate(d, "consecutive").tolist() == [0, 7, 7, 9]
    assert paper_inflate(np.array([120, 7, 7, -20]), "consecutive").tolist() == [120, 127, 127, 114]
    assert paper_inflate(np.array([-120, -40, 7])).tolist() == [-120, -128, -113]


@pytest.mark.parametrize("clamp", (True, False))
@pytest.mark.parametrize("offset", (0, 1, 2, 3))
@pytest.mark.parametrize("bits", (2, 4, 6))
def test_paper_bits_needed_are_those_of_all_values(bits, offset, clamp):
    values = np.unique(paper_clip(np.arange(-4096, 4096), bits, offset, clamp))
    if not clamp:
        assert (values % (1 << offset) == 0).all()
        values >>= offset
    elif offset:
        assert len(values) == (1 << bits + offset) - (2 << offset)
    width = int(max(values.max(), -values.min())).bit_length() + 1
    assert paper_needed_bits(1001, bits, offset, clamp) == 8 + 1000 * width
    assert paper_claimed_bits(1001, bits) == 8 + 1000 * bits


def test_56_values_do_not_fit_4_bits():
    assert len(np.unique(paper_clip(np.arange(-300, 300), 4, 2))) == 56


def test_storage_of_the_papers_network():
    dims = (784, 150, 16, 400, 120, 84, 10)
    layers = list(zip(dims[1:], dims[:-1], strict=True))
    assert sum(paper_claimed_bits(a * b, 4) for a, b in layers) == 741_304
    assert sum(paper_needed_bits(a * b, 4, 2) for a, b in layers) == 741_304 + 2 * (185_320 - 6)
    assert sum(Delta(4).storage_bits(*n) for n in layers) == 741_280 + 780 * 11
    assert sum(Delta(4, offset=4).storage_bits(*n) for n in layers) == 741_280 + 780 * 8 + 6 * 3


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(2, 6), st.sampled_from(("fixed", "consecutive")),
       st.integers(0, 7), st.booleans())
def test_paper_stream_round_trip(data, bits, reference, offset, clamp):
    rows, taps = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
    q = np.array(data.draw(st.lists(st.integers(-128, 127), min_size=rows * taps,
                                    max_size=rows * taps))).reshape(rows, taps)
    codec = Delta(bits, reference, "paper", offset, clamp)
    stream = codec.encode(q)
    assert len(stream) == -(-codec.storage_bits(rows, taps) // 8)
    expected = paper_inflate(paper_compress(q, bits, offset, reference, clamp), reference)
    got = codec.decode(stream, rows, taps)
    assert got.dtype == np.int16 and np.array_equal(got, expected.reshape(rows, taps))


# --- improved mode


@st.composite
def codecs(draw):
    return Delta(draw(st.integers(2, 6)), draw(st.sampled_from(("fixed", "consecutive"))),
                 offset=draw(st.sampled_from((None, 0, 3, 4, 7))))


@st.composite
def weights(draw, codec):
    low, high = codec.range
    rows, taps = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    top = draw(st.sampled_from((4, 40, 127, -low)))
    values = st.integers(max(low, -top), min(high, top))
    return np.array(draw(st.lists(values, min_size=rows * taps, max_size=rows * taps)),
                    np.int32).reshape(rows, taps)


def inflated(codec, r, o, d):
    """As the docstring says, one after the other."""
    w = np.zeros(d.shape, int)
    for row in range(len(d)):
        before = int(r[row])
        for i in range(d.shape[1]):
            w[row, i] = before + (int(d[row, i]) << int(o[row]))
            if codec.reference == "consecutive":
                before = w[row, i]
    return w


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_round_trip(data):
    codec = data.draw(codecs())
    q = data.draw(weights(codec))
    r, o, d = codec.fit(q)
    half = 1 << codec.bits - 1
    assert r.min() >= -128 and r.max() <= 127 and d.min() >= -half and d.max() < half
    assert o.max() <= 7 and (codec.offset is None or (o == codec.offset).all())
    w = inflated(codec, r, o, d)
    slack = 64 if codec.reference == "consecutive" else 0
    assert w.min() >= codec.range[0] - slack and w.max() <= codec.range[1] + slack
    stream = codec.encode(q)
    layer = 3 if codec.offset is not None else 0
    assert len(stream) == -(-(codec.storage_bits(*q.shape) - layer) // 8)
    got = codec.decode(stream, *q.shape)
    assert got.dtype == np.int16 and np.array_equal(got, w)
    assert np.array_equal(codec.values(r, o, d), w)
    if codec.range[0] <= w.min() and w.max() <= codec.range[1]:
        assert np.array_equal(codec.decode(codec.encode(w), *w.shape), w)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(2, 6), st.sampled_from((None, 1, 4)))
def test_no_fixed_reference_has_a_smaller_error(data, bits, offset):
    codec = Delta(bits, offset=offset)
    q = data.draw(weights(codec))
    w = codec.decode(codec.encode(q), *q.shape)
    half = 1 << bits - 1
    best = np.full(len(q), np.iinfo(np.int64).max)
    r = np.arange(-128, 128)[:, None, None]
    for o in range(8) if offset is None else (offset,):
        d = np.clip(np.floor((q - r) / (1 << o) + 0.5), -half, half - 1).astype(int)
        best = np.minimum(best, ((q - r - d * (1 << o)) ** 2).sum(axis=2).min(axis=0))
    assert np.array_equal(((q - w) ** 2).sum(axis=1), best)


def test_consecutive_is_closed_loop():
    """A jump too wide for one delta is caught up with, which clipping alone would never do."""
    codec = Delta(4, "consecutive", offset=0)
    q = np.array([[0, 20, 20, 20, 20]])
    assert codec.decode(codec.encode(q), 1, 5).tolist() == [[0, 7, 14, 20, 20]]
    walk = np.cumsum(np.random.default_rng(1).integers(-7, 8, (3, 200)), axis=1)
    walk = np.clip(walk, *codec.range)
    assert np.array_equal(codec.decode(codec.encode(walk), 3, 200), walk)


def test_halves_are_rounded_upwards_and_ends_clip():
    q = np.array([[-200, -25, -24, -8, -7, 7, 8, 24, 199]])
    for reference, expected in (("fixed", [-8, -2, -1, 0, 0, 0, 1, 2, 7]),
                                ("consecutive", [-8, 6, 1, 1, 0, 0, 1, 1, 7])):
        d = Delta(4, reference).quantize(q, [0], [4])
        assert d.dtype == np.int8 and d.tolist() == [expected]


def test_of_equal_errors_the_smallest_offset_and_the_nearest_reference():
    r, o, d = Delta(4).fit(np.array([[5, 5, 5], [0, 7, -7]]))
    assert r.tolist() == [5, 0] and o.tolist() == [0, 0]
    assert d.tolist() == [[0, 0, 0], [0, 7, -7]]


@pytest.mark.parametrize("bits, offset", ((2, 0), (4, 4), (6, 7)))
def test_the_first_weight_is_the_nearest_there_is(bits, offset):
    """One tap of every value around the ends of the references, which stay within 8 bits."""
    codec = Delta(bits, "consecutive", offset=offset)
    low, high = codec.range
    half = 1 << bits - 1
    reachable = np.add.outer(np.arange(-128, 128), np.arange(-half, half) << offset).ravel()
    q = np.concatenate([np.arange(max(low, v - 70), min(high, v + 70) + 1)
                        for v in (-128, 0, 127, low, high)])[:, None]
    r, o, d = codec.fit(q)
    assert r.min() >= -128 and r.max() <= 127
    assert np.array_equal(np.abs(codec.values(r, o, d) - q)[:, 0],
                          np.abs(reachable - q).min(axis=1))


def test_layout():
    """r, o, then the deltas, LSB first; the second row begins in the middle of a byte."""
    q = np.array([[-3 + (-8 << 4), -3 + (7 << 4), -3], [5 + (-8 << 4), 5 + (7 << 4), 5 - (1 << 4)]])
    number = at = 0
    for r, deltas in ((-3, (-8, 7, 0)), (5, (-8, 7, -1))):
        for value, width in ((r, 8), (4, 3), *((d, 4) for d in deltas)):
            number |= (value & (1 << width) - 1) << at
            at += width
    assert Delta(4).encode(q) == number.to_bytes(6, "little")
    assert Delta(4).decode(number.to_bytes(6, "little"), 2, 3).tolist() == q.tolist()


@settings(deadline=None, max_examples=60)
@given(st.binary(min_size=9, max_size=9), st.integers(2, 6))
def test_any_bytes_of_a_fixed_stream_decode_within_the_range(stream, bits):
    taps = (72 - 11) // bits
    spare = 72 - 11 - taps * bits
    stream = stream[:8] + bytes([stream[8] & 0xff >> spare])
    codec = Delta(bits)
    w = codec.decode(stream, 1, taps)
    assert w.min() >= codec.range[0] and w.max() <= codec.range[1]
    assert np.array_equal(codec.decode(codec.encode(w), 1, taps), w)


def test_a_consecutive_stream_that_leaves_int16_is_refused():
    codec = Delta(6, "consecutive")
    stream = (127 | 7 << 8 | sum(31 << 11 + 6 * i for i in range(9))).to_bytes(9, "little")
    with pytest.raises(ValueError, match=r"weights 4095 to 35839: allowed are -32768 to 32767"):
        codec.decode(stream, 1, 9)


@pytest.mark.parametrize(("options", "message"), [
    ({"bits": 1}, "Delta bits = 1: allowed are 2 to 6"),
    ({"bits": 7}, "Delta bits = 7: allowed are 2 to 6"),
    ({"reference": "last"}, "Delta reference 'last': allowed are fixed, consecutive"),
    ({"mode": "new"}, "Delta mode 'new': allowed are improved, paper"),
    ({"offset": 8}, "Delta offset = 8: allowed are 0 to 7, or None")])
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        Delta(**options)


def test_arguments_are_checked():
    codec = Delta(4)
    low, high = codec.range
    assert (low, high) == (-128 - (8 << 7), 127 + (7 << 7))
    for q in ([[low, high]], [[high]]):
        codec.encode(np.array(q))
    for q in ([[low - 1]], [[high + 1]]):
        with pytest.raises(ValueError, match=f"allowed with 4 bits are {low} to {high}"):
            codec.encode(np.array(q))
    with pytest.raises(ValueError, match=r"weights of float64 \(1, 2\): allowed are integers"):
        codec.encode(np.zeros((1, 2)))
    for shape in ((4,), (0, 3), (2, 0), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"allowed are integers \(rows, taps\)"):
            codec.encode(np.zeros(shape, int))
    stream = codec.encode(np.zeros((2, 3), int))
    for wrong in (stream[:-1], stream + b"\0"):
        with pytest.raises(ValueError, match=f"stream of {len(wrong)} bytes: 2 x 3 weights of 4 "
                                             f"bits take 6"):
            codec.decode(wrong, 2, 3)
    with pytest.raises(ValueError, match="bits behind the last delta are not zero"):
        codec.decode(stream[:-1] + b"\x80", 2, 3)
    with pytest.raises(ValueError, match="rows = 0, taps = 3"):
        codec.decode(b"", 0, 3)
    with pytest.raises(ValueError, match="mode 'paper' has no fit"):
        Delta(4, mode="paper").fit(np.zeros((1, 1), int))
    with pytest.raises(ValueError, match="integers from -128 to 127"):
        paper_compress(np.array([128]), 4)
