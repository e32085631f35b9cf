"""Training of small networks whose weights are powers of two, or of any few levels.

    python -m litepress.models.pot_train --codebook pot --bits 4

Float first; then the clips of the activations are fitted, the weights take their levels, and a
shorter run goes on with both in the forward pass and the distribution loss of models/pot.py rising.
He et al.'s recipe is not known (we had the abstract); this one is ours. SGD with momentum, then
AdamW, cosine schedules with a warm-up, images shifted and mirrored.

ResNet-20 here has its width of 16, but a stride of 2 in its first convolution, which the paper's
has not: 28x28 FashionMNIST images then take a quarter of the time. --stride 1 is the paper's.
"""

import copy
import io
import math
import pickle
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import nn

from ..host.command import start
from .checkpoint import CHECKPOINTS, check_name, save_checkpoint
from .data import fashion_mnist
from .delta_mlp import progress
from .pot import (
    ActivationClip,
    CodebookWeight,
    UniformWeight,
    apply,
    clip_activations,
    distribution_loss,
    fit_clips,
    levels,
    ramp,
    refit,
)
from .process import settle_process
from .resnet import mobilenet_small, resnet20

BATCH = 128
SHIFT = 2                     # Pixels, each way.
WARM = 0.1                    # Part of the steps in which the learning rate rises.
# Float: SGD, better in few epochs (of 2 on FashionMNIST: 89.0 %, AdamW at 2e-3 87.6 %). Quantized:
# AdamW, as the gradients of scales and clips have sizes of their own. Decay is of weights; not of
# scales, clips and normalization.
FLOAT_EPOCHS, FLOAT_RATE, FLOAT_DECAY, MOMENTUM = 10, 0.1, 5e-4, 0.9
TUNE_EPOCHS, TUNE_RATE, TUNE_DECAY = 3, 1e-3, 0.02
REGULARIZER, BETA = 0.1, 0.01  # Largest weight of the distribution loss; of its sum over levels.
REGULARIZER_WARM = 0.3        # Part of the steps in which its weight is 0.
REFIT, REFIT_PART = 100, 0.6  # Of learned codebooks: steps between, and until which part.
FIT_IMAGES = 256              # That clips are fitted to before training.
WIDTH, STRIDE = 16, 2
CODEBOOK_HELP = "pot, apot, learned, or uniform."


def network(kind, channels, width=WIDTH, stride=STRIDE):
    """A float network: ``kind`` "resnet20" or "mobilenet" (whose first stride is always 2), for
    images of that many channels, in the layout that is the fastest here."""
    if kind not in ("resnet20", "mobilenet"):
        raise ValueError(f"network {kind!r}: allowed are resnet20, mobilenet")
    model = resnet20(channels=channels, width=width, stride=stride) if kind == "resnet20" else \
        mobilenet_small(channels=channels, width=width)
    # In this layout 1x1 convolutions with stride and less than 8 input channels write past their
    # memory (github.com/uxlfoundation/oneDNN/issues/6035; with PyTorch 2.13 they do).
    return model if width % 8 else model.to(memory_format=torch.channels_last)


def dataset(data, split):
    """(uint8 (N, C, H, W) images, int64 (N,) labels) tensors of a split, "train" or "test". data:
    "fashion" or the folder of CIFAR-10's batches, python version. FileNotFoundError: not there."""
    if data == "fashion":
        images, labels = fashion_mnist(split)
        images = images[:, None]
    else:
        images, labels = cifar10(split, data)
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))


def cifar10(split, folder):
    """(images uint8 (N, 3, 32, 32), labels uint8 (N,)) from the files data_batch_1 to _5 or
    test_batch. FileNotFoundError names the missing one; ValueError: a file of another kind."""
    images, labels = [], []
    for name in {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}[split]:
        path = Path(folder) / name
        if not path.exists():
            raise FileNotFoundError(f"{path}: not found; give the folder cifar-10-batches-py of "
                                    f"CIFAR-10's python version, or fashion")
        try:
            batch = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
            images.append(np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32))
            labels.append(np.asarray(batch[b"labels"], np.uint8))
        except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a batch of CIFAR-10's python version: {error}") from None
    return np.concatenate(images), np.concatenate(labels)


class _ArraysOnly(pickle.Unpickler):
    """A pickle may run anything; these hold only NumPy arrays."""

    ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")} | {
        (f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} in it: allowed are arrays")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def normalize(images):
    """uint8 (N, C, H, W) -> float32 in -1..1."""
    return images.float() / 127.5 - 1


