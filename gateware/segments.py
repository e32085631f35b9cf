"""EBPC activations in DRAM: segments in slots, read and written by LOAD and STORE.

::

    LOAD   SegmentWalk --> header addresses --+--> (RegionReader) --+--> header: checked, kept
                           payload addresses -+                     +--> EBPCSegmentDecoder

    STORE  vectors --> EBPCSegmentEncoder --+--> (RegionWriter)
           SegmentWalk --> addresses -------+

A header says how many words its segment has, so headers are read up to ``LOOKAHEAD`` segments ahead
of their payloads: DRAM's latency is hidden behind the segments before.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec import ebpc, isa
from ..spec.formats import WORD_BITS
from .buffers import VECTOR_BITS
from .dma import OFFSET_BITS
from .ebpc import EBPCSegmentDecoder, EBPCSegmentEncoder

SEGMENT_BITS = isa.LOAD_REGS["SEGMENT"][1]
LOOKAHEAD    = 4
IN_FLIGHT    = 64   # Words asked for and not yet taken: more than the reader ever has.

# SegmentWalk --------------------------------------------------------------------------------------

class SegmentWalk(LiteXModule):
    """All segments of all runs.

    Attributes
    ----------
    start : Signal
        In: pulse; the parameters must stay as they are until the last segment is taken.
    addr, runs, stride, length, segment : Signal
        In: first word, runs, words from a run to the next, blocks a run, blocks a segment. None of
        ``runs``, ``length`` and ``segment`` may be 0.
    source : Endpoint("address", "vectors")
        First word of a segment's slot, blocks in it.
    busy : Signal
        Out: not all have been taken.
    """
    def __init__(self):
        regs = isa.LOAD_REGS
        self.start   = Signal()
        self.addr    = Signal(regs["ADDR"][1])
        self.runs    = Signal(regs["RUNS"][1])
        self.stride  = Signal(regs["RUN_STRIDE"][1])
        self.length  = Signal(regs["RUN_LEN"][1])
        self.segment = Signal(SEGMENT_BITS)
        self.source  = source = stream.Endpoint(
            [("address", OFFSET_BITS), ("vectors", SEGMENT_BITS)])
        self.busy    = Signal()

        # # #

        run   = Signal(OFFSET_BITS)   # First word of the next run.
        runs  = Signal(len(self.runs))
        left  = Signal(len(self.length))
        short = Signal()
        self.comb += [
            short.eq(left <= self.segment),
            source.vectors.eq(Mux(short, left, self.segment)),
            self.busy.eq(self.start | source.valid),
        ]
        self.sync += [
            If(source.valid & source.ready,
                left.eq(left - self.segment),
                source.address.eq(source.address + self.segment + 1),
                If(short,
                    left.eq(self.length),
                    source.address.eq(run),
                    run.eq(run + self.stride),
                    runs.eq(runs - 1),
                    If(runs == 0, source.valid.eq(0)),
                )
            ),
            If(self.start,
                source.valid.eq(1),
                source.address.eq(self.addr),
                run.eq(self.addr + self.stride),
                runs.eq(self.runs - 1),
                left.eq(self.length),
            ),
        ]

    def follow(self, start, registers):
        """Statements that drive the inputs from an engine's registers."""
        return [
            self.start.eq(start),
            self.addr.eq(registers["ADDR"]),
            self.runs.eq(registers["RUNS"]),
            self.stride.eq(registers["RUN_STRIDE"]),
            self.length.eq(registers["RUN_LEN"]),
            self.segment.eq(registers["SEGMENT"]),
        ]

# SegmentReader ------------------------------------------------------------------------------------

