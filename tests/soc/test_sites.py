"""Sites of block RAMs and multipliers, found from small invented placements."""

import itertools
import json
import random
import sys
from dataclasses import replace

import pytest

from litepress.soc import sites
from litepress.soc.floorplan import DSPS, Grid

GRID = Grid((4, 13), (10,), (30, 20))       # 16 EBRs, rows not in order of y; 8 DSPs.


def placed(path, cells):
    """A file as nextpnr --write makes it. cells: {name: (type, BEL, nets)}, a pin for each net."""
    path.write_text(json.dumps({"modules": {"top": {"cells": {
        name: {"type": kind, "attributes": {"NEXTPNR_BEL": bel} if bel else {},
               "connections": {f"P{i}": [net] for i, net in enumerate(nets)}}
        for name, (kind, bel, nets) in cells.items()}}}}))
    return path


def comb(x, y, *nets):
    return "TRELLIS_COMB", f"X{x}/Y{y}/SLICEA.COMB0", nets


def length(cells, found):
    """Wire of {name: (type, BEL, nets)}, where ``found`` says other BELs: worked out anew."""
    nets = {}
    for name, (_, bel, pins) in cells.items():
        x, y = sites.BEL.match(found.get(name, bel)).groups()
        for net in pins:
            nets.setdefault(net, []).append((int(x), int(y)))
    return sum(max(v) - min(v) for pins in nets.values() for v in zip(*pins, strict=True))


def test_wire_length(tmp_path):
    path = placed(tmp_path / "a.json", {
        "a": comb(0, 0, 1, 2, "0"), "b": comb(3, 4, 1, 3, "0"), "c": comb(1, 9, 1, 4),
        "d": ("DP16KD", "X4/Y20/EBR0", (2, 4, 4))})
    placement = sites.read(path)
    # 1: 3 x 9; 2: 4 x 20; 4: 3 x 11; a net of one pin and a constant have no wire.
    assert placement.wire() == 12 + 24 + 14
    assert placement.costs(3, sites.positions(["X4/Y20/EBR0", "X1/Y9/EBR0"])).tolist() == [38, 10]
    assert sites.read(placed(path, {"a": comb(0, 0)})).wire() == 0


def test_nets_of_the_whole_fpga_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(sites, "MAX_PINS", 3)
    cells = {f"c{i}": comb(i, 0, 1, *[2][:i < 3]) for i in range(4)}
    assert sites.read(placed(tmp_path / "a.json", cells)).wire() == 2


def test_two_block_rams_change_places(tmp_path):
    pytest.importorskip("scipy")
    cells = {"left": comb(4, 20, 1), "right": comb(19, 30, 2),
             "ram_10.0": ("DP16KD", "X19/Y30/EBR3", (1,)),
             "ram_2.0": ("DP16KD", "X4/Y20/EBR0", (2,))}
    said = []
    found = sites.assign(placed(tmp_path / "a.json", cells), GRID, said.append)
    assert list(found.items()) == [("ram_2.0", "X19/Y30/EBR3"), ("ram_10.0", "X4/Y20/EBR0")]
    assert said == ["2 block RAMs, 0 multipliers that are not planned: 50 tiles of wire",
                    "round 1: 0 tiles of wire", "after: 0 tiles of wire"]


def test_the_cpu_keeps_its_corner(tmp_path):
    pytest.importorskip("scipy")
    grid = replace(GRID, cpu="X19/Y30/EBR3")
    cells = {"left": comb(4, 20, 1), "right": comb(19, 30, 2),
             "rom.0.0": ("DP16KD", "X19/Y30/EBR3", (1,)),
             "ram.0.0": ("DP16KD", "X4/Y20/EBR0", (2,))}
    found = sites.assign(placed(tmp_path / "a.json", cells), grid, [].append)
    # Not its site, though it lies best.
    assert found.keys() == {"ram.0.0"} and found["ram.0.0"] not in ("X4/Y20/EBR0", grid.cpu)


def chance(seed):
    """5 EBRs, nets of each to 3 cells that stay; DSPs in and outside the array."""
    rng = random.Random(seed)
    nets = itertools.count(1)
    cells = {}
    bels = rng.sample(GRID.ebr_bels(), 5)
    dsps = [f"X{block + distance}/Y10/{site}" for block in GRID.blocks for site, distance in DSPS]
    rng.shuffle(dsps)
    kinds = [("DP16KD", f"abuf_{i}_0.0.0", bels[i]) for i in range(5)]
    kinds += [("MULT18X18D", f"MULT18X18D_{i + 1}", dsps[i]) for i in range(5)]
    kinds += [("MULT18X18D", f"array_0_{i}", dsps[5 + i]) for i in range(3)]
    for kind, name, bel in kinds:
        own = [next(nets) for _ in range(3)]
        cells[name] = kind, bel, own
        for net in own:
            cells[f"{name}.{net}"] = comb(rng.randrange(25), rng.randrange(40), net)
    return cells


