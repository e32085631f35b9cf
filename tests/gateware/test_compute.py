"""The COMPUTE engine against the loop nest of spec/isa.py, bit-exact, with stalling ABUF ports."""

import numpy as np
import pytest
from compute_sim import DONE, ERROR, RESET, Case, program, simulate
from isa_model import compute, pack_param

from litepress.host.codecs.stored import unpack_words
from litepress.spec import isa
from litepress.spec.arch import Arch

DEPTHWISE, POOL = isa.FLAG_DEPTHWISE, isa.FLAG_POOL
OUT = 1024   # The half of ABUF that results go to.

# Clocks of a GO beside its operands when nothing stalls (docs/compute.md): up to the first operand
# and from the last operand to the last result's write, less the channels of the last group.
FIRST_OPERAND, LAST_RESULT = 14, 23
CODES_LATER = 4   # By so much later the last result of an array of codes.


def memories(rng, parts, abuf=2048, wbuf=512, pbuf=256, shift=(8, 28)):
    """Random ABUF, WBUF (words of so many parts of 16 bits) and PBUF; shifts so that few results
    are clamped."""
    records = [pack_param(int(rng.integers(1 << 16)), int(rng.integers(*shift)),
                          int(rng.integers(-1 << 34, 1 << 34))) for _ in range(pbuf)]
    return (rng.integers(-32768, 32768, (abuf, 4)).astype(np.int16),
            rng.integers(-32768, 32768, (wbuf, parts)).astype(np.int16),
            np.array(records, np.uint64))


def registers(**values):
    return dict.fromkeys(isa.COMPUTE_REGS, 0) | {
        "STRIDE": 1, "KH": 1, "KW": 1, "CIN": 1, "W_STEP": 1, "IN_ROWS": isa.ROWS_ANY,
        "OUT_BASE": OUT, "CLAMP_LO": -32768, "CLAMP_HI": 32767} | values


