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
from numba import njit

from ...spec.formats import LANES, ZFPI_HEAD_BITS, ZFPI_KINDS


def parameters(fmt):
    """(exponent bits, lanes that share a lowest bit, top, least shift) of a zfpi format."""
    exponent_bits, unsigned = ZFPI_KINDS[fmt.kind]
    top = max(0, (15 if unsigned else 16) - fmt.bits)
    return exponent_bits, LANES if exponent_bits == 3 else LANES // 2, top, \
        max(0, top - (1 << exponent_bits) + 1)


def _arguments(fmt):
    _, group, top, least = parameters(fmt)
    return fmt.bits, group, top, least, ZFPI_KINDS[fmt.kind][1]


@njit(cache=True)
def _quantize(lanes, bits, group, top, least, unsigned):
    """lanes (4,) int32, overwritten with m -> (s, l of the first lane, l of the last)."""
    used = np.int32(0)
    for lane in range(LANES):
        if unsigned:
            lanes[lane] = max(lanes[lane], 0)
        used |= lanes[lane] ^ (lanes[lane] >> 31)
    s = least
    used >>= least + bits - (0 if unsigned else 1)
    while used and s < top:
        used >>= 1
        s += 1
    half = 1 << bits - 2
    low, high = (0, 2 * half - 1) if unsigned else (-half, half - 1)
    first = last = np.int32(0)
    for begin in range(0, LANES, group):
        d = np.int32(0)
        for lane in range(begin, begin + group):
            v = (lanes[lane] << 3) >> s
            lanes[lane] = v
            d += abs(v - ((v + 8) >> 4 << 4))
        last = np.int32(d > 4 * group)
        if begin == 0:
            first = last
        for lane in range(begin, begin + group):
            lanes[lane] = min(max((lanes[lane] + 8 - 8 * last) >> 4, low), high)
    return s, first, last


@njit(cache=True)
def _roundtrip(q, out, bits, group, top, least, unsigned):
    lanes = np.empty(LANES, np.int32)
    for i in range(len(q)):
        for lane in range(LANES):
            lanes[lane] = q[i, lane]
        s, first, last = _quantize(lanes, bits, group, top, least, unsigned)
        for lane in range(LANES):
            out[i, lane] = (2 * lanes[lane] + (first if lane < group else last)) << s


@njit(cache=True)
def _encode(q, out, bits, group, top, least, unsigned):
    lanes = np.empty(LANES, np.int32)
    width = bits - 1
    for i in range(len(q)):
        for lane in range(LANES):
            lanes[lane] = q[i, lane]
        s, first, last = _quantize(lanes, bits, group, top, least, unsigned)
        block = top - s | (first << 3 if group == LANES else first << 2 | last << 3)
        for lane in range(LANES):
            block |= np.int64(lanes[lane] & (1 << width) - 1) << ZFPI_HEAD_BITS + lane * width
        out[i] = block


@njit(cache=True)
def _decode(blocks, out, bits, group, top, unsigned):
    width = bits - 1
    for i in range(len(blocks)):
        block = np.int64(blocks[i])
        s = max(0, top - (block & (7 if group == LANES else 3)))
        for lane in range(LANES):
            m = block >> ZFPI_HEAD_BITS + lane * width & (1 << width) - 1
            if not unsigned:
                m -= m >> width - 1 << width
            bit = 3 if group == LANES or lane >= group else 2
            out[i, lane] = (2 * m + (block >> bit & 1)) << s


def roundtrip_improved(q, fmt):
    """decode(encode(q)): q int16 (n, 4) -> int16 (n, 4)."""
    out = np.empty(q.shape, np.int16)
    _roundtrip(q, out, *_arguments(fmt))
    return out


def encode_improved(q, fmt):
    """q int16 (n, 4) -> blocks uint64 (n,), 4 * bits bits each."""
    out = np.empty(len(q), np.uint64)
    _encode(q, out, *_arguments(fmt))
    return out


def decode_improved(blocks, fmt):
    """blocks uint64 (n,) -> int16 (n, 4); bits beyond 4 * bits are ignored."""
    out = np.empty((len(blocks), LANES), np.int16)
    bits, group, top, _, unsigned = _arguments(fmt)
    _decode(blocks, out, bits, group, top, unsigned)
    return out
