"""Size and clock of arrays of codes, beside plain weights, in the same surroundings, on an ECP5.

    python -m litepress.bench.plut_arrays

Products looked up in a row or in a block RAM, or made by shifters: all with the same accumulators,
narrow ones and, to compare, whole ones. Plain arrays, with weights of 8 bits, are MacArray and
FabricArray. Sums are as wide as TAPS products of any values take.

LUTs, flip-flops, block RAMs and DSPs are counted after synthesis; the clock is between registers,
placed and routed once for each seed (``--seeds none``: not at all). Files are under
build/plut_arrays. Writes docs/results/plut_arrays.json and the table in docs/cores/plut.md.
"""

from dataclasses import dataclass
from typing import Annotated

import typer

from ..gateware.array import MacArray
from ..gateware.delta import FabricArray
from ..gateware.delta.array import sum_bits
from ..gateware.plut import PlutArray, ShiftArray
from ..host.command import start
from ..spec.formats import LANES
from . import array_surroundings
from .array_family import Family
from .array_surroundings import (
    COLUMNS,
    LEAST_MHZ,
    ROOT,
    TAPS,
    added_lane,
    key,
)

PAGE = ROOT / "docs" / "cores" / "plut.md"
DEVICE = "85k"

# Arrays -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """products: "row", "static", "shift", "dsp" or "lut"; codebook: of the first three."""

    name: str
    text: str
    products: str
    codebook: str = ""
    x_bits: int = 8
    narrow: bool = True

    @property
    def w_bits(self):
        return 4 if self.codebook else 8

    def build(self, columns, primitive):
        if not self.codebook:
            kind = MacArray if self.products == "dsp" else FabricArray
            return kind(columns, 3, primitive, self.x_bits, self.w_bits,
                        sum_bits(TAPS, self.x_bits, self.w_bits), single=False, shift=False)
        common = {"x_bits": self.x_bits, "primitive": primitive, "taps": TAPS,
                  "narrow": self.narrow}
        if self.products == "shift":
            return ShiftArray(columns, self.codebook, self.w_bits, **common)
        return PlutArray(columns, self.codebook, self.w_bits, self.products, **common)


VARIANTS = {variant.name: variant for variant in (
    Variant("static_pot8", "table in block RAM, pot4", "static", "pot"),
    Variant("static_apot8", "table in block RAM, apot4", "static", "apot"),
    Variant("row_pot8", "row of products, pot4", "row", "pot"),
    Variant("row_apot8", "row of products, apot4", "row", "apot"),
    Variant("shift_pot8", "shifters, pot4", "shift", "pot"),
    Variant("static_pot8_whole", "table in block RAM, pot4, whole accumulators", "static", "pot",
            narrow=False),
    Variant("shift_pot8_whole", "shifters, pot4, whole accumulators", "shift", "pot",
            narrow=False),
    Variant("plain8_dsp", "plain 8-bit weights, DSP", "dsp"),
    Variant("plain8_lut", "plain 8-bit weights, LUT", "lut"),
    Variant("row_pot16", "row of products, pot4", "row", "pot", 16),
    Variant("row_apot16", "row of products, apot4", "row", "apot", 16),
    Variant("static_pot16", "two tables in block RAM, pot4", "static", "pot", 16),
    Variant("static_apot16", "two tables in block RAM, apot4", "static", "apot", 16),
    Variant("shift_pot16", "shifters, pot4", "shift", "pot", 16),
)}
# Of the figures: name -> variant.
NAMED = {"plut": "row_pot8", "plut_apot": "row_apot8", "plut_static": "static_pot8",
         "plut_static_apot": "static_apot8", "shift": "shift_pot8",
         "plut_static_whole": "static_pot8_whole", "shift_whole": "shift_pot8_whole",
         "plain": "plain8_lut", "plain_dsp": "plain8_dsp", "plut16": "row_pot16",
         "plut16_apot": "row_apot16", "shift16": "shift_pot16",
         "plut16_static": "static_pot16", "plut16_static_apot": "static_apot16"}


