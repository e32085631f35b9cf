"""Delta-compressed weights: a reference and narrow differences from it (Federl et al., 2026).

Improved mode, what LitePress deploys. A row is the weights of one output neuron or channel; it has
an 8-bit signed reference r, a 3-bit offset o and one delta d of 2 to 6 bits (two's complement) a
tap, and its integer weights are

    fixed          w[i] = r + (d[i] << o)
    consecutive    w[i] = w[i-1] + (d[i] << o),  w[-1] = r

The layout is, row after row without gaps, LSB first: r (8 bits), o (3 bits), taps x d; zero bits
fill the last byte. With ``offset`` given, o is one for the whole layer and not in the stream.

Encoding a row q takes the r and o of least squared error, of equals the smallest o, then the r
nearest to the row's mean. All o that may be stored are tried, and of references

* fixed: all 256, from the mean outwards; the sum of squares is left as soon as it exceeds the best;
* consecutive: of each class modulo 2^o, on which alone w[i] depends while nothing is clipped, the
  one nearest to q[0].

d = clip((q - p + 2^(o-1)) >> o), p what is added to; consecutive: p is the *decoded* weight before
(closed loop), so errors do not add up.

No weight needs a clamp to int16. Fixed: |w| <= 128 + (2^5 << 7) = 4224. Consecutive: q may be what
fixed could be, and w[i] is within 2^(o-1) of q[i] or, where d was clipped, between w[i-1] and q[i];
so all w lie within 2^(o-1) <= 64 of the range of q and r. A stream that no encoder made can leave
int16, and is refused.

Paper mode is the method as published, see ``paper_compress``.
"""

import numpy as np
from numba import njit

from ...spec.formats import REFERENCE_BITS

REFERENCES = ("fixed", "consecutive")
MODES = ("improved", "paper")
OFFSET_BITS = 3
MIN_BITS, MAX_BITS = 2, 6
R_LOW, R_HIGH = -(1 << REFERENCE_BITS - 1), (1 << REFERENCE_BITS - 1) - 1
OFFSETS = 1 << OFFSET_BITS


