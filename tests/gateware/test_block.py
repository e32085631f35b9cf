"""Runs of blocks through BlockDecoder and BlockEncoder against the reference, bit for bit."""

import numpy as np
import pytest
from common import drain, feed, simulate
from litepress.gateware.block import BlockDecoder, BlockEncoder
from litepress.host.codecs.block import decode_blocks, encode_blocks, roundtrip
from litepress.spec.formats import Format

NAMES = ["raw8", "raw8u", "raw16", *(f"zfpe{bits}" for bits in range(4, 17))]
FORMATS = [Format.parse(name) for name in NAMES]


def samples(fmt, runs, length, seed=0):
    """Values inside and outside the format's range, int16 (runs, length, 4)."""
    rng = np.random.default_rng(seed)
    q = np.exp2(rng.uniform(0, 15, (runs, length, 1))) * rng.uniform(-1, 1, (runs, length, 4))
    if fmt.bits == 8:
        q[::2] = rng.integers(-140, 300, q[::2].shape)
    return q.astype(np.int16)


def words_of(data):
    return np.ascontiguousarray(data).reshape(-1).view("<u4").tolist()


def vectors_of(q):
    return np.ascontiguousarray(q).reshape(-1, 4).view("<u8")[:, 0].tolist()


def configure(dut, fmt, length=None):
    yield dut.format.eq(fmt.code)
    if length is not None:
        yield dut.run_len.eq(length)
    yield


def decode(dut, fmt, coded, runs, length, stalls=(0.0, 0.0), seed=0):
    """Generator list and result list for some runs through a decoder."""
    out, clocks = [], []

    def job():
        yield from configure(dut, fmt, length)
        yield from feed(dut.sink, words_of(coded), seed, stalls[0])

    return [job(), drain(dut.source, runs * length, out, seed + 1, stalls[1], clocks=clocks)], \
        out, clocks


def check_decoded(out, coded, fmt, runs, length):
    expected = decode_blocks(coded, fmt, length)
    assert [data for data, _ in out] == vectors_of(expected)
    assert [last for _, last in out] == [i % length == length - 1 for i in range(runs * length)]


def check_encoded(out, q, fmt):
    coded = encode_blocks(q, fmt)
    assert [data for data, _ in out] == words_of(coded)
    words = fmt.run_words(q.shape[1])
    assert [last for _, last in out] == [i % words == words - 1 for i in range(len(out))]


def encode(dut, fmt, q, stalls=(0.0, 0.0), seed=0):
    runs, length, _ = q.shape
    out, clocks = [], []
    lasts = [i % length == length - 1 for i in range(runs * length)]

    def job():
        yield from configure(dut, fmt)
        yield from feed(dut.sink, vectors_of(q), seed, stalls[0], lasts)

    return [job(), drain(dut.source, runs * fmt.run_words(length), out, seed + 1, stalls[1],
                         clocks=clocks)], out, clocks


# Every format, every stall pattern ----------------------------------------------------------------


