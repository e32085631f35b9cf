"""Arrays for weights that are codes: a sign (highest bit) and an index into a few magnitudes.

A product is looked up, not computed: in a row of all products of a pixel, made once for all
columns, or in a memory that has the products of all pixels. For powers of two there is also an
array of barrel shifters, to compare.

::

    operand --> products --> accumulators --> all columns --> a column a clock --> whole sums
    weights --> sign --------> (low bits)     captured                              (Widener)

Accumulators are narrow: they are read every PERIOD clocks, or once for each column where that is
longer, and need only as many bits as tell by how much they moved since.
"""

from litex.gen import *
from migen import *

from ...spec.formats import APOT, LANES, POT
from ...spec.formats import CODEBOOKS as BOOKS
from ...spec.isa import ACC_BITS
from ..requantize import Delay
from .accumulator import FlippingSelector, SignControl, SignedAccumulator, Widener
from .products import Chooser, ProductRow, Shifter, TableProducts

# (name, bits of a code) -> magnitudes.
CODEBOOKS = {({POT: "pot", APOT: "apot"}[kind], bits): book for (kind, bits), book in BOOKS.items()}
MAGNITUDES = 128   # Below that.
CODE_BITS  = (3, 4)
MEMORY_X_BITS = 16
PERIOD     = 8     # More than Widener takes from reading to writing.

# CodeArray ----------------------------------------------------------------------------------------

