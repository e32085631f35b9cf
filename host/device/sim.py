"""The simulated SoC as a device: a process of its own, reached over TCP."""

import collections
import os
import queue
import subprocess
import tempfile
import threading
import weakref
from pathlib import Path

from ...spec.image import NOT_LOADED
from .base import DeviceError
from .remote import RemoteDevice

BINARY = "litepress_sim"
DEFAULT_ARCH = "sim"
SELFTEST_BYTES = 1 << 16    # Of DRAM, by default.
LISTENING = "litepress_sim: listening on "
BUILDS = Path(__file__).resolve().parents[2] / "build" / "sim"


def find_simulator(name=None):
    """The directory of a built simulator. name: a directory, the binary in it, or an arch that
    `litepress sim --arch` has built; default the arch "sim". DeviceError: there is none."""
    name = name or DEFAULT_ARCH
    path = BUILDS / name if (BUILDS / name / BINARY).is_file() else Path(name)
    path = path.parent if path.name == BINARY and path.is_file() else path
    if not (path / BINARY).is_file():
        raise DeviceError(f"no simulator at {path}: expected the file {BINARY} there, or a name "
                          f"that `litepress sim --arch NAME` has built")
    return path


def _stop(process):
    """Terminate, then kill."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _loaded_region(image):
    """The region's bytes as a load leaves them, up to the end of the last section."""
    loaded = [s for s in image.sections if s.dram != NOT_LOADED]
    region = bytearray(max(s.dram + s.size for s in loaded))
    header = image.header_bytes()
    region[:len(header)] = header
    for section in loaded:
        region[section.dram:section.dram + section.size] = section.data
    return bytes(region)


class SimDevice(RemoteDevice):
    """Starts a simulator and talks to it; it ends with this object.

    directory: see find_simulator. preload: an Image whose sections are in DRAM from the start, so
    that load() has only to verify them. trace: (file, first clock, last clock) of a waveform.
    idle_timeout: seconds of silence after which the simulator ends by itself. coded: see
    RemoteDevice.
    """

    def __init__(self, directory=None, preload=None, trace=None, idle_timeout=120.0, timeout=60.0,
                 run_timeout=3600.0, coded=None):
        self.directory = find_simulator(directory).resolve()
        command = [str(self.directory / BINARY), "--port", "0",
                   "--idle-timeout", f"{idle_timeout:g}"]
        if trace:
            command += ["--trace", str(Path(trace[0]).resolve()), "--trace-start", str(trace[1]),
                        "--trace-end", str(trace[2])]
        preload_file = None
        if preload is not None:
            handle, preload_file = tempfile.mkstemp(suffix=".bin")
            with os.fdopen(handle, "wb") as f:
                f.write(_loaded_region(preload))
            command += ["--preload", preload_file]
        try:
            self.process = subprocess.Popen(command, cwd=self.directory, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                            text=True, errors="replace")
            self._kill = weakref.finalize(self, _stop, self.process)
            self.output = collections.deque(maxlen=20)
            port = self._port(timeout)
            try:
                super().__init__(f"socket://localhost:{port}", timeout=timeout,
                                 run_timeout=run_timeout, coded=coded)
            except DeviceError:
                self._kill()
                raise
        except OSError as error:
            raise DeviceError(f"simulator {command[0]} does not start: "
                              f"{error.strerror}") from None
        finally:
            # The simulator has read it by the time it listens.
            if preload_file:
                os.unlink(preload_file)

    def selftest(self, arch=None, image=None, dram_bytes=SELFTEST_BYTES, progress=None):
        """See Device.selftest; a simulation of all of the DRAM would take long."""
        return super().selftest(arch, image, dram_bytes, progress)

    def _port(self, timeout):
        """The port it listens on; a thread goes on reading its output, lest it block."""
        lines = queue.Queue()

        def pump(stream, output):
            with stream:
                for line in stream:
                    output.append(line.rstrip())
                    lines.put(line)
            lines.put(None)

        threading.Thread(target=pump, args=(self.process.stdout, self.output), daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=timeout)
            except queue.Empty:
                self._kill()
                raise DeviceError(f"simulator {self.directory} did not say its port within "
                                  f"{timeout:g} s") from None
            if line is None:
                code = self.process.wait()
                last = self.output[-1] if self.output else "it said nothing"
                self._kill()
                raise DeviceError(f"simulator {self.directory} ended with code {code}: {last}")
            if line.startswith(LISTENING):
                return int(line[len(LISTENING):])

    def close(self):
        super().close()
        self._kill()
