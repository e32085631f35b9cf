"""EBPC encoders against the reference codec and the golden vectors, bit for bit, with stalls."""

import json
from pathlib import Path

import numpy as np
import pytest
from codec_sim import SimulationError
from ebpc_encoder_sim import VARIANTS, Job, run

from litepress.gateware.ebpc import EBPCEncoder
from litepress.gateware.ebpc.encoder import LANES
from litepress.host.codecs.ebpc import EBPC
from litepress.host.codecs.segments import encode_segments
from litepress.spec.ebpc import MAX_SEGMENT_BLOCKS

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ebpc.json").read_text())
STALLS  = [(0, 0, 0), (0.4, 0.3, 0.3), (0.05, 0.9, 0.1), (0.05, 0.1, 0.8), (0.8, 0, 0)]
LOST    = [2, 55, -114, 110, -1, -102, -48, -71] + [0] * 12   # stream-ebpc loses its last word.
WORST   = [-100, 2] + [104] * 6                               # 0.572 words a clock there.


def masked(values, word):
    """Ints -> words as they are on the wires."""
    return [int(v) & (1 << word) - 1 for v in values]


def words_of(beats, word):
    """The (data, words) of a stream's beats -> m-bit words; checks that the beats are full, that
    there are none to spare, and that what does not count is zero."""
    out = []
    for i, (data, words) in enumerate(beats):
        last = i == len(beats) - 1
        assert words == 32 // word or (last and words < 32 // word)
        assert data >> words * word == 0
        out += [data >> word * k & (1 << word) - 1 for k in range(words)]
    return out


def streams_of(data, word):
    """Bytes of the reference codec -> m-bit words."""
    return np.frombuffer(data, f"<u{word // 8}").tolist()


