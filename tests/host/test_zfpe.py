"""Reference codec ZFPe: golden vectors, special values, properties, errors."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litepress.host.codecs import ZFPe
from litepress.host.codecs.zfpe import decode16, encode16, roundtrip16

VECTORS = np.load(Path(__file__).parents[1] / "vectors" / "zfpe.npz")
FLOAT_MAX = np.finfo(np.float32).max
TINY = np.finfo(np.float32).tiny
RATES = range(4, 17)


def plain_block(x, b, exponent_bits):
    """One block in Python integers, straight from the format's definition: (block, decoded)."""
    mask, m = 0xffffffff, 0xaaaaaaaa
    exponents = [np.frexp(np.float64(v))[1] for v in x if v]
    emax = int(max(exponents)) if exponents else -127
    i = [int(np.trunc(np.ldexp(np.float64(v), 30 - emax))) for v in x]
    x, y, z, w = i
    x += w
    x >>= 1
    w -= x
    z += y
    z >>= 1
    y -= z
    x += z
    x >>= 1
    z -= x
    w += y
    w >>= 1
    y -= w
    w += y >> 1
    y -= w >> 1
    block, position, decoded = emax + 127, exponent_bits, []
    for v in (x, y, z, w):
        u = (v + m & mask) ^ m
        low = 32 - b if u >> 28 else 28 - b
        payload = u >> low & (1 << b) - 1
        block |= ((payload << 1) | (u >> 28 != 0)) << position
        position += b + 1
        v = ((payload << low) ^ m) - m & mask
        decoded.append(v - (v >> 31 << 32))
    x, y, z, w = decoded
    y += w >> 1
    w -= y >> 1
    y += w
    w = 2 * w - y
    z += x
    x = 2 * x - z
    y += z
    z = 2 * z - y
    w += x
    x = 2 * x - w
    wrap = [(v + (1 << 31) & mask) - (1 << 31) for v in (x, y, z, w)]
    return block, [v * 2.0 ** (emax - 30) for v in wrap]


# float32 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [5, 7, 9, 13])
def test_golden_vectors(payload):
    x = VECTORS["x"].view(np.float32)
    codec = ZFPe(payload=payload, exponent_bits=9)
    data = codec.encode(x)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    words = np.zeros((len(x), 128), np.uint8)
    words[:, :codec.block_bits] = bits[:len(x) * codec.block_bits].reshape(len(x), -1)
    words = np.packbits(words, axis=1, bitorder="little")
    assert np.array_equal(words, VECTORS[f"word_b{payload}"])
    y = codec.decode(data, x.size).view(np.uint32).reshape(-1, 4)
    assert np.array_equal(y, VECTORS[f"y_b{payload}"])


@pytest.mark.parametrize("bits", [4, 8, 12, 16, 22])
def test_eight_bit_exponent_is_true_bits_per_value(bits):
    x = VECTORS["x"].view(np.float32)
    codec = ZFPe(bits=bits)
    data = codec.encode(x)
    assert codec.block_bits == 4 * bits and len(data) == x.size * bits // 8
    nine = ZFPe(payload=bits - 3, exponent_bits=9)
    assert np.array_equal(codec.decode(data, x.size), nine.decode(nine.encode(x), x.size))


@settings(max_examples=60, deadline=None)
@given(x=arrays(np.float32, 4, elements=st.floats(
    -2.0**99, 2.0**99, width=32, allow_subnormal=False)), b=st.integers(1, 19))
def test_equals_the_definition(x, b):
    codec = ZFPe(payload=b, exponent_bits=9)
    data = codec.encode(x)
    block, decoded = plain_block(x, b, 9)
    assert int.from_bytes(data, "little") == block
    assert codec.decode(data, 4).tolist() == [v if abs(v) >= TINY else 0 for v in decoded]


@settings(max_examples=60, deadline=None)
@given(x=arrays(np.float32, st.integers(0, 30), elements=st.floats(
    width=32, allow_nan=False, allow_infinity=False)), bits=st.integers(4, 22))
