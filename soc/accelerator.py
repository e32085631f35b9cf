"""LitePress as an add-on to any LiteX SoCCore that has LiteDRAM.

::

    soc.add_sdram("sdram", phy=..., module=..., l2_cache_size=0)
    add_wire(soc, phy.source, phy.sink)
    add_accelerator(soc, ARCHS["85f"])

gives the SoC what ``firmware/`` expects: the CSR banks ``wire`` and ``accel`` and the constants
ACCEL_* and WIRE_RX_BYTES.
"""

from ..gateware.accelerator import Accelerator
from ..gateware.wideport import narrow_port
from ..gateware.wire import WirePort
from ..spec.formats import WORD_BITS


def add_wire(soc, receive, transmit, name="wire"):
    """Connect the host's line: frames of spec/wire.py become the CSR bank ``name``.

    receive : Endpoint([("data", 8)])
        Bytes from the host (a PHY's ``source``).
    transmit : Endpoint([("data", 8)])
        Bytes to the host (a PHY's ``sink``).
    """
    soc.check_if_exists(name)
    wire = WirePort()
    wire.add_csr()
    soc.add_module(name=name, module=wire)
    soc.comb += [
        receive.connect(wire.sink, keep={"valid", "ready", "data"}),
        wire.source.connect(transmit, keep={"valid", "ready", "data"}),
    ]
    soc.add_constant(f"{name}_RX_BYTES".upper(), 4*wire.rx_depth)
    return wire


def add_accelerator(soc, arch, name="accel", sdram="sdram", **options):
    """Connect an accelerator of size ``arch`` (spec.arch.Arch) to the LiteDRAM core ``soc.sdram``.

    options go to gateware.accelerator.Accelerator: ``primitive=True`` takes ECP5's DSP blocks,
    ``codecs`` leaves out what a small FPGA has no room for.

    It takes three native ports of 32 bits, which go round the CPU's caches and an L2 cache: the SoC
    must have none (``l2_cache_size=0``), and firmware flushes the CPU's data cache after a run.
    ValueError when the SoC has no LiteDRAM or has an L2 cache.
    """
    core = getattr(soc, sdram, None)
    if core is None or not hasattr(core, "crossbar"):
        raise ValueError(f"add_accelerator: the SoC has no LiteDRAM core {sdram!r}: call "
                         f"soc.add_sdram(\"{sdram}\", ...) first")
    if soc.constants.get("CONFIG_L2_SIZE", 0):
        raise ValueError(f"add_accelerator: L2 cache of {soc.constants['CONFIG_L2_SIZE']} bytes: "
                         f"allowed is none, it would hide the accelerator's writes "
                         f"(l2_cache_size=0)")
    soc.check_if_exists(name)
    accel = Accelerator(arch, *(narrow_port(soc, core.crossbar, mode, WORD_BITS)
                                for mode in ("read", "read", "write")), **options)
    accel.add_csr()
    soc.add_module(name=name, module=accel)
    for parameter, value in arch.as_dict().items():
        soc.add_constant(f"{name}_{parameter}".upper(), value)
    soc.add_constant(f"{name}_FORMATS".upper(), sum(1 << kind for kind in accel.kinds))
    soc.add_constant(f"{name}_ENGINES".upper(), sum(1 << engine for engine in accel.engines))
    return accel
