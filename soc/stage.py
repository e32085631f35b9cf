"""A register in the CPU's way to DRAM.

LiteDRAM's Wishbone bridge answers in the clock in which the DRAM does, from what the CPU asks in
that clock: the path goes from the CPU's address through decoder, DRAM arbiter and acknowledge back
into the CPU's pipeline, across the FPGA and back.
"""

from litex.gen import *
from litex.soc.interconnect import wishbone
from migen import *

# WishboneStage ------------------------------------------------------------------------------------

class WishboneStage(LiteXModule):
    """Requests and answers of a classic Wishbone bus a clock late each: an access takes two clocks
    more, and nothing goes through without a register.

    Parameters
    ----------
    slave : wishbone.Interface

    Attributes
    ----------
    bus : wishbone.Interface
        To the master. What it gives up is carried through, and the answer dropped that comes a
        clock later or more. Before it asks for something else it has to give up for a clock.
    """
    def __init__(self, slave):
        self.bus = bus = wishbone.Interface(data_width=slave.data_width,
            adr_width=slave.adr_width, addressing=slave.addressing)

        # # #

        asked   = Signal()
        dropped = Signal()
        wanted  = Signal()
        self.comb += [
            wanted.eq(bus.cyc & bus.stb),
            slave.cyc.eq(asked),
            slave.stb.eq(asked),
        ]
        self.sync += [
            bus.ack.eq(0),
            bus.err.eq(0),
            bus.dat_r.eq(slave.dat_r),
            If(asked,
                If(~wanted, dropped.eq(1)),
                If(slave.ack | slave.err,
                    asked.eq(0),
                    bus.ack.eq(slave.ack & wanted & ~dropped),
                    bus.err.eq(slave.err & wanted & ~dropped),
                )
            ).Elif(wanted & ~bus.ack & ~bus.err,
                asked.eq(1),
                dropped.eq(0),
                *(getattr(slave, name).eq(getattr(bus, name))
                    for name in ("adr", "dat_w", "sel", "we")),
            )
        ]
