"""Delta-compressed weights in PyTorch: what is trained is what is deployed, and it trains."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from litepress.bench import delta as bench
from litepress.bench import results
from litepress.host.codecs import Delta
from litepress.host.codecs.block import decode_blocks, encode_blocks
from litepress.host.codecs.delta import paper_compress, paper_inflate
from litepress.models import checkpoint, delta_mlp
from litepress.models.delta import DeltaWeight, FixedWeight, apply, deltas, refit
from litepress.spec.formats import Format

MAKERS = [
    (bits, reference, offset, per)
    for bits, reference in ((2, "fixed"), (4, "fixed"), (4, "consecutive"), (6, "consecutive"))
    for offset in (None, 0, 4) for per in ("row", "layer")]


def weights_of(found, mode, reference, shape):
    """The deployed weights from their integers alone."""
    r, o, d, scale = found
    if mode == "paper":
        w = paper_inflate(np.concatenate([r, d.ravel()[1:]]), reference)[None]
    else:
        w = d.astype(np.int64) * (1 << o.astype(np.int64))[:, None]
        w = (w.cumsum(axis=1) if reference == "consecutive" else w) + r[:, None]
    return torch.from_numpy((w * scale[:, None]).astype(np.float32)).reshape(shape)


def network():
    """A convolution, a depthwise one and a Linear."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(),
                         nn.Linear(8 * 4, 5))


@pytest.mark.parametrize(("bits", "reference", "offset", "per"), MAKERS)
def test_deltas_are_what_forward_uses(bits, reference, offset, per):
    model = apply(network(), lambda: DeltaWeight(bits, reference, offset=offset, per=per))
    with torch.no_grad():   # Away from what references and scales were chosen for.
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    found = deltas(model)
    assert list(found) == ["0", "1", "3"]
    twin = network()
    for name, (r, o, d, scale) in found.items():
        layer = model.get_submodule(name)
        shape = layer.weight.shape
        rows = shape[0] if per == "row" else 1
        taps = layer.weight.numel() // rows
        half = 1 << bits - 1
        assert d.shape == (rows, taps) and d.min() >= -half and d.max() < half
        assert r.shape == o.shape == scale.shape == (rows,)
        assert r.min() >= -128 and r.max() <= 127 and scale.min() > 0
        assert (o <= 7).all() if offset is None else (o == offset).all()
        w = weights_of(found[name], "improved", reference, shape)
        assert torch.equal(layer.weight, w)
        codec = Delta(bits, reference, offset=offset)
        integers = codec.values(r, o, d)
        if codec.range[0] <= integers.min() and integers.max() <= codec.range[1]:
            assert np.array_equal(codec.decode(codec.encode(integers), rows, taps), integers)
        twin.get_submodule(name).weight.data = w
        twin.get_submodule(name).bias.data = layer.bias.data
    x = torch.randn(2, 3, 6, 8)[..., :6]
    assert torch.equal(model(x), twin(x))


@pytest.mark.parametrize("bits", range(2, 7))
def test_the_accelerators_format_holds_what_is_deployed(bits):
    """With an offset of 8 - bits the integers are values of spec/formats.py's deltaN."""
    layer = apply(nn.Linear(37, 12, bias=False), lambda: DeltaWeight(bits, offset=8 - bits))
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(1.3).add_(0.02)
    r, o, d, _ = deltas(layer)[""]
    w = Delta(bits, offset=8 - bits).values(r, o, d)
    blocks = np.ascontiguousarray(w.reshape(3, 4, 37).transpose(2, 0, 1)).reshape(1, -1, 4)
    fmt = Format.parse(f"delta{bits}.3")
    assert np.array_equal(decode_blocks(encode_blocks(blocks, fmt), fmt, 3 * 37), blocks)


