"""Reference codecs in NumPy: what the hardware's codecs must equal bit for bit."""

from .zfpe import ZFPe

__all__ = ["ZFPe"]
