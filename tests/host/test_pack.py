"""host/pack.py, emit.py, hazards.py: bytes of weights and parameters, proofs, order of accesses,
and whole programs on the golden model against the layers computed without tiles."""

import dataclasses

import numpy as np
import pytest
from any_plan import any_of_them, any_tiling
from networks import Builder, random_network

from litepress.host import channels
from litepress.host import plan as planner
from litepress.host.codecs.block import decode_blocks
from litepress.host.codecs.stored import unpack_words
from litepress.host.emit import weight_format
from litepress.host.golden import Golden
from litepress.host.golden_compute import unpack_params
from litepress.host.hazards import HazardError, check, walk
from litepress.host.pack import PackError, encode_weights, pack
from litepress.host.plan import PlanError, plan
from litepress.host.reference import run_reference, store_weights
from litepress.spec import isa
from litepress.spec.arch import ARCHS, ARRAYS, Arch
from litepress.spec.formats import Format
from litepress.spec.image import PARAMS, PROGRAM

FORMATS = ["zfpe8", "raw8", "raw16", "zfpe12", "zfpe5", "zfpe11", "raw8u", "zfpi6",
           "zfpi9u", "zfpi7n", "zfpi5nu", "ebpc8", "ebpc8u"]
SMALL = [Arch(4, 1024, 2048, 64), Arch(12, 1024, 2048, 64), Arch(32, 2048, 2048, 64),
         Arch(8, 2048, 1024, 128), ARCHS["sim"], Arch(64, 4096, 2048, 64)]


def network(seed, **options):
    rng = np.random.default_rng(seed)
    activations = FORMATS if seed % 2 else f"zfpe{rng.integers(4, 17)}"
    weights = ["raw16", "raw8", f"zfpe{rng.integers(4, 17)}",
               f"zfpi{rng.integers(4, 16)}n"][seed % 4]
    return random_network(seed, activations, weights, **({"layers": 4, "most": 20, "channels": 24}
                                                         | options))


def inputs(net, rng, count=1):
    return rng.integers(-3000, 3000, (count, *net.tensors[net.input].shape)).astype(np.int16)


def compare(net, image, rng, gos=None, chains=False):
    """Every tensor in DRAM after the golden model's run against the layers' own arithmetic. gos:
    those of the program in another order."""
    q, expected = inputs(net, rng), {}
    run_reference(net, q, expected.__setitem__)
    golden = Golden(image)
    if gos is not None:
        golden._gos = gos
    golden.run([image.encode_tensor(net.input, q[0])])
    for name, values in expected.items():
        if chains and name != net.output:
            continue       # On chip, or overwritten since.
        place = image.tensor(name)
        data = golden.read(place.offset, place.bytes)[0].tobytes()
        np.testing.assert_array_equal(image.decode_tensor(name, data), values[0], name)
    assert len(np.unique(expected[net.layers[0].output])) > 10


@pytest.mark.parametrize("seed", range(12))
def test_best_tilings(seed):
    net, rng = network(seed), np.random.default_rng(seed)
    compare(net, pack(net, SMALL[seed % len(SMALL)], keep=True), rng)


@pytest.mark.parametrize("seed", range(100, 130))
def test_any_tiling(seed, monkeypatch):
    """Whatever the planner may choose gives the same bytes."""
    net, rng = network(seed), np.random.default_rng(seed)
    monkeypatch.setattr(planner, "choose", any_tiling(rng))
    compare(net, pack(net, SMALL[seed % len(SMALL)], keep=True), rng)


