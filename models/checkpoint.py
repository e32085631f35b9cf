"""Small checkpoints: arrays in NAME.npz, what they are and how they were made in NAME.json."""

import json
from pathlib import Path

import numpy as np

from ..host.versions import versions

CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"


def check_name(name):
    """ValueError: the name of a checkpoint ("" for none) is a path; for before training."""
    if Path(name).name != name:
        raise ValueError(f"--save {name}: allowed is a name without folders: checkpoints are in "
                         f"{CHECKPOINTS}")


def save_checkpoint(name, arrays, command, **facts):
    """Write both files under temporary names, then rename. arrays: name -> array; facts: JSON."""
    CHECKPOINTS.mkdir(exist_ok=True)
    weights, about = (CHECKPOINTS / f"{name}.{suffix}.tmp" for suffix in ("npz", "json"))
    with open(weights, "wb") as file:
        np.savez(file, **arrays)
    about.write_text(json.dumps({"command": command, **facts, "versions": versions()}, indent=1)
                     + "\n")
    for path in (weights, about):
        path.replace(path.with_suffix(""))
