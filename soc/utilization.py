"""How much of an FPGA each part of the SoC takes, from Yosys's netlist.

LiteX writes one flat module: what part a cell belongs to is in the names of the signals it drives.
A cell whose signals have no name of ours belongs to the part that most of what it drives belongs
to.
"""

import json
import re
from collections import Counter

# What a cell takes in LUT4. A carry cell is a pair of them; of distributed memory, 16x4 bits take
# 4 LUTs and the write port 2 more. PFUMX and L6MUX21 are part of the slice, and take none.
LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}
KINDS = {"ff": "TRELLIS_FF", "ebr": "DP16KD", "dsp": "MULT18X18D"}
KEYS  = {cell: key for key, cell in KINDS.items()}
OTHER = "not told apart"
# Part -> what its signals' and cells' names begin with; the first that fits counts.
PARTS = tuple((part, re.compile(names)) for part, names in (
    ("COMPUTE: array", r"add_accelerator_computeengine_core_array|array_\d|accumulator"),
    ("COMPUTE: the rest", r"add_accelerator_comput|accelerator_comput"),
    ("VECTOR", r"add_accelerator_vector|accelerator_vector|ring|history"),
    ("LOAD", r"add_accelerator_load|accelerator_load|streams|raw\."),
    ("STORE", r"add_accelerator_store|accelerator_store"),
    ("ABUF, WBUF, VBUF, PBUF", r"(add_accelerator_)?([avwp]buf|ram|bank|arbiter|selector)"),
    ("DMA, commands, counters", r"(add_)?accelerator_|profile|uptime"),
    ("VexRiscv", r"VexRiscv"),
    ("SDRAM controller", r"boardsoc_sdram|litedram|sdram|dfi|full_rate_phy|ddrphy|sdrphy"),
    ("host's line", r"receiver|transmitter|wire|crc|rs232|rx|tx|uart"),
    ("ROM, SRAM, bus, CSRs", r"rom|sram|csr|interface|boardsoc|slave|wishbone"),
))
MANY = 200      # A net with more sinks is a control signal, which says nothing of its driver.


def _part(name):
    return next((part for part, names in PARTS if names.match(name)), None)


def _outputs(cell):
    return [bit for port, bits in cell["connections"].items()
            if cell["port_directions"].get(port) == "output" for bit in bits]


def parts_of(module):
    """{cell: its part or OTHER} of a netlist's module, for the cells that are counted."""
    cells = {name: cell for name, cell in module["cells"].items()
             if cell["type"] in LUTS or cell["type"] in KEYS or cell["type"] in (
                 "PFUMX", "L6MUX21")}
    named = {}
    for name, net in module["netnames"].items():
        part = _part(name)
        if part:
            for bit in net["bits"]:
                named.setdefault(bit, part)
    found, sinks = {}, {}
    for name, cell in cells.items():
        outputs = _outputs(cell)
        part = _part(name) or next((named[bit] for bit in outputs if bit in named), None)
        if part:
            found[name] = part
        for port, bits in cell["connections"].items():
            if cell["port_directions"].get(port) == "input":
                for bit in bits:
                    sinks.setdefault(bit, []).append(name)
    left = [name for name in cells if name not in found]
    while left:
        votes = {name: Counter(found[sink] for bit in _outputs(cells[name])
                               if len(sinks.get(bit, ())) <= MANY
                               for sink in sinks.get(bit, ()) if sink in found)
                 for name in left}
        new = {name: min(count, key=lambda part, count=count: (-count[part], part))
               for name, count in votes.items() if count}
        if not new:
            break
        found |= new
        left = [name for name in left if name not in new]
    return found | dict.fromkeys(left, OTHER)


def utilization(netlist):
    """{part: {"lut", "ff", "ebr", "dsp": count}} of Yosys's netlist, a path; in the order of PARTS.
    LUTs are Yosys's, before nextpnr adds to carry chains. ValueError: not a netlist."""
    try:
        modules = json.loads(netlist.read_text())["modules"].values()
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{netlist}: not a netlist: {error}") from None
    counts = {part: dict.fromkeys(("lut", *KINDS), 0)
              for part in (*(part for part, _ in PARTS), OTHER)}
    for module in modules:
        for name, part in parts_of(module).items():
            kind = module["cells"][name]["type"]
            counts[part]["lut"] += LUTS.get(kind, 0)
            if kind in KEYS:
                counts[part][KEYS[kind]] += 1
    return {part: count for part, count in counts.items() if any(count.values())}


def table(counts):
    """Lines of text: a row a part, and the sum."""
    total = {key: sum(count[key] for count in counts.values())
             for key in next(iter(counts.values()), {})}
    rows = [("", *(key.upper() for key in total)),
            *((part, *(f"{value:,}" for value in count.values()))
              for part, count in (*counts.items(), ("in all, after Yosys", total)))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                  zip(row[1:], widths[1:], strict=True))])
            for row in rows]
