"""Import: equal to PyTorch, refuses what it cannot do, all at once."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import litepress
from litepress.host.calibrate import calibrate
from litepress.host.floatrun import run_float
from litepress.host.graph import ADD, CONV, DEPTHWISE, POOL
from litepress.host.importer import UnsupportedError, import_module
from litepress.host.pack import stored_weights
from litepress.host.quantize import quantize
from litepress.models.mobilenet import mobilenet_v2
from litepress.models.tiny import TinyNet


def randomize(module, seed):
    """Batch statistics that make folding visible."""
    generator = torch.Generator().manual_seed(seed)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.copy_(torch.randn(m.num_features, generator=generator) * 0.1)
            m.running_var.copy_(torch.rand(m.num_features, generator=generator) + 0.5)
    return module.eval()


@pytest.mark.parametrize("width, resolution", [(1.0, 96), (0.35, 64)])
def test_mobilenet_v2_equals_torch(width, resolution):
    module = randomize(mobilenet_v2(width=width), 1)
    x = torch.rand(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(2))
    graph = import_module(module, x[:1])
    ops = [layer.op for layer in graph.layers]
    assert (ops.count(CONV), ops.count(DEPTHWISE), ops.count(ADD), ops.count(POOL)) == (36, 17, 10,
                                                                                       1)
    with torch.no_grad():
        expected = module(x)
    error = (run_float(graph, x) - expected).abs().max() / expected.abs().max()
    assert error < 1e-4


def test_module_is_left_alone():
    module = TinyNet().train()
    before = copy.deepcopy(module.state_dict())
    import_module(module, torch.zeros(1, 1, 28, 28))
    assert module.training
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def test_activations_and_bounds():
    module = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Hardtanh(-0.5, 0.25),
                           nn.Conv2d(3, 4, 5, 2, 2), nn.ReLU(), nn.Conv2d(4, 4, 1))
    x = torch.randn(3, 2, 9, 11, generator=torch.Generator().manual_seed(3))
    graph = import_module(module, x[:1])
    assert [(layer.lo, layer.hi) for layer in graph.layers] == [
        (-0.5, 0.25), (0.0, np.inf), (-np.inf, np.inf)]
    with torch.no_grad():
        torch.testing.assert_close(run_float(graph, x), module(x).flatten(1), rtol=1e-4, atol=1e-5)


MLP = nn.Sequential(nn.Flatten(), nn.Linear(96, 20, bias=False), nn.BatchNorm1d(20), nn.Hardtanh(),
                    nn.Linear(20, 5))
LENET = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Dropout(),
                      nn.Linear(8 * 2 * 2, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 5))


@pytest.mark.parametrize("module, shape", [(MLP, (6, 4, 4)), (MLP[1:], (96,)), (LENET, (6, 4, 4))])
def test_flattened_planes(module, shape):
    """Fully connected layers on the pixels: imported, compressed, run."""
    generator = torch.Generator().manual_seed(4)
    module = copy.deepcopy(module)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.running_mean.copy_(torch.randn(m.num_features, generator=generator) * 0.1)
            m.running_var.copy_(torch.rand(m.num_features, generator=generator) + 0.5)
    x = torch.randn(16, *shape, generator=generator)
    graph = import_module(module, x[:1])
    assert graph.input_shape == shape
    with torch.no_grad():
        expected = module.eval()(x)
    torch.testing.assert_close(run_float(graph, graph.flattened(x)), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"shape \(16, 3\): expected \(N, "):
        graph.flattened(x.flatten(1)[:, :3])
    image = litepress.compress(module, x[:1], x, "raw16", "raw16", arch="tiny")
    with litepress.connect("golden") as device:
        device.load(image)
        found = np.stack([device.run(one) for one in x.numpy()])
        with pytest.raises(ValueError, match="allowed is floating point"):
            device.run(x.numpy()[0].reshape(-1, 1))
    assert np.abs(found - expected.numpy()).max() < 0.01 * expected.abs().max()


def trained(seed, cout, cin):
    """Weights of a delta grid: (float32 (cout, cin), steps (cout,), the integers)."""
    rng = np.random.default_rng(seed)
    q = rng.integers(-60, 60, (cout, 1)) + 16 * rng.integers(-8, 8, (cout, cin))
    steps = rng.uniform(0.5, 2, cout).astype(np.float32) / 256
    return torch.from_numpy((q * steps[:, None]).astype(np.float32)), steps, q


def test_weights_trained_as_integers_stay():
    """Through BatchNorm with factors of either sign, to the stored deltas."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(32, 12, bias=False), nn.BatchNorm1d(12),
                           nn.Hardtanh(), nn.Linear(12, 5, bias=False)).eval()
    integers, steps = {}, {}
    for index, (cout, cin) in ((1, (12, 32)), (4, (5, 12))):
        weight, steps[f"{index}.weight"], integers[index] = trained(index, cout, cin)
        module[index].weight.data = weight
    module[2].weight.data = torch.linspace(-1.1, 1.3, 12)
    x = torch.randn(40, 2, 4, 4, generator=torch.Generator().manual_seed(5)).numpy()
    image = litepress.compress(module, x[:1], x, "delta4", "raw16", arch="tiny", steps=steps)
    graph = import_module(module, x[:1], steps=steps)
    sign = np.where(module[2].weight.detach().numpy() < 0, -1, 1)[:, None]
    found = [np.rint(layer.weight[:, :, 0, 0] / layer.step[:, None]) for layer in graph.layers]
    assert np.array_equal(found[0], sign * integers[1]) and np.array_equal(found[1], integers[4])
    net = quantize(graph, calibrate(graph, graph.flattened(x)), "delta4", "raw16")
    for layer, wanted in zip(net.layers, found, strict=True):
        assert np.array_equal(layer.weights[:, :, 0, 0], wanted)
        assert np.array_equal(stored_weights(layer), wanted.T)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    with litepress.connect("golden") as device:
        device.load(image)
        assert np.abs(device.run_batch(x) - expected).max() < 0.002 * np.abs(expected).max()
    with pytest.raises(ValueError, match="equalization: moves weights off their steps"):
        litepress.compress(module, x[:1], x, equalization=True, steps=steps)
    with pytest.raises(ValueError, match=r"steps: 7\.weight: no such weights"):
        import_module(module, x[:1], steps={"7.weight": 1.0})
    with pytest.raises(ValueError, match=r"steps: 4\.weight: .* allowed are 5 positive numbers"):
        import_module(module, x[:1], steps={"4.weight": [1.0, 2.0]})


