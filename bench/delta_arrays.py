"""Size and clock of the delta array, beside plain arrays in the same surroundings, on two ECP5s.

    python -m litepress.bench.delta_arrays

The surroundings are those of array_surroundings; behind delta, the cores that make whole sums of
its parts. Accumulators are as wide as TAPS products of any values take; those of the accelerator's
own array are ACC_BITS wide.

LUTs, flip-flops, block RAMs and DSPs are counted after synthesis; the clock is between registers,
placed and routed once for each seed. Steps that were done for the same Verilog, tools and device
are not repeated; their files are under build/delta_arrays. Writes docs/results/delta_arrays.json
and the table in docs/cores/delta.md.
"""

from dataclasses import dataclass
from typing import Annotated

import typer
from migen import Signal

from ..gateware.array import MacArray
from ..gateware.delta import DeltaArray, DeltaCombine, FabricArray
from ..gateware.delta.array import sum_bits
from ..host.command import start
from ..spec.formats import LANES
from ..spec.isa import ACC_BITS
from . import array_surroundings
from .array_family import Family
from .array_surroundings import (
    COLUMNS,
    DEVICES,
    LEAST_MHZ,
    ROOT,
    TAPS,
    added_lane,
    key,
)

PAGE = ROOT / "docs" / "cores" / "delta.md"
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


class Surroundings(array_surroundings.Surroundings):
    """An array between registers."""

    def __init__(self, variant, columns, primitive=True):
        self.variant, self.columns, self.primitive = variant, columns, primitive
        super().__init__(columns, variant.x_bits, variant.w_bits, variant.acc_bits, self.build)

    def build(self):
        variant = self.variant
        if variant.weights == "delta":
            return DeltaArray(self.columns, variant.w_bits, variant.x_bits,
                              primitive=self.primitive, taps=TAPS, shift=False)
        kind = MacArray if variant.weights == "dsp" else FabricArray
        return kind(self.columns, 3, self.primitive, variant.x_bits, variant.w_bits,
                    variant.acc_bits, single=False, shift=False)

    def add_ports(self):
        if self.variant.weights == "delta":
            self.reference = Signal(8)
            self.offset = Signal(3)

    def finish(self, valid, outs):
        if self.variant.weights != "delta":
            super().finish(valid, outs)
            return
        array = self.array
        self.combine = combine = DeltaCombine(
            len(array.out[0]), len(array.sums[0]), self.variant.acc_bits,
            dsps=self.variant.reference_dsps, primitive=self.primitive)
        self.comb += [
            combine.valid.eq(valid),
            *(sink.eq(out) for sink, out in zip(combine.delta, array.out, strict=True)),
            *(sink.eq(out) for sink, out in zip(combine.sums, array.sums, strict=True)),
            combine.reference.eq(self.reference),
            combine.offset.eq(self.offset),
            self.out_valid.eq(combine.out_valid),
            *(out.eq(acc) for out, acc in zip(outs, combine.out, strict=True)),
        ]


# Figures ------------------------------------------------------------------------------------------


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


FAMILY = Family("delta_arrays", PAGE, VARIANTS, Surroundings, flat, table, errors)


def main(variants: Annotated[str, typer.Option(help="Comma-separated; all by default.")] = "",
         lanes: Annotated[str, typer.Option(help="16, 64 or both.")] = "",
         devices: Annotated[str, typer.Option(help="85k, 25k or both.")] = "",
         seeds: Annotated[str, typer.Option(help="Seeds of the placer.")] = "1,2,3"):
    """Synthesize, place and route the arrays; exit code 1 when a step failed or a delta array is
    too slow. Arrays that are left out keep the figures they have.

    Example: python -m litepress.bench.delta_arrays --variants delta8 --lanes 16 --seeds 1
    """
    if seeds == "none":
        raise typer.BadParameter("seeds none: the arrays are to be routed")
    FAMILY.run(variants, lanes, devices, seeds)


if __name__ == "__main__":
    start(main)
