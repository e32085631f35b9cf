"""The BPC stream to symbols: where they begin, more than one of them a clock.

::

    words --> halves (16-bit chunks) --> two chunks --> table of the first's positions --> loop

Where a symbol ends depends on its first bits, where the next one ends on where that is, and so on:
this chain is what limits the rate. So what kind of symbol would begin, and which would follow it,
is found for every position of a chunk before it is known where symbols do begin. The loop is left
with choosing an entry of this table and adding lengths. Whether the step ends behind the chunk is
in the table as well, for the next table waits for that.
"""

from functools import reduce
from operator import and_, or_

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *
from migen.fhdl.bitcontainer import value_bits_sign

from ...spec.formats import WORD_BITS
from ..mux import Selector, select
from .codes import RUN, SymbolCodes, chunk_bits, lanes, symbol_lengths
from .znz_decoder import COUNT_BITS, in_order, no_more

# Layouts ------------------------------------------------------------------------------------------

def symbols_layout(word, block):
    """
    ``bits``, from ``at`` on: the first word of a block (``base``), or ``extra`` + 1 symbols, of
    which only the first may be a run; ``left`` planes of the block are still to come, with them
    it ``ends``. Or nothing but the end of a stream (``end``), or of a malformed one (``bad``); that
    it is as well if ``past`` and not ``where`` = 0, for then the stream ends within symbols.
    """
    chunk = chunk_bits(word, block)
    return [("bits", 2*chunk), ("at", log2_int(chunk)), ("base", 1), ("extra", 2),
        ("left", bits_for(word + 1)), ("ends", 1), ("end", 1), ("bad", 1),
        ("past", 1), ("where", log2_int(chunk))]

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
            # Not a choice of 0, of which Yosys makes a reset of registers far away.
            source.data.eq(Replicate(~empty, chunk)
                & (bits if parts == 1 else Mux(part, bits[chunk:], bits[:chunk]))),
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
    def __init__(self, word, block, primitive=False):
        chunk = chunk_bits(word, block)
        count = lanes(word, block)
        size  = log2_int(chunk)
        self.chunker = chunker = Chunker(word, chunk)
        self.command = chunker.command
        self.sink    = chunker.sink
        self.source  = source = stream.Endpoint(symbols_layout(word, block))

        # # #

        def pick(index, options):
            self.submodules += (selector := Selector(index, options, primitive))
            return selector.out

        # Chunks: ``first``, and ``second`` after it. ----------------------------------------------
        class Chunk:
            def __init__(self):
                self.data  = Signal(chunk, reset_less=True)
                self.tail  = Signal(reset_less=True)
                self.whole = Signal(reset_less=True)
                self.final = Signal(reset_less=True)

            def eq(self, other):
                return [mine.eq(getattr(other, name)) for name, mine in vars(self).items()]

        this, first, second, spare = Chunk(), Chunk(), Chunk(), Chunk()
        loaded = Signal()   # There is this,
        valid1 = Signal()   # the first,
        valid2 = Signal()   # the second,
        valid3 = Signal()   # and a spare one: the chunker's ready must not wait for the step.
        load   = Signal()   # The first becomes this, if it can.
        ahead  = Signal()   # It can: what its table needs of the second is there.
        wait   = Signal()   # There is none, or nothing in it.
        leave  = Signal()   # The step ends behind it.
        free1  = Signal()
        free2  = Signal()
        self.comb += [
            ahead.eq(valid1 & (first.final | valid2)),
            # Nothing leaves this chunk before what it needs of the next two is there.
            free1.eq(~valid1 | (wait & ahead) | leave),
            free2.eq(~valid2 | free1),
            chunker.source.ready.eq(~valid3),
        ]
        self.sync += [
            If(load, loaded.eq(ahead), this.eq(first)),
            If(free1, valid1.eq(valid2), first.eq(second)),
            If(free2,
                valid2.eq(valid3 | chunker.source.valid),
                If(valid3, second.eq(spare)).Else(second.eq(chunker.source)),
            ),
            valid3.eq(~free2 & (valid3 | chunker.source.valid)),
            If(~valid3, spare.eq(chunker.source)),
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
                    value = codes.begins([bits[i + j] for j in range(4)])
                else:
                    value = pick(code(0, i)[:2], [code(n - 1, i + size)
                        for size in [*codes.singles, codes.run][:4]])
                self.comb += signal.eq(value)
            return known[n, i]

        def registered(expressions):
            column = [Signal(value_bits_sign(e)[0], reset_less=True) for e in expressions]
            self.sync += If(load, [c.eq(e) for c, e in zip(column, expressions, strict=True)])
            return column

        symbols = [registered([code(n, i) for i in range(chunk)]) for n in range(count)]
        # Whether they end behind the chunk: what becomes of it is the last that a step must know.
        def ends_behind(n, i):
            """With up to n single symbols from i on."""
            if n == 0 or i >= chunk:
                return int(i >= chunk)
            if (n, i) not in behinds:
                behinds[n, i] = signal = Signal()
                self.comb += signal.eq(codes.select(code(0, i),
                    [ends_behind(n - 1, i + size) for size in codes.singles], 0))
            return behinds[n, i]
        behinds = {}
        def run_ends_behind(n, i):
            """With up to n symbols after a run of 2 planes, a run of 3 counting for one of them."""
            after = i + lengths[RUN]
            if n == 0 or count == 2 or after >= chunk:
                return int(after >= chunk)
            long  = reduce(or_, (bits[after - 2 - k] for k in range(log2_int(word) - 1)))
            return ~long & Mux(bits[after - 1], ends_behind(n - 1, after), ends_behind(n, after))

        longest = max(lengths.values())
        near    = [range(chunk - min(chunk, 1 << log2_int((n + 1)*longest, False)), chunk)
            for n in range(count)]   # Positions from where they can.
        cross   = [registered([codes.select(code(0, i),
            [ends_behind(n, i + size) for size in codes.singles], run_ends_behind(n, i))
            for i in nears]) for n, nears in enumerate(near)]
        zeros   = registered(no_more(self, first.data, first.final | (second.data == 0)))

        # Position -------------------------------------------------------------------------------
        at     = Signal(size)
        back   = Signal(size, reset=chunk - 1)   # chunk - 1 - at: half as much hangs on either.
        base   = Signal(reset=1)                                # A block may begin.
        before = Signal(max=word + 2)                           # Planes of the block that were left
        planes = Signal(max=word + 2)                           # before the last step, and its own.
        spent  = Signal()                                       # The stream is read to its end.
        skip   = Signal()                                       # What is left of it is dropped.
        dead   = Signal()
        found  = [Signal(codes.width) for _ in range(count)]    # Codes of the next symbols.
        rest   = Signal()
        value  = Signal(log2_int(word))                         # Planes of a run, - 2.
        follow = Cat(this.data, first.data)
        self.comb += [
            *(code.eq(pick(at, column)) for code, column in zip(found, symbols, strict=True)),
            rest.eq(pick(back, zeros[::-1])),
            value.eq(pick(back, [Cat(*(follow[i + lengths[RUN] - 1 - k] for k in range(len(value))))
                for i in reversed(range(chunk))])),
        ]

        # Planes ---------------------------------------------------------------------------------
        # What depends on left alone is known early, the symbols late: these only choose.
        left   = Signal(bits_for(word + 1) + 1)   # Planes of the block; the highest bit: too few.
        taken  = Signal(bits_for(count - 1))      # Symbols after the first.
        now    = Signal(len(planes))              # Planes of the step.
        closes = Signal()
        run    = Signal()
        runs   = [codes.is_run(code) for code in found]
        reach  = [reduce(and_, [at[i] for i in range(log2_int(len(column)), size)],
            pick(back[:log2_int(len(column))], column[::-1])) for column in cross]
        many   = Signal(bits_for(word + 1))       # Planes of a run.
        step   = Signal()
        self.comb += [
            left.eq(before - planes),
            run.eq(runs[0]),
            many.eq(select(value, list(range(2, word + 2)))),
        ]
        if count == 2:
            # left != 1, without the difference.
            less = Signal.like(before)   # before - 1
            more = less != planes
            self.sync += If(step, less.eq(Mux(base, word, left - 1)))
            self.comb += [
                taken.eq(~run & ~runs[1] & more),
                now.eq(Mux(run, many, Mux(taken, 2, 1))),
                closes.eq(Mux(run, left == many, Mux(taken, left == 2, left == 1))),
            ]
            beyond = Mux(more, reach[1], reach[0])
        else:
            # A step has 4 planes at most, or a longer run alone: 17 planes in 7 clocks.
            short  = value[1:] == 0
            is_    = [left == n for n in range(5)]
            four   = left[2:] != 0          # Not less than 4: 0 are not left, nor too few.
            three  = four | is_[3]
            second = ~runs[1]               # A second, a third symbol is there that is no run.
            third  = ~runs[1] & ~runs[2]
            more   = [Signal(), Signal()]   # It is taken.
            few    = Signal(2)              # Planes of a step that is no long run, - 1.
            self.comb += [
                more[0].eq(second & Mux(run, short & Mux(value[0], four, three), left != 1)),
                more[1].eq(third & Mux(run, short & ~value[0] & four, three)),
                taken.eq(Cat(more[0] & ~more[1], more[1])),
                few.eq(taken + Mux(run, Mux(value[0], 2, 1), 0)),
                now.eq(Mux(run & ~short, many, select(few, [1, 2, 3, 4]))),
                # What would be left == now.
                closes.eq(Mux(run, Mux(short, Mux(value[0],
                    is_[3] | (is_[4] & second),
                    is_[2] | (is_[3] & second) | (is_[4] & third)),
                    left == many),
                    is_[1] | (is_[2] & second) | (is_[3] & third))),
            ]
            # As select(Mux(run, run2, single), reach), but for the order of what is known.
            beyond = (reach[0] & (~left[1] & ~four | (run & ~left[0] & ~four))
                | (reach[1] & ~four & left[1] & (run == left[0]))
                | (reach[2] & (four | (~run & (left[:2] == 3)))))

        # Step -----------------------------------------------------------------------------------
        where = Signal(size)
        over  = Signal()                       # The step ends behind the chunk.
        end   = Signal()
        wrong = Signal()
        after = [Signal(size) for _ in range(count)]
        if count == 2:
            self.comb += after[0].eq(at + codes.length(found[:1]))
        else:
            # Of three together the length would be late: all ends of the first are there before. As
            # tables, for of sums ABC would make one again, behind the choice.
            firsts = [Signal(size) for _ in range(4)]
            self.comb += [
                *(signal.eq(select(at, [(n + length) % chunk for n in range(chunk)]))
                    for signal, length in zip(firsts, [*codes.singles, codes.run], strict=True)),
                after[0].eq(select(found[0], firsts)),
                after[2].eq(after[0] + codes.length(found[1:])),
            ]
        high   = [at[i] for i in range(log2_int(word), size)]
        self.comb += [
            after[1].eq(at + codes.length(found[:2])),
            where.eq(Mux(base, Cat(at[:len(at) - len(high)], Cat(*high) + 1),
                select(taken, [*after, *[None]*(2**len(taken) - count)]))),
            over.eq(Mux(base, reduce(and_, high), beyond)),
            end.eq(base & this.tail & (spent | rest)),
            wrong.eq(left[-1] | Mux(end, Mux(spent, at != 0, this.whole & (at == 0)), spent)),
            source.past.eq(over & this.final),
            source.where.eq(where),
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
            wait.eq(~loaded | skip | (step & end)),
            leave.eq(step & over & ~this.final),
            load.eq(wait | leave),
        ]
        self.sync += [
            If(skip, skip.eq(~loaded)),
            If(step,
                at.eq(where),
                back.eq(~where),
                spent.eq(over & this.final),
                base.eq(~base & closes),
                before.eq(Mux(base, word + 1, left)),
                planes.eq(Mux(base, 0, now)),
                If(end,
                    at.eq(0),
                    back.eq(chunk - 1),
                    spent.eq(0),
                    base.eq(1),
                    skip.eq(~this.final),
                ),
                dead.eq(wrong),
            ),
        ]
