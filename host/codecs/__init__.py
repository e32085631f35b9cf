"""Reference codecs in NumPy: what the hardware's codecs must equal bit for bit."""

from .delta import Delta
from .ebpc import EBPC
from .zfpe import ZFPeClassic
from .zfpe_float import ZFPeImproved


def ZFPe(bits=None, mode="classic", **options):  # noqa: N802
    """The codec of float32 arrays, ZFPeClassic or ZFPeImproved by ``mode``, "classic" or
    "improved": ``encode(x) -> bytes``, ``decode(data, n) -> float32 (n,)``. ValueError: any other
    mode."""
    modes = {"classic": ZFPeClassic, "improved": ZFPeImproved}
    if mode not in modes:
        raise ValueError(f"ZFPe mode {mode!r}: allowed are {', '.join(modes)}")
    return modes[mode](bits, **options)


__all__ = ["EBPC", "Delta", "ZFPe"]
