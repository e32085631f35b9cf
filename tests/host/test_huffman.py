"""host/codecs/huffman.py: streams there and back, the best lengths, and corrupt streams."""

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepress.host.codecs.huffman import (
    HuffmanError,
    canonical,
    code_lengths,
    data_bytes,
    decode,
    encode,
    field_bits,
    shortest,
)
from litepress.spec.huffman import MAX_BITS, MAX_LENGTH


def data_of(rng, bits, words):
    """Whole words of fields, few values of which are frequent."""
    spread = rng.uniform(0.05, 3)
    fields = np.minimum(rng.exponential(spread, -(-32 * words // bits)), (1 << bits) - 1)
    ones = (fields.astype(int)[:, None] >> np.arange(bits) & 1).astype(np.uint8).ravel()
    return np.packbits(ones[:32 * words], bitorder="little").tobytes()


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(0, 60))
def test_round_trip(seed, bits, words):
    data = data_of(np.random.default_rng(seed), bits, words)
    stream = encode(data, bits)
    assert decode(stream) == data and len(stream) % 4 == 0
    assert data_bytes(stream) == len(data)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(0, 300))
def test_shortest(seed, bits, words):
    data = data_of(np.random.default_rng(seed), bits, words)
    stream = shortest(data)
    assert decode(stream) == data
    assert len(stream) == min(len(encode(data, bits)) for bits in range(1, MAX_BITS + 1))


def test_width_of_fields_in_short_streams():
    """Pairs of equal codes: fields of pairs, but in streams so short that their table costs more;
    streams of the width chosen hold the most."""
    codes = np.minimum(np.random.default_rng(3).exponential(4, 8000), 15).astype(np.uint8)
    codes[1::16] = codes[::16]
    data = (codes[::2] | codes[1::2] << 4).tobytes()
    assert field_bits(data) == 8 and field_bits(data, 1020) == 4

    def held(bits):
        return sum(len(encode(data[:n], bits)) <= 1020 for n in range(1000, 2000, 4))
    assert held(4) > max(held(8), held(3))
    assert field_bits(b"") == field_bits(b"", 1020)


def huffman_bits(counts):
    """Length of Huffman's own code, by merging the two rarest."""
    heap, total = [int(n) for n in counts if n], 0
    heapq.heapify(heap)
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        total += both
        heapq.heappush(heap, both)
    return total


@settings(deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=2, max_size=40))
def test_lengths_are_the_best(counts):
    counts = np.array(counts)
    lengths = code_lengths(counts)
    assert (lengths[counts == 0] == 0).all() and (lengths[counts > 0] > 0).all()
    if (counts > 0).sum() > 1:
        assert (0.5 ** lengths[counts > 0]).sum() == 1
        assert (lengths * counts).sum() == huffman_bits(counts)


def test_lengths_with_a_limit():
    counts = 2 ** np.arange(20)     # Huffman's own code of these has 19 bits.
    for limit in (5, 8, MAX_LENGTH):
        lengths = code_lengths(counts, limit)
        assert lengths.max() == limit and (0.5 ** lengths).sum() == 1
    with pytest.raises(ValueError, match="of 20 values: allowed with 4 bits are 16"):
        code_lengths(counts, 4)


def test_a_literal_stream():
    """Values 0, 1, 2 with codes 0, 10, 11: 0 2 0 1 0 0 0 0 ..."""
    fields = [0, 2, 0, 1] + 12 * [0]
    data = sum(field << 2 * i for i, field in enumerate(fields)).to_bytes(4, "little")
    assert canonical(code_lengths(np.array([14, 1, 1, 0]))).tolist() == [0, 2, 3, 0]
    assert encode(data, 2) == bytes([16, 0, 0, 0, 2, 0, 0, 0, 0x21, 0x02, 0, 0, 0x16, 0, 0, 0])


@settings(deadline=None, max_examples=400)
@given(st.integers(0, 2**32), st.integers(1, 8), st.data())
def test_no_corrupt_stream_is_taken_for_another(seed, bits, draw):
    """Bits changed, words missing or added: an error of one line, or data of the right size."""
    rng = np.random.default_rng(seed)
    data = data_of(rng, bits, 12)
    stream = bytearray(encode(data, bits))
    kind = draw.draw(st.sampled_from(["bits", "cut", "more", "noise"]))
    if kind == "bits":
        for _ in range(draw.draw(st.integers(1, 4))):
            stream[rng.integers(8, len(stream))] ^= 1 << rng.integers(8)
    elif kind == "cut":
        del stream[rng.integers(0, len(stream)):]
    elif kind == "more":
        stream += bytes(rng.integers(0, 2, 4 * rng.integers(1, 4)).astype(np.uint8))
    else:
        stream[:] = rng.integers(0, 256, len(stream)).astype(np.uint8).tobytes()
    try:
        assert len(decode(bytes(stream))) == len(data)
    except HuffmanError as error:
        assert "\n" not in str(error)
    else:
        assert kind == "bits"


@pytest.mark.parametrize("change, message", [
    (lambda s: s[:6], "of 6 bytes: expected are whole words of 4, 8 bytes and more"),
    (lambda s: s[:4] + bytes([9]) + s[5:], "fields of 9 bits: allowed are 1 to 8"),
    (lambda s: s[:12], r"of 12 bytes ends in its table of 8"),
    (lambda s: s[:8] + bytes(8) + s[16:], "its 0 code lengths are of 0 codes: allowed is 1"),
    (lambda s: s[:8] + bytes([0x11, 0x11]) + bytes(6) + s[16:], "are of 2 codes"),
    (lambda s: s[:16], "96 fields in 0 bits"),
    (lambda s: s[:-4], "it ends before its last field"),
    (lambda s: s + bytes(4), "bits behind its last field"),
    (lambda s: b"\xff\xff\xff\xff" + s[4:], "4294967295 fields in"),
])
def test_errors_are_clear(change, message):
    stream = encode(data_of(np.random.default_rng(1), 4, 12), 4)
    with pytest.raises(HuffmanError, match=message):
        decode(change(stream))
    with pytest.raises(ValueError, match="fields of 9 bits"):
        encode(bytes(4), 9)
    with pytest.raises(ValueError, match="data of 5 bytes"):
        encode(bytes(5), 4)
