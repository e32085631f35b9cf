"""The BPC stream to symbols: where they begin, more than one of them a clock.

::

    words --> halves (16-bit chunks) --> two chunks --> table of the first's positions --> loop

Where a symbol ends depends on its first bits, where the next one ends on where that is, and so on:
this chain is what limits the rate. So it is computed for every position where a symbol could begin,
before it is known which these are: the table of a chunk says for each where one symbol from there
ends, and where several do. The loop is left with choosing an entry of the table.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ...spec.formats import WORD_BITS
from ..zfpe.pipeline import select
from .znz_decoder import COUNT_BITS, in_order

KINDS = RAW, ZERO, RUN, SHORT, PLACE = range(5)   # Of symbols, by length.

def symbol_lengths(word, block):
    """Bits of a symbol of each kind."""
    return {RAW: block, ZERO: 2, RUN: 3 + log2_int(word), SHORT: 5, PLACE: 5 + log2_int(block)}


def lanes(word, block):
    """Symbols a clock that a word a clock takes."""
    return 2 if word <= block else 3


def chunk_bits(word, block):
    """Not less than the symbols of a clock can have."""
    return 16 if lanes(word, block)*block <= 16 else 32


def by_prefix(bits, options):
    """options[kind] of the symbol that begins with ``bits``: a tree, for options are constants."""
    return Mux(bits[0], options[RAW], Mux(bits[1], options[ZERO], Mux(bits[2], options[RUN],
        Mux(bits[3], options[PLACE], options[SHORT]))))

# Layouts ------------------------------------------------------------------------------------------

def symbols_layout(word, block):
    """
    ``bits``, from ``at`` on: the first word of a block (``base``), or ``extra`` + 1 symbols, of
    which only the first may be a run; ``left`` planes of the block are still to come, with them
    it ``ends``. Or nothing but the end of a stream (``end``), or of a malformed one (``bad``).
    """
    chunk = chunk_bits(word, block)
    return [("bits", 2*chunk), ("at", log2_int(chunk)), ("base", 1), ("extra", 2),
        ("left", bits_for(word + 1)), ("ends", 1), ("end", 1), ("bad", 1)]

# Chunks -------------------------------------------------------------------------------------------

class Chunker(LiteXModule):
    """
    Attributes
    ----------
    command : Endpoint("bpc_words")
        32-bit words of a stream; one of 0 words has a chunk nonetheless, of zeros.
    sink : Endpoint("data")
    source : Endpoint("data", "tail", "whole", "final")
        ``data``: bits in order. ``tail``: of the stream's last word, ``final``: of its end.
        ``whole``: first of a word; not so in a stream of 0 words.
    """
    def __init__(self, word, chunk):
        self.command = command = stream.Endpoint([("bpc_words", COUNT_BITS)])
        self.sink    = sink    = stream.Endpoint([("data", WORD_BITS)])
        self.source  = source  = stream.Endpoint(
            [("data", chunk), ("tail", 1), ("whole", 1), ("final", 1)])

        # # #

        parts  = WORD_BITS//chunk
        active = Signal()
        left   = Signal(COUNT_BITS)
        part   = Signal(max=max(2, parts))
        ending = Signal()
        empty  = Signal()
        bits   = in_order(sink.data, word)
        self.comb += [
            ending.eq(part == parts - 1),
            source.valid.eq(active & (empty | sink.valid)),
            source.data.eq(Mux(empty, 0, bits if parts == 1 else Mux(part, bits[chunk:],
                bits[:chunk]))),
            source.tail.eq(left[1:] == 0),
            source.final.eq(source.tail & (ending | empty)),
            source.whole.eq(~empty & (part == 0)),
            sink.ready.eq(active & ~empty & source.ready & ending),
            command.ready.eq(~active),
        ]
        self.sync += [
            If(source.valid & source.ready,
                part.eq(Mux(ending, 0, part + 1)),
                If(ending, left.eq(left - 1)),
                If(source.final, active.eq(0), part.eq(0)),
            ),
            If(command.valid & command.ready,
                active.eq(1),
                left.eq(command.bpc_words),
                empty.eq(command.bpc_words == 0),
            ),
        ]

# SymbolFramer -------------------------------------------------------------------------------------

class SymbolFramer(LiteXModule):
    """
    A block is its first word, in one clock, then its planes: up to ``lanes`` symbols a clock, of
    which only the first may be a run of planes (and with two lanes, is then alone).

    A stream ends where a block could begin but only zeros are left of its last word: no block looks
    like that. Nothing follows a malformed stream until reset.

    Attributes
    ----------
    command : Endpoint("bpc_words")
        32-bit words of a stream.
    sink : Endpoint("data")
        32-bit words.
    source : Endpoint
        See symbols_layout.
    """
    def __init__(self, word, block):
        chunk = chunk_bits(word, block)
        count = lanes(word, block)
        size  = log2_int(chunk)
        self.chunker = chunker = Chunker(word, chunk)
        self.command = chunker.command
        self.sink    = chunker.sink
        self.source  = source = stream.Endpoint(symbols_layout(word, block))

        # # #

        # Chunks: ``first``, and ``second`` after it. ----------------------------------------------
        class Chunk:
            def __init__(self):
                self.data  = Signal(chunk, reset_less=True)
                self.tail  = Signal(reset_less=True)
                self.whole = Signal(reset_less=True)
                self.final = Signal(reset_less=True)

            def eq(self, other):
                return [mine.eq(getattr(other, name)) for name, mine in vars(self).items()]

        this, first, second = Chunk(), Chunk(), Chunk()
        loaded = Signal()   # There is this,
        valid1 = Signal()   # the first,
        valid2 = Signal()   # the second.
        load   = Signal()   # The first becomes this, if it can.
        ahead  = Signal()   # It can: what its table needs of the second is there.
        free1  = Signal()
        free2  = Signal()
        self.comb += [
            ahead.eq(valid1 & (first.final | valid2)),
            free1.eq(~valid1 | (load & ahead)),
            free2.eq(~valid2 | free1),
            chunker.source.ready.eq(free2),
        ]
        self.sync += [
            If(load, loaded.eq(ahead), this.eq(first)),
            If(free1, valid1.eq(valid2), first.eq(second)),
            If(free2, valid2.eq(chunker.source.valid), second.eq(chunker.source)),
        ]

        # Table ----------------------------------------------------------------------------------
        bits    = Cat(first.data, second.data)
        lengths = symbol_lengths(word, block)

        def prefix(i):
            return [bits[i + j] for j in range(4)]

        def is_run(i):
            return ~bits[i] & ~bits[i + 1] & bits[i + 2]

        def named(value, width):
            signal = Signal(width)
            self.comb += signal.eq(value)
            return signal
        def following(n, i):
            """(where up to n single planes end that begin at i, how many they are)"""
            if n == 0:
                return i, 0
            if (n, i) not in known:
                options = [following(n - 1, i + lengths[kind]) for kind in KINDS]
                where   = by_prefix(prefix(i), [o[0] for o in options])
                many    = by_prefix(prefix(i), [o[1] for o in options])
                known[n, i] = (named(Mux(is_run(i), i, where), size + 1),
                               named(Mux(is_run(i), 0, 1 + many), 2))
            return known[n, i]
        known = {}
        ends  = [[] for _ in range(count)]   # By symbols - 1, by position: where they end.
        extra = []                           # By position: symbols after the first, at most.
        runs  = []
        zeros = []                           # By position: the rest of the stream is zero.
        table = []
        def entry(column, value, width):
            register = Signal(width, reset_less=True)
            column.append(register)
            table.append(register.eq(value))
        for i in range(chunk):
            for n in range(count):
                options = [following(n, i + lengths[kind]) for kind in KINDS]
                if count == 2:
                    options[RUN] = (i + lengths[RUN], 0)
                entry(ends[n], by_prefix(prefix(i), [o[0] for o in options]), size + 1)
            entry(extra, by_prefix(prefix(i), [o[1] for o in options]), bits_for(count - 1))
            entry(runs, is_run(i), 1)
            entry(zeros, (first.data[i:] == 0) & (first.final | (second.data == 0)), 1)
        self.sync += If(load, table)

        # Position -------------------------------------------------------------------------------
        at    = Signal(size)
        base  = Signal(reset=1)                                # A block may begin.
        left  = Signal(max=word + 2, reset=word + 1)           # Planes of the block.
        spent = Signal()                                       # The stream is read to its end.
        skip  = Signal()                                       # What is left of it is dropped.
        dead  = Signal()
        after = [Signal(size + 1) for _ in range(count)]       # Entries.
        most  = Signal(bits_for(count - 1))
        run   = Signal()
        rest  = Signal()
        value = Signal(log2_int(word))                         # Of a run.
        ahead_bits = Cat(this.data, first.data)
        self.comb += [
            *(signal.eq(select(at, column)) for signal, column in zip(after, ends, strict=True)),
            most.eq(select(at, extra)),
            run.eq(select(at, runs)),
            rest.eq(select(at, zeros)),
            value.eq(select(at, [Cat(*(ahead_bits[i + lengths[RUN] - 1 - k]
                for k in range(len(value)))) for i in range(chunk)])),
        ]

        # Step -----------------------------------------------------------------------------------
        taken  = Signal(bits_for(count - 1))    # Symbols after the first.
        behind = Signal(len(left) + 1)          # Left after a run.
        now    = Signal((len(left) + 1, True))  # Left after the step.
        where  = Signal(size + 1)
        closes  = Signal()
        end    = Signal()
        long   = Signal()                       # The run before has more planes than were left.
        wrong  = Signal()
        step   = Signal()
        if count == 2:
            self.comb += [
                taken.eq(most & (left != 1)),
                # A table, for the carry chain of a difference begins where value is known.
                behind.eq(select(value, [select(left, [(planes - run_of - 2) % (4*word)
                    for planes in range(1 << len(left))]) for run_of in range(word)])),
                now.eq(Mux(run, behind, Mux(taken, left - 2, left - 1))),
                closes.eq(~base & Mux(run, behind == 0, Mux(taken, left == 2, left == 1))),
                source.left.eq(left),
            ]
            assert len(behind) == log2_int(4*word)
        else:
            others = Signal((len(left) + 1, True))
            self.comb += [
                others.eq(left - Mux(run, value + 2, 1)),
                taken.eq(Mux((others[2:] == 0) & (others[:2] < most), others[:2], most)),
                now.eq(others - taken),
                closes.eq(~base & (now == 0)),
                # Of a run, which changes nothing, the symbols after it want to know the last plane.
                source.left.eq(Mux(base, word + 1, others + 1)),
            ]
        self.comb += [
            where.eq(Mux(base, at + word, select(taken, after + [None]*(2**len(taken) - count)))),
            end.eq(base & this.tail & (spent | rest)),
            wrong.eq(long | Mux(end, this.whole & (at == 0) & ~spent,
                spent | (this.final & where[-1] & (where[:-1] != 0)))),
            source.valid.eq(loaded & ~skip & ~dead & (this.final | ahead)),
            source.bits.eq(ahead_bits),
            source.at.eq(at),
            source.base.eq(base),
            source.extra.eq(taken),
            source.ends.eq(closes),
            source.end.eq(end),
            source.bad.eq(wrong),
            step.eq(source.valid & source.ready),
            load.eq(~loaded | skip | (step & (end | (where[-1] & ~this.final)))),
        ]
        self.sync += [
            If(skip, skip.eq(~loaded)),
            If(step,
                at.eq(where),
                spent.eq(where[-1] & this.final),
                base.eq(closes),
                If(~base,
                    left.eq(Mux(closes, word + 1, now)),
                    long.eq(now[-1]),
                ),
                If(end,
                    at.eq(0),
                    spent.eq(0),
                    base.eq(1),
                    skip.eq(~this.final),
                ),
                dead.eq(wrong),
            ),
        ]
