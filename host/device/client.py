"""The host's side of spec/wire.py: requests in flight together, losses repaired.

The line keeps the order of what it does not lose, and the device answers in order. A reply
therefore says that every unanswered request sent before the one it answers was lost, or its reply
was: only these are sent again. When nothing comes at all, the oldest unanswered request is sent
again, and its reply tells about the others.
"""

import select
import struct
import time
from dataclasses import dataclass

import serial

from ...spec import wire
from . import baud as speeds
from . import frame
from .base import DeviceError, RequestError
from .coded import coded_pieces

RETRY_S = 0.5           # Silence after which a request is sent again, at first; doubles.
RETRY_MAX_S = 4.0
CRC_BYTES_PER_S = 50e3  # The device folds at least so many bytes a second, simulated too.
INFLATE_S = 1.0         # The device decodes a stream in that, simulated too.
MAX_IN_FLIGHT = 128     # Half of the sequence numbers: an old reply is never taken for a new one.


@dataclass
class Request:
    """type: of spec.wire; payload: bytes; patience: seconds it may take beyond the usual."""

    type: int
    payload: bytes = b""
    patience: float = 0.0

    def __str__(self):
        name = wire.TYPES[self.type][0]
        if self.type in (wire.WRITE, wire.READ, wire.CRC, wire.INFLATE):
            return f"{name} at {int.from_bytes(self.payload[:4], 'little'):#x}"
        return name


@dataclass
class _Flight:
    index: int
    request: Request
    data: bytes             # The frame.
    order: int = 0          # Of its last transmission.


def reply_fields(kind, payload):
    """A reply's u32 fields as a dict, by the names in spec.wire.TYPES; ``x_lo, x_hi`` become x."""
    names = wire.TYPES[kind][2].split(", ")
    if len(payload) != 4 * len(names):
        raise DeviceError(f"{wire.TYPES[kind][0]} was answered with {len(payload)} bytes, expected "
                          f"{4 * len(names)}")
    fields = dict(zip(names, struct.unpack(f"<{len(names)}I", payload), strict=True))
    for name in [n for n in names if n.endswith("_lo")]:
        stem = name[:-3]
        fields[stem] = fields.pop(name) | fields.pop(f"{stem}_hi") << 32
    return fields


