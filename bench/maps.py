"""Feature maps of a network: recorded, turned into words, put in order.

A *map* is one tensor between layers for one photo, (C, H, W). Four ways to make words of it, all
with one scale a tensor, from its peak, the largest absolute value over all photos:

========  ==========================================================================================
fixed     ``fixed8`` and ``fixed16`` of the EBPC paper's open evaluation: the peak becomes 0.75 *
          (2^(m-1) - 1), fractions are cut off. Signed words; 8-bit maps after a ReLU are 0 .. 95.
range     As fixed, but after a ReLU6 the peak is taken to be 6, whatever the photos reach.
signed    The peak becomes 2^(m-1) - 1, rounded to nearest, ties to even. Signed words: 0 .. 127.
unsigned  After a ReLU, where nothing is negative: the peak becomes 2^m - 1, rounded. Unsigned
          words: 0 .. 255. Others as signed. What LitePress stores (formats ebpc8u and ebpc8).
========  ==========================================================================================

and two orders: *channels*, the paper's, each channel's plane in raster order, one stream a map; and
*rows*, that of LitePress's DRAM: the rows of the map one after another, in each the channels, in
each the pixels, padded to vectors of four by repeating the last one, cut into segments.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..spec.formats import EBPC8, LANES, Format

RELU, LINEAR, SUM, INPUT = "relu", "linear", "sum", "input"
FIXED, RANGE, SIGNED, UNSIGNED = "fixed", "range", "signed", "unsigned"
FIXED_SAFETY = 0.75
RELU_RANGE = 6.0


@dataclass(frozen=True)
class Map:
    """``kind``: RELU, LINEAR (a bottleneck's last convolution), SUM (with the shortcut), INPUT.
    ``values``: float32 (C, H, W)."""

    name: str
    kind: str
    values: np.ndarray


def points(network):
    """Where the maps are: a list of (module, kind, name), of MobileNetV2 (torchvision's) and of
    EfficientNet-Lite (efficientnet_lite_pytorch's). ValueError on another network."""
    found = []
    for name, module in network.named_modules():
        # By name: neither package need be there for the other's network.
        kind = type(module).__name__
        if isinstance(module, nn.ReLU6):
            found.append((module, RELU, name))
        elif kind == "InvertedResidual":
            found.append((module.conv[-1], LINEAR, f"{name}.project"))
            if module.use_res_connect:
                found.append((module, SUM, f"{name}.sum"))
        elif kind == "MBConvBlock":
            found.append((module._bn2, LINEAR, f"{name}.project"))
            args = module._block_args
            if module.id_skip and args.stride == 1 and args.input_filters == args.output_filters:
                found.append((module, SUM, f"{name}.sum"))
    if LINEAR not in {kind for _, kind, _ in found}:
        raise ValueError(f"{type(network).__name__}: no inverted residuals found in it: allowed "
                         f"are MobileNetV2 and EfficientNet-Lite")
    return found


def record(network, x):
    """x: float32 (3, H, W), preprocessed -> a list of Map in the order of execution, the input
    first; the same names and shapes for every x of a shape."""
    maps = [Map("input", INPUT, x)]
    handles = []

    def hook_of(kind, name):
        def hook(module, inputs, output):
            # One ReLU6 may serve several layers.
            uses = sum(m.name.split("#")[0] == name for m in maps)
            maps.append(Map(f"{name}#{uses}" if uses else name, kind, output[0].numpy().copy()))
        return hook

    try:
        for module, kind, name in points(network):
            handles.append(module.register_forward_hook(hook_of(kind, name)))
        with torch.no_grad():
            network(torch.from_numpy(x)[None])
    finally:
        for handle in handles:
            handle.remove()
    return maps


def peak(values):
    """The largest absolute value, a float; 0 of a map of zeros."""
    return float(np.abs(values).max())


def to_words(values, kind, peak, bits, method):
    """values: float32 of any shape; kind: of the Map; peak: of the tensor over all photos ->
    (words, signed): int16 or int32 and whether they are signed words. A tensor that is always 0,
    peak 0, becomes zeros."""
    signed = kind != RELU or method != UNSIGNED
    top = float((1 << bits - signed) - 1)
    cut = method in (FIXED, RANGE)
    if cut:
        top *= FIXED_SAFETY
    if method == RANGE and kind == RELU:
        peak = RELU_RANGE
    scaled = np.asarray(values, np.float64) * (top / peak if peak else 0.0)
    words = np.trunc(scaled) if cut else np.rint(scaled)
    return words.astype(np.int16 if bits == 8 else np.int32), signed


def in_channels(words):
    """(C, H, W) -> (1, C * H * W): the paper's order, one stream."""
    return words.reshape(1, -1)


def in_rows(words):
    """(C, H, W) -> DRAM's order: a list of arrays (segments, n), the full segments of every row and
    what is left of every row. A segment is as long as spec/formats.py says for ebpc8."""
    _, height, width = words.shape
    n = Format(EBPC8, 8).in_tensor(words.shape).segment * LANES
    wide = np.pad(words, ((0, 0), (0, 0), (0, -width % LANES)), mode="edge")
    rows = wide.transpose(1, 0, 2).reshape(height, -1)
    full = rows.shape[1] // n * n
    parts = [rows[:, :full].reshape(-1, n), rows[:, full:]]
    return [part for part in parts if part.size]
