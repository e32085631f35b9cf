"""Sites of block RAMs and multipliers, found from a placement.

nextpnr's placer moves EBRs and DSPs last, to sites that are left. Here every other cell stays where
a placement has it, and all EBRs get a site anew at once: the Hungarian method finds whose sum of
wire is least. Then the DSPs outside the array do so, or all, among their own sites. A net between
two cells that move is reckoned to where the other one was, hence rounds, as long as they shorten
it.

Wire length is nextpnr's: width and height, in tiles, of the box round each net's pins.
"""

import json
import re
from dataclasses import dataclass

import numpy as np

from .floorplan import ARRAY, natural

BEL = re.compile(r"X(\d+)/Y(\d+)/\S+$")
# Nets of more pins are clocks, resets and constants: where one cell lies changes nothing there.
MAX_PINS = 3000
EBR_ROUNDS, DSP_ROUNDS = 4, 3


def solver():
    """scipy's Hungarian method: cost matrix (rows <= columns) -> (rows, column of each).
    FileNotFoundError says how to get it."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise FileNotFoundError("scipy: not installed; it assigns cells to sites "
                                "(`scripts/setup.sh bench` installs it)") from None
    return linear_sum_assignment


@dataclass
class Placement:
    """A placed netlist. names, types, bels: lists, of each cell; at: int array (cells, 2), x and y
    in tiles; pins: int array, the cells on every net's pins, net after net; starts: int array
    (nets + 1), where each net's pins begin."""

    names: list
    types: list
    bels: list
    at: np.ndarray
    pins: np.ndarray
    starts: np.ndarray

    def wire(self):
        """Wire length of all nets in tiles."""
        if len(self.starts) == 1:
            return 0
        at, starts = self.at[self.pins], self.starts[:-1]
        return int((np.maximum.reduceat(at, starts) - np.minimum.reduceat(at, starts)).sum())

    def costs(self, cell, at):
        """Wire length of a cell's nets in tiles, int array (sites), were it at each of ``at``, int
        array (sites, 2), and the others where they are."""
        total = np.zeros(len(at), int)
        nets  = np.searchsorted(self.starts, np.flatnonzero(self.pins == cell), side="right") - 1
        for net in np.unique(nets):
            pins   = self.pins[self.starts[net]:self.starts[net + 1]]
            others = self.at[pins[pins != cell]]
            if len(others):
                total += (np.maximum(others.max(0), at) - np.minimum(others.min(0), at)).sum(1)
        return total

    def improve(self, cells, bels, rounds, say):
        """Give each of ``cells``, indices, one of ``bels``, at least as many, ``rounds`` times or
        until the wire gets no shorter. say(text) is told of each round."""
        solve, at = solver(), positions(bels)
        shortest  = self.wire()
        for number in range(rounds if cells else 0):
            _, chosen = solve(np.array([self.costs(cell, at) for cell in cells]))
            before = self.at[cells]
            self.at[cells] = at[chosen]
            length = self.wire()
            if length >= shortest:
                self.at[cells] = before
                return
            for cell, site in zip(cells, chosen, strict=True):
                self.bels[cell] = bels[site]
            shortest = length
            say(f"round {number + 1}: {shortest:,} tiles of wire")


def positions(bels):
    """int array (sites, 2) of x and y in tiles."""
    return np.array([BEL.match(bel).groups() for bel in bels], int).reshape(-1, 2)


def read(placed):
    """The Placement in a file that nextpnr's --write made, a Path. ValueError: it is none."""
    try:
        modules = json.loads(placed.read_text())["modules"].values()
        cells = {name: cell for module in modules for name, cell in module["cells"].items()}
        bels  = [cell.get("attributes", {}).get("NEXTPNR_BEL", "") for cell in cells.values()]
        types = [cell["type"] for cell in cells.values()]
        nets  = {}
        for index, cell in enumerate(cells.values()):
            for bits in cell.get("connections", {}).values():
                for bit in bits:
                    if isinstance(bit, int):    # Else a constant.
                        nets.setdefault(bit, []).append(index)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{placed}: not a netlist: {error}") from None
    missing = sum(not BEL.match(bel) for bel in bels)
    if missing or not cells:
        raise ValueError(f"{placed}: not placed: {missing:,} of {len(cells):,} cells have no "
                         f"attribute NEXTPNR_BEL, which nextpnr-ecp5 --write gives")
    kept = [pins for pins in nets.values() if 2 <= len(pins) <= MAX_PINS]
    return Placement([*cells], types, bels, positions(bels),
                     np.array([pin for pins in kept for pin in pins], int),
                     np.cumsum([0, *map(len, kept)]))


def assign(placed, grid, say=print):
    """{cell: BEL}, by natural order of names, of all EBRs but the CPU's where the grid has a place
    for those, and of the DSPs that are not planned: those outside the array, or all where the grid
    has no plan.

    placed: Path of what nextpnr's --write made; grid: floorplan.Grid of its FPGA. say(text) is told
    the wire length in tiles, before and after. ValueError: no placement, or not of this FPGA;
    FileNotFoundError: no scipy."""
    placement = read(placed)
    memories = [i for i, kind in enumerate(placement.types) if kind == "DP16KD"]
    fixed = grid.cpu_bels(placement.names[i] for i in memories)
    ebrs  = [i for i in memories if placement.names[i] not in fixed]
    sites = [bel for bel in grid.ebr_bels() if bel not in fixed.values()]
    dsps = [i for i, kind in enumerate(placement.types)
            if kind == "MULT18X18D" and not (grid.dsp_rows and ARRAY.match(placement.names[i]))]
    unknown = sorted({placement.bels[i] for i in memories} - set(grid.ebr_bels()), key=natural)
    if unknown:
        raise ValueError(f"{placed}: {unknown[0]}: no site of a block RAM on this FPGA")
    say(f"{len(ebrs)} block RAMs, {len(dsps)} multipliers that are not planned: "
        f"{placement.wire():,} tiles of wire")
    placement.improve(ebrs, sites, EBR_ROUNDS, say)
    placement.improve(dsps, [placement.bels[i] for i in dsps], DSP_ROUNDS, say)
    say(f"after: {placement.wire():,} tiles of wire")
    return {placement.names[i]: placement.bels[i]
            for i in sorted(ebrs + dsps, key=lambda i: natural(placement.names[i]))}
