"""Improved ZFPe cores against the reference codec, bit for bit, with random stalls."""

import numpy as np
import pytest
from codec_sim import Job, run
from common import drain, feed, simulate

from litepress.gateware.zfpe import ZFPeImprovedDecoder, ZFPeImprovedEncoder
from litepress.host.codecs.zfpe_improved import decode_improved, encode_improved
from litepress.spec.formats import ZFPI_KINDS, Format

FORMATS = [Format(kind, bits) for bits in range(4, 16) for kind in ZFPI_KINDS]
STALLS = ((0, 0), (0.4, 0.3), (0.1, 0.8))


def config(fmt):
    exponent_bits, unsigned = ZFPI_KINDS[fmt.kind]
    return fmt.bits | unsigned << 5 | (exponent_bits == 2) << 6


def send(core, beats, fmt, stalls=STALLS):
    """The beats (uint64) through a core, every 7th with last, with each of the stalls: data."""
    beats = beats.tolist()
    lasts = [i % 7 == 6 for i in range(len(beats))]
    results = run(*(Job(core, beats, lasts, len(beats), config(fmt), stalls=stall, seed=fmt.code)
                    for stall in stalls))
    results = results if len(stalls) > 1 else [results]
    for result in results:
        assert result.lasts == lasts
        assert result.data == results[0].data
    clocks = results[0].clocks
    assert clocks[-1] - clocks[0] == len(beats) - 1, "not a block every clock"
    return np.array(results[0].data, np.uint64)


def words(q):
    return np.ascontiguousarray(q, "<i2").view("<u8")[:, 0]


def vectors(fmt):
    """int16 (n, 4): corners, all magnitudes, and values half way between two codes."""
    rng = np.random.default_rng(fmt.code)
    picks = np.array([-32768, -32767, -16385, -256, -2, -1, 0, 1, 2, 255, 16383, 16384, 32767])
    corners = picks[rng.integers(0, len(picks), (700, 4))]
    corners[:len(picks)] = picks[:, None]
    sizes = np.exp2(rng.uniform(0, 15, (1000, 1)))
    some = (sizes * rng.uniform(-1, 1, (1000, 4))).astype(int)
    step = 1 << rng.integers(0, 14, (700, 1))
    halves = (rng.integers(-64, 64, (700, 4)) * step // 2 + rng.integers(-1, 2, (700, 4)))
    ends = rng.choice([-1, 1], (400, 4)) * ((1 << rng.integers(0, 16, (400, 1)))
                                          - rng.integers(0, 3, (400, 4)))
    q = np.concatenate([corners, some, halves, ends]).clip(-32768, 32767).astype(np.int16)
    return np.concatenate([q, np.abs(some).astype(np.int16)])


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_encoder(fmt):
    q = vectors(fmt)
    assert np.array_equal(send("improved_encoder", words(q), fmt), encode_improved(q, fmt))


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_decoder(fmt):
    rng = np.random.default_rng(fmt.code)
    # Rubbish above the block as well, as the words that follow it are there in a run.
    blocks = rng.integers(0, 1 << 60, 1500, dtype=np.uint64)
    above = np.uint64((1 << 60) - (1 << fmt.block_bits))
    coded = encode_improved(vectors(fmt), fmt)
    coded |= rng.integers(0, 1 << 60, len(coded), dtype=np.uint64) & above
    blocks = np.concatenate([blocks, coded, np.array([0, (1 << 60) - 1], np.uint64), above[None]])
    got = send("improved_decoder", blocks, fmt)
    assert np.array_equal(got, words(decode_improved(blocks, fmt)))


@pytest.mark.parametrize("name", ["zfpi4", "zfpi7n", "zfpi10u", "zfpi15nu"])
def test_decoder_takes_any_blocks(name):
    """10,000 of them; any block is a valid one."""
    fmt = Format.parse(name)
    blocks = np.random.default_rng(1).integers(0, 1 << 60, 10000, dtype=np.uint64)
    got = send("improved_decoder", blocks, fmt, ((0, 0), (0.2, 0.2)))
    assert np.array_equal(got, words(decode_improved(blocks, fmt)))


def test_the_same_in_migen():
    """One pass in Migen's simulator, from one core into the other."""
    fmt = Format.parse("zfpi6n")
    q = vectors(fmt)[::60]
    coded = encode_improved(q, fmt)
    for kind, beats, expected in ((ZFPeImprovedEncoder, words(q), coded),
                                  (ZFPeImprovedDecoder, coded, words(decode_improved(coded, fmt)))):
        dut, out = kind(), []

        def setup(dut=dut):
            yield dut.bits.eq(fmt.bits)
            yield dut.narrow.eq(1)

        simulate(dut, setup(), feed(dut.sink, beats.tolist(), 1, 0.4),
                 drain(dut.source, len(q), out, 2, 0.4))
        assert [data for data, _ in out] == expected.tolist()