def shuffled(image, rng):
    """The program's GOs in another order that the WAITs allow; the engines' paces change."""
    words = np.frombuffer(image.section(PROGRAM).data, "<u4")
    queues = {e: [] for e in (isa.LOAD, isa.COMPUTE, isa.STORE, isa.VECTOR)}
    for go in walk(words):
        if go.engine != isa.CTRL:
            queues[go.engine].append(go)
    out, done = [], dict.fromkeys(queues, 0)
    while any(queues.values()):
        if len(out) % 50 == 0:
            pace = rng.random(len(queues)) ** 2 + 0.01
        ready = [e for e, queue in queues.items() if queue
                 and all(done[f] >= n for f, n in queue[0].waits.items())]
        assert ready, "deadlock"
        go = queues[ready[rng.choice(len(ready), p=pace[ready] / pace[ready].sum())]].pop(0)
        out.append(go)
        done[go.engine] += 1
    assert [go.position for go in out] != sorted(go.position for go in out)
    return out


@pytest.mark.parametrize("seed", range(200, 212))
def test_any_order_the_waits_allow(seed, monkeypatch):
    """Engines of any relative speed give the same bytes: independent of host/hazards.py."""
    net, rng = network(seed), np.random.default_rng(seed)
    monkeypatch.setattr(planner, "choose", any_tiling(rng))
    image = pack(net, SMALL[seed % len(SMALL)], keep=True)
    compare(net, image, rng, shuffled(image, rng))


def lossless_network(seed):
    """All activations raw16: what stays on chip is then what DRAM would give back."""
    return random_network(seed, "raw16", "zfpe8", layers=8, most=20, channels=24)


@pytest.mark.parametrize("seed", range(300, 324))
def test_chains(seed, monkeypatch):
    """Chains give what the layers give alone, in program order and in any order the WAITs allow."""
    net, rng = lossless_network(seed), np.random.default_rng(seed)
    monkeypatch.setattr(planner, "choose", any_tiling(rng))
    monkeypatch.setattr(planner, "choose_together", any_of_them(rng))
    image = pack(net, SMALL[seed % len(SMALL)])
    compare(net, image, np.random.default_rng(seed), chains=True)
    compare(net, image, np.random.default_rng(seed), shuffled(image, rng), chains=True)


@pytest.mark.parametrize("seed", range(400, 415))
def test_arrays_of_deltas(seed, monkeypatch):
    """Weights that go into WBUF as they are stored: any tiling, alone and in chains."""
    bits, rng = 2 + seed % 5, np.random.default_rng(seed)
    small = SMALL[seed % len(SMALL)]
    arch = dataclasses.replace(small, columns=16 if bits % 2 == 0 else 32, wbuf_depth=2048,
                               array=f"delta{bits}")
    monkeypatch.setattr(planner, "choose", any_tiling(rng))
    monkeypatch.setattr(planner, "choose_together", any_of_them(rng))
    for keep in (True, False):
        net = random_network(seed, "raw16", f"delta{bits}", layers=5, most=20, channels=40,
                             depthwise=(3,))
        image = pack(net, arch, keep=keep)
        compare(net, image, np.random.default_rng(seed), shuffled(image, rng), chains=not keep)


def test_chains_are_tried():
    """The test above sees chains of many kinds."""
    seen = set()
    with pytest.MonkeyPatch.context() as patch:
        for seed in range(300, 324):
            rng = np.random.default_rng(seed)
            patch.setattr(planner, "choose", any_tiling(rng))
            patch.setattr(planner, "choose_together", any_of_them(rng))
            net = lossless_network(seed)
            for group in plan(net, SMALL[seed % len(SMALL)]).groups:
                layers = net.layers[group.first:group.last]
                if isinstance(group.tiling, channels.ChannelTiling):
                    seen |= {("pipeline", len(layers)), ("pipeline", layers[1].op)}
                elif len(layers) > 1:
                    seen |= {(layers[0].op, "first"), *(layer.op for layer in layers[1:]),
                             len(layers), ("rows", group.tiling.rows),
                             ("tight", bool(group.tiling.tight)),
                             ("channels", bool(group.tiling.channels))}
    assert seen >= {("conv", "first"), ("depthwise", "first"), "conv", "depthwise", "add", 2, 3, 4,
                    ("rows", 1), ("rows", 2), ("tight", True), ("tight", False), ("channels", True),
                    ("pipeline", 2), ("pipeline", 3), ("pipeline", 4), ("pipeline", "depthwise"),
                    ("pipeline", "pool")}


