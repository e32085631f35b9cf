"""The FashionMNIST network of delta-compressed weights on the simulated SoC, beside 8-bit weights.

    python -m litepress.bench.delta_soc

One trained network (models/delta_mlp.py) as three images: its 4-bit deltas as they were trained,
decoded on their way to an array of multipliers; the same for an array of deltas, which takes them
as they are stored; and the same weights rounded to 8 bits. Activations have 8 bits in all. The
logits of the first test images must be the golden model's; the golden model's accuracy is that on
all test images.
"""

import logging
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .. import compress
from ..host.command import start
from ..host.device import connect
from ..host.evaluate import accuracy
from ..models import delta_mlp
from ..soc.sim import build_sim
from ..spec.formats import WORD_BYTES
from .results import save

ACTIVATIONS = "raw8"
CALIBRATION = 256
# Figure -> (what it is, format).
ROWS = {"accuracy": ("top-1 of the golden model, 10,000 images", "{:.2f} %"),
        "cycles": ("system clocks a frame", "{:,.0f}"),
        "dram_bytes": ("DRAM bytes a frame, weights and activations", "{:,.0f}"),
        "weight_bytes": ("weights, bytes", "{:,.0f}"),
        "program_bytes": ("program, bytes", "{:,.0f}"),
        "image_bytes": ("image, bytes", "{:,.0f}"),
        "logits_equal": ("test images whose logits equal the golden model's", "{:.0f}")}
console = Console()


@dataclass(frozen=True)
class Case:
    """``weights``: storage format; ``arch``: of spec/arch.py; key: of its figures."""

    key: str
    title: str
    weights: str
    arch: str


CASES = (Case("delta4_array", "4-bit deltas, array of deltas", "delta4", "sim-delta4"),
         Case("delta4", "4-bit deltas, decoded", "delta4", "sim"),
         Case("raw8", "8 bits", "raw8", "sim"))


def vectors(split, count=None):
    """(float32 (n, 784), labels int64 (n,)) of a split."""
    pixels, labels = delta_mlp.dataset(split)
    return delta_mlp.normalize(pixels[:count]).numpy(), labels[:count].numpy()


def image_of(case):
    """The trained network as a Case has it: deltas as they were trained."""
    model, layers = delta_mlp.delta_mlp()
    steps = {f"{name}.weight": scale for name, (_, scale) in layers.items()}
    x, _ = vectors("train", CALIBRATION)
    return compress(model, x[:1], x, case.weights, ACTIVATIONS, case.arch,
                    steps=steps if case.weights == "delta4" else None, name="delta_mlp")


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


def show(title, cases, rows, figures):
    """The table of the figures: a row for each of ``rows``, which are as ROWS."""
    table = Table(title=title, title_justify="left")
    for name in ("", *(case.title for case in cases)):
        table.add_column(name, justify="left" if not name else "right")
    for key, (what, form) in rows.items():
        table.add_row(what, *(form.format(figures[f"{case.key}_{key}"]) for case in cases))
    return table


def main(images: Annotated[int, typer.Option(help="Test images on the SoC.", min=1)] = 100):
    """Measure; exit code 1 when a logit differs. Two minutes, and the simulators' builds.

    Example: python -m litepress.bench.delta_soc --images 10
    """
    logging.disable(logging.WARNING)    # LiteX tells every step of a build.
    xs, labels = vectors("test")
    figures = {}
    for case in CASES:
        simulator, image = build_sim(case.arch, say=console.print), image_of(case)
        found = {"accuracy": golden_accuracy(image, xs, labels)}
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task(f"{case.title}: simulated SoC", total=images)
            found["logits_equal"], counters = measure(
                image, xs[:images], simulator, lambda done, _, bar=bar, task=task:
                bar.update(task, completed=done))
        found |= figures_of(image, counters)
        figures |= {f"{case.key}_{key}": value for key, value in found.items()}
    figures |= {f"{case.key}_{key}_ratio": figures[f"{case.key}_{key}"] / figures[f"raw8_{key}"]
                for key in ("cycles", "dram_bytes", "weight_bytes") for case in CASES[:-1]}
    console.print(show("FashionMNIST, 784-150-16-400-120-84-10, on the simulated SoC", CASES, ROWS,
                       figures))
    save("delta_soc", f"python -m litepress.bench.delta_soc --images {images}",
         f"FashionMNIST; models/checkpoints/delta_mlp.npz; the first {images} test images on the "
         "SoC, all 10,000 with the golden model; activations raw8; image in DRAM", figures)
    if any(figures[f"{case.key}_logits_equal"] != images for case in CASES):
        raise typer.Exit(1)


if __name__ == "__main__":
    start(main)
