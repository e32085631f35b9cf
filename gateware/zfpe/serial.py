"""What the ZFPe cores of one value a clock share: values in and out, and the lift.

A block passes through the pipeline as four values in four successive beats. ``tag`` goes along and
says which of them a stage holds, 0 to 3; beats between blocks are not valid and have tag 0. So one
shifter, one normalizer and one negabinary adder serve all four lanes, and the lift takes 3 or 5
adders in place of 10::

    encoder  values -> gather --x w z y--> fixed point -> forward_lift --x z w y--> u -> block
    decoder  block -> pick --y w x z--> i -> inverse_lift --x y z w--> number -> values
"""

from litex.gen import *
from migen import *
from migen.fhdl.bitcontainer import value_bits_sign

from ...spec.formats import LANES
from ..mux import select
from .pipeline import Pipeline
from .transform import NEGABINARY, TOP_BITS, from_negabinary, lengthen

# Order of x, y, z, w in the pipeline: what a butterfly needs first comes first.
READ_ORDER  = (0, 3, 2, 1)   # Into the forward lift.
WRITE_ORDER = (0, 2, 3, 1)   # Out of it.
PICK_ORDER  = (1, 3, 0, 2)   # Into the inverse lift; out of it they come as 0, 1, 2, 3.

# Serial -------------------------------------------------------------------------------------------

class Serial(Pipeline):
    """A Pipeline whose beats are the values of blocks, with an adder that subtracts on demand."""

    def hold(self, when, value):
        """A register that takes ``value`` in the clocks in which ``when`` is set."""
        register = Signal(value_bits_sign(value), reset_less=True)
        self.sync += If(self._ce & when, register.eq(value))
        return register

    def add_sub(self, a, b, sub, carry, width):
        """a + b + carry, or a + ~b + carry where ``sub``: signed, ``width`` bits (combinational).

        Written as one addition, with the carry as a bit below: given a choice of + and -, Yosys
        builds both."""
        # Bits as unsigned signals of their width: in Verilog an expression inside a concatenation
        # may be wider than it looks.
        sub, carry = self.unsigned(sub, 1), self.unsigned(carry, 1)
        a, b  = self.unsigned(self.signed(a, width), width), self.unsigned(self.signed(b, width))
        total = self.unsigned(Cat(1, a) + Cat(carry, b ^ Replicate(sub, width)), width + 1)
        return self.signed(total[1:], width)

    def delays(self, count, tag, value, carry):
        """``count`` stages: ([tag, tag one later, ..], [value, value one later, ..], carry)."""
        tags, values = [tag], [value]
        for _ in range(count):
            *delayed, carry = self.stage(tags[-1], values[-1], carry)
            tags.append(delayed[0])
            values.append(delayed[1])
        return tags, values, carry

# Values to blocks ---------------------------------------------------------------------------------

