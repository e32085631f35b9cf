"""Which fixed-rate block format is best at the same true bits: candidates on MobileNetV2.

    python -m litepress.bench.explore

The float network runs on FashionMNIST test images with every weight, or every activation, put
through a candidate at the same bits a value everywhere; channel means are corrected on calibration
images, as host/quantize.py does. What counts is what the answers lose: their signal-to-noise ratio
against the float network's, and top-1. Weights are blocks of 4 output channels of a tap, scaled to
their channel's largest; activations blocks of 4 pixels of a row, scaled to the tensor's largest.
"""

from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ..host.calibrate import calibrate
from ..host.codecs.block import roundtrip
from ..host.command import start
from ..host.graph import ADD, CONV, DEPTHWISE
from ..host.importer import import_module
from ..host.quantize import activation_scale, weight_scale
from ..models.data import calibration_images, fashion_mnist, preprocess
from ..models.mobilenet import RESOLUTION, mobilenet_v2_fashion
from ..spec.formats import LANES, Format
from .results import save

BITS = (6, 8, 10, 12)
CALIBRATION = 96
SIGNED = Format.parse("zfpi8")     # For scales.
console = Console()


def spec(stem):
    """A format of spec/formats.py."""
    def codec(q, bits, unsigned):
        fmt = Format.parse(stem.format(bits))
        return roundtrip(q, fmt.unsigned if unsigned else fmt).astype(np.float64)
    return codec


def block_float(exponent_bits, size=LANES, signs=False):
    """Rounded block float, ``size`` values a block; where the lanes' bits do not divide evenly the
    first lanes get one more. signs: lanes are signed whatever the tensor."""
    def codec(q, bits, unsigned):
        unsigned = unsigned and not signs
        flat = q.reshape(-1).astype(np.float64)
        x = np.pad(flat, (0, -len(flat) % size)).reshape(-1, size)
        share, more = divmod(size * bits - exponent_bits, size)
        lanes = np.array([share + (i < more) for i in range(size)]) - (0 if unsigned else 1)
        top = np.exp2(lanes) - 1
        most = int(np.ceil(np.log2(32767 / (top.min() + 0.5))))
        need = np.ceil(np.log2((np.abs(x) / (top + 0.5)).max(1) + 1e-12))
        step = np.exp2(np.clip(need, max(most - 2 ** exponent_bits + 1, 0), most))[:, None]
        k = np.clip(np.floor(x / step + 0.5), 0 if unsigned else -top - 1, top)
        return (k * step).reshape(-1)[:q.size].reshape(q.shape)
    return codec


def haar(q, bits, unsigned):
    """3-bit exponent over Haar coefficients: the mean one bit wider, the three details narrower."""
    a, b, c, d = q.astype(np.float64).T
    left, right = (a + b) / 2, (c + d) / 2
    x = np.stack([(left + right) / 2, (left - right) / 2, (a - b) / 2, (c - d) / 2], 1)
    lanes = np.array([bits + (1 if unsigned else 0), bits - 1, bits - 1, bits - 2 if unsigned
                      else bits - 1]) - np.array([0 if unsigned else 1, 1, 1, 1])
    top = np.exp2(lanes) - 1
    most = int(np.ceil(np.log2(32767 / (top.min() + 0.5))))
    need = np.ceil(np.log2((np.abs(x) / (top + 0.5)).max(1) + 1e-12))
    step = np.exp2(np.clip(need, most - 7, most))[:, None]
    k = np.clip(np.floor(x / step + 0.5), np.where([unsigned, 0, 0, 0], 0, -top - 1), top) * step
    left, right = k[:, 0] + k[:, 1], k[:, 0] - k[:, 1]
    out = np.stack([left + k[:, 2], left - k[:, 2], right + k[:, 3], right - k[:, 3]], 1)
    return np.clip(out, 0 if unsigned else -32768, 32767)


CANDIDATES = {
    "classic ZFPe (8-bit exponent, lift, truncation)": spec("zfpe{}"),
    "8-bit exponent, rounded": block_float(8),
    "4-bit exponent": block_float(4),
    "4-bit exponent, signed lanes": block_float(4, signs=True),
    "4-bit exponent, block of 8": block_float(4, 8),
    "3-bit exponent over a Haar transform": haar,
    "3-bit exponent, lowest bit shared by 4 (zfpiN)": spec("zfpi{}"),
    "2-bit exponent, lowest bits shared by 2 (zfpiNn)": spec("zfpi{}n"),
}


