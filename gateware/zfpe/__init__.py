"""ZFPe codecs: float32 cores, fixed at build, and int16 cores with the rate at run time."""

from .float32 import ZFPeCompressor, ZFPeDecompressor
from .improved import ZFPeImprovedDecoder, ZFPeImprovedEncoder
from .int16 import ZFPeDecoder16, ZFPeEncoder16
from .serial_float32 import ZFPeSerialCompressor, ZFPeSerialDecompressor
from .serial_int16 import ZFPeSerialDecoder16, ZFPeSerialEncoder16

__all__ = ["ZFPeCompressor", "ZFPeDecoder16", "ZFPeDecompressor", "ZFPeEncoder16",
           "ZFPeImprovedDecoder", "ZFPeImprovedEncoder",
           "ZFPeSerialCompressor", "ZFPeSerialDecoder16", "ZFPeSerialDecompressor",
           "ZFPeSerialEncoder16"]
