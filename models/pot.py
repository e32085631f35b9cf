"""Weights of few integer levels for training, and activations with a learned clip.

    clip_activations(model, ActivationClip)
    fit_clips(model, images)
    apply(model, lambda: CodebookWeight(bits=4, codebook="pot"))
    ...             # train on cross entropy + ramp(...) * distribution_loss(model, beta)
    steps = {f"{name}.weight": scale for name, (_, scale) in levels(model).items()}
    image = litepress.compress(deploy(model), ..., weights="pot4", activations="raw8", steps=steps)

The forward pass uses exactly the weights that are deployed, (integer level) * (scale of the output
channel); the gradient goes straight through to the float weights. The idea is He et al.'s "A Novel
Quantization and Model Compression Approach for Hardware Accelerators in Edge Computing" (CMC 80(2),
2024), of which we only had the abstract: everything here is our reading of it. Scales are learned
as in LSQ (Esser et al., ICLR 2020), weights normalized as in APoT (Li et al., ICLR 2020), clips
learned as in PACT (Choi et al., 2018).
"""

import copy
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from ..spec.formats import Format
from .delta import apply

__all__ = ["CODEBOOKS", "ActivationClip", "CodebookWeight", "UniformWeight", "apply",
           "clip_activations", "deploy", "distribution_loss", "fit_clips", "levels", "ramp",
           "refit"]

# Those of the storage formats of the same name: there multiples are as good, and small levels could
# not be requantized.
CODEBOOKS = {(name, bits): Format.parse(f"{name}{bits}").codebook
             for name, bits in (("pot", 4), ("pot", 3), ("apot", 4))}
LARGEST = 127              # Magnitude.
LLOYD_STEPS = 20           # When a learned codebook is first fitted.
# Scales and clips that are tried first, of the one that just takes the largest value.
STEPS = torch.logspace(-2.5, 0.25, 23, base=2).tolist()
SAMPLES = 1 << 16          # Activations that a clip is first fitted to.


class _Levels(torch.autograd.Function):
    """nearest(w / unit) * unit. To w: the gradient where it is in range; to unit: LSQ's."""

    @staticmethod
    def forward(ctx, w, unit, module):
        v = w / unit
        q = module.nearest(v)
        ctx.save_for_backward(v, q)
        ctx.module, ctx.unit_shape = module, unit.shape
        return q * unit

    @staticmethod
    def backward(ctx, gradient):
        v, q = ctx.saved_tensors
        low, high = ctx.module.range
        inside = (v >= low) & (v <= high)
        to_unit = (gradient * (q - torch.where(inside, v, 0))).sum_to_size(ctx.unit_shape)
        factor = (high * v.numel() / to_unit.numel()) ** -0.5
        return gradient * inside, to_unit * factor, None


