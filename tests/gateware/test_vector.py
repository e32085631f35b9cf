"""The VECTOR engine against the loop nest of spec/isa.py, bit-exact, with stalling ABUF ports."""

import numpy as np
import pytest
from isa_model import pack_param, vector
from vector_sim import DONE, ERROR, RESET, Case, program, simulate

from litepress.spec import isa

POOL = isa.FLAG_POOL
OUT = 2048   # The half of ABUF that results go to.


def beside(r):
    """Clocks of a GO beside its steps when nothing stalls, at most: up to the first step, and from
    the last one to the last result's write. The first channel's weights come one a clock, and only
    the KH steps of the first vectors need none."""
    return 37 + (0 if r["FLAGS"] else max(0, r["KH"] * (r["KW"] - 2)))


def memories(rng, abuf=4096, vbuf=512, pbuf=256, shift=(8, 28)):
    """Random ABUF, VBUF and PBUF; shifts so that few results are clamped."""
    records = [pack_param(int(rng.integers(1 << 16)), int(rng.integers(*shift)),
                          int(rng.integers(-1 << 34, 1 << 34))) for _ in range(pbuf)]
    return (rng.integers(-32768, 32768, (abuf, 4)).astype(np.int16),
            rng.integers(-32768, 32768, (vbuf, 4)).astype(np.int16),
            np.array(records, np.uint64))


def registers(**values):
    return dict.fromkeys(isa.VECTOR_REGS, 0) | {
        "STRIDE": 1, "KH": 1, "KW": 1, "IN_ROWS": isa.ROWS_ANY, "OUT_BASE": OUT,
        "CLAMP_LO": -32768, "CLAMP_HI": 32767} | values


