"""Quantization: close to float where bits allow, corner cases, clear refusals."""

import numpy as np
import pytest
import torch
from torch import nn

from litepress.host.calibrate import calibrate
from litepress.host.floatrun import run_float
from litepress.host.importer import import_module
from litepress.host.nearest import rounded
from litepress.host.quantize import cost, quantize, searched_scale
from litepress.host.reference import (
    accumulate,
    mean_accumulator,
    quantize_input,
    run_reference,
    store_weights,
)
from litepress.models.tiny import calibration_images, tiny
from litepress.spec import isa
from litepress.spec.formats import Format


@pytest.fixture(scope="module")
def calibrated():
    images = calibration_images(64)
    graph = import_module(tiny(), images[:1])
    return graph, calibrate(graph, images), images


def answers(network, images):
    out = run_reference(network, quantize_input(network, images))
    return out[:, :, 0, 0] * network.tensors[network.output].scale


def test_raw16_is_nearly_float(calibrated):
    graph, calibration, images = calibrated
    expected = run_float(graph, images).numpy()
    error = np.abs(answers(quantize(graph, calibration, "raw16", "raw16"), images) - expected)
    assert error.max() < 0.01 * np.abs(expected).max()


def test_bias_correction_helps_where_bits_are_few(calibrated):
    graph, calibration, images = calibrated
    expected = run_float(graph, images).numpy()
    errors = []
    for corrected in (True, False):
        network = quantize(graph, calibration, "zfpe8", "zfpe8", bias_correction=corrected,
                           rounding=False)
        errors.append(np.square(answers(network, images) - expected).mean())
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.parametrize("fmt", ["raw8", "raw16", "zfpe6", "zfpe12"])
def test_parameters_are_in_range(calibrated, fmt):
    graph, calibration, _ = calibrated
    network = quantize(graph, calibration, fmt, fmt, bias_correction=False)
    for layer in network.layers:
        r = layer.requant
        assert r.m.min() >= 32768 and r.m.max() <= 65535
        assert r.s.min() >= 0 and r.s.max() <= 63
        assert np.abs(r.b).max() < 1 << isa.PARAM_B_BITS - 1
        low, high = network.tensors[layer.output].fmt.range
        assert low <= r.lo <= r.hi <= high
        if layer.op in ("conv", "depthwise"):
            stored = store_weights(layer.weights, layer.weight_format).astype(np.int64)
            bound = max(abs(v) for v in network.tensors[layer.inputs[0]].fmt.range)
            assert np.abs(stored).reshape(len(stored), -1).sum(1).max() * bound < 2 ** 39


def test_raw8_is_unsigned_after_relu_only(calibrated):
    graph, calibration, _ = calibrated
    network = quantize(graph, calibration, "raw8", "raw8", bias_correction=False)
    names = {layer.output: str(network.tensors[layer.output].fmt) for layer in network.layers}
    assert names[network.output] == "raw16"
    signed = {layer.output for layer in graph.layers if layer.lo != 0} - {network.output}
    assert {n for n, f in names.items() if f == "raw8"} <= signed
    assert all(names[layer.output] == "raw8u" for layer in graph.layers if layer.lo == 0)


def test_zero_channels_and_constant_outputs():
    module = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, groups=1), nn.ReLU(),
                           nn.Conv2d(4, 4, 3, padding=1, groups=4))
    with torch.no_grad():
        module[0].weight[1] = 0
        module[0].bias[1] = 0.75
        module[2].weight[2] = 0
        module[2].bias[2] = 0
    images = np.random.default_rng(1).normal(size=(8, 2, 6, 6)).astype(np.float32)
    graph = import_module(module, images[:1])
    network = quantize(graph, calibrate(graph, images), "raw16", "raw16")
    out = run_reference(network, quantize_input(network, images))
    real = out * network.tensors[network.output].scale
    expected = run_float(graph, images).numpy().reshape(real.shape)
    assert np.abs(real - expected).max() < 1e-3 * np.abs(expected).max() + 1e-3
    assert not out[:, 2].any()


