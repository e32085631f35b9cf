"""The ``litepress`` command. It may call every part of the package; soc runs as a subprocess."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  rich_markup_mode="markdown",
                  help="Compressed neural networks on LiteX SoCs for Lattice ECP5 boards.")
# Tables keep their columns when the output goes into a file.
console = Console(width=None if sys.stdout.isatty() else 160)

ImageFile = Annotated[Path, typer.Argument(help="An image made by `litepress compress`.")]
DeviceName = Annotated[str, typer.Option("--device", "-d", help="golden | sim | sim:ARCH | "
                                         "socket://HOST:PORT | a serial port (/dev/ttyUSB0).")]
Baud = Annotated[int | None, typer.Option(help="Speed of the serial port; default that at which "
                                          "the device answers.")]
BoardName = Annotated[str, typer.Option(help="A board of soc/boards.py.")]


def _resolve(spec):
    """``package.module:name`` or ``file.py:name`` -> the object; called if it is a function."""
    import importlib
    import importlib.util
    import inspect

    module_name, _, name = spec.partition(":")
    if not name:
        raise ValueError(f"{spec!r}: expected MODULE:NAME or FILE.py:NAME")
    try:
        if module_name.endswith(".py"):
            loader = importlib.util.spec_from_file_location(Path(module_name).stem, module_name)
            module = importlib.util.module_from_spec(loader)
            loader.loader.exec_module(module)
        else:
            module = importlib.import_module(module_name)
        value = getattr(module, name)
    except (ImportError, AttributeError, OSError) as error:
        raise ValueError(f"{spec!r}: {error}") from None
    return value() if inspect.isfunction(value) else value


def _arrays(path):
    """Images of a .npy file, (N,C,H,W) or (C,H,W) float32 -> (N,C,H,W)."""
    import numpy as np

    try:
        x = np.load(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else \
            "allowed are arrays saved by numpy.save"
        raise ValueError(f"{path}: not a readable .npy file: {reason}") from None
    if x.ndim == 3:
        x = x[None]
    if x.ndim != 4:
        raise ValueError(f"{path}: shape {x.shape}: expected (N,C,H,W) or (C,H,W)")
    return x.astype(np.float32)


def _progress(*columns):
    return Progress(TextColumn("{task.description}"), BarColumn(), *columns, TimeRemainingColumn(),
                    console=console, transient=False)


def load_with_progress(device, image):
    """Load ``image`` into ``device`` behind a progress bar; returns what device.load returns."""
    with _progress(DownloadColumn()) as bar:
        task = bar.add_task("load", total=None)
        return device.load(image, progress=lambda done, total:
                           bar.update(task, completed=done, total=total))


def _connect(name, baud=None, say=True):
    """host.device.connect; say: what speed it found. baud: None, or the only one to try."""
    from .host.device import connect

    device = connect(name, **({} if baud is None else {"baud": baud}))
    client = getattr(device, "client", None)
    if say and client and client.detected:
        console.print(f"{name}: {client.baud:,} baud", highlight=False, soft_wrap=True)
    return device


@app.command()
def compress(
    model: Annotated[str, typer.Argument(help="The PyTorch module: MODULE:NAME or FILE.py:NAME, a "
                                         "module or a function that returns one.")],
    calibration: Annotated[str, typer.Option(help="Calibration inputs: FILE.npy (N,C,H,W) float32, "
                                             "or MODULE:NAME.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the image goes.")],
    weights: Annotated[str, typer.Option(help="raw8 | raw16 | zfpe4 .. zfpe16 | zfpi4 .. zfpi15, "
                                         "bits a value on average; delta2 .. delta6, pot:3, pot:4, "
                                         "apot:4.")] = "zfpi8",
    activations: Annotated[str, typer.Option(help="raw8 | raw16 | zfpe4 .. | zfpi4 .. | ebpc8.")] =
    "zfpi8",
    arch: Annotated[str, typer.Option(help="Size of the accelerator: see spec/arch.py.")] = "sim",
    bias_correction: Annotated[bool, typer.Option(help="Correct the mean error of every channel on "
                                                  "the calibration inputs.")] = True,
    rounding: Annotated[bool, typer.Option(help="Choose the weights that change each layer's "
                                           "output least, not the nearest.")] = True,
    equalization: Annotated[bool, typer.Option(help="Equalize the ranges of channels across "
                                               "layers.")] = False,
    allocation: Annotated[bool, typer.Option(help="Give every tensor and layer its own bits in "
                                             "zfpe and zfpi, the same on average.")] = True,
    keep: Annotated[bool, typer.Option(help="Give every tensor a place of its own, so that all can "
                                       "be read back.")] = False,
    fuse: Annotated[bool, typer.Option(help="Let layers pass activations on inside the chip, as "
                                       "int16, where that is faster.")] = True,
    coded: Annotated[bool, typer.Option(help="Write a smaller file, of Huffman streams: the same "
                                        "image for all other commands.")] = False,
):
    """Quantize, compress and pack a PyTorch network into one DRAM image.

    Example: `litepress compress litepress.models.mobilenet:mobilenet_v2_fashion --calibration
    litepress.models.data:calibration_images -o mobilenet.lpk`
    """
    from . import compress as run_compress
    from .host.report import step_reporter

    images = _arrays(calibration) if calibration.endswith(".npy") else _resolve(calibration)
    with _progress() as bar:
        image = run_compress(_resolve(model), images[:1], calibration=images, weights=weights,
                             activations=activations, arch=arch, keep=keep, fuse=fuse,
                             bias_correction=bias_correction, rounding=rounding,
                             equalization=equalization, allocation=allocation,
                             progress=step_reporter(bar))
    size = image.save(out, coded=coded)
    console.print(f"{out}: {size:,} bytes{f' for {len(image.bytes()):,}' if coded else ''}, "
                  f"sha256 {image.hash}", soft_wrap=True)
    cost = image.meta["calibration"]
    console.print(f"On the {cost['images']} calibration inputs, beside the float network: the "
                  f"same class on {cost['same_class']}, outputs' SNR {cost['snr_db']:.1f} dB",
                  soft_wrap=True)


@app.command()
def inspect(
    image: ImageFile,
    program: Annotated[bool, typer.Option(help="List the program's words too.")] = False,
):
    """Print what is in an image: header, sections, layers, formats, bytes.

    Example: `litepress inspect mobilenet.lpk`
    """
    from .host.image import Image
    from .host.inspect import inspect as show

    show(Image.load(image), console, program=program)


@app.command()
def load(image: ImageFile, device: DeviceName, baud: Baud = None):
    """Load an image into a device over its serial line; what matches already is skipped.

    Example: `litepress load mobilenet.lpk --device /dev/ttyUSB0`
    """
    from .host.image import Image

    loaded = Image.load(image)
    with _connect(device, baud) as target:
        load_with_progress(target, loaded)
    console.print(f"{image}: loaded, CRC checked on the device, sha256 {loaded.hash}",
                  soft_wrap=True)


@app.command()
def run(
    image: ImageFile,
    inputs: Annotated[Path, typer.Option("--input", "-i", help="FILE.npy: (N,C,H,W) or (C,H,W) "
                                         "float32, preprocessed.")],
    device: DeviceName = "golden",
    baud: Baud = None,
    counters: Annotated[bool, typer.Option(help="Print the per-layer table of the last run.")] =
    False,
):
    """Load an image and run inputs through it.

    Example: `litepress run mobilenet.lpk --input images.npy --device sim --counters`
    """
    from .host.image import Image
    from .host.report import layer_table, predictions

    loaded, x = Image.load(image), _arrays(inputs)
    console.print(f"{image}: sha256 {loaded.hash}", soft_wrap=True)
    with _connect(device, baud) as target:
        load_with_progress(target, loaded)
        for index, one in enumerate(x):
            console.print(f"{index}: {predictions(loaded, target.run(one))}")
        if counters:
            slots = target.counters()
            console.print(layer_table(loaded, slots) if slots else
                          f"device {device} counts no clocks: no table")


@app.command()
def info(device: DeviceName, baud: Baud = None):
    """Print what a device says of itself: what it was built from, array, formats, memory, clock.

    Example: `litepress info --device /dev/ttyUSB0`
    """
    from .host.device.about import about

    with _connect(device, baud, say=False) as target:
        for what, text in about(target):
            console.print(f"{what:10}{text}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def selftest(
    device: DeviceName = "",
    baud: Baud = None,
    arch: Annotated[str, typer.Option(help="The size the device should have (spec/arch.py); "
                                      "default what it says.")] = "",
    dram: Annotated[float | None, typer.Option(help="MiB of DRAM whose every bit is tested, spread "
                                               "over all of it; default all, of a simulator 1/16.",
                                               min=0)] = None,
    image: Annotated[Path | None, typer.Option(help="Tests from a file that --write made.")] = None,
    write: Annotated[Path | None, typer.Option(help="Write the tests for --arch as an image, and "
                                               "end.")] = None,
):
    """Test whether a board works: its DRAM, DMA, each codec, the array and VECTOR, each against
    known answers. It names what failed and ends with exit code 1.

    **It overwrites what the device's DRAM holds**: load your image again afterwards.

    Example: `litepress selftest --device /dev/ttyUSB0`
    """
    from .host.image import Image
    from .host.selftest import build
    from .spec.arch import ARCHS

    if arch and arch not in ARCHS:
        raise ValueError(f"--arch {arch}: allowed are {', '.join(ARCHS)}")
    if write:
        made = build(ARCHS[arch or "sim"])
        made.save(write)
        console.print(f"{write}: {len(made.bytes()):,} bytes, sha256 {made.hash}", soft_wrap=True)
        return
    if not device:
        raise ValueError("--device: missing: golden | sim | sim:ARCH | socket://HOST:PORT | a "
                         "serial port (/dev/ttyUSB0)")
    options = {} if dram is None else {"dram_bytes": int(dram * 2**20)}
    if image:
        options["image"] = Image.load(image)
    count, failed = 0, []
    with _connect(device, baud) as target, _progress() as bar:
        task = bar.add_task("self-test", total=None)
        for outcome in target.selftest(
                ARCHS.get(arch), **options, progress=lambda what, done, total:
                bar.update(task, description=what, completed=done, total=total)):
            count += 1
            if not outcome.passed:
                failed.append(outcome.name)
            bar.console.print(str(outcome), highlight=False, soft_wrap=True)
        bar.remove_task(task)
    if failed:
        console.print(f"FAILED: {'; '.join(failed)}. Look at the first one first.",
                      highlight=False, soft_wrap=True)
        raise typer.Exit(1)
    console.print(f"All {count} tests passed.", highlight=False)


def _run(module, *arguments):
    """Run a module of soc/ or bench/ as its own process: host code never imports it."""
    code = subprocess.call([sys.executable, "-m", f"litepress.{module}", *arguments])
    if code:
        raise typer.Exit(code)


@app.command()
def sim(
    arch: Annotated[str, typer.Option(help="Size of the accelerator: see spec/arch.py.")] = "sim",
    trace: Annotated[bool, typer.Option(help="Build with FST tracing compiled in.")] = False,
    exercise: Annotated[bool, typer.Option(help="Build twice, the second time for what a run of "
                                           "the first used: faster, for long runs.")] = False,
):
    """Build the simulator of the whole SoC (once; later calls find it in build/sim).

    Example: `litepress sim --arch tiny`
    """
    if trace and exercise:
        raise ValueError("--trace and --exercise: allowed is one of them")
    if exercise:
        _run("bench.exercise", "--arch", arch)
    else:
        _run("soc.sim", "--arch", arch, *(["--trace"] if trace else []))


@app.command()
def build(
    board: BoardName = "ulx3s-85f",
    arch: Annotated[str, typer.Option(help="Size of the accelerator (spec/arch.py); default the "
                                      "board's.")] = "",
    clk_freq: Annotated[str, typer.Option(help="System clock in MHz; default the board's.")] = "",
    sdram_module: Annotated[str, typer.Option(help="DRAM chip, a class of litedram.modules; "
                                              "default the board's.")] = "",
    baud: Annotated[int | None, typer.Option(help="Speed of the serial line; default the board's, "
                                             "3000000.")] = None,
    seeds: Annotated[str, typer.Option(help="Of placement, by commas: until the clocks are "
                                       "met.")] = "",
):
    """Build a board's bitstream with Yosys and nextpnr. A missed clock is an error.

    Example: `litepress build --board ulx3s-85f`
    """
    options = {"--arch": arch, "--clk-freq": clk_freq, "--sdram-module": sdram_module,
               "--baud": "" if baud is None else str(baud), "--seeds": seeds}
    _run("soc.board", "--board", board, *(word for option, value in options.items() if value
                                          for word in (option, value)))


@app.command()
def flash(
    board: BoardName = "ulx3s-85f",
    bitstream: Annotated[str, typer.Option(help="Another file than the one built for the "
                                           "board.")] = "",
    permanent: Annotated[bool, typer.Option("--flash", help="Into the configuration flash that the "
                                            "FPGA starts from.")] = False,
):
    """Load a board's bitstream with openFPGALoader: into the FPGA, gone when the power is.

    Example: `litepress flash --board ulx3s-85f`
    """
    _run("soc.flash", "--board", board, *(["--bitstream", bitstream] if bitstream else []),
         *(["--flash"] if permanent else []))


@app.command()
def bench(
    weights: Annotated[str, typer.Option(help="Storage format of the weights.")] = "zfpi8",
    activations: Annotated[str, typer.Option(help="... of the activations.")] = "zfpi8",
    nets: Annotated[str, typer.Option(help="mobilenet_v2_224 | mobilenet_v2_035_160 | "
                                      "mobilenet_v2_96, several by commas; default all.")] = "",
):
    """Measure whole networks on the simulated SoC with 128 multipliers, into docs/results.

    Example: `litepress bench --nets mobilenet_v2_96`
    """
    _run("bench.cycles", "--weights", weights, "--activations", activations,
         *(["--nets", nets] if nets else []))


def main():
    """Entry point: errors become one line and exit code 1 (LITEPRESS_DEBUG=1: a traceback)."""
    try:
        app()
    except (ValueError, OSError, RuntimeError, KeyboardInterrupt) as error:
        if os.environ.get("LITEPRESS_DEBUG"):
            raise
        print(f"litepress: {error or type(error).__name__}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
