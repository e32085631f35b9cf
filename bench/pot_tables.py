"""Tables of docs/pot.md, from docs/results/pot.json and pot_soc.json.

    python -m litepress.bench.pot_tables
"""

from ..host.command import start
from .pot import variants
from .pot_soc import CASES, ROWS
from .results import RESULTS
from .tables import case_table, fill_from_results

PAGE = RESULTS.parent / "pot.md"
COMMAND = "python -m litepress.bench.pot_tables"


def _accuracy(figures, key):
    """Mean, and the standard deviation where there is one."""
    if key not in figures:
        return ""
    sd = f" &plusmn; {figures[f'{key}_sd']:.2f}" if f"{key}_sd" in figures else ""
    return f"{figures[key]:.2f} %{sd}"


def accuracy_table(figures):
    """Markdown lines of docs/results/pot.json's figures: a row a kind of weights."""
    lines = ["| weights | activations of 8 bits, without the loss | with it | of 4 bits, without "
             "| with it |", "|---|---|---|---|---|",
             f"| float32 | {_accuracy(figures, 'float')}, activations float | | | |"]
    for variant in variants():
        key = variant.key
        if variant.codebook and variant.regularized and variant.activation_bits == 8:
            shown = (_accuracy(figures, key + suffix) for suffix in ("_plain", "", "_plain_a4",
                                                                     "_a4"))
            lines.append(f"| {variant.title} | {' | '.join(shown)} |")
    return lines


def size_table(figures):
    """Markdown lines: what the weights take, with the distribution loss and activations of 8
    bits."""
    lines = ["| weights | as codes, bytes | entropy | Huffman, bytes | bits a weight "
             "| smaller than float32 | than int8 | than uniform, 4 bits |",
             "|---|---|---|---|---|---|---|---|"]
    count = figures["float_bits"] / 32
    for variant in variants():
        key = variant.key
        if not variant.codebook or (variant.regularized and variant.activation_bits == 8):
            coded, entropy, huffman = (figures[f"{key}_{name}"] / 8 for name in (
                "bits", "entropy_bits", "huffman_bits"))
            against = (f"{figures[f'{key}_smaller_than_{name}']:.2f}"
                       for name in ("float", "int8", "uniform4"))
            lines.append(f"| {variant.title} | {coded:,.0f} | {entropy:,.0f} | {huffman:,.0f} | "
                         f"{8 * huffman / count:.2f} | {' | '.join(against)} |")
    return lines


def soc_table(figures):
    """Markdown lines of docs/results/pot_soc.json's figures, a column a case."""
    return case_table(CASES, ROWS, figures)


def main():
    """Write the tables into docs/pot.md."""
    fill_from_results(PAGE, COMMAND, ("accuracy", "pot", accuracy_table),
                      ("sizes", "pot", size_table), ("soc", "pot_soc", soc_table))


if __name__ == "__main__":
    start(main)