@pytest.mark.parametrize("seed", range(3))
def test_every_wait_is_needed_and_missed(seed):
    """Each WAIT, taken out alone, is found missing."""
    arch = SMALL[seed]
    image = pack(network(seed), arch)
    words = list(map(int, np.frombuffer(image.section(PROGRAM).data, "<u4")))
    words = words[:image.header["program_words"]]
    end = image.section(PROGRAM).dram
    check(words, arch, image.header["region_bytes"], end)
    def is_wait(w):
        return w >> isa.ENGINE_SHIFT != isa.CTRL and \
            isa.WAIT_LOAD <= isa.split(w)[1] <= isa.WAIT_VECTOR

    waits, for_mark = [], False       # Those before a LAP are for the counters.
    for i in reversed(range(len(words))):
        if is_wait(words[i]) and not for_mark:
            waits.append(i)
        for_mark = isa.split(words[i])[:2] == (isa.CTRL, isa.LAP) or (
            for_mark and is_wait(words[i]))
    assert len(waits) > 10
    for i in waits:
        with pytest.raises(HazardError, match=r"word \d+ \(\w+\) \w+ \w+ \d+ to \d+, which word "
                           r"\d+ .*no WAIT orders them"):
            check(words[:i] + words[i + 1:], arch, image.header["region_bytes"], end)


def test_hazard_messages():
    arch, region = Arch(4, 256, 64, 64), 1 << 20
    end = isa.word(isa.CTRL, isa.END, 0)

    def load(**registers):
        return [isa.word(isa.LOAD, isa.LOAD_REGS[n][0], v) for n, v in registers.items()] \
            + [isa.word(isa.LOAD, isa.GO, 0)]

    with pytest.raises(HazardError, match="the program has no END"):
        check([], arch, region, 0)
    with pytest.raises(HazardError, match="word 0: load waits for GO 1 of store, which comes "
                       "later"):
        check([isa.word(isa.LOAD, isa.WAIT_STORE, 1), end], arch, region, 0)
    raw16 = Format.parse("raw16").code
    with pytest.raises(HazardError, match=r"word 4 \(load\): DRAM bytes 1048568 to 1048584: the "
                       "region ends at 1048576"):
        check([*load(ADDR=(1 << 18) - 2, RUNS=1, RUN_LEN=2, FORMAT=raw16), end], arch, region, 0)
    store = [isa.word(isa.STORE, isa.STORE_REGS[n][0], v) for n, v in
             {"ADDR": 4, "RUNS": 1, "RUN_LEN": 2, "FORMAT": raw16}.items()]
    go = isa.word(isa.STORE, isa.GO, 0)
    with pytest.raises(HazardError, match=r"word 4 \(store\): writes DRAM byte 16: the sections "
                       "end at 512"):
        check([*store, go, end], arch, region, 512)
    registers = {"CIN": 1, "KH": 1, "KW": 1, "STRIDE": 1, "IN_ROWS": 1, "IN_W": 4, "OUT_ROWS": 1,
                 "OUT_VECS": 1, "COUT": 1, "IN_BASE": 5, "OUT_BASE": 5}
    words = [isa.word(isa.COMPUTE, isa.COMPUTE_REGS[n][0], v) for n, v in registers.items()]
    with pytest.raises(HazardError, match="writes ABUF 5 to 6 while it reads 5 to 6"):
        check([*words, isa.word(isa.COMPUTE, isa.GO, 0), end], arch, region, 0)
    # Load and compute in the same WBUF words, once around the end of the memory.
    program = load(ADDR=0, RUNS=1, RUN_LEN=4, FORMAT=raw16, DST_MEM=isa.MEM_WBUF, DST=62,
                   LANE_BLOCKS=1) + words[:-1] \
        + [isa.word(isa.COMPUTE, isa.COMPUTE_REGS["OUT_BASE"][0], 9),
           isa.word(isa.COMPUTE, isa.COMPUTE_REGS["W_BASE"][0], 1),
           isa.word(isa.COMPUTE, isa.GO, 0), end]
    with pytest.raises(HazardError, match=r"\(compute\) reads WBUF 1 to 2, which word \d+ \(load\) "
                       r"writes \(0 to 2\): no WAIT"):
        check(program, arch, region, 0)


