"""LitePress: compressed neural networks on LiteX SoCs for Lattice ECP5 boards.

    import litepress
    image = litepress.compress(module, example, calibration=images, weights="zfpe12")
    with litepress.connect("sim") as device:      # or "golden", or "/dev/ttyUSB0"
        device.load(image)
        logits = device.run(x)
"""

import os

# Read when PyTorch loads its OpenMP. Its threads otherwise spin at every end of a parallel loop:
# on busy cores `compress` then takes 50 times as long, on free ones it gains next to nothing.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"
__all__ = ["compress", "connect"]


def __getattr__(name):
    # Late imports: `import litepress.gateware.zfpe` must not need torch, nor the host Migen.
    if name == "compress":
        from .host.api import compress
        return compress
    if name == "connect":
        from .host.device import connect
        return connect
    raise AttributeError(f"module 'litepress' has no attribute {name!r}")
