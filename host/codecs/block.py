"""Runs of blocks: the bytes that spec/formats.py puts into DRAM.

A run is ``n`` blocks of four int16, packed LSB first without gaps and padded with zero bits to a
32-bit word. All functions take any number of runs at once, one a leading index.
"""

import numpy as np

from ...spec.formats import (
    DELTA,
    EBPC_KINDS,
    KINDS,
    LANES,
    RATES,
    RAW16,
    WORD_BYTES,
    ZFPE,
    ZFPI_KINDS,
)
from .codebook import decode_codes, encode_codes, roundtrip_codes
from .delta_blocks import decode_delta, encode_delta, roundtrip_delta
from .segments import decode_segments, encode_segments, stored_words
from .zfpe import decode16, encode16, roundtrip16
from .zfpe_improved import decode_improved, encode_improved, roundtrip_improved

EBPC_BLOCK = 8   # Nonzero words of a BPC block.


def _check(fmt):
    # A Format can be built by hand; Format.parse and Format.from_code only give valid ones.
    low, high = RATES.get(fmt.kind, (fmt.bits, fmt.bits))
    if not low <= fmt.bits <= high:
        raise ValueError(f"format {KINDS[fmt.kind]} with bits = {fmt.bits}: allowed are {low} to "
                         f"{high}")


def _values(q):
    q = np.asarray(q)
    if q.dtype != np.int16 or q.ndim < 1 or q.shape[-1] != LANES:
        raise ValueError(f"blocks of {q.dtype} {q.shape}: allowed is int16 (..., {LANES})")
    return q


def encode_blocks(q, fmt):
    """q: int16 (..., n, 4) -> uint8 (..., 4 * fmt.run_words(n)), one run per leading index.

    raw8, raw8u and ebpc saturate. What an ebpc segment leaves of its slot is zero.
    """
    _check(fmt)
    q = _values(q)
    if q.ndim < 2:
        raise ValueError(f"blocks of shape {q.shape}: allowed is (..., n, {LANES})")
    *lead, n, _ = q.shape
    out = np.zeros((*lead, WORD_BYTES * fmt.run_words(n)), np.uint8)
    if fmt.kind == DELTA:
        head = WORD_BYTES * fmt.segment
        out[..., :head], blocks = encode_delta(q, fmt)
        _pack(blocks, fmt.bits, out[..., head:])
    elif fmt.codebook:
        _pack(encode_codes(q, fmt), fmt.bits, out)
    elif fmt.kind in RATES:
        q = q.reshape(-1, LANES)
        blocks = encode16(q, fmt.bits) if fmt.kind == ZFPE else encode_improved(q, fmt)
        _pack(blocks.reshape(*lead, n), fmt.bits, out)
    elif fmt.kind in EBPC_KINDS:
        for values, slots in _segments(np.clip(q, *fmt.range), out, fmt, n):
            values = values.reshape(-1, values.shape[-2] * LANES)
            words, _ = encode_segments(values, fmt.bits, EBPC_BLOCK, fmt.range[0] < 0)
            slots[...] = words.astype("<u4").view(np.uint8).reshape(slots.shape)
    elif fmt.kind == RAW16:
        out[...] = np.ascontiguousarray(q, "<i2").view(np.uint8).reshape(out.shape)
    else:
        low, high = fmt.range
        narrow = np.clip(q, low, high).astype(np.uint8)
        out[...] = narrow.reshape(*lead, n * LANES)
    return out


def decode_blocks(data, fmt, n):
    """data: uint8 (..., bytes) or bytes-like, at least 4 * fmt.run_words(n) bytes a run -> int16
    (..., n, 4). ValueError when a run is too short, what follows it is ignored, or a segment is
    corrupt."""
    _check(fmt)
    if not isinstance(data, np.ndarray):
        data = np.frombuffer(data, np.uint8)
    if data.dtype != np.uint8:
        raise ValueError(f"runs of {data.dtype}: allowed is uint8")
    *lead, size = data.shape
    need = WORD_BYTES * fmt.run_words(n)
    if size < need:
        raise ValueError(f"run of {size} bytes is truncated: {n} blocks of {fmt} take {need} bytes")
    data = data[..., :need]
    if fmt.kind == DELTA:
        head = WORD_BYTES * fmt.segment
        return decode_delta(data[..., :head], _unpack(data[..., head:], fmt.bits, n), fmt)
    if fmt.codebook:
        return decode_codes(_unpack(data, fmt.bits, n), fmt)
    if fmt.kind in RATES:
        blocks = _unpack(data, fmt.bits, n).reshape(-1)
        q = decode16(blocks, fmt.bits) if fmt.kind == ZFPE else decode_improved(blocks, fmt)
        return q.reshape(*lead, n, LANES)
    if fmt.kind in EBPC_KINDS:
        out = np.empty((*lead, n, LANES), np.int16)
        for q, slots in _segments(out, data, fmt, n):
            words = _words(slots)
            q[...] = decode_segments(words, q.shape[-2] * LANES, fmt.bits, EBPC_BLOCK,
                                     fmt.range[0] < 0).reshape(q.shape)
        return out
    if fmt.kind == RAW16:
        out = np.ascontiguousarray(data).view("<i2").astype(np.int16)
    else:
        out = data.view(np.int8 if fmt.range[0] < 0 else np.uint8).astype(np.int16)
    return out.reshape(*lead, n, LANES)


