"""Bit strings of changing length into the 32-bit words of an EBPC stream."""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ...spec.formats import WORD_BITS
from ..mux import select

# Up to four 8-bit words or two 16-bit words of a stream; ``words`` says how many of them count.
STREAM_LAYOUT = [("data", WORD_BITS), ("words", 3)]

# BitPacker ----------------------------------------------------------------------------------------

class BitPacker(LiteXModule):
    """
    A string is first shifted to its place after the bits that wait; in the next stage a complete
    granule of 8, 16 or 32 bits joins its word, and the word leaves when it is complete. Strings are
    at most a granule long, so that none completes two. One string a clock, but for one clock after
    a stream whose last string both completes a granule and begins another.

    Parameters
    ----------
    word : int
        Bits of a word of the stream, 8 or 16.
    granule : int
        8, 16 or 32.

    Attributes
    ----------
    sink : Endpoint("data", "length")
        A string of ``length`` = 0 to ``granule`` bits, the first one the most significant of
        ``data``, zeros after the last. ``last``: last string of a stream.
    source : Endpoint("data", "words")
        Words of the stream, each filled from its most significant bit, the first one lowest; in the
        last beat, the one with ``last``, only ``words`` of them count and the rest is zero. That
        may be none: for an empty stream, or when the stream had already left.
    """
    def __init__(self, word, granule):
        self.sink   = stream.Endpoint([("data", granule), ("length", bits_for(granule))])
        self.source = stream.Endpoint(STREAM_LAYOUT)

        # # #

        granules = WORD_BITS//granule
        low_bits = log2_int(granule)
        ce       = Signal()
        self.comb += ce.eq(self.source.ready | ~self.source.valid)

        # Place ----------------------------------------------------------------------------------
        # The string goes into two granules: the waiting one, and the one after.
        fill  = Signal(log2_int(WORD_BITS))       # Bits of the incomplete word.
        total = Signal(len(fill) + 1)             # With the string.
        in_granule = Signal(low_bits + 1)
        crosses = Signal()                        # Completes a granule.
        rest  = Signal()                          # Begins a granule after that one.
        tail  = Signal()                          # That rest is a stream's last: it has a beat.
        bits  = Signal(len(total))                # Of the word, when it leaves.
        self.comb += [
            total.eq(fill + self.sink.length),
            in_granule.eq(fill[:low_bits] + self.sink.length),
            crosses.eq(in_granule[low_bits]),
            rest.eq(crosses & (in_granule[:low_bits] != 0)),
            bits.eq(Mux(tail, fill, total)),
            self.sink.ready.eq(ce & ~tail),
        ]
        valid   = Signal()
        last    = Signal(reset_less=True)
        hold    = Signal(reset_less=True)         # The waiting granule goes on waiting.
        store   = Signal(granules, reset_less=True)
        here    = Signal(granules, reset_less=True)
        full    = Signal(reset_less=True)
        words   = Signal(3, reset_less=True)
        placed  = Signal(2*granule, reset_less=True)
        zeros   = C(0, granule)
        string  = Signal(2*granule)
        self.comb += string.eq(select(fill[:low_bits],
            [Cat(zeros, self.sink.data)[i:] for i in range(granule)]))
        index   = fill[low_bits:] if granules > 1 else C(0, 1)
        self.sync += If(ce,
            valid.eq(self.sink.valid | tail),
            last.eq(tail | (self.sink.last & ~rest)),
            hold.eq(~crosses & ~self.sink.last & ~tail),
            full.eq(total[-1] & ~tail),
            words.eq(Mux(bits[-1], WORD_BITS//word, (bits[:-1] + word - 1)[log2_int(word):])),
            [here[i].eq(index == i) for i in range(granules)],
            [store[i].eq((index == i) & crosses & ~tail) for i in range(granules)],
            placed.eq(string),
            If(tail, placed.eq(0)),
            If(tail,
                tail.eq(0),
                fill.eq(0),
            ).Elif(self.sink.valid,
                tail.eq(self.sink.last & rest),
                fill.eq(total),
                If(self.sink.last & ~rest, fill.eq(0))
            )
        )

        # Join -----------------------------------------------------------------------------------
        waiting  = Signal(granule)
        joined   = Signal(granule)
        complete = [Signal(granule) for _ in range(granules - 1)]
        leaves   = Signal()
        out      = Signal(WORD_BITS)              # Most significant bit first.
        self.comb += [
            joined.eq(waiting | placed[granule:]),
            leaves.eq(valid & (full | last)),
        ]
        parts = [Mux(here[i], joined, kept) for i, kept in enumerate([*complete, zeros])] \
            if granules > 1 else [joined]
        self.comb += out.eq(Cat(*reversed(parts)))
        self.sync += If(ce,
            If(valid,
                waiting.eq(placed[:granule] | Mux(hold, joined, 0)),
                [If(store[i], kept.eq(joined)) for i, kept in enumerate(complete)],
            ),
            If(leaves, [kept.eq(0) for kept in complete]),
            self.source.valid.eq(leaves),
            self.source.last.eq(last),
            self.source.words.eq(words),
            self.source.data.eq(Cat(*reversed([out[i:i + word]
                for i in range(0, WORD_BITS, word)]))),
        )