def test_everything_unsupported_is_listed():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, stride=3)
            self.pooling = nn.MaxPool2d(2)
            self.grouped = nn.Conv2d(8, 8, 3, groups=2, dilation=2)
            self.squash = nn.Sigmoid()

        def forward(self, x):
            return self.squash(self.grouped(self.pooling(self.first(x))))

    with pytest.raises(UnsupportedError) as raised:
        import_module(Net(), torch.zeros(1, 3, 64, 64))
    text = str(raised.value)
    assert "\n" not in text
    for part in ("first (conv2d): stride [3, 3]: allowed are 1 and 2", "pooling (max_pool2d)",
                 "grouped (conv2d): dilation [2, 2]", "grouped (conv2d): groups = 2",
                 "squash (sigmoid): not supported", "Net: 5 unsupported"):
        assert part in text


@pytest.mark.parametrize("module, part", [
    (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), "pad"),
    (nn.Conv2d(3, 4, (1, 3)), "kernel 1x3"),
    (nn.Conv2d(3, 4, 9, padding=4), "kernel 9x9"),
    (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
     "running statistics"),
    (nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 1)), "directly follow"),
    (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 64, 2)),
     "flattened 4x8x8 tensor: allowed are square planes up to 7x7"),
    (nn.Sequential(nn.Conv2d(3, 4, 1, 2), nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 2)),
     "of 64 features behind 4 channels"),
    (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(2)), "to a tensor of shape"),
])
def test_misreadable_options_are_refused(module, part):
    with pytest.raises(UnsupportedError, match=part):
        import_module(module, torch.zeros(1, 3, 8, 8))


class Shared(nn.Module):
    """One convolution; ``how`` says what forward does with it."""

    def __init__(self, how):
        super().__init__()
        self.conv, self.drop, self.how = nn.Conv2d(2, 2, 3, padding=1), nn.Dropout(), how

    def forward(self, x):
        return self.how(self, x)


def behind_dropout(net, x):
    y = net.conv(x)
    return torch.relu(net.drop(y)) + y


def in_place(net, x):
    y = net.conv(x)
    return y.add_(net.conv(x)) + net.conv(y)


@pytest.mark.parametrize("how, part", [
    (behind_dropout, "whose output only it reads"),
    (lambda net, x: nn.functional.dropout(net.conv(x), 0.5, True), "in training mode"),
    (lambda net, x: net.conv(x).mean((1, 2)), "over dimensions"),
    (lambda net, x: nn.functional.linear(net.conv(x), torch.ones(3, 8)), "computed weights"),
])
def test_values_that_others_read_are_not_misread(how, part):
    with pytest.raises(UnsupportedError, match=part):
        import_module(Shared(how), torch.zeros(1, 2, 8, 8))


@pytest.mark.parametrize("how, names", [
    (lambda net, x: net.conv(torch.relu(net.conv(x))), ["conv", "conv#2"]),
    (in_place, ["conv", "conv#2", None, "conv#3", None]),
])
def test_a_module_called_again_makes_another_layer(how, names):
    module = Shared(how).eval()
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(4))
    graph = import_module(module, x)
    assert [layer.name if layer.op == CONV else None for layer in graph.layers] == names
    with torch.no_grad():
        torch.testing.assert_close(run_float(graph, x), module(x).flatten(1), rtol=1e-4, atol=1e-5)


def test_wrong_example_is_one_line():
    with pytest.raises(ValueError, match=r"expected \(1, C, H, W\)"):
        import_module(TinyNet(), torch.zeros(2, 1, 28, 28))
    with pytest.raises(ValueError, match=r"torch\.export fails") as raised:
        import_module(TinyNet(), torch.zeros(1, 5, 28, 28))
    assert "\n" not in str(raised.value)