class SegmentReader(LiteXModule):
    """
    Attributes
    ----------
    walk : SegmentWalk
        Its inputs are this core's.
    unsigned : Signal
        In: words are zero-extended, not sign-extended; static.
    clear : Signal
        In: pulse, before ``walk.start``; no word may be on its way.
    address, words : Endpoint("address"), Endpoint("data")
        To and from a RegionReader.
    source : Endpoint("data")
        Four int16, lane 0 lowest.
    busy : Signal
        Out: not all addresses have been taken.
    error, detail : Signal, Signal(32)
        Out: a segment is corrupt; the header that tells so, or 0 when its streams do. Stays until
        ``clear``.
    """
    def __init__(self, primitive=False):
        self.walk     = walk = SegmentWalk()
        self.unsigned = Signal()
        self.clear    = Signal()
        self.address  = stream.Endpoint([("address", OFFSET_BITS)])
        self.words    = stream.Endpoint([("data", WORD_BITS)])
        self.source   = stream.Endpoint([("data", VECTOR_BITS)])
        self.busy     = Signal()
        self.error    = Signal()
        self.detail   = Signal(32)

        # # #

        clearable    = ResetInserter()
        self.decoder = decoder = EBPCSegmentDecoder(word=8, block=8, primitive=primitive)
        self.kinds   = kinds   = clearable(stream.SyncFIFO([("header", 1)], IN_FLIGHT))
        self.slots   = slots   = clearable(stream.SyncFIFO(walk.source.description, LOOKAHEAD))
        command      = decoder.command.description.payload_layout
        self.jobs    = jobs    = clearable(stream.SyncFIFO(
            [("address", OFFSET_BITS), *command], LOOKAHEAD))
        self.comb += [fifo.reset.eq(self.clear) for fifo in (kinds, slots, jobs)]
        self.comb += [
            decoder.clear.eq(self.clear),
            decoder.unsigned.eq(self.unsigned),
            decoder.source.connect(self.source, omit={"first"}),
        ]

        # The FIFO's memory is slow to read, and a header's check is long.
        self.buffer = buffer = clearable(stream.Buffer([("data", WORD_BITS)]))
        self.comb  += [buffer.reset.eq(self.clear), self.words.connect(buffer.sink)]
        words       = buffer.source

        # Addresses: headers first, as long as there is room to keep what they say. -------------
        ahead   = Signal(max=LOOKAHEAD + 1)   # Segments between the call for a header and its job.
        payload = Signal()                    # The payload of a job is being asked for.
        address = Signal(OFFSET_BITS)
        left    = Signal(16)
        header  = Signal()
        take    = Signal()                    # A job is begun.
        issued  = Signal()
        self.comb += [
            header.eq(walk.source.valid & slots.sink.ready & (ahead != LOOKAHEAD)),
            self.address.valid.eq((header | payload) & kinds.sink.ready & ~self.error),
            self.address.address.eq(Mux(header, walk.source.address, address)),
            issued.eq(self.address.valid & self.address.ready),
            kinds.sink.valid.eq(issued),
            kinds.sink.header.eq(header),
            walk.source.ready.eq(issued & header),
            slots.sink.valid.eq(issued & header),
            slots.sink.address.eq(walk.source.address),
            slots.sink.vectors.eq(walk.source.vectors),
            take.eq(jobs.source.valid & ~payload & decoder.command.ready),
            jobs.source.ready.eq(take),
            decoder.command.valid.eq(jobs.source.valid & ~payload),
            jobs.source.connect(decoder.command, keep={name for name, _ in command}),
            self.busy.eq(walk.busy | (ahead != 0) | payload),
        ]
        self.sync += [
            If(issued & ~header,
                address.eq(address + 1),
                left.eq(left - 1),
                If(left == 1, payload.eq(0)),
            ),
            If(take,
                address.eq(jobs.source.address + 1),
                left.eq(jobs.source.znz_words + jobs.source.bpc_words),
                payload.eq((jobs.source.znz_words != 0) | (jobs.source.bpc_words != 0)),
            ),
            If((issued & header) & ~take,
                ahead.eq(ahead + 1)
            ).Elif(take & ~(issued & header),
                ahead.eq(ahead - 1)
            ),
            If(self.clear, payload.eq(0), ahead.eq(0)),
        ]

        # Words: a header is checked against its slot, all others are the decoder's. --------------
        fields = {name: words.data[first:first + bits] for name, (first, bits) in (
            ("znz_words", ebpc.ZNZ_WORDS), ("bpc_words", ebpc.BPC_WORDS), ("raw", ebpc.RAW))}
        arrived = Signal()
        total   = Signal(17)
        wrong   = Signal()
        self.comb += [
            total.eq(fields["znz_words"] + fields["bpc_words"]),
            # Four 8-bit words a vector: a raw segment has a word for each, others no more.
            wrong.eq((total > slots.source.vectors) | (fields["raw"] &
                ((fields["znz_words"] != 0) | (total != slots.source.vectors)))),
            arrived.eq(words.valid & kinds.source.valid & kinds.source.header),
            jobs.sink.valid.eq(arrived & ~wrong & ~self.error),
            jobs.sink.address.eq(slots.source.address),
            jobs.sink.vectors.eq(slots.source.vectors),
            *(getattr(jobs.sink, name).eq(value) for name, value in fields.items()),
            decoder.sink.data.eq(words.data),
            decoder.sink.valid.eq(words.valid & kinds.source.valid & ~kinds.source.header),
            If(kinds.source.header,
                words.ready.eq(kinds.source.valid & jobs.sink.ready),
            ).Else(
                words.ready.eq(kinds.source.valid & decoder.sink.ready),
            ),
            kinds.source.ready.eq(words.valid & words.ready),
            slots.source.ready.eq(arrived & words.ready),
        ]
        self.sync += [
            If(decoder.error, self.error.eq(1)),
            If(arrived & words.ready & wrong,
                self.error.eq(1),
                self.detail.eq(words.data),
            ),
            If(self.clear, self.error.eq(0), self.detail.eq(0)),
        ]

