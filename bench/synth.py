"""Size and clock of every core on an ECP5, by Yosys and nextpnr.

    python -m litepress.bench.synth

LUTs, flip-flops, block RAMs and multipliers are those of the bare core after synthesis; the clock
is that of the core between registers, placed and routed once for each seed. Steps that were done
for the same Verilog, tools and device are not repeated; their files are under build/synth.
Writes docs/results/synth.json and the tables between the markers in docs/cores.
"""

import functools
import json
import os
import re
import statistics
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from ..host.command import start
from . import results
from .demo import console
from .ecp5_tools import (
    DEVICES,
    PACKAGE,
    SPEED,
    StepError,
    count,
    digest,
    route,
    synthesize,
    tool_versions,
)
from .synth_cores import CORES, LEAST_MHZ, PUBLISHED
from .synth_wrapper import BARE, TIMED, verilog

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "synth"
PAGES = ROOT / "docs" / "cores"
TARGET = 120                # MHz asked of nextpnr.
_MIGEN = threading.Lock()   # Migen is not made for threads.


class Skipped(Exception):  # noqa: N818
    """A core that is not there (yet)."""


def measure(core, device="85k", seeds=(1, 2, 3), say=print):
    """Figures of one core, a dict: lut, lut_percent, ff, ebr, dsp, fmax_mhz (median of the seeds),
    fmax_min_mhz, fmax_max_mhz, and what they came from. ``say`` gets a line before each step.
    StepError, or Skipped."""
    with _MIGEN:
        try:
            bare, files = verilog(core.build())
            timed, more = verilog(core.build(), timed=True)
        except ImportError as error:
            raise Skipped(f"{core.name}: skipped: {error}") from None
        except Exception as error:
            raise StepError(f"{core.name}: Verilog: {type(error).__name__}: {error}") from error
    tools = tool_versions()
    files = files | more
    folder = WORK / f"{core.name}-{device}-{digest(bare, timed, files, tools, TARGET)}"
    if folder.is_relative_to("/tmp"):
        raise StepError(f"{ROOT}: the yowasp tools do not see files under /tmp: move the checkout")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {f"{BARE}.v": bare, f"{TIMED}.v": timed, **files}.items():
        if not (folder / name).exists():
            results.write(folder / name, text)

    say(f"{core.name}: synthesis")
    stat = synthesize(folder, BARE, f"{core.name}: synthesis")
    counts = count(stat["cells"])
    timed = synthesize(folder, TIMED, f"{core.name}: synthesis between registers")
    clocks, available = {}, {}
    for seed in seeds:
        say(f"{core.name}: routing, seed {seed}")
        routed = route(folder, TIMED, device, TARGET, seed, f"{core.name}: routing, seed {seed}")
        clocks[str(seed)] = round(routed["fmax_mhz"], 2)
        available = routed["available"]
    luts = available["TRELLIS_COMB"]
    figures = counts | {
        "lut_percent": round(100 * counts["lut"] / luts, 3),
        "fmax_mhz": statistics.median(clocks.values()),
        "fmax_min_mhz": min(clocks.values()),
        "fmax_max_mhz": max(clocks.values()),
    }
    return figures | {"core": core.call, "group": core.group, "rate": core.rate,
                      "cells": stat["cells"], "abc9": stat["abc9"] and timed["abc9"],
                      "fmax_by_seed": clocks, "device": device, "device_luts": luts,
                      "tools": tools}


FIGURES = ("lut", "lut_percent", "ff", "ebr", "dsp", "fmax_mhz", "fmax_min_mhz", "fmax_max_mhz")


def misses(core, figures):
    """Lines on what a measured core takes beyond its budget."""
    lines = []
    if core.most is not None and figures["lut_percent"] > core.most:
        lines.append(f"{core.name}: {figures['lut_percent']} % of the LUTs: allowed are "
                     f"{core.most} %")
    if figures["fmax_min_mhz"] < LEAST_MHZ:
        lines.append(f"{core.name}: {figures['fmax_min_mhz']} MHz: at least {LEAST_MHZ} are needed")
    return lines


def flat(measured):
    """{core: figures} -> the figures of synth.json: CORE_FIGURE, and for the headline cores
    GROUP_ROLE_lut_percent, _fmax_mhz and _fmax_min_mhz, each of the worst of them; these only when
    all of the kind were measured."""
    figures = {f"{name}_{key}": values[key] for name, values in measured.items()
               for key in FIGURES}
    for kind in dict.fromkeys((c.group, c.role) for c in CORES.values() if c.headline):
        names = [c.name for c in CORES.values() if c.headline and (c.group, c.role) == kind]
        if all(name in measured for name in names):
            for key, worst in (("lut_percent", max), ("fmax_mhz", min), ("fmax_min_mhz", min)):
                figures["_".join((*kind, key))] = worst(measured[name][key] for name in names)
    return figures


# Tables -------------------------------------------------------------------------------------------

BEGIN, END = "<!-- synth {}: made by make synth -->", "<!-- /synth -->"


