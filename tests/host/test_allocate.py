"""Bits per tensor: within the budget, and better than the same bits everywhere."""

import numpy as np
import pytest

from litepress.host.allocate import allocate
from litepress.host.calibrate import calibrate
from litepress.host.evaluate import accuracy
from litepress.host.graph import CONV, DEPTHWISE
from litepress.host.importer import import_module
from litepress.host.quantize import quantize, quantize_input
from litepress.host.reference import run_reference
from litepress.models.data import fashion_mnist
from litepress.models.tiny import calibration_images, preprocess_tiny, tiny
from litepress.spec.formats import LANES, Format


@pytest.fixture(scope="module")
def calibrated():
    images = calibration_images(64)
    graph = import_module(tiny(), images[:1])
    return graph, calibrate(graph, images)


def answers(network, graph, x):
    out = run_reference(network, quantize_input(network, x))
    return out.reshape(len(x), -1) * network.tensors[graph.output].scale


@pytest.mark.parametrize("fmt", ["zfpi6", "zfpi8"])
def test_budget(calibrated, fmt):
    graph, calibration = calibrated
    parsed = Format.parse(fmt)
    seen = []
    chosen = allocate(graph, calibration, parsed, parsed, images=16,
                      progress=lambda *step: seen.append(step))
    layers = [l for l in graph.layers if l.op in (CONV, DEPTHWISE)]
    tensors = [t for t in graph.shapes if t != graph.output]
    assert set(chosen) == {*(l.name for l in layers), *tensors}
    assert seen[-1] == ("allocate", len(chosen), len(chosen))
    spent = sum(h * 32 * chosen[t].run_words(c * -(-w // LANES))
                for t, (c, h, w) in ((t, graph.shapes[t]) for t in tensors))
    values = sum(np.prod(graph.shapes[t]) for t in tensors)
    assert 0.9 * parsed.bits * values < spent <= parsed.bits * values
    spent = sum(-(-len(l.weight) // LANES) * l.weight[0].size * chosen[l.name].block_bits
                for l in layers)
    assert 0.9 * parsed.bits < spent / sum(l.weight.size for l in layers) <= parsed.bits
    for layer in graph.layers:
        if fmt.startswith("zfpi") and layer.lo >= 0:
            assert chosen[layer.output].range[0] == 0
    for name in (l.name for l in layers):
        assert chosen[name].range[0] < 0


def test_better_than_the_same_bits_everywhere(calibrated):
    graph, calibration = calibrated
    images, labels = fashion_mnist("test")
    x, labels = preprocess_tiny(images[:400]), labels[:400]
    flat = Format.parse("zfpi5")
    errors, right = [], []
    exact = answers(quantize(graph, calibration, "raw16", "raw16"), graph, x)
    for overrides in ({}, allocate(graph, calibration, flat, flat, images=32)):
        out = answers(quantize(graph, calibration, flat, flat, overrides), graph, x)
        errors.append(np.square(out - exact).mean())
        right.append(accuracy(out, labels))
    assert errors[1] < errors[0], (errors, right)
    assert right[1] > 80, right


def test_what_has_no_rate_or_is_fixed_is_left_out(calibrated):
    graph, calibration = calibrated
    raw, zfpi = Format.parse("raw8"), Format.parse("zfpi8")
    assert allocate(graph, calibration, raw, Format.parse("ebpc8"), images=4) == {}
    chosen = allocate(graph, calibration, zfpi, raw, fixed=[graph.layers[0].name], images=4)
    assert graph.layers[0].name not in chosen and not set(chosen) & set(graph.shapes)
