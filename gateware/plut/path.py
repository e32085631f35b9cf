"""What takes MacArray's place in COMPUTE for weights that stay codes."""

from ..path import WEIGHT_LATENCY, ArrayPath
from .array import PlutArray

# PlutPath -----------------------------------------------------------------------------------------

class PlutPath(ArrayPath):
    """Products looked up, exact for every int16 pixel.

    Parameters
    ----------
    columns : int
        Output channels.
    codebook : tuple
        Magnitudes.
    bits : int
        Of a code.
    organisation : str
        PlutArray's: "row" takes LUTs, "static" two block RAMs for each lane and column.
    primitive : bool
        Instantiate ECP5 cells.
    """
    def __init__(self, columns, codebook, bits, organisation="row", primitive=False):
        super().__init__(PlutArray(columns, codebook, bits, organisation,
            weight_latency=WEIGHT_LATENCY, primitive=primitive))
