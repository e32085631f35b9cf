"""The self-test of the simulated SoC: firmware, DRAM and accelerator as on a board."""

import pytest

pytest.importorskip("litex")

from broken import Crossed, broken

from litepress.host import selftest
from litepress.host.device.sim import SimDevice
from litepress.soc import sim
from litepress.spec.arch import ARCHS

pytestmark = pytest.mark.soc

FIRST = ["size of the array", "DRAM, data lines", "DRAM, address lines", "DRAM, cells",
         "image in DRAM"]


def outcomes(directory, **options):
    with SimDevice(directory) as device:
        return list(device.selftest(**options))


def test_passes():
    found = outcomes(sim.build_sim("tiny"))
    assert [str(o) for o in found if not o.passed] == []
    assert [o.name for o in found] == FIRST + [
        e.name for e in selftest.entries(selftest.build(ARCHS["tiny"]))]
    assert found[3].what == "0.0625 MiB, spread over 32 MiB"


@pytest.mark.slow
def test_a_miswired_decoder():
    """The whole SoC built with one fault: it is named, and nothing else is."""
    directory = sim.ROOT / "build" / "tests" / "miswired_sim"
    with broken(ZFPeDecoder16=Crossed):
        # Past build_sim, whose key is made of the sources alone.
        sim._build(ARCHS["tiny"], False, directory, print, None)
    assert [o.name for o in outcomes(directory) if not o.passed] == ["decoder zfpe"]
