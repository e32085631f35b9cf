"""README's picture and table, made from docs/results.

    python -m litepress.bench.tables
"""

import json
import os

import matplotlib

from .results import RESULTS

matplotlib.use("Agg")
import matplotlib.pyplot as plt

README = RESULTS.parents[1] / "README.md"
BEGIN, END = "<!-- results: made by python -m litepress.bench.tables -->", "<!-- /results -->"
CAUSES = (("mac_cycles", "array busy", "#2a7"), ("stall_load", "waits for LOAD", "#d73"),
          ("stall_store", "waits for STORE", "#36c"))


def read(name):
    """docs/results/NAME.json as a dict. FileNotFoundError names the command that makes it."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: not found; run python -m litepress.bench.{name} first")
    return json.loads(path.read_text())


def table(demo, tensors):
    """Rows of the README's table: (what, measured)."""
    d, t = demo["figures"], tensors["figures"]
    kinds = [k.removeprefix("tensors_equal_") for k in t if k.startswith("tensors_equal_")]
    equal = ", ".join(f"{k}: {t[f'tensors_equal_{k}']} of {t[f'tensors_{k}']}" for k in kinds)
    rows = [
        ("Network", "MobileNetV2 1.0, 96x96, 2.2 M weights (ImageNet backbone, FashionMNIST head)"),
        ("Tensors equal to the golden model in every byte", equal),
        ("Output bytes equal, image loaded over the UART",
         f"{d['images_equal']:.0f} of {d['images']:.0f} test images"),
        ("System clocks an image", f"{d['cycles']:,.0f} on {d['multipliers']:.0f} multipliers, "
         "16-bit SDR SDRAM at 1:2"),
        ("Loading over the UART, CRC checked on the device",
         f"{d['load_clocks_per_byte']:.1f} system clocks a byte"),
    ]
    for k in kinds:
        if f"golden_{k}" in t:
            rows.append((f"Accuracy, weights and activations {k}",
                         f"{t[f'golden_{k}']:.1f} % (float {t['float']:.1f} %) at "
                         f"{t[f'weight_bits_{k}']:.2f} / {t[f'activation_bits_{k}']:.2f} bits"))
    return rows


def picture(demo, path):
    """A bar a layer: clocks by what the array did."""
    layers = demo["layers"]
    figure, axes = plt.subplots(figsize=(10, 3.6))
    left = [0.0] * len(layers)
    for key, label, color in (*CAUSES, (None, "other", "#bbb")):
        if key:
            height = [layer[key] for layer in layers]
        else:
            height = [layer["cycles"] - base for layer, base in zip(layers, left, strict=True)]
        axes.bar(range(len(layers)), height, 0.8, left, color=color, label=label)
        left = [a + b for a, b in zip(left, height, strict=True)]
    axes.set_xlabel("layer")
    axes.set_ylabel("system clocks")
    axes.set_title("MobileNetV2 96x96 on the simulated SoC: where the clocks of each layer go")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main():
    """Write docs/results/demo.svg and the README's table."""
    demo, tensors = read("demo"), read("tensors")
    picture(demo, RESULTS / "demo.svg")
    lines = ["| measured on 1,000 FashionMNIST test images and the simulated SoC | |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in table(demo, tensors)]
    lines += ["", f"Made by `{demo['command']}` and `{tensors['command']}`; figures, versions and "
              "data in `docs/results/`."]
    text = README.read_text()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    temporary = README.with_suffix(".tmp")
    temporary.write_text(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail)
    os.replace(temporary, README)


if __name__ == "__main__":
    main()
