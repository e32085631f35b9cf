"""The EBPC encoders as Verilog, under Verilator, like codec_sim but with two sources.

``run`` sends streams of words, or segments of vectors, through one of the cores, which are compiled
into one simulation (kept under build/codec_sim by a hash of its sources).
"""

import functools
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from codec_sim import SimulationError
from litex.gen import *
from migen import *
from verilate import compiled

from litepress.gateware.ebpc import EBPCEncoder, EBPCSegmentEncoder

HARNESS  = Path(__file__).with_suffix(".cpp")
VARIANTS = [(8, 8), (16, 16), (16, 8), (8, 16)]
CORES    = {
    **{("words", *variant): (EBPCEncoder, *variant) for variant in VARIANTS},
    **{("segments", *variant): (EBPCSegmentEncoder, *variant) for variant in VARIANTS},
}
STATUS = ["done", "timeout", "a beat changed while it waited", "beats after the last one"]


class Top(LiteXModule):
    """One of the cores at a time: ``core`` connects it to the ports, the others get no beats. A
    segment encoder's source is in the place of bpc."""

    def __init__(self):
        self.cd_sys     = ClockDomain()
        self.core       = Signal(8)
        self.unsigned   = Signal(name="unsigned_")
        self.clear      = Signal()
        self.error      = Signal()
        self.sink_data  = Signal(64)
        self.sink_last  = Signal()
        self.sink_valid = Signal()
        self.sink_ready = Signal()
        self.sources    = {}
        for source in ("znz", "bpc"):
            for name, width in (("data", 32), ("words", 3), ("last", 1), ("valid", 1),
                                ("ready", 1)):
                self.sources[source, name] = Signal(width, name=f"{source}_{name}")
        self.ios  = {s for s in vars(self).values() if isinstance(s, Signal)}
        self.ios |= {*self.sources.values(), self.cd_sys.clk, self.cd_sys.rst}

        # # #

        routes = {}
        for number, (kind, *arguments) in enumerate(CORES.values()):
            core = kind(*arguments)
            self.submodules += core
            route = routes[number] = [
                core.sink.valid.eq(self.sink_valid),
                self.sink_ready.eq(core.sink.ready),
            ]
            self.comb += [
                core.sink.data.eq(self.sink_data),
                core.sink.last.eq(self.sink_last),
                core.unsigned.eq(self.unsigned),
            ]
            if kind is EBPCEncoder:
                outputs = {"znz": core.znz, "bpc": core.bpc}
            else:
                outputs = {"bpc": core.source}
                self.comb += core.clear.eq(self.clear)
                route.append(self.error.eq(core.error))
            for source, endpoint in outputs.items():
                route += [
                    endpoint.ready.eq(self.sources[source, "ready"]),
                    *(self.sources[source, name].eq(getattr(endpoint, name))
                        for name in ("data", "last", "valid")),
                    self.sources[source, "words"].eq(getattr(endpoint, "words", 1)),
                ]
        self.comb += Case(self.core, routes)


@functools.cache
def build():
    """Path of the simulation; compiles it unless it is there."""
    return compiled(Top(), HARNESS)


@dataclass
class Job:
    """Streams (lists of ints, a beat's data each; none is empty) through a core, from reset.

    core: key of CORES. stalls: how often sink, znz and bpc (or source) pause, 0 to 1. clear_at: the
    clock in which to clear a segment encoder and send everything anew, 0: never. hold_until: before
    that clock the sources are not ready. count: how many streams come out, if not all."""

    core: tuple
    streams: list
    unsigned: bool = False
    stalls: tuple = (0.0, 0.0, 0.0)
    seed: int = 1
    clear_at: int = 0
    hold_until: int = 0
    limit: int = 0
    count: int | None = None


@dataclass
class Result:
    """znz, bpc: for every stream a list of (data, words), of the last beat too; bpc_clocks: of
    its beats. clocks: in which each word entered. error: in the last clock."""

    znz: list
    bpc: list
    clocks: list
    bpc_clocks: list
    error: bool


def run(*jobs):
    """Run jobs one after another on the same simulation; a list of Results. SimulationError when a
    core hangs or breaks the handshake."""
    request = []
    for job in jobs:
        beats = [(data, i == len(stream) - 1) for stream in job.streams
                 for i, data in enumerate(stream)]
        count = len(job.streams) if job.count is None else job.count
        limit = job.limit or 2000 + job.hold_until + job.clear_at + 40*len(beats) + 60*count
        request.append(struct.pack("<12I", list(CORES).index(job.core), job.unsigned, job.seed,
            *(round(256*s) for s in job.stalls), job.clear_at, job.hold_until, limit, len(beats),
            count if job.core[0] == "words" else 0, count))
        request += [struct.pack("<QI", data, last) for data, last in beats]
    done = subprocess.run([build()], input=b"".join(request), capture_output=True, check=True,
                          timeout=300).stdout
    results, at = [], 0

    def take(count):
        nonlocal at
        at += 4*count
        return struct.unpack_from(f"<{count}I", done, at - 4*count)

    for job in jobs:
        status, error, beats, *taken = take(5)
        clocks = list(take(beats))
        outputs = []
        for count in taken:
            streams, bpc_clocks = [[]], []
            for _ in range(count):
                data, words, last, clock = take(4)
                streams[-1].append((data, words))
                bpc_clocks.append(clock)
                if last:
                    streams.append([])
            outputs.append(streams[:-1])
        if status:
            raise SimulationError(f"{job.core}, seed {job.seed}: {STATUS[status]}; {beats} beats "
                                  f"taken, {taken} came out")
        results.append(Result(*outputs, clocks, bpc_clocks, bool(error)))
    return results
