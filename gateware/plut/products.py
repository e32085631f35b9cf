"""Products of a pixel and a magnitude, by its index: from a row of all of them, from a memory, or
by shifting.
"""

from itertools import count

from litex.gen import *
from migen import *

from ..carry import lut4
from ..mux import select

# Logic of a bit -----------------------------------------------------------------------------------

class Chooser(LiteXModule):
    """``out`` = options[index], bit by bit, in as few LUTs as an ECP5 slice takes for it.

    A LUT4 decides two index bits between two signals, or three for one; a slice joins two LUT4s by
    a third index bit (PFUMX), and those by a fourth (L6MUX21). So 8 options take 4 LUTs, and 2 or 1
    where some of them are the same signal or 0.

    Parameters
    ----------
    index : Signal
        1 to 3 bits.
    options : list
        2^len(index) lists of one length: bits, lowest first, None where it is 0. The same bit is
        the same object.
    primitive : bool
        Instantiate the multiplexers of a slice instead of the behavioural twin.
    """
    def __init__(self, index, options, primitive=False):
        self.out = Signal(len(options[0]))
        self.index = index

        # # #

        if not primitive:
            words = [Cat(*(0 if bit is None else bit for bit in option)) for option in options]
            self.comb += self.out.eq(select(index, words))
            return
        for i in range(len(self.out)):
            self.comb += self.out[i].eq(self._bit([option[i] for option in options]))

    def _bit(self, options):
        table = dict(enumerate(options))
        if all(option is options[0] for option in options):
            return 0 if options[0] is None else options[0]
        if self._fits(table):
            return self._lut(table)
        bits = range(len(self.index))
        for bit in bits:
            halves = self._halves(table, bit)
            if all(map(self._fits, halves)):
                return self._join("PFUMX", bit, [self._lut(half) for half in halves])
        # 4 different signals or more: pairs by the lowest index bit.
        quarters = []
        for half in self._halves(table, bits[-1]):
            quarters.append(self._join("PFUMX", 1, [self._lut(quarter)
                for quarter in self._halves(half, 1)]))
        return self._join("L6MUX21", bits[-1], quarters)

    @staticmethod
    def _halves(table, bit):
        return [{n: option for n, option in table.items() if n >> bit & 1 == side}
            for side in (0, 1)]

    def _inputs(self, table):
        """Signals and index bits on which the option depends."""
        signals = list({id(option): option for option in table.values() if option is not None}
            .values())
        bits = [bit for bit in range(len(self.index)) if len({n >> bit & 1 for n in table}) > 1]
        return signals, bits

    def _fits(self, table):
        return sum(map(len, self._inputs(table))) <= 4

    def _lut(self, table):
        signals, bits = self._inputs(table)
        fixed = next(iter(table)) & ~sum(1 << bit for bit in bits)

        def function(*values):
            n = fixed | sum(value << bit for bit, value in zip(bits, values[len(signals):],
                strict=False))
            option = table[n]
            return option is not None and values[[id(s) for s in signals].index(id(option))]
        inputs = [*signals, *(self.index[bit] for bit in bits)]
        inputs += [0]*(4 - len(inputs))
        out = Signal()
        self.specials += Instance("LUT4", p_INIT=Constant(lut4(function), 16), o_Z=out,
            **{f"i_{name}": value for name, value in zip("ABCD", inputs, strict=True)})
        return out

    def _join(self, kind, bit, halves):
        out = Signal()
        names = ("BLUT", "ALUT", "C0") if kind == "PFUMX" else ("D0", "D1", "SD")
        self.specials += Instance(kind, o_Z=out, **{f"i_{name}": value
            for name, value in zip(names, (*halves, self.index[bit]), strict=True)})
        return out

# Row of products ----------------------------------------------------------------------------------

def digits(number):
    """A number as [(sign, place)], as few powers of two as there can be."""
    terms = []
    for place in count():
        if not number:
            return terms
        if number & 1:
            sign = 2 - (number & 3)
            terms.append((sign, place))
            number -= sign
        number >>= 1


