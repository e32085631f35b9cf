"""Classic ZFPe: fixed-rate lossy blocks of four values, after Lim & Jun 2022 (zfp's 1-D transform).

A block is the exponent ``e``, then for each lane a flag bit and ``b`` payload bits, LSB first:

1. ``emax``: the smallest integer with ``|x| < 2^emax`` for all four (-127 when all are zero);
   ``e = emax + 127``.
2. ``i = trunc(x * 2^(30 - emax))``: block floating point, int32.
3. zfp's forward lift over the four lanes.
4. Negabinary: ``u = (i + M) ^ M``, ``M = 0xaaaaaaaa``: small magnitudes get leading zeros.
5. Top nibble of u zero: flag 0, payload = bits 27 .. 28-b. Else flag 1, bits 31 .. 32-b.

Two users share steps 3 to 5:

``ZFPeClassic`` codes float32. Subnormals count as zero; Inf and NaN are an error here, and the
hardware takes them for the largest finite value of their sign. Decoded values below 2^-126 become
0, those beyond the largest finite float32 become it.

``encode16``, ``decode16`` and ``roundtrip16`` code int16 as the numbers -32768.0 .. 32767.0 with an
8-bit exponent, the storage format ``zfpeN`` of spec/formats.py. Decoding returns
``floor(x + 1/2)``, saturated. ``e`` above 143 (numbers int16 does not have) only comes from a
corrupt stream: every lane that is not 0 then saturates by its sign.

The inverse lift wraps modulo 2^32, so that any bits decode to something defined.
"""

import numpy as np

from ...spec.formats import LANES, ZFPE_EXPONENT_BITS

MIN_PAYLOAD, MAX_PAYLOAD = 1, 19   # Up to 19 every decoded number is a float32 without rounding.
EXPONENT_BITS = (8, 9)
BIAS, TOP = 127, 30                # e = emax + BIAS; |i| < 2^TOP.
E_INT16 = BIAS + 16                # e of a block that holds -32768.

_NEGABINARY = np.uint32(0xAAAAAAAA)
_SMALL = np.uint32(1 << 28)        # Below: the top nibble is zero.
_FLOAT_MAX = float(np.finfo(np.float32).max)
_FLOAT_TINY = float(np.finfo(np.float32).tiny)
_CHUNK = 4096                      # Blocks worked on at a time: the buffers stay in a 512 KiB L2.

# Transform ----------------------------------------------------------------------------------------


def forward_lift(v, t):
    """zfp's forward lift in place: v int32 (4, n), lanes x y z w; t int32 (n,), scratch."""
    x, y, z, w = v
    x += w
    x >>= 1
    w -= x
    z += y
    z >>= 1
    y -= z
    x += z
    x >>= 1
    z -= x
    w += y
    w >>= 1
    y -= w
    w += np.right_shift(y, 1, out=t)
    y -= np.right_shift(w, 1, out=t)


def inverse_lift(v, t):
    """Inverse of forward_lift up to its lost low bits, modulo 2^32, in place; arguments alike."""
    x, y, z, w = v
    y += np.right_shift(w, 1, out=t)
    w -= np.right_shift(y, 1, out=t)
    y += w
    w += w
    w -= y
    z += x
    x += x
    x -= z
    y += z
    z += z
    z -= y
    w += x
    x += x
    x -= w


def _to_negabinary(v):
    """int32 array -> the same memory as uint32 negabinary."""
    u = v.view(np.uint32)
    u += _NEGABINARY
    u ^= _NEGABINARY
    return u


def _from_negabinary(u):
    """The inverse of _to_negabinary."""
    u ^= _NEGABINARY
    u -= _NEGABINARY
    return u.view(np.int32)


# float32 ------------------------------------------------------------------------------------------


