"""The operands of VECTOR: windows of three vectors, and the weights that meet them.

Both are pipelines that are never held: who sends a step has seen to it that its weights are there.
"""

from litex.gen import *
from migen import *

from ..spec import isa
from ..spec.formats import LANES, VALUE_BITS
from .buffers import ADDRESS_BITS, READ_LATENCY, VECTOR_BITS
from .mux import Selector
from .requantize import Delay
from .vector_walker import KY_BITS, OFFSETS
from .walker import Countdown

TAPS = isa.VECTOR_KW

# WindowUnit ---------------------------------------------------------------------------------------

class WindowUnit(LiteXModule):
    """Vectors of KH rows in turn to operands of TAPS x 4 pixels.

    The last two vectors of each row wait in a memory of a word a ky; a third one makes the window
    an output is cut from. All of it is read and written in the same clock, so KH may be 1.

    Parameters
    ----------
    primitive : bool
        See Selector.

    Attributes
    ----------
    pool, double, offset : in
        Constants of the GO (VectorSetup).
    valid, data, mask : in
        A vector, and which of its pixels lie inside the tensor.
    ky, left_zero, new_zero : in
        Its row, and what of the window is zeros (WORK_LAYOUT), the clock after.
    operands : out
        [tap][lane], ``latency`` clocks after the vector.
    """
    latency = 4

    def __init__(self, primitive=False):
        self.pool      = Signal()
        self.double    = Signal()
        self.offset    = Signal(2)
        self.valid     = Signal()
        self.data      = Signal(VECTOR_BITS)
        self.mask      = Signal(LANES)
        self.ky        = Signal(KY_BITS)
        self.left_zero = Signal()
        self.new_zero  = Signal()
        self.operands  = [[Signal((VALUE_BITS, True), name=f"operand{k}_{i}", reset_less=True)
            for i in range(LANES)] for k in range(TAPS)]

        # # #

        def pixels(signal):
            return [signal[n:n + VALUE_BITS] for n in range(0, len(signal), VALUE_BITS)]

        # 1. Pixels outside are zeros ----------------------------------------------------------
        new     = Signal(VECTOR_BITS, reset_less=True)
        arrived = Signal()
        self.sync += arrived.eq(self.valid)
        for i, (inner, outer) in enumerate(zip(pixels(new), pixels(self.data), strict=True)):
            self.sync += inner.eq(Mux(self.mask[i], outer, 0))

        # 2. Window: the two vectors before it and this one ------------------------------------
        history = Memory(2*VECTOR_BITS, isa.VECTOR_KH)
        write   = history.get_port(write_capable=True)
        read    = history.get_port(async_read=True)
        self.specials += history, write, read
        before = Signal(VECTOR_BITS)
        left   = Signal(VECTOR_BITS)
        window = Signal(3*VECTOR_BITS, reset_less=True)
        self.comb += [
            read.adr.eq(self.ky),
            Cat(before, left).eq(read.dat_r),
            write.we.eq(arrived),
            write.adr.eq(self.ky),
            write.dat_w.eq(Cat(new, before)),
        ]
        self.sync += [
            # POOL takes its pixels from the left, where a window begins in all other cases.
            window[:VECTOR_BITS].eq(
                Mux(self.left_zero, 0, Mux(self.pool, new, left))),
            window[VECTOR_BITS:2*VECTOR_BITS].eq(before),
            window[2*VECTOR_BITS:].eq(Mux(self.new_zero, 0, new)),
        ]

        # 3. Pixels from the output's first on -------------------------------------------------
        far   = 2*(LANES - 1) + TAPS                       # Pixels an output can need,
        short = VECTOR_BITS*3//VALUE_BITS                  # and those of a window.
        first = Signal(far*VALUE_BITS, reset_less=True)
        for p, pixel in enumerate(pixels(first)):
            # The rightmost pixel is of use with offset 0 only.
            selector = Selector(self.offset,
                [pixels(window)[min(p + offset, short - 1)] for offset in OFFSETS], primitive)
            self.submodules += selector
            self.sync += pixel.eq(selector.out)

        # 4. Operands --------------------------------------------------------------------------
        for k in range(TAPS):
            for i in range(LANES):
                self.sync += self.operands[k][i].eq(
                    Mux(self.double, pixels(first)[2*i + k], pixels(first)[i + k]))

# Weights ------------------------------------------------------------------------------------------

