"""Multiplication by a narrow number in LUTs and carry chains: x (wide) * d (2 bits and more).

A carry cell of the ECP5 (CCU2C) has a LUT4 a bit: its output decides whether the carry of the bit
below propagates, and two of its inputs alone, when it does not. Where that is enough, an operand is
gated, inverted or chosen in the chain itself, and what Yosys takes two LUTs a bit for takes one::

    pair row      (d0 + 2*d1) * x             both bits of d in one chain
    signed pair   (d0 - 2*d1) * x             likewise
    bit row       before + d * x
    sign row      before - d * x

so a product takes a row for the two lowest bits of d and one for each further bit, a pipeline step
each, the last of them signed: 30 LUTs for 8x4 bits and 54 for 16x4.
"""

from litex.gen import *
from migen import *

from ..carry import CarryRow, lut4

MIN_BITS = 2   # Of d.

# Functions of carry cells -------------------------------------------------------------------------

# Carries out A, adds nothing: what a two's complement needs below its lowest bit. D = 1.
CARRY_IN = lut4(lambda a, b, c, d: 0 if d else a)
# A + (C ? B : 0), A + (C ? ~B : 0). D = 1.
ADD_GATED      = lut4(lambda a, b, c, d: a ^ (b & c) if d else a)
SUBTRACT_GATED = lut4(lambda a, b, c, d: a ^ (~b & c & 1) if d else a)
# A + (D ? B : C).
ADD_CHOSEN = lut4(lambda a, b, c, d: a ^ (b if d else c))
# With A = 2x, B = x, C = d0, D = ~d1 and D carried in: 2x, 2x + x, 2x + ~x + 1 = x, ~0 + 1 = 0.
PAIR = lut4(lambda a, b, c, d: (1 if not c else a ^ b ^ 1) if d else a ^ (b & c))
# Its lowest bit, where 2x is 0. A = ~d1, B = x, C = d0, D = 1.
PAIR_LOW = lut4(lambda a, b, c, d: b & c if d else a)
# With A = x, B = 2x, C = d0, D = d1 and D carried in: 0, x, ~2x + 1, ~x + 1. Carries nothing else.
SIGNED_PAIR = lut4(lambda a, b, c, d: (a ^ 1 if c else b ^ 1) if d else a & c)


# Rows ---------------------------------------------------------------------------------------------

class Row(LiteXModule):
    """One of the rows above, ``p`` (signed) in the same clock.

    Parameters
    ----------
    kind : str
        "pair": p = (d[0] + 2*d[1])*x, d[1] given inverted. "signed pair": p = (d[0] - 2*d[1])*x.
        "bit": p = before + d*x. "sign": p = before - d*x.
    x : Signal
        Signed, whatever its type says.
    d : Signal
        1 or 2 bits.
    before : Signal
        Signed likewise, as wide as x.
    primitive : bool
        Instantiate CCU2C instead of the behavioural twin.
    """
    def __init__(self, kind, x, d, before=None, primitive=False):
        bits = len(x)
        # Migen takes a slice of a signed signal for signed: bits are taken from unsigned copies.
        copy, gate = Signal(bits), Signal(len(d))
        self.comb += [copy.eq(x), gate.eq(d)]
        self.p = Signal((bits + (1 if before is not None else 2), True))

        # # #

        added = Signal(bits)
        if before is not None:
            self.comb += added.eq(before)
        if not primitive:
            signed_x, signed_added = Signal((bits, True)), Signal((bits, True))
            low, high = Signal((bits, True)), Signal((bits, True))
            self.comb += [
                signed_x.eq(copy),
                signed_added.eq(added),
                If(gate[0], low.eq(signed_x)),
                If(gate[-1] ^ (kind == "pair"), high.eq(signed_x)),
                self.p.eq({
                    "pair":        low + (high << 1),
                    "signed pair": low - (high << 1),
                    "bit":         signed_added + low,
                    "sign":        signed_added - low,
                }[kind]),
            ]
            return

        def at(signal, i):
            return signal[min(i, len(signal) - 1)]
        width = len(self.p)
        if kind == "pair":
            positions = [(PAIR_LOW, gate[1], copy[0], gate[0], 1)]
            positions += [(PAIR, at(copy, i - 1), at(copy, i), gate[0], gate[1])
                for i in range(1, width)]
        elif kind == "signed pair":
            positions = [(CARRY_IN, gate[1], 0, 0, 1)]
            positions += [(SIGNED_PAIR, at(copy, i), at(copy, i - 1) if i else 0, gate[0], gate[1])
                for i in range(width)]
        elif kind == "bit":
            positions = [(ADD_GATED, at(added, i), at(copy, i), gate[0], 1) for i in range(width)]
        else:
            positions = [(CARRY_IN, gate[0], 0, 0, 1)]
            positions += [(SUBTRACT_GATED, at(added, i), at(copy, i), gate[0], 1)
                for i in range(width)]
        self.row = row = CarryRow(positions)
        self.comb += self.p.eq(row.sum[-width:])

# Operands -----------------------------------------------------------------------------------------

def rows(bits):
    """Pipeline steps of a multiplication by a number of that many bits, after the operands'
    registers."""
    if bits < MIN_BITS:
        raise ValueError(f"multiplier: operand of {bits} bits: allowed are {MIN_BITS} and more")
    return bits - 1


class WideOperand(LiteXModule):
    """x, registered, for all the multipliers that take it: ``at[n]`` in step n of them."""

    def __init__(self, x, steps):
        self.at = [Signal((len(x), True), reset_less=True) for _ in range(steps)]

        # # #

        for delayed, earlier in zip(self.at, [x, *self.at], strict=False):
            self.sync += delayed.eq(earlier)


class NarrowOperand(LiteXModule):
    """d, registered, for all the multipliers that take it: ``at[n]``, the bits of it that step n of
    them takes."""

    def __init__(self, d):
        steps = rows(len(d))

        # # #

        # The pair row takes bit 1 inverted.
        value = Signal(len(d))
        self.comb += value.eq(d ^ 2 if len(d) > MIN_BITS else d)
        self.at = []
        for n in range(steps):
            chain = [value[:2] if n == 0 else value[n + 1]]
            for _ in range(n + 1):
                delayed = Signal(len(chain[0]), reset_less=True)
                self.sync += delayed.eq(chain[-1])
                chain.append(delayed)
            self.at.append(chain[-1])

# NarrowMultiplier ---------------------------------------------------------------------------------

class NarrowMultiplier(LiteXModule):
    """Signed product; ``p`` follows the operands' inputs by ``latency`` clocks.

    Parameters
    ----------
    x : WideOperand
        Of as many steps as d has, at least.
    d : NarrowOperand
    primitive : bool
        See Row.
    """
    def __init__(self, x, d, primitive=False):
        steps = len(d.at)
        self.latency = 1 + steps
        bits = len(x.at[0])
        self.p = Signal((bits + steps + 1, True))

        # # #

        # Of the total so far, the lowest bits are finished; rows add to the upper ones.
        finished, before = (), None
        for n in range(steps):
            if n == 0:
                kind = "pair" if steps > 1 else "signed pair"
            else:
                kind = "bit" if n < steps - 1 else "sign"
            row = Row(kind, x.at[n], d.at[n], before, primitive)
            self.submodules += row
            sums  = Signal(len(row.p))
            total = Signal(len(finished) + len(sums), reset_less=True)
            self.comb += sums.eq(row.p)
            self.sync += total.eq(Cat(*finished, sums))
            finished, before = [*total[:-bits]], total[-bits:]
        self.comb += self.p.eq(total)
