"""Runs of blocks through BlockDecoder and BlockEncoder against the reference, bit for bit."""

import numpy as np
import pytest
from codec_sim import Job, run
from common import drain, feed, simulate

from litepress.gateware.block import BlockDecoder, BlockEncoder
from litepress.gateware.runs import FormatCheck
from litepress.host.codecs.block import decode_blocks, encode_blocks, roundtrip
from litepress.spec.formats import EBPC8, EBPC8U, EBPC_KINDS, ZFPE, ZFPI, ZFPI_KINDS, Format

NAMES = ["raw8", "raw8u", "raw16", *(f"zfpe{bits}" for bits in range(4, 17)),
         *(f"zfpi{bits}{suffix}" for bits, suffix in zip(
             range(4, 16), 3*("", "u", "n", "nu"), strict=True))]
FORMATS = [Format.parse(name) for name in NAMES]
WEIGHTS = [Format.parse(name) for name in ("pot3", "pot4", "apot4")]
STALLS = [(0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.4, 0.4)]


def samples(fmt, runs, length, seed=0):
    """Values inside and outside the format's range, int16 (runs, length, 4)."""
    rng = np.random.default_rng(seed)
    q = np.exp2(rng.uniform(0, 15, (runs, length, 1))) * rng.uniform(-1, 1, (runs, length, 4))
    q = q.astype(np.int16)
    if fmt.bits == 8:
        q[::2] = rng.integers(-140, 300, q[::2].shape)
    q.reshape(-1, 4)[::97] = [-32768, 32767, 128, -129]
    return q


def words_of(data):
    return np.ascontiguousarray(data).reshape(-1).view("<u4").tolist()


def vectors_of(q):
    return np.ascontiguousarray(q).reshape(-1, 4).view("<u8")[:, 0].tolist()


def lasts(runs, length):
    """``last`` of runs of that many beats."""
    return ([False] * (length - 1) + [True]) * runs


class Decode:
    """Runs of encoded samples for the decoder: a Job and what must come out of it."""

    def __init__(self, fmt, runs, length, stalls=(0.0, 0.0), **options):
        coded = encode_blocks(samples(fmt, runs, length, fmt.code + length), fmt)
        words = words_of(coded)
        self.data = vectors_of(decode_blocks(coded, fmt, length))
        self.lasts = lasts(runs, length)
        self.job = Job("block_decoder", words, [False] * len(words), runs * length,
                       fmt.code, length, stalls, **options)


class Encode:
    """The same for the encoder."""

    def __init__(self, fmt, runs, length, stalls=(0.0, 0.0), **options):
        q = samples(fmt, runs, length, fmt.code + length)
        self.data = words_of(encode_blocks(q, fmt))
        self.lasts = lasts(runs, fmt.run_words(length))
        self.job = Job("block_encoder", vectors_of(q), lasts(runs, length), len(self.data),
                       fmt.code, 0, stalls, **options)


EVERY = [(case, fmt) for case in (Decode, Encode) for fmt in FORMATS] + \
    [(Decode, fmt) for fmt in WEIGHTS]


def check(*cases):
    """Run the cases in turn and compare; their Results."""
    results = run(*(case.job for case in cases))
    results = results if len(cases) > 1 else [results]
    for case, result in zip(cases, results, strict=True):
        assert result.data == case.data
        assert result.lasts == case.lasts
    return results


@pytest.mark.parametrize("case, fmt", EVERY, ids=str)
def test_format(case, fmt):
    check(*(case(fmt, runs, length, stalls, seed=length)
            for runs, length in [(1, 700), (30, 8), (20, 13), (12, 3), (40, 1)]
            for stalls in STALLS))


@pytest.mark.parametrize("case, fmt", EVERY, ids=str)
def test_throughput(case, fmt):
    """A block or a word every clock, whichever there are more of; runs end at no cost."""
    runs, length = 5, 64
    [result] = check(case(fmt, runs, length))
    assert result.clocks[-1] - result.clocks[0] < runs * max(length, fmt.run_words(length)) \
        + (runs if fmt.block_bits % 32 else 0)


