"""Accuracy of delta-compressed weights against their storage, on the paper's FashionMNIST network.

    python -m litepress.bench.delta --seeds 5

For each seed a float network, an 8-bit one, and deltas of 2 to 6 bits from a fixed reference and
consecutive; then the same as the paper trains and rounds (Federl et al., arXiv 2606.16516). All are
measured after the last step on all test images; nothing is chosen by them. Every network's result
is kept under build/delta by its settings, and those of a whole seed in docs/results/delta.json: a
second run goes on where the first stopped. After a change of the training code remove that folder
and give --fresh.
"""

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from ..host.codecs.delta import MAX_BITS, MIN_BITS, REFERENCE_BITS, Delta
from ..host.command import start
from ..models import delta_mlp
from ..models.delta import DeltaWeight, FixedWeight, apply
from ..models.process import settle_process
from . import results

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BUILD = Path("build") / "delta"
REFERENCES = {"fixed_reference": "fixed", "consecutive": "consecutive"}
# What is part of a result's key besides the variant and the seed.
RECIPE = {name: getattr(delta_mlp, name) for name in (
    "FLOAT_EPOCHS", "FLOAT_RATE", "TUNE_EPOCHS", "TUNE_RATE", "PAPER_STEPS", "PAPER_RATE",
    "PAPER_FRACTION", "SHIFT", "BATCH", "WARM", "REFIT", "REFIT_PART")}
console = Console(stderr=True)


@dataclass(frozen=True)
class Variant:
    """``kind``: "float", "fixed" (fixed point, 8 bits) or "delta"; ``mode``: "improved" or "paper";
    the others as DeltaWeight takes them."""

    key: str
    title: str
    kind: str
    mode: str = "improved"
    bits: int = 8
    reference: str = ""
    offset: int = 0

    @property
    def make(self):
        """What delta_mlp's training takes, or None for float."""
        if self.kind == "float":
            return None
        if self.kind == "fixed":
            return lambda: FixedWeight(self.bits, self.mode, RECIPE["PAPER_FRACTION"])
        return lambda: DeltaWeight(self.bits, self.reference, self.mode, self.offset,
                                   fraction=RECIPE["PAPER_FRACTION"])

    @property
    def storage_bits(self):
        """Bits of all weights, with every reference and offset."""
        if self.kind != "delta":
            return sum(rows * taps for rows, taps in delta_mlp.LAYERS) * self.bits
        codec = Delta(self.bits, self.reference, self.mode, self.offset)
        return sum(codec.storage_bits(*layer) for layer in delta_mlp.LAYERS)


def variants():
    """All that are measured; those that train longest last."""
    out = [Variant("float", "float32", "float", bits=32),
           Variant("fixed8", "fixed point, 8 bits", "fixed")]
    for mode, prefix, title in (("improved", "", ""), ("paper", "paper_", "as the paper: ")):
        if mode == "paper":
            out.append(Variant("paper_fixed8", title + "fixed point, 8 bits", "fixed", mode))
        # Ours: references and deltas span 8 bits together, as spec/formats.py's deltaN has it.
        out += [Variant(f"{prefix}{name}_{bits}", f"{title}{name.replace('_', ' ')}, {bits} bits",
                        "delta", mode, bits, reference,
                        REFERENCE_BITS - bits if mode == "improved" else 0)
                for name, reference in REFERENCES.items()
                for bits in range(MIN_BITS, MAX_BITS + 1)]
    return out


def path_of(variant, seed, suffix="json"):
    """Where a result is kept."""
    settings = {"variant": asdict(variant), "seed": seed, **RECIPE}
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    return BUILD / f"{variant.key}_{seed}_{key}.{suffix}"


