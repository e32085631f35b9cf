"""The improved block format, against its definition in exact arithmetic."""

from fractions import Fraction
from itertools import product
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litepress.host.codecs import ZFPe
from litepress.host.codecs.zfpe_improved import (
    decode_improved,
    encode_improved,
    roundtrip_improved,
)
from litepress.spec.formats import Format

FORMATS = [Format.parse(f"zfpi{n}{s}") for n in range(4, 16) for s in ("", "u", "n", "nu")]


def plain_encode(q, fmt):
    """One block by spec/formats.py and the codec's docstring, in Python integers and fractions."""
    suffix = fmt.name.lstrip("zfpi0123456789")
    exponent_bits, unsigned = 2 if "n" in suffix else 3, "u" in suffix
    n, group = fmt.bits, 2 if "n" in suffix else 4
    top = max(0, (15 if unsigned else 16) - n)
    least = max(0, top - 2 ** exponent_bits + 1)
    q = [max(int(v), 0) if unsigned else int(v) for v in q]
    low, high = (0, 2 ** n) if unsigned else (-2 ** (n - 1), 2 ** (n - 1))
    s = next(s for s in range(least, top + 1)
             if s == top or all(low * 2 ** s <= v < high * 2 ** s for v in q))
    v = [floor(Fraction(8 * x, 2 ** s)) for x in q]
    block, lsbs, fields = top - s, [], []
    for i in range(0, 4, group):
        near = [abs(x - 16 * ((x + 8) // 16)) for x in v[i:i + group]]
        lsbs.append(int(sum(d * d for d in near) > sum((8 - d) ** 2 for d in near)))
        for x in v[i:i + group]:
            m = x // 16 if lsbs[-1] else (x + 8) // 16
            fields.append(min(max(m, low // 2), high // 2 - 1) % 2 ** (n - 1))
    for i, bit in enumerate(lsbs):
        block |= bit << exponent_bits + i
    for i, field in enumerate(fields):
        block |= field << 4 + i * (n - 1)
    return block


@settings(max_examples=600, deadline=None)
@given(fmt=st.sampled_from(FORMATS), q=arrays(np.int16, (4,)), shift=st.integers(0, 15))
def test_definition(fmt, q, shift):
    q = q >> shift
    block = int(encode_improved(q[None], fmt)[0])
    assert block == plain_encode(q, fmt)
    decoded = decode_improved(np.array([block], np.uint64), fmt)
    assert np.array_equal(decoded, roundtrip_improved(q[None], fmt))
    assert fmt.range[0] <= decoded.min() and decoded.max() <= fmt.range[1]


@settings(max_examples=300, deadline=None)
@given(fmt=st.sampled_from(FORMATS), blocks=arrays(np.uint64, (8,)))
def test_any_bits_decode_to_something_that_encodes_to_itself(fmt, blocks):
    once = decode_improved(blocks, fmt)
    again = roundtrip_improved(once, fmt)
    assert np.array_equal(once, again)


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_corners(fmt):
    corners = np.array(list(product((-32768, -32767, -1, 0, 1, 255, 32766, 32767), repeat=4)),
                       np.int16)
    blocks = encode_improved(corners, fmt)
    picked = range(0, len(corners), 37)
    assert [int(blocks[i]) for i in picked] == [plain_encode(corners[i], fmt) for i in picked]
    assert np.array_equal(decode_improved(blocks, fmt), roundtrip_improved(corners, fmt))
    assert int(blocks.max()) < 1 << fmt.block_bits


def test_error_is_at_most_a_step():
    rng = np.random.default_rng(1)
    q = rng.integers(-32768, 32768, (20000, 4)).astype(np.int16)
    for fmt in FORMATS:
        x = np.maximum(q, 0) if fmt.range[0] == 0 else q
        error = np.abs(roundtrip_improved(x, fmt).astype(int) - x)
        assert error.max() <= 1 << max(0, (15 if fmt.range[0] == 0 else 16) - fmt.bits) + 1


@settings(max_examples=100, deadline=None)
@given(x=arrays(np.float32, st.integers(0, 19),
                elements=st.floats(-2.0 ** 100, 2.0 ** 100, width=32, allow_subnormal=False)),
       bits=st.integers(4, 15), exponent_bits=st.sampled_from((2, 3)), signed=st.booleans())
def test_float_arrays(x, bits, exponent_bits, signed):
    codec = ZFPe(bits=bits, mode="improved", exponent_bits=exponent_bits, signed=signed)
    if not signed:
        x = np.abs(x)
    data = codec.encode(x)
    assert len(data) == 2 + (len(x) + 3) // 4 * bits // 2 + (len(x) + 3) // 4 * bits % 2
    y = codec.decode(data, len(x))
    assert y.dtype == np.float32 and len(y) == len(x)
    if len(x):
        largest = np.abs(x).max()
        assert np.abs(y.astype(float) - x).max() <= float(largest) * 2.0 ** (3 - bits) + 1e-45
    with pytest.raises(ValueError, match="truncated"):
        codec.decode(data[:-1], len(x)) if len(x) else codec.decode(data[:1], 0)


def test_float_arguments():
    with pytest.raises(ValueError, match="bits = 16: allowed are 4 to 15"):
        ZFPe(bits=16, mode="improved")
    with pytest.raises(ValueError, match="exponent_bits = 8: allowed are 2 and 3"):
        ZFPe(bits=8, mode="improved", exponent_bits=8)
    with pytest.raises(ValueError, match="nan"):
        ZFPe(bits=8, mode="improved").encode(np.array([1, np.nan], np.float32))
    with pytest.raises(ValueError, match=r"value 1 is -2\.0"):
        ZFPe(bits=8, mode="improved", signed=False).encode(np.array([1, -2], np.float32))
