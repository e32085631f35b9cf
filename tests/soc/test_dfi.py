"""soc/dfi.py: commands a clock late, reads as they are."""

import random

import pytest

pytest.importorskip("litedram")

from litedram.common import PhySettings
from litedram.phy import dfi
from litex.gen import LiteXModule
from litex.gen.sim import run_simulation

from litepress.soc.dfi import DFIRegister

COMMANDS = ("address", "bank", "cas_n", "cs_n", "ras_n", "we_n", "cke", "wrdata", "wrdata_en",
            "wrdata_mask", "rddata_en")
READS    = ("rddata", "rddata_valid")


class ToyPHY(LiteXModule):
    def __init__(self):
        self.settings = PhySettings(phytype="toy", memtype="SDR", databits=16, dfi_databits=16,
            nranks=1, nphases=2, rdphase=0, wrphase=0, cl=2, read_latency=3, write_latency=0)
        self.dfi = dfi.Interface(13, 2, 1, 16, 2)


class Dut(LiteXModule):
    def __init__(self):
        self.phy = ToyPHY()
        self.reg = DFIRegister(self.phy)


def test_commands_are_a_clock_late():
    """And none are given before the controller does; what is read passes in the same clock."""
    dut, rng = Dut(), random.Random(1)
    assert (dut.reg.settings.read_latency, dut.phy.settings.read_latency) == (4, 3)
    idle = [1, 1, 1, 1, 0]
    late = []

    def values(interface, names):
        found = []
        for phase in interface.phases:
            for name in names:
                found.append((yield getattr(phase, name)))
        return found

    def drive(interface, names):
        for phase in interface.phases:
            for name in names:
                signal = getattr(phase, name)
                yield signal.eq(rng.getrandbits(len(signal)))

    def bench():
        first = yield from values(dut.phy.dfi, ("cas_n", "cs_n", "ras_n", "we_n", "wrdata_en"))
        assert first == 2*idle
        before = None
        for _ in range(50):
            yield from drive(dut.reg.dfi, COMMANDS)
            yield from drive(dut.phy.dfi, READS)
            yield
            assert (yield from values(dut.reg.dfi, READS)) == (
                yield from values(dut.phy.dfi, READS))
            if before is not None:
                late.append((yield from values(dut.phy.dfi, COMMANDS)) == before)
            before = yield from values(dut.reg.dfi, COMMANDS)

    run_simulation(dut, bench())
    assert len(late) == 49 and all(late)
