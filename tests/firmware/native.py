"""The firmware's protocol and runner built for this machine, and images for its toy accelerator."""

import shutil
import struct
import subprocess
import zlib
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from litepress.spec import cheader
from litepress.spec import image as layout

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*(ROOT / "firmware" / name for name in ("protocol.c", "inflate.c", "runner.c",
                                                   "selftest.c")),
           Path(__file__).with_name("native_hal.c")]


def build(directory):
    """Compile with all warnings as errors and the sanitizers on; returns the binary's path."""
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    binary = Path(directory) / "litepress_sim"
    cheader.write(Path(directory) / cheader.NAME)
    subprocess.run(["gcc", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
                    "-fsanitize=address,undefined",
                    "-fno-sanitize-recover", "-I", directory, "-I", ROOT / "firmware", *SOURCES,
                    "-o", binary], check=True)
    return binary


class Url(str):
    """A pyserial URL that knows the process behind it."""

    def __new__(cls, text, process):
        url = super().__new__(cls, text)
        url.process = process
        return url


@contextmanager
def running(binary, *options):
    """Start it; gives the pyserial URL of its port."""
    process = subprocess.Popen([binary, "--port", "0", *map(str, options)],
                               stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline().rsplit(" ", 1)[1])
        yield Url(f"socket://localhost:{port}", process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class ToyImage:
    """An image with the interface of host.image.Image; its program is the toy accelerator's."""

    def __init__(self, weights, arch=(4, 2048, 512, 256, 256, 0, 1), region_bytes=None,
                 version=None):
        align = layout.HEADER_BYTES
        base = align + 16 + len(weights)
        base += -base % 16
        self.input_bytes, self.output_bytes = 600, 1500
        inputs, outputs = base, base + 608
        program = struct.pack("<4I", inputs, self.input_bytes, outputs, self.output_bytes)
        meta = b'{"name": "toy"}'
        self.meta = {"name": "toy", "layers": [{"slot": 0}, {"slot": 1}, {"slot": 2}]}
        self.sections = []
        offset = layout.HEADER_BYTES
        for kind, dram, data in ((layout.META, layout.NOT_LOADED, meta),
                                 (layout.PROGRAM, align, program),
                                 (layout.WEIGHTS, align + 16, weights)):
            self.sections.append(SimpleNamespace(type=kind, offset=offset, dram=dram, data=data,
                                                 size=len(data), crc=zlib.crc32(data)))
            offset += len(data)
        self.header = dict(
            magic=layout.MAGIC, version=layout.VERSION if version is None else version,
            section_count=len(self.sections), file_bytes=offset,
            region_bytes=region_bytes or outputs + 1504,
            columns=arch[0], abuf_depth=arch[1], wbuf_depth=arch[2], pbuf_depth=arch[3],
            vbuf_depth=arch[4], array=arch[5], vector=arch[6],
            program_offset=align, program_words=4,
            input_offset=inputs, input_bytes=self.input_bytes,
            output_offset=outputs, output_bytes=self.output_bytes, layer_count=3, header_crc=0)

    def header_bytes(self):
        self.header["header_crc"] = 0
        for _ in range(2):
            data = layout.HEADER.pack(*(self.header[n] for n, _ in layout.HEADER_FIELDS))
            data += b"".join(layout.SECTION.pack(s.type, s.offset, s.dram, s.size, s.crc)
                             for s in self.sections)
            data += bytes(layout.HEADER_BYTES - len(data))
            if not self.header["header_crc"]:
                self.header["header_crc"] = zlib.crc32(data)
        return data

    def bytes(self):
        return self.header_bytes() + b"".join(s.data for s in self.sections)

    def encode_input(self, x):
        return np.asarray(x, np.uint8).tobytes()

    def output_values(self, data):
        return np.frombuffer(data, np.uint8).astype(np.float64)

    def tensor(self, name):
        offset = {"in": "input_offset", "out": "output_offset"}[name]
        size = {"in": self.input_bytes, "out": self.output_bytes}[name]
        return SimpleNamespace(offset=self.header[offset], bytes=size)

    def used_bytes(self, name, data):
        return data

    def decode_tensor(self, name, data):
        return np.frombuffer(data, np.uint8).astype(np.int16).reshape(1, 1, -1)

    def expected(self, x):
        """What the toy accelerator makes of an encoded input."""
        data = np.resize(np.frombuffer(self.encode_input(x), np.uint8), self.output_bytes)
        return (data + np.uint8(1)).tobytes()
