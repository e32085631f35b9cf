"""COMPUTE and VECTOR of spec/isa.py on arrays: the golden model's arithmetic.

ABUF is held as int16 (depth, batch * 4): one row a vector address, a vector of every image of the
batch side by side, so that a gather over addresses is already the (reduction, pixels) matrix that
BLAS wants. Products of int16 summed in float64 are exact below 2^53, far above ACC_BITS.
"""

import numpy as np

from ..spec import isa
from ..spec.formats import LANES
from .codecs.stored import unpack_words
from .golden_kernels import ADDRESS_MASK, depthwise, requantize, vector_pool, vector_window


def _gather(abuf, address):
    """Vectors at ``address`` (any shape, int64; addresses wrap) -> (*address.shape, batch, 4)."""
    depth, width = abuf.shape
    rows = np.take(abuf, (address & ADDRESS_MASK & depth - 1).ravel(), axis=0)
    return rows.reshape(*address.shape, width // LANES, LANES)


def _weights(wbuf, r, count, arch):
    """WBUF words of all column tiles -> (COUT, count) int16; tap k of channel c."""
    channels, columns = np.arange(r["COUT"]), arch.columns
    if arch.weight_format is not None:
        tiles = np.arange(-(-r["COUT"] // columns))
        head = np.arange(arch.head_words)
        word = np.concatenate([head, len(head) + np.arange(count) * r["W_STEP"]])
        words = r["W_BASE"] + tiles[:, None] * r["W_TILE"] + word
        stored = wbuf[words & ADDRESS_MASK & len(wbuf) - 1].astype(np.uint8)
        return unpack_words(stored, arch.weight_format).reshape(-1, count)[:r["COUT"]]
    words = (r["W_BASE"] + channels[:, None] // columns * r["W_TILE"]
             + np.arange(count) * r["W_STEP"])
    return wbuf[words & ADDRESS_MASK & len(wbuf) - 1, channels[:, None] % columns]


def _vectors(abuf, r, base, ky):
    """Operands of one ky where every operand is a whole vector (KW = STRIDE = 1, no padding):
    float64 (*base.shape, OUT_ROWS, OUT_VECS, batch, 4); pixels and rows outside are zero."""
    y = np.arange(r["OUT_ROWS"])
    row = y + ky + r["ROW_OFF"]
    start = base[..., None] + (y + r["ROW_OFF"]) * r["IN_ROW"] + ky * r["KY_STEP"]
    x = np.arange(r["OUT_VECS"])
    out = _gather(abuf, start[..., None] + x).astype(np.float64)
    outside = LANES * x[:, None] + np.arange(LANES) >= r["IN_W"]
    if outside.any():
        out *= ~outside[:, None, :]
    outside = (row < 0) | (row >= r["IN_ROWS"])
    if outside.any():
        out[..., outside, :, :, :] = 0
    return out


def _pixel_rows(abuf, r, base, ky):
    """The pixels under output rows at tap ky: float64 (*base.shape, OUT_ROWS, batch, width), with
    PAD_X zeros on the left, enough on the right, and zero rows outside the tile."""
    y = np.arange(r["OUT_ROWS"])
    row = y * r["STRIDE"] + ky + r["ROW_OFF"]
    start = base[..., None] + (y * r["STRIDE"] + r["ROW_OFF"]) * r["IN_ROW"] + ky * r["KY_STEP"]
    nvec = -(-r["IN_W"] // LANES)
    vectors = np.moveaxis(_gather(abuf, start[..., None] + np.arange(nvec)), -3, -2)
    width = max((r["OUT_VECS"] * LANES - 1) * r["STRIDE"] + r["KW"],
                r["PAD_X"] + nvec * LANES)
    out = np.zeros((*vectors.shape[:-2], width))
    inner = out[..., r["PAD_X"]:r["PAD_X"] + nvec * LANES]
    inner.reshape(vectors.shape)[...] = vectors
    out[..., r["PAD_X"] + r["IN_W"]:] = 0
    outside = (row < 0) | (row >= r["IN_ROWS"])
    if outside.any():
        out[..., outside, :, :] = 0
    return out


def _tap(rows, r, kx):
    """View of the pixels of _pixel_rows under all output pixels at tap kx."""
    return rows[..., kx:kx + (r["OUT_VECS"] * LANES - 1) * r["STRIDE"] + 1:r["STRIDE"]]


def _as_vectors(pixels):
    """(..., batch, 4 * vectors) -> (..., vectors, batch, 4)."""
    pixels = pixels.reshape(*pixels.shape[:-1], -1, LANES)
    return np.ascontiguousarray(np.moveaxis(pixels, -3, -2))


def _whole_vectors(r):
    return r["KW"] == 1 and r["STRIDE"] == 1 and r["PAD_X"] == 0


def _dense(abuf, wbuf, r, arch):
    """acc of a dense convolution: (COUT, OUT_ROWS, OUT_VECS, batch, 4) float64."""
    taps = r["KH"] * r["KW"]
    base = r["IN_BASE"] + np.arange(r["CIN"]) * r["IN_CH"]
    weights = _weights(wbuf, r, r["CIN"] * taps, arch).astype(np.float64)
    if taps == 1 and _whole_vectors(r):
        operand = _vectors(abuf, r, base, 0)
        return (weights @ operand.reshape(r["CIN"], -1)).reshape(-1, *operand.shape[1:])
    rows = [_pixel_rows(abuf, r, base, ky) for ky in range(r["KH"])]
    operand = np.stack([_tap(rows[ky], r, kx) for ky in range(r["KH"]) for kx in range(r["KW"])],
                       axis=1)                      # (CIN, taps, OUT_ROWS, batch, pixels)
    acc = weights @ operand.reshape(weights.shape[1], -1)
    return _as_vectors(acc.reshape(-1, *operand.shape[2:]))


def _depthwise(abuf, wbuf, r, arch):
    """acc of a depthwise convolution or an add: int64, else as _dense."""
    weights = _weights(wbuf, r, r["CIN"] * r["KH"] * r["KW"], arch).astype(np.int64)
    acc = np.zeros((r["COUT"], r["OUT_ROWS"], r["OUT_VECS"], abuf.shape[1]), np.int64)
    depthwise(abuf, weights.reshape(r["COUT"], r["CIN"], r["KH"], r["KW"]), acc,
              *(r[name] for name in ("IN_BASE", "IN_GROUP", "IN_ROW", "IN_CH", "KY_STEP", "IN_ROWS",
                                     "IN_W", "STRIDE", "ROW_OFF", "PAD_X")))
    return acc


def _pool(abuf, wbuf, r, arch):
    """acc of a global pool; as _dense, the lane sum in lane 0."""
    y, ky, ci = np.arange(r["OUT_ROWS"]), np.arange(r["KH"]), np.arange(r["CIN"])
    group = r["IN_GROUP"] if r["FLAGS"] & isa.FLAG_DEPTHWISE else 0
    base = r["IN_BASE"] + np.arange(r["COUT"]) * group
    address = (base[:, None, None, None]
               + ((y * r["STRIDE"] + r["ROW_OFF"]) * r["IN_ROW"])[:, None, None]
               + (ky * r["KY_STEP"])[:, None] + ci * r["IN_CH"])
    vectors = _gather(abuf, address).astype(np.float64)      # (COUT, OUT_ROWS, KH, CIN, batch, 4)
    row = (y * r["STRIDE"] + r["ROW_OFF"])[:, None] + ky
    vectors[:, (row < 0) | (row >= r["IN_ROWS"])] = 0
    outside = LANES * ci[:, None] + np.arange(LANES) >= r["IN_W"]
    vectors *= ~outside[:, None, :]
    count = r["CIN"] * r["KH"] * r["KW"]
    weights = _weights(wbuf, r, count, arch).astype(np.float64)
    weights = weights.reshape(r["COUT"], r["CIN"], r["KH"], r["KW"]).sum(-1)
    acc = np.einsum("cykibl,cik->cybl", vectors, weights)[:, :, None]
    acc = np.repeat(acc, r["OUT_VECS"], axis=2)
    acc[..., 0] = acc.sum(-1)
    return acc


def unpack_params(pbuf_vectors):
    """PBUF records as raw16 vectors (n, 4) int16 -> (n, 3) int64 of m, s, b."""
    words = pbuf_vectors.astype(np.uint16).astype(np.uint64)
    record = words[:, 0] | words[:, 1] << 16 | words[:, 2] << 32 | words[:, 3] << 48
    m = record & (1 << isa.PARAM_M_BITS) - 1
    s = record >> isa.PARAM_M_BITS & (1 << isa.PARAM_S_BITS) - 1
    b = record.view(np.int64) >> (isa.PARAM_M_BITS + isa.PARAM_S_BITS)
    return np.stack([m.astype(np.int64), s.astype(np.int64), b], axis=1)


def compute(abuf, wbuf, pbuf, r, arch):
    """Execute one COMPUTE GO on ``abuf`` int16 (depth, batch*4), ``wbuf`` int16 (depth, lanes)
    and ``pbuf`` int16 (depth, 4) of an Arch, with registers ``r`` (name -> int). Writes ``abuf``.

    Raises OverflowError when an accumulator leaves ACC_BITS (the packer proves it cannot), and
    ValueError for what the arch's array cannot do.
    """
    if not all(r[n] for n in ("COUT", "OUT_ROWS", "OUT_VECS")):
        return
    if r["FLAGS"] and arch.weight_format is not None:
        raise ValueError(f"FLAGS = {r['FLAGS']}: array {arch.array} does dense convolutions only")
    kind = _pool if r["FLAGS"] & isa.FLAG_POOL else \
        _depthwise if r["FLAGS"] & isa.FLAG_DEPTHWISE else _dense
    acc = kind(abuf, wbuf, r, arch)
    _write(abuf, pbuf, r, acc)


def _write(abuf, pbuf, r, acc):
    """Requantize acc (COUT, rows, vectors, ...) into ``abuf``."""
    channels = np.arange(r["COUT"])
    params = unpack_params(pbuf[(r["P_BASE"] + channels) & len(pbuf) - 1])
    wrong = requantize(acc.reshape(*acc.shape[:3], -1), params, r["CLAMP_LO"], r["CLAMP_HI"], abuf,
                       r["OUT_BASE"], r["OUT_CH"], r["OUT_ROW"], r["OUT_W"])
    if wrong:
        raise OverflowError(f"accumulator leaves {isa.ACC_BITS} bits: {wrong}")


def vector(abuf, vbuf, pbuf, r):
    """Execute one VECTOR GO on ``abuf`` and ``pbuf`` as in compute and ``vbuf`` int16 (depth, 4);
    writes ``abuf``. OverflowError as in compute."""
    pool = bool(r["FLAGS"] & isa.FLAG_POOL)
    if not (r["COUT"] and (pool or (r["OUT_ROWS"] and r["OUT_VECS"]))):
        return
    ring = r["RING"] or ADDRESS_MASK + 1
    channels = np.arange(r["COUT"])
    taps = 1 if pool else r["KH"] * r["KW"]
    words = r["W_BASE"] + channels[:, None] // LANES * r["W_TILE"] + np.arange(taps)
    weights = vbuf[words & len(vbuf) - 1, channels[:, None] % LANES].astype(np.int64)
    rows, vectors = (1, 1) if pool else (r["OUT_ROWS"], r["OUT_VECS"])
    acc = np.zeros((r["COUT"], rows, vectors, abuf.shape[1]), np.int64)
    if pool:
        vector_pool(abuf, weights[:, 0], acc, *(r[name] for name in (
            "IN_BASE", "IN_AT")), ring, *(r[name] for name in (
                "KY_STEP", "IN_CH", "IN_ROWS", "IN_W", "KH", "ROW_OFF")))
    else:
        vector_window(abuf, weights.reshape(-1, r["KH"], r["KW"]), acc, *(r[name] for name in (
            "IN_BASE", "IN_AT")), ring, *(r[name] for name in (
                "Y_STEP", "KY_STEP", "IN_CH", "IN_ROWS", "IN_W", "STRIDE", "ROW_OFF", "PAD_X")))
    _write(abuf, pbuf, r, acc)
