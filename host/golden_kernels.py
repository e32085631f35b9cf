"""Loops of COMPUTE and VECTOR that have no BLAS behind them, compiled by Numba.

ABUF is int16 (depth, batch * 4), as in host/golden_compute.py; addresses wrap.
"""

from numba import njit

from ..spec import isa
from ..spec.formats import LANES

ADDRESS_MASK = 0xffff
PARAM_M_BITS = isa.PARAM_M_BITS
ACC_LIMIT = 1 << isa.ACC_BITS - 1


@njit(cache=True)
def depthwise(abuf, weights, acc, base, group, row, channel, ky_step, rows, width, stride, row_off,
              pad):
    """acc int64 (COUT, OUT_ROWS, OUT_VECS, batch * 4), zero, of a depthwise convolution or an add;
    weights int64 (COUT, CIN, KH, KW); base .. pad: IN_BASE, IN_GROUP, IN_ROW, IN_CH, KY_STEP,
    IN_ROWS, IN_W, STRIDE, ROW_OFF, PAD_X."""
    mask = ADDRESS_MASK & len(abuf) - 1
    outs, cin, kh, kw = weights.shape
    batch = abuf.shape[1] // LANES
    for c in range(outs):
        for y in range(acc.shape[1]):
            for ci in range(cin):
                for ky in range(kh):
                    r = y * stride + ky + row_off
                    if r < 0 or r >= rows:
                        continue
                    first = (base + c * group + (y * stride + row_off) * row + ky * ky_step
                             + ci * channel)
                    for x in range(LANES * acc.shape[2]):
                        out, lane = acc[c, y, x >> 2], x & 3
                        for kx in range(kw):
                            px = x * stride + kx - pad
                            if px < 0 or px >= width:
                                continue
                            w = weights[c, ci, ky, kx]
                            vector, i = abuf[first + (px >> 2) & mask], px & 3
                            for b in range(batch):
                                out[LANES * b + lane] += w * vector[LANES * b + i]


@njit(cache=True)
def vector_window(abuf, weights, acc, base, at, ring, y_step, ky_step, channel, rows, width, stride,
                  row_off, pad):
    """acc int64 (COUT, OUT_ROWS, OUT_VECS, batch * 4), zero, of a VECTOR GO without POOL; weights
    int64 (COUT, KH, KW); base .. pad: IN_BASE, IN_AT, RING, Y_STEP, KY_STEP, IN_CH, IN_ROWS, IN_W,
    STRIDE, ROW_OFF, PAD_X."""
    mask = ADDRESS_MASK & len(abuf) - 1
    outs, kh, kw = weights.shape
    batch = abuf.shape[1] // LANES
    for c in range(outs):
        for y in range(acc.shape[1]):
            for ky in range(kh):
                r = y * stride + ky + row_off
                if r < 0 or r >= rows:
                    continue
                first = base + (at + y * y_step + ky * ky_step) % ring + c * channel
                for x in range(LANES * acc.shape[2]):
                    out, lane = acc[c, y, x >> 2], x & 3
                    for kx in range(kw):
                        px = x * stride + kx - pad
                        if px < 0 or px >= width:
                            continue
                        w = weights[c, ky, kx]
                        vector, i = abuf[first + (px >> 2) & mask], px & 3
                        for b in range(batch):
                            out[LANES * b + lane] += w * vector[LANES * b + i]


@njit(cache=True)
def vector_pool(abuf, weights, acc, base, at, ring, ky_step, channel, rows, width, kh, row_off):
    """acc int64 (COUT, 1, 1, batch * 4), zero, of a VECTOR GO with POOL, the lane sum in lane 0;
    weights int64 (COUT,); base .. row_off: IN_BASE, IN_AT, RING, KY_STEP, IN_CH, IN_ROWS, IN_W, KH,
    ROW_OFF."""
    mask = ADDRESS_MASK & len(abuf) - 1
    for c in range(len(weights)):
        out = acc[c, 0, 0]
        for ky in range(kh):
            if ky + row_off < 0 or ky + row_off >= rows:
                continue
            first = base + (at + ky * ky_step) % ring + c * channel
            for px in range(width):
                vector = abuf[first + (px >> 2) & mask]
                for b in range(abuf.shape[1] // LANES):
                    out[LANES * b + (px & 3)] += weights[c] * vector[LANES * b + (px & 3)]
        for b in range(abuf.shape[1] // LANES):
            for i in range(1, LANES):
                out[LANES * b] += out[LANES * b + i]


@njit(cache=True)
def requantize(acc, params, low, high, abuf, base, channel, row, width):
    """Write clamp((((acc * m) >> 16) + b) >> s, low, high) to ABUF, lanes beyond ``width`` as the
    last pixel; acc (COUT, OUT_ROWS, OUT_VECS, batch * 4) int64 or float64; params int64 (COUT, 3)
    of m, s, b; base .. width: OUT_BASE, OUT_CH, OUT_ROW, OUT_W. Returns an accumulator that leaves
    ACC_BITS, or 0."""
    mask = ADDRESS_MASK & len(abuf) - 1
    last, tail = width // LANES, width % LANES
    for c in range(acc.shape[0]):
        m, s, b = params[c]
        for y in range(acc.shape[1]):
            for x in range(acc.shape[2]):
                sums = acc[c, y, x]
                out = abuf[base + c * channel + y * row + x & mask]
                for i in range(len(sums)):
                    value = int(sums[i])
                    if value >= ACC_LIMIT or value < -ACC_LIMIT:
                        return value
                    out[i] = min(max((value * m >> PARAM_M_BITS) + b >> s, low), high)
                if tail and x == last:
                    for i in range(len(sums)):
                        if i % LANES >= tail:
                            out[i] = out[i - i % LANES + tail - 1]
    return 0
