"""Tables of docs/delta.md, from docs/results/delta.json and delta_soc.json.

    python -m litepress.bench.delta_tables
"""

import os

from .delta import variants
from .delta_soc import CASES, ROWS
from .results import RESULTS
from .tables import columns, read

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
    return columns({case.key: case.title for case in CASES}, figures,
                   tuple((title, key, form) for key, (title, form) in ROWS.items()))


def fill(text, name, lines):
    """The page's text with ``lines`` between the markers of that name."""
    begin = f"<!-- {name}: made by python -m litepress.bench.delta_tables -->"
    head, rest = text.split(begin)
    return head + begin + "\n" + "\n".join(lines) + f"\n<!-- /{name} -->" \
        + rest.split(f"<!-- /{name} -->")[1]


def main():
    """Write the tables into docs/delta.md."""
    text = PAGE.read_text()
    for name, result, table in (("accuracy", "delta", accuracy_table),
                                ("soc", "delta_soc", soc_table)):
        found = read(result)
        made = ["", f"Made by `{found['command']}`: {found['data']}."]
        text = fill(text, name, table(found["figures"]) + made)
    temporary = PAGE.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, PAGE)


if __name__ == "__main__":
    main()
