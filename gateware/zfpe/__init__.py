"""ZFPe codecs: float32 cores, fixed at build, and int16 cores with the rate at run time."""

from .float32 import ZFPeCompressor, ZFPeDecompressor
from .int16 import ZFPeDecoder16, ZFPeEncoder16

__all__ = ["ZFPeCompressor", "ZFPeDecoder16", "ZFPeDecompressor", "ZFPeEncoder16"]
