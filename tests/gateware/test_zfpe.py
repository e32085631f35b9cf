"""ZFPe cores against the reference codec, bit for bit, with random stalls."""

from pathlib import Path

import numpy as np
import pytest
from common import SimulationTimeoutError, drain, feed, simulate
from litepress.gateware.zfpe import (
    ZFPeCompressor,
    ZFPeDecoder16,
    ZFPeDecompressor,
    ZFPeEncoder16,
)
from litepress.host.codecs import ZFPe
from litepress.host.codecs.zfpe import decode16, encode16

VECTORS = np.load(Path(__file__).parents[1] / "vectors" / "zfpe.npz")
FLOAT_MAX = np.finfo(np.float32).max


def integers(rows):
    """Rows of an array -> ints, first element lowest."""
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def rows(values, dtype, count=4):
    """The inverse of integers."""
    size = np.dtype(dtype).itemsize * count
    return np.frombuffer(b"".join(v.to_bytes(size, "little") for v in values), dtype) \
        .reshape(-1, count)


def blocks(data, n, bits):
    """n blocks of ``bits`` bits out of a byte string -> ints."""
    whole = int.from_bytes(data, "little")
    return [whole >> i * bits & (1 << bits) - 1 for i in range(n)]


def stream(values, bits):
    """The inverse of blocks."""
    whole = sum(v << i * bits for i, v in enumerate(values))
    return whole.to_bytes(-(-len(values) * bits // 8), "little")


def run(dut, beats, stall, bits=None):
    """Send beats, every 7th with last, and return as many beats from the source."""
    out, clocks = [], []
    lasts = [i % 7 == 6 for i in range(len(beats))]

    def setup():
        if bits is not None:
            yield dut.bits.eq(bits)
        yield

    simulate(dut, setup(), feed(dut.sink, beats, 1, stall, lasts),
             drain(dut.source, len(beats), out, 2, stall, clocks=clocks))
    assert [last for _, last in out] == lasts
    if not stall:
        assert clocks[-1] - clocks[0] == len(beats) - 1, "a block a clock"
    return [data for data, _ in out]


# float32 ------------------------------------------------------------------------------------------


def floats():
    """The vectors' blocks and others of all magnitudes, with subnormals, Inf and NaN."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 1 << 32, (20, 4), dtype=np.uint64).astype(np.uint32)
    near = rng.integers(0, 1 << 32, (30, 4), dtype=np.uint64).astype(np.uint32)
    near = near & 0x80ffffff | rng.integers(0, 256, (30, 1)).astype(np.uint32) << 23 & 0x7f000000
    special = np.array([[0, 0x80000000, 1, 0x807fffff], [0x7f800000, 0xff800000, 0x7fc00000, 0],
                        [0xffc12345, 0x3f800000, 0, 0x00800000], [0x7f7fffff] * 4,
                        [0x00800000, 0x00800001, 0x80800000, 0], [0xff7fffff, 0x7f7fffff, 0, 0]],
                       np.uint32)
    return np.concatenate([special, bits, near, VECTORS["x"][::12]])


def saturated(x):
    """What the hardware takes for Inf and NaN."""
    values = x.view(np.float32)
    limit = np.where(x >> 31, -FLOAT_MAX, FLOAT_MAX).astype(np.float32)
    return np.where(np.isfinite(values), values, limit)


@pytest.mark.parametrize(("payload", "stall"), [(5, 0.0), (7, 0.3), (9, 0.0), (13, 0.3)])
def test_compressor_golden_vectors(payload, stall):
    got = run(ZFPeCompressor(payload, 9), integers(VECTORS["x"][::3]), stall)
    assert got == integers(VECTORS[f"word_b{payload}"][::3])


@pytest.mark.parametrize(("payload", "stall"), [(5, 0.3), (7, 0.0), (9, 0.3), (13, 0.0)])
def test_decompressor_golden_vectors(payload, stall):
    got = run(ZFPeDecompressor(payload, 9), integers(VECTORS[f"word_b{payload}"][::3]), stall)
    assert np.array_equal(rows(got, np.uint32), VECTORS[f"y_b{payload}"][::3])


@pytest.mark.parametrize(("payload", "exponent_bits"), [(1, 8), (5, 8), (9, 9), (19, 8)])
def test_compressor_equals_reference(payload, exponent_bits):
    x = floats()
    codec = ZFPe(payload=payload, exponent_bits=exponent_bits)
    expected = blocks(codec.encode(saturated(x)), len(x), codec.block_bits)
    assert run(ZFPeCompressor(payload, exponent_bits), integers(x), 0.3) == expected


@pytest.mark.parametrize(("payload", "exponent_bits"), [(1, 8), (5, 8), (9, 9), (19, 8)])
def test_decompressor_equals_reference(payload, exponent_bits):
    codec = ZFPe(payload=payload, exponent_bits=exponent_bits)
    # Random bits, many with exponents near underflow and overflow; then encoded numbers.
    rng = np.random.default_rng(payload)
    words = [int.from_bytes(rng.bytes(16), "little") & (1 << codec.block_bits) - 1
             for _ in range(40)]
    low = (1 << exponent_bits) - 1
    words += [w & ~low | int(e) for w, e in zip(words, rng.integers(0, 40, 40), strict=True)]
    words += [w & ~low | 255 - i % 40 for i, w in enumerate(words[:40])]
    x = floats()
    words += blocks(codec.encode(saturated(x)), len(x), codec.block_bits)
    expected = codec.decode(stream(words, codec.block_bits), 4 * len(words))
    got = rows(run(ZFPeDecompressor(payload, exponent_bits), words, 0.3), np.uint32)
    assert np.array_equal(got, expected.view(np.uint32).reshape(-1, 4))


@pytest.mark.parametrize("core", [ZFPeCompressor, ZFPeDecompressor])
def test_float_parameters_are_checked(core):
    with pytest.raises(ValueError, match="ZFPe payload = 20: allowed are 1 to 19"):
        core(payload=20)
    with pytest.raises(ValueError, match="ZFPe exponent_bits = 7: allowed are 8 and 9"):
        core(exponent_bits=7)


# int16 --------------------------------------------------------------------------------------------


def vectors(n, seed):
    rng = np.random.default_rng(seed)
    q = (np.exp2(rng.uniform(0, 15, (n, 1))) * rng.uniform(-1, 1, (n, 4))).astype(np.int16)
    q[:6] = [[-32768] * 4, [32767] * 4, [0] * 4, [32767, -32768, -32768, 32767],
             [0, 0, 0, -1], [-32768, 0, 0, 0]]
    return q


@pytest.mark.parametrize("bits", range(4, 17))
def test_encoder16(bits):
    q = vectors(36, bits)
    got = run(ZFPeEncoder16(), integers(q), 0.3 * (bits % 2), bits)
    assert got == encode16(q, bits).tolist()


@pytest.mark.parametrize("bits", range(4, 17))
def test_decoder16(bits):
    rng = np.random.default_rng(bits)
    words = rng.integers(0, 1 << 64, 48, dtype=np.uint64)   # Rubbish above the block as well.
    words[4:28] = words[4:28] & ~np.uint64(0xff) | rng.integers(105, 147, 24).astype(np.uint64)
    words[28:] = encode16(vectors(20, bits), bits) | words[28:] << np.uint64(4 * bits % 64) \
        * np.uint64(bits < 16)
    got = rows(run(ZFPeDecoder16(), words.tolist(), 0.3 * (bits % 2), bits), np.int16)
    assert np.array_equal(got, decode16(words, bits))


# The drivers --------------------------------------------------------------------------------------


def test_a_simulation_that_hangs_ends():
    dut = ZFPeEncoder16()
    with pytest.raises(SimulationTimeoutError, match="1 of 2 drivers still wait after 50 clocks"):
        simulate(dut, feed(dut.sink, [0]), drain(dut.source, 2, []), timeout=50)
