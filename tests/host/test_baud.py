"""The client finds a serial line's speed: ptys, behind which the native firmware hears and is heard
at one speed only."""

import os
import pty
import random
import re
import select
import socket
import subprocess
import sys
import termios
import threading
import time
import tty
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import serial

from litepress import cli
from litepress.host.device import DeviceError, connect
from litepress.host.device import baud as speeds
from litepress.host.device.about import about
from litepress.host.device.client import Client
from litepress.host.device.frame import Deframer, encode
from litepress.host.device.remote import RemoteDevice
from litepress.spec import wire

sys.path.append(str(Path(__file__).resolve().parents[1] / "firmware"))
from native import ToyImage, build, running

RATES = {getattr(termios, f"B{rate}"): rate for rate in wire.BAUDS}
# What looks like the start of a long frame.
FALSE_START = wire.SYNC + bytes((wire.HELLO, 7, 0xe8, 3))
REVISION = wire.revision_of("8db05f8495961bcfeab677c336389203a1af1f2e", True)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    binary = build(tmp_path_factory.mktemp("native"))
    with running(binary, "--keep", "--revision", REVISION) as url:
        yield url


class Line:
    """A serial port, ``name``, and what hangs on it.

    baud: at which the device at ``url`` is connected; at others both ends get noise. before: noise
    that comes before each answer. deaf: so many requests are lost. tried: speeds of what the host
    sent, without repetitions.
    """

    def __init__(self, url=None, baud=None, before=b"", deaf=0, echo=False):
        self.baud, self.before, self.deaf, self.echo = baud, before, deaf, echo
        self.tried, self.noise = [], random.Random(baud)
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.name = os.ttyname(self.slave)
        self.device = url and socket.create_connection(("localhost", int(url.rsplit(":", 1)[1])))
        self.ended, self.end = os.pipe()
        self.thread = threading.Thread(target=self._pump, daemon=True)
        self.thread.start()

    def _pump(self):
        sources = [self.master, self.ended] + ([self.device] if self.device else [])
        while True:
            ready = select.select(sources, [], [])[0]
            if self.ended in ready:
                return
            # The pty's own speed: what the host has set.
            rate = RATES.get(termios.tcgetattr(self.slave)[5])
            if self.device in ready:
                data = self.device.recv(65536)
                os.write(self.master, self.before + data if rate == self.baud
                         else self.noise.randbytes(len(data)))
            if self.master in ready:
                data = os.read(self.master, 65536)
                if self.tried[-1:] != [rate]:
                    self.tried.append(rate)
                self._to_device(data, rate)

    def _to_device(self, data, rate):
        if self.echo:
            os.write(self.master, data)
        if not self.device:
            return
        if rate != self.baud:
            self.device.sendall(self.noise.randbytes(len(data)) + FALSE_START)
            os.write(self.master, self.noise.randbytes(100) + FALSE_START)
        elif self.deaf:
            self.deaf -= 1
        else:
            self.device.sendall(data)

    def close(self):
        os.write(self.end, b"x")
        self.thread.join()
        for fd in (self.master, self.slave, self.ended, self.end):
            os.close(fd)
        if self.device:
            self.device.close()


@contextmanager
def line(*args, **options):
    made = Line(*args, **options)
    try:
        yield made
    finally:
        made.close()


def test_speeds_are_told_apart():
    """A receiver would take one for another below 5 %."""
    assert wire.BAUDS[0] == wire.BAUD and wire.BAUDS[-1] == 115_200
    assert all(fast / slow > 1.08 for fast, slow in pairwise(wire.BAUDS))


@pytest.mark.parametrize("baud", [3_000_000, 1_000_000, 921_600, 500_000, 115_200])
def test_found(url, baud):
    """Then everything works at it: a load and a run."""
    image = ToyImage(random.Random(1).randbytes(5000))
    with line(url, baud) as port, connect(port.name) as device:
        assert (device.client.baud, device.client.detected) == (baud, True)
        # The fastest first, and none after the one that answers.
        assert port.tried == list(wire.BAUDS[:wire.BAUDS.index(baud) + 1])
        device.load(image)
        assert device.run_raw(bytes(600)) == bytes([1] * 1500)
        assert port.tried[-1] == baud


