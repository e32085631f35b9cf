"""Symbols of the BPC stream by their first bits: lengths, and the codes the framer's table has."""

from migen import *

from ..mux import select
from ..zfpe.pipeline import any_of

KINDS = RAW, ZERO, RUN, SHORT, PLACE = range(5)   # Of symbols, by length.

def symbol_lengths(word, block):
    """Bits of a symbol of each kind."""
    return {RAW: block, ZERO: 2, RUN: 3 + log2_int(word), SHORT: 5, PLACE: 5 + log2_int(block)}


def lanes(word, block):
    """Symbols a clock that a word a clock takes."""
    return 2 if word <= block else 3


def chunk_bits(word, block):
    """Not less than the symbols of a clock can have."""
    return 16 if lanes(word, block)*block <= 16 else 32


def by_prefix(bits, options):
    """options[kind] of the symbol that begins with ``bits``: a tree, for options are constants."""
    return Mux(bits[0], options[RAW], Mux(bits[1], options[ZERO], Mux(bits[2], options[RUN],
        Mux(bits[3], options[PLACE], options[SHORT]))))


def is_run(bits):
    """Whether a run begins with ``bits``."""
    return ~bits[0] & ~bits[1] & bits[2]


def choose(index, options):
    """As select, of bits, some of them constants: of a choice of 0 Yosys makes a late reset."""
    if len(options) == 1:
        return options[0]
    half = len(options)//2
    bit  = index[len(index) - 1]
    low, high = (choose(index[:-1], part) for part in (options[:half], options[half:]))
    if isinstance(low, int) and isinstance(high, int):
        return low if low == high else bit if high else ~bit
    if isinstance(high, int):
        return bit | low if high else ~bit & low
    if isinstance(low, int):
        return ~bit | high if low else bit & high
    return Mux(bit, high, low)


class SymbolCodes:
    """What the table holds of a symbol: two bits for its length, and one for whether it is a run
    where no length tells (block = 16).

    Attributes
    ----------
    of : dict
        Code by kind.
    width : int
        Bits of a code.
    singles : list
        Lengths by code, of symbols of one plane.
    """

    def __init__(self, word, block):
        lengths = symbol_lengths(word, block)
        self.singles = list(dict.fromkeys(lengths[kind] for kind in (RAW, ZERO, SHORT, PLACE)))
        self.of      = {kind: self.singles.index(lengths[kind]) for kind in lengths if kind != RUN}
        self.of[RUN] = len(self.singles)
        self.run     = lengths[RUN]
        self.width   = bits_for(self.of[RUN])

    def is_run(self, code):
        return code[2] if self.width == 3 else code == self.of[RUN]

    def begins(self, prefix):
        """Code of the symbol that begins with these bits. ANDs and ORs: of a choice of constants
        Yosys makes a reset of the register behind it, with more on its way than the data have."""
        none, kinds = 1, {}
        for bit, kind in zip(prefix, (RAW, ZERO, RUN, PLACE), strict=True):
            kinds[kind] = bit & none
            none        = ~bit & none
        kinds[SHORT] = none
        return Cat(*(any_of(found for kind, found in kinds.items() if self.of[kind] >> i & 1)
            for i in range(self.width)))

    def select(self, code, singles, run):
        """One of ``singles``, or ``run``: a bit, and with codes of three bits a constant."""
        if self.width < 3:
            return choose(code, [*singles, run])
        single = choose(code[:2], singles)
        return code[2] | single if run else ~code[2] & single

    def length(self, codes, total=0):
        """``total`` more than that of symbols that follow each other, a run alone or the first."""
        if not codes:
            return total
        singles = [self.length(codes[1:], total + size) for size in self.singles]
        if self.width == 3 and (total or len(codes) > 1):
            return select(codes[0][:2], singles)
        run = self.length(codes[1:], total + self.run)
        if self.width < 3:
            return select(codes[0], [*singles, run])
        return Mux(codes[0][2], run, select(codes[0][:2], singles))