class ProductRow(LiteXModule):
    """All products of a pixel with the magnitudes of a codebook, for every column that wants them.

    Only odd multiples are registers; powers of two more are wires.

    Parameters
    ----------
    x : Signal
    signed : bool
        Of x.
    codebook : tuple
        Magnitudes.
    latency : int
        Clocks from x, ``ProductRow.needs(codebook)`` at least.
    bits : int
        Of a product.

    Attributes
    ----------
    options : list
        Of each magnitude the bits of its product, as Chooser takes them.
    """
    def __init__(self, x, signed, codebook, latency, bits):
        multiples = {}
        for odd in sorted({self._odd(c) for c in codebook if c}):
            width = len(x) + odd.bit_length() - (odd == 1) + (not signed)
            value = Signal((len(x) + (not signed), True))
            self.comb += value.eq(Cat(x, 0) if not signed else x)
            terms = [(sign, value << place) for sign, place in digits(odd)]
            for _ in range(latency):
                level = []
                for k in range(0, len(terms), 2):
                    (sign, total), *other = terms[k:k + 2]
                    # A sum of two is positive, unless both are to be subtracted.
                    for other_sign, term in other:
                        if sign == other_sign:
                            total = total + term
                        elif sign > 0:
                            total = total - term
                        else:
                            sign, total = 1, term - total
                    delayed = Signal((width, True), reset_less=True)
                    self.sync += delayed.eq(total)
                    level.append((sign, delayed))
                terms = level
            (sign, total), = terms
            assert sign == 1
            multiple = Signal(width)
            self.comb += multiple.eq(total)
            multiples[odd] = [multiple[i] for i in range(width)]
        self.options = []
        for c in codebook:
            if not c:
                self.options.append([None]*bits)
                continue
            source = multiples[self._odd(c)]
            places = [i - (c//self._odd(c)).bit_length() + 1 for i in range(bits)]
            self.options.append([None if i < 0 else source[min(i, len(source) - 1)]
                for i in places])

    @staticmethod
    def _odd(c):
        return c//(c & -c)

    @classmethod
    def needs(cls, codebook):
        """Clocks for its sums, each of them of two numbers."""
        most = max((len(digits(cls._odd(c))) for c in codebook if c), default=1)
        return max(1, (most - 1).bit_length())

# Memory of products -------------------------------------------------------------------------------

class ProductMemory(LiteXModule):
    """Products by table, of one pixel with one or two codes a clock.

    Parameters
    ----------
    x : Signal
    indices : list
        One or two indices into the codebook.
    table : list
        Products by Cat(x, index).
    bits : int
        Of a product.

    Attributes
    ----------
    p : list of Signal
        Signed, 2 clocks later: that of block RAM, and a register behind it.
    """
    latency = 2

    def __init__(self, x, indices, table, bits):
        memory = Memory(bits, len(table), init=[value & (1 << bits) - 1 for value in table])
        self.specials += memory
        self.p = []
        for index in indices:
            port = memory.get_port(mode=READ_FIRST)
            p = Signal((bits, True), reset_less=True)
            self.specials += port
            self.comb += port.adr.eq(Cat(x, index))
            self.sync += p.eq(port.dat_r)
            self.p.append(p)

class TableProducts(LiteXModule):
    """Products by table, of a pixel of any width up to 16 bits: of the halves of a wide one, added.

    Parameters
    ----------
    x : Signal
    signed : bool
        Of x.
    indices : list
        One or two indices into the codebook.
    codebook : tuple
        Magnitudes.
    bits : int
        Of a product.

    Attributes
    ----------
    p : list of Signal
        Signed, ``latency`` clocks later.
    """
    HALF = 8   # Bits of x that a table takes.

    def __init__(self, x, signed, indices, codebook, bits):
        def memory(part, signed, bits):
            size  = 1 << len(part)
            table = [c*(v - size*(signed and v >= size//2)) for c in codebook for v in range(size)]
            return ProductMemory(part, indices, table, bits)
        half = self.HALF
        if len(x) <= half:
            self.memory  = memory(x, signed, bits)
            self.p       = self.memory.p
            self.latency = ProductMemory.latency
            return
        # A positive number's sign takes a bit more.
        low_bits = (max(codebook)*((1 << half) - 1)).bit_length() + 1
        self.low  = memory(x[:half], False, low_bits)
        self.high = memory(x[half:], signed, bits - half)
        self.p = []
        for low, high in zip(self.low.p, self.high.p, strict=True):
            # Migen takes a slice of a signed signal for signed.
            positive, upper = Signal(low_bits - 1), Signal(bits - half)
            p = Signal((bits, True), reset_less=True)
            self.comb += [
                positive.eq(low),
                upper.eq(high + positive[half:]),
            ]
            self.sync += p.eq(Cat(positive[:half], upper))
            self.p.append(p)
        self.latency = ProductMemory.latency + 1

# Shifter ------------------------------------------------------------------------------------------

class Shifter(LiteXModule):
    """``out`` = x << amount, 0 where ``zero``, in the same clock: a LUT a bit and place of amount.

    Parameters
    ----------
    x : Signal
    signed : bool
        Of x.
    amount : Signal
    zero : Signal
    bits : int
        Of out, whose highest bit is the sign.
    """
    def __init__(self, x, signed, amount, zero, bits, primitive=False):
        self.out = Signal(bits)

        # # #

        if not primitive:
            extended = Cat(x, Replicate(x[-1] & signed, bits))
            self.comb += self.out.eq(Mux(zero, 0, extended << amount))
            return
        source = [x[i] for i in range(len(x))] + ([] if signed else [None])
        for place in range(len(amount)):
            shift = 1 << place
            def at(i, source=source):
                return None if i < 0 else source[min(i, len(source) - 1)]
            stage = []
            for i in range(min(len(source) + shift, bits)):
                low, high = at(i), at(i - shift)
                if place and low is high:
                    stage.append(low)
                    continue
                # The first stage has an input free to make nothing of x.
                bit = Signal()
                self.specials += Instance("LUT4",
                    p_INIT = Constant(lut4(lambda a, b, c, d: (b if c else a) & ~d & 1), 16),
                    i_A = 0 if low is None else low,
                    i_B = 0 if high is None else high,
                    i_C = amount[place],
                    i_D = 0 if place else zero,
                    o_Z = bit)
                stage.append(bit)
            source = stage
        self.comb += self.out.eq(Cat(*(0 if at is None else at for at in
            (source[min(i, len(source) - 1)] for i in range(bits)))))
