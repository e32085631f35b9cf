"""Every tensor of the demo's network, read back from the simulated SoC, against the golden model.

    python -m litepress.bench.tensors

For each storage format (or WEIGHTS/ACTIVATIONS): an image in which every tensor keeps its place,
loaded over the UART, one FashionMNIST test image through it, every byte of every tensor compared;
and the golden model's accuracy on 1,000 test images.
"""

import logging
from pathlib import Path
from typing import Annotated

import typer

from ..host.command import start
from ..host.device import connect
from ..host.evaluate import accuracy, golden_logits
from ..models.data import fashion_mnist, preprocess
from ..models.mobilenet import RESOLUTION
from ..soc.sim import build_sim
from .demo import bits_per_value, console, demo_image, float_logits
from .results import save

FORMATS = ("raw16", "zfpe12", "zfpi8", "zfpi6", "raw8", "raw8/ebpc8")


def compare(image, x, simulator):
    """(names of tensors, names of those with a byte that differs)."""
    with connect(f"sim:{simulator}") as sim, connect("golden") as golden:
        for device in (sim, golden):
            device.load(image)
            device.run(x)
        names = list(image.meta["tensors"])
        return names, [name for name in names
                       if sim.read_tensor_bytes(name) != golden.read_tensor_bytes(name)]


def main(formats: Annotated[str, typer.Option(help="Storage formats, comma-separated.")] =
         ",".join(FORMATS),
         golden_images: Annotated[int, typer.Option(help="Test images for accuracy.")] = 1000,
         arch: Annotated[str, typer.Option(help="Size of the accelerator.")] = "sim"):
    """Compare; exit code 1 when any byte differs.

    Example: python -m litepress.bench.tensors --formats zfpe8 --golden-images 0
    """
    logging.disable(logging.WARNING)   # LiteX tells every step of a build.
    simulator = build_sim(arch, say=console.print)
    test, labels = fashion_mnist("test")
    xs, labels = preprocess(test[:max(golden_images, 1)], RESOLUTION), labels[:golden_images]
    figures, logits, wrong = {}, {}, 0
    for name in formats.split(","):
        weights, _, activations = name.partition("/")
        path = Path("build") / f"tensors_{name.replace('/', '_')}_{arch}.lpk"
        image, module = demo_image(weights, activations or weights, arch, path, keep=True)
        if golden_images and "float" not in figures:
            figures["float"] = accuracy(float_logits(module, xs), labels)
        tensors, differ = compare(image, xs[0], simulator)
        wrong += len(differ)
        figures[f"tensors_{name}"] = len(tensors)
        figures[f"tensors_equal_{name}"] = len(tensors) - len(differ)
        figures[f"weight_bits_{name}"], figures[f"activation_bits_{name}"] = bits_per_value(image)
        if golden_images:
            logits[name] = golden_logits(image, xs)
            figures[f"golden_{name}"] = accuracy(logits[name], labels)
        console.print(f"{name}: {len(tensors) - len(differ)} of {len(tensors)} tensors equal in "
                      f"every byte; differ: {', '.join(differ) or 'none'}; "
                      f"accuracy {figures.get(f'golden_{name}', float('nan')):.1f} %, float "
                      f"{figures.get('float', float('nan')):.1f} %; sha256 {image.hash}")
    if {"raw8", "raw8/ebpc8"} <= set(logits):
        equal = int((logits["raw8"] == logits["raw8/ebpc8"]).all(axis=1).sum())
        figures["ebpc_logits_equal_raw8"] = equal
        wrong += len(labels) - equal
        console.print(f"ebpc8 activations: logits of {equal} of {len(labels)} images equal raw8's")
    save("tensors", f"python -m litepress.bench.tensors --formats {formats} --golden-images "
         f"{golden_images} --arch {arch}",
         "FashionMNIST test images, 96x96; ImageNet backbone, FashionMNIST head", figures)
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    start(main)
