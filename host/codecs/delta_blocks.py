"""Runs of deltas, spec/formats.py's ``deltaN``: weights of a channel as a reference and deltas.

After Federl et al., arXiv 2606.16516, with fixed references; but one a channel, not one a layer,
with rounding, and chosen for the least squared error.
"""

import numpy as np

from ...spec.formats import LANES
from .delta import fit_fixed, quantize_rows


def split_channels(q, fmt):
    """q: int16 (channels, taps) -> (references int8 (channels,), deltas int8 (channels, taps)) of
    the least squared error."""
    q = np.ascontiguousarray(q, np.int32)
    references, offsets = fit_fixed(q, np.array([fmt.offset]), fmt.bits)
    return references.astype(np.int8), quantize_rows(q, references, offsets, fmt.bits)


def join_channels(references, deltas, fmt):
    """The values of references int8 (...,) and deltas int8 (..., taps): int16 (..., taps)."""
    return (references[..., None].astype(np.int16)
            + (deltas.astype(np.int16) << fmt.offset)).astype(np.int16)


def _channels(q, groups):
    """(..., n, 4) of interleaved groups -> (channels of all runs, taps), and the leading shape."""
    *lead, n, _ = q.shape
    if n % groups:
        raise ValueError(f"run of {n} blocks: allowed are multiples of {groups}, one for each "
                         "reference")
    taps = q.reshape(-1, n // groups, groups, LANES).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(taps).reshape(-1, n // groups), lead


def _blocks(values, lead, groups):
    """The inverse of _channels, (..., n, 4)."""
    taps = values.reshape(-1, groups, LANES, values.shape[-1]).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(taps).reshape(*lead, -1, LANES)


def roundtrip_delta(q, fmt):
    """What decoding returns of runs q, int16 (..., n, 4)."""
    channels, lead = _channels(q, fmt.segment)
    return _blocks(join_channels(*split_channels(channels, fmt), fmt), lead, fmt.segment)


def encode_delta(q, fmt):
    """Runs q, int16 (..., n, 4) -> (references uint8 (..., 4 * segment), blocks uint64 (..., n)).
    """
    channels, lead = _channels(q, fmt.segment)
    references, deltas = split_channels(channels, fmt)
    fields = _blocks(deltas, lead, fmt.segment).astype(np.int64) & (1 << fmt.bits) - 1
    shifts = np.arange(LANES, dtype=np.int64) * fmt.bits
    return (references.reshape(*lead, -1).view(np.uint8),
            (fields << shifts).sum(axis=-1).astype(np.uint64))


def decode_delta(references, blocks, fmt):
    """References uint8 (..., 4 * segment) and blocks uint64 (..., n), whatever is above their
    4 * bits bits -> int16 (..., n, 4)."""
    shifts = np.arange(LANES, dtype=np.uint64) * np.uint64(fmt.bits)
    fields = (blocks[..., None] >> shifts).astype(np.int64) & (1 << fmt.bits) - 1
    deltas = fields - ((fields >> fmt.bits - 1) << fmt.bits)
    reference = references.view(np.int8).astype(np.int64)
    reference = reference.reshape(*references.shape[:-1], fmt.segment, LANES)
    index = np.arange(blocks.shape[-1]) % fmt.segment
    return (reference[..., index, :] + (deltas << fmt.offset)).astype(np.int16)