class Moved:
    """Images uint8 (N, C, H, W) moved by up to ``shift`` pixels each way, empty pixels 0, and
    mirrored, each by chance on its own: moved[indices]."""

    def __init__(self, images, shift=SHIFT):
        high, wide = images.shape[2:]
        self.shape = images.shape[1:]
        self.pixels = nn.functional.pad(images, [shift] * 4).flatten(2)
        down, across = torch.arange(high)[:, None], torch.arange(wide)
        # For each move, where in the padded image every pixel comes from.
        self.sources = torch.stack([((down + y) * (wide + 2 * shift) + order + x).flatten()
                                    for y in range(2 * shift + 1) for x in range(2 * shift + 1)
                                    for order in (across, across.flip(0))])

    def __getitem__(self, chosen):
        sources = self.sources[torch.randint(len(self.sources), (len(chosen),))]
        moved = self.pixels[chosen].gather(2, sources[:, None].expand(-1, self.shape[0], -1))
        return moved.reshape(-1, *self.shape)


def accuracy(model, images, labels):
    """Per cent of right answers, the model in eval mode. uint8 (N, C, H, W), int64 (N,)."""
    model.eval()
    with torch.no_grad():
        right = sum(int((model(normalize(x)).argmax(1) == y).sum())
                    for x, y in zip(images.split(500), labels.split(500), strict=True))
    return 100 * right / len(labels)


def optimizers(model):
    """(SGD to train float, AdamW to tune) of a model."""
    decayed = [p for p in model.parameters() if p.dim() > 1 and p.shape[1:].numel() > 1]
    ids = {id(p) for p in decayed}
    groups = [{"params": decayed}, {"params": [p for p in model.parameters() if id(p) not in ids],
                                    "weight_decay": 0}]
    return (torch.optim.SGD([dict(g) for g in groups], FLOAT_RATE, MOMENTUM, nesterov=True,
                            weight_decay=FLOAT_DECAY),
            torch.optim.AdamW(groups, TUNE_RATE, weight_decay=TUNE_DECAY, fused=True))


def train(model, optimizer, images, labels, epochs, regularizer=0.0, beta=BETA,
          say=lambda done, total: None):
    """Minibatches of moved images, the optimizer's learning rates up to what they are and down by a
    cosine; ``regularizer``: the distribution loss's weight at the end. say(step, steps) after each
    step. Random numbers are torch's: seed before. Returns the model, in eval mode."""
    moved, steps = Moved(images), epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        1, (step + 1) / (WARM * steps)) * (1 + math.cos(math.pi * step / steps)) / 2)
    step = 0
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(BATCH)[:len(images) // BATCH]:
            if step and step % REFIT == 0 and step <= REFIT_PART * steps:
                refit(model)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(normalize(moved[chosen])), labels[chosen])
            share = regularizer * ramp(step, steps, REGULARIZER_WARM)
            if share:
                loss = loss + share * distribution_loss(model, beta)
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            say(step, steps)
    return model.eval()


def train_float(images, labels, seed, kind="resnet20", width=WIDTH, stride=STRIDE,
                epochs=FLOAT_EPOCHS, say=lambda done, total: None):
    """The float network that all others begin with."""
    torch.manual_seed(seed)
    model = network(kind, images.shape[1], width, stride)
    return train(model, optimizers(model)[0], images, labels, epochs, say=say)


def tune(model, make, images, labels, seed, activation_bits=8, regularizer=REGULARIZER,
         epochs=TUNE_EPOCHS, say=lambda done, total: None):
    """A copy of a float network, its weights parametrized with make(), its activations clipped and
    of ``activation_bits``, trained on."""
    torch.manual_seed(seed)
    model = clip_activations(copy.deepcopy(model), lambda: ActivationClip(activation_bits))
    fit_clips(model, normalize(images[:FIT_IMAGES]))
    apply(model, make)
    return train(model, optimizers(model)[1], images, labels, epochs, regularizer, say=say)


def maker(codebook, bits):
    """What apply() takes, for a codebook of CODEBOOK_HELP; ValueError: an unknown one, or bits."""
    make = (lambda: UniformWeight(bits)) if codebook == "uniform" else \
        (lambda: CodebookWeight(bits, codebook))
    make()
    return make