class CodeArray(LiteXModule):
    """What the arrays have in common: all but products. No back-pressure: who issues operands
    leaves as many clocks between two ``last`` as there are columns.

    There is no ``single``, as in DeltaArray.

    Parameters
    ----------
    columns : int
        Output channels.
    codebook : str or tuple
        Magnitudes by index, each below 128; or the name of a codebook, "pot" or "apot".
    bits : int
        Of a weight, 3 or 4.
    x_bits : int
        Of a pixel.
    signed : bool
        Pixels are signed.
    weight_latency : int
        Clocks from an operand to its weights, 1 or more.
    primitive : bool
        Instantiate ECP5 cells instead of the behavioural twin.
    taps : int or None
        The most products a sum has: ``out`` is as wide as that takes. None: ACC_BITS wide, with
        sums modulo 2^ACC_BITS.
    narrow : bool
        False: accumulators as wide as ``out``, read at the end of a group only.

    Attributes
    ----------
    valid, operand, first, last : in
        An operand: four pixels (lane 0 lowest), begins a sum, ends a group.
    weights : in, bits*columns bits
        Codes, column 0 lowest; ``weight_latency`` clocks after the operand.
    dump : out
        Pulse: a group is complete; ``out`` is its column 0 in the next clock, column 1 then...
    out : out
        Four sums.
    """
    def __init__(self, columns, codebook, bits=4, x_bits=16, signed=True, weight_latency=3,
        primitive=False, taps=None, narrow=True):
        self.bits      = bits
        codebook       = magnitudes(codebook, bits)
        # A power of two that all have is left out until the end.
        common         = min((c & -c).bit_length() - 1 for c in codebook if c)
        self.codebook  = codebook = tuple(c >> common for c in codebook)
        self.x_bits    = x_bits
        self.x_signed  = signed
        self.primitive = primitive
        self.check()
        # The largest product in magnitude; as signed numbers, products and their sums are below
        # 2^(bits - 1).
        largest  = max(codebook)*(1 << x_bits - 1 if signed else (1 << x_bits) - 1)
        acc_bits = ACC_BITS - common if taps is None else (taps*largest).bit_length() + 1
        period   = max(columns, PERIOD)
        farthest = (2*period - 1)*largest
        low_bits = min(farthest.bit_length() + 1, acc_bits)
        if not narrow:
            low_bits = acc_bits
        # A product is c*x with c >= 0: -2^n has room in n + 1 bits.
        self.product_bits = (largest - signed).bit_length() + 1
        self.valid   = Signal()
        self.operand = Signal(LANES*x_bits)
        self.first   = Signal()
        self.last    = Signal()
        self.weights = Signal(bits*columns)
        self.dump    = Signal()
        self.out     = [Signal((acc_bits + common, True), name=f"out{i}") for i in range(LANES)]

        # # #

        # Operands meet their weights --------------------------------------------------------------
        self.operand_delay = operand_delay = Delay(self.operand, weight_latency)
        codes = [self.weights[bits*j:bits*(j + 1)] for j in range(columns)]
        self.prepare([operand_delay.output[x_bits*i:x_bits*(i + 1)] for i in range(LANES)],
            [code[:-1] for code in codes])
        latency = weight_latency + self.multiply_latency

        # Control ----------------------------------------------------------------------------------
        self.valid_delay = valid_delay = Delay(self.valid, latency - 1, reset_less=False)
        self.first_delay = first_delay = Delay(self.valid & self.first, latency - 1, False)
        self.last_delay  = last_delay  = Delay(self.valid & self.last, latency, False)
        begins, complete = Signal(), Signal()
        self.sync += [
            begins.eq(first_delay.output),
            complete.eq(last_delay.output),
        ]
        # Accumulators are captured at the end of a group, and in an open group every ``period``
        # clocks.
        capture, fresh = Signal(), Signal()
        if low_bits == acc_bits:
            self.comb += capture.eq(complete)
        else:
            opened, timer = Signal(), Signal(max=period)
            # Captures of this group so far: one; two.
            once, twice = Signal(), Signal()
            self.comb += capture.eq(complete | (opened & (timer == 0)))
            self.sync += [
                If(last_delay.output,
                    opened.eq(0)
                ).Elif(begins,
                    opened.eq(1)
                ),
                If(capture,
                    timer.eq(period - 1)
                ).Elif(timer != 0,
                    timer.eq(timer - 1)
                ),
                If(capture,
                    # The end may come so soon after a capture that not all columns have been read,
                    # or written: only the one before it counts then.
                    fresh.eq(Mux(timer == 0, ~once, ~twice)),
                    once.eq(1),
                    twice.eq(once),
                ),
                If(complete | begins,
                    once.eq(0),
                    twice.eq(0),
                ),
            ]

        # Columns ----------------------------------------------------------------------------------
        captured = [[Signal(low_bits, reset_less=True) for _ in range(LANES)]
            for _ in range(columns)]
        inverted = Signal(columns)
        for j, code in enumerate(codes):
            negative = Delay(code[-1], self.multiply_latency - 1)
            control  = SignControl()
            enable   = Signal()
            self.submodules += negative, control
            self.comb += [
                control.valid.eq(valid_delay.output),
                control.first.eq(first_delay.output),
                control.negative.eq(negative.output),
                inverted[j].eq(control.inverted),
            ]
            self.sync += enable.eq(valid_delay.output)
            for i in range(LANES):
                accumulator = SignedAccumulator(self.multiply(i, j), low_bits, primitive)
                self.submodules += accumulator
                self.comb += [
                    accumulator.keep.eq(control.keep),
                    accumulator.flip.eq(control.flip),
                    accumulator.enable.eq(enable),
                ]
                self.sync += If(capture, captured[j][i].eq(accumulator.acc))

        # A column a clock -------------------------------------------------------------------------
        late = 1 if low_bits == acc_bits else Widener.READ + Widener.LATENCY
        self.dump_delay  = dump_delay  = Delay(complete, late, reset_less=False)
        self.fresh_delay = fresh_delay = Delay(fresh, Widener.READ)
        self.comb += self.dump.eq(dump_delay.output)
        size  = 1 << bits_for(max(columns - 1, 1))
        # Of the column at the index, and of those behind it, round and round as the index.
        flips = Signal(size, reset_less=True)
        self.sync += If(capture, flips.eq(inverted)).Else(flips.eq(Cat(flips[1:], flips[0])))
        for i, out in enumerate(self.out):
            # An index for each lane: its fan-out is all the lane's bits.
            index    = Signal(max=max(columns, 2), reset_less=True)
            options  = [column[i] for column in captured]
            selector = FlippingSelector(index, options + [options[-1]]*(size - columns), flips[0],
                primitive)
            self.submodules += selector
            low      = Signal((low_bits, True), reset_less=True)
            self.sync += [
                If(capture,
                    index.eq(0)
                ).Else(
                    index.eq(index + 1)
                ),
                low.eq(selector.flipped),
            ]
            if low_bits == acc_bits:
                self.comb += out.eq(Cat(Replicate(0, common), low))
                continue
            widener = Widener(low_bits, acc_bits, farthest, columns)
            delay   = Delay(low, Widener.READ - 1)
            self.submodules += widener, delay
            self.comb += [
                widener.index.eq(index),
                widener.low.eq(delay.output),
                widener.fresh.eq(fresh_delay.output),
                out.eq(Cat(Replicate(0, common), widener.out)),
            ]

    # What the arrays differ in --------------------------------------------------------------------

    def check(self):
        """ValueError for what the array cannot do."""

    def prepare(self, operands, indices):
        """Take the pixel of each lane and the index of each column, of one clock; set
        ``multiply_latency``."""
        raise NotImplementedError

    def multiply(self, lane, column):
        """Their product, ``multiply_latency`` clocks later: a signed Signal."""
        raise NotImplementedError


