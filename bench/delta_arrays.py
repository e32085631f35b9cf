"""Size and clock of the delta array, beside plain arrays in the same surroundings, on two ECP5s.

    python -m litepress.bench.delta_arrays

Every array has 4 lanes of as many columns, takes an operand a clock, and gives a channel (4 sums) a
clock. Round it: registers for operand and weights, a counter that says which results count, and
behind it a register or, for delta, the cores that make whole sums of its parts. Accumulators are as
wide as TAPS products of any values take; those of the accelerator's own array are ACC_BITS wide.

LUTs, flip-flops, block RAMs and DSPs are counted after synthesis; the clock is between registers,
placed and routed once for each seed. Steps that were done for the same Verilog, tools and device
are not repeated; their files are under build/delta_arrays. Writes docs/results/delta_arrays.json
and the table in docs/cores/delta.md.
"""

import functools
import json
import os
import re
import statistics
from dataclasses import dataclass
from typing import Annotated

import typer
from litex.gen import LiteXModule
from migen import If, Signal

from ..gateware.array import MacArray
from ..gateware.delta import DeltaArray, DeltaCombine, FabricArray
from ..gateware.delta.array import sum_bits
from ..spec.formats import LANES
from ..spec.isa import ACC_BITS
from . import results
from .demo import console
from .ecp5_tools import PACKAGE, SPEED, StepError, count, digest, route, synthesize, tool_versions
from .ecp5_tools import write as write_file
from .synth_wrapper import BARE, TIMED, verilog

ROOT = results.RESULTS.parents[1]
WORK = ROOT / "build" / "delta_arrays"
PAGE = ROOT / "docs" / "cores" / "delta.md"
TAPS = 4096
TARGET = 120                          # MHz asked of nextpnr.
LEAST_MHZ = 100                       # Of the delta arrays on an 85F, whatever the seed.
COLUMNS = (4, 16)
DEVICES = {"85k": 156, "25k": 28}     # DSPs.
PAPER_MACS = 7.992e6                  # Federl et al. 2026: Spartan-7 S15, 100 MHz, 20 DSPs.

