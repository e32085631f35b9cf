"""A simulator of the SoC that is optimized for what it does most.

    python -m litepress.bench.exercise --arch 85f

Builds it, runs a small network on it, and builds it again with GCC's counts of that run. Bench
builds the simulator it measures in this way; it pays for runs of more than some 20 million clocks.
"""

import logging
import sys
from typing import Annotated

import typer

from ..host.api import compress
from ..host.command import start
from ..host.device import connect
from ..models.tiny import calibration_images, tiny
from ..soc.sim import build_sim

IMAGES = 20


def exercised(arch, say=print):
    """The directory of the exercised simulator of ``arch``, built when it is not there."""
    def exercise(directory):
        say("simulator: exercise")
        images = calibration_images(IMAGES)
        image = compress(tiny(), images[:1], images, "zfpi8", "zfpi8", arch)
        with connect(f"sim:{directory}") as sim:
            sim.load(image)
            for x in images:
                sim.run(x)
    return build_sim(arch, say=say, exercise=exercise)


def main(arch: Annotated[str, typer.Option(help="Size of the accelerator.")] = "sim"):
    """Build an exercised simulator.

    Example: python -m litepress.bench.exercise --arch 85f
    """
    logging.disable(logging.WARNING)
    print(exercised(arch, lambda text: print(text, file=sys.stderr)))


if __name__ == "__main__":
    start(main, "litepress sim")