def write(path, save):
    """save(open file), under a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    with open(temporary, "wb") as file:
        save(file)
    temporary.replace(path)


def float_network(variant, seed, data, test):
    """The float network of a seed and its result, trained only where it is not kept."""
    kept, path = path_of(variant, seed, "npz"), path_of(variant, seed)
    if not (kept.exists() and path.exists()):
        begin = time.monotonic()
        with delta_mlp.progress(f"seed {seed}: {variant.title}") as say:
            model = delta_mlp.train_float(*data, seed, say, RECIPE["FLOAT_EPOCHS"])
        state = {k: v.numpy() for k, v in model.state_dict().items()}
        write(kept, lambda file: np.savez(file, **state))
        keep_result(path, delta_mlp.accuracy(model, *test), time.monotonic() - begin)
    model = delta_mlp.mlp()
    with np.load(kept) as arrays:
        model.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
    return model, json.loads(path.read_text())


def keep_result(path, accuracy, seconds):
    text = json.dumps({"accuracy": accuracy, "seconds": seconds})
    write(path, lambda file: file.write(text.encode()))


def measure(variant, seed, network, data, test):
    """The result of one variant: {"accuracy": per cent, "seconds": of training}."""
    path = path_of(variant, seed)
    if not path.exists():
        begin = time.monotonic()
        with delta_mlp.progress(f"seed {seed}: {variant.title}") as say:
            if variant.mode == "paper":
                torch.manual_seed(seed)
                model = delta_mlp.train_paper(apply(delta_mlp.mlp(), variant.make), *data,
                                              RECIPE["PAPER_STEPS"], RECIPE["PAPER_RATE"], say)
            else:
                model = delta_mlp.tune(network, variant.make, *data, seed, say,
                                       RECIPE["TUNE_EPOCHS"])
        keep_result(path, delta_mlp.accuracy(model, *test), time.monotonic() - begin)
    return json.loads(path.read_text())


def figures_of(found):
    """The figures of {variant: [accuracy of each seed]}."""
    whole = next(v for v in found if v.key == "fixed8").storage_bits
    figures = {}
    for variant, accuracies in found.items():
        figures[variant.key] = float(np.mean(accuracies))
        if len(accuracies) > 1:
            figures[f"{variant.key}_sd"] = float(np.std(accuracies, ddof=1))
        figures[f"{variant.key}_storage_bits"] = variant.storage_bits
        figures[f"{variant.key}_storage_percent"] = 100 * variant.storage_bits / whole
    return figures


def show(found, figures):
    """The table that the figures make."""
    table = Table(title_justify="left", title="FashionMNIST, 784-150-16-400-120-84-10: top-1 on "
                  "10,000 test images in per cent")
    for name in ("", "accuracy", "standard deviation", "storage, bits", "% of 8 bits"):
        table.add_column(name, justify="left" if not name else "right")
    for key in (variant.key for variant in found):
        sd = f"{figures[f'{key}_sd']:.2f}" if f"{key}_sd" in figures else ""
        title = next(variant.title for variant in found if variant.key == key)
        table.add_row(title, f"{figures[key]:.2f}", sd, f"{figures[f'{key}_storage_bits']:,}",
                      f"{figures[f'{key}_storage_percent']:.2f}")
    return table


def plot(figures, path):
    """Accuracy against storage, error bars one standard deviation."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    for prefix, style, suffix in (("", "-", ""), ("paper_", "--", ", as the paper")):
        for name, color in (("fixed_reference", "#06a"), ("consecutive", "#c60")):
            keys = [f"{prefix}{name}_{bits}" for bits in range(MIN_BITS, MAX_BITS + 1)]
            axes.errorbar([figures[f"{key}_storage_percent"] for key in keys],
                          [figures[key] for key in keys],
                          [figures.get(f"{key}_sd", 0) for key in keys], color=color, ls=style,
                          lw=1, marker="o", ms=3, capsize=2,
                          label=f"{name.replace('_', ' ')}{suffix}")
    axes.errorbar([100], [figures["paper_fixed8"]], [figures.get("paper_fixed8_sd", 0)],
                  color="#888", marker="s", ms=4, capsize=2, ls="", label="8 bits, as the paper")
    axes.errorbar([100], [figures["fixed8"]], [figures.get("fixed8_sd", 0)], color="k", marker="s",
                  ms=4, capsize=2, ls="", label="8 bits")
    axes.axhline(figures["float"], color="#888", ls=":", lw=1, label="float32")
    axes.set(xlabel="storage of the weights, per cent of 8 bits", ylabel="test accuracy, per cent",
             title="FashionMNIST, 784-150-16-400-120-84-10")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    results.save_figure(figure, path)


def save(found, seconds, images):
    """Write docs/results/delta.json and delta.svg of {variant: [accuracy of each seed]}; images:
    how many of training and test."""
    seeds = min(len(accuracies) for accuracies in found.values())
    figures = figures_of(found)
    results.save("delta", f"python -m litepress.bench.delta --seeds {seeds}",
                 "FashionMNIST, {:,} training and {:,} test images; seeds 1 to {}; standard "
                 "deviations are of samples".format(*images, seeds), figures, recipe=RECIPE,
                 runs={v.key: {"accuracy": found[v], "seconds": seconds[v]} for v in found})
    plot(figures, results.RESULTS / "delta.svg")


def main(seeds: Annotated[int, typer.Option(help="Networks of each variant.", min=1)] = 5,
         fresh: Annotated[bool, typer.Option(help="Use nothing of docs/results/delta.json.")]
         = False):
    """Train and measure all; write docs/results/delta.json and delta.svg after every seed. Half an
    hour a seed on one core.

    Example: python -m litepress.bench.delta --seeds 5
    """
    settle_process()
    data, test = delta_mlp.dataset("train"), delta_mlp.dataset("test")
    every, images = variants(), (len(data[0]), len(test[0]))
    known = {} if fresh else results.runs("delta", recipe=RECIPE)
    kept = min(seeds, *(len(known.get(v.key, {}).get("accuracy", ())) for v in every))
    found, seconds = ({v: known[v.key][name][:kept] if kept else [] for v in every}
                      for name in ("accuracy", "seconds"))
    if kept:
        console.print(f"seeds 1 to {kept}: from docs/results/delta.json")
    for seed in range(kept + 1, seeds + 1):
        network, result = float_network(every[0], seed, data, test)
        for variant in every:
            if variant.kind != "float":
                result = measure(variant, seed, network, data, test)
            found[variant].append(result["accuracy"])
            seconds[variant].append(result["seconds"])
            console.print(f"seed {seed}: {variant.title}: {result['accuracy']:.2f} %, "
                          f"{result['seconds']:.0f} s")
        save(found, seconds, images)
    Console().print(show(found, figures_of(found)))


if __name__ == "__main__":
    start(main)
