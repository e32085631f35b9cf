"""Symbols of the BPC stream to planes, and planes to words."""

from functools import reduce
from operator import or_

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..zfpe.pipeline import Pipeline, select
from .framer import PLACE, RAW, RUN, SHORT, ZERO, by_prefix, lanes, symbol_lengths, symbols_layout

# PlaneReader --------------------------------------------------------------------------------------

def planes_layout(word, block):
    """
    ``base``: a block begins, with the word ``start``; else patternN, N = 0.., to be applied to the
    planes of the block: the first to those from plane k on, the second from k + 1 on, and so on.
    ``above`` has ones from bit k on. A pattern is XORed to the plane before; with resetN, which has
    none, the planes become 0. ``ends``, ``end``, ``bad``: see symbols_layout.
    """
    return [
        ("base", 1), ("start", word), ("above", word), ("ends", 1), ("end", 1), ("bad", 1),
        *((f"pattern{n}", block - 1) for n in range(lanes(word, block))),
        *((f"reset{n}", 1) for n in range(lanes(word, block))),
    ]


class PlaneReader(Pipeline):
    """
    Attributes
    ----------
    sink : Endpoint(symbols_layout)
    source : Endpoint(planes_layout)
    """
    def __init__(self, word, block):
        Pipeline.__init__(self, symbols_layout(word, block), planes_layout(word, block))

        # # #

        sink    = self.sink
        count   = lanes(word, block)
        lengths = symbol_lengths(word, block)
        longest = max(lengths.values())

        # Bits from ``at`` on, in two steps. -----------------------------------------------------
        span = max(word, count*longest)
        bits, at, *tags = self.stage(sink.bits, sink.at, sink.base, sink.extra, sink.left,
            sink.ends, sink.end, sink.bad)
        bits, at, *tags = self.stage(
            select(at[2:], [bits[4*i:4*i + span + 3] for i in range(1 << len(at) - 2)]), at[:2],
            *tags)
        bits, *tags = self.stage(select(at, [bits[i:i + span] for i in range(4)]), *tags)

        # Symbols: one is split off in each step. --------------------------------------------
        base, extra, left, *flags = tags
        first   = bits[:word]
        symbols = []
        for n in range(count - 1):
            after = {k: bits[lengths[k]:lengths[k] + (count - 1 - n)*longest] for k in lengths}
            symbols, bits, first, base, extra, left, flags = self.stage(
                [*symbols, bits[:longest]], by_prefix(bits, after), first, base, extra, left, flags)
        symbols.append(bits)

        # Patterns ---------------------------------------------------------------------------------
        patterns, resets, wrong = [], [], []
        for n, symbol in enumerate(symbols):
            here = ~base & (extra >= n)
            pattern, reset, misplaced = self._decode(symbol, block)
            patterns.append(Mux(here, pattern, 0))
            resets.append(here & reset)
            wrong.append(here & misplaced)
        above = Cat(*(left >= word + 1 - k for k in range(word)))
        ends, end, bad = flags
        patterns, resets, wrong, first, above, base, ends, end, bad = self.stage(
            patterns, resets, reduce(or_, wrong), first, above, base, ends, end, bad)
        self.finish(
            base=base, above=above, ends=ends, end=end, bad=bad | (wrong & ~end),
            # The first bit is the highest.
            start=Cat(*reversed([first[i] for i in range(word)])),
            **{f"pattern{n}": pattern for n, pattern in enumerate(patterns)},
            **{f"reset{n}": reset for n, reset in enumerate(resets)},
        )

    def _decode(self, symbol, block):
        """(pattern, whether it replaces, whether there is no such symbol) of a plane's symbol.
        Bit i of the pattern is that of difference i."""
        bits     = log2_int(block)
        position = Signal(bits)
        single   = Signal()
        self.comb += [
            position.eq(Cat(*reversed([symbol[5 + i] for i in range(bits)]))),
            single.eq(symbol[4]),
        ]
        place = Cat(*((position == i) | (~single & (position == i - 1) if i else 0)
            for i in range(block - 1)))
        pattern = by_prefix(symbol, {
            RAW:   symbol[1:block],
            ZERO:  0,
            RUN:   0,
            SHORT: Replicate(~symbol[4], block - 1),
            PLACE: place,
        })
        shorts = ~symbol[0] & ~symbol[1] & ~symbol[2]
        reset  = shorts & ~symbol[3] & symbol[4]
        beyond = (position == block - 1) | (~single & (position == block - 2))
        wrong  = shorts & symbol[3] & beyond
        return pattern, reset, wrong

