"""What the measurements of arrays share: surroundings, synthesis and routing, figures.

Every array has 4 lanes of as many columns, takes an operand a clock, and gives a channel (4 sums) a
clock. Round it: registers for operand and weights, and a counter that says which results count.
Steps that were done for the same Verilog, tools and device are not repeated.
"""

import os
import statistics

from litex.gen import LiteXModule
from migen import If, Signal

from ..spec.formats import LANES
from . import results
from .ecp5_tools import StepError, count, digest, route, synthesize, tool_versions
from .synth_wrapper import BARE, TIMED, verilog

ROOT = results.RESULTS.parents[1]
TAPS = 4096
TARGET = 120                          # MHz asked of nextpnr.
LEAST_MHZ = 100                       # Of the arrays of a family on an 85F, whatever the seed.
COLUMNS = (4, 16)
DEVICES = {"85k": 156, "25k": 28}     # DSPs.
# Bits of a block RAM, and of a cell of distributed memory.
MEMORIES = {"DP16KD": 18432, "TRELLIS_DPR16X4": 64}


class Surroundings(LiteXModule):
    """An array between registers: see above. Its attributes that are Signals are its ports.

    build: () -> the array."""

    def __init__(self, columns, x_bits, w_bits, out_bits, build):
        self.valid = Signal()
        self.first = Signal()
        self.last = Signal()
        self.operand = Signal(LANES * x_bits)
        self.weights = Signal(columns * w_bits)
        self.out_valid = Signal()
        for lane in range(LANES):
            setattr(self, f"out{lane}",
                    Signal(out_bits, name=f"out{lane}", reset_less=True))
        self.add_ports()

        # # #

        self.array = array = build()
        left = Signal(max=columns + 1)
        self.sync += [
            array.valid.eq(self.valid),
            array.first.eq(self.first),
            array.last.eq(self.last),
            array.operand.eq(self.operand),
            array.weights.eq(self.weights),
            If(array.dump, left.eq(columns)).Elif(left != 0, left.eq(left - 1)),
        ]
        self.finish(left != 0, [getattr(self, f"out{lane}") for lane in range(LANES)])

    def add_ports(self):
        """More ports, of a subclass."""

    def finish(self, valid, outs):
        """From the array's results to ``out_valid`` and ``outs``: a register."""
        self.sync += [self.out_valid.eq(valid),
                      *(out.eq(acc) for out, acc in zip(outs, self.array.out, strict=True))]


# Measurement --------------------------------------------------------------------------------------


def measure(work, name, make, columns, devices, seeds, say=print):
    """{device: figures} of one array, for the devices that have the DSPs; without seeds, of what
    needs no routing. StepError. make: () -> Surroundings."""
    what = f"{name}, {LANES * columns} lanes"
    texts, data = {}, {}
    for module, timed in ((BARE, False), (TIMED, True)):
        text, files = verilog(make(), timed=timed)
        # Data files follow the module.
        texts[module] = text[:text.rindex("endmodule")] + "endmodule\n"
        data |= files
    folder = work / (f"{name}_{LANES * columns}-"
                     f"{digest(texts, *([data] if data else []), tool_versions(), TARGET)}")
    if folder.is_relative_to("/tmp"):
        raise StepError(f"{ROOT}: the yowasp tools do not see files under /tmp: move the checkout")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in [*data.items(), *((f"{module}.v", text) for module, text in texts.items())]:
        if not (folder / file).exists():
            results.write(folder / file, text)
    say(f"{what}: synthesis")
    cells = synthesize(folder, BARE, f"{what}: synthesis")["cells"]
    counts = count(cells)
    memory = sum(size * cells.get(kind, 0) for kind, size in MEMORIES.items())
    if seeds:
        synthesize(folder, TIMED, f"{what}: synthesis between registers")
    measured = {}
    for device in devices:
        if counts["dsp"] > DEVICES[device]:
            say(f"{what}: {counts['dsp']} DSPs: an LFE5U-{device[:-1]}F has {DEVICES[device]}")
            continue
        measured[device] = counts | {
            "memory_bits": memory,
            "lut_per_mac": round(counts["lut"] / (LANES * columns), 2),
            "mac_per_clock": LANES * columns,
        }
        if not seeds:
            continue
        routed = folder / device
        routed.mkdir(exist_ok=True)
        if not (routed / f"{TIMED}.json").exists():
            os.link(folder / f"{TIMED}.json", routed / f"{TIMED}.json")
        clocks = {}
        for seed in seeds:
            say(f"{what}: routing on an LFE5U-{device[:-1]}F, seed {seed}")
            step = route(routed, TIMED, device, TARGET, seed, f"{what}: routing, seed {seed}")
            clocks[str(seed)] = round(step["fmax_mhz"], 2)
        fmax = statistics.median(clocks.values())
        measured[device] |= {
            "fmax_mhz": fmax,
            "fmax_min_mhz": min(clocks.values()),
            "mac_per_s": LANES * columns * fmax * 1e6,
            "fmax_by_seed": clocks,
        }
    return measured


def key(variant, columns, device):
    return f"{variant}_{LANES * columns}_{device}"


def added_lane(measured, variant, device):
    """LUTs of one more lane, of which the shared part is no part; None unless both sizes are
    there."""
    small, large = (measured.get(key(variant, columns, device)) for columns in COLUMNS)
    if small is None or large is None:
        return None
    return round((large["lut"] - small["lut"]) / (LANES * (COLUMNS[1] - COLUMNS[0])), 2)
