"""Tables people read: what every layer cost, and what the network said."""

import numpy as np
from rich.table import Table

# Counters that explain where the array's idle clocks went: (counter, word in the table).
STALLS = (("stall_load", "load"), ("stall_store", "store"), ("stall_vector", "vector"),
          ("stall_abuf", "abuf"), ("stall_requant", "requant"))


def stall_text(counters):
    """The causes that took at least 1 % of a layer's cycles, largest first: ``load 41 %``."""
    cycles = max(counters["cycles"], 1)
    parts = sorted(((counters[name] / cycles, word) for name, word in STALLS), reverse=True)
    return ", ".join(f"{word} {share:.0%}" for share, word in parts if share >= 0.01) or "-"


def slots(image):
    """One dict a profile slot, that is, for the layers that run together: ``layers`` (their entries
    of image.meta["layers"]), ``name``, ``op``, ``output_shape``, sums (``macs``, ``weights``,
    ``raw_bytes``, ``stored_bytes``), ``tiling`` and ``predicted``."""
    rows = []
    for slot, group in enumerate(image.meta["groups"]):
        layers = [layer for layer in image.meta["layers"] if layer["slot"] == slot]
        names = [layer["name"] for layer in layers]
        rows.append({
            "slot": slot, "name": names[0] if len(names) == 1 else f"{names[0]} .. {names[-1]}",
            "op": " + ".join(layer["op"] for layer in layers),
            "output_shape": layers[-1]["output_shape"], "layers": layers, **group,
            **{key: sum(layer[key] for layer in layers)
               for key in ("macs", "weights", "raw_bytes", "stored_bytes")}})
    return rows


def slot_rows(image, counters):
    """``slots`` with the counters of each."""
    return [{**row, **counters[row["slot"]]} for row in slots(image)]


def layer_table(image, counters):
    """A rich Table, a row for the layers that run together: operations, shape, MACs, cycles,
    MAC/cycle, bytes raw and stored, stalls.

    ``counters``: list over profile slots of dict counter -> int (spec.isa.COUNTERS).
    """
    table = Table(title=f"{image.meta['name']}: cycles and bytes of every layer")
    for name, justify in (("layer", "left"), ("operation", "left"), ("output", "right"),
                          ("MACs", "right"), ("cycles", "right"), ("MAC/cycle", "right"),
                          ("raw bytes", "right"), ("stored bytes", "right"),
                          ("DRAM bytes moved", "right"), ("stalls", "left")):
        table.add_column(name, justify=justify)
    total = dict.fromkeys(("macs", "cycles", "raw_bytes", "stored_bytes", "moved"), 0)
    for row in slot_rows(image, counters):
        row["moved"] = 4 * (row["read_words"] + row["write_words"])
        for key in total:
            total[key] += row[key]
        table.add_row(row["name"], row["op"], "x".join(map(str, row["output_shape"])),
                      f"{row['macs']:,}", f"{row['cycles']:,}",
                      f"{row['macs'] / max(row['cycles'], 1):.1f}", f"{row['raw_bytes']:,}",
                      f"{row['stored_bytes']:,}", f"{row['moved']:,}", stall_text(row))
    table.add_section()
    table.add_row("total", "", "", f"{total['macs']:,}", f"{total['cycles']:,}",
                  f"{total['macs'] / max(total['cycles'], 1):.1f}", f"{total['raw_bytes']:,}",
                  f"{total['stored_bytes']:,}", f"{total['moved']:,}", "")
    return table


def step_reporter(bar):
    """report(step, done, total) for a rich Progress: a bar of its own for each step."""
    tasks = {}

    def report(step, done, total):
        if step not in tasks:
            tasks[step] = bar.add_task(step, total=total)
        bar.update(tasks[step], completed=done, total=total)

    return report


def predictions(image, logits, top=3):
    """``label 4.21, label 1.03, ...``: the highest logits with their labels."""
    logits = np.asarray(logits, np.float64).ravel()
    labels = image.meta.get("labels") or [str(i) for i in range(len(logits))]
    best = np.argsort(-logits, kind="stable")[:top]
    return ", ".join(f"{labels[i]} {logits[i]:.2f}" for i in best)
