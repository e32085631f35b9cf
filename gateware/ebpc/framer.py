"""The BPC stream to symbols: where they begin, more than one of them a clock.

::

    words --> halves (16-bit chunks) --> two chunks --> table of the first's positions --> loop

Where a symbol ends depends on its first bits, where the next one ends on where that is, and so on:
this chain is what limits the rate. So it is computed for every position where a symbol could begin,
before it is known which these are: the table of a chunk says for each where one symbol from there
ends, and where several do. The loop is left with choosing an entry of the table.
"""

from itertools import product

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ...spec.formats import WORD_BITS
from ..zfpe.pipeline import Pointer, select
from .znz_decoder import COUNT_BITS, in_order, no_more

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


def is_run(bits):
    """Whether a run begins with ``bits``."""
    return ~bits[0] & ~bits[1] & bits[2]


class SymbolCodes:
    """What the table holds of a symbol: two bits for its length, and one for whether it is a run
    where no length tells (block = 16)."""

    def __init__(self, word, block):
        lengths = symbol_lengths(word, block)
        sizes   = list(dict.fromkeys(lengths[kind] for kind in (RAW, ZERO, SHORT, PLACE)))
        self.of = {kind: sizes.index(lengths[kind]) for kind in lengths if kind != RUN}
        if len(sizes) < 4:
            self.of[RUN] = len(sizes)
            sizes.append(lengths[RUN])
        else:
            self.of[RUN] = 4
        self.run   = self.of[RUN]
        self.width = bits_for(self.run)
        self.sizes = sizes
        self.lengths = [*sizes, *4*[lengths[RUN]]][:1 << self.width]

    def is_run(self, code):
        return code[2] if self.run == 4 else code == self.run

    def length(self, codes):
        """Of symbols that follow each other, of which only the first may be a run."""
        if len(codes) > 1 and self.width == 3:
            options, codes = self.sizes, [code[:2] for code in codes]
        else:
            options = self.lengths
        sums = [sum(each) for each in product(options, repeat=len(codes))]
        return select(Cat(*reversed(codes)), sums)

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
        bits  = Cat(first.data, second.data)
        codes = SymbolCodes(word, block)
        lengths = symbol_lengths(word, block)
        known = {}

        def code(n, i):
            """Of the n-th symbol after the one that begins at i, all but the first single."""
            if (n, i) not in known:
                known[n, i] = signal = Signal(codes.width)
                if n == 0:
                    value = by_prefix([bits[i + j] for j in range(4)], codes.of)
                else:
                    value = select(code(0, i)[:2], [None if size is None else code(n - 1, i + size)
                        for size in codes.sizes])
                self.comb += signal.eq(value)
            return known[n, i]

        def registered(expressions):
            column = [Signal(len(e), reset_less=True) for e in expressions]
            self.sync += If(load, [c.eq(e) for c, e in zip(column, expressions, strict=True)])
            return column

        symbols = [registered([code(n, i) for i in range(chunk)]) for n in range(count)]
        zeros   = registered(no_more(self, first.data, first.final | (second.data == 0)))

        # Position -------------------------------------------------------------------------------
        self.pointer = pointer = Pointer(size)
        at     = pointer.at
        base   = Signal(reset=1)                                # A block may begin.
        left   = Signal(max=word + 2, reset=word + 1)           # Planes of the block.
        spent  = Signal()                                       # The stream is read to its end.
        skip   = Signal()                                       # What is left of it is dropped.
        dead   = Signal()
        found  = [Signal(codes.width) for _ in range(count)]    # Codes of the next symbols.
        rest   = Signal()
        value  = Signal(log2_int(word))                         # Planes of a run, - 2.
        follow = Cat(this.data, first.data)
        self.comb += [
            *(code.eq(pointer.select(column)) for code, column in zip(found, symbols, strict=True)),
            rest.eq(pointer.select(zeros)),
            value.eq(pointer.select([Cat(*(follow[i + lengths[RUN] - 1 - k]
                for k in range(len(value)))) for i in range(chunk)])),
        ]

        # Planes ---------------------------------------------------------------------------------
        # Tables and cases, not differences: a carry chain would begin where value is known.
        taken  = Signal(bits_for(count - 1))    # Symbols after the first.
        behind = Signal(len(left) + 1)          # Left after a run,
        now    = Signal(len(left) + 1)          # after the step.
        closes = Signal()
        run    = Signal()
        runs   = [codes.is_run(code) for code in found]
        self.comb += [
            run.eq(runs[0]),
            behind.eq(select(value, [select(left, [(planes - run_of - 2) % (4*word)
                for planes in range(1 << len(left))]) for run_of in range(word)])),
            now.eq(Mux(run, behind, left - 1) - taken),
        ]
        assert len(behind) == log2_int(4*word)
        if count == 2:
            self.comb += [
                taken.eq(~run & ~runs[1] & (left != 1)),
                closes.eq(Mux(run, behind == 0, Mux(taken, left == 2, left == 1))),
            ]
        else:
            # A step has 4 planes at most, or a longer run alone: 17 planes in 7 clocks.
            short   = value[1:] == 0
            planes  = [Mux(run, Mux(value[0], (left >= 4) & (n == 0), left >= n + 3), left >= n + 2)
                for n in range(2)]
            closing = [Mux(run, Mux(value[0], left == n + 3, left == n + 2), left == n + 1)
                for n in range(3)]
            more    = ~runs[1] & (short | ~run) & planes[0]
            self.comb += [
                taken.eq(Cat(more & ~(~runs[2] & planes[1]), more & ~runs[2] & planes[1])),
                closes.eq(Mux(run & ~short, behind == 0, Mux(taken[1], closing[2],
                    Mux(taken[0], closing[1], closing[0])))),
            ]

        # Step -----------------------------------------------------------------------------------
        where = Signal(size + 1)
        end   = Signal()
        long  = Signal()                       # The run before has more planes than were left.
        wrong = Signal()
        step  = Signal()
        total = [codes.length(found[:n + 1]) for n in range(count)]
        self.comb += [
            where.eq(at + Mux(base, word, select(taken, total + [None]*(2**len(taken) - count)))),
            end.eq(base & this.tail & (spent | rest)),
            wrong.eq(long | Mux(end, this.whole & (at == 0) & ~spent,
                spent | (this.final & where[-1] & (where[:-1] != 0)))),
            source.valid.eq(loaded & ~skip & ~dead & (this.final | ahead)),
            source.bits.eq(follow),
            source.at.eq(at),
            source.base.eq(base),
            source.left.eq(left),
            source.extra.eq(taken),
            source.ends.eq(~base & closes),
            source.end.eq(end),
            source.bad.eq(wrong),
            step.eq(source.valid & source.ready),
            load.eq(~loaded | skip | (step & (end | (where[-1] & ~this.final)))),
            pointer.next.eq(where),
            pointer.move.eq(step),
            pointer.clear.eq(step & end),
        ]
        self.sync += [
            If(skip, skip.eq(~loaded)),
            If(step,
                spent.eq(where[-1] & this.final),
                base.eq(~base & closes),
                If(~base,
                    left.eq(Mux(closes, word + 1, now)),
                    long.eq(now[-1]),
                ),
                If(end,
                    spent.eq(0),
                    base.eq(1),
                    skip.eq(~this.final),
                ),
                dead.eq(wrong),
            ),
        ]
