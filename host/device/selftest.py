"""Does a board work? Its DRAM, then the accelerator on programs with known results."""

import struct
from dataclasses import dataclass

from ...spec import isa, wire
from ...spec.arch import Arch
from ...spec.formats import KINDS, WORD_BITS
from .. import selftest
from .base import DeviceError, RequestError
from .client import Request, reply_fields

CHUNK_BYTES = 1 << 14       # Of DRAM, with one request.
TOGETHER = 4                # Requests in flight: the line need not rest.
CHUNK_S = 5.0               # It takes less, simulated too.
TEST_S = 30.0               # A test with its time limit, likewise.
FLIPS = (0, 0xffffffff)     # Every bit of every word is a zero once, and a one.
ARRAY, DATA, LINES, CELLS, IMAGE = ("size of the array", "DRAM, data lines", "DRAM, address lines",
                                    "DRAM, cells", "image in DRAM")


@dataclass(frozen=True)
class Outcome:
    """Of one test: what it is about, whether it passed, and more about it in one line."""

    name: str
    passed: bool
    what: str = ""

    def __str__(self):
        more = f"  {self.what}" if self.passed else f": {self.what}"
        return f"{self.name:20s} {'ok' if self.passed else 'FAILED'}{more if self.what else ''}"


def check(device, arch=None, image=None, dram_bytes=None, progress=None):
    """Generator of Outcome for a RemoteDevice, as they come: see RemoteDevice.selftest."""
    info, here = device.info, Arch.of(device.info)
    if image is None:
        kinds = tuple(kind for kind in KINDS if info["formats"] >> kind & 1)
        image = selftest.build(here, kinds)
        wanted = arch or here
    elif selftest.entries(image):
        wanted = image.arch
    else:
        raise ValueError(f"image {image.meta['name']}: it has no self-tests; "
                         "`litepress selftest --write FILE` makes one that has")
    outcome = _size(here, wanted)
    yield outcome
    fits = outcome.passed or image.arch == here
    for outcome in memory(device.client, info["region_bytes"], dram_bytes, progress):
        yield outcome
        if not outcome.passed:
            return          # What it holds says nothing about the others.
    if not fits:
        return              # The device refuses the image.
    try:
        device.load(image, progress and (lambda done, total: progress(IMAGE, done, total)))
    except DeviceError as error:
        yield Outcome(IMAGE, False, str(error))
        return
    yield Outcome(IMAGE, True, f"{len(image.bytes()):,} bytes")
    for index, entry in enumerate(selftest.entries(image)):
        try:
            yield _run(device.client, index, entry)
        except RequestError as error:
            yield Outcome(entry.name, False, str(error))
        except DeviceError as error:
            yield Outcome(entry.name, False, str(error))
            return


def check_golden(arch, image=None):
    """Generator of Outcome: the golden model's own results against the table's."""
    image = image or selftest.build(arch)
    for entry in selftest.entries(image):
        try:
            yield _judged(entry, selftest.crc(selftest.output(image, entry, arch)))
        except ValueError as error:
            yield Outcome(entry.name, False, f"the program was stopped: {error}")


def _size(here, wanted):
    different = [f"{name} = {has}, expected is {wants}" for (name, has), wants
                 in zip(here.as_dict().items(), wanted.as_dict().values(), strict=True)
                 if has != wants]
    return Outcome(ARRAY, not different, "the device says " + "; ".join(different) if different
                   else f"{here.multipliers} multipliers")


# DRAM ---------------------------------------------------------------------------------------------

