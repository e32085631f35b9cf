"""Boards: every one elaborates to Verilog with its firmware; tools and errors."""

import dataclasses
import shutil

import pytest

pytest.importorskip("litex_boards")

from litepress.soc import accelerator, bitstream, core, sim
from litepress.soc import board as board_module
from litepress.soc.boards import BOARDS
from litepress.spec.arch import ARCHS


@pytest.mark.parametrize("name", ["ulx3s-25f", "ulx3s-85f"])
def test_elaborates(name, tmp_path, monkeypatch):
    if not shutil.which("riscv64-unknown-elf-gcc"):
        pytest.skip("riscv64-unknown-elf-gcc is not installed")
    monkeypatch.setattr(board_module, "ROOT", tmp_path)
    said = []
    directory, script = board_module.generate(BOARDS[name], say=said.append)
    verilog = next(directory.glob("*.v")).read_text()
    # The multipliers are DSP blocks: the array's and the requantizer's.
    assert verilog.count("MULT18X18D") >= ARCHS[BOARDS[name].arch].multipliers
    assert "firmware:" in said[0]
    assert list(bitstream.script_commands(script)) == list(bitstream.TOOLS)
    rom = next(directory.glob("*rom.init")).read_text().split()
    assert 500 < len(rom) <= core.ROM_BYTES // 4


def test_simulation_has_the_boards_sdram():
    """Same PHY settings and module: same clock counts."""
    from litedram.phy import HalfRateGENSDRPHY
    from litex_boards.platforms import radiona_ulx3s

    board = BOARDS["ulx3s-85f"]
    soc = sim.SimSoC(ARCHS["tiny"])
    phy = HalfRateGENSDRPHY(radiona_ulx3s.Platform().request("sdram"), board.clk_freq)
    ours, theirs = ({name: value for name, value in vars(settings).items() if name != "self"}
                    for settings in (soc.sdrphy.settings, phy.settings))
    assert ours == theirs and len(ours) > 10
    assert (type(soc.sdrphy.module).__name__, soc.sys_clk_freq) == (board.sdram_module,
                                                                    board.clk_freq)
    assert soc.sdram.crossbar.controller.data_width == 32


def test_add_accelerator_refuses():
    soc = sim.LitePressSoC(sim.SimPlatform("SIM", list(sim.IO)), 50e6)
    with pytest.raises(ValueError, match="no LiteDRAM core 'sdram'"):
        accelerator.add_accelerator(soc, ARCHS["tiny"])
    soc = sim.SimSoC(ARCHS["tiny"])
    soc.constants["CONFIG_L2_SIZE"] = 8192
    with pytest.raises(ValueError, match="L2 cache of 8192 bytes: allowed is none"):
        accelerator.add_accelerator(soc, ARCHS["tiny"], name="second")


def test_no_memory_on_the_bus():
    """LiteX gives one a third port there, and Yosys makes registers of such a memory."""
    soc = sim.SimSoC(ARCHS["tiny"])
    assert [*soc.accel.get_memories(), *soc.wire.get_memories()] == []


def test_table():
    for board in BOARDS.values():
        assert board.arch in ARCHS
    with pytest.raises(ValueError, match="arch 'huge': allowed are"):
        dataclasses.replace(BOARDS["ulx3s-85f"], arch="huge")
    with pytest.raises(ValueError, match="sdram_rate '2:1': allowed are 1:1 and 1:2"):
        dataclasses.replace(BOARDS["ulx3s-85f"], sdram_rate="2:1")