def magnitudes(codebook, bits):
    """Of a codebook or its name: a tuple. ValueError."""
    if bits not in CODE_BITS:
        raise ValueError(f"codes of {bits} bits: allowed are {CODE_BITS[0]} and {CODE_BITS[1]}")
    if isinstance(codebook, str):
        if (codebook, bits) not in CODEBOOKS:
            allowed = ", ".join(f"{name} of {n} bits" for name, n in CODEBOOKS)
            raise ValueError(f"codebook {codebook!r} of {bits} bits: allowed are {allowed}")
        return CODEBOOKS[codebook, bits]
    if len(codebook) != 1 << bits - 1:
        raise ValueError(f"codebook of {len(codebook)} magnitudes: codes of {bits} bits have "
            f"{1 << bits - 1}")
    wrong = [c for c in codebook if not 0 <= c < MAGNITUDES]
    if wrong or not any(codebook):
        raise ValueError(f"codebook {tuple(codebook)}: allowed are magnitudes of 0 to "
            f"{MAGNITUDES - 1}, not all 0")
    return tuple(codebook)

# PlutArray ----------------------------------------------------------------------------------------

class PlutArray(CodeArray):
    """Products looked up.

    Parameters
    ----------
    organisation : str
        "row": of each lane, registers with the products of all magnitudes; of each lane and column,
        multiplexers. "static": of each lane and two columns, a memory with all products of a pixel;
        of more than 8 bits, one for each half of it.
    columns, codebook, bits, x_bits, signed, weight_latency, primitive, taps, narrow
        As CodeArray's.
    """
    def __init__(self, columns, codebook="pot", bits=4, organisation="row", **more):
        if organisation not in ("row", "static"):
            raise ValueError(f"organisation {organisation!r}: allowed are row and static")
        self.organisation = organisation
        super().__init__(columns, codebook, bits, **more)

    def check(self):
        if self.organisation == "static" and self.x_bits > MEMORY_X_BITS:
            raise ValueError(f"static table for pixels of {self.x_bits} bits: allowed are 1 to "
                f"{MEMORY_X_BITS}")

    def prepare(self, operands, indices):
        if self.organisation == "static":
            self.products = {}
            for i, operand in enumerate(operands):
                for j in range(0, len(indices), 2):
                    table = TableProducts(operand, self.x_signed, indices[j:j + 2], self.codebook,
                        self.product_bits)
                    self.submodules += table
                    self.multiply_latency = table.latency
                    self.products |= {(i, j + k): p for k, p in enumerate(table.p)}
            return
        latency   = ProductRow.needs(self.codebook)
        self.rows = [ProductRow(x, self.x_signed, self.codebook, latency, self.product_bits)
            for x in operands]
        self.indices = [Delay(index, latency) for index in indices]
        self.submodules += self.rows, self.indices
        self.multiply_latency = latency + 1

    def multiply(self, lane, column):
        if self.organisation == "static":
            return self.products[lane, column]
        chooser = Chooser(self.indices[column].output, self.rows[lane].options, self.primitive)
        p = Signal((self.product_bits, True), reset_less=True)
        self.submodules += chooser
        self.sync += p.eq(chooser.out)
        return p

# ShiftArray ---------------------------------------------------------------------------------------

class ShiftArray(CodeArray):
    """Products by barrel shifters, of codebooks 0, 1, 2, 4, 8...: for comparison.

    Its parameters are CodeArray's.
    """
    multiply_latency = 2

    def check(self):
        powers = (0, *(1 << k for k in range(len(self.codebook) - 1)))
        if self.codebook != powers:
            raise ValueError(f"codebook {self.codebook}: shifters have {powers}, or all of these "
                "times a power of two")

    def prepare(self, operands, indices):
        self.xs = [Delay(x, 1) for x in operands]
        self.submodules += self.xs
        self.amounts = []
        for index in indices:
            amount, zero = Signal(len(index), reset_less=True), Signal(reset_less=True)
            self.sync += [
                amount.eq(index - 1),
                zero.eq(index == 0),
            ]
            self.amounts.append((amount, zero))

    def multiply(self, lane, column):
        shifter = Shifter(self.xs[lane].output, self.x_signed, *self.amounts[column],
            self.product_bits, self.primitive)
        p = Signal((self.product_bits, True), reset_less=True)
        self.submodules += shifter
        self.sync += p.eq(shifter.out)
        return p
