"""Performance counters (COUNTERS of spec/isa.py) and the profile memory MARK writes them to."""

from litex.gen import *
from migen import *

from ..spec import isa
from .mux import select

COUNTER_BITS  = 32
SLOT_COUNTERS = 16   # Words of a profile slot: a counter each.

# Counters -----------------------------------------------------------------------------------------

class Counters(LiteXModule):
    """Counts events; on ``mark`` stores a counter a clock into a profile slot and restarts it.

    A counter restarts in the clock in which it is stored, so that the slots of a program add up to
    its clocks, be they taken while the engines work or not.

    Attributes
    ----------
    events : dict of Signal
        In: by counter name; counted a clock later.
    clear : Signal
        In: all counters to 0. The profile memory keeps what it has.
    mark, slot : Signal, Signal(7)
        In: pulse, not while ``busy``, and the profile slot.
    busy, done : Signal
        Out: a slot is being written; it is (pulse).
    address, data : Signal(11), Signal(32)
        Read port of the profile memory: slot*16 + counter; data two clocks later.
    """
    def __init__(self):
        self.events = {}
        for name in isa.COUNTERS:
            self.events[name] = Signal(name=f"event_{name}")
        self.clear   = Signal()
        self.mark    = Signal()
        self.slot    = Signal(max=isa.PROFILE_SLOTS)
        self.busy    = Signal()
        self.done    = Signal()
        self.address = Signal(max=isa.PROFILE_SLOTS*SLOT_COUNTERS)
        self.data    = Signal(COUNTER_BITS)

        # # #

        # Counters.
        index   = Signal(max=SLOT_COUNTERS)
        storing = Signal()
        value   = Signal(COUNTER_BITS)
        values  = [None]*SLOT_COUNTERS
        for i, (name, event) in enumerate(self.events.items()):
            counter = Signal(COUNTER_BITS, name=f"count_{name}")
            event_d = Signal(name=f"event_{name}_d")
            self.sync += [
                event_d.eq(event),
                counter.eq(counter + event_d),
                If(storing & (index == i), counter.eq(event_d)),
                If(self.clear, counter.eq(0)),
            ]
            values[i] = counter
        self.comb += value.eq(select(index, values))

        # Profile memory.
        memory = Memory(COUNTER_BITS, isa.PROFILE_SLOTS*SLOT_COUNTERS, name="profile")
        slot   = Signal.like(self.slot)
        write  = memory.get_port(write_capable=True)
        read   = memory.get_port(mode=READ_FIRST)
        self.specials += memory, write, read
        self.sync += [
            write.we.eq(storing),
            write.adr.eq(Cat(index, slot)),
            write.dat_w.eq(value),
            If(storing, index.eq(index + 1)),
            If(index == SLOT_COUNTERS - 1, storing.eq(0)),
            If(self.mark, storing.eq(1), slot.eq(self.slot)),
            self.done.eq(storing & (index == SLOT_COUNTERS - 1)),
            self.data.eq(read.dat_r),
        ]
        self.comb += [
            self.busy.eq(storing | self.done),
            read.adr.eq(self.address),
        ]
