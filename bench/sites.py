"""An FPGA's table of sites of block RAMs and multipliers (soc/floorplan.py), made anew.

    python -m litepress.bench.sites --board ulx3s-85f

Synthesizes a board, places it by the plan without the table, and finds the sites from that
placement (soc/sites.py). To be run when memories of the accelerator were renamed or moved: a table
that lacks them is left aside. Every board with that FPGA takes the table from then on.
"""

import json
import logging
from typing import Annotated

import typer

from ..host.command import start
from ..soc.board import SEEDS, find_board, flow_of
from ..soc.floorplan import grid_of
from ..soc.sites import assign, solver
from .results import write


def text_of(command, sites):
    """The table as JSON, a line for a cell."""
    return json.dumps({"command": command, "sites": sites}, indent=1) + "\n"


def main(board: Annotated[str, typer.Option(help="Name in soc/boards.py.")] = "ulx3s-85f",
         seed: Annotated[int, typer.Option(help="Of placement.")] = SEEDS[0]):
    """Write soc/sites_FPGA.json. About 40 minutes for an 85F: 5 of Yosys, 35 of nextpnr, and
    seconds for the sites.

    Example: python -m litepress.bench.sites --board ulx3s-85f
    """
    logging.disable(logging.WARNING)
    found = find_board(board)
    grid  = grid_of(found.device)
    if not grid or not grid.table:
        raise ValueError(f"--board {board}: its FPGA has no table of sites in soc/floorplan.py")
    solver()            # Rather missing now than after nextpnr.
    print("takes about 40 minutes for an 85F: 5 of Yosys, 35 of nextpnr")
    flow = flow_of(found)
    placed = flow.place(flow.synthesize(tables=False), seed)
    command = f"python -m litepress.bench.sites --board {board}"
    command += "" if seed == SEEDS[0] else f" --seed {seed}"
    write(grid.table_path(), text_of(command, assign(placed.netlist, grid)))
    print(grid.table_path())


if __name__ == "__main__":
    start(main)
