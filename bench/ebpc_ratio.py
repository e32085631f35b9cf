"""Compression ratios of EBPC and of the codes before it on real feature maps.

    python -m litepress.bench.ebpc_ratio

MobileNetV2's ImageNet backbone and EfficientNet-Lite0 run on 30 natural photos at 224x224; their
feature maps become words of 8 and 16 bits and are coded. ``bench/maps.py`` says which maps, words
and orders, ``bench/zero_codecs.py`` which other codes. The ratio of a frame is the bits of its
words, without padding, to all the bits that are stored for them:

- order of channels, one stream a map (EBPC: two): a stream is padded to 32-bit words, and its
  number of them stands before it in 32 bits;
- order of rows, segments: one header of 32 bits a segment, streams padded to 32-bit words, raw
  where that is shorter, as host/codecs/segments.py does. The other codes get the same segments;
  "raw" is the formats raw8, raw8u and raw16: no headers, but rows padded to four pixels.

Figures are named NETWORK_BITS[_WORDS][_all][_dram][_CODE][_STATISTIC]. Left out, they mean: words
"fixed", maps after a ReLU only, the order of channels, EBPC in blocks of 8, the mean over frames.
With ``layers`` in place of the statistic: the mean over layers and frames of the layers' ratios.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track

from ..host.codecs import EBPC
from ..host.codecs.segments import raw_words, segment_lengths
from ..host.command import start
from ..models.efficientnet import efficientnet_lite0, preprocess_photo
from ..models.mobilenet import load_backbone, mobilenet_v2
from ..models.photos import normalized_crop, photos, photos_in
from .maps import FIXED, RANGE, RELU, SIGNED, UNSIGNED, in_channels, in_rows, peak, record, to_words
from .results import save
from .zero_codecs import bpc_bits, zero_rle_bits, zvc_bits

WORD = 32                                  # Streams and segments are whole DRAM words.
NETWORKS = {
    "mobilenet_v2": (lambda: load_backbone(mobilenet_v2()).eval(), normalized_crop),
    "efficientnet_lite0": (efficientnet_lite0, preprocess_photo),
}
# (bits, words)
CASES = ((8, FIXED), (16, FIXED), (8, RANGE), (8, SIGNED), (16, SIGNED), (8, UNSIGNED))
EBPC8, EBPC16, ZERO_RLE, ZVC, BPC, RAW = "", "block16", "zero_rle", "zvc", "bpc", "raw"
BLOCKS = {EBPC8: 8, EBPC16: 16}
OTHERS = {ZERO_RLE: zero_rle_bits, ZVC: zvc_bits, BPC: bpc_bits}
CHANNELS, ROWS = "", "dram"
CODES = {CHANNELS: (EBPC8, EBPC16, ZERO_RLE, ZVC, BPC), ROWS: (EBPC8, EBPC16, ZERO_RLE, ZVC, RAW)}
STATISTICS = {"": np.mean, "p01": lambda r: np.percentile(r, 1), "median": np.median,
              "min": np.min, "max": np.max}


@dataclass
class Measured:
    """One network. ``maps``: (name, kind, shape) of every map; ``raw``: bits of its words at 8 bits
    a word, int64 (maps,); ``bits``: (bits, words, order, code) -> int64 (frames, maps); ``zeros``:
    share of zero words of CASES[0], (frames, maps)."""

    maps: list
    raw: np.ndarray
    bits: dict
    zeros: np.ndarray

    def ratios(self, case, order=CHANNELS, code=EBPC8, chosen=slice(None)):
        """Ratios of frames over the chosen maps, float64 (frames,)."""
        stored = self.bits[*case, order, code][:, chosen]
        return self.raw[chosen].sum() * case[0] // 8 / stored.sum(axis=1)

    def layer_ratios(self, case, order=CHANNELS, code=EBPC8):
        """Ratios of single maps, float64 (frames, maps)."""
        return self.raw * (case[0] // 8) / self.bits[*case, order, code]

    @property
    def relu(self):
        return np.array([kind == RELU for _, kind, _ in self.maps])


# Sizes --------------------------------------------------------------------------------------------


def stream_bits(words, signed, bits, code):
    """Bits of a map (C, H, W) in the order of channels."""
    rows = in_channels(words)
    if code in BLOCKS:
        streams = EBPC(bits, BLOCKS[code], signed).sizes(rows)
    else:
        streams = (OTHERS[code](rows, bits),)
    return sum(WORD + WORD * -(-int(stream[0]) // WORD) for stream in streams)


def segment_bits(words, signed, bits, code):
    """Bits of a map (C, H, W) in the order of rows."""
    if code == RAW:
        return sum(part.size for part in in_rows(words)) * bits
    total = 0
    for part in in_rows(words):
        if code in BLOCKS:
            lengths = segment_lengths(part, bits, BLOCKS[code], signed)
        else:
            coded = -(-OTHERS[code](part, bits) // WORD)
            lengths = 1 + np.minimum(coded, raw_words(part.shape[1], bits))
        total += WORD * int(lengths.sum())
    return total


SIZES = {CHANNELS: stream_bits, ROWS: segment_bits}


def measure(network, xs, cases=CASES, follow=iter):
    """A network in eval mode and preprocessed photos, a list of float32 (3, H, W) -> Measured.

    follow: wraps the photos, to report progress.
    """
    peaks = None
    for x in xs:                                # The scales first; the maps are too many to keep.
        found = np.array([peak(m.values) for m in record(network, x)])
        peaks = found if peaks is None else np.maximum(peaks, found)
    bits = {(*case, order, code): [] for case in cases for order in CODES for code in CODES[order]}
    zeros = []
    for x in follow(xs):
        maps = record(network, x)
        for row in (*bits.values(), zeros):
            row.append([])
        for one, top in zip(maps, peaks, strict=True):
            for case in cases:
                words, signed = to_words(one.values, one.kind, top, *case)
                if case == cases[0]:
                    zeros[-1].append(1 - np.count_nonzero(words) / words.size)
                for order, codes in CODES.items():
                    for code in codes:
                        bits[*case, order, code][-1].append(
                            SIZES[order](words, signed, case[0], code))
    return Measured([(m.name, m.kind, m.values.shape) for m in maps],
                    np.array([8 * m.values.size for m in maps]),
                    {key: np.array(rows) for key, rows in bits.items()}, np.array(zeros))


# Figures ------------------------------------------------------------------------------------------


def name_of(network, case, everything, order, code, statistic=""):
    """The key of a figure."""
    bits, words = case
    parts = (network, str(bits), "" if words == FIXED else words, "all" if everything else "",
             order, code, statistic)
    return "_".join(part for part in parts if part)


def figures_of(network, measured):
    """name -> float, of every case, order and code; all statistics of EBPC in blocks of 8, the mean
    of the others."""
    figures = {}
    for *case, order, code in measured.bits:
        for everything in (False, True):
            chosen = slice(None) if everything else measured.relu
            ratios = measured.ratios(case, order, code, chosen)
            for statistic, function in STATISTICS.items():
                if code == EBPC8 or not statistic:
                    key = name_of(network, case, everything, order, code, statistic)
                    figures[key] = round(float(function(ratios)), 4)
        if order == CHANNELS:
            layers = measured.layer_ratios(case, order, code)[:, measured.relu]
            key = name_of(network, case, False, order, code, "layers")
            figures[key] = round(float(layers.mean()), 4)
    return figures


def layers_of(measured):
    """A dict a map: its ratios over frames with fixed8 in the order of channels (minimum, quartiles
    and median, maximum), its zeros, and the mean ratio of what LitePress stores."""
    ratios = measured.layer_ratios(CASES[0])
    stored = measured.layer_ratios((8, UNSIGNED), ROWS)
    spread = np.percentile(ratios, (0, 25, 50, 75, 100), axis=0)
    return [{"name": name, "kind": kind, "shape": list(shape),
             "ratio": [round(float(v), 4) for v in spread[:, i]],
             "zeros": round(float(measured.zeros[:, i].mean()), 4),
             "stored": round(float(stored[:, i].mean()), 4)}
            for i, (name, kind, shape) in enumerate(measured.maps)]


def top1(network, xs, found):
    """How many of the photos with a label the network names, and how many have one."""
    labelled = [(x, photo.label) for x, photo in zip(xs, found, strict=True)
                if photo.label is not None]
    with torch.no_grad():
        hits = [int(network(torch.from_numpy(x)[None]).argmax()) == label for x, label in labelled]
    return sum(hits), len(hits)


def main(folder: Annotated[Path | None, typer.Option("--photos", help="A folder of photos in "
                                                     "place of the installed ones.")] = None,
         count: Annotated[int, typer.Option(help="Photos at most; 0: all.")] = 0,
         output: Annotated[str, typer.Option(help="Name in docs/results.")] = "ebpc"):
    """Measure, save docs/results/OUTPUT.json; `python -m litepress.bench.ebpc_ratio_tables` makes
    picture and table of it.

    Example: python -m litepress.bench.ebpc_ratio --photos ~/photos --output ebpc_own
    """
    console = Console()
    try:
        found = (photos_in(folder) if folder else photos())[:count or None]
        figures, layers = {"photos": len(found)}, {}
        for name, (make, preprocess) in NETWORKS.items():
            network, start = make(), time.monotonic()
            xs = [preprocess(photo) for photo in found]
            measured = measure(network, xs,
                               follow=lambda items, name=name: track(items, name, console=console))
            figures.update(figures_of(name, measured))
            layers[name] = layers_of(measured)
            console.print(f"{name}: {figures[f'{name}_8']:.2f}x at 8 bits, "
                          f"{figures[f'{name}_16']:.2f}x at 16, {len(measured.maps)} maps of "
                          f"{len(xs)} photos in {time.monotonic() - start:.0f} s")
            if name == "efficientnet_lite0":
                hits, labelled = top1(network, xs, found)
                figures |= {f"{name}_top1_hits": hits, f"{name}_top1_photos": labelled}
    except (FileNotFoundError, ValueError) as error:
        console.print(f"error: {error}", style="red", highlight=False)
        raise typer.Exit(1) from None
    options = [text for text in (f"--photos {folder}" if folder else "",
                                 f"--count {count}" if count else "",
                                 f"--output {output}" if output != "ebpc" else "") if text]
    what = (f"{len(found)} photos of {folder.name}" if folder else f"{len(found)} natural photos: "
            "20 of ImageNet (foolbox 3.3.4), 10 of scikit-image 0.26.0") + ", 224x224"
    path = save(output, " ".join(["python -m litepress.bench.ebpc_ratio", *options]), what, figures,
                layers=layers, photos=[photo.name for photo in found])
    console.print(f"saved {path}")


if __name__ == "__main__":
    start(main)
