"""EBPC decoders against the reference codec and the golden vectors, bit for bit, with stalls."""

import json
from pathlib import Path

import numpy as np
import pytest
from ebpc_decoder_sim import SEGMENTS, VARIANTS, Job, run

from litepress.gateware.ebpc import EBPCDecoder, EBPCSegmentDecoder
from litepress.host.codecs.ebpc import EBPC, as_text, parse
from litepress.host.codecs.segments import encode_segments
from litepress.spec.ebpc import BPC_WORDS, RAW, ZNZ_WORDS

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ebpc.json").read_text())
# Command, ZNZ, BPC; source.
STALLS  = [(0, 0, 0, 0), (0.5, 0.3, 0.3, 0.3), (0, 0, 0, 0.8), (0, 0.9, 0, 0), (0, 0, 0.8, 0.1),
           (0.95, 0, 0, 0)]
WORST   = [-100, 2] + [104] * 6   # 0.572 words a clock in stream-ebpc.
GAP     = 4                       # Clocks from a stream to the next,
SHORT   = 12                      # and where streams end in the middle of a block, or soon.


def masked(values, word):
    """Ints -> words as they are on the wires."""
    return [int(v) & (1 << word) - 1 for v in values]


def packed(data):
    """Bytes -> 32-bit words, the last one padded."""
    data = bytes(data)
    return np.frombuffer(data + bytes(-len(data) % 4), "<u4").tolist()


def coded(values, word, block, signed=False):
    """Words -> (ZNZ, BPC), 32-bit words."""
    return [packed(data) for data in EBPC(word, block, signed).encode(np.array(values))]


def job(variant, streams, coded_streams, core="words", **options):
    """Of streams of words, and what they were coded to."""
    beats = [], [], []
    for values, (znz, bpc) in zip(streams, coded_streams, strict=True):
        beats[0].append(len(values) | len(znz) << 16 | len(bpc) << 32)
        beats[1].extend(znz)
        beats[2].extend(bpc)
    j = Job((core, *variant), beats, len(streams), **options)
    j.limit = 3000 + sum(j.hold) + j.clear_at + 40*sum(map(len, [*beats, *streams]))
    return j


def check(job, streams, result):
    """All words, all ``last``, nothing else, and all that was offered was taken."""
    assert result.streams == [*streams, []]
    assert not result.error
    assert result.taken == tuple(map(len, job.beats))


