"""Improved ZFPe of float32 arrays: 16-bit fixed point below one exponent for the whole array."""

import numpy as np

from ...spec.formats import (
    LANES,
    VALUE_BITS,
    WORD_BYTES,
    ZFPI_KINDS,
    ZFPI_MAX_BITS,
    ZFPI_MIN_BITS,
    Format,
)
from .block import decode_blocks, encode_blocks

HEAD_BYTES = 2   # The array's exponent, int16 little endian.


class ZFPeImproved:
    """Reference codec for float32.

    bits: bits per value, 4 to 15, block heads included. exponent_bits: of a block, 3, or 2 for
    arrays whose blocks are alike in size (weights). signed: False for arrays that are never
    negative, which then gain a bit. Raises ValueError for anything else.
    """

    def __init__(self, bits=None, exponent_bits=3, signed=True):
        bits = 8 if bits is None else bits
        if bits not in range(ZFPI_MIN_BITS, ZFPI_MAX_BITS + 1):
            raise ValueError(f"ZFPe improved: bits = {bits!r}: allowed are {ZFPI_MIN_BITS} to "
                             f"{ZFPI_MAX_BITS}")
        if exponent_bits not in (2, 3):
            raise ValueError(f"ZFPe improved: exponent_bits = {exponent_bits!r}: allowed are 2 and "
                             f"3")
        kinds = {value: kind for kind, value in ZFPI_KINDS.items()}
        self.format = Format(kinds[exponent_bits, not signed], bits)

    def encode(self, x):
        """float32 array (any shape; taken flat, the last block padded with zeros) -> bytes.

        The array's exponent (the smallest with |x| < 2^exponent for all), then blocks without gaps,
        padded with zero bits to a byte. ValueError: Inf, NaN, negative values in an unsigned
        codec, arrays that are not float32.
        """
        x = np.asarray(x)
        if x.dtype != np.float32:
            raise ValueError(f"ZFPe encodes float32, not {x.dtype}")
        x = x.ravel().astype(np.float64)
        low = -np.inf if self.format.range[0] else 0
        bad = np.flatnonzero(~np.isfinite(x) | (x < low))
        if len(bad):
            raise ValueError(f"ZFPe: value {bad[0]} is {x[bad[0]]}: only finite values are allowed"
                             + ("" if low else ", not below 0"))
        exponent = int(np.frexp(np.abs(x).max(initial=0))[1])
        q = np.floor(np.ldexp(x, VALUE_BITS - 1 - exponent) + 0.5).clip(-32768, 32767)
        q = np.pad(q.astype(np.int16), (0, -len(x) % LANES)).reshape(-1, LANES)
        size = -(-len(q) * self.format.block_bits // 8)
        return exponent.to_bytes(HEAD_BYTES, "little", signed=True) \
            + encode_blocks(q, self.format).tobytes()[:size]

    def decode(self, data, n):
        """bytes of ``encode`` -> float32 (n,). Bytes beyond the last block are ignored; ValueError
        when there are too few, or when the exponent is not one of a float32."""
        blocks = -(-n // LANES)
        need = HEAD_BYTES + -(-blocks * self.format.block_bits // 8)
        if len(data) < need:
            raise ValueError(f"ZFPe stream of {len(data)} bytes is truncated: {n} values take "
                             f"{need} bytes")
        exponent = int.from_bytes(data[:HEAD_BYTES], "little", signed=True)
        if not -148 <= exponent <= 128:
            raise ValueError(f"ZFPe: exponent = {exponent}: allowed are -148 to 128")
        body = data[HEAD_BYTES:need]
        words = WORD_BYTES * self.format.run_words(blocks)
        q = decode_blocks(body.ljust(words, b"\0"), self.format, blocks)
        return np.ldexp(q.ravel()[:n].astype(np.float64),
                        exponent - VALUE_BITS + 1).astype(np.float32)