@pytest.mark.parametrize("case", [Decode, Encode])
def test_formats_change_between_jobs(case):
    rng = np.random.default_rng(0)
    check(*(case(FORMATS[i], int(rng.integers(1, 4)), int(rng.integers(1, 20)),
                 STALLS[n % 4], seed=n, reset=n == 0)
            for n, i in enumerate(rng.integers(0, len(FORMATS), 120))))


@pytest.mark.parametrize("case, fmt", EVERY, ids=str)
def test_clear(case, fmt):
    check(*(case(fmt, 3, 9, clear_at=clocks, seed=clocks, reset=clocks == 1)
            for clocks in range(1, 40)))


# Ports, in Migen's simulator ----------------------------------------------------------------------


def test_no_format_no_blocks():
    """As after power-up: registers 0, no words."""
    dut = BlockDecoder()

    def watch():
        yield dut.source.ready.eq(1)
        for _ in range(40):
            yield
            assert not (yield dut.source.valid)

    simulate(dut, watch())


def test_decoder_fields_in_place_of_the_format():
    fmt = Format.parse("zfpe6")
    q = samples(fmt, 1, 4)
    dut, out = BlockDecoder(), []

    def job():
        yield dut.kind.eq(fmt.kind)
        yield dut.bits.eq(fmt.bits)
        yield dut.length.eq(4)
        yield
        yield from feed(dut.sink, words_of(encode_blocks(q, fmt)), 1, 0.2)

    simulate(dut, job(), drain(dut.source, 4, out, 2, 0.2))
    assert [data for data, _ in out] == vectors_of(roundtrip(q, fmt))


@pytest.mark.parametrize(("options", "name"), [
    ({"classic": False}, "zfpi5n"), ({"improved": False}, "zfpe5"),
    ({"classic": False, "improved": False}, "raw8")])
def test_without_a_codec(options, name):
    """The others work as before."""
    fmt = Format.parse(name)
    q = samples(fmt, 1, 4)
    coded = encode_blocks(q, fmt)
    decoder, encoder = BlockDecoder(**options), BlockEncoder(**options)
    for dut in (decoder, encoder):
        assert hasattr(dut, "zfpe") == options.get("classic", True)
        assert hasattr(dut, "zfpi") == options.get("improved", True)
    for dut, beats, expected in ((decoder, words_of(coded), vectors_of(roundtrip(q, fmt))),
                                 (encoder, vectors_of(q), words_of(coded))):
        out = []

        def setup(dut=dut):
            yield dut.format.eq(fmt.code)
            if dut is decoder:
                yield dut.run_len.eq(4)
            yield

        def job(dut=dut, beats=beats, setup=setup):
            yield from setup()
            yield from feed(dut.sink, beats, 1, 0.2, lasts(1, len(beats)))

        simulate(dut, job(), drain(dut.source, len(expected), out, 2, 0.2))
        assert [data for data, _ in out] == expected


@pytest.mark.parametrize("missing", [(), (ZFPE,), tuple(ZFPI_KINDS), EBPC_KINDS])
def test_format_check(missing):
    """Every code of 13 bits: what Format.from_code takes, but for what there is no codec of."""
    dut = FormatCheck(ZFPE not in missing, ZFPI not in missing, EBPC8 not in missing)

    def allowed(code):
        try:
            return Format.from_code(code, 1).kind not in missing
        except ValueError:
            return False

    def watch():
        for code in range(1 << 13):
            yield dut.code.eq(code)
            yield
            yield
            assert (yield dut.ok) == allowed(code), hex(code)
            assert (yield dut.bits) == code >> 8
            if allowed(code):
                assert (yield dut.ebpc) == (code & 15 in EBPC_KINDS)
                assert (yield dut.unsigned) == (code & 15 == EBPC8U)

    simulate(dut, watch(), timeout=1 << 15)


def test_encoder_fields_in_place_of_the_format():
    fmt = Format.parse("raw8u")
    q = samples(fmt, 1, 4)
    dut, out = BlockEncoder(), []

    def job():
        yield dut.kind.eq(fmt.kind)
        yield dut.bits.eq(fmt.bits)
        yield
        yield from feed(dut.sink, vectors_of(q), 1, 0.2, lasts(1, 4))

    simulate(dut, job(), drain(dut.source, 4, out, 2, 0.2))
    assert out == list(zip(words_of(encode_blocks(q, fmt)), [0, 0, 0, 1], strict=True))
