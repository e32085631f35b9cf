"""Calibrated rounding: never worse than the nearest, better where inputs are correlated."""

import itertools

import numpy as np
import pytest

from litepress.host import nearest as search
from litepress.host.codecs.block import decode_blocks, roundtrip
from litepress.host.importer import FloatLayer
from litepress.host.nearest import nearest
from litepress.host.reference import accumulate, store_weights
from litepress.host.rounding import _Problem, round_weights, sample_taps
from litepress.spec.formats import Format

FORMATS = ["raw8", "zfpi4", "zfpi5n", "zfpi6", "zfpi8", "zfpi12n", "zfpi15", "zfpe5", "zfpe8",
           "zfpe12", "zfpe16"]


def targets(fmt, n, seed):
    rng = np.random.default_rng(seed)
    t = rng.normal(size=(n, 4)) * np.exp(rng.uniform(0, 9, (n, 1)))
    t[: n // 8] = rng.integers(-32767, 32768, (n // 8, 4))
    t[n // 8: n // 6, 2:] = 0
    t = np.clip(t, -32767, 32767)
    return (t / 256 if fmt.range[1] == 127 else t), np.exp(rng.normal(size=t.shape))


def costs(stored, t, g):
    return (g * np.square(stored - t)).sum(axis=1)


def plain(t, fmt):
    return np.clip(np.floor(t + 0.5), -fmt.range[1], fmt.range[1]).astype(np.int16)


@pytest.mark.parametrize("name", FORMATS)
def test_nearest_is_never_worse_than_encoding(name):
    fmt = Format.parse(name)
    t, g = targets(fmt, 3000, 1)
    q = nearest(t, g, fmt)
    stored = roundtrip(q, fmt)
    ours, theirs = costs(stored, t, g), costs(roundtrip(plain(t, fmt), fmt), t, g)
    assert (ours <= theirs * (1 + 1e-12)).all()
    if name.startswith("zfp") and fmt.bits < 10:
        assert ours.sum() < 0.9 * theirs.sum()
    if not name.startswith("zfpe"):
        np.testing.assert_array_equal(stored, q)


@pytest.mark.parametrize("name", ["zfpi4", "zfpi4n", "zfpi5u", "zfpi4nu"])
def test_nearest_is_the_best_of_all_blocks(name):
    """Against every shift, every lowest bit and every pair of lanes around the target."""
    fmt = Format.parse(name)
    bits = 4 * fmt.bits
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 1 << bits, 60000, dtype=np.uint64)
    data = blocks[:, None].view(np.uint8)
    size = 4 * fmt.run_words(1)
    blocks = np.unique(np.concatenate(
        [decode_blocks(np.ascontiguousarray(data[i:i + 1, :size]), fmt, 1).reshape(1, 4)
         for i in range(6000)]), axis=0)
    t, g = targets(fmt, 40, 3)
    if fmt.unsigned == fmt:
        t = np.abs(t)
    ours = costs(roundtrip(nearest(t, g, fmt), fmt), t, g)
    for row in range(len(t)):
        assert ours[row] <= costs(blocks, t[row], g[row]).min() * (1 + 1e-12)


@pytest.mark.parametrize("bits", [4, 5, 8, 12, 16])
def test_the_search_knows_what_zfpe_stores(bits):
    rng = np.random.default_rng(bits)
    q = rng.integers(-32768, 32768, (600, 4)) >> rng.integers(0, 16, (600, 1))
    q[:64] = [*itertools.product((-32768, 0, 32767, -1), repeat=3)] @ np.eye(3, 4, dtype=int)
    expected = roundtrip(q.astype(np.int16), Format.parse(f"zfpe{bits}"))
    out = np.empty(4, np.int64)
    for values, wanted in zip(q, expected, strict=True):
        search._stored(values.astype(np.int64), out, bits - 3)
        np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("name", ["zfpi4", "zfpi5n", "zfpe6", "raw8"])
def test_padding_lanes_stay_zero(name):
    fmt = Format.parse(name)
    t, g = targets(fmt, 2000, 4)
    for lanes in (1, 2, 3):
        g[:, lanes:] = 0
        q = nearest(t, g, fmt)
        assert not q[:, lanes:].any()
        if not name.startswith("zfpe"):
            np.testing.assert_array_equal(roundtrip(q, fmt)[:, :lanes], q[:, :lanes])


def layer_of(op, cout, cin, kernel, seed, stride=1, padding=0):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(cout, 1 if op == "depthwise" else cin, kernel, kernel))
    weight *= np.exp(rng.normal(size=(cout, 1, 1, 1)))
    return FloatLayer("layer", op, ["x"], "y", weight, np.zeros(cout), stride, padding)


def inputs(n, channels, size, seed):
    """Positive, smooth over pixels and alike over channels, as behind a ReLU."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, channels, size + 4, size + 4))
    x = sum(x[:, :, i:i + size, j:j + size] for i in range(5) for j in range(5)) / 5
    x = x + 2 * np.einsum("nshw,sc->nchw", x[:, :3], rng.normal(size=(3, channels)))
    return np.clip(3000 * (x + 1), 0, 32767).astype(np.int16)


LAYERS = [("conv", 12, 24, 1, {}), ("conv", 10, 6, 3, {"padding": 1, "stride": 2}),
          ("depthwise", 22, 22, 3, {"padding": 1})]


def output_error(layer, x, q, w):
    """Squared error of the output, each channel's mean taken out, in real units."""
    scale = np.abs(layer.weight).max(axis=(1, 2, 3)) / np.abs(w).max(axis=(1, 2, 3))
    got = accumulate(layer, [x], q).double().numpy()
    # Weights to 1/1024 of a step, in integers: the sums stay exact.
    want = accumulate(layer, [x], np.floor(w * 1024 + 0.5)).double().numpy() / 1024
    error = (got - want) * scale[:, None, None]
    return np.square(error - error.mean(axis=(0, 2, 3), keepdims=True)).sum()


