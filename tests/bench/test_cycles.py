"""bench/cycles.py: what its figures mean, and that the published ones keep what was promised."""

import json

import pytest

from litepress.bench.cycles import NETS, overhead, pointwise_utilisation, roofline
from litepress.bench.results import RESULTS
from litepress.bench.tables import cycles_table
from litepress.host.report import slots


def layer(op, cin, cout, kernel=1, macs=1000):
    return {"op": op, "weights": cin * cout * kernel**2, "input_shapes": [[cin, 4, 4]],
            "output_shape": [cout, 4, 4], "macs": macs}


ROW = {"slot": 0, "name": "a", "op": "conv", "cycles": 100, "mac_cycles": 50, "stall_load": 10,
       "stall_store": 5, "stall_vector": 20, "stall_abuf": 7, "stall_requant": 3, "macs": 1000,
       "read_words": 40, "write_words": 10}


def test_overhead_is_what_no_counter_explains():
    assert overhead({"cycles": 200, "rows": [ROW, ROW]}) == pytest.approx(100 * 10 / 200)


def test_utilisation_counts_useful_products_of_pointwise_layers():
    rows = [ROW | {"layers": [layer("conv", 3, 8), layer("depthwise", 1, 8)]},
            ROW | {"layers": [layer("conv", 3, 8, 3)]},            # A 3x3: left out.
            ROW | {"layers": [layer("add", 1, 1)]}]
    assert pointwise_utilisation(rows, 64) == pytest.approx(100 * 1000 / (64 * 60))


def test_roofline_is_drawn(tmp_path):
    class Image:
        meta = {"name": "net"}

    path = tmp_path / "roofline.svg"
    roofline({"rows": [ROW, ROW | {"macs": 0}], "cycles": 200, "image": Image}, "85f", path)
    assert "<svg" in path.read_text()


def test_slots_join_the_layers_of_a_group():
    class Image:
        meta = {"layers": [
            layer("conv", 3, 8) | {"slot": 0, "name": "x", "raw_bytes": 8, "stored_bytes": 3},
            layer("depthwise", 1, 8) | {"slot": 0, "name": "y", "raw_bytes": 4, "stored_bytes": 2},
            layer("add", 1, 1) | {"slot": 1, "name": "z", "raw_bytes": 1, "stored_bytes": 1}],
            "groups": [{"tiling": "chain", "predicted": {"cycles": 5}},
                       {"tiling": "alone", "predicted": {"cycles": 6}}]}

    first, second = slots(Image)
    assert (first["name"], first["op"]) == ("x .. y", "conv + depthwise")
    assert (first["macs"], first["raw_bytes"], first["stored_bytes"]) == (2000, 12, 5)
    assert (second["name"], second["tiling"], second["predicted"]["cycles"]) == ("z", "alone", 6)


def test_published_figures_keep_their_targets():
    figures = json.loads((RESULTS / "cycles.json").read_text())["figures"]
    most = {"mobilenet_v2_224_cycles": 6.0e6, "mobilenet_v2_035_160_cycles": 1.0e6,
            "mobilenet_v2_96_cycles": 1.5e6, "memory_ratio": 1.15}
    for key, limit in most.items():
        assert figures[key] <= limit, key
    assert figures["pointwise_utilisation"] >= 70
    assert figures["sim_clock_hz"] >= 250e3
    for net in NETS:
        assert abs(figures[f"{net.key}_prediction_error_percent"]) <= 10
        assert figures[f"{net.key}_overhead_percent"] <= 3
    assert len(cycles_table(figures)) == 13