class Weights(LiteXModule):
    """Rows of KW weights, one channel after the other, read ahead from VBUF into a ring of ROWS.

    A channel's rows lie side by side in the ring while its outputs are made, all of them with the
    same rows. A row is *promised* to the first step that uses it before that is let go, and
    *released* by the last; at the end of a GO everything is released.

    Parameters
    ----------
    r : dict of Signal
    setup : VectorSetup
    vbuf_read : buffers.DedicatedReadPort
    primitive : bool
        See Selector.

    Attributes
    ----------
    start : in
        Begins to read the rows of a GO.
    available, promise : out, in
        A row is there that no step was promised; it is promised in this clock.
    step, sum_last, closes : in
        A step that adds to an output comes by (WORK_LAYOUT).
    row : out
        TAPS weights of its row, the clock after.
    """
    ROWS = 32            # Two channels with the highest KH.

    def __init__(self, r, setup, vbuf_read, primitive=False):
        self.start     = Signal()
        self.available = Signal()
        self.promise   = Signal()
        self.step      = Signal()
        self.sum_last  = Signal()
        self.closes    = Signal()
        self.row       = [Signal((VALUE_BITS, True), name=f"weight{k}", reset_less=True)
            for k in range(TAPS)]

        # # #

        place = log2_int(self.ROWS)

        # 1. Read: a weight a clock while the ring has room for its row -------------------------
        self.cs = cs = Countdown(13)
        self.ks = ks = Countdown(5)
        self.ts = ts = Countdown(2)
        active  = Signal()
        issue   = Signal()
        release = Signal()
        room    = Signal(max=self.ROWS + 1, reset=self.ROWS)   # Rows.
        word    = Signal(ADDRESS_BITS, reset_less=True)
        tile    = Signal(ADDRESS_BITS, reset_less=True)        # First word of the channel,
        further = Signal(ADDRESS_BITS, reset_less=True)        # and of the next four.
        lane    = Signal(max=LANES)
        tap     = Signal(max=TAPS)
        self.comb += [
            vbuf_read.address.eq(word),
            issue.eq(active & (room != 0)),
            release.eq(self.step & self.closes),
        ]
        self.sync += [
            further.eq(tile + r["W_TILE"]),
            room.eq(room + release - (issue & ts.last)),
            If(self.start,
                active.eq(1),
                word.eq(r["W_BASE"]),
                tile.eq(r["W_BASE"]),
                lane.eq(0),
                tap.eq(0),
                cs.load(r["COUT"]),
                ks.load(setup.weights),
                ts.load(setup.kw),
            ).Elif(issue,
                word.eq(word + 1),
                tap.eq(tap + 1),
                ts.step(),
                If(ts.last,
                    tap.eq(0),
                    ts.load(setup.kw),
                    ks.step(),
                    If(ks.last,
                        ks.load(setup.weights),
                        cs.step(),
                        lane.eq(lane + 1),
                        word.eq(tile),
                        If(lane == LANES - 1,
                            word.eq(further),
                            tile.eq(further),
                        ),
                        If(cs.last, active.eq(0)),
                    )
                )
            ),
        ]

        # 2. Take the channel's weight from the word --------------------------------------------
        self.issue_delay = issue_delay = Delay(issue, READ_LATENCY, reset_less=False)
        self.place_delay = place_delay = Delay(Cat(lane, tap, ts.last), READ_LATENCY)
        of_lane = Signal(max=LANES)
        self.comb += of_lane.eq(place_delay.output[:2])
        self.selector = selector = Selector(of_lane,
            [vbuf_read.data[VALUE_BITS*i:VALUE_BITS*(i + 1)] for i in range(LANES)], primitive)
        arrived = Signal()
        weight  = Signal(VALUE_BITS, reset_less=True)
        of_tap  = Signal(max=TAPS,   reset_less=True)
        row_end = Signal(reset_less=True)
        self.sync += [
            arrived.eq(issue_delay.output),
            weight.eq(selector.out),
            Cat(of_tap, row_end).eq(place_delay.output[2:]),
        ]

        # 3. Into the ring ---------------------------------------------------------------------
        filled   = Signal(place)                       # Where the next row goes.
        landed   = Signal()
        ahead    = Signal(max=self.ROWS + 1)           # Rows no step was promised.
        self.comb += [
            landed.eq(arrived & row_end),
            self.available.eq(ahead != 0),
        ]
        self.sync += [
            filled.eq(filled + landed),
            ahead.eq(ahead + landed - self.promise),
        ]

        # 4. To the steps ----------------------------------------------------------------------
        used    = Signal(place)                        # Row of this step,
        channel = Signal(place)                        # and the first of its channel.
        for k in range(TAPS):
            ring  = Memory(VALUE_BITS, self.ROWS)
            write = ring.get_port(write_capable=True)
            read  = ring.get_port(async_read=True)
            self.specials += ring, write, read
            self.comb += [
                write.adr.eq(filled),
                write.dat_w.eq(weight),
                write.we.eq(arrived & (of_tap == k)),
                read.adr.eq(used),
            ]
            self.sync += self.row[k].eq(Mux(setup.kw > k, read.dat_r, 0))
        self.sync += If(self.step,
            If(~self.sum_last,
                If(~setup.pool, used.eq(used + 1))
            ).Elif(self.closes,
                used.eq(used + 1),
                channel.eq(used + 1),
            ).Else(
                used.eq(channel)
            )
        )
