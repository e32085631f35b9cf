"""Ports of 32 bits on a DRAM controller whose words are wider.

A controller of DDR3 moves a burst of 128 bits a command. LiteDRAM's own converter waits with what
it has of a burst until another is begun or it is told to flush; here nothing waits longer than a
few clocks, and a write is acknowledged as the accelerator counts on: when the last word of a series
is taken, the controller has taken all of it (gateware/dma.py, ``idle``).
"""

from litedram.common import LiteDRAMNativePort
from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

# A burst is open for further words of it that many clocks. Shorter than a read takes: two reads of
# which the second was issued since the first had come back never share a burst.
OPEN_CLOCKS = 4

# WideReadPort -------------------------------------------------------------------------------------

class WideReadPort(LiteXModule):
    """Consecutive commands for words of one burst are one command of ``wide``.

    Parameters
    ----------
    wide : LiteDRAMNativePort
        A read port; its data are a power of two of ``width``.
    width : int
        Bits of ``port``.
    bursts : int
        Of ``wide`` in flight, or kept until they are taken.
    words : int
        Of ``port`` in flight, or kept.

    Attributes
    ----------
    port : LiteDRAMNativePort
        Read port of ``width`` bits: word n lies in burst n // ratio, word 0 lowest.
    """
    def __init__(self, wide, width=32, bursts=16, words=32):
        ratio, bits = _ratio(wide, width)
        self.port = port = LiteDRAMNativePort("read", wide.address_width + bits, width)

        # # #

        # Commands: ``order`` has for each word which of its burst it is, and whether that is new. -
        self.order = order = stream.SyncFIFO([("place", bits), ("new", 1)], words)
        burst   = Signal(wide.address_width)    # Of the last command,
        left    = Signal(max=OPEN_CLOCKS + 1)   # open that long.
        same    = Signal()
        room    = Signal(max=bursts + 1, reset=bursts)
        taken   = Signal()
        release = Signal()
        self.comb += [
            same.eq((left != 0) & (port.cmd.addr[bits:] == burst)),
            wide.cmd.valid.eq(port.cmd.valid & ~same & order.sink.ready & (room != 0)),
            wide.cmd.addr.eq(port.cmd.addr[bits:]),
            taken.eq(wide.cmd.valid & wide.cmd.ready),
            port.cmd.ready.eq(order.sink.ready & (same | ((room != 0) & wide.cmd.ready))),
            order.sink.valid.eq(taken | (port.cmd.valid & same)),
            order.sink.place.eq(port.cmd.addr[:bits]),
            order.sink.new.eq(~same),
        ]
        self.sync += [
            If(left != 0, left.eq(left - 1)),
            If(port.cmd.valid & port.cmd.ready,
                left.eq(OPEN_CLOCKS),
                burst.eq(port.cmd.addr[bits:]),
            ),
            room.eq(room + release - taken),
        ]

        # Data: the first word of a burst takes it, the others come from a copy. -------------------
        self.data = data = stream.SyncFIFO([("data", wide.data_width)], bursts)
        kept, here = Signal(wide.data_width, reset_less=True), Signal(wide.data_width)
        self.comb += [
            wide.rdata.connect(data.sink),
            here.eq(Mux(order.source.new, data.source.data, kept)),
            Case(order.source.place, {i: port.rdata.data.eq(here[width*i:width*(i + 1)])
                for i in range(ratio)}),
            port.rdata.valid.eq(order.source.valid & (data.source.valid | ~order.source.new)),
            order.source.ready.eq(port.rdata.valid & port.rdata.ready),
            data.source.ready.eq(order.source.ready & order.source.new),
            release.eq(data.source.ready),
        ]
        self.sync += If(release, kept.eq(data.source.data))

# WideWritePort ------------------------------------------------------------------------------------

