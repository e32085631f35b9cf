"""Compiles firmware/ for a SoC and puts it into the SoC's ROM.

The headers it is compiled against come from LiteX (CSRs, memories, SDRAM start-up) and from
spec/cheader.py (protocol, commands, image).
"""

import shutil
import subprocess
from pathlib import Path

import litex
from litedram.init import get_sdram_phy_c_header
from litex.soc.integration import export
from litex.soc.integration.common import get_mem_data

from ..spec import cheader

COMPILER = "riscv64-unknown-elf-"
FIRMWARE = Path(__file__).resolve().parents[1] / "firmware"
SOURCES  = ("crt0.S", "main.c", "protocol.c", "inflate.c", "runner.c", "selftest.c", "hal_litex.c",
            "memory.c", "training.c")
# What a CPU has: the smallest multiplies by libgcc, which is found by the old name of its set.
MARCH    = {"lite": ("-march=rv32im_zicsr",), "minimal": ("-march=rv32i", "-misa-spec=2.2")}
CFLAGS   = ("-mabi=ilp32", "-D__vexriscv__", "-Os", "-ffreestanding",
            "-fno-builtin", "-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra", "-Werror")
LDFLAGS  = ("-nostdlib", "-nostartfiles", "-Wl,--gc-sections", "-Wl,--build-id=none")


def compiler_version():
    """First line of the RISC-V compiler's version; RuntimeError when it is not installed."""
    if not shutil.which(f"{COMPILER}gcc"):
        raise RuntimeError(f"{COMPILER}gcc not found: install it (Debian: apt-get install "
                           f"gcc-riscv64-unknown-elf) or run `make setup`")
    return _run([f"{COMPILER}gcc", "--version"]).splitlines()[0]


def write_headers(soc, directory):
    """Write the headers and linker scripts of a finalized SoC below ``directory``."""
    directory = Path(directory)
    settings  = soc.sdram.controller.settings
    generated = directory / "generated"
    generated.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "csr.h": export.get_csr_header(soc.csr_regions, soc.constants,
                                       csr_base=soc.mem_regions["csr"].origin),
        "mem.h": export.get_mem_header(soc.mem_regions),
        "soc.h": export.get_soc_header(soc.constants),
        "sdram_phy.h": get_sdram_phy_c_header(settings.phy, settings.timing, settings.geom),
        "regions.ld": export.get_linker_regions(soc.mem_regions),
        "output_format.ld": export.get_linker_output_format(soc.cpu),
    }.items():
        (generated / name).write_text(str(text))
    cheader.write(directory / cheader.NAME)


def compile_firmware(soc, directory, revision=0):
    """Compile for a finalized SoC; everything made lies in ``directory``. revision: what HELLO
    says of the sources (spec.wire.revision_of).

    Returns the path of the binary for the ROM. RuntimeError: no compiler, its messages, or a binary
    that is larger than the ROM.
    """
    compiler_version()
    directory = Path(directory)
    write_headers(soc, directory)
    litex_soc = Path(litex.__file__).parent / "soc"
    elf, binary = directory / "firmware.elf", directory / "firmware.bin"
    includes = (directory, FIRMWARE, litex_soc / "software/include",
                litex_soc / "cores/cpu/vexriscv")
    _run([f"{COMPILER}gcc", *MARCH[soc.cpu.variant], *CFLAGS,
          f"-DLITEPRESS_REVISION={revision:#x}u", *(f"-I{path}" for path in includes),
          *(FIRMWARE / source for source in SOURCES), *LDFLAGS, f"-L{directory}",
          "-T", FIRMWARE / "linker.ld", "-lgcc", "-o", elf])
    _run([f"{COMPILER}objcopy", "-O", "binary", elf, binary])
    size, room = binary.stat().st_size, soc.mem_regions["rom"].size
    if size > room:
        raise RuntimeError(f"firmware: {size} bytes, the ROM holds {room}: enlarge ROM_BYTES in "
                           f"soc/core.py")
    return binary


def add_firmware(soc, directory, revision=0):
    """Finalize ``soc``, compile its firmware in ``directory``, put it into the ROM. revision: see
    compile_firmware.

    Returns one line that says its sizes.
    """
    soc.finalize()
    binary = compile_firmware(soc, directory, revision)
    soc.init_rom("rom", get_mem_data(str(binary), data_width=32, endianness="little"),
                 auto_size=False)
    text, data, bss = _run([f"{COMPILER}size", Path(directory) / "firmware.elf"]) \
        .splitlines()[1].split()[:3]
    return (f"firmware: {binary.stat().st_size} of {soc.mem_regions['rom'].size} bytes of ROM "
            f"(code and constants {text}, data {data}), {int(data) + int(bss)} of "
            f"{soc.mem_regions['sram'].size} bytes of SRAM beside the stack")


def _run(command):
    """Standard output of a command; RuntimeError with what it said when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed (exit code {done.returncode}):\n"
                           f"{done.stdout}{done.stderr}".rstrip())
    return done.stdout
