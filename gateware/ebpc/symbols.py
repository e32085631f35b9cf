"""Bit planes to the symbols of the BPC stream."""

from functools import reduce
from operator import and_

from litex.gen import *
from migen import *

from ...spec.ebpc import ALL_ONES, ONE_ONE, TWO_ONES, ZERO_DBP, ZERO_PLANE, ZERO_PLANES
from ..mux import select
from ..zfpe.pipeline import Pipeline, any_of
from .planes import planes_layout

PREFIX = len(ALL_ONES)
# The patterns share three zeros; the two bits after them are made from two flags below.
assert [ALL_ONES, ZERO_DBP, TWO_ONES, ONE_ONE] == [f"000{i:02b}" for i in range(4)]

# PlaneSymbols -------------------------------------------------------------------------------------

class PlaneSymbols(Pipeline):
    """
    Every lane gives one symbol at most: a run of zero planes is written in the place of its last
    one. That it is the last one, the lane after tells; for the last lane the next step, which is
    one stage behind. Stages::

        planes -> DBX -> kind, position -> symbol -> string (one more stage for three lanes)

    Attributes
    ----------
    sink : Endpoint("planes", "base", "head", "end", "empty")
        See planes_layout; the steps of a block without pauses.
    source : Endpoint("data", "length")
        The symbols of a step as one string: ``length`` bits, first bit in the most significant.
    """
    def __init__(self, word, block, lanes):
        planes    = block - 1
        positions = log2_int(block)
        run_bits  = log2_int(word)
        run_size  = len(ZERO_PLANES) + run_bits
        widths    = [max(word, block)] + (lanes - 1)*[block]   # Of the symbols.
        self.width = sum(widths)
        Pipeline.__init__(self, planes_layout(word, block, lanes),
            [("data", self.width), ("length", bits_for(self.width))])

        # # #

        # 1. DBX, and where runs of ones in it start. From here on the first difference is bit 0 of
        # a plane: positions count from it.
        sink  = self.sink
        dbp   = [sink.planes[planes*i:planes*(i + 1)][::-1] for i in range(lanes)]
        [before] = self._register([dbp[-1]])
        dbx   = [self.unsigned(a ^ b, planes) for a, b in zip(dbp, [before, *dbp], strict=False)]
        raw   = [self._text(Cat(1, x), width) for x, width in zip(dbx, widths, strict=True)]
        raw[0] = self.unsigned(Mux(sink.head, sink.base[::-1], raw[0]), widths[0])
        starts = [self.unsigned(x & ~Cat(0, x), planes) for x in dbx]
        raw, starts, clear, head, end, empty = self.stage(raw, starts, [p == 0 for p in dbp],
            sink.head, sink.end, sink.empty)

        # 2. Kind of each plane. One run of ones, of one or two: its start is the position.
        heads = [head] + (lanes - 1)*[0]
        zero, short, kind, position = [], [], [], []
        for text, first, none, is_head in zip(raw, starts, clear, heads, strict=True):
            x        = text[1:block]
            ones     = self.unsigned(reduce(and_, list(x)), 1)
            pair     = self.unsigned(any_of([x[i] & x[i + 1] for i in range(planes - 1)]), 1)
            triple   = self.unsigned(
                any_of([x[i] & x[i + 1] & x[i + 2] for i in range(planes - 2)]), 1)
            # Starts whose position has bit k set, or clear: there is one start where no bit has
            # both.
            yes      = [any_of([first[i] for i in range(planes) if i >> k & 1])
                for k in range(positions)]
            no       = [any_of([first[i] for i in range(planes) if not i >> k & 1])
                for k in range(positions)]
            many     = any_of([a & b for a, b in zip(yes, no, strict=True)])
            placed   = self.unsigned(~ones & ~none, 1)
            zero.append(self.unsigned(((x == 0) & ~is_head) | empty, 1))
            short.append(~is_head & (ones | none | ~(many | triple)))
            kind.append(Cat(placed, ~ones & (none | ~pair)))
            position.append([bit & placed for bit in yes])
        next_zero = zero[0]
        raw, zero, short, kind, position, head, end, empty = self.stage(raw, zero, short, kind,
            position, head, end, empty)

        # 3. Symbol of each lane. The run is kept as its length less 1: with this step's plane less
        # 2, as it is written. All ones is no run.
        follow  = [*zero[1:], (next_zero & ~end) | empty]
        run     = Signal(run_bits)
        more    = run
        single  = run == 2**run_bits - 1
        symbols, lengths = [], []
        for lane, width in enumerate(widths):
            one   = self._text(map(int, ZERO_PLANE), width)
            many  = self._text([*map(int, ZERO_PLANES), more[::-1]], width)
            code  = self._text([0, 0, 0, kind[lane], *reversed(position[lane])], width)
            emit  = zero[lane] & ~follow[lane]
            whole = Mux(head, word, block) if lane == 0 else block
            symbols.append(self.unsigned(Mux(zero[lane],
                Mux(emit, Mux(single, one, many), 0),
                Mux(short[lane], code, raw[lane])), width))
            lengths.append(self.unsigned(Mux(zero[lane],
                Mux(emit, Mux(single, len(ZERO_PLANE), run_size), 0),
                Mux(short[lane], Mux(kind[lane][0], PREFIX + positions, PREFIX), whole)),
                bits_for(width)))
            single = ~zero[lane]
            more   = self.unsigned(Mux(zero[lane], more + 1, 2**run_bits - 1), run_bits)
        self.sync += If(self._ce, run.eq(more))
        symbols, lengths = self.stage(symbols, lengths)

        # 4. One string, from the last lane to the first.
        possible = {0, len(ZERO_PLANE), run_size, PREFIX, PREFIX + positions, word, block}
        while len(symbols) > 1:
            *symbols, first, second = symbols
            *lengths, size, more    = lengths
            joined = first | select(size, [
                Cat(C(0, i), second) if i and i in possible else second if i == 0 else None
                for i in range(1 << len(size))])
            symbols.append(self.unsigned(joined, len(first) + len(second)))
            lengths.append(self.unsigned(size + more, bits_for(len(symbols[-1]))))
            symbols, lengths = self.stage(symbols, lengths)
        self.finish(data=symbols[0][::-1], length=lengths[0])

    def _text(self, parts, width):
        """Bits, the first one in bit 0, filled up with zeros (combinational)."""
        return self.unsigned(Cat(*parts), width)
