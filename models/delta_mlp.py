"""Federl et al.'s FashionMNIST network 784-150-16-400-120-84-10, and how it is trained here.

    python -m litepress.models.delta_mlp

Ours: float first (minibatches, AdamW, cosine schedule, images shifted and mirrored), then a shorter
run with the weights that will be deployed in the forward pass. The paper's: full batches, 100
optimizer steps from the initial weights, quantized from the first one on.
"""

import copy
import math
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from ..host.command import start
from .checkpoint import CHECKPOINTS, save_checkpoint
from .data import fashion_mnist
from .delta import DeltaWeight, apply, deltas, refit
from .process import settle_process

SIZES = (784, 150, 16, 400, 120, 84, 10)
LAYERS = tuple(zip(SIZES[1:], SIZES[:-1], strict=True))   # (rows, taps) of each weight.
SIDE = 28
MEAN, STD = 0.2860, 0.3530   # Of the training pixels, 0..1.
SHIFT = 1                    # Pixels, each way.
BATCH = 256
WARM = 0.1                   # Part of the steps in which the learning rate rises.
REFIT = 200                  # Steps from one choice of references and scales to the next ...
REFIT_PART = 0.6             # ... in this part of all steps; what comes then trains for the last.
FLOAT_EPOCHS, FLOAT_RATE = 40, 4e-3
TUNE_EPOCHS, TUNE_RATE = 10, 1e-3
# The paper gives neither its learning rate nor how many of its 8 bits are fractional. Of rates from
# 5e-4 to 3e-2 and 4 to 7 bits only these let both of its references learn. With the 4 bits of its
# examples PyTorch's initial weights are truncated to zero in whole layers, and nothing is learned.
PAPER_STEPS, PAPER_RATE, PAPER_FRACTION = 100, 1e-3, 5
CHECKPOINT = CHECKPOINTS / "delta_mlp.npz"


def mlp(sizes=SIZES):
    """(N, sizes[0]) -> (N, sizes[-1]): Linear without bias, BatchNorm1d, Hardtanh between."""
    layers = []
    for taps, rows in pairwise(sizes):
        layers += [nn.Linear(taps, rows, bias=False), nn.BatchNorm1d(rows), nn.Hardtanh()]
    return nn.Sequential(*layers[:-1])


def normalize(pixels):
    """uint8 tensor -> float32, mean 0 and standard deviation 1 over the training images."""
    return (pixels.float() / 255 - MEAN) / STD


def dataset(split):
    """(uint8 (N, 784) pixels, int64 (N,) labels) tensors of a split, "train" or "test"."""
    images, labels = fashion_mnist(split)
    return (torch.from_numpy(images.reshape(len(images), -1).copy()),
            torch.from_numpy(labels.astype(np.int64)))


class Shifted:
    """Images uint8 (N, 784) moved by up to ``shift`` pixels each way, empty pixels 0, and mirrored,
    each by chance on its own."""

    def __init__(self, pixels, shift=SHIFT):
        padded = SIDE + 2 * shift
        self.pixels = nn.functional.pad(pixels.reshape(-1, SIDE, SIDE), [shift] * 4).flatten(1)
        at = torch.arange(SIDE)
        # For each move, where in the padded image every pixel comes from.
        self.sources = torch.stack([((at[:, None] + down) * padded + across + right).flatten()
                                    for down in range(2 * shift + 1)
                                    for right in range(2 * shift + 1)
                                    for across in (at, at.flip(0))])

    def __getitem__(self, chosen):
        moves = torch.randint(len(self.sources), (len(chosen),))
        return self.pixels[chosen].gather(1, self.sources[moves])


def accuracy(model, pixels, labels):
    """Per cent of right answers, the model in eval mode. uint8 (N, 784), int64 (N,)."""
    model.eval()
    with torch.no_grad():
        right = sum(int((model(normalize(x)).argmax(1) == y).sum())
                    for x, y in zip(pixels.split(2000), labels.split(2000), strict=True))
    return 100 * right / len(labels)


def train(model, pixels, labels, epochs, rate, say=lambda done, total: None, batch=BATCH):
    """AdamW on minibatches of moved images, learning rate up to ``rate`` and down by a cosine.
    References and scales of delta weights are chosen anew at the start and, in the first part,
    every REFIT steps. say(step, steps) after each step. Random numbers are torch's: seed before.
    Returns the model, in eval mode."""
    images = Shifted(pixels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0, fused=True)
    steps = epochs * (len(pixels) // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        1, (step + 1) / (WARM * steps)) * (1 + math.cos(math.pi * step / steps)) / 2)
    step = 0
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(pixels)).split(batch)[:len(pixels) // batch]:
            if step % REFIT == 0 and step <= REFIT_PART * steps:
                refit(model)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(normalize(images[chosen])), labels[chosen])
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            say(step, steps)
    settle(model, images, len(pixels), batch)
    return model.eval()


