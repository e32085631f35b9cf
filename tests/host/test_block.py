"""Runs of blocks: packing against a plain model, roundtrip, shapes, errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litepress.host.codecs.block import decode_blocks, encode_blocks, roundtrip
from litepress.host.codecs.segments import encode_segments
from litepress.host.codecs.zfpe import encode16
from litepress.host.codecs.zfpe_improved import encode_improved
from litepress.spec.formats import ZFPE, ZFPI_KINDS, Format

FORMATS = [Format.parse(name) for name in
           ["raw8", "raw8u", "raw16", *(f"zfpe{bits}" for bits in range(4, 17)),
            *(f"zfpi{bits}{suffix}" for bits in range(4, 16) for suffix in ("", "u", "n", "nu")),
            "ebpc8.1", "ebpc8.5", "ebpc8u.3"]]


def plain_run(q, fmt):
    """Bytes of one run, block by block in Python integers."""
    low, high = fmt.range
    if fmt.segment:
        words = []
        for i in range(0, len(q), fmt.segment):
            part = np.clip(q[i:i + fmt.segment], low, high).reshape(1, -1)
            words += encode_segments(part, 8, 8, low < 0)[0][0].tolist()
        return np.array(words, "<u4").tobytes()
    run = 0
    for i, block in enumerate(q):
        if fmt.kind == ZFPE:
            bits = int(encode16(block[None], fmt.bits)[0])
        elif fmt.kind in ZFPI_KINDS:
            bits = int(encode_improved(block[None], fmt)[0])
        else:
            bits = sum((min(max(int(v), low), high) & (1 << fmt.bits) - 1) << lane * fmt.bits
                       for lane, v in enumerate(block))
        run |= bits << i * fmt.block_bits
    return run.to_bytes(4 * fmt.run_words(len(q)), "little")


@settings(max_examples=150, deadline=None)
@given(fmt=st.sampled_from(FORMATS), data=st.data())
def test_runs(fmt, data):
    shape = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 9), st.just(4)))
    q = data.draw(arrays(np.int16, shape))
    coded = encode_blocks(q, fmt)
    assert coded.dtype == np.uint8 and coded.shape == (shape[0], 4 * fmt.run_words(shape[1]))
    for run, values in zip(coded, q, strict=True):
        assert run.tobytes() == plain_run(values, fmt)
    decoded = decode_blocks(coded, fmt, shape[1])
    assert decoded.dtype == np.int16 and decoded.shape == shape
    again = roundtrip(q, fmt)
    assert again.dtype == np.int16 and np.array_equal(again, decoded)
    if fmt.lossless:
        assert np.array_equal(decoded, np.clip(q, *fmt.range))


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_roundtrip_of_many(fmt):
    # More than one chunk, an odd number of blocks, an array that is not contiguous.
    rng = np.random.default_rng(fmt.code)
    n = 9001
    q = (np.exp2(rng.uniform(0, 15, (n, 1, 1))) * rng.uniform(-1, 1, (n, 2, 4))).astype(np.int16)
    expected = decode_blocks(encode_blocks(q.swapaxes(0, 1), fmt), fmt, n)
    assert np.array_equal(roundtrip(q, fmt), expected.swapaxes(0, 1))
    assert np.array_equal(roundtrip(q.swapaxes(0, 1), fmt), expected)


def test_all_int16_values_survive_as_constant_blocks_at_16_bits():
    fmt = Format.parse("zfpe16")
    q = np.arange(-32768, 32768).astype(np.int16).repeat(4).reshape(-1, 4)
    assert np.abs(roundtrip(q, fmt) - q.astype(int)).max() <= 11   # 2/3 of the last bit, 16.
    assert np.array_equal(roundtrip(np.zeros((3, 4), np.int16), fmt), np.zeros((3, 4)))


def test_roundtrip_returns_a_copy():
    q = np.ones((2, 4), np.int16)
    for fmt in FORMATS:
        assert not np.shares_memory(roundtrip(q, fmt), q)


def test_bytes_and_longer_runs_are_taken():
    fmt = Format.parse("zfpe5")
    q = np.arange(12, dtype=np.int16).reshape(3, 4)
    data = encode_blocks(q, fmt).tobytes()
    assert len(data) == 8
    assert np.array_equal(decode_blocks(data + bytes(4), fmt, 3), roundtrip(q, fmt))


def test_errors():
    fmt = Format.parse("zfpe12")
    q = np.zeros((3, 4), np.int16)
    with pytest.raises(ValueError, match="run of 16 bytes is truncated: 3 blocks of "
                                         "zfpe12 take 20"):
        decode_blocks(bytes(16), fmt, 3)
    with pytest.raises(ValueError, match=r"blocks of int32 \(3, 4\): allowed is int16"):
        encode_blocks(q.astype(np.int32), fmt)
    with pytest.raises(ValueError, match=r"blocks of int16 \(4, 3\)"):
        roundtrip(q.reshape(4, 3), fmt)
    with pytest.raises(ValueError, match="bits = 17: allowed are 4 to 16"):
        encode_blocks(q, Format(ZFPE, 17))
    with pytest.raises(ValueError, match="runs of float32: allowed is uint8"):
        decode_blocks(np.zeros(20, np.float32), fmt, 3)
