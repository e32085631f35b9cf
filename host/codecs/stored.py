"""Weights as an array takes them that multiplies what is stored (spec/arch.py): words of WBUF.

A word has a field of ``bits`` bits for each channel of a group, channel 0 lowest, and fills whole
32-bit words of DRAM.
"""

import numpy as np

from ...spec.formats import REFERENCE_BITS, WORD_BITS
from .delta_blocks import join_channels, split_channels


def _head_words(fmt):
    return -(-REFERENCE_BITS // fmt.bits)


def pack_group(values, fmt):
    """The weights of a group of channels, int16 (taps, channels) -> bytes, word after word: the
    references, N bits in each of the words ahead, then a word of deltas a tap."""
    references, deltas = split_channels(np.ascontiguousarray(values.T), fmt)
    shifts = fmt.bits * np.arange(_head_words(fmt))[:, None]
    fields = np.concatenate([references.astype(np.int64) >> shifts, deltas.T.astype(np.int64)])
    bits = (fields[..., None] >> np.arange(fmt.bits) & 1).astype(np.uint8)
    bits = bits.reshape(len(fields), -1)
    bits = np.pad(bits, ((0, 0), (0, -bits.shape[1] % WORD_BITS)))
    return np.packbits(bits, axis=1, bitorder="little").tobytes()


def unpack_words(words, fmt):
    """Words of one group or more, uint8 (..., words, bytes), those ahead included -> the weights
    int16 (..., channels, taps)."""
    bits = np.unpackbits(np.ascontiguousarray(words), axis=-1, bitorder="little")
    bits = bits[..., :bits.shape[-1] // fmt.bits * fmt.bits]
    fields = bits.reshape(*bits.shape[:-1], -1, fmt.bits) @ (1 << np.arange(fmt.bits))
    head = _head_words(fmt)
    shifts = fmt.bits * np.arange(head)[:, None]
    references = (fields[..., :head, :] << shifts).sum(axis=-2).astype(np.uint8).view(np.int8)
    deltas = fields[..., head:, :]
    deltas = (deltas - ((deltas >> fmt.bits - 1) << fmt.bits)).astype(np.int8)
    return join_channels(references, np.swapaxes(deltas, -1, -2), fmt)
