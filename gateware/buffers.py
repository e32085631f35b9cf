"""On-chip memories: activations, weights and requantization records.

All answer a read READ_LATENCY clocks after it is taken: address register, memory, output
register, so that neither the address fan-out nor the memory's slow output limits the clock.
A write is seen by every read taken in a later clock. Addresses beyond the depth wrap.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec.formats import LANES, VALUE_BITS
from .mux import Selector
from .register import KeptRegister

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


EBRS, EBR_BITS = 4, 2**14   # Block RAMs of one memory; what one holds, as powers of two go.


def ram_parts(depth, width):
    """[(lowest bit, bit after the highest)] of the memories that ``width`` bits are cut into."""
    step = min(width, max(4, EBRS*EBR_BITS//depth))
    return [(low, min(low + step, width)) for low in range(0, width, step)]


class _Ram(LiteXModule):
    """One write and one read port, with registers before and (the user's) behind the memory:
    READ_LATENCY clocks in all.

    A memory of many words is many EBRs: with one address register for all of them the wires between
    limit the clock. Every EBRS of them have registers of their own, and are a memory of the name
    ``name`` and the number of its lowest bit.
    """
    def __init__(self, name, depth, width, primitive=False):
        self.we            = Signal()
        self.write_address = Signal(max=max(depth, 2))
        self.write_data    = Signal(width)
        self.read_address  = Signal(max=max(depth, 2))
        self.q             = Signal(width)   # Two clocks after the address: to be registered.

        # # #

        for low, high in ram_parts(depth, width):
            registers = [KeptRegister(signal, primitive) for signal in (
                self.we, self.write_address, self.read_address)]
            self.submodules += registers
            we, write_address, read_address = (register.q for register in registers)
            write_data = Signal(high - low, reset_less=True)
            self.sync += write_data.eq(self.write_data[low:high])

            # What a read of the address being written gives does not matter (the program orders
            # the accesses): without no_rw_check Yosys would build a bypass round the block RAM.
            memory = Memory(high - low, depth, name=f"{name}_{low}")
            write = memory.get_port(write_capable=True)
            read  = memory.get_port(mode=READ_FIRST)
            self.specials += memory, write, read
            self.comb += [
                write.we.eq(we),
                write.adr.eq(write_address),
                write.dat_w.eq(write_data),
                read.adr.eq(read_address),
                self.q[low:high].eq(read.dat_r),
            ]

# ActivationBuffer ---------------------------------------------------------------------------------

class _Arbiter(LiteXModule):
    """Grants one bank's port to one of three: ``first`` before ``second`` before ``third``; but
    ``second`` waits 1 clock at most, and ``third`` 3 (2 while ``second`` wants nothing).

    Requests in, grants out in the same clock. Whose turn it is to go first is found a clock before,
    so that a grant is a function of the three requests and two registers.
    """
    def __init__(self):
        self.first        = Signal()
        self.second       = Signal()
        self.third        = Signal()
        self.grant_first  = Signal()
        self.grant_second = Signal()
        self.grant_third  = Signal()

        # # #

        second_now = Signal()    # Before first: it was refused in the last clock.
        third_now  = Signal()    # Before both.
        self.comb += [
            self.grant_third.eq(self.third & (third_now | ~(self.first | self.second))),
            self.grant_second.eq(self.second & ~(third_now & self.third) &
                (second_now | ~self.first)),
            self.grant_first.eq(self.first & ~(third_now & self.third) &
                ~(second_now & self.second)),
        ]

        # Never both at once: second has its turn in the clock after it was refused, third then.
        second_lost, third_lost, third_lost_d = Signal(), Signal(), Signal()
        self.comb += [
            second_lost.eq(self.second & ~self.grant_second),
            third_lost.eq(self.third & ~self.grant_third),
        ]
        self.sync += [
            second_now.eq(second_lost),
            third_now.eq(third_lost & third_lost_d & ~second_lost),
            third_lost_d.eq(third_lost),
        ]


class ActivationBuffer(LiteXModule):
    """ABUF: vectors of 64 bits in banks by the top address bits, each bank 1 write + 1 read port.

    The three sides of a port meet only when they want the same bank. Then COMPUTE goes first,
    VECTOR second and LOAD or STORE third; but who is refused does not wait long: VECTOR gets the
    bank every 2nd clock at least, LOAD or STORE every 4th (every 3rd while VECTOR wants nothing),
    COMPUTE every 4th.

    Parameters
    ----------
    depth : int
        Vectors in all, a power of two.
    banks : int
        Banks, a power of two.
    primitive : bool
        See KeptRegister and mux.Selector.

    Attributes
    ----------
    compute_write, vector_write, load_write : Endpoint("address", "data")
        Writes.
    compute_read, vector_read, store_read : ReadPort
        Reads.
    """
    def __init__(self, depth, banks=4, primitive=False):
        if depth & (depth - 1) or banks & (banks - 1) or depth < 2*banks or banks < 2:
            raise ValueError(f"activation buffer of {depth} vectors in {banks} banks: allowed are "
                             "powers of two, 2 banks or more of 2 vectors or more")
        layout = [("address", ADDRESS_BITS), ("data", VECTOR_BITS)]
        self.compute_write = stream.Endpoint(layout)
        self.vector_write  = stream.Endpoint(layout)
        self.load_write    = stream.Endpoint(layout)
        self.compute_read  = ReadPort("compute_read")
        self.vector_read   = ReadPort("vector_read")
        self.store_read    = ReadPort("store_read")

        # # #

        low   = log2_int(depth//banks)
        high  = log2_int(depth)
        rams  = [_Ram(f"abuf_{i}", depth//banks, VECTOR_BITS, primitive) for i in range(banks)]
        self.submodules += rams

        def arbitrate(*endpoints):
            """Per bank: an arbiter between three endpoints; drives their ready."""
            arbiters = [_Arbiter() for _ in range(banks)]
            self.submodules += arbiters
            for endpoint, name in zip(endpoints, ("first", "second", "third"), strict=True):
                bank   = endpoint.address[low:high]
                grants = [getattr(a, f"grant_{name}") for a in arbiters]
                self.comb += [getattr(a, name).eq(endpoint.valid & (bank == i))
                    for i, a in enumerate(arbiters)]
                # Ready without a request is of no use, and would lengthen the path.
                self.comb += endpoint.ready.eq(Reduce("OR", grants))
            return arbiters

        def granted(arbiter, endpoints, field):
            """That field of whoever has the grant, the third's where nobody has."""
            first, second, third = (getattr(endpoint, field) for endpoint in endpoints)
            return Mux(arbiter.grant_first, first, Mux(arbiter.grant_second, second, third))

        # Writes -------------------------------------------------------------------------------
        writes = (self.compute_write, self.vector_write, self.load_write)
        for ram, arbiter in zip(rams, arbitrate(*writes), strict=True):
            self.comb += [
                ram.we.eq(arbiter.grant_first | arbiter.grant_second | arbiter.grant_third),
                ram.write_address.eq(granted(arbiter, writes, "address")),
                ram.write_data.eq(granted(arbiter, writes, "data")),
            ]

        # Reads --------------------------------------------------------------------------------
        ports = (self.compute_read, self.vector_read, self.store_read)
        reads = [port.cmd for port in ports]
        for ram, arbiter in zip(rams, arbitrate(*reads), strict=True):
            self.comb += ram.read_address.eq(granted(arbiter, reads, "address"))
        for port in ports:
            bank, valid = port.cmd.address[low:high], port.cmd.valid & port.cmd.ready
            for _ in range(READ_LATENCY - 1):
                bank_d  = Signal(len(bank), reset_less=True)
                valid_d = Signal()
                self.sync += [bank_d.eq(bank), valid_d.eq(valid)]
                bank, valid = bank_d, valid_d
            # Block RAM is slow to answer: one hop of logic from there to the register.
            selector = Selector(bank, [ram.q for ram in rams], primitive)
            self.submodules += selector
            self.sync += [
                port.valid.eq(valid),
                port.data.eq(selector.out),
            ]

# WeightBuffer, ParamBuffer ------------------------------------------------------------------------

class WeightBuffer(LiteXModule):
    """WBUF: words of ``columns`` x 16 bits, written a vector (4 columns, ``slot``) at a time and
    read a whole word at a time. VBUF is one of 4 columns.

    Parameters
    ----------
    depth : int
        Words, a power of two.
    columns : int
        Columns of the array, a multiple of 4 up to 64.
    name : str
        Of the memory.
    primitive : bool
        See KeptRegister.
    lane_bits : int
        Of the 16 bits of a vector's lanes, the lowest that are kept.

    Attributes
    ----------
    write : Endpoint("address", "slot", "data")
        Always ready. A slot beyond the last one is not written.
    read : DedicatedReadPort
        ``data`` is lane_bits*columns bits, column 0 lowest.
    """
    def __init__(self, depth, columns, name="wbuf", primitive=False, lane_bits=VALUE_BITS):
        if columns % LANES or not LANES <= columns <= LANES << SLOT_BITS or depth & (depth - 1):
            raise ValueError(f"weight buffer of {depth} words x {columns} columns: allowed are "
                             f"powers of two and multiples of {LANES} up to {LANES << SLOT_BITS}")
        self.write = stream.Endpoint(
            [("address", ADDRESS_BITS), ("slot", SLOT_BITS), ("data", VECTOR_BITS)])
        self.read  = DedicatedReadPort(lane_bits*columns, f"{name}_read")

        # # #

        data = Cat(*(self.write.data[VALUE_BITS*i:VALUE_BITS*i + lane_bits] for i in range(LANES)))
        self.comb += self.write.ready.eq(1)
        for slot in range(columns//LANES):
            ram = _Ram(f"{name}_{slot}", depth, LANES*lane_bits, primitive)
            self.submodules += ram
            self.comb += [
                ram.we.eq(self.write.valid & (self.write.slot == slot)),
                ram.write_address.eq(self.write.address),
                ram.write_data.eq(data),
                ram.read_address.eq(self.read.address),
            ]
            self.sync += self.read.data[LANES*lane_bits*slot:LANES*lane_bits*(slot + 1)].eq(ram.q)


class ParamBuffer(LiteXModule):
    """PBUF: requantization records of 64 bits (PARAM_* in spec/isa.py), in two copies: COMPUTE and
    VECTOR each read one in every clock.

    Parameters
    ----------
    depth : int
        Records, a power of two.
    primitive : bool
        See KeptRegister.

    Attributes
    ----------
    write : Endpoint("address", "data")
        Always ready; writes both.
    read, vector_read : DedicatedReadPort
    """
    def __init__(self, depth, primitive=False):
        if depth & (depth - 1):
            raise ValueError(f"parameter buffer of {depth} records: allowed are powers of two")
        self.write       = stream.Endpoint([("address", ADDRESS_BITS), ("data", VECTOR_BITS)])
        self.read        = DedicatedReadPort(VECTOR_BITS, "pbuf_read")
        self.vector_read = DedicatedReadPort(VECTOR_BITS, "pbuf_vector_read")

        # # #

        self.comb += self.write.ready.eq(1)
        for i, port in enumerate((self.read, self.vector_read)):
            ram = _Ram(f"pbuf_{i}", depth, VECTOR_BITS, primitive)
            self.submodules += ram
            self.comb += [
                ram.we.eq(self.write.valid),
                ram.write_address.eq(self.write.address),
                ram.write_data.eq(self.write.data),
                ram.read_address.eq(port.address),
            ]
            self.sync += port.data.eq(ram.q)
