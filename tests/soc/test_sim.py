"""The simulated SoC: it boots, its DRAM is the same for host, CPU, accelerator and preload, and it
ends by itself."""

import dataclasses
import random
import struct
import subprocess
import time
import zlib
from contextlib import contextmanager

import pytest

pytest.importorskip("litex")

from litepress.host.device.client import Client, Request, RequestError
from litepress.soc import sim, verilate
from litepress.spec import image as layout
from litepress.spec import isa, wire
from litepress.spec.arch import ARCHS, Arch
from litepress.spec.formats import KINDS, Format

ARCH = ARCHS["tiny"]
DRAM_BYTES = 32 << 20
ROW_BYTES = 1024        # Of one bank; the next row's worth of addresses lies in the next bank.

pytestmark = pytest.mark.soc


@pytest.fixture(scope="module")
def program():
    return sim.build_sim("tiny") / sim.NAME


def start(program, *options):
    process = subprocess.Popen([program, "--idle-timeout", "60", *map(str, options)], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    line = process.stdout.readline()
    assert line.startswith("litepress_sim: listening on "), line + process.stdout.read()
    return process, f"socket://localhost:{int(line.rsplit(' ', 1)[1])}"


@contextmanager
def connected(program, *options):
    """A Client of a new simulation, which has to end well when the client is closed."""
    process, url = start(program, *options)
    try:
        client = Client(url, timeout=30)
        try:
            client.hello()
            yield client
        finally:
            client.close()
        assert process.wait(30) == 0
    finally:
        process.kill()
        said = process.communicate()[0]
    assert "the client disconnected" in said and "clocks per second" in said


# Memory -------------------------------------------------------------------------------------------

def test_hello_says_what_was_built(program):
    with connected(program) as client:
        info = client.hello()
    expected = ARCH.as_dict() | {"protocol": wire.PROTOCOL_VERSION, "region_bytes": DRAM_BYTES,
                                 "clock_hz": 50_000_000, "engines": 0xf, "revision": 0,
                                 "formats": sum(1 << kind for kind in KINDS)}
    assert expected.pop("vector") == expected["engines"] >> isa.VECTOR & 1
    assert {name: info[name] for name in expected} == expected
    assert Arch.of(info) == ARCH
    assert 0 < info["cycles"]


def test_write_and_read(program):
    """Random pieces all over the DRAM, rows and banks crossed, read back after all are written."""
    rng = random.Random(1)
    pieces = {}
    for slot in rng.sample(range(DRAM_BYTES >> 14), 12):
        size = 4 * rng.randrange(1, 2000)
        pieces[(slot << 14) + 4 * rng.randrange(1024)] = rng.randbytes(size)
    pieces[DRAM_BYTES - 8] = rng.randbytes(8)
    pieces[0] = rng.randbytes(4)
    with connected(program) as client:
        for address, data in pieces.items():
            client.write(address, data)
        for address, data in pieces.items():
            assert client.read(address, len(data)) == data
            assert client.crcs([(address, len(data))]) == [zlib.crc32(data)]


@pytest.mark.parametrize("address, size", [(DRAM_BYTES, 4), (DRAM_BYTES - 4, 8), (2, 4),
                                           (0xfffffffc, 8)])
def test_region_bounds(program, address, size):
    with connected(program) as client:
        client.write(DRAM_BYTES - 4, b"last")
        client.write(0, b"frst")
        for request in (Request(wire.READ, struct.pack("<II", address, size)),
                        Request(wire.CRC, struct.pack("<II", address, size)),
                        Request(wire.WRITE, struct.pack("<I", address) + bytes(size))):
            with pytest.raises(RequestError, match="outside the model's region"):
                client.request(request)
        assert client.read(DRAM_BYTES - 4, 4) == b"last" and client.read(0, 4) == b"frst"


def test_preload_is_what_read_returns(program, tmp_path):
    data = random.Random(2).randbytes(9 * ROW_BYTES + 123)
    (tmp_path / "dram").write_bytes(data)
    with connected(program, "--preload", tmp_path / "dram") as client:
        assert client.read(0, 10 * ROW_BYTES) == data + bytes(ROW_BYTES - 123)


def copy_image(data, target):
    """An image whose program copies ``data`` (a multiple of 8 bytes) to ``target`` through ABUF."""
    vectors = len(data) // 8
    source = layout.HEADER_BYTES + 256
    fmt = Format.parse("raw16").code

    def words(engine, **values):
        registers = isa.REGS[engine] | {k: (v,) for k, v in isa.COMMON_REGS.items()}
        return [isa.word(engine, registers[name][0], value) for name, value in values.items()]

    program = [
        *words(isa.LOAD, ADDR=source // 4, RUNS=1, RUN_LEN=vectors, FORMAT=fmt,
               DST_MEM=isa.MEM_ABUF, GO=0),
        *words(isa.STORE, ADDR=target // 4, RUNS=1, RUN_LEN=vectors, FORMAT=fmt, WAIT_LOAD=1, GO=0),
        isa.word(isa.CTRL, isa.MARK, 0), isa.word(isa.CTRL, isa.END, 0)]
    program = struct.pack(f"<{len(program)}I", *program)
    sections = [(layout.PROGRAM, layout.HEADER_BYTES, program), (layout.WEIGHTS, source, data)]
    fields = ARCH.as_dict() | dict(
        magic=layout.MAGIC, version=layout.VERSION, section_count=len(sections),
        file_bytes=source + len(data), region_bytes=target + len(data),
        program_offset=layout.HEADER_BYTES, program_words=len(program) // 4, input_offset=source,
        input_bytes=len(data), output_offset=target, output_bytes=len(data), layer_count=1,
        header_crc=0)
    table = b"".join(layout.SECTION.pack(kind, at, at, len(part), zlib.crc32(part))
                     for kind, at, part in sections)

    def header():
        fixed = layout.HEADER.pack(*(fields[name] for name, _ in layout.HEADER_FIELDS))
        return (fixed + table).ljust(layout.HEADER_BYTES, b"\0")

    fields["header_crc"] = zlib.crc32(header())
    return (header() + program).ljust(source, b"\0") + data


@pytest.mark.parametrize("preload", [False, True])
def test_accelerator_sees_the_same_memory(program, tmp_path, preload):
    """LOAD and STORE through native ports, of what the CPU or preload put there; the CPU's data
    cache does not hide the result, and --dump says the same."""
    data = random.Random(3).randbytes(8 * ARCH.abuf_depth)
    target = (1 << 20) + 3 * ROW_BYTES + 20
    image = copy_image(data, target)
    options = ["--dump", tmp_path / "dump", "--dump-start", target, "--dump-bytes", len(data)]
    if preload:
        (tmp_path / "image").write_bytes(image)
        options += ["--preload", tmp_path / "image"]
    with connected(program, *options) as client:
        if not preload:
            client.write(0, image)
        assert client.read(target, 1024) == bytes(1024)     # Now it is in the CPU's cache.
        client.request(Request(wire.RUN, struct.pack("<I", 7)))
        for _ in range(100):
            status = client.status()
            if status["state"] != wire.RUNNING:
                break
            time.sleep(0.05)
        assert (wire.STATES[status["state"]], status["error"]) == ("done", 0)
        assert status["layers_done"] == 1 and status["run_cycles"] > 2 * ARCH.abuf_depth
        assert client.read(target, len(data)) == data
        counters = client.request(Request(wire.COUNTERS, struct.pack("<I", 0)))
        counters = dict(zip(isa.COUNTERS, struct.unpack(f"<{len(isa.COUNTERS)}I", counters),
                            strict=True))
        assert (counters["read_words"], counters["write_words"]) == (len(data) // 4,) * 2
    assert (tmp_path / "dump").read_bytes() == data


# The program --------------------------------------------------------------------------------------

def test_pacing(program):
    """--uart-divisor: no more than one byte in so many clocks, each way."""
    data = random.Random(4).randbytes(2000)
    with connected(program, "--uart-divisor", 20) as client:
        before = client.status()["cycles"]
        client.write(0, data)
        written = client.status()["cycles"]
        assert client.read(0, len(data)) == data
        after = client.status()["cycles"]
    assert written - before > 20 * len(data) and after - written > 20 * len(data)


def run(program, *options):
    return subprocess.run([program, *map(str, options)], capture_output=True, text=True, timeout=60,
                          check=False)


def test_ends_without_a_client(program):
    idle = run(program, "--idle-timeout", 0.2)
    assert idle.returncode == 3 and "no client for" in idle.stderr
    limit = run(program, "--max-cycles", 3000)
    assert limit.returncode == 4 and "--max-cycles reached: 3000 clocks" in limit.stderr


def test_ends_when_the_client_is_silent(program):
    process, url = start(program, "--idle-timeout", 4)     # A busy machine may be slow to begin.
    client = Client(url, timeout=30)
    client.hello()
    assert process.wait(60) == 3
    assert "no byte from or to the client" in process.communicate()[0]
    client.close()


def test_bad_options(program, tmp_path):
    (tmp_path / "large").touch()
    with open(tmp_path / "large", "r+b") as file:
        file.truncate(DRAM_BYTES + 1)
    for options, text in (
            (["--port", "70000"], "--port 70000: allowed are whole numbers from 0 to 65535"),
            (["--port"], "--port: unknown option, or its value is missing"),
            (["--fast", "1"], "--fast: unknown option"),
            (["--uart-divisor", "0"], "allowed are whole numbers from 1"),
            (["--idle-timeout", "soon"], "allowed are seconds"),
            (["--preload", tmp_path / "none"], "none: cannot be read"),
            (["--preload", tmp_path / "large"], f"{DRAM_BYTES + 1} bytes, the DRAM holds"),
            (["--trace", tmp_path / "t.fst"], "this build has no tracing")):
        done = run(program, *options)
        assert done.returncode == 1 and text in done.stderr, (options, done.stderr)
        assert len(done.stderr.splitlines()) == 1


def test_port_in_use(program):
    process, url = start(program)
    try:
        done = run(program, "--port", url.rsplit(":", 1)[1])
        assert done.returncode == 1 and "Address already in use" in done.stderr
    finally:
        process.kill()
        process.communicate()


# Building -----------------------------------------------------------------------------------------

def test_second_build_is_quick_and_keyed(program):
    began = time.monotonic()
    assert sim.build_sim("tiny", say=pytest.fail) == program.parent
    assert time.monotonic() - began < 2
    assert (sim.BUILDS / "tiny").resolve() == program.parent.resolve()
    keys = {sim.build_key(arch, trace) for arch in ARCHS.values() for trace in (False, True)}
    assert len(keys) == 2 * len(set(ARCHS.values()))
    assert program.parent.name.removesuffix("-exercised") in keys


def test_unknown_arch():
    with pytest.raises(ValueError, match="arch 'huge': allowed are tiny, "):
        sim.build_sim("huge")
    with pytest.raises(ValueError, match="with tracing cannot be exercised"):
        sim.build_sim("tiny", trace=True, exercise=print)


def test_trace_headers_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CPATH", str(tmp_path))
    (tmp_path / "lz4.h").write_text("#error none\n")
    with pytest.raises(RuntimeError, match="apt-get install liblz4-dev zlib1g-dev"):
        verilate.check_trace_headers()


@pytest.mark.slow
def test_exercised():
    """Built twice, and then what every call gets."""
    arch, ran = dataclasses.replace(ARCHS["tiny"], vbuf_depth=64), []

    def exercise(directory):
        ran.append(run(directory / sim.NAME, "--max-cycles", 3000).returncode)

    directory = sim.build_sim(arch, exercise=exercise)
    assert directory.name.endswith("-exercised") and ran in ([4], [])
    assert sim.build_sim(arch, say=pytest.fail) == directory
    assert run(directory / sim.NAME, "--max-cycles", 3000).returncode == 4


@pytest.mark.slow
def test_trace(tmp_path):
    try:
        verilate.check_trace_headers()
    except RuntimeError as error:
        pytest.skip(str(error))
    traced = sim.build_sim("tiny", trace=True) / sim.NAME
    done = run(traced, "--max-cycles", 3000, "--trace", tmp_path / "t.fst", "--trace-start", 100,
               "--trace-end", 200)
    assert done.returncode == 4
    assert 1000 < (tmp_path / "t.fst").stat().st_size < 5 << 20