class Delta:
    """Codec of integer weights (rows, taps). ``bits``: of a delta, 2 to 6; ``reference``: "fixed"
    or "consecutive"; ``mode``: "improved" or "paper". ``offset``: 0 to 7, one for the layer;
    improved: None, the default, stores one for each row; paper: 0 is the default. ``clamp``: paper
    mode's. ValueError: anything else."""

    def __init__(self, bits=4, reference="fixed", mode="improved", offset=None, clamp=True):
        if bits not in range(MIN_BITS, MAX_BITS + 1):
            raise ValueError(f"Delta bits = {bits!r}: allowed are {MIN_BITS} to {MAX_BITS}")
        _one_of("Delta reference", reference, REFERENCES)
        _one_of("Delta mode", mode, MODES)
        if offset is not None and offset not in range(OFFSETS):
            raise ValueError(f"Delta offset = {offset!r}: allowed are 0 to {OFFSETS - 1}, or None")
        self.bits, self.reference, self.mode, self.clamp = bits, reference, mode, clamp
        self.offset = 0 if offset is None and mode == "paper" else offset

    @property
    def range(self):
        """(lowest, highest) integer that may be encoded."""
        if self.mode == "paper":
            return R_LOW, R_HIGH
        o = OFFSETS - 1 if self.offset is None else self.offset
        return R_LOW - (1 << self.bits - 1 + o), R_HIGH + ((1 << self.bits - 1) - 1 << o)

    def storage_bits(self, rows, taps):
        """Bits of a layer: every delta, every reference and every offset, a layer's own included
        (3 bits that are not in the stream). Paper mode: see paper_needed_bits."""
        if self.mode == "paper":
            return paper_needed_bits(rows * taps, self.bits, self.offset, self.clamp)
        return self._stream_bits(rows, taps) + (OFFSET_BITS if self.offset is not None else 0)

    def fit(self, q):
        """q: integers (rows, taps) -> (r int16 (rows,), o uint8 (rows,), d int8 (rows, taps)), of
        least squared error. ValueError: wrong type, shape or range. Improved mode only."""
        self._improved("fit")
        q = self._weights(q)
        offsets = np.arange(OFFSETS) if self.offset is None else np.array([self.offset])
        search = fit_fixed if self.reference == "fixed" else _fit_consecutive
        r, o = search(q, offsets, self.bits)
        return r, o, self.quantize(q, r, o)

    def quantize(self, q, r, o):
        """The deltas int8 (rows, taps) of q, integers (rows, taps), for given r and o (rows,)."""
        self._improved("quantize")
        return quantize_rows(self._weights(q), r, o, self.bits, self.reference == "consecutive")

    def values(self, r, o, d):
        """The weights int16 (rows, taps) of r (rows,), o (rows,) and d (rows, taps). ValueError: a
        weight outside int16, which no encoder makes."""
        self._improved("values")
        w = np.asarray(d, np.int64) << np.asarray(o, np.int64)[:, None]
        if self.reference == "consecutive":
            w = np.cumsum(w, axis=1)
        w += np.asarray(r, np.int64)[:, None]
        if w.size and (w.min() < -32768 or w.max() > 32767):
            raise ValueError(f"Delta stream: weights {w.min()} to {w.max()}: allowed are -32768 to "
                             f"32767")
        return w.astype(np.int16)

    def encode(self, q):
        """q: integers (rows, taps) -> bytes. ValueError: wrong type, shape or range."""
        if self.mode == "paper":
            d = paper_compress(self._weights(q).ravel(), self.bits, self.offset, self.reference,
                               self.clamp)
            shift, width = self._paper_field()
            return _pack(np.concatenate([_bits(d[:1], REFERENCE_BITS).ravel(),
                                         _bits(d[1:] >> shift, width).ravel()]))
        r, o, d = self.fit(q)
        fields = [_bits(r, REFERENCE_BITS)]
        if self.offset is None:
            fields.append(_bits(o, OFFSET_BITS))
        fields.append(_bits(d.ravel(), self.bits).reshape(len(d), -1))
        return _pack(np.concatenate(fields, axis=1).ravel())

    def decode(self, data, rows, taps):
        """bytes -> int16 (rows, taps). ValueError: wrong length, bits that are not zero behind the
        last delta, or a weight outside int16."""
        if rows < 1 or taps < 1:
            raise ValueError(f"Delta rows = {rows}, taps = {taps}: allowed are 1 and more")
        total = paper_needed_bits(rows * taps, self.bits, self.offset, self.clamp) \
            if self.mode == "paper" else self._stream_bits(rows, taps)
        data = np.frombuffer(data, np.uint8)
        if len(data) != -(-total // 8):
            raise ValueError(f"Delta stream of {len(data)} bytes: {rows} x {taps} weights of "
                             f"{self.bits} bits take {-(-total // 8)}")
        bits = np.unpackbits(data, bitorder="little")
        if bits[total:].any():
            raise ValueError("Delta stream: the bits behind the last delta are not zero")
        bits = bits[:total]
        if self.mode == "paper":
            shift, width = self._paper_field()
            d = np.concatenate([_signed(bits[:REFERENCE_BITS], 1, REFERENCE_BITS),
                                _signed(bits[REFERENCE_BITS:], rows * taps - 1, width) << shift])
            return paper_inflate(d, self.reference).reshape(rows, taps)
        bits = bits.reshape(rows, -1)
        head = REFERENCE_BITS
        r = _signed(bits[:, :head], rows, REFERENCE_BITS)
        if self.offset is None:
            o = bits[:, head:head + OFFSET_BITS] @ (1 << np.arange(OFFSET_BITS))
            head += OFFSET_BITS
        else:
            o = np.full(rows, self.offset)
        return self.values(r, o, _signed(bits[:, head:], rows * taps, self.bits).reshape(rows, -1))

    def _stream_bits(self, rows, taps):
        head = REFERENCE_BITS + (OFFSET_BITS if self.offset is None else 0)
        return rows * (head + taps * self.bits)

    def _paper_field(self):
        """(shift of a stored delta, bits it takes): the low bits are there only with clamping."""
        return (0, self.bits + self.offset) if self.clamp else (self.offset, self.bits)

    def _improved(self, what):
        if self.mode != "improved":
            raise ValueError(f"Delta mode {self.mode!r} has no {what}: allowed is 'improved'")

    def _weights(self, q):
        q = np.asarray(q)
        if q.dtype.kind not in "iu" or q.ndim != 2 or 0 in q.shape:
            raise ValueError(f"Delta weights of {q.dtype} {q.shape}: allowed are integers "
                             f"(rows, taps)")
        low, high = self.range
        if q.min() < low or q.max() > high:
            raise ValueError(f"Delta weights {q.min()} to {q.max()}: allowed with {self.bits} bits "
                             f"are {low} to {high}")
        return np.ascontiguousarray(q, np.int32)


def paper_clip(d, bits, offset, clamp=True):
    """The paper's narrowing of differences d, integers of any shape -> int16, with sign(0) = +1:

    clamp       sign(d) * clamp(|d|, 2^offset if offset > 0 else 0, 2^(bits-1+offset) - 1)
    no clamp    sign(d) * (|d| & the mask of bits offset .. offset+bits-2)

    With clamp and offset > 0 the low ``offset`` bits stay, so that the result takes
    2^(bits+offset) - 2^(offset+1) values: 4 bits with offset 2 take 56, which 4 bits cannot hold.
    """
    d = np.asarray(d, np.int64)
    sign, size = np.where(d < 0, -1, 1), np.abs(d)
    if clamp:
        size = np.clip(size, 1 << offset if offset else 0, (1 << bits - 1 + offset) - 1)
    else:
        size = size & (1 << bits - 1) - 1 << offset
    return (sign * size).astype(np.int16)


def paper_compress(q, bits, offset=0, reference="fixed", clamp=True):
    """A layer as the paper compresses it: q, integers of 8 bits, flattened -> int16 (n,), q[0] and
    then paper_clip(q[i] - q[0]), or (q[i] - q[i-1]) with ``reference`` "consecutive", open loop:
    what clipping loses is lost for all weights behind. ValueError: wrong type or range."""
    q = np.asarray(q)
    _one_of("reference", reference, REFERENCES)
    if q.dtype.kind not in "iu" or not q.size or q.min() < R_LOW or q.max() > R_HIGH:
        raise ValueError(f"weights of {q.dtype}, {q.size} of them: allowed are integers from "
                         f"{R_LOW} to {R_HIGH}, one and more")
    q = q.ravel().astype(np.int16)
    d = q[1:] - (q[0] if reference == "fixed" else q[:-1])
    return np.concatenate([q[:1], paper_clip(d, bits, offset, clamp)])


def paper_inflate(d, reference="fixed"):
    """What paper_compress gave -> int16 (n,) weights, clamped to 8 bits at the end."""
    _one_of("reference", reference, REFERENCES)
    d = np.asarray(d, np.int64)
    w = np.concatenate([d[:1], d[0] + d[1:]]) if reference == "fixed" else np.cumsum(d)
    return np.clip(w, R_LOW, R_HIGH).astype(np.int16)


def paper_claimed_bits(n, bits):
    """Bits of n weights as the paper counts: 8 for the reference, ``bits`` for every delta."""
    return REFERENCE_BITS + (n - 1) * bits


def paper_needed_bits(n, bits, offset=0, clamp=True):
    """Bits of n weights in two's complement fields that hold every value paper_clip returns: with
    clamp a delta takes bits + offset. The offset is the network's: neither count includes it."""
    return REFERENCE_BITS + (n - 1) * (bits + offset if clamp else bits)


def quantize_rows(q, r, o, bits, consecutive=False):
    """The deltas int8 (rows, taps) of q int32 (rows, taps), whatever its range, for r and o
    (rows,)."""
    d = np.empty(q.shape, np.int8)
    _quantize(q, np.asarray(r, np.int32), np.asarray(o, np.int32), bits, consecutive, d)
    return d


def _one_of(name, value, allowed):
    if value not in allowed:
        raise ValueError(f"{name} {value!r}: allowed are {', '.join(allowed)}")


def _bits(values, width):
    """integers (n,) -> uint8 (n, width), LSB first."""
    return (np.asarray(values, np.int64)[:, None] >> np.arange(width) & 1).astype(np.uint8)


def _pack(bits):
    return np.packbits(bits, bitorder="little").tobytes()


def _signed(bits, n, width):
    """n * width bits, LSB first -> int64 (n,), two's complement."""
    values = bits.reshape(n, width).astype(np.int64) @ (1 << np.arange(width))
    return values - (values >> width - 1 << width)


@njit(cache=True)
def _delta(x, o, low):
    """The delta nearest to x / 2^o, halves upwards; low: the lowest there is."""
    return min(max((x + (1 << o >> 1)) >> o, low), -low - 1)


@njit(cache=True)
def _quantize(q, r, o, bits, consecutive, d):
    low = -(1 << bits - 1)
    for row in range(q.shape[0]):
        before = r[row]
        for i in range(q.shape[1]):
            d[row, i] = _delta(q[row, i] - before, o[row], low)
            if consecutive:
                before += d[row, i] << o[row]


@njit(cache=True)
def _error_fixed(q, r, o, low, best):
    """Sum of squares, or anything not below best where it is not below best."""
    total = np.int64(0)
    for begin in range(0, len(q), 32):
        for i in range(begin, min(begin + 32, len(q))):
            x = q[i] - r
            e = x - (_delta(x, o, low) << o)
            total += np.int64(e) * e
        if total >= best:
            break
    return total


@njit(cache=True)
def _error_consecutive(q, r, o, low, best):
    total, w = np.int64(0), r
    for i in range(len(q)):
        w += _delta(q[i] - w, o, low) << o
        e = q[i] - w
        total += np.int64(e) * e
        if total >= best:
            break
    return total


@njit(cache=True)
def fit_fixed(q, offsets, bits):
    """q int32 (rows, taps), whatever its range -> the r int16 (rows,) and of ``offsets`` the o
    uint8 (rows,) of least squared error; of equals, the r nearest to the row's mean."""
    rows = q.shape[0]
    r, o = np.zeros(rows, np.int16), np.zeros(rows, np.uint8)
    for row in range(rows):
        mean = min(max(int(np.rint(q[row].mean())), R_LOW), R_HIGH)
        best = np.int64(2) ** 62
        for offset in offsets:
            for k in range(2 * (R_HIGH - R_LOW) + 1):
                # The mean, 1 below, 1 above, 2 below ...
                reference = mean + (k >> 1 if k & 1 == 0 else -((k + 1) >> 1))
                if R_LOW <= reference <= R_HIGH:
                    error = _error_fixed(q[row], reference, offset, -(1 << bits - 1), best)
                    if error < best:
                        best, r[row], o[row] = error, reference, offset
    return r, o


@njit(cache=True)
def _fit_consecutive(q, offsets, bits):
    rows = q.shape[0]
    r, o = np.zeros(rows, np.int16), np.zeros(rows, np.uint8)
    for row in range(rows):
        best = np.int64(2) ** 62
        first = np.int64(q[row, 0])
        for offset in offsets:
            for phase in range(1 << offset):
                # The reference of this class nearest to the first weight.
                reference = first + ((phase + (1 << offset >> 1)) & (1 << offset) - 1) \
                    - (1 << offset >> 1)
                if reference > R_HIGH:
                    reference -= (reference - R_HIGH + (1 << offset) - 1) >> offset << offset
                if reference < R_LOW:
                    reference += (R_LOW - reference + (1 << offset) - 1) >> offset << offset
                error = _error_consecutive(q[row], reference, offset, -(1 << bits - 1), best)
                if error < best:
                    best, r[row], o[row] = error, reference, offset
    return r, o
