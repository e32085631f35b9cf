"""Accuracy of weights of few levels against what they take, on ResNet-20 and FashionMNIST.

    python -m litepress.bench.pot --seeds 3

For each seed a float network; then, trained on from it, powers of two of 4 and 3 bits and sums of
two of 4 bits (apot), each with the distribution loss and without (_plain), with activations of 8
bits and of 4 (_a4, which cannot be deployed: models/pot.py); and uniform levels of 4 and of 8 bits
to compare with. He et al.'s recipe is not known to us, so these are figures of our reading of it.
All are measured after the last step on all test images; nothing is chosen by them. Every network's
result, and its arrays, are kept under build/pot by their settings, the results of a whole seed in
docs/results/pot.json: a second run goes on where the first stopped. After a change of the training
code remove that folder and give --fresh.

Sizes are of all weights with their scales (32 bits an output channel): coded, the bits of a weight;
entropy, that of each layer's levels; Huffman, a stream of spec/huffman.py a layer, its header and
table counted.
"""

import hashlib
import json
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

from ..host.codecs.huffman import code_lengths
from ..host.command import start
from ..models import pot_train
from ..models.delta_mlp import progress
from ..models.pot import levels
from ..models.process import settle_process
from ..spec.formats import WORD_BITS
from ..spec.huffman import HEADER_WORDS, LENGTH_BITS
from . import results
from .delta import write

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BUILD = Path("build") / "pot"
# What is part of a result's key besides the variant, the seed, the data and the network.
RECIPE = {name: getattr(pot_train, name) for name in (
    "FLOAT_EPOCHS", "FLOAT_RATE", "FLOAT_DECAY", "MOMENTUM", "TUNE_EPOCHS", "TUNE_RATE",
    "TUNE_DECAY", "REGULARIZER", "BETA", "REGULARIZER_WARM", "SHIFT", "BATCH", "WARM", "FIT_IMAGES",
    "WIDTH", "STRIDE")}
FLOAT_BITS, SCALE_BITS = 32, 32
SIZES = ("bits", "entropy_bits", "huffman_bits")
AGAINST = {"float": "float_bits", "int8": "int8_bits", "uniform4": "uniform4_bits"}
# Of docs/results/plut_arrays.json: what the hardware takes beside what the training gives.
ARRAY_FIGURES = ("plut_lut_per_mac", "plut_static_lut_per_mac", "shift_lut_per_mac",
                 "plain_lut_per_mac", "plut_static_of_shift_lut")
console = Console(stderr=True)


@dataclass(frozen=True)
class Variant:
    """``codebook`` and ``bits`` as pot_train.maker takes them, or "" for float."""

    key: str
    title: str
    codebook: str = ""
    bits: int = FLOAT_BITS
    regularized: bool = False
    activation_bits: int = FLOAT_BITS


def variants():
    """All that are measured."""
    out = [Variant("float", "float32")]
    for key, title, codebook, bits in (
            ("pot4", "powers of two, 4 bits", "pot", 4),
            ("pot3", "powers of two, 3 bits", "pot", 3),
            ("apot4", "sums of two powers, 4 bits", "apot", 4)):
        out += [Variant(key + ("" if regularized else "_plain") + suffix, title, codebook, bits,
                        regularized, activation_bits)
                for activation_bits, suffix in ((8, ""), (4, "_a4"))
                for regularized in (True, False)]
    # To compare with.
    return [*out, Variant("uniform4", "uniform, 4 bits", "uniform", 4, True, 8),
            Variant("int8", "uniform, 8 bits", "uniform", 8, True, 8)]


