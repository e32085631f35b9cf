"""DRAM access of the engines: LiteDRAM's DMA cores behind a bounds check.

An address is a word offset into the model's region. It is compared with ``region_words`` and
moved by ``region_base`` in one registered stage before the DMA core, so that an access outside the
region is never issued: the offending address stays there and ``error`` rises instead. ``ready``
comes from a register: no engine waits, through gates, for the DRAM controller's arbiter.

``stop`` ends everything cleanly: no new access starts, those in flight are let through to their
end (read data is thrown away), then ``idle`` rises.
"""

from litedram.frontend.dma import LiteDRAMDMAReader, LiteDRAMDMAWriter
from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec.formats import WORD_BITS

OFFSET_BITS = 32

# Bounds -------------------------------------------------------------------------------------------

class _Bounds(LiteXModule):
    """The registered stage: offset (and payload) in, DRAM address (and payload) out."""

    def __init__(self, address_width, payload):
        # What comes while the stage waits is kept in front of it.
        self.front        = front  = ResetInserter()(
            stream.PipeReady([("address", OFFSET_BITS), *payload]))
        self.sink         = front.sink
        self.source       = source = stream.Endpoint([("address", address_width), *payload])
        self.region_base  = Signal(OFFSET_BITS)
        self.region_words = Signal(OFFSET_BITS)
        self.stop         = Signal()
        self.error        = Signal()
        self.offset       = Signal(OFFSET_BITS)   # The offset compared, the offender after `error`.
        self.pending      = Signal()

        # # #

        # Compare, beside a copy of the offset.
        sink = front.source
        valid, last, outside = Signal(), Signal(), Signal()
        forward = Signal()
        self.comb += [
            self.error.eq(valid & outside),
            forward.eq(valid & ~outside & (source.ready | ~source.valid)),
            sink.ready.eq((~valid | forward) & ~self.stop),
            front.reset.eq(self.stop),      # It has not been issued.
            self.pending.eq(~front.sink.ready | valid | source.valid),
        ]
        self.sync += [
            If(self.stop,
                valid.eq(0)   # It has not been issued.
            ).Elif(sink.ready,
                valid.eq(sink.valid),
            ),
            If(sink.ready,
                last.eq(sink.last),
                outside.eq(sink.address >= self.region_words),
                self.offset.eq(sink.address),
            ),
        ]

        # Move into the region.
        self.sync += If(source.ready | ~source.valid,
            source.valid.eq(forward & ~self.stop),
            source.last.eq(last),
            source.address.eq(self.offset + self.region_base),
        )
        for name, width in payload:
            kept = Signal(width, name=name)
            self.sync += [
                If(sink.ready, kept.eq(getattr(sink, name))),
                If(source.ready | ~source.valid, getattr(source, name).eq(kept)),
            ]

# RegionReader -------------------------------------------------------------------------------------

class RegionReader(LiteXModule):
    """Reads words of the region, in order, ``fifo_depth`` of them ahead.

    Parameters
    ----------
    port : LiteDRAMNativePort
        Read port, 32 bits wide.
    fifo_depth : int
        Accesses in flight, and words kept until they are taken.

    Attributes
    ----------
    sink : Endpoint("address")
        Word offsets; ``last`` comes back with the data.
    source : Endpoint("data")
        Words.
    region_base, region_words : Signal(32)
        In: the region in DRAM words; stable while not idle.
    stop : Signal
        In: end all accesses.
    error, offset : Signal, Signal(32)
        Out: an offset is at or beyond region_words, and which; stays until ``stop``.
    idle : Signal
        Out: nothing in flight.
    moved : Signal
        Out: an access was issued or a word came back.
    """
    def __init__(self, port, fifo_depth=32):
        _check_port(port)
        self.source       = source = stream.Endpoint([("data", WORD_BITS)])
        self.idle         = Signal()
        self.moved        = Signal()

        # # #

        self.bounds       = bounds = _Bounds(port.address_width, [])
        self.sink         = bounds.sink
        self.region_base  = bounds.region_base
        self.region_words = bounds.region_words
        self.stop         = bounds.stop
        self.error        = bounds.error
        self.offset       = bounds.offset

        self.dma = dma = LiteDRAMDMAReader(port, fifo_depth=fifo_depth)
        self.comb += [
            bounds.source.connect(dma.sink),
            dma.source.connect(source, omit={"valid", "ready"}),
            source.valid.eq(dma.source.valid & ~self.stop),
            dma.source.ready.eq(source.ready | self.stop),
        ]

        # Accesses in flight: issued or about to be, and not yet taken from the FIFO.
        issued, taken = Signal(), Signal()
        in_flight     = Signal(max=fifo_depth + 1)
        self.comb += [
            issued.eq(dma.sink.valid & dma.sink.ready),
            taken.eq(dma.source.valid & dma.source.ready),
            self.moved.eq(issued | taken),
            self.idle.eq(~bounds.pending & (in_flight == 0)),
        ]
        self.sync += [
            If(issued & ~taken, in_flight.eq(in_flight + 1)),
            If(taken & ~issued, in_flight.eq(in_flight - 1)),
        ]

# RegionWriter -------------------------------------------------------------------------------------

class RegionWriter(LiteXModule):
    """Writes words of the region, in order.

    Parameters
    ----------
    port : LiteDRAMNativePort
        Write port, 32 bits wide.
    fifo_depth : int
        Accesses in flight.

    Attributes
    ----------
    sink : Endpoint("address", "data")
        Word offsets and words.
    idle : Signal
        Out: the DRAM controller has taken every word: a read issued from now on sees them.
    region_base, region_words, stop, error, offset, moved
        As in RegionReader.
    """
    def __init__(self, port, fifo_depth=16):
        _check_port(port)
        self.idle         = Signal()
        self.moved        = Signal()

        # # #

        self.bounds       = bounds = _Bounds(port.address_width, [("data", WORD_BITS)])
        self.sink         = bounds.sink
        self.region_base  = bounds.region_base
        self.region_words = bounds.region_words
        self.stop         = bounds.stop
        self.error        = bounds.error
        self.offset       = bounds.offset

        self.dma = dma = LiteDRAMDMAWriter(port, fifo_depth=fifo_depth)
        issued, written = Signal(), Signal()
        self.comb += [
            bounds.source.connect(dma.sink),
            issued.eq(dma.sink.valid & dma.sink.ready),
            written.eq(port.wdata.valid & port.wdata.ready),
            self.moved.eq(issued | written),
            self.idle.eq(~bounds.pending & (dma.fifo.level == 0)),
        ]


def _check_port(port):
    if port.data_width != WORD_BITS:
        raise ValueError(f"DRAM port of {port.data_width} bits: the accelerator takes {WORD_BITS}")