def test_accumulate_is_an_integer_convolution(calibrated):
    graph, calibration, images = calibrated
    network = quantize(graph, calibration, "raw16", "raw16", bias_correction=False)
    layer = network.layers[0]
    x = quantize_input(network, images[:2])
    acc = accumulate(layer, [x], layer.weights)
    padded = np.pad(x.astype(object), [(0, 0), (0, 0), (1, 1), (1, 1)])
    window = padded[1, :, 2 * 5:2 * 5 + 3, 2 * 7:2 * 7 + 3]
    assert int(acc[1, 3, 5, 7]) == (window * layer.weights[3].astype(object)).sum()


def test_mean_accumulator_is_the_mean(calibrated):
    graph, calibration, images = calibrated
    network = quantize(graph, calibration, "raw16", "raw16", bias_correction=False)
    tensors = {}
    run_reference(network, quantize_input(network, images[:5]), tensors.__setitem__)
    for layer in network.layers:
        if layer.op in ("conv", "depthwise"):
            inputs = [tensors[t] for t in layer.inputs]
            acc = accumulate(layer, inputs, layer.weights).double().mean((0, 2, 3)).numpy()
            mean = mean_accumulator(layer, inputs, layer.weights)
            np.testing.assert_allclose(mean, acc, rtol=1e-9, atol=1e-6 * np.abs(acc).max())


def test_refusals(calibrated):
    graph, calibration, images = calibrated
    with pytest.raises(ValueError, match="zfpe4 to zfpe16"):
        quantize(graph, calibration, "zfpe3", "raw8")
    with pytest.raises(ValueError, match="no layer or tensor 'nothing'"):
        quantize(graph, calibration, overrides={"nothing": "raw8"})
    with pytest.raises(ValueError, match=r"expected \(N, 1, 28, 28\)"):
        calibrate(graph, images[:, :, :20])
    with pytest.raises(ValueError, match="NaN"):
        calibrate(graph, np.full((1, 1, 28, 28), np.nan))


@pytest.mark.parametrize("fmt", ["pot3", "pot4", "apot4", "delta3"])
def test_the_scale_of_few_levels(fmt):
    """No other scale of those between has less error by much, whatever the channel's spread."""
    rng, fmt = np.random.default_rng(1), Format.parse(fmt)
    weight = rng.normal(size=(6, 5, 3, 3)) * np.exp(rng.normal(size=(6, 1, 1, 1)))
    weight[5] = 0

    def error(scale):
        q = rounded(weight / scale[:, None, None, None], fmt, -32767, 32767)
        stored = store_weights(q, fmt) * scale[:, None, None, None]
        return np.square(stored - weight).sum(axis=(1, 2, 3))

    chosen = searched_scale(weight, fmt)
    found = error(chosen)
    for factor in np.geomspace(0.4, 2.5, 60):
        assert (found <= 1.2 * error(chosen * factor)).all()
    norm = np.square(weight).sum(axis=(1, 2, 3))
    assert (found[:5] < {"apot4": 0.02}.get(str(fmt), 0.06) * norm[:5]).all()
    assert chosen[5] > 0 and found[5] == 0
    one = searched_scale(weight, fmt, one_scale=True)
    assert len(set(one)) == 1 and error(one).sum() >= found.sum()


def test_cost_on_the_calibration_images():
    """Of fewer bits it is more; with and without corrections it is the network's own output."""
    images = calibration_images(24)
    graph = import_module(tiny(), images[:1])
    calibration = calibrate(graph, images)
    for corrected in (True, False):
        nets = [quantize(graph, calibration, weights, "raw16", bias_correction=corrected,
                         rounding=corrected) for weights in ("raw16", "delta4", "delta2")]
        costs = [net.meta["calibration"] for net in nets]
        assert costs[0]["snr_db"] > costs[1]["snr_db"] + 10 > costs[2]["snr_db"] + 15
        for net, found in zip(nets, costs, strict=True):
            output = run_reference(net, quantize_input(net, images))
            wanted = run_float(graph, images).numpy()
            same = (output[:, :, 0, 0].argmax(axis=1) == wanted.argmax(axis=1)).sum()
            assert found["same_class"] == same and found["images"] == 24
    assert cost(np.ones((2, 3)), np.ones((2, 3))) == {"same_class": 2, "snr_db": 200.0}
    assert cost(np.ones((2, 3)), np.zeros((2, 3)))["snr_db"] == -200.0
    assert cost(np.zeros((2, 3)), np.zeros((2, 3)))["snr_db"] == 0
    assert cost(np.array([[1.1, 0]]), np.array([[1.0, 0]]))["snr_db"] == pytest.approx(20)