# Arrays -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """weights: "dsp", "lut", or "delta" (``w_bits`` of one); reference_dsps: of r, in DeltaCombine;
    acc_bits: of the whole sum."""

    name: str
    text: str
    weights: str
    x_bits: int
    w_bits: int
    acc_bits: int
    reference_dsps: bool = False


def _variants():
    plain = sum_bits(TAPS, 8, 8)
    yield Variant("plain8_dsp", "8 x 8, DSP", "dsp", 8, 8, plain)
    yield Variant("plain8_lut", "8 x 8, LUT", "lut", 8, 8, plain)
    # A weight of r + (d << o) has up to 12 bits.
    whole = sum_bits(TAPS, 8, 12)
    yield Variant("delta8", "8 x 4, delta", "delta", 8, 4, whole)
    yield Variant("delta8_dsp", "8 x 4, delta, references by DSP", "delta", 8, 4, whole, True)
    yield Variant("plain16_dsp", "16 x 16, DSP, as the accelerator's", "dsp", 16, 16, ACC_BITS)
    yield Variant("delta16", "16 x 4, delta", "delta", 16, 4, ACC_BITS)


VARIANTS = {variant.name: variant for variant in _variants()}


class Surroundings(LiteXModule):
    """An array between registers: see above. Its attributes that are Signals are its ports."""

    def __init__(self, variant, columns, primitive=True):
        self.valid = Signal()
        self.first = Signal()
        self.last = Signal()
        self.operand = Signal(LANES * variant.x_bits)
        self.weights = Signal(columns * variant.w_bits)
        self.out_valid = Signal()
        for lane in range(LANES):
            setattr(self, f"out{lane}", Signal(variant.acc_bits, reset_less=True))
        if variant.weights == "delta":
            self.reference = Signal(8)
            self.offset = Signal(3)

        # # #

        if variant.weights == "delta":
            self.array = array = DeltaArray(columns, variant.w_bits, variant.x_bits,
                                            primitive=primitive, taps=TAPS, shift=False)
        else:
            kind = MacArray if variant.weights == "dsp" else FabricArray
            self.array = array = kind(columns, 3, primitive, variant.x_bits, variant.w_bits,
                                      variant.acc_bits, single=False, shift=False)
        left = Signal(max=columns + 1)
        self.sync += [
            array.valid.eq(self.valid),
            array.first.eq(self.first),
            array.last.eq(self.last),
            array.operand.eq(self.operand),
            array.weights.eq(self.weights),
            If(array.dump, left.eq(columns)).Elif(left != 0, left.eq(left - 1)),
        ]
        outs = [getattr(self, f"out{lane}") for lane in range(LANES)]
        if variant.weights != "delta":
            self.sync += [self.out_valid.eq(left != 0),
                          *(out.eq(acc) for out, acc in zip(outs, array.out, strict=True))]
            return
        self.combine = combine = DeltaCombine(
            len(array.out[0]), len(array.sums[0]), variant.acc_bits, dsps=variant.reference_dsps,
            primitive=primitive)
        self.comb += [
            combine.valid.eq(left != 0),
            *(sink.eq(out) for sink, out in zip(combine.delta, array.out, strict=True)),
            *(sink.eq(out) for sink, out in zip(combine.sums, array.sums, strict=True)),
            combine.reference.eq(self.reference),
            combine.offset.eq(self.offset),
            self.out_valid.eq(combine.out_valid),
            *(out.eq(acc) for out, acc in zip(outs, combine.out, strict=True)),
        ]


# Measurement --------------------------------------------------------------------------------------


def measure(variant, columns, devices, seeds, say=print):
    """{device: figures} of one array, for the devices that have the DSPs. StepError."""
    what = f"{variant.name}, {LANES * columns} lanes"
    texts = {BARE: verilog(Surroundings(variant, columns))[0],
             TIMED: verilog(Surroundings(variant, columns), timed=True)[0]}
    name = f"{variant.name}_{LANES * columns}"
    folder = WORK / f"{name}-{digest(texts, tool_versions(), TARGET)}"
    if folder.is_relative_to("/tmp"):
        raise StepError(f"{ROOT}: the yowasp tools do not see files under /tmp: move the checkout")
    folder.mkdir(parents=True, exist_ok=True)
    for module, text in texts.items():
        if not (folder / f"{module}.v").exists():
            write_file(folder / f"{module}.v", text)
    say(f"{what}: synthesis")
    counts = count(synthesize(folder, BARE, f"{what}: synthesis")["cells"])
    synthesize(folder, TIMED, f"{what}: synthesis between registers")
    measured = {}
    for device in devices:
        if counts["dsp"] > DEVICES[device]:
            say(f"{what}: {counts['dsp']} DSPs: an LFE5U-{device[:-1]}F has {DEVICES[device]}")
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
        measured[device] = counts | {
            "fmax_mhz": fmax,
            "fmax_min_mhz": min(clocks.values()),
            "lut_per_mac": round(counts["lut"] / (LANES * columns), 2),
            "mac_per_clock": LANES * columns,
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


def flat(measured):
    """{key: figures} -> the figures of the result."""
    figures = {f"{name}_{figure}": value for name, values in measured.items()
               for figure, value in values.items() if not isinstance(value, dict)}
    for name, variant in (("delta", "delta8"), ("delta_reference_dsp", "delta8_dsp"),
                          ("delta16", "delta16"), ("plain", "plain8_lut"),
                          ("plain_dsp", "plain8_dsp"), ("plain16_dsp", "plain16_dsp")):
        values = measured.get(key(variant, COLUMNS[-1], "85k"))
        if values is None:
            continue
        figures |= {f"{name}_mac_lut": values["lut_per_mac"],
                    f"{name}_mac_dsp": values["dsp"] / values["mac_per_clock"],
                    f"{name}_mac_per_s": values["mac_per_s"]}
        alone = added_lane(measured, variant, "85k")
        if alone is not None:
            figures[f"{name}_added_mac_lut"] = alone
            figures[f"{name}_shared_lut"] = round(values["lut"] - values["mac_per_clock"] * alone)
    return figures


# Table --------------------------------------------------------------------------------------------

BEGIN = "<!-- arrays: made by python -m litepress.bench.delta_arrays -->"
END = "<!-- /arrays -->"


def table(measured):
    """Markdown lines, a row an array and device."""
    lines = ["| array | lanes | device | LUT | LUT a lane | LUT of one more | FF | EBR | DSP "
             "| MHz, median (worst) | MAC a clock | million MAC/s | paper's |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for variant in VARIANTS.values():
        for columns in COLUMNS:
            for device in DEVICES:
                m = measured.get(key(variant.name, columns, device))
                if m is None:
                    continue
                added = added_lane(measured, variant.name, device)
                lines.append(
                    f"| {variant.text} | {LANES * columns} | {device[:-1]}F | {m['lut']:,} | "
                    f"{m['lut_per_mac']:.1f} | {'' if added is None else f'{added:.1f}'} | "
                    f"{m['ff']:,} | {m['ebr']} | {m['dsp']} | {m['fmax_mhz']:.0f} "
                    f"({m['fmax_min_mhz']:.0f}) | {m['mac_per_clock']} | "
                    f"{m['mac_per_s'] / 1e6:,.0f} | x {m['mac_per_s'] / PAPER_MACS:,.0f} |")
    return lines


def fill(text, measured):
    """The page with its table made anew. ValueError when it has no place for it."""
    pattern = re.compile(f"({re.escape(BEGIN)})\n.*?({re.escape(END)})", re.S)
    if not pattern.search(text):
        raise ValueError(f"{PAGE}: no lines {BEGIN} and {END}")
    return pattern.sub(lambda match: "\n".join([BEGIN, *table(measured), END]), text)


# Command ------------------------------------------------------------------------------------------


def errors(measured):
    """Lines on what a measured delta array does not hold."""
    lines = []
    for name, m in measured.items():
        if name.startswith(("delta8_16", "delta8_64", "delta16")) and m["dsp"]:
            lines.append(f"{name}: {m['dsp']} DSPs: allowed are none")
        if name.startswith("delta") and name.endswith("85k") and m["fmax_min_mhz"] < LEAST_MHZ:
            lines.append(f"{name}: {m['fmax_min_mhz']} MHz: at least {LEAST_MHZ} are needed")
    return lines


def _choice(text, allowed, what):
    names = [name.strip() for name in text.split(",")] if text else list(allowed)
    wrong = [name for name in names if name not in allowed]
    if wrong:
        raise typer.BadParameter(f"{', '.join(wrong)}: allowed {what} are {', '.join(allowed)}")
    return names


def _seeds(measured):
    """The seeds of all arrays, in words."""
    seeds = {", ".join(values["fmax_by_seed"]) for values in measured.values()}
    return seeds.pop() if len(seeds) == 1 else "of each array in fmax_by_seed"


def main(variants: Annotated[str, typer.Option(help="Comma-separated; all by default.")] = "",
         lanes: Annotated[str, typer.Option(help="16, 64 or both.")] = "",
         devices: Annotated[str, typer.Option(help="85k, 25k or both.")] = "",
         seeds: Annotated[str, typer.Option(help="Seeds of the placer.")] = "1,2,3"):
    """Synthesize, place and route the arrays; exit code 1 when a step failed or a delta array is
    too slow. Arrays that are left out keep the figures they have.

    Example: python -m litepress.bench.delta_arrays --variants delta8 --lanes 16 --seeds 1
    """
    names = _choice(variants, VARIANTS, "variants")
    sizes = _choice(lanes, [str(LANES * columns) for columns in COLUMNS], "lanes")
    chosen = _choice(devices, DEVICES, "devices")
    if not re.fullmatch(r"\d+(,\d+)*", seeds):
        raise typer.BadParameter(f"seeds {seeds!r}: allowed are numbers, as in 1,2,3")
    numbers = sorted({int(seed) for seed in seeds.split(",")})
    os.nice(10)
    say = functools.partial(console.print, markup=False, highlight=False, soft_wrap=True)
    path = results.RESULTS / "delta_arrays.json"
    kept = json.loads(path.read_text())["arrays"] if path.exists() else {}
    for size in sizes:
        for name in names:
            columns = int(size) // LANES
            try:
                measured = measure(VARIANTS[name], columns, chosen, numbers, say)
            except StepError as error:
                say(str(error))
                raise typer.Exit(1) from None
            kept |= {key(name, columns, device): m for device, m in measured.items()}
            results.save("delta_arrays", "python -m litepress.bench.delta_arrays",
                         f"LFE5U-85F and -25F, speed {SPEED}, {PACKAGE}; seeds {_seeds(kept)}; "
                         f"target {TARGET} MHz; sums of up to {TAPS} products", flat(kept),
                         arrays=kept)
            write_file(PAGE, fill(PAGE.read_text(), kept))
    wrong = errors(kept)
    for text in (*table(kept), *wrong):
        say(text)
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
