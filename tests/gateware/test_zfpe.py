"""ZFPe cores against the reference codec, bit for bit, with random stalls."""

from pathlib import Path

import numpy as np
import pytest
from codec_sim import FLOAT_VARIANTS, Job, SimulationError, run
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


def send(core, beats, config=0):
    """The beats through a core, every 7th with last, with and without stalls; the results' data."""
    lasts = [i % 7 == 6 for i in range(len(beats))]
    jobs = [Job(core, beats, lasts, len(beats), config, stalls=stalls, seed=len(beats))
            for stalls in ((0, 0), (0.4, 0.3), (0.1, 0.8))]
    results = run(*jobs)
    for result in results:
        assert result.lasts == lasts
        assert result.data == results[0].data
    clocks = results[0].clocks
    assert clocks[-1] - clocks[0] == len(beats) - 1, "not a block every clock"
    return results[0].data


# float32 ------------------------------------------------------------------------------------------


def floats():
    """Blocks of all magnitudes, with subnormals, Inf and NaN."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 1 << 32, (600, 4), dtype=np.uint64).astype(np.uint32)
    near = rng.integers(0, 1 << 32, (900, 4), dtype=np.uint64).astype(np.uint32)
    near = near & 0x80ffffff | rng.integers(0, 256, (900, 1)).astype(np.uint32) << 23 & 0x7f000000
    special = np.array([[0, 0x80000000, 1, 0x807fffff], [0x7f800000, 0xff800000, 0x7fc00000, 0],
                        [0xffc12345, 0x3f800000, 0, 0x00800000], [0x7f7fffff] * 4,
                        [0x00800000, 0x00800001, 0x80800000, 0], [0xff7fffff, 0x7f7fffff, 0, 0]],
                       np.uint32)
    return np.concatenate([special, bits, near])


def saturated(x):
    """What the hardware takes for Inf and NaN."""
    values = x.view(np.float32)
    limit = np.where(x >> 31, -FLOAT_MAX, FLOAT_MAX).astype(np.float32)
    return np.where(np.isfinite(values), values, limit)


@pytest.mark.parametrize("payload", [5, 7, 9, 13])
def test_golden_vectors(payload):
    words = integers(VECTORS[f"word_b{payload}"])
    assert send(f"compress_{payload}_9", integers(VECTORS["x"])) == words
    decoded = rows(send(f"decompress_{payload}_9", words), np.uint32)
    assert np.array_equal(decoded, VECTORS[f"y_b{payload}"])


@pytest.mark.parametrize(("payload", "exponent_bits"), FLOAT_VARIANTS)
def test_compressor_equals_reference(payload, exponent_bits):
    x = floats()
    codec = ZFPe(payload=payload, exponent_bits=exponent_bits)
    expected = blocks(codec.encode(saturated(x)), len(x), codec.block_bits)
    assert send(f"compress_{payload}_{exponent_bits}", integers(x)) == expected


@pytest.mark.parametrize(("payload", "exponent_bits"), FLOAT_VARIANTS)
def test_decompressor_equals_reference(payload, exponent_bits):
    codec = ZFPe(payload=payload, exponent_bits=exponent_bits)
    # Random bits, many with exponents near underflow and overflow; then encoded numbers.
    rng = np.random.default_rng(payload)
    words = [int.from_bytes(rng.bytes(16), "little") & (1 << codec.block_bits) - 1
             for _ in range(1500)]
    low = (1 << exponent_bits) - 1
    words[500:1000] = [w & ~low | i % 50 for i, w in enumerate(words[500:1000])]
    words[1000:] = [w & ~low | min(low, 275) - i % 60 for i, w in enumerate(words[1000:])]
    x = floats()
    words += blocks(codec.encode(saturated(x)), len(x), codec.block_bits)
    expected = codec.decode(stream(words, codec.block_bits), 4 * len(words))
    got = rows(send(f"decompress_{payload}_{exponent_bits}", words), np.uint32)
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
    q = vectors(2000, bits)
    assert send("encoder16", integers(q), bits) == encode16(q, bits).tolist()


@pytest.mark.parametrize("bits", range(4, 17))
def test_decoder16(bits):
    rng = np.random.default_rng(bits)
    words = rng.integers(0, 1 << 64, 3000, dtype=np.uint64)   # Rubbish above the block as well.
    words[200:2000] = words[200:2000] & ~np.uint64(0xff) \
        | rng.integers(95, 150, 1800).astype(np.uint64)
    above = ~np.uint64((1 << 4 * bits) - 1)
    words[2000:] = words[2000:] & above | encode16(vectors(1000, bits), bits)
    got = rows(send("decoder16", words.tolist(), bits), np.int16)
    assert np.array_equal(got, decode16(words, bits))


# The drivers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_the_same_in_migen(stall):
    """One pass in Migen's simulator, through the drivers that other tests use."""
    q = vectors(40, 1)
    dut, out, clocks = ZFPeEncoder16(), [], []
    lasts = [i % 7 == 6 for i in range(len(q))]

    def setup():
        yield dut.bits.eq(11)

    simulate(dut, setup(), feed(dut.sink, integers(q), 1, stall, lasts),
             drain(dut.source, len(q), out, 2, stall, clocks=clocks))
    assert out == list(zip(encode16(q, 11).tolist(), lasts, strict=True))
    assert (clocks[-1] - clocks[0] == len(q) - 1) == (stall == 0)


def test_a_simulation_that_hangs_ends():
    dut = ZFPeDecoder16()
    with pytest.raises(SimulationTimeoutError, match="1 of 2 drivers still wait after 50 clocks"):
        simulate(dut, feed(dut.sink, [0]), drain(dut.source, 2, []), timeout=50)
    with pytest.raises(SimulationError, match="decoder16: timeout with 1 of 2 beats"):
        run(Job("decoder16", [0], [0], 2, 8))
