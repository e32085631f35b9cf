"""ZFPe cores of one value a clock against the reference codec, bit for bit, with random stalls."""

import numpy as np
import pytest
from codec_sim import FLOAT_VARIANTS, SERIAL_BITS, Job, run
from common import drain, feed, simulate
from test_zfpe import VECTORS, blocks, floats, integers, saturated, stream, vectors

from litepress.gateware.zfpe import (
    ZFPeSerialCompressor,
    ZFPeSerialDecoder16,
    ZFPeSerialDecompressor,
    ZFPeSerialEncoder16,
)
from litepress.host.codecs import ZFPe
from litepress.host.codecs.zfpe import decode16, encode16

STALLS = ((0, 0), (0.4, 0.3), (0.1, 0.8), (0.8, 0.1))
ENDS = 7   # Every 7th block has last.


def values(x, dtype):
    """Blocks (n, 4) -> beats of the value side."""
    return np.ascontiguousarray(x).reshape(-1).view(dtype).tolist()


def lasts_of(count, every):
    return [i % every == every - 1 for i in range(count)]


def encode(core, x, dtype):
    """Values (n, 4) through an encoder; the blocks. Checks last, stalls and the rate."""
    beats, n = values(x, dtype), len(x)
    results = run(*(Job(core, beats, lasts_of(4*n, 4*ENDS), n, stalls=stalls, seed=n)
                    for stalls in STALLS))
    for result in results:
        assert result.lasts == lasts_of(n, ENDS)
        assert result.data == results[0].data
    clocks = results[0].clocks
    assert clocks[-1] - clocks[0] == 4*(n - 1), "not a value every clock"
    return results[0].data


def decode(core, words, dtype):
    """Blocks through a decoder; the values (n, 4). Checks last, stalls and the rate."""
    n = len(words)
    results = run(*(Job(core, words, lasts_of(n, ENDS), 4*n, stalls=stalls, seed=n)
                    for stalls in STALLS))
    for result in results:
        assert result.lasts == lasts_of(4*n, 4*ENDS)
        assert result.data == results[0].data
    clocks = results[0].clocks
    assert clocks[-1] - clocks[0] == 4*n - 1, "not a value every clock"
    return np.array(results[0].data, dtype).reshape(-1, 4)


# float32 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [5, 7, 9, 13])
def test_golden_vectors(payload):
    words = integers(VECTORS[f"word_b{payload}"])
    assert encode(f"serial_compress_{payload}_9", VECTORS["x"], np.uint32) == words
    decoded = decode(f"serial_decompress_{payload}_9", words, np.uint32)
    assert np.array_equal(decoded, VECTORS[f"y_b{payload}"])


@pytest.mark.parametrize(("payload", "exponent_bits"), FLOAT_VARIANTS)
def test_compressor_equals_reference(payload, exponent_bits):
    x = floats()
    codec = ZFPe(payload=payload, exponent_bits=exponent_bits)
    expected = blocks(codec.encode(saturated(x)), len(x), codec.block_bits)
    assert encode(f"serial_compress_{payload}_{exponent_bits}", x, np.uint32) == expected


@pytest.mark.parametrize(("payload", "exponent_bits"), FLOAT_VARIANTS)
def test_decompressor_equals_reference(payload, exponent_bits):
    codec = ZFPe(payload=payload, exponent_bits=exponent_bits)
    rng = np.random.default_rng(payload)
    words = [int.from_bytes(rng.bytes(16), "little") & (1 << codec.block_bits) - 1
             for _ in range(1000)]
    low = (1 << exponent_bits) - 1   # Exponents near underflow and overflow.
    words[:300] = [w & ~low | i % 50 for i, w in enumerate(words[:300])]
    words[300:600] = [w & ~low | min(low, 275) - i % 60 for i, w in enumerate(words[300:600])]
    x = floats()
    words += blocks(codec.encode(saturated(x)), len(x), codec.block_bits)
    expected = codec.decode(stream(words, codec.block_bits), 4*len(words))
    got = decode(f"serial_decompress_{payload}_{exponent_bits}", words, np.uint32)
    assert np.array_equal(got, expected.view(np.uint32).reshape(-1, 4))


