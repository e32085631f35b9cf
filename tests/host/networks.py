"""Networks of integers for tests: random small ones, and MobileNetV2 with random weights."""

import numpy as np

from litepress.host.graph import ADD, CONV, DEPTHWISE, POOL, Layer, Network, Requant, Tensor
from litepress.spec.formats import Format

RAW16 = Format.parse("raw16")


class Builder:
    """Appends layers to a network; every method returns the name of its output tensor."""

    def __init__(self, name, shape, rng, activations="zfpe8", weights="zfpe8", input_format=None):
        self.rng = rng
        self.activations = activations
        self.weights = Format.parse(weights)
        fmt = Format.parse(input_format or activations).in_tensor(shape)
        self.net = Network(name, {"input": Tensor("input", shape, fmt, 1 / 64)}, [], "input",
                           "input")

    def shape(self, name):
        return self.net.tensors[name].shape

    def _requant(self, source, fmt, cout, taps, relu):
        """Brings sums of ``taps`` products with 12-bit weights back to some 12 bits, or to 8 where
        ``fmt`` holds no more."""
        narrow = [f.range[1] <= 255 for f in (self.net.tensors[source].fmt, fmt)]
        s = np.full(cout, 4 + self.rng.integers(0, 3)) - 4 * narrow[0] + 5 * narrow[1]
        m = self.rng.integers(1 << 12, 1 << 13, cout)
        m = np.maximum(m // max(1, int(np.sqrt(taps))), 1)
        b = self.rng.integers(-(1 << 10), 1 << 10, cout) + (1 << s >> 1)
        return Requant(m.astype(np.int64), s.astype(np.int64), b.astype(np.int64),
                       0 if relu else -32768, 32767)

    def _append(self, op, inputs, shape, weights, weight_format, taps, macs, relu, **options):
        name = f"{op}{len(self.net.layers)}"
        out = f"t{len(self.net.layers)}"
        fmt = self.activations
        if not isinstance(fmt, str):
            fmt = fmt[self.rng.integers(len(fmt))]
        fmt = Format.parse(fmt).in_tensor(shape)
        requant = self._requant(inputs[0], fmt, shape[0], taps, relu)
        self.net.tensors[out] = Tensor(out, shape, fmt, 1 / 64)
        self.net.layers.append(Layer(name, op, inputs, out, weights.astype(np.int16),
                                     requant, weight_format, macs=macs,
                                     source=f"features.{name}", **options))
        self.net.output = out
        return out

    def _out(self, size, k, stride, padding):
        return (size + 2 * padding - k) // stride + 1

    def conv(self, x, cout, k=1, stride=1, relu=True, padding=None):
        c, h, w = self.shape(x)
        padding = k // 2 if padding is None else padding
        shape = (cout, self._out(h, k, stride, padding), self._out(w, k, stride, padding))
        weights = self.rng.integers(-2000, 2001, (cout, c, k, k))
        return self._append(CONV, [x], shape, weights, self.weights, c * k * k,
                            int(np.prod(shape)) * c * k * k, relu, stride=stride, padding=padding)

    def depthwise(self, x, k=3, stride=1, relu=True):
        c, h, w = self.shape(x)
        shape = (c, self._out(h, k, stride, k // 2), self._out(w, k, stride, k // 2))
        weights = self.rng.integers(-2000, 2001, (c, 1, k, k))
        return self._append(DEPTHWISE, [x], shape, weights, self.weights, k * k,
                            int(np.prod(shape)) * k * k, relu, stride=stride, padding=k // 2)

    def add(self, x, y):
        shape = self.shape(x)
        return self._append(ADD, [x, y], shape, self.rng.integers(8000, 16000, 2), RAW16, 64,
                            0, False)

    def pool(self, x):
        c, h, w = self.shape(x)
        return self._append(POOL, [x], (c, 1, 1), self.rng.integers(100, 200, 1), RAW16, h * w,
                            0, False)


def random_network(seed, activations="zfpe8", weights="zfpe8", layers=6, most=40, channels=40,
                   depthwise=(3, 5)):
    """A chain of random layers with residuals, odd sizes and channels, then pool and classifier.
    ``activations``: a format, or a list of which each tensor takes one; depthwise: kernels."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 5)), int(rng.integers(5, most)), int(rng.integers(5, most)))
    first = activations if isinstance(activations, str) else activations[0]
    b = Builder(f"random{seed}", shape, rng, activations, weights, first)
    x = b.conv("input", int(rng.integers(3, channels)), 3, int(rng.integers(1, 3)))
    for _ in range(layers):
        kind = rng.integers(5)
        stride = int(rng.integers(1, 3)) if min(b.shape(x)[1:]) > 4 else 1
        if kind == 0:
            x = b.conv(x, int(rng.integers(1, channels)), int(rng.choice([1, 3, 5])), stride)
        elif kind == 1:
            x = b.depthwise(x, int(rng.choice(depthwise)), stride)
        elif kind == 2:
            y = b.conv(x, b.shape(x)[0], 3, relu=False)
            x = b.add(x, y)
        elif kind == 3:
            x = b.add(x, x)
        else:
            y = b.depthwise(b.conv(x, 2 * b.shape(x)[0]), 3)
            x = b.add(b.conv(y, b.shape(x)[0], relu=False), x)
    b.conv(b.pool(x), int(rng.integers(2, channels)), relu=False)
    return b.net


# MobileNetV2: expansion, channels, repeats, stride of each stage.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
          (6, 320, 1, 1))


def mobilenet_v2(size=96, classes=1000, activations="zfpe8", weights="zfpe8", seed=0, width=1.0):
    """MobileNetV2's layers for a (3, size, size) input."""
    def scaled(channels):
        return max(8, int(channels * width + 4) // 8 * 8)

    b = Builder(f"mobilenet_v2_{size}", (3, size, size), np.random.default_rng(seed), activations,
                weights, "raw8")
    x = b.conv("input", scaled(32), 3, 2)
    for expansion, channels, repeats, first_stride in STAGES:
        for i in range(repeats):
            y, stride = x, first_stride if i == 0 else 1
            if expansion > 1:
                y = b.conv(y, b.shape(x)[0] * expansion)
            y = b.depthwise(y, 3, stride)
            y = b.conv(y, scaled(channels), relu=False)
            x = b.add(x, y) if stride == 1 and b.shape(x) == b.shape(y) else y
    x = b.conv(x, max(1280, scaled(1280)))
    b.conv(b.pool(x), classes, relu=False)
    return b.net
