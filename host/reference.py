"""Executes a quantized network layer by layer, without tiles or commands.

The same integers as the golden model by another way: no planner, no program, no image. It is the
second opinion on both, and what quantization measures itself with.
"""

import numpy as np
import torch

from ..spec import isa
from ..spec.formats import LANES
from .codecs.block import roundtrip
from .graph import ADD, CONV, DEPTHWISE

CHUNK = 4   # Images.


def store(q, fmt):
    """What a tensor int16 (N, C, H, W) is after a STORE and a LOAD: rows in blocks of 4 pixels, the
    last pixel repeated."""
    width = q.shape[-1]
    padded = np.pad(q, [(0, 0)] * 3 + [(0, -width % LANES)], mode="edge")
    blocks = roundtrip(padded.reshape(*q.shape[:-1], -1, LANES), fmt)
    return blocks.reshape(padded.shape)[..., :width]


def store_weights(weights, fmt):
    """What weights int16 (cout, ...) are after encoding: blocks of 4 output channels a tap."""
    cout = len(weights)
    flat = weights.reshape(cout, -1).T
    padded = np.pad(flat, [(0, 0), (0, -cout % LANES)])
    out = roundtrip(np.ascontiguousarray(padded).reshape(-1, LANES), fmt.in_run(cout))
    return out.reshape(padded.shape)[:, :cout].T.reshape(weights.shape)


def _shifted(x, layer, kernel):
    """For each tap (ky, kx): the input pixel under it, (N, C, OH, OW)."""
    stride, pad = layer.stride, layer.padding
    padded = torch.nn.functional.pad(x, (pad, pad, pad, pad))
    high, wide = ((padded.shape[d] - kernel) // stride + 1 for d in (2, 3))
    for ky in range(kernel):
        for kx in range(kernel):
            yield ky, kx, padded[:, :, ky:ky + (high - 1) * stride + 1:stride,
                                 kx:kx + (wide - 1) * stride + 1:stride]


def accumulate(layer, inputs, weights):
    """acc of a layer: int64 tensor (N, C, OH, OW). inputs: int16 arrays (N, C, H, W); weights: as
    the hardware sees them. Exact: float64 sums stay below 2^53."""
    x = torch.from_numpy(np.ascontiguousarray(inputs[0])).double()
    w = torch.from_numpy(np.ascontiguousarray(weights)).double()
    if layer.op == ADD:
        acc = x * w[0] + torch.from_numpy(np.ascontiguousarray(inputs[1])).double() * w[1]
    elif layer.op == CONV:
        kernel = weights.shape[-1]
        if kernel == 1 and layer.stride == 1 and layer.padding == 0:
            acc = torch.matmul(w[:, :, 0, 0], x.flatten(2)).reshape(len(x), len(w), *x.shape[2:])
        else:
            columns = torch.stack([t for _, _, t in _shifted(x, layer, kernel)], dim=2)
            n, _, _, high, wide = columns.shape
            acc = torch.matmul(w.flatten(1), columns.reshape(n, w[0].numel(), -1))
            acc = acc.reshape(n, len(w), high, wide)
    elif layer.op == DEPTHWISE:
        acc = None
        for ky, kx, tap in _shifted(x, layer, weights.shape[-1]):
            term = tap * w[:, 0, ky, kx].reshape(1, -1, 1, 1)
            acc = term if acc is None else acc.add_(term)
    else:
        acc = x.sum((2, 3), keepdim=True) * w[0]
    return acc.long()


def mean_accumulator(layer, inputs, weights):
    """Mean of acc over images and pixels: float64 (cout,), of CONV and DEPTHWISE. acc is linear in
    the input, so the mean input under each tap is enough. Shapes as in accumulate."""
    kernel = weights.shape[-1]
    taps = np.zeros((inputs[0].shape[1], kernel, kernel))
    for image in inputs[0]:
        x = torch.from_numpy(np.ascontiguousarray(image[None])).double()
        for ky, kx, tap in _shifted(x, layer, kernel):
            taps[:, ky, kx] += tap.mean((0, 2, 3)).numpy()
    taps /= len(inputs[0])
    if layer.op == DEPTHWISE:
        return (weights[:, 0] * taps).sum((1, 2))
    return weights.reshape(len(weights), -1) @ taps.ravel()


def requantize(acc, requant):
    """acc int64 tensor (N, C, H, W), overwritten -> int16 array."""
    m, s, b = (torch.from_numpy(np.asarray(v, np.int64)).reshape(1, -1, 1, 1)
               for v in (requant.m, requant.s, requant.b))
    out = acc.mul_(m).__irshift__(isa.PARAM_M_BITS).add_(b).__irshift__(s)
    return out.clamp_(requant.lo, requant.hi).short().numpy()


def run_layer(layer, inputs, weights, requant, fmt):
    """The layer's output int16 (N, C, H, W) as it lies in DRAM. A few images at a time: what is
    worked on stays in the cache, and memory does not grow with the batch."""
    return np.concatenate([
        store(requantize(accumulate(layer, [x[i:i + CHUNK] for x in inputs], weights), requant),
              fmt) for i in range(0, len(inputs[0]), CHUNK)])


def run_reference(network, inputs, watch=None):
    """inputs: int16 (N, C, H, W), not yet stored. Returns the output tensor int16 (N, C, H, W) as
    it lies in DRAM. watch(tensor name, int16 array) sees every stored tensor."""
    last = {t: i for i, layer in enumerate(network.layers) for t in layer.inputs}
    live = {network.input: store(inputs, network.tensors[network.input].fmt)}
    if watch:
        watch(network.input, live[network.input])
    for index, layer in enumerate(network.layers):
        weights = layer.weights
        if layer.op in (CONV, DEPTHWISE):
            weights = store_weights(weights, layer.weight_format)
        out = run_layer(layer, [live[t] for t in layer.inputs], weights, layer.requant,
                        network.tensors[layer.output].fmt)
        if watch:
            watch(layer.output, out)
        live[layer.output] = out
        for name in layer.inputs:
            if last[name] == index and name != network.output:
                live.pop(name, None)
    return live[network.output]


def quantize_input(network, x):
    """float (N, C, H, W) -> int16 of the input tensor's scale."""
    tensor = network.tensors[network.input]
    q = np.floor(np.asarray(x, np.float64) / tensor.scale + 0.5)
    return np.clip(q, *tensor.fmt.range).astype(np.int16)
