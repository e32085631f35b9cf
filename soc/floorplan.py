"""Where the array's multipliers and weights lie on an FPGA whose DSP blocks it takes nearly all.

nextpnr's placers move a DSP block or an EBR last, to whatever site is left: where all sites of a
kind are taken, a multiplier ends far from its accumulator, which is thousands of long wires that
the router then has no room for. The plan says their sites instead: the array's columns in a row
from block to block, the weights of two columns in the block RAMs beside them, and the other
multipliers together beside column 0, where the sums come out. Everything else is the placer's.

Sites found from a placement (sites.py) are better where they are known: an FPGA's table of them
goes before the plan, in a netlist that has all of its memories.

Sites are written into the netlist as attributes BEL. Cells are known by the names that gateware/
gives them: ``array_COLUMN_LANE`` (array.py), ``wbuf_SLOT_BIT`` and the like (buffers.py).
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..spec.formats import LANES, VALUE_BITS

# Sites in a block of 9 tiles, with their distance from the first: nextpnr's names.
DSPS = (("MULT18_0", 0), ("MULT18_1", 1), ("MULT18_4", 4), ("MULT18_5", 5))
EBRS = (("EBR0", 0), ("EBR1", 2), ("EBR2", 4), ("EBR3", 6))

ARRAY = re.compile(r"array_(\d+)_(\d+)$")
WBUF  = re.compile(r"wbuf_(\d+)_(\d+)\.0\.(\d)$")
OTHER = re.compile(r"MULT18X18D(_\d+)?$")
# The CPU's memories, and the order of their sites.
CPU   = re.compile(r"(sram|VexRiscv|rom)\b.*\.\d+\.\d+$")
PARTS = ("sram", "VexRiscv", "rom")
# Names that do not depend on what else a netlist has.
NAMED = re.compile(r"(array|abuf|wbuf|pbuf|vbuf)_\d")
# Types of cells that lie on these sites; of the name of an EBR there is LUT memory, too.
TYPES = ("MULT18X18D", "DP16KD", "PDPW16KD")


@dataclass(frozen=True)
class Grid:
    """An FPGA's blocks of 4 DSPs and of 4 EBRs, which lie in the same columns. blocks: x of their
    first tiles, left to right; dsp_rows: y of one to three rows, top to bottom, or () where there
    is no plan, only a table; ebr_rows: those that weights prefer first: the ones between the others
    are for what is not planned; cpu: the first site of the CPU's memories, or "" where they are the
    placer's; table: file of sites found from a placement, beside this one, or "" where there is
    none."""

    blocks: tuple
    dsp_rows: tuple
    ebr_rows: tuple
    cpu: str = ""
    table: str = ""

    def path(self):
        """[(block, y)] of all DSP blocks, whose last is beside the first. Of three rows: round the
        right half of the middle one, which comes last; of two: through both."""
        count = len(self.blocks)
        half  = count // 2
        if len(self.dsp_rows) == 2:
            high, low = self.dsp_rows
            return [*((block, low) for block in reversed(range(count))),
                    *((block, high) for block in range(count))]
        high, middle, low = self.dsp_rows
        return [*((block, low) for block in reversed(range(count))),
                *((block, middle) for block in reversed(range(half))),
                *((block, high) for block in range(count)),
                *((block, middle) for block in range(half, count))]

    def ebr_bels(self):
        """Names of all EBR sites, row by row, left to right."""
        return [f"X{block + distance}/Y{y}/{site}" for y in sorted(self.ebr_rows)
                for block in self.blocks for site, distance in EBRS]

    def cpu_bels(self, cells):
        """{name: BEL} of the CPU's memories among ``cells``, names: one beside the other. The CPU
        follows them, with more multiplexers on its room than anything else: its place is a corner
        without multipliers, whose wires nothing else needs."""
        if not self.cpu:
            return {}
        found = [(PARTS.index(match[1]), natural(name), name) for name in cells
                 if (match := CPU.match(name))]
        bels  = self.ebr_bels()
        first = bels.index(self.cpu)
        return dict(zip((name for *_, name in sorted(found)), bels[first:], strict=False))

    def table_path(self):
        """Where the table is; only if there is one."""
        return Path(__file__).parent / self.table


_25F  = Grid((*range(4, 23, 9), *range(33, 61, 9)), (13,), (25, 37), "X51/Y37/EBR0")
GRIDS = {"85F": Grid((*range(4, 59, 9), *range(69, 115, 9)), (10, 34, 58), (22, 70, 46, 82),
                     "X96/Y82/EBR0", "sites_85f.json"),
         "45F": Grid((*range(4, 32, 9), *range(42, 79, 9)), (22, 46), (34, 10, 58), "X60/Y58/EBR0"),
         "25F": _25F, "12F": _25F}


def grid_of(device):
    """The Grid of a device such as "LFE5U-85F-6BG381C" or "LFE5UM5G-85F-8BG554I"; None where the
    placer does well without a plan."""
    match = re.match(r"LFE5U(?:M|M5G)?-(\d+F)", device)
    return match and GRIDS.get(match[1])


def natural(name):
    """Key for sorting names by the numbers in them."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def row_of_lanes(columns, others, grid):
    """The plan of an FPGA with one row of DSPs: a lane's columns, the last first, and its share of
    the others, which multiply what column 0 gives; then the next lane. So each lane has room for
    its logic: column by column, that of the others would lie in a heap."""
    share, rest = divmod(len(others), LANES)
    names = []
    for lane in range(LANES):
        names += [columns[column][lane] for column in sorted(columns, reverse=True)]
        names += others[share*lane:share*(lane + 1)]
    y, = grid.dsp_rows
    sites = [f"X{block + distance}/Y{y}/{site}" for block in grid.blocks for site, distance in DSPS]
    return {} if rest or len(names) > len(sites) else dict(zip(names, sites, strict=False))


