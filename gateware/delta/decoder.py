"""Runs of deltas (spec/formats.py) to weights, four a clock.

::

    words --+--> references (a memory of two banks)
            +--> payload --> WordsToBlocks --> blocks --> deltas --+--> 4 x int16
                                               references ---------+

The gearbox between ``payload`` and ``blocks`` is the user's: BlockDecoder has one for all formats.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ...spec.formats import DELTA, LANES, RATES, REFERENCE_BITS, VALUE_BITS, WORD_BITS
from ..gearbox import BLOCK_BITS

MAX_REFERENCES = 16   # Words of references in a run.
BANKS          = 2    # Runs whose references are kept.

# DeltaDecoder -------------------------------------------------------------------------------------

class DeltaDecoder(LiteXModule):
    """
    Attributes
    ----------
    bits : Signal(5)
        In: bits of a delta, 2 to 6, static.
    segment : Signal(5)
        In: words of references in a run, 1 to MAX_REFERENCES, static.
    words : Signal(20)
        In: words of a run, references included, more than ``segment``, static while words come.
    sink : Endpoint("data")
        32-bit words, run after run.
    payload : Endpoint("data")
        Those behind the references, to a WordsToBlocks.
    blocks : Endpoint("data")
        Its blocks; ``last`` on the last of a run.
    source : Endpoint("data")
        Four int16, lane 0 lowest; ``last`` alike. Two clocks behind the blocks.
    """
    def __init__(self):
        self.bits    = Signal(5)
        self.segment = Signal(max=MAX_REFERENCES + 1)
        self.words   = Signal(20)
        self.sink    = stream.Endpoint([("data", WORD_BITS)])
        self.payload = stream.Endpoint([("data", WORD_BITS)])
        self.blocks  = stream.Endpoint([("data", BLOCK_BITS)])
        self.source  = stream.Endpoint([("data", LANES*VALUE_BITS)])

        # # #

        memory = Memory(WORD_BITS, BANKS*MAX_REFERENCES)
        write  = memory.get_port(write_capable=True)
        read   = memory.get_port(async_read=True)
        self.specials += memory, write, read

        # Words: references first, as long as their bank is free ---------------------------------
        index    = Signal(len(self.words))       # Of the word in its run.
        bank     = Signal(max=BANKS)
        held     = Signal(max=BANKS + 1)         # Runs begun whose last block is not through.
        heading  = Signal()
        begun    = Signal()
        finished = Signal()
        taken    = Signal()
        self.comb += [
            heading.eq(index < self.segment),
            If(heading,
                self.sink.ready.eq((index != 0) | (held != BANKS)),
            ).Else(
                self.payload.valid.eq(self.sink.valid),
                self.sink.ready.eq(self.payload.ready),
            ),
            self.payload.data.eq(self.sink.data),
            taken.eq(self.sink.valid & self.sink.ready),
            begun.eq(taken & (index == 0)),
            write.adr.eq(Cat(index[:log2_int(MAX_REFERENCES)], bank)),
            write.dat_w.eq(self.sink.data),
            write.we.eq(taken & heading),
        ]
        self.sync += [
            held.eq(held + begun - finished),
            If(taken,
                index.eq(index + 1),
                If(index == self.words - 1,
                    index.eq(0),
                    bank.eq(bank + 1),
                )
            ),
        ]

        # Blocks: the references of the block's channels -----------------------------------------
        slot    = Signal(max=MAX_REFERENCES)
        reading = Signal(max=BANKS)
        valid   = Signal(2)
        last    = Signal(2, reset_less=True)
        shift   = Signal()
        entered = Signal()
        self.comb += [
            read.adr.eq(Cat(slot, reading)),
            shift.eq(self.source.ready | ~valid[1]),
            self.blocks.ready.eq(shift),
            entered.eq(self.blocks.valid & shift),
            finished.eq(entered & self.blocks.last),
            self.source.valid.eq(valid[1]),
            self.source.last.eq(last[1]),
        ]
        references = Signal(WORD_BITS, reset_less=True)
        deltas     = Signal(LANES*REFERENCE_BITS, reset_less=True)
        self.sync += [
            If(entered,
                slot.eq(slot + 1),
                If(self.blocks.last | (slot == self.segment - 1), slot.eq(0)),
                If(self.blocks.last, reading.eq(reading + 1)),
            ),
            If(shift,
                valid.eq(Cat(self.blocks.valid, valid[0])),
                last.eq(Cat(self.blocks.last, last[0])),
                references.eq(read.dat_r),
                # A delta is shifted to the top of a reference's width.
                Case(self.bits, {bits: deltas.eq(Cat(*(
                    Cat(Constant(0, REFERENCE_BITS - bits), self.blocks.data[bits*i:bits*(i + 1)])
                    for i in range(LANES)))) for bits in range(RATES[DELTA][0],
                    RATES[DELTA][1] + 1)}),
            ),
        ]

        # Sums -----------------------------------------------------------------------------------
        for i in range(LANES):
            lane   = slice(REFERENCE_BITS*i, REFERENCE_BITS*(i + 1))
            terms  = [Signal((REFERENCE_BITS, True)) for _ in range(2)]
            self.comb += [term.eq(word[lane]) for term, word in zip(terms, (references, deltas),
                strict=True)]
            weight = Signal((VALUE_BITS, True), reset_less=True)
            self.sync += If(shift, weight.eq(terms[0] + terms[1]))
            self.comb += self.source.data[VALUE_BITS*i:VALUE_BITS*(i + 1)].eq(weight)
