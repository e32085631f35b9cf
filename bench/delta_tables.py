"""Tables of docs/delta.md, from docs/results/delta.json and delta_soc.json.

    python -m litepress.bench.delta_tables
"""

from ..host.command import start
from .delta import variants
from .delta_soc import CASES, ROWS
from .results import RESULTS
from .tables import case_table, fill_from_results

PAGE = RESULTS.parent / "delta.md"


def accuracy_table(figures):
    """Markdown lines of docs/results/delta.json's figures, a row a variant."""
    lines = ["| weights | top-1, mean | standard deviation | storage, bits | of 8 bits |",
             "|---|---|---|---|---|"]
    for variant in variants():
        key = variant.key
        sd = f"{figures[f'{key}_sd']:.2f}" if f"{key}_sd" in figures else ""
        lines.append(f"| {variant.title} | {figures[key]:.2f} % | {sd} | "
                     f"{figures[f'{key}_storage_bits']:,} | "
                     f"{figures[f'{key}_storage_percent']:.2f} % |")
    return lines


def soc_table(figures):
    """Markdown lines of docs/results/delta_soc.json's figures, a column a case."""
    return case_table(CASES, ROWS, figures)


def main():
    """Write the tables into docs/delta.md."""
    fill_from_results(PAGE, "python -m litepress.bench.delta_tables",
                      ("accuracy", "delta", accuracy_table), ("soc", "delta_soc", soc_table))


if __name__ == "__main__":
    start(main)
