"""The window unit: row segments from ABUF to operands of four pixels.

::

    window --> WindowReader --read--> ABUF --> vectors --+
                    |                                    +--> WindowEmitter --> operands
                    +--------- steps (one a vector) -----+

A window is 1 to 4 vectors; KW operands are cut from it, each a pixel further right. The emitter
fills the next window while it emits the current one, so that KW >= vectors gives an operand every
clock (and so does KW = 1 with one vector). Pixels and rows outside the tensor are zeros and are
not read.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec.formats import LANES, VALUE_BITS
from .buffers import ADDRESS_BITS
from .walker import FLAGS_LAYOUT, MASK_BITS, MAX_VECTORS, WINDOW_LAYOUT, Countdown

VECTOR_BITS = LANES*VALUE_BITS
DEPTH       = 16   # Vectors on their way from ABUF or waiting.

STEP_LAYOUT = [
    ("mask",  LANES),                # 0: not read, zeros.
    ("index", 2),                    # Vector of the window.
    ("end",   1),                    # The window's last.
    ("zero",  1),                    # The whole window is zeros (a window of one step).
] + FLAGS_LAYOUT

FLAGS = [name for name, _ in FLAGS_LAYOUT]

# WindowReader -------------------------------------------------------------------------------------

class WindowReader(LiteXModule):
    """Windows to vectors: a step a clock, reading ABUF where a pixel of the vector is wanted.

    Attributes
    ----------
    vectors : in
        Vectors of a window, less one.
    sink : Endpoint(WINDOW_LAYOUT)
    cmd : Endpoint("address")
        To ABUF's read port.
    source : Endpoint(STEP_LAYOUT)
        The steps, in the order of the reads.
    """
    def __init__(self):
        self.vectors = Signal(2)
        self.sink    = sink   = stream.Endpoint(WINDOW_LAYOUT)
        self.cmd     = cmd    = stream.Endpoint([("address", ADDRESS_BITS)])
        self.source  = source = stream.Endpoint(STEP_LAYOUT)

        # # #

        # 1. The walker's window, decoupled from ABUF's ready ----------------------------------
        self.buffer = buffer = stream.Buffer(WINDOW_LAYOUT, pipe_valid=True, pipe_ready=True)
        window = buffer.source
        self.comb += sink.connect(buffer.sink)

        # 2. Step ------------------------------------------------------------------------------
        index = Signal(2)
        end   = Signal()
        mask  = Signal(LANES)
        step  = stream.Endpoint(STEP_LAYOUT)
        take  = Signal()
        address = Signal(ADDRESS_BITS, reset_less=True)
        read    = Signal()
        self.comb += [
            end.eq((index == self.vectors) | window.zero),
            Case(index, {n: mask.eq(window.mask[LANES*n:LANES*(n + 1)])
                for n in range(MAX_VECTORS)}),
            take.eq(window.valid & (step.ready | ~step.valid)),
            window.ready.eq(take & end),
        ]
        self.sync += [
            If(step.ready, step.valid.eq(0)),
            If(take,
                index.eq(Mux(end, 0, index + 1)),
                address.eq(window.address + index),
                read.eq((mask != 0) & ~window.zero),
                step.valid.eq(1),
                step.mask.eq(Mux(window.zero, 0, mask)),
                step.index.eq(index),
                step.end.eq(end),
                step.zero.eq(window.zero),
                [getattr(step, name).eq(getattr(window, name)) for name in FLAGS],
            ),
        ]

        # 3. Read ------------------------------------------------------------------------------
        # A read is issued only together with its step: room for the step is room for the vector.
        self.comb += [
            cmd.valid.eq(step.valid & read & source.ready),
            cmd.address.eq(address),
            source.valid.eq(step.valid & (~read | cmd.ready)),
            step.ready.eq(source.ready & (~read | cmd.ready)),
            [getattr(source, name).eq(getattr(step, name)) for name, _ in STEP_LAYOUT],
        ]

# WindowEmitter ------------------------------------------------------------------------------------

class WindowEmitter(LiteXModule):
    """Steps and vectors to operands.

    Attributes
    ----------
    kw, offset, stride2, pool : in
        Operands of a window, first pixel, 2 pixels between lanes, all operands alike.
    steps : Endpoint(STEP_LAYOUT)
    vectors : Endpoint("data")
    valid, go : out, in
        An operand is there; it is taken in this clock.
    operand : out
        Four pixels, lane 0 lowest, the clock *after* it is taken.
    sum_first, sum_last, group_last, tile_end, column : out
        Of the operand that is there.
    """
    def __init__(self):
        self.kw      = Signal(3)
        self.offset  = Signal(2)
        self.stride2 = Signal()
        self.pool    = Signal()
        self.steps   = steps   = stream.Endpoint(STEP_LAYOUT)
        self.vectors = vectors = stream.Endpoint([("data", VECTOR_BITS)])
        self.valid   = Signal()
        self.go      = Signal()
        self.operand = Signal(VECTOR_BITS, reset_less=True)
        for name, bits in FLAGS_LAYOUT:
            setattr(self, name, Signal(bits, name=name))

        # # #

        self.kxs = kxs = Countdown(3)

        # 1. Fill: all vectors but the last wait in `fill`, the last goes straight on -------------
        present = Signal()   # The step's vector is there, or none is needed.
        accept  = Signal()
        free    = Signal()   # The window is empty at the end of this clock.
        read    = Signal()
        fill    = [Signal(VECTOR_BITS, reset_less=True) for _ in range(MAX_VECTORS - 1)]
        self.comb += [
            read.eq(steps.mask != 0),
            present.eq(steps.valid & (~read | vectors.valid)),
            free.eq(~self.valid | (self.go & kxs.last)),
            accept.eq(present & (~steps.end | free)),
            steps.ready.eq(accept),
            vectors.ready.eq(accept & read),
        ]
        def masked(lane):
            pixel = vectors.data[VALUE_BITS*lane:VALUE_BITS*(lane + 1)]
            return pixel & Replicate(steps.mask[lane], VALUE_BITS)
        vector = Cat(*(masked(lane) for lane in range(LANES)))
        for n, kept in enumerate(fill):
            self.sync += If(accept & (steps.index == n), kept.eq(vector))

        # 2. Window: moves a pixel to the right with every operand ------------------------------
        window = Signal(VECTOR_BITS*MAX_VECTORS, reset_less=True)
        loaded = []
        for n in range(MAX_VECTORS):
            direct = Replicate(steps.index == n, VECTOR_BITS)
            waited = Replicate((steps.index != n) & ~steps.zero, VECTOR_BITS)
            loaded.append(vector & direct | fill[n] & waited if n < len(fill) else vector)
        flags = {name: Signal(bits, reset_less=True) for name, bits in FLAGS_LAYOUT}
        self.sync += [
            If(self.go,
                flags["sum_first"].eq(0),
                kxs.step(),
                If(kxs.last, self.valid.eq(0)),
                If(~self.pool, window.eq(window[VALUE_BITS:])),
            ),
            If(accept & steps.end,
                self.valid.eq(1),
                window.eq(Cat(*loaded)),
                kxs.load(self.kw),
                [flag.eq(getattr(steps, name)) for name, flag in flags.items()],
            ),
        ]

        # 3. Operand ---------------------------------------------------------------------------
        pixels = [window[VALUE_BITS*p:VALUE_BITS*(p + 1)] for p in range(MASK_BITS)]
        for i in range(LANES):
            lane = self.operand[VALUE_BITS*i:VALUE_BITS*(i + 1)]
            self.sync += Case(Cat(self.offset, self.stride2), {
                offset + 4*double: lane.eq(pixels[offset + i*(1 + double)])
                for offset in range(4) for double in range(2)
            })
        self.comb += [
            self.sum_first.eq(flags["sum_first"]),
            self.sum_last.eq(flags["sum_last"] & kxs.last),
            self.group_last.eq(flags["group_last"] & kxs.last),
            self.tile_end.eq(flags["tile_end"]),
            self.column.eq(flags["column"]),
        ]
