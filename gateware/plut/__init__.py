"""Arrays for weights that are codes: a sign and an index into a few magnitudes."""

from .array import CODEBOOKS, PlutArray, ShiftArray

__all__ = ["CODEBOOKS", "PlutArray", "ShiftArray"]
