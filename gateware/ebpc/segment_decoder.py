"""EBPC segments for the accelerator: payload to vectors of four int16."""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ...spec.ebpc import BPC_WORDS, MAX_SEGMENT_BLOCKS, ZNZ_WORDS
from ...spec.formats import LANES, VALUE_BITS, WORD_BITS
from .decoder import EBPCDecoder
from .znz_decoder import SYMBOL_BITS

VECTOR_BITS = bits_for(MAX_SEGMENT_BLOCKS)
# At worst every word is a run of its own. A FIFO that holds all ZNZ words of a segment cannot keep
# its BPC words, which come after them, from the decoder.
MAX_ZNZ_WORDS = -(-MAX_SEGMENT_BLOCKS*LANES*SYMBOL_BITS//WORD_BITS)
ZNZ_DEPTH     = 256
BPC_DEPTH     = 512   # An EBR: a segment's words, so that those of the next can come.
JOBS          = 4   # Segments begun and not yet out: as many as can be on their way.
CODED, PLAIN, NONE = range(3)

# EBPCSegmentDecoder -------------------------------------------------------------------------------

class EBPCSegmentDecoder(LiteXModule):
    """
    A vector every 4 clocks; of raw segments a 32-bit word every clock. The words of a segment may
    come while the one before is being decoded.

    A malformed segment: its vectors from the first wrong one on are zero, up to the one with
    ``last``; ``error`` is set before that one at the latest. Then, until ``clear``, all that is
    offered is taken and dropped, and nothing comes out. Malformed is a segment whose streams are
    (see EBPCDecoder), a raw one of any other length than its vectors have, or with ZNZ words, and
    one with too many ZNZ words (MAX_ZNZ_WORDS) or vectors.

    Parameters
    ----------
    word, block : int
        Bits of a word, and nonzero words of a block: 8 or 16.
    primitive : bool
        See EBPCDecoder.

    Attributes
    ----------
    unsigned : Signal
        In: words are zero-extended, not sign-extended; static while segments are inside.
    clear : Signal
        In: pulse; drops all commands and words, and resets ``error``.
    error : Signal
        Out: a segment was malformed, or had no vectors (then nothing came of it); stays set.
    command : Endpoint("vectors", "znz_words", "bpc_words", "raw")
        A segment: its vectors, 1 to 256, and what its header says.
    sink : Endpoint("data")
        Its words but the header. ``last`` is ignored: the command tells.
    source : Endpoint("data")
        Four int16, lane 0 lowest; ``last`` on a segment's last vector.
    """
    def __init__(self, word=8, block=8, primitive=False):
        self.unsigned = Signal()
        self.clear    = Signal()
        self.error    = Signal()
        self.command  = command = stream.Endpoint([("vectors", VECTOR_BITS),
            ("znz_words", ZNZ_WORDS[1]), ("bpc_words", BPC_WORDS[1]), ("raw", 1)])
        self.sink     = sink    = stream.Endpoint([("data", WORD_BITS)])
        self.source   = source  = stream.Endpoint([("data", LANES*VALUE_BITS)])

        # # #

        clearable    = ResetInserter()
        self.decoder = decoder = EBPCDecoder(word, block, primitive)
        self.znz     = znz  = clearable(stream.SyncFIFO([("data", WORD_BITS)], ZNZ_DEPTH,
            buffered=True))
        self.bpc     = bpc  = clearable(stream.SyncFIFO([("data", WORD_BITS)], BPC_DEPTH,
            buffered=True))
        # Holds a segment's command, so that its ZNZ words can come.
        self.begun   = begun = clearable(stream.Buffer(decoder.command.description))
        self.jobs    = jobs = clearable(stream.SyncFIFO([("vectors", VECTOR_BITS), ("kind", 2)],
            JOBS))
        plain        = stream.Endpoint([("data", WORD_BITS)])   # Words of raw segments.
        self.comb   += [
            decoder.clear.eq(self.clear),
            znz.reset.eq(self.clear),
            bpc.reset.eq(self.clear),
            jobs.reset.eq(self.clear),
            begun.reset.eq(self.clear),
            begun.source.connect(decoder.command, omit={"first", "last"}),
            znz.source.connect(decoder.znz, omit={"first"}),
            bpc.source.connect(decoder.bpc, omit={"first"}),
        ]

        # Words, to where they belong. -----------------------------------------------------------
        in_vector = LANES*word//WORD_BITS   # Words of a raw vector.
        znz_left  = Signal(ZNZ_WORDS[1])
        bpc_left  = Signal(BPC_WORDS[1])
        raw       = Signal()
        idle      = Signal()
        halt      = Signal()   # Nothing more is decoded.
        wrong     = Signal()
        self.comb += [
            wrong.eq((command.vectors == 0) | (command.vectors > MAX_SEGMENT_BLOCKS)
                | Mux(command.raw,
                    (command.znz_words != 0) | (command.bpc_words != command.vectors*in_vector),
                    command.znz_words > MAX_ZNZ_WORDS)),
            idle.eq((znz_left == 0) & (bpc_left == 0)),
            jobs.sink.vectors.eq(command.vectors),
            jobs.sink.kind.eq(Mux(wrong, NONE, Mux(command.raw, PLAIN, CODED))),
            begun.sink.count.eq(Cat(C(0, log2_int(LANES)), command.vectors)),
            begun.sink.znz_words.eq(command.znz_words),
            begun.sink.bpc_words.eq(command.bpc_words),
            znz.sink.data.eq(sink.data),
            bpc.sink.data.eq(sink.data),
            plain.data.eq(sink.data),
            If(halt | self.error,
                command.ready.eq(1),
                sink.ready.eq(1),
            ).Elif(idle,
                command.ready.eq(jobs.sink.ready & (begun.sink.ready | wrong | command.raw)),
                jobs.sink.valid.eq(command.valid
                    & (begun.sink.ready | wrong | command.raw)),
                begun.sink.valid.eq(command.valid & jobs.sink.ready & ~wrong & ~command.raw),
            ).Elif(znz_left != 0,
                znz.sink.valid.eq(sink.valid),
                sink.ready.eq(znz.sink.ready),
            ).Elif(raw,
                plain.valid.eq(sink.valid),
                sink.ready.eq(plain.ready),
            ).Else(
                bpc.sink.valid.eq(sink.valid),
                sink.ready.eq(bpc.sink.ready),
            ),
        ]
        self.sync += [
            If(sink.valid & sink.ready,
                If(znz_left != 0,
                    znz_left.eq(znz_left - 1)
                ).Elif(bpc_left != 0,
                    bpc_left.eq(bpc_left - 1)
                )
            ),
            If(command.valid & command.ready,
                znz_left.eq(command.znz_words),
                bpc_left.eq(command.bpc_words),
                raw.eq(command.raw),
                halt.eq(halt | wrong),
            ),
            If(self.clear,
                znz_left.eq(0),
                bpc_left.eq(0),
                halt.eq(0),
            ),
        ]

        # Vectors --------------------------------------------------------------------------------
        job    = jobs.source
        dead   = Signal()   # A malformed segment's last vector is through.
        free   = Signal()
        some   = Signal()   # Values are added to the vector:
        part   = Signal(max=LANES)   # the first of them.
        full   = Signal()   # They complete it.
        index  = Signal(VECTOR_BITS)
        final  = Signal()
        values = Signal(LANES*VALUE_BITS)
        def extended(value):
            return Cat(value, Replicate(value[-1] & ~self.unsigned, VALUE_BITS - len(value)))
        def shifted(new):
            kept = LANES*VALUE_BITS - len(new)
            return Cat(source.data[len(new):], new) if kept else new
        per_word = WORD_BITS//word
        self.comb += [
            free.eq((~source.valid | source.ready) & job.valid & ~dead),
            final.eq(index + 1 == job.vectors),
            job.ready.eq(some & full & final),
            If(job.kind == CODED,
                decoder.source.ready.eq(free),
                some.eq(free & decoder.source.valid),
                full.eq(part == LANES - 1),
                values.eq(shifted(extended(decoder.source.data))),
            ).Elif(job.kind == PLAIN,
                plain.ready.eq(free),
                some.eq(free & plain.valid),
                full.eq(part == LANES - per_word),
                values.eq(shifted(Cat(*(extended(plain.data[word*i:word*(i + 1)])
                    for i in range(per_word))))),
            ).Else(
                some.eq(free & (job.vectors != 0)),
                full.eq(1),
            ),
        ]
        self.sync += [
            If(source.ready, source.valid.eq(0)),
            If(some,
                source.valid.eq(full),
                source.last.eq(final),
                source.data.eq(values),
                part.eq(Mux(full, 0, part + Mux(job.kind == PLAIN, per_word, 1))),
                If(full,
                    index.eq(Mux(final, 0, index + 1)),
                    If(final & self.error, dead.eq(1)),
                ),
            ),
            If(decoder.error | (job.valid & (job.kind == NONE)), self.error.eq(1)),
            If(job.valid & (job.kind == NONE) & (job.vectors == 0), dead.eq(1)),
            If(self.clear,
                [signal.eq(0) for signal in (source.valid, part, index, dead, self.error)]
            ),
        ]
