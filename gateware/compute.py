"""The COMPUTE engine: the loop nest of spec/isa.py on an array of 4 x ``columns`` multipliers.

::

    commands -> CommandFrontend -> Setup -> GroupWalker -> WindowWalker -> WindowReader <-> ABUF
                                              |                              |
                                           results                      WindowEmitter   WBUF
                                              |                              |            |
    ABUF <- FIFO <- Requantizer <- dump <-----+------------------------- ArrayPath <------+
                        |
                       PBUF

Nothing behind the emitter can be held: an operand that ends a group is let go only when the
requantizer will be free for it and the FIFO has room reserved for all its vectors.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec import isa
from ..spec.arch import MAC
from ..spec.formats import DELTA
from .buffers import ADDRESS_BITS, READ_LATENCY, VECTOR_BITS
from .command import CommandFrontend
from .delta.path import DeltaPath
from .path import MacPath
from .plut.path import PlutPath
from .requantize import Delay, Requantizer
from .walker import RESULT_LAYOUT, GroupWalker, Setup, TileCounter, WindowWalker
from .weights import WeightWalker
from .window import DEPTH, WindowEmitter, WindowReader

RESULTS_DEPTH = 32   # Groups between walker and array.

# Array --------------------------------------------------------------------------------------------

def array_path(arch, primitive=False, organisation="row"):
    """The ArrayPath of an Arch; organisation: PlutArray's, of an array of codes."""
    if arch.array == MAC:
        return MacPath(arch.columns, primitive)
    fmt = arch.weight_format
    if fmt.kind == DELTA:
        return DeltaPath(arch.columns, fmt.bits, primitive)
    return PlutPath(arch.columns, fmt.codebook, fmt.bits, organisation, primitive)

# ComputeCore --------------------------------------------------------------------------------------

