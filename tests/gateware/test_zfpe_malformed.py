"""Rubbish and truncated streams into every ZFPe decoder and into runs of blocks: as many beats as
were declared, in a bounded number of clocks, equal to what the reference makes of the same bits."""

import numpy as np
import pytest
from codec_sim import FLOAT_VARIANTS, SERIAL_BITS, Job, run
from test_block import FORMATS, Decode, lasts, samples, vectors_of, words_of
from test_zfpe import blocks, floats, integers, saturated, stream, vectors

from litepress.host.codecs import ZFPe
from litepress.host.codecs.block import decode_blocks, encode_blocks
from litepress.host.codecs.zfpe import decode16, encode16
from litepress.host.codecs.zfpe_improved import decode_improved, encode_improved
from litepress.spec.formats import EBPC_KINDS, ZFPI_KINDS, ZFPI_MAX_BITS, ZFPI_MIN_BITS, Format

BLOCKS  = 10_000   # Into each core.
LATENCY = 64       # Clocks at most from the last beat in to the last beat out.
STALLS  = ((0.0, 0.0), (0.3, 0.4))
RATES   = range(4, 17)
FIXED   = [fmt for fmt in FORMATS if fmt.kind not in EBPC_KINDS]


def malformed(good, bits, count, seed):
    """``count`` blocks of that many bits: a third rubbish, the others of ``good`` blocks, either
    cut off after some bits, the rest being zeros or rubbish, or with a few bits flipped."""
    rng = np.random.default_rng(seed)
    everything = (1 << bits) - 1
    out = []
    for i in range(count):
        rubbish, block = int.from_bytes(rng.bytes(-(-bits // 8)), "little"), good[i % len(good)]
        end = int(rng.integers(0, bits))
        below = (1 << end) - 1
        out.append((rubbish, block & below, block & below | rubbish & ~below,
                    block ^ 1 << end ^ 1 << int(rng.integers(0, bits)))[
            0 if i % 3 == 0 else 1 + int(rng.integers(0, 3))] & everything)
    return out


def decoded(core, words, values, config=0):
    """Blocks through a core of so many values a beat, with and without stalls: its beats. Without
    stalls a block may take as many clocks as it has beats."""
    n, each = len(words), 4//values
    results = run(*(Job(core, words, lasts(n, 1), each*n, config, stalls=stalls, seed=n,
                        limit=each*n + LATENCY if stalls == (0.0, 0.0) else 0)
                    for stalls in STALLS))
    for result in results:
        assert result.data == results[0].data
        assert result.lasts == lasts(n, each)
    return results[0].data


def beats(x, dtype, values):
    """Decoded values -> what a core puts out: ``values`` a beat."""
    return integers(np.ascontiguousarray(x).reshape(-1, values).view(dtype))


# Cores of one block -------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [4, 1])
@pytest.mark.parametrize(("payload", "exponent_bits"), FLOAT_VARIANTS)
def test_float_decoders(payload, exponent_bits, values):
    codec = ZFPe(payload=payload, exponent_bits=exponent_bits)
    x = floats()
    good = blocks(codec.encode(saturated(x)), len(x), codec.block_bits)
    words = malformed(good, codec.block_bits, BLOCKS, payload)
    expected = codec.decode(stream(words, codec.block_bits), 4*len(words))
    core = "decompress" if values == 4 else "serial_decompress"
    got = decoded(f"{core}_{payload}_{exponent_bits}", words, values)
    assert got == beats(expected, np.uint32, values)


def int16_words(bits, count):
    return malformed(encode16(vectors(500, bits), bits).tolist(), 4*bits, count, bits)


def test_decoder16():
    for bits in RATES:
        words = int16_words(bits, -(-BLOCKS // len(RATES)))
        got = decoded("decoder16", words, 4, bits)
        assert got == beats(decode16(np.array(words, np.uint64), bits), np.uint16, 4)


@pytest.mark.parametrize("bits", SERIAL_BITS)
def test_serial_decoder16(bits):
    words = int16_words(bits, BLOCKS)
    got = decoded(f"serial_decoder16_{bits}", words, 1)
    assert got == beats(decode16(np.array(words, np.uint64), bits), np.uint16, 1)


def test_improved_decoder():
    formats = [Format(kind, bits) for kind in ZFPI_KINDS
               for bits in range(ZFPI_MIN_BITS, ZFPI_MAX_BITS + 1)]
    for fmt in formats:
        exponent_bits, unsigned = ZFPI_KINDS[fmt.kind]
        good = encode_improved(vectors(500, fmt.code), fmt).tolist()
        words = malformed(good, fmt.block_bits, -(-BLOCKS // len(formats)), fmt.code)
        config = fmt.bits | unsigned << 5 | (exponent_bits == 2) << 6
        got = decoded("improved_decoder", words, 4, config)
        assert got == beats(decode_improved(np.array(words, np.uint64), fmt), np.uint16, 4), fmt


# Runs of blocks -----------------------------------------------------------------------------------


def test_runs_of_rubbish():
    """Runs of random words: the next run begins where it is declared to, whatever was in them."""
    rng = np.random.default_rng(1)
    for fmt in FIXED:
        jobs, expected, count = [], [], 0
        while count < BLOCKS // len(FIXED) + 1:
            runs, length = int(rng.integers(1, 9)), int(rng.integers(1, 65))
            data = np.frombuffer(rng.bytes(4*runs*fmt.run_words(length)), np.uint8)
            words = data.view("<u4").tolist()
            stalls = STALLS[len(jobs) % len(STALLS)]
            most = runs*(max(length, fmt.run_words(length)) + 1) + LATENCY
            jobs.append(Job("block_decoder", words, [False]*len(words), runs*length, fmt.code,
                            length, stalls, seed=count, reset=not jobs,
                            limit=most if stalls == (0.0, 0.0) else 0))
            expected.append((vectors_of(decode_blocks(data.reshape(runs, -1), fmt, length)),
                             lasts(runs, length)))
            count += runs*length
        results = run(*jobs)
        for result, (data, ends) in zip(results if len(jobs) > 1 else [results], expected,
                                        strict=True):
            assert result.data == data, fmt
            assert result.lasts == ends, fmt


def test_truncated_runs():
    """A run that ends early gives the blocks it has, and no more; after ``clear`` the core works as
    before."""
    rng = np.random.default_rng(2)
    for fmt in FIXED:
        jobs, expected, count = [], [], 0
        while count < BLOCKS // len(FIXED) + 1:
            length = int(rng.integers(2, 65))
            coded = encode_blocks(samples(fmt, 1, length, count), fmt)
            words = words_of(coded)
            words = words[:int(rng.integers(0, len(words)))]
            whole = min(32*len(words)//fmt.block_bits, length)
            stalls = STALLS[len(jobs) // 2 % len(STALLS)]
            after = Decode(fmt, 1, 3, stalls, clear_at=1, reset=False)
            jobs += [Job("block_decoder", words, [False]*len(words), whole, fmt.code, length,
                         stalls, seed=count, reset=not jobs,
                         limit=max(len(words), whole) + LATENCY if stalls == (0.0, 0.0) else 0),
                     after.job]
            expected += [(vectors_of(decode_blocks(coded, fmt, length))[:whole],
                          lasts(1, length)[:whole]), (after.data, after.lasts)]
            count += length
        results = run(*jobs)
        for result, (data, ends) in zip(results if len(jobs) > 1 else [results], expected,
                                        strict=True):
            assert result.data == data, fmt
            assert result.lasts == ends, fmt