class Client:
    """A connection to a device.

    port: what pyserial opens: "/dev/ttyUSB0", "socket://localhost:1234". baud: of a serial port,
    default that at which the device answers, of spec.wire.BAUDS. timeout: seconds without any
    answer after which the device counts as gone. DeviceError says in one line what is wrong,
    ValueError that ``baud`` is.

    baud: that of the line, None of a socket. detected: it was found by trying. bytes_sent,
    retransmissions: counts since the connection was made.
    """

    def __init__(self, port, baud=None, timeout=10.0):
        if baud is not None:
            wire.check_baud(baud)
        self.port = port
        self.timeout = timeout
        self.detected = baud is None and "://" not in port
        self.baud = None if port.startswith("socket:") else baud or wire.BAUD
        self.window = 0         # Bytes of unanswered frames; 0: one request at a time.
        self.bytes_sent = 0
        self.retransmissions = 0
        self._seq = 0
        self._order = 0
        self._last = None       # The last request that was answered.
        self._deframer = frame.Deframer()
        self._serial = None
        try:
            options = {} if "://" in port else {"exclusive": True}
            self._serial = serial.serial_for_url(port, baudrate=self.baud or wire.BAUD, timeout=0,
                                                 **options)
            if self.detected:
                self.baud, refused = speeds.detect(self._serial, timeout)
                self._last = Request(wire.HELLO)
        except (*speeds.ERRORS, ValueError) as error:
            self.close()
            raise DeviceError(f"no device at {port}: {_reason(error)}") from None
        if self.detected and not self.baud:
            self.close()
            raise DeviceError(self._nobody(wire.BAUDS, refused))
        # A full window both ways takes this long on the line.
        self.line_s = 2 * 4096 * 10 / self.baud if self.baud else 0

    def close(self):
        if self._serial:
            self._serial.close()
            self._serial = None

    # Requests -------------------------------------------------------------------------------------

    def hello(self):
        """The HELLO reply as a dict; opens the window."""
        self.window = 0
        reply = self.request(Request(wire.HELLO))
        # Other versions may say less or more behind it.
        protocol = int.from_bytes(reply[:4], "little")
        if protocol != wire.PROTOCOL_VERSION:
            raise DeviceError(f"device at {self.port} speaks protocol {protocol}, this client "
                              f"{wire.PROTOCOL_VERSION}: build it again")
        info = reply_fields(wire.HELLO, reply)
        self.window = info["rx_bytes"]
        return info

    def status(self):
        """The STATUS reply as a dict."""
        return reply_fields(wire.STATUS, self.request(Request(wire.STATUS)))

    def write(self, address, data, progress=None):
        """Write bytes (a multiple of 4) to the region. progress(bytes) is called as pieces are
        acknowledged."""
        step = wire.MAX_PAYLOAD - 4
        pieces = [data[i:i + step] for i in range(0, len(data), step)]
        self.exchange((Request(wire.WRITE, struct.pack("<I", address + i * step) + piece)
                       for i, piece in enumerate(pieces)),
                      progress and (lambda i, _: progress(len(pieces[i]))))

    def write_coded(self, address, data, progress=None):
        """As write, with data in Huffman streams where they are shorter."""
        pieces = list(coded_pieces(data))
        self.exchange((Request(wire.INFLATE if coded else wire.WRITE,
                               struct.pack("<I", address + at) + payload, INFLATE_S)
                       for at, _, coded, payload in pieces),
                      progress and (lambda i, _: progress(pieces[i][1])))

    def read(self, address, size):
        """``size`` bytes (a multiple of 4) of the region."""
        return b"".join(self.exchange(
            Request(wire.READ, struct.pack("<II", at, min(wire.MAX_PAYLOAD, address + size - at)))
            for at in range(address, address + size, wire.MAX_PAYLOAD)))

    def crcs(self, ranges, progress=None):
        """CRC-32 of each (address, size) of the region. progress(size) after each."""
        ranges = list(ranges)
        replies = self.exchange(
            (Request(wire.CRC, struct.pack("<II", *r), r[1] / CRC_BYTES_PER_S) for r in ranges),
            progress and (lambda i, _: progress(ranges[i][1])))
        return [int.from_bytes(reply, "little") for reply in replies]

    def verify(self, size):
        """(bitmap of good sections, section count); ``size`` bytes may have to be checked."""
        fields = self.request(Request(wire.VERIFY, b"", size / CRC_BYTES_PER_S))
        return struct.unpack("<II", fields)

    def request(self, request):
        """Its reply's payload."""
        return self.exchange([request])[0]

    # Exchange -------------------------------------------------------------------------------------

    def exchange(self, requests, replied=None):
        """Send Requests, as many in flight together as the window allows; their replies' payloads.

        replied(index, payload) is called for each reply as it comes. RequestError: the first
        refusal, raised once nothing is in flight any more.
        """
        if self._serial is None:
            raise DeviceError(f"the connection to {self.port} is closed")
        source = enumerate(requests)
        following = next(source, None)
        flights, replies, failure = {}, [], None     # flights: seq -> _Flight
        heard, retry = time.monotonic(), RETRY_S
        while following or flights:
            while following and self._fits(flights, following[1]):
                index, request = following
                replies.append(None)
                self._seq = (self._seq + 1) % 256
                data = frame.encode(request.type, self._seq, request.payload)
                if not flights:
                    heard = time.monotonic()
                flights[self._seq] = _Flight(index, request, data)
                self._send(flights[self._seq])
                following = next(source, None)

            patience = self.line_s + sum(f.request.patience for f in flights.values())
            due = heard + patience + min(retry, self.timeout)
            frames = self._receive(max(0, due - time.monotonic()))
            now = time.monotonic()
            if frames is None:
                if now < due:
                    continue
                frames = self._deframer.skip()
                if not frames:
                    if now - heard >= self.timeout + patience:
                        raise DeviceError(self._silence(flights, now - heard))
                    # The oldest: its reply will tell which others are lost.
                    self._resend(min(flights.values(), key=lambda f: f.order))
                    retry += min(2 * retry, RETRY_MAX_S)
            for kind, seq, payload in frames:
                flight = flights.get(seq)
                if flight is None or kind not in (flight.request.type | wire.REPLY, wire.ERROR):
                    continue            # Answers a request that was sent twice.
                if kind == wire.ERROR and len(payload) != 8:
                    continue
                heard, retry = now, RETRY_S
                del flights[seq]
                self._last = flight.request
                if kind == wire.ERROR:
                    failure = failure or self._refusal(flight.request, payload)
                    following = None
                else:
                    replies[flight.index] = payload
                    if replied and not failure:
                        replied(flight.index, payload)
                for lost in [f for f in flights.values() if f.order < flight.order]:
                    self._resend(lost)
        if failure:
            raise failure
        return replies

    def _fits(self, flights, request):
        if not flights:
            return True
        size = sum(len(f.data) for f in flights.values()) + frame.size(len(request.payload))
        return size <= self.window and len(flights) < MAX_IN_FLIGHT

    def _send(self, flight):
        self._order += 1
        flight.order = self._order
        self.bytes_sent += len(flight.data)
        try:
            self._serial.write(flight.data)
        except (serial.SerialException, OSError) as error:
            raise DeviceError(self._gone(error)) from None

    def _resend(self, flight):
        self.retransmissions += 1
        self._send(flight)

    def _receive(self, seconds):
        """Good frames that came; [] when bytes came but no frame, None when nothing came."""
        try:
            if not select.select([self._serial.fileno()], [], [], seconds)[0]:
                return None
            data = self._serial.read(65536)
        except (serial.SerialException, OSError) as error:
            raise DeviceError(self._gone(error)) from None
        return self._deframer.feed(data)

    # Messages -------------------------------------------------------------------------------------

    def _after(self):
        return f"after {self._last}" if self._last else "before its first answer"

    def _gone(self, error):
        return f"device at {self.port} disconnected {self._after()}: {_reason(error)}"

    def _silence(self, flights, seconds):
        first = min(flights.values(), key=lambda f: f.index).request
        if self._last is None and self.baud:
            return self._nobody([self.baud])
        if self._last is None:
            return f"no device at {self.port}: no answer to {first} for {seconds:.0f} s"
        return (f"device at {self.port} stopped answering after {self._last}: no answer to {first} "
                f"for {seconds:.0f} s")

    def _nobody(self, rates, refused=()):
        """Before any answer; ``refused``: speeds that the port did not take."""
        tried = [rate for rate in rates if rate not in refused]
        if not tried:
            return f"no device at {self.port}: the port cannot be set to {_speeds(refused)} baud"
        wont = f" (the port cannot do {_speeds(refused)})" if refused else ""
        speed = "was it built for another speed (give it --baud)" if self.detected \
            else "does it run at that speed (without --baud it is found)"
        return (f"no device at {self.port}: no answer to HELLO at {_speeds(tried)} baud{wont}: is "
                f"this the board's port, is its bitstream loaded (litepress flash), {speed}?")

    def _refusal(self, request, payload):
        code, detail = struct.unpack("<II", payload)
        text = wire.ERRORS.get(code, (None, f"unknown error {code}"))[1]
        return RequestError(f"device at {self.port} refused {request}: {text} (detail {detail:#x})",
                            code, detail)


def _speeds(rates):
    *most, last = (f"{rate:,}" for rate in rates)
    return f"{', '.join(most)} or {last}" if most else last


def _reason(error):
    """The innermost reason of a pyserial error, without its wrapping."""
    text = str(error.args[1] if len(error.args) == 2 else error).split("[Errno")[-1]
    return text.split("] ", 1)[-1].strip(" '\")") or type(error).__name__
