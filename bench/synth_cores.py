"""The cores that `make synth` measures, and what was published about others of their kind."""

from dataclasses import dataclass, field
from importlib import import_module

LEAST_MHZ = 100   # Of every core, whatever the seed.

ZFPE, EBPC, BLOCK = "zfpe", "ebpc", "block"
DECODER, ENCODER = "decoder", "encoder"

PUBLISHED = {
    ZFPE: "Lim & Jun 2022: below 6 % of an 85F's LUTs a module, 1 value per clock",
    EBPC: "Cavigelli et al. 2019: 65 nm, 2.8 + 3.0 kGE at 600 MHz; its public RTL moves 0.57 to "
          "0.80 word per clock",
    BLOCK: "",
}


@dataclass(frozen=True)
class Core:
    """A core to synthesize.

    group, role: with ``headline`` the core counts for the figures GROUP_ROLE_lut_percent and
    GROUP_ROLE_fmax_mhz, which are those of the largest and of the slowest such core. rate: what it
    moves in a clock. most: percent of the 85F's LUTs that it may take, None for any.
    """

    name: str
    group: str
    role: str
    rate: str
    module: str
    kind: str
    arguments: dict = field(default_factory=dict)
    headline: bool = False
    most: float | None = None

    @property
    def call(self):
        """As it is written in Python: ``ZFPeDecompressor(payload=5)``."""
        arguments = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.kind}({arguments})"

    def build(self):
        """The core; ImportError when there is none of this name."""
        module = import_module(f"..gateware.{self.module}", __package__)
        if not hasattr(module, self.kind):
            raise ImportError(f"gateware.{self.module} has no {self.kind}")
        return getattr(module, self.kind)(**self.arguments)


def _zfpe():
    one, four = "1 value", "4 values"
    for bits in (8, 12):
        payload = {"payload": bits - 3}
        name = f"zfpe_float32_{bits}"
        yield Core(f"{name}_decoder", ZFPE, DECODER, one, "zfpe", "ZFPeSerialDecompressor",
                   payload, headline=True, most=1.5)
        yield Core(f"{name}_encoder", ZFPE, ENCODER, one, "zfpe", "ZFPeSerialCompressor",
                   payload, headline=True, most=1.5)
        yield Core(f"{name}_decoder_x4", ZFPE, DECODER, four, "zfpe", "ZFPeDecompressor", payload,
                   most=4)
        yield Core(f"{name}_encoder_x4", ZFPE, ENCODER, four, "zfpe", "ZFPeCompressor", payload,
                   most=4)
    for bits in (8, 12):
        name = f"zfpe_int16_{bits}"
        yield Core(f"{name}_decoder", ZFPE, DECODER, one, "zfpe", "ZFPeSerialDecoder16",
                   {"bits": bits}, headline=True, most=1.5)
        yield Core(f"{name}_encoder", ZFPE, ENCODER, one, "zfpe", "ZFPeSerialEncoder16",
                   {"bits": bits}, headline=True, most=1.5)
    yield Core("zfpe_int16_decoder_x4", ZFPE, DECODER, four, "zfpe", "ZFPeDecoder16", most=4)
    yield Core("zfpe_int16_encoder_x4", ZFPE, ENCODER, four, "zfpe", "ZFPeEncoder16", most=4)
    yield Core("zfpe_improved_decoder_x4", ZFPE, DECODER, four, "zfpe", "ZFPeImprovedDecoder",
               most=4)
    yield Core("zfpe_improved_encoder_x4", ZFPE, ENCODER, four, "zfpe", "ZFPeImprovedEncoder",
               most=4)


def _block():
    yield Core("block_decoder", BLOCK, DECODER, "4 values", "block", "BlockDecoder")
    yield Core("block_encoder", BLOCK, ENCODER, "4 values", "block", "BlockEncoder")


def _ebpc():
    for word, block in ((8, 8), (16, 8), (16, 16)):
        arguments = {"word": word, "block": block}
        yield Core(f"ebpc_{word}_{block}_decoder", EBPC, DECODER, "1 word", "ebpc", "EBPCDecoder",
                   arguments | {"primitive": True}, headline=True, most=2.5)
        yield Core(f"ebpc_{word}_{block}_encoder", EBPC, ENCODER, "1 word", "ebpc", "EBPCEncoder",
                   arguments, headline=True, most=2.5)


CORES = {core.name: core for core in (*_zfpe(), *_block(), *_ebpc())}
