"""The stored block nearest to a target: a search for what encoding block by block leaves out.

A codec of spec/formats.py maps four int16 to the block it finds by rule. ``nearest`` asks the other
way round: of all blocks of a format, which decodes nearest to four real numbers, each lane with an
importance of its own? The answer is given as int16 that the codec encodes to that block, so neither
codec nor stream knows of it.

zfpi: exact. For every shift and lowest bit the nearest lanes are known, the largest ones saturate
where a finer step for the others pays.

zfpe: a search from the plain encoding. In the lifted domain the codes near the target's are tried,
at the block's own exponent and at the one below.
"""

import numpy as np
from numba import njit

from ..spec.formats import LANES, ZFPE, ZFPI_KINDS
from .codecs.zfpe import TOP
from .codecs.zfpe_improved import parameters

MAX16 = 32767


def nearest(targets, importance, fmt):
    """int16 (n, 4) whose stored values in ``fmt`` are nearest to targets, float64 (n, 4).

    Nearest: least sum over the lanes of importance * (stored - target)^2. importance: float64
    (n, 4), not negative; a lane of importance 0 pads the block, and is and stays 0. For zfpi, raw
    and codebook formats the result is a fixed point: its stored values are itself. Never further
    away than what encoding the rounded targets gives.
    """
    targets = np.ascontiguousarray(targets, np.float64)
    importance = np.ascontiguousarray(importance, np.float64)
    if targets.shape[1:] != (LANES,) or targets.shape != importance.shape:
        raise ValueError(f"targets {targets.shape}, importance {importance.shape}: allowed are two "
                         f"of (n, {LANES})")
    out = np.empty(targets.shape, np.int16)
    if fmt.kind in ZFPI_KINDS:
        _, group, top, least = parameters(fmt)
        _improved(targets, importance, out, fmt.bits, group, top, least, ZFPI_KINDS[fmt.kind][1])
    elif fmt.kind == ZFPE:
        _classic(targets, importance, out, fmt.bits - 3)
    else:
        out[...] = rounded(targets, fmt, *fmt.range)
        out[importance == 0] = 0
    return out


def rounded(values, fmt, low, high):
    """Real values, any shape -> int16, each on its own: the nearest integer from low to high or, of
    a codebook, the nearest level."""
    if fmt.codebook:
        levels = np.array(fmt.codebook)
        borders = (levels[:-1] + levels[1:]) / 2
        magnitudes = levels[np.searchsorted(borders, np.abs(values), side="right")]
        return np.copysign(magnitudes, values).astype(np.int16)
    return np.clip(np.floor(values + 0.5), low, high).astype(np.int16)