def plan(cells, grid):
    """{name: BEL} for a netlist's cells, an iterable of names; empty where there is no array that
    the plan is for, or not room for all of it, or the grid has no rows for it."""
    if not grid.dsp_rows:
        return {}
    columns, weights, others = {}, {}, []
    cells = list(cells)
    for name in sorted(cells, key=natural):
        if match := ARRAY.match(name):
            columns.setdefault(int(match[1]), []).append(name)
        elif match := WBUF.match(name):
            column = LANES * int(match[1]) + int(match[2]) // VALUE_BITS
            weights.setdefault(column, []).append(name)
        elif OTHER.match(name):
            others.append(name)
    if len(grid.dsp_rows) == 1:
        whole = columns and all(len(names) == LANES for names in columns.values())
        return row_of_lanes(columns, others, grid) | grid.cpu_bels(cells) if whole else {}
    path = grid.path()
    blocks = len(columns) + -(-len(others) // len(DSPS))
    if not columns or blocks > len(path) or any(len(cells) > len(DSPS)
                                                for cells in columns.values()):
        return {}

    def bels(names, block, y, sites):
        return {name: f"X{grid.blocks[block] + distance}/Y{y}/{site}"
                for name, (site, distance) in zip(names, sites, strict=False)}
    placed = {}
    for column, names in columns.items():
        placed |= bels(names, *path[column], DSPS)
    for i in range(0, len(others), len(DSPS)):
        placed |= bels(others[i:i + len(DSPS)], *path[-1 - i // len(DSPS)], DSPS)

    # Each memory of weights into the free block nearest to its columns' multipliers.
    cpu   = grid.cpu_bels(cells)
    taken = {bel.rsplit("/", 1)[0] for bel in cpu.values()}
    free  = [(block, y) for y in grid.ebr_rows for block in range(len(grid.blocks))
             if not any(f"X{grid.blocks[block] + distance}/Y{y}" in taken for _, distance in EBRS)]
    for column, names in weights.items():
        if len(names) > len(EBRS) or column + 1 not in columns or not free:
            continue
        ends = path[column], path[column + 1]
        nearest = min(free, key=lambda site, ends=ends: sum(
            abs(grid.blocks[site[0]] - grid.blocks[block]) + abs(site[1] - y)
            for block, y in ends))
        free.remove(nearest)
        placed |= bels(names, *nearest, EBRS)
    return placed | cpu


def with_table(placed, cells, table):
    """A plan, {name: BEL}, whose ``cells`` that are in the table, {name: BEL} too, get its sites,
    and how many do; cells that the plan has there are the placer's. The plan as it is where
    ``cells`` lack memories of the table: it was then made for another accelerator."""
    cells = set(cells)
    if any(NAMED.match(name) and name not in cells for name in table):
        return placed, 0
    known = {name: bel for name, bel in table.items() if name in cells}
    taken = set(known.values())
    return {name: bel for name, bel in placed.items() if bel not in taken} | known, len(known)


def apply(netlist, grid, output, tables=True):
    """Write Yosys's netlist with sites of the plan and, with ``tables``, of the grid's table to
    ``output``; returns how many cells have one, and how many the table's. ValueError: not a
    netlist."""
    table = json.loads(grid.table_path().read_text())["sites"] if tables and grid.table else {}
    try:
        design = json.loads(netlist.read_text())
        modules = design["modules"].values()
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{netlist}: not a netlist: {error}") from None
    count = known_count = 0
    for module in modules:
        names  = [name for name, cell in module["cells"].items() if cell["type"] in TYPES]
        placed, known = with_table(plan(names, grid), names, table)
        for name, bel in placed.items():
            module["cells"][name].setdefault("attributes", {})["BEL"] = bel
        count += len(placed)
        known_count += known
    temporary = output.with_name(f"{output.name}.tmp")
    temporary.write_text(json.dumps(design))
    os.replace(temporary, output)
    return count, known_count
