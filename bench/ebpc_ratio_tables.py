"""Picture and tables of docs/ebpc-ratio.md, made from docs/results/ebpc.json.

    python -m litepress.bench.ebpc_ratio_tables
"""

import json

import matplotlib

from ..host.command import start
from .ebpc_ratio import BPC, EBPC8, EBPC16, NETWORKS, RAW, ROWS, ZERO_RLE, ZVC, name_of
from .maps import FIXED, LINEAR, RANGE, RELU, SIGNED, SUM, UNSIGNED
from .pages import fill
from .results import RESULTS, save_figure

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PAGE = RESULTS.parent / "ebpc-ratio.md"
TITLES = {"mobilenet_v2": "MobileNetV2", "efficientnet_lite0": "EfficientNet-Lite0"}
COLORS = {RELU: "#2a7", LINEAR: "#d73", SUM: "#36c"}
# Cavigelli et al., medians for MobileNetV2 with the same four codes.
PUBLISHED = {8: (1.95, 1.71, 1.42, 1.45), 16: (1.60, 1.30, 1.40, 1.43)}


def read():
    """docs/results/ebpc.json as a dict. FileNotFoundError names the command that makes it."""
    path = RESULTS / "ebpc.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: not found; run python -m litepress.bench.ebpc_ratio "
                                f"first")
    return json.loads(path.read_text())


def markdown(header, rows):
    """Lines of a table."""
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header),
            *("| " + " | ".join(row) + " |" for row in rows)]


def against(figures):
    """Words as the paper's, after ReLU6, order of channels: EBPC and the others."""
    rows = []
    for network, title in TITLES.items():
        for bits in (8, 16):
            case = bits, FIXED
            mean = {code: figures[name_of(network, case, False, "", code)]
                    for code in (EBPC8, EBPC16, ZERO_RLE, ZVC, BPC)}
            best = max(mean[code] for code in (ZERO_RLE, ZVC, BPC))
            p01, low, high, layers = (figures[name_of(network, case, False, "", EBPC8, s)]
                                      for s in ("p01", "min", "max", "layers"))
            rows.append([f"{title}, {bits} bits", f"**{mean[EBPC8]:.2f}**", f"{p01:.2f}",
                         f"{low:.2f} to {high:.2f}", f"{layers:.2f}", f"{mean[EBPC16]:.2f}",
                         *(f"{mean[code]:.2f}" for code in (BPC, ZERO_RLE, ZVC)),
                         f"{100 * (mean[EBPC8] / best - 1):+.0f} %"])
    for bits, (ebpc, bpc, rle, zvc) in PUBLISHED.items():
        rows.append([f"published: MobileNetV2, {bits} bits, medians", f"{ebpc:.2f}", "", "", "", "",
                     f"{bpc:.2f}", f"{rle:.2f}", f"{zvc:.2f}",
                     f"{100 * (ebpc / max(bpc, rle, zvc) - 1):+.0f} %"])
    return markdown(["", "EBPC", "1st percentile", "frames", "mean of layers", "blocks of 16",
                     "BPC", "zero-RLE", "ZVC", "over the best"], rows)


def words(figures):
    """EBPC by words, maps and order, and uncompressed words."""
    rows = []
    names = {(8, FIXED): "8 bits, fixed: 0 .. 95", (8, RANGE): "8 bits, range: ReLU6's 6 is 95",
             (8, SIGNED): "8 bits, signed: 0 .. 127", (8, UNSIGNED): "8 bits, unsigned: 0 .. 255",
             (16, FIXED): "16 bits, fixed: 0 .. 24575", (16, SIGNED): "16 bits, signed: 0 .. 32767"}
    for network, title in TITLES.items():
        for case, name in names.items():
            rows.append([f"{title}, {name}",
                         *(f"{figures[name_of(network, case, everything, order, EBPC8)]:.2f}"
                           for everything in (False, True) for order in ("", ROWS))])
        raw = [figures[name_of(network, (8, UNSIGNED), everything, ROWS, RAW)]
               for everything in (False, True)]
        rows.append([f"{title}, 8 bits, raw", "1.00", f"{raw[0]:.2f}", "1.00", f"{raw[1]:.2f}"])
    return markdown(["", "after ReLU6, channels", "after ReLU6, rows", "all tensors, channels",
                     "all tensors, rows"], rows)


def picture(result, path):
    """A box a map: its ratios over the frames."""
    figure, panels = plt.subplots(len(NETWORKS), figsize=(11, 7), squeeze=False)
    for (network, title), axes in zip(TITLES.items(), panels[:, 0], strict=True):
        layers = [layer for layer in result["layers"][network] if layer["kind"] in COLORS]
        boxes = [dict(zip(("whislo", "q1", "med", "q3", "whishi"), layer["ratio"], strict=True))
                 for layer in layers]
        drawn = axes.bxp(boxes, range(len(boxes)), showfliers=False, patch_artist=True, widths=0.7,
                         medianprops={"color": "black"})
        for box, layer in zip(drawn["boxes"], layers, strict=True):
            box.set(facecolor=COLORS[layer["kind"]], linewidth=0.5)
        for key, label in ((RELU, "after ReLU6"), (LINEAR, "linear bottleneck"), (SUM, "sum")):
            axes.bar(0, 0, color=COLORS[key], label=label)
        axes.axhline(1, color="#bbb", linewidth=0.8)
        axes.set_xticks(range(0, len(boxes), 5), range(0, len(boxes), 5))
        axes.set_ylim(0)
        axes.set_ylabel("words / stored")
        axes.set_title(f"{title}, 8-bit words (fixed8), order of channels: {len(result['photos'])} "
                       f"photos, a box a tensor", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    panels[-1, 0].set_xlabel("tensor, in the order of execution")
    save_figure(figure, path)


def main():
    """Write docs/results/ebpc_ratio.svg and the tables of docs/ebpc-ratio.md."""
    result = read()
    picture(result, RESULTS / "ebpc_ratio.svg")
    fill(PAGE, "python -m litepress.bench.ebpc_ratio_tables",
         {"codes": against(result["figures"]), "words": words(result["figures"])})


if __name__ == "__main__":
    start(main)
