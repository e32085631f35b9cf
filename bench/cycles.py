"""Clocks of whole networks on the simulated SoC: measured, predicted, and with unlimited memory.

    python -m litepress.bench.cycles

Every network is compressed for the array of an 85F (128 multipliers), put into the simulated SoC's
DRAM and run once, and its output compared with the golden model's. The same program then runs on
the accelerator alone, on a memory that gives every port a word a clock. Figures go to
docs/results/cycles.json, a roofline plot to docs/results/roofline.svg.
"""

import logging
import sys
import time
from dataclasses import dataclass
from typing import Annotated

import matplotlib
import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from ..host.api import compress
from ..host.command import start
from ..host.device import connect
from ..host.golden import Golden
from ..host.hazards import walk
from ..host.predict import CLOCKS_PER_WORD, predict
from ..host.report import layer_table, slot_rows
from ..models.data import calibration_images
from ..models.mobilenet import load_backbone, mobilenet_v2
from ..soc.alone import run_image
from ..spec.arch import ARCHS
from ..spec.formats import WORD_BYTES
from ..spec.image import PROGRAM
from .exercise import exercised
from .results import RESULTS, save, save_figure

matplotlib.use("Agg")
import matplotlib.pyplot as plt

console = Console(width=None if sys.stdout.isatty() else 160)
LANES_VECTOR = 12           # Multipliers of VECTOR.
# What COMPUTE does or waits for, clock by clock; the rest is sequencing.
CAUSES = ("mac_cycles", "stall_load", "stall_store", "stall_vector", "stall_abuf", "stall_requant")
# No correction of the weights' values changes a clock.
PLAIN = {"bias_correction": False, "rounding": False, "measure_cost": False}


@dataclass(frozen=True)
class Net:
    """A MobileNetV2; key: of its figures."""

    key: str
    width: float
    size: int

    @property
    def title(self):
        return f"MobileNetV2 {self.width:g}, {self.size}x{self.size}"


NETS = (Net("mobilenet_v2_224", 1.0, 224), Net("mobilenet_v2_035_160", 0.35, 160),
        Net("mobilenet_v2_96", 1.0, 96))


def module(net):
    """1,000 classes; the ImageNet backbone where there is one of that width, the rest random."""
    torch.manual_seed(0)
    model = mobilenet_v2(1000, net.width)
    return load_backbone(model) if net.width == 1.0 else model


def image_of(net, weights, activations, arch):
    images = calibration_images(net.size, 16)
    return compress(module(net), images[:1], images, weights, activations, arch, name=net.title,
                    **PLAIN), images[0]


def gos_of(image):
    words = np.frombuffer(image.section(PROGRAM).data, "<u4")[:image.header["program_words"]]
    return walk(words)


def measure(net, weights, activations, arch, say):
    """Everything about one network: a dict."""
    say(f"{net.title}: compress and plan")
    image, x = image_of(net, weights, activations, arch)
    data = image.encode_input(x)
    expected, = Golden(image).run([data])
    say(f"{net.title}: unlimited memory")
    output, status, _ = run_image(image, data)
    if output != expected:
        raise RuntimeError(f"{net.title}: the accelerator's output is not the golden model's")
    say(f"{net.title}: simulated SoC")
    with connect(f"sim:{exercised(arch)}", preload=image) as sim:
        sim.load(image)
        start, before = time.monotonic(), sim.client.status()["cycles"]
        output = sim.run_raw(data)
        seconds = time.monotonic() - start
        clocks = sim.client.status()["cycles"] - before
        cycles, rows = sim.run_cycles, slot_rows(image, sim.counters())
        table = layer_table(image, sim.counters())
    if output != expected:
        raise RuntimeError(f"{net.title}: the SoC's output is not the golden model's")
    predicted = sum(group["predicted"]["cycles"] for group in image.meta["groups"])
    return {"image": image, "rows": rows, "table": table, "cycles": cycles,
            "unlimited": status.run_cycles, "predicted": predicted, "clock_hz": clocks / seconds,
            "clocks": clocks, "macs": sum(row["macs"] for row in rows),
            "bytes": WORD_BYTES * sum(row["read_words"] + row["write_words"] for row in rows)}


def uncompressed_cycles(net, arch):
    """Predicted clocks with 32 bits a value in DRAM: raw16, and twice the time for each word."""
    image, _ = image_of(net, "raw16", "raw16", arch)
    return sum(p["cycles"] for p in predict(gos_of(image), ARCHS[arch],
                                            2 * CLOCKS_PER_WORD))


def is_pointwise(layer):
    return layer["op"] == "conv" and layer["weights"] == \
        layer["input_shapes"][0][0] * layer["output_shape"][0]


def pointwise_utilisation(rows, multipliers):
    """Useful multiplications by the array's multipliers and the clocks in which COMPUTE executes,
    in the slots whose only convolutions on COMPUTE are 1x1. Per cent."""
    macs = clocks = 0
    for row in rows:
        convs = [layer for layer in row["layers"] if layer["op"] == "conv"]
        if convs and all(is_pointwise(layer) for layer in convs):
            macs += sum(layer["macs"] for layer in convs)
            clocks += sum(row[name] for name in ("mac_cycles", "stall_abuf", "stall_requant"))
    return 100 * macs / (multipliers * clocks)