class Surroundings(array_surroundings.Surroundings):
    """An array between registers."""

    def __init__(self, variant, columns, primitive=True):
        # Only the array itself knows how wide its sums are.
        array = variant.build(columns, primitive)
        super().__init__(columns, variant.x_bits, variant.w_bits, len(array.out[0]),
                         lambda: array)


# Figures ------------------------------------------------------------------------------------------


def flat(measured):
    """{key: figures} -> the figures of the result."""
    figures = {f"{name}_{figure}": value for name, values in measured.items()
               for figure, value in values.items() if not isinstance(value, dict)}
    for name, variant in NAMED.items():
        values = measured.get(key(variant, COLUMNS[-1], DEVICE))
        if values is None:
            continue
        figures |= {f"{name}_lut_per_mac": values["lut_per_mac"],
                    f"{name}_ff_per_mac": round(values["ff"] / values["mac_per_clock"], 2),
                    f"{name}_memory_bits": values["memory_bits"]}
        if "mac_per_s" in values:
            figures[f"{name}_mac_per_s"] = values["mac_per_s"]
        alone = added_lane(measured, variant, DEVICE)
        if alone is not None:
            figures[f"{name}_added_mac_lut"] = alone
    for name, part, whole in (("plut_static_of_shift", "plut_static", "shift"),
                              ("plut_of_shift", "plut", "shift"),
                              ("plut_static_of_shift_whole", "plut_static_whole", "shift_whole"),
                              ("plut_static_of_plain", "plut_static", "plain"),
                              ("plut16_of_shift16", "plut16", "shift16")):
        parts = [figures.get(f"{n}_lut_per_mac") for n in (part, whole)]
        if all(parts):
            figures[f"{name}_lut"] = round(parts[0] / parts[1], 3)
    return figures


def table(measured):
    """Markdown lines, a row an array."""
    lines = ["| products | pixel | lanes | LUT | LUT a lane | LUT of one more | FF | EBR | DSP "
             "| memory, kbit | MHz, median (worst) |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for variant in VARIANTS.values():
        for columns in COLUMNS:
            m = measured.get(key(variant.name, columns, DEVICE))
            if m is None:
                continue
            added = added_lane(measured, variant.name, DEVICE)
            clock = f"{m['fmax_mhz']:.0f} ({m['fmax_min_mhz']:.0f})" if "fmax_mhz" in m else ""
            lines.append(
                f"| {variant.text} | {variant.x_bits} bits | {LANES * columns} | {m['lut']:,} | "
                f"{m['lut_per_mac']:.1f} | {'' if added is None else f'{added:.1f}'} | "
                f"{m['ff']:,} | {m['ebr']} | {m['dsp']} | {m['memory_bits'] / 1024:,.1f} | "
                f"{clock} |")
    return lines


# Command ------------------------------------------------------------------------------------------


def errors(measured):
    """Lines on what a measured array does not hold."""
    return [f"{name}: {m['fmax_min_mhz']} MHz: at least {LEAST_MHZ} are needed"
            for name, m in measured.items()
            if not name.startswith("plain") and m.get("fmax_min_mhz", LEAST_MHZ) < LEAST_MHZ]


FAMILY = Family("plut_arrays", PAGE, VARIANTS, Surroundings, flat, table, errors, (DEVICE,))


def main(variants: Annotated[str, typer.Option(help="Comma-separated; all by default.")] = "",
         lanes: Annotated[str, typer.Option(help="16, 64 or both.")] = "",
         seeds: Annotated[str, typer.Option(help="Seeds of the placer, or none.")] = "1,2,3"):
    """Synthesize, place and route the arrays; exit code 1 when a step failed or an array of codes
    is too slow. Arrays that are left out keep the figures they have.

    Example: python -m litepress.bench.plut_arrays --variants row_pot8 --lanes 16 --seeds none
    """
    FAMILY.run(variants, lanes, seeds=seeds)


if __name__ == "__main__":
    start(main)
