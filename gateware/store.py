"""STORE: runs of vectors from ABUF, encoded into DRAM (spec/isa.py).

::

    registers --> VectorAddresses --> (ABUF) --> FIFO --+--> BlockEncoder --+--> (RegionWriter)
             \\--> WordAddresses ------------------------|-------------------+
                                                        +--> SegmentWriter -+

SegmentWriter serves the ebpc formats, in place of WordAddresses and BlockEncoder.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec import isa
from ..spec.formats import MAX_SEGMENT, WORD_BITS
from .block import BlockEncoder
from .buffers import READ_LATENCY, VECTOR_BITS
from .command import CommandFrontend
from .dispatch import Error
from .dma import OFFSET_BITS
from .runs import FormatCheck, VectorAddresses, WordAddresses
from .segments import SegmentWriter

# VectorReader -------------------------------------------------------------------------------------

class VectorReader(LiteXModule):
    """A stream from an ABUF read port, which knows no back-pressure: a read is issued only when
    the FIFO has room for its vector.

    Parameters
    ----------
    port : ReadPort
        ``cmd`` and the data READ_LATENCY clocks later.
    depth : int
        FIFO; more than the latency, so that a vector a clock gets through.

    Attributes
    ----------
    sink : Endpoint("address")
        Addresses; ``last`` comes back with the vector.
    source : Endpoint("data")
        Vectors.
    """
    def __init__(self, port, depth=16):
        if depth <= READ_LATENCY + 1:
            raise ValueError(f"vector reader: depth = {depth}: allowed is {READ_LATENCY + 2} or "
                             "more")
        self.sink   = sink   = stream.Endpoint([("address", len(port.cmd.address))])
        self.source = source = stream.Endpoint([("data", VECTOR_BITS)])

        # # #

        self.fifo  = fifo  = stream.SyncFIFO([("data", VECTOR_BITS)], depth)
        self.lasts = lasts = stream.SyncFIFO([("unused", 1)], depth)

        # `lasts` is written with the read and read with the vector: its room is the credit.
        self.comb += [
            port.cmd.valid.eq(sink.valid & lasts.sink.ready),
            port.cmd.address.eq(sink.address),
            sink.ready.eq(port.cmd.ready & lasts.sink.ready),
            lasts.sink.valid.eq(sink.valid & port.cmd.ready),
            lasts.sink.last.eq(sink.last),

            fifo.sink.valid.eq(port.valid),
            fifo.sink.data.eq(port.data),

            source.valid.eq(fifo.source.valid),
            source.data.eq(fifo.source.data),
            source.last.eq(lasts.source.last),
            fifo.source.ready.eq(source.ready),
            lasts.source.ready.eq(source.valid & source.ready),
        ]

# StoreEngine --------------------------------------------------------------------------------------

class StoreEngine(LiteXModule):
    """
    Parameters
    ----------
    port : ReadPort
        ABUF's ``store_read``.
    ebpc, classic, improved : bool
        With the codecs of the ebpc formats, and of those FormatCheck names.

    Attributes
    ----------
    sink : Endpoint("data")
        Command words.
    writes : Endpoint("address", "data")
        To a RegionWriter.
    written : Signal
        In: the writer is idle. A GO is done when DRAM has all its words.
    blocked : Signal
        Out: a word waits for DRAM.
    error : Error
        ILLEGAL (detail: the word), FORMAT (the register) or PARAMETER (SEGMENT, as a program word).
    """
    def __init__(self, port, ebpc=True, classic=True, improved=True):
        self.frontend = frontend = CommandFrontend(isa.STORE)
        self.sink     = frontend.sink
        self.writes   = stream.Endpoint([("address", OFFSET_BITS), ("data", WORD_BITS)])
        self.written  = Signal()
        self.blocked  = Signal()
        self.error    = Error("store")

        # # #

        r = frontend.r
        self.format   = form     = FormatCheck(classic, improved, ebpc, delta=False,
            codebooks=False)
        self.incoming = incoming = VectorAddresses()
        self.reader   = reader   = VectorReader(port)
        self.encoder  = encoder  = BlockEncoder(classic, improved)
        self.outgoing = outgoing = WordAddresses()

        # Control --------------------------------------------------------------------------------
        start   = Signal()
        busy    = Signal()
        segment = isa.STORE_REGS["SEGMENT"][0]
        self.fsm = fsm = FSM(reset_state="IDLE")
        fsm.act("IDLE",
            If(frontend.start,
                NextState("CHECK")
            ),
            If(frontend.illegal,
                *self.error.raises("ILLEGAL", frontend.word)
            )
        )
        fsm.act("CHECK",
            If(~form.ok,
                *self.error.raises("FORMAT", r["FORMAT"])
            ).Elif(form.ebpc & ((r["SEGMENT"] == 0) | (r["SEGMENT"] > MAX_SEGMENT)),
                *self.error.raises("PARAMETER", isa.word(isa.STORE, segment, 0) | r["SEGMENT"])
            ).Elif((r["RUNS"] == 0) | (r["RUN_LEN"] == 0),
                frontend.done.eq(1),
                NextState("IDLE")
            ).Else(
                start.eq(1),
                NextState("RUN")
            )
        )
        fsm.act("RUN",
            If(~busy,
                NextState("WRITTEN")
            )
        )
        # The last word was handed to the writer in the clock before: it is not idle yet.
        fsm.act("WRITTEN",
            If(self.written,
                frontend.done.eq(1),
                NextState("IDLE")
            )
        )

        # Vectors --------------------------------------------------------------------------------
        self.comb += [
            form.code.eq(r["FORMAT"]),
            incoming.start.eq(start),
            incoming.base.eq(r["SRC"]),
            incoming.runs.eq(r["RUNS"]),
            incoming.stride.eq(r["SRC_STRIDE"]),
            incoming.length.eq(r["RUN_LEN"]),
            incoming.slots.eq(1),
            incoming.source.connect(reader.sink, omit={"slot", "final"}),
            encoder.clear.eq(start),
            encoder.format.eq(r["FORMAT"]),
        ]

        # Words ----------------------------------------------------------------------------------
        both = Signal()
        self.comb += [
            outgoing.start.eq(start & ~form.ebpc),
            outgoing.addr.eq(r["ADDR"]),
            outgoing.runs.eq(r["RUNS"]),
            outgoing.stride.eq(r["RUN_STRIDE"]),
            outgoing.length.eq(r["RUN_LEN"]),
            outgoing.bits.eq(form.bits),
            both.eq(encoder.source.valid & outgoing.source.valid),
            self.blocked.eq(self.writes.valid & ~self.writes.ready),
        ]
        blocks = [
            reader.source.connect(encoder.sink),
            self.writes.valid.eq(both),
            self.writes.address.eq(outgoing.source.address),
            self.writes.data.eq(encoder.source.data),
            encoder.source.ready.eq(both & self.writes.ready),
            outgoing.source.ready.eq(both & self.writes.ready),
            busy.eq(outgoing.busy),
        ]
        if ebpc:
            self.segments = segments = SegmentWriter()
            self.comb += [
                *segments.walk.follow(start & form.ebpc, r),
                segments.clear.eq(start),
                segments.unsigned.eq(form.unsigned),
                If(form.ebpc,
                    reader.source.connect(segments.sink, omit={"last"}),
                    segments.writes.connect(self.writes),
                    busy.eq(segments.busy),
                ).Else(
                    *blocks
                )
            ]
        else:
            self.comb += blocks
