"""Reference codec EBPC: golden vectors, a plain encoder, properties, corrupt streams."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepress.host.codecs import EBPC
from litepress.host.codecs.ebpc import parse
from litepress.host.codecs.ebpc_lockstep import decode_many
from litepress.host.codecs.ebpc_many import encode_many, value_range

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ebpc.json").read_text())
CODES = [(word, block, signed) for word in (8, 16) for block in (8, 16) for signed in (True, False)]
DENSE = [-84, 80, 38, 105, 1, 27, 120, 58]          # Nothing but raw planes.
SLOW = [-100, 2, 104, 104, 104, 104, 104, 104]      # Runs of one plane, in turn with ones.
LOST = [2, 55, -114, 110, -1, -102, -48, -71] + [0] * 12
codes = pytest.mark.parametrize("word, block, signed", CODES)


def plain_streams(values, m, n):
    """(znz, bpc) as texts of 0 and 1, not padded, word by word from the format's table."""
    znz, i = "", 0
    while i < len(values):
        run = 0
        while i + run < len(values) and run < 16 and not values[i + run]:
            run += 1
        znz += f"0{run - 1:04b}" if run else "1"
        i += max(run, 1)
    words = [v for v in values if v]
    words += [0] * (-len(words) % n)
    bpc = ""
    log_m, log_n = m.bit_length() - 1, n.bit_length() - 1
    for at in range(0, len(words), n):
        block = words[at:at + n]
        bpc += f"{block[0] % 2**m:0{m}b}"
        deltas = [(b - a) % 2**(m + 1) for a, b in pairwise(block)]
        last, zeros = "0" * (n - 1), 0
        for k in range(m + 2):
            dbp = "".join(str(d >> k & 1) for d in deltas) if k <= m else None
            dbx = dbp and "".join("01"[a != b] for a, b in zip(dbp, last, strict=True))
            if dbp and "1" not in dbx:
                zeros += 1
                continue
            if zeros:
                bpc += "01" if zeros == 1 else f"001{zeros - 2:0{log_m}b}"
                zeros = 0
            if dbp is None:
                break
            first = dbx.index("1")
            if "0" not in dbx:
                bpc += "00000"
            elif "1" not in dbp:
                bpc += "00001"
            elif dbx.strip("0") == "11":
                bpc += f"00010{first:0{log_n}b}"
            elif dbx.strip("0") == "1":
                bpc += f"00011{first:0{log_n}b}"
            else:
                bpc += "1" + dbx
            last = dbp
    return znz, bpc


def padded_streams(values, word, block):
    """plain_streams, each padded to whole 32-bit words."""
    texts = plain_streams(values.tolist(), word, block)
    return [text + "0" * (-len(text) % 32) for text in texts]


