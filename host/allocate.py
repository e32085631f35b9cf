"""Bits a value for every tensor and layer, so that their average is what the user asked for.

The noise that a tensor's storage adds to the network's answers is measured, not modelled: one
tensor at a time goes through its codec at the average bits, the rest of the float network runs
on (with every later layer's channel means corrected, as bias correction will do), and the mean
squared change of the outputs is its *sensitivity*. At other rates the noise follows the codec's own
squared error on that tensor. Noises of different tensors add up, so the best allocation spends each
bit where it removes most noise for the DRAM it takes (greedy, optimal while noise falls convexly).
The variants of a format (exponent bits of zfpi) are measured each, and at every rate the one with
less noise is taken.

Where few bits leave little of a tensor, as in classic ZFPe, noises no longer add up. So there the
whole network is run with the bits that were allocated and with the same bits everywhere (row
padding then comes on top), for weights and activations each, and what is better is taken.
"""

import heapq
import math
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from ..spec.formats import LANES, RATES, WORD_BITS, ZFPE, ZFPI, ZFPI_KINDS, ZFPIN, Format
from .codecs.block import roundtrip
from .floatrun import run_float_layer
from .graph import CONV, DEPTHWISE
from .quantize import activation_scale, weight_scale

IMAGES = 32               # Of the calibration, for sensitivities.
SAMPLE = 1 << 16          # Blocks of a tensor on which its codec's error is measured.
BELOW = 2                 # Bits that a tensor may have less than the average.
ALLOCATED = (ZFPE, *ZFPI_KINDS)
VARIANTS = {ZFPI: (ZFPI, ZFPIN)}
PACKED = 0.999            # Of the weights' bits: runs of weight blocks end with part of a word.
FLOOR = 1e-9              # Sensitivity of what changes nothing that was seen.


class _Float:
    """The float network on a few images, with every tensor kept."""

    def __init__(self, graph, images):
        self.graph = graph
        self.tensors = {graph.input: torch.from_numpy(images)}
        self.means = {}
        with torch.no_grad():
            for layer in graph.layers:
                y = run_float_layer(layer, [self.tensors[t] for t in layer.inputs])
                self.means[layer.name] = y.mean((0, 2, 3), keepdim=True)
                self.tensors[layer.output] = y.clamp_(layer.lo, layer.hi)

    def joint(self, weights, stored):
        """Mean squared change of the outputs with everything stored: weights(layer) -> the layer as
        stored, stored(name, tensor) -> the tensor as stored."""
        live = {self.graph.input: stored(self.graph.input, self.tensors[self.graph.input])}
        with torch.no_grad():
            for layer in self.graph.layers:
                y = run_float_layer(weights(layer), [live[t] for t in layer.inputs])
                y += self.means[layer.name] - y.mean((0, 2, 3), keepdim=True)
                live[layer.output] = stored(layer.output, y.clamp_(layer.lo, layer.hi))
        return self._change(live)

    def noise(self, first, changed):
        """Mean squared change of the outputs, with tensors ``changed`` (name -> tensor) and layers
        from index ``first`` run again where an input of theirs has changed."""
        live = dict(changed)
        with torch.no_grad():
            for layer in self.graph.layers[first:]:
                if layer.output in live or not any(t in live for t in layer.inputs):
                    continue
                y = run_float_layer(layer, [live.get(t, self.tensors[t]) for t in layer.inputs])
                y += self.means[layer.name] - y.mean((0, 2, 3), keepdim=True)
                live[layer.output] = y.clamp_(layer.lo, layer.hi)
        return self._change(live)

    def _change(self, live):
        out = self.graph.output
        # What shifts every output alike changes no answer.
        d = (live.get(out, self.tensors[out]) - self.tensors[out]).flatten(1)
        return float((d - d.mean(1, keepdim=True)).square().mean())


