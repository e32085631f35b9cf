"""Runs of blocks: the bytes that spec/formats.py puts into DRAM.

A run is ``n`` blocks of four int16, packed LSB first without gaps and padded with zero bits to a
32-bit word. All functions take any number of runs at once, one a leading index.
"""

import numpy as np

from ...spec.formats import (
    LANES,
    RAW16,
    WORD_BYTES,
    ZFPE,
    ZFPE_MAX_BITS,
    ZFPE_MIN_BITS,
)
from .zfpe import decode16, encode16, roundtrip16


def _check(fmt):
    # A Format can be built by hand; Format.parse and Format.from_code only give valid ones.
    if fmt.kind == ZFPE and not ZFPE_MIN_BITS <= fmt.bits <= ZFPE_MAX_BITS:
        raise ValueError(f"format zfpe with bits = {fmt.bits}: allowed are {ZFPE_MIN_BITS} to "
                         f"{ZFPE_MAX_BITS}")


def _values(q):
    q = np.asarray(q)
    if q.dtype != np.int16 or q.ndim < 1 or q.shape[-1] != LANES:
        raise ValueError(f"blocks of {q.dtype} {q.shape}: allowed is int16 (..., {LANES})")
    return q


def encode_blocks(q, fmt):
    """q: int16 (..., n, 4) -> uint8 (..., 4 * fmt.run_words(n)), one run per leading index.

    raw8 and raw8u saturate.
    """
    _check(fmt)
    q = _values(q)
    if q.ndim < 2:
        raise ValueError(f"blocks of shape {q.shape}: allowed is (..., n, {LANES})")
    *lead, n, _ = q.shape
    out = np.zeros((*lead, WORD_BYTES * fmt.run_words(n)), np.uint8)
    if fmt.kind == ZFPE:
        blocks = encode16(q.reshape(-1, LANES), fmt.bits).reshape(*lead, n)
        _pack(blocks, fmt.bits, out)
    elif fmt.kind == RAW16:
        out[...] = np.ascontiguousarray(q, "<i2").view(np.uint8).reshape(out.shape)
    else:
        low, high = fmt.range
        narrow = np.clip(q, low, high).astype(np.uint8)
        out[...] = narrow.reshape(*lead, n * LANES)
    return out


def decode_blocks(data, fmt, n):
    """data: uint8 (..., bytes) or bytes-like, at least 4 * fmt.run_words(n) bytes a run -> int16
    (..., n, 4). ValueError when a run is too short; what follows it is ignored."""
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
    if fmt.kind == ZFPE:
        blocks = _unpack(data, fmt.bits, n)
        return decode16(blocks.reshape(-1), fmt.bits).reshape(*lead, n, LANES)
    if fmt.kind == RAW16:
        out = np.ascontiguousarray(data).view("<i2").astype(np.int16)
    else:
        out = data.view(np.int8 if fmt.range[0] < 0 else np.uint8).astype(np.int16)
    return out.reshape(*lead, n, LANES)


def roundtrip(q, fmt):
    """What decoding returns for q, int16 (..., 4), any leading shape; the same shape. Never
    aliases q. Equal to decode_blocks(encode_blocks(q)), without packing bits."""
    _check(fmt)
    q = _values(q)
    if fmt.kind == ZFPE:
        return roundtrip16(q.reshape(-1, LANES), fmt.bits).reshape(q.shape)
    if fmt.kind == RAW16:
        return q.copy()
    return np.clip(q, *fmt.range)


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
