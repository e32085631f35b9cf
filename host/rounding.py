"""Calibrated rounding: the stored weights that change a layer's output least.

Rounding each weight to the nearest ignores that the errors of all taps meet in one sum. With H, the
covariance of a layer's taps on calibration inputs, the squared error of its output (but for the
mean, which bias correction takes out) is the sum of step^2 * e' H e over the channels, e being the
errors of a channel's weights in steps. It is made small in two rounds:

1. Error feedback (Frantar et al., "GPTQ", ICLR 2023): taps are stored one after another, and the
   error of each is moved into those still to come, by the Cholesky factor of H's inverse.
2. Coordinate descent: each tap is stored once more with all others fixed.

Before that the target itself moves. The layer's inputs carry the noise of storage, and the real
weights are best for inputs without: with X the stored inputs and F the float network's, the weights
that bring X nearest to the float output are w + (X'X)^-1 X'(F - X) w. The inverse is taken of a
damped X'X, so that what few samples say is believed little.

A block is 4 output channels of one tap (spec/formats.py), so storing a tap is storing whole blocks,
each by the search of host/nearest.py: what the codec does to a block is in the loop. Of delta
formats the references are those of the plain weights, and only deltas are chosen.
"""

import numpy as np

from ..spec.formats import DELTA, LANES, RAW16
from .codecs.block import roundtrip
from .codecs.delta_blocks import split_channels
from .graph import DEPTHWISE
from .nearest import nearest, rounded

SAMPLES = 16384        # Output pixels whose inputs are looked at, at least; and
SAMPLES_PER_TAP = 8    # that many for each tap of a convolution, where there are as many.
DAMPING = 0.01         # Of each tap's variance, in H;
CORRECTION = 0.1       # in the correction of the target, with
SCARCITY = 10          # so many times as much again for each tap a sample.
FLOOR = 1e-3           # Of the taps' mean variance, for those that hardly vary.
PASSES = 2
TOGETHER = 64          # Taps whose errors reach the later ones in one matrix product.
SEED = 1
MOST_TAPS = 4608       # 3x3 over 512 channels; of larger layers H does not fit a small machine.


def round_weights(layer, x, q, fmt, real=None, mean_free=True):
    """Weights to store for a CONV or DEPTHWISE layer.

    layer: importer.FloatLayer; x: int16 (N, C, H, W), its inputs on calibration images as the
    quantized network has them; q: float64 (cout, ...), the real weights in steps of each channel's
    scale; fmt: Format of the weights. real: float32, shape and unit of x, what x is in the float
    network, or None to leave the noise of the inputs uncorrected. mean_free: a channel's mean
    output does not count, because bias correction follows. Layers of more than MOST_TAPS
    taps get the nearest weights.
    Returns int16 of q's shape; the layer computes with ``reference.store_weights`` of it. The same
    arguments always give the same weights. ValueError: shapes.
    """
    if q.shape != layer.weight.shape:
        raise ValueError(f"layer {layer.name}: weights of shape {q.shape}: expected "
                         f"{layer.weight.shape}")
    if real is not None and real.shape != x.shape:
        raise ValueError(f"layer {layer.name}: real inputs of shape {real.shape}: expected "
                         f"{x.shape}")
    plain = rounded(q, fmt, -fmt.range[1], fmt.range[1])
    if fmt.kind == RAW16 or q[0].size > MOST_TAPS:
        return plain
    problem = _Problem(layer, x, q, fmt, real, mean_free)
    chosen = problem.feedback()
    for _ in range(PASSES):
        problem.descend(chosen)
    plain = problem.rows(plain)
    if problem.error(plain) < problem.error(chosen):
        chosen = plain
    return np.ascontiguousarray(chosen[:, :len(q)].T).reshape(q.shape)


