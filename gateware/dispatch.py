"""Fetches the program and hands its words to the engines; starts, ends and supervises it."""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec import isa
from .command import ENGINES
from .dma import OFFSET_BITS

CODES = {name: code for code, (name, _) in isa.ERRORS.items()}

# Error --------------------------------------------------------------------------------------------

class Error:
    """What went wrong: ``valid`` (a pulse or a level), ``code`` (isa.ERRORS) and ``detail``."""

    def __init__(self, name):
        self.valid  = Signal(name=f"{name}_error")
        self.code   = Signal(8,  name=f"{name}_code")
        self.detail = Signal(32, name=f"{name}_detail")

    def raises(self, name, detail):
        """Statements that raise the error of that name (of isa.ERRORS)."""
        return [self.valid.eq(1), self.code.eq(CODES[name]), self.detail.eq(detail)]

# Dispatcher ---------------------------------------------------------------------------------------

class Dispatcher(LiteXModule):
    """Reads the program once from first to last word and moves each into its engine's queue. A word
    of an engine there is not is an error.

    END and MARK wait until the queues are empty and the engines idle.

    Parameters
    ----------
    queue_depth : int
        Words a queue holds.
    engines : tuple of int
        Those there are.

    Attributes
    ----------
    start : Signal
        In: pulse; ``program`` (word offset) and ``program_words`` stay as they are from then on.
    address, words : Endpoint("address"), Endpoint("data")
        To and from the program's RegionReader.
    queues : dict of Endpoint("data")
        Words for the engines, by engine.
    engines_idle : Signal
        In: no engine has a word or a GO.
    mark, slot, marked : Signal
        Out, out, in: a profile slot is to be written; it has been (pulses).
    end : Signal
        Out: pulse, END was reached.
    error : Error
    taken : Signal
        Out: a word was taken.
    """
    def __init__(self, queue_depth=isa.QUEUE_DEPTH, engines=ENGINES):
        self.start         = Signal()
        self.program       = Signal(32)
        self.program_words = Signal(32)
        self.address       = stream.Endpoint([("address", OFFSET_BITS)])
        self.words         = stream.Endpoint([("data", 32)])
        self.queues        = {}
        self.engines_idle  = Signal()
        self.mark          = Signal()
        self.slot          = Signal(max=isa.PROFILE_SLOTS)
        self.marked        = Signal()
        self.end           = Signal()
        self.error         = Error("dispatch")
        self.taken         = Signal()

        # # #

        # Fetch ----------------------------------------------------------------------------------
        to_fetch = Signal(32)
        self.comb += self.address.valid.eq(to_fetch != 0)
        self.sync += [
            If(self.address.valid & self.address.ready,
                self.address.address.eq(self.address.address + 1),
                to_fetch.eq(to_fetch - 1),
            ),
            If(self.start,
                self.address.address.eq(self.program),
                to_fetch.eq(self.program_words),
            ),
        ]

        # Queues ---------------------------------------------------------------------------------
        word   = Signal(32)
        engine = word[isa.ENGINE_SHIFT:]
        sinks  = {}
        empty  = []
        for e in engines:
            queue = stream.SyncFIFO([("data", 32)], queue_depth, buffered=True)
            setattr(self.submodules, f"queue_{isa.ENGINES[e]}", queue)
            sinks[e]       = queue.sink
            self.queues[e] = queue.source
            empty.append(queue.level == 0)
            self.comb += queue.sink.data.eq(word)

        # Dispatch -------------------------------------------------------------------------------
        register = word[isa.REG_SHIFT:isa.ENGINE_SHIFT]
        value    = word[:isa.VALUE_BITS]
        to_take  = Signal(32)   # Words not yet taken: none left and no END seen is an error.
        settle   = Signal(3)    # The word before may still be on its way into its queue.
        idle     = Signal()

        self.fsm = fsm = FSM(reset_state="IDLE")
        fsm.act("IDLE",
            NextValue(to_take, self.program_words),
            If(self.start,
                NextState("FETCH")
            )
        )
        fsm.act("FETCH",
            self.words.ready.eq(1),
            NextValue(word, self.words.data),
            NextValue(settle, 0),
            If(self.words.valid,
                self.taken.eq(1),
                NextValue(to_take, to_take - 1),
                NextState("DISPATCH"),
            ).Elif(to_take == 0,
                *self.error.raises("ILLEGAL", 0)
            )
        )
        done    = Signal()
        actions = {"default": self.error.raises("ILLEGAL", word)}
        for e, sink in sinks.items():
            actions[e] = [sink.valid.eq(1), done.eq(sink.ready)]
        # A LAP is COMPUTE's to execute.
        actions[isa.CTRL] = If((register == isa.LAP) & (value < isa.PROFILE_SLOTS),
            *actions[isa.COMPUTE]
        ).Else(
            NextState("CTRL")
        )
        fsm.act("DISPATCH",
            Case(engine, actions),
            If(done,
                # The next word without a pause, if there is one.
                self.words.ready.eq(1),
                NextValue(word, self.words.data),
                If(self.words.valid,
                    self.taken.eq(1),
                    NextValue(to_take, to_take - 1),
                ).Else(
                    NextState("FETCH")
                )
            )
        )
        fsm.act("CTRL",
            If(~settle[-1],
                NextValue(settle, settle + 1)
            ),
            If((register != isa.END) & (register != isa.MARK) & (register != isa.LAP),
                *self.error.raises("ILLEGAL", word)
            ).Elif((register != isa.END) & (value >= isa.PROFILE_SLOTS),
                *self.error.raises("PARAMETER", word)
            ).Elif(settle[-1] & idle,
                If(register == isa.END,
                    self.end.eq(1),
                    NextState("IDLE")
                ).Else(
                    self.mark.eq(1),
                    NextState("MARK")
                )
            )
        )
        fsm.act("MARK",
            If(self.marked,
                NextState("FETCH")
            )
        )
        self.comb += self.slot.eq(value)
        self.sync += idle.eq(self.engines_idle & Reduce("AND", empty))

