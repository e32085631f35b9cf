"""README's picture and table, and tables of docs/quantization.md, docs/performance.md and
docs/boards.md, from docs/results.

    python -m litepress.bench.tables
"""

import json

import matplotlib

from ..host.command import start
from ..soc.boards import BOARDS
from .accuracy import ROWS
from .cycles import NETS
from .pages import fill
from .results import RESULTS, save_figure

matplotlib.use("Agg")
import matplotlib.pyplot as plt

README = RESULTS.parents[1] / "README.md"
QUANTIZATION = RESULTS.parent / "quantization.md"
PERFORMANCE = RESULTS.parent / "performance.md"
BOARDS_PAGE = RESULTS.parent / "boards.md"
COMMAND = "python -m litepress.bench.tables"
CAUSES = (("mac_cycles", "array busy", "#2a7"), ("stall_load", "waits for LOAD", "#d73"),
          ("stall_vector", "waits for VECTOR", "#a5c"), ("stall_store", "waits for STORE", "#36c"))


def read(name):
    """docs/results/NAME.json as a dict. FileNotFoundError names the command that makes it."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        module = {"ebpc": "ebpc_ratio"}.get(name, name)
        raise FileNotFoundError(f"{path}: not found; run python -m litepress.bench.{module} first")
    return json.loads(path.read_text())


def table(demo, tensors, accuracy, synth, ebpc, cycles):
    """Rows of the README's table: (what, measured). Each a dict of docs/results."""
    d, t, a, s, e, c = (results["figures"] for results in (demo, tensors, accuracy, synth, ebpc,
                                                           cycles))
    kinds = [k.removeprefix("tensors_equal_") for k in t if k.startswith("tensors_equal_")]
    equal = ", ".join(f"{k}: {t[f'tensors_equal_{k}']} of {t[f'tensors_{k}']}" for k in kinds)

    def top1(key):
        return (f"{a[key]:.2f} % at {a[f'{key}_weight_bits']:.2f} bits a weight, "
                f"{a[f'{key}_activation_bits']:.2f} an activation")
    rows = [
        ("Network", "MobileNetV2 1.0, 96x96, 2.2 M weights (ImageNet backbone, FashionMNIST head)"),
        (f"Accuracy, {a['float_images']:,} test images, float", f"{a['float']:.2f} %"),
        *((f"&ndash; improved ZFPe, {n} bits, not retrained", top1(f"improved_{n}"))
          for n in (12, 8, 6)),
        ("&ndash; int8, one scale a channel, not retrained", top1("int8_per_channel")),
        ("Tensors equal to the golden model in every byte", equal),
        ("Output bytes equal, image loaded over the UART",
         f"{d['images_equal']:.0f} of {d['images']:.0f} test images"),
        ("System clocks an image", f"{d['cycles']:,.0f} on {d['multipliers']:.0f} multipliers, "
         "16-bit SDR SDRAM at 1:2"),
        *((f"&ndash; {net.title}, 1,000 classes", f"{c[f'{net.key}_cycles']:,} on "
           f"{c['multipliers']} multipliers; {c[f'{net.key}_speedup_over_32bit']:.1f} times faster "
           "than predicted for 32 bits a value") for net in NETS),
        ("Loading over the UART, CRC checked on the device",
         f"{d['load_clocks_per_byte']:.1f} system clocks a byte"),
        ("EBPC, lossless: MobileNetV2's 8-bit feature maps, 224x224",
         f"{e['mobilenet_v2_8']:.2f} times smaller (mean of {e['photos']} photos)"),
    ]
    for group, name, rate in (("zfpe", "ZFPe", "value"), ("ebpc", "EBPC", "word")):
        if f"{group}_decoder_lut_percent" in s:
            rows.append((f"{name} decoder, encoder, one {rate} a clock", ", ".join(
                f"{s[f'{group}_{role}_lut_percent']:.1f} %" for role in ("decoder", "encoder"))
                + " of the LUTs of an LFE5U-85F at most, no DSP; "
                + ", ".join(f"{s[f'{group}_{role}_fmax_mhz']:.0f}"
                            for role in ("decoder", "encoder")) + " MHz"))
    return rows


