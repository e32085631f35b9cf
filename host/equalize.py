"""Cross-layer equalisation: the channels of a tensor get more equal ranges.

An activation tensor has one scale, so a channel that stays small wastes the bits above it. Weights
have one scale an output channel: a layer's rows can be multiplied by anything at no cost, and with
the next layer's columns divided by it the network is the same (Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1). Ranges are
measured here, on calibration inputs. With r a channel's range over its tensor's largest, its factor
is 1 / r where only depthwise layers read it, whose columns are rows, so that nothing is lost; else
its root, which shares the inequality between the tensor and the columns.

Tensors that an addition or a pool connects share their factors.

A bounded activation, ReLU6, has one bound for the whole tensor. So a channel that comes near it
stays as it is, and others grow until MARGIN times their range would reach it: on inputs like those
seen, the bound does what it did.

It helps formats with one step for a whole tensor, raw8. Block floats adapt to every block anyway
(docs/quantization.md).
"""

from dataclasses import replace

import numpy as np

from .calibrate import BATCH
from .floatrun import run_float
from .graph import ADD, CONV, DEPTHWISE, POOL

MARGIN = 2.0
LARGEST = 64.0     # Channels that were hardly ever there are not blown up beyond this.


def channel_ranges(graph, images, progress=None):
    """Tensor name -> (low, high), float64 (C,) each: extremes on float32 images (N, C, H, W)."""
    ranges = {}

    def watch(layer, before, after):
        name = graph.input if layer is None else layer.output
        low, high = (f((0, 2, 3)).double().numpy() for f in (after.amin, after.amax))
        if name in ranges:
            low, high = np.minimum(low, ranges[name][0]), np.maximum(high, ranges[name][1])
        ranges[name] = low, high

    for start in range(0, len(images), BATCH):
        run_float(graph, images[start:start + BATCH], watch)
        if progress:
            progress("equalize", min(start + BATCH, len(images)), len(images))
    return ranges


def equalize(graph, images, progress=None):
    """graph: importer.FloatGraph, which stays as it is; images: float32 (N, C, H, W), real inputs
    (those for calibrate). progress("equalize", done, total).

    Returns a FloatGraph with the same outputs, up to rounding, on all inputs that keep every
    channel below MARGIN times the range seen. Its tensors need a calibration of their own.
    """
    ranges = channel_ranges(graph, images, progress)
    layers = [replace(layer) for layer in graph.layers]
    for group in _groups(graph):
        makers = [layer for layer in layers if layer.output in group]
        readers = [layer for layer in layers if any(t in group for t in layer.inputs)]
        factor = _factors(makers, readers, ranges)
        for layer in makers:
            if layer.op in (CONV, DEPTHWISE):
                layer.weight = layer.weight * factor[:, None, None, None]
                layer.bias = layer.bias * factor
        for layer in readers:
            if layer.op == DEPTHWISE:
                layer.weight = layer.weight / factor[:, None, None, None]
            elif layer.op == CONV:
                layer.weight = layer.weight / factor[None, :, None, None]
    return replace(graph, layers=layers)


def _groups(graph):
    """Lists of tensors that share their factors; without those tied to the network's input or
    output, whose values others give or take."""
    group = {name: [name] for name in graph.shapes}
    for layer in graph.layers:
        if layer.op in (ADD, POOL):
            for name in layer.inputs:
                if group[name] is not group[layer.output]:
                    group[name].extend(group[layer.output])
                    for other in group[layer.output]:
                        group[other] = group[name]
    fixed = group[graph.input], group[graph.output]
    unique = {id(names): names for names in group.values()}
    return [names for names in unique.values() if not any(names is f for f in fixed)]


def _factors(makers, readers, ranges):
    """Factor of each channel of a group: float64 (C,), at least 1."""
    share, limit = 0, np.inf
    for layer in makers:
        low, high = ranges[layer.output]
        reach = np.maximum(high, -low)
        share = np.maximum(share, reach / max(reach.max(), 1e-30))
        for bound, end in ((layer.hi, high), (-layer.lo, -low)):
            if 0 < bound < np.inf:
                limit = np.minimum(limit, bound / (MARGIN * np.maximum(end, 1e-30)))
            elif bound < 0:
                limit = 1.0     # A bound on the other side of 0: no factor keeps what it does.
    if not any(layer.op == CONV for layer in readers):
        share = np.square(share)
    factor = np.minimum(1 / np.sqrt(np.maximum(share, 1e-30)), LARGEST)
    # Channels that never were there keep their factor: nothing is known of them.
    return np.maximum(np.minimum(np.where(share > 0, factor, 1.0), limit), 1.0)