def table(measured, group=None):
    """Markdown lines: a row a core, of one group or all."""
    lines = ["| core | per clock | LUT | of the 85F | FF | EBR | DSP | MHz, median (worst) |",
             "|---|---|---|---|---|---|---|---|"]
    groups = []
    for name, core in CORES.items():
        if name not in measured or group not in (None, core.group):
            continue
        m = measured[name]
        lines.append(f"| `{m['core']}` | {m['rate']} | {m['lut']:,} | {m['lut_percent']:.2f} % | "
                     f"{m['ff']:,} | {m['ebr']} | {m['dsp']} | {m['fmax_mhz']:.0f} "
                     f"({m['fmax_min_mhz']:.0f}) |")
        if core.group not in groups:
            groups.append(core.group)
    published = [f"- {PUBLISHED[g]}." for g in groups if PUBLISHED[g]]
    return lines + (["", "Published:", "", *published] if published else [])


def fill(text, measured):
    """A page with its tables made anew: those between BEGIN, with a group or ``all``, and END."""
    start, end = (re.escape(part) for part in (BEGIN, END))
    pattern = re.compile(f"({start.replace(re.escape('{}'), '([a-z]+)')})\n.*?({end})", re.S)

    def lines(match):
        group = None if match[2] == "all" else match[2]
        return "\n".join([match[1], *table(measured, group), match[3]])
    return pattern.sub(lines, text)


def write_tables(measured, pages):
    """Fill the tables of all pages in a folder."""
    for page in sorted(pages.glob("*.md")):
        before = page.read_text()
        after = fill(before, measured)
        if after != before:
            results.write(page, after)


# Command ------------------------------------------------------------------------------------------


def _choice(text, allowed, what):
    names = [name.strip() for name in text.split(",") if name.strip()]
    wrong = [name for name in names if name not in allowed]
    if wrong or not names:
        raise typer.BadParameter(f"{', '.join(wrong) or 'nothing'}: allowed {what} are "
                                 f"{', '.join(allowed)}")
    return names


def _seeds(text):
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"seeds {text!r}: allowed are numbers, as in 1,2,3") from None
    return sorted(set(seeds))


def run(names, device, seeds, jobs, say=print):
    """Measure the named cores: ({name: figures}, {name: what went wrong})."""
    measured, wrong, begun = {}, {}, []

    def one(name):
        begun.append(name)
        head = f"[{len(begun)}/{len(names)}] "
        try:
            return measure(CORES[name], device, seeds, lambda text: say(head + text))
        except (StepError, Skipped) as error:
            say(head + str(error))
            return error
    with ThreadPoolExecutor(jobs) as pool:
        for name, result in zip(names, pool.map(one, names), strict=True):
            (wrong if isinstance(result, Exception) else measured)[name] = result
    return measured, wrong


def main(cores: Annotated[str, typer.Option(help="Cores, comma-separated; all by default.")] = "",
         seeds: Annotated[str, typer.Option(help="Seeds of the placer.")] = "1,2,3",
         jobs: Annotated[int, typer.Option(min=1, help="Cores worked on at a time.")] = 1,
         device: Annotated[str, typer.Option(help="25k, 45k or 85k.")] = "85k"):
    """Synthesize, place and route the cores; exit code 1 when a step failed, or a core is too large
    or too slow. Cores that are left out keep the figures they have; one that does not exist yet is
    only an error when it was asked for.

    Example: python -m litepress.bench.synth --cores zfpe_float32_8_decoder --seeds 1
    """
    names = _choice(cores, CORES, "cores") if cores else list(CORES)
    [device] = _choice(device, DEVICES, "devices")
    seeds = _seeds(seeds)
    os.nice(10)
    say = functools.partial(console.print, markup=False, highlight=False, soft_wrap=True)
    measured, wrong = run(names, device, seeds, jobs, say)
    errors = [str(e) for e in wrong.values() if cores or not isinstance(e, Skipped)]
    if device == "85k":
        errors += [text for name, values in measured.items()
                   for text in misses(CORES[name], values)]

    name = "synth" if device == "85k" else f"synth_{device}"
    path = results.RESULTS / f"{name}.json"
    kept = json.loads(path.read_text())["cores"] if path.exists() else {}
    every = kept | measured
    measured = {name: every[name] for name in CORES if name in every}
    if measured:
        options = "".join(f" --{key} {value}" for key, value, default in (
            ("cores", cores, ""), ("seeds", ",".join(map(str, seeds)), "1,2,3"),
            ("device", device, "85k")) if value != default)
        command = f"python -m litepress.bench.synth{options}" if options else "make synth"
        results.save(name, command, f"LFE5U-{device[:-1]}F, speed {SPEED}, {PACKAGE}; seeds "
                     f"{', '.join(map(str, seeds))}; target {TARGET} MHz", flat(measured),
                     cores=measured)
    if name == "synth":
        write_tables(measured, PAGES)
    for text in (*table(measured), *errors):
        say(text)
    raise typer.Exit(1 if errors else 0)


if __name__ == "__main__":
    start(main)
