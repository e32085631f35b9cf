"""Equalisation: the same network, with channels of more equal ranges."""

import numpy as np
import pytest
import torch
from torch import nn

from litepress.host.calibrate import calibrate
from litepress.host.equalize import MARGIN, channel_ranges, equalize
from litepress.host.floatrun import run_float
from litepress.host.importer import import_module
from litepress.host.quantize import quantize
from litepress.host.reference import quantize_input, run_reference


class Uneven(nn.Module):
    """An inverted residual block, an addition and a pool; channels of very different ranges."""

    def __init__(self, activation):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.expand = nn.Conv2d(8, 16, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.project = nn.Conv2d(16, 8, 1)
        self.last = nn.Linear(8, 5)
        self.activation = activation
        torch.manual_seed(3)
        with torch.no_grad():
            for conv in (self.first, self.expand, self.depthwise):
                nn.init.normal_(conv.weight, std=0.5)
                spread = torch.logspace(-1.2, 0, len(conv.weight))
                conv.weight *= spread[:, None, None, None]
                conv.bias *= spread

    def forward(self, x):
        x = self.first(x)
        y = self.activation(self.depthwise(self.activation(self.expand(x))))
        x = x + self.project(y)
        return self.last(x.mean((2, 3)))


def made(activation):
    images = np.random.default_rng(5).normal(size=(24, 3, 10, 10)).astype(np.float32)
    graph = import_module(Uneven(activation), images[:1])
    return graph, images


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 2.0)])
def test_the_network_stays_the_same(activation):
    graph, images = made(activation)
    before = [None if layer.weight is None else layer.weight.copy() for layer in graph.layers]
    expected = run_float(graph, images).numpy()
    equal = equalize(graph, images)
    out = run_float(equal, images).numpy()
    assert np.abs(out - expected).max() < 1e-4 * np.abs(expected).max()
    changed = [layer.name for layer, old in zip(equal.layers, graph.layers, strict=True)
               if layer.weight is not None and (layer.weight != old.weight).any()]
    assert {"first", "expand", "depthwise", "project", "last"} <= set(changed)
    for layer, weight in zip(graph.layers, before, strict=True):
        assert weight is None or (layer.weight == weight).all()


def test_ranges_become_more_equal():
    graph, images = made(nn.ReLU())
    after = channel_ranges(equalize(graph, images), images)
    before = channel_ranges(graph, images)

    def unevenness(ranges, name):
        high = np.maximum(ranges[name][1], -ranges[name][0])
        return high.max() / high.min()

    by_name = {layer.name: layer.output for layer in graph.layers}
    # Only the depthwise layer reads it: fully equal.
    assert unevenness(before, by_name["expand"]) > 5
    assert unevenness(after, by_name["expand"]) < 1.001
    # What a convolution reads shares with its columns: the root of the unevenness is left.
    root = unevenness(before, by_name["depthwise"]) ** 0.5
    assert unevenness(after, by_name["depthwise"]) == pytest.approx(root, rel=1e-3)
    # Tensors tied by an addition and a pool share their factors.
    ratios = [(after[name][1] - after[name][0]) / (before[name][1] - before[name][0])
              for name in (by_name["first"], by_name["project"], *(
                  layer.output for layer in graph.layers if layer.op in ("add", "pool")))]
    assert len(ratios) == 4 and ratios[0].max() > 1.2
    for ratio in ratios[1:]:
        np.testing.assert_allclose(ratio, ratios[0], rtol=1e-3)


def test_a_bound_that_is_reached_stays():
    graph, images = made(nn.ReLU6())
    for layer in graph.layers:
        if layer.name == "expand":
            layer.weight, layer.bias = 4 * layer.weight, 4 * layer.bias
            tensor = layer.output
    before, after = (channel_ranges(g, images)[tensor][1]
                     for g in (graph, equalize(graph, images)))
    near = before > 6 / MARGIN
    assert near.any() and not near.all()
    np.testing.assert_allclose(after[near], before[near], rtol=1e-6)
    assert (after <= np.maximum(6 / MARGIN, before) * 1.0001).all()
    assert (after[before < 0.5] > 1.3 * before[before < 0.5]).all()


def test_int8_gains():
    graph, images = made(nn.ReLU())
    expected = run_float(graph, images).numpy()
    errors = []
    for candidate in (graph, equalize(graph, images)):
        network = quantize(candidate, calibrate(candidate, images), "raw8", "raw8", rounding=False)
        out = run_reference(network, quantize_input(network, images))[:, :, 0, 0]
        out = out * network.tensors[network.output].scale
        errors.append(np.square(out - expected).mean())
    assert errors[1] < 0.8 * errors[0]


def test_input_output_and_silent_channels_are_left():
    module = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    with torch.no_grad():
        module[0].weight[1] = 0
        module[0].bias[1] = -1
    images = np.random.default_rng(7).normal(size=(8, 2, 4, 4)).astype(np.float32)
    graph = import_module(module, images[:1])
    equal = equalize(graph, images)
    a, b = channel_ranges(graph, images), channel_ranges(equal, images)
    for name in (graph.input, graph.output):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5)
    assert (equal.layers[0].weight[1] == 0).all() and equal.layers[0].bias[1] == -1
    np.testing.assert_array_equal(equal.layers[1].weight[:, 1], graph.layers[1].weight[:, 1])