class SerialEncoder(Serial):
    """Values in, blocks out: the ends of an encoder.

    A block is complete with its fourth value, or with ``last``: zeros then take the place of what
    is missing, one a clock. Only when it is complete do its values enter the pipeline, so pauses of
    the sink inside a block hold nothing up.

    Attributes
    ----------
    sink : Endpoint("data")
        A value.
    source : Endpoint("data")
        A block; ``last`` when its last value had it.
    """
    def __init__(self, value_bits, block_bits):
        Pipeline.__init__(self, [("data", value_bits)], [("data", block_bits)])

    def gather(self, value, zero, key, reduce):
        """First stage: (tag, value, reduced), the values of complete blocks in READ_ORDER.

        value: what to keep of a beat's data. zero: what to keep for a value that is missing. key:
        of a kept value, what ``reduce``(old, new) accumulates over a block from 0."""
        filling = Signal(max=LANES)   # Of which the next value is written.
        padding = Signal()
        taken   = Signal()
        done    = Signal()
        bank    = Signal()            # One block is written while another is read.
        ended   = Signal()
        active  = Signal()
        tag     = Signal(max=LANES)
        last    = Signal()
        data    = self.unsigned(Mux(padding, zero, value))
        key     = self.unsigned(key(data))
        so_far  = Signal(len(key))
        whole   = self.unsigned(reduce(Mux(filling == 0, 0, so_far), key), len(key))
        reduced = Signal(len(key))
        self.comb += [
            taken.eq(self._ce & (self.sink.valid | padding)),
            done.eq(taken & (filling == LANES - 1)),
        ]
        self.sync += [
            If(taken,
                filling.eq(filling + 1),
                so_far.eq(whole),
                If(self.sink.last & ~padding, padding.eq(1), ended.eq(1)),
            ),
            If(self._ce & active,
                tag.eq(tag + 1),
                If(tag == LANES - 1, active.eq(0)),
            ),
            # Four clocks apart at least: the block before has just been read.
            If(done,
                padding.eq(0),
                ended.eq(0),
                bank.eq(~bank),
                active.eq(1),
                last.eq(ended | (self.sink.last & ~padding)),
                reduced.eq(whole),
            ),
        ]
        memory = Memory(len(data), 2*LANES)
        write  = memory.get_port(write_capable=True)
        read   = memory.get_port(async_read=True)
        self.specials += memory, write, read
        self.comb += [
            write.adr.eq(Cat(filling, bank)),
            write.dat_w.eq(data),
            write.we.eq(taken),
            read.adr.eq(Cat(select(tag, [C(lane, 2) for lane in READ_ORDER]), ~bank)),
        ]
        self._valid, self._last, self._padding = active, last, padding
        return self.stage(tag, read.dat_r, reduced)

    def finish(self, tag, header, fields):
        """Collect the four ``fields`` of a block, which come in WRITE_ORDER, and put it out."""
        lanes = [None]*LANES
        for i, lane in enumerate(WRITE_ORDER):
            lanes[lane] = self.hold(tag == i, fields)
        header = self.hold(tag == 0, header)
        last   = self.hold(tag == LANES - 1, self._last)
        self.sync += If(self._ce, self.source.valid.eq(self._valid & (tag == LANES - 1)))
        self.latency += 1
        self.comb += [
            self._ce.eq(self.source.ready | ~self.source.valid),
            self.sink.ready.eq(self._ce & ~self._padding),
            self.source.data.eq(Cat(header, *lanes)),
            self.source.last.eq(last),
        ]

# Blocks to values ---------------------------------------------------------------------------------

class SerialDecoder(Serial):
    """Blocks in, values out: the ends of a decoder.

    Attributes
    ----------
    sink : Endpoint("data")
        A block. It is taken with its fourth value, and must stay as it is until then.
    source : Endpoint("data")
        A value; ``last`` on the fourth of a block that had it.
    """
    def __init__(self, block_bits, value_bits):
        Pipeline.__init__(self, [("data", block_bits)], [("data", value_bits)])

    def pick(self, payload, exponent_bits):
        """First two stages: (tag, i, e) of the values in PICK_ORDER; i is signed, the top
        payload + 4 bits of 32."""
        position = Signal(max=LANES)
        fourth   = Signal()
        self.comb += fourth.eq(position == LANES - 1)
        self.sync += If(self._ce & self.sink.valid, position.eq(position + 1))
        data  = self.sink.data
        size  = payload + 1
        lanes = [data[exponent_bits + size*i:exponent_bits + size*(i + 1)] for i in range(LANES)]
        self._fourth = fourth
        self._last   = fourth & self.sink.last
        tag, field, e = self.stage(position,
            self.unsigned(select(position, [lanes[lane] for lane in PICK_ORDER]), size),
            data[:exponent_bits])
        u = lengthen(self, field[0], field[1:])
        return self.stage(tag, from_negabinary(self, u, TOP_BITS - len(u)), e)

    def finish(self, data):
        """Drive the source from the last stage."""
        Pipeline.finish(self, data=data)
        self.comb += self.sink.ready.eq(self._ce & self._fourth)

# Lift ---------------------------------------------------------------------------------------------

