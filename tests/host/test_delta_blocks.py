"""``deltaN``: runs of references and deltas, and networks whose weights are stored so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_network

import litepress
from litepress.host.codecs.block import decode_blocks, encode_blocks, roundtrip
from litepress.host.codecs.delta_blocks import join_channels, split_channels
from litepress.host.golden import Golden
from litepress.host.pack import pack
from litepress.host.reference import run_reference
from litepress.models.tiny import calibration_images, tiny
from litepress.spec.arch import Arch
from litepress.spec.formats import Format

BITS = st.integers(2, 6)


@settings(deadline=None)
@given(st.data(), BITS, st.integers(1, 20), st.integers(1, 40), st.integers(1, 3))
def test_round_trip(data, bits, segment, taps, runs):
    fmt = Format.parse(f"delta{bits}.{segment}")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    wide = data.draw(st.sampled_from([3, 100, 300, 32767]))
    q = rng.integers(-wide, wide + 1, (runs, taps * segment, 4)).astype(np.int16)
    coded = encode_blocks(q, fmt)
    assert coded.shape == (runs, 4 * (segment + -(-taps * segment * bits // 8)))
    stored = decode_blocks(coded, fmt, taps * segment)
    assert np.array_equal(stored, roundtrip(q, fmt))
    # What is stored stays: reference and deltas are found again.
    assert np.array_equal(roundtrip(stored, fmt), stored)
    assert fmt.range[0] <= stored.min() and stored.max() <= fmt.range[1]
    # Part of a run, and what follows it.
    assert np.array_equal(decode_blocks(coded, fmt, 1), stored[:, :1])


@settings(deadline=None)
@given(BITS, st.integers(0, 2**32))
def test_references_have_the_least_error(bits, seed):
    fmt = Format.parse(f"delta{bits}")
    q = np.random.default_rng(seed).integers(-200, 200, (3, 7))
    references, deltas = split_channels(q.astype(np.int16), fmt)
    error = np.square(join_channels(references, deltas, fmt).astype(int) - q).sum(axis=1)
    for r in range(-128, 128):
        d = np.clip((q - r + (1 << fmt.offset >> 1)) >> fmt.offset, -(1 << bits - 1),
                    (1 << bits - 1) - 1)
        assert (np.square(r + (d << fmt.offset) - q).sum(axis=1) >= error).all()


def test_literal_run():
    """One channel in use: r = 5, deltas 1, -8, 7 of 4 bits, 16 units each."""
    q = np.zeros((3, 4), np.int16)
    q[:, 0] = [21, -123, 117]
    fmt = Format.parse("delta4.1")
    assert encode_blocks(q, fmt).tobytes() == bytes([5, 0, 0, 0, 1, 0, 8, 0, 7, 0, 0, 0])


def test_format_names():
    assert str(Format.parse("delta:4")) == "delta4"
    assert Format.parse("delta4.3").run_words(6) == 3 + 3
    assert Format.from_code(Format.parse("delta3").code, 2) == Format.parse("delta3.2")
    for text in ("delta1", "delta7", "delta", "delta4.0", "delta4.x"):
        with pytest.raises(ValueError, match="delta2 to delta6"):
            Format.parse(text)
    with pytest.raises(ValueError, match="segment is not chosen"):
        Format.parse("delta4").run_words(3)
    with pytest.raises(ValueError, match="segment = 0"):
        Format.from_code(Format.parse("delta3").code)
    with pytest.raises(ValueError, match="multiples of 4"):
        encode_blocks(np.zeros((6, 4), np.int16), Format.parse("delta4.4"))


@pytest.mark.parametrize("seed", range(6))
def test_networks(seed):
    """Planned, packed and run on the golden model against the layers' own arithmetic."""
    net = random_network(seed, "raw8", f"delta{2 + seed % 5}", channels=40)
    image = pack(net, Arch(8, 4096, 512, 128, 128), fuse=False)
    rng = np.random.default_rng(seed)
    x = rng.integers(-100, 100, (2, *net.tensors[net.input].shape)).astype(np.int16)
    expected = run_reference(net, x)
    found = Golden(image, exact_bytes=True).run(
        [image.encode_tensor(net.input, one) for one in x])
    for bytes_, values in zip(found, expected, strict=True):
        assert np.array_equal(image.decode_tensor(net.output, bytes_), values)


def test_storage_and_accuracy_after_training():
    images = calibration_images(32)
    made = {w: litepress.compress(tiny(), images[:1], images, w, "raw16", arch="tiny")
            for w in ("raw16", "raw8", "delta4")}
    stored = {w: sum(layer["stored_bytes"] for layer in image.meta["layers"])
              for w, image in made.items()}
    assert stored["delta4"] < 0.6 * stored["raw8"]
    logits = {}
    for weights, image in made.items():
        with litepress.connect("golden") as device:
            device.load(image)
            logits[weights] = device.run_batch(images)
    signal = np.square(logits["raw16"]).mean()
    assert np.square(logits["delta4"] - logits["raw16"]).mean() < 0.03 * signal
    with pytest.raises(ValueError, match="activations: format delta4 is for weights"):
        litepress.compress(tiny(), images[:1], images, "raw8", "delta4", arch="tiny")
