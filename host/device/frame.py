"""Frames of spec/wire.py as bytes: made, and found again in a stream with errors."""

import struct
import zlib

from ...spec.wire import MAX_PAYLOAD, OVERHEAD, SYNC


def encode(kind, seq, payload=b""):
    """The bytes of a frame. kind: type number; seq: 0..255; payload: at most MAX_PAYLOAD bytes."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"frame payload of {len(payload)} bytes: at most {MAX_PAYLOAD} are "
                         f"allowed")
    body = struct.pack("<BBH", kind, seq, len(payload)) + payload + bytes(-len(payload) % 4)
    return SYNC + body + struct.pack("<I", zlib.crc32(body))


def size(payload_bytes):
    """Bytes of a frame with a payload of that many bytes."""
    return OVERHEAD + payload_bytes + -payload_bytes % 4


class Deframer:
    """Collects bytes and returns the good frames among them.

    After a wrong CRC or an impossible length it looks for the next SYNC right behind the one that
    misled it, so that a frame that lost bytes costs only itself. ``errors`` counts these.
    """

    def __init__(self):
        self.buffer = bytearray()
        self.errors = 0

    def feed(self, data):
        """data: bytes as they came. Returns a list of (type, seq, payload)."""
        self.buffer += data
        frames = []
        while True:
            start = self.buffer.find(SYNC)
            if start < 0:
                # A SYNC may have come in part.
                del self.buffer[:max(0, len(self.buffer) - len(SYNC) + 1)]
                return frames
            del self.buffer[:start]
            if len(self.buffer) < 8:
                return frames
            kind, seq, length = struct.unpack_from("<BBH", self.buffer, 4)
            total = size(length)
            if length <= MAX_PAYLOAD:
                if len(self.buffer) < total:
                    return frames
                body = bytes(self.buffer[4:total - 4])
                if zlib.crc32(body) == int.from_bytes(self.buffer[total - 4:total], "little"):
                    frames.append((kind, seq, body[4:4 + length]))
                    del self.buffer[:total]
                    continue
            self.errors += 1
            del self.buffer[:1]

    def skip(self):
        """Nothing came for a while: do not wait for the rest of what looks like a frame. Returns
        the frames that were hidden behind it."""
        if len(self.buffer) < len(SYNC):
            return []
        self.errors += 1
        del self.buffer[:1]
        return self.feed(b"")