def arrays_of(model):
    """What a checkpoint holds of a quantized network: NAME.levels int8 (cout, taps), NAME.scale
    float32 (cout,); NAME.clip float32; the state of the rest as it is."""
    arrays = {}
    for name, (q, scale) in levels(model).items():
        arrays |= {f"{name}.levels": q, f"{name}.scale": scale}
    for name, module in model.named_modules():
        if isinstance(module, ActivationClip):
            arrays[f"{name}.clip"] = np.float32(module.clip)
    return arrays | {name: value.detach().numpy() for name, value in model.state_dict().items()
                     if "parametrizations" not in name and not name.endswith("log_clip")}


def load(path, model):
    """What arrays_of() holds, from an .npz: ``model``, a float network of the kind that it was made
    of, gets its weights and a Hardtanh for each clip, and is as deploy() gives it. Returns (model
    in eval mode, {weight's name: scale float32 (cout,)}, the ``steps`` of litepress.compress)."""
    state, steps = {}, {}
    with np.load(path) as arrays:
        for name, array in arrays.items():
            layer, _, what = name.rpartition(".")
            if what == "levels":
                steps[f"{layer}.weight"] = scale = arrays[f"{layer}.scale"]
                shape = model.get_submodule(layer).weight.shape
                state[f"{layer}.weight"] = torch.from_numpy(array * scale[:, None]).reshape(shape)
            elif what == "clip":
                parent, _, child = layer.rpartition(".")
                setattr(model.get_submodule(parent), child, nn.Hardtanh(0, float(array)))
            elif what != "scale":
                state[name] = torch.from_numpy(array)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path}: of another network than {type(model).__name__} as it was asked "
                         f"for: {str(error).splitlines()[-1].strip()}") from None
    return model.eval(), steps


def main(codebook: Annotated[str, typer.Option(help=CODEBOOK_HELP)] = "pot",
         bits: Annotated[int, typer.Option(help="Of a weight.")] = 4,
         activation_bits: Annotated[int, typer.Option(help="8 or 4.")] = 8,
         data: Annotated[str, typer.Option(help="fashion, or the folder of CIFAR-10's batches "
                                                "(python version).")] = "fashion",
         kind: Annotated[str, typer.Option("--network", help="resnet20 or mobilenet.")]
         = "resnet20", width: Annotated[int, typer.Option(min=1, help="Of the first layers, in "
                                                          "channels.")] = WIDTH,
         stride: Annotated[int, typer.Option(min=1, max=2, help="Of resnet20's first "
                                             "convolution.")] = STRIDE,
         epochs: Annotated[int, typer.Option(min=1, help="Float.")] = FLOAT_EPOCHS,
         tune_epochs: Annotated[int, typer.Option(min=1, help="Quantized.")] = TUNE_EPOCHS,
         regularizer: Annotated[float, typer.Option(help="The distribution loss's largest weight, "
                                                         "0: without.")] = REGULARIZER,
         seed: int = 1,
         save: Annotated[str, typer.Option(help="Name of the checkpoint; none: it is not kept.")]
         = ""):
    """Train float, then with quantized weights and activations; print both accuracies.

    Example: python -m litepress.models.pot_train --codebook apot --save resnet20_apot4
    """
    settle_process()
    check_name(save)
    make = maker(codebook, bits)
    images, test = dataset(data, "train"), dataset(data, "test")
    with progress("float") as say:
        model = train_float(*images, seed, kind, width, stride, epochs, say)
    before = accuracy(model, *test)
    with progress(f"{codebook}, {bits} bits") as say:
        model = tune(model, make, *images, seed, activation_bits, regularizer, tune_epochs, say)
    percent = accuracy(model, *test)
    source = "FashionMNIST" if data == "fashion" else "CIFAR-10"
    print(f"test accuracy on {len(test[1]):,} {source} images: {percent:.2f} %, float "
          f"{before:.2f} %")
    if save:
        save_checkpoint(save, arrays_of(model), f"python -m litepress.models.pot_train --codebook "
                        f"{codebook} --bits {bits} --activation-bits {activation_bits} --network "
                        f"{kind} --width {width} --stride {stride} --epochs {epochs} --tune-epochs "
                        f"{tune_epochs} --regularizer {regularizer} --seed {seed} --save {save}"
                        + ("" if data == "fashion" else " --data cifar-10-batches-py"),
                        data=source, test_images=len(test[1]), accuracy_percent=percent,
                        float_accuracy_percent=before)
        print(f"{CHECKPOINTS / save}.npz")


if __name__ == "__main__":
    start(main, "pot_train")