class ZFPeClassic:
    """Reference codec for float32.

    bits: true bits per value, exponent included, 4 to 22 (``exponent_bits=8``: payload = bits - 3).
    payload: payload bits per value, 1 to 19, in place of ``bits``; the only choice for
    ``exponent_bits=9``, the layout the paper's authors use (9 + 4 * (payload + 1) bits a block).
    Raises ValueError for anything else.
    """

    def __init__(self, bits=None, exponent_bits=8, payload=None):
        if exponent_bits not in EXPONENT_BITS:
            raise ValueError(f"ZFPe exponent_bits = {exponent_bits!r}: allowed are 8 and 9")
        low, high = MIN_PAYLOAD + 3, MAX_PAYLOAD + 3
        if bits is not None and payload is not None:
            raise ValueError(f"ZFPe: bits = {bits!r} and payload = {payload!r}: give one of them")
        if payload is None:
            if exponent_bits != ZFPE_EXPONENT_BITS:
                raise ValueError("ZFPe: exponent_bits = 9 has no whole number of bits per value: "
                                 f"give payload, {MIN_PAYLOAD} to {MAX_PAYLOAD}")
            bits = 8 if bits is None else bits
            if bits not in range(low, high + 1):
                raise ValueError(f"ZFPe bits = {bits!r}: allowed are {low} to {high}")
            payload = bits - 3
        if payload not in range(MIN_PAYLOAD, MAX_PAYLOAD + 1):
            raise ValueError(f"ZFPe payload = {payload!r}: allowed are {MIN_PAYLOAD} to "
                             f"{MAX_PAYLOAD}")
        self.payload = payload
        self.exponent_bits = exponent_bits
        self.block_bits = exponent_bits + LANES * (payload + 1)

    def encode(self, x):
        """float32 array (any shape; taken flat, the last block padded with zeros) -> bytes.

        Blocks follow each other without gaps; the last byte is padded with zero bits. Raises
        ValueError on Inf, NaN and on arrays that are not float32.
        """
        x = np.asarray(x)
        if x.dtype != np.float32:
            raise ValueError(f"ZFPe encodes float32, not {x.dtype}")
        x = x.ravel()
        bad = np.flatnonzero(~np.isfinite(x))
        if len(bad):
            raise ValueError(f"ZFPe: value {bad[0]} is {x[bad[0]]}: only finite values are allowed")
        x = np.pad(x, (0, -len(x) % LANES)).view(np.uint32).reshape(-1, LANES).T.astype(np.int64)
        exponent = x >> 23 & 0xff
        significand = np.where(exponent > 0, x & 0x7fffff | 0x800000, 0)
        top = exponent.max(axis=0)
        v = significand << TOP - 24 >> np.minimum(31, top - exponent)
        v = np.where(x >> 31, -v, v).astype(np.int32)
        forward_lift(v, np.empty_like(v[0]))
        u = _to_negabinary(v)
        flag = u >= _SMALL
        payload = u >> np.where(flag, 32 - self.payload, 28 - self.payload).astype(np.uint32)
        lanes = flag | payload << np.uint32(1)
        bits = [_bits(np.where(top > 0, top + 1, 0), self.exponent_bits)]
        bits += [_bits(lane, self.payload + 1) for lane in lanes]
        return np.packbits(np.concatenate(bits, axis=1).ravel(), bitorder="little").tobytes()

    def decode(self, data, n):
        """bytes of ``encode`` -> float32 (n,). Bytes beyond the last block are ignored; ValueError
        when there are too few."""
        blocks = -(-n // LANES)
        need = -(-blocks * self.block_bits // 8)
        if len(data) < need:
            raise ValueError(f"ZFPe stream of {len(data)} bytes is truncated: {n} values take "
                             f"{need} bytes")
        bits = np.unpackbits(np.frombuffer(data, np.uint8, need), bitorder="little")
        bits = bits[:blocks * self.block_bits].reshape(blocks, self.block_bits)
        e = _number(bits[:, :self.exponent_bits])
        lanes = bits[:, self.exponent_bits:].reshape(blocks, LANES, self.payload + 1)
        shift = np.where(lanes[:, :, 0], 32 - self.payload, 28 - self.payload)
        u = (_number(lanes[:, :, 1:]) << shift).astype(np.uint32)
        v = _from_negabinary(np.ascontiguousarray(u.T))
        inverse_lift(v, np.empty_like(v[0]))
        x = np.ldexp(v.T.astype(np.float64), (e - (BIAS + TOP))[:, None])
        x[np.abs(x) < _FLOAT_TINY] = 0
        return np.clip(x, -_FLOAT_MAX, _FLOAT_MAX).astype(np.float32).ravel()[:n]


def _bits(values, width):
    """(n,) integers -> (n, width) bits, LSB first."""
    return (values[:, None] >> np.arange(width).astype(values.dtype) & 1).astype(np.uint8)


def _number(bits):
    """Bits (..., width), LSB first -> int64 (...)."""
    return bits.astype(np.int64) @ (1 << np.arange(bits.shape[-1], dtype=np.int64))


# int16 --------------------------------------------------------------------------------------------


class _Work:
    """Buffers of one chunk: int32 (4, n) and what goes with it."""

    def __init__(self, n):
        self.v = np.empty((LANES, n), np.int32)
        self.a = np.empty((LANES, n), np.int32)
        self.t = np.empty(n, np.int32)
        self.f = np.empty(n, np.float32)
        self.e = np.empty(n, np.int32)
        self.small = np.empty((LANES, n), bool)

    def cut(self, n):
        """The same buffers for n blocks, n at most that of the whole."""
        if n == self.v.shape[1]:
            return self
        return _Work(n)


def _analyse(q, w):
    """Steps 1 to 4: q int16 (n, 4) -> w.e and the negabinary in w.v (uint32 view returned)."""
    v, a, t, f, e = w.v, w.a, w.t, w.f, w.e
    v[...] = q.T
    np.abs(v, out=a)
    # A number's bit length is the exponent of its float32: exact below 2^24.
    np.bitwise_or(a[0], a[1], out=t)
    t |= a[2]
    t |= a[3]
    f[...] = t
    np.right_shift(f.view(np.int32), 23, out=e)   # emax + 126; 0 when all are zero.
    # q * 2^(30 - emax), the power built as a float32 as well (any power does for zeros).
    np.subtract(2 * 127 + TOP - 1, e, out=t)
    t <<= 23
    t[e == 0] = 127 << 23
    v *= t.view(np.float32).astype(np.int32)
    e += e != 0                                   # e = emax + 127, or 0.
    forward_lift(v, t)
    return _to_negabinary(v)


def _synthesise(w, out):
    """From (truncated) negabinary in w.v and exponents in w.e to out int16 (n, 4)."""
    v, t, e = _from_negabinary(w.v.view(np.uint32)), w.t, w.e
    inverse_lift(v, t)
    # i is a multiple of 2^13 (payload <= 13), so i, i * 2^(emax - 30) and that + 1/2 are exact in
    # float32 for emax 0 .. 16. Below, |x| < 1/2 but for x = -1/2, and floor gives 0; above, the
    # factor 2^30 saturates all but zeros.
    np.subtract(e, TOP, out=t)
    np.maximum(t, 1, out=t)
    t[e > E_INT16] = BIAS + 30
    t <<= 23
    x = w.a.view(np.float32)
    x[...] = v
    x *= t.view(np.float32)
    x += np.float32(0.5)
    np.floor(x, out=x)
    np.clip(x, -32768, 32767, out=x)
    out[...] = x.T


def _truncate(w, payload):
    """Keep of w.v's negabinary what the payload bits hold."""
    u = w.v.view(np.uint32)
    mask = w.a.view(np.uint32)
    np.less(u, _SMALL, out=w.small)
    large, small = -1 << 32 - payload, -1 << 28 - payload
    np.multiply(w.small, np.uint32(small & ~large & 0xffffffff), out=mask)
    mask |= np.uint32(large & 0xffffffff)
    u &= mask


def roundtrip16(q, bits):
    """decode16(encode16(q, bits), bits): q int16 (n, 4) -> int16 (n, 4)."""
    out = np.empty(q.shape, np.int16)
    whole = _Work(min(_CHUNK, len(q)))
    for i in range(0, len(q), _CHUNK):
        piece = q[i:i + _CHUNK]
        w = whole.cut(len(piece))
        _analyse(piece, w)
        _truncate(w, bits - 3)
        _synthesise(w, out[i:i + _CHUNK])
    return out


def encode16(q, bits):
    """q int16 (n, 4) -> blocks uint64 (n,), 4 * bits bits each; bits 4 .. 16."""
    payload = bits - 3
    out = np.empty(len(q), np.uint64)
    whole = _Work(min(_CHUNK, len(q)))
    for i in range(0, len(q), _CHUNK):
        piece = q[i:i + _CHUNK]
        w = whole.cut(len(piece))
        u = _analyse(piece, w)
        np.greater_equal(u, _SMALL, out=w.small)                 # The flags.
        u >>= np.uint32(28 - payload) + w.small.astype(np.uint32) * np.uint32(4)
        u <<= np.uint32(1)
        u |= w.small
        block = out[i:i + _CHUNK]
        block[...] = w.e
        for lane in range(LANES):
            block |= u[lane].astype(np.uint64) << np.uint64(8 + lane * (payload + 1))
    return out


def decode16(blocks, bits):
    """blocks uint64 (n,) -> int16 (n, 4); bits beyond 4 * bits are ignored."""
    payload = bits - 3
    out = np.empty((len(blocks), LANES), np.int16)
    whole = _Work(min(_CHUNK, len(blocks)))
    mask = np.uint32((1 << payload) - 1)
    for i in range(0, len(blocks), _CHUNK):
        block = blocks[i:i + _CHUNK]
        w = whole.cut(len(block))
        u = w.v.view(np.uint32)
        w.e[...] = block & np.uint64(0xff)
        for lane in range(LANES):
            u[lane] = block >> np.uint64(8 + lane * (payload + 1)) & np.uint64(0xffffffff)
        shift = np.uint32(28 - payload) + (u & np.uint32(1)) * np.uint32(4)
        u >>= np.uint32(1)
        u &= mask
        u <<= shift
        _synthesise(w, out[i:i + _CHUNK])
    return out