def settle(model, images, count, batch=BATCH, batches=100):
    """Batch normalization's means and variances anew for the weights as they are: the averages of
    that many batches of ``images``, which has ``count``. They are moved as in training: those of
    the images as they are cost a point of accuracy."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    before = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None   # A plain average.
    model.train()
    with torch.no_grad():
        for chosen in torch.randperm(count).split(batch)[:min(batches, count // batch)]:
            model(normalize(images[chosen]))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def train_paper(model, pixels, labels, steps=PAPER_STEPS, rate=PAPER_RATE,
                say=lambda done, total: None):
    """The paper's recipe: Adam on all images at once, ``steps`` times, images as they are.
    Returns the model, in eval mode."""
    x = normalize(pixels)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
        say(step + 1, steps)
    return model.eval()


def train_float(pixels, labels, seed, say=lambda done, total: None, epochs=FLOAT_EPOCHS):
    """The float network that all of ours begin with."""
    torch.manual_seed(seed)
    return train(mlp(), pixels, labels, epochs, FLOAT_RATE, say)


def tune(model, make, pixels, labels, seed, say=lambda done, total: None, epochs=TUNE_EPOCHS):
    """A copy of a float network, its weights parametrized with make(), trained on."""
    torch.manual_seed(seed)
    return train(apply(copy.deepcopy(model), make), pixels, labels, epochs, TUNE_RATE, say)


@contextmanager
def progress(title):
    """A bar on stderr: yields say(done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn(
        "{task.completed:,.0f} of {task.total:,.0f} steps"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def delta_mlp():
    """The trained network: (model in eval mode with the deployed weights, {layer's name: (weights
    int16 (rows, taps), scale float32 (rows,))}). FileNotFoundError: it is not there."""
    if not CHECKPOINT.exists():
        raise FileNotFoundError(f"{CHECKPOINT}: not found; train it with `python -m "
                                f"litepress.models.delta_mlp`")
    model, layers = mlp(), {}
    with np.load(CHECKPOINT) as arrays:
        state = {}
        for name, array in arrays.items():
            layer, _, what = name.rpartition(".")
            if what == "delta":
                codec = DeltaWeight(4, "fixed", offset=int(arrays[f"{layer}.offset"])).codec
                scale = arrays[f"{layer}.scale"]
                weights = codec.decode(array, *model.get_submodule(layer).weight.shape)
                layers[layer] = weights, scale
                state[f"{layer}.weight"] = torch.from_numpy(weights * scale[:, None])
            elif what not in ("offset", "scale"):
                state[name] = torch.from_numpy(array)
    model.load_state_dict(state)
    return model.eval(), layers


def arrays_of(model):
    """What a checkpoint holds of a network of DeltaWeight with a layer's offset: the streams,
    offsets and scales of the Linears, the state of the rest as it is."""
    arrays = {}
    for name, (r, o, d, scale) in deltas(model).items():
        codec = model.get_submodule(name).parametrizations.weight[0].codec
        arrays |= {f"{name}.delta": np.frombuffer(codec.encode(codec.values(r, o, d)), np.uint8),
                   f"{name}.offset": o[0], f"{name}.scale": scale}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm1d):
            arrays |= {f"{name}.{k}": v.numpy() for k, v in module.state_dict().items()}
    return arrays


def main(seed: int = 1, float_epochs: int = FLOAT_EPOCHS, epochs: int = TUNE_EPOCHS):
    """Train with 4-bit deltas from fixed references; write models/checkpoints/delta_mlp.npz and
    .json. About 2 minutes.

    Example: python -m litepress.models.delta_mlp
    """
    settle_process()
    data, test = dataset("train"), dataset("test")
    with progress("float") as say:
        model = train_float(*data, seed, say, float_epochs)
    before = accuracy(model, *test)
    with progress("4-bit deltas") as say:
        model = tune(model, lambda: DeltaWeight(4, "fixed", offset=4), *data, seed, say, epochs)
    percent = accuracy(model, *test)
    print(f"test accuracy on 10,000 FashionMNIST images: {percent:.2f} %, float {before:.2f} %")
    save_checkpoint("delta_mlp", arrays_of(model),
                    f"python -m litepress.models.delta_mlp --seed {seed} --float-epochs "
                    f"{float_epochs} --epochs {epochs}", data="FashionMNIST", test_images=10000,
                    accuracy_percent=percent, float_accuracy_percent=before)


if __name__ == "__main__":
    start(main, "delta_mlp")
