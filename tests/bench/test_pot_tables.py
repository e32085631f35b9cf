"""bench/pot_tables.py: what its rows are made of, and that the page has their places."""

from litepress.bench import pot_tables
from litepress.bench.pages import filled
from litepress.bench.pot import figures_of, variants


def figures(seeds):
    """Of runs whose accuracies and sizes tell the variants apart."""
    found = {}
    for i, variant in enumerate(variants()):
        bits = 1000 * variant.bits
        found[variant] = [{"accuracy": 50 + i + seed, "bits": bits, "entropy_bits": bits - 200,
                           "huffman_bits": bits - 100} for seed in range(seeds)]
    return figures_of(found)


def test_accuracies_stand_in_their_columns():
    found = figures(2)
    lines = pot_tables.accuracy_table(found)
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| float32", *(f"| {name}" for name in (
            "powers of two, 4 bits", "powers of two, 3 bits", "sums of two powers, 4 bits",
            "uniform, 4 bits", "uniform, 8 bits"))]
    row = lines[3].split(" | ")[1:]
    for shown, key in zip(row, ("pot4_plain", "pot4", "pot4_plain_a4", "pot4_a4"), strict=True):
        assert shown.startswith(f"{found[key]:.2f} % &plusmn; 0.71")
    assert "&plusmn;" not in "".join(pot_tables.accuracy_table(figures(1)))


def test_sizes_in_bytes():
    lines = pot_tables.size_table(figures(1))
    assert len(lines) == 2 + 6
    # 1,000 weights of 3 bits, 100 bits fewer in streams.
    assert "| powers of two, 3 bits | 375 | 350 | 362 | 2.90 | 11.03 | 2.76 | 1.38 |" in lines


def test_the_page_has_places_for_the_tables():
    text = pot_tables.PAGE.read_text()
    for name in ("accuracy", "sizes", "soc"):
        assert "of a test" in filled(text, "pot.md", pot_tables.COMMAND, name, ["of a test"])