def test_any_finite_input_and_tails(x, bits):
    codec = ZFPe(bits=bits)
    data = codec.encode(x)
    assert len(data) == -(-len(x) // 4) * bits // 2 + (-(-len(x) // 4) * bits % 2)
    y = codec.decode(data, len(x))
    assert y.shape == x.shape and y.dtype == np.float32 and np.isfinite(y).all()
    padded = np.concatenate([x, np.zeros(-len(x) % 4, np.float32)])
    assert codec.encode(padded) == data
    flushed = np.where(np.abs(x) < TINY, np.float32(0), x)
    assert codec.encode(flushed) == data
    if bits == 22 and len(x):
        # Near lossless: an error of a few units of 2^-17 of the block's largest value.
        top = np.abs(padded).reshape(-1, 4).max(axis=1).astype(np.float64).repeat(4)[:len(x)]
        assert (np.abs(y.astype(np.float64) - x) <= top * 2.0**-14 + TINY).all()


@settings(max_examples=100, deadline=None)
@given(data=st.binary(min_size=11, max_size=11), bits=st.integers(4, 22))
def test_any_bits_decode(data, bits):
    y = ZFPe(bits=bits).decode(data, 4)
    assert np.isfinite(y).all()
    assert ((y == 0) | (np.abs(y) >= TINY)).all()


def test_decoder_saturates_and_flushes():
    codec = ZFPe(bits=8)
    one = int.from_bytes(codec.encode(np.array([1, 1, 1, 1], np.float32)), "little")
    high = (one & ~0xff | 0xff).to_bytes(4, "little")     # 2^127 a value is still finite.
    assert codec.decode(high, 4).tolist() == [2.0**127] * 4
    nine = ZFPe(payload=5, exponent_bits=9)
    one = int.from_bytes(nine.encode(np.array([-1, -1, -1, -1], np.float32)), "little")
    over = (one & ~0x1ff | 0x100).to_bytes(5, "little")
    assert nine.decode(over, 4).tolist() == [-FLOAT_MAX] * 4
    under = (one & ~0x1ff | 1).to_bytes(5, "little")      # -2^-127.
    assert nine.decode(under, 4).view(np.uint32).tolist() == [0] * 4


def test_special_values():
    codec = ZFPe()
    for value in (np.inf, -np.inf, np.nan):
        x = np.zeros(9, np.float32)
        x[6] = value
        with pytest.raises(ValueError, match=rf"value 6 is {value}: only finite values"):
            codec.encode(x)
    zeros = codec.encode(np.array([0.0, -0.0, 1e-40, -1e-45], np.float32))
    assert zeros == bytes(4)
    assert codec.decode(zeros, 4).view(np.uint32).tolist() == [0] * 4


@pytest.mark.parametrize(("arguments", "text"), [
    ({"bits": 3}, "ZFPe bits = 3: allowed are 4 to 22"),
    ({"bits": 8.5}, "ZFPe bits = 8.5: allowed are 4 to 22"),
    ({"mode": "better"}, "ZFPe mode 'better': allowed are classic, improved"),
    ({"exponent_bits": 7}, "ZFPe exponent_bits = 7: allowed are 8 and 9"),
    ({"exponent_bits": 9}, "give payload, 1 to 19"),
    ({"payload": 0}, "ZFPe payload = 0: allowed are 1 to 19"),
    ({"payload": 5, "bits": 8}, "give one of them"),
])
def test_constructor_errors(arguments, text):
    with pytest.raises(ValueError, match=text):
        ZFPe(**arguments)


def test_stream_errors():
    codec = ZFPe(bits=9)
    data = codec.encode(np.ones(12, np.float32))
    assert codec.decode(data + b"more", 12).tolist() == [1] * 12
    with pytest.raises(ValueError, match="ZFPe stream of 13 bytes is truncated: 12 values take 14"):
        codec.decode(data[:-1], 12)
    with pytest.raises(ValueError, match="ZFPe encodes float32, not float64"):
        codec.encode(np.ones(4))


# int16 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", RATES)
def test_int16_is_the_float_codec_of_the_integers(bits):
    rng = np.random.default_rng(bits)
    q = np.exp2(rng.uniform(0, 15, (5000, 1))) * rng.uniform(-1, 1, (5000, 4))
    q = q.round().astype(np.int16)
    q[:6] = [[-32768] * 4, [32767] * 4, [0] * 4, [32767, -32768, -32768, 32767],
             [0, 0, 0, -1], [-32768, 0, 0, 0]]
    codec = ZFPe(bits=bits)
    data = codec.encode(q.astype(np.float32))
    blocks = encode16(q, bits)
    assert sum(int(b) << 4 * bits * i for i, b in enumerate(blocks)).to_bytes(
        len(data), "little") == data
    y = codec.decode(data, q.size).astype(np.float64).reshape(q.shape)
    expected = np.clip(np.floor(y + 0.5), -32768, 32767)
    assert np.array_equal(decode16(blocks, bits), expected)
    assert np.array_equal(roundtrip16(q, bits), expected)


@pytest.mark.parametrize("bits", RATES)
def test_int16_decodes_any_bits(bits):
    rng = np.random.default_rng(bits)
    blocks = rng.integers(0, 1 << 64, 20000, dtype=np.uint64)
    # Most exponents would only give zeros or saturate.
    near = rng.integers(100, 150, len(blocks)).astype(np.uint64)
    blocks[1000:] = blocks[1000:] & ~np.uint64(0xff) | near[1000:]
    got = decode16(blocks, bits)
    e = (blocks & np.uint64(0xff)).astype(int)
    mask = (1 << 4 * bits) - 1
    data = sum((int(b) & mask) << 4 * bits * i for i, b in enumerate(blocks[:2000]))
    y = ZFPe(bits=bits).decode(data.to_bytes(1000 * bits, "little"), 8000)
    y = y.astype(np.float64).reshape(-1, 4)
    expected = np.clip(np.floor(y + 0.5), -32768, 32767)
    corrupt = e[:2000, None] > 143
    expected = np.where(corrupt, np.sign(y) * 32768, expected).clip(-32768, 32767)
    assert corrupt.any() and not corrupt.all()
    assert np.array_equal(got[:2000], expected)


def test_int16_error_falls_with_the_rate():
    rng = np.random.default_rng(0)
    q = (rng.standard_normal((20000, 4)) * 4000).clip(-32768, 32767).astype(np.int16)
    errors = [np.abs(roundtrip16(q, bits) - q.astype(int)).mean() for bits in RATES]
    assert all(a > 1.5 * b for a, b in pairwise(errors[2:]))
    assert errors[-1] < 2.5