def kinds(word, signed, seed, size=12):
    """Streams of all kinds of data, the lengths of many mixed, at least 1."""
    rng = np.random.default_rng(seed)
    low, high = (-(1 << word - 1), 1 << word - 1) if signed else (0, 1 << word)
    out = [[0], [1], [0] * 15, [0] * 16, [0] * 17, [0] * 33, [1] + [0] * 16, [0] * 16 + [1],
           [3] * 8, [3] * 16, [3] * 17, [low] * 9 + [high - 1] * 9, [high - 1, low or 1] * 8,
           [1, 0] * 20, [0, 1] * 20, [1, 2, 3, 4, 5, 6, 7, 8] * 2 + [0] * 3]
    # Every length round a block, alone and with zeros behind.
    ramp = (np.arange(1, 40) * 37 % (high - 1) + 1).tolist()
    out += [ramp[:n] + [0] * z for n in range(1, 20) for z in (0, 1, 16)]
    for _ in range(size):
        n = int(rng.integers(1, 150))
        dense = rng.integers(low, high, n)
        walk = np.clip(np.cumsum(rng.integers(-3, 4, n)) + (low + high) // 2, low, high - 1)
        bits = rng.integers(0, word + 1, n)
        few = rng.choice([low or 1, high - 1, 1, 0, 2, high // 2], n)
        out += [dense, dense * (rng.random(n) < rng.random()), walk, walk * (rng.random(n) < 0.6),
                np.clip(dense >> bits, low, high - 1), few, np.clip(1 << bits, low, high - 1),
                np.repeat(dense, 6)[:n], dense & -1 << int(rng.integers(0, word))]
    out = [[int(v) for v in stream] for stream in out]
    rng.shuffle(out)
    return out


def check(job, word, block, streams, result):
    codec = EBPC(word, block, signed=not job.unsigned)
    for values, znz, bpc in zip(streams, result.znz, result.bpc, strict=True):
        expected = [streams_of(data, word) for data in codec.encode(np.array(values))]
        assert [words_of(znz, word), words_of(bpc, word)] == expected, values


@pytest.mark.parametrize(("word", "block"), [(8, 8), (16, 8), (16, 16)])
def test_golden_vectors(word, block):
    cases = [case for case in VECTORS if (case["m"], case["n"]) == (word, block)]
    assert len(cases) == 150
    streams = [masked(case["values"], word) for case in cases]
    for result in run(*(Job(("words", word, block), streams, stalls=stalls, seed=i)
                        for i, stalls in enumerate(STALLS))):
        for case, znz, bpc in zip(cases, result.znz, result.bpc, strict=True):
            assert words_of(znz, word) == case["znz"]
            assert words_of(bpc, word) == case["bpc"]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("word", "block"), VARIANTS)
def test_encoder_equals_reference(word, block, signed):
    streams = kinds(word, signed, seed=word + block)
    if signed:
        streams += [LOST, WORST * 5]
    job = [Job(("words", word, block), [masked(s, word) for s in streams], not signed, stalls,
               seed=i) for i, stalls in enumerate(STALLS)]
    for j, result in zip(job, run(*job), strict=True):
        check(j, word, block, streams, result)


def test_lost_word_of_the_reference_rtl():
    [result] = run(Job(("words", 8, 8), [masked(LOST, 8), [0] * 20, [1]]))
    check(Job(("words", 8, 8), []), 8, 8, [LOST, [0] * 20, [1]], result)
    assert [words_of(s, 8) for s in result.bpc[1:]] == [[], [0x01, 0x18, 0x38]]


def planes_to_words(rng, word, block, dbx):
    """A block whose DBX are those given: (word + 1, block - 1) bits, the first difference first;
    None where no nonzero signed words have them."""
    dbp = np.bitwise_xor.accumulate(dbx, axis=0)
    delta = (dbp.astype(np.int64) << np.arange(word + 1)[:, None]).sum(0)
    delta -= (dbp[word].astype(np.int64) << word + 1)
    for _ in range(20):
        x = int(rng.integers(-(1 << word - 1), 1 << word - 1)) + np.concatenate(
            [[0], np.cumsum(delta)])
        if np.all((x >= -(1 << word - 1)) & (x < 1 << word - 1) & (x != 0)):
            return x.tolist()
    return None


@pytest.mark.parametrize(("word", "block"), VARIANTS)
def test_all_runs_of_zero_planes(word, block):
    """Blocks whose planes are zero in every pattern of the low ones."""
    rng = np.random.default_rng(5)
    streams = []
    for pattern in range(1 << 9):
        for _ in range(60):
            dbx = rng.integers(0, 2, (word + 1, block - 1))
            dbx[:9] *= np.array([[pattern >> i & 1] for i in range(9)])
            # Small differences: the planes above repeat, so that their DBX are zero.
            top = int(rng.integers(3, word))
            dbx[top:] = 0
            values = planes_to_words(rng, word, block, dbx)
            if values:
                streams.append(values)
                break
    assert len(streams) > 250
    job = Job(("words", word, block), [masked(s, word) for s in streams], stalls=(0.1, 0.2, 0.2))
    check(job, word, block, streams, *run(job))


SUSTAINED = {
    "dense": lambda rng, word: rng.integers(1, 1 << word, 4000),
    "zeros": lambda rng, word: np.zeros(4000, int),
    "alternating": lambda rng, word: np.arange(4000) % 2 * rng.integers(1, 1 << word, 4000),
    "worst": lambda rng, word: np.tile(WORST, 500),
    "extremes": lambda rng, word: np.tile([1 << word - 1, (1 << word - 1) - 1], 2000),
    "bits": lambda rng, word: 1 << rng.integers(0, word, 4000),
    "sparse": lambda rng, word: rng.integers(1, 1 << word, 4000) * (rng.random(4000) < 0.3),
}


@pytest.mark.parametrize(("word", "block"), VARIANTS)
def test_one_word_every_clock(word, block):
    """On any data, and so that the words that leave keep up as well."""
    rng = np.random.default_rng(9)
    streams = {name: masked(make(rng, word), word) for name, make in SUSTAINED.items()}
    jobs = [Job(("words", word, block), [s]) for s in streams.values()]
    for name, job, result in zip(streams, jobs, run(*jobs), strict=True):
        clocks = result.clocks
        assert clocks[-1] - clocks[0] == len(job.streams[0]) - 1, name
        assert result.bpc_clocks[-1] - clocks[-1] < 40, name
        values = np.array(job.streams[0])
        check(job, word, block, [np.where(values >> word - 1, values - (1 << word), values)],
              result)


@pytest.mark.parametrize(("word", "block"), VARIANTS)
def test_pause_between_streams(word, block):
    """As documented: none after whole blocks of nonzero words, else at most a block's steps and
    one clock for every stream."""
    rng = np.random.default_rng(3)
    steps = (word + 2) // LANES[word, block]
    count = 30
    cases = [(n, zeros) for n in range(1, 4 * block + 2) for zeros in (0, 0.5, 0.9)]
    jobs = [Job(("words", word, block), [masked(
        rng.integers(1, 1 << word, n) * (rng.random(n) >= zeros), word) for _ in range(count)])
        for n, zeros in cases]
    for (n, zeros), result in zip(cases, run(*jobs), strict=True):
        pauses = result.clocks[-1] - result.clocks[0] + 1 - n * count
        assert pauses <= (0 if n % block == 0 and not zeros else count * (steps + 1)), (n, zeros)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match=r"EBPC word = 12: allowed are \(8, 16\)"):
        EBPCEncoder(word=12)
    with pytest.raises(ValueError, match=r"EBPC block = 4: allowed are \(8, 16\)"):
        EBPCEncoder(block=4)


# Segments -----------------------------------------------------------------------------------------


def segment(rng, vectors, word, kind):
    """int16 (vectors, 4); some beyond what the word holds."""
    shape = (vectors, 4)
    if kind == 0:
        return rng.integers(-32768, 32768, shape).astype(np.int16)
    top = 1 << int(rng.integers(2, word + 1))
    x = rng.integers(-top, top, shape)
    if kind == 1:
        x = np.cumsum(x.reshape(-1) // (1 + top // 4)).reshape(shape)
    x = x * (rng.random(shape) < (1.0, 1.0, 0.7, 0.3, 0.05, 0.0)[kind])
    if kind == 2:   # Near what raw takes.
        x = rng.integers(0, 1 << word - 1, shape) >> int(rng.integers(0, 3))
    return np.clip(x, -32768, 32767).astype(np.int16)


def segments(rng, lengths, word):
    return [segment(rng, n, word, i % 6) for i, n in enumerate(lengths)]


def beats(vectors):
    return [int.from_bytes(v.astype("<i2").tobytes(), "little") for v in vectors]


def reference(vectors, word, block, signed):
    low, high = (-(1 << word - 1), (1 << word - 1) - 1) if signed else (0, (1 << word) - 1)
    values = np.clip(vectors.astype(np.int64), low, high).reshape(1, -1)
    words, lengths = encode_segments(values, word, block, signed)
    return words[0, :lengths[0]].tolist()


def leaving(result):
    return [[data for data, _ in stream] for stream in result.bpc]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("word", "block"), VARIANTS)
def test_segments_equal_reference(word, block, signed):
    rng = np.random.default_rng(2 * word + block)
    lengths = [*range(1, 14), *rng.integers(1, 257, 29), *[256] * 5, 255, *[256] * 4, 1, 1, 1, 1]
    inputs = segments(rng, lengths, word)
    expected = [reference(x, word, block, signed) for x in inputs]
    assert {words[0] >> 31 for words in expected} == {0, 1}
    for stalls in ((0, 0, 0), (0.4, 0, 0.4), (0, 0, 0.95), (0.7, 0, 0)):
        [result] = run(Job(("segments", word, block), [beats(x) for x in inputs], not signed,
                           stalls))
        assert leaving(result) == expected
        assert not result.error


def test_raw_as_soon_as_nothing_is_won():
    """Segments whose streams take one word less than raw, as many, and one more."""
    rng = np.random.default_rng(12)
    inputs, differences = [], []
    for _ in range(400):
        n = int(rng.integers(2, 40))
        x = (rng.integers(0, 128, (n, 4)) * (rng.random((n, 4)) < 0.65)).astype(np.int16)
        znz, bpc = EBPC(8, 8, True).sizes(x.reshape(1, -1))
        difference = int(-(-znz[0] // 32) - (-bpc[0] // 32)) - n
        if abs(difference) <= 1:
            inputs.append(x)
            differences.append(difference)
    assert min(differences.count(d) for d in (-1, 0, 1)) > 5, differences
    [result] = run(Job(("segments", 8, 8), [beats(x) for x in inputs]))
    for stream, x, difference in zip(leaving(result), inputs, differences, strict=True):
        assert stream == reference(x, 8, 8, True)
        assert stream[0] >> 31 == (difference >= 0)


@pytest.mark.parametrize(("word", "block"), VARIANTS)
def test_a_vector_every_4_clocks(word, block):
    """Segments follow each other, whatever is in them, with few clocks between."""
    rng = np.random.default_rng(1)
    inputs = segments(rng, [256] * 12, word)
    [result] = run(Job(("segments", word, block), [beats(x) for x in inputs]))
    clocks = np.array(result.clocks)
    assert clocks[-1] - clocks[0] <= 4 * 256 * 12 + 8 * 12
    assert np.diff(clocks).max() <= 4 + 12


def test_segments_wait_for_the_reader():
    rng = np.random.default_rng(4)
    inputs = segments(rng, [256, 200, 256, 3, 100], 8)
    [result] = run(Job(("segments", 8, 8), [beats(x) for x in inputs], hold_until=6000))
    # The first two segments fill the memory.
    assert result.clocks[455] < 2500 and result.clocks[456] > 6000
    assert leaving(result) == [reference(x, 8, 8, True) for x in inputs]


@pytest.mark.parametrize("word", [8, 16])
def test_too_long_a_segment(word):
    """It is cut, and the segments before and after it are not touched."""
    rng = np.random.default_rng(6)
    inputs = segments(rng, [256, 256, 257, 1000, 256, 7], word)
    cut = [x[:MAX_SEGMENT_BLOCKS] for x in inputs]
    for stalls in ((0, 0, 0), (0.2, 0, 0.6)):
        [result] = run(Job(("segments", word, 8), [beats(x) for x in inputs], stalls=stalls))
        assert leaving(result) == [reference(x, word, 8, True) for x in cut]
        assert result.error
    [result] = run(Job(("segments", word, 8), [beats(x) for x in inputs[:2]]))
    assert not result.error


def test_clear():
    """At any time, full or not; an error goes away."""
    rng = np.random.default_rng(8)
    inputs = segments(rng, [60, 300, 20, 100], 8)
    whole = segments(rng, [64, 1, 256, 20], 8)
    for data, error in ((inputs, True), (whole, False)):
        expected = [reference(x[:MAX_SEGMENT_BLOCKS], 8, 8, True) for x in data]
        for clear_at in (3, 50, 301, 420, 700, 1500, 3000):
            for stalls, hold in (((0, 0, 0), 0), ((0.3, 0, 0.5), 0), ((0, 0, 0), clear_at)):
                [result] = run(Job(("segments", 8, 8), [beats(x) for x in data], stalls=stalls,
                                   clear_at=clear_at, hold_until=hold, seed=clear_at))
                assert leaving(result) == expected
                assert result.error == error


def test_a_hang_is_noticed():
    with pytest.raises(SimulationError, match="timeout"):
        run(Job(("words", 8, 8), [[1, 2, 3]], hold_until=10**6, limit=500))
