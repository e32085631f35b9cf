"""EBPC segments for the accelerator: vectors of four int16 to header and payload."""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ...spec.ebpc import BPC_WORDS, MAX_SEGMENT_BLOCKS, RAW, ZNZ_WORDS
from ...spec.formats import LANES, VALUE_BITS, WORD_BITS
from ..mux import select
from .encoder import EBPCEncoder

BANKS      = 2    # Segments in memory: one is encoded while the one before leaves.
COUNT_BITS = 10   # 32-bit words of a stream: at most 608 (16-bit words in blocks of 8).

# Ports --------------------------------------------------------------------------------------------

def _ports(self):
    self.unsigned = Signal()
    self.error    = Signal()
    self.sink     = stream.Endpoint([("data", LANES*VALUE_BITS)])
    self.source   = stream.Endpoint([("data", WORD_BITS)])


def saturated(value, unsigned, bits):
    """An int16 saturated to ``bits`` bits, signed or unsigned (an expression)."""
    sign, high = value[-1], value[bits - 1:]
    fits  = (high == 0) | (high == 2**len(high) - 1)
    limit = Cat(Replicate(~sign, bits - 1), sign)
    above = value[bits:] == 0 if bits < len(value) else ~sign
    return Mux(unsigned, Mux(above, value[:bits], Replicate(~sign, bits)),
        Mux(fits, value[:bits], limit))

# SegmentLengths ----------------------------------------------------------------------------------

class SegmentLengths(LiteXModule):
    """What is known of the segments in the banks, one register for each.

    Attributes
    ----------
    write : Signal
        In: pulse; ``value`` is that of the bank in turn, which is ``bank``; then it is the next
        one's turn.
    values : list of Signal
        Out: ``value`` of each bank.
    known : Signal(BANKS)
        Out: it has been written since the bank was released.
    release : Signal(BANKS)
        In: pulse for each bank.
    """
    def __init__(self):
        self.write   = Signal()
        self.value   = Signal(COUNT_BITS)
        self.bank    = Signal(max=BANKS)
        self.values  = [Signal(COUNT_BITS, reset_less=True) for _ in range(BANKS)]
        self.known   = Signal(BANKS)
        self.release = Signal(BANKS)

        # # #

        self.sync += [
            self.known.eq(self.known & ~self.release),
            If(self.write,
                self.bank.eq(self.bank + 1),
                [If(self.bank == i, register.eq(self.value), self.known[i].eq(1))
                    for i, register in enumerate(self.values)],
            )
        ]

# SegmentWriter ------------------------------------------------------------------------------------

