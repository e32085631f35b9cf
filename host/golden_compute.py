"""COMPUTE of spec/isa.py on arrays: the golden model's arithmetic.

ABUF is held as int16 (depth, batch * 4): one row a vector address, a vector of every image of the
batch side by side, so that a gather over addresses is already the (reduction, pixels) matrix that
BLAS wants. Products of int16 summed in float64 are exact below 2^53, far above ACC_BITS.
"""

import numpy as np

from ..spec import isa
from ..spec.formats import LANES

ADDRESS_MASK = 0xffff


def _gather(abuf, address):
    """Vectors at ``address`` (any shape, int64; addresses wrap) -> (*address.shape, batch, 4)."""
    depth, width = abuf.shape
    rows = np.take(abuf, (address & ADDRESS_MASK & depth - 1).ravel(), axis=0)
    return rows.reshape(*address.shape, width // LANES, LANES)


def _weights(wbuf, r, count, columns):
    """WBUF words of all column tiles -> (COUT, count) int16; tap k of channel c."""
    channels = np.arange(r["COUT"])
    words = (r["W_BASE"] + channels[:, None] // columns * r["W_TILE"]
             + np.arange(count) * r["W_STEP"])
    return wbuf[words & ADDRESS_MASK & len(wbuf) - 1, channels[:, None] % columns]


def _pixels(vectors, width):
    """(..., nvec, batch, 4) -> (..., batch, width): a row's pixels side by side."""
    *lead, nvec, batch, lanes = vectors.shape
    pixels = np.moveaxis(vectors, -3, -2).reshape(*lead, batch, nvec * lanes)
    return pixels[..., :width]


def _windows(abuf, r, base, ky):
    """Operands of one ky: float64 (*base.shape, OUT_ROWS, KW, OUT_VECS, batch, 4), with pixels and
    rows outside the tile as zero."""
    y = np.arange(r["OUT_ROWS"])
    row = y * r["STRIDE"] + ky + r["ROW_OFF"]
    valid = (row >= 0) & (row < r["IN_ROWS"])
    nvec = -(-r["IN_W"] // LANES)
    start = base[..., None] + (y * r["STRIDE"] + r["ROW_OFF"]) * r["IN_ROW"] + ky * r["KY_STEP"]
    vectors = _gather(abuf, start[..., None] + np.arange(nvec))
    plain = r["KW"] == 1 and r["STRIDE"] == 1 and r["PAD_X"] == 0 and nvec == r["OUT_VECS"]
    if plain:
        out = vectors.astype(np.float64)
        if r["IN_W"] % LANES:
            out[..., -1, :, r["IN_W"] % LANES:] = 0
        out = out[..., None, :, :, :]
    else:
        pixels = _pixels(vectors, r["IN_W"])
        batch = pixels.shape[-2]
        need = (r["OUT_VECS"] * LANES - 1) * r["STRIDE"] + r["KW"]
        padded = np.zeros((*pixels.shape[:-1], max(need, r["PAD_X"] + r["IN_W"])))
        padded[..., r["PAD_X"]:r["PAD_X"] + r["IN_W"]] = pixels
        out = np.empty((*start.shape, r["KW"], r["OUT_VECS"], batch, LANES))
        last = (r["OUT_VECS"] * LANES - 1) * r["STRIDE"] + 1
        for kx in range(r["KW"]):
            taken = padded[..., kx:kx + last:r["STRIDE"]]
            taken = taken.reshape(*taken.shape[:-1], r["OUT_VECS"], LANES)
            out[..., kx, :, :, :] = np.moveaxis(taken, -3, -2)
    if not valid.all():
        out[..., ~valid, :, :, :, :] = 0
    return out


def _dense(abuf, wbuf, r, columns):
    """acc of a dense convolution: (COUT, OUT_ROWS, OUT_VECS, batch, 4) float64."""
    taps = r["KH"] * r["KW"]
    base = r["IN_BASE"] + np.arange(r["CIN"]) * r["IN_CH"]
    weights = _weights(wbuf, r, r["CIN"] * taps, columns).astype(np.float64)
    if taps == 1:
        operand = _windows(abuf, r, base, 0)[:, :, 0]
    else:
        operand = np.stack([_windows(abuf, r, base, ky) for ky in range(r["KH"])], axis=1)
        operand = np.moveaxis(operand, 3, 2)      # (CIN, KH, KW, OUT_ROWS, OUT_VECS, batch, 4)
    shape = operand.shape[-4:]
    return (weights @ operand.reshape(weights.shape[1], -1)).reshape(r["COUT"], *shape)


def _depthwise(abuf, wbuf, r, columns):
    """acc of a depthwise convolution or an add; as _dense."""
    base = r["IN_BASE"] + np.arange(r["COUT"]) * r["IN_GROUP"]
    count = r["CIN"] * r["KH"] * r["KW"]
    weights = _weights(wbuf, r, count, columns).astype(np.float64)
    weights = weights.reshape(r["COUT"], r["CIN"], r["KH"], r["KW"])
    acc = 0
    for ci in range(r["CIN"]):
        for ky in range(r["KH"]):
            operand = _windows(abuf, r, base + ci * r["IN_CH"], ky)
            for kx in range(r["KW"]):
                acc = acc + operand[:, :, kx] * weights[:, ci, ky, kx, None, None, None, None]
    return acc


def _pool(abuf, wbuf, r, columns):
    """acc of a global pool; as _dense, the lane sum in lane 0."""
    y, ky, ci = np.arange(r["OUT_ROWS"]), np.arange(r["KH"]), np.arange(r["CIN"])
    base = r["IN_BASE"] + np.arange(r["COUT"]) * r["IN_GROUP"]
    address = (base[:, None, None, None]
               + ((y * r["STRIDE"] + r["ROW_OFF"]) * r["IN_ROW"])[:, None, None]
               + (ky * r["KY_STEP"])[:, None] + ci * r["IN_CH"])
    vectors = _gather(abuf, address).astype(np.float64)      # (COUT, OUT_ROWS, KH, CIN, batch, 4)
    row = (y * r["STRIDE"] + r["ROW_OFF"])[:, None] + ky
    vectors[:, (row < 0) | (row >= r["IN_ROWS"])] = 0
    outside = LANES * ci[:, None] + np.arange(LANES) >= r["IN_W"]
    vectors *= ~outside[:, None, :]
    count = r["CIN"] * r["KH"] * r["KW"]
    weights = _weights(wbuf, r, count, columns).astype(np.float64)
    weights = weights.reshape(r["COUT"], r["CIN"], r["KH"], r["KW"]).sum(-1)
    acc = np.einsum("cykibl,cik->cybl", vectors, weights)[:, :, None]
    acc = np.repeat(acc, r["OUT_VECS"], axis=2)
    acc[..., 0] = acc.sum(-1)
    return acc


def _requantize(acc, params, lo, hi):
    """acc float64 (COUT, ...) -> int16, by params (COUT, 3) int64 of m, s, b."""
    m, s, b = (params[:, i].reshape(-1, *[1] * (acc.ndim - 1)) for i in range(3))
    out = acc.astype(np.int64)
    out *= m
    out >>= isa.PARAM_M_BITS
    out += b
    out >>= s
    return np.clip(out, lo, hi, out=out).astype(np.int16)


def unpack_params(pbuf_vectors):
    """PBUF records as raw16 vectors (n, 4) int16 -> (n, 3) int64 of m, s, b."""
    words = pbuf_vectors.astype(np.uint16).astype(np.uint64)
    record = words[:, 0] | words[:, 1] << 16 | words[:, 2] << 32 | words[:, 3] << 48
    m = record & (1 << isa.PARAM_M_BITS) - 1
    s = record >> isa.PARAM_M_BITS & (1 << isa.PARAM_S_BITS) - 1
    b = record.view(np.int64) >> (isa.PARAM_M_BITS + isa.PARAM_S_BITS)
    return np.stack([m.astype(np.int64), s.astype(np.int64), b], axis=1)


def compute(abuf, wbuf, pbuf, r, columns):
    """Execute one COMPUTE GO on ``abuf`` int16 (depth, batch*4), ``wbuf`` int16 (depth, columns)
    and ``pbuf`` int16 (depth, 4), with registers ``r`` (name -> int). Writes ``abuf``.

    Raises OverflowError when an accumulator leaves ACC_BITS (the packer proves it cannot).
    """
    if not all(r[n] for n in ("COUT", "OUT_ROWS", "OUT_VECS")):
        return
    kind = _pool if r["FLAGS"] & isa.FLAG_POOL else \
        _depthwise if r["FLAGS"] & isa.FLAG_DEPTHWISE else _dense
    acc = kind(abuf, wbuf, r, columns)
    limit = 2.0 ** (isa.ACC_BITS - 1)
    if acc.max() >= limit or acc.min() < -limit:
        raise OverflowError(f"accumulator leaves {isa.ACC_BITS} bits: {acc.min()} .. {acc.max()}")
    channels = np.arange(r["COUT"])
    params = unpack_params(pbuf[(r["P_BASE"] + channels) & len(pbuf) - 1])
    out = _requantize(acc, params, r["CLAMP_LO"], r["CLAMP_HI"])
    tail = r["OUT_W"] - LANES * (r["OUT_VECS"] - 1)
    if 0 < tail < LANES:
        out[:, :, -1, :, tail:] = out[:, :, -1, :, tail - 1:tail]
    y, x = np.arange(r["OUT_ROWS"]), np.arange(r["OUT_VECS"])
    address = (r["OUT_BASE"] + channels[:, None, None] * r["OUT_CH"]
               + y[:, None] * r["OUT_ROW"] + x)
    abuf[(address & ADDRESS_MASK & len(abuf) - 1).ravel()] = out.reshape(address.size, -1)
