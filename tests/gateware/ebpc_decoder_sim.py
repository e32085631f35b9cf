"""The EBPC decoders as Verilog, under Verilator, like codec_sim but with up to three sinks.

``run`` sends beats into the sinks of one of the cores, which are compiled into one simulation (kept
under build/codec_sim by a hash of its sources).
"""

import functools
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from codec_sim import SimulationError
from litex.gen import *
from migen import *
from verilate import compiled

from litepress.gateware.ebpc import EBPCDecoder, EBPCSegmentDecoder

HARNESS  = Path(__file__).with_suffix(".cpp")
VARIANTS = [(8, 8), (16, 16), (16, 8), (8, 16)]
SEGMENTS = VARIANTS[:2]
SLICE    = Path(__file__).with_name("ecp5_slice.v")   # What primitives do.
CORES    = {
    **{("words", *variant): (EBPCDecoder, *variant) for variant in VARIANTS},
    **{("primitive", *variant): (EBPCDecoder, *variant, True) for variant in VARIANTS},
    **{("segments", *variant): (EBPCSegmentDecoder, *variant) for variant in SEGMENTS},
}
DONE, TIMEOUT, UNSTABLE = range(3)
SINKS = ("command", "znz", "bpc")   # A segment decoder's sink is in the place of znz.

FIELDS = (("data", 64), ("last", 1), ("valid", 1), ("ready", 1))


class Top(LiteXModule):
    """One of the cores at a time: ``core`` connects it to the ports, the others get no beats. A
    beat's data are the fields of an endpoint, the first lowest."""

    def __init__(self):
        self.cd_sys   = ClockDomain()
        self.core     = Signal(8)
        self.unsigned = Signal(name="unsigned_")
        self.clear    = Signal()
        self.error    = Signal()
        self.ports    = {name: SimpleNamespace(**{field: Signal(width, name=f"{name}_{field}")
                             for field, width in FIELDS}) for name in (*SINKS, "source")}
        self.ios      = {self.core, self.unsigned, self.clear, self.error, self.cd_sys.clk,
                         self.cd_sys.rst}
        for port in self.ports.values():
            self.ios |= set(vars(port).values())

        # # #

        routes = {}
        for number, (kind, *arguments) in enumerate(CORES.values()):
            core = kind(*arguments)
            self.submodules += core
            sinks = [core.command, *([core.znz, core.bpc] if kind is EBPCDecoder else [core.sink])]
            route = routes[number] = [self.error.eq(core.error)]
            self.comb += core.clear.eq(self.clear)
            if kind is EBPCSegmentDecoder:
                self.comb += core.unsigned.eq(self.unsigned)
            for name, sink in zip(SINKS, sinks, strict=False):
                port = self.ports[name]
                self.comb += sink.payload.raw_bits().eq(port.data)
                route += [sink.valid.eq(port.valid), port.ready.eq(sink.ready)]
            port = self.ports["source"]
            route += [
                port.valid.eq(core.source.valid),
                port.last.eq(core.source.last),
                port.data.eq(core.source.data),
                core.source.ready.eq(port.ready),
            ]
        self.comb += Case(self.core, routes)


@functools.cache
def build():
    """Path of the simulation; compiles it unless it is there."""
    return compiled(Top(), HARNESS, SLICE)


@dataclass
class Job:
    """Beats into a core, from reset, until all are taken and so many with ``last`` have come out,
    and for 64 clocks more.

    core: key of CORES. beats: for each sink its ints. lasts: to wait for. stalls: how often each
    sink, and the source, pauses, 0 to 1. hold: clock before which nothing is offered to a sink.
    clear_at: the clock in which to clear the core and to begin anew, 0: never. limit: clocks."""

    core: tuple
    beats: tuple
    lasts: int
    stalls: tuple = (0.0, 0.0, 0.0, 0.0)
    hold: tuple = (0, 0, 0)
    seed: int = 1
    unsigned: bool = False
    clear_at: int = 0
    limit: int = 0


@dataclass
class Result:
    """data, lasts, clocks, errors: of every beat that came out, the last telling ``error`` in that
    clock. error: at the end. taken: beats of each sink."""

    data: list
    lasts: list
    clocks: list
    errors: list
    error: bool
    taken: tuple

    @property
    def streams(self):
        """Data up to each ``last``; what came after the last one at the end."""
        out = [[]]
        for data, last in zip(self.data, self.lasts, strict=True):
            out[-1].append(data)
            if last:
                out.append([])
        return out


def run(*jobs):
    """Run jobs one after another on the same simulation; a list of Results. SimulationError when a
    core hangs or breaks the handshake."""
    request = []
    for job in jobs:
        beats = [*job.beats, *[[]]*(len(SINKS) - len(job.beats))]
        limit = job.limit or 2000 + job.clear_at + max(job.hold) + 50*sum(map(len, beats))
        request.append(struct.pack("<16I", list(CORES).index(job.core), job.unsigned, job.seed,
            *(round(256*s) for s in job.stalls), *job.hold, job.clear_at, limit, *map(len, beats),
            job.lasts))
        request += [struct.pack(f"<{len(b)}Q", *b) for b in beats]
    done = subprocess.run([build()], input=b"".join(request), capture_output=True, check=True,
                          timeout=300).stdout
    results, at = [], 0
    for job in jobs:
        status, error, count, *taken = struct.unpack_from("<6I", done, at)
        at += 24
        beats = list(struct.iter_unpack("<Q3I", done[at:at + 20*count]))
        at += 20*count
        if status != DONE:
            raise SimulationError(f"{job.core}, seed {job.seed}: " + (
                "timeout" if status == TIMEOUT else "a beat changed while it waited")
                + f"; {count} beats came out, {taken} were taken, error {error}")
        data, lasts, clocks, errors = map(list, zip(*beats, strict=True)) if beats else [[]]*4
        results.append(Result(data, lasts, clocks, errors, bool(error), tuple(taken)))
    return results