@njit(cache=True)
def _improved(targets, importance, out, bits, group, top, least, unsigned):
    half = 1 << bits - 2
    low, high = (0, 2 * half - 1) if unsigned else (-half, half - 1)
    odd = np.zeros(LANES // group, np.bool_)
    trial = np.empty(LANES, np.int64)
    pair = np.empty(LANES, np.int64)
    for i in range(len(targets)):
        # A padding lane is 0, so it is even: it costs the encoder as much to make it odd as a
        # lane of the block costs to be made even, and in a draw the encoder takes even.
        for part in range(LANES // group):
            lanes = 0
            for lane in range(part * group, part * group + group):
                lanes += importance[i, lane] > 0
            odd[part] = 2 * lanes > group
        best = np.inf
        for s in range(least, top + 1):
            error = 0.0
            for part in range(LANES // group):
                chosen = np.inf
                for l in range(2 if odd[part] else 1):
                    cost = 0.0
                    for lane in range(part * group, part * group + group):
                        g = importance[i, lane]
                        t = targets[i, lane]
                        if g == 0:
                            pair[lane] = 0
                            continue
                        m = np.floor((t / (1 << s) - l) / 2 + 0.5)
                        m = min(max(m, low), high)
                        k = (2 * np.int64(m) + l) << s
                        pair[lane] = k
                        cost += g * (k - t) * (k - t)
                    if cost < chosen:
                        chosen = cost
                        for lane in range(part * group, part * group + group):
                            trial[lane] = pair[lane]
                error += chosen
            if error < best:
                best = error
                for lane in range(LANES):
                    out[i, lane] = trial[lane]


# Classic ZFPe -------------------------------------------------------------------------------------

_M = np.int64(0xAAAAAAAA)
_WORD = np.int64(0xFFFFFFFF)
_SMALL = np.int64(1 << 28)


@njit(cache=True)
def _exponent(q):
    """The least emax with |q| < 2^emax for all lanes."""
    used = np.int64(0)
    for lane in range(LANES):
        used |= abs(np.int64(q[lane]))
    emax = 0
    while used:
        used >>= 1
        emax += 1
    return emax


@njit(cache=True)
def _stored(q, out, payload):
    """codecs.zfpe.roundtrip16 of one block: q int64 (4,) -> out int64 (4,)."""
    emax = _exponent(q)
    shift = TOP - emax
    x, y, z, w = q[0] << shift, q[1] << shift, q[2] << shift, q[3] << shift
    x = (x + w) >> 1
    w -= x
    z = (z + y) >> 1
    y -= z
    x = (x + z) >> 1
    z -= x
    w = (w + y) >> 1
    y -= w
    w += y >> 1
    y -= w >> 1
    out[0], out[1], out[2], out[3] = x, y, z, w
    for lane in range(LANES):
        u = (out[lane] + _M & _WORD) ^ _M
        low = (32 if u >= _SMALL else 28) - payload
        u = u >> low << low
        v = (u ^ _M) - _M & _WORD
        out[lane] = v - ((v >> 31) << 32)
    x, y, z, w = out[0], out[1], out[2], out[3]
    y += w >> 1
    w -= y >> 1
    y += w
    w = 2 * w - y
    z += x
    x = 2 * x - z
    y += z
    z = 2 * z - y
    w += x
    x = 2 * x - w
    out[0], out[1], out[2], out[3] = x, y, z, w
    for lane in range(LANES):
        v = out[lane] & _WORD
        v -= (v >> 31) << 32
        v = (v + (1 << shift - 1)) >> shift
        out[lane] = min(max(v, -MAX16 - 1), MAX16)


@njit(cache=True)
def _cost(q, t, g, out, payload):
    _stored(q, out, payload)
    cost = 0.0
    for lane in range(LANES):
        cost += g[lane] * (out[lane] - t[lane]) ** 2
    return cost


@njit(cache=True)
def _classic(targets, importance, out, payload):
    plain = np.empty(LANES, np.int64)
    q = np.empty(LANES, np.int64)
    scratch = np.empty(LANES, np.int64)
    code = np.empty(LANES)
    step = np.empty(LANES)
    centre = np.empty(LANES)
    for i in range(len(targets)):
        t, g = targets[i], importance[i]
        for lane in range(LANES):
            v = np.int64(np.floor(t[lane] + 0.5)) if g[lane] > 0 else 0
            plain[lane] = min(max(v, -MAX16), MAX16)
            out[i, lane] = plain[lane]
        best = _cost(plain, t, g, scratch, payload)
        own = _exponent(plain)
        for emax in range(max(own - 1, 1), own + 1):
            unit = 2.0 ** (emax - TOP)
            # The lift, on real numbers.
            x, y, z, w = t[0] / unit, t[1] / unit, t[2] / unit, t[3] / unit
            a, b = (x + w) / 2, (y + z) / 2
            w, y = w - a, y - b
            code[0], code[2] = (a + b) / 2, b - (a + b) / 2
            w = (w + y) / 2
            y -= w
            w += y / 2
            code[1], code[3] = y - w / 2, w
            for lane in range(LANES):
                # 2^28 in negabinary takes values -2/3 * 2^28 to 1/3 * 2^28 for the small lanes.
                small = -2 / 3 <= code[lane] / _SMALL < 1 / 3
                low = (28 if small else 32) - payload
                step[lane] = 2.0 ** low
                centre[lane] = step[lane] / (6 if low % 2 else -6)
                code[lane] = np.floor(code[lane] / step[lane] + 0.5)
            for near in range(3 ** LANES):
                rest = near
                for lane in range(LANES):
                    scratch[lane] = rest % 3 - 1
                    rest //= 3
                x = (code[0] + scratch[0]) * step[0] + centre[0]
                y = (code[1] + scratch[1]) * step[1] + centre[1]
                z = (code[2] + scratch[2]) * step[2] + centre[2]
                w = (code[3] + scratch[3]) * step[3] + centre[3]
                y += w / 2
                w -= y / 2
                y += w
                w = 2 * w - y
                z += x
                x = 2 * x - z
                y += z
                z = 2 * z - y
                w += x
                x = 2 * x - w
                limit = (1 << emax) - 1
                q[0] = min(max(np.floor(x * unit + 0.5), -limit), limit) if g[0] > 0 else 0
                q[1] = min(max(np.floor(y * unit + 0.5), -limit), limit) if g[1] > 0 else 0
                q[2] = min(max(np.floor(z * unit + 0.5), -limit), limit) if g[2] > 0 else 0
                q[3] = min(max(np.floor(w * unit + 0.5), -limit), limit) if g[3] > 0 else 0
                cost = _cost(q, t, g, scratch, payload)
                if cost < best:
                    best = cost
                    for lane in range(LANES):
                        out[i, lane] = q[lane]
