"""A device behind the wire protocol: a board, or the simulator."""

import random
import struct
import time
import zlib

from ...spec import image as layout
from ...spec import isa, wire
from ...spec.arch import Arch
from ...spec.formats import KINDS
from .base import Device, DeviceError
from .client import CRC_BYTES_PER_S, Client, Request

SEGMENT_BYTES = 65536       # What is compared, and sent when it differs.
POLL_S, POLL_MAX_S = 0.002, 0.1
INFLATE_CLOCKS = 212        # More than a device takes for a byte of data (docs/protocol.md).


def valid_header(data):
    """Whether HEADER_BYTES of a region hold an image header that arrived whole."""
    fields = layout.header_fields(data)
    at = layout.HEADER.size - 4
    crc = zlib.crc32(data[:at] + bytes(4) + data[at + 4:])
    return fields["magic"] == layout.MAGIC and fields["header_crc"] == crc


def needs(image):
    """(kinds of spec.formats.KINDS, engines of isa.ENGINES) that the image's program uses."""
    section = next(s for s in image.sections if s.type == layout.PROGRAM)
    kinds, engines = set(), set()
    for (word,) in struct.iter_unpack("<I", section.data):
        engine = word >> isa.ENGINE_SHIFT
        register = word >> isa.REG_SHIFT & (1 << isa.ENGINE_SHIFT - isa.REG_SHIFT) - 1
        if engine == isa.CTRL:
            continue
        if register == isa.GO:
            engines.add(engine)
        elif (engine, register) in ((isa.LOAD, isa.LOAD_REGS["FORMAT"][0]),
                                    (isa.STORE, isa.STORE_REGS["FORMAT"][0])):
            kinds.add(word & 0xf)       # As Format.code has it.
    return kinds, engines