def to_bytes(text, word):
    text += "0" * (-len(text) % word)
    order = "big" if word == 8 else "little"
    return b"".join(int(text[i:i + word], 2).to_bytes(word // 8, order)
                    for i in range(0, len(text), word))


def mixed(rng, word, signed, n):
    """Values of several kinds that make every symbol of the code common."""
    low, high = value_range(word, signed)
    kind = rng.integers(8)
    step = 1 << rng.integers(word)
    if kind < 3:
        values = np.cumsum(rng.integers(-step, step + 1, n))
    elif kind < 5:
        values = rng.integers(0, 2, n) * step + rng.integers(low, high + 1)
    else:
        values = rng.integers(low, high + 1, n)
    values = (values - low) % (high - low + 1) + low
    return np.where(rng.random(n) < rng.choice([0, 0.1, 0.5, 0.95]), 0, values)


def both(codec, streams, n):
    """streams: (znz, bpc), texts of whole 32-bit words. What the plain and the lock-step parser
    make of them: a list of values or None, where they agree."""
    plain = []
    for znz, bpc in streams:
        try:
            plain.append(parse(znz, bpc, n, codec, 32))
        except ValueError:
            plain.append(None)
    # Ones before, between and behind: a parser must not take them for a part of its stream.
    batch, ones = [], "1" * 64
    for texts in zip(*streams, strict=True):
        texts = [ones, *(t for text in texts for t in (text, ones))]
        words = [int(text[i:i + 32], 2) for text in texts for i in range(0, len(text), 32)]
        batch += [np.array(words, np.uint32), np.array([len(text) // 32 for text in texts])]
    values, bad = decode_many(*batch, n, codec.word, codec.block, codec.signed)
    for expected, row, wrong in zip(plain, values[1::2], bad[1::2], strict=True):
        assert (expected is None) == wrong
        assert wrong or np.array_equal(expected, row)
    return plain


# Bit-exactness ------------------------------------------------------------------------------------


def test_golden_vectors():
    assert len(VECTORS) == 450
    for case in VECTORS:
        codec, values = EBPC(case["m"], case["n"]), case["values"]
        kind = "u1" if case["m"] == 8 else "<u2"
        znz, bpc = codec.encode(values)
        assert np.frombuffer(znz, kind).tolist() == case["znz"]
        assert np.frombuffer(bpc, kind).tolist() == case["bpc"]
        decoded = codec.decode(znz, bpc, len(values))
        assert decoded.dtype == np.int32 and decoded.tolist() == values


@pytest.mark.parametrize("values, znz, bpc", [
    ([5, 6, 7, 7, 0, 0, 0, 8, 9, 9, 10], "f178", "05ed09a0"),
    ([1], "80", "011838"),
    ([0] * 20, "78c0", ""),
    ([3] * 8, "ff", "033c"),
    ([], "", ""),
])
def test_examples(values, znz, bpc):
    streams = EBPC().encode(np.array(values, int))
    assert streams == (bytes.fromhex(znz), bytes.fromhex(bpc))
    assert EBPC().decode(*streams, len(values)).tolist() == values


@codes
def test_equals_plain_encoder(word, block, signed):
    rng = np.random.default_rng(word + block + signed)
    codec = EBPC(word, block, signed)
    for n in [*range(40), 100, 300] * 2:
        values = mixed(rng, word, signed, n)
        znz, bpc = plain_streams(values.tolist(), word, block)
        assert codec.encode(values) == (to_bytes(znz, word), to_bytes(bpc, word))
        assert codec.sizes(values) == (len(znz), len(bpc))
        assert np.array_equal(codec.decode(*codec.encode(values), n), values)


@codes
def test_special_values(word, block, signed):
    low, high = value_range(word, signed)
    codec = EBPC(word, block, signed)
    cases = [[0] * 100, [high] * 100, [low] * 100, [low, high] * 50, [high, low, 0] * 30, [1],
             [high], [0] * 16 + [1], [1] + [0] * 17, list(range(1, 100))]
    if signed:
        cases += [DENSE * 25, SLOW * 25, LOST, [v << word - 8 for v in DENSE + SLOW] * 20]
    for values in cases:
        znz, bpc = codec.encode(values)
        assert codec.decode(znz, bpc, len(values)).tolist() == values
        text = plain_streams(values, word, block)
        assert (znz, bpc) == tuple(to_bytes(t, word) for t in text)


def test_worst_case_size():
    """1.375 of the words: 10 bits a word of BPC and one of ZNZ."""
    znz, bpc = EBPC().encode(DENSE * 100)
    assert (len(znz), len(bpc)) == (100, 1000)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(CODES), st.data())
def test_round_trip(code, data):
    low, high = value_range(code[0], code[2])
    near = st.integers(max(low, -3), 3)
    values = data.draw(st.lists(st.one_of(st.just(0), near, st.integers(low, high)), max_size=120))
    codec = EBPC(*code)
    znz, bpc = codec.encode(np.array(values, int))
    assert codec.decode(znz, bpc, len(values)).tolist() == values


@codes
def test_many_segments_equal_single_ones(word, block, signed):
    """Streams begin on their own words, whatever chunk of the batch their segment is in."""
    rng = np.random.default_rng(word * block + signed)
    codec = EBPC(word, block, signed)
    for segments, n in ((300, 70), (3, 20000), (400, 129), (5, 1)):
        rows = [mixed(rng, word, signed, n) for _ in range(segments)]
        values = np.array(rows)
        znz, znz_bits, bpc, bpc_bits = encode_many(values, word, block)
        sizes = codec.sizes(values.reshape(segments, 1, n))
        assert sizes[0].shape == (segments, 1)
        assert np.array_equal(sizes[0][:, 0], znz_bits) and np.array_equal(sizes[1][:, 0], bpc_bits)
        znz_words, bpc_words = -(-znz_bits // 32), -(-bpc_bits // 32)
        decoded, bad = decode_many(znz, znz_words, bpc, bpc_words, n, word, block, signed)
        assert not bad.any() and np.array_equal(decoded, values)
        stored, ordered = ("u1", "u1") if word == 8 else ("<u2", ">u2")
        z, b = np.cumsum(znz_words), np.cumsum(bpc_words)
        for i in range(0, segments, 50):
            parts = znz[z[i] - znz_words[i]:z[i]], bpc[b[i] - bpc_words[i]:b[i]]
            for part, alone in zip(parts, codec.encode(rows[i]), strict=True):
                part = part.astype(">u4").view(ordered).astype(stored).tobytes()
                assert part == alone + bytes(-len(alone) % 4)


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, text", [
    ((7, 8), "EBPC word of 7 bits: allowed are (8, 16)"),
    ((8, 32), "EBPC block of 32 words: allowed are (8, 16)"),
])
def test_refuses_codes(arguments, text):
    with pytest.raises(ValueError) as error:
        EBPC(*arguments)
    assert str(error.value) == text


@pytest.mark.parametrize("code, values, text", [
    ((8, 8, True), [0, 128], "EBPC value 128 at 1: allowed is -128 to 127"),
    ((8, 8, False), [1, 2, -1], "EBPC value -1 at 2: allowed is 0 to 255"),
    ((16, 8, True), [-32769], "EBPC value -32769 at 0: allowed is -32768 to 32767"),
    ((16, 8, False), [65536], "EBPC value 65536 at 0: allowed is 0 to 65535"),
    ((8, 8, True), [1.0], "EBPC values of float64: allowed are integers"),
])
def test_refuses_values(code, values, text):
    for method in (EBPC(*code).encode, EBPC(*code).sizes):
        with pytest.raises(ValueError) as error:
            method(values)
        assert str(error.value) == text


@pytest.mark.parametrize("znz, bpc, n, text", [
    ("f1", "05ed09a0", 11, "ZNZ stream ends at bit 8: a zero run of 5 bits is expected from bit 4"),
    ("ff", "033c", 9, "ZNZ stream ends at bit 8: a symbol for word 8 of 9 is expected"),
    ("f178", "05ed09a0", 6,
     "ZNZ stream, bit 4: zero run of 3 words: at most 2 are expected at word 4 of 6"),
    ("f17800", "05ed09a0", 11, "ZNZ stream has 3 words of 8 bits: 2 are expected"),
    ("f179", "05ed09a0", 11, "ZNZ stream, bit 15: padding is 1: 0 is expected"),
    ("f178", "05ed09", 11, "BPC stream ends at bit 24: a run of planes of 3 bits is expected from "
     "bit 24, block 0 of 1"),
    ("f178", "05", 11, "BPC stream ends at bit 8: at least 14 bits are expected for 1 blocks"),
    ("f178", "05ed09a000", 11, "BPC stream has 5 words of 8 bits: 4 are expected"),
    ("78c0", "00", 20, "BPC stream has 1 words of 8 bits: 0 are expected"),
    ("ff", "033d", 8, "BPC stream, bit 15: padding is 1: 0 is expected"),
    # 01, then a run of 9 where 8 planes are left.
    ("ff", "034f00", 8, "BPC stream, bit 10: run of 9 zero planes: at most 8 are expected in block "
     "0"),
    ("ff", "031f00", 8, "BPC stream, bit 8: position 7: at most 6 is expected"),
    ("ff", "031600", 8, "BPC stream, bit 8: position 6: at most 5 is expected"),
    # Seven words and the eighth, which is padding, equal to them.
    ("fe", "033c", 7, "BPC stream: padding word 0 of the last block is 3: 0 is expected"),
])
def test_refuses_streams(znz, bpc, n, text):
    with pytest.raises(ValueError) as error:
        EBPC().decode(bytes.fromhex(znz), bytes.fromhex(bpc), n)
    assert str(error.value) == text


def test_refuses_half_words_and_negative_counts():
    with pytest.raises(ValueError, match="ZNZ stream of 3 bytes: allowed are whole words of 16"):
        EBPC(16).decode(bytes(3), b"", 1)
    with pytest.raises(ValueError, match="EBPC stream of -1 words: allowed is 0 and more"):
        EBPC().decode(b"", b"", -1)


@codes
def test_truncated_streams(word, block, signed):
    """Every stream, cut after any word or with a word more, is refused."""
    rng = np.random.default_rng(3)
    codec, size = EBPC(word, block, signed), word // 8
    for n in (1, 9, 40):
        values = mixed(rng, word, signed, n)
        values[0] = 1
        znz, bpc = codec.encode(values)
        for cut in range(0, len(znz), size):
            with pytest.raises(ValueError, match="ZNZ stream"):
                codec.decode(znz[:cut], bpc, n)
        for cut in range(0, len(bpc), size):
            with pytest.raises(ValueError, match="BPC stream"):
                codec.decode(znz, bpc[:cut], n)
        for more in (bytes(size), b"\xff" * size):
            with pytest.raises(ValueError, match=r"ZNZ stream has .* are expected"):
                codec.decode(znz + more, bpc, n)
            with pytest.raises(ValueError, match=r"BPC stream has .* are expected"):
                codec.decode(znz, bpc + more, n)


@codes
def test_corrupt_streams_end(word, block, signed):
    """Random and damaged streams: values or ValueError, the same from both parsers."""
    rng = np.random.default_rng(word + 2 * block + signed)
    codec, accepted = EBPC(word, block, signed), 0
    for n in (1, 2, 7, 8, 9, 16, 17, 25, 33, 40):
        streams = []
        for i in range(130):
            if i % 2:
                texts = ["".join(map(str, (rng.random(32 * rng.integers(4)) < p).astype(int)))
                         for p in rng.choice([0.1, 0.5, 0.9], 2)]
            else:
                texts = padded_streams(mixed(rng, word, signed, n), word, block)
                which = int(rng.integers(2))
                text = texts[which]
                if i % 8 == 0:
                    texts[which] = text[:-32]
                elif text:
                    at = int(rng.integers(len(text)))
                    texts[which] = text[:at] + "10"[int(text[at])] + text[at + 1:]
            streams.append(texts)
        accepted += sum(values is not None for values in both(codec, streams, n))
    assert 20 < accepted < 1200


@codes
def test_parsers_agree_on_good_streams(word, block, signed):
    rng = np.random.default_rng(9)
    codec = EBPC(word, block, signed)
    for n in (1, 5, 8, 9, 16, 17, 30, 31, 32, 33, 64, 100):
        rows = [mixed(rng, word, signed, n) for _ in range(20)]
        values = both(codec, [padded_streams(row, word, block) for row in rows], n)
        assert np.array_equal(np.array(values), rows)
