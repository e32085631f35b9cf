"""EBPC decoder: a word a clock, whatever the data.

::

    znz --> ZNZDecoder ------------------------------------------> flags --+
                                                                           +--> words
    bpc --> SymbolFramer --> PlaneReader --> WordBuffer --> nonzero words -+
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ...spec.ebpc import BLOCKS, WORDS
from ...spec.formats import WORD_BITS
from .blocks import PlaneReader, WordBuffer
from .framer import SymbolFramer
from .znz_decoder import COUNT_BITS, ZNZDecoder


def check_variant(word, block):
    """ValueError unless there is such a code."""
    if word not in WORDS:
        raise ValueError(f"EBPC: word = {word}: allowed are 8 and 16")
    if block not in BLOCKS:
        raise ValueError(f"EBPC: block = {block}: allowed are 8 and 16")

# EBPCDecoder --------------------------------------------------------------------------------------

class EBPCDecoder(LiteXModule):
    """
    The words of a stream may be offered before or after its command, and those of the next streams
    as well; commands wait until they can be begun.

    A malformed stream: the words from the first on that it does not tell of are zero, at most one
    clock each, up to the count-th one with ``last``; ``error`` is set before that one at the
    latest. Then, until ``clear``, all that is offered is taken and dropped, and nothing comes out.
    Malformed is a stream that ends too early, one with 32-bit words left over, one with a
    symbol that cannot be there, and one with other than zeros behind its last symbol or in the
    words that fill its last block. A stream that decodes is right, even if no encoder makes it.

    Parameters
    ----------
    word, block : int
        Bits of a word, and nonzero words of a block: 8 or 16.
    primitive : bool
        Instantiate the multiplexers of an ECP5 slice (gateware/mux.py): smaller and faster there.

    Attributes
    ----------
    clear : Signal
        In: pulse; drops all commands and words, and resets ``error``.
    error : Signal
        Out: a stream was malformed, or a command had a count of 0; stays set.
    command : Endpoint("count", "znz_words", "bpc_words")
        A stream: the words to decode, not 0, and the 32-bit words of its parts. There are no
        BPC words if all words are zero.
    znz, bpc : Endpoint("data")
        32-bit words (spec/ebpc.py). ``last`` is ignored: the command tells.
    source : Endpoint("data")
        ``last``: the count-th word.
    """
    def __init__(self, word=8, block=8, primitive=False):
        check_variant(word, block)
        self.clear   = Signal()
        self.error   = error = Signal()
        self.command = command = stream.Endpoint(
            [("count", COUNT_BITS), ("znz_words", COUNT_BITS), ("bpc_words", COUNT_BITS)])
        self.znz     = stream.Endpoint([("data", WORD_BITS)])
        self.bpc     = stream.Endpoint([("data", WORD_BITS)])
        self.source  = source = stream.Endpoint([("data", word)])

        # # #

        clearable    = ResetInserter()
        self.flags   = flags  = clearable(ZNZDecoder(word))
        self.framer  = framer = clearable(SymbolFramer(word, block, primitive))
        self.planes  = planes = clearable(PlaneReader(word, block, primitive))
        self.buffer  = buffer = clearable(WordBuffer(word, block))
        self.comb   += [core.reset.eq(self.clear) for core in (flags, framer, planes, buffer)]

        # Streams --------------------------------------------------------------------------------
        # The queue lets the framer begin a stream while the flags of the one before are told.
        self.queue = queue = clearable(stream.Buffer(flags.command.description))
        dead = Signal()   # The malformed stream's last word is through.
        both = Signal()
        self.comb += [
            queue.reset.eq(self.clear),
            queue.source.connect(flags.command, omit={"first", "last"}),
            both.eq(queue.sink.ready & framer.command.ready & ~error),
            queue.sink.valid.eq(command.valid & both & (command.count != 0)),
            framer.command.valid.eq(command.valid & both & (command.count != 0)),
            command.connect(queue.sink, keep={"count", "znz_words"}),
            command.connect(framer.command, keep={"bpc_words"}),
            command.ready.eq(both | dead),
            self.znz.connect(flags.sink, omit={"first", "last"}),
            self.bpc.connect(framer.sink, omit={"first", "last"}),
            If(dead, self.znz.ready.eq(1)),
            If(error, self.bpc.ready.eq(1)),
            framer.source.connect(planes.sink, omit={"first", "last"}),
            planes.source.connect(buffer.sink, omit={"first", "last"}),
            flags.abort.eq(error),
        ]

        # Words ----------------------------------------------------------------------------------
        # The stage before the source: its last word waits there until the stream turned out well.
        flag    = flags.source
        valid   = Signal()
        data    = Signal(word, reset_less=True)
        last    = Signal(reset_less=True)
        closing = Signal()   # The last word is through, the rest of the stream is not.
        well    = Signal()   # Now it is, and it is empty.
        ill     = Signal()
        need    = Signal()   # A nonzero word.
        first   = Signal(reset=1)
        go      = Signal()
        shift1  = Signal()
        shift2  = Signal()
        self.comb += [
            shift2.eq(~source.valid | source.ready),
            shift1.eq(~valid | (shift2 & (~last | ~closing | well | ill))),
            need.eq(flag.nonzero & ~flag.bad & ~error),
            # A stream that begins with zeros waits as well, so as not to wait later. Not shift1,
            # for what ends a stream takes long to know.
            go.eq(flag.valid & (shift2 | ~valid) & ~closing & ~dead & (buffer.valid | buffer.ended
                | flag.bad | error | ~(flag.nonzero | first))),
            flag.ready.eq(go),
            # Whether the flag is bad does not matter: nothing follows it.
            buffer.take.eq(flag.valid & (shift2 | ~valid) & ~closing & ~dead & flag.nonzero & ~error
                & buffer.valid),
            If(closing,
                ill.eq(error | Mux(buffer.ended,
                    buffer.bad | (buffer.valid & (buffer.fresh | ~buffer.clean)),
                    buffer.more | (buffer.valid & buffer.fresh))),
                well.eq(buffer.ended & ~ill),
            ),
            buffer.close.eq(well),
        ]
        self.sync += [
            If(shift2,
                source.valid.eq(valid & shift1),
                source.data.eq(data),
                source.last.eq(last),
            ),
            If(shift1,
                valid.eq(go),
                data.eq(Mux(need & buffer.valid, buffer.word, 0)),
                last.eq(flag.last),
            ),
            If(go & (flag.bad | (need & ~buffer.valid)), error.eq(1)),
            If(go, first.eq(flag.last)),
            If(go & flag.last, closing.eq(1)),
            If(well | ill, closing.eq(0)),
            If(ill, error.eq(1), dead.eq(1)),
            # Once the streams before are through.
            If(command.valid & both & (command.count == 0)
                    & flags.command.ready & ~(queue.source.valid | flag.valid | closing | valid
                    | source.valid),
                error.eq(1),
                dead.eq(1),
            ),
            If(self.clear,
                [signal.eq(0) for signal in (source.valid, valid, closing, error, dead)],
                first.eq(1),
            ),
        ]