@pytest.mark.parametrize("reference", ("fixed", "consecutive"))
@pytest.mark.parametrize("offset", (None, 4))
def test_refit_takes_the_codecs_choice(reference, offset):
    """References and offsets are those of the NumPy codec for the scaled weights, and no other of
    the scales tried is better."""
    layer = apply(nn.Linear(50, 7, bias=False), lambda: DeltaWeight(4, reference, offset=offset))
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_(0.02, 0.1)
    refit(layer)
    w = layer.parametrizations.weight.original.detach().numpy()
    r, o, d, scale = deltas(layer)[""]
    codec = Delta(4, reference, offset=offset)

    def fitted(scale):
        q = np.clip(np.rint(w / scale[:, None]), *codec.range).astype(np.int32)
        return codec.fit(q)

    for ours, theirs in zip((r, o, d), fitted(scale), strict=True):
        assert np.array_equal(ours, theirs)
    error = np.square(codec.values(r, o, d) * scale[:, None] - w).sum(axis=1)
    assert (error < 0.06 * np.square(w).sum(axis=1)).all()
    for factor in (0.75, 1.5):
        other = (scale * factor).astype(np.float32)
        worse = np.square(codec.values(*fitted(other)) * other[:, None] - w).sum()
        assert error.sum() < worse


@pytest.mark.parametrize("reference", ("fixed", "consecutive"))
@pytest.mark.parametrize("clamp", (True, False))
def test_paper_mode_is_the_papers(reference, clamp):
    layer = nn.Linear(9, 6, bias=False)
    with torch.no_grad():
        layer.weight.normal_(0, 8)
    q = np.trunc(np.clip(layer.weight.detach().numpy() * 16, -128, 127)).astype(int)
    assert q.min() == -128 or q.max() == 127   # Some are out of range.
    apply(layer, lambda: DeltaWeight(4, reference, "paper", 1, fraction=4, clamp=clamp))
    d = paper_compress(q, 4, 1, reference, clamp)
    expected = torch.from_numpy(paper_inflate(d, reference).reshape(6, 9) / np.float32(16))
    assert torch.equal(layer.weight, expected)
    found = deltas(layer)[""]
    assert found.r.tolist() == [q[0, 0]] and found.d[0, 1:].tolist() == d[1:].tolist()
    assert torch.equal(weights_of(found, "paper", reference, (6, 9)), expected)


def test_fixed_point():
    """Improved: rounded, the widest weight of each row is +-127; paper: towards zero."""
    w = torch.tensor([[-2.0, 0.51, 0.012], [0.0, 0.0, 0.0]])
    q, scale = FixedWeight(8).integers(w)
    assert q.tolist() == [[-127, 32, 1], [0, 0, 0]] and scale[0] == np.float32(2 / 127)
    assert torch.equal(FixedWeight(8)(w), torch.from_numpy(q * scale[:, None]))
    paper = FixedWeight(8, "paper", 4)(torch.tensor([[-9.0, 9.0, 0.99, -0.99, 0.06, -0.06]]))
    assert (paper * 16).tolist() == [[-128, 127, 15, -15, 0, 0]]


@pytest.mark.parametrize("make", (
    lambda: DeltaWeight(2), lambda: DeltaWeight(4, "consecutive", "paper"),
    lambda: FixedWeight(8), lambda: FixedWeight(8, "paper")))
def test_gradients_go_straight_through(make):
    plain = nn.Linear(4, 3, bias=False)
    layer = apply(nn.Linear(4, 3, bias=False), make)
    x = torch.randn(5, 4)
    factor = torch.randn(5, 3)
    for one in (plain, layer):
        (one(x) * factor).sum().backward()
    assert torch.allclose(layer.parametrizations.weight.original.grad, plain.weight.grad)


