"""Accuracy against true bits per value: float, int8, classic and improved ZFPe, on MobileNetV2.

    python -m litepress.bench.accuracy

Weights and activations are both compressed, nothing is retrained; every row is the golden model's
run of a packed image on FashionMNIST test images, once with the host-side corrections on the
calibration images and once without. Rows are kept as they are made: a second run goes on where the
first stopped.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..host.api import compress
from ..host.command import start
from ..host.evaluate import accuracy, golden_logits
from ..host.report import step_reporter
from ..models.data import LABELS, calibration_images, fashion_mnist, preprocess
from ..models.mobilenet import RESOLUTION, mobilenet_v2_fashion
from .demo import bits_per_value, float_logits
from .results import RESULTS, save

CALIBRATION = 128
ARCH = "sim"
BUILD = Path("build") / "accuracy"
NONE = {"bias_correction": False, "rounding": False, "equalization": False, "allocation": False}
console = Console()


@dataclass(frozen=True)
class Row:
    """``key``: in the results; ``fmt``: of weights and activations; ``headline``: measured on all
    test images; ``equalization``: one of its corrections (serves int8, costs block floats)."""

    key: str
    title: str
    fmt: str
    headline: bool = False
    one_scale: bool = False
    equalization: bool = False


ROWS = (
    Row("int8_per_tensor", "int8, one scale a tensor", "raw8", True, True, True),
    Row("int8_per_channel", "int8, weights one scale a channel", "raw8", True, False, True),
    *(Row(f"classic_{n}", f"classic ZFPe, {n} bits", f"zfpe{n}", n == 8) for n in (6, 8, 10, 12)),
    *(Row(f"improved_{n}", f"improved ZFPe, {n} bits", f"zfpi{n}", n != 10)
      for n in (6, 8, 10, 12)),
)


@cache
def test_images(count):
    """(float32 (count, 3, H, W), labels) of the first test images."""
    images, labels = fashion_mnist("test")
    return preprocess(images[:count], RESOLUTION), labels[:count]


def measure(row, corrected, count, progress):
    """dict of accuracy, images and bits of one row; from build/accuracy where its image was
    measured before."""
    module = mobilenet_v2_fashion()
    images = calibration_images(RESOLUTION, CALIBRATION)
    image = compress(module, images[:1], images, row.fmt, row.fmt, ARCH, one_scale=row.one_scale,
                     fuse=False, name="MobileNetV2 1.0 96x96", labels=LABELS, progress=progress,
                     **({"equalization": row.equalization} if corrected else NONE))
    key = hashlib.sha256(f"{image.hash} {count}".encode()).hexdigest()[:24]
    path = BUILD / f"{key}.json"
    if not path.exists():
        xs, labels = test_images(count)
        logits = golden_logits(image, xs, progress=lambda *n: progress("golden model", *n))
        weights, activations = bits_per_value(image)
        found = {"accuracy": accuracy(logits, labels), "images": count, "weight_bits": weights,
                 "activation_bits": activations}
        BUILD.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(found))
        temporary.replace(path)
    return json.loads(path.read_text())


def show(figures):
    """The table that the figures make."""
    table = Table(title_justify="left", title="MobileNetV2 1.0 at 96x96: ImageNet backbone, "
                  "FashionMNIST head; top-1 in per cent; weights and activations stored so, no "
                  "retraining")
    for name in ("", "true bits, weights", "activations", "corrected", "images", "uncorrected",
                 "images"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("float32", "32", "32", f"{figures['float']:.2f}", f"{figures['float_images']:,}",
                  "", "")
    for row in ROWS:
        cells = []
        for suffix in ("", "_uncorrected"):
            key = row.key + suffix
            cells += [f"{figures[key]:.2f}", f"{figures[key + '_images']:,}"] \
                if key in figures else ["", ""]
        bits = [f"{figures[f'{row.key}_{what}_bits']:.2f}" if f"{row.key}_{what}_bits" in figures
                else "" for what in ("weight", "activation")]
        table.add_row(row.title, *bits, *cells)
    return table


def main(headline: Annotated[int, typer.Option(help="Test images for the headline rows.")] = 10000,
         sweep: Annotated[int, typer.Option(help="Test images for all others, and for the rows "
                                                 "without corrections.")] = 2000,
         rows: Annotated[str, typer.Option(help="Rows to measure, comma-separated; others keep "
                                                "their figures.")] = ""):
    """Measure and write docs/results/accuracy.json.

    Example: python -m litepress.bench.accuracy --headline 200 --sweep 100 --rows improved_6
    """
    wanted = [row for row in ROWS if not rows or row.key in rows.split(",")]
    unknown = set(filter(None, rows.split(","))) - {row.key for row in ROWS}
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: rows are "
                                 f"{', '.join(row.key for row in ROWS)}", param_hint="--rows")
    xs, labels = test_images(headline)
    logits = float_logits(mobilenet_v2_fashion(), xs)
    before = RESULTS / "accuracy.json"
    figures = json.loads(before.read_text())["figures"] if rows and before.exists() else {}
    figures |= {"float": accuracy(logits, labels), "float_images": headline,
               "float_sweep": accuracy(logits[:sweep], labels[:sweep])}
    columns = (TextColumn("{task.description:<30}"), BarColumn(), TextColumn(
        "{task.completed:>9,.0f} of {task.total:>9,.0f}"), TimeElapsedColumn())
    for row in wanted:
        for suffix, corrected in (("", True), ("_uncorrected", False)):
            count = headline if row.headline and corrected else sweep
            key = row.key + suffix
            with Progress(*columns, console=console, transient=True) as bar:
                found = measure(row, corrected, count, step_reporter(bar))
            figures |= {key: found["accuracy"], f"{key}_images": found["images"]}
            figures |= {f"{key}_{what}_bits": found[f"{what}_bits"]
                        for what in ("weight", "activation")}
            console.print(f"{row.title}{'' if corrected else ', uncorrected'}: "
                          f"{found['accuracy']:.2f} % of {found['images']:,} images, "
                          f"{found['weight_bits']:.3f} bits a weight, "
                          f"{found['activation_bits']:.3f} an activation; float "
                          f"{accuracy(logits[:count], labels[:count]):.2f} %")
    console.print(show(figures))
    save("accuracy", f"python -m litepress.bench.accuracy --headline {headline} --sweep {sweep}"
         + (f" --rows {rows}" if rows else ""),
         f"FashionMNIST test images, 96x96; ImageNet backbone, FashionMNIST head; calibrated on "
         f"{CALIBRATION} training images", figures)


if __name__ == "__main__":
    start(main)
