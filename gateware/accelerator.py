"""The accelerator: four engines, three of DRAM's ports, and the on-chip memories between.

::

    fetch port --> Dispatcher --+--> LOAD    <-- read port
                                |      | ABUF, WBUF, VBUF, PBUF
                                +--> COMPUTE, VECTOR
                                |      | ABUF
                                +--> STORE   --> write port

The Supervisor starts and ends programs (spec/isa.py). See docs/accelerator.md.
"""

from litex.gen import *
from litex.soc.interconnect.csr import *
from migen import *

from ..spec import formats, isa
from ..spec.arch import MAC
from ..spec.formats import LANES, VALUE_BITS
from .buffers import ActivationBuffer, ParamBuffer, WeightBuffer
from .command import ENGINES
from .compute import ComputeEngine
from .counters import Counters
from .dispatch import Dispatcher, Error, Supervisor
from .dma import RegionReader, RegionWriter
from .load import LoadEngine
from .store import StoreEngine
from .vector import VectorEngine

# What ``codecs`` chooses from: the kinds of format of each; the options of LOAD and STORE for them.
CODECS    = {"zfpe": (formats.ZFPE,), "zfpi": tuple(formats.ZFPI_KINDS), "ebpc": formats.EBPC_KINDS,
             "delta": (formats.DELTA,), "pot": (formats.POT, formats.APOT)}
RAW_KINDS = (formats.RAW8, formats.RAW8U, formats.RAW16)
STORES    = {"zfpe": "classic", "zfpi": "improved", "ebpc": "ebpc"}
LOADS     = STORES | {"delta": "delta", "pot": "codebooks"}

# Accelerator --------------------------------------------------------------------------------------

