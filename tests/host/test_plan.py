"""host/plan.py, tiling.py, program.py: what fits, what is refused, what a program looks like."""

from dataclasses import replace

import numpy as np
import pytest
from networks import Builder, mobilenet_v2, random_network

from litepress.host.hazards import walk
from litepress.host.image import row_bytes
from litepress.host.pack import pack
from litepress.host.plan import Group, allocate, lifetimes, plan
from litepress.host.predict import compute_clocks, predict
from litepress.host.program import Program
from litepress.host.tiling import PlanError, candidates, geometry, group_size, split
from litepress.spec import isa
from litepress.spec.arch import ARCHS, Arch
from litepress.spec.formats import Format


def one_layer(op, channels, height, width, cout=16, k=1, stride=1, **options):
    """A network of a single layer, and that layer's Geometry arguments."""
    b = Builder("one", (channels, height, width), np.random.default_rng(0), **options)
    if op == "conv":
        b.conv("input", cout, k, stride)
    elif op == "depthwise":
        b.depthwise("input", k, stride)
    elif op == "add":
        b.add("input", "input")
    else:
        b.pool("input")
    return b.net


@pytest.mark.parametrize("size, name, words", [
    (96, "sim", 15000), (96, "85f", 12000), (96, "25f", 25000), (96, "45f", 15000),
    (224, "85f", 30000),
])
def test_mobilenet_is_planned(size, name, words):
    """Program size, whole network: below 60 KB at 16 columns and 96x96."""
    net = mobilenet_v2(size)
    made = plan(net, ARCHS[name])
    assert len(made.program.words) < words
    assert len(made.layers) == len(net.layers)
    assert len(made.predicted) == len(made.groups) < len(net.layers)
    traffic = sum(p["read_words"] for p in made.predicted)
    stored = sum(p.weight_bytes for p in made.layers) // 4
    # 25f reads some weights more than once; the others never.
    assert stored < traffic
    if not ARCHS[name].vector:
        # COMPUTE does everything, and waits for little but the classifier's weights.
        compute, cycles = (sum(p[of] for p in made.predicted) for of in ("compute", "cycles"))
        assert compute < cycles < 1.25 * compute
        assert not any(g.engine == isa.VECTOR for g in made.program.gos)
    for p in made.layers:
        if p.geo.dense and name == "sim" and size == 96:
            loads = [g for g in made.program.gos if g.engine == isa.LOAD
                     and p.weights_at <= 4 * g.registers["ADDR"] < p.weights_at + p.weight_bytes]
            moved = sum(Format.from_code(g.registers["FORMAT"]).run_words(g.registers["RUN_LEN"])
                        for g in loads)
            assert 4 * moved == p.weight_bytes, p.layer.name


def test_programs_set_only_what_changes():
    image = pack(random_network(5), ARCHS["tiny"])
    words = [isa.split(int(w)) for w in np.frombuffer(image.sections[2].data, "<u4")]
    held = {}
    for engine, reg, value in words[:image.header["program_words"]]:
        if engine != isa.CTRL and reg > isa.WAIT_STORE:
            assert held.get((engine, reg), 0) != value
            held[engine, reg] = value


