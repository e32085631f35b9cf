"""The other codes' sizes against plain definitions, one word after another."""

import re
from itertools import pairwise

import numpy as np
import pytest

from litepress.bench.zero_codecs import BPC_ZEROS, EBPC_ZEROS, bpc_bits, zero_rle_bits, zvc_bits
from litepress.host.codecs import EBPC


def runs(row):
    """[(is zero, length)] of a row."""
    text = "".join("0" if v == 0 else "1" for v in row)
    return [(run[0] == "0", len(run)) for run in re.findall("0+|1+", text)]


def plain_bpc(row, word, block):
    """BPC of Kim et al. with texts of 0 and 1 -> bits."""
    total = 0
    row = [int(v) for v in row] + [0] * (-len(row) % block)
    for first in range(0, len(row), block):
        values = row[first:first + block]
        deltas = [(b - a) % (2 << word) for a, b in pairwise(values)]
        planes = ["".join(str(d >> k & 1) for d in deltas) for k in range(word + 1)]
        below = ["0" * (block - 1), *planes]
        text = ""
        for dbp, before in zip(planes, below, strict=False):
            dbx = "".join("01"[a != b] for a, b in zip(dbp, before, strict=True))
            if "1" not in dbx:
                text += "z"
            elif "0" not in dbx or "1" not in dbp:
                text += "a" * 5
            elif re.fullmatch("0*11?0*", dbx):
                text += "p" * (5 + {8: 3, 16: 4}[block])
            else:
                text += "r" * block
        for run in re.findall("z+", text):
            total += 3 if len(run) == 1 else 2 + {8: 3, 16: 4}[word]
        total += word + len(text.replace("z", ""))
    return total


def rows_like_maps(word, signed, seed):
    """Rows of many kinds: sparse, dense, smooth, constant, zero."""
    rng = np.random.default_rng(seed)
    top = (1 << word - signed) - 1
    noise = rng.integers(-top if signed else 0, top + 1, (6, 203))
    sparse = np.where(rng.random((6, 203)) < rng.random((6, 1)), noise, 0)
    smooth = np.clip(np.cumsum(rng.integers(-2, 3, (6, 203)), axis=1), 0, top)
    return np.concatenate([noise, sparse, smooth, np.zeros((1, 203), int),
                           np.full((1, 203), top)]).astype(np.int32)


@pytest.mark.parametrize("word", (8, 16))
def test_zero_rle_and_zvc(word):
    rows = rows_like_maps(word, True, 1)
    rle = [sum(-(-n // 16) * 5 if zero else n * (1 + word) for zero, n in runs(row))
           for row in rows]
    assert zero_rle_bits(rows, word).tolist() == rle
    assert zvc_bits(rows, word).tolist() == [
        sum(1 if v == 0 else 1 + word for v in row) for row in rows]
    # Zeros at the border of two segments are two runs.
    assert zero_rle_bits(np.zeros((2, 8), np.int16), word).tolist() == [5, 5]


@pytest.mark.parametrize("signed", (True, False))
@pytest.mark.parametrize("block", (8, 16))
@pytest.mark.parametrize("word", (8, 16))
def test_bpc(word, block, signed):
    rows = rows_like_maps(word, signed, 2)
    assert bpc_bits(rows, word, block).tolist() == [plain_bpc(row, word, block) for row in rows]


@pytest.mark.parametrize("block", (8, 16))
@pytest.mark.parametrize("word", (8, 16))
def test_bpc_is_ebpc_of_words_without_zeros(word, block):
    """With EBPC's symbols for zero planes it is what the codec counts where no word is zero."""
    rng = np.random.default_rng(3)
    rows = np.concatenate([rng.integers(1, 1 << word - 1, (4, 240)),
                           np.clip(np.cumsum(rng.integers(-2, 3, (4, 240)), axis=1), 1, 100)])
    znz, bpc = EBPC(word, block).sizes(rows)
    assert (znz == rows.shape[1]).all()
    assert bpc_bits(rows, word, block, EBPC_ZEROS).tolist() == bpc.tolist()
    assert (bpc_bits(rows, word, block, BPC_ZEROS) != bpc).any()
