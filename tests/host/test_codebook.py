"""``potN`` and ``apot4``: codes of a codebook, and networks whose weights are stored so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepress.host.codecs.block import decode_blocks, encode_blocks, roundtrip
from litepress.spec.formats import Format

FORMATS = [Format.parse(name) for name in ("pot3", "pot4", "apot4")]


@settings(deadline=None)
@given(st.data(), st.sampled_from(FORMATS), st.integers(1, 40), st.integers(1, 3))
def test_round_trip(data, fmt, blocks, runs):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    wide = data.draw(st.sampled_from([9, 50, 100, 32767]))
    q = rng.integers(-wide, wide + 1, (runs, blocks, 4)).astype(np.int16)
    coded = encode_blocks(q, fmt)
    assert coded.shape == (runs, 4 * -(-blocks * fmt.bits // 8))
    stored = decode_blocks(coded, fmt, blocks)
    assert stored.dtype == np.int16 and np.array_equal(stored, roundtrip(q, fmt))
    assert np.array_equal(roundtrip(stored, fmt), stored)
    levels = np.array([-level for level in fmt.codebook[:0:-1]] + list(fmt.codebook))
    nearest = np.abs(q[..., None].astype(int) - levels).min(axis=-1)
    assert np.array_equal(np.abs(q.astype(int) - stored), nearest)
    assert fmt.range == (-fmt.codebook[-1], fmt.codebook[-1])


@pytest.mark.parametrize("fmt, q, stored, data", [
    # Half way between two levels: the one further from 0.
    ("pot4", [1, -3, 6, 95], [1, -4, 8, 64], [0x1 | 0xb << 4, 0x4 | 0x7 << 4]),
    ("pot3", [32, -8, 48, -32768], [32, -16, 64, -64], [0x2 | 0x5 << 3 | (0x3 & 3) << 6, 0x7 << 1]),
    ("apot4", [40, -56, 0, 72], [48, -64, 0, 80], [0x5 | 0xe << 4, 0x0 | 0x7 << 4])])
def test_literal_codes(fmt, q, stored, data):
    fmt, q = Format.parse(fmt), np.array([q], np.int16)
    assert encode_blocks(q, fmt).tobytes() == bytes([*data, 0, 0])
    assert roundtrip(q, fmt).tolist() == [stored]


def test_a_negative_zero_is_zero():
    for fmt in FORMATS:
        word = sum(1 << fmt.bits * i + fmt.bits - 1 for i in range(4)).to_bytes(4, "little")
        assert decode_blocks(word, fmt, 1).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("text", ["pot2", "pot5", "apot3", "pot", "apot:5", "pot4.3"])
def test_other_names_are_refused(text):
    with pytest.raises(ValueError, match=r"allowed are .*pot3, pot4 and apot4"):
        Format.parse(text)
