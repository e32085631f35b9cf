"""What a device says of itself, as lines people read."""

from ...spec import isa, wire
from ...spec.arch import ARCHS, Arch
from ...spec.formats import KINDS


def about(device):
    """(what, text) pairs of the HELLO reply of a RemoteDevice. ValueError: the device has none, or
    its sizes are none."""
    info = getattr(device, "info", None)
    if info is None:
        raise ValueError("device golden: it is a model, of any size: allowed are sim, sim:ARCH, "
                         "socket://HOST:PORT and a serial port (/dev/ttyUSB0)")
    client, arch = device.client, Arch.of(info)
    names = [name for name, one in ARCHS.items() if one == arch]
    depths = ", ".join(f"{memory} {info[f'{memory.lower()}_depth']:,}"
                       for memory in ("ABUF", "WBUF", "PBUF", "VBUF"))
    return [
        ("port", client.port + (f", {client.baud:,} baud" if client.baud else "")),
        ("revision", wire.revision_text(info["revision"])),
        ("protocol", str(info["protocol"])),
        ("clock", f"{info['clock_hz'] / 1e6:g} MHz"),
        ("DRAM", f"{info['region_bytes'] / 2**20:g} MiB"),
        ("array", f"{arch.array}, {arch.multipliers} multipliers: --arch "
                  f"{' or '.join(names) or 'of no name'}"),
        ("memories", f"{depths} words"),
        ("engines", _names(isa.ENGINES, info["engines"])),
        ("formats", _names(KINDS, info["formats"])),
    ]


def _names(names, bits):
    return ", ".join(name for number, name in names.items() if bits >> number & 1) or "none"