class RemoteDevice(Device):
    """A board on a serial port, or anything that speaks the protocol at a pyserial URL.

    port, baud, timeout: see Client. run_timeout: seconds without a finished layer after which a
    run is given up. info: the HELLO reply as a dict. status: the last STATUS reply as a dict
    (run_cycles: clocks of the last run). skipped_bytes: what the last load() did not have to send.
    coded: weights go as Huffman streams where they are shorter; None: where a byte takes longer on
    the line than the device takes to decode one.
    """

    def __init__(self, port, baud=None, timeout=10.0, run_timeout=300.0, coded=None):
        self.run_timeout = run_timeout
        self.status = None
        self.skipped_bytes = 0
        self._token = random.randrange(1, 1 << 31)
        self.client = Client(port, baud=baud, timeout=timeout)
        try:
            self.info = self.client.hello()
        except DeviceError:
            self.client.close()
            raise
        baud = self.client.baud
        line_clocks = 10 * self.info["clock_hz"] / baud if baud else 0
        self.coded = line_clocks > INFLATE_CLOCKS if coded is None else coded

    def close(self):
        super().close()
        self.client.close()

    # Loading --------------------------------------------------------------------------------------

    def load(self, image, progress=None):
        """Send what the device does not have yet: see Device.load."""
        self.image = None
        self.info = self.client.hello()
        self._check_fits(image)
        if self.client.status()["state"] == wire.RUNNING:
            self.client.request(Request(wire.ABORT))

        loaded = [(i, s) for i, s in enumerate(image.sections) if s.dram != layout.NOT_LOADED]
        header = image.header_bytes()
        total = len(header) + sum(s.size for _, s in loaded)
        done = 0

        def advance(size):
            nonlocal done
            done += size
            if progress:
                progress(done, total)

        present = self.client.read(0, layout.HEADER_BYTES)
        suspects = loaded
        if present == header:
            bitmap, _ = self.client.verify(total)
            suspects = [(i, s) for i, s in loaded if not bitmap >> i & 1]
            sent = self._send_sections(suspects, True, advance)
        else:
            # The header first: a load that is interrupted goes on from where it was.
            self.client.write(0, header)
            sent = len(header) + self._send_sections(loaded, valid_header(present), advance)
        advance(total - done)
        self.skipped_bytes = total - sent

        bitmap, _ = self.client.verify(total)
        for i, section in loaded:
            if not bitmap >> i & 1:
                name = layout.SECTION_NAMES.get(section.type, str(section.type))
                raise DeviceError(f"device at {self.client.port}: section {i} ({name}) does not "
                                  f"hold what was sent: its memory is not reliable")
        self.image = image

    def _check_fits(self, image):
        header = image.header
        wanted, here = Arch.of(header), Arch.of(self.info)
        if wanted != here:
            raise DeviceError(f"image is planned for {wanted}, device at {self.client.port} has "
                              f"{here}: compress it for this device's sizes")
        if header["region_bytes"] > self.info["region_bytes"]:
            raise DeviceError(f"image needs {header['region_bytes']} bytes of memory, device at "
                              f"{self.client.port} has {self.info['region_bytes']}")
        formats, engines = needs(image)
        for what, names, needed, field in (("format", KINDS, formats, "formats"),
                                           ("engine", isa.ENGINES, engines, "engines")):
            lacking = sorted(names[n] for n in needed if not self.info[field] >> n & 1)
            if lacking:
                has = ", ".join(name for n, name in names.items() if self.info[field] >> n & 1)
                raise DeviceError(f"image needs {what} {', '.join(lacking)}, device at "
                                  f"{self.client.port} has {has}")

    def _send_sections(self, sections, compare, advance):
        """Send the sections, or what differs of them. Returns the bytes sent."""
        segments = [(s.dram + at, bytes(s.data[at:at + SEGMENT_BYTES]))
                    for _, s in sections for at in range(0, s.size, SEGMENT_BYTES)]
        if compare:
            crcs = self.client.crcs((address, len(data)) for address, data in segments)
            same = [s for s, crc in zip(segments, crcs, strict=True) if zlib.crc32(s[1]) == crc]
            segments = [s for s, crc in zip(segments, crcs, strict=True)
                        if zlib.crc32(s[1]) != crc]
            advance(sum(len(data) for _, data in same))
        write = self.client.write_coded if self.coded else self.client.write
        for address, data in segments:
            write(address, data, advance)
        return sum(len(data) for _, data in segments)

    # Running --------------------------------------------------------------------------------------

    def run_raw(self, data):
        """Encoded input tensor (bytes) -> encoded output tensor (bytes)."""
        header = self._loaded().header
        if len(data) != header["input_bytes"]:
            raise DeviceError(f"input of {len(data)} bytes: the image takes "
                              f"{header['input_bytes']}")
        self.client.write(header["input_offset"], data)
        self._token = self._token % 0x7fffffff + 1
        # After a reset the device checks the whole image again.
        check = sum(s.size for s in self.image.sections) / CRC_BYTES_PER_S
        self.client.request(Request(wire.RUN, struct.pack("<I", self._token), check))
        self._wait()
        return self.client.read(header["output_offset"], header["output_bytes"])

    def _wait(self):
        pause, layers, moved = POLL_S, -1, time.monotonic()
        while True:
            self.status = status = self.client.status()
            if status["token"] != self._token:
                raise DeviceError(f"device at {self.client.port} was reset during the run")
            if status["state"] == wire.DONE:
                return
            if status["state"] == wire.FAILED:
                text = isa.ERRORS.get(status["error"], (None, "the accelerator stopped for an "
                                                        f"unknown reason {status['error']}"))[1]
                raise DeviceError(f"run failed after {status['layers_done']} layers: {text} "
                                  f"(detail {status['detail']:#x})")
            if status["state"] != wire.RUNNING:
                raise DeviceError(f"device at {self.client.port} stopped the run")
            now = time.monotonic()
            if status["layers_done"] != layers:
                layers, moved = status["layers_done"], now
            if now - moved > self.run_timeout:
                self.client.request(Request(wire.ABORT))
                raise DeviceError(f"run made no progress for {self.run_timeout:g} s after {layers} "
                                  f"layers: stopped")
            time.sleep(pause)
            pause = min(1.5 * pause, POLL_MAX_S)

    @property
    def run_cycles(self):
        """System clocks of the last run."""
        return self.status["run_cycles"] if self.status else 0

    def counters(self):
        """See Device.counters."""
        slots = self._loaded().header["layer_count"]
        replies = self.client.exchange(Request(wire.COUNTERS, struct.pack("<I", slot))
                                       for slot in range(slots))
        return [dict(zip(isa.COUNTERS, struct.unpack(f"<{len(isa.COUNTERS)}I", reply), strict=True))
                for reply in replies]

    def selftest(self, arch=None, image=None, dram_bytes=None, progress=None):
        """See Device.selftest."""
        # It needs the golden model, others here do not.
        from .selftest import check

        self.image = None
        return check(self, arch, image, dram_bytes, progress)

    def _read_region(self, offset, size):
        return self.client.read(offset, size + -size % 4)[:size]
