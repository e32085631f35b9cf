"""From a float graph and its calibration to a network of integers.

Activations: one scale a tensor, zero point 0. Weights: one scale an output channel. A layer's
accumulator has the unit ``s_x * s_w``; requantization to the output's unit ``s_y`` is the ratio
R = s_x * s_w / s_y written as m / 2^16 / 2^s with m in 32768..65535 (spec/isa.py).

Bias correction (Nagel et al., "Data-Free Quantization", 2019, section 4.2, measured on calibration
inputs): the mean difference between float and quantized output of every channel goes into its bias,
layer by layer with all earlier layers quantized.
"""

import math
from functools import partial

import numpy as np
import torch

from ..spec import isa
from ..spec.formats import DELTA, EBPC_KINDS, WEIGHT_KINDS, Format
from .floatrun import run_float, run_float_layer
from .graph import ADD, CONV, DEPTHWISE, POOL, Layer, Network, Requant, Tensor
from .nearest import rounded
from .reference import (
    mean_accumulator,
    quantize_input,
    run_layer,
    run_reference,
    store,
    store_weights,
)
from .rounding import round_weights

HEADROOM = 1.25          # Of 16-bit tensors over what calibration saw.
POOL_WEIGHT = 4096       # Keeps acc * m >> 16 well above one output step.
MAX_SHIFT = 24           # Largest s: b (42 bits) then holds biases of 2^17 output steps.
ADD_LIMIT = 32767
LARGEST_RATIO = 65535 / 65536
ACC_LIMIT = 2 ** (isa.ACC_BITS - 1)
# What a channel's largest weight may be, in its steps. References and deltas of few bits reach some
# 128 of them, so the first has all weights inside and the last few of them; a codebook its largest
# magnitude, of which these are parts.
DELTA_SPANS = (96, 112, 120, 128, 144, 160, 176, 192, 224, 256, 320)
CODEBOOK_SPANS = np.geomspace(0.7, 2.5, 15)


def _format(text):
    return text if isinstance(text, Format) else Format.parse(text)


def _ratio(values):
    """R (n,) float64 in (0, 1) -> m, s int64."""
    # Just below 1, 2^16 * R would round up to a shift of -1.
    mantissa, exponent = np.frexp(np.minimum(values, LARGEST_RATIO))
    m = np.floor(mantissa * (1 << isa.PARAM_M_BITS) + 0.5).astype(np.int64)
    carry = m == 1 << isa.PARAM_M_BITS
    return np.where(carry, m >> 1, m), -(exponent + carry).astype(np.int64)


def _bias(real, scale, s):
    """Bias in real units -> b with the rounding constant of shift s, in 42 bits."""
    b = np.floor(np.asarray(real) / scale * np.exp2(s) + 0.5) + np.where(s > 0, np.exp2(s - 1.), 0)
    limit = 2.0 ** (isa.PARAM_B_BITS - 1)
    return np.clip(b, -limit, limit - 1).astype(np.int64)


def activation_scale(low, high, fmt, lo=-math.inf, hi=math.inf):
    """Scale of a tensor from the range seen and its activation's bounds."""
    large = fmt.range[1]
    headroom = HEADROOM if large > 255 else 1.0
    reach = max(min(high * headroom, hi), 0) / large, max(-max(low * headroom, lo), 0) / large
    return max(*reach) or 1.0


def _tensor(name, shape, low, high, fmt, lo=-math.inf, hi=math.inf):
    if lo >= 0:
        fmt = fmt.unsigned
    elif fmt.range[0] == 0 and low < 0:
        raise ValueError(f"tensor {name}: format {fmt}, but it is as low as {low:.3g}: allowed are "
                         f"the signed formats")
    try:
        fmt = fmt.in_tensor(shape)
    except ValueError as error:
        raise ValueError(f"tensor {name}: {error}") from None
    return Tensor(name, tuple(shape), fmt, activation_scale(low, high, fmt, lo, hi))


def _clamp(tensor, lo, hi):
    small, large = tensor.fmt.range
    if large == 127:
        small = -large
    bound = [small if math.isinf(lo) else max(small, math.floor(lo / tensor.scale + 0.5)),
             large if math.isinf(hi) else min(large, math.floor(hi / tensor.scale + 0.5))]
    return int(bound[0]), int(bound[1])


def weight_scale(weight, largest=32767):
    """Scale a channel at which the channel's largest weight is ``largest``: float64 (cout,)."""
    scale = np.abs(weight).reshape(len(weight), -1).max(axis=1) / largest
    return np.where(scale > 0, scale, 1.0)


