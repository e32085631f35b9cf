"""A pipeline written as a sequence of stages, and small helpers for its arithmetic."""

from functools import reduce
from operator import or_

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *
from migen.fhdl.bitcontainer import value_bits_sign

# Pipeline -----------------------------------------------------------------------------------------

class Pipeline(LiteXModule):
    """Registers between a sink and a source that all move together.

    A subclass calls ``stage`` for every rank of registers, then ``finish``. The pipeline moves when
    its last rank is empty or taken: one beat a clock, and only ``valid`` has a reset.

    Parameters
    ----------
    sink_layout, source_layout : list
        Layouts of the endpoints; ``last`` goes along with each beat.

    Attributes
    ----------
    latency : int
        Stages so far.
    """
    def __init__(self, sink_layout, source_layout):
        self.sink    = stream.Endpoint(sink_layout)
        self.source  = stream.Endpoint(source_layout)
        self.latency = 0

        # # #

        self._ce    = Signal()
        self._valid = self.sink.valid
        self._last  = self.sink.last

    def stage(self, *values):
        """Register all values that later stages use (expressions, or lists of them; the rest is
        not carried on). Returns them registered, same shape, same width and sign."""
        valid = Signal()
        last  = Signal(reset_less=True)
        self.sync += If(self._ce, valid.eq(self._valid), last.eq(self._last))
        self._valid, self._last = valid, last
        self.latency += 1
        return self._register(list(values))

    def _register(self, value):
        if isinstance(value, (list, tuple)):
            return [self._register(v) for v in value]
        register = Signal(value_bits_sign(value), reset_less=True)
        self.sync += If(self._ce, register.eq(value))
        return register

    def signed(self, value, width):
        """``value`` cut or sign-extended to a signed signal of ``width`` bits (combinational)."""
        out = Signal((width, True))
        self.comb += out.eq(value)
        return out

    def unsigned(self, value, width=None):
        """The bits of ``value`` (from bit 0) as an unsigned signal (combinational)."""
        out = Signal(value_bits_sign(value)[0] if width is None else width)
        self.comb += out.eq(value)
        return out

    def finish(self, **fields):
        """Drive the source's fields from the last stage's values."""
        self.comb += [
            self.source.valid.eq(self._valid),
            self.source.last.eq(self._last),
            self._ce.eq(self.source.ready | ~self._valid),
            self.sink.ready.eq(self._ce),
        ]
        self.comb += [getattr(self.source, name).eq(value) for name, value in fields.items()]

# Helpers ------------------------------------------------------------------------------------------

def any_of(values):
    """OR of a list of expressions."""
    return reduce(or_, values)


def leading_bit(value):
    """Position + 1 of the highest set bit, 0 for 0: an expression for ``value``, a Signal."""
    # Each result bit is the OR of the one-hot positions that have it; found with a priority chain.
    out = 0
    for i in range(len(value)):
        out = Mux(value[i], i + 1, out)
    return out