def kinds(rng, word, size=8):
    """Unsigned words of all kinds of data, many lengths."""
    top = 1 << word
    out = [[0], [1], [0] * 16, [0] * 17, [0] * 40, [1] + [0] * 16, [0] * 16 + [top - 1], [3] * 8,
           [3] * 17, [1, 0] * 20, [top // 2, top // 2 - 1] * 9, masked(WORST * 3, word)]
    ramp = (np.arange(1, 40) * 37 % (top - 1) + 1).tolist()
    out += [ramp[:n] + [0] * z for n in range(1, 18) for z in (0, 1, 16)]
    for _ in range(size):
        n = int(rng.integers(1, 150))
        dense = rng.integers(0, top, n)
        walk = np.cumsum(rng.integers(-3, 4, n)) + top // 2
        out += [dense, dense * (rng.random(n) < rng.random()), walk, walk * (rng.random(n) < 0.6),
                dense >> rng.integers(0, word, n), 1 << rng.integers(0, word, n),
                np.repeat(dense, 6)[:n], dense & -1 << int(rng.integers(0, word))]
    out = [masked(stream, word) for stream in out]
    rng.shuffle(out)
    return out


# Decoder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [(8, 8), (16, 8), (16, 16)])
def test_golden_vectors(variant):
    cases = [case for case in VECTORS if (case["m"], case["n"]) == variant]
    assert len(cases) == 150
    streams = [masked(case["values"], variant[0]) for case in cases]
    dtype = f"<u{variant[0] // 8}"
    parts = [[packed(np.array(case[name], dtype).tobytes()) for name in ("znz", "bpc")]
             for case in cases]
    jobs = [job(variant, streams, parts, stalls=stalls, seed=i) for i, stalls in enumerate(STALLS)]
    for j, result in zip(jobs, run(*jobs), strict=True):
        check(j, streams, result)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_decoder_equals_reference(variant, signed):
    word, block = variant
    streams = kinds(np.random.default_rng(sum(variant)), word)
    half = 1 << word - 1
    values = [(np.array(s) ^ half) - half if signed else np.array(s) for s in streams]
    parts = [coded(v, word, block, signed) for v in values]
    jobs = [job(variant, streams, parts, stalls=stalls, seed=i) for i, stalls in enumerate(STALLS)]
    for j, result in zip(jobs, run(*jobs), strict=True):
        check(j, streams, result)


@pytest.mark.parametrize("variant", VARIANTS)
def test_primitives(variant):
    """What is built for an ECP5 is the same core."""
    streams = kinds(np.random.default_rng(11), variant[0])
    parts = [coded(s, *variant) for s in streams]
    jobs = [job(variant, streams, parts, "primitive", stalls=stalls, seed=i)
            for i, stalls in enumerate(STALLS[:3])]
    for j, result in zip(jobs, run(*jobs), strict=True):
        check(j, streams, result)


@pytest.mark.parametrize("variant", VARIANTS)
def test_streams_before_and_after_the_command(variant):
    streams = [[1], [7], [0], [5, 0, 0], [200] * 9]
    parts = [coded(s, *variant) for s in streams]
    for count in (1, len(streams)):
        for hold in [(0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200), (0, 200, 100)]:
            j = job(variant, streams[:count], parts[:count], hold=hold)
            check(j, streams[:count], *run(j))


SUSTAINED = {
    "dense": lambda rng, word: rng.integers(1, 1 << word, 4000),
    "zeros": lambda rng, word: np.zeros(4000, int),
    "single zeros": lambda rng, word: np.arange(4000) % 2 * rng.integers(1, 1 << word, 4000),
    "single words": lambda rng, word: (np.arange(4000) % 17 == 16) * 99,
    "worst": lambda rng, word: np.tile(WORST, 500),
    "extremes": lambda rng, word: np.tile([1 << word - 1, (1 << word - 1) - 1], 2000),
    "bits": lambda rng, word: 1 << rng.integers(0, word, 4000),
    "sparse": lambda rng, word: rng.integers(1, 1 << word, 4000) * (rng.random(4000) < 0.3),
    "walk": lambda rng, word: np.abs(np.cumsum(rng.integers(-2, 3, 4000))) + 1,
    "small": lambda rng, word: rng.integers(1, 5, 4000),
    "shifted": lambda rng, word: rng.integers(1, 9, 4000) << word - 4,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_word_a_clock(variant):
    """With nothing to wait for, count words take count clocks, from the first to the last."""
    rng = np.random.default_rng(3)
    streams = {name: masked(make(rng, variant[0]), variant[0]) for name, make in SUSTAINED.items()}
    for k in range(1, 5):   # Planes of every pattern of zero and others.
        planes = rng.integers(0, 2, (500, variant[0])) * (1 << np.arange(variant[0]))
        masks = np.repeat(planes.sum(1), 8)
        streams[f"planes {k}"] = masked(rng.integers(0, 1 << variant[0], 4000) & masks | k,
                                        variant[0])
    jobs = [job(variant, [s], [coded(s, *variant)]) for s in streams.values()]
    for (name, stream), j, result in zip(streams.items(), jobs, run(*jobs), strict=True):
        check(j, [stream], result)
        assert result.clocks[-1] - result.clocks[0] == len(stream) - 1, name
        assert result.clocks[0] <= 30, name


def symbols(rng, word, block, pattern):
    """Text of a block: a first word, then planes in the order of ``pattern``, over and over: 1 is a
    symbol of a plane, more a run of planes."""
    text, left = f"{int(rng.integers(1, 1 << word)):0{word}b}", word + 1
    kinds = rng.permutation(3)[:int(rng.integers(1, 4))]
    while left:
        for planes in pattern:
            planes = min(planes, left)
            left -= planes
            bits = "".join(map(str, rng.integers(0, 2, block - 1)))
            if planes > 1:
                text += f"001{planes - 2:0{word.bit_length() - 1}b}"
            elif planes:
                text += ("1" + bits, "01", "0000" + bits[0])[rng.choice(kinds)]
    return text


@pytest.mark.parametrize("pattern", [(1,), (2, 1), (2, 1, 1), (3, 1), (3, 1, 1), (4, 1), (1, 1, 2),
                                     (2, 1, 3, 1), (5, 1, 1, 1), (2, 1, 1, 1, 3, 1, 1), (20,)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_word_a_clock_whatever_the_symbols(variant, pattern):
    """Streams made of symbols, not by an encoder: also those that no data have."""
    word, block = variant
    rng = np.random.default_rng(12)
    text = "".join(symbols(rng, word, block, pattern) for _ in range(60))
    count = 60 * block
    parts = []
    texts = ["1" * count, text]
    for bits in texts:
        bits += "0" * (-len(bits) % 32)
        units = [int(bits[i:i + word], 2) for i in range(0, len(bits), word)]
        parts.append(packed(np.array(units, f"<u{word // 8}").tobytes()))
    stream = masked(EBPC(word, block, False).decode(*(
        np.array(part, "<u4").tobytes()[:-(-len(bits) // word) * word // 8]
        for part, bits in zip(parts, texts, strict=True)), count), word)
    j = job(variant, [stream], [parts])
    [result] = run(j)
    check(j, [stream], result)
    assert result.clocks[-1] - result.clocks[0] == count - 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_gap_between_streams(variant):
    rng = np.random.default_rng(4)
    streams = [masked(rng.integers(0, 1 << variant[0], n), variant[0])
               for n in (64, 256, 128, 64, 112, 256, 67, 64, 8, 1, 1, 16, 100)]
    streams += [[0] * 64, [3] * 64, [0] * 64, [0] * 64]
    j = job(variant, streams, [coded(s, *variant) for s in streams])
    [result] = run(j)
    check(j, streams, result)
    ends = [clock for clock, last in zip(result.clocks, result.lasts, strict=True) if last]
    spans = np.diff(ends) - [len(s) for s in streams[1:]]
    assert spans[:5].max() <= GAP, spans
    assert spans.max() <= SHORT, spans


def refused(values, znz, bpc, variant):
    """Whether the reference codec finds the streams malformed; their words if not."""
    texts = []
    for words in (znz, bpc):
        data = np.array(words, "<u4").tobytes()
        if variant[0] == 16:
            data = np.frombuffer(data, "<u2").byteswap().tobytes()
        texts.append(as_text(data))
    try:
        return False, parse(*texts, len(values), EBPC(*variant, False), 32).tolist()
    except ValueError:
        return True, None


def spoiled(rng, values, znz, bpc):
    """(values, znz, bpc) with bits flipped, words lost, added, or all random."""
    znz, bpc, values = list(znz), list(bpc), list(values)
    for _ in range(int(rng.integers(1, 3))):
        which = znz if rng.random() < 0.4 else bpc
        match int(rng.integers(8)):
            case 0 | 1 | 2:
                if which:
                    i = int(rng.integers(len(which)))
                    which[i] ^= 1 << int(rng.integers(32))
            case 3:
                del which[int(rng.integers(len(which) + 1)):]
            case 4:
                which.append(int(rng.choice([0, rng.integers(1 << 32)])))
            case 5:
                which[:] = rng.integers(0, 1 << 32, int(rng.integers(0, 12))).tolist()
            case 6:
                count = int(rng.integers(1, 40))
                values = (values + [0] * count)[:count]
            case 7:
                if which:
                    which[-1] = int(rng.choice([0, (1 << 32) - 1]))
    return values, znz, bpc


@pytest.mark.parametrize("variant", VARIANTS)
def test_malformed_streams(variant):
    """2,500 streams for each variant, after and before good ones: an error if and only if the
    reference codec has one, count words in all cases, in bounded time, and nothing afterwards."""
    rng = np.random.default_rng(variant)
    pool = [s for s in kinds(rng, variant[0]) if len(s) < 90]
    pool = [(s, *coded(s, *variant)) for s in pool]
    jobs, expected = [], []
    for i in range(2500):
        before, case, after = (pool[int(rng.integers(len(pool)))] for _ in range(3))
        case = spoiled(rng, *case)
        error, words = refused(case[0], *case[1:], variant)
        cases = [before, case] + ([] if error else [after])
        stalls = STALLS[int(rng.integers(len(STALLS)))] if i % 2 else STALLS[0]
        j = job(variant, [c[0] for c in cases], [c[1:] for c in cases], seed=i, stalls=stalls)
        if error:   # There is more to be dropped.
            more = job(variant, [after[0]], [after[1:]]).beats
            j.beats = tuple([*a, *b] for a, b in zip(j.beats, more, strict=True))
            if stalls == STALLS[0]:
                # Latency, a clock a word, what is still read of the stream, the good one before.
                j.limit = 200 + sum(map(len, j.beats)) + 2 * sum(len(c[0]) for c in cases)
        jobs.append(j)
        expected.append((error, before[0], words or case[0], after[0]))
    errors = 0
    for j, (error, before, case, after), result in zip(jobs, expected, run(*jobs), strict=True):
        assert result.error == error, j
        if error:
            errors += 1
            first, second, rest = result.streams
            assert (first, len(second), rest) == (before, len(case), []), j
            assert result.errors[-1], j   # At the last word, if not before.
            # Two words of the stream before may still wait.
            assert not any(result.errors[:max(0, len(first) - 2)]), j
            zero = result.errors[len(first):].index(1)
            assert not any(second[zero + 2:]), j
        else:
            assert result.streams == [before, case, after, []], j
    assert 500 < errors < 2400


@pytest.mark.parametrize("variant", VARIANTS)
def test_truncated_streams(variant):
    """What came before the cut is right, the rest is zero."""
    rng = np.random.default_rng(6)
    jobs, streams = [], []
    for i in range(200):
        values = masked(rng.integers(0, 1 << variant[0], 300) * (rng.random(300) < 0.8), variant[0])
        znz, bpc = coded(values, *variant)
        which = (znz, bpc)[i % 2]
        del which[int(rng.integers(len(which))):]
        streams.append(values)
        jobs.append(job(variant, [values], [(znz, bpc)], seed=i, stalls=STALLS[i % 3]))
    for values, result in zip(streams, run(*jobs), strict=True):
        assert result.error
        [out, rest] = result.streams
        assert len(out) == len(values)
        assert rest == []
        good = next((i for i, (a, b) in enumerate(zip(out, values, strict=True)) if a != b),
                    len(values))
        assert not any(out[good:])


@pytest.mark.parametrize("variant", VARIANTS)
def test_clear(variant):
    rng = np.random.default_rng(8)
    good = masked(rng.integers(0, 1 << variant[0], 120), variant[0])
    znz, bpc = coded(good, *variant)
    # In the middle of a good stream, anywhere: all comes anew.
    jobs = [job(variant, [good, good], [(znz, bpc)] * 2, clear_at=at, seed=at,
                stalls=STALLS[at % 3]) for at in range(1, 300, 3)]
    for j, result in zip(jobs, run(*jobs), strict=True):
        check(j, [good, good], result)


def test_command_of_no_words():
    beats = ([3 | 1 << 16, 0, 3 | 1 << 16], [0b01000000, 5], [7])
    [result] = run(Job(("words", 8, 8), beats, 1))
    assert (result.streams, result.error, result.taken) == ([[0, 0, 0], []], True, (3, 2, 1))


@pytest.mark.parametrize("kind", [EBPCDecoder, EBPCSegmentDecoder])
def test_variants_that_do_not_exist(kind):
    with pytest.raises(ValueError, match="EBPC: word = 12: allowed are 8 and 16"):
        kind(12, 8)
    with pytest.raises(ValueError, match="EBPC: block = 4: allowed are 8 and 16"):
        kind(8, 4)


# Segment decoder ----------------------------------------------------------------------------------


def extended(words, word, unsigned):
    """m-bit words -> vectors of four int16, as they are on the wires."""
    values = np.array(words, np.int64)
    if not unsigned:
        values = (values ^ 1 << word - 1) - (1 << word - 1)
    rows = (values & 0xffff).reshape(-1, 4).astype(object)
    return [int(v) for v in (rows << np.array([0, 16, 32, 48], object)).sum(1)]


def command(header, vectors):
    """A header as the fields of a command."""
    znz, bpc, raw = (header >> first & (1 << bits) - 1 for first, bits in
                     (ZNZ_WORDS, BPC_WORDS, RAW))
    return vectors | znz << 9 | bpc << 25 | raw << 40


def segments_job(variant, segments, unsigned, **options):
    """segments: lists of m-bit words, a multiple of four -> (Job, whether raw)."""
    commands, words, raws = [], [], []
    half = 1 << variant[0] - 1
    for segment in segments:
        values = np.array([segment])
        data, [length] = encode_segments(values if unsigned else (values ^ half) - half, *variant,
                                         signed=not unsigned)
        header, *payload = data[0, :length].tolist()
        commands.append(command(header, len(segment) // 4))
        raws.append(header >> RAW[0])
        words += payload
    j = Job(("segments", *variant), (commands, words), len(segments), unsigned=unsigned, **options)
    j.limit = 3000 + j.clear_at + 20*len(words) + 50*sum(map(len, segments))
    return j, raws


def segment_kinds(rng, word, size=10):
    """Segments, with many that do not compress and some of 1024 words."""
    out = [[0] * 1024, [1, 0] * 512, rng.integers(0, 1 << word, 1024), [7] * 1024, [0] * 4,
           [1, 2, 3, 4], [0, 0, 0, 1], np.arange(1024) % (1 << word)]
    for _ in range(size):
        n = 4 * int(rng.integers(1, 65))
        dense = rng.integers(0, 1 << word, n)
        out += [dense, dense >> int(rng.integers(0, word)), dense * (rng.random(n) < rng.random()),
                (dense >> int(rng.integers(0, word))) * (rng.random(n) < 0.5)]
    out = [masked(segment, word) for segment in out]
    rng.shuffle(out)
    return out


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("variant", SEGMENTS)
def test_segments(variant, unsigned):
    word = variant[0]
    segments = segment_kinds(np.random.default_rng(sum(variant)), word)
    expected = [extended(s, word, unsigned) for s in segments]
    jobs = []
    for i, stalls in enumerate(STALLS):
        j, raws = segments_job(variant, segments, unsigned, seed=i, stalls=stalls,
                               clear_at=100*i if i % 2 else 0)
        assert 5 < sum(raws) < len(raws) - 5
        jobs.append(j)
    for j, result in zip(jobs, run(*jobs), strict=True):
        assert result.streams == [*expected, []]
        assert not result.error
        assert result.taken == (len(segments), len(j.beats[1]), 0)


@pytest.mark.parametrize("variant", SEGMENTS)
def test_rates_of_segments(variant):
    rng = np.random.default_rng(9)
    word = variant[0]
    coded_ = masked(rng.integers(0, 8, 1024), word)
    plain = masked(rng.integers(0, 1 << word, 1024), word)
    j, raws = segments_job(variant, [coded_] * 4, True)
    assert not any(raws)
    # The decoder cannot begin before all ZNZ words are there: at most 32 clocks more.
    latency = 32 + 35
    [result] = run(j)
    assert result.clocks[-1] - result.clocks[0] <= 4 * 1024 + 3 * GAP
    assert result.clocks[0] <= latency + 4
    j, raws = segments_job(variant, [plain] * 4, True)
    assert all(raws)
    [result] = run(j)
    assert result.clocks[-1] - result.clocks[0] <= 4 * 1024 * word // 32 + 3 * GAP


@pytest.mark.parametrize("variant", SEGMENTS)
def test_malformed_segments(variant):
    """A good segment, a bad one, and one that is dropped."""
    rng = np.random.default_rng(10)
    word = variant[0]
    good = masked(rng.integers(0, 5, 40), word)
    before, _ = segments_job(variant, [good], False)
    raw_words = 10 * word // 8
    bad = {
        "raw, a word missing": (command(1 << 31 | raw_words - 1 << 16, 10), [5] * (raw_words - 1)),
        "raw, a word more": (command(1 << 31 | raw_words + 1 << 16, 10), [5] * (raw_words + 1)),
        "raw, ZNZ words": (command(1 << 31 | raw_words << 16 | 1, 10), [5] * (raw_words + 1)),
        "no words": (command(0, 10), []),
        "too many ZNZ words": (command(161, 10), [5] * 161),
        "too many vectors": (command(1 << 31 | 300 * word // 8 << 16, 300), [5] * 300),
        "no vectors": (command(1 << 31, 0), []),
    }
    for _ in range(200):
        segment = masked(rng.integers(0, 9, 40) * (rng.random(40) < 0.7), word)
        j, [raw] = segments_job(variant, [segment], False)
        if raw:
            continue
        [com], words = j.beats
        words[int(rng.integers(len(words)))] ^= 1 << int(rng.integers(32))
        znz, bpc = com >> 9 & 0xffff, com >> 25 & 0x7fff
        if refused(segment, words[:znz], words[znz:znz + bpc], variant)[0]:
            bad[len(bad)] = com, words
    assert len(bad) > 60
    jobs = []
    for i, (com, words) in enumerate(bad.values()):
        vectors = com & 511
        beats = tuple([*a, *b, *a] for a, b in zip(before.beats, ([com], words), strict=True))
        jobs.append(Job(("segments", *variant), beats, 2 if vectors else 1, seed=i,
                        stalls=STALLS[i % len(STALLS)],
                        limit=3000 + 60 * (sum(map(len, beats)) + 4 * vectors)))
    expected = extended(good, word, False)
    for (name, (com, _)), j, result in zip(bad.items(), jobs, run(*jobs), strict=True):
        assert result.error, name
        first, *rest = result.streams
        assert first == expected, name
        assert list(map(len, rest)) == ([com & 511, 0] if com & 511 else [0]), name
        assert result.taken == tuple(map(len, (*j.beats, []))), name
        if isinstance(name, str):
            assert not any(rest[0]), name
