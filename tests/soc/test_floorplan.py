"""Sites of the array on an FPGA."""

import itertools
import json
from dataclasses import replace

import pytest

from litepress.soc import floorplan
from litepress.soc.fit import DEVICES
from litepress.soc.floorplan import DSPS, GRIDS, Grid, grid_of, natural, plan, with_table

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
    assert grid_of("LFE5U-25F") is grid_of("LFE5U-12F-6BG381C") is GRIDS["25F"]
    assert grid_of("iCE40") is None
    assert {name: (len(DSPS)*len(grid.blocks)*len(grid.dsp_rows), len(grid.ebr_bels()))
            for name, grid in GRIDS.items()} == {name: (dsps, ebrs) for name, (_, ebrs, dsps)
                                                 in DEVICES.items()}


@pytest.mark.parametrize("name", ["85F", "45F"])
def test_paths(name):
    """Every block once, and the last is beside the first."""
    grid = GRIDS[name]
    path = grid.path()
    assert sorted(path) == sorted(itertools.product(range(len(grid.blocks)), grid.dsp_rows))
    (first, high), (last, low) = path[0], path[-1]
    rows = [sorted(grid.dsp_rows).index(y) for y in (high, low)]
    assert abs(first - last) + abs(rows[0] - rows[1]) == 1


def test_two_rows():
    """All multipliers, of which a 45F has no more, and the weights."""
    names = cells(16, 8)
    assert plan(names, GRIDS["45F"]).keys() == set(names[:-2])


def test_a_single_row_goes_by_lanes():
    """All multipliers of a 25F: a lane's are beside each other, its sum beside what takes it."""
    grid   = GRIDS["25F"]
    placed = plan(cells(4, 12), grid)
    assert {bel.split("/")[1] for bel in placed.values()} == {f"Y{grid.dsp_rows[0]}"}
    assert len(set(placed.values())) == 28
    assert sorted(placed, key=lambda name: natural(placed[name]))[7:14] == [
        "array_3_1", "array_2_1", "array_1_1", "array_0_1", "MULT18X18D_3", "MULT18X18D_4",
        "MULT18X18D_5"]
    assert plan(cells(4, 13), grid) == plan(cells(8, 12), grid) == {}
    assert plan([f"array_0_{lane}" for lane in range(3)], grid) == {}


def test_the_cpu_has_a_corner():
    names = ["rom.0.10", "rom.0.2", "sram.0.1", "VexRiscv.RegFilePlugin_regFile.0.0", "sram.0.0",
             "VexRiscv.MUL_P9", "VexRiscv.IBusCachedPlugin_cache.ways_0_tags.0.0", "rom_adr.x"]
    placed = plan([*cells(32, 28), *names], LARGE)
    assert [name for name, bel in placed.items() if "/Y82/" in bel and name in names] == [
        "sram.0.0", "sram.0.1", "VexRiscv.IBusCachedPlugin_cache.ways_0_tags.0.0",
        "VexRiscv.RegFilePlugin_regFile.0.0", "rom.0.2", "rom.0.10"]
    assert placed["sram.0.0"] == "X96/Y82/EBR0" and placed["rom.0.10"] == "X107/Y82/EBR1"
    assert len(set(placed.values())) == len(placed)
    # Weights that would be there lie elsewhere.
    crowded = replace(LARGE, ebr_rows=(82, 22))
    placed = plan([*cells(32, 28), *names], crowded)
    assert len(set(placed.values())) == len(placed) and placed["sram.0.0"] == "X96/Y82/EBR0"
    assert plan(cells(32, 28), LARGE).keys() == plan([*cells(32, 28), *names], LARGE).keys() \
        - set(names)
    assert not set(names) & plan([*cells(32, 28), *names], replace(LARGE, cpu="")).keys()


def test_sites_of_block_rams():
    bels = LARGE.ebr_bels()
    assert len(set(bels)) == 208 == len(bels)       # Of an 85F.
    assert bels[:5] == ["X4/Y22/EBR0", "X6/Y22/EBR1", "X8/Y22/EBR2", "X10/Y22/EBR3", "X13/Y22/EBR0"]
    assert bels[-1] == "X120/Y82/EBR3"


def test_a_table_goes_before_the_plan():
    names = cells(4, 8)
    alone = plan(names, SMALL)
    table = {"abuf_0_0.0.0": "X4/Y25/EBR0", "VexRiscv.ram.0": "X6/Y25/EBR1",
             "MULT18X18D_7": alone["MULT18X18D"]}
    placed, known = with_table(alone, names, table)
    # One that the netlist lacks is left out, and of the plan what lay on the table's sites.
    assert known == 2
    lost = {"wbuf_0_0.0.0", "MULT18X18D", "MULT18X18D_7"}
    assert {alone[name] for name in lost} >= {table["abuf_0_0.0.0"], table["MULT18X18D_7"]}
    assert placed == {"abuf_0_0.0.0": "X4/Y25/EBR0", "MULT18X18D_7": alone["MULT18X18D"],
                      **{name: bel for name, bel in alone.items() if name not in lost}}
    assert len(set(placed.values())) == len(placed)


