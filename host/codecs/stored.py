"""Weights as an array takes them that multiplies what is stored (spec/arch.py): words of WBUF.

A word has a field of ``bits`` bits for each channel of a group, channel 0 lowest, and fills whole
32-bit words of DRAM. Of deltas, the references are in words ahead of theirs.
"""

import numpy as np

from ...spec.formats import REFERENCE_BITS, WORD_BITS
from .codebook import from_codes, to_codes
from .delta_blocks import join_channels, split_channels


def pack_group(values, fmt):
    """The weights of a group of channels, int16 (taps, channels) -> bytes, word after word: of
    deltas the references, N bits in each of the words ahead; then a word a tap."""
    if fmt.codebook:
        return _pack(to_codes(values, fmt), fmt.bits)
    references, deltas = split_channels(np.ascontiguousarray(values.T), fmt)
    shifts = np.arange(0, REFERENCE_BITS, fmt.bits)[:, None]
    return _pack(np.concatenate([references.astype(np.int64) >> shifts,
                                 deltas.T.astype(np.int64)]), fmt.bits)


def unpack_words(words, fmt):
    """Words of one group or more, uint8 (..., words, bytes), those ahead included -> the weights
    int16 (..., channels, taps)."""
    fields = _unpack(words, fmt.bits)
    if fmt.codebook:
        return np.swapaxes(from_codes(fields, fmt), -1, -2)
    shifts = np.arange(0, REFERENCE_BITS, fmt.bits)[:, None]
    head = len(shifts)
    references = (fields[..., :head, :] << shifts).sum(axis=-2).astype(np.uint8).view(np.int8)
    deltas = fields[..., head:, :]
    deltas = (deltas - ((deltas >> fmt.bits - 1) << fmt.bits)).astype(np.int8)
    return join_channels(references, np.swapaxes(deltas, -1, -2), fmt)


def _pack(fields, bits):
    """int64 (words, channels), of which the lowest bits count -> bytes."""
    stream = (fields[..., None] >> np.arange(bits) & 1).astype(np.uint8)
    stream = stream.reshape(len(fields), -1)
    stream = np.pad(stream, ((0, 0), (0, -stream.shape[1] % WORD_BITS)))
    return np.packbits(stream, axis=1, bitorder="little").tobytes()


def _unpack(words, bits):
    """uint8 (..., words, bytes) -> int64 (..., words, channels)."""
    stream = np.unpackbits(np.ascontiguousarray(words), axis=-1, bitorder="little")
    stream = stream[..., :stream.shape[-1] // bits * bits]
    return stream.reshape(*stream.shape[:-1], -1, bits) @ (1 << np.arange(bits))
