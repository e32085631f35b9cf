"""The main job on real weights and real images: compress, load over the UART, run, compare.

    python -m litepress.bench.demo

MobileNetV2 1.0 at 96x96 (ImageNet backbone, FashionMNIST head) is compressed into an image, which
the golden model runs on 1,000 test images and the simulated SoC, loaded over its UART, on 10.
"""

import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..host.api import compress
from ..host.command import start
from ..host.device import connect
from ..host.evaluate import accuracy, golden_logits
from ..host.image import Image
from ..host.report import layer_table, slot_rows, step_reporter
from ..models.data import LABELS, calibration_images, describe, fashion_mnist, preprocess
from ..models.mobilenet import RESOLUTION, mobilenet_v2_fashion
from ..soc.sim import build_sim
from .results import save

CALIBRATION = 128
console = Console(width=None if sys.stdout.isatty() else 160)


def demo_image(weights, activations, arch, path, keep=False, say=None, calibration=CALIBRATION):
    """Compress the demo's network and save it to ``path``; returns (Image, module)."""
    module = mobilenet_v2_fashion()
    images = calibration_images(RESOLUTION, calibration)
    image = compress(module, images[:1], images, weights, activations, arch, keep=keep,
                     name="MobileNetV2 1.0 96x96", labels=LABELS,
                     preprocessing=describe(RESOLUTION), progress=say)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return image, module


def float_logits(module, xs):
    """The PyTorch module's own answers: float32 (N, 10)."""
    with torch.no_grad():
        return np.concatenate([module(torch.from_numpy(xs[i:i + 50])).numpy()
                               for i in range(0, len(xs), 50)])


def bits_per_value(image):
    """True bits a value, headers and padding included: (weights, activations in DRAM)."""
    layers = image.meta["layers"]
    weights = 8 * sum(l["stored_bytes"] for l in layers) / sum(l["weights"] for l in layers)
    tensors = image.meta["tensors"].values()
    values = sum(int(np.prod(t["shape"])) for t in tensors)
    return weights, 8 * sum(t["bytes"] for t in tensors) / values


def simulate(path, xs, simulator, say):
    """Load the image file over the UART into a simulator and run float ``xs`` (N, C, H, W).

    Returns a dict: ``answers`` and ``expected`` (encoded outputs of SoC and golden model, lists of
    bytes), ``cycles`` (list), ``load_cycles``, ``counters``, ``clocks_per_second``, ``hash`` of
    the file that ran.
    """
    image = Image.load(path)
    found = {"answers": [], "expected": [], "cycles": [], "hash": image.hash}
    with connect(f"sim:{simulator}") as sim, connect("golden") as golden:
        before, start = sim.client.status()["cycles"], time.monotonic()
        sim.load(image, progress=lambda done, total: say("load over the UART", done, total))
        found["load_cycles"] = sim.client.status()["cycles"] - before
        golden.load(image)
        for index, x in enumerate(xs):
            say("images on the simulated SoC", index, len(xs))
            data = image.encode_input(x)
            found["answers"].append(sim.run_raw(data))
            found["cycles"].append(sim.run_cycles)
            found["expected"].append(golden.run_raw(data))
        say("images on the simulated SoC", len(xs), len(xs))
        found["counters"] = sim.counters()
        clocks = sim.client.status()["cycles"] - before
        found["clocks_per_second"] = clocks / (time.monotonic() - start)
    return found