def accuracy_table(figures):
    """Markdown lines of docs/results/accuracy.json's figures."""
    lines = ["| | bits a weight | an activation | corrected | images | uncorrected | images |",
             "|---|---|---|---|---|---|---|",
             f"| float32 | 32 | 32 | {figures['float']:.2f} % | {figures['float_images']:,} | | |"]
    for row in ROWS:
        cells = [row.title, *(f"{figures[f'{row.key}_{what}_bits']:.2f}"
                              for what in ("weight", "activation"))]
        for key in (row.key, f"{row.key}_uncorrected"):
            cells += [f"{figures[key]:.2f} %", f"{figures[f'{key}_images']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def columns(titles, figures, rows):
    """Markdown lines of a table with a column for each of ``titles`` (prefix of its figures ->
    title) that has been measured; rows: (text, rest of the figure's name, format)."""
    titles = {prefix: title for prefix, title in titles.items() if f"{prefix}_{rows[0][1]}" in
              figures}
    lines = [f"| | {' | '.join(titles.values())} |", "|---" * (len(titles) + 1) + "|"]
    for text, key, form in rows:
        values = [form.format(figures[f"{prefix}_{key}"]) if f"{prefix}_{key}" in figures else ""
                  for prefix in titles]
        if any(values):
            lines.append(f"| {text} | {' | '.join(values)} |")
    return lines


def case_table(cases, rows, figures):
    """``columns`` for Cases (delta_soc.py), rows as its ROWS."""
    return columns({case.key: case.title for case in cases}, figures,
                   tuple((title, key, form) for key, (title, form) in rows.items()))


def fill_from_results(page, command, *made):
    """Fill the page's tables, each of ``made`` a (name, name of the result, figures -> lines), with
    what made the result below."""
    tables = {}
    for name, result, table in made:
        found = read(result)
        tables[name] = [*table(found["figures"]), "",
                        f"Made by `{found['command']}`: {found['data']}."]
    fill(page, command, tables)


def cycles_table(figures):
    """Markdown lines of docs/results/cycles.json's figures."""
    return columns({net.key: net.title for net in NETS}, figures, (
        ("clocks a frame, simulated SoC", "cycles", "{:,.0f}"),
        ("predicted", "predicted_cycles", "{:,.0f}"),
        ("prediction's error", "prediction_error_percent", "{:+.1f} %"),
        ("with unlimited memory", "unlimited_memory_cycles", "{:,.0f}"),
        ("memory ratio", "memory_ratio", "{:.3f}"),
        ("MACs a clock", "macs_per_cycle", "{:.1f}"),
        ("multipliers busy in 1x1 layers", "pointwise_utilisation", "{:.0f} %"),
        ("sequencing", "overhead_percent", "{:.2f} %"),
        ("DRAM bytes a frame", "dram_bytes", "{:,.0f}"),
        ("with 32 bits a value, predicted", "predicted_32bit_cycles", "{:,.0f}"),
        ("speed-up over that", "speedup_over_32bit", "{:.2f}")))


def bitstream_table(figures):
    """Markdown lines of docs/results/bitstream.json's figures, a column a board."""
    return columns({board.build_name: name for name, board in BOARDS.items()}, figures, (
        ("multipliers of the array", "multipliers", "{:.0f}"),
        ("LUT4 (TRELLIS_COMB)", "lut", "{:,.0f}"),
        ("&ndash; of the FPGA's", "lut_percent", "{:.0f} %"),
        ("FF", "ff", "{:,.0f}"),
        ("&ndash; of the FPGA's", "ff_percent", "{:.0f} %"),
        ("EBR (DP16KD)", "ebr", "{:.0f}"),
        ("&ndash; of the FPGA's", "ebr_percent", "{:.0f} %"),
        ("DSP (MULT18X18D)", "dsp", "{:.0f}"),
        ("&ndash; of the FPGA's", "dsp_percent", "{:.0f} %"),
        ("system clock, at most", "fmax_mhz", "{:.1f} MHz"),
        ("system clock, expected after placement, not routed", "placed_fmax_mhz", "{:.1f} MHz"),
        ("&ndash; asked for", "clock_mhz", "{:.0f} MHz"),
        ("SDRAM clock, at most", "x2_fmax_mhz", "{:.1f} MHz"),
        ("SDRAM clock, expected after placement, not routed", "placed_x2_fmax_mhz",
         "{:.1f} MHz"),
        ("nextpnr", "nextpnr_minutes", "{:.0f} minutes")))


def frames(boards, cycles):
    """A sentence on each board whose whole SoC is routed and whose array is the one that the
    networks ran on: frames a second. Both: results, of bitstream and cycles."""
    found = []
    for name, board in BOARDS.items():
        prefix = board.build_name
        if f"{prefix}_fmax_mhz" not in boards["figures"] or \
                boards["figures"][f"{prefix}_multipliers"] != cycles["figures"]["multipliers"]:
            continue
        fmax, asked = (boards["figures"][f"{prefix}_{key}_mhz"] for key in ("fmax", "clock"))
        clock = min(fmax, asked)
        rates = ", ".join(f"{1e6 * clock / cycles['figures'][f'{net.key}_cycles']:.1f}"
                          for net in NETS)
        met = "its clock" if fmax >= asked else f"what it reached of the {asked:.0f} MHz asked for"
        found.append(f"At {clock:.1f} MHz, {met}, {name} takes {rates} frames a second of these "
                     f"networks; energy was not measured.")
    return found


def board_lines():
    """What whole SoCs take of their FPGAs, and what made it."""
    boards = read("bitstream")
    return [*bitstream_table(boards["figures"]), "",
            "Whole SoCs with the accelerator of the board's size, all its codecs, VexRiscv and "
            "LiteDRAM; not tried on a board. Made by " + ", ".join(
                f"`{made['command']}`" for made in boards["made"].values()) + "."]


def picture(demo, path):
    """A bar a layer: clocks by what the array did."""
    layers = demo["slots"]
    figure, axes = plt.subplots(figsize=(10, 3.6))
    left = [0.0] * len(layers)
    for key, label, color in (*CAUSES, (None, "other", "#bbb")):
        if key:
            height = [layer[key] for layer in layers]
        else:
            height = [layer["cycles"] - base for layer, base in zip(layers, left, strict=True)]
        axes.bar(range(len(layers)), height, 0.8, left, color=color, label=label)
        left = [a + b for a, b in zip(left, height, strict=True)]
    axes.set_xlabel("layers that run together")
    axes.set_ylabel("system clocks")
    axes.set_title("MobileNetV2 96x96 on the simulated SoC: where the clocks of each layer go")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def main():
    """Write docs/results/demo.svg and the tables of the pages named above."""
    results = [read(name) for name in ("demo", "tensors", "accuracy", "synth", "ebpc", "cycles")]
    picture(results[0], RESULTS / "demo.svg")
    lines = ["| measured | |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in table(*results)]
    commands = [f"`{result['command']}`" for result in results]
    lines += ["", f"Made by {', '.join(commands[:-1])} and {commands[-1]}; figures, versions and "
              "data in `docs/results/`."]
    fill(README, COMMAND, {"results": lines})
    fill(QUANTIZATION, COMMAND, {"results": accuracy_table(results[2]["figures"])})
    cycles = results[-1]
    lines = [*cycles_table(cycles["figures"]), "",
             f"The simulator ran {cycles['figures']['sim_clock_hz']:,.0f} clocks a second. Made by "
             f"`{cycles['command']}`: {cycles['data']}.",
             *(line for text in frames(read("bitstream"), cycles) for line in ("", text))]
    fill(PERFORMANCE, COMMAND, {"results": lines})
    fill(BOARDS_PAGE, COMMAND, {"boards": board_lines()})


if __name__ == "__main__":
    start(main)
