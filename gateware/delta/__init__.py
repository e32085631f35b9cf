"""Delta-compressed weights in hardware: an array of narrow multipliers without DSPs."""

from .array import DeltaArray, FabricArray
from .combine import DeltaCombine

__all__ = ["DeltaArray", "DeltaCombine", "FabricArray"]
