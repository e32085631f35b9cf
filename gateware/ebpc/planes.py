"""Blocks of nonzero words, as bit planes of their differences."""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *


def planes_layout(word, block, lanes):
    """A step of a block: ``lanes`` planes, lane 0 the first, in each the first difference in the
    most significant bit. In a block's first step (``head``) lane 0 is zero and stands for the first
    word, ``base``. ``end``: last step of a block. ``empty``: no step at all, only ``last`` of a
    stream that does not end with a block."""
    return [("planes", lanes*(block - 1)), ("base", word), ("head", 1), ("end", 1), ("empty", 1)]

# BlockCollector -----------------------------------------------------------------------------------

class BlockCollector(LiteXModule):
    """
    While the differences of one block are collected, the planes of the one before are shifted out,
    ``lanes`` of the m + 2 = 1 + (m + 1) a clock: 5 steps for 8-bit words and two lanes. Steps of a
    block follow each other without a pause.

    Attributes
    ----------
    unsigned : Signal
        In: words are unsigned; static within a stream.
    sink : Endpoint("data", "nonzero")
        Words, one a clock. A word with ``last`` must be a zero one, or complete a block.
    completes : Signal
        Out: the next nonzero word completes a block.
    source : Endpoint("planes", "base", "head", "end", "empty")
        See planes_layout. ``last``: last step of a stream.
    """
    def __init__(self, word, block, lanes):
        self.unsigned  = Signal()
        self.completes = Signal()
        self.sink      = sink   = stream.Endpoint([("data", word), ("nonzero", 1)])
        self.source    = source = stream.Endpoint(planes_layout(word, block, lanes))

        # # #

        steps = (word + 2)//lanes
        assert steps*lanes == word + 2

        # Differences ----------------------------------------------------------------------------
        # A zero word at the end pads the block: one difference, and zeros.
        position = Signal(max=block)
        previous = Signal(word, reset_less=True)
        full     = Signal()
        busy     = Signal()
        beat     = Signal()
        begin    = Signal()   # A block.
        add      = Signal()   # A difference.
        done     = Signal()
        delta    = Signal(word + 1)
        self.comb += [
            sink.ready.eq(~full | ~busy),
            beat.eq(sink.valid & sink.ready),
            begin.eq(beat & sink.nonzero & (position == 0)),
            add.eq(beat & (sink.nonzero | sink.last) & (position != 0)),
            self.completes.eq(position == block - 1),
            done.eq(beat & ((sink.nonzero & self.completes) | sink.last)),
            delta.eq(Cat(sink.data, sink.data[-1] & ~self.unsigned)
                - Cat(previous, previous[-1] & ~self.unsigned)),
        ]
        base   = Signal(word, reset_less=True)
        deltas = [Signal(word + 1, reset_less=True) for _ in range(block - 1)]
        last   = Signal(reset_less=True)
        empty  = Signal(reset_less=True)
        self.sync += [
            If(beat,
                If(sink.nonzero, position.eq(position + 1), previous.eq(sink.data)),
                If(sink.last, position.eq(0)),
            ),
            If(begin,
                base.eq(sink.data),
                [d.eq(0) for d in deltas],
            ),
            [If(add & (position == i + 1), d.eq(delta)) for i, d in enumerate(deltas)],
            If(~busy, full.eq(0)),
            If(done,
                full.eq(1),
                last.eq(sink.last),
                empty.eq(sink.last & (position == 0)),
            ),
        ]

        # Planes ---------------------------------------------------------------------------------
        # Busy is a register, so that the sink's ready does not depend on the source's: a block has
        # a clock more than its steps.
        step    = Signal(max=steps)
        rows    = [Signal(word + 2, reset_less=True) for _ in range(block - 1)]
        closing = Signal(reset_less=True)
        none    = Signal(reset_less=True)
        final   = Signal()
        self.comb += [
            final.eq(none | (step == steps - 1)),
            source.valid.eq(busy),
            source.head.eq(~none & (step == 0)),
            source.end.eq(~none & (step == steps - 1)),
            source.empty.eq(none),
            source.last.eq(closing & final),
            source.planes.eq(Cat(*(row[lane] for lane in range(lanes) for row in reversed(rows)))),
        ]
        self.sync += [
            If(~busy,
                busy.eq(full),
                step.eq(0),
                closing.eq(last),
                none.eq(empty),
                source.base.eq(base),
                [row.eq(Cat(0, d)) for row, d in zip(rows, deltas, strict=True)],
            ).Elif(source.ready,
                step.eq(step + 1),
                If(final, busy.eq(0)),
                [row.eq(row[lanes:]) for row in rows],
            )
        ]
