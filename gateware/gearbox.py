"""Runs of fixed-size blocks in a stream of 32-bit words: words to blocks and back.

A block is 4 to 64 bits, a multiple of 4 (so: positions count nibbles), blocks follow each other LSB
first, and a run begins on a word boundary.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec.formats import LANES, WORD_BITS, ZFPE_MAX_BITS
from .mux import select

BLOCK_BITS   = LANES*ZFPE_MAX_BITS
RUN_LEN_BITS = 20
NIBBLE       = 4
WORD_NIBBLES = WORD_BITS//NIBBLE

# WordsToBlocks ------------------------------------------------------------------------------------

class WordsToBlocks(LiteXModule):
    """
    Words are kept in a ring of four. A block is emitted once the ring holds all of its up to 3
    words: the three are picked in one stage, shifted to the block's first nibble in the next.

    Attributes
    ----------
    bits : Signal(5)
        In: nibbles per block, 1 to 16, static.
    run_len : Signal(20)
        In: blocks per run, not 0, static.
    sink : Endpoint("data")
        32-bit words.
    source : Endpoint("data")
        64 bits: a block, with whatever follows it above. ``last``: last block of a run; what
        remains of the run's last word is dropped.
    """
    def __init__(self):
        self.bits    = Signal(5)
        self.run_len = Signal(RUN_LEN_BITS)
        self.sink    = stream.Endpoint([("data", WORD_BITS)])
        self.source  = stream.Endpoint([("data", BLOCK_BITS)])

        # # #

        # Ring -----------------------------------------------------------------------------------
        words  = [Signal(WORD_BITS, reset_less=True) for _ in range(4)]
        level  = Signal(3)   # Words in the ring.
        write  = Signal(2)
        read   = Signal(2)
        push   = Signal()
        popped = Signal(2)
        self.comb += [
            self.sink.ready.eq(~level[2]),
            push.eq(self.sink.valid & self.sink.ready),
        ]
        self.sync += [
            If(push, write.eq(write + 1), Case(write, {
                i: word.eq(self.sink.data) for i, word in enumerate(words)})),
            level.eq(level + push - popped),
            read.eq(read + popped),
        ]

        # Position -------------------------------------------------------------------------------
        offset = Signal(3)   # Of the block in its first word, in nibbles.
        count  = Signal(RUN_LEN_BITS, reset=1)
        last   = Signal()
        end    = Signal(5)   # offset + bits, at most 23.
        span   = Signal(2)   # Words the block touches.
        enable = Signal()
        emit   = Signal()
        self.comb += [
            last.eq(count == self.run_len),
            end.eq(offset + self.bits),
            span.eq(end[3:5] + (end[:3] != 0)),
            # span is 0 before any format is set.
            emit.eq(enable & (level != 0) & (level >= span)),
            If(emit,
                popped.eq(Mux(last, span, end[3:5]))
            )
        ]
        self.sync += If(emit,
            If(last,
                offset.eq(0),
                count.eq(1),
            ).Else(
                offset.eq(end[:3]),
                count.eq(count + 1),
            )
        )

        # Pick, shift ----------------------------------------------------------------------------
        picked = Signal(3*WORD_BITS, reset_less=True)
        nibble = Signal(3, reset_less=True)
        valid  = Signal()
        final  = Signal(reset_less=True)
        shift  = Signal()
        turns  = [Cat(*(words[(i + j) % 4] for j in range(3))) for i in range(4)]
        self.comb += [
            shift.eq(self.source.ready | ~self.source.valid),
            enable.eq(shift | ~valid),
        ]
        self.sync += [
            If(enable,
                valid.eq(emit),
                final.eq(last),
                nibble.eq(offset),
                picked.eq(select(read, turns)),
            ),
            If(shift,
                self.source.valid.eq(valid),
                self.source.last.eq(final),
                self.source.data.eq(select(nibble, [picked[NIBBLE*i:NIBBLE*i + BLOCK_BITS]
                    for i in range(WORD_NIBBLES)])),
            )
        ]

# BlocksToWords ------------------------------------------------------------------------------------

class BlocksToWords(LiteXModule):
    """
    A block is shifted to its place after the bits left over from the blocks before (first stage),
    then its whole words leave, the first one completed with those bits, and the rest is kept.

    Attributes
    ----------
    bits : Signal(5)
        In: nibbles per block, 1 to 16, static.
    sink : Endpoint("data")
        Blocks; the bits above a block are zero. ``last``: last block of a run.
    source : Endpoint("data")
        32-bit words; the last word of a run, padded with zero bits, has ``last``.
    """
    def __init__(self):
        self.bits   = Signal(5)
        self.sink   = stream.Endpoint([("data", BLOCK_BITS)])
        self.source = stream.Endpoint([("data", WORD_BITS)])

        # # #

        # Place ----------------------------------------------------------------------------------
        offset = Signal(3)   # Of the next block in its first word, in nibbles.
        end    = Signal(5)
        enable = Signal()
        valid  = Signal()
        final  = Signal(reset_less=True)
        whole  = Signal(2, reset_less=True)   # Words to send, 0 to 3.
        words  = [Signal(WORD_BITS, reset_less=True) for _ in range(3)]
        self.comb += [
            end.eq(offset + self.bits),
            self.sink.ready.eq(enable),
        ]
        self.sync += If(enable,
            valid.eq(self.sink.valid),
            final.eq(self.sink.last),
            whole.eq(end[3:5] + (self.sink.last & (end[:3] != 0))),
            Cat(*words).eq(select(offset, [Cat(C(0, NIBBLE*i), self.sink.data) if i else
                self.sink.data for i in range(WORD_NIBBLES)])),
            If(self.sink.valid,
                offset.eq(Mux(self.sink.last, 0, end[:3]))
            )
        )

        # Send -----------------------------------------------------------------------------------
        index = Signal(2)   # Words of this block sent.
        rest  = Signal(WORD_BITS)
        first = Signal(WORD_BITS)
        done  = Signal()    # With this clock the block is through.
        step  = Signal()
        self.comb += [
            first.eq(words[0] | rest),
            step.eq(self.source.ready | ~self.source.valid),
            done.eq((whole == 0) | (step & (index + 1 == whole))),
            enable.eq(done | ~valid),
        ]
        self.sync += [
            If(step,
                self.source.valid.eq(valid & (whole != 0)),
                self.source.last.eq(final & (index + 1 == whole)),
                self.source.data.eq(select(index, [first, words[1], words[2], None])),
            ),
            If(valid & step & (whole != 0),
                index.eq(Mux(done, 0, index + 1))
            ),
            If(valid & done,
                rest.eq(Mux(final, 0, select(whole, [first, words[1], words[2], None])))
            )
        ]