def test_state_is_kept():
    """References and scales travel with the state; they are not chosen anew on the way."""
    model = apply(network(), lambda: DeltaWeight(4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.5
    other = apply(network(), lambda: DeltaWeight(4))
    other.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(other(x), model(x))
    refit(other)
    assert not torch.equal(other(x), model(x))


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="bits = 7"):
        DeltaWeight(7)
    with pytest.raises(ValueError, match="per 'tensor': allowed are row, layer"):
        DeltaWeight(per="tensor")
    with pytest.raises(ValueError, match="mode 'new': allowed are improved, paper"):
        FixedWeight(mode="new")
    with pytest.raises(ValueError, match="FixedWeight bits = 1"):
        FixedWeight(1)
    with pytest.raises(ValueError, match="ReLU: no Linear and no Conv2d in it"):
        apply(nn.ReLU(), FixedWeight)


# --- the network and its training


def toy(count, seed=5):
    """Images of a bright square, its place tells the label: uint8 (count, 784), int64 (count,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    images = rng.integers(0, 60, (count, 28, 28))
    for image, label in zip(images, labels, strict=True):
        image[2 + 5 * (label // 2):][:5, 6 * (label % 2) + 5:][:, :5] += 150
        image[:] = np.maximum(image, image[:, ::-1])   # The same when mirrored.
    return torch.from_numpy(images.astype(np.uint8).reshape(count, -1)), torch.from_numpy(labels)


def test_the_network_is_the_papers():
    model = delta_mlp.mlp()
    linears = [m for m in model if isinstance(m, nn.Linear)]
    assert [tuple(m.weight.shape) for m in linears] == list(delta_mlp.LAYERS)
    assert sum(m.weight.numel() for m in linears) == 185_320 and linears[0].bias is None
    assert [type(m).__name__ for m in model[-4:]] == ["BatchNorm1d", "Hardtanh", "Linear",
                                                      "BatchNorm1d"]


def test_moved_images():
    pixels = torch.arange(784).reshape(1, 784).to(torch.uint8)
    moved = delta_mlp.Shifted(pixels, 1)
    assert len(moved.sources) == 18
    padded = np.pad(pixels.reshape(28, 28).numpy(), 1)
    torch.manual_seed(0)
    got = {moved[torch.tensor([0])].numpy().tobytes() for _ in range(400)}
    expected = set()
    for y in range(3):
        for x in range(3):
            window = padded[y:y + 28, x:x + 28]
            expected |= {window.tobytes(), window[:, ::-1].tobytes()}
    assert got == expected


def small_network(monkeypatch):
    """Trains in a moment; storage stays that of the whole network."""
    monkeypatch.setattr(delta_mlp, "mlp", lambda mlp=delta_mlp.mlp: mlp((784, 24, 16, 10)))


def test_float_then_deltas_learn_and_repeat(monkeypatch):
    """A few steps learn the toy; one seed gives one network; deltas stay near float."""
    torch.set_num_threads(1)
    small_network(monkeypatch)
    data, test = toy(1280), toy(400, 6)
    model = delta_mlp.train_float(*data, 1, epochs=15)
    before = delta_mlp.accuracy(model, *test)
    assert delta_mlp.accuracy(delta_mlp.mlp(), *test) < 40 and before > 60

    def make():
        return DeltaWeight(4, "fixed", offset=4)

    state = {k: v.clone() for k, v in model.state_dict().items()}
    tuned = delta_mlp.tune(model, make, *data, 1, epochs=2)
    assert not tuned.training
    assert delta_mlp.accuracy(tuned, *test) > before - 5
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    again = delta_mlp.tune(model, make, *data, 1, epochs=2)
    x = delta_mlp.normalize(test[0])
    assert torch.equal(again(x), tuned(x))
    assert not torch.equal(delta_mlp.tune(model, make, *data, 2, epochs=2)(x), tuned(x))


def test_checkpoint(tmp_path, monkeypatch, capsys):
    """The command's network, from packed streams, answers as the command says it does."""
    monkeypatch.setattr(checkpoint, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(delta_mlp, "CHECKPOINT", tmp_path / "delta_mlp.npz")
    monkeypatch.setattr(delta_mlp, "dataset", lambda split: toy(512 if split == "train" else 100))
    with pytest.raises(FileNotFoundError, match=r"train it with `python -m litepress\.models\."):
        delta_mlp.delta_mlp()
    delta_mlp.main(1, float_epochs=4, epochs=2)
    model, layers = delta_mlp.delta_mlp()
    percent = delta_mlp.accuracy(model, *toy(100))
    assert f": {percent:.2f} %, float " in capsys.readouterr().out
    about = json.loads((tmp_path / "delta_mlp.json").read_text())
    assert about["accuracy_percent"] == percent
    assert [w.shape for w, _ in layers.values()] == list(delta_mlp.LAYERS)
    with np.load(delta_mlp.CHECKPOINT) as arrays:
        streams = [arrays[f"{name}.delta"].nbytes for name in layers]
    assert streams == [-(-(rows * 8 + rows * taps * 4) // 8) for rows, taps in delta_mlp.LAYERS]


def test_a_checkpoint_is_the_network(monkeypatch, tmp_path):
    """Every answer of the trained network and of what is loaded is the same."""
    model = apply(delta_mlp.mlp(), lambda: DeltaWeight(4, "fixed", offset=4))
    delta_mlp.settle(model, toy(200)[0], 200, batch=100)
    monkeypatch.setattr(delta_mlp, "CHECKPOINT", tmp_path / "delta_mlp.npz")
    np.savez(delta_mlp.CHECKPOINT, **delta_mlp.arrays_of(model))
    x = delta_mlp.normalize(toy(50)[0])
    assert torch.equal(delta_mlp.delta_mlp()[0](x), model.eval()(x))


def test_bench(tmp_path, monkeypatch):
    """The whole sweep on toy data, its figures, and that a second run trains nothing."""
    monkeypatch.setattr(bench, "BUILD", tmp_path / "build")
    monkeypatch.setattr(bench, "RECIPE", bench.RECIPE | {"FLOAT_EPOCHS": 1, "TUNE_EPOCHS": 1,
                                                         "PAPER_STEPS": 2})
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(delta_mlp, "dataset", lambda split: toy(512 if split == "train" else 100))
    small_network(monkeypatch)
    bench.main(2)
    result = json.loads((tmp_path / "results" / "delta.json").read_text())
    figures = result["figures"]
    names = {"float", "fixed8", "paper_fixed8"} | {
        f"{paper}{name}_{bits}" for paper in ("", "paper_") for bits in range(2, 7)
        for name in ("fixed_reference", "consecutive")}
    suffixes = ("", "_sd", "_storage_bits", "_storage_percent")
    assert set(figures) == {name + suffix for name in names for suffix in suffixes}
    for name in names:
        runs = result["runs"][name]["accuracy"]
        assert figures[name] == pytest.approx(sum(runs) / 2)
        assert figures[f"{name}_sd"] == pytest.approx(abs(runs[0] - runs[1]) / 2 ** 0.5)
    assert figures["fixed8_storage_bits"] == 1_482_560 and figures["fixed8_storage_percent"] == 100
    assert figures["fixed_reference_4_storage_bits"] == 747_520 + 6 * 3
    assert figures["fixed_reference_4_storage_percent"] < 50.5
    assert figures["paper_consecutive_4_storage_bits"] == 741_304
    assert (tmp_path / "results" / "delta.svg").read_text().startswith("<?xml")

    def forbidden(*_, **__):
        raise AssertionError("trained again")

    for name in ("train", "train_paper"):
        monkeypatch.setattr(delta_mlp, name, forbidden)
    bench.main(2)
    assert json.loads((tmp_path / "results" / "delta.json").read_text()) == result
    with pytest.raises(AssertionError, match="trained again"):
        bench.main(3)
    # A whole seed is taken from the results, too; not of another recipe, and not where told so.
    monkeypatch.setattr(bench, "BUILD", tmp_path / "nowhere")
    bench.main(2)
    assert json.loads((tmp_path / "results" / "delta.json").read_text()) == result
    bench.main(1)       # Loses none that is there.
    assert json.loads((tmp_path / "results" / "delta.json").read_text()) == result
    with pytest.raises(AssertionError, match="trained again"):
        bench.main(1, fresh=True)
    monkeypatch.setattr(bench, "RECIPE", bench.RECIPE | {"TUNE_RATE": 1.0})
    with pytest.raises(AssertionError, match="trained again"):
        bench.main(1)