def overhead(found):
    """Clocks of a run that are neither multiplication nor a wait of COMPUTE for anything: setting
    up GOs and fetching words; and what the CPU adds before and behind. Per cent of the run."""
    explained = sum(row[name] for row in found["rows"] for name in CAUSES)
    return 100 * (found["cycles"] - explained) / found["cycles"]


def roofline(found, arch, path):
    """MACs a clock against MACs a DRAM byte, a point for the layers that run together."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    xs = np.logspace(-1, 3.2, 100)
    axes.plot(xs, np.minimum(ARCHS[arch].multipliers, xs * WORD_BYTES / CLOCKS_PER_WORD), "k-",
              lw=1, label=f"{ARCHS[arch].multipliers} multipliers, {CLOCKS_PER_WORD} clocks a word")
    axes.axhline(LANES_VECTOR, color="#888", ls=":", lw=1, label="VECTOR's 12 multipliers")
    for row in found["rows"]:
        moved = WORD_BYTES * (row["read_words"] + row["write_words"])
        if row["macs"] and moved:
            with_vector = "depthwise" in row["op"]
            axes.scatter(row["macs"] / moved, row["macs"] / row["cycles"],
                         s=10 + 4000 * row["cycles"] / found["cycles"],
                         color="#c60" if with_vector else "#06a", alpha=0.6)
    axes.scatter([], [], color="#06a", label="1x1 layers")
    axes.scatter([], [], color="#c60", label="groups with a depthwise layer")
    axes.set(xscale="log", yscale="log", xlabel="MACs a byte of DRAM traffic",
             ylabel="MACs a clock", ylim=(1, 200), title=f"{found['image'].meta['name']} on the "
             "simulated SoC (area: share of the clocks)")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def main(weights: Annotated[str, typer.Option(help="Storage format of the weights.")] = "zfpi8",
         activations: Annotated[str, typer.Option(help="... of the activations.")] = "zfpi8",
         arch: Annotated[str, typer.Option(help="Size of the accelerator.")] = "85f",
         nets: Annotated[str, typer.Option(help="Keys of networks, by commas.")] = ""):
    """Measure all networks. Some 10 minutes on two cores.

    Example: python -m litepress.bench.cycles --nets mobilenet_v2_96
    """
    logging.disable(logging.WARNING)
    chosen = [net for net in NETS if not nets or net.key in nets.split(",")]
    if not chosen:
        raise ValueError(f"--nets {nets}: allowed are {', '.join(net.key for net in NETS)}")
    multipliers, figures, tables = ARCHS[arch].multipliers, {"multipliers":
                                                             ARCHS[arch].multipliers}, {}
    exercised(arch, say=console.print)
    found = {}
    with Progress(TextColumn("{task.description}"), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("", total=None)
        for net in chosen:
            one = found[net.key] = measure(net, weights, activations, arch,
                                           lambda text: bar.update(task, description=text))
            bar.update(task, description=f"{net.title}: 32 bits a value, predicted")
            raw = uncompressed_cycles(net, arch)
            figures |= {
                f"{net.key}_cycles": one["cycles"],
                f"{net.key}_unlimited_memory_cycles": one["unlimited"],
                f"{net.key}_memory_ratio": one["cycles"] / one["unlimited"],
                f"{net.key}_predicted_cycles": one["predicted"],
                f"{net.key}_prediction_error_percent":
                    100 * (one["predicted"] / one["cycles"] - 1),
                f"{net.key}_overhead_percent": overhead(one),
                f"{net.key}_pointwise_utilisation": pointwise_utilisation(one["rows"],
                                                                          multipliers),
                f"{net.key}_macs_per_cycle": one["macs"] / one["cycles"],
                f"{net.key}_dram_bytes": one["bytes"],
                f"{net.key}_predicted_32bit_cycles": raw,
                f"{net.key}_speedup_over_32bit": raw / one["cycles"],
            }
            tables[net.key] = [{k: v for k, v in row.items() if k != "layers"}
                               for row in one["rows"]]
    first = found[chosen[0].key]
    figures |= {"memory_ratio": figures[f"{chosen[0].key}_memory_ratio"],
                "pointwise_utilisation": figures[f"{chosen[0].key}_pointwise_utilisation"],
                "sim_clock_hz": max(one["clock_hz"] for one in found.values())}
    for one in found.values():
        console.print(one["table"])
    for key, value in figures.items():
        console.print(f"{key:<48}{value:>16,.3f}" if isinstance(value, float)
                      else f"{key:<48}{value:>12,}")
    roofline(first, arch, RESULTS / "roofline.svg")
    command = f"python -m litepress.bench.cycles --weights {weights} --activations " \
              f"{activations} --arch {arch}" + (f" --nets {nets}" if nets else "")
    save("cycles", command, "1,000 classes; ImageNet backbone (width 1.0) or random weights (width "
         "0.35), random head; a FashionMNIST image; image in DRAM, output equal to the golden "
         "model's; 32-bit figures predicted", figures, slots=tables)


if __name__ == "__main__":
    start(main)
