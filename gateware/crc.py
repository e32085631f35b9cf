"""CRC-32 as zlib computes it, any number of bytes folded in one clock."""

from functools import reduce
from operator import xor

from litex.gen import *
from migen import *

POLYNOMIAL = 0xedb88320  # Reflected: bit 0 is the highest power.
RESIDUE    = 0xdebb20e3  # The register after data followed by its own CRC, low byte first.


def crc32_equations(data_width):
    """Which bits each bit of the register becomes the XOR of, when ``data_width`` bits are folded
    in: list of 32 (register bits, data bits), both lists of bit numbers."""
    state = [1 << i for i in range(32)]             # Bit i of a mask: register bit i; 32+i: data.
    for i in range(data_width):
        feedback = state[0] ^ 1 << (32 + i)
        state    = [(state[j + 1] if j < 31 else 0) ^ (feedback if POLYNOMIAL >> j & 1 else 0)
                    for j in range(32)]
    return [([j for j in range(32) if mask >> j & 1],
             [j for j in range(data_width) if mask >> (32 + j) & 1]) for mask in state]


class CRC32(LiteXModule):
    """``init`` clears the register, ``ce`` folds ``data`` in (least significant byte first).

    Ports: data (data_width, a multiple of 8), init, ce, value: the CRC-32 of what was folded in so
    far, match: the last four bytes were the CRC-32 of those before.
    """

    def __init__(self, data_width=8):
        if data_width not in range(8, 65, 8):
            raise ValueError(f"CRC32: data_width = {data_width}: allowed are 8, 16 .. 64")
        self.data  = Signal(data_width)
        self.init  = Signal()
        self.ce    = Signal()
        self.value = Signal(32)
        self.match = Signal()

        # # #

        register = Signal(32, reset=2**32 - 1)
        folded   = Signal(32)
        for i, (old, new) in enumerate(crc32_equations(data_width)):
            terms = [register[j] for j in old] + [self.data[j] for j in new]
            self.comb += folded[i].eq(reduce(xor, terms))
        self.sync += [
            If(self.ce,   register.eq(folded)),
            If(self.init, register.eq(2**32 - 1)),
        ]
        self.comb += [
            self.value.eq(~register),
            self.match.eq(register == RESIDUE),
        ]
