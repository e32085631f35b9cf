"""What the ratios are made of: maps, words, orders, sizes, and the figures from them."""

import json

import numpy as np
import pytest
import torch

from litepress.bench import ebpc_ratio
from litepress.bench.ebpc_ratio import (
    CASES,
    CHANNELS,
    EBPC8,
    RAW,
    ROWS,
    Measured,
    figures_of,
    measure,
    segment_bits,
    stream_bits,
    top1,
)
from litepress.bench.maps import (
    FIXED,
    INPUT,
    LINEAR,
    RANGE,
    RELU,
    SIGNED,
    SUM,
    UNSIGNED,
    in_channels,
    in_rows,
    record,
    to_words,
)
from litepress.host.codecs import EBPC
from litepress.host.codecs.block import used_bytes
from litepress.host.image import encode_activation, row_blocks
from litepress.models.mobilenet import mobilenet_v2
from litepress.models.photos import photos
from litepress.spec.formats import Format


def sparse_map(shape, low, high, seed):
    rng = np.random.default_rng(seed)
    values = np.clip(np.cumsum(rng.integers(-9, 10, shape), axis=2), low, high)
    return np.where(rng.random(shape) < 0.3, 0, values).astype(np.int16)


@pytest.mark.parametrize("method, kind, bits, words, signed", (
    (FIXED, RELU, 8, [0, 11, 47, 95], True),
    (FIXED, LINEAR, 8, [0, 11, 47, 95], True),
    (RANGE, RELU, 8, [0, 7, 31, 63], True),
    (RANGE, SUM, 8, [0, 11, 47, 95], True),
    (SIGNED, RELU, 8, [0, 16, 64, 127], True),
    (UNSIGNED, RELU, 8, [0, 32, 128, 255], False),
    (UNSIGNED, LINEAR, 8, [0, 16, 64, 127], True),
    (FIXED, RELU, 16, [0, 3071, 12287, 24575], True),
    (SIGNED, RELU, 16, [0, 4096, 16384, 32767], True),
    (UNSIGNED, RELU, 16, [0, 8192, 32768, 65535], False),
))
def test_words(method, kind, bits, words, signed):
    """4 is the peak: 0.75 * 127 = 95.25 and so on; halves go to even numbers."""
    values = np.array([0, 0.5, 2, 4], np.float32)
    found, is_signed = to_words(values, kind, 4.0, bits, method)
    assert found.tolist() == words and is_signed == signed
    if kind != RELU:
        found, _ = to_words(-values, kind, 4.0, bits, method)
        assert found.tolist() == [-w for w in words]


@pytest.mark.parametrize("method", (FIXED, RANGE, SIGNED, UNSIGNED))
def test_a_tensor_of_zeros_has_a_scale(method):
    with np.errstate(all="raise"):
        words, _ = to_words(np.zeros((3, 2, 2), np.float32), RELU, 0.0, 8, method)
    assert not words.any()


def test_orders():
    words = np.arange(2 * 3 * 5).reshape(2, 3, 5).astype(np.int16)
    assert in_channels(words).tolist() == [list(range(30))]
    whole, = in_rows(words)
    assert whole.tolist() == [[*range(y, y + 5), y + 4, y + 4, y + 4,
                               *range(15 + y, y + 20), y + 19, y + 19, y + 19] for y in (0, 5, 10)]


@pytest.mark.parametrize("name, low, high", (("ebpc8", -127, 127), ("ebpc8u", 0, 255)))
@pytest.mark.parametrize("shape", ((3, 9, 30), (24, 5, 56), (96, 2, 112), (200, 7, 7), (70, 3, 14)))
def test_segments_take_what_an_image_stores(shape, name, low, high):
    words = sparse_map(shape, low, high, 1)
    fmt = Format.parse(name).in_tensor(shape)
    data = np.frombuffer(encode_activation(words, fmt), np.uint8).reshape(shape[1], -1)
    used = int(used_bytes(data, fmt, row_blocks(shape)).sum())
    assert segment_bits(words, low < 0, 8, EBPC8) == 8 * used
    raw = encode_activation(words, Format.parse(name.replace("ebpc", "raw")))
    assert segment_bits(words, low < 0, 8, RAW) == 8 * len(raw)


