"""Sites of the array on an FPGA."""

import itertools
import json
from dataclasses import replace

import pytest

from litepress.soc import floorplan
from litepress.soc.floorplan import DSPS, GRIDS, Grid, grid_of, plan

LARGE = GRIDS["85F"]
SMALL = Grid((4, 13), (10, 20, 30), (25,))


def cells(columns, others=0):
    """Names as a netlist has them: multipliers, weights of two columns in a memory."""
    return [*(f"array_{column}_{lane}" for column in range(columns) for lane in range(4)),
            *(f"wbuf_{slot}_{low}.0.{i}" for slot in range(columns // 4) for low in (0, 32)
              for i in range(4)),
            *(f"MULT18X18D_{i}" if i else "MULT18X18D" for i in range(others)),
            "VexRiscv.MUL_P9", "abuf_0_0.0.0"]


def sites(placed):
    """{name: (x of the block, y)}"""
    found = {}
    for name, bel in placed.items():
        x, y, site = bel.split("/")
        distance = dict((*DSPS, *floorplan.EBRS))[site]
        found[name] = int(x[1:]) - distance, int(y[1:])
    return found


@pytest.mark.parametrize("columns, others", [(4, 0), (16, 24), (32, 28)])
def test_every_cell_has_a_site_of_its_own(columns, others):
    names = cells(columns, others)
    placed = plan(names, LARGE)
    assert placed.keys() == set(names[:-2])
    assert len(set(placed.values())) == len(placed)
    found = sites(placed)
    for name, (x, y) in found.items():
        rows = LARGE.ebr_rows if name.startswith("wbuf") else LARGE.dsp_rows
        assert x in LARGE.blocks and y in rows, name
    # A column has a block, and most are beside the next.
    blocks = []
    for column in range(columns):
        (x, y), = {found[f"array_{column}_{lane}"] for lane in range(4)}
        blocks.append((LARGE.blocks.index(x), LARGE.dsp_rows.index(y)))
    steps = [abs(next_x - x) + abs(next_y - y)
             for (x, y), (next_x, next_y) in itertools.pairwise(blocks)]
    assert max(steps) <= 6 and sum(step > 1 for step in steps) <= 1
    # The others are not among them, their first beside column 0.
    rest = [site for name, site in found.items() if name.startswith("MULT")]
    assert not set(rest) & {site for name, site in found.items() if name.startswith("array")}
    if others:
        assert found["MULT18X18D"] == (found["array_0_0"][0], found["array_0_0"][1] - 24)


def test_what_the_plan_is_not_for():
    assert plan(["MULT18X18D", "VexRiscv.MUL_P9"], LARGE) == {}
    assert plan(cells(8), SMALL) == {} and plan(cells(4, 9), SMALL) == {}
    assert len(plan(cells(4, 8), SMALL)) == 32
    # Weights that have no room are the placer's.
    assert len(plan(cells(4, 8), replace(SMALL, ebr_rows=()))) == 24
    assert plan([f"array_0_{lane}" for lane in range(5)], LARGE) == {}


def test_devices():
    assert grid_of("LFE5U-85F-6BG381C") is grid_of("LFE5UM5G-85F-8BG554I") is LARGE
    assert grid_of("LFE5U-25F") is None and grid_of("iCE40") is None


def test_netlist(tmp_path):
    netlist, output = tmp_path / "in.json", tmp_path / "out.json"
    netlist.write_text(json.dumps({"modules": {"top": {"cells": {
        name: {"attributes": {"src": "a"}} for name in cells(4)}}}}))
    assert floorplan.apply(netlist, LARGE, output) == 24
    found = json.loads(output.read_text())["modules"]["top"]["cells"]
    assert found["array_1_2"]["attributes"] == {"src": "a", "BEL": "X109/Y58/MULT18_4"}
    assert found["abuf_0_0.0.0"]["attributes"] == {"src": "a"}
    netlist.write_text("{}")
    with pytest.raises(ValueError, match="not a netlist"):
        floorplan.apply(netlist, LARGE, output)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["in.json", "out.json"]
