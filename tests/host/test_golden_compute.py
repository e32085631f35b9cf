"""The golden model's COMPUTE and VECTOR against the loop nests of spec/isa.py, on random
registers."""

import isa_model
import numpy as np
import pytest

from litepress.host.codecs.stored import unpack_words
from litepress.host.golden_compute import compute, vector
from litepress.spec import isa
from litepress.spec.arch import Arch

COLUMNS, DEPTH, BATCH = 4, 1024, 3


def registers(rng, kind):
    """Registers of a plausible command, with tile edges, odd widths and wrapping addresses."""
    def draw(low, high):
        return int(rng.integers(low, high + 1))

    width, stride, cout = draw(1, 18), draw(1, 2), draw(1, 9)
    kernel = draw(0, 3) * 2 + 1
    vectors, pad = -(-width // 4), draw(0, kernel // 2)
    r = dict.fromkeys(isa.COMPUTE_REGS, 0)
    r.update(COUT=cout, STRIDE=stride, KH=kernel, KW=kernel, PAD_X=pad, ROW_OFF=draw(-2, 1),
             IN_ROWS=draw(1, 6), IN_W=width, CIN=draw(1, 4), IN_BASE=draw(0, DEPTH - 1),
             OUT_ROWS=draw(1, 3), IN_CH=vectors, CLAMP_LO=draw(-32768, 0), CLAMP_HI=draw(0, 32767),
             W_STEP=1, W_BASE=draw(0, 63), P_BASE=draw(0, 60), OUT_BASE=draw(0, DEPTH - 1),
             IN_ROW=4 * vectors, KY_STEP=4 * vectors,
             OUT_W=max(1, (width + 2 * pad - kernel) // stride + 1))
    if kind == "depthwise":
        r.update(FLAGS=isa.FLAG_DEPTHWISE, CIN=1, IN_GROUP=vectors)
    elif kind == "add":
        r.update(FLAGS=isa.FLAG_DEPTHWISE, CIN=1, IN_GROUP=vectors, KH=2, KW=1, PAD_X=0, STRIDE=1,
                 ROW_OFF=0, KY_STEP=draw(0, 65535), IN_ROWS=isa.ROWS_ANY, OUT_W=width)
    elif kind == "pool":
        r.update(FLAGS=isa.FLAG_POOL | draw(0, 1), CIN=vectors, IN_CH=1, IN_GROUP=vectors, KW=1,
                 PAD_X=0, STRIDE=1, ROW_OFF=0, W_STEP=0, OUT_W=1, OUT_ROWS=1)
    r["W_TILE"] = 0 if kind in ("add", "pool") else r["CIN"] * r["KH"] * r["KW"]
    r["OUT_VECS"] = -(-r["OUT_W"] // 4) + (draw(0, 3) == 0)
    r["OUT_CH"] = r["OUT_VECS"]
    r["OUT_ROW"] = r["OUT_VECS"] * cout
    return r


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["dense", "depthwise", "add", "pool"])
def test_equal(kind, seed):
    rng = np.random.default_rng([seed, *kind.encode()])
    abuf = rng.integers(-32768, 32768, (DEPTH, BATCH, 4)).astype(np.int16)
    wbuf = rng.integers(-32768, 32768, (64, COLUMNS)).astype(np.int16)
    records = [isa_model.pack_param(int(rng.integers(32768, 65536)), int(rng.integers(10, 26)),
                                    int(rng.integers(-2**30, 2**30))) for _ in range(64)]
    pbuf = np.array(records, np.uint64).view(np.int16).reshape(-1, 4)
    for _ in range(4):
        r = registers(rng, kind)
        expected = []
        for image in range(BATCH):
            one = abuf[:, image].tolist()
            isa_model.compute(one, wbuf.tolist(), records, r, COLUMNS)
            expected.append(one)
        compute(flat := abuf.reshape(DEPTH, -1).copy(), wbuf, pbuf, r, Arch(COLUMNS))
        np.testing.assert_array_equal(flat.reshape(abuf.shape), np.stack(expected, axis=1), str(r))


def vector_registers(rng, kind):
    """Registers of a plausible VECTOR GO: rings with and without a size, rows above and below."""
    def draw(low, high):
        return int(rng.integers(low, high + 1))

    width, stride, cout, kernel = draw(1, 18), draw(1, 2), draw(1, 9), draw(1, 3)
    vectors, pad = -(-width // 4), draw(0, 2)
    row = vectors * cout
    r = dict.fromkeys(isa.VECTOR_REGS, 0)
    r.update(COUT=cout, STRIDE=stride, KH=draw(1, 5), KW=kernel, PAD_X=pad, ROW_OFF=draw(-2, 1),
             IN_ROWS=draw(1, 6), IN_W=width, IN_BASE=draw(0, DEPTH - 1), IN_CH=vectors,
             OUT_ROWS=draw(1, 3), CLAMP_LO=draw(-32768, 0), CLAMP_HI=draw(0, 32767),
             W_BASE=draw(0, 63), P_BASE=draw(0, 60), OUT_BASE=draw(0, DEPTH - 1),
             OUT_W=max(1, (width + 2 * pad - kernel) // stride + 1))
    if draw(0, 1):
        r["RING"] = draw(1, 6) * row
    size = r["RING"] or 1 << 16
    r.update(IN_AT=draw(0, 5) * row % size, KY_STEP=row % size, Y_STEP=stride * row % size)
    if kind == "add":
        r.update(KH=2, KW=1, PAD_X=0, STRIDE=1, KY_STEP=draw(0, size - 1), IN_ROWS=isa.ROWS_ANY)
    elif kind == "pool":
        r.update(FLAGS=isa.FLAG_POOL, OUT_W=1, OUT_ROWS=1, KH=draw(1, 20))
    r["W_TILE"] = 0 if kind in ("add", "pool") else r["KH"] * r["KW"]
    r["OUT_VECS"] = 1 if kind == "pool" else -(-r["OUT_W"] // 4) + (draw(0, 3) == 0)
    r["OUT_CH"] = r["OUT_VECS"]
    r["OUT_ROW"] = r["OUT_VECS"] * cout
    return r


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["depthwise", "add", "pool"])
def test_vector_equal(kind, seed):
    rng = np.random.default_rng([seed, *kind.encode()])
    abuf = rng.integers(-32768, 32768, (DEPTH, BATCH, 4)).astype(np.int16)
    vbuf = rng.integers(-32768, 32768, (64, 4)).astype(np.int16)
    records = [isa_model.pack_param(int(rng.integers(32768, 65536)), int(rng.integers(10, 26)),
                                    int(rng.integers(-2**30, 2**30))) for _ in range(64)]
    pbuf = np.array(records, np.uint64).view(np.int16).reshape(-1, 4)
    for _ in range(4):
        r = vector_registers(rng, kind)
        expected = []
        for image in range(BATCH):
            one = abuf[:, image].tolist()
            isa_model.vector(one, vbuf.tolist(), records, r)
            expected.append(one)
        vector(flat := abuf.reshape(DEPTH, -1).copy(), vbuf, pbuf, r)
        np.testing.assert_array_equal(flat.reshape(abuf.shape), np.stack(expected, axis=1), str(r))


@pytest.mark.parametrize("array, columns", [("pot3", 32), ("pot4", 8), ("apot4", 24)])
def test_codes(array, columns):
    arch = Arch(columns, array=array)
    rng = np.random.default_rng(columns)
    abuf = rng.integers(-32768, 32768, (DEPTH, 4)).astype(np.int16)
    wbuf = rng.integers(0, 256, (64, arch.wbuf_lanes)).astype(np.int16)
    weights = unpack_words(wbuf.astype(np.uint8), arch.weight_format).T.tolist()
    records = [isa_model.pack_param(int(rng.integers(32768, 65536)), int(rng.integers(2, 12)),
                                    int(rng.integers(-2**20, 2**20))) for _ in range(64)]
    pbuf = np.array(records, np.uint64).view(np.int16).reshape(-1, 4)
    for _ in range(12):
        r = registers(rng, "dense") | {"COUT": int(rng.integers(1, 40)),
                                       "W_STEP": int(rng.integers(4))}
        r["OUT_ROW"] = r["OUT_VECS"] * r["COUT"]
        expected, got = abuf.tolist(), abuf.copy()
        isa_model.compute(expected, weights, records, r, columns)
        compute(got, wbuf, pbuf, r, arch)
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(ValueError, match=f"FLAGS = 1: array {array} does dense"):
        compute(abuf, wbuf, pbuf, r | {"FLAGS": isa.FLAG_DEPTHWISE}, arch)