def sizes(network, bits):
    """{of SIZES: bits of all weights} for the levels ({layer: (levels, scale)}) of a network whose
    weights have ``bits``."""
    coded = entropy = huffman = 0
    for q, scale in network.values():
        counts = np.unique(q, return_counts=True)[1]
        scales = len(scale) * SCALE_BITS
        codes = int(counts @ code_lengths(counts).astype(np.int64))
        words = HEADER_WORDS - (-(LENGTH_BITS << bits) // WORD_BITS) - (-codes // WORD_BITS)
        coded += q.size * bits + scales
        entropy += float(counts @ np.log2(q.size / counts)) + scales
        huffman += words * WORD_BITS + scales
    return dict(zip(SIZES, (coded, entropy, huffman), strict=True))


def weights_of(model):
    """How many weights the Conv2d and Linear of a float network have: those that get levels."""
    return sum(m.weight.numel() for m in model.modules()
               if isinstance(m, torch.nn.Conv2d | torch.nn.Linear))


class Sweep:
    """All networks of one kind on one data set. data: as pot_train.dataset takes it."""

    def __init__(self, data, kind):
        self.data, self.kind = data, kind
        self.train, self.test = (pot_train.dataset(data, split) for split in ("train", "test"))
        # Of the files in docs/results.
        self.name = "pot" + ("" if kind == "resnet20" else f"_{kind}") \
            + ("" if data == "fashion" else "_cifar10")

    def path(self, variant, seed, suffix):
        """Where a result ("json") and the arrays ("npz") of a network are kept."""
        settings = {"variant": asdict(variant), "seed": seed, "data": self.data, "kind": self.kind,
                    "images": len(self.train[1]), **RECIPE}
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        return BUILD / f"{variant.key}_{seed}_{key}.{suffix}"

    def empty(self):
        """The float network, untrained."""
        return pot_train.network(self.kind, self.train[0].shape[1], RECIPE["WIDTH"],
                                 RECIPE["STRIDE"])

    def measure(self, variant, seed, network):
        """The result of a variant, trained where it is not kept: {"accuracy": per cent, "seconds":
        of training, and SIZES}. network: the seed's float one, None for the float one itself."""
        path, kept = (self.path(variant, seed, suffix) for suffix in ("json", "npz"))
        if not (path.exists() and kept.exists()):
            begin = time.monotonic()
            with progress(f"seed {seed}: {variant.key}") as say:
                model = self.trained(variant, seed, network, say)
            seconds = time.monotonic() - begin
            result = {"accuracy": pot_train.accuracy(model, *self.test), "seconds": seconds}
            result |= sizes(levels(model), variant.bits) if variant.codebook else \
                dict.fromkeys(SIZES, weights_of(model) * FLOAT_BITS)
            arrays = pot_train.arrays_of(model)
            write(kept, lambda file: np.savez(file, **arrays))
            write(path, lambda file: file.write(json.dumps(result).encode()))
        return json.loads(path.read_text())

    def trained(self, variant, seed, network, say):
        if not variant.codebook:
            return pot_train.train_float(*self.train, seed, self.kind, RECIPE["WIDTH"],
                                         RECIPE["STRIDE"], RECIPE["FLOAT_EPOCHS"], say)
        return pot_train.tune(
            network, pot_train.maker(variant.codebook, variant.bits), *self.train, seed,
            variant.activation_bits, RECIPE["REGULARIZER"] if variant.regularized else 0.0,
            RECIPE["TUNE_EPOCHS"], say)

    def float_network(self, variant, seed):
        """The trained float network, from what measure() kept."""
        return pot_train.load(self.path(variant, seed, "npz"), self.empty())[0]


def figures_of(found):
    """The figures of {variant: [result of each seed]}."""
    figures = {}
    for variant, runs in found.items():
        accuracies = [run["accuracy"] for run in runs]
        figures[variant.key] = float(np.mean(accuracies))
        if len(runs) > 1:
            figures[f"{variant.key}_sd"] = float(np.std(accuracies, ddof=1))
        for size in SIZES:
            figures[f"{variant.key}_{size}"] = float(np.mean([run[size] for run in runs]))
    for variant in found:
        for name, whole in AGAINST.items():
            figures[f"{variant.key}_smaller_than_{name}"] = \
                figures[whole] / figures[f"{variant.key}_huffman_bits"]
    return figures


def show(found, figures, title):
    """The table that the figures make."""
    table = Table(title_justify="left", title=title)
    for name in ("", "top-1, %", "sd", "coded, kB", "entropy", "Huffman", "float /"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for key in (variant.key for variant in found):
        sd = f"{figures[f'{key}_sd']:.2f}" if f"{key}_sd" in figures else ""
        sizes = [f"{figures[f'{key}_{size}'] / 8000:.1f}" for size in SIZES]
        table.add_row(key, f"{figures[key]:.2f}", sd, *sizes,
                      f"{figures[f'{key}_smaller_than_float']:.2f}")
    return table


def plot(found, figures, path):
    """Accuracy against size after Huffman coding, error bars one standard deviation."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    colors = {"pot4": "#06a", "pot3": "#0aa", "apot4": "#c60", "uniform4": "#888", "int8": "k"}
    for variant in found:
        if variant.codebook:
            key, name = variant.key, variant.key.split("_")[0]
            filled = colors[name] if variant.regularized else "none"
            axes.errorbar([figures[f"{key}_huffman_bits"] / 8000], [figures[key]],
                          [figures.get(f"{key}_sd", 0)], color=colors[name], ms=5, capsize=2, ls="",
                          marker="o" if variant.activation_bits == 8 else "v",
                          markerfacecolor=filled, label=variant.title if key == name else None)
    axes.axhline(figures["float"], color="#888", ls=":", lw=1, label="float32")
    axes.set(xlabel="weights after Huffman coding, kB", ylabel="test accuracy, per cent",
             title="filled: with the distribution loss; triangles: activations of 4 bits")
    axes.set_xscale("log")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    results.save_figure(figure, path)


def about_of(sweep):
    """What the figures are of."""
    source = "FashionMNIST" if sweep.data == "fashion" else "CIFAR-10"
    return f"{sweep.kind}, {weights_of(sweep.empty()):,} weights, {source}: top-1 on " \
           f"{len(sweep.test[1]):,} test images"


def save(sweep, found):
    """Write docs/results/NAME.json and NAME.svg of {variant: [result of each seed]}."""
    seeds, fashion = min(len(runs) for runs in found.values()), sweep.data == "fashion"
    command = f"python -m litepress.bench.pot --seeds {seeds}" \
        + ("" if fashion else " --data cifar-10-batches-py") \
        + ("" if sweep.kind == "resnet20" else f" --network {sweep.kind}")
    figures, arrays = figures_of(found), results.RESULTS / "plut_arrays.json"
    if arrays.exists():
        figures |= {key: value for key, value in json.loads(arrays.read_text())["figures"].items()
                    if key in ARRAY_FIGURES}
    results.save(sweep.name, command, f"{about_of(sweep)}, {len(sweep.train[1]):,} training "
                 f"images; seeds 1 to {seeds}; standard deviations are of samples", figures,
                 recipe=RECIPE, runs={v.key: runs for v, runs in found.items()})
    plot(found, figures, results.RESULTS / f"{sweep.name}.svg")


def main(seeds: Annotated[int, typer.Option(help="Networks of each variant.", min=1)] = 3,
         data: Annotated[str, typer.Option(help="fashion, or the folder of CIFAR-10's batches "
                                                "(python version).")] = "fashion",
         network: Annotated[str, typer.Option(help="resnet20 or mobilenet.")] = "resnet20",
         fresh: Annotated[bool, typer.Option(help="Use nothing of docs/results.")] = False):
    """Train and measure all; write docs/results/pot.json and pot.svg after every seed, named
    pot_mobilenet or pot_cifar10 for another network or data. Three quarters of an hour a seed
    on one core.

    Example: python -m litepress.bench.pot --seeds 3
    """
    settle_process()
    sweep, every = Sweep(data, network), variants()
    known = {} if fresh else results.runs(sweep.name, recipe=RECIPE)
    whole = min(len(known.get(v.key, ())) for v in every)
    kept = min(whole, seeds)
    found = {v: known.get(v.key, [])[:kept] for v in every}
    if kept:
        console.print(f"seeds 1 to {kept}: from docs/results/{sweep.name}.json")
    for seed in range(kept + 1, seeds + 1):
        trained = None
        for variant in every:
            result = sweep.measure(variant, seed, trained)
            trained = trained or sweep.float_network(variant, seed)
            found[variant].append(result)
            console.print(f"seed {seed}: {variant.key}: {result['accuracy']:.2f} %, "
                          f"{result['seconds']:.0f} s")
        save(sweep, found)
    if whole == seeds:      # Fewer than there are would lose some.
        save(sweep, found)
    Console().print(show(found, figures_of(found), about_of(sweep)))


if __name__ == "__main__":
    start(main)