# SegmentWriter ------------------------------------------------------------------------------------

class SegmentWriter(LiteXModule):
    """
    Attributes
    ----------
    walk : SegmentWalk
        Its inputs are this core's.
    unsigned : Signal
        In: values are saturated to 0..255, not to -128..127; static.
    clear : Signal
        In: pulse, before ``walk.start``.
    sink : Endpoint("data")
        Four int16, lane 0 lowest: the vectors of all runs.
    writes : Endpoint("address", "data")
        To a RegionWriter.
    busy : Signal
        Out: not all words have been taken.
    error : Signal
        Out: a segment is longer than the encoder's memory; SEGMENT is out of range.
    """
    def __init__(self):
        self.walk     = walk = SegmentWalk()
        self.unsigned = Signal()
        self.clear    = Signal()
        self.sink     = stream.Endpoint([("data", VECTOR_BITS)])
        self.writes   = stream.Endpoint([("address", OFFSET_BITS), ("data", WORD_BITS)])
        self.busy     = Signal()
        self.error    = Signal()

        # # #

        self.encoder = encoder = EBPCSegmentEncoder(word=8, block=8)
        self.lengths = lengths = SegmentWalk()
        self.comb += [getattr(lengths, name).eq(getattr(walk, name))
            for name in ("start", "addr", "runs", "stride", "length", "segment")]
        self.comb += [
            encoder.clear.eq(self.clear),
            encoder.unsigned.eq(self.unsigned),
            self.error.eq(encoder.error),
        ]

        # Vectors: the end of every segment. ------------------------------------------------------
        done = Signal(SEGMENT_BITS)   # Vectors of the segment taken.
        self.comb += [
            encoder.sink.valid.eq(self.sink.valid & lengths.source.valid),
            encoder.sink.data.eq(self.sink.data),
            encoder.sink.last.eq(done + 1 == lengths.source.vectors),
            self.sink.ready.eq(encoder.sink.ready & lengths.source.valid),
            lengths.source.ready.eq(encoder.sink.valid & encoder.sink.ready & encoder.sink.last),
        ]
        self.sync += [
            If(encoder.sink.valid & encoder.sink.ready,
                done.eq(Mux(encoder.sink.last, 0, done + 1))
            ),
            If(self.clear, done.eq(0)),
        ]

        # Words. ---------------------------------------------------------------------------------
        word = Signal(SEGMENT_BITS + 1)
        self.comb += [
            self.writes.valid.eq(encoder.source.valid & walk.source.valid),
            self.writes.address.eq(walk.source.address + word),
            self.writes.data.eq(encoder.source.data),
            encoder.source.ready.eq(self.writes.ready & walk.source.valid),
            walk.source.ready.eq(self.writes.valid & self.writes.ready & encoder.source.last),
            self.busy.eq(walk.busy),
        ]
        self.sync += [
            If(self.writes.valid & self.writes.ready,
                word.eq(Mux(encoder.source.last, 0, word + 1))
            ),
            If(self.clear, word.eq(0)),
        ]