# WordBuffer ---------------------------------------------------------------------------------------

class WordBuffer(LiteXModule):
    """
    The planes of one block are filled in while the words of the one before are taken.

    All planes from k on have what was last decoded: a run of planes needs no doing, and the highest
    plane is the one that patterns are applied to. A full block moves on as a whole, to be shifted
    out difference by difference.

    Attributes
    ----------
    sink : Endpoint(planes_layout)
    word : Signal(word)
        Out: next word of the stream, there if ``valid``.
    take : Signal
        In: on to the next word; only if valid.
    fresh, clean : Signal
        Out: no word of the block has been taken; the words that have not been are zero.
    more : Signal
        Out: there is a full block behind.
    ended, bad : Signal
        Out: all blocks of the stream have come, or it is malformed from there on.
    close : Signal
        In: pulse, only if ``ended``; on to the next stream. Drops what has not been taken.
    """
    def __init__(self, word, block):
        self.sink  = sink = stream.Endpoint(planes_layout(word, block))
        self.word  = Signal(word, reset_less=True)
        self.valid = Signal()
        self.take  = Signal()
        self.fresh = Signal()
        self.clean = Signal()
        self.more  = Signal()
        self.ended = Signal()
        self.bad   = Signal()
        self.close = Signal()

        # # #

        count = lanes(word, block)

        # Fill -----------------------------------------------------------------------------------
        # A block's first word waits beside: for a full block to move on, only planes do.
        rows  = [Signal(block - 1, reset_less=True) for _ in range(word)]
        start = Signal(word, reset_less=True)   # Of the block that begins,
        first = Signal(word, reset_less=True)   # of that in rows.
        fresh = Signal()                        # Nothing in rows is of the block that begins.
        full  = Signal()
        move  = Signal()
        step  = Signal()
        dbp   = [Signal(block - 1) for _ in range(count)]
        for n in range(count):
            before = dbp[n - 1] if n else rows[-1]
            reset  = getattr(sink, f"reset{n}") | (0 if n else fresh)
            self.comb += dbp[n].eq(getattr(sink, f"pattern{n}") ^ Mux(reset, 0, before))
        # The sink's ready comes from registers, it does not depend on what is taken.
        begin = sink.base & ~sink.end & ~sink.bad
        self.comb += [
            sink.ready.eq((~full | begin) & ~(self.ended & (sink.end | sink.bad))),
            step.eq(sink.valid & sink.ready),
            self.more.eq(full),
        ]
        for k, row in enumerate(rows):
            value = dbp[0]
            for n in range(1, count):
                value = Mux(sink.above[k - n] if k >= n else 0, dbp[n], value)
            self.sync += If(step & ~sink.base & (sink.above[k] | fresh), row.eq(value))
        self.sync += [
            If(move, full.eq(0)),
            If(self.close, self.ended.eq(0)),
            If(step,
                fresh.eq(sink.base),
                If(sink.base, start.eq(sink.start)),
                If(fresh & ~sink.base, first.eq(start)),
                If(sink.ends, full.eq(1)),
                If(sink.end | sink.bad,
                    full.eq(0),
                    self.ended.eq(1),
                    self.bad.eq(sink.bad),
                )
            ),
        ]

        # Words ----------------------------------------------------------------------------------
        deltas = [Signal(word, reset_less=True) for _ in range(block - 1)]
        index  = Signal(max=block)
        final  = Signal()
        self.comb += [
            final.eq(index == block - 1),
            self.fresh.eq(index == 0),
            self.clean.eq((self.word == 0) & (Cat(*deltas) == 0)),
            move.eq(full & ~self.ended & (~self.valid | (self.take & final))),
        ]
        self.sync += [
            If(move | self.take,
                self.word.eq(Mux(move, first, self.word + deltas[0])),
                [delta.eq(Mux(move, Cat(*(row[i] for row in rows)), following))
                    for i, (delta, following) in enumerate(
                        zip(deltas, [*deltas[1:], 0], strict=True))],
            ),
            If(self.take,
                index.eq(index + 1),
                If(final, self.valid.eq(0)),
            ),
            If(move, self.valid.eq(1)),
            If(self.close,
                self.valid.eq(0),
                index.eq(0),
            ),
        ]
