"""The command side of an engine: registers, WAIT and GO, built from the tables of spec/isa.py."""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec import isa

ENGINES = (isa.LOAD, isa.COMPUTE, isa.STORE, isa.VECTOR)

# CommandFrontend ----------------------------------------------------------------------------------

class CommandFrontend(LiteXModule):
    """Executes the words of one engine in order, a register set a clock.

    ``start`` pulses on GO; from then until ``done`` no word is taken, so that the registers ``r``
    stay as they are while the engine works. ``done`` may come from the clock after ``start`` on.

    An unknown register, or a value wider than its register, pulses ``illegal`` with the offending
    ``word``; nothing more is taken until ``reset``.

    Parameters
    ----------
    engine : int
        isa.LOAD, isa.COMPUTE, isa.STORE or isa.VECTOR.

    Attributes
    ----------
    sink : Endpoint("data")
        Words of this engine.
    r : dict of Signal
        Registers by name, as wide and as signed as in the table.
    start, done : Signal
        Pulses: GO out, end of the GO in.
    busy : Signal
        A GO is executing.
    completed : Signal(24)
        GOs executed since reset.
    counts : dict of Signal(24)
        In: ``completed`` of the four engines, by engine.
    waiting : dict of Signal
        Out: held by a WAIT on that engine.
    idle : Signal
        No word inside and no GO executing.
    lap, slot : Signal
        Out: a LAP is executed, and its slot (COMPUTE only).
    lapping : Signal
        In: the last LAP's counters are being written, the next must wait.
    taken : Signal
        A word is executed this clock.
    illegal, word : Signal, Signal(32)
        Pulse, and the word being executed (stays after ``illegal``).
    reset : Signal
        In: registers and counts to 0, back to the state after power up.
    """
    def __init__(self, engine):
        if engine not in ENGINES:
            raise ValueError(f"engine {engine}: allowed are {ENGINES}")
        self.sink      = stream.Endpoint([("data", 32)])
        self.r         = {}
        for name, (_, bits, signed) in isa.REGS[engine].items():
            self.r[name] = Signal((bits, signed), name=f"r_{name.lower()}")
        self.start     = Signal()
        self.done      = Signal()
        self.busy      = Signal()
        self.completed = Signal(isa.VALUE_BITS)
        self.counts    = {}
        self.waiting   = {}
        for e in ENGINES:
            self.counts[e]  = Signal(isa.VALUE_BITS, name=f"count_{isa.ENGINES[e]}")
            self.waiting[e] = Signal(name=f"waiting_{isa.ENGINES[e]}")
        self.idle      = Signal()
        self.lap       = Signal()
        self.slot      = Signal(max=isa.PROFILE_SLOTS)
        self.lapping   = Signal()
        self.taken     = Signal()
        self.illegal   = Signal()
        self.word      = Signal(32)
        self.reset     = Signal()

        # # #

        # (Loops rather than comprehensions: Migen takes signal names from local variables, which
        # must not be captured by an inner scope.)

        # Word ---------------------------------------------------------------------------------
        # The queue's memory is slow to read: a register stands between it and the decoder.
        valid = Signal()
        self.comb += self.sink.ready.eq(~valid | self.taken)
        self.sync += If(self.sink.ready,
            valid.eq(self.sink.valid),
            self.word.eq(self.sink.data),
        )

        register = self.word[isa.REG_SHIFT:isa.ENGINE_SHIFT]
        value    = self.word[:isa.VALUE_BITS]

        # Registers ----------------------------------------------------------------------------
        bad    = Signal()
        write  = Signal()
        checks = {"default": bad.eq(1)}
        sets   = {}
        for name, (number, bits, _) in isa.REGS[engine].items():
            checks[number] = bad.eq((value >> bits) != 0)
            sets[number]   = self.r[name].eq(value)
        for number in isa.COMMON_REGS.values():
            checks[number] = bad.eq(0)
        self.comb += Case(register, checks)
        self.sync += If(write, Case(register, sets))

        # Wait ---------------------------------------------------------------------------------
        # The comparison is registered: `armed` from the second clock of a word on.
        is_lap  = Signal()
        if engine == isa.COMPUTE:
            self.comb += is_lap.eq(self.word[isa.ENGINE_SHIFT:] == isa.CTRL)
        count   = Signal(isa.VALUE_BITS)
        armed   = Signal()
        reached = Signal()
        held    = Signal()
        counts  = {}
        self.comb += held.eq(valid & ~self.busy & ~(armed & reached))
        for e, waiting in self.waiting.items():
            counts[isa.WAIT_LOAD + e] = count.eq(self.counts[e])
            self.comb += waiting.eq(held & (register == isa.WAIT_LOAD + e) & ~is_lap)
        self.comb += Case(register, counts)
        self.sync += [
            armed.eq(valid & ~self.taken),
            reached.eq(count >= value),
        ]

        # Execution ----------------------------------------------------------------------------
        stopped = Signal()
        actions = {
            isa.GO    : [self.start.eq(1), self.taken.eq(1)],
            "default" : [
                write.eq(~bad),
                self.taken.eq(~bad),
                self.illegal.eq(bad),
            ],
        }
        for number in counts:
            actions[number] = self.taken.eq(armed & reached)
        self.comb += [
            self.slot.eq(value),
            If(valid & ~self.busy & ~stopped,
                If(is_lap,
                    self.lap.eq(~self.lapping),
                    self.taken.eq(~self.lapping),
                ).Else(
                    Case(register, actions)
                )
            ),
            self.idle.eq(~valid & ~self.busy),
        ]
        self.sync += [
            If(self.illegal, stopped.eq(1)),
            If(self.start, self.busy.eq(1)),
            If(self.done,
                self.busy.eq(0),
                self.completed.eq(self.completed + 1),
            ),
        ]

        # Reset --------------------------------------------------------------------------------
        clear = [valid, self.word, armed, reached, stopped, self.busy, self.completed]
        clear.extend(self.r.values())
        for signal in clear:
            self.sync += If(self.reset, signal.eq(0))