@pytest.mark.parametrize("seed", range(12))
def test_all_tilings_fit(seed):
    """No tile of any candidate overflows ABUF, WBUF or PBUF."""
    arch = [Arch(4, 1024, 1024, 64), Arch(12, 2048, 512, 256), ARCHS["sim"]][seed % 3]
    net = random_network(seed, layers=3, most=24, channels=24)
    for layer in net.layers:
        geo = geometry(layer, net.tensors, arch)
        for t in candidates(geo, arch):
            rows = geo.in_rows if t.whole else max(
                b - a for a, b in (geo.input_rows(first, last - first)
                                   for first, last in split(geo.out_rows, t.rows)))
            inside = t.in_slots * rows * geo.in_row_size(t.channels)
            outside = t.out_slots * t.rows * t.channels * geo.out_vecs
            assert inside + outside <= arch.abuf_depth
            words = -(-t.sub // group_size(geo, t, arch)) * geo.taps
            assert words <= geo.weight_depth(arch) or geo.shared_weights
            assert t.sub <= arch.pbuf_depth
            # Parts of a row begin and end on DRAM words.
            assert t.channels == geo.cout or t.channels % 8 == 0


@pytest.mark.parametrize("net, arch, message", [
    (one_layer("conv", 70, 4, 4), Arch(4, 1024, 64, 64),
     r"layer conv0 \(features.conv0\): a reduction of 70 words does not fit WBUF: wbuf_depth is "
     "64"),
    (one_layer("conv", 8, 64, 64, k=3), Arch(4, 256, 1024, 64),
     r"layer conv0 .*: the smallest tile, 3 input rows and one output row of 8 channels, takes 512 "
     r"vectors of ABUF: abuf_depth is 256"),
    (one_layer("depthwise", 16, 9, 200, k=5), Arch(4, 1024, 1024, 64),
     r"layer depthwise0 .*: the smallest tile, 5 input rows"),
    (one_layer("pool", 16, 80, 80), Arch(4, 1024, 1024, 64), r"layer pool0 .*: the smallest tile"),
    (one_layer("conv", 8, 9, 9, k=9), ARCHS["sim"],
     r"layer conv0 .*: kernel width = 9: allowed are 1 to 7"),
])
def test_what_does_not_fit_is_named(net, arch, message):
    with pytest.raises(PlanError, match=message):
        plan(net, arch)


def test_region_size():
    net = mobilenet_v2(96)
    with pytest.raises(PlanError, match=r"network mobilenet_v2_96: weights, program and "
                       r"activations take \d+ bytes: the region has 1048576"):
        plan(net, ARCHS["sim"], region_bytes=1 << 20)


@pytest.mark.parametrize("op", ["depthwise", "add", "pool"])
@pytest.mark.parametrize("array", ["delta4", "pot4", "apot4"])
def test_an_array_of_formats_needs_vector(op, array):
    net = one_layer(op, 8, 8, 8, k=3)
    arch = Arch(8, 2048, 1024, 256, 256, array)
    plan(net, arch)
    with pytest.raises(PlanError, match=rf"^layer {op}0 \(features.{op}0\): {op}, without VECTOR: "
                       rf"array {array} does dense convolutions only$"):
        plan(net, replace(arch, vector=False))


def test_arch_of_an_image_or_a_device():
    arch = ARCHS["25f"]
    fields = arch.as_dict()
    assert Arch.of(fields) == arch and repr(Arch.of(fields)) == repr(arch)
    del fields["vector"]
    for engines, vector in ((0x7, False), (0xf, True)):
        assert Arch.of(fields | {"engines": engines}) == replace(arch, vector=vector)
    with pytest.raises(ValueError, match="arch: vector = 2: allowed are 0 and 1"):
        Arch.of(fields | {"vector": 2})


def test_compute_without_vector_by_hand():
    """Clocks of the GOs that VECTOR would do: taps a vector and channel; a window of 3 taps a row
    is 3 operands, a pool's row a vector each."""
    arch = replace(ARCHS["sim"], vector=False)
    for op, stride, loop in (("depthwise", 1, 48 * 16 * 4 * 9), ("depthwise", 2, 48 * 8 * 2 * 9),
                             ("add", 1, 48 * 16 * 4 * 2), ("pool", 1, 48 * 16 * 4)):
        made = plan(one_layer(op, 48, 16, 16, k=3, stride=stride), arch)
        gos = [g for g in made.program.gos if g.engine == isa.COMPUTE]
        assert made.predicted[0]["compute"] == loop + 50 * len(gos), op


def test_bad_networks():
    net = random_network(1)
    net.layers[2].inputs = ["nowhere"] * len(net.layers[2].inputs)
    with pytest.raises(ValueError, match="nowhere"):
        pack(net, ARCHS["sim"])
    net = one_layer("conv", 4, 8, 8)
    net.tensors["t0"].shape = (16, 9, 8)
    with pytest.raises(PlanError, match=r"output height = 9: allowed are 8 to 8"):
        plan(net, ARCHS["sim"])
    net = one_layer("conv", 4, 8, 8)
    net.layers[0].stride = 3
    with pytest.raises(PlanError, match="stride = 3: allowed are 1 to 2"):
        plan(net, ARCHS["sim"])
    net = one_layer("conv", 4, 8, 8)
    net.layers = net.layers * 129
    with pytest.raises(PlanError, match="129 layers: allowed are 1 to 128"):
        plan(net, ARCHS["sim"])


@pytest.mark.parametrize("keep", [False, True])
def test_allocation(keep):
    """Tensors alive together are apart; with keep, all are."""
    net = random_network(7, layers=10)
    spans = lifetimes(net, [Group(i, i + 1, None) for i in range(len(net.layers))])
    rng = np.random.default_rng(0)
    sizes = {name: int(rng.integers(1, 500)) * 4 for name in spans}
    places, end = allocate(sizes, spans, 1600, keep)
    for a in spans:
        assert places[a] % 16 == 0 and 1600 <= places[a] <= places[a] + sizes[a] <= end
        for b in spans:
            together = keep or (spans[a][0] <= spans[b][1] and spans[b][0] <= spans[a][1])
            if a < b and together:
                assert places[a] + sizes[a] <= places[b] or places[b] + sizes[b] <= places[a]
    if not keep:
        assert end < 1600 + sum(sizes.values())


def test_input_and_output_stay():
    """An image can run twice without a new input, and nothing is written over its output."""
    net = random_network(7, layers=10)
    made = plan(net, ARCHS["tiny"])
    places = {n: (at, at + row_bytes(net.tensors[n].shape, net.tensors[n].fmt)
                  * net.tensors[n].shape[1]) for n, at in made.places.items()}
    for name in (net.input, net.output):
        start, stop = places[name]
        for other, (a, b) in places.items():
            assert other == name or b <= start or stop <= a
        assert made.activations_at <= start < stop <= made.region_bytes


def test_double_buffering_overlaps():
    """A layer that neither LOAD nor STORE bounds takes hardly longer than its COMPUTEs."""
    net = one_layer("conv", 64, 48, 48, cout=64)
    made = plan(net, ARCHS["sim"])
    p = made.predicted[0]
    assert p["compute"] <= p["cycles"] < 1.08 * p["compute"]
    assert p["load"] + p["store"] > 0.3 * p["compute"]


def test_predict_by_hand():
    """Two LOADs, a COMPUTE that waits for the second, a STORE that waits for the COMPUTE."""
    arch = Arch(4, 256, 64, 64)
    program = Program(arch)
    code = Format.parse("raw16").code
    for dst in (0, 64):
        program.go(isa.LOAD, ADDR=0, RUNS=1, RUN_LEN=64, FORMAT=code, DST_MEM=isa.MEM_ABUF,
                   DST=dst)
    program.go(isa.COMPUTE, IN_BASE=64, IN_ROW=1, IN_CH=1, IN_ROWS=1, IN_W=4, CIN=64, KH=1, KW=1,
               STRIDE=1, OUT_ROWS=1, OUT_VECS=1, COUT=4, OUT_BASE=128, OUT_CH=1, OUT_W=4,
               W_STEP=1, CLAMP_HI=100)
    program.go(isa.STORE, ADDR=4096, RUNS=1, RUN_LEN=4, FORMAT=code, SRC=128)
    program.mark(7, everything=True)
    program.end()
    assert [g.waits for g in program.gos[:4]] == [{}, {}, {isa.LOAD: 2}, {isa.COMPUTE: 1}]
    assert [(g.engine, g.index, g.position, g.waits) for g in walk(program.words)] == \
        [(g.engine, g.index, g.position, g.waits) for g in program.gos]
    layer, = predict(program.gos, arch, clocks_per_word=1.0)
    compute = compute_clocks(program.gos[2].registers, arch)
    assert layer["slot"] == 7
    assert (layer["read_words"], layer["write_words"]) == (256, 8)
    assert layer["compute"] == compute == 64 + 50 and layer["vector"] == 0
    assert layer["load"] == 2 * (128 + 40) and layer["store"] == 8 + 40
    assert layer["cycles"] == layer["load"] + compute + layer["store"]


def test_a_sum_larger_than_half_of_wbuf_streams():
    """K = 160 of 256 WBUF words: the next weights come in two parts, the first of which does not
    wait for the COMPUTE before."""
    net = one_layer("conv", 160, 1, 1, cout=16)
    made = plan(net, Arch(4, 1024, 256, 64))
    program = [g for g in made.program.gos if g.engine == isa.COMPUTE
               or (g.engine == isa.LOAD and g.registers["DST_MEM"] == isa.MEM_WBUF)]
    assert [g.registers.get("RUN_LEN") for g in program] == [160, None] + 3 * [96, 64, None]
    for i in range(3):
        first, second = program[2 + 3 * i:4 + 3 * i]
        assert isa.COMPUTE not in first.waits and second.waits == {isa.COMPUTE: i + 1}
    p = made.predicted[0]
    assert p["cycles"] < p["load"] + p["compute"] + p["store"]
