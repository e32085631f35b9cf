"""The codec cores as Verilog, under Verilator: thousands of blocks a second.

All cores are compiled into one simulation (kept under build/codec_sim by a hash of its sources);
``run`` sends beats through one of them. Migen's own simulator calculates with unlimited precision:
this one also sees what Verilog's rules on width and sign make of an expression.
"""

import functools
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from litex.gen import *
from migen import *
from verilate import compiled

from litepress.gateware.block import BlockDecoder, BlockEncoder
from litepress.gateware.zfpe import (
    ZFPeCompressor,
    ZFPeDecoder16,
    ZFPeDecompressor,
    ZFPeEncoder16,
    ZFPeImprovedDecoder,
    ZFPeImprovedEncoder,
    ZFPeSerialCompressor,
    ZFPeSerialDecoder16,
    ZFPeSerialDecompressor,
    ZFPeSerialEncoder16,
)

HARNESS = Path(__file__).with_name("codec_sim.cpp")

FLOAT_VARIANTS = [(5, 9), (7, 9), (9, 9), (13, 9), (1, 8), (5, 8), (19, 8)]
SERIAL_BITS = [4, 8, 12, 16]   # Of the int16 cores of one value a clock.
CORES = {
    **{f"compress_{b}_{e}": (ZFPeCompressor, b, e) for b, e in FLOAT_VARIANTS},
    **{f"decompress_{b}_{e}": (ZFPeDecompressor, b, e) for b, e in FLOAT_VARIANTS},
    **{f"serial_compress_{b}_{e}": (ZFPeSerialCompressor, b, e) for b, e in FLOAT_VARIANTS},
    **{f"serial_decompress_{b}_{e}": (ZFPeSerialDecompressor, b, e) for b, e in FLOAT_VARIANTS},
    **{f"serial_encoder16_{bits}": (ZFPeSerialEncoder16, bits) for bits in SERIAL_BITS},
    **{f"serial_decoder16_{bits}": (ZFPeSerialDecoder16, bits) for bits in SERIAL_BITS},
    "encoder16": (ZFPeEncoder16,),
    "decoder16": (ZFPeDecoder16,),
    "improved_encoder": (ZFPeImprovedEncoder,),
    "improved_decoder": (ZFPeImprovedDecoder,),
    "block_encoder": (BlockEncoder,),
    "block_decoder": (BlockDecoder,),
}
WORDS = 4   # 32-bit words of a beat's data, here and in the harness.
DONE, TIMEOUT, UNSTABLE = range(3)


class SimulationError(AssertionError):
    """A core hung, or changed a beat that waited to be taken."""


class Top(LiteXModule):
    """One of the cores at a time: ``core`` connects it to the ports, the others get no beats."""

    def __init__(self):
        self.cd_sys       = ClockDomain()
        self.core         = Signal(8)
        self.setting      = Signal(32)   # bits (improved: no_sign, narrow above) or format.
        self.length       = Signal(32)
        self.clear        = Signal()
        self.sink_data    = Signal(32*WORDS)
        self.sink_last    = Signal()
        self.sink_valid   = Signal()
        self.sink_ready   = Signal()
        self.source_data  = Signal(32*WORDS)
        self.source_last  = Signal()
        self.source_valid = Signal()
        self.source_ready = Signal()
        self.ios          = {s for s in vars(self).values() if isinstance(s, Signal)}
        self.ios         |= {self.cd_sys.clk, self.cd_sys.rst}

        # # #

        routes = {}
        for number, (kind, *arguments) in enumerate(CORES.values()):
            core = kind(*arguments)
            self.submodules += core
            for name, value in (("bits", self.setting), ("format", self.setting),
                                ("no_sign", self.setting[5]), ("narrow", self.setting[6]),
                                ("run_len", self.length), ("clear", self.clear)):
                port = getattr(core, name, None)
                if isinstance(port, Signal):
                    self.comb += port.eq(value)
            self.comb += [
                core.sink.data.eq(self.sink_data),
                core.sink.last.eq(self.sink_last),
            ]
            routes[number] = [
                core.sink.valid.eq(self.sink_valid),
                self.sink_ready.eq(core.sink.ready),
                self.source_data.eq(core.source.data),
                self.source_last.eq(core.source.last),
                self.source_valid.eq(core.source.valid),
                core.source.ready.eq(self.source_ready),
            ]
        self.comb += Case(self.core, routes)


@functools.cache
def build():
    """Path of the simulation; compiles it unless it is there."""
    return compiled(Top(), HARNESS)


@dataclass
class Job:
    """Beats (ints) with their ``last`` bits through a core, from reset unless ``reset`` is False.

    config: bits or format code; of improved cores bits + 32*no_sign + 64*narrow. count: beats to
    take. stalls: how often the sink pauses and the source is not ready, 0 to 1. clear_at: after
    that many clocks with a blocked source, clear the core and send all beats anew.
    """

    core: str
    beats: list
    lasts: list
    count: int
    config: int = 0
    length: int = 0
    stalls: tuple = (0.0, 0.0)
    seed: int = 1
    reset: bool = True
    clear_at: int = 0
    limit: int = 0


@dataclass
class Result:
    """Data, ``last`` and clock number of each beat taken."""

    data: list
    lasts: list
    clocks: list


def run(*jobs):
    """Run jobs one after another on the same simulation; a Result each (just it for one job).
    SimulationError when a core hangs or breaks the handshake."""
    request = b""
    for job in jobs:
        limit = job.limit or 1000 + 20*(len(job.beats) + job.count)
        request += struct.pack("<12I", list(CORES).index(job.core), job.config, job.length,
            job.reset, job.seed, *(round(256*s) for s in job.stalls), job.clear_at, limit,
            len(job.beats), job.count, 0)
        for beat, last in zip(job.beats, job.lasts, strict=True):
            request += beat.to_bytes(4*WORDS, "little") + struct.pack("<I", last)
    done = subprocess.run([build()], input=request, capture_output=True, check=True, timeout=300)
    results, at = [], 0
    for job in jobs:
        status, taken = struct.unpack_from("<2I", done.stdout, at)
        at += 8
        if status != DONE:
            raise SimulationError(f"{job.core}: " + (
                f"timeout with {taken} of {job.count} beats" if status == TIMEOUT else
                f"beat {taken} changed while it waited"))
        result = Result([], [], [])
        for _ in range(taken):
            result.data.append(int.from_bytes(done.stdout[at:at + 4*WORDS], "little"))
            last, clock = struct.unpack_from("<2I", done.stdout, at + 4*WORDS)
            result.lasts.append(bool(last))
            result.clocks.append(clock)
            at += 4*WORDS + 8
        results.append(result)
    return results[0] if len(results) == 1 else results
