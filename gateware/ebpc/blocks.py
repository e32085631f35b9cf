"""Symbols of the BPC stream to planes, and planes to words."""

from functools import reduce
from operator import or_

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..mux import Selector, select
from ..zfpe.pipeline import Pipeline
from .codes import PLACE, RAW, RUN, SHORT, ZERO, by_prefix, is_run, lanes, symbol_lengths
from .framer import symbols_layout

# PlaneReader --------------------------------------------------------------------------------------

def planes_layout(word, block):
    """
    ``base``: a block begins, with the word ``start``; else patternN, N = 0.., for the planes of the
    block from plane k on. A pattern is XORed to the plane before; with resetN, which has none, the
    planes become 0. ``run``: pattern0 is for so many planes more, or for all if nothing follows.
    ``counts`` tells which patterns are of a plane that differences have: not the last, their sign.
    ``above`` has ones from bit k on, ``phase`` is k modulo a power of two that is not less than the
    lanes. ``ends``, ``end``, ``bad``: see symbols_layout.
    """
    count = lanes(word, block)
    return [
        ("base", 1), ("start", word), ("above", word), ("phase", log2_int(count, False)),
        ("counts", count), ("run", 2), ("ends", 1), ("end", 1), ("bad", 1),
        *((f"pattern{n}", block - 1) for n in range(count)),
        *((f"reset{n}", 1) for n in range(count)),
    ]


class PlaneReader(Pipeline):
    """
    Attributes
    ----------
    sink : Endpoint(symbols_layout)
    source : Endpoint(planes_layout)
    """
    def __init__(self, word, block, primitive=False):
        Pipeline.__init__(self, symbols_layout(word, block), planes_layout(word, block))

        # # #

        sink    = self.sink
        count   = lanes(word, block)
        lengths = symbol_lengths(word, block)
        longest = max(lengths.values())

        def pick(index, options):
            self.submodules += (selector := Selector(index, options, primitive))
            return selector.out

        # Bits from ``at`` on, in two steps. -----------------------------------------------------
        span = max(word, count*longest)
        bits, at, *tags = self.stage(
            pick(sink.at[2:], [sink.bits[4*i:4*i + span + 3]
                for i in range(1 << len(sink.at) - 2)]),
            sink.at[:2], sink.base, sink.extra, sink.left, sink.ends, sink.end, sink.bad)
        bits, *tags = self.stage(pick(at, [bits[i:i + span] for i in range(4)]), *tags)

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
        above = Cat(*(select(left, [int(n >= word + 1 - k) for n in range(1 << len(left))])
            for k in range(word)))
        phase = self.unsigned(word + 1 - left, log2_int(count, False))
        ends, end, bad = flags
        # With two lanes, nothing follows a run.
        run = self.unsigned(0, 2)
        if count > 2:
            symbol = symbols[0]
            short  = ~base & is_run(symbol) & (symbol[3:lengths[RUN] - 1] == 0)
            run    = Cat(short & ~symbol[lengths[RUN] - 1], short & symbol[lengths[RUN] - 1])
        counts = Cat(*(~ends | (extra > n) | (is_run(symbols[0]) if n == 0 else 0)
            for n in range(count)))
        wrong = reduce(or_, wrong)
        (patterns, resets, wrong, first, above, phase, counts, run, base, ends, end, bad
            ) = self.stage(patterns, resets, wrong, first, above, phase, counts, run, base, ends,
            end, bad)
        self.finish(
            base=base, above=above, phase=phase, counts=counts, run=run, ends=ends, end=end,
            bad=bad | (wrong & ~end),
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

    What a step decodes is written to all planes from k on, to every second (or fourth) the same, so
    that no plane needs a multiplexer: those that it does not belong to are written again. A full
    block moves on as a whole, to be shifted out difference by difference.

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
        above = Signal(block - 1, reset_less=True)   # The plane decoded last.
        some  = Signal(block - 1, reset_less=True)   # Differences with a plane that is not zero.
        fresh = Signal()                        # Nothing in rows is of the block that begins.
        full  = Signal()
        move  = Signal()
        step  = Signal()
        dbp   = [Signal(block - 1) for _ in range(count)]
        for n in range(count):
            before = dbp[n - 1] if n else above
            reset  = getattr(sink, f"reset{n}") | (0 if n else fresh)
            self.comb += dbp[n].eq(getattr(sink, f"pattern{n}") ^ Mux(reset, 0, before))
        # The sink's ready comes from registers, it does not depend on what is taken.
        begin = sink.base & ~sink.end & ~sink.bad
        self.comb += [
            sink.ready.eq((~full | begin) & ~(self.ended & (sink.end | sink.bad))),
            step.eq(sink.valid & sink.ready),
            self.more.eq(full),
        ]
        # From plane k on, in order.
        if count == 2:
            order = dbp
        else:
            order = [
                dbp[0],
                Mux(sink.run == 0, dbp[1], dbp[0]),
                Mux(sink.run == 0, dbp[2], Mux(sink.run[0], dbp[1], dbp[0])),
                Mux(sink.run[1], dbp[1], dbp[2]),
            ]
        written = [Signal(block - 1) for _ in order]
        self.comb += [signal.eq(select(sink.phase, [order[(n - k) % len(order)]
            for k in range(len(order))])) for n, signal in enumerate(written)]
        self.sync += If(step & ~sink.base,
            above.eq(dbp[-1]),
            some.eq(Mux(fresh, 0, some) | reduce(or_, (Mux(sink.counts[n], plane, 0)
                for n, plane in enumerate(dbp)))),
            [If(mask, row.eq(written[k % len(order)]))
                for k, (row, mask) in enumerate(zip(rows, sink.above, strict=True))],
        )
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
        others = Signal(block - 1, reset_less=True)   # Differences to come that are not zero.
        index  = Signal(max=block)
        final  = Signal()
        self.comb += [
            final.eq(index == block - 1),
            self.fresh.eq(index == 0),
            self.clean.eq((self.word == 0) & (others == 0)),
            move.eq(full & ~self.ended & (~self.valid | (self.take & final))),
        ]
        self.sync += [
            If(move | self.take,
                self.word.eq(Mux(move, first, self.word + deltas[0])),
                others.eq(Mux(move, some, others[1:])),
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
