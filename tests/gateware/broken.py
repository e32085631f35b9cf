"""Cores with one fault each, to be put in the place of the sound ones."""

from contextlib import contextmanager
from unittest import mock

from litex.soc.interconnect import stream
from migen import Cat

from litepress.gateware import block
from litepress.soc import alone


class Crossed(block.ZFPeDecoder16):
    """The decoder of zfpe with two lanes crossed."""

    def __init__(self):
        super().__init__()
        sound, self.source = self.source, stream.Endpoint(block.VECTOR)
        data = sound.data
        self.comb += [
            sound.connect(self.source, omit={"data"}),
            self.source.data.eq(Cat(data[16:32], data[:16], data[32:])),
        ]


class Loose(block.ZFPeImprovedEncoder):
    """The encoder of zfpi with one input that is always 0."""

    def __init__(self):
        super().__init__()
        sound, self.sink = self.sink, stream.Endpoint(block.VECTOR)
        self.comb += [
            self.sink.connect(sound, omit={"data"}),
            sound.data.eq(Cat(self.sink.data[:37], 0, self.sink.data[38:])),
        ]


@contextmanager
def broken(**cores):
    """Builds within it take the given classes for those of these names in gateware/block.py."""
    alone.build.cache_clear()       # It knows builds by their parameters.
    try:
        with mock.patch.multiple(block, **cores):
            yield
    finally:
        alone.build.cache_clear()