def layer(h, w, channels, kernel=3, stride=1, pad=1, ring_rows=None, planes=False, **values):
    """Registers of a depthwise layer as the packer sets them: each row of the input with all its
    channels in one piece, the rows in a ring of ``ring_rows`` (all of them if not given); the
    output in rows as well, or in ``planes``."""
    row = -(-w // 4) * channels
    ring = row * (ring_rows or h)
    out_h, out_w = ((n + 2 * pad - kernel) // stride + 1 for n in (h, w))
    vecs = -(-out_w // 4)
    return registers(
        IN_CH=-(-w // 4), RING=ring, IN_AT=-pad * row % ring, Y_STEP=stride * row % ring,
        KY_STEP=row % ring, IN_ROWS=h, IN_W=w, KH=kernel, KW=kernel, STRIDE=stride, ROW_OFF=-pad,
        PAD_X=pad, OUT_ROWS=out_h, OUT_VECS=vecs, COUT=channels, OUT_W=out_w,
        OUT_ROW=vecs if planes else vecs * channels, OUT_CH=vecs * out_h if planes else vecs,
        W_TILE=kernel**2) | values


def add(h, w, channels, **values):
    """Registers of an addition of a tensor at 0 and one at 1024, without a ring."""
    vecs = -(-w // 4)
    return registers(
        IN_CH=vecs * h, Y_STEP=vecs, KY_STEP=1024, IN_W=w, KH=2, OUT_ROWS=h, OUT_VECS=vecs,
        OUT_ROW=vecs, OUT_CH=vecs * h, OUT_W=w, COUT=channels) | values


def pool(h, w, channels, **values):
    """Registers of a global average pool; what POOL takes no notice of is anything."""
    vecs = max(1, -(-w // 4))
    return registers(
        IN_CH=vecs, KY_STEP=vecs * channels,
        IN_ROWS=h, IN_W=w, KH=h, KW=0, STRIDE=3, PAD_X=3, OUT_ROWS=5, OUT_VECS=7, OUT_CH=1,
        OUT_W=1, COUT=channels, FLAGS=POOL) | values


def expected(case, gos):
    abuf, source = case.abuf.tolist(), case.abuf.tolist() if case.separate else None
    for r in gos:
        vector(abuf, case.vbuf.tolist(), case.pbuf.tolist(), r, source)
    return np.array(abuf)


def check(named):
    """Run cases (name, Case, gos) and compare; returns the outcomes."""
    outcomes = simulate([case for _, case, _ in named])
    for (name, case, gos), outcome in zip(named, outcomes, strict=True):
        assert outcome.status == DONE, f"{name}: status {outcome.status}, {outcome}"
        assert outcome.completed == len(gos), name
        wrong = (outcome.abuf != expected(case, gos)).any(1).nonzero()[0]
        assert not len(wrong), f"{name}: {len(wrong)} vectors differ, first at {wrong[:5]}"
        assert outcome.busy == outcome.step + outcome.stall, name
    return outcomes


def with_stalls(rng, name, case, gos):
    """The case as it is, and with stalling ports and gaps between command words."""
    slow = Case(case.abuf, case.vbuf, case.pbuf, case.words, seed=int(rng.integers(1 << 32)),
                read_ready=int(rng.integers(60, 257)), write_ready=int(rng.integers(60, 257)),
                word_valid=int(rng.integers(60, 257)), separate=case.separate)
    return [(name, case, gos), (f"{name}, stalls", slow, gos)]


LAYERS = {
    "3x3": layer(5, 11, 7),
    "3x3 even": layer(5, 16, 4),
    "3x3 stride 2": layer(7, 14, 5, stride=2),
    "3x3 stride 2 even": layer(6, 16, 3, stride=2),
    "3x3 no padding": layer(6, 18, 3, pad=0),
    "3x3 no padding, narrow": layer(4, 6, 3, pad=0),
    "3x3 stride 2 no padding": layer(7, 17, 3, stride=2, pad=0),
    "3x3 stride 2 no padding, narrow": layer(7, 15, 3, stride=2, pad=0),
    "3x3 wide padding": layer(4, 9, 3, pad=2),
    "1x1": layer(4, 9, 6, kernel=1, pad=0),
    "1x1 stride 2": layer(5, 9, 6, kernel=1, pad=0, stride=2),
    "2x2 stride 2": layer(6, 12, 5, kernel=2, pad=0, stride=2),
    "one vector": layer(3, 4, 5),
    "one pixel": layer(1, 1, 9),
    "one channel": layer(5, 9, 1),
    "planes": layer(5, 11, 6, planes=True),
    "tall": layer(18, 7, 2, KH=16, KW=3, ROW_OFF=0, IN_AT=0, OUT_ROWS=3),
    # A part of a taller layer: the ring has four rows, the first of them lies in its middle.
    "ring": layer(4, 13, 5, ring_rows=4, IN_ROWS=isa.ROWS_ANY, ROW_OFF=7, IN_AT=40, OUT_ROWS=2),
    "ring, top": layer(4, 13, 5, ring_rows=4, OUT_ROWS=3),
    "relu6 bounds": layer(3, 6, 4, CLAMP_LO=0, CLAMP_HI=200),
    "crossed bounds": layer(2, 4, 4, CLAMP_LO=100, CLAMP_HI=-100),
    "add": add(3, 10, 7),
    "add, one vector": add(1, 3, 9),
    "add of constants": add(2, 8, 5, W_TILE=2),
    "pool": pool(5, 10, 7),
    "pool 1x1": pool(1, 1, 9),
    "pool of many rows": pool(60, 3, 3),
    "pool of nothing": pool(3, 0, 5),
}


def test_layers():
    rng = np.random.default_rng(1)
    named = []
    for name, r in LAYERS.items():
        named += with_stalls(rng, name, Case(*memories(rng), program(r)), [r])
    check(named)


def random_registers(rng):
    """Loop counts small enough for the model, everything else anywhere in its range."""
    def full(name):
        _, bits, signed = isa.VECTOR_REGS[name]
        return int(rng.integers(-1 << bits - 1, 1 << bits - 1) if signed else
                   rng.integers(1 << bits))

    def upto(high):
        return int(rng.integers(1, high + 1))

    r = {name: full(name) for name in isa.VECTOR_REGS}
    r["FLAGS"] = POOL * int(rng.random() < 0.15)
    r["COUT"] = upto(rng.choice([1, 3, 9]))
    if r["FLAGS"]:
        r["KH"] = upto(rng.choice([1, 3, 40]))
        r["IN_W"] = int(rng.integers(rng.choice([2, 5, 40])))
    else:
        r["KH"] = upto(rng.choice([1, 2, 3, 5, isa.VECTOR_KH]))
        r["KW"] = upto(isa.VECTOR_KW)
        r["PAD_X"] = int(rng.integers(isa.VECTOR_PAD + 1))
        r["STRIDE"] = upto(2)
        r["OUT_ROWS"] = upto(rng.choice([1, 2, 4]))
        r["OUT_VECS"] = upto(rng.choice([1, 2, 5]))
        if rng.random() < 0.9:       # Usually the right edge is near.
            pixels = 4 * r["OUT_VECS"] * r["STRIDE"]
            r["IN_W"] = max(0, pixels + int(rng.integers(-7, 10)))
            r["OUT_W"] = max(0, 4 * r["OUT_VECS"] - int(rng.integers(6)))
    if rng.random() < 0.9:
        r["IN_ROWS"] = int(rng.integers(1, 20))
        r["ROW_OFF"] = int(rng.integers(-4, 5))
    # A ring in which each window, and each GO, may wrap.
    ring = int(rng.choice([0, 1, rng.integers(2, 60), rng.integers(60, 3000), full("RING")]))
    r["RING"] = ring
    for name in ("IN_AT", "Y_STEP", "KY_STEP"):
        r[name] = int(rng.integers(ring or 1 << 16))
    if rng.random() < 0.5:
        r["CLAMP_LO"], r["CLAMP_HI"] = -32768, 32767
    return r


def test_random_registers():
    rng = np.random.default_rng(2)
    named, spent = [], 0
    while len(named) < 250:
        gos = [random_registers(rng) for _ in range(4)]
        spent += sum(r["COUT"] * r["KH"] * (-(-r["IN_W"] // 4) if r["FLAGS"] else
                                            r["OUT_ROWS"] * r["OUT_VECS"]) for r in gos)
        case = Case(*memories(rng, abuf=1024, vbuf=128, pbuf=64), program(*gos))
        pair = with_stalls(rng, f"{len(named)}: {gos}", case, gos)
        named.append(pair[int(rng.integers(2))])
    assert spent > 25_000
    check(named)


def test_largest_counts():
    rng = np.random.default_rng(10)
    gos = [
        layer(3, 4090, 1, OUT_ROWS=1),
        layer(3, 4095, 1, OUT_ROWS=1, stride=2),
        layer(1, 4, 8191, kernel=1, pad=0),
        layer(4095, 1, 1, kernel=1, pad=0),
        pool(1023, 3, 2),
        pool(1, 4095, 2),
    ]
    named = [(str(i), Case(*memories(rng, abuf=1 << 14), program(r | {"OUT_BASE": 1 << 13})), [r])
             for i, r in enumerate(gos)]
    check([(name, case, [r | {"OUT_BASE": 1 << 13}]) for name, case, (r,) in named])


def test_sequence_reads_what_it_wrote():
    # GO after GO on one engine, through the same memory: nothing of one is left for the next.
    rng = np.random.default_rng(3)
    gos = [
        layer(6, 9, 4, OUT_BASE=1024),
        layer(6, 9, 4, IN_BASE=1024, OUT_BASE=OUT),
        add(6, 9, 4, IN_BASE=1024, OUT_BASE=512, IN_CH=3, Y_STEP=12, OUT_CH=3, OUT_ROW=12),
        pool(6, 9, 4, IN_BASE=512, OUT_BASE=0),
        layer(6, 9, 4, stride=2, IN_BASE=512, OUT_BASE=256),
    ]
    case = Case(*memories(rng, shift=(14, 20)), program(*gos), separate=False)
    check(with_stalls(rng, "sequence", case, gos))


def test_zero_counts_end_at_once():
    rng = np.random.default_rng(4)
    gos = [layer(4, 8, 4, **{name: 0}) for name in ("COUT", "OUT_ROWS", "OUT_VECS")]
    gos.append(pool(4, 8, 0))
    named = [(str(i), Case(*memories(rng), program(r)), [r]) for i, r in enumerate(gos)]
    for outcome in check(named):
        assert (outcome.step, outcome.busy) == (0, 1)


@pytest.mark.parametrize("values", [
    {"KH": 0}, {"KH": 17}, {"KH": 1023}, {"KW": 0}, {"PAD_X": 3}, {"STRIDE": 0}, {"STRIDE": 3},
    {"KH": 0, "FLAGS": POOL},
])
def test_register_out_of_range_is_an_error(values):
    rng = np.random.default_rng(5)
    good = layer(4, 8, 4)
    bad = Case(*memories(rng), program(good | values))
    after = Case(*memories(rng), program(good))
    failed, passed = simulate([bad, after])
    assert failed.status == ERROR and failed.completed == 0
    assert (failed.abuf == bad.abuf).all()
    assert passed.status == DONE
    assert (passed.abuf == expected(after, [good])).all()


def test_reset_at_any_clock():
    rng = np.random.default_rng(6)
    gos = [layer(3, 9, 3), pool(3, 9, 5), layer(5, 9, 3, stride=2)]
    cases, wants = [], []
    for r in gos:
        good = Case(*memories(rng), program(r))
        want = expected(good, [r])
        for clock in range(26, 110, 2):
            other = Case(*memories(rng), program(gos[clock % 3]), reset_at=clock)
            cases += [other, good]
            wants.append(want)
    outcomes = simulate(cases)
    assert all(o.status == RESET for o in outcomes[::2])
    assert all(o.status == DONE and (o.abuf == want).all()
               for o, want in zip(outcomes[1::2], wants, strict=True))


RATES = {
    # name: (registers, vectors walked in a row, KH steps of a flush)
    "3x3": (layer(6, 16, 12), 4, True),
    "3x3 odd": (layer(7, 7, 12), 2, True),
    "3x3 stride 2": (layer(6, 16, 12, stride=2), 4, False),
    "3x3 stride 2 odd": (layer(7, 13, 12, stride=2), 4, False),
    "3x3 of one row": (layer(3, 16, 12, OUT_ROWS=1), 4, True),
    "1x1": (layer(6, 16, 12, kernel=1, pad=0), 4, True),
    "no padding": (layer(6, 18, 6, pad=0), 5, False),
    "wide padding, cut off": (layer(4, 18, 6, pad=2, OUT_VECS=4), 4, True),
    "cut off": (layer(4, 18, 6, OUT_VECS=4), 5, False),
    "add": (add(6, 16, 8), 4, True),
    "add of one row": (add(1, 8, 20), 2, True),
    # The next channel's weights come while this one's are all in use.
    "tall": (layer(18, 8, 6, KH=16, ROW_OFF=0, IN_AT=0, W_TILE=48, OUT_ROWS=3), 2, True),
    "pool": (pool(7, 7, 20), 2, False),
    "pool of nothing": (pool(3, 0, 20), 1, False),
    "pool of one vector": (pool(1, 4, 40), 1, False),
}


@pytest.mark.parametrize("name", RATES)
def test_a_step_every_clock(name):
    r, vectors, flush = RATES[name]
    rng = np.random.default_rng(7)
    outcome, = check([(name, Case(*memories(rng), program(r)), [r])])
    steps = r["COUT"] * (1 if r["FLAGS"] else r["OUT_ROWS"]) * vectors * r["KH"]
    assert outcome.step == steps + flush * r["KH"]
    assert outcome.busy <= outcome.step + beside(r)
    # Nothing is read that lies outside the tensor.
    rows = [y * r["STRIDE"] + ky + r["ROW_OFF"] for y in range(1 if r["FLAGS"] else r["OUT_ROWS"])
            for ky in range(r["KH"])]
    inside = sum(0 <= row < r["IN_ROWS"] for row in rows)
    assert outcome.reads == r["COUT"] * inside * min(vectors, -(-r["IN_W"] // 4))


def test_what_a_step_cannot_hide():
    # A row of one vector has fewer steps than weights: then they set the pace, one a clock.
    rng = np.random.default_rng(8)
    r = layer(3, 4, 20, OUT_ROWS=1)
    outcome, = check([("weights", Case(*memories(rng), program(r)), [r])])
    assert outcome.busy <= 20 * 9 + 24 + beside(r)


def test_a_port_that_is_often_taken():
    # Half of the reads are refused: the steps take about twice as long, and not more.
    rng = np.random.default_rng(9)
    r = layer(6, 16, 12)
    case = Case(*memories(rng), program(r), read_ready=128)
    outcome, = check([("half", case, [r])])
    assert outcome.busy <= 2.2 * outcome.step + beside(r)


def test_results_that_are_not_taken():
    # More results than the FIFO holds wait for the write port.
    rng = np.random.default_rng(11)
    named = []
    for name, r in (("1x1", layer(8, 16, 6, kernel=1, pad=0)), ("pool", pool(1, 4, 200)),
                    ("add", add(8, 16, 6)), ("3x3", layer(8, 16, 6))):
        case = Case(*memories(rng), program(r), write_ready=24)
        named.append((name, case, [r]))
    check(named)
