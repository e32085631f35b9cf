"""Measured results: one JSON file each in docs/results, with what they were measured on."""

import json
import os
from pathlib import Path

from ..host.versions import versions

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"


def write(path, text):
    """Write a file under another name, then rename it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def runs(name, **same):
    """What docs/results/NAME.json keeps of single runs, {key: ...}; {} where it is not there, has
    none, or was made with another torch or other settings than ``same`` (name: value)."""
    path = RESULTS / f"{name}.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    # As JSON has them: lists for tuples.
    same = json.loads(json.dumps(same))
    if any(found.get(key) != value for key, value in same.items()) or \
            found.get("versions", {}).get("torch") != versions()["torch"]:
        return {}
    return found.get("runs", {})


def save(name, command, data, figures, **more):
    """Write docs/results/NAME.json; ``figures`` maps names to numbers. Returns the path."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps({"command": command, "versions": versions(), "data": data,
                       "figures": figures, **more}, indent=1)
    write(path, text + "\n")
    return path


def save_figure(figure, path):
    """Write a Matplotlib figure as SVG and close it: the same bytes for the same picture."""
    import matplotlib.pyplot as plt

    figure.tight_layout()
    with plt.rc_context({"svg.hashsalt": "litepress"}):
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
