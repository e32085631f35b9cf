"""Storage formats in hardware: runs of blocks of spec/formats.py, format at run time.

::

    BlockDecoder    words --> WordsToBlocks --+--> ZFPeDecoder16 --------+--> buffer --> 4 x int16
                                              +--> ZFPeImprovedDecoder --+
                                              +--> DeltaDecoder ---------+
                                              +--> widen, look up -------+

    BlockEncoder    4 x int16 --+--> ZFPeEncoder16 --------+--> BlocksToWords --> words
                                +--> ZFPeImprovedEncoder --+
                                +--> saturate -------------+

Both take a block a clock as long as DRAM gives or takes the words. The branches never hold blocks
at the same time, for the format is static while there are any.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec.formats import (
    CODEBOOKS,
    DELTA,
    LANES,
    RAW8,
    RAW16,
    VALUE_BITS,
    WORD_BITS,
    ZFPE,
    ZFPI_KINDS,
)
from .delta.decoder import DeltaDecoder
from .gearbox import BLOCK_BITS, RUN_LEN_BITS, BlocksToWords, WordsToBlocks
from .zfpe import ZFPeDecoder16, ZFPeEncoder16, ZFPeImprovedDecoder, ZFPeImprovedEncoder

FORMAT_BITS = 13
VECTOR      = [("data", LANES*VALUE_BITS)]

def _format(module):
    """The FORMAT input and its fields, by which it may be driven as well."""
    module.format = Signal(FORMAT_BITS)
    module.kind   = module.format[0:4]
    module.bits   = module.format[8:13]

def _improved(module, core):
    """Drive an improved core's format; returns whether the format is one of its own."""
    def any_kind(wanted):
        return Reduce("OR", [module.kind == kind for kind, value in ZFPI_KINDS.items()
            if wanted(*value)])
    module.comb += [
        core.no_sign.eq(any_kind(lambda exponent, unsigned: unsigned)),
        core.narrow.eq(any_kind(lambda exponent, unsigned: exponent == 2)),
    ]
    return any_kind(lambda exponent, unsigned: True)

def _codecs(module, classic, improved):
    """Build the codecs of the two classes, either may be None: [(the format is its own, codec)]."""
    clearable = ResetInserter()
    codecs    = []
    if classic is not None:
        module.zfpe = codec = clearable(classic())
        codecs.append((module.kind == ZFPE, codec))
    if improved is not None:
        module.zfpi = codec = clearable(improved())
        codecs.append((_improved(module, codec), codec))
    for _, codec in codecs:
        module.comb += [codec.reset.eq(module.clear), codec.bits.eq(module.bits)]
    return codecs

def _first(cases, otherwise):
    """If .. Elif .. Else: [(condition, statements)], statements."""
    for condition, statements in reversed(cases):
        otherwise = [If(condition, *statements).Else(*otherwise)]
    return otherwise

# BlockDecoder -------------------------------------------------------------------------------------