def searched_scale(weight, fmt, one_scale=False):
    """Scale a channel at which ``fmt``, one of WEIGHT_KINDS, changes the weights least: float64
    (cout,). one_scale: the same for all."""
    flat = weight.reshape(len(weight), -1)
    high = np.abs(flat).max(axis=1)
    high = np.full_like(high, high.max()) if one_scale else high
    high = np.where(high > 0, high, 1.0)
    spans = np.array(DELTA_SPANS) if fmt.kind == DELTA else fmt.range[1] * CODEBOOK_SPANS
    errors = []
    for span in spans:
        scale = high / span
        q = rounded(flat / scale[:, None], fmt, -32767, 32767)
        errors.append(np.square(store_weights(q, fmt) * scale[:, None] - flat).sum(axis=1))
    errors = np.array(errors)
    best = np.full(len(flat), errors.sum(axis=1).argmin()) if one_scale else errors.argmin(axis=0)
    return high / spans[best]


def _weights(layer, x, scale_y, fmt, one_scale, rounder):
    """(int16 weights before encoding, after encoding, scale a channel) of CONV and DEPTHWISE.
    Weights that were trained as integers stay those integers.

    one_scale: the same scale for all channels. rounder(weights / scale, fmt) -> int16 weights, or
    None to take the nearest."""
    w = layer.weight
    axes = tuple(range(1, w.ndim))
    largest = fmt.range[1]
    # A channel's scale is at least what MAX_SHIFT can requantize; so zero channels get one too. It
    # is at most what one step of input and weight may weigh in the output; larger weights, which
    # few bits a weight make possible, saturate.
    unit = scale_y / x.scale
    high = np.abs(w).max(axis=axes)
    if one_scale:
        high = np.full_like(high, high.max())
    scale = high / largest
    if layer.step is not None:
        scale, largest, rounder = layer.step, 32767, None
    elif fmt.kind in WEIGHT_KINDS:
        scale, largest = searched_scale(w, fmt, one_scale), 32767
    scale = np.maximum(scale, unit * 2.0 ** -MAX_SHIFT)
    scale = np.minimum(scale, unit * LARGEST_RATIO)
    bound = max(abs(v) for v in x.fmt.range)
    while True:
        wanted = w / scale.reshape(-1, *[1] * len(axes))
        q = rounded(wanted, fmt, -largest, largest)
        stored = store_weights(q, fmt)
        over = np.abs(stored.astype(np.int64)).sum(axis=axes) * bound >= ACC_LIMIT
        if layer.step is not None and (over.any() or not np.array_equal(scale, layer.step)):
            raise ValueError(f"layer {layer.name}: the step of its weights "
                             f"({layer.step.min():.3g} to {layer.step.max():.3g}) cannot be "
                             "requantized: use activations of more bits")
        if not over.any():
            break
        if (over & (2 * scale > unit * LARGEST_RATIO)).any():
            raise ValueError(f"layer {layer.name}, channel {int(over.argmax())}: the accumulator "
                             f"may leave {isa.ACC_BITS} bits and the weights cannot be coarser: "
                             f"use a format with fewer bits for its input")
        scale = np.where(over, 2 * scale, scale)
    if rounder:
        better = rounder(wanted, fmt)
        again = store_weights(better, fmt)
        if (np.abs(again.astype(np.int64)).sum(axis=axes) * bound < ACC_LIMIT).all():
            q, stored = better, again
    return q, stored, scale


def _quantize_layer(layer, graph, tensors, scale_y, fmt, one_scale, rounder):
    """(weights int16, weights as stored, real value of one acc step (cout,))."""
    xs = [tensors[t] for t in layer.inputs]
    if layer.op in (CONV, DEPTHWISE):
        q, stored, scale = _weights(layer, xs[0], scale_y, fmt, one_scale, rounder)
        return q, stored, xs[0].scale * scale
    if layer.op == ADD:
        unit = max(max(x.scale for x in xs) / ADD_LIMIT, scale_y * 2.0 ** -MAX_SHIFT)
        q = np.array([math.floor(x.scale / unit + 0.5) for x in xs], np.int16)
    else:
        _, high, wide = graph.shapes[layer.inputs[0]]
        weight = POOL_WEIGHT
        while weight * high * wide * max(abs(v) for v in xs[0].fmt.range) >= ACC_LIMIT:
            weight //= 2        # 64x64 pixels and more.
        unit = xs[0].scale / (weight * high * wide)
        q = np.array([weight], np.int16)
    channels = graph.shapes[layer.output][0]
    return q, q, np.full(channels, unit)


def _macs(layer, graph):
    cout, high, wide = graph.shapes[layer.output]
    if layer.op == POOL:
        _, in_high, in_wide = graph.shapes[layer.inputs[0]]
        taps = in_high * in_wide
    else:
        taps = 2 if layer.op == ADD else layer.weight[0].size
    return cout * high * wide * taps