# Supervisor ---------------------------------------------------------------------------------------

class Supervisor(LiteXModule):
    """Starts a program, and ends it at its END, at the first error, on abort, or when nothing has
    moved for too long. Every end lets the DRAM accesses in flight come to theirs.

    Parameters
    ----------
    watchdog : int
        Clocks without progress (nothing moved, nothing multiplied) that are an error.
    go_limit : int
        Clocks without a word executed or a GO completed that are an error: no single GO of a
        sound program takes as long.

    Attributes
    ----------
    start, abort : Signal
        In: pulses. Both do away with the result of the last program; start does nothing more while
        busy.
    begin : Signal
        Out: pulse, the first clock of a program.
    running, held : Signal
        Out: the program runs; it does not, and engines and queues are reset: a register, since it
        drives thousands of them.
    stop, idle : Signal
        Out, in: the DMA cores shall stop; nothing is in flight.
    end : Signal
        In: END was reached.
    progress, executed : Signal
        In: anything moved; a word was executed or a GO completed.
    stuck : Signal(32)
        In: detail of a WATCHDOG error.
    errors : list of Error
        In: the first of the list wins in one clock.
    busy, done, error, detail
        Out: a program runs or is being stopped; the last one reached END; its error code and
        detail (0: none).
    """
    def __init__(self, errors, watchdog=2**20, go_limit=2**27):
        self.start    = Signal()
        self.abort    = Signal()
        self.begin    = Signal()
        self.running  = Signal()
        self.held     = Signal(reset=1)
        self.stop     = Signal()
        self.idle     = Signal()
        self.end      = Signal()
        self.progress = Signal()
        self.executed = Signal()
        self.stuck    = Signal(32)
        self.busy     = Signal()
        self.done     = Signal()
        self.error    = Signal(8)
        self.detail   = Signal(32)

        # # #

        # Watchdog -------------------------------------------------------------------------------
        timeout = Error("watchdog")
        for limit, event in ((watchdog, self.progress), (go_limit, self.executed)):
            clocks = Signal(bits_for(limit))
            self.sync += If(event | ~self.running,
                clocks.eq(limit)
            ).Elif(clocks != 0,
                clocks.eq(clocks - 1)
            )
            self.comb += If(self.running & (clocks == 0),
                *timeout.raises("WATCHDOG", self.stuck)
            )

        # Errors: the first of the list wins. Registered where they come from and again behind the
        # choice, for they come from all over the FPGA. ------------------------------------------
        failed = Error("first")
        found  = failed.valid.eq(0)
        for error in reversed([*errors, timeout]):
            late = Error("late")
            self.sync += [
                late.valid.eq(error.valid),
                late.code.eq(error.code),
                late.detail.eq(error.detail),
            ]
            found = If(late.valid,
                failed.valid.eq(self.running),
                failed.code.eq(late.code),
                failed.detail.eq(late.detail),
            ).Else(found)
        self.sync += found

        # Program --------------------------------------------------------------------------------
        # A reset of some clocks lets the pipelines behind the engines run empty, too.
        settle = Signal(4)
        ended  = Signal()
        self.fsm = fsm = FSM(reset_state="IDLE")
        fsm.act("IDLE",
            NextValue(settle, 0),
            If(self.abort | self.start,
                NextValue(self.done, 0),
                NextValue(self.error, 0),
                NextValue(self.detail, 0),
            ),
            If(self.start & ~self.abort,
                NextState("RESET")
            )
        )
        fsm.act("RESET",
            NextValue(settle, settle + 1),
            NextValue(ended, 0),
            If(self.abort,
                NextState("IDLE")
            ).Elif(settle == 2**len(settle) - 1,
                NextValue(self.begin, 1),
                NextState("RUN")
            )
        )
        fsm.act("RUN",
            NextValue(self.begin, 0),
            NextValue(settle, 0),
            If(self.abort,
                NextState("STOP")
            ).Elif(failed.valid,
                NextValue(self.error, failed.code),
                NextValue(self.detail, failed.detail),
                NextState("STOP"),
            ).Elif(self.end,
                NextValue(ended, 1),
                NextState("STOP"),
            )
        )
        fsm.act("STOP",
            self.stop.eq(1),
            If(self.idle,
                NextValue(settle, settle + 1)
            ).Else(
                NextValue(settle, 0)
            ),
            If(self.abort,
                NextValue(ended, 0),
                NextValue(self.error, 0),
                NextValue(self.detail, 0),
            ),
            If(settle == 2**len(settle) - 1,
                NextValue(self.done, ended & ~self.abort),
                NextState("IDLE"),
            )
        )
        self.sync += If(fsm.before_entering("RUN"),
            self.held.eq(0)
        ).Elif(fsm.before_leaving("RUN"),
            self.held.eq(1)
        )
        self.comb += [
            self.running.eq(~self.held),
            self.busy.eq(~fsm.ongoing("IDLE")),
        ]
