"""Storage formats in hardware: runs of blocks of spec/formats.py, format at run time.

::

    BlockDecoder    words --> WordsToBlocks --+--> ZFPeDecoder16 --+--> buffer --> 4 x int16
                                              +--> widen ----------+

    BlockEncoder    4 x int16 --+--> ZFPeEncoder16 --+--> BlocksToWords --> words
                                +--> saturate -------+

Both take a block a clock as long as DRAM gives or takes the words. The two branches never hold
blocks at the same time, for the format is static while there are any.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec.formats import LANES, RAW8, RAW16, VALUE_BITS, WORD_BITS, ZFPE
from .gearbox import RUN_LEN_BITS, BlocksToWords, WordsToBlocks
from .zfpe import ZFPeDecoder16, ZFPeEncoder16

FORMAT_BITS = 13
VECTOR      = [("data", LANES*VALUE_BITS)]

def _format(module):
    """The FORMAT input and its fields, by which it may be driven as well."""
    module.format = Signal(FORMAT_BITS)
    module.kind   = module.format[0:4]
    module.bits   = module.format[8:13]

# BlockDecoder -------------------------------------------------------------------------------------

class BlockDecoder(LiteXModule):
    """
    Attributes
    ----------
    format : Signal(13)
        In: code of a Format; static while words or blocks are inside. Not checked here.
    run_len : Signal(20)
        In: blocks per run, not 0; static alike.
    clear : Signal
        In: pulse; drops all words and blocks and waits for the first word of a run.
    sink : Endpoint("data")
        32-bit words, run after run, each from its first word.
    source : Endpoint("data")
        Four int16, lane 0 lowest; ``last`` on the last block of a run.
    """
    def __init__(self):
        _format(self)
        self.run_len = Signal(RUN_LEN_BITS)
        self.length  = self.run_len
        self.clear   = Signal()
        self.sink    = stream.Endpoint([("data", WORD_BITS)])
        self.source  = stream.Endpoint(VECTOR)

        # # #

        clearable    = ResetInserter()
        self.gearbox = gearbox = clearable(WordsToBlocks())
        self.zfpe    = zfpe    = clearable(ZFPeDecoder16())
        # Cuts the path of ready from the memories to the clock enables.
        self.buffer  = buffer  = clearable(stream.Buffer(VECTOR, pipe_ready=True))
        self.comb += [
            *(core.reset.eq(self.clear) for core in (gearbox, zfpe, buffer)),
            gearbox.bits.eq(self.bits),
            gearbox.run_len.eq(self.run_len),
            zfpe.bits.eq(self.bits),
            self.sink.connect(gearbox.sink, omit={"first"}),
            buffer.source.connect(self.source, omit={"first"}),
        ]

        data  = gearbox.source.data
        bytes = [data[8*i:8*(i + 1)] for i in range(LANES)]
        sign  = self.kind == RAW8
        widened = Cat(*(Cat(byte, Replicate(byte[7] & sign, 8)) for byte in bytes))
        self.comb += If(self.kind == ZFPE,
            gearbox.source.connect(zfpe.sink),
            zfpe.source.connect(buffer.sink),
        ).Else(
            gearbox.source.connect(buffer.sink, omit={"data"}),
            buffer.sink.data.eq(Mux(self.kind == RAW16, data, widened)),
        )

# BlockEncoder -------------------------------------------------------------------------------------

class BlockEncoder(LiteXModule):
    """
    Attributes
    ----------
    format : Signal(13)
        In: code of a Format; static while blocks or words are inside. Not checked here.
    clear : Signal
        In: pulse; drops all blocks and words.
    sink : Endpoint("data")
        Four int16, lane 0 lowest; ``last`` on the last block of a run.
    source : Endpoint("data")
        32-bit words; ``last`` on the last word of a run.
    """
    def __init__(self):
        _format(self)
        self.clear  = Signal()
        self.sink   = stream.Endpoint(VECTOR)
        self.source = stream.Endpoint([("data", WORD_BITS)])

        # # #

        clearable    = ResetInserter()
        self.zfpe    = zfpe    = clearable(ZFPeEncoder16())
        self.narrow  = narrow  = clearable(stream.Buffer(VECTOR))
        self.gearbox = gearbox = clearable(BlocksToWords())
        self.comb += [
            *(core.reset.eq(self.clear) for core in (gearbox, zfpe, narrow)),
            gearbox.bits.eq(self.bits),
            zfpe.bits.eq(self.bits),
        ]

        def saturated(value):
            """Low byte of an int16 after saturation to raw8 or raw8u."""
            sign, high = value[-1], value[7:]
            as_raw8    = Mux((high == 0) | (high == 2**len(high) - 1), value[:8],
                Cat(Replicate(~sign, 7), sign))
            as_raw8u   = Mux(value[8:] == 0, value[:8], Replicate(~sign, 8))
            return Mux(self.kind == RAW8, as_raw8, as_raw8u)
        data     = self.sink.data
        narrowed = Cat(*(saturated(data[VALUE_BITS*i:VALUE_BITS*(i + 1)]) for i in range(LANES)))
        self.comb += [
            If(self.kind == ZFPE,
                self.sink.connect(zfpe.sink),
                zfpe.source.connect(gearbox.sink),
            ).Else(
                self.sink.connect(narrow.sink, omit={"data"}),
                narrow.sink.data.eq(Mux(self.kind == RAW16, data, narrowed)),
                narrow.source.connect(gearbox.sink),
            ),
            gearbox.source.connect(self.source),
        ]
