"""The ZNZ stream of EBPC: where the zero words are."""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ...spec.ebpc import MAX_ZERO_RUN, ZERO_RUN_BITS
from .packer import STREAM_LAYOUT, BitPacker

GRANULE = 8
LENGTH  = 1 + ZERO_RUN_BITS + 1   # A run's end and the nonzero word after it.

# ZNZEncoder ---------------------------------------------------------------------------------------

class ZNZEncoder(LiteXModule):
    """
    A nonzero word is ``1``, after the run of zeros before it, if there is one; so a word adds at
    most 6 bits. A run is also written when it has 16 words, and at the end of the stream.

    Attributes
    ----------
    sink : Endpoint("nonzero")
        A word, one a clock; ``last`` on a stream's last one, then at most one clock of pause.
    source : Endpoint("data", "words")
        See BitPacker.
    """
    def __init__(self, word=8):
        self.sink   = stream.Endpoint([("nonzero", 1)])
        self.source = stream.Endpoint(STREAM_LAYOUT)

        # # #

        self.packer = packer = BitPacker(word, GRANULE)
        self.comb += packer.source.connect(self.source)

        # Symbols --------------------------------------------------------------------------------
        zeros = Signal(ZERO_RUN_BITS)   # Before the word, in its run.
        ends  = Signal()                # The run ends with this word, a zero.
        taken = Signal()
        data  = Signal(LENGTH)
        size  = Signal(max=LENGTH + 1)
        self.comb += [
            taken.eq(self.sink.valid & self.sink.ready),
            ends.eq(~self.sink.nonzero & ((zeros == MAX_ZERO_RUN - 1) | self.sink.last)),
            If(self.sink.nonzero,
                If(zeros == 0,
                    data.eq(1 << (LENGTH - 1)),
                    size.eq(1),
                ).Else(
                    data[1:-1].eq(zeros - 1),
                    data[0].eq(1),
                    size.eq(LENGTH),
                )
            ).Elif(ends,
                data[1:-1].eq(zeros),
                size.eq(LENGTH - 1),
            )
        ]
        self.sync += If(taken,
            If(self.sink.nonzero | ends,
                zeros.eq(0)
            ).Else(
                zeros.eq(zeros + 1)
            )
        )

        # To the packer --------------------------------------------------------------------------
        self.comb += self.sink.ready.eq(packer.sink.ready | ~packer.sink.valid)
        self.sync += If(self.sink.ready,
            packer.sink.valid.eq(self.sink.valid),
            packer.sink.last.eq(self.sink.last),
            packer.sink.length.eq(size),
            packer.sink.data.eq(Cat(C(0, GRANULE - LENGTH), data)),
        )
