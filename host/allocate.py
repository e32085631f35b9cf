"""Bits a value for every tensor and layer, so that their average is what the user asked for.

The noise that a tensor's storage adds to the network's answers is measured, not modelled: one
tensor at a time goes through its codec at ``REFERENCE`` bits, the rest of the float network runs
on (with every later layer's channel means corrected, as bias correction will do), and the mean
squared change of the outputs is its *sensitivity*. At other rates the noise follows the codec's own
squared error on that tensor. Noises of different tensors add up, so the best allocation spends each
bit where it removes most noise for the DRAM it takes (greedy, optimal while noise falls convexly).
The variants of a format (exponent bits of zfpi) are measured each, and at every rate the one with
less noise is taken.
"""

import heapq
import math
from dataclasses import replace

import numpy as np
import torch

from ..spec.formats import LANES, RATES, WORD_BITS, ZFPI, ZFPIN, Format
from .codecs.block import roundtrip
from .graph import ADD, CONV, DEPTHWISE
from .quantize import activation_scale, weight_scale

IMAGES = 32               # Of the calibration, for sensitivities.
SAMPLE = 1 << 16          # Blocks of a tensor on which its codec's error is measured.
REFERENCE = 6
VARIANTS = {ZFPI: (ZFPI, ZFPIN)}
PACKED = 0.999            # Of the weights' bits: runs of weight blocks end with part of a word.
FLOOR = 1e-9              # Sensitivity of what changes nothing that was seen.


def _run(layer, inputs):
    if layer.op in (CONV, DEPTHWISE):
        return torch.nn.functional.conv2d(
            inputs[0], torch.from_numpy(layer.weight).float(), torch.from_numpy(layer.bias).float(),
            layer.stride, layer.padding,
            groups=len(layer.weight) if layer.op == DEPTHWISE else 1)
    if layer.op == ADD:
        return inputs[0] + inputs[1]
    return inputs[0].mean((2, 3), keepdim=True)


class _Float:
    """The float network on a few images, with every tensor kept."""

    def __init__(self, graph, images):
        self.graph = graph
        self.tensors = {graph.input: torch.from_numpy(images)}
        self.means = {}
        with torch.no_grad():
            for layer in graph.layers:
                y = _run(layer, [self.tensors[t] for t in layer.inputs])
                self.means[layer.name] = y.mean((0, 2, 3), keepdim=True)
                self.tensors[layer.output] = y.clamp_(layer.lo, layer.hi)

    def noise(self, first, changed):
        """Mean squared change of the outputs, with tensors ``changed`` (name -> tensor) and layers
        from index ``first`` run again where an input of theirs has changed."""
        live = dict(changed)
        with torch.no_grad():
            for layer in self.graph.layers[first:]:
                if layer.output in live or not any(t in live for t in layer.inputs):
                    continue
                y = _run(layer, [live.get(t, self.tensors[t]) for t in layer.inputs])
                y += self.means[layer.name] - y.mean((0, 2, 3), keepdim=True)
                live[layer.output] = y.clamp_(layer.lo, layer.hi)
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
    return [[Format(kind, bits) for bits in range(low, high + 1)]
            for kind in VARIANTS.get(fmt.kind, (fmt.kind,))]


def _curve(blocks, formats, noise_of):
    """[(format, noise)] of one variant; noise_of(blocks as stored) -> noise at REFERENCE bits."""
    sample = blocks[::max(1, len(blocks) // SAMPLE)]
    errors = [np.square(roundtrip(sample, f).astype(np.float64) - sample).sum() for f in formats]
    reference = next(i for i, f in enumerate(formats) if f.bits == REFERENCE)
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


def allocate(graph, calibration, weights, activations, fixed=(), images=IMAGES, progress=None):
    """Formats for layers (their weights) and tensors: name -> Format.

    graph: importer.FloatGraph; calibration: calibrate.Calibration; weights, activations: Format;
    what has no choice of rate (raw, ebpc) is left out, and so are the names in ``fixed`` and the
    network's output. ``bits`` of a format are the average over all values of those it is for, the
    padding of rows and channels included. progress("allocate", done, total).
    """
    chosen = {}
    net = _Float(graph, calibration.images[:images])
    layers = [l for l in graph.layers if l.op in (CONV, DEPTHWISE) and l.name not in fixed]
    tensors = [t for t in graph.shapes if t != graph.output and t not in fixed]
    layers = layers if weights.kind in RATES else []
    tensors = tensors if activations.kind in RATES else []
    total = len(layers) + len(tensors)
    makers = {l.output: i for i, l in enumerate(graph.layers)}

    items = []
    for done, name in enumerate(tensors):
        index = makers.get(name, -1)
        lo = graph.layers[index].lo if index >= 0 else -math.inf
        variants = _variants(activations)
        if lo >= 0:
            variants = [[f.unsigned for f in formats] for formats in variants]
        hi = graph.layers[index].hi if index >= 0 else math.inf
        scale = activation_scale(calibration.low[name], calibration.high[name], activations, lo, hi)
        x = net.tensors[name]
        blocks = _activation_blocks(x, scale)

        def noise_of(stored, x=x, scale=scale, name=name, index=index):
            wide = torch.from_numpy(stored.astype(np.float32)).reshape(*x.shape[:3], -1) * scale
            return net.noise(index + 1, {name: wide[..., :x.shape[-1]]})

        curves = [_curve(blocks, formats, noise_of) for formats in variants]
        channels, rows, width = graph.shapes[name]
        blocks_a_row = channels * -(-width // LANES)
        items.append(_Item(name, curves, lambda fmt, n=blocks_a_row, rows=rows:
                           rows * fmt.run_words(n) * WORD_BITS))
        if progress:
            progress("allocate", done + 1, total)
    values = sum(math.prod(graph.shapes[t]) for t in tensors)
    chosen |= _spend(items, activations.bits * values)

    items = []
    for done, layer in enumerate(layers):
        scale = weight_scale(layer.weight)
        blocks = _weight_blocks(layer.weight, scale)

        def noise_of(stored, layer=layer, scale=scale):
            w = stored.reshape(layer.weight[0].size, -1)[:, :len(layer.weight)].T * scale[:, None]
            with torch.no_grad():
                y = _run(replace(layer, weight=w.reshape(layer.weight.shape)),
                         [net.tensors[layer.inputs[0]]])
                y += net.means[layer.name] - y.mean((0, 2, 3), keepdim=True)
                y.clamp_(layer.lo, layer.hi)
            return net.noise(makers[layer.output] + 1, {layer.output: y})

        curves = [_curve(blocks, formats, noise_of) for formats in _variants(weights)]
        n = len(blocks)
        items.append(_Item(layer.name, curves, lambda fmt, n=n: fmt.run_words(n) * WORD_BITS))
        if progress:
            progress("allocate", len(tensors) + done + 1, total)
    values = sum(l.weight.size for l in layers)
    return chosen | _spend(items, PACKED * weights.bits * values)
