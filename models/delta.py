"""Delta-compressed and fixed-point weights for training: parametrizations of any Linear or Conv2d.

    apply(model, lambda: DeltaWeight(bits=4, reference="fixed", offset=4))
    ...                        # train; every now and then: refit(model)
    deltas(model)              # the integers to deploy

The forward pass uses exactly the weights that are deployed, (r + (d << o)) * scale with integers
r, d, o (host/codecs/delta.py computes them, here as there); the backward pass goes straight through
to the float weights. A weight of any shape is seen as (rows, taps), rows = its first dimension.

What trains best, and is the default: references and scales for each row, an offset for the layer.
A scale for each row costs nothing, because batch normalization multiplies by one for each row
anyway; with it the step (scale << o) is whatever suits the row, and o says only how fine the
reference is beside it.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from ..host.codecs.delta import Delta, paper_clip, paper_inflate

# Scales that refit tries, of the one that just takes the widest weight. Differences of neighbours
# are up to twice as wide as weights.
STEPS = {"fixed": np.geomspace(0.25, 1.25, 11), "consecutive": np.geomspace(0.25, 2.8, 16)}


class Deployed(NamedTuple):
    """Integers of one layer: r int16 (n,), o uint8 (n,), d int8 or, in paper mode, int16
    (n, weights), n rows or 1 for the layer; scale float32 (n,). Paper mode: d[0, 0] = 0 stands for
    the reference, and d is complete: (r + d) * scale, o only says how it was clipped."""

    r: np.ndarray
    o: np.ndarray
    d: np.ndarray
    scale: np.ndarray


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(_, weight, deployed):
        return deployed.view_as(weight)

    @staticmethod
    def backward(_, gradient):
        return gradient, None


class FixedWeight(nn.Module):
    """Fixed-point weights of ``bits``, 2 to 16. ``mode`` "improved": rounded, a scale for each row
    such that the widest weight fits; "paper": trunc(clamp(w) * 2^fraction), one scale."""

    def __init__(self, bits=8, mode="improved", fraction=5):
        super().__init__()
        _check_mode(mode)
        if bits not in range(2, 17):
            raise ValueError(f"FixedWeight bits = {bits!r}: allowed are 2 to 16")
        self.bits, self.mode, self.fraction = bits, mode, fraction

    def integers(self, weight):
        """(q int16 (rows, taps), scale float32 (rows,)) of a weight: what is deployed."""
        w = _rows(weight)
        high = (1 << self.bits - 1) - 1
        if self.mode == "paper":
            return _truncate(w, self.bits, self.fraction), np.full(len(w), 2.0 ** -self.fraction,
                                                                   np.float32)
        scale = _positive(np.abs(w).max(axis=1) / np.float32(high))
        return np.clip(np.rint(w / scale[:, None]), -high - 1, high).astype(np.int16), scale

    def forward(self, weight):
        q, scale = self.integers(weight)
        return _through(weight, q * scale[:, None])


class DeltaWeight(nn.Module):
    """Delta-compressed weights: ``bits`` 2 to 6, ``reference`` "fixed" or "consecutive", ``mode``
    "improved" or "paper", ``offset`` 0 to 7 for the layer or None: improved, one for each row.

    Improved: ``per`` "row" has a reference and a scale for each row, "layer" one of each. They are
    chosen by squared error when first needed and by refit(), and are kept with the model's state.

    Paper: the flattened weight, truncated to 8 bits with ``fraction`` of them fractional, with its
    first value as the reference; ``clamp``: see paper_clip. Nothing is fitted."""

    def __init__(self, bits=4, reference="fixed", mode="improved", offset=None, per="row",
                 fraction=5, clamp=True):
        super().__init__()
        _check_mode(mode)
        if per not in ("row", "layer"):
            raise ValueError(f"DeltaWeight per {per!r}: allowed are row, layer")
        self.codec = Delta(bits, reference, mode, offset, clamp)
        self.mode, self.per, self.fraction = mode, per, fraction
        for name, dtype in (("r", torch.int16), ("o", torch.uint8), ("scale", torch.float32)):
            self.register_buffer(name, torch.empty(0, dtype=dtype))

    def integers(self, weight):
        """The Deployed of a weight: what forward() uses. Fits first where nothing is fitted yet."""
        if self.mode == "paper":
            return self._paper(weight)
        if not self.r.numel():
            self.refit(weight)
        r, o, scale = (getattr(self, name).cpu().numpy() for name in ("r", "o", "scale"))
        q = self._scaled(self._view(weight), scale)
        return Deployed(r, o, self.codec.quantize(q, r, o), scale)

    def forward(self, weight):
        r, o, d, scale = self.integers(weight)
        if self.mode == "paper":
            w = paper_inflate(np.concatenate([r, d.ravel()[1:]]), self.codec.reference)[None]
        else:
            w = self.codec.values(r, o, d)
        return _through(weight, w * scale[:, None])

    def refit(self, weight):
        """Choose references, offsets and scales for a weight by squared error: of STEPS scales the
        best for each row, the rest by the codec."""
        if self.mode == "paper":
            return
        w = self._view(weight)
        # The codec's deltas are in steps of 2^o; without a layer's offset, 8 bits take the weights.
        o = self.codec.offset
        high = 127 if o is None else (1 << self.codec.bits - 1) - 0.5
        widest = np.abs(w).max(axis=1) / np.float32(high * (1 if o is None else 1 << o))
        best, found = np.full(len(w), np.inf), None
        for step in STEPS[self.codec.reference]:
            scale = _positive(widest * np.float32(step))
            r, offsets, d = self.codec.fit(self._scaled(w, scale))
            error = np.square(self.codec.values(r, offsets, d) * scale[:, None] - w,
                              dtype=np.float64).sum(axis=1)
            found = found or (r.copy(), offsets.copy(), scale.copy())
            better = error < best
            best[better] = error[better]
            for old, new in zip(found, (r, offsets, scale), strict=True):
                old[better] = new[better]
        for name, values in zip(("r", "o", "scale"), found, strict=True):
            setattr(self, name, torch.from_numpy(values).to(weight.device))

    def _view(self, weight):
        w = _rows(weight)
        return w if self.per == "row" else w.reshape(1, -1)

    def _scaled(self, w, scale):
        return np.clip(np.rint(w / scale[:, None]), *self.codec.range).astype(np.int32)

    def _paper(self, weight):
        codec = self.codec
        q = _truncate(_rows(weight), 8, self.fraction).ravel()
        before = q[0] if codec.reference == "fixed" else q[:-1]
        d = np.zeros((1, len(q)), np.int16)
        d[0, 1:] = paper_clip(q[1:] - before, codec.bits, codec.offset, codec.clamp)
        return Deployed(q[:1], np.array([codec.offset], np.uint8), d,
                        np.array([2.0 ** -self.fraction], np.float32))

    def _load_from_state_dict(self, state, prefix, *args):
        for name in ("r", "o", "scale"):
            if prefix + name in state:   # The size is known once fitted.
                setattr(self, name, torch.empty_like(state[prefix + name]))
        super()._load_from_state_dict(state, prefix, *args)


def apply(model, make):
    """Parametrize the weight of every Linear and Conv2d of a model with make(), a new DeltaWeight
    or FixedWeight for each; returns the model. ValueError: there is none."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if not layers:
        raise ValueError(f"{type(model).__name__}: no Linear and no Conv2d in it")
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", make())
    return model