class LevelWeight(nn.Module):
    """What CodebookWeight and UniformWeight share. Subclasses give ``range``, the lowest and the
    highest level, and ``nearest``.

    per: "channel", a scale for each output channel, or "layer". The scale is the exponential of a
    parameter, so it stays positive; it is fitted by squared error when registered. normalize: the
    layer's mean is subtracted, and the learned scale is in units of the layer's deviation. Both are
    part of the forward pass, so levels() holds what comes out."""

    def __init__(self, per="channel", normalize=False):
        super().__init__()
        if per not in ("channel", "layer"):
            raise ValueError(f"{type(self).__name__} per {per!r}: allowed are channel, layer")
        self.per, self.normalize = per, normalize
        self.register_parameter("log_scale", None)

    def forward(self, weight):
        w, unit = self.view(weight)
        return _Levels.apply(w, unit, self).reshape(weight.shape)

    def view(self, weight):
        """(weights (n, taps) to take levels of, their unit (n, 1)), n output channels or 1."""
        w = weight.reshape(len(weight) if self.per == "channel" else 1, -1)
        deviation = 1
        if self.normalize:
            w = w - w.mean()
            deviation = w.detach().std(correction=0)
            deviation = torch.where(deviation > 0, deviation, 1)
        if self.log_scale is None:
            with torch.no_grad():
                self.log_scale = nn.Parameter(torch.log(self.fit(w.detach()) / deviation))
        return w, self.log_scale.exp() * deviation

    def integers(self, weight):
        """(levels int8 (cout, taps), scale float32 (cout,)) that forward(weight) uses."""
        with torch.no_grad():
            w, unit = self.view(weight)
            q = self.nearest(w / unit).reshape(len(weight), -1)
            scale = unit.expand(-1, len(weight) // len(unit)).reshape(-1)
        return q.to(torch.int8).cpu().numpy(), scale.cpu().numpy()

    def fit(self, w):
        """The unit (n, 1) of STEPS with the least squared error for each row of w (n, taps)."""
        widest = w.abs().amax(1, keepdim=True) / self.range[1]
        widest = torch.where(widest > 0, widest, 1)     # A row of zeros takes any.
        units = torch.stack([widest * step for step in STEPS])
        errors = torch.stack([(self.nearest(w / unit) * unit - w).square().sum(1, keepdim=True)
                              for unit in units])
        return units.gather(0, errors.argmin(0, keepdim=True))[0]


class CodebookWeight(LevelWeight):
    """Weights of 2^bits - 1 levels, 0 and +- magnitudes, the nearest on the linear axis (between
    powers of two the border is 1.5 * 2^k; what is on a border takes the smaller).

    bits: 4 or 3. codebook: "pot" 0, 1, 2, 4 ... 64 or, 3 bits, 16 times 0, 1, 2, 4; "apot", 4 bits:
    8 times 0, 1, 2, 3, 4, 6, 8, 10 (the formats pot4, pot3 and apot4 store these); a tuple of
    2^(bits - 1) magnitudes, 0 to 127, rising from 0; "learned": such a tuple for each layer, fitted
    to its weights when registered and by refit() (for these raw8). ValueError: another."""

    def __init__(self, bits=4, codebook="pot", per="channel", normalize=False):
        super().__init__(per, normalize)
        if bits not in (3, 4):
            raise ValueError(f"CodebookWeight bits = {bits!r}: allowed are 3, 4")
        self.bits, self.learned, count = bits, codebook == "learned", 1 << bits - 1
        if self.learned:
            magnitudes = [round(LARGEST * i / (count - 1)) for i in range(count)]
        elif isinstance(codebook, str):
            if (codebook, bits) not in CODEBOOKS:
                raise ValueError(f"codebook {codebook!r} of {bits} bits: allowed are learned, a "
                                 f"tuple, {', '.join(f'{n} of {b}' for n, b in CODEBOOKS)}")
            magnitudes = CODEBOOKS[codebook, bits]
        else:
            magnitudes = tuple(codebook)
            rising = all(a < b for a, b in pairwise(magnitudes))
            if len(magnitudes) != count or magnitudes[0] != 0 or not rising or \
                    magnitudes[-1] > LARGEST or any(m != int(m) for m in magnitudes):
                raise ValueError(f"codebook {magnitudes}: allowed are {count} rising integers, the "
                                 f"first 0, the last at most {LARGEST}")
        self.register_buffer("magnitudes", torch.tensor(magnitudes, dtype=torch.float32))

    @property
    def range(self):
        high = float(self.magnitudes[-1])
        return -high, high

    def nearest(self, v):
        """The nearest level of each number, float32 of v's shape."""
        borders = (self.magnitudes[1:] + self.magnitudes[:-1]) / 2
        found = self.magnitudes[torch.bucketize(v.abs(), borders)]
        return found.copysign_(v).add_(0.0)     # No negative zero.

    def fit(self, w):
        if not self.learned:
            return super().fit(w)
        unit = w.abs().amax(1, keepdim=True) / LARGEST
        unit = torch.where(unit > 0, unit, 1)
        sizes = (w.abs() / unit).flatten()
        sizes = sizes[sizes > 0].sort().values
        if len(sizes):      # As many weights to each to begin with.
            middles = (torch.arange(len(self.magnitudes) - 1) + 0.5) / (len(self.magnitudes) - 1)
            self.magnitudes[1:] = sizes[(middles * len(sizes)).long()].round().clamp(min=1)
        for _ in range(LLOYD_STEPS):
            self._lloyd(w, unit)
        return unit

    def refit(self, weight):
        """Of a learned codebook: one Lloyd step, each magnitude becomes the one, an integer, with
        the least squared error for the weights that had it."""
        if self.learned:
            with torch.no_grad():
                self._lloyd(*self.view(weight))

    def _lloyd(self, w, unit):
        v = w.abs() / unit
        borders = (self.magnitudes[1:] + self.magnitudes[:-1]) / 2
        index = torch.bucketize(v, borders)
        share = unit.square().expand_as(v)
        total, found = (torch.zeros_like(self.magnitudes).scatter_add_(0, index.flatten(),
                                                                       x.flatten())
                        for x in (share * v, share))
        means = (total / found).round().clamp(1, LARGEST)
        kept = torch.where(found > 0, means, self.magnitudes)
        kept[0] = 0
        self.magnitudes.copy_(kept.sort().values)


class UniformWeight(LevelWeight):
    """Weights of 2^bits - 1 levels, the integers around 0; bits: 2 to 8. As many are negative as
    positive: a BatchNorm with a negative factor turns the deployed levels around."""

    def __init__(self, bits=4, per="channel", normalize=False):
        super().__init__(per, normalize)
        if bits not in range(2, 9):
            raise ValueError(f"UniformWeight bits = {bits!r}: allowed are 2 to 8")
        self.bits = bits

    @property
    def range(self):
        high = (1 << self.bits - 1) - 1
        return -high, high

    def nearest(self, v):
        """The nearest level of each number, float32 of v's shape."""
        return v.round().clamp(*self.range) + 0.0


def _clipped(x, high, n):
    return x.clamp(0, high).mul_(n / high).round_().mul_(high / n)


class _Clip(torch.autograd.Function):
    """round(clamp(x, 0, clip) / step) * step, step = clip / n. PACT's gradients."""

    @staticmethod
    def forward(ctx, x, clip, n):
        high = float(clip)
        ctx.save_for_backward(x)
        ctx.high = high
        return _clipped(x, high, n)

    @staticmethod
    def backward(ctx, gradient):
        [x] = ctx.saved_tensors
        to_clip = torch.ops.aten.threshold_backward(gradient, x, ctx.high).sum()
        return torch.ops.aten.hardtanh_backward(gradient, x, 0, ctx.high), to_clip, None


class ActivationClip(nn.Module):
    """An activation in place of ReLU: clamp(x, 0, clip) in 2^bits - 1 steps, clip learned.

    bits: 8 or 4; init: the clip before training or fit_clips().

    8 bits are what the accelerator stores: deploy() makes a Hardtanh(0, clip) of it, which
    litepress.compress gives the unit clip / 255 if calibration reaches the clip. That is exact but
    for the order of roundings: here the float sum is rounded, there the integer one after its
    requantization, so that now and then a value is one step off. What goes into an addition without
    an activation is quantized there (signed, its unit from calibration) and not here.
    4 bits are for measuring in training only: the accelerator could hold the levels 0..15 in a byte
    (unit clip / 15, clamped at 15), but compress() has no way to ask for that, so deploy() refuses
    them."""

    def __init__(self, bits=8, init=6.0):
        super().__init__()
        if bits not in (4, 8):
            raise ValueError(f"ActivationClip bits = {bits!r}: allowed are 4, 8")
        if not init > 0:
            raise ValueError(f"ActivationClip init = {init!r}: allowed are numbers above 0")
        self.bits = bits
        self.log_clip = nn.Parameter(torch.tensor(float(init)).log())

    @property
    def clip(self):
        """float."""
        return float(self.log_clip.detach().exp())

    def forward(self, x):
        return _Clip.apply(x, self.log_clip.exp(), (1 << self.bits) - 1)

    def fit(self, x):
        """Set the clip to that of STEPS with the least squared error for inputs x, at most to their
        largest. Left as it is when none is above 0."""
        x = x.detach().flatten()
        x = x[::-(-len(x) // SAMPLES)].clamp(min=0)
        high, n = float(x.max()), (1 << self.bits) - 1
        if high > 0:
            clips = [high * step for step in STEPS if step < 1] + [high]
            errors = [float((_clipped(x, clip, n) - x).square().sum()) for clip in clips]
            with torch.no_grad():
                self.log_clip.fill_(float(np.log(clips[int(np.argmin(errors))])))

    def extra_repr(self):
        return f"bits={self.bits}, clip={self.clip:.4g}"


def clip_activations(model, make):
    """Put make(), a new ActivationClip, in the place of every ReLU and ReLU6; returns the model.
    ValueError: there is none."""
    found = [(parent, name) for parent in model.modules() for name, child in
             parent.named_children() if isinstance(child, nn.ReLU | nn.ReLU6)]
    if not found:
        raise ValueError(f"{type(model).__name__}: no ReLU and no ReLU6 in it")
    for parent, name in found:
        setattr(parent, name, make())
    return model


def fit_clips(model, x):
    """ActivationClip.fit for all, in the order they are called in, from the network's inputs x."""
    hooks = [m.register_forward_pre_hook(lambda module, inputs: module.fit(inputs[0]))
             for m in model.modules() if isinstance(m, ActivationClip)]
    training = model.training
    with torch.no_grad():
        model.eval()(x)
    model.train(training)
    for hook in hooks:
        hook.remove()


def refit(model):
    """CodebookWeight.refit for all layers with a learned codebook."""
    for _, module, weight in _quantized(model):
        if isinstance(module, CodebookWeight):
            module.refit(weight)


def levels(model):
    """{layer's name: (levels int8 (cout, taps), scale float32 (cout,))} of all layers that have
    a CodebookWeight or UniformWeight: their product is the weight that the forward pass uses."""
    return {name: module.integers(weight) for name, module, weight in _quantized(model)}


def deploy(model):
    """A copy for litepress.compress, in eval mode: weights as they are used, as plain parameters,
    and a Hardtanh for every ActivationClip. ValueError: activations of 4 bits.

    Uniform weights of few bits can be too coarse for a last layer whose output is stored in 16 bits
    (compress() says so): then give its input 16 bits too, overrides={its name: "raw16"}."""
    model = copy.deepcopy(model).eval()
    for name, _, _ in list(_quantized(model)):
        # By hand: remove_parametrizations would take the weight from the class, which copies share.
        layer = model.get_submodule(name)
        values = {tensor: getattr(layer, tensor).detach() for tensor in layer.parametrizations}
        layer.__class__ = parametrize.type_before_parametrizations(layer)
        del layer.parametrizations
        for tensor, value in values.items():
            layer.register_parameter(tensor, nn.Parameter(value))
    for name, module in list(model.named_modules()):
        if isinstance(module, ActivationClip):
            if module.bits != 8:
                raise ValueError(f"deploy: {name}: activations of {module.bits} bits: allowed are "
                                 f"8 bits")
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, nn.Hardtanh(0, module.clip))
    return model


def distribution_loss(model, beta, relative=True):
    """The regulariser: what keeps a layer's weights together at their levels.

    With v = weight / scale and q its level, the sum over layers of mean((v - q)^2) + beta * (sum
    over levels of (mean of the v there - level)^2 + their variance); levels without weights give 0.
    The gradient is the weights' alone: scales could only make it small by growing. relative: each
    layer's term is divided by its mean(v^2), so that it means the same for any codebook.
    A scalar, 0 where nothing is quantized."""
    total = torch.zeros(())
    for _, module, weight in _quantized(model):
        w, unit = module.view(weight)
        v = w / unit.detach()
        q = module.nearest(v.detach())
        errors = (v - q).square()
        # (mean - level)^2 + variance of those at a level is the mean of their squared errors.
        bins = (q - module.range[0]).long()
        share = 1 / torch.bincount(bins.flatten()).clamp(min=1)
        term = errors.mean() + beta * (errors * share[bins]).sum()
        total = total + (term / v.detach().square().mean().clamp(min=1e-12) if relative else term)
    return total


def ramp(step, steps, warm):
    """0 in the first ``warm`` (0..1) of the steps, then rising in proportion to 1 at the end."""
    return max(0.0, (step / steps - warm) / (1 - warm))


def _quantized(model):
    for name, layer in model.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            chain = layer.parametrizations.weight
            if isinstance(chain[0], LevelWeight):
                yield name, chain[0], chain.original
