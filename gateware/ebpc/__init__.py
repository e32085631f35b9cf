"""EBPC codecs: lossless, with a ZNZ and a BPC stream, alone or in segments."""

from .decoder import EBPCDecoder
from .encoder import EBPCEncoder
from .segment_decoder import EBPCSegmentDecoder
from .segment_encoder import EBPCSegmentEncoder

__all__ = ["EBPCDecoder", "EBPCEncoder", "EBPCSegmentDecoder", "EBPCSegmentEncoder"]