@pytest.mark.parametrize("columns", [4, 12, 32])
@pytest.mark.parametrize("op", ["conv", "depthwise"])
@pytest.mark.parametrize("fmt", ["zfpe7", "raw8", "raw16"])
def test_weight_bytes(columns, op, fmt):
    """Tile, tap, group of four channels: decoded from the bytes and put back in their places."""
    rng = np.random.default_rng(columns)
    b = Builder("w", (24, 6, 6), rng, weights=fmt)
    if op == "conv":
        b.conv("input", 42, 3)
    else:
        b.depthwise(b.conv("input", 42), 3)
    arch = Arch(columns, 4096, 1024, 64)
    p = plan(b.net, arch).layers[-1]
    data, layer = encode_weights(p, arch), p.layer
    expected = store_weights(layer.weights, layer.weight_format).reshape(42, -1)
    found = np.zeros_like(expected)
    for load in p.loads:
        for run in load.runs:
            blocks = decode_blocks(np.frombuffer(data, np.uint8)[4 * run.offset:],
                                   weight_format(p.geo, layer), run.words * run.lane_blocks)
            tiles = blocks.reshape(len(run.groups), p.geo.taps, 4 * run.lane_blocks)
            for (first, n), tile in zip(run.groups, tiles, strict=True):
                assert n <= columns
                found[first:first + n] = tile[:, :n].T
                assert not tile[:, n:].any() or fmt.startswith("zfpe")
    np.testing.assert_array_equal(found, expected)


def test_numbers_of_arrays():
    """Images that are there say them."""
    assert ARRAYS == ("mac", "delta2", "delta3", "delta4", "delta5", "delta6", "pot3", "pot4",
                      "apot4")


