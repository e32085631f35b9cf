"""Weights as codes of a codebook, spec/formats.py's ``potN`` and ``apot4``: sign and magnitude.

The levels of power-of-two quantization are those that He et al., CMC 80(2), 2024 name in their
abstract; the bits of a code are ours.
"""

import numpy as np

from ...spec.formats import LANES


def _fields(q, fmt):
    """q: int16 (...) -> (place in the codebook, whether it is negative), both (...)."""
    levels = np.array(fmt.codebook)
    # Where the next level is nearer or as near: twice the magnitude against the sum of both.
    place = np.searchsorted(levels[:-1] + levels[1:], 2 * np.abs(q.astype(np.int64)), side="right")
    return place, (q < 0) & (place > 0)


def roundtrip_codes(q, fmt):
    """What decoding returns of q, int16 (...): int16 (...)."""
    place, negative = _fields(q, fmt)
    magnitudes = np.array(fmt.codebook, np.int16)[place]
    return np.where(negative, -magnitudes, magnitudes)


def to_codes(q, fmt):
    """q: int16 (...) -> codes int64 (...)."""
    place, negative = _fields(q, fmt)
    return place | negative.astype(np.int64) << fmt.bits - 1


def from_codes(codes, fmt):
    """Codes, int64 (...), whatever is above their bits -> int16 (...)."""
    place = codes & (1 << fmt.bits - 1) - 1
    magnitudes = np.array(fmt.codebook, np.int16)[place]
    return np.where(codes >> fmt.bits - 1 & 1, -magnitudes, magnitudes)


def encode_codes(q, fmt):
    """q: int16 (..., 4) -> blocks uint64 (...), lane 0 lowest."""
    codes = to_codes(q, fmt)
    return (codes << fmt.bits * np.arange(LANES)).sum(axis=-1).astype(np.uint64)


def decode_codes(blocks, fmt):
    """Blocks uint64 (...), whatever is above their 4 * bits bits -> int16 (..., 4)."""
    shifts = (fmt.bits * np.arange(LANES)).astype(np.uint64)
    return from_codes((blocks[..., None] >> shifts).astype(np.int64), fmt)
