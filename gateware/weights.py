"""COMPUTE's walk over WBUF: a word an operand, from the first tap of a tile to its last, again for
each group; ahead of a tile, once, the words that an array wants before its weights."""

from litex.gen import *
from migen import *

from .buffers import ADDRESS_BITS

# WeightWalker -------------------------------------------------------------------------------------

class WeightWalker(LiteXModule):
    """
    Parameters
    ----------
    r : dict of Signal
        Registers of a COMPUTE GO, spec/isa.py.
    head_words : int
        Words ahead of a tile's weights.
    wait : int
        Clocks from a tile's last operand to the next tile's first word, if there are such words.

    Attributes
    ----------
    begin : in
        Pulse: the GO's first tile is next.
    step, sum_last, tile_last : in
        An operand is issued, the last of a sum, of a tile.
    address : out
        Of the operand's weights.
    hold, head : out
        No operand may be issued; the address is that of a word ahead.
    """
    def __init__(self, r, head_words=0, wait=0):
        self.begin     = Signal()
        self.step      = Signal()
        self.sum_last  = Signal()
        self.tile_last = Signal()
        self.address   = address = Signal(ADDRESS_BITS, reset_less=True)
        self.hold      = Signal()
        self.head      = Signal()

        # # #

        first = Signal(ADDRESS_BITS, reset_less=True)   # The tile's first tap.
        after = Signal(ADDRESS_BITS, reset_less=True)   # The next tile's first word.
        self.sync += [
            after.eq(first + r["W_TILE"] - head_words),
            If(self.begin,
                address.eq(r["W_BASE"]),
                first.eq(r["W_BASE"] + head_words),
            ).Elif(self.step,
                address.eq(address + r["W_STEP"]),
                If(self.sum_last, address.eq(first)),
                If(self.tile_last,
                    address.eq(after),
                    first.eq(after + head_words),
                )
            ).Elif(self.head,
                address.eq(address + 1)
            ),
        ]
        if head_words:
            left = Signal(max=head_words + wait + 1)
            self.comb += [
                self.hold.eq(left != 0),
                self.head.eq(self.hold & (left <= head_words)),
            ]
            self.sync += If(self.begin,
                left.eq(head_words)
            ).Elif(self.step & self.tile_last,
                left.eq(head_words + wait)
            ).Elif(self.hold,
                left.eq(left - 1)
            )