def quantize(graph, calibration, weights="zfpe12", activations="zfpe12", overrides=None,
             bias_correction=True, rounding=True, one_scale=False, measure_cost=True,
             progress=None):
    """graph: importer.FloatGraph; calibration: calibrate.Calibration; weights, activations:
    storage formats; overrides: layer name (its weights) or tensor name -> format. The network's
    output is stored as raw16 unless overridden. rounding: choose the weights that change each
    layer's output least (host/rounding.py), not the nearest. one_scale: a layer's channels share
    one weight scale. measure_cost: run float and quantized network on the calibration
    inputs for meta["calibration"]'s figures of ``cost``. progress("quantize", done, total).

    Returns a graph.Network. ValueError: an unknown format or name, a layer that cannot be
    requantized.
    """
    overrides = {k: _format(v) for k, v in (overrides or {}).items()}
    weight_format, activation_format = _format(weights), _format(activations)
    if weight_format.range[0] == 0 or weight_format.kind in EBPC_KINDS:
        raise ValueError(f"weights: format {weight_format} is for activations" + (
            " that are never negative" if weight_format.range[0] == 0 else ""))
    if activation_format.kind in WEIGHT_KINDS:
        raise ValueError(f"activations: format {activation_format} is for weights")
    names = {layer.name for layer in graph.layers} | set(graph.shapes)
    for name in set(overrides) - names:
        raise ValueError(f"overrides: no layer or tensor {name!r} in {graph.name}")

    def tensor(name, lo=-math.inf, hi=math.inf):
        default = Format.parse("raw16") if name == graph.output else activation_format
        return _tensor(name, graph.shapes[name], calibration.low[name], calibration.high[name],
                       overrides.get(name, default), lo, hi)

    tensors = {graph.input: tensor(graph.input)}
    network = Network(graph.name, tensors, [], graph.input, graph.output)
    # On the calibration images: tensors as stored, and as the float network has them.
    live, exact = {}, {graph.input: torch.from_numpy(calibration.images)} if rounding else {}
    last = {t: i for i, l in enumerate(graph.layers) for t in l.inputs}
    if bias_correction or rounding:
        q = quantize_input(network, calibration.images)
        live[graph.input] = store(q, tensors[graph.input].fmt)
    for index, layer in enumerate(graph.layers):
        y = tensors[layer.output] = tensor(layer.output, layer.lo, layer.hi)
        fmt = overrides.get(layer.name, weight_format)
        inputs = [live[t] for t in layer.inputs] if live else None
        rounder = None
        if rounding and layer.op in (CONV, DEPTHWISE):
            [name] = layer.inputs
            wanted = exact[name].numpy() / np.float32(tensors[name].scale)
            rounder = partial(round_weights, layer, live[name], real=wanted,
                              mean_free=bias_correction)
        q, stored, step = _quantize_layer(layer, graph, tensors, y.scale, fmt, one_scale, rounder)
        m, s = _ratio(step / y.scale)
        real = np.zeros(len(step)) if layer.bias is None else layer.bias
        if bias_correction and layer.op in (CONV, DEPTHWISE):
            real = calibration.means[layer.name] - mean_accumulator(layer, inputs, stored) * step
        requant = Requant(m, s, _bias(real, y.scale, s), *_clamp(y, layer.lo, layer.hi))
        if live:
            live[layer.output] = run_layer(layer, inputs, stored, requant, y.fmt)
        if rounding:
            with torch.no_grad():
                after = run_float_layer(layer, [exact[t] for t in layer.inputs])
                exact[layer.output] = after.clamp_(layer.lo, layer.hi)
        for name in layer.inputs:
            if last[name] == index:
                live.pop(name, None)
                exact.pop(name, None)
        network.layers.append(Layer(
            layer.name, layer.op, list(layer.inputs), layer.output, q, requant,
            fmt if layer.op in (CONV, DEPTHWISE) else Format.parse("raw16"), layer.stride,
            layer.padding, " + ".join(layer.source), _macs(layer, graph)))
        if progress:
            progress("quantize", index + 1, len(graph.layers))
    calibrated = {"images": len(calibration.images), "bias_correction": bias_correction,
                  "rounding": rounding}
    if measure_cost:
        found = live[graph.output] if live else run_reference(
            network, quantize_input(network, calibration.images))
        real = exact[graph.output] if exact else run_float(graph, calibration.images)
        calibrated |= cost(found * tensors[graph.output].scale, real.numpy())
    network.meta["calibration"] = calibrated
    return network


def cost(found, wanted):
    """What the network lost on the calibration images, every tensor stored: same_class, how many
    have their largest output where the float network's is, and snr_db of the outputs, -200 to 200.
    found, wanted: (N, ...)."""
    found, wanted = (np.asarray(v, np.float64).reshape(len(v), -1) for v in (found, wanted))
    tiny = np.finfo(np.float64).tiny
    signal, noise = (max(np.square(v).sum(), tiny) for v in (wanted, found - wanted))
    return {"same_class": int((found.argmax(axis=1) == wanted.argmax(axis=1)).sum()),
            "snr_db": float(np.clip(10 * (math.log10(signal) - math.log10(noise)), -200, 200))}
