"""A board's Verilog to its bitstream: Yosys, nextpnr, ecppack.

A step is not repeated while its inputs are the same: their hash lies beside its output. Every step
has a log. Tools that are not installed come from the yowasp packages.
"""

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import floorplan
from .utilization import KINDS

ROOT     = Path(__file__).resolve().parents[1]
TOOLS    = ("yosys", "nextpnr-ecp5", "ecppack")
COMMENTS = re.compile(rb"/\*.*?\*/|^//[^\n]*", re.DOTALL | re.MULTILINE)
# Of cells in any part of the FPGA, at most, while they are placed: nextpnr's own 0.9 leaves the
# router too few wires where logic crowds. A full FPGA needs more: see density_of.
DENSITY, MOST, ROOM = 0.7, 0.95, 0.02
# What the report calls the things that run out.
CELLS = {"lut": "TRELLIS_COMB"} | KINDS


@dataclass(frozen=True)
class Routed:
    """One placement. fmax: {clock: (MHz achieved, MHz needed)}; used: {key of CELLS: (used,
    available)}; config: nextpnr's file for ecppack, None where nothing was routed and fmax is an
    estimate; seconds: that nextpnr took; netlist: where nothing was routed, the path of the netlist
    with each cell's place."""

    seed: int
    fmax: dict
    used: dict
    config: Path
    seconds: float
    netlist: Path | None = None

    @property
    def margin(self):
        """Least achieved / needed of all clocks; timing is met from 1 on."""
        return min(achieved / needed for achieved, needed in self.fmax.values())


def density_of(share):
    """DENSITY for a netlist that fills ``share`` (0 to 1) of an FPGA."""
    return round(min(max(DENSITY, share + ROOM), MOST), 2)


def tool_path(directory):
    """PATH on which yosys, nextpnr-ecp5 and ecppack are found: installed ones as they are, for the
    others commands in ``directory`` that start the yowasp ones. RuntimeError: there is neither."""
    directory = Path(directory)
    shims = []
    for tool in TOOLS:
        if shutil.which(tool):
            continue
        yowasp = Path(sys.executable).parent / f"yowasp-{tool}"
        if not yowasp.exists():
            raise RuntimeError(f"{tool} not found: install it, or run `scripts/setup.sh build`, "
                               f"which installs yowasp-{tool}")
        shims.append((tool, yowasp))
    if not shims:
        return os.environ["PATH"]
    if Path("/tmp") in ROOT.parents:
        raise RuntimeError(f"{ROOT}: yowasp tools do not see files under /tmp: move the checkout")
    directory.mkdir(parents=True, exist_ok=True)
    for tool, yowasp in shims:
        shim = directory / tool
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(str(yowasp))} "$@"\n')
        shim.chmod(0o755)
    return f"{directory}{os.pathsep}{os.environ['PATH']}"


@contextmanager
def locked(directory):
    """One at a time builds in ``directory``; a second one waits, and finds what the first made."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def inputs_hash(command, files):
    """Hash of a command and of its input files; not of comments: LiteX dates its Verilog, and draws
    its modules in an order of chance."""
    digest = hashlib.sha256("\0".join(command).encode())
    for path in files:
        digest.update(f"\n{path.name}\n".encode())
        digest.update(COMMENTS.sub(b"", path.read_bytes()))
    return digest.hexdigest()


def run_step(command, directory, files, output, path, say):
    """Run ``command`` in ``directory``, whose inputs are ``files`` and which makes ``output``, with
    a log beside it; unless it has been run with the same. Returns the seconds it took.
    RuntimeError names the step and what it said last."""
    step = command[0]
    key, log = (output.with_name(f"{output.name}.{end}") for end in ("key", "log"))
    expected = inputs_hash(command, files)
    if output.exists() and key.exists() and key.read_text().split()[:1] == [expected]:
        say(f"{step}: {output.name} is there")
        return float(key.read_text().split()[1])
    key.unlink(missing_ok=True)
    start = time.monotonic()
    say(f"{step}: log in {log}")
    with open(log, "w") as out:
        code = subprocess.run(command, cwd=directory, stdout=out, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, check=False,
                              env=os.environ | {"PATH": path}).returncode
    if code:
        text = [line for line in log.read_text().splitlines() if line.strip()]
        errors = [line for line in text if "ERROR" in line] or text or ["it did not say why"]
        raise RuntimeError(f"{step} failed (exit code {code}): {errors[-1]}; log in {log}")
    seconds = time.monotonic() - start
    key.write_text(f"{expected} {seconds:.0f}\n")
    say(f"{step}: {seconds:.0f} s")
    return seconds


def script_commands(script):
    """{tool: argument list} of LiteX's build script."""
    lines = (shlex.split(line) for line in Path(script).read_text().splitlines())
    return {words[0]: words for words in lines if words and words[0] in TOOLS}