@pytest.mark.parametrize("core", [ZFPeSerialCompressor, ZFPeSerialDecompressor])
def test_float_parameters_are_checked(core):
    with pytest.raises(ValueError, match="ZFPe payload = 20: allowed are 1 to 19"):
        core(payload=20)
    with pytest.raises(ValueError, match="ZFPe exponent_bits = 7: allowed are 8 and 9"):
        core(exponent_bits=7)


# int16 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", SERIAL_BITS)
def test_encoder16(bits):
    q = vectors(2000, bits)
    assert encode(f"serial_encoder16_{bits}", q, np.uint16) == encode16(q, bits).tolist()


@pytest.mark.parametrize("bits", SERIAL_BITS)
def test_decoder16(bits):
    rng = np.random.default_rng(bits)
    words = rng.integers(0, 1 << 64, 3000, dtype=np.uint64) & np.uint64((1 << 4*bits) - 1)
    words[200:2000] = words[200:2000] & ~np.uint64(0xff) \
        | rng.integers(95, 150, 1800).astype(np.uint64)
    words[2000:] = encode16(vectors(1000, bits), bits)
    got = decode(f"serial_decoder16_{bits}", words.tolist(), np.uint16)
    assert np.array_equal(got.view(np.int16), decode16(words, bits))


@pytest.mark.parametrize("core", [ZFPeSerialEncoder16, ZFPeSerialDecoder16])
def test_int16_parameters_are_checked(core):
    with pytest.raises(ValueError, match="ZFPe bits = 17: allowed are 4 to 16"):
        core(bits=17)


# Streams that end inside a block ------------------------------------------------------------------


def ragged(x, rng):
    """Values (n,) cut into streams of 1 to 9: (beats, lasts, blocks (m, 4) padded with zeros,
    lasts of the blocks)."""
    lasts, padded, ends, at = [], [], [], 0
    while at < len(x):
        piece = x[at:at + int(rng.integers(1, 10))]
        at += len(piece)
        lasts += [False]*(len(piece) - 1) + [True]
        whole = np.pad(piece, (0, -len(piece) % 4)).reshape(-1, 4)
        padded.append(whole)
        ends += [False]*(len(whole) - 1) + [True]
    return x.tolist(), lasts, np.concatenate(padded), ends


@pytest.mark.parametrize("stalls", STALLS)
def test_last_inside_a_block_pads_with_zeros(stalls):
    rng = np.random.default_rng(5)
    q = vectors(700, 3).reshape(-1)
    beats, lasts, padded, ends = ragged(q.view(np.uint16), rng)
    result = run(Job("serial_encoder16_12", beats, lasts, len(ends), stalls=stalls))
    assert result.data == encode16(padded.view(np.int16), 12).tolist()
    assert result.lasts == ends

    beats, lasts, padded, ends = ragged(saturated(floats()).reshape(-1).view(np.uint32), rng)
    codec = ZFPe(payload=5)
    result = run(Job("serial_compress_5_8", beats, lasts, len(ends), stalls=stalls))
    assert result.data == blocks(codec.encode(padded.view(np.float32)), len(ends),
                                 codec.block_bits)
    assert result.lasts == ends


def test_a_block_leaves_while_the_next_is_incomplete():
    q = vectors(8, 1)[6:]
    beats = values(q, np.uint16)[:6]
    result = run(Job("serial_encoder16_8", beats, [False]*6, 1))
    assert result.data == encode16(q[:1], 8).tolist()


# The drivers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_the_same_in_migen(stall):
    """Round trip in Migen's simulator, through the drivers that other tests use."""
    q, words, out = vectors(20, 1), [], []
    encoder = ZFPeSerialEncoder16(11)
    simulate(encoder, feed(encoder.sink, values(q, np.uint16), 1, stall, lasts_of(80, 4*ENDS)),
             drain(encoder.source, 20, words, 2, stall))
    assert words == list(zip(encode16(q, 11).tolist(), lasts_of(20, ENDS), strict=True))
    decoder = ZFPeSerialDecoder16(11)
    data, lasts = zip(*words, strict=True)
    simulate(decoder, feed(decoder.sink, data, 3, stall, lasts),
             drain(decoder.source, 80, out, 4, stall))
    expected = decode16(np.array(data, np.uint64), 11).view(np.uint16)
    assert out == list(zip(expected.reshape(-1).tolist(), lasts_of(80, 4*ENDS), strict=True))
