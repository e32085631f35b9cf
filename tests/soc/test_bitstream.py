"""Steps from Verilog to bitstream, with tools that stand in for Yosys and nextpnr."""

import json
import os

import pytest

from litepress.bench.bitstream import figures_of
from litepress.soc.bitstream import CELLS, Flow
from litepress.soc.boards import BOARDS

SCRIPT = """yosys -l top.rpt top.ys
nextpnr-ecp5 --json top.json --lpf top.lpf --textcfg top.config --report top.json --seed 1 \
--timing-allow-fail
ecppack --bootaddr 0 top.config --bit top.bit
"""
VERILOG = """// Date: {date}
/* Modules, as they come:
  {date} */
module top(); {body} endmodule
"""
YOSYS = """#!/bin/sh
echo run >> runs
grep -q bad top.v && { echo "ERROR: line 4: bad"; exit 1; }
cp top.v top.json
"""
# Refuses an option given twice, as nextpnr does; each seed is 10 MHz faster.
NEXTPNR = """#!/usr/bin/env python3
import json, sys
options = [word for word in sys.argv if word.startswith("--")]
twice = [word for word in options if options.count(word) > 1]
if twice:
    sys.exit(f"option '{twice[0]}' cannot be specified more than once")
value = lambda name: sys.argv[sys.argv.index(name) + 1]
if "--no-route" in options:
    print("Info:   TRELLIS_COMB:    3/    4    75%\\nInfo:   TRELLIS_FF:  2/ 4  50%")
    print("Info:   DP16KD:  1/4  25%\\nInfo:   MULT18X18D:  0/4  0%")
    print("Info: Max frequency for clock   '$glbnet$sys_clk': 42.38 MHz (FAIL at 50.00 MHz)")
    open(value("--write"), "w").write("placed")
    sys.exit()
open(value("--textcfg"), "w").write("routed")
cells = {"TRELLIS_COMB": 3, "TRELLIS_FF": 2, "DP16KD": 1, "MULT18X18D": 0}
json.dump({"utilization": {cell: {"used": n, "available": 4} for cell, n in cells.items()},
           "fmax": {"sys_clk": {"achieved": 35 + 10 * int(value("--seed")), "constraint": 50.0}}},
          open(value("--report"), "w"))
"""


@pytest.fixture
def flow(tmp_path):
    """make(body, date) -> a Flow of that Verilog, its tools on its PATH; its lines are in said."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("yosys", YOSYS), ("nextpnr-ecp5", NEXTPNR)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tmp_path / "build_top.sh").write_text(SCRIPT)
    (tmp_path / "top.ys").write_text("read_verilog top.v\n")
    (tmp_path / "top.lpf").write_text("")
    said = []

    def make(body="", date="today"):
        (tmp_path / "top.v").write_text(VERILOG.format(body=body, date=date))
        made = Flow(tmp_path, tmp_path / "build_top.sh", f"{tools}{os.pathsep}{os.environ['PATH']}",
                    said.append)
        made.said = said
        return made

    cwd = os.getcwd()
    os.chdir(tmp_path)      # The script names its Verilog from there.
    yield make
    os.chdir(cwd)


def runs(flow):
    return (flow.directory / "runs").read_text().count("run")


def test_a_step_runs_again_only_for_other_inputs(flow):
    flow("wire a;").synthesize()
    flow("wire a;", "tomorrow").synthesize()        # Only comments differ.
    assert runs(flow()) == 1
    flow("wire b;").synthesize()
    assert runs(flow()) == 2


def test_a_failed_step_says_why_and_is_not_kept(flow):
    flow().synthesize()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"yosys failed \(exit code 1\): ERROR: line 4: bad"):
            flow("bad").synthesize()
    assert runs(flow()) == 3


def test_seeds_are_tried_until_the_clocks_are_met(flow):
    made = flow()
    netlist = made.synthesize()
    routed = made.best(netlist, [1, 2, 3])
    assert routed.seed == 2 and routed.margin == 1.1
    assert not (made.directory / "top.seed3.report.json").exists()
    assert set(routed.used) == set(CELLS) and routed.used["lut"] == (3, 4)
    assert made.best(netlist, [1]).margin == 0.9    # Missed by all: the best.
    placed = made.place(netlist, 3)
    assert placed.fmax == {"$glbnet$sys_clk": (42.38, 50.0)} and placed.used == routed.used
    board = BOARDS["ulx3s-85f"]
    assert figures_of(board, placed)["ulx3s_85f_placed_fmax_mhz"] == 42.38
    assert figures_of(board, routed)["ulx3s_85f_fmax_mhz"] == 55
    report = json.loads((made.directory / "top.seed1.report.json").read_text())
    assert report["fmax"]["sys_clk"]["achieved"] == 45