def without(words, *options):
    """A command less some options and their values."""
    kept = list(words)
    for option in options:
        if option in kept:
            at = kept.index(option)
            del kept[at:at + 2]
    return kept


class Flow:
    """The steps for what LiteX wrote into ``directory``, as ``script`` has them. path: see
    tool_path. grid: floorplan.Grid of the FPGA, or None. density: see DENSITY. say(text) is told of
    steps."""

    def __init__(self, directory, script, path, say=print, grid=None, density=DENSITY):
        self.directory, self.path, self.say, self.grid = Path(directory), path, say, grid
        self.density = density
        self.commands = script_commands(script)
        self.name = Path(script).stem.removeprefix("build_")

    def synthesize(self, tables=True):
        """Yosys, and the floorplan: the netlist's path. tables: see floorplan.apply."""
        script = self.directory / f"{self.name}.ys"
        files = [Path(name) for name in re.findall(r"read_verilog\s+(\S+)", script.read_text())]
        netlist = self.directory / f"{self.name}.json"
        run_step(self.commands["yosys"], self.directory,
                 [script, *files, *sorted(self.directory.glob("*.init"))], netlist, self.path,
                 self.say)
        if self.grid is None:
            return netlist
        planned = netlist.with_name(f"{self.name}.planned.json")
        count, known = floorplan.apply(netlist, self.grid, planned, tables)
        table = f", {known} of them from {self.grid.table}" if tables and self.grid.table else ""
        self.say(f"floorplan: {count} cells have their site{table}")
        return planned

    def _nextpnr(self, netlist, seed, *options):
        """Command line without what each way of calling gives."""
        command = without(self.commands["nextpnr-ecp5"], "--json", "--textcfg", "--report",
                          "--seed")
        # LiteX gives it or not, as its defaults have it; given twice nextpnr refuses it.
        command = [word for word in command if word != "--timing-allow-fail"]
        return [*command, "--json", netlist.name, "--seed", str(seed), "--placer-heap-beta",
                str(self.density), *options]

    def route(self, netlist, seed):
        """nextpnr: a Routed, whether its clocks are met or not."""
        stem = f"{self.name}.seed{seed}"
        config, report = self.directory / f"{stem}.config", f"{stem}.report.json"
        lpf = self.directory / f"{self.name}.lpf"
        # router1 takes hours for an array of 128 multipliers.
        command = self._nextpnr(netlist, seed, "--router", "router2", "--textcfg", config.name,
                                "--report", report, "--timing-allow-fail")
        seconds = run_step(command, self.directory, [netlist, lpf], config, self.path, self.say)
        data = json.loads((self.directory / report).read_text())
        use = data["utilization"]
        return Routed(seed, {clock: (timing["achieved"], timing["constraint"])
                             for clock, timing in data["fmax"].items()},
                      {key: (use[cell]["used"], use[cell]["available"])
                       for key, cell in CELLS.items()}, config, seconds)

    def place(self, netlist, seed):
        """nextpnr without its router: a Routed of estimates."""
        stem = f"{self.name}.placed{seed}"
        done, lpf = self.directory / f"{stem}.json", self.directory / f"{self.name}.lpf"
        command = self._nextpnr(netlist, seed, "--no-route", "--write", done.name)
        seconds = run_step(command, self.directory, [netlist, lpf], done, self.path, self.say)
        text = done.with_name(f"{done.name}.log").read_text()
        used = {}
        for key, cell in CELLS.items():
            numbers = re.search(rf"\b{cell}: +(\d+)/ *(\d+)", text)
            used[key] = int(numbers[1]), int(numbers[2])
        found = re.findall(r"Max frequency for clock +'([^']+)': ([\d.]+) MHz \(\w+ at ([\d.]+)",
                           text)
        return Routed(seed, {clock: (float(achieved), float(needed))
                             for clock, achieved, needed in found}, used, None, seconds, done)

    def best(self, netlist, seeds):
        """The first Routed that meets its clocks, or else the one that comes nearest."""
        found = []
        for seed in seeds:
            found.append(self.route(netlist, seed))
            for clock, (achieved, needed) in found[-1].fmax.items():
                self.say(f"seed {seed}: clock {clock}: {achieved:.1f} MHz, needed {needed:.1f}")
            if found[-1].margin >= 1:
                break
        return max(found, key=lambda routed: routed.margin)

    def pack(self, routed):
        """ecppack: the bitstream's path."""
        words = self.commands["ecppack"]
        bit = self.directory / f"{self.name}.bit"
        command = [routed.config.name if word == f"{self.name}.config" else word for word in words]
        run_step(command, self.directory, [routed.config], bit, self.path, self.say)
        return bit
