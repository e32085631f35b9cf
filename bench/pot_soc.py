"""ResNet-20 with power-of-two weights on the simulated SoC, beside weights of 8 bits.

    python -m litepress.bench.pot_soc --checkpoint models/checkpoints/NAME.npz

One network on FashionMNIST as three images: weights as codes for an array that looks products up
and takes them as they are stored; the same codes decoded on their way to an array of multipliers;
and the same weights rounded to 8 bits. Activations have 8 bits in all. The logits of the first test
images must be the golden model's.

A checkpoint is one of ``models.pot_train --save`` of 4-bit powers of two. Without one the network
is untrained, only its normalization fits the images: clocks and bytes mean something then, answers
nothing, so nothing is written to docs/results.
"""

import logging
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from torch import nn

from .. import compress
from ..host.command import start
from ..host.device import connect
from ..host.device.coded import coded_pieces
from ..host.evaluate import accuracy
from ..models import pot_train
from ..soc.sim import build_sim
from ..spec import wire
from ..spec.formats import WORD_BYTES
from ..spec.image import WEIGHTS
from .delta_soc import ROWS as DELTA_ROWS
from .delta_soc import Case, figures_of, measure, show
from .results import save

ACTIVATIONS = "raw8"
CALIBRATION = 256
LINE_BYTES = wire.OVERHEAD + WORD_BYTES     # Of a request with an address, beside its data.
CASES = (Case("pot4_array", "pot4, products looked up", "pot4", "sim-pot4"),
         Case("pot4", "pot4, decoded", "pot4", "sim"),
         Case("raw8", "8 bits", "raw8", "sim"))
# Figure -> (what it is, format).
ROWS = DELTA_ROWS | {
    "accuracy": ("top-1 of the golden model", "{:.2f} %"),
    "weight_line_bytes": ("weights, bytes over the line (Huffman streams, frames)", "{:,.0f}")}
RATIOS = ("cycles", "dram_bytes", "weight_bytes", "weight_line_bytes")
console = Console()


def vectors(split, count):
    """(float32 (n, 1, 28, 28), labels int64 (n,)) of a split."""
    images, labels = pot_train.dataset("fashion", split)
    return pot_train.normalize(images[:count]).numpy(), labels[:count].numpy()


def network(checkpoint, stride, x):
    """(ResNet-20 in eval mode, steps of its weights or None) from a checkpoint; without one,
    untrained, its normalization as x, float32 (n, 1, 28, 28), has it."""
    torch.manual_seed(1)
    model = pot_train.network("resnet20", 1, stride=stride)
    if checkpoint:
        return pot_train.load(checkpoint, model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None      # The mean of all that is seen.
    model.train()
    with torch.no_grad():
        model(torch.from_numpy(x))
    return model.eval(), None


def image_of(case, checkpoint, stride):
    """The network as a Case has it; trained codes are stored as they are."""
    x, _ = vectors("train", CALIBRATION)
    model, steps = network(checkpoint, stride, x)
    return compress(model, x[:1], x, case.weights, ACTIVATIONS, case.arch,
                    steps=steps if case.weights == "pot4" else None, name="resnet20")


def main(checkpoint: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Of "
                               "models.pot_train, pot of 4 bits; none: untrained.")] = None,
         images: Annotated[int, typer.Option(help="Test images on the SoC.", min=1)] = 20,
         golden: Annotated[int, typer.Option(help="Test images of the accuracy.", min=1)] = 10000,
         stride: Annotated[int, typer.Option(help="Of the first convolution.", min=1, max=2)]
         = pot_train.STRIDE):
    """Measure; exit code 1 when a logit differs.

    Example: python -m litepress.bench.pot_soc --images 2
    """
    logging.disable(logging.WARNING)    # LiteX tells every step of a build.
    xs, labels = vectors("test", max(images, golden))
    figures = {}
    for case in CASES:
        simulator = build_sim(case.arch, say=console.print)
        image, found = image_of(case, checkpoint, stride), {}
        if checkpoint:
            with connect("golden") as device:
                device.load(image)
                found["accuracy"] = accuracy(device.run_batch(xs[:golden], batch=100),
                                             labels[:golden])
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task(f"{case.title}: simulated SoC", total=images)
            found["logits_equal"], counters = measure(
                image, xs[:images], simulator, lambda done, _, bar=bar, task=task:
                bar.update(task, completed=done))
        found |= figures_of(image, counters)
        weights = next(s.data for s in image.sections if s.type == WEIGHTS)
        found["weight_line_bytes"] = sum(LINE_BYTES + len(payload)
                                         for _, _, _, payload in coded_pieces(weights))
        figures |= {f"{case.key}_{key}": value for key, value in found.items()}
    figures |= {f"{case.key}_{key}_ratio": figures[f"{case.key}_{key}"] / figures[f"raw8_{key}"]
                for key in RATIOS for case in CASES[:-1]}
    rows = {key: row for key, row in ROWS.items() if checkpoint or key != "accuracy"}
    console.print(show("ResNet-20 on the simulated SoC", CASES, rows, figures))
    if checkpoint:
        save("pot_soc", f"python -m litepress.bench.pot_soc --checkpoint {checkpoint} --images "
             f"{images} --golden {golden} --stride {stride}",
             f"FashionMNIST; {checkpoint.name}; the first {images} test images on the SoC, the "
             f"first {golden:,} with the golden model; activations {ACTIVATIONS}; image in DRAM",
             figures)
    if any(figures[f"{case.key}_logits_equal"] != images for case in CASES):
        raise typer.Exit(1)


if __name__ == "__main__":
    start(main)
