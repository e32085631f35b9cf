"""Reference codec EBPC: lossless, for words of 8 or 16 bits; after Cavigelli et al., JETCAS 2019.

n words become two streams, each a sequence of m-bit words that are filled from their most
significant bit, the last one padded with zero bits. As bytes, 16-bit words are little endian, as
in a segment (spec/ebpc.py).

ZNZ, all words in order: nonzero -> 1; a run of L = 1 .. 16 zeros -> 0, L - 1 in 4 bits. Longer runs
are runs of 16 and what is left.

BPC, the nonzero words in order, padded with zeros to blocks of ``block`` = n:

1. The first word of a block: m bits.
2. The n - 1 differences of neighbours, m + 1 bits each, two's complement: the only place where it
   matters whether words are signed.
3. DBP_k, k = 0 .. m: bit k of every difference, the first difference in the most significant bit.
   DBX_0 = DBP_0, DBX_k = DBP_k ^ DBP_(k-1).
4. One symbol for every DBX from k = 0 on, the first that fits:

   ==============================================  ================================================
   a run of DBX = 0, as long as it is in a block   1: ``01``; r = 2 .. m + 1: ``001``, r - 2 in
                                                   log2(m) bits
   DBX all ones                                    ``00000``
   DBP = 0                                         ``00001``
   two ones, adjacent                              ``00010``, position of the first in log2(n) bits
   one 1                                           ``00011``, position in log2(n) bits
   otherwise                                       ``1``, DBX
   ==============================================  ================================================

   Positions count from the most significant bit.

A decoder needs the streams and n. It adds up differences modulo 2^m, so that plane m is redundant;
this one reads it and does not look at it. Streams that no encoder makes but that decode to n words
(a run in two symbols, a word that turns out to be 0) are decoded; everything else is an error.
"""

import numpy as np

from ...spec.ebpc import (
    ALL_ONES,
    MAX_ZERO_RUN,
    ONE_ONE,
    RAW_PLANE,
    TWO_ONES,
    ZERO_DBP,
    ZERO_PLANE,
    ZERO_PLANES,
    ZERO_RUN_BITS,
)
from .ebpc_lockstep import RESET, rebuild
from .ebpc_many import check_code, check_values, encode_many, pattern, sizes_many