def forward_lift(pipe, tag, value, lsb, carry):
    """Steps 3 and 4, 11 stages. ``value``: signed, x w z y from bit ``lsb`` (0, or 4 and more), of
    31 - lsb bits. Returns (tag, u, its lsb, carry): u of x z w y from that bit to bit 31.

    A butterfly makes s = (a + b) >> 1 and b - s, which is -((a - b) >> 1): the negative is as good,
    and takes no more than a subtraction. When only the negatives na and nb are there, -s is
    (na + nb + 1) >> 1 and -(b - s) is (nb - na) >> 1. With room below, nothing is halved: lsb moves
    down instead, and there is nothing to round.
    """
    exact = lsb > 0

    def halved(total):
        return total if exact else total[1:]

    # x' = (x + w) >> 1, nw = (x - w) >> 1; z' = (z + y) >> 1, ny = (z - y) >> 1.
    tags, values, carry = pipe.delays(2, tag, value, carry)
    x_z   = pipe.hold(tags[0][0], values[1])
    w_y   = pipe.hold(tags[0][0], values[0])
    sub   = tags[2][0]
    width = len(value) + 1
    total = pipe.add_sub(x_z, w_y, sub, sub, width)
    tag, value, carry = pipe.stage(tags[2], pipe.signed(halved(total), width - (not exact)), carry)

    # x" = (x' + z') >> 1, nz = (x' - z') >> 1; nw = (ny + nw + 1) >> 1, ny = (ny - nw) >> 1.
    tags, values, carry = pipe.delays(4, tag, value, carry)
    y, z, w, x = [pipe.hold(tags[0] == LANES - 1, v) for v in values[:4]]
    step  = tags[4]
    width = len(value) + 1
    total = pipe.add_sub(Mux(step[1], y, x), Mux(step[1], w, z), step[0],
        step[0] if exact else step != 0, width)
    tag, value, carry = pipe.stage(step, pipe.signed(halved(total), width - (not exact)), carry)

    # nw + (ny >> 1) + bit 0, which is -(w + (y >> 1)); ny - (nw >> 1) - bit 0, alike.
    if exact:
        value = pipe.signed(Cat(C(0, 2), value), len(value) + 2)
        lsb  -= 4
    width = TOP_BITS - lsb
    tags, values, carry = pipe.delays(1, tag, value, carry)
    step   = tags[1]
    w      = Signal((width, True))   # Of the stage after, which is in the fourth beat ny's nw.
    y      = values[0]
    is_w   = pipe.unsigned(step == 2)
    is_y   = pipe.unsigned(step == 3)
    half   = pipe.unsigned((pipe.signed(y >> 1, width) & Replicate(is_w, width))
        | (pipe.signed(w >> 1, width) & Replicate(is_y, width)), width)
    carry_in = Mux(is_y, w[0] == 0, is_w & y[0])
    total  = pipe.add_sub(values[1], half, is_y, carry_in, width)
    tag, value, carry = pipe.stage(step, total, carry)
    pipe.comb += w.eq(value)

    # M + x is as it is, and M - nx = ~(~M + nx).
    mask     = NEGABINARY >> lsb
    negative = pipe.unsigned(tag != 0)
    flipped  = pipe.unsigned(Cat(*(~negative if mask >> i & 1 else negative
        for i in range(width))))
    tag, value, negative, carry = pipe.stage(tag, pipe.unsigned(value + flipped, width), negative,
        carry)
    return tag, pipe.unsigned(value ^ mask ^ Replicate(negative, width)), lsb, carry


def inverse_lift(pipe, tag, value, carry):
    """Inverse of step 3, 6 stages. ``value``: signed, y w x z of n bits, the top n of 32. Returns
    (tag, value, carry): x y z w, the top n + 2 bits, modulo 2^32."""
    n = len(value)
    tags, values, carry = pipe.delays(4, tag, value, carry)

    # y += w >> 1; w -= y >> 1, each with one more bit below. Then the four stand still.
    y = pipe.hold(tags[0] == 2, pipe.signed((values[2] << 1) + values[1], n + 1))
    w = pipe.signed((values[2] << 2) - y, n + 2)
    z, x, y, w = [pipe.hold(tags[0] == LANES - 1, v)
        for v in (values[0], values[1], pipe.signed(y << 1, n + 2), w)]

    # w - y and x - z for x and w, w + y and x + z for y and z.
    step = tags[4]
    sub  = pipe.unsigned((step == 0) | (step == 3))
    tag, [w_y, x_z], carry = pipe.stage(step,
        [pipe.add_sub(w, y, sub, sub, n + 2), pipe.add_sub(x, z, sub, sub, n)], carry)

    # x = (x - z) - (w - y), y = (x + z) + (w + y), z = (x + z) - (w + y), w = (x - z) + (w - y).
    return pipe.stage(tag, pipe.add_sub(pipe.signed(x_z << 2, n + 2), w_y, tag[0] == 0, tag[0] == 0,
        n + 2), carry)
