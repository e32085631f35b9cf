"""From Verilog to a bitstream, with tools that stand in for Yosys, nextpnr and ecppack."""

import os

import pytest

pytest.importorskip("litex_boards")

from litepress.bench.bitstream import figures_of
from litepress.soc import bitstream
from litepress.soc import board as board_module
from litepress.soc.boards import BOARDS

YOSYS = """#!/bin/sh
echo run >> runs
test ! -e fail || { echo "ERROR: no room"; exit 3; }
echo "{\\"modules\\": {}, \\"from\\": \\"$(tr '\\n' ' ' < invented.v)\\"}" > invented.json
"""
NEXTPNR = """#!/usr/bin/env python3
import json, sys
words = dict(zip(sys.argv, sys.argv[1:]))
options = [word for word in sys.argv if word.startswith("--")]
if len(options) > len(set(options)):
    sys.exit("an option cannot be specified more than once")
if "--no-route" in words:
    print("Info:  TRELLIS_COMB:  3/    4    75%\\nInfo:  TRELLIS_FF: 2/ 4  50%")
    print("Info:  DP16KD:   1/4  25%\\nInfo:  MULT18X18D:  0/4  0%")
    print("Info: Max frequency for clock   '$glbnet$sys': 42.38 MHz (FAIL at 50.00 MHz)")
    open(words["--write"], "w").write("placed")
    sys.exit()
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
    (tmp_path / "invented.v").write_text("// date\n/* a\n b */\nmodule\n")
    (tmp_path / "invented.lpf").write_text("FREQUENCY\n")
    (tmp_path / "invented.ys").write_text(f"read_verilog {tmp_path}/invented.v\n")
    (tmp_path / "build_invented.sh").write_text(
        "# LiteX\nset -e\nyosys -l invented.rpt invented.ys\n"
        "nextpnr-ecp5 --json invented.json --textcfg invented.config --freq 25 --seed 7 "
        "--timing-allow-fail\n"
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
    (flow.directory / "invented.v").write_text("// later\n/* b\n a */\nmodule\n")
    assert flow.best(flow.synthesize(), (1, 2)).seed == 2
    assert (flow.directory / "runs").read_text() == "run\n123"
    (flow.directory / "invented.v").write_text("module other\n")
    flow.best(flow.synthesize(), (2,))
    assert (flow.directory / "runs").read_text() == "run\n123run\n2"


def test_clocks_after_placement(flow):
    netlist = flow.synthesize()
    placed, routed = flow.place(netlist, 3), flow.route(netlist, 3)
    assert placed.fmax == {"$glbnet$sys": (42.38, 50.0)} and placed.config is None
    assert placed.used == {"lut": (3, 4), "ff": (2, 4), "ebr": (1, 4), "dsp": (0, 4)}
    board = BOARDS["ulx3s-85f"]
    assert figures_of(board, placed)["ulx3s_85f_placed_fmax_mhz"] == 42.38
    assert figures_of(board, routed)["ulx3s_85f_fmax_mhz"] == 51
    assert figures_of(board, routed)["ulx3s_85f_x2_fmax_mhz"] == 130


def test_a_failing_step_is_named(flow):
    (flow.directory / "fail").touch()
    with pytest.raises(RuntimeError, match=r"yosys failed \(exit code 3\): ERROR: no room"):
        flow.synthesize()
    (flow.directory / "fail").unlink()
    assert flow.synthesize().exists()


def test_a_missed_clock_is_an_error(flow, monkeypatch):
    monkeypatch.setattr(board_module, "flow_of", lambda board, say: flow)
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


def test_density():
    """Fuller FPGAs are filled more, but never wholly."""
    assert [bitstream.density_of(share) for share in (0.1, 0.6, 0.75, 0.94)] == [
        0.7, 0.7, 0.77, 0.95]