@pytest.mark.parametrize("array", ARRAYS[1:])
def test_weights_as_they_are_stored(array):
    """Two tiles of such an array: the words LOAD brings into WBUF make the weights."""
    bits = Format.parse(array).bits
    b = Builder("w", (24, 6, 6), np.random.default_rng(bits), weights=array)
    b.conv("input", 42, 3)
    b.net.layers[-1].weights //= 10      # Among all the levels of a codebook.
    arch = Arch(32, 4096, 1024, 64, array=array)
    assert arch.head_words == (-(-8 // bits) if array.startswith("delta") else 0)
    p = plan(b.net, arch).layers[-1]
    data = encode_weights(p, arch)
    assert len(data) == 4 * (arch.head_words + 24 * 9) * (bits + -(-10 * bits // 32))
    expected = store_weights(p.layer.weights, p.layer.weight_format).reshape(42, -1)
    found = np.zeros_like(expected)
    for load in p.loads:
        for run in load.runs:
            words = np.frombuffer(data, np.uint8)[4 * run.offset:][:4 * run.words * run.lane_blocks]
            words = words.reshape(len(run.groups), p.geo.taps, -1)
            tiles = unpack_words(words, arch.weight_format)
            for (first, n), tile in zip(run.groups, tiles, strict=True):
                found[first:first + n] = tile[:n]
    np.testing.assert_array_equal(found, expected)
    p.layer.weight_format = Format.parse("raw8")
    with pytest.raises(PlanError, match=f"format raw8: array {array} takes {array}"):
        plan(b.net, arch)


def test_param_records():
    net = network(4)
    rng = np.random.default_rng(4)
    for layer in net.layers:
        size = len(layer.requant.b)
        layer.requant.b = rng.integers(-(1 << 41), 1 << 41, size)
        layer.requant.s = rng.integers(0, 64, size)
        layer.requant.m = rng.integers(0, 1 << 16, size)
    image = pack(net, ARCHS["sim"])
    records = unpack_params(np.frombuffer(image.section(PARAMS).data, "<i2").reshape(-1, 4))
    expected = np.concatenate([np.stack([x.requant.m, x.requant.s, x.requant.b], 1)
                               for x in net.layers])
    np.testing.assert_array_equal(records[:len(expected)], expected)


def test_accumulators_are_proven():
    """512 products of -32768 x -32768 reach 2^39: one more than ACC_BITS holds."""
    for cin, fails in ((511, False), (512, True)):
        b = Builder("acc", (cin, 1, 1), np.random.default_rng(0), "raw16", "raw16")
        b.conv("input", 4)
        b.net.layers[0].weights[2] = -32768
        if fails:
            with pytest.raises(PackError, match="layer conv0, channel 2: the accumulator can reach "
                               "-549739036672 to 549755813888: 40 bits hold -549755813888 to "
                               "549755813887"):
                pack(b.net, ARCHS["sim"])
        else:
            pack(b.net, ARCHS["sim"])
    # The clamp of the layer before counts where its format is lossless.
    b = Builder("acc", (4, 1, 1), np.random.default_rng(0), "raw16", "raw16")
    b.conv(b.conv("input", 600), 4)
    b.net.layers[1].weights[:] = -32768
    b.net.layers[0].requant.hi = 10000
    pack(b.net, ARCHS["sim"])
    b.net.layers[0].requant.hi = 32767
    with pytest.raises(PackError, match="layer conv1, channel 0"):
        pack(b.net, ARCHS["sim"])


@pytest.mark.parametrize("change, message", [
    (lambda r: r.m.__setitem__(3, 65536), r"channel 3: requant.m = 65536: allowed are 0 to 65535"),
    (lambda r: r.s.__setitem__(1, -1), r"channel 1: requant.s = -1: allowed are 0 to 63"),
    (lambda r: r.b.__setitem__(0, 1 << 41), r"channel 0: requant.b = 2199023255552: allowed"),
    (lambda r: setattr(r, "m", r.m[:2]), r"requant.m is int64 \(2,\): allowed are integers \(8,\)"),
    (lambda r: setattr(r, "hi", 40000), r"clamp -?\d+ to 40000: allowed are -32768 to 32767"),
])
def test_requantization_is_checked(change, message):
    b = Builder("r", (4, 5, 5), np.random.default_rng(0))
    b.conv("input", 8)
    change(b.net.layers[0].requant)
    with pytest.raises(PackError, match="layer conv0.*" + message):
        pack(b.net, ARCHS["sim"])


def test_packing_is_reproducible():
    assert pack(network(6), ARCHS["sim"]).bytes() == pack(network(6), ARCHS["sim"]).bytes()


def test_meta():
    net = network(2)
    net.meta = {"labels": ["a", "b"], "preprocessing": {"mean": [0.5]}}
    image = pack(net, ARCHS["sim"])
    meta = image.meta
    assert meta["labels"] == ["a", "b"] and meta["preprocessing"] == {"mean": [0.5]}
    assert meta["name"] == net.name and set(meta["tensors"]) <= set(net.tensors)
    slots = [layer["slot"] for layer in meta["layers"]]
    assert slots == sorted(slots) and set(slots) == set(range(len(meta["groups"])))
    assert len(slots) == len(net.layers)
    for entry, layer in zip(meta["layers"], net.layers, strict=True):
        assert entry["name"] == layer.name and entry["macs"] == layer.macs
        assert entry["raw_bytes"] == 4 * layer.weights.size == 4 * entry["weights"]
        assert entry["output_shape"] == list(net.tensors[layer.output].shape)
    assert sum(x["stored_bytes"] for x in meta["layers"]) <= image.sections[0].size
