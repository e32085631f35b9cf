"""A core as Verilog: bare, for counting, and between registers, for timing.

::

    d --> shift register --> register --> core --> register --> XOR chain --> q

Two pins and a clock, however wide the core is: no path leads from or to a pin, and nothing of the
core can be optimized away.
"""

from litex.gen import LiteXModule
from litex.gen.fhdl.verilog import convert
from litex.soc.interconnect import stream
from migen import C, Cat, ClockDomain, Signal
from migen.fhdl.tools import list_targets

BARE, TIMED = "core", "timed"   # Names of the Verilog modules.


def ports(core, fragment):
    """(inputs, outputs) of a core: the fields of its endpoints and its other signals whose names do
    not begin with an underscore, an output being what its fragment drives."""
    signals = {}
    for name, value in vars(core).items():
        if isinstance(value, stream.Endpoint):
            signals |= {id(signal): signal for signal in value.flatten()}
        elif isinstance(value, Signal) and not name.startswith("_"):
            signals[id(value)] = value   # It may have two names.
    driven = list_targets(fragment.comb)
    for statements in fragment.sync.values():
        driven |= list_targets(statements)
    signals = signals.values()
    return ([s for s in signals if s not in driven], [s for s in signals if s in driven])


class Bare(LiteXModule):
    """The clock domain and the ports as they are."""

    def __init__(self, inputs, outputs):
        self.cd_sys = ClockDomain("sys")
        self.ios = {self.cd_sys.clk, self.cd_sys.rst, *inputs, *outputs}


class Timed(LiteXModule):
    """Registers round the core; its reset comes from one as well."""

    def __init__(self, inputs, outputs):
        self.cd_sys = ClockDomain("sys")
        self.cd_pin = ClockDomain("pin", reset_less=True)
        self.clk = Signal()
        self.d = Signal()
        self.q = Signal()
        self.ios = {self.clk, self.d, self.q}

        # # #

        inputs = Cat(*inputs, self.cd_sys.rst)
        shifted = Signal(len(inputs))
        registered = Signal(len(inputs))
        self.comb += [
            self.cd_sys.clk.eq(self.clk),
            self.cd_pin.clk.eq(self.clk),
            inputs.eq(registered),
        ]
        outputs = Cat(*outputs)
        taken = Signal(len(outputs))
        chain = Signal(len(outputs))
        self.sync.pin += [
            shifted.eq(Cat(self.d, shifted)),
            registered.eq(shifted),
            taken.eq(outputs),
            chain.eq(taken ^ Cat(C(0, 1), chain[:-1])),
            self.q.eq(chain[-1]),
        ]


def verilog(core, timed=False):
    """Verilog of a core (not used before), its module called BARE or TIMED; and its data files, a
    dict name -> text. The same for the same core in every run."""
    fragment = core.get_fragment()
    top = (Timed if timed else Bare)(*ports(core, fragment))
    fragment += top.get_fragment()
    result = convert(fragment, top.ios, name=TIMED if timed else BARE)
    # LiteX writes the date into comments.
    lines = str(result).splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("//")), dict(result.data_files)
