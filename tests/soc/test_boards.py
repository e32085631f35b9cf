"""Boards: every one elaborates to Verilog with its firmware; tools and errors."""

import dataclasses
import os
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


YOSYS = """#!/bin/sh
echo run >> runs
test ! -e fail || { echo "ERROR: no room"; exit 3; }
cp invented.v invented.json
"""
NEXTPNR = """#!/usr/bin/env python3
import json, sys
words = dict(zip(sys.argv, sys.argv[1:]))
assert words["--router"] == "router2" and words["--freq"] == "25", words
mhz = {"1": 40.0, "2": 49.0, "3": 51.0, "4": 60.0}[words["--seed"]]
use = {cell: {"used": 1, "available": 2}
       for cell in ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD", "MULT18X18D")}
open("runs", "a").write(words["--seed"])
json.dump({"fmax": {"sys": {"achieved": mhz, "constraint": 50.0},
                    "sys2x": {"achieved": 130.0, "constraint": 100.0}}, "utilization": use},
          open(words["--report"], "w"))
open(words["--textcfg"], "w").write(words["--seed"])
"""


@pytest.fixture
def flow(tmp_path):
    """Invented tools, and what LiteX writes for them."""
    for name, text in (("yosys", YOSYS), ("nextpnr-ecp5", NEXTPNR),
                       ("ecppack", "#!/bin/sh\ncp $1 $3\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "invented.v").write_text("// date\nmodule\n")
    (tmp_path / "invented.lpf").write_text("FREQUENCY\n")
    (tmp_path / "invented.ys").write_text(f"read_verilog {tmp_path}/invented.v\n")
    (tmp_path / "build_invented.sh").write_text(
        "# LiteX\nset -e\nyosys -l invented.rpt invented.ys\n"
        "nextpnr-ecp5 --json invented.json --textcfg invented.config --freq 25 --seed 7\n"
        "ecppack invented.config --bit invented.bit\n")
    return bitstream.Flow(tmp_path, tmp_path / "build_invented.sh",
                          f"{tmp_path}:{os.environ['PATH']}", say=lambda text: None)


def test_seeds_until_the_clocks_are_met(flow):
    assert flow.best(flow.synthesize(), (1, 2)).seed == 2
    best = flow.best(flow.synthesize(), (1, 2, 3, 4))
    assert (best.seed, best.margin, best.used["dsp"]) == (3, 51 / 50, (1, 2))
    assert flow.pack(best).read_text() == "3"
    # Nothing is run twice for the same inputs; a comment is none.
    assert (flow.directory / "runs").read_text() == "run\n123"
    (flow.directory / "invented.v").write_text("// later\nmodule\n")
    assert flow.best(flow.synthesize(), (1, 2)).seed == 2
    assert (flow.directory / "runs").read_text() == "run\n123"
    (flow.directory / "invented.v").write_text("module other\n")
    flow.best(flow.synthesize(), (2,))
    assert (flow.directory / "runs").read_text() == "run\n123run\n2"


def test_a_failing_step_is_named(flow):
    (flow.directory / "fail").touch()
    with pytest.raises(RuntimeError, match=r"yosys failed \(exit code 3\): ERROR: no room"):
        flow.synthesize()
    (flow.directory / "fail").unlink()
    assert flow.synthesize().exists()


def test_a_missed_clock_is_an_error(flow, monkeypatch):
    monkeypatch.setattr(board_module, "route", lambda board, seeds, say:
                        (flow, flow.best(flow.synthesize(), seeds)))
    with pytest.raises(RuntimeError, match=r"clock sys: 49.0 MHz, needed are 50.0: try other "
                       "--seeds than 1,2"):
        board_module.build(BOARDS["ulx3s-85f"], (1, 2), say=lambda text: None)
    assert board_module.build(BOARDS["ulx3s-85f"], (1, 2, 3), say=lambda text: None).exists()


def test_missing_tools(tmp_path, monkeypatch):
    monkeypatch.setattr(bitstream.shutil, "which", lambda tool: None)
    monkeypatch.setattr(bitstream.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(RuntimeError, match="yosys not found: install it"):
        bitstream.tool_path(tmp_path)


def test_missing_compiler(monkeypatch):
    from litepress.soc import firmware
    monkeypatch.setattr(firmware.shutil, "which", lambda tool: None)
    with pytest.raises(RuntimeError, match="riscv64-unknown-elf-gcc not found: install it"):
        firmware.compiler_version()
