"""Runs cases on the Verilated VECTOR engine of vector_sim.cpp."""

import functools
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from litex.gen import *
from litex.soc.interconnect import stream
from migen import *
from verilate import compiled

from litepress.gateware import buffers
from litepress.gateware.vector import VectorEngine
from litepress.spec import isa
from litepress.spec.arch import Arch

HARNESS = Path(__file__).with_suffix(".cpp")

DONE, LIMIT, ERROR, RESET = range(4)


@dataclass
class Case:
    """Memories (abuf and vbuf int16 (n, 4), pbuf uint64 (n,)), program words, and how often (of
    256) each port is ready or valid."""

    abuf: np.ndarray
    vbuf: np.ndarray
    pbuf: np.ndarray
    words: list
    seed: int = 1
    read_ready: int = 256
    write_ready: int = 256
    word_valid: int = 256
    limit: int = 200_000
    reset_at: int = 0
    separate: bool = True    # Writes go to a copy of ABUF: inputs stay as they were.


@dataclass
class Outcome:
    status: int
    clocks: int
    busy: int
    step: int
    stall: int
    completed: int
    reads: int
    abuf: np.ndarray = field(repr=False)


class Top(LiteXModule):
    """The engine with flat port names."""

    def __init__(self):
        abuf_read = buffers.ReadPort("abuf_read")
        abuf_write = stream.Endpoint([("address", 16), ("data", 64)])
        vbuf_read = buffers.DedicatedReadPort(64, "vbuf_read")
        pbuf_read = buffers.DedicatedReadPort(64, "pbuf_read")
        self.engine = engine = VectorEngine(Arch(), abuf_read, abuf_write, vbuf_read, pbuf_read)
        frontend = engine.frontend
        self.cd_sys = ClockDomain()
        self.ios = {self.cd_sys.clk, self.cd_sys.rst}

        def port(name, inner, to_engine):
            outer = Signal(len(inner), name=name)
            self.comb += inner.eq(outer) if to_engine else outer.eq(inner)
            self.ios.add(outer)

        port("reset", frontend.reset, True)
        port("word_valid", engine.sink.valid, True)
        port("word_data", engine.sink.data, True)
        port("word_ready", engine.sink.ready, False)
        port("idle", frontend.idle, False)
        port("busy", frontend.busy, False)
        port("completed", frontend.completed, False)
        for name in ("error", "step", "stall"):
            port(name, getattr(engine, name), False)
        port("cmd_valid", abuf_read.cmd.valid, False)
        port("cmd_address", abuf_read.cmd.address, False)
        port("read_ready", abuf_read.cmd.ready, True)
        port("read_valid", abuf_read.valid, True)
        port("read_data", abuf_read.data, True)
        port("write_valid", abuf_write.valid, False)
        port("write_address", abuf_write.address, False)
        port("write_data", abuf_write.data, False)
        port("write_ready", abuf_write.ready, True)
        port("vbuf_address", vbuf_read.address, False)
        port("vbuf_data", vbuf_read.data, True)
        port("pbuf_address", pbuf_read.address, False)
        port("pbuf_data", pbuf_read.data, True)


@functools.cache
def build():
    """Path of the simulator's binary."""
    return compiled(Top(), HARNESS)


def simulate(cases):
    """Run the cases one after another on one engine (each begins with its reset); list of
    Outcome."""
    data = []
    for c in cases:
        data.append(struct.pack("<12I", c.seed, c.read_ready, c.write_ready, c.word_valid, c.limit,
                                c.reset_at, buffers.READ_LATENCY, c.separate, len(c.abuf),
                                len(c.vbuf), len(c.pbuf), len(c.words)))
        data += [np.ascontiguousarray(c.abuf, np.int16).tobytes(),
                 np.ascontiguousarray(c.vbuf, np.int16).tobytes(),
                 np.ascontiguousarray(c.pbuf, np.uint64).tobytes(),
                 np.array(c.words, np.uint32).tobytes()]
    run = subprocess.run([build()], input=b"".join(data), capture_output=True, check=True,
                         timeout=300)
    outcomes, position = [], 0
    for c in cases:
        figures = struct.unpack_from("<7I", run.stdout, position)
        position += 28
        abuf = np.frombuffer(run.stdout, np.int16, len(c.abuf) * 4, position).reshape(-1, 4)
        position += len(c.abuf) * 8
        outcomes.append(Outcome(*figures, abuf))
    assert position == len(run.stdout)
    return outcomes


def program(*gos):
    """Words of GOs: each a dict of registers, all of them set."""
    words = []
    for registers in gos:
        for name, (number, bits, _) in isa.VECTOR_REGS.items():
            value = registers.get(name, 0) & (1 << bits) - 1
            words.append(isa.VECTOR << isa.ENGINE_SHIFT | number << isa.REG_SHIFT | value)
        words.append(isa.VECTOR << isa.ENGINE_SHIFT | isa.GO << isa.REG_SHIFT)
    return words
