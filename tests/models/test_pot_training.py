"""Weights of few levels in PyTorch: what is trained is what is deployed, and it trains."""

import copy
import heapq
import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import litepress
from litepress.bench import pot as bench
from litepress.bench import results
from litepress.host.calibrate import calibrate
from litepress.host.codecs.huffman import encode
from litepress.host.graph import CONV
from litepress.host.importer import import_module
from litepress.host.quantize import quantize
from litepress.host.reference import quantize_input, run_reference, store_weights
from litepress.models import checkpoint, pot_train
from litepress.models.pot import (
    CODEBOOKS,
    ActivationClip,
    CodebookWeight,
    LevelWeight,
    UniformWeight,
    apply,
    clip_activations,
    deploy,
    distribution_loss,
    fit_clips,
    levels,
    ramp,
    refit,
)
from litepress.models.resnet import mobilenet_small, resnet20

SMALL = (0, 1, 2, 4)
OWN = (0, 1, 5, 9, 20, 41, 77, 127)
MAKERS = {
    "pot4": CodebookWeight, "pot3": lambda **k: CodebookWeight(3, **k),
    "apot4": lambda **k: CodebookWeight(4, "apot", **k),
    "learned4": lambda **k: CodebookWeight(4, "learned", **k),
    "learned3": lambda **k: CodebookWeight(3, "learned", **k),
    "own": lambda **k: CodebookWeight(4, OWN, **k),
    "uniform4": UniformWeight, "uniform8": lambda **k: UniformWeight(8, **k)}