def sample_taps(layer, x, kernel):
    """The inputs under a layer's taps at random output pixels: float32 (pixels, C, kernel^2)."""
    n, channels, *size = x.shape
    stride, pad = layer.stride, layer.padding
    high, wide = ((v + 2 * pad - kernel) // stride + 1 for v in size)
    d = kernel * kernel * (1 if layer.op == DEPTHWISE else channels)
    count = min(n * high * wide, max(SAMPLES, SAMPLES_PER_TAP * d))
    pixels = np.random.default_rng(SEED).choice(n * high * wide, count, replace=False)
    image, rest = np.divmod(np.sort(pixels), high * wide)
    oy, ox = np.divmod(rest, wide)
    out = np.empty((count, channels, kernel * kernel), np.float32)
    for tap in range(kernel * kernel):
        iy, ix = oy * stride + tap // kernel - pad, ox * stride + tap % kernel - pad
        inside = (iy >= 0) & (iy < size[0]) & (ix >= 0) & (ix < size[1])
        iy, ix = np.clip(iy, 0, size[0] - 1), np.clip(ix, 0, size[1] - 1)
        out[:, :, tap] = x[image, :, iy, ix] * inside[:, None]
    return out


def tap_moments(layer, x, kernel, real=None, mean_free=True):
    """Second moments of the taps with themselves, and with ``real`` less themselves (None without
    it): float64 (d, d, 1) of CONV, (d, d, C) of DEPTHWISE, whose channels have taps of their own.
    Third, the number of pixels sampled. mean_free: covariances."""
    taps = _centred(layer, x, kernel, mean_free)
    pixels = taps.shape[1]
    left = taps.transpose(0, 2, 1)
    pair = [left @ taps]
    if real is not None:
        pair.append(left @ (_centred(layer, real, kernel, mean_free) - taps))
    pair = [np.ascontiguousarray(v.transpose(1, 2, 0)).astype(np.float64) / pixels for v in pair]
    return pair[0], pair[1] if len(pair) == 2 else None, pixels


def _centred(layer, x, kernel, mean_free):
    """sample_taps as (1 or C, pixels, d)."""
    taps = sample_taps(layer, x, kernel)
    if layer.op == DEPTHWISE:
        taps = np.ascontiguousarray(taps.transpose(1, 0, 2))
    else:
        taps = taps.reshape(1, len(taps), -1)
    return taps - taps.mean(axis=1, keepdims=True) if mean_free else taps


def _damped(moments, share):
    """Moments (d, d, n) with ``share`` of each tap's added."""
    d = np.arange(len(moments))
    own = moments[d, d]
    floor = FLOOR * own.mean(axis=0)
    out = moments.copy()
    out[d, d] += share * own + np.where(floor > 0, floor, 1)
    return out


class _Problem:
    """What to minimise. Rows are taps, in the weights' order; columns output channels, padded to
    whole blocks: target (d, c), weight (c,), H (d, d, 1 or c)."""

    def __init__(self, layer, x, q, fmt, real, mean_free):
        self.fmt = fmt
        self.pad = -len(q) % LANES
        self.target = self.rows(q)
        axes = tuple(range(1, q.ndim))
        largest, steps = np.abs(layer.weight).max(axis=axes), np.abs(q).max(axis=axes)
        step = np.divide(largest, steps, out=np.zeros(len(q)), where=steps > 0)
        # Importance 0 is for padding; channels of zeros stay above it.
        weight = np.maximum(np.square(step / (step.max() or 1)), 1e-12)
        self.weight = np.pad(weight, (0, self.pad))
        own, cross, pixels = tap_moments(layer, x, q.shape[-1], real, mean_free)
        if own.shape[2] > 1:
            own = np.pad(own, ((0, 0), (0, 0), (0, self.pad)))
        if cross is not None:
            if cross.shape[2] > 1:
                cross = np.pad(cross, ((0, 0), (0, 0), (0, self.pad)))
            damped = _damped(own, CORRECTION * (1 + SCARCITY * len(own) / pixels))
            moves = np.linalg.solve(damped.transpose(2, 0, 1), cross.transpose(2, 0, 1))
            self.target = self.target + self.moved(moves.transpose(1, 2, 0), self.target)
        self.H = _damped(own, DAMPING)
        if fmt.kind == DELTA:
            near = np.floor(self.target.T + 0.5).clip(-32767, 32767).astype(np.int16)
            self.references = split_channels(near, fmt)[0].astype(np.float64)

    def rows(self, q):
        """(cout, ...) -> (d, c)."""
        return np.ascontiguousarray(np.pad(q.reshape(len(q), -1).T, ((0, 0), (0, self.pad))))

    def stored(self, q):
        """q: int16 (d, c), or (c,) of a tap where blocks stand alone."""
        fmt = self.fmt.in_run(q.shape[-1])
        return roundtrip(q.reshape(-1, LANES), fmt).reshape(q.shape).astype(np.float64)

    def nearest(self, targets, importance):
        """One tap: targets (c,), importance (c,) -> int16 (c,) and what is stored for it."""
        if self.fmt.kind == DELTA:
            # The references stay: storing all taps finds them again, since they fit exactly.
            step, most = 1 << self.fmt.offset, 1 << self.fmt.bits - 1
            deltas = np.floor((targets - self.references) / step + 0.5).clip(-most, most - 1)
            stored = self.references + step * deltas
            return stored.astype(np.int16), stored
        q = nearest(targets.reshape(-1, LANES), importance.reshape(-1, LANES), self.fmt)
        return q.ravel(), self.stored(q).ravel()

    def moved(self, H, errors):
        """H (a, b, 1 or c) times errors (b, c): (a, c)."""
        if H.shape[2] == 1:
            return H[:, :, 0] @ errors
        return np.einsum("abc,bc->ac", H, errors)

    def error(self, q):
        """The objective: squared error of the output, summed over channels."""
        errors = self.stored(q) - self.target
        return float((self.moved(self.H, errors) * errors * self.weight).sum())

    def feedback(self):
        """Round 1: int16 (d, c)."""
        # Taps that vary most first: many are left to make up for their errors.
        d = np.arange(len(self.H))
        order = np.argsort(-self.H[d, d].mean(axis=1), kind="stable")
        # H = R R' with R upper triangular, so U = R^-1 has U' U = H^-1.
        H = self.H[np.ix_(order, order)].transpose(2, 0, 1)
        R = np.linalg.cholesky(H[:, ::-1, ::-1])[:, ::-1, ::-1]
        U = np.ascontiguousarray(np.linalg.inv(R).transpose(1, 2, 0))  # (d, d, 1 or c)
        target = self.target[order]
        out = np.empty(target.shape, np.int16)
        for first in range(0, len(d), TOGETHER):
            last = min(first + TOGETHER, len(d))
            errors = np.empty((last - first, target.shape[1]))
            for j in range(first, last):
                scale = U[j, j]
                out[j], stored = self.nearest(target[j], self.weight / scale ** 2)
                errors[j - first] = (target[j] - stored) / scale
                target[j + 1:last] -= U[j, j + 1:last] * errors[j - first]
            target[last:] -= self.moved(U[first:last, last:].transpose(1, 0, 2), errors)
        chosen = np.empty_like(out)
        chosen[order] = out
        return chosen

    def descend(self, q):
        """Round 2, in place: q int16 (d, c). The objective never grows."""
        errors = self.stored(q) - self.target
        for first in range(0, len(q), TOGETHER):
            rows = slice(first, first + TOGETHER)
            slope = self.moved(self.H[rows], errors)
            for j in range(first, min(first + TOGETHER, len(q))):
                curve = self.H[j, j]
                # Errors at which this tap would be best, all others fixed.
                best = errors[j] - slope[j - first] / curve
                importance = self.weight * curve
                new, stored = self.nearest(self.target[j] + best, importance)
                stored -= self.target[j]
                gain = importance * ((errors[j] - best) ** 2 - (stored - best) ** 2)
                better = np.repeat(gain.reshape(-1, LANES).sum(axis=1) > 0, LANES)
                change = np.where(better, stored - errors[j], 0)
                q[j] = np.where(better, new, q[j])
                errors[j] += change
                slope += self.H[rows, j] * change
