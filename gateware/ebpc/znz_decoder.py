"""The ZNZ stream to flags: which words are not zero."""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ...spec.ebpc import ZERO_RUN_BITS
from ...spec.formats import WORD_BITS
from ..mux import select

COUNT_BITS  = 16
SYMBOL_BITS = 1 + ZERO_RUN_BITS   # Of a zero run.

def in_order(data, word):
    """The bits of a 32-bit word (a Signal) as they come in a stream of ``word``-bit words, bit 0
    the first."""
    return Cat(*(data[word*i + word - 1 - bit]
        for i in range(WORD_BITS//word) for bit in range(word)))

def no_more(module, data, behind=1):
    """Whether data is zero from bit i on and ``behind`` holds: a list. Four bits at a time."""
    out = []
    for i in reversed(range(0, len(data), 4)):
        signal = Signal()
        module.comb += signal.eq((data[i:i + 4] == 0) & behind)
        out += [*((data[j:i + 4] == 0) & behind for j in (i + 3, i + 2, i + 1)), signal]
        behind = signal
    return out[::-1]

# ZNZDecoder ---------------------------------------------------------------------------------------

class ZNZDecoder(LiteXModule):
    """
    One symbol a clock is taken out of two words, then told one flag a clock: no clock is lost
    within a stream, up to 4 from a stream to the next.

    What a malformed stream does not tell of is ``bad``, up to the last word; nothing follows it
    until reset.

    Parameters
    ----------
    word : int
        Bits of a word: 8 or 16.

    Attributes
    ----------
    abort : Signal
        In: read no more; tell the rest of the stream as if it were malformed.
    command : Endpoint("count", "znz_words")
        Words that the stream tells of, not 0, and the 32-bit words it has.
    sink : Endpoint("data")
        Its 32-bit words.
    source : Endpoint("nonzero", "bad")
        A flag a word. ``last``: of the stream.
    """
    def __init__(self, word):
        self.abort   = Signal()
        self.command = command = stream.Endpoint([("count", COUNT_BITS), ("znz_words", COUNT_BITS)])
        self.sink    = sink    = stream.Endpoint([("data", WORD_BITS)])
        self.source  = source  = stream.Endpoint([("nonzero", 1), ("bad", 1)])

        # # #

        # Words: ``this`` is read from bit ``at`` on. ----------------------------------------------
        at       = Signal(max=WORD_BITS)
        this     = Signal(WORD_BITS, reset_less=True)
        follower = Signal(WORD_BITS, reset_less=True)   # May be of the next stream.
        loaded   = Signal()                             # There is ``this``,
        ahead    = Signal()                             # the follower.
        shift    = Signal()                             # The follower is used up, or is ``this``.
        self.comb += sink.ready.eq(~ahead | shift)
        self.sync += [
            If(sink.ready,
                ahead.eq(sink.valid),
                follower.eq(in_order(sink.data, word)),
            ),
            If(shift, this.eq(follower)),
        ]

        # Symbol ---------------------------------------------------------------------------------
        # Read before it is known that the one before is the stream's last: then it is dropped.
        active = Signal()
        bad    = Signal()
        spent  = Signal()                # The last word has been read to its end.
        words  = Signal(COUNT_BITS)      # 32-bit words after ``this``.
        final  = Signal(reset=1)         # There are none.
        symbol = Signal(SYMBOL_BITS)
        end    = Signal(len(at) + 1)
        cross  = Signal()                # The symbol ends with ``this``, or in the follower.
        over   = Signal()                # It ends in the follower.
        begin  = Signal()                # ``this`` is to be loaded.
        read   = Signal()
        valid  = Signal()                # What was read:
        one    = Signal(reset_less=True)
        run    = Signal(ZERO_RUN_BITS, reset_less=True)   # Its words - 1.
        short  = Signal(reset_less=True)                  # It is not all there.
        rest   = Signal(reset_less=True)                  # Words after it.
        next_  = Signal()                # It is taken.
        done   = Signal()                # It is the stream's last.
        pair   = Cat(this, follower)
        self.comb += [
            symbol.eq(select(at, [pair[i:i + SYMBOL_BITS] for i in range(WORD_BITS)])),
            end.eq(at + Mux(symbol[0], 1, SYMBOL_BITS)),
            cross.eq(end[-1]),
            over.eq(cross & (end[:-1] != 0)),
            begin.eq(active & ~loaded & ahead & ~final),
            read.eq(loaded & (ahead | final) & (~valid | next_)),
            shift.eq(begin | (read & cross & ~final)),
            command.ready.eq(~active),
        ]
        self.sync += [
            If(next_, valid.eq(0)),
            If(begin, loaded.eq(1)),
            If(read,
                valid.eq(1),
                one.eq(symbol[0]),
                run.eq(Mux(symbol[0], 0,
                    Cat(*(symbol[SYMBOL_BITS - 1 - i] for i in range(ZERO_RUN_BITS))))),
                short.eq(spent | (over & final)),
                rest.eq(Mux(over, words != 1, ~final)),
                at.eq(end),
                spent.eq(spent | (cross & final)),
            ),
            If(shift,
                words.eq(words - 1),
                final.eq(words == 1),
            ),
            If(done,
                valid.eq(0),
                loaded.eq(0),
                at.eq(0),
                spent.eq(0),
            ),
        ]

        # Count ----------------------------------------------------------------------------------
        more  = Signal(COUNT_BITS)       # Words to tell of.
        after = Signal(COUNT_BITS + 1)   # The highest bit: not that many.
        ends  = Signal()
        wrong = Signal()
        step  = Signal()
        free  = Signal()             # Of the flags below.
        size  = Signal(ZERO_RUN_BITS)
        self.comb += [
            size.eq(Mux(bad, 0, run)),
            ends.eq((more[ZERO_RUN_BITS + 1:] == 0) & (more[:ZERO_RUN_BITS + 1] == size + 1)),
            wrong.eq(short | after[-1] | (ends & rest)),
            step.eq(active & valid & free & ~wrong & ~bad),
            # If it is wrong, what is read after it does not matter.
            next_.eq(active & valid & free & ~bad),
            done.eq(step & ends),
            after.eq(more + Cat(~size, Replicate(1, COUNT_BITS + 1 - ZERO_RUN_BITS))),
        ]
        self.sync += If((active & valid & wrong) | (active & ~loaded & final) | self.abort,
            bad.eq(1)
        )

        # Flags ----------------------------------------------------------------------------------
        told   = Signal(ZERO_RUN_BITS)   # Flags to come after this one.
        close  = Signal()
        tell   = Signal()
        wrong1 = Signal()
        ending = Signal()                # What is left of the last word is not zero.
        empty  = no_more(self, this)     # From each bit on.
        self.comb += [
            source.last.eq(close & (told == 0)),
            source.bad.eq(wrong1 | (source.last & ending)),
            free.eq(~source.valid | (source.ready & (told == 0))),
            tell.eq(step | (active & bad & free)),
        ]
        self.sync += [
            If(free,
                source.valid.eq(tell),
                source.nonzero.eq(one),
                wrong1.eq(bad),
                ending.eq(~spent & ~select(at, empty)),
                told.eq(size),
                close.eq(ends),
            ).Elif(source.ready,
                told.eq(told - 1)
            ),
            If(tell,
                more.eq(after),
                If(ends, active.eq(0)),
            ),
            If(command.valid & command.ready & ~bad,
                active.eq(1),
                more.eq(command.count),
                words.eq(command.znz_words),
                final.eq(command.znz_words == 0),
            ),
        ]