def network():
    """Convolution, depthwise, Linear, with a channel of zeros."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
                          nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU6(),
                          nn.Flatten(), nn.Linear(8 * 4, 5))
    with torch.no_grad():
        model[3].weight[2] = 0
    return model


# --- weights


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("per", ("channel", "layer"))
@pytest.mark.parametrize("normalize", (False, True))
def test_levels_are_what_forward_uses(name, per, normalize):
    model = apply(network(), lambda: MAKERS[name](per=per, normalize=normalize))
    with torch.no_grad():   # Away from what scales were fitted to.
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    found = levels(model)
    assert list(found) == ["0", "3", "7"]
    twin = deploy(model)
    assert "parametrizations" not in " ".join(twin.state_dict())
    for layer_name, (q, scale) in found.items():
        layer = model.get_submodule(layer_name)
        module = layer.parametrizations.weight[0]
        assert q.dtype == np.int8 and q.shape == (len(layer.weight), layer.weight[0].numel())
        assert scale.dtype == np.float32 and scale.shape == (len(q),) and (scale > 0).all()
        assert per == "channel" or (scale == scale[0]).all()
        if isinstance(module, CodebookWeight):
            allowed = set(module.magnitudes.int().tolist())
            assert set(np.abs(q.astype(int)).ravel()) <= allowed
        else:
            assert np.abs(q.astype(int)).max() <= (1 << module.bits - 1) - 1
        assert len(np.unique(q)) > 5
        w = torch.from_numpy(q * scale[:, None]).reshape(layer.weight.shape)
        assert torch.equal(layer.weight, w)
        assert torch.equal(twin.get_submodule(layer_name).weight, w)
        assert isinstance(twin.get_submodule(layer_name).weight, nn.Parameter)
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(model.eval()(x), twin(x))


@pytest.mark.parametrize(("codebook", "bits"), [*CODEBOOKS, (OWN, 4)])
def test_nearest_level(codebook, bits):
    """By hand, borders, and by trying all levels."""
    module = CodebookWeight(bits, codebook)
    magnitudes = CODEBOOKS.get((codebook, bits), codebook)
    v = torch.cat([torch.linspace(-150, 150, 4001), torch.tensor([0.0, -0.0, 1e-30])])
    every = torch.tensor([*magnitudes, *(-m for m in magnitudes)], dtype=torch.float32)
    gap = (v[:, None] - every).abs().min(1).values
    assert torch.equal((v - module.nearest(v)).abs(), gap)
    assert not torch.signbit(module.nearest(torch.tensor([-0.0, -0.4]))).any()


def test_borders_of_powers_of_two():
    v = torch.tensor([0.49, 0.51, 1.49, 1.51, 2.99, 3.01, 47.9, -48.1, 1000, -1.51])
    assert CodebookWeight()(v[None] * 0).tolist() == [[0] * 10]
    assert CodebookWeight().nearest(v).tolist() == [0, 1, 1, 2, 2, 4, 32, -64, 64, -2]
    assert CodebookWeight(3, SMALL).nearest(v).tolist() == [0, 1, 1, 2, 2, 4, 4, -4, 4, -2]
    assert (CodebookWeight(3).nearest(16 * v) / 16).tolist() == [0, 1, 1, 2, 2, 4, 4, -4, 4, -2]
    assert UniformWeight(4).nearest(v).tolist() == [0, 1, 1, 2, 3, 3, 7, -7, 7, -2]


def test_fitted_scale_is_the_best():
    """No other scale for a row is much better; each channel has its own; zeros take any."""
    torch.manual_seed(3)
    w = torch.randn(4, 4000) * torch.tensor([[1.0], [0.01], [30.0], [0.0]])
    for make, most in ((CodebookWeight, 0.039), (lambda: CodebookWeight(3), 0.049),
                       (lambda: CodebookWeight(4, "apot"), 0.0135), (UniformWeight, 0.0135),
                       (lambda: CodebookWeight(4, "learned"), 0.0135)):
        module = make()
        error = (module(w) - w).square().sum(1) / w.square().sum(1).clamp(min=1e-9)
        assert error.max() < most, type(module)
        assert error[3] == 0 and error[0] > most / 3
        if not getattr(module, "learned", False):
            _, scale = module.integers(w)
            for row in range(3):
                others = [(module.nearest(w[row] / (scale[row] * f)) * scale[row] * f - w[row])
                          .square().sum() for f in np.geomspace(0.6, 1.6, 40).tolist()]
                assert min(others) > 0.9 * error[row] * w[row].square().sum()


def test_normalized_weights():
    """Zero mean, and the scale in deviations: a shift changes nothing, a factor only the scale."""
    torch.manual_seed(2)
    w = torch.randn(6, 40)
    one, two, plain = (CodebookWeight(normalize=n) for n in (True, True, False))
    q, scale = one.integers(w)
    q2, scale2 = two.integers(4 * w + 3)
    assert (q == q2).mean() > 0.99 and np.allclose(4 * scale, scale2, rtol=1e-4)
    assert torch.allclose(one.log_scale, two.log_scale, atol=1e-3)
    assert (plain.integers(w + 3)[0] != q).mean() > 0.5


def test_learned_codebook():
    """Weights at 7 magnitudes are met; a Lloyd step never makes the error larger."""
    torch.manual_seed(4)
    magnitudes = torch.tensor([0, 9, 25, 31, 60, 83, 110, 127.0])
    w = magnitudes[torch.randint(8, (5, 300))] * torch.sign(torch.randn(5, 300)) * 0.01
    w[:, 0] = 1.27
    module = CodebookWeight(4, "learned")
    assert torch.allclose(module(w), w, atol=1e-6)
    assert module.magnitudes.tolist() == magnitudes.tolist()
    layer = apply(nn.Linear(400, 6, bias=False), lambda: CodebookWeight(4, "learned"))
    original = layer.parametrizations.weight.original
    with torch.no_grad():
        original.copy_(torch.randn_like(original) ** 3)
    before = (layer.weight - original).square().sum()
    for _ in range(8):
        refit(layer)
        error = (layer.weight - original).square().sum()
        assert error <= before * 1.001
        before = error
    found = layer.parametrizations.weight[0].magnitudes
    assert found[0] == 0 and (found.diff() >= 0).all() and found[-1] <= 127
    assert torch.equal(found, found.round())


def test_gradients():
    """LSQ's, by hand: v = w / s = 0.4, -2.6, 3.1, 100; levels 0, -2, 4 (of 4 at most), 4."""
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[0.2, -1.3, 1.55, 50.0]])
    apply(layer, lambda: CodebookWeight(3, SMALL))
    module = layer.parametrizations.weight[0]
    module.log_scale.data.fill_(float(np.log(0.5)))
    assert levels(layer)[""][0].tolist() == [[0, -2, 4, 4]]
    g = torch.tensor([[1.0, 10.0, 100.0, 1000.0]])
    (layer.weight * g).sum().backward()
    assert layer.parametrizations.weight.original.grad.tolist() == [[1, 10, 100, 0]]
    to_scale = 1 * (0 - 0.4) + 10 * (-2 + 2.6) + 100 * (4 - 3.1) + 1000 * 4
    # Of the scale's logarithm; divided by the root of highest level and weights a scale.
    assert module.log_scale.grad.item() == pytest.approx(to_scale * 0.5 / (4 * 4) ** 0.5, rel=1e-5)


