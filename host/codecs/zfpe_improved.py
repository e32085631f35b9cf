"""Improved ZFPe: rounded block floats of four int16 with shared lowest bits (spec/formats.py).

Encoding a block at N bits a value, lanes q (unsigned formats: max(q, 0)):

1. The shift s: the smallest at which every lane, divided by 2^s, fits N bits, but at least
   top - (2^E - 1) and at most top; e = top - s. E = 3 or 2 bits; signed: top = 16 - N, unsigned:
   15 - N.
2. v = floor(q * 8 / 2^s): the lane in eighths of its lowest bit.
3. The lowest bit l is shared in groups of lanes: all four (E = 3) or pairs (E = 2). Rounding to the
   nearest even k costs d = |v - 16 * floor((v + 8) / 16)| eighths, to the nearest odd one 8 - d. So
   l = 1, odd, has the smaller squared error exactly where d, summed over the group, is above 4
   eighths a lane.
4. m = floor((v + 8 * (1 - l)) / 16), saturated to N-1 bits; k = 2 * m + l.

With one lowest bit for all, four lanes are a point of the lattice D4* (Z^4 and its shift by 1/2),
with one for each pair, of two quincunx lattices: a fraction of a bit a lane, without the loss that
lanes of unequal widths would have. Exponents count from the tensor's range, not from 2^-126, so
they are short. Encoding what was decoded gives the same block.

The lift of classic ZFPe is left out: on activations and weights of MobileNetV2 it loses at every
rate (docs/decisions.md).
"""

import numpy as np

from ...spec.formats import LANES, ZFPI_HEAD_BITS, ZFPI_KINDS

_CHUNK = 4096   # Blocks worked on at a time: the buffers stay in the cache.
_FRACTION = 3   # Bits of v below k's lowest.


def parameters(fmt):
    """(exponent bits, lanes that share a lowest bit, top, least shift) of a zfpi format."""
    exponent_bits, unsigned = ZFPI_KINDS[fmt.kind]
    top = max(0, (15 if unsigned else 16) - fmt.bits)
    return exponent_bits, LANES if exponent_bits == 3 else LANES // 2, top, \
        max(0, top - (1 << exponent_bits) + 1)


def _quantize(q, fmt):
    """q int16 (n, 4) -> m int32 (4, n), l (groups, n) bool, s (n,) int32."""
    _, unsigned = ZFPI_KINDS[fmt.kind]
    _, group, top, least = parameters(fmt)
    v = np.ascontiguousarray(q.T).astype(np.int32)
    if unsigned:
        np.maximum(v, 0, out=v)
        size = v
    else:
        size = v ^ (v >> 31)
    # A number's bit length is in the exponent of its float32: exact below 2^24.
    length = (size[0] | size[1] | size[2] | size[3]).astype(np.float32).view(np.int32)
    length >>= 23
    length -= 126                       # Of zero: -126.
    s = np.clip(length - (fmt.bits if unsigned else fmt.bits - 1), least, top)
    v <<= _FRACTION
    v >>= s
    even = v + 8
    even >>= 4
    d = v - (even << 4)
    np.abs(d, out=d)
    odd = d.reshape(LANES // group, group, -1).sum(1) > 4 * group
    v >>= 4
    m = np.where(np.repeat(odd, group, axis=0), v, even)
    half = 1 << fmt.bits - 1
    np.clip(m, *((0, half - 1) if unsigned else (-half // 2, half // 2 - 1)), out=m)
    return m, odd, s


def _pieces(function, count, *arrays):
    for i in range(0, count, _CHUNK):
        function(*(a[i:i + _CHUNK] for a in arrays))


def roundtrip_improved(q, fmt):
    """decode(encode(q)): q int16 (n, 4) -> int16 (n, 4)."""
    out = np.empty(q.shape, np.int16)

    def piece(q, out):
        m, odd, s = _quantize(q, fmt)
        m <<= 1
        m |= np.repeat(odd, LANES // len(odd), axis=0)
        m <<= s
        out[...] = m.T
    _pieces(piece, len(q), q, out)
    return out


def encode_improved(q, fmt):
    """q int16 (n, 4) -> blocks uint64 (n,), 4 * bits bits each."""
    exponent_bits, _, top, _ = parameters(fmt)
    out = np.empty(len(q), np.uint64)
    field = np.uint64((1 << fmt.bits - 1) - 1)

    def piece(q, out):
        m, odd, s = _quantize(q, fmt)
        out[...] = top - s
        for i, bit in enumerate(odd):
            out |= bit.astype(np.uint64) << np.uint64(exponent_bits + i)
        for lane in range(LANES):
            at = np.uint64(ZFPI_HEAD_BITS + lane * (fmt.bits - 1))
            out |= (m[lane].astype(np.int64).view(np.uint64) & field) << at
    _pieces(piece, len(q), q, out)
    return out


def decode_improved(blocks, fmt):
    """blocks uint64 (n,) -> int16 (n, 4); bits beyond 4 * bits are ignored."""
    exponent_bits, group, top, _ = parameters(fmt)
    _, unsigned = ZFPI_KINDS[fmt.kind]
    out = np.empty((len(blocks), LANES), np.int16)
    width = fmt.bits - 1

    def piece(blocks, out):
        e = (blocks & np.uint64((1 << exponent_bits) - 1)).astype(np.int32)
        s = np.maximum(top - e, 0)
        for lane in range(LANES):
            m = (blocks >> np.uint64(ZFPI_HEAD_BITS + lane * width)).astype(np.int64)
            m = (m & (1 << width) - 1).astype(np.int32)
            if not unsigned:
                m -= (m >> width - 1) << width
            l = (blocks >> np.uint64(exponent_bits + lane // group)).astype(np.int64) & 1
            out[:, lane] = (2 * m + l.astype(np.int32)) << s
    _pieces(piece, len(blocks), blocks, out)
    return out