class Accelerator(LiteXModule):
    """
    Parameters
    ----------
    arch : spec.arch.Arch
        Sizes. A word for VECTOR is an error (ILLEGAL) where it is not there.
    fetch_port, read_port, write_port : LiteDRAMNativePort
        32 bits wide: program, LOAD, STORE.
    watchdog, go_limit : int
        Clocks, see dispatch.Supervisor.
    primitive : bool
        Instantiate ECP5's primitives where Yosys makes less of the same: the multipliers, wide
        multiplexers, the memories' address registers.
    codecs : sequence of str
        Of CODECS: the formats LOAD and STORE carry beside raw ones. A GO in another one is an
        error (FORMAT).
    **options : dict
        Further parameters of ComputeEngine.

    Attributes
    ----------
    kinds, engines : list of int
        Keys of spec.formats.KINDS and of isa.ENGINES: what there is.
    start, abort : Signal
        In: pulses.
    program, program_words : Signal(32)
        In: the program's first word (word offset in the region) and length.
    region_base, region_words : Signal(32)
        In: the model's region in words of DRAM. All four are read by ``start`` and must stay.
    busy, done : Signal
        Out: a program runs (or is being stopped); the last one reached END.
    error, detail : Signal(8), Signal(32)
        Out: isa.ERRORS of the last program (0: none) and what it was about (docs/accelerator.md).
    run_cycles, layers_done : Signal(64), Signal(32)
        Out: clocks and MARKs of the last program, counting while it runs.
    profile_address, profile_data : Signal(11), Signal(32)
        Profile memory: slot*16 + counter (isa.COUNTERS); data two clocks later.
    """
    def __init__(self, arch, fetch_port, read_port, write_port, watchdog=2**20, go_limit=2**27,
        primitive=False, codecs=tuple(CODECS), **options):
        for codec in codecs:
            if codec not in CODECS:
                raise ValueError(f"accelerator: codec {codec!r}: allowed are {', '.join(CODECS)}")
        self.kinds   = sorted([*RAW_KINDS, *(k for name in codecs for k in CODECS[name])])
        self.engines = [e for e in ENGINES if arch.vector or e != isa.VECTOR]
        self.start           = Signal()
        self.abort           = Signal()
        self.program         = Signal(32)
        self.program_words   = Signal(32)
        self.region_base     = Signal(32)
        self.region_words    = Signal(32)
        self.busy            = Signal()
        self.done            = Signal()
        self.error           = Signal(8)
        self.detail          = Signal(32)
        self.run_cycles      = Signal(64)
        self.layers_done     = Signal(32)

        # # #

        # Memories and DMA: never reset, DRAM accesses run to their end. -------------------------
        self.abuf  = abuf  = ActivationBuffer(arch.abuf_depth, primitive=primitive)
        self.wbuf  = wbuf  = WeightBuffer(arch.wbuf_depth, arch.wbuf_lanes, primitive=primitive,
            lane_bits=VALUE_BITS if arch.array == MAC else 8)
        self.vbuf  = vbuf  = WeightBuffer(arch.vbuf_depth, LANES, "vbuf", primitive)
        self.pbuf  = pbuf  = ParamBuffer(arch.pbuf_depth, primitive)
        self.fetch = fetch = RegionReader(fetch_port, fifo_depth=16)
        self.read  = read  = RegionReader(read_port,  fifo_depth=32)
        self.write = write = RegionWriter(write_port, fifo_depth=16)
        dmas = (fetch, read, write)

        # Engines and their queues: reset while no program runs, and only so: a reset of the system
        # reaches them a clock later, from a register instead of across the FPGA. ----------------
        self.cd_engine = ClockDomain(reset_less=True)
        self.comb += self.cd_engine.clk.eq(ClockSignal())
        def held(module):
            return ResetInserter()(ClockDomainsRenamer("engine")(module))
        self.dispatcher = dispatcher = held(Dispatcher(engines=self.engines))
        self.load       = load       = held(LoadEngine(arch.wbuf_lanes,
            primitive=primitive, **{option: name in codecs for name, option in LOADS.items()}))
        self.compute    = compute    = held(ComputeEngine(arch,
            abuf.compute_read, abuf.compute_write, wbuf.read, pbuf.read, primitive, **options))
        self.store      = store      = held(StoreEngine(abuf.store_read,
            **{option: name in codecs for name, option in STORES.items()}))
        engines = {isa.LOAD: load, isa.COMPUTE: compute, isa.STORE: store}
        if arch.vector:
            # Where it is not, nothing reads VBUF and PBUF's second copy, and Yosys drops them.
            self.vector = held(VectorEngine(arch,
                abuf.vector_read, abuf.vector_write, vbuf.read, pbuf.vector_read, primitive))
            engines[isa.VECTOR] = self.vector
        frontends = {}
        for e, engine in engines.items():
            frontends[e] = engine.frontend
            self.comb += dispatcher.queues[e].connect(engine.sink)
        for frontend in frontends.values():
            for e, count in frontend.counts.items():
                if e in frontends:
                    self.comb += count.eq(frontends[e].completed)

        # Data -----------------------------------------------------------------------------------
        self.comb += [
            dispatcher.address.connect(fetch.sink),
            fetch.source.connect(dispatcher.words),
            load.address.connect(read.sink),
            read.source.connect(load.words),
            load.reading.eq(~read.idle),
            load.abuf.connect(abuf.load_write),
            load.wbuf.connect(wbuf.write),
            load.vbuf.connect(vbuf.write),
            load.pbuf.connect(pbuf.write),
            store.writes.connect(write.sink),
            store.written.eq(write.idle),
        ]

        # Errors ---------------------------------------------------------------------------------
        errors = [dispatcher.error, load.error, store.error]
        for e in self.engines:
            if e not in (isa.COMPUTE, isa.VECTOR):
                continue
            error = Error(isa.ENGINES[e])
            self.comb += If(frontends[e].illegal,
                *error.raises("ILLEGAL", frontends[e].word)
            ).Elif(engines[e].error,
                *error.raises("PARAMETER", e << isa.ENGINE_SHIFT)
            )
            errors.append(error)
        for dma, name in ((fetch, "FETCH_BOUNDS"), (read, "READ_BOUNDS"), (write, "WRITE_BOUNDS")):
            error = Error(name.lower())
            self.comb += If(dma.error, *error.raises(name, dma.offset))
            errors.append(error)

        self.counters = Counters()

        # Supervision ----------------------------------------------------------------------------
        self.supervisor = supervisor = Supervisor(errors, watchdog, go_limit)
        executed, busy, idle, held = [dispatcher.taken], [], [], []
        for frontend in frontends.values():
            executed += [frontend.taken, frontend.done]
            busy     += [frontend.busy]
            idle     += [frontend.idle]
            held     += frontend.waiting.values()
        if not arch.vector:
            busy.append(Constant(0))      # ``stuck`` has a bit for it.
        step    = self.vector.step if arch.vector else Constant(0)
        running = supervisor.running
        for module in (dispatcher, *engines.values()):
            self.comb += module.reset.eq(supervisor.held)
        for dma in dmas:
            self.comb += [
                dma.region_base.eq(self.region_base),
                dma.region_words.eq(self.region_words),
                dma.stop.eq(supervisor.stop),
            ]
        self.comb += [
            supervisor.start.eq(self.start),
            supervisor.abort.eq(self.abort),
            supervisor.end.eq(dispatcher.end),
            supervisor.idle.eq(fetch.idle & read.idle & write.idle),
            supervisor.executed.eq(Reduce("OR", executed)),
            supervisor.progress.eq(supervisor.executed | compute.mac | step |
                fetch.moved | read.moved | write.moved),
            supervisor.stuck.eq(Cat(*busy, *held)),
            dispatcher.start.eq(supervisor.begin),
            dispatcher.program.eq(self.program),
            dispatcher.program_words.eq(self.program_words),
            dispatcher.engines_idle.eq(Reduce("AND", [*idle, ~self.counters.busy])),
            self.busy.eq(supervisor.busy),
            self.done.eq(supervisor.done),
            self.error.eq(supervisor.error),
            self.detail.eq(supervisor.detail),
        ]

        # Counters -------------------------------------------------------------------------------
        counters = self.counters
        self.profile_address = counters.address
        self.profile_data    = counters.data
        waiting = frontends[isa.COMPUTE].waiting
        events  = {
            "cycles"        : running,
            "mac_cycles"    : compute.mac,
            "stall_load"    : waiting[isa.LOAD],
            "stall_store"   : waiting[isa.STORE],
            "stall_abuf"    : compute.stall_abuf,
            "stall_requant" : compute.stall_requant,
            "load_busy"     : load.frontend.busy,
            "load_starved"  : load.starved,
            "store_busy"    : store.frontend.busy,
            "store_blocked" : store.blocked,
            "read_words"    : read.source.valid & read.source.ready,
            "write_words"   : write.sink.valid & write.sink.ready,
            "fetch_words"   : dispatcher.taken,
            "stall_vector"  : waiting[isa.VECTOR],
            "vector_busy"   : self.vector.frontend.busy if arch.vector else 0,
            "vector_stall"  : self.vector.stall if arch.vector else 0,
        }
        for name, event in counters.events.items():
            self.comb += event.eq(events[name])
        self.comb += [
            counters.clear.eq(supervisor.begin),
            counters.mark.eq(dispatcher.mark | compute.frontend.lap),
            counters.slot.eq(Mux(dispatcher.mark, dispatcher.slot, compute.frontend.slot)),
            compute.frontend.lapping.eq(counters.busy),
            dispatcher.marked.eq(counters.done),
        ]
        self.sync += [
            If(running, self.run_cycles.eq(self.run_cycles + 1)),
            If(counters.done & running, self.layers_done.eq(self.layers_done + 1)),
            If(supervisor.begin, self.run_cycles.eq(1), self.layers_done.eq(0)),
        ]

    def add_csr(self):
        self._control = CSRStorage(fields=[
            CSRField("start", size=1, pulse=True, description="Start the program."),
            CSRField("reset", size=1, pulse=True, description="Stop it; clears the result."),
        ])
        self._program         = CSRStorage(32, description="Program, word offset in the region.")
        self._program_words   = CSRStorage(32, description="Words of the program.")
        self._region_base     = CSRStorage(32, description="Region, first 32-bit word in DRAM.")
        self._region_words    = CSRStorage(32, description="Region, 32-bit words.")
        self._status          = CSRStatus(fields=[
            CSRField("busy",  size=1, offset=0, description="A program runs."),
            CSRField("done",  size=1, offset=1, description="The last program reached its END."),
            CSRField("error", size=8, offset=8, description="Error code, ERRORS in spec/isa.py."),
        ])
        self._detail          = CSRStatus(32, description="What the error was about.")
        self._run_cycles      = CSRStatus(64, description="Clocks of the program.")
        self._layers_done     = CSRStatus(32, description="MARKs executed.")
        self._profile_address = CSRStorage(len(self.profile_address),
            description="Word of the profile memory: slot*16 + counter.")
        self._profile_data    = CSRStatus(32, description="That word.")

        # # #

        self.comb += [
            self.start.eq(self._control.fields.start),
            self.abort.eq(self._control.fields.reset),
            self.program.eq(self._program.storage),
            self.program_words.eq(self._program_words.storage),
            self.region_base.eq(self._region_base.storage),
            self.region_words.eq(self._region_words.storage),
            self._status.fields.busy.eq(self.busy),
            self._status.fields.done.eq(self.done & ~self.busy),
            self._status.fields.error.eq(self.error),
            self._detail.status.eq(self.detail),
            self._run_cycles.status.eq(self.run_cycles),
            self._layers_done.status.eq(self.layers_done),
            self.profile_address.eq(self._profile_address.storage),
            self._profile_data.status.eq(self.profile_data),
        ]