class EBPC:
    """The codec of words of ``word`` bits (8, 16) in blocks of ``block`` (8, 16) nonzero words.

    ``signed``: values are -2^(word-1) .. 2^(word-1) - 1; otherwise 0 .. 2^word - 1.
    """

    def __init__(self, word=8, block=8, signed=True):
        check_code(word, block)
        self.word, self.block, self.signed = word, block, bool(signed)

    def encode(self, values):
        """values: ints of any shape, in order -> (znz, bpc), bytes, whole words of ``word`` bits
        each, 16-bit words little endian. ValueError on a value out of range."""
        values = check_values(values, self.word, self.signed).reshape(1, -1)
        znz, znz_bits, bpc, bpc_bits = encode_many(values, self.word, self.block)
        return self._bytes(znz, int(znz_bits[0])), self._bytes(bpc, int(bpc_bits[0]))

    def decode(self, znz, bpc, n):
        """The two streams of encode, bytes-like, and the number of words -> int32 (n,).

        ValueError, naming the stream and the bit, where a stream ends too early, has words left
        over, padding that is not 0, or a symbol that cannot be there.
        """
        if n < 0:
            raise ValueError(f"EBPC stream of {n} words: allowed is 0 and more")
        return parse(self._text("ZNZ", znz), self._text("BPC", bpc), n, self, self.word)

    def sizes(self, values):
        """values: ints (..., n) -> (znz_bits, bpc_bits), int64 (...): bits of the streams of every
        row, before padding; much faster than encode."""
        values = check_values(values, self.word, self.signed)
        *lead, n = values.shape
        rows = values.reshape(int(np.prod(lead)), n)
        znz, bpc = sizes_many(rows, self.word, self.block)
        return znz.reshape(lead), bpc.reshape(lead)

    def _bytes(self, stream, bits):
        size = -(-bits // self.word) * self.word // 8
        data = stream.astype(">u4").view(np.uint8)
        if self.word == 16:
            data = data.view("<u2").byteswap().view(np.uint8)
        return data[:size].tobytes()

    def _text(self, name, data):
        data = bytes(data)
        if len(data) * 8 % self.word:
            raise ValueError(f"{name} stream of {len(data)} bytes: allowed are whole words of "
                             f"{self.word} bits")
        if self.word == 16:
            data = np.frombuffer(data, "<u2").byteswap().tobytes()
        return as_text(data)


# Plain parser: a stream is a text of 0 and 1 ------------------------------------------------------


def as_text(data):
    """Bytes, most significant bit first -> a str of 0 and 1."""
    return f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else ""


def parse(znz, bpc, n, codec, unit):
    """The streams as texts, padded to multiples of ``unit`` bits -> int32 (n,); ValueError."""
    flags = _parse_znz(znz, n, unit)
    count = int(flags.sum())
    symbols = _parse_bpc(bpc, -(-count // codec.block), codec.word, codec.block, unit)
    words = rebuild(symbols, codec.word, codec.block, codec.signed)
    for i, value in enumerate(words[count:]):
        if value:
            raise ValueError(f"BPC stream: padding word {i} of the last block is {value}: "
                             f"0 is expected")
    values = np.zeros(n, np.int32)
    values[flags] = words[:count]
    return values


def _parse_znz(bits, n, unit):
    flags = np.zeros(n, bool)
    at = i = 0
    while i < n:
        if at >= len(bits):
            raise ValueError(f"ZNZ stream ends at bit {at}: a symbol for word {i} of {n} is "
                             f"expected")
        if bits[at] == "1":
            flags[i] = True
            at, i = at + 1, i + 1
            continue
        run = bits[at + 1:at + 1 + ZERO_RUN_BITS]
        if len(run) < ZERO_RUN_BITS:
            raise ValueError(f"ZNZ stream ends at bit {len(bits)}: a zero run of "
                             f"{1 + ZERO_RUN_BITS} bits is expected from bit {at}")
        run = int(run, 2) + 1
        if i + run > n:
            raise ValueError(f"ZNZ stream, bit {at}: zero run of {run} words: at most "
                             f"{min(n - i, MAX_ZERO_RUN)} are expected at word {i} of {n}")
        at, i = at + 1 + ZERO_RUN_BITS, i + run
    _check_end("ZNZ", bits, at, unit)
    return flags


def _parse_bpc(bits, blocks, word, block, unit):
    """-> uint16 (blocks, word + 2): see rebuild."""
    run_bits, position_bits = word.bit_length() - 1, block.bit_length() - 1
    symbols = []
    at = 0

    def take(count, what):
        nonlocal at
        if at + count > len(bits):
            raise ValueError(f"BPC stream ends at bit {len(bits)}: {what} of {count} bits is "
                             f"expected from bit {at}, block {len(symbols)} of {blocks}")
        at += count
        return bits[at - count:at]

    # A stream that is too short for its blocks at their shortest is refused before all the work.
    shortest = blocks * (word + len(ZERO_PLANES) + run_bits)
    if len(bits) < shortest:
        raise ValueError(f"BPC stream ends at bit {len(bits)}: at least {shortest} bits are "
                         f"expected for {blocks} blocks")
    for _ in range(blocks):
        row = [int(take(word, "a first word"), 2)]
        while len(row) < word + 2:
            begin, left = at, word + 2 - len(row)
            if take(1, "a prefix") == RAW_PLANE:
                row.append(int(take(block - 1, "a plane"), 2))
            elif take(1, "a prefix") == ZERO_PLANE[1]:
                row.append(0)
            elif take(1, "a prefix") == ZERO_PLANES[2]:
                run = int(take(run_bits, "a run of planes"), 2) + 2
                if run > left:
                    raise ValueError(f"BPC stream, bit {begin}: run of {run} zero planes: at most "
                                     f"{left} are expected in block {len(symbols)}")
                row += [0] * run
            else:
                prefix = "000" + take(2, "a prefix")
                if prefix == ALL_ONES:
                    row.append((1 << block - 1) - 1)
                elif prefix == ZERO_DBP:
                    row.append(RESET)
                else:
                    ones = {ONE_ONE: 1, TWO_ONES: 2}[prefix]
                    position = int(take(position_bits, "a position"), 2)
                    value = pattern(prefix, position, block)
                    if value is None:
                        raise ValueError(f"BPC stream, bit {begin}: position {position}: at most "
                                         f"{block - 1 - ones} is expected")
                    row.append(value)
        symbols.append(row)
    _check_end("BPC", bits, at, unit)
    return np.array(symbols, np.uint16).reshape(blocks, word + 2)


def _check_end(name, bits, at, unit):
    words, expected = len(bits) // unit, -(-at // unit)
    if words != expected:
        raise ValueError(f"{name} stream has {words} words of {unit} bits: {expected} are expected")
    if "1" in bits[at:]:
        raise ValueError(f"{name} stream, bit {bits.index('1', at)}: padding is 1: 0 is expected")