@pytest.mark.parametrize("missing", ["abuf_9_0.0.0", "wbuf_9_0.0.0", "pbuf_0_0.0.0", "vbuf_0_0.0.0",
                                     "array_9_0"])
def test_a_table_for_other_memories(missing):
    names = cells(4, 8)
    alone = plan(names, SMALL)
    table = {"abuf_0_0.0.0": "X4/Y25/EBR0", missing: "X6/Y25/EBR1"}
    assert with_table(alone, names, table) == (alone, 0)
    assert with_table(alone, [*names, missing], table)[1] == 2
    # All of it where there is no plan.
    assert with_table({}, [*names, missing], table) == (table, 2)


def test_a_grid_without_a_plan():
    names = cells(4, 8)
    assert plan(names, SMALL) and plan(names, replace(SMALL, dsp_rows=())) == {}


def test_the_tables_there_are():
    assert LARGE.table
    for grid in (grid for grid in GRIDS.values() if grid.table):
        table = json.loads(grid.table_path().read_text())
        assert table["command"].startswith("python -m litepress.bench.sites --board ")
        found = table["sites"]
        assert list(found) == sorted(found, key=natural)
        assert len(set(found.values())) == len(found)
        rams = set(found.values()) & set(grid.ebr_bels())
        for bel in set(found.values()) - rams:
            x, y, site = bel.split("/")
            assert int(x[1:]) - dict(DSPS)[site] in grid.blocks and int(y[1:]) in grid.dsp_rows
        # With an array of all columns they fit, and the array is where the plan has it.
        names = {*found, *(f"array_{i}_{lane}" for i in range(32) for lane in range(4))}
        alone = plan(names, grid)
        placed, known = with_table(alone, names, found)
        assert known == len(found)
        assert placed.keys() == names and len(set(placed.values())) == len(names)
        assert all(placed[name] == (found.get(name) or alone[name]) for name in names)


def write(path, names, **types):
    path.write_text(json.dumps({"modules": {"top": {"cells": {
        name: {"type": types.get(name, "DP16KD"), "attributes": {"src": "a"}}
        for name in names}}}}))


def test_netlist(tmp_path):
    netlist, output = tmp_path / "in.json", tmp_path / "out.json"
    write(netlist, cells(4))
    assert floorplan.apply(netlist, LARGE, output) == (24, 0)
    found = json.loads(output.read_text())["modules"]["top"]["cells"]
    assert found["array_1_2"]["attributes"] == {"src": "a", "BEL": "X109/Y58/MULT18_4"}
    assert found["abuf_0_0.0.0"]["attributes"] == {"src": "a"}
    netlist.write_text("{}")
    with pytest.raises(ValueError, match="not a netlist"):
        floorplan.apply(netlist, LARGE, output)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["in.json", "out.json"]


def test_netlist_with_a_table(tmp_path):
    netlist, output, table = tmp_path / "in.json", tmp_path / "out.json", tmp_path / "table.json"
    sites = {"abuf_0_0.0.0": "X4/Y46/EBR0", "storage.0.0": "X6/Y46/EBR1", "storage_1.0.0":
             "X8/Y46/EBR2"}
    table.write_text(json.dumps({"command": "", "sites": sites}))
    grid = replace(LARGE, table=str(table))

    def bels():
        top = json.loads(output.read_text())["modules"]["top"]["cells"]
        return {name: cell["attributes"].get("BEL") for name, cell in top.items()}
    # Of the same name, on this board, is a memory in LUTs: it is not put on a block RAM's site.
    kinds = {"storage_1.0.0": "TRELLIS_DPR16X4"}
    write(netlist, [*cells(4), *sites], **kinds)
    assert floorplan.apply(netlist, grid, output) == (26, 2)
    assert {name: bels()[name] for name in sites} == sites | {"storage_1.0.0": None}
    # Without a memory of the table's, and where no table is wanted: the plan alone.
    write(netlist, cells(4)[:-1])
    assert floorplan.apply(netlist, grid, output) == (24, 0)
    write(netlist, [*cells(4), *sites], **kinds)
    assert floorplan.apply(netlist, grid, output, tables=False) == (24, 0)
    assert not any(bels()[name] for name in sites)