def memory(client, region_bytes, test_bytes=None, progress=None):
    """Generator of Outcome: the DRAM's lines, then its cells; what follows a failed one says less
    than it. test_bytes: of cells, spread over the DRAM; default all."""
    if not region_bytes:
        yield Outcome(DATA, False, "the device found no moment to read its DRAM at, and has none")
        return
    reply = _memtest(client, wire.MEM_DATA, 0, 8)
    yield Outcome(DATA, not reply["wrong"], _wrong(reply) + _bits(reply["bits"]))
    if reply["wrong"]:
        return
    reply = _memtest(client, wire.MEM_LINES, 0, region_bytes)
    lines = [str(bit) for bit in range(WORD_BITS) if reply["bits"] >> bit & 1]
    yield Outcome(LINES, not reply["wrong"], _wrong(reply) + (
        f"; taken for each other: addresses that differ in bit {' or '.join(lines)}"
        if lines else ""))
    if reply["wrong"]:
        return
    chunks = _chunks(region_bytes, test_bytes)
    size, done = sum(length for _, length in chunks), 0
    for flip in FLIPS:
        for what in (wire.MEM_FILL, wire.MEM_CHECK):
            replies = []
            for at in range(0, len(chunks), TOGETHER):
                few = chunks[at:at + TOGETHER]
                replies += client.exchange(_request(what, *chunk, flip) for chunk in few)
                done += sum(length for _, length in few)
                if progress:
                    progress(CELLS, done, 2 * len(FLIPS) * size)
        bad = [f for f in (reply_fields(wire.MEMTEST, r) for r in replies) if f["wrong"]]
        if bad:
            total, bits = sum(f["wrong"] for f in bad), 0
            for f in bad:
                bits |= f["bits"]
            yield Outcome(CELLS, False, _wrong(bad[0] | {"wrong": total}) + _bits(bits))
            return
    part = "all" if size == region_bytes else f"spread over {_mib(region_bytes)}"
    yield Outcome(CELLS, True, f"{_mib(size)}, {part}")


def _chunks(region_bytes, test_bytes):
    """(address, length) of what is tested of a region: the first and the last part always."""
    chunks = [(at, min(CHUNK_BYTES, region_bytes - at))
              for at in range(0, region_bytes, CHUNK_BYTES)]
    chunks = [(at, length) for at, length in chunks if length >= 8]
    count = len(chunks) if test_bytes is None else -(-test_bytes // CHUNK_BYTES)
    count = min(max(count, 2), len(chunks))
    return chunks if count < 2 else [chunks[i * (len(chunks) - 1) // (count - 1)]
                                     for i in range(count)]


def _request(what, address, length, flip=0):
    return Request(wire.MEMTEST, struct.pack("<4I", what, address, length, flip), CHUNK_S)


def _memtest(client, what, address, length):
    return reply_fields(wire.MEMTEST, client.request(_request(what, address, length)))


def _wrong(reply):
    """Words of a MEMTEST reply about the first wrong word; "" where there is none."""
    return f"wrong words: {reply['wrong']:,}, the first at {reply['address']:#x}: " \
        f"{reply['expected']:#010x} was written, {reply['found']:#010x} read" \
        if reply["wrong"] else ""


def _bits(bits):
    """Words about wrong bits of DRAM words: those of a 16-bit memory carry two bits a line."""
    if not bits:
        return ""
    if bits == (1 << WORD_BITS) - 1:
        return "; any bit can be wrong"
    half = WORD_BITS // 2
    low, high = bits & (1 << half) - 1, bits >> half
    names = ", ".join(str(bit) for bit in range(WORD_BITS) if bits >> bit & 1)
    lines = ", ".join(str(bit) for bit in range(half) if low >> bit & 1)
    return f"; wrong bits: {names}" + (f" (of a 16-bit memory: data line {lines})"
                                       if low == high else "")


def _mib(size):
    return f"{size / 2**20:.4g} MiB"


# Accelerator --------------------------------------------------------------------------------------

def _run(client, index, entry):
    """One entry of the image in the device."""
    reply = client.request(Request(wire.SELFTEST, struct.pack("<I", index), TEST_S))
    fields = reply_fields(wire.SELFTEST, reply)
    result, found = fields["result"], fields["found"]
    if fields["id"] != entry.id:
        raise DeviceError(f"device ran self-test {fields['id']:#x} for {entry.id:#x}")
    if result == wire.STOPPED:
        text = isa.ERRORS.get(found, (None, f"unknown reason {found}"))[1]
        return Outcome(entry.name, False, f"the accelerator stopped: {text} (detail "
                       f"{fields['expected']:#x})")
    if result == wire.TIMEOUT:
        return Outcome(entry.name, False, f"not finished after {found:,} clocks")
    return _judged(entry, found)


def _judged(entry, crc):
    return Outcome(entry.name, crc == entry.output_crc, "" if crc == entry.output_crc else
                   f"wrong result: its CRC-32 is {crc:#010x}, expected is {entry.output_crc:#010x}")