def test_state_is_kept():
    model = apply(network(), lambda: CodebookWeight(4, "learned"))
    other = apply(network(), lambda: CodebookWeight(4, "learned"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    refit(model)
    x = torch.randn(2, 3, 6, 6)
    assert not torch.equal(other.eval()(x), model.eval()(x))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))


# --- the regulariser


def test_distribution_loss_by_hand():
    """Two layers; steps of 0.5, powers of two to 4."""
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False))
    model[0].weight.data = torch.tensor([[0.6, 0.4, -1.1], [0.55, 2.5, 0.1]])
    model[1].weight.data = torch.tensor([[1.0, -0.5]])
    apply(model, lambda: CodebookWeight(3, SMALL))
    for layer in model:
        layer.parametrizations.weight[0].log_scale.data.fill_(float(np.log(0.5)))
    # v: 1.2, 0.8, -2.2 and 1.1, 5, 0.2; levels 1, 1, -2, 1, 4, 0. The second layer has no error.
    squares = 0.04 + 0.04 + 0.04 + 0.01 + 1 + 0.04
    at_one = np.array([1.2, 0.8, 1.1])
    bins = (at_one.mean() - 1) ** 2 + at_one.var() + 0.2 ** 2 + 1 ** 2 + 0.2 ** 2
    power = (1.2 ** 2 + 0.8 ** 2 + 2.2 ** 2 + 1.1 ** 2 + 25 + 0.04) / 6
    for beta in (0, 0.25):
        plain = squares / 6 + beta * bins
        assert distribution_loss(model, beta, False).item() == pytest.approx(plain, rel=1e-5)
        assert distribution_loss(model, beta).item() == pytest.approx(plain / power, rel=1e-5)
    distribution_loss(model, 0, False).backward()
    original = model[0].parametrizations.weight.original
    # d/dw of (w / s - q)^2 / 6 is (v - q) / (3 s).
    expected = torch.tensor([[0.2, -0.2, -0.2], [0.1, 1, 0.2]]) / 1.5
    assert torch.allclose(original.grad, expected, atol=1e-6)
    assert model[0].parametrizations.weight[0].log_scale.grad is None
    assert distribution_loss(nn.Linear(2, 2), 1).item() == 0


def test_ramp():
    assert [ramp(step, 100, 0.2) for step in (0, 19, 20, 60, 80, 100)] == \
        pytest.approx([0, 0, 0, 0.5, 0.75, 1])
    assert [ramp(step, 10, 0.0) for step in (0, 5, 10)] == [0, 0.5, 1]


# --- activations


@pytest.mark.parametrize(("bits", "steps"), ((8, 255), (4, 15)))
def test_activation_clip(bits, steps):
    module = ActivationClip(bits, 3.0)
    x = torch.tensor([-1.0, 0.0, 0.1, 1.234, 2.999, 3.5, 70.0], requires_grad=True)
    expected = np.rint(np.clip(x.detach().numpy(), 0, 3) * (steps / 3)) * 3 / steps
    y = module(x)
    assert np.allclose(y.detach().numpy(), expected, atol=1e-6)
    g = torch.tensor([1.0, 0, 2, 4, 8, 16, 32])
    (y * g).sum().backward()
    assert x.grad.tolist() == [0, 0, 2, 4, 8, 0, 0]
    assert module.log_clip.grad.item() == pytest.approx(48 * 3, rel=1e-5)   # 48, of the logarithm.


def test_clips_are_fitted():
    """Of 8 bits near the largest value, of 4 bits below it, and none of other inputs is better."""
    torch.manual_seed(5)
    x = torch.randn(30000)
    found = {}
    for bits in (8, 4):
        model = nn.Sequential(nn.Identity(), ActivationClip(bits))
        fit_clips(model.train(), x)
        assert model.training
        found[bits] = model[1].clip

        def error(clip, bits=bits):
            return (ActivationClip(bits, clip)(x) - x.clamp(min=0)).square().sum().item()
        best = min(error(clip) for clip in np.linspace(1, float(x.max()), 60))
        assert error(found[bits]) < 1.1 * best
    assert 2 < found[4] < found[8] - 0.2 and found[8] <= float(x.max()) + 1e-5
    module = ActivationClip(8, 2.5)
    module.fit(-torch.ones(10))
    assert module.clip == pytest.approx(2.5)