@pytest.mark.parametrize("before", [random.Random(5).randbytes(40), FALSE_START,
                                    wire.SYNC[:2] + FALSE_START + wire.SYNC[:3]])
def test_noise_before_an_answer(url, before):
    with line(url, 1_000_000, before=before) as port:
        client = Client(port.name)
        assert client.baud == 1_000_000
        assert client.hello()["columns"] == 4
        client.close()


def test_asked_again(url):
    """A device that is busy, or did not get it, is heard in a later round."""
    with line(url, 1_500_000, deaf=2) as port, RemoteDevice(port.name) as device:
        assert device.client.baud == 1_500_000
        assert port.tried == [*wire.BAUDS, *wire.BAUDS, *wire.BAUDS[:3]]


def test_a_late_answer_is_not_taken_for_another(url):
    """A HELLO of the search that is answered when a request is under way."""
    with line(url, 3_000_000, before=encode(wire.HELLO | wire.REPLY, 0, bytes(60))) as port:
        client = Client(port.name)
        assert client.hello()["protocol"] == wire.PROTOCOL_VERSION
        assert client.status()["state"] == wire.IDLE
        client.close()


def test_only_the_given_one(url):
    with line(url, 460_800) as port:
        with RemoteDevice(port.name, baud=460_800) as device:
            assert (device.client.baud, device.client.detected) == (460_800, False)
        assert port.tried == [460_800]
        with pytest.raises(DeviceError, match=re.escape(
                f"no device at {port.name}: no answer to HELLO at 1,000,000 baud: is this the "
                f"board's port, is its bitstream loaded (litepress flash), does it run at that "
                f"speed (without --baud it is found)?")):
            RemoteDevice(port.name, baud=1_000_000, timeout=0.5)
        assert port.tried == [460_800, 1_000_000]


@pytest.mark.parametrize("echo", [False, True])
def test_nobody(echo):
    """One line; not even when what was sent comes back."""
    with line(echo=echo) as port:
        start = time.monotonic()
        with pytest.raises(DeviceError) as error:
            connect(port.name, timeout=0)
        assert time.monotonic() - start < 10
        assert str(error.value) == (
            f"no device at {port.name}: no answer to HELLO at 3,000,000, 2,000,000, 1,500,000, "
            f"1,000,000, 921,600, 500,000, 460,800, 230,400 or 115,200 baud: is this the board's "
            f"port, is its bitstream loaded (litepress flash), was it built for another speed "
            f"(give it --baud)?")
        assert port.tried == list(wire.BAUDS)


def test_the_time_is_kept():
    """Rounds begin until the time is over, which a device has that checks a large image."""
    with line() as port:
        start = time.monotonic()
        with pytest.raises(DeviceError):
            connect(port.name, timeout=3)
        assert 3 <= time.monotonic() - start < 10
        assert port.tried[:len(wire.BAUDS) + 1] == [*wire.BAUDS, wire.BAUD]


class Slow(serial.Serial):
    """A port that can do only some speeds."""

    can = (115_200,)

    @serial.Serial.baudrate.setter
    def baudrate(self, rate):
        if self.is_open and rate not in self.can:
            raise ValueError("Failed to set custom baud rate")
        serial.Serial.baudrate.fset(self, rate)


def test_speeds_the_port_cannot_do(url, monkeypatch):
    monkeypatch.setattr(serial, "serial_for_url", Slow)
    with line(url, 115_200) as port:
        client = Client(port.name)
        assert client.baud == 115_200 and port.tried == [115_200]
        client.close()
    with line() as port:
        with pytest.raises(DeviceError, match=r"at 115,200 baud \(the port cannot do 3,000,000, "
                                              r".*, 460,800 or 230,400\): is this"):
            Client(port.name, timeout=0)
        monkeypatch.setattr(Slow, "can", ())
        with pytest.raises(DeviceError, match=r"the port cannot be set to 3,000,000, .* or 115,200 "
                                              r"baud$"):
            Client(port.name, timeout=10)


