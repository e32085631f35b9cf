"""The golden model against two others: the loop nest of spec/isa.py, and the layers."""

from dataclasses import replace

import numpy as np
import pytest
from any_plan import any_of_them, any_tiling

from litepress.host import plan as planner
from litepress.host.calibrate import calibrate
from litepress.host.device.golden import GoldenDevice
from litepress.host.golden import Golden, GoldenError
from litepress.host.hazards import walk
from litepress.host.importer import import_module
from litepress.host.pack import pack
from litepress.host.quantize import quantize
from litepress.host.reference import quantize_input, run_reference
from litepress.models.tiny import calibration_images, tiny
from litepress.spec import isa
from litepress.spec.arch import ARCHS
from litepress.spec.image import PROGRAM


@pytest.fixture(scope="module")
def calibrated():
    images = calibration_images(16)
    graph = import_module(tiny(), images[:1])
    return graph, calibrate(graph, images), images


@pytest.mark.parametrize("arch", ["tiny", "25f", "45f", "sim", "85f"])
@pytest.mark.parametrize("weights, activations", [("raw16", "raw16"), ("raw8", "raw8"),
                                                  ("zfpe12", "zfpe12"), ("zfpe5", "zfpe7"),
                                                  ("zfpi6n", "zfpi6"), ("raw8", "ebpc8")])
def test_every_tensor_equals_the_reference(calibrated, arch, weights, activations):
    check_every_tensor(calibrated, arch, weights, activations)


@pytest.mark.parametrize("arch", ["tiny-delta4", "tiny-pot4", "sim-pot4"])
@pytest.mark.parametrize("activations", ["raw8", "zfpi11"])
def test_every_tensor_of_weights_as_they_are_stored(calibrated, arch, activations):
    check_every_tensor(calibrated, arch, ARCHS[arch].array, activations)


def check_every_tensor(calibrated, arch, weights, activations):
    graph, calibration, images = calibrated
    network = quantize(graph, calibration, weights, activations, bias_correction=False)
    expected = {}
    run_reference(network, quantize_input(network, images[:3]), expected.__setitem__)
    image = pack(network, ARCHS[arch], keep=True)
    for exact_bytes in (True, False):
        golden = Golden(image, exact_bytes)
        golden.run([image.encode_input(x) for x in images[:3]])
        for name, values in expected.items():
            place = image.tensor(name)
            data = golden.read(place.offset, place.bytes)
            for one, row in zip(values, data, strict=True):
                np.testing.assert_array_equal(image.decode_tensor(name, row.tobytes()), one, name)


@pytest.mark.parametrize("seed", range(6))
def test_without_vector_any_plan_gives_the_reference(calibrated, monkeypatch, seed):
    """Any tiling, chain and pipeline: COMPUTE alone computes what the layers do."""
    graph, calibration, images = calibrated
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(planner, "choose", any_tiling(rng))
    monkeypatch.setattr(planner, "choose_together", any_of_them(rng))
    network = quantize(graph, calibration, "zfpi8", "raw16", bias_correction=False)
    expected = run_reference(network, quantize_input(network, images[:2]))
    arch = (ARCHS["25f"], ARCHS["45f"], replace(ARCHS["sim"], columns=12, vector=False))[seed % 3]
    image = pack(network, arch, keep=seed < 3)
    place = image.output
    out = Golden(image).run([image.encode_input(x) for x in images[:2]])
    for one, data in zip(expected, out, strict=True):
        np.testing.assert_array_equal(image.decode_tensor(place.name, data), one)
    words = np.frombuffer(image.section(PROGRAM).data, "<u4")[:image.header["program_words"]]
    assert {go.engine for go in walk(words)} == {isa.LOAD, isa.COMPUTE, isa.STORE, isa.CTRL}


def test_reused_memory_gives_the_same_output(calibrated):
    graph, calibration, images = calibrated
    network = quantize(graph, calibration, "zfpe12", "zfpe12", bias_correction=False)
    outputs = []
    for keep in (True, False):
        image = pack(network, ARCHS["tiny"], keep=keep, fuse=False)
        with GoldenDevice(exact_bytes=not keep) as device:
            device.load(image)
            outputs.append(device.run_batch(images[:5], batch=2))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("arch", ["tiny", "25f", "45f", "sim", "85f"])
def test_what_stays_on_chip_changes_nothing_that_is_lossless(calibrated, arch):
    graph, calibration, images = calibrated
    network = quantize(graph, calibration, "zfpe12", "raw16", bias_correction=False)
    together, alone = (pack(network, ARCHS[arch], fuse=fuse) for fuse in (True, False))
    assert len(together.meta["groups"]) < len(alone.meta["groups"])
    assert len(together.meta["tensors"]) < len(alone.meta["tensors"])
    inputs = [together.encode_input(x) for x in images[:5]]
    assert Golden(together).run(inputs) == Golden(alone).run(inputs)


def test_wrong_input_is_refused(calibrated):
    graph, calibration, images = calibrated
    image = pack(quantize(graph, calibration, bias_correction=False), ARCHS["tiny"])
    with pytest.raises(ValueError, match=r"allowed is floating point \(1, 28, 28\)"):
        image.encode_input(images[0][:, :20])
    with pytest.raises(GoldenError, match="input of 3 bytes"):
        Golden(image).run([b"abc"])


def test_no_image_is_one_line():
    with pytest.raises(RuntimeError, match="no image"):
        GoldenDevice().run(np.zeros((1, 28, 28)))