@pytest.mark.parametrize(("make", "fmt"), (
    (CodebookWeight, "pot4"), (lambda: CodebookWeight(3), "pot3"),
    (lambda: CodebookWeight(4, "apot"), "apot4"), (lambda: CodebookWeight(4, "learned"), "raw8"),
    (lambda: UniformWeight(8), "raw8")))
def test_deployed_network_is_compressed_to_its_levels(make, fmt):
    """Exactly the trained levels are stored, and clips give the activations' units."""
    torch.manual_seed(6)
    model = resnet20(width=4, stride=2)
    x = torch.rand(16, 1, 12, 12) * 2 - 1
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data[::3] *= -0.7
    model.train()
    for _ in range(3):
        model(x)
    clip_activations(model, lambda: ActivationClip(8))
    apply(model, make)

    def halve(module, inputs):      # So that calibration reaches every clip.
        module.log_clip.data = (inputs[0].max() / 2).log()

    hooks = [m.register_forward_pre_hook(halve) for m in model.modules()
             if isinstance(m, ActivationClip)]
    model.eval()(x)
    for hook in hooks:
        hook.remove()
    found = levels(model)
    steps = {f"{name}.weight": scale for name, (_, scale) in found.items()}
    graph = import_module(deploy(model), x[:1], steps=steps)
    net = quantize(graph, calibrate(graph, x.numpy()), fmt, "raw8")
    weights = {layer.name: store_weights(layer.weights, layer.weight_format)
               for layer in net.layers if layer.op == CONV}
    assert set(weights) == set(found)
    for name, (q, _) in found.items():
        if name != "classifier":
            norm = model.get_submodule(name.removesuffix("0") + "1")
            q = q * np.sign(norm.weight.detach().numpy())[:, None]
        assert np.array_equal(weights[name].reshape(q.shape), q), name
    clips = sorted(m.clip / 255 for m in model.modules() if isinstance(m, ActivationClip))
    units = sorted(t.scale for t in net.tensors.values() if t.fmt.name == "raw8u")
    assert len(clips) == 19 and units == pytest.approx(clips, rel=1e-6)
    found = run_reference(net, quantize_input(net, x.numpy()))
    wanted = model.eval()(x).detach().numpy()
    real = found.reshape(wanted.shape) * net.tensors[net.output].scale
    assert np.square(real - wanted).sum() < 0.01 * np.square(wanted).sum()


def test_wrong_options_are_refused():
    for make, message in (
            (lambda: CodebookWeight(5), r"CodebookWeight bits = 5: allowed are 3, 4"),
            (lambda: CodebookWeight(3, "apot"), r"codebook 'apot' of 3 bits: allowed are learned"),
            (lambda: CodebookWeight(4, (0, 1, 2)), r"codebook \(0, 1, 2\): allowed are 8 rising"),
            (lambda: CodebookWeight(3, (0, 1, 2, 128)), r"the last at most 127"),
            (lambda: CodebookWeight(3, (1, 2, 3, 4)), r"the first 0"),
            (lambda: CodebookWeight(per="row"), r"per 'row': allowed are channel, layer"),
            (lambda: UniformWeight(9), r"UniformWeight bits = 9: allowed are 2 to 8"),
            (lambda: ActivationClip(6), r"ActivationClip bits = 6: allowed are 4, 8"),
            (lambda: ActivationClip(8, 0), r"ActivationClip init = 0: allowed are"),
            (lambda: clip_activations(nn.Linear(1, 1), ActivationClip), r"Linear: no ReLU and no"),
            (lambda: deploy(nn.Sequential(ActivationClip(4))), r"deploy: 0: activations of 4 bits"),
            (lambda: pot_train.network("vgg", 1), r"network 'vgg': allowed are resnet20")):
        with pytest.raises(ValueError, match=message):
            make()


# --- the networks and their training