class ComputeCore(LiteXModule):
    """COMPUTE without its command frontend: executes ``start`` with the registers ``r``, which must
    not change from the clock before ``start`` until ``done``.

    Ports as ComputeEngine's.
    """
    def __init__(self, arch, r, abuf_read, abuf_write, wbuf_read, pbuf_read, primitive=False,
        organisation="row", requant_dsps=2, requant_narrow=False):
        columns = arch.columns
        self.start         = Signal()
        self.done          = Signal()
        self.error         = Signal()
        self.mac           = Signal()
        self.stall_abuf    = Signal()
        self.stall_requant = Signal()

        # # #

        # 1. Setup: constants of the GO, address of the first window ---------------------------
        self.setup  = setup  = Setup(r, columns)
        self.groups = groups = GroupWalker(r, setup, columns)
        self.array  = array  = array_path(arch, primitive, organisation)
        self.tile   = tile   = TileCounter(columns)    # The tile operands are issued of.

        working    = Signal()
        load       = Signal()
        begin      = Signal()
        written    = Signal()
        factor     = Signal(12, reset_less=True)
        row        = Signal(ADDRESS_BITS, reset_less=True)
        base       = Signal(ADDRESS_BITS, reset_less=True)
        self.comb += [
            groups.load.eq(load),
            groups.start.eq(begin),
            groups.base.eq(base),
            tile.cout.eq(r["COUT"]),
            tile.load.eq(load),
        ]
        self.fsm = fsm = FSM(reset_state="IDLE")
        fsm.act("IDLE",
            If(self.start, NextState("CHECK"))
        )
        fsm.act("CHECK",
            working.eq(1),
            load.eq(1),
            If(setup.bad | ((setup.depthwise | setup.pool) & array.dense_only),
                self.error.eq(1),
                NextState("ERROR"),
            ).Elif(setup.any_output,
                NextState("MULTIPLY"),
            ).Else(
                self.done.eq(1),
                NextState("IDLE"),
            )
        )
        # base = IN_BASE + x_start + ROW_OFF*IN_ROW, a bit of ROW_OFF a clock.
        fsm.act("MULTIPLY",
            working.eq(1),
            If(factor[1:] == 0, NextState("BEGIN"))
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
        self.sync += [
            If(load,
                factor.eq(setup.row_off),
                row.eq(r["IN_ROW"]),
                base.eq(r["IN_BASE"] + setup.x_start),
            ).Else(
                factor.eq(factor[1:]),
                row.eq(row << 1),
                If(factor[0],
                    base.eq(Mux(r["ROW_OFF"] < 0, base - row, base + row))
                )
            ),
        ]

        # 2. Windows and operands --------------------------------------------------------------
        self.windows = windows = WindowWalker(r, setup)
        self.reader  = reader  = WindowReader()
        self.steps   = steps   = stream.SyncFIFO(reader.source.description, DEPTH)
        self.vectors = vectors = stream.SyncFIFO([("data", VECTOR_BITS)], DEPTH)
        self.emitter = emitter = WindowEmitter()
        self.comb += [
            groups.source.connect(windows.sink),
            windows.source.connect(reader.sink),
            reader.vectors.eq(setup.vectors),
            reader.cmd.connect(abuf_read.cmd),
            reader.source.connect(steps.sink),
            steps.source.connect(emitter.steps),
            vectors.sink.valid.eq(abuf_read.valid),
            vectors.sink.data.eq(abuf_read.data),
            vectors.source.connect(emitter.vectors),
            emitter.kw.eq(setup.kw),
            emitter.offset.eq(setup.offset),
            emitter.stride2.eq(setup.stride2),
            emitter.pool.eq(setup.pool),
        ]

        # 3. Array: the operand comes a clock after it is taken ---------------------------------
        self.comb += [
            array.operand.eq(emitter.operand),
            array.single.eq(setup.depthwise),
            array.weights.eq(wbuf_read.data),
        ]
        self.sync += [
            array.valid.eq(self.mac),
            array.column.eq(emitter.column),
            array.first.eq(emitter.sum_first),
            array.last.eq(emitter.group_last),
        ]

        # 4. Weights ---------------------------------------------------------------------------
        self.weights = weights = WeightWalker(r, arch.head_words, array.wait)
        self.comb += [
            array.head.eq(weights.head),
            weights.begin.eq(begin),
            weights.step.eq(self.mac),
            weights.sum_last.eq(emitter.sum_last),
            weights.tile_last.eq(emitter.group_last & emitter.tile_end),
            wbuf_read.address.eq(weights.address),
        ]

        # 5. Issue -----------------------------------------------------------------------------
        fifo_depth = 64 if columns <= 32 else 128
        shifting   = Signal(max=columns + 1)               # Columns of the last group still to go.
        room       = Signal(max=fifo_depth + 1, reset=fifo_depth)
        ready      = Signal()
        group_ends = Signal()
        issued     = Signal()
        released   = Signal()
        self.comb += [
            self.mac.eq(emitter.valid & (~emitter.group_last | ready) & ~weights.hold),
            emitter.go.eq(self.mac),
            group_ends.eq(self.mac & emitter.group_last),
            tile.step.eq(begin | (group_ends & emitter.tile_end)),
            self.stall_requant.eq(working & ~self.mac & (emitter.valid | issued)),
            self.stall_abuf.eq(working & ~self.mac & ~emitter.valid & ~issued),
        ]
        self.sync += [
            # Two group ends are 2 clocks apart at least, and tile.n clocks of the earlier.
            ready.eq(~group_ends & (shifting <= 1) & (room >= tile.n)),
            If(group_ends,
                shifting.eq(tile.n - 1)
            ).Elif(shifting != 0,
                shifting.eq(shifting - 1)
            ),
            room.eq(room + released - Mux(group_ends, tile.n, 0)),
            If(load,
                issued.eq(0)
            ).Elif(group_ends & emitter.tile_end & tile.last,
                issued.eq(1)
            ),
        ]

        # 6. Requantization: a channel a clock --------------------------------------------------
        self.results = results = stream.SyncFIFO(RESULT_LAYOUT, RESULTS_DEPTH)
        self.requantizer = requantizer = Requantizer(ADDRESS_BITS + 1, READ_LATENCY, requant_dsps,
            primitive, requant_narrow)
        result_address = Signal(ADDRESS_BITS, reset_less=True)
        param          = Signal(ADDRESS_BITS, reset_less=True)
        tail           = Signal(2, reset_less=True)
        final          = Signal(reset_less=True)
        left           = Signal(max=columns + 1)
        taking         = Signal()
        tag            = Signal(ADDRESS_BITS + 1)
        delays         = {name: Delay(signal, array.latency) for name, signal in (
            ("param", param), ("tail", tail), ("tag", tag))}
        self.submodules += delays.values()
        self.comb += [
            taking.eq(left != 0),
            tag.eq(Cat(result_address, final & (left == 1))),
            groups.results.connect(results.sink),
            results.source.ready.eq(array.dump),
            array.take.eq(taking),
            pbuf_read.address.eq(delays["param"].output),
            requantizer.valid.eq(array.valid_out),
            [sink.eq(out) for sink, out in zip(requantizer.acc, array.out, strict=True)],
            requantizer.tail.eq(delays["tail"].output),
            requantizer.tag.eq(delays["tag"].output),
            requantizer.params.eq(pbuf_read.data),
            requantizer.pool.eq(setup.pool),
            requantizer.clamp_lo.eq(r["CLAMP_LO"]),
            requantizer.clamp_hi.eq(r["CLAMP_HI"]),
        ]
        self.sync += [
            If(array.dump,
                result_address.eq(results.source.address),
                param.eq(results.source.record),
                tail.eq(results.source.tail),
                final.eq(results.source.final),
                left.eq(results.source.n),
            ).Elif(left != 0,
                result_address.eq(result_address + r["OUT_CH"]),
                param.eq(param + 1),
                left.eq(left - 1),
            ),
        ]

        # 7. Results to ABUF -------------------------------------------------------------------
        # The buffer hides the block RAM's slow output.
        self.fifo   = fifo   = stream.SyncFIFO(abuf_write.description, fifo_depth, buffered=True)
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

# ComputeEngine ------------------------------------------------------------------------------------

class ComputeEngine(LiteXModule):
    """COMPUTE of spec/isa.py.

    ``frontend.reset`` stops whatever is going on. A register out of range (KW > 7, STRIDE not 1 or
    2) pulses ``error``; the GO then never completes and nothing is taken until the reset.

    Parameters
    ----------
    arch : spec.arch.Arch
    abuf_read : buffers.ReadPort
    abuf_write : Endpoint("address", "data")
    wbuf_read, pbuf_read : buffers.DedicatedReadPort
    primitive : bool
        Instantiate ECP5 DSP blocks and carry chains (not for simulation).
    organisation : str
        Of an array of codes, as PlutArray's.
    requant_dsps, requant_narrow : int, bool
        The requantizer's ``dsps`` and ``narrow``.

    Attributes
    ----------
    sink : Endpoint("data")
        Command words.
    frontend : CommandFrontend
    error : out
        Pulse.
    mac, stall_abuf, stall_requant : out
        The array takes an operand; it does not, since none is there; it does not, since the
        requantizer is not done. One of the three in every clock of a GO.
    """
    def __init__(self, arch, abuf_read, abuf_write, wbuf_read, pbuf_read, primitive=False,
        organisation="row", requant_dsps=2, requant_narrow=False):
        self.frontend = frontend = CommandFrontend(isa.COMPUTE)
        self.sink     = frontend.sink

        # # #

        core = ComputeCore(arch, frontend.r, abuf_read, abuf_write, wbuf_read, pbuf_read, primitive,
            organisation, requant_dsps, requant_narrow)
        self.core = core = ResetInserter()(core)
        self.error         = core.error
        self.mac           = core.mac
        self.stall_abuf    = core.stall_abuf
        self.stall_requant = core.stall_requant

        # Reads still on their way from ABUF must not be taken for the next GO's.
        draining = Signal(4)
        self.sync += If(frontend.reset,
            draining.eq(15)
        ).Elif(draining != 0,
            draining.eq(draining - 1)
        )
        self.comb += [
            core.reset.eq(frontend.reset | (draining != 0)),
            core.start.eq(frontend.start),
            frontend.done.eq(core.done),
        ]
