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
from itertools import combinations
from operator import and_, or_, xor

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *
from migen.fhdl.bitcontainer import value_bits_sign
from migen.fhdl.structure import wrap

from ...spec.formats import WORD_BITS
from ..mux import Selector, select
from .codes import RUN, SymbolCodes, choose, chunk_bits, lanes, symbol_lengths
from .znz_decoder import COUNT_BITS, in_order, no_more

LATE = 0xeeea   # LUT4: A | (B & (C | D)).

# Layouts ------------------------------------------------------------------------------------------

def symbols_layout(word, block):
    """
    ``bits``, from ``at`` on: the first word of a block (``base``), or ``extra`` + 1 symbols, of
    which only the first may be a run; ``left`` planes of the block were still to come, with them
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
        fine  = log2_int(block)   # Low bits of a position: no symbol is longer than 2^fine.
        self.chunker = chunker = Chunker(word, chunk)
        self.command = chunker.command
        self.sink    = chunker.sink
        self.source  = source = stream.Endpoint(symbols_layout(word, block))

        # # #

        def late(out, early, go):
            """early | (go & (ending | beyond)): ``beyond`` is the last to be known."""
            if not primitive:
                return [out.eq(early | (go & (ending | select(by_run, beyond))))]
            inputs = [Signal(), Signal()]
            halves = [Signal() for _ in beyond] if by_run else [out]
            self.specials += [Instance("LUT4", p_INIT=Constant(LATE, 16), i_A=inputs[0],
                i_B=inputs[1], i_C=ending, i_D=last, o_Z=half)
                for last, half in zip(beyond, halves, strict=True)]
            if by_run:
                self.specials += Instance("PFUMX", i_BLUT=halves[0], i_ALUT=halves[1], i_C0=run,
                    o_Z=out)
            return [signal.eq(e) for signal, e in zip(inputs, (early, go), strict=True)]

        def pick(index, options):
            self.submodules += (selector := Selector(index, options, primitive))
            return selector.out

        def add(a, b):
            """Sum and carry of as many bits each. No carry chain: it takes long to get there."""
            sums, carry = [], 0
            for x, y in zip(a, b, strict=True):
                sums.append(x ^ y ^ carry)
                carry = (x & y) | (carry & (x ^ y))
            return Cat(*sums, carry)

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
        room   = Signal(reset=1)   # No spare one: the chunker's ready must not wait for the step.
        clear  = Signal()   # There will be none.
        load   = Signal()   # The first becomes this, if it can.
        ahead  = Signal()   # It can: what its table needs of the second is there.
        none   = Signal()   # There is none, or nothing in it.
        step   = Signal()
        ending = Signal()   # It is the last one in this chunk,
        beyond = [Signal() for _ in range(count - 1)]   # or its symbols end behind it: without a
        run    = Signal()                               # run, with one; with two lanes, either.
        by_run = [run][:count - 2]
        free1  = Signal()
        free2  = Signal()
        self.comb += [
            ahead.eq(valid1 & (first.final | valid2)),
            # Nothing leaves this chunk before what it needs of the next two is there.
            *late(load, none, step),
            *late(free1, ~valid1 | (none & ahead), step & ahead),
            *late(free2, ~valid1 | ~valid2 | (none & ahead), step & ahead),
            *late(clear, ~valid1 | ~valid2 | (none & ahead) | (room & ~chunker.source.valid),
                step & ahead),
            chunker.source.ready.eq(room),
        ]
        self.sync += [
            If(load, loaded.eq(ahead), this.eq(first)),
            If(free1, valid1.eq(valid2), first.eq(second)),
            If(free2,
                valid2.eq(~room | chunker.source.valid),
                If(room, second.eq(chunker.source)).Else(second.eq(spare)),
            ),
            room.eq(clear),
            If(room, spare.eq(chunker.source)),
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
            expressions = list(map(wrap, expressions))
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
                behinds[n, i] = value = codes.select(code(0, i),
                    [ends_behind(n - 1, i + size) for size in codes.singles], 0)
                if not isinstance(value, int):
                    behinds[n, i] = signal = Signal()
                    self.comb += signal.eq(value)
            return behinds[n, i]
        behinds = {}
        def run_ends_behind(n, i):
            """With up to n symbols after a run of 2 planes, a run of 3 counting for one of them."""
            after = i + lengths[RUN]
            if n == 0 or count == 2 or after >= chunk:
                return int(after >= chunk)
            short = ~reduce(or_, (bits[after - 2 - k] for k in range(log2_int(word) - 1)))
            return choose(short, [0, choose(bits[after - 1:after],
                [ends_behind(n, after), ends_behind(n - 1, after)])])

        longest = max(lengths.values())
        near    = [range(chunk - min(chunk, 1 << log2_int((n + 1)*longest, False)), chunk)
            for n in range(count)]   # Positions from where they can.
        cross   = [registered([codes.select(code(0, i),
            [ends_behind(n, i + size) for size in codes.singles], run_ends_behind(n, i))
            for i in nears]) for n, nears in enumerate(near)]
        zeros   = registered(no_more(self, first.data, first.final | (second.data == 0)))

        # Position -------------------------------------------------------------------------------
        # The low bits are used first. The high ones are added up a clock after they are known.
        low    = Signal(fine)
        back   = Signal(fine, reset=2**fine - 1)   # ~low: half as much hangs on either.
        high   = Signal(size - fine)               # Before the last step, and what that added.
        carry1 = Signal()
        carry2 = Signal()
        adds   = Signal(size - fine)
        top    = Signal(size - fine)               # The sum.
        at     = Cat(low, top)
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

        def look(column, inverted=False):
            """Entry at this position."""
            parts = [column[i:i + 2**fine] for i in range(0, len(column), 2**fine)]
            parts = [pick(back, part[::-1]) if inverted else pick(low, part) for part in parts]
            return pick(top[:log2_int(len(parts))], parts) if len(parts) > 1 else parts[0]

        units  = [high[0], adds[0], carry1, carry2]
        twos   = [high[-1], adds[-1], *(a & b for a, b in combinations(units, 2))]
        values = [Cat(*(follow[i + lengths[RUN] - 1 - k] for k in range(len(value))))
            for i in range(chunk)]
        if count > 2:
            # The lowest bit is 0 but for runs, so that what depends on it need not ask for them.
            odds   = registered([codes.is_run(code(0, i)) & bits[i + lengths[RUN] - 1]
                for i in range(chunk)])
            values = [Cat(odd, value[1:]) for odd, value in zip(odds, values, strict=True)]
        self.comb += [
            top.eq(Cat(*(reduce(xor, terms) for terms in (units, twos)[:len(top)]))),
            *(code.eq(look(column)) for code, column in zip(found, symbols, strict=True)),
            rest.eq(look(zeros, True)),
            value.eq(look(values, True)),
        ]

        # Planes ---------------------------------------------------------------------------------
        # What depends on left alone is known early, the symbols late: these only choose.
        left   = Signal(bits_for(word + 1) + 1)   # Planes of the block; the highest bit: too few.
        taken  = Signal(bits_for(count - 1))      # Symbols after the first.
        now    = Signal(len(planes))              # Planes of the step.
        closes = Signal()
        runs   = [codes.is_run(code) for code in found]
        reach  = [reduce(and_, [at[i] for i in range(log2_int(len(column)), size)],
            look(column, True)) for column in cross]
        many   = Signal(bits_for(word + 1))       # Planes of a run.
        far    = Signal()                         # The step has more bits than its first symbol:
        more1  = Signal(size)                     # so many,
        more2  = Signal(size)                     # so many if far.
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
                far.eq(taken),
                more1.eq(0),
                more2.eq(codes.length(found[1:])),
                now.eq(Mux(run, many, Mux(taken, 2, 1))),
                closes.eq(Mux(run, left == many, Mux(taken, left == 2, left == 1))),
            ]
            behind = [Mux(more, reach[1], reach[0])]
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
                # All that may follow the first symbol, or less: then one more, or none.
                far.eq(second & Mux(run, short & four, ~runs[2] & three)),
                more1.eq(Mux(second & Mux(run, is_[3] & ~value[0], left != 1),
                    select(found[1], [*codes.singles, None]), 0)),
                more2.eq(select(found[1], [*(Mux(value[0], n, select(found[2],
                    [*(n + k for k in codes.singles), n])) for n in codes.singles), None])),
                few.eq(taken + Mux(run, Mux(value[0], 2, 1), 0)),
                now.eq(Mux(run & ~short, many, select(few, [1, 2, 3, 4]))),
                # What would be left == now.
                closes.eq(Mux(run, Mux(short, Mux(value[0],
                    is_[3] | (is_[4] & second),
                    is_[2] | (is_[3] & second) | (is_[4] & third)),
                    left == many),
                    is_[1] | (is_[2] & second) | (is_[3] & third))),
            ]
            # As select(planes left, reach), but for the order of what is known.
            behind = [Mux(is_[1], reach[0], Mux(is_[2], reach[1], reach[2])),
                Mux(four, reach[2], Mux(is_[3], reach[1], reach[0]))]

        # Step -----------------------------------------------------------------------------------
        length = Signal(size)       # Of the first symbol.
        after1 = Signal(fine + 1)   # Where it ends, and the step does; the highest bit: one more
        after2 = Signal(fine + 1)   # for the high bits.
        based  = add(low, Constant(word, size)[:fine])
        filled = reduce(and_, at[log2_int(word):])   # A first word ends with the chunk, or behind.
        end    = Signal()
        wrong  = Signal()
        bad    = Signal(reset_less=True)
        self.comb += [
            length.eq(codes.length(found[:1])),
            # Not both: if it has all 2^fine bits, the low ones of its length are 0.
            after1.eq(add(low, length[:fine]) | Cat(Replicate(0, fine), length[fine])),
            after2.eq(Mux(far, *(add(after1[:fine], more[:fine]) for more in (more2, more1)))),
            *(signal.eq(e & ~base & ~this.final) for signal, e in zip(beyond, behind, strict=True)),
            end.eq(base & this.tail & (spent | rest)),
            wrong.eq(left[-1] | Mux(end, Mux(spent, at != 0, this.whole & (at == 0)), spent)),
            step.eq(source.ready & loaded & ~skip & ~dead & (this.final | ahead)),
            none.eq(~loaded | skip),
            ending.eq(base & (spent | (this.tail & rest) | (filled & ~this.final))),
            # These registers have what came of the last step.
            source.left.eq(before),
            source.ends.eq(base),
            source.bad.eq(bad | (spent & (at != 0))),
        ]
        self.sync += [
            If(source.ready,
                source.valid.eq(step),
                source.bits.eq(follow),
                source.at.eq(at),
                source.base.eq(base),
                source.extra.eq(taken),
                source.end.eq(end),
                bad.eq(wrong),
            ),
            If(skip, skip.eq(~loaded)),
            If(step,
                low.eq(Mux(base, based[:fine], after2[:fine])),
                back.eq(~Mux(base, based[:fine], after2[:fine])),
                high.eq(top),
                carry1.eq((base & based[fine]) | (~base & after1[fine])),
                carry2.eq(~base & after2[fine]),
                adds.eq(Mux(base, word >> fine, Mux(far, more2[fine:], more1[fine:]))),
                spent.eq(this.final & Mux(base, filled, select(by_run, behind))),
                base.eq(~base & closes),
                before.eq(Mux(base, word + 1, left)),
                planes.eq(Mux(base, 0, now)),
                If(end,
                    low.eq(0),
                    back.eq(2**fine - 1),
                    high.eq(0),
                    carry1.eq(0),
                    adds.eq(0),
                    spent.eq(0),
                    base.eq(1),
                    skip.eq(~this.final),
                ),
                dead.eq(wrong),
            ),
        ]