def test_networks():
    """He et al.'s ResNet-20 has 0.27 million parameters; activations are whoever makes them."""
    made = []

    def act():
        made.append(ActivationClip())
        return made[-1]

    full = resnet20(channels=3, act=act)
    weights = [m.weight for m in full.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    # 19 3x3 convolutions and a Linear, and two shortcuts of 16 x 32 and 32 x 64.
    assert sum(w.numel() for w in weights) == 432 + 6 * 2304 + 4608 + 5 * 9216 + 18432 \
        + 5 * 36864 + 640 + 512 + 2048
    assert len(weights) == 22 and len(made) == 19
    assert full(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert full.blocks(full.stem(torch.randn(1, 3, 32, 32))).shape == (1, 64, 8, 8)
    small = mobilenet_small(classes=7)
    assert small(torch.randn(2, 1, 28, 28)).shape == (2, 7)
    assert len([m for m in small.modules() if isinstance(m, nn.ReLU6)]) == 12
    for block in small.features[2:7]:
        depthwise = block.body[2][0]
        assert depthwise.groups == depthwise.in_channels
    litepress.compress(small, np.zeros((1, 1, 28, 28), np.float32),
                       np.random.default_rng(1).normal(size=(4, 1, 28, 28)).astype(np.float32),
                       weights="raw8", activations="raw8", rounding=False)


def test_moved_images():
    images = torch.arange(2 * 3 * 20).reshape(2, 3, 4, 5).to(torch.uint8)
    moved = pot_train.Moved(images, 1)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    torch.manual_seed(0)
    for chosen in (0, 1):
        got = {moved[torch.tensor([chosen])].numpy().tobytes() for _ in range(400)}
        expected = set()
        for y in range(3):
            for x in range(3):
                window = padded[chosen, :, y:y + 4, x:x + 5]
                expected |= {window.tobytes(), window[..., ::-1].tobytes()}
        assert len(expected) == 18 and got == expected


def toy(count, seed=5):
    """Stripes, how wide and which way tells the label: uint8 (count, 1, 12, 12), int64 (count,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    images = rng.integers(0, 60, (count, 1, 12, 12))
    for image, label in zip(images, labels, strict=True):
        stripes = np.arange(12) % (2 + label // 2) == 0
        image[:] += 150 * (stripes[:, None] if label % 2 else stripes)
    return torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels)


@pytest.fixture
def quick(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(pot_train, "BATCH", 32)
    monkeypatch.setattr(pot_train, "dataset",
                        lambda data, split: toy(384) if split == "train" else toy(100, 6))


def trained_float(seed=1):
    return pot_train.train_float(*toy(768), seed, kind="mobilenet", width=8, epochs=6)


def tuned_from(model, seed=1, **options):
    """With powers of two."""
    return pot_train.tune(model, pot_train.maker("pot", 4), *toy(768), seed, epochs=2, **options)


@pytest.fixture(scope="module")
def pair():
    """A float network of the toy and a quantized one from it."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pot_train, "BATCH", 32)
        model = trained_float()
        return model, tuned_from(model)


def test_float_then_levels_learn_and_repeat(quick, pair):
    """A few steps learn the toy; one seed gives one network; the float network stays as it was."""
    torch.manual_seed(9)
    test = toy(200, 6)
    assert pot_train.accuracy(pot_train.network("mobilenet", 1, 8), *test) < 40
    model, tuned = pair
    before = pot_train.accuracy(model, *test)
    assert before > 80 and pot_train.accuracy(tuned, *test) > before - 5
    assert any(isinstance(m, nn.ReLU6) for m in model.modules()) and not levels(model)
    x = pot_train.normalize(test[0])
    assert torch.equal(trained_float()(x), model(x))
    assert torch.equal(tuned_from(model)(x), tuned(x)) and not tuned.training
    assert not torch.equal(tuned_from(model, 2)(x), tuned(x))


def test_clips_are_fitted_before_training(pair, monkeypatch):
    """With the activations' own bits, to the float network's, on the images as they are."""
    monkeypatch.setattr(pot_train, "train", lambda model, *_, **__: model)
    found, expected = tuned_from(pair[0], activation_bits=4), copy.deepcopy(pair[0])
    clip_activations(expected, lambda: ActivationClip(4))
    fit_clips(expected, pot_train.normalize(toy(768)[0][:pot_train.FIT_IMAGES]))
    clips = [[m.clip for m in model.modules() if isinstance(m, ActivationClip)]
             for model in (found, expected)]
    assert clips[0] == clips[1] and len(set(clips[0])) > 6


def test_the_regularizer_moves_weights_to_their_levels(quick, pair):
    without, strong = (tuned_from(pair[0], regularizer=r) for r in (0.0, 20.0))
    assert distribution_loss(strong, 0) < 0.8 * distribution_loss(without, 0)
    assert all(isinstance(m.parametrizations.weight[0], LevelWeight)
               for m in without.modules() if isinstance(m, nn.Conv2d | nn.Linear))


def test_checkpoint(quick, tmp_path, monkeypatch, capsys):
    """What the command keeps is the deployed network, and answers as it says."""
    monkeypatch.setattr(checkpoint, "CHECKPOINTS", tmp_path)
    pot_train.main("apot", 4, 8, "fashion", "mobilenet", 8, 2, 3, 1, 0.1, 1, "x")
    about = json.loads((tmp_path / "x.json").read_text())
    assert f": {about['accuracy_percent']:.2f} %, float " in capsys.readouterr().out
    assert "--codebook apot --bits 4" in about["command"]
    model, steps = pot_train.load(tmp_path / "x.npz", pot_train.network("mobilenet", 1, 8))
    with np.load(tmp_path / "x.npz") as arrays:
        for name, scale in steps.items():
            q = arrays[name.removesuffix("weight") + "levels"]
            w = model.get_parameter(name).detach()
            assert torch.equal(w, torch.from_numpy(q * scale[:, None]).reshape(w.shape))
            assert set(np.abs(q).ravel()) <= set(CODEBOOKS["apot", 4])
    assert len(steps) == 18 and sum(isinstance(m, nn.Hardtanh) for m in model.modules()) == 12
    # Activations are not rounded here; a few answers may differ.
    assert abs(pot_train.accuracy(model, *toy(100, 6)) - about["accuracy_percent"]) <= 3


def test_a_checkpoint_is_the_deployed_network(pair, tmp_path):
    _, tuned = pair
    with open(tmp_path / "x.npz", "wb") as file:
        np.savez(file, **pot_train.arrays_of(tuned))
    model, _ = pot_train.load(tmp_path / "x.npz", pot_train.network("mobilenet", 1, 8))
    x = pot_train.normalize(toy(50)[0])
    assert torch.allclose(model(x), deploy(tuned)(x), rtol=1e-5, atol=1e-5)


def test_cifar10(tmp_path):
    """Its five batches and the test batch; what is no such file, and what would run something."""
    rng = np.random.default_rng(1)
    wanted = {}
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        data = rng.integers(0, 256, (4, 3072)).astype(np.uint8)
        wanted[name] = data, rng.integers(0, 10, 4).tolist()
        (tmp_path / name).write_bytes(pickle.dumps({b"data": data, b"labels": wanted[name][1]}, 2))
    images, labels = pot_train.dataset(str(tmp_path), "train")
    assert images.shape == (20, 3, 32, 32) and labels.dtype == torch.int64
    for i in range(5):
        data, expected = wanted[f"data_batch_{i + 1}"]
        assert np.array_equal(images[4 * i:4 * i + 4].numpy().reshape(4, -1), data)
        assert labels[4 * i:4 * i + 4].tolist() == expected
    assert np.array_equal(pot_train.dataset(tmp_path, "test")[0].numpy().reshape(4, -1),
                          wanted["test_batch"][0])
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": heapq.heappush}))
    with pytest.raises(ValueError, match=r"test_batch: not a batch .* _heapq\.heappush in it"):
        pot_train.cifar10("test", tmp_path)
    (tmp_path / "test_batch").write_bytes(b"")
    with pytest.raises(ValueError, match="not a batch of CIFAR-10's python version"):
        pot_train.cifar10("test", tmp_path)
    (tmp_path / "data_batch_3").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_3: not found; give the folder"):
        pot_train.cifar10("train", tmp_path)


# --- sizes and the sweep


def test_sizes():
    """16 zeros, 8 ones, 4 twos, 4 minus twos in 2 channels: 1, 2, 3 and 3 bits each."""
    q = np.array([[0] * 16, [16] * 8 + [32] * 4 + [-32] * 4], np.int8)
    found = bench.sizes({"a": (q, np.ones(2, np.float32))}, 3)
    bits = 16 + 8 * 2 + 8 * 3
    # A stream has 2 words ahead, a table of 8 lengths of 4 bits, and 56 bits in whole words.
    assert found == {"bits": 32 * 3 + 64, "entropy_bits": bits + 64,
                     "huffman_bits": (2 + 1 + 2) * 32 + 64}
    rng = np.random.default_rng(3)
    codes = rng.binomial(15, 0.4, 4000).astype(np.int8)   # 4 bits, as the stream takes them.
    packed = (codes[::2] | codes[1::2] << 4).astype(np.uint8).tobytes()
    found = bench.sizes({"a": (codes.reshape(4, 1000), np.ones(4, np.float32))}, 4)
    assert found["huffman_bits"] == 8 * len(encode(packed, 4)) + 4 * 32


def test_bench(quick, tmp_path, monkeypatch):
    """A sweep on toy data, its figures, and that a second run trains nothing."""
    monkeypatch.setattr(bench, "BUILD", tmp_path / "build")
    monkeypatch.setattr(bench, "RECIPE", bench.RECIPE | {"FLOAT_EPOCHS": 1, "TUNE_EPOCHS": 2,
                                                         "REGULARIZER": 50.0, "WIDTH": 4})
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(pot_train, "dataset",
                        lambda data, split: toy(64) if split == "train" else toy(40, 6))
    every = bench.variants()
    assert {v.key for v in every} == {"float"} | {
        f"{name}{plain}{a}" for plain in ("", "_plain") for a in ("", "_a4")
        for name in ("pot4", "pot3", "apot4")} | {"uniform4", "int8"}
    assert all(v.regularized != ("_plain" in v.key) and v.activation_bits == (
        4 if "_a4" in v.key else 8) for v in every[1:])
    names = {"float", "pot3", "pot3_plain", "uniform4", "int8", "pot3_plain_a4"}
    monkeypatch.setattr(bench, "variants", lambda: [v for v in every if v.key in names])
    bench.main(2, "fashion", "mobilenet")
    result = json.loads((tmp_path / "results" / "pot_mobilenet.json").read_text())
    figures = result["figures"]
    suffixes = ("", "_sd", "_bits", "_entropy_bits", "_huffman_bits", "_smaller_than_float",
                "_smaller_than_int8", "_smaller_than_uniform4")
    assert set(figures) == {name + suffix for name in names for suffix in suffixes}
    for name in names:
        runs = [run["accuracy"] for run in result["runs"][name]]
        assert figures[name] == pytest.approx(sum(runs) / 2)
        assert figures[f"{name}_sd"] == pytest.approx(abs(runs[0] - runs[1]) / 2 ** 0.5)
        assert figures[f"{name}_entropy_bits"] <= figures[f"{name}_huffman_bits"] or name == "float"
    model = pot_train.network("mobilenet", 1, 4)
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    count, channels = sum(w.numel() for w in weights), sum(len(w) for w in weights)
    assert figures["float_bits"] == 32 * count
    assert figures["pot3_bits"] == 3 * count + 32 * channels
    assert figures["int8_bits"] == 8 * count + 32 * channels
    assert (tmp_path / "results" / "pot_mobilenet.svg").read_text().startswith("<?xml")
    [path], [plain] = ((tmp_path / "build").glob(f"pot3{k}_1_*.npz") for k in ("", "_plain"))
    with np.load(path) as arrays, np.load(plain) as others:
        assert not np.array_equal(arrays["classifier.scale"], others["classifier.scale"])
        assert set(np.unique(arrays["classifier.levels"])) <= {-64, -32, -16, 0, 16, 32, 64}

    def forbidden(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(pot_train, "train", forbidden)
    bench.main(2, "fashion", "mobilenet")
    assert json.loads((tmp_path / "results" / "pot_mobilenet.json").read_text()) == result
    with pytest.raises(AssertionError, match="trained again"):
        bench.main(3, "fashion", "mobilenet")
    # A whole seed is taken from the results, too; not where told so.
    monkeypatch.setattr(bench, "BUILD", tmp_path / "nowhere")
    for seeds in (2, 1):    # Fewer lose none that is there.
        bench.main(seeds, "fashion", "mobilenet")
        assert json.loads((tmp_path / "results" / "pot_mobilenet.json").read_text()) == result
    with pytest.raises(AssertionError, match="trained again"):
        bench.main(2, "fashion", "mobilenet", fresh=True)
