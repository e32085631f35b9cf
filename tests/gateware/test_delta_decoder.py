"""Runs of deltas through BlockDecoder, against the reference."""

import numpy as np
import pytest
from common import drain, feed, simulate

from litepress.gateware.block import BlockDecoder
from litepress.host.codecs.block import decode_blocks, encode_blocks
from litepress.spec.formats import Format


def coded(fmt, runs, taps, seed):
    """(words, vectors, lasts) of runs of random weights."""
    q = np.random.default_rng(seed).integers(-260, 260, (runs, taps * fmt.segment, 4))
    data = encode_blocks(q.astype(np.int16), fmt)
    vectors = decode_blocks(data, fmt, taps * fmt.segment)
    lasts = ([False] * (taps * fmt.segment - 1) + [True]) * runs
    return (data.reshape(-1).view("<u4").tolist(),
            vectors.reshape(-1, 4).view("<u8")[:, 0].tolist(), lasts)


@pytest.mark.parametrize("bits, segment, runs, taps", [
    (2, 1, 12, 1), (3, 1, 9, 9), (4, 1, 1, 40), (4, 8, 3, 5), (5, 3, 4, 7), (6, 16, 2, 3),
    (2, 16, 5, 1), (6, 1, 20, 2), (4, 2, 15, 2)])
@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.4, 0.4), (0.0, 0.6), (0.6, 0.0)])
def test_runs(bits, segment, runs, taps, stalls):
    fmt = Format.parse(f"delta{bits}.{segment}")
    words, vectors, lasts = coded(fmt, runs, taps, bits)
    dut, out = BlockDecoder(classic=False, improved=False), []

    def job():
        yield dut.format.eq(fmt.code)
        yield dut.run_len.eq(taps * segment)
        yield dut.segment.eq(segment)
        yield dut.run_words.eq(fmt.run_words(taps * segment))
        yield
        yield from feed(dut.sink, words, 1, stalls[0])

    simulate(dut, job(), drain(dut.source, len(vectors), out, 2, stalls[1]))
    assert [data for data, _ in out] == vectors
    assert [bool(last) for _, last in out] == lasts


def test_a_word_or_a_block_a_clock():
    """Runs cost their references and nothing else."""
    fmt, taps, runs = Format.parse("delta4.4"), 8, 6
    words, vectors, _ = coded(fmt, runs, taps, 1)
    dut, clocks = BlockDecoder(classic=False, improved=False), []

    def watch():
        yield dut.format.eq(fmt.code)
        yield dut.run_len.eq(4 * taps)
        yield dut.segment.eq(4)
        yield dut.run_words.eq(fmt.run_words(4 * taps))
        yield dut.source.ready.eq(1)
        sent = clock = 0
        while len(clocks) < len(vectors):
            if sent < len(words):
                yield dut.sink.valid.eq(1)
                yield dut.sink.data.eq(words[sent])
            else:
                yield dut.sink.valid.eq(0)
            yield
            clock += 1
            sent += (yield dut.sink.valid) and (yield dut.sink.ready)
            if (yield dut.source.valid):
                assert (yield dut.source.data) == vectors[len(clocks)]
                clocks.append(clock)

    simulate(dut, watch(), timeout=2000)
    assert clocks[-1] - clocks[0] < runs * (4 * taps + 4)
