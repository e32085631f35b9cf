"""Size and clock of whole SoCs on their FPGAs: Yosys and nextpnr, no bitstream.

    python -m litepress.bench.bitstream --boards ulx3s-85f

Figures go to docs/results/bitstream.json, beside those of other boards that are there, each with
its command and versions. A missed
clock is measured, not an error: `litepress build` makes it one. With --placed nothing is routed,
and the clocks are what nextpnr expects after placement.
"""

import json
import logging
from typing import Annotated

import typer

from ..host.command import start
from ..host.versions import versions
from ..soc.bitstream import locked
from ..soc.board import BOARDS, SEEDS, directory_of, flow_of, seed_numbers
from ..spec.arch import ARCHS
from .results import RESULTS, save


def figures_of(board, routed):
    """{BOARD_WHAT: number} of a placement."""
    name = board.build_name
    clocks = {}
    for achieved, needed in routed.fmax.values():
        rate = round(1e6 * needed / board.clk_freq)
        key = "fmax_mhz" if rate == 1 else f"x{rate}_fmax_mhz"
        key = key if routed.config else f"placed_{key}"
        clocks[key] = min(achieved, clocks.get(key, achieved))
    found = {"clock_mhz": board.clk_freq / 1e6, "multipliers": ARCHS[board.arch].multipliers,
             "seed": routed.seed, "nextpnr_minutes": routed.seconds / 60, **clocks}
    for key, (used, available) in routed.used.items():
        found |= {key: used, f"{key}_percent": 100 * used / available}
    return {f"{name}_{key}": value for key, value in found.items()}


def main(boards: Annotated[str, typer.Option(help="Names in soc/boards.py, by commas.")]
         = "ulx3s-85f",
         seeds: Annotated[str, typer.Option(help="Of placement: until the clocks are met.")]
         = ",".join(str(seed) for seed in SEEDS),
         placed: Annotated[bool, typer.Option(help="Do not route.")] = False):
    """Synthesize, place and route boards. Half an hour each, or more.

    Example: python -m litepress.bench.bitstream --boards ulx3s-85f,ulx3s-25f
    """
    logging.disable(logging.WARNING)
    unknown = [name for name in boards.split(",") if name not in BOARDS]
    if unknown:
        raise ValueError(f"--boards {','.join(unknown)}: allowed are {', '.join(BOARDS)}")
    path, tried = RESULTS / "bitstream.json", seed_numbers(seeds)
    known = json.loads(path.read_text()) if path.exists() else {}
    figures, made = known.get("figures", {}), known.get("made", {})
    for name in boards.split(","):
        with locked(directory_of(BOARDS[name])):
            flow = flow_of(BOARDS[name])
            netlist = flow.synthesize()
            routed = flow.place(netlist, tried[0]) if placed else flow.best(netlist, tried)
        prefix = f"{name.replace('-', '_')}_"
        figures = {k: v for k, v in figures.items() if not k.startswith(prefix)}
        figures |= figures_of(BOARDS[name], routed)
        command = f"python -m litepress.bench.bitstream --boards {name} --seeds {seeds}"
        made[name] = {"command": command + (" --placed" if placed else ""),
                      "versions": versions()}
        print(save("bitstream", f"python -m litepress.bench.bitstream --boards {','.join(made)}",
                   "whole SoCs with the accelerator of the board's size, all its codecs, VexRiscv "
                   "and LiteDRAM; what made each board's is in `made`", figures, made=made))


if __name__ == "__main__":
    start(main)