class SegmentWriter(LiteXModule):
    """
    Vectors to the streams and to the raw copy, in two memories of two banks: a ZNZ stream lies at
    the beginning of its bank, a BPC stream at the end, backwards. Streams that overlap are longer
    than the bank, so the segment is raw.

    Attributes
    ----------
    unsigned, error, sink : see EBPCSegmentEncoder.
    memories : (Memory, Memory)
        WORD_BITS wide: streams and raw copies. In a tuple, since LiteX puts Memory attributes on
        the CSR bus, with a port that no block RAM has.
    znz, bpc, raw_words : SegmentLengths
        32-bit words of the streams, and of the raw copy.
    release : Signal(BANKS)
        In: pulse: the bank is free again.
    """
    def __init__(self, word, block):
        _ports(self)
        depth   = MAX_SEGMENT_BLOCKS*LANES*word//WORD_BITS
        streams        = Memory(WORD_BITS, BANKS*depth)
        raw            = Memory(WORD_BITS, BANKS*depth)
        self.memories  = streams, raw
        self.release   = Signal(BANKS)
        self.znz       = znz       = SegmentLengths()
        self.bpc       = bpc       = SegmentLengths()
        self.raw_words = raw_words = SegmentLengths()
        self.encoder   = encoder   = EBPCEncoder(word, block)
        self.specials += streams, raw
        self.comb += [
            encoder.unsigned.eq(self.unsigned),
            *(lengths.release.eq(self.release) for lengths in (znz, bpc, raw_words)),
        ]

        # Vectors --------------------------------------------------------------------------------
        # Too long a segment ends with the last vector it may have, the others are dropped.
        sink     = self.sink
        held     = Signal(BANKS)                    # There is a segment, at least begun.
        index    = Signal(max=MAX_SEGMENT_BLOCKS)   # Of the vector in its segment.
        dropping = Signal()
        ended    = Signal()
        take     = Signal()
        free     = Signal()                         # Vector register.
        wait     = Signal()                         # No bank for a new segment.
        bank     = raw_words.bank
        self.comb += [
            ended.eq(sink.last | (index == MAX_SEGMENT_BLOCKS - 1)),
            wait.eq((index == 0) & select(bank, list(held))),
            sink.ready.eq(dropping | (free & ~wait)),
            take.eq(sink.valid & free & ~wait & ~dropping),
            raw_words.write.eq(take & ended),
            raw_words.value.eq((index + 1)*(depth//MAX_SEGMENT_BLOCKS)),
        ]
        self.sync += [
            held.eq(held & ~self.release),
            If(take,
                [If(bank == i, held[i].eq(1)) for i in range(BANKS)],
                index.eq(index + 1),
                If(ended,
                    index.eq(0),
                    dropping.eq(~sink.last),
                )
            ),
            If(dropping,
                self.error.eq(1),
                If(sink.valid & sink.last, dropping.eq(0))
            ),
        ]

        # Words ----------------------------------------------------------------------------------
        valid  = Signal()
        vector = Signal(LANES*word, reset_less=True)
        last   = Signal(reset_less=True)
        lane   = Signal(max=LANES)
        place  = Signal(len(bank) + len(index), reset_less=True)
        lanes  = [sink.data[VALUE_BITS*i:VALUE_BITS*(i + 1)] for i in range(LANES)]
        step   = Signal()
        self.comb += [
            encoder.sink.valid.eq(valid),
            encoder.sink.data.eq(vector[:word]),
            encoder.sink.last.eq(last & (lane == LANES - 1)),
            step.eq(valid & encoder.sink.ready),
            free.eq(~valid | (step & (lane == LANES - 1))),
        ]
        self.sync += [
            If(step,
                vector.eq(vector[word:]),
                lane.eq(lane + 1),
            ),
            If(free,
                valid.eq(take),
                vector.eq(Cat(*(saturated(value, self.unsigned, word) for value in lanes))),
                last.eq(ended),
                place.eq(Cat(index, bank)),
            ),
        ]

        # Raw copy -------------------------------------------------------------------------------
        # A word of it lies at the vector register's low end when the word's first lane does.
        port   = raw.get_port(write_capable=True, mode=READ_FIRST)
        self.specials += port
        in_word = log2_int(WORD_BITS//word)
        self.comb += [
            port.dat_w.eq(vector[:WORD_BITS]),
            port.we.eq(valid & (lane[:in_word] == 0)),
            port.adr.eq(Cat(lane[in_word:], place) if in_word < len(lane) else place),
        ]

        # Streams --------------------------------------------------------------------------------
        # ZNZ words are rare: BPC waits.
        port   = streams.get_port(write_capable=True, mode=READ_FIRST)
        self.specials += port
        offset = log2_int(depth)
        self.comb += [
            encoder.znz.ready.eq(1),
            encoder.bpc.ready.eq(~encoder.znz.valid),
            port.we.eq(encoder.znz.valid | encoder.bpc.valid),
        ]
        words  = {}
        for lengths, source in ((znz, encoder.znz), (bpc, encoder.bpc)):
            count = words[lengths] = Signal(COUNT_BITS)
            taken = source.valid & source.ready
            self.comb += [
                lengths.value.eq(count + (source.words != 0)),
                lengths.write.eq(taken & source.last),
            ]
            self.sync += If(taken,
                count.eq(lengths.value),
                If(source.last, count.eq(0))
            )
        self.comb += If(encoder.znz.valid,
            port.dat_w.eq(encoder.znz.data),
            port.adr.eq(Cat(words[znz][:offset], znz.bank)),
        ).Else(
            port.dat_w.eq(encoder.bpc.data),
            port.adr.eq(Cat(~words[bpc][:offset], bpc.bank)),
        )

# SegmentReader ------------------------------------------------------------------------------------

class SegmentReader(LiteXModule):
    """
    Header and payload of each segment that a SegmentWriter has completed; the bank is released as
    soon as its last word has been read. 4 clocks from a segment's last word to the next header.

    Attributes
    ----------
    source : Endpoint("data")
        ``last``: last word of a segment.
    """
    def __init__(self, writer):
        self.source = stream.Endpoint([("data", WORD_BITS)])

        # # #

        depth   = writer.memories[1].depth//BANKS
        offset  = log2_int(depth)
        records = (writer.znz, writer.bpc, writer.raw_words)
        znz, bpc, raw_words = (Signal(COUNT_BITS, reset_less=True) for _ in records)
        bank    = Signal(max=BANKS)
        total   = Signal(COUNT_BITS + 1, reset_less=True)
        raw     = Signal(reset_less=True)
        header  = Signal(WORD_BITS)
        up      = Signal(COUNT_BITS, reset_less=True)   # Words that lie forwards, still to read.
        left    = Signal(COUNT_BITS, reset_less=True)   # Words, still to read.
        address = Signal(offset, reset_less=True)
        down    = Signal(reset_less=True)
        shift   = Signal()
        known   = Signal()

        def field(bits):
            first, size = bits
            return header[first:first + size]
        self.comb += [
            known.eq(select(bank, list(writer.znz.known & writer.bpc.known))),
            header[RAW[0]].eq(raw),
            If(raw,
                field(BPC_WORDS).eq(raw_words),
            ).Else(
                field(ZNZ_WORDS).eq(znz),
                field(BPC_WORDS).eq(bpc),
            ),
        ]

        # Order of words -------------------------------------------------------------------------
        offered = Signal()   # A beat, to the memories' stage.
        first   = Signal()   # It is the header.
        self.fsm = fsm = FSM(reset_state="IDLE")
        fsm.act("IDLE",
            *(NextValue(value, select(bank, record.values))
                for value, record in zip((znz, bpc, raw_words), records, strict=True)),
            If(known, NextState("SUM"))
        )
        fsm.act("SUM",
            NextValue(total, znz + bpc),
            NextState("COMPARE"),
        )
        fsm.act("COMPARE",
            NextValue(raw, total >= raw_words),
            NextState("HEADER"),
        )
        fsm.act("HEADER",
            offered.eq(1),
            first.eq(1),
            NextValue(address, 0),
            NextValue(down, 0),
            NextValue(left, Mux(raw, raw_words, total)),
            NextValue(up, Mux(raw, raw_words, znz)),
            If(shift, NextState("WORDS"))
        )
        fsm.act("WORDS",
            offered.eq(1),
            If(shift,
                NextValue(left, left - 1),
                NextValue(up, up - 1),
                NextValue(address, Mux(down, address - 1, address + 1)),
                If(up == 1,
                    NextValue(address, depth - 1),
                    NextValue(down, 1),
                ),
                If(left == 1,
                    [If(bank == i, writer.release[i].eq(1)) for i in range(BANKS)],
                    NextValue(bank, bank + 1),
                    NextState("IDLE"),
                )
            )
        )

        # Memories, choice, header ---------------------------------------------------------------
        # A stage each, since a memory's data are late in their clock.
        # Not WRITE_FIRST: what waits in a memory's register stays when its bank is written again.
        # No address is read in the clock in which it is written, so Yosys may have -no-rw-check
        # (else it builds a bypass: 90 LUTs).
        ports = [memory.get_port(has_re=True, mode=READ_FIRST) for memory in writer.memories]
        self.specials += ports
        valid      = Signal(2)
        last       = Signal(2, reset_less=True)
        is_header  = Signal(2, reset_less=True)
        is_raw     = Signal(reset_less=True)
        headers    = [Signal(WORD_BITS, reset_less=True) for _ in range(2)]
        data       = Signal(WORD_BITS, reset_less=True)
        self.comb += [
            shift.eq(self.source.ready | ~self.source.valid),
            [[port.adr.eq(Cat(address, bank)), port.re.eq(shift)] for port in ports],
        ]
        self.sync += If(shift,
            Cat(valid, self.source.valid).eq(Cat(offered, valid)),
            Cat(last, self.source.last).eq(Cat(~first & (left == 1), last)),
            is_header.eq(Cat(first, is_header)),
            is_raw.eq(raw),
            headers[0].eq(header),
            headers[1].eq(headers[0]),
            data.eq(Mux(is_raw, ports[1].dat_r, ports[0].dat_r)),
            self.source.data.eq(Mux(is_header[1], headers[1], data)),
        )

# EBPCSegmentEncoder -------------------------------------------------------------------------------

class EBPCSegmentEncoder(LiteXModule):
    """
    A segment (spec/ebpc.py) leaves when all of it has come in, as the next one is encoded: a vector
    every 4 clocks.

    Parameters
    ----------
    word, block : int
        Bits of a word, and nonzero words of a block: 8 or 16.

    Attributes
    ----------
    unsigned : Signal
        In: values are saturated to, and encoded as, unsigned words; static while segments are
        inside.
    clear : Signal
        In: pulse; drops all vectors and words, and resets ``error``.
    error : Signal
        Out: a segment had more than MAX_SEGMENT_BLOCKS vectors; stays set. The rest of it was
        dropped, the segment ends before.
    sink : Endpoint("data")
        Four int16, lane 0 lowest; ``last`` on a segment's last vector.
    source : Endpoint("data")
        Header, then payload; ``last`` on a segment's last word.
    """
    def __init__(self, word=8, block=8):
        _ports(self)
        self.clear = Signal()

        # # #

        clearable   = ResetInserter()
        writer      = SegmentWriter(word, block)
        self.reader = reader = clearable(SegmentReader(writer))
        self.writer = clearable(writer)
        self.comb  += [
            reader.reset.eq(self.clear),
            writer.reset.eq(self.clear),
            writer.unsigned.eq(self.unsigned),
            self.error.eq(writer.error),
            self.sink.connect(writer.sink, omit={"first"}),
            reader.source.connect(self.source),
        ]