def report(image, path, found, labels, figures, names):
    """Print what the demo proved."""
    console.print(layer_table(image, found["counters"]))
    for index, (answer, expected) in enumerate(zip(found["answers"], found["expected"],
                                                   strict=True)):
        said = LABELS[int(np.argmax(image.output_values(answer)))]
        verdict = "equal to" if answer == expected else "DIFFER from"
        console.print(f"image {index:2}  {said:<12} label {LABELS[labels[index]]:<12} output bytes "
                      f"{verdict} the golden model's")
    f = figures
    equal = f["images_equal"] == f["images"]
    for name, text in (
            ("image file", f"{path}, {f['file_bytes']:,} bytes"),
            ("golden ran", f"sha256 {image.hash}"),
            ("sim ran", f"sha256 {found['hash']}, CRC-32s checked on the device"),
            ("storage", f"weights {names[0]}: {f['weight_bits']:.2f} bits a value, activations "
                        f"in DRAM {names[1]}: {f['activation_bits']:.2f}, padding and headers "
                        f"included"),
            ("load", f"{f['load_clocks_per_byte']:.1f} system clocks a byte over the simulated "
                     f"UART, verification included"),
            ("run", f"{f['cycles']:,.0f} system clocks an image, {f['multipliers']} multipliers"),
            ("accuracy", f"float {f['float']:.1f} %, golden model {f['golden']:.1f} %, "
                         f"{f['golden_images']:,} FashionMNIST test images (ImageNet backbone, "
                         f"FashionMNIST head)"),
            ("bit-exact", f"{'every output byte equal' if equal else 'BYTES DIFFER'}: "
                          f"{f['images_equal']} of {f['images']} images, SoC against golden")):
        console.print(f"{name:<12}{text}", soft_wrap=True)


def main(images: Annotated[int, typer.Option(help="Test images through the simulated SoC.")] = 10,
         golden_images: Annotated[int, typer.Option(help="Test images for accuracy.")] = 1000,
         weights: Annotated[str, typer.Option(help="Storage format of the weights.")] = "zfpi8",
         activations: Annotated[str, typer.Option(help="... of the activations.")] = "zfpi8",
         arch: Annotated[str, typer.Option(help="Size of the accelerator.")] = "sim"):
    """Run the demo; exit code 1 when any byte differs.

    Example: python -m litepress.bench.demo --images 2 --golden-images 100
    """
    began = time.monotonic()
    logging.disable(logging.WARNING)   # LiteX tells every step of a build.
    simulator = build_sim(arch, say=console.print)
    path = Path("build") / f"demo_{weights}_{activations}_{arch}.lpk"
    columns = (TextColumn("{task.description:<30}"), BarColumn(), TextColumn(
        "{task.completed:>9,.0f} of {task.total:>9,.0f}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        say = step_reporter(bar)
        image, module = demo_image(weights, activations, arch, path, say=say)
        test, labels = fashion_mnist("test")
        xs = preprocess(test[:max(golden_images, images)], RESOLUTION)
        # The simulator takes one core, the golden model the other.
        with ThreadPoolExecutor(1) as pool:
            simulation = pool.submit(simulate, path, xs[:images], simulator, say)
            answers = golden_logits(image, xs[:golden_images], max((os.cpu_count() or 2) - 1, 1),
                                    progress=lambda *n: say("golden model: accuracy", *n))
            found = simulation.result()
        float_answers = float_logits(module, xs[:golden_images])
    truth = labels[:golden_images]
    weight_bits, activation_bits = bits_per_value(image)
    figures = {
        "float": accuracy(float_answers, truth), "golden": accuracy(answers, truth),
        "golden_images": golden_images, "images": images,
        "images_equal": sum(a == b for a, b in zip(found["answers"], found["expected"],
                                                   strict=True)),
        "cycles": float(np.mean(found["cycles"])), "multipliers": 4 * image.header["columns"],
        "load_clocks_per_byte": found["load_cycles"] / len(image.bytes()),
        "file_bytes": len(image.bytes()), "weight_bits": weight_bits,
        "activation_bits": activation_bits, "sim_clock_hz": found["clocks_per_second"]}
    report(image, path, found, labels, figures, (weights, activations))
    result = save("demo", f"python -m litepress.bench.demo --images {images} --golden-images "
                  f"{golden_images} --weights {weights} --activations {activations} --arch {arch}",
                  "FashionMNIST test images, 96x96; ImageNet backbone, FashionMNIST head",
                  figures, image_sha256=image.hash, slots=slot_rows(image, found["counters"]))
    seconds = time.monotonic() - began
    console.print(f"{'written':<12}{os.path.relpath(result)}, after {seconds:.0f} s",
                  soft_wrap=True)
    raise typer.Exit(0 if figures["images_equal"] == images else 1)


if __name__ == "__main__":
    start(main)
