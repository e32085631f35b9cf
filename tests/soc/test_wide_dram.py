"""The simulated SoC on a controller of 128 bits, as DDR3 has one: gateware/wideport.py at work."""

import types

import numpy as np
import pytest
from litedram import modules
from litedram.phy.model import get_sdram_phy_settings

import litepress
from litepress.host.device.sim import SimDevice
from litepress.models.data import fashion_mnist
from litepress.models.tiny import calibration_images, preprocess_tiny, tiny
from litepress.soc import sim
from litepress.spec.arch import ARCHS
from litepress.spec.image import NOT_LOADED

pytestmark = [pytest.mark.soc, pytest.mark.slow]
ARCH = "tiny"


class WideSoC(sim.SimSoC):
    """DDR3 by LiteDRAM's model, in four phases."""

    def bank_memories(self):
        """What can be preloaded has 32 bits: not the DRAM, then, and no test asks for it."""
        return [self.sram.mem]


@pytest.fixture
def simulator(tmp_path, monkeypatch):
    # Firmware, Verilator and harness as ever; SimSoC takes its chip by this name.
    monkeypatch.setattr(sim, "modules", types.SimpleNamespace(
        MT48LC16M16=lambda clk_freq, rate: modules.MT41K64M16(clk_freq, "1:4")))
    monkeypatch.setattr(sim, "half_rate_settings", lambda bits, clk_freq:
                        get_sdram_phy_settings("DDR3", bits, clk_freq))
    monkeypatch.setattr(sim, "SimSoC", WideSoC)
    monkeypatch.setattr(sim, "WORK", tmp_path / "work")
    sim._build(ARCHS[ARCH], False, tmp_path / "wide", print, None)
    return tmp_path / "wide"


def test_a_network_and_its_tensors(simulator):
    xs = preprocess_tiny(fashion_mnist("test")[0][:2])
    calibration = calibration_images(64)
    for weights, activations in (("zfpi6", "zfpi6"), ("raw8", "ebpc8")):
        image = litepress.compress(tiny(), calibration[:1], calibration, weights, activations,
                                   arch=ARCH, keep=True)
        with SimDevice(simulator) as device, litepress.connect("golden") as golden:
            assert device.info["region_bytes"] == 128 << 20
            device.load(image)
            golden.load(image)
            for x in xs:
                np.testing.assert_array_equal(device.run(x), golden.run(x))
                for name in image.meta["tensors"]:
                    assert device.read_tensor_bytes(name) == golden.read_tensor_bytes(name), name
            # What is there is found there: reads after writes, by CPU and accelerator.
            device.load(image)
            assert device.skipped_bytes == len(image.header_bytes()) + sum(
                s.size for s in image.sections if s.dram != NOT_LOADED)
