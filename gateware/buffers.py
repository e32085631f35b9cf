"""On-chip memories: activations, weights and requantization records.

All three answer a read READ_LATENCY clocks after it is taken: address register, memory, output
register, so that neither the address fan-out nor the memory's slow output limits the clock.
A write is seen by every read taken in a later clock. Addresses beyond the depth wrap.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec.formats import LANES, VALUE_BITS

READ_LATENCY = 3
VECTOR_BITS  = LANES * VALUE_BITS

ADDRESS_BITS = 16
SLOT_BITS    = 4

# Ports --------------------------------------------------------------------------------------------

class ReadPort:
    """A shared read port: ``data`` and ``valid`` come exactly READ_LATENCY clocks after the
    handshake of ``cmd`` (address), without back-pressure."""

    def __init__(self, name):
        self.cmd   = stream.Endpoint([("address", ADDRESS_BITS)], name=f"{name}_cmd")
        self.data  = Signal(VECTOR_BITS, name=f"{name}_data")
        self.valid = Signal(name=f"{name}_valid")


class DedicatedReadPort:
    """A read port of one owner: ``data`` follows ``address`` by READ_LATENCY clocks."""

    def __init__(self, width, name):
        self.address = Signal(ADDRESS_BITS, name=f"{name}_address")
        self.data    = Signal(width, name=f"{name}_data")


class _Ram(LiteXModule):
    """One write and one read port, both with registers around (READ_LATENCY in all)."""

    def __init__(self, depth, width):
        self.we            = Signal()
        self.write_address = Signal(max=max(depth, 2))
        self.write_data    = Signal(width)
        self.read_address  = Signal(max=max(depth, 2))
        self.q             = Signal(width)   # One clock before the registered output.

        # # #

        # What a read of the address being written gives does not matter (the program orders the
        # accesses): without no_rw_check Yosys would build a bypass round the block RAM.
        memory = Memory(width, depth)
        write = memory.get_port(write_capable=True)
        read  = memory.get_port(mode=READ_FIRST)
        self.specials += memory, write, read
        self.comb += [
            write.we.eq(self.we),
            write.adr.eq(self.write_address),
            write.dat_w.eq(self.write_data),
            read.adr.eq(self.read_address),
            self.q.eq(read.dat_r),
        ]

# ActivationBuffer ---------------------------------------------------------------------------------

class _Arbiter(LiteXModule):
    """Grants one bank's port: ``first`` before ``second``, but ``second`` waits 3 clocks at most.
    Requests in, grants out in the same clock."""

    def __init__(self):
        self.first        = Signal()
        self.second       = Signal()
        self.grant_first  = Signal()
        self.grant_second = Signal()

        # # #

        lost = Signal(2)
        self.comb += [
            self.grant_second.eq(self.second & (~self.first | (lost == 3))),
            self.grant_first.eq(self.first & ~(self.second & (lost == 3))),
        ]
        self.sync += If(self.second & ~self.grant_second,
            lost.eq(lost + 1)
        ).Else(
            lost.eq(0)
        )


class ActivationBuffer(LiteXModule):
    """ABUF: vectors of 64 bits in banks by the top address bits, each bank 1 write + 1 read port.

    Both sides of a port meet only when they want the same bank; COMPUTE goes first, the other side
    gets the bank every 4th clock at least.

    Parameters
    ----------
    depth : int
        Vectors in all, a power of two.
    banks : int
        Banks, a power of two.

    Attributes
    ----------
    compute_write, load_write : Endpoint("address", "data")
        Writes.
    compute_read, store_read : ReadPort
        Reads.
    """
    def __init__(self, depth, banks=4):
        if depth & (depth - 1) or banks & (banks - 1) or depth < 2*banks or banks < 2:
            raise ValueError(f"activation buffer of {depth} vectors in {banks} banks: allowed are "
                             "powers of two, 2 banks or more of 2 vectors or more")
        layout = [("address", ADDRESS_BITS), ("data", VECTOR_BITS)]
        self.compute_write = stream.Endpoint(layout)
        self.load_write    = stream.Endpoint(layout)
        self.compute_read  = ReadPort("compute_read")
        self.store_read    = ReadPort("store_read")

        # # #

        low   = log2_int(depth//banks)
        high  = log2_int(depth)
        rams  = [_Ram(depth//banks, VECTOR_BITS) for _ in range(banks)]
        self.submodules += rams

        def arbitrate(first, second):
            """Per bank: an arbiter between two endpoints; drives their ready."""
            arbiters = [_Arbiter() for _ in range(banks)]
            self.submodules += arbiters
            for endpoint, request, grant in ((first,  "first",  "grant_first"),
                                             (second, "second", "grant_second")):
                bank = endpoint.address[low:high]
                self.comb += [getattr(a, request).eq(endpoint.valid & (bank == i))
                    for i, a in enumerate(arbiters)]
                # Ready without a request is of no use, and would lengthen the path.
                self.comb += endpoint.ready.eq(Reduce("OR", [getattr(a, grant) for a in arbiters]))
            return arbiters

        # Writes -------------------------------------------------------------------------------
        first, second = self.compute_write, self.load_write
        for ram, arbiter in zip(rams, arbitrate(first, second), strict=True):
            self.sync += [
                ram.we.eq(arbiter.grant_first | arbiter.grant_second),
                If(arbiter.grant_first,
                    ram.write_address.eq(first.address[:low]),
                    ram.write_data.eq(first.data),
                ).Else(
                    ram.write_address.eq(second.address[:low]),
                    ram.write_data.eq(second.data),
                ),
            ]

        # Reads --------------------------------------------------------------------------------
        first, second = self.compute_read.cmd, self.store_read.cmd
        for ram, arbiter in zip(rams, arbitrate(first, second), strict=True):
            self.sync += If(arbiter.grant_first,
                ram.read_address.eq(first.address[:low])
            ).Else(
                ram.read_address.eq(second.address[:low])
            )
        for port in (self.compute_read, self.store_read):
            bank, valid = port.cmd.address[low:high], port.cmd.valid & port.cmd.ready
            for _ in range(READ_LATENCY - 1):
                bank_d  = Signal(len(bank), reset_less=True)
                valid_d = Signal()
                self.sync += [bank_d.eq(bank), valid_d.eq(valid)]
                bank, valid = bank_d, valid_d
            self.sync += [
                port.valid.eq(valid),
                Case(bank, {i: port.data.eq(ram.q) for i, ram in enumerate(rams)}),
            ]

# WeightBuffer, ParamBuffer ------------------------------------------------------------------------

class WeightBuffer(LiteXModule):
    """WBUF: words of ``columns`` x 16 bits, written a vector (4 columns, ``slot``) at a time and
    read a whole word at a time.

    Parameters
    ----------
    depth : int
        Words, a power of two.
    columns : int
        Columns of the array, a multiple of 4 up to 64.

    Attributes
    ----------
    write : Endpoint("address", "slot", "data")
        Always ready. A slot beyond the last one is not written.
    read : DedicatedReadPort
        ``data`` is 16*columns bits, column 0 lowest.
    """
    def __init__(self, depth, columns):
        if columns % LANES or not LANES <= columns <= LANES << SLOT_BITS or depth & (depth - 1):
            raise ValueError(f"weight buffer of {depth} words x {columns} columns: allowed are "
                             f"powers of two and multiples of {LANES} up to {LANES << SLOT_BITS}")
        self.write = stream.Endpoint(
            [("address", ADDRESS_BITS), ("slot", SLOT_BITS), ("data", VECTOR_BITS)])
        self.read  = DedicatedReadPort(VALUE_BITS*columns, "wbuf_read")

        # # #

        self.comb += self.write.ready.eq(1)
        for slot in range(columns//LANES):
            ram = _Ram(depth, VECTOR_BITS)
            self.submodules += ram
            self.sync += [
                ram.we.eq(self.write.valid & (self.write.slot == slot)),
                ram.write_address.eq(self.write.address),
                ram.write_data.eq(self.write.data),
                ram.read_address.eq(self.read.address),
                self.read.data[VECTOR_BITS*slot:VECTOR_BITS*(slot + 1)].eq(ram.q),
            ]


class ParamBuffer(LiteXModule):
    """PBUF: requantization records of 64 bits (PARAM_* in spec/isa.py).

    Attributes
    ----------
    write : Endpoint("address", "data")
        Always ready.
    read : DedicatedReadPort
    """
    def __init__(self, depth):
        if depth & (depth - 1):
            raise ValueError(f"parameter buffer of {depth} records: allowed are powers of two")
        self.write = stream.Endpoint([("address", ADDRESS_BITS), ("data", VECTOR_BITS)])
        self.read  = DedicatedReadPort(VECTOR_BITS, "pbuf_read")

        # # #

        self.ram = ram = _Ram(depth, VECTOR_BITS)
        self.comb += self.write.ready.eq(1)
        self.sync += [
            ram.we.eq(self.write.valid),
            ram.write_address.eq(self.write.address),
            ram.write_data.eq(self.write.data),
            ram.read_address.eq(self.read.address),
            self.read.data.eq(ram.q),
        ]
