"""A small real network on the simulated SoC, over its UART: what CI proves on every submission."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import litepress
from litepress.bench import delta_soc, pot_soc
from litepress.host.device import DeviceError
from litepress.host.device.sim import SimDevice
from litepress.host.evaluate import accuracy
from litepress.models.data import fashion_mnist
from litepress.models.tiny import calibration_images, preprocess_tiny, tiny
from litepress.soc import sim as sim_module
from litepress.soc.boards import BOARDS
from litepress.soc.core import CPU_VARIANT
from litepress.soc.sim import build_sim
from litepress.spec.arch import ARCHS

pytestmark = pytest.mark.soc
ARCH = "tiny"


@pytest.fixture(scope="module")
def simulator():
    return build_sim(ARCH)


@pytest.fixture(scope="module")
def test_set():
    images, labels = fashion_mnist("test")
    return preprocess_tiny(images[:200]), labels[:200]


FORMATS = [("raw16", "raw16"), ("raw8", "raw8"), ("zfpe12", "zfpe8"), ("zfpi6", "zfpi6"),
           ("raw8", "ebpc8"), ("delta4", "raw8"), ("apot4", "raw8")]


@pytest.mark.parametrize("weights, activations", FORMATS)
def test_every_tensor_and_the_logits_are_equal(simulator, test_set, weights, activations):
    xs, labels = test_set
    calibration = calibration_images(64)
    image = litepress.compress(tiny(), calibration[:1], calibration, weights, activations,
                               arch=ARCH, keep=True)
    with SimDevice(simulator) as sim, litepress.connect("golden") as golden:
        sim.load(image)
        golden.load(image)
        for x in xs[:3]:
            np.testing.assert_array_equal(sim.run(x), golden.run(x))
            for name in image.meta["tensors"]:
                assert sim.read_tensor_bytes(name) == golden.read_tensor_bytes(name), name
        counters = sim.counters()
        macs = sum(c["mac_cycles"] for c in counters)
        assert 0 < macs < sum(c["cycles"] for c in counters) <= sim.run_cycles
        right = accuracy(golden.run_batch(xs), labels)
        assert right > 70, f"{right} % on 200 test images"


@pytest.mark.slow
def test_an_array_of_deltas():
    """The FashionMNIST network of 4-bit deltas, which its SoC does not decode; images for other
    arrays are refused."""
    xs, _ = delta_soc.vectors("test", 10)
    ours, _, other = (delta_soc.image_of(case) for case in delta_soc.CASES)
    with SimDevice(build_sim("sim-delta4"), preload=ours) as sim, \
            litepress.connect("golden") as golden:
        sim.load(ours)
        golden.load(ours)
        for x in xs:
            np.testing.assert_array_equal(sim.run(x), golden.run(x))
        with pytest.raises(DeviceError, match=r"array='mac'.* has .*array='delta4'"):
            sim.load(other)


@pytest.mark.slow
def test_an_array_of_codes():
    """ResNet-20 with power-of-two weights, which its SoC takes as they are stored."""
    xs, _ = pot_soc.vectors("test", 2)
    image = pot_soc.image_of(pot_soc.CASES[0], None, 2)
    with SimDevice(build_sim("sim-pot4"), preload=image) as sim, \
            litepress.connect("golden") as golden:
        sim.load(image)
        golden.load(image)
        for x in xs:
            np.testing.assert_array_equal(sim.run(x), golden.run(x))


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["25f", "45f"])
def test_without_vector(arch, test_set):
    """COMPUTE does the depthwise layers, adds and pools as well, in about the clocks predicted; an
    image that takes VECTOR is refused."""
    calibration = calibration_images(64)
    image = litepress.compress(tiny(), calibration[:1], calibration, arch=arch)
    other = litepress.compress(tiny(), calibration[:1], calibration,
                               arch=replace(ARCHS[arch], vector=True))
    with SimDevice(build_sim(arch)) as sim, litepress.connect("golden") as golden:
        sim.load(image)
        golden.load(image)
        for x in test_set[0][:3]:
            np.testing.assert_array_equal(sim.run(x), golden.run(x))
        predicted = sum(group["predicted"]["cycles"] for group in image.meta["groups"])
        assert 0.9 < sim.run_cycles / predicted < 1.2
        assert not any(c["vector_busy"] for c in sim.counters())
        with pytest.raises(DeviceError, match=r"vector=True\), device .* has .*vector=False"):
            sim.load(other)


def test_lossless_activations_change_nothing():
    """ebpc8 for raw8: the same logits, by fewer words of DRAM."""
    calibration = calibration_images(64)
    xs = preprocess_tiny(fashion_mnist("test")[0][:50])
    answers = []
    for activations in ("raw8", "ebpc8"):
        with litepress.connect("golden") as golden:
            golden.load(litepress.compress(tiny(), calibration[:1], calibration, "raw8",
                                           activations, arch=ARCH))
            answers.append(golden.run_batch(xs))
    np.testing.assert_array_equal(*answers)


def test_loading_skips_what_matches(simulator):
    calibration = calibration_images(16)
    first, second = (litepress.compress(tiny(), calibration[:1], calibration, w, "raw8", arch=ARCH,
                                        bias_correction=False) for w in ("raw16", "raw8"))
    with SimDevice(simulator, preload=first) as sim:
        sim.load(first)
        total = 512 + sum(s.size for s in first.sections if s.dram != 0xffffffff)
        assert sim.skipped_bytes == total
        sim.load(second)
        assert sim.skipped_bytes < total
        with litepress.connect("golden") as golden:
            golden.load(second)
            x = calibration[0]
            np.testing.assert_array_equal(sim.run(x), golden.run(x))


def test_the_command_line(simulator, test_set, tmp_path):
    calibration = calibration_images(16)
    image = litepress.compress(tiny(), calibration[:1], calibration, arch=ARCH)
    image.save(tmp_path / "tiny.lpk")
    np.save(tmp_path / "x.npy", test_set[0][:2])
    said = {}
    for device in ("golden", f"sim:{simulator}"):
        done = subprocess.run([sys.executable, "-m", "litepress.cli", "run", "tiny.lpk", "--input",
                               "x.npy", "--device", device, "--counters"], cwd=tmp_path,
                              capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        said[device] = [line for line in done.stdout.splitlines() if line[:3] in ("0: ", "1: ")]
    assert image.hash in done.stdout and "MAC/cycle" in done.stdout
    assert len(said["golden"]) == 2 and said["golden"] == said[device]


def test_load_fills_the_line(simulator):
    """At most 40 system clocks a byte, so that 3 Mbaud are filled at 50 MHz."""
    calibration = calibration_images(4)
    image = litepress.compress(tiny(), calibration[:1], calibration, "raw16", "raw16", arch=ARCH,
                               bias_correction=False)
    assert clocks_a_byte(simulator, image) < 40


def clocks_a_byte(simulator, image):
    with SimDevice(simulator) as sim:
        before = sim.client.status()["cycles"]
        sim.load(image)
        return (sim.client.status()["cycles"] - before) / len(image.bytes())


@pytest.mark.slow
def test_the_smallest_cpu(tmp_path, monkeypatch):
    """A 25F's (soc/boards.py): it takes a byte in the 166 clocks that the line has for it, and runs
    a network."""
    cpu = BOARDS["ulx3s-25f"].cpu
    assert cpu != CPU_VARIANT
    monkeypatch.setattr(sim_module, "SimSoC", partial(sim_module.SimSoC, cpu=cpu))
    monkeypatch.setattr(sim_module, "WORK", tmp_path / "work")
    sim_module._build(ARCHS[ARCH], False, tmp_path / cpu, print, None)
    calibration = calibration_images(16)
    image = litepress.compress(tiny(), calibration[:1], calibration, arch=ARCH)
    assert clocks_a_byte(tmp_path / cpu, image) < 100
    with SimDevice(tmp_path / cpu, preload=image) as sim, \
            litepress.connect("golden") as golden:
        sim.load(image)
        golden.load(image)
        np.testing.assert_array_equal(sim.run(calibration[0]), golden.run(calibration[0]))