def _activation_blocks(x, scale):
    """float (N, C, H, W) -> int16 (n, 4), rows in blocks as they are stored."""
    x = torch.nn.functional.pad(x, (0, -x.shape[-1] % LANES, 0, 0), mode="replicate")
    q = torch.floor(x / scale + 0.5).clamp_(-32768, 32767)
    return q.reshape(-1, LANES).numpy().astype(np.int16)


def _weight_blocks(weight, scale):
    """float (cout, ...) -> int16 (n, 4): blocks of 4 output channels a tap."""
    q = np.floor(weight.reshape(len(weight), -1) / scale[:, None] + 0.5).clip(-32767, 32767)
    q = np.pad(q.astype(np.int16).T, ((0, 0), (0, -len(weight) % LANES)))
    return np.ascontiguousarray(q).reshape(-1, LANES)


def _variants(fmt):
    """The variants of a format, each a list of formats, one a rate."""
    low, high = RATES[fmt.kind]
    return [[Format(kind, bits) for bits in range(max(low, fmt.bits - BELOW), high + 1)]
            for kind in VARIANTS.get(fmt.kind, (fmt.kind,))]


def _curve(blocks, formats, bits, noise_of):
    """[(format, noise)] of one variant; noise_of(blocks as stored) -> noise, called at ``bits``."""
    sample = blocks[::max(1, len(blocks) // SAMPLE)]
    errors = [np.square(roundtrip(sample, f).astype(np.float64) - sample).sum() for f in formats]
    reference = next(i for i, f in enumerate(formats) if f.bits == bits)
    if not errors[reference]:
        return [(f, 0.0) for f in formats]
    noise = max(noise_of(roundtrip(blocks, formats[reference])), FLOOR)
    return [(f, noise * e / errors[reference]) for f, e in zip(formats, errors, strict=True)]


class _Item:
    """A tensor or a layer's weights: at every rate (format, noise, DRAM bits)."""

    def __init__(self, name, curves, size):
        self.name = name
        best = [min(rate, key=lambda step: step[1]) for rate in zip(*curves, strict=True)]
        self.steps = [(fmt, noise, size(fmt)) for fmt, noise in best]
        self.at = 0

    def flat(self, bits):
        """The best format at one rate."""
        return next(fmt for fmt, _, _ in self.steps if fmt.bits == bits)

    def gain(self):
        """Noise removed by the next step per bit of DRAM."""
        if self.at + 1 == len(self.steps):
            return 0
        (_, n0, b0), (_, n1, b1) = self.steps[self.at:self.at + 2]
        return (n0 - n1) / max(b1 - b0, 1)


def _spend(items, budget):
    """Move items up while the DRAM bits fit the budget; name -> Format."""
    total = sum(item.steps[0][2] for item in items)
    heap = [(-item.gain(), i) for i, item in enumerate(items)]
    heapq.heapify(heap)
    while heap:
        gain, i = heapq.heappop(heap)
        item = items[i]
        if not gain:
            continue
        more = item.steps[item.at + 1][2] - item.steps[item.at][2]
        if total + more > budget:
            continue
        total += more
        item.at += 1
        heapq.heappush(heap, (-item.gain(), i))
    return {item.name: item.steps[item.at][0] for item in items}


class _Stored:
    """Tensors and weights of a network as formats store them."""

    def __init__(self, graph, calibration, activations):
        self.bounds = {l.output: (l.lo, l.hi) for l in graph.layers}
        self.scales = {name: activation_scale(calibration.low[name], calibration.high[name],
                                              activations, *self.bound(name))
                       for name in graph.shapes}

    def bound(self, name):
        """(lo, hi) of a tensor's activation."""
        return self.bounds.get(name, (-math.inf, math.inf))

    def blocks(self, name, x):
        return _activation_blocks(x, self.scales[name])

    def tensor(self, name, x, blocks):
        """float (N, C, H, W) from its blocks as stored."""
        wide = torch.from_numpy(blocks.astype(np.float32)).reshape(*x.shape[:3], -1)
        return wide[..., :x.shape[-1]] * self.scales[name]

    @staticmethod
    def layer(layer, blocks):
        """The layer with weights from their blocks as stored."""
        w = blocks.reshape(layer.weight[0].size, -1)[:, :len(layer.weight)].T
        w = w * weight_scale(layer.weight)[:, None]
        return replace(layer, weight=w.reshape(layer.weight.shape))


def allocate(graph, calibration, weights, activations, fixed=(), images=IMAGES, progress=None):
    """Formats for layers (their weights) and tensors: name -> Format.

    graph: importer.FloatGraph; calibration: calibrate.Calibration; weights, activations: Format;
    what has no choice of rate (raw, ebpc, delta) is left out, and so are the names in ``fixed`` and
    the network's output. ``bits`` of a format are the average over all values of those it is for,
    the padding of rows and channels included. progress("allocate", done, total).
    """
    layers = [l for l in graph.layers if l.op in (CONV, DEPTHWISE) and l.name not in fixed]
    tensors = [t for t in graph.shapes if t != graph.output and t not in fixed]
    layers = layers if weights.kind in ALLOCATED else []
    tensors = tensors if activations.kind in ALLOCATED else []
    total = len(layers) + len(tensors)
    if not total:
        return {}
    net = _Float(graph, calibration.images[:images])
    stored = _Stored(graph, calibration, activations)
    makers = {l.output: i for i, l in enumerate(graph.layers)}

    def step(done):
        if progress:
            progress("allocate", done, total)

    tensor_items = []
    for name in tensors:
        x = net.tensors[name]
        variants = _variants(activations)
        if stored.bound(name)[0] >= 0:
            variants = [[f.unsigned for f in formats] for formats in variants]

        def noise_of(blocks, name=name, x=x):
            return net.noise(makers.get(name, -1) + 1, {name: stored.tensor(name, x, blocks)})

        blocks = stored.blocks(name, x)
        curves = [_curve(blocks, formats, activations.bits, noise_of) for formats in variants]
        channels, rows, width = graph.shapes[name]
        row = channels * -(-width // LANES)
        tensor_items.append(_Item(name, curves, lambda fmt, row=row, rows=rows:
                                  rows * fmt.run_words(row) * WORD_BITS))
        step(len(tensor_items))

    layer_items = []
    for layer in layers:
        def noise_of(blocks, layer=layer):
            with torch.no_grad():
                y = run_float_layer(stored.layer(layer, blocks), [net.tensors[layer.inputs[0]]])
                y += net.means[layer.name] - y.mean((0, 2, 3), keepdim=True)
            return net.noise(makers[layer.output] + 1,
                             {layer.output: y.clamp_(layer.lo, layer.hi)})

        blocks = _weight_blocks(layer.weight, weight_scale(layer.weight))
        curves = [_curve(blocks, formats, weights.bits, noise_of)
                  for formats in _variants(weights)]
        n = len(blocks)
        layer_items.append(_Item(layer.name, curves, lambda fmt, n=n: fmt.run_words(n) * WORD_BITS))
        step(len(tensors) + len(layer_items))

    values = sum(math.prod(graph.shapes[t]) for t in tensors)
    sums = sum(l.weight.size for l in layers)
    choices = [{}]
    for items, fmt, budget in ((tensor_items, activations, activations.bits * values),
                               (layer_items, weights, PACKED * weights.bits * sums)):
        options = [_spend(items, budget)]
        if items and fmt.kind == ZFPE:
            options.append({item.name: item.flat(fmt.bits) for item in items})
        choices = [a | b for a in choices for b in options]
    return choices[0] if len(choices) == 1 else min(choices, key=partial(_joint, net, stored))


def _joint(net, stored, formats):
    """Noise of the whole network with these formats."""
    def weights(layer):
        if layer.weight is None or layer.name not in formats:
            return layer
        blocks = _weight_blocks(layer.weight, weight_scale(layer.weight))
        return stored.layer(layer, roundtrip(blocks, formats[layer.name]))

    def tensor(name, x):
        if name not in formats:
            return x
        return stored.tensor(name, x, roundtrip(stored.blocks(name, x), formats[name]))
    return net.joint(weights, tensor)
