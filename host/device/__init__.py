"""Devices: what runs an image. ``connect`` opens one by name."""

from .base import Device, DeviceError, RequestError

__all__ = ["Device", "DeviceError", "RequestError", "connect"]


def connect(target, **options):
    """Open a device.

    target: "golden" (the Python model); "sim" (the simulator of arch sim), "sim:ARCH" or "sim:DIR";
    a serial port ("/dev/ttyUSB0", "COM3") or a pyserial URL ("socket://localhost:1234").
    options go to the device: RemoteDevice (baud, timeout), SimDevice (preload, trace), or
    GoldenDevice. DeviceError: it is not there. ValueError: no such target.
    """
    if "baud" in options and (target == "golden" or target.startswith(("sim", "socket:"))):
        raise ValueError(f"--baud {options['baud']}: device {target} has no speed: only a serial "
                         f"port has")
    if target == "golden":
        from .golden import GoldenDevice
        return GoldenDevice(**options)
    if target == "sim" or target.startswith("sim:"):
        from .sim import SimDevice
        return SimDevice(target[4:] or None, **options)
    if "://" in target or target.startswith(("/dev/", "COM")):
        from .remote import RemoteDevice
        return RemoteDevice(target, **options)
    raise ValueError(f"device {target!r}: allowed are golden, sim, sim:ARCH, a serial port "
                     f"(/dev/ttyUSB0) and a URL (socket://HOST:PORT)")