def test_a_port_that_goes_away(monkeypatch):
    """Its cable is pulled during the search: one line, at once."""
    def gone(*_):
        raise termios.error(5, "Input/output error")

    monkeypatch.setattr(termios, "tcflush", gone)
    with line() as port, pytest.raises(DeviceError) as error:
        Client(port.name)
    assert str(error.value) == f"no device at {port.name}: Input/output error"


def test_no_search_where_there_is_no_speed(url):
    client = Client(url)
    assert (client.baud, client.detected) == (None, False)
    client.hello()
    assert client.bytes_sent == wire.OVERHEAD
    client.close()
    for name in ("golden", "sim", "sim:tiny", "socket://localhost:1"):
        with pytest.raises(ValueError, match=f"--baud 9600: device {name} has no speed"):
            connect(name, baud=9600)
    for baud in (0, -5, wire.MIN_BAUD - 1, wire.BAUD + 1):
        with pytest.raises(ValueError, match=rf"--baud {baud}: allowed are 9600 to 3000000"):
            connect("/dev/ttyNOTHING", baud=baud)


def test_about(url):
    """What ``litepress info`` prints."""
    with RemoteDevice(url) as device:
        assert dict(about(device)) == {
            "port": url, "revision": "8db05f8+changes", "protocol": str(wire.PROTOCOL_VERSION),
            "clock": "1 MHz", "DRAM": "1 MiB", "array": "mac, 16 multipliers: --arch tiny",
            "memories": "ABUF 2,048, WBUF 512, PBUF 256, VBUF 256 words",
            "engines": "load, compute, store, vector",
            "formats": "raw8, raw8u, raw16, zfpe, zfpi, zfpiu, zfpin, zfpinu, ebpc8, ebpc8u, "
                       "delta, pot, apot"}
    with connect("golden") as device, pytest.raises(ValueError, match="golden: it is a model"):
        about(device)


def test_revision():
    commit = "00005f8495961bcfeab677c336389203a1af1f2e"
    assert wire.revision_of(commit, False) == 0x00005f80
    assert wire.revision_text(wire.revision_of(commit, False)) == "00005f8"
    assert wire.revision_text(wire.revision_of("f" * 40, True)) == "fffffff+changes"
    assert wire.revision_text(0) == "not known"


def test_another_protocol():
    """Is said, whatever else its HELLO has in it."""
    with socket.create_server(("localhost", 0)) as server:
        def answer():
            host, deframer = server.accept()[0], Deframer()
            while data := host.recv(4096):
                for kind, seq, _ in deframer.feed(data):
                    host.sendall(encode(kind | wire.REPLY, seq, bytes((6, 0, 0, 0)) + bytes(52)))

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(DeviceError, match=rf"speaks protocol 6, this client "
                                              rf"{wire.PROTOCOL_VERSION}: build it again$"):
            connect(f"socket://localhost:{server.getsockname()[1]}")


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "litepress.cli", *map(str, arguments)],
                          capture_output=True, text=True, timeout=60, check=False)


def test_commands(url, capsys):
    """The speed that was found is said; with --baud, nothing is tried."""
    with line(url, 2_000_000) as port:
        done = command("info", "--device", port.name)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"port      {port.name}, 2,000,000 baud\n" in done.stdout
        assert "revision  8db05f8+changes\n" in done.stdout
        done = command("info", "--device", port.name, "--baud", 2_000_000)
        assert done.returncode == 0 and port.tried == [3_000_000, 2_000_000]
        for baud, said in ((None, f"{port.name}: 2,000,000 baud\n"), (2_000_000, "")):
            cli._connect(port.name, baud).close()
            assert capsys.readouterr().out == said
    for name in ("info", "selftest"):
        done = command(name, "--device", "sim", "--baud", 115200)
        assert done.stderr == ("litepress: --baud 115200: device sim has no speed: only a serial "
                               "port has\n")


def test_the_receiver_forgets_before_the_next_hello():
    """What a wrong speed may have begun at the device ends while its answer is waited for."""
    pytest.importorskip("litex")
    from litepress.gateware.wire import WirePort
    from litepress.soc.boards import BOARDS

    slowest = min(board.clk_freq for board in BOARDS.values())
    assert 2 * 2**20 / slowest < speeds.ANSWER_S
    assert WirePort.__init__.__defaults__[2] == 2**20