def refit(model):
    """DeltaWeight.refit for all layers, from their float weights as they are now."""
    for _, module, weight in _parametrized(model):
        module.refit(weight)


def deltas(model):
    """{layer's name: Deployed} of all layers that apply() gave a DeltaWeight."""
    return {name: module.integers(weight) for name, module, weight in _parametrized(model)}


def _parametrized(model):
    for name, layer in model.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            chain = layer.parametrizations.weight
            if isinstance(chain[0], DeltaWeight):
                yield name, chain[0], chain.original


def _check_mode(mode):
    if mode not in ("improved", "paper"):
        raise ValueError(f"mode {mode!r}: allowed are improved, paper")


def _rows(weight):
    """float32 (rows, taps) view of a weight, its first dimension first."""
    return weight.detach().cpu().numpy().reshape(len(weight), -1)


def _positive(scale):
    """A row of zeros takes any scale."""
    return np.where(scale > 0, scale, np.float32(1)).astype(np.float32)


def _truncate(w, bits, fraction):
    high = 1 << bits - 1
    return np.clip(np.trunc(np.clip(w * 2.0 ** fraction, -high, high - 1)), -high,
                   high - 1).astype(np.int16)


def _through(weight, values):
    values = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    return _StraightThrough.apply(weight, values.to(weight.device))
