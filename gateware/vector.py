"""The VECTOR engine: depthwise convolutions, adds and pools of spec/isa.py, a step a clock.

::

    commands -> CommandFrontend -> VectorSetup -> RowWalker -> StepWalker -> gate -> issue -> ABUF
                                      |                                       |        |        |
                                 ResultWalker     VBUF -> Weights <--promise--+      flags   vectors
                                      |                      |                         |        |
    ABUF <- FIFO <- Requantizer <-----+--- TapArray <--------+---------------------- WindowUnit
                        |
                       PBUF

Nothing behind the issue can be held: a step passes the gate only when its weights are there and,
if it ends an output, the FIFO has room reserved for it.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec import isa
from ..spec.formats import LANES, VALUE_BITS
from .array import Accumulator
from .buffers import ADDRESS_BITS, READ_LATENCY
from .command import CommandFrontend
from .multiplier import Multiplier
from .requantize import Delay, Requantizer
from .vector_walker import (
    STEP_LAYOUT,
    WORK_LAYOUT,
    ResultWalker,
    RowWalker,
    StepWalker,
    VectorSetup,
)
from .vector_window import TAPS, Weights, WindowUnit

FIFO_DEPTH = 64      # Results: more than there can be between gate and FIFO.

# TapArray -----------------------------------------------------------------------------------------

class TapArray(LiteXModule):
    """TAPS x 4 multipliers and an accumulator a lane; a step a clock.

    Attributes
    ----------
    operands, weights : in
        [tap][lane] and [tap].
    enable, first : in
        The products are added, to 0 if ``first``; ``latency`` - 1 clocks after operands and
        weights.
    acc : out
        Four sums, ``latency`` clocks after.
    """
    latency = Multiplier.latency + 3

    def __init__(self, primitive=False):
        self.operands = [[Signal((VALUE_BITS, True), name=f"operand{k}_{i}") for i in range(LANES)]
            for k in range(TAPS)]
        self.weights  = [Signal((VALUE_BITS, True), name=f"weight{k}") for k in range(TAPS)]
        self.enable   = Signal()
        self.first    = Signal()
        self.acc      = []

        # # #

        for i in range(LANES):
            products = []
            for k in range(TAPS):
                multiplier = Multiplier(VALUE_BITS, VALUE_BITS, primitive)
                self.submodules += multiplier
                self.comb += [
                    multiplier.a.eq(self.operands[k][i]),
                    multiplier.b.eq(self.weights[k]),
                ]
                products.append(multiplier.p)
            pair  = Signal((2*VALUE_BITS + 1, True), reset_less=True)
            third = Signal((2*VALUE_BITS, True),     reset_less=True)
            total = Signal((2*VALUE_BITS + 2, True), reset_less=True)
            self.sync += [
                pair.eq(products[0] + products[1]),
                third.eq(products[2]),
                total.eq(pair + third),
            ]
            accumulator = Accumulator(total, primitive)
            self.submodules += accumulator
            self.comb += [
                accumulator.enable.eq(self.enable),
                accumulator.first.eq(self.first),
            ]
            self.acc.append(accumulator.acc)

# VectorCore ---------------------------------------------------------------------------------------

class VectorCore(LiteXModule):
    """VECTOR without its command frontend: executes ``start`` with the registers ``r``, which must
    not change from the clock before ``start`` until ``done``.

    Ports as VectorEngine's.
    """
    def __init__(self, r, abuf_read, abuf_write, vbuf_read, pbuf_read, primitive=False):
        self.start = Signal()
        self.done  = Signal()
        self.error = Signal()
        self.step  = Signal()
        self.stall = Signal()

        # # #

        # 1. Setup -----------------------------------------------------------------------------
        self.setup = setup = VectorSetup(r)

        working = Signal()
        ahead   = Signal()
        begin   = Signal()
        written = Signal()
        self.fsm = fsm = FSM(reset_state="IDLE")
        fsm.act("IDLE",
            If(self.start, NextState("CHECK"))
        )
        fsm.act("CHECK",
            working.eq(1),
            If(setup.bad,
                self.error.eq(1),
                NextState("ERROR"),
            ).Elif(setup.any_output,
                ahead.eq(1),
                NextState("SETTLE"),
            ).Else(
                self.done.eq(1),
                NextState("IDLE"),
            )
        )
        fsm.act("SETTLE",
            working.eq(1),
            NextState("BEGIN"),
        )
        fsm.act("BEGIN",
            working.eq(1),
            begin.eq(1),
            NextState("RUN"),
        )
        fsm.act("RUN",
            working.eq(1),
            If(written,
                self.done.eq(1),
                NextState("IDLE"),
            )
        )
        fsm.act("ERROR")   # Until reset.
        self.comb += self.stall.eq(working & ~self.step)

        # 2. Steps -----------------------------------------------------------------------------
        self.rows    = rows    = RowWalker(r, setup)
        self.steps   = steps   = StepWalker(r, setup)
        self.weights = weights = Weights(r, setup, vbuf_read, primitive)
        self.comb += [
            rows.start.eq(begin),
            weights.start.eq(ahead),
            rows.source.connect(steps.sink),
        ]

        # 3. Gate ------------------------------------------------------------------------------
        # One skid buffer keeps the gate out of the walkers, the other ABUF's ready out of the gate.
        self.before   = before   = stream.PipeReady(STEP_LAYOUT)
        self.behind   = behind   = stream.PipeReady(STEP_LAYOUT)
        self.register = register = stream.PipeValid(STEP_LAYOUT)
        room     = Signal(max=FIFO_DEPTH + 1, reset=FIFO_DEPTH)
        roomy    = Signal()
        released = Signal()
        granted  = Signal()
        passes   = Signal()
        output   = Signal()
        waiting  = before.source
        self.comb += [
            steps.source.connect(before.sink),
            output.eq(waiting.complete & waiting.sum_last),
            granted.eq((~waiting.opens | weights.available) & (~output | roomy)),
            waiting.connect(behind.sink, omit={"valid", "ready"}),
            behind.sink.valid.eq(waiting.valid & granted),
            waiting.ready.eq(behind.sink.ready & granted),
            behind.source.connect(register.sink),
            passes.eq(waiting.valid & waiting.ready),
            weights.promise.eq(passes & waiting.opens),
        ]
        self.sync += [
            room.eq(room + released - (passes & output)),
            roomy.eq(room >= 2),   # One may pass in this clock.
        ]

        # 4. Issue -----------------------------------------------------------------------------
        issued = register.source
        self.comb += [
            abuf_read.cmd.valid.eq(issued.valid & issued.read),
            abuf_read.cmd.address.eq(issued.address),
            issued.ready.eq(~issued.read | abuf_read.cmd.ready),
            self.step.eq(issued.valid & issued.ready),
        ]

        # 5. Operands: the flags keep pace with the vector --------------------------------------
        self.window = window = WindowUnit(primitive)
        work = {name: getattr(issued, name) for name, _ in WORK_LAYOUT}
        work["complete"] = work["complete"] & self.step
        work["step"]     = self.step
        def at(name, clocks):
            """A flag of the step issued that many clocks ago."""
            delay = Delay(work[name], clocks, reset_less=name not in ("step", "complete", "output"))
            self.submodules += delay
            return delay.output
        self.comb += [
            window.pool.eq(setup.pool),
            window.double.eq(setup.double),
            window.offset.eq(setup.offset),
            window.data.eq(abuf_read.data),
            window.valid.eq(at("step", READ_LATENCY)),
            window.mask.eq(at("mask", READ_LATENCY)),
            window.ky.eq(at("ky", READ_LATENCY + 1)),
            window.left_zero.eq(at("left_zero", READ_LATENCY + 1)),
            window.new_zero.eq(at("new_zero", READ_LATENCY + 1)),
        ]

        # 6. Products and sums -----------------------------------------------------------------
        taken = READ_LATENCY + window.latency          # Clocks from issue to operands.
        self.array = array = TapArray(primitive)
        summed = taken + array.latency - 1
        self.comb += [
            weights.step.eq(at("complete", taken - 1)),
            weights.sum_last.eq(at("sum_last", taken - 1)),
            weights.closes.eq(at("closes", taken - 1)),
            [sink.eq(source) for sink, source in zip(array.weights, weights.row, strict=True)],
            [sink.eq(source) for sinks, sources in zip(array.operands, window.operands, strict=True)
                for sink, source in zip(sinks, sources, strict=True)],
            array.enable.eq(at("complete", summed)),
            array.first.eq(at("sum_first", summed)),
        ]

        # 7. Requantization --------------------------------------------------------------------
        self.results = results = ResultWalker(r, setup)
        self.requantizer = requantizer = Requantizer(ADDRESS_BITS + 1, READ_LATENCY,
            primitive=primitive)
        work["output"] = work["complete"] & work["sum_last"]
        self.comb += [
            results.start.eq(begin),
            results.advance.eq(requantizer.valid),
            pbuf_read.address.eq(results.record),
            requantizer.valid.eq(at("output", summed + 1)),
            [sink.eq(acc) for sink, acc in zip(requantizer.acc, array.acc, strict=True)],
            requantizer.tail.eq(results.tail),
            requantizer.tag.eq(Cat(results.address, results.final)),
            requantizer.params.eq(pbuf_read.data),
            requantizer.pool.eq(setup.pool),
            requantizer.clamp_lo.eq(r["CLAMP_LO"]),
            requantizer.clamp_hi.eq(r["CLAMP_HI"]),
        ]

        # 8. Results to ABUF -------------------------------------------------------------------
        # The buffer hides the block RAM's slow output.
        self.fifo   = fifo   = stream.SyncFIFO(abuf_write.description, FIFO_DEPTH, buffered=True)
        self.buffer = buffer = stream.Buffer(abuf_write.description)
        self.comb += [
            fifo.sink.valid.eq(requantizer.out_valid),
            fifo.sink.data.eq(requantizer.out_data),
            Cat(fifo.sink.address, fifo.sink.last).eq(requantizer.out_tag),
            fifo.source.connect(buffer.sink),
            buffer.source.connect(abuf_write),
            released.eq(fifo.source.valid & fifo.source.ready),
            written.eq(buffer.source.valid & buffer.source.ready & buffer.source.last),
        ]

# VectorEngine -------------------------------------------------------------------------------------

class VectorEngine(LiteXModule):
    """VECTOR of spec/isa.py.

    ``frontend.reset`` stops whatever is going on. A register out of range (KH = 0; unless POOL, KH
    > 16, KW = 0, PAD_X > 2, STRIDE not 1 or 2) pulses ``error``; the GO then never completes and
    nothing is taken until the reset.

    Parameters
    ----------
    arch : spec.arch.Arch
    abuf_read : buffers.ReadPort
    abuf_write : Endpoint("address", "data")
    vbuf_read, pbuf_read : buffers.DedicatedReadPort
        64 bits each.
    primitive : bool
        Instantiate ECP5 DSP blocks, carry chains and multiplexers (not for simulation).

    Attributes
    ----------
    sink : Endpoint("data")
        Command words.
    frontend : CommandFrontend
    error : out
        Pulse.
    step, stall : out
        A step is taken; none is. One of the two in every clock of a GO.
    """
    def __init__(self, arch, abuf_read, abuf_write, vbuf_read, pbuf_read, primitive=False):
        self.frontend = frontend = CommandFrontend(isa.VECTOR)
        self.sink     = frontend.sink

        # # #

        core = VectorCore(frontend.r, abuf_read, abuf_write, vbuf_read, pbuf_read, primitive)
        self.core = core = ResetInserter()(core)
        self.error = core.error
        self.step  = core.step
        self.stall = core.stall

        # Reads still on their way from ABUF when the reset comes meet no step: the core counts the
        # clocks by itself, and has no need to wait for them.
        self.comb += [
            core.reset.eq(frontend.reset),
            core.start.eq(frontend.start),
            frontend.done.eq(core.done),
        ]