class WideWritePort(LiteXModule):
    """Words of one burst, up to its highest, are one masked write of ``wide``.

    Parameters
    ----------
    wide : LiteDRAMNativePort
        A write port; its data are a power of two of ``width``.
    width : int
        Bits of ``port``.
    bursts : int
        That may wait for the controller.

    Attributes
    ----------
    port : LiteDRAMNativePort
        Write port of ``width`` bits: word n lies in burst n // ratio, word 0 lowest. Its user has
        the data ready in the clock after the command at the latest, as LiteDRAM asks for. The data
        of a word after which no command follows are taken when the controller has taken all.
    """
    def __init__(self, wide, width=32, bursts=4):
        ratio, bits = _ratio(wide, width)
        self.port = port = LiteDRAMNativePort("write", wide.address_width + bits, width)

        # # #

        # 1. The word in work: its command, and the words of its burst before it ------------------
        active   = Signal()
        address  = Signal(port.address_width)
        place    = address[:bits]
        gathered = Signal(wide.data_width, reset_less=True)
        mask     = Signal(wide.data_width//8)
        complete, complete_mask = Signal(wide.data_width), Signal(wide.data_width//8)
        self.comb += [
            complete.eq(gathered),
            complete_mask.eq(mask),
            Case(place, {i: [
                complete[width*i:width*(i + 1)].eq(port.wdata.data),
                complete_mask[width//8*i:width//8*(i + 1)].eq(port.wdata.we),
            ] for i in range(ratio)}),
        ]

        # 2. Bursts that wait for the controller --------------------------------------------------
        self.commands = commands = stream.SyncFIFO([("addr", wide.address_width)], bursts)
        self.data     = data     = stream.SyncFIFO(
            [("data", wide.data_width), ("we", wide.data_width//8)], bursts)
        push = Signal()
        self.comb += [
            commands.sink.valid.eq(push),
            commands.sink.addr.eq(address[bits:]),
            commands.source.connect(wide.cmd, omit={"we", "last", "first"}),
            wide.cmd.we.eq(1),
            data.sink.valid.eq(push),
            data.sink.data.eq(complete),
            data.sink.we.eq(complete_mask),
            data.source.connect(wide.wdata, omit={"last", "first"}),
        ]

        # 3. What becomes of it: joined by the next word, or the last of its burst ----------------
        waited = Signal(max=OPEN_CLOCKS + 1)
        pushed = Signal()      # It is in the queue; its data are not yet taken from the user.
        joins  = Signal()
        ends   = Signal()
        self.comb += [
            joins.eq(port.cmd.valid & (port.cmd.addr[bits:] == address[bits:])),
            ends.eq((place == ratio - 1) | (port.cmd.valid & ~joins) | (waited == OPEN_CLOCKS)),
            push.eq(active & port.wdata.valid & ~pushed & ends & data.sink.ready),
            If(~active,
                port.cmd.ready.eq(1)
            ).Elif(pushed | push,
                # Another command: this word is not the last. Or all is written.
                port.wdata.ready.eq(port.cmd.valid | (pushed & (data.level == 0))),
                port.cmd.ready.eq(port.cmd.valid),
            ).Elif(joins & ~ends,
                port.wdata.ready.eq(1),
                port.cmd.ready.eq(port.wdata.valid),
            ),
        ]
        self.sync += [
            If(waited != OPEN_CLOCKS, waited.eq(waited + 1)),
            If(push, pushed.eq(1)),
            If(port.wdata.valid & port.wdata.ready,
                active.eq(0),
                pushed.eq(0),
                If(pushed | push,
                    mask.eq(0),
                ).Else(
                    gathered.eq(complete),
                    mask.eq(complete_mask),
                ),
            ),
            If(port.cmd.valid & port.cmd.ready,
                active.eq(1),
                address.eq(port.cmd.addr),
                waited.eq(0),
            ),
        ]

# Ports --------------------------------------------------------------------------------------------

def _ratio(wide, width):
    ratio = wide.data_width//width
    if wide.data_width % width or ratio < 2 or ratio & (ratio - 1):
        raise ValueError(f"port of {width} bits on one of {wide.data_width}: allowed are 2, 4, 8 "
                         f"... times as many")
    return ratio, log2_int(ratio)


def narrow_port(parent, crossbar, mode, width=32):
    """A port of ``width`` bits of a LiteDRAM crossbar whose words are as wide, or wider. ``parent``
    (a LiteXModule) gets the converter. mode: "read" or "write"."""
    if crossbar.controller.data_width <= width:
        return crossbar.get_port(mode=mode, data_width=width)
    converter = {"read": WideReadPort, "write": WideWritePort}[mode](crossbar.get_port(mode=mode),
        width)
    parent.submodules += converter
    return converter.port