def layer(h, w, cin, cout, kernel=1, stride=1, pad=0, columns=4, depthwise=False, **values):
    """Registers of a convolution of a (cin, h, w) tensor at ABUF 0, as the packer sets them."""
    row = -(-w // 4)
    out_h, out_w = ((n + 2 * pad - kernel) // stride + 1 for n in (h, w))
    out_row = -(-out_w // 4)
    cin_loop = 1 if depthwise else cin
    return registers(
        IN_ROW=row, IN_CH=0 if depthwise else row * h, IN_GROUP=row * h if depthwise else 0,
        IN_ROWS=h, IN_W=w, CIN=cin_loop, KH=kernel, KW=kernel, STRIDE=stride, ROW_OFF=-pad,
        PAD_X=pad, KY_STEP=row, OUT_ROWS=out_h, OUT_VECS=out_row, COUT=cout, OUT_ROW=out_row,
        OUT_CH=out_row * out_h, OUT_W=out_w, W_TILE=cin_loop * kernel**2,
        FLAGS=DEPTHWISE if depthwise else 0) | values


def expected(case, gos, arch):
    abuf, wbuf = case.abuf.tolist(), case.wbuf
    if isinstance(arch, Arch):
        wbuf = unpack_words(wbuf.view(np.uint8), arch.weight_format).T
    result = case.abuf.tolist()
    for r in gos:
        compute(abuf, wbuf.tolist(), case.pbuf.tolist(), r, len(wbuf[0]))
        result = abuf
    return np.array(result)


def check(named, arch, **options):
    """Run cases (name, Case, gos) and compare; returns the outcomes. arch: of codes, or the columns
    of one of multipliers; options: ComputeEngine's."""
    outcomes = simulate([case for _, case, _ in named], arch, **options)
    for (name, case, gos), outcome in zip(named, outcomes, strict=True):
        assert outcome.status == DONE, f"{name}: status {outcome.status}, {outcome}"
        assert outcome.completed == len(gos), name
        wrong = (outcome.abuf != expected(case, gos, arch)).any(1).nonzero()[0]
        assert not len(wrong), f"{name}: {len(wrong)} vectors differ, first at {wrong[:5]}"
        assert outcome.busy == outcome.mac + outcome.stall_abuf + outcome.stall_requant, name
    return outcomes


def with_stalls(rng, name, case, gos):
    """The case as it is, and with stalling ports and gaps between command words."""
    slow = Case(case.abuf, case.wbuf, case.pbuf, case.words, seed=int(rng.integers(1 << 32)),
                read_ready=int(rng.integers(60, 257)), write_ready=int(rng.integers(60, 257)),
                word_valid=int(rng.integers(60, 257)), separate=case.separate)
    return [(name, case, gos), (f"{name}, stalls", slow, gos)]


LAYERS = {
    "1x1": dict(h=4, w=8, cin=24, cout=8),
    "1x1 odd": dict(h=3, w=7, cin=5, cout=9),
    "1x1 stride 2": dict(h=5, w=9, cin=6, cout=4, stride=2),
    "fully connected": dict(h=1, w=1, cin=64, cout=22),
    "3x3": dict(h=5, w=11, cin=3, cout=6, kernel=3, pad=1),
    "3x3 stride 2": dict(h=7, w=14, cin=3, cout=5, kernel=3, stride=2, pad=1),
    "3x3 no padding": dict(h=5, w=10, cin=2, cout=4, kernel=3),
    "5x5": dict(h=6, w=13, cin=2, cout=4, kernel=5, pad=2),
    "5x5 stride 2": dict(h=7, w=13, cin=2, cout=3, kernel=5, stride=2, pad=2),
    "7x7": dict(h=7, w=9, cin=2, cout=4, kernel=7, pad=3),
    "7x7 stride 2": dict(h=9, w=17, cin=2, cout=4, kernel=7, stride=2, pad=3),
    "depthwise": dict(h=5, w=10, cin=7, cout=7, kernel=3, pad=1, depthwise=True),
    "depthwise stride 2": dict(h=6, w=15, cin=6, cout=6, kernel=3, stride=2, pad=1, depthwise=True),
    "depthwise 5x5": dict(h=5, w=7, cin=5, cout=5, kernel=5, pad=2, depthwise=True),
    "one output": dict(h=1, w=4, cin=1, cout=1),
    "many tiles": dict(h=1, w=1, cin=1, cout=61),
    # A tile of a taller layer: two rows of the tensor above and one below are not in ABUF.
    "row tile": dict(h=5, w=9, cin=3, cout=4, kernel=3, pad=1, ROW_OFF=0, OUT_ROWS=3),
    "row tile, top": dict(h=4, w=9, cin=3, cout=4, kernel=3, pad=1, OUT_ROWS=3),
    "row tile, bottom": dict(h=4, w=9, cin=3, cout=4, kernel=3, pad=1, ROW_OFF=2, OUT_ROWS=2),
    "relu6 bounds": dict(h=3, w=6, cin=4, cout=4, CLAMP_LO=0, CLAMP_HI=200),
    "crossed bounds": dict(h=2, w=4, cin=4, cout=4, CLAMP_LO=100, CLAMP_HI=-100),
    "add": dict(h=3, w=10, cin=7, cout=7, depthwise=True, KH=2, KY_STEP=400, W_TILE=2,
                IN_ROWS=isa.ROWS_ANY),
    "pool": dict(h=5, w=10, cin=7, cout=7, depthwise=True, KH=5, KY_STEP=3, CIN=3, IN_CH=1,
                 W_STEP=0, W_TILE=0, OUT_ROWS=1, OUT_VECS=1, OUT_W=1, OUT_CH=1,
                 FLAGS=DEPTHWISE | POOL),
}


@pytest.mark.parametrize("columns", [4, 12])
def test_layers(columns):
    rng = np.random.default_rng(columns)
    named = []
    for name, shape in LAYERS.items():
        r = layer(columns=columns, **shape)
        named += with_stalls(rng, name, Case(*memories(rng, columns), program(r)), [r])
    check(named, columns)


def random_registers(rng, columns):
    """Loop counts small enough for the model, everything else anywhere in its range."""
    def full(name):
        _, bits, signed = isa.COMPUTE_REGS[name]
        return int(rng.integers(-1 << bits - 1, 1 << bits - 1) if signed else
                   rng.integers(1 << bits))
    r = {name: full(name) for name in isa.COMPUTE_REGS}

    def small(name, high, zero=0.04):
        r[name] = 0 if rng.random() < zero else int(rng.integers(1, high + 1))
    small("COUT", 3 * columns)
    small("OUT_ROWS", 4)
    small("OUT_VECS", 4)
    small("CIN", 5)
    small("KH", 4)
    small("KW", 7)
    r["STRIDE"] = int(rng.integers(1, 3))
    if rng.random() < 0.8:       # Usually near the edges of a small tensor.
        r["IN_W"] = int(rng.integers(40))
        r["OUT_W"] = int(rng.integers(20))
        r["IN_ROWS"] = int(rng.integers(12))
        r["ROW_OFF"] = int(rng.integers(-4, 5))
    if rng.random() < 0.5:
        r["CLAMP_LO"], r["CLAMP_HI"] = -32768, 32767
    return r


def random_cases(rng, columns, parts, most, **fixed):
    """(name, Case, gos) of random registers, with and without stalls, some ``most`` operands."""
    named, spent = [], 0
    while spent < most:
        r = random_registers(rng, columns) | fixed
        size = 1
        for name in ("COUT", "OUT_ROWS", "OUT_VECS", "CIN", "KH", "KW"):
            size *= max(1, r[name])
        if size > 8_000:
            continue
        spent += size
        case = Case(*memories(rng, parts), program(r))
        named.append(with_stalls(rng, f"{len(named)}: {r}", case, [r])[int(rng.integers(2))])
    return named


@pytest.mark.parametrize("columns", [4, 12])
def test_random_registers(columns):
    check(random_cases(np.random.default_rng(100 + columns), columns, columns, 150_000), columns)


def test_sequence_reads_what_it_wrote():
    # Layer after layer through the same memory, the last an addition in place.
    rng = np.random.default_rng(5)
    gos = [
        layer(h=6, w=9, cin=4, cout=8, kernel=3, pad=1),
        layer(h=6, w=9, cin=8, cout=8, kernel=3, pad=1, depthwise=True, IN_BASE=OUT, OUT_BASE=256),
        layer(h=6, w=9, cin=8, cout=8, depthwise=True, KH=2, KY_STEP=OUT - 256, W_TILE=2,
              IN_ROWS=isa.ROWS_ANY, IN_BASE=256, OUT_BASE=256),
    ]
    case = Case(*memories(rng, 4, shift=(14, 20)), program(*gos), separate=False)
    check(with_stalls(rng, "sequence", case, gos), 4)


def test_zero_counts_end_at_once():
    rng = np.random.default_rng(6)
    gos = [layer(h=4, w=8, cin=4, cout=4, **{name: 0}) for name in ("COUT", "OUT_ROWS", "OUT_VECS")]
    named = [(str(i), Case(*memories(rng, 4), program(r)), [r]) for i, r in enumerate(gos)]
    for outcome in check(named, 4):
        assert (outcome.mac, outcome.busy) == (0, 1)
    # No term: every output is its bias.
    gos = [layer(h=4, w=8, cin=4, cout=4, **{name: 0}) for name in ("CIN", "KH", "KW")]
    named = [(str(i), Case(*memories(rng, 4), program(r)), [r]) for i, r in enumerate(gos)]
    for outcome in check(named, 4):
        assert outcome.busy < 100


@pytest.mark.parametrize("values", [{"KW": 8}, {"KW": 15}, {"STRIDE": 0}, {"STRIDE": 3}])
def test_register_out_of_range_is_an_error(values):
    rng = np.random.default_rng(7)
    good = layer(h=4, w=8, cin=4, cout=4)
    bad = Case(*memories(rng, 4), program(good | values))
    after = Case(*memories(rng, 4), program(good))
    failed, passed = simulate([bad, after], 4)
    assert failed.status == ERROR and failed.completed == 0
    assert (failed.abuf == bad.abuf).all()
    assert passed.status == DONE
    assert (passed.abuf == expected(after, [good], 4)).all()


def test_reset_at_any_clock():
    rng = np.random.default_rng(8)
    r = layer(h=3, w=9, cin=3, cout=7, kernel=3, pad=1)
    good = Case(*memories(rng, 4), program(r))
    cases = []
    for clock in range(20, 420, 7):
        cases += [Case(good.abuf, good.wbuf, good.pbuf, good.words, reset_at=clock), good]
    outcomes = simulate(cases, 4)
    want = expected(good, [r], 4)
    assert all(o.status == RESET for o in outcomes[::2])
    assert all(o.status == DONE and (o.abuf == want).all() for o in outcomes[1::2])


@pytest.mark.parametrize("name, shape", [
    ("1x1", dict(h=8, w=16, cin=64, cout=8)),
    ("3x3", dict(h=6, w=16, cin=8, cout=4, kernel=3, pad=1)),
    ("3x3 stride 2", dict(h=6, w=16, cin=8, cout=4, kernel=3, stride=2, pad=1)),
    ("depthwise", dict(h=6, w=16, cin=8, cout=8, kernel=3, pad=1, depthwise=True)),
    ("add", dict(h=6, w=16, cin=8, cout=8, depthwise=True, KH=2, KY_STEP=300, W_TILE=2)),
])
def test_an_operand_every_clock(name, shape):
    rng = np.random.default_rng(9)
    r = layer(columns=4, **shape)
    outcome, = check([(name, Case(*memories(rng, 4), program(r)), [r])], 4)
    operands = r["OUT_ROWS"] * r["OUT_VECS"] * r["CIN"] * r["KH"] * r["KW"]
    operands *= r["COUT"] if r["FLAGS"] & DEPTHWISE else -(-r["COUT"] // 4)
    assert outcome.mac == operands
    assert outcome.busy <= operands + FIRST_OPERAND + LAST_RESULT + 4


# Arrays of codes ----------------------------------------------------------------------------------

CODES = [("pot4", 8, "row"), ("apot4", 8, "static"), ("pot3", 32, "row")]


def codes(array, columns):
    """(Arch, 16-bit parts of a word of WBUF)."""
    arch = Arch(columns=columns, array=array)
    return arch, columns * arch.weight_bits // 16


@pytest.mark.parametrize("array, columns, organisation", CODES)
def test_codes(array, columns, organisation):
    """Layers, then registers of any value, of any pixels."""
    arch, parts = codes(array, columns)
    rng, named = np.random.default_rng(columns), []
    for name, shape in LAYERS.items():
        r = layer(columns=columns, **shape)
        if not r["FLAGS"]:
            named += with_stalls(rng, name, Case(*memories(rng, parts, shift=(0, 16)), program(r)),
                                 [r])
    named += random_cases(rng, columns, parts, 60_000, FLAGS=0)
    check(named, arch, organisation=organisation)


@pytest.mark.parametrize("flags", [DEPTHWISE, POOL, DEPTHWISE | POOL])
def test_codes_are_for_dense_layers(flags):
    arch, parts = codes("pot4", 8)
    rng = np.random.default_rng(7)
    good = layer(h=4, w=8, cin=4, cout=9)
    bad = Case(*memories(rng, parts), program(good | {"FLAGS": flags}))
    after = Case(*memories(rng, parts), program(good))
    failed, passed = simulate([bad, after], arch)
    assert failed.status == ERROR and failed.completed == 0
    assert (failed.abuf == bad.abuf).all()
    assert passed.status == DONE and (passed.abuf == expected(after, [good], arch)).all()


def test_codes_after_a_reset():
    arch, parts = codes("pot4", 8)
    rng = np.random.default_rng(8)
    r = layer(h=3, w=9, cin=9, cout=11, kernel=3, pad=1)
    good = Case(*memories(rng, parts), program(r))
    cases = []
    for clock in range(20, 420, 13):
        cases += [Case(good.abuf, good.wbuf, good.pbuf, good.words, reset_at=clock), good]
    outcomes, want = simulate(cases, arch), expected(good, [r], arch)
    assert all(o.status == RESET for o in outcomes[::2])
    assert all(o.status == DONE and (o.abuf == want).all() for o in outcomes[1::2])


def test_codes_an_operand_every_clock():
    arch, parts = codes("pot4", 8)
    r = layer(columns=8, h=6, w=16, cin=16, cout=16, kernel=3, pad=1)
    case = Case(*memories(np.random.default_rng(9), parts), program(r))
    outcome, = check([("3x3", case, [r])], arch)
    operands = r["OUT_ROWS"] * r["OUT_VECS"] * r["CIN"] * 9 * 2
    assert outcome.mac == operands
    assert outcome.busy <= operands + FIRST_OPERAND + LAST_RESULT + CODES_LATER + 8
