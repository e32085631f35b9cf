"""The command line: bad input gets one clear line and a non-zero exit code."""

import re
import socket
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest

import litepress
from litepress.host.image import Image
from litepress.models.tiny import calibration_images, tiny
from litepress.spec import image as layout

MODEL = "litepress.models.tiny:tiny"
CALIBRATION = "litepress.models.tiny:calibration_images"


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "litepress.cli", *map(str, arguments)],
                          capture_output=True, text=True, timeout=300, check=False)


def refused(*arguments):
    """The one line a refused command says."""
    done = run(*arguments)
    assert done.returncode != 0, done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("litepress: "), done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def image():
    images = calibration_images(8)
    return litepress.compress(tiny(), images[:1], images, arch="tiny", bias_correction=False)


@pytest.fixture
def file(image, tmp_path):
    path = tmp_path / "tiny.lpk"
    image.save(path)
    return path


def with_header(data, **fields):
    """The file with header fields changed and the header's CRC right again."""
    names = [name for name, _ in layout.HEADER_FIELDS]
    values = list(layout.HEADER.unpack_from(data))
    for name, value in fields.items():
        values[names.index(name)] = value
    values[-1] = 0
    rest = data[layout.HEADER.size:layout.HEADER_BYTES]
    values[-1] = zlib.crc32(layout.HEADER.pack(*values) + rest)
    return layout.HEADER.pack(*values) + data[layout.HEADER.size:]


def test_help_shows_an_example():
    for command in ("compress", "inspect", "load", "run", "sim", "build", "flash"):
        done = run(command, "--help")
        assert done.returncode == 0 and "Example:" in done.stdout, command


def test_compress_inspect_and_run(tmp_path):
    path, inputs = tmp_path / "new.lpk", tmp_path / "x.npy"
    done = run("compress", MODEL, "--calibration", CALIBRATION, "-o", path, "--arch", "tiny",
               "--weights", "zfpe10", "--no-bias-correction")
    assert done.returncode == 0, done.stderr
    image = Image.load(path)
    assert image.hash in done.stdout
    assert re.search(r"the same class on \d+, outputs' SNR \d+\.\d dB", done.stdout)
    done = run("inspect", path)
    assert done.returncode == 0 and "zfpe10" in done.stdout, done.stderr
    np.save(inputs, calibration_images(2))
    done = run("run", path, "--input", inputs)
    assert done.returncode == 0 and image.hash in done.stdout, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.lpk", "x.npy"]


def test_wrong_magic(file):
    file.write_bytes(with_header(file.read_bytes(), magic=0x12345678))
    line = refused("inspect", file)
    assert str(file) in line and "magic" in line


def test_wrong_version(file):
    file.write_bytes(with_header(file.read_bytes(), version=99))
    line = refused("inspect", file)
    assert "version" in line and "99" in line


@pytest.mark.parametrize("keep", [0, 10, 300, 600, -1])
def test_truncated(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    line = refused("inspect", file)
    assert str(file) in line and ("bytes" in line)


def test_a_flipped_bit_in_the_header_or_any_section(file, image):
    data = file.read_bytes()
    places = {"header": 20}
    offset = {s: data.find(s.data) for s in image.sections}
    places |= {layout.SECTION_NAMES[s.type]: at + s.size // 2 for s, at in offset.items()}
    assert set(places) >= {"header", "meta", "program", "weights", "params"}
    for name, at in places.items():
        changed = bytearray(data)
        changed[at] ^= 0x10
        file.write_bytes(changed)
        line = refused("run", file, "--input", file)
        assert name in line.lower() and "crc" in line.lower(), line


def test_unsupported_layers_are_all_named(tmp_path):
    module = tmp_path / "net.py"
    module.write_text("from torch import nn\n"
                      "def net():\n"
                      "    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=3), nn.Sigmoid(),\n"
                      "                         nn.MaxPool2d(2), nn.Conv2d(4, 4, 1))\n")
    out = tmp_path / "out.lpk"
    line = refused("compress", f"{module}:net", "--calibration", CALIBRATION, "-o", out)
    for part in ("0 (conv2d): stride [3, 3]", "1 (sigmoid)", "2 (max_pool2d)"):
        assert part in line
    assert not out.exists()


def test_a_tensor_that_cannot_fit(tmp_path):
    module = tmp_path / "net.py"
    module.write_text("from torch import nn\n"
                      "def net():\n"
                      "    return nn.Sequential(nn.Conv2d(1, 900, 7, padding=3),\n"
                      "                         nn.Conv2d(900, 8, 7, padding=3))\n")
    line = refused("compress", f"{module}:net", "--calibration", CALIBRATION, "-o",
                   tmp_path / "out.lpk", "--arch", "tiny", "--no-bias-correction", "--no-rounding",
                   "--no-allocation")
    assert "fit" in line and "layer" in line


def test_wrong_input_shape(file, tmp_path):
    inputs = tmp_path / "x.npy"
    np.save(inputs, np.zeros((1, 3, 28, 28), np.float32))
    line = refused("run", file, "--input", inputs)
    assert "(3, 28, 28)" in line and "(1, 28, 28)" in line


def test_bad_arguments(file, tmp_path):
    assert "zfpe4 to zfpe16" in refused("compress", MODEL, "--calibration", CALIBRATION, "-o",
                                        tmp_path / "o.lpk", "--weights", "zfpe99")
    assert "allowed are" in refused("compress", MODEL, "--calibration", CALIBRATION, "-o",
                                    tmp_path / "o.lpk", "--arch", "huge")
    assert "MODULE:NAME" in refused("compress", "nonsense", "--calibration", CALIBRATION, "-o",
                                    tmp_path / "o.lpk")
    assert "allowed are golden" in refused("load", file, "--device", "nothing")


def test_inputs_that_are_no_arrays(file, tmp_path):
    for path, reason in ((file, "numpy.save"), (tmp_path / "none.npy", "No such file")):
        line = refused("run", file, "--input", path)
        assert str(path) in line and reason in line


def test_no_device_at_the_port(file):
    assert "/dev/ttyNOTHING" in refused("load", file, "--device", "/dev/ttyNOTHING")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    assert f"localhost:{port}" in refused("load", file, "--device", f"socket://localhost:{port}")


def test_a_speed_only_serial_ports_have(file, tmp_path):
    inputs = tmp_path / "x.npy"
    np.save(inputs, np.zeros((1, 1, 28, 28), np.float32))
    for words in (("load", file, "--device", "golden"), ("run", file, "--input", inputs)):
        assert "--baud 115200: device golden has no speed" in refused(*words, "--baud", 115200)
    assert "--baud 5: allowed are 9600 to 3000000" in refused(
        "run", file, "--input", inputs, "--device", "/dev/ttyNOTHING", "--baud", 5)


def test_a_device_that_never_answers(file):
    with socket.create_server(("localhost", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].recv(1), daemon=True)
        thread.start()
        line = refused("load", file, "--device",
                       f"socket://localhost:{server.getsockname()[1]}")
    assert "answer" in line