@pytest.mark.parametrize("seed", range(5))
def test_the_shortest_of_all_there_are(seed, tmp_path):
    pytest.importorskip("scipy")
    cells = chance(seed)
    path = placed(tmp_path / "a.json", cells)
    said = []
    found = sites.assign(path, GRID, said.append)
    rams, dsps = ([name for name in cells if name.startswith(start) and name in found]
                  for start in ("abuf", "MULT"))
    assert len(rams) == len(dsps) == 5 and found.keys() == {*rams, *dsps}
    assert len(set(found.values())) == 10
    assert {found[name] for name in rams} <= set(GRID.ebr_bels())
    assert {found[name] for name in dsps} == {cells[name][1] for name in dsps}
    # Of 16 sites it would be 500,000 ways: 8 with the five among them, which are best there, too.
    spare = [bel for bel in GRID.ebr_bels() if bel not in {found[name] for name in rams}]
    few = [found[name] for name in rams] + random.Random(seed).sample(spare, 3)
    for names, bels in ((rams, few), (dsps, [cells[name][1] for name in dsps])):
        alone = {name: cell for name, cell in cells.items() if name.split(".")[0] in
                 {n.split(".")[0] for n in names}}
        shortest = min(length(alone, dict(zip(names, ways, strict=True)))
                       for ways in itertools.permutations(bels, 5))
        assert length(alone, found) == shortest
    assert said[-1] == f"after: {length(cells, found):,} tiles of wire"
    assert length(cells, found) < length(cells, {})


def test_rounds_never_make_it_longer(tmp_path):
    """Nets between cells that move: what a round reckons with is then not what it gets."""
    pytest.importorskip("scipy")
    for seed in range(20):
        rng = random.Random(seed)
        bels = rng.sample(GRID.ebr_bels(), 12)
        cells = {f"r{i}": ("DP16KD", bels[i], [rng.randrange(1, 9) for _ in range(3)])
                 for i in range(12)}
        said = []
        found = sites.assign(placed(tmp_path / "a.json", cells), GRID, said.append)
        assert len(set(found.values())) == 12
        assert said[-1] == f"after: {length(cells, found):,} tiles of wire", seed
        assert length(cells, found) <= length(cells, {}), seed


def test_what_is_refused(tmp_path):
    path = placed(tmp_path / "a.json", {"a": comb(1, 2, 1), "b": ("DP16KD", "", (1,))})
    with pytest.raises(ValueError, match=r"a.json: not placed: 1 of 2 cells have no attribute "
                       r"NEXTPNR_BEL, which nextpnr-ecp5 --write gives$"):
        sites.assign(path, GRID)
    for text in ("{", "[]", '{"modules": {}}', '{"modules": {"top": {"cells": {"a": {}}}}}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"a\.json: not (a netlist|placed): .+$") as error:
            sites.assign(path, GRID)
        assert "\n" not in str(error.value)
    placed(path, {"a": ("DP16KD", "X5/Y20/EBR0", ())})
    with pytest.raises(ValueError, match="X5/Y20/EBR0: no site of a block RAM on this FPGA"):
        sites.assign(path, GRID)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(FileNotFoundError, match=r"`scripts/setup\.sh bench` installs it"):
        sites.solver()


def test_the_command_writes_the_table(tmp_path, monkeypatch):
    pytest.importorskip("scipy")
    pytest.importorskip("litex_boards")
    from litepress.bench import sites as command

    path = tmp_path / "sites_85f.json"
    cells = chance(0)

    class Flow:
        def synthesize(self, tables):
            assert not tables
            return "netlist"

        def place(self, netlist, seed):
            assert (netlist, seed) == ("netlist", 3)
            return type("Routed", (), {"netlist": placed(tmp_path / "a.json", cells)})

    grid = replace(GRID, table=str(path))
    monkeypatch.setattr(command, "flow_of", lambda board: Flow())
    monkeypatch.setattr(command, "grid_of", lambda device: grid if "85F" in device else None)
    command.main("ulx3s-85f", 3)
    table = json.loads(path.read_text())
    assert table["command"] == "python -m litepress.bench.sites --board ulx3s-85f --seed 3"
    assert len(table["sites"]) == 10
    assert len(path.read_text().splitlines()) == 10 + 5     # A line for a cell.
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.json", "sites_85f.json"]
    with pytest.raises(ValueError, match="--board ulx3s-25f: its FPGA has no table of sites"):
        command.main("ulx3s-25f", 3)
    with pytest.raises(ValueError, match="board 'ulx4m': allowed are"):
        command.main("ulx4m", 3)


def test_without_a_plan_the_array_moves_too(tmp_path):
    pytest.importorskip("scipy")
    cells = chance(1)
    unplanned = replace(GRID, dsp_rows=())
    found = sites.assign(placed(tmp_path / "a.json", cells), unplanned, lambda text: None)
    dsps = {name: cell[1] for name, cell in cells.items() if cell[0] == "MULT18X18D"}
    assert len(dsps) == 8
    moved = {name: bel for name, bel in found.items() if name in dsps}
    assert moved.keys() == dsps.keys() and {*moved.values()} == {*dsps.values()}
    assert any(moved[name] != dsps[name] for name in dsps if name.startswith("array"))