def roundtrip(q, fmt):
    """What decoding returns for q, int16 (..., 4), any leading shape (of delta, (..., n, 4): runs);
    the same shape. Never aliases q. Equal to decode_blocks(encode_blocks(q)), without packing bits.
    """
    _check(fmt)
    q = _values(q)
    if fmt.kind == DELTA:
        return roundtrip_delta(q, fmt)
    if fmt.codebook:
        return roundtrip_codes(q, fmt)
    if fmt.kind == ZFPE:
        return roundtrip16(q.reshape(-1, LANES), fmt.bits).reshape(q.shape)
    if fmt.kind in ZFPI_KINDS:
        return roundtrip_improved(q.reshape(-1, LANES), fmt).reshape(q.shape)
    if fmt.kind == RAW16:
        return q.copy()
    return np.clip(q, *fmt.range)


def used_bytes(data, fmt, n):
    """Mask of the bytes of runs, uint8 (..., bytes) of n blocks each, that mean something: all but
    what ebpc segments leave of their slots. ValueError: a segment longer than its slot."""
    used = np.ones(data.shape, bool)
    if fmt.kind in EBPC_KINDS:
        for (_, slots), (_, mask) in zip(_segments(None, data, fmt, n),
                                         _segments(None, used, fmt, n), strict=True):
            lengths = WORD_BYTES * stored_words(_words(slots))
            mask[...] = (np.arange(slots.shape[-1]) < lengths[:, None]).reshape(slots.shape)
    return used


def _words(slots):
    """uint8 (..., bytes) -> uint32 (slots, words)."""
    return np.ascontiguousarray(slots).view("<u4").reshape(-1, slots.shape[-1] // WORD_BYTES)


def _segments(q, data, fmt, n):
    """Views of q (..., n, 4) and of the runs' bytes (..., bytes) by segments: (..., segments,
    blocks, 4) and (..., segments, bytes), for the full ones and for the last."""
    full, rest = divmod(n, fmt.segment)
    slot = WORD_BYTES * fmt.slot_words
    lead = data.shape[:-1]
    for first, count, blocks, size in (
            (0, full, fmt.segment, slot),
            (full, min(rest, 1), rest, WORD_BYTES * fmt.run_words(rest))):
        if count:
            a, b = first * fmt.segment, first * slot
            yield (None if q is None else
                   q[..., a:a + count * blocks, :].reshape(*lead, count, blocks, LANES),
                   data[..., b:b + count * size].reshape(*lead, count, size))


# A block has `bits` half bytes. Two blocks together are whole bytes whatever `bits` is.


def _pack(blocks, bits, out):
    """blocks uint64 (..., n) -> the bytes of out uint8 (..., run bytes), which is zero."""
    *lead, n = blocks.shape
    if bits % 2 == 0:
        data = blocks.astype("<u8", copy=False)[..., None].view(np.uint8)[..., :bits // 2]
    else:
        if n % 2:
            blocks = np.concatenate([blocks, np.zeros((*lead, 1), np.uint64)], axis=-1)
        first, second = blocks[..., 0::2], blocks[..., 1::2]
        pair = np.empty((*first.shape, 2), "<u8")
        pair[..., 0] = first | second << np.uint64(4 * bits)
        pair[..., 1] = second >> np.uint64(64 - 4 * bits)
        data = pair.view(np.uint8)[..., :bits]
    data = data.reshape(*lead, data.shape[-2] * data.shape[-1])
    size = min(data.shape[-1], out.shape[-1])   # A missing second block may not fit.
    out[..., :size] = data[..., :size]


def _unpack(data, bits, n):
    """data uint8 (..., run bytes) -> blocks uint64 (..., n), bits above 4 * bits undefined."""
    *lead, size = data.shape
    if bits % 2 == 0:
        blocks = np.zeros((*lead, n, 8), np.uint8)
        blocks[..., :bits // 2] = data[..., :n * bits // 2].reshape(*lead, n, bits // 2)
        return blocks.view("<u8")[..., 0]
    pairs = -(-n // 2)
    if size < pairs * bits:
        data = np.concatenate([data, np.zeros((*lead, pairs * bits - size), np.uint8)], axis=-1)
    pair = np.zeros((*lead, pairs, 16), np.uint8)
    pair[..., :bits] = data[..., :pairs * bits].reshape(*lead, pairs, bits)
    pair = pair.view("<u8")
    blocks = np.empty((*lead, pairs, 2), np.uint64)
    blocks[..., 0] = pair[..., 0]
    blocks[..., 1] = pair[..., 0] >> np.uint64(4 * bits) | pair[..., 1] << np.uint64(64 - 4 * bits)
    return blocks.reshape(*lead, 2 * pairs)[..., :n]