class Network:
    """The float network on calibration images, then test images; ``run`` with a codec."""

    def __init__(self, count):
        images = calibration_images(RESOLUTION, CALIBRATION)
        test, self.labels = fashion_mnist("test")
        self.labels = self.labels[:count]
        self.graph = import_module(mobilenet_v2_fashion(), images[:1])
        self.calibration = calibrate(self.graph, images)
        self.x = torch.from_numpy(np.concatenate([images, preprocess(test[:count], RESOLUTION)]))
        self.means = {}
        self.exact = self.run()

    def _store(self, x, name, layer, codec, bits):
        lo, hi = (-np.inf, np.inf) if layer is None else (layer.lo, layer.hi)
        low, high = (t[name] for t in (self.calibration.low, self.calibration.high))
        scale = activation_scale(low, high, SIGNED, lo, hi)
        wide = torch.nn.functional.pad(x, (0, -x.shape[-1] % LANES, 0, 0), mode="replicate")
        for i in range(len(wide)):
            q = torch.floor(wide[i] / scale + 0.5).clamp_(-32768, 32767)
            q = q.reshape(-1, LANES).numpy().astype(np.int16)
            wide[i] = torch.from_numpy(codec(q, bits, lo >= 0) * scale).reshape(wide.shape[1:])
        return wide[..., :x.shape[-1]].contiguous()

    @staticmethod
    def _weight(weight, codec, bits):
        scale = weight_scale(weight)
        q = np.floor(weight.reshape(len(weight), -1) / scale[:, None] + 0.5).astype(np.int16).T
        wide = np.pad(q, ((0, 0), (0, -len(weight) % LANES)))
        k = codec(np.ascontiguousarray(wide).reshape(-1, LANES), bits, False).reshape(wide.shape)
        return (k[:, :len(weight)].T * scale[:, None]).reshape(weight.shape)

    def run(self, weights=None, activations=None, bits=None):
        """Answers, float (count, classes), with a codec for the weights or the activations."""
        graph, made = self.graph, not self.means
        last = {t: i for i, l in enumerate(graph.layers) for t in l.inputs}
        live = {graph.input: self.x}
        if activations:
            live[graph.input] = self._store(self.x, graph.input, None, activations, bits)
        with torch.no_grad():
            for i, layer in enumerate(graph.layers):
                xs = [live[t] for t in layer.inputs]
                if layer.op in (CONV, DEPTHWISE):
                    w = self._weight(layer.weight, weights, bits) if weights else layer.weight
                    y = torch.nn.functional.conv2d(
                        xs[0], torch.from_numpy(w).float(), torch.from_numpy(layer.bias).float(),
                        layer.stride, layer.padding,
                        groups=len(w) if layer.op == DEPTHWISE else 1)
                    mean = y[:CALIBRATION].mean((0, 2, 3), keepdim=True)
                    if made:
                        self.means[layer.name] = mean
                    y += self.means[layer.name] - mean
                else:
                    y = xs[0] + xs[1] if layer.op == ADD else xs[0].mean((2, 3), keepdim=True)
                y.clamp_(layer.lo, layer.hi)
                if activations and layer.output != graph.output:
                    y = self._store(y, layer.output, layer, activations, bits)
                live[layer.output] = y
                for name in layer.inputs:
                    if last[name] == i:
                        live.pop(name, None)
        return live[graph.output].flatten(1)[CALIBRATION:].numpy()

    def score(self, answers):
        """(SNR of the answers in dB, top-1 in per cent)."""
        def centred(x):
            return x - x.mean(1, keepdims=True)
        noise = np.square(centred(answers - self.exact)).mean()
        return (float(10 * np.log10(np.square(centred(self.exact)).mean() / noise)),
                100 * float((answers.argmax(1) == self.labels).mean()))


def main(images: Annotated[int, typer.Option(help="Test images.")] = 400,
         bits: Annotated[str, typer.Option(help="Bits a value, comma-separated.")] =
         ",".join(map(str, BITS))):
    """Measure every candidate and write docs/results/formats.json.

    Example: python -m litepress.bench.explore --images 100 --bits 6
    """
    torch.set_num_threads(1)
    network = Network(images)
    rates = [int(b) for b in bits.split(",")]
    figures = {"float": 100 * float((network.exact.argmax(1) == network.labels).mean())}
    for what in ("weights", "activations"):
        table = Table(title=f"{what} only: SNR of the answers in dB (top-1 in per cent, float "
                      f"{figures['float']:.1f})", title_justify="left")
        table.add_column("block format")
        for n in rates:
            table.add_column(f"{n} bits", justify="right")
        for name, codec in track(CANDIDATES.items(), what, console=console, transient=True):
            scores = [network.score(network.run(**{what: codec}, bits=n)) for n in rates]
            table.add_row(name, *(f"{snr:.1f} ({top:.1f})" for snr, top in scores))
            for n, (snr, top) in zip(rates, scores, strict=True):
                figures |= {f"{what}, {name}, {n} bits: SNR": snr,
                            f"{what}, {name}, {n} bits: top-1": top}
        console.print(table)
    save("formats", f"python -m litepress.bench.explore --images {images} --bits {bits}",
         f"FashionMNIST test images, 96x96; ImageNet backbone, FashionMNIST head; channel means "
         f"corrected on {CALIBRATION} training images", figures)


if __name__ == "__main__":
    start(main)
