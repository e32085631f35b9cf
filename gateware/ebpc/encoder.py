"""EBPC encoder: words to a ZNZ and a BPC stream, one word a clock whatever they are."""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ...spec.ebpc import BLOCKS, WORDS
from .packer import STREAM_LAYOUT, BitPacker
from .planes import BlockCollector
from .symbols import PlaneSymbols
from .znz_encoder import ZNZEncoder

# Planes a clock: with 2, a block of 8 words of 8 bits takes 5 steps and one clock, one of 16 words
# of 16 bits 9 and one; a block of 8 words of 16 bits would take 10.
LANES = {(8, 8): 2, (8, 16): 2, (16, 16): 2, (16, 8): 3}

# EBPCEncoder --------------------------------------------------------------------------------------

class EBPCEncoder(LiteXModule):
    """
    ::

        sink -> nonzero? -+------------------------------------------> ZNZEncoder -> znz
                          +-> BlockCollector -> PlaneSymbols -> BitPacker ---------> bpc

    One word a clock while both sources are ready; streams may follow each other at once. A stream
    whose nonzero words fill whole blocks, the last word being one of them, is followed by the next
    without a pause. Else its incomplete block takes as many clocks as a complete one, and the sink
    pauses, at the stream's end or in the next block, for as many of them as were not waited out:
    for one stream at most the steps of a block (5, 9, 6 for (word, block) = (8, 8), (16, 16),
    (16, 8)) and one.

    Parameters
    ----------
    word : int
        Bits of a word, 8 or 16.
    block : int
        Nonzero words in a block of the BPC stream, 8 or 16.

    Attributes
    ----------
    unsigned : Signal
        In: words are unsigned, which matters for how differences are widened (spec/ebpc.py);
        static within a stream.
    sink : Endpoint("data")
        Words of ``word`` bits; ``last`` on the last one of a stream.
    znz, bpc : Endpoint("data", "words")
        The streams in 32-bit words as in a segment: words of ``word`` bits, the first one lowest.
        Both streams end with a beat that has ``last``; only ``words`` of it count, the rest is
        zero. That may be none, in bpc: for a stream of zeros, or when all words had left before it
        was known that no more would come. Whoever holds back one source stops the sink in time.
    """
    def __init__(self, word=8, block=8):
        if word not in WORDS:
            raise ValueError(f"EBPC word = {word}: allowed are {WORDS}")
        if block not in BLOCKS:
            raise ValueError(f"EBPC block = {block}: allowed are {BLOCKS}")
        self.unsigned = Signal()
        self.sink     = stream.Endpoint([("data", word)])
        self.znz      = stream.Endpoint(STREAM_LAYOUT)
        self.bpc      = stream.Endpoint(STREAM_LAYOUT)

        # # #

        lanes = LANES[word, block]
        self.flags     = flags     = ZNZEncoder(word)
        self.collector = collector = BlockCollector(word, block, lanes)
        self.symbols   = symbols   = PlaneSymbols(word, block, lanes)
        self.packer    = packer    = BitPacker(word, symbols.width)

        # Words ----------------------------------------------------------------------------------
        # After a last word that leaves a block incomplete the collector gets a zero word
        # with last.
        valid   = Signal()
        last    = Signal(reset_less=True)
        nonzero = Signal(reset_less=True)
        data    = Signal(word, reset_less=True)
        closing = Signal()   # Not a word of the stream.
        more    = Signal()
        move    = Signal()
        self.comb += [
            collector.sink.valid.eq(valid & (flags.sink.ready | closing)),
            collector.sink.data.eq(data),
            collector.sink.nonzero.eq(nonzero),
            collector.sink.last.eq(last & ~more),
            flags.sink.valid.eq(valid & ~closing & collector.sink.ready),
            flags.sink.nonzero.eq(nonzero),
            flags.sink.last.eq(last),
            move.eq(collector.sink.valid & collector.sink.ready),
            more.eq(last & nonzero & ~collector.completes),
            self.sink.ready.eq(~valid | (move & ~more)),
        ]
        self.sync += [
            If(move,
                valid.eq(more),
                closing.eq(more),
                nonzero.eq(0),
                data.eq(0),
            ),
            If(self.sink.ready,
                valid.eq(self.sink.valid),
                last.eq(self.sink.last),
                nonzero.eq(self.sink.data != 0),
                data.eq(self.sink.data),
            )
        ]

        # Streams --------------------------------------------------------------------------------
        self.comb += [
            collector.unsigned.eq(self.unsigned),
            collector.source.connect(symbols.sink),
            symbols.source.connect(packer.sink),
            packer.source.connect(self.bpc),
            flags.source.connect(self.znz),
        ]