@pytest.mark.parametrize("bits", (8, 16))
def test_streams_take_what_the_codec_encodes(bits):
    words = sparse_map((5, 11, 13), -100, 100, 2)
    znz, bpc = EBPC(bits, 8).encode(words)
    # Encoded to words of 8 or 16 bits, stored in words of 32, a count of 32 bits before each.
    expected = sum(32 + 32 * -(-len(stream) // 4) for stream in (znz, bpc))
    assert stream_bits(words, True, bits, "") == expected
    assert stream_bits(words, True, bits, "zvc") == 32 + 32 * -(
        -(words.size + bits * np.count_nonzero(words)) // 32)


def test_incompressible_segments_stay_raw():
    words = np.random.default_rng(3).integers(1, 256, (64, 2, 16)).astype(np.int16)
    raw = words.size * 8 + 2 * 32                  # One segment a row.
    for code in ("", "block16", "zero_rle", "zvc"):
        assert segment_bits(words, False, 8, code) == raw


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return mobilenet_v2(10, 0.25)       # So narrow, one more block has a shortcut.


def test_recorded_maps(network):
    x = np.random.default_rng(4).normal(size=(3, 32, 32)).astype(np.float32)
    maps = record(network, x)
    kinds = [m.kind for m in maps]
    assert {kind: kinds.count(kind) for kind in kinds} == {INPUT: 1, RELU: 35, LINEAR: 17, SUM: 11}
    assert len({m.name for m in maps}) == 64 and maps[0].values is x
    by_name = {m.name: m.values for m in maps}
    assert all((m.values >= 0).all() and (m.values <= 6).all() for m in maps if m.kind == RELU)
    shortcut, added, total = (by_name[f"features.{name}"] for name in
                              ("2.project", "3.project", "3.sum"))
    assert np.array_equal(shortcut + added, total)
    assert maps[-1].name == "features.18.2" and maps[-1].values.shape == (1280, 1, 1)
    assert not any(m._forward_hooks for m in network.modules())
    with pytest.raises(ValueError, match="Sequential: no inverted residuals"):
        record(torch.nn.Sequential(torch.nn.ReLU6()), x)


def test_measured_ratios_and_figures(network):
    xs = list(np.random.default_rng(5).normal(size=(3, 3, 32, 32)).astype(np.float32))
    measured = measure(network, xs, ((8, FIXED), (16, SIGNED), (8, UNSIGNED)))
    assert len(measured.maps) == 64 and measured.relu.sum() == 35
    assert all(bits.shape == (3, 64) for bits in measured.bits.values())
    # Once more by hand: the scale is of all three, the ratio of the second frame.
    maps = [record(network, x) for x in xs]
    raw = stored = 0
    for i in np.flatnonzero(measured.relu):
        top = max(frame[i].values.max() for frame in maps)
        words, signed = to_words(maps[1][i].values, RELU, float(top), 8, FIXED)
        raw += words.size * 8
        stored += stream_bits(words, signed, 8, "")
    ratios = measured.ratios((8, FIXED), chosen=measured.relu)
    assert ratios.shape == (3,) and ratios[1] == raw / stored
    figures = figures_of("net", measured)
    assert figures["net_8"] == round(ratios.mean(), 4)
    assert figures["net_8_min"] == round(ratios.min(), 4)
    assert figures["net_8_min"] <= figures["net_8_p01"] <= figures["net_8_median"]
    stored = measured.bits[16, SIGNED, ROWS, "zvc"].sum(axis=1)
    assert figures["net_16_signed_all_dram_zvc"] == round(
        np.mean(2 * measured.raw.sum() / stored), 4)
    layers = measured.layer_ratios((8, UNSIGNED))[:, measured.relu]
    assert figures["net_8_unsigned_layers"] == round(layers.mean(), 4)


def test_words_of_16_bits_count_twice():
    bits = {(8, FIXED, CHANNELS, EBPC8): np.array([[40, 40]]),
            (16, FIXED, CHANNELS, EBPC8): np.array([[40, 40]])}
    measured = Measured([("a", RELU, (1, 2, 5)), ("b", LINEAR, (1, 2, 5))], np.array([80, 80]),
                        bits, np.zeros((1, 2)))
    assert measured.ratios((8, FIXED)).tolist() == [2.0]
    assert measured.layer_ratios((16, FIXED)).tolist() == [[4.0, 4.0]]


def test_efficientnet_lite0_names_the_photos():
    """Weights, definition and preprocessing fit together: most of ImageNet's photos are named."""
    from litepress.models.efficientnet import efficientnet_lite0, preprocess_photo
    try:
        network, found = efficientnet_lite0(), photos()[:20]
    except FileNotFoundError as error:
        assert "`scripts/setup.sh bench` installs it" in str(error)
        pytest.skip(str(error))
    hits, labelled = top1(network, [preprocess_photo(photo) for photo in found], found)
    assert labelled == 20 and hits >= 17
    kinds = [m.kind for m in record(network, preprocess_photo(found[0]))]
    assert {kind: kinds.count(kind) for kind in kinds} == {INPUT: 1, RELU: 33, LINEAR: 16, SUM: 9}
    # Depthwise channels without a weight other than 0: what a scale a channel would divide by.
    assert sum((p.abs().amax((1, 2, 3)) == 0).sum() for name, p in network.named_parameters()
               if "_depthwise_conv" in name) > 0


def test_committed_figures_have_the_names_that_are_read():
    path = ebpc_ratio.Path(__file__).resolve().parents[2] / "docs/results/ebpc.json"
    figures = json.loads(path.read_text())["figures"]
    for network in ebpc_ratio.NETWORKS:
        for bits, words in CASES:
            key = ebpc_ratio.name_of(network, (bits, words), True, ROWS, EBPC8, "p01")
            assert figures[key] > 1
    assert figures["mobilenet_v2_8"] > max(figures[f"mobilenet_v2_8_{code}"]
                                           for code in ("zero_rle", "zvc", "bpc"))
