"""The FashionMNIST network of delta-compressed weights on the simulated SoC, beside 8-bit weights.

    python -m litepress.bench.delta_soc

One trained network (models/delta_mlp.py) as two images: its 4-bit deltas as they were trained, and
the same weights rounded to 8 bits. Activations have 8 bits in both. The logits of the first test
images must be the golden model's; the golden model's accuracy is that on all test images.
"""

import logging
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .. import compress
from ..host.device import connect
from ..host.evaluate import accuracy
from ..models import delta_mlp
from ..soc.sim import build_sim
from ..spec.formats import WORD_BYTES
from .results import save

ACTIVATIONS = "raw8"
WEIGHTS = {"delta4": "deltas of 4 bits", "raw8": "8 bits"}
CALIBRATION = 256
console = Console()


def vectors(split, count=None):
    """(float32 (n, 784), labels int64 (n,)) of a split."""
    pixels, labels = delta_mlp.dataset(split)
    return delta_mlp.normalize(pixels[:count]).numpy(), labels[:count].numpy()


def image_of(weights, arch):
    """The trained network with weights of that storage format: deltas as they were trained."""
    model, layers = delta_mlp.delta_mlp()
    steps = {f"{name}.weight": scale for name, (_, scale) in layers.items()}
    x, _ = vectors("train", CALIBRATION)
    return compress(model, x[:1], x, weights, ACTIVATIONS, arch,
                    steps=steps if weights == "delta4" else None, name="delta_mlp")


def measure(image, xs, simulator, say):
    """(logits that equal the golden model's, mean of each counter an image) of xs on the SoC."""
    equal, totals = 0, {}
    with connect(f"sim:{simulator}", preload=image) as sim, connect("golden") as golden:
        sim.load(image)
        golden.load(image)
        expected = golden.run_batch(xs)
        for index, x in enumerate(xs):
            equal += int(np.array_equal(sim.run(x), expected[index]))
            for name in ("cycles", "mac_cycles", "read_words", "write_words", "fetch_words"):
                totals[name] = totals.get(name, 0) + sum(slot[name] for slot in sim.counters())
            totals["run"] = totals.get("run", 0) + sim.run_cycles
            say(index + 1, len(xs))
    return equal, {name: total / len(xs) for name, total in totals.items()}


def golden_accuracy(image, xs, labels):
    """Per cent of right answers of the golden model."""
    with connect("golden") as golden:
        golden.load(image)
        return accuracy(golden.run_batch(xs, batch=500), labels)


def figures_of(image, counters):
    """Figures of an image: what it stores and what a frame takes."""
    moved = counters["read_words"] + counters["write_words"]
    return {"cycles": counters["run"], "dram_bytes": WORD_BYTES * moved,
            "program_bytes": WORD_BYTES * counters["fetch_words"],
            "weight_bytes": sum(layer["stored_bytes"] for layer in image.meta["layers"]),
            "image_bytes": len(image.bytes())}


def show(figures, images):
    """The table of the figures."""
    table = Table(title="FashionMNIST, 784-150-16-400-120-84-10, on the simulated SoC, a frame",
                  title_justify="left")
    for name in ("", *WEIGHTS.values()):
        table.add_column(name, justify="left" if not name else "right")
    rows = {"accuracy": "top-1 of the golden model, %", "cycles": "system clocks",
            "dram_bytes": "DRAM bytes, weights and activations", "weight_bytes": "weights, bytes",
            "program_bytes": "program, bytes", "image_bytes": "image, bytes",
            "logits_equal": f"of {images} images' logits, equal to the golden model's"}
    for key, title in rows.items():
        values = [figures[f"{weights}_{key}"] for weights in WEIGHTS]
        table.add_row(title, *(f"{v:,.2f}" if key == "accuracy" else f"{v:,.0f}" for v in values))
    return table


def main(images: Annotated[int, typer.Option(help="Test images on the SoC.", min=1)] = 100,
         arch: Annotated[str, typer.Option(help="Size of the accelerator.")] = "sim"):
    """Measure; exit code 1 when a logit differs. Two minutes, and the simulator's build.

    Example: python -m litepress.bench.delta_soc --images 10
    """
    logging.disable(logging.WARNING)    # LiteX tells every step of a build.
    simulator = build_sim(arch, say=console.print)
    xs, labels = vectors("test")
    figures = {}
    for weights, title in WEIGHTS.items():
        image = image_of(weights, arch)
        found = {"accuracy": golden_accuracy(image, xs, labels)}
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task(f"{title}: simulated SoC", total=images)
            found["logits_equal"], counters = measure(
                image, xs[:images], simulator, lambda done, _, bar=bar, task=task:
                bar.update(task, completed=done))
        found |= figures_of(image, counters)
        figures |= {f"{weights}_{key}": value for key, value in found.items()}
    figures |= {f"{key}_ratio": figures[f"delta4_{key}"] / figures[f"raw8_{key}"]
                for key in ("cycles", "dram_bytes", "weight_bytes")}
    console.print(show(figures, images))
    save("delta_soc", f"python -m litepress.bench.delta_soc --images {images} --arch {arch}",
         f"FashionMNIST; models/checkpoints/delta_mlp.npz; the first {images} test images on the "
         "SoC, all 10,000 with the golden model; activations raw8; image in DRAM", figures)
    if any(figures[f"{weights}_logits_equal"] != images for weights in WEIGHTS):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