def in_steps(layer, fmt):
    largest = fmt.range[1]
    return layer.weight * largest / np.abs(layer.weight).max(axis=(1, 2, 3), keepdims=True)


@pytest.mark.parametrize("name", ["raw8", "zfpi6", "zfpi5n", "zfpe8"])
@pytest.mark.parametrize("op,cout,cin,kernel,options", LAYERS)
def test_output_error_on_inputs_not_seen(name, op, cout, cin, kernel, options):
    fmt = Format.parse(name)
    layer = layer_of(op, cout, cin, kernel, 6, **options)
    x = inputs(24, cin, 12, 7)
    w = in_steps(layer, fmt)
    q = round_weights(layer, x[:16], w, fmt)
    assert q.dtype == np.int16 and q.shape == w.shape and np.abs(q.astype(int)).max() <= 32768
    stored = store_weights(q, fmt)
    before = output_error(layer, x[16:], store_weights(plain(w, fmt), fmt), w)
    assert output_error(layer, x[16:], stored, w) < 0.8 * before
    if not name.startswith("zfpe"):
        np.testing.assert_array_equal(stored, q)
    np.testing.assert_array_equal(q, round_weights(layer, x[:16], w, fmt))


@pytest.mark.parametrize("op,cout,cin,kernel,options", LAYERS)
def test_every_round_helps(op, cout, cin, kernel, options):
    fmt = Format.parse("zfpi6")
    layer = layer_of(op, cout, cin, kernel, 8, **options)
    x, w = inputs(16, cin, 12, 9), in_steps(layer, fmt)
    problem = _Problem(layer, x, w, fmt, None, True)
    errors = [problem.error(problem.rows(plain(w, fmt)))]
    q = problem.feedback()
    errors.append(problem.error(q))
    for _ in range(2):
        problem.descend(q)
        errors.append(problem.error(q))
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < errors[1] and errors[3] <= errors[2]


def test_noise_of_inputs_is_taken_out():
    """Inputs stored in a few bits: the moved weights come nearer to the float output."""
    fmt = Format.parse("zfpi12")
    layer = layer_of("conv", 12, 24, 1, 10)
    real = inputs(40, 24, 12, 11).astype(np.float32)
    noise = np.random.default_rng(12).normal(size=real.shape) * 6000
    x = np.clip(real + noise, 0, 32767).astype(np.int16)
    w = in_steps(layer, fmt)
    errors = []
    for given in (None, real[:32]):
        q = round_weights(layer, x[:32], w, fmt, given)
        got = np.einsum("nchw,oc->nohw", x[32:].astype(float), store_weights(q, fmt)[:, :, 0, 0])
        want = np.einsum("nchw,oc->nohw", real[32:].astype(float), w[:, :, 0, 0])
        error = got - want
        errors.append(np.square(error - error.mean(axis=(0, 2, 3), keepdims=True)).mean())
    assert errors[1] < 0.7 * errors[0]


def test_silent_inputs_and_channels_of_zeros():
    fmt = Format.parse("zfpi8")
    layer = layer_of("conv", 6, 8, 1, 13)
    layer.weight[2] = 0
    x = inputs(4, 8, 8, 14)
    x[:, 3] = 0
    w = layer.weight * 20000 / np.maximum(np.abs(layer.weight).max(axis=(1, 2, 3)), 1)[
        :, None, None, None]
    q = round_weights(layer, x, w, fmt)
    assert np.isfinite(store_weights(q, fmt)).all()
    assert np.abs(store_weights(q, fmt)[2]).max() <= 512
    still = round_weights(layer, np.zeros_like(x), w, fmt)
    # Nothing is known of the inputs: blocks are the nearest in real units.
    scale = np.abs(layer.weight).max(axis=(1, 2, 3)) / np.maximum(np.abs(w).max(axis=(1, 2, 3)), 1)
    error = [np.square((store_weights(v, fmt) - w) * scale[:, None, None, None]).sum()
             for v in (still, plain(w, fmt))]
    assert error[0] < error[1]


def test_sampled_taps_are_the_layers_windows():
    layer = layer_of("conv", 4, 3, 3, 15, stride=2, padding=1)
    x = inputs(2, 3, 9, 16)
    taps = sample_taps(layer, x, 3)
    assert taps.shape == (2 * 5 * 5, 3, 9)
    wide = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    np.testing.assert_array_equal(taps[25 + 5 * 3 + 4].reshape(3, 3, 3),
                                  wide[1, :, 6:9, 8:11])


def test_refusals():
    fmt = Format.parse("zfpi8")
    layer, x = layer_of("conv", 4, 3, 1, 17), inputs(2, 3, 4, 18)
    with pytest.raises(ValueError, match=r"layer layer: weights of shape \(4, 2, 1, 1\): expected"):
        round_weights(layer, x, np.zeros((4, 2, 1, 1)), fmt)
    with pytest.raises(ValueError, match="layer layer: real inputs of shape"):
        round_weights(layer, x, in_steps(layer, fmt), fmt, x[:1].astype(np.float32))
    with pytest.raises(ValueError, match=r"allowed are two of \(n, 4\)"):
        nearest(np.zeros((3, 2)), np.ones((3, 2)), fmt)
