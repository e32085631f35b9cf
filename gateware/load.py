"""LOAD: runs of blocks from DRAM, decoded into the on-chip memories (spec/isa.py).

::

    registers --+--> WordAddresses --> (RegionReader) --> BlockDecoder --+--> memories
                +--> SegmentReader <--> (RegionReader) ------------------+
                +--> VectorAddresses ------------------------------------+

The word addresses run ahead of the decoder, over the ends of runs, as far as the reader's FIFO
lets them. SegmentReader serves the ebpc formats, in place of WordAddresses and BlockDecoder.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec import isa
from ..spec.formats import LANES, MAX_SEGMENT, WORD_BITS
from .block import BlockDecoder
from .buffers import ADDRESS_BITS, SLOT_BITS, VECTOR_BITS
from .command import CommandFrontend
from .dispatch import Error
from .dma import OFFSET_BITS
from .runs import FormatCheck, VectorAddresses, WordAddresses
from .segments import SegmentReader

# LoadEngine ---------------------------------------------------------------------------------------

class LoadEngine(LiteXModule):
    """
    Parameters
    ----------
    columns : int
        Columns of the array: a WBUF word has columns/4 vectors.
    ebpc, classic, improved, delta, codebooks : bool
        With the codecs of the ebpc formats, and of those FormatCheck names.
    primitive : bool
        See EBPCDecoder.

    Attributes
    ----------
    sink : Endpoint("data")
        Command words.
    address, words : Endpoint("address"), Endpoint("data")
        To and from a RegionReader.
    abuf, wbuf, pbuf, vbuf : Endpoint("address", ["slot"], "data")
        Writes into the memories.
    reading : Signal
        In: the reader has accesses in flight.
    starved : Signal
        Out: the decoder wants a word and there is none.
    error : Error
        ILLEGAL (detail: the word), FORMAT (the register), PARAMETER (LANE_BLOCKS or SEGMENT, as a
        program word), STREAM (see SegmentReader).
    """
    def __init__(self, columns, ebpc=True, primitive=False, classic=True, improved=True, delta=True,
        codebooks=True):
        self.frontend = frontend = CommandFrontend(isa.LOAD)
        self.sink     = frontend.sink
        self.address  = stream.Endpoint([("address", OFFSET_BITS)])
        self.words    = stream.Endpoint([("data", WORD_BITS)])
        layout = [("address", ADDRESS_BITS), ("data", VECTOR_BITS)]
        self.abuf     = stream.Endpoint(layout)
        self.wbuf     = stream.Endpoint([*layout, ("slot", SLOT_BITS)])
        self.pbuf     = stream.Endpoint(layout)
        self.vbuf     = stream.Endpoint([*layout, ("slot", SLOT_BITS)])
        self.reading  = Signal()
        self.starved  = Signal()
        self.error    = Error("load")

        # # #

        r = frontend.r
        self.format   = form     = FormatCheck(classic, improved, ebpc, delta, codebooks)
        self.incoming = incoming = WordAddresses()
        self.outgoing = outgoing = VectorAddresses()
        self.decoder  = decoder  = BlockDecoder(classic, improved, delta, codebooks)

        # Control --------------------------------------------------------------------------------
        to_wbuf = Signal()
        start   = Signal()
        final   = Signal()   # The last vector of the last run is written.
        self.comb += to_wbuf.eq(r["DST_MEM"] == isa.MEM_WBUF)
        self.fsm = fsm = FSM(reset_state="IDLE")
        fsm.act("IDLE",
            If(frontend.start,
                NextState("CHECK")
            ),
            If(frontend.illegal,
                *self.error.raises("ILLEGAL", frontend.word)
            )
        )
        lanes, segment = (isa.LOAD_REGS[name][0] for name in ("LANE_BLOCKS", "SEGMENT"))
        fsm.act("CHECK",
            If(~form.ok,
                *self.error.raises("FORMAT", r["FORMAT"])
            ).Elif(to_wbuf & ((r["LANE_BLOCKS"] == 0) | (r["LANE_BLOCKS"] > columns//LANES)),
                *self.error.raises("PARAMETER", isa.word(isa.LOAD, lanes, 0) | r["LANE_BLOCKS"])
            ).Elif((form.ebpc & ((r["SEGMENT"] == 0) | (r["SEGMENT"] > MAX_SEGMENT))) |
                (form.delta & ((r["SEGMENT"] == 0) | (r["SEGMENT"] > columns//LANES))),
                *self.error.raises("PARAMETER", isa.word(isa.LOAD, segment, 0) | r["SEGMENT"])
            ).Elif((r["RUNS"] == 0) | (r["RUN_LEN"] == 0),
                frontend.done.eq(1),
                NextState("IDLE")
            ).Else(
                start.eq(1),
                NextState("RUN")
            )
        )
        corrupt = Signal()
        detail  = Signal(32)
        fsm.act("RUN",
            If(corrupt,
                *self.error.raises("STREAM", detail)
            ).Elif(final,
                frontend.done.eq(1),
                NextState("IDLE")
            )
        )

        # Words ----------------------------------------------------------------------------------
        self.comb += [
            form.code.eq(r["FORMAT"]),
            incoming.start.eq(start & ~form.ebpc),
            incoming.addr.eq(r["ADDR"]),
            incoming.runs.eq(r["RUNS"]),
            incoming.stride.eq(r["RUN_STRIDE"]),
            incoming.length.eq(r["RUN_LEN"]),
            incoming.bits.eq(form.bits),
            incoming.ahead.eq(Mux(form.delta, r["SEGMENT"], 0)),
        ]
        vectors = stream.Endpoint([("data", VECTOR_BITS)])
        blocks  = [
            incoming.source.connect(self.address),
            self.words.connect(decoder.sink),
            decoder.source.connect(vectors),
            self.starved.eq(fsm.ongoing("RUN") & decoder.sink.ready & ~decoder.sink.valid &
                (incoming.busy | self.reading)),
        ]
        if ebpc:
            self.segments = segments = SegmentReader(primitive)
            self.comb += [
                *segments.walk.follow(start & form.ebpc, r),
                segments.clear.eq(start),
                segments.unsigned.eq(form.unsigned),
                corrupt.eq(segments.error & form.ebpc),
                detail.eq(segments.detail),
                If(form.ebpc,
                    segments.address.connect(self.address),
                    self.words.connect(segments.words),
                    segments.source.connect(vectors),
                    self.starved.eq(fsm.ongoing("RUN") & ~self.words.valid &
                        (segments.busy | self.reading)),
                ).Else(
                    *blocks
                )
            ]
        else:
            self.comb += blocks

        # Vectors --------------------------------------------------------------------------------
        self.comb += [
            # The format may have changed since the last GO, and there was none before the first.
            decoder.clear.eq(start),
            decoder.format.eq(r["FORMAT"]),
            decoder.run_len.eq(r["RUN_LEN"]),
            decoder.segment.eq(r["SEGMENT"]),
            decoder.run_words.eq(incoming.words),
            outgoing.start.eq(start),
            outgoing.base.eq(r["DST"]),
            outgoing.runs.eq(r["RUNS"]),
            outgoing.stride.eq(r["DST_STRIDE"]),
            outgoing.length.eq(r["RUN_LEN"]),
            outgoing.slots.eq(Mux(to_wbuf, r["LANE_BLOCKS"], 1)),
        ]
        destinations = {isa.MEM_ABUF: self.abuf, isa.MEM_WBUF: self.wbuf, isa.MEM_PBUF: self.pbuf,
            isa.MEM_VBUF: self.vbuf}
        both, taken, ready = Signal(), Signal(), []
        for number, memory in destinations.items():
            accepted = Signal()
            self.comb += [
                memory.valid.eq(both & (r["DST_MEM"] == number)),
                memory.address.eq(outgoing.source.address),
                memory.data.eq(vectors.data),
                accepted.eq(memory.ready & (r["DST_MEM"] == number)),
            ]
            ready.append(accepted)
        self.comb += [
            both.eq(vectors.valid & outgoing.source.valid),
            taken.eq(both & Reduce("OR", ready)),
            self.wbuf.slot.eq(outgoing.source.slot),
            self.vbuf.slot.eq(0),   # A word of VBUF is one vector.
            vectors.ready.eq(taken),
            outgoing.source.ready.eq(taken),
            final.eq(taken & outgoing.source.final),
        ]