class BlockDecoder(LiteXModule):
    """
    Parameters
    ----------
    classic, improved : bool
        With the codec of ``zfpeN``, of ``zfpiN``. Without it, its formats must not be given: see
        FormatCheck.
    delta, codebooks : bool
        With that of ``deltaN``, of ``potN`` and ``apot4``.

    Attributes
    ----------
    format : Signal(13)
        In: code of a Format; static while words or blocks are inside. Not checked here.
    run_len : Signal(20)
        In: blocks per run, not 0; static alike.
    segment, run_words : Signal
        In: of delta formats, words of references in a run, and words of a run; static alike.
    clear : Signal
        In: pulse; drops all words and blocks and waits for the first word of a run.
    sink : Endpoint("data")
        32-bit words, run after run, each from its first word.
    source : Endpoint("data")
        Four int16, lane 0 lowest; ``last`` on the last block of a run.
    """
    def __init__(self, classic=True, improved=True, delta=True, codebooks=True):
        _format(self)
        self.run_len   = Signal(RUN_LEN_BITS)
        self.segment   = Signal(9)
        self.run_words = Signal(RUN_LEN_BITS)
        self.length  = self.run_len
        self.clear   = Signal()
        self.sink    = stream.Endpoint([("data", WORD_BITS)])
        self.source  = stream.Endpoint(VECTOR)

        # # #

        clearable    = ResetInserter()
        self.gearbox = gearbox = clearable(WordsToBlocks())
        codecs       = _codecs(self, ZFPeDecoder16 if classic else None,
            ZFPeImprovedDecoder if improved else None)
        # Cuts the path of ready from the memories to the clock enables.
        self.buffer  = buffer  = clearable(stream.Buffer(VECTOR, pipe_ready=True))
        self.comb += [
            *(core.reset.eq(self.clear) for core in (gearbox, buffer)),
            gearbox.bits.eq(self.bits),
            gearbox.run_len.eq(self.run_len),
            buffer.source.connect(self.source, omit={"first"}),
        ]

        data  = gearbox.source.data
        bytes = [data[8*i:8*(i + 1)] for i in range(LANES)]
        sign  = self.kind == RAW8
        widened = Cat(*(Cat(byte, Replicate(byte[7] & sign, 8)) for byte in bytes))
        plain   = Signal(LANES*VALUE_BITS)
        self.comb += plain.eq(Mux(self.kind == RAW16, data, widened))
        if codebooks:
            for (kind, bits), magnitudes in CODEBOOKS.items():
                codes = [data[bits*i:bits*(i + 1)] for i in range(LANES)]
                self.comb += If((self.kind == kind) & (self.bits == bits),
                    plain.eq(Cat(*(self._look_up(code, magnitudes) for code in codes)))
                )
        words    = self.sink.connect(gearbox.sink, omit={"first"})
        branches = [(named, [
            *words,
            gearbox.source.connect(codec.sink),
            codec.source.connect(buffer.sink),
        ]) for named, codec in codecs]
        if delta:
            self.delta = codec = clearable(DeltaDecoder())
            self.comb += [
                codec.reset.eq(self.clear),
                codec.bits.eq(self.bits),
                codec.segment.eq(self.segment),
                codec.words.eq(self.run_words),
            ]
            branches.append((self.kind == DELTA, [
                self.sink.connect(codec.sink, omit={"first"}),
                codec.payload.connect(gearbox.sink, omit={"first"}),
                gearbox.source.connect(codec.blocks, omit={"first"}),
                codec.source.connect(buffer.sink, omit={"first"}),
            ]))
        self.comb += _first(branches, [
            *words,
            gearbox.source.connect(buffer.sink, omit={"data"}),
            buffer.sink.data.eq(plain),
        ])

    def _look_up(self, code, magnitudes):
        """The weight of a code, VALUE_BITS wide."""
        magnitude, weight = Signal(max=magnitudes[-1] + 1), Signal((VALUE_BITS, True))
        self.comb += [
            Case(code[:-1], {place: magnitude.eq(value) for place, value in enumerate(magnitudes)}),
            weight.eq(Mux(code[-1], -magnitude, magnitude)),
        ]
        return weight

# BlockEncoder -------------------------------------------------------------------------------------

class BlockEncoder(LiteXModule):
    """
    Parameters
    ----------
    classic, improved : bool
        With the codec of ``zfpeN``, of ``zfpiN``. Without it, its formats must not be given: see
        FormatCheck.

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
    def __init__(self, classic=True, improved=True):
        _format(self)
        self.clear  = Signal()
        self.sink   = stream.Endpoint(VECTOR)
        self.source = stream.Endpoint([("data", WORD_BITS)])

        # # #

        clearable    = ResetInserter()
        codecs       = _codecs(self, ZFPeEncoder16 if classic else None,
            ZFPeImprovedEncoder if improved else None)
        self.narrow  = narrow  = clearable(stream.Buffer(VECTOR))
        # Cuts the path of ready from DRAM to the clock enables.
        self.pipe    = pipe    = clearable(stream.PipeReady([("data", BLOCK_BITS)]))
        self.gearbox = gearbox = clearable(BlocksToWords())
        self.comb += [
            *(core.reset.eq(self.clear) for core in (gearbox, pipe, narrow)),
            gearbox.bits.eq(self.bits),
            pipe.source.connect(gearbox.sink),
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
            *_first(
                [(named, [
                    self.sink.connect(codec.sink),
                    codec.source.connect(pipe.sink),
                ]) for named, codec in codecs], [
                    self.sink.connect(narrow.sink, omit={"data"}),
                    narrow.sink.data.eq(Mux(self.kind == RAW16, data, narrowed)),
                    narrow.source.connect(pipe.sink),
                ]),
            gearbox.source.connect(self.source),
        ]