SHAPES = [(13, 2, (0.0, 0.4)), (7, 3, (0.4, 0.2)), (1, 16, (0.2, 0.2)), (6, 3, (0.1, 0.4))]
CASES = [(fmt, *SHAPES[i % len(SHAPES)]) for i, fmt in enumerate(FORMATS)]
MANY = [(fmt, length, 160 // length, stalls) for fmt in FORMATS
        for length, _, stalls in [*SHAPES, (160, 1, (0.0, 0.0))]]


def ids(value):
    return str(value) if isinstance(value, Format) else None


@pytest.mark.parametrize(("fmt", "length", "runs", "stalls"), CASES, ids=ids)
def test_decoder(fmt, length, runs, stalls):
    coded = encode_blocks(samples(fmt, runs, length, fmt.code), fmt)
    dut = BlockDecoder()
    drivers, out, _ = decode(dut, fmt, coded, runs, length, stalls, seed=length)
    simulate(dut, *drivers)
    check_decoded(out, coded, fmt, runs, length)


@pytest.mark.parametrize(("fmt", "length", "runs", "stalls"), CASES, ids=ids)
def test_encoder(fmt, length, runs, stalls):
    q = samples(fmt, runs, length, fmt.code)
    dut = BlockEncoder()
    drivers, out, _ = encode(dut, fmt, q, stalls, seed=length)
    simulate(dut, *drivers)
    check_encoded(out, q, fmt)


@pytest.mark.slow
@pytest.mark.parametrize(("fmt", "length", "runs", "stalls"), MANY, ids=ids)
def test_many(fmt, length, runs, stalls):
    test_decoder(fmt, length, runs, stalls)
    test_encoder(fmt, length, runs, stalls)


# Throughput ---------------------------------------------------------------------------------------


def limit(fmt, runs, length):
    """Clocks that the blocks (one a clock) or the words (one a clock) take at least."""
    return runs * max(length, fmt.run_words(length))


@pytest.mark.parametrize("name", ["raw8", "raw16", "zfpe8", "zfpe9", "zfpe15"])
def test_decoder_takes_a_word_or_gives_a_block_every_clock(name):
    fmt, runs, length = Format.parse(name), 2, 32
    coded = encode_blocks(samples(fmt, runs, length), fmt)
    dut = BlockDecoder()
    drivers, out, clocks = decode(dut, fmt, coded, runs, length)
    simulate(dut, *drivers)
    check_decoded(out, coded, fmt, runs, length)
    assert clocks[-1] - clocks[0] < limit(fmt, runs, length)


@pytest.mark.parametrize("name", ["raw8", "raw16", "zfpe8", "zfpe9", "zfpe15"])
def test_encoder_takes_a_block_or_gives_a_word_every_clock(name):
    fmt, runs, length = Format.parse(name), 2, 32
    q = samples(fmt, runs, length)
    dut = BlockEncoder()
    drivers, out, clocks = encode(dut, fmt, q)
    simulate(dut, *drivers)
    check_encoded(out, q, fmt)
    # The last word of a run waits for no block: the run before it may have ended a clock earlier.
    assert clocks[-1] - clocks[0] < limit(fmt, runs, length) + runs


# Changes while idle -------------------------------------------------------------------------------


def test_formats_change_between_runs():
    decoder, encoder = BlockDecoder(), BlockEncoder()
    names = ["zfpe8", "raw8u", "zfpe5", "raw16", "zfpe16"]
    work = [(Format.parse(name), 1, 5 + i) for i, name in enumerate(names)]
    tensors = [samples(fmt, runs, length, length) for fmt, runs, length in work]
    results = {decoder: [], encoder: []}

    def both(drivers):
        """The two generators of a job, one after the other's finish, in one."""
        feeder, drainer = drivers
        alive = [feeder, drainer]
        values = {feeder: None, drainer: None}
        while alive:
            for generator in list(alive):
                # Run one generator up to its next clock.
                try:
                    request = generator.send(values[generator])
                    while request is not None:
                        request = generator.send((yield request))
                    values[generator] = None
                except StopIteration:
                    alive.remove(generator)
            yield

    def decoder_job():
        for (fmt, runs, length), q in zip(work, tensors, strict=True):
            coded = encode_blocks(q, fmt)
            drivers, out, _ = decode(decoder, fmt, coded, runs, length, (0.2, 0.2))
            yield from both(drivers)
            results[decoder].append((out, coded))

    def encoder_job():
        for (fmt, _, _), q in zip(work, tensors, strict=True):
            drivers, out, _ = encode(encoder, fmt, q, (0.2, 0.2))
            yield from both(drivers)
            results[encoder].append(out)

    simulate(decoder, decoder_job())
    simulate(encoder, encoder_job())
    for (out, coded), (fmt, runs, length) in zip(results[decoder], work, strict=True):
        check_decoded(out, coded, fmt, runs, length)
    for out, (fmt, _, _), q in zip(results[encoder], work, tensors, strict=True):
        check_encoded(out, q, fmt)


@pytest.mark.parametrize("name", ["raw8", "zfpe15"])
@pytest.mark.parametrize("clocks", [5, 24])
def test_clear(name, clocks):
    fmt, length = Format.parse(name), 5
    q = samples(fmt, 2, length)
    coded = encode_blocks(q, fmt)
    decoder, encoder = BlockDecoder(), BlockEncoder()

    def interrupted(dut, beats, run_len):
        """Fill the core for some clocks with its source blocked, then clear it."""
        yield from configure(dut, fmt, run_len)
        yield dut.sink.valid.eq(1)
        for i in range(clocks):
            yield dut.sink.data.eq(beats[i % len(beats)])
            yield
        yield dut.sink.valid.eq(0)
        yield dut.clear.eq(1)
        yield
        yield dut.clear.eq(0)
        yield
        assert not (yield dut.source.valid)

    def decoder_job():
        yield from interrupted(decoder, words_of(coded), length)
        yield from feed(decoder.sink, words_of(coded))

    def encoder_job():
        yield from interrupted(encoder, vectors_of(q), None)
        yield from feed(encoder.sink, vectors_of(q),
                        lasts=[i % length == length - 1 for i in range(2 * length)])

    def later(generator):
        for _ in range(clocks + 6):
            yield
        yield from generator

    decoded, encoded = [], []
    simulate(decoder, decoder_job(), later(drain(decoder.source, 2 * length, decoded)))
    simulate(encoder, encoder_job(),
             later(drain(encoder.source, 2 * fmt.run_words(length), encoded)))
    check_decoded(decoded, coded, fmt, 2, length)
    check_encoded(encoded, q, fmt)


def test_fields_can_be_driven_in_place_of_the_format():
    fmt = Format.parse("zfpe6")
    q = samples(fmt, 1, 4)
    dut, out = BlockDecoder(), []

    def job():
        yield dut.kind.eq(fmt.kind)
        yield dut.bits.eq(fmt.bits)
        yield dut.length.eq(4)
        yield
        yield from feed(dut.sink, words_of(encode_blocks(q, fmt)))

    simulate(dut, job(), drain(dut.source, 4, out))
    assert [data for data, _ in out] == vectors_of(roundtrip(q, fmt))
