"""The command that measures a family of arrays: options, figures kept, table made anew."""

import functools
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from ..spec.formats import LANES
from . import pages, results
from .array_surroundings import COLUMNS, DEVICES, ROOT, TAPS, TARGET, key, measure
from .demo import console
from .ecp5_tools import PACKAGE, SPEED, StepError


@dataclass(frozen=True)
class Family:
    """name: of the module in bench/, its folder below build/ and its result; page: with the table;
    variants: name -> what ``make(variant, columns)`` takes for its Surroundings; flat: {array:
    figures} -> the figures of the result; table: -> Markdown lines; errors: -> lines on what does
    not hold; devices: of DEVICES."""

    name: str
    page: Path
    variants: dict
    make: Callable
    flat: Callable
    table: Callable
    errors: Callable
    devices: tuple = tuple(DEVICES)

    @property
    def command(self):
        return f"python -m litepress.bench.{self.name}"

    def filled(self, text, measured):
        """The page's text with its table made anew; ValueError when it has no place for it."""
        return pages.filled(text, self.page.name, self.command, "arrays", self.table(measured))

    def save(self, measured):
        """Write the result and the page."""
        devices = " and ".join(f"LFE5U-{device[:-1]}F" for device in self.devices)
        results.save(self.name, self.command,
                     f"{devices}, speed {SPEED}, {PACKAGE}; seeds {seeds_of(measured)}; target "
                     f"{TARGET} MHz; sums of up to {TAPS} products", self.flat(measured),
                     arrays=measured)
        results.write(self.page, self.filled(self.page.read_text(), measured))

    def run(self, variants="", lanes="", devices="", seeds=""):
        """Measure the arrays that the comma-separated options name, all where they are empty; the
        others keep the figures they have. typer.Exit: 1 when a step failed or there are errors."""
        names = choice(variants, self.variants, "variants")
        sizes = choice(lanes, [str(LANES * columns) for columns in COLUMNS], "lanes")
        chosen = choice(devices, self.devices, "devices")
        numbers = seed_numbers(seeds)
        os.nice(10)
        say = functools.partial(console.print, markup=False, highlight=False, soft_wrap=True)
        path = results.RESULTS / f"{self.name}.json"
        kept = json.loads(path.read_text())["arrays"] if path.exists() else {}
        for size in sizes:
            for name in names:
                columns = int(size) // LANES
                make = functools.partial(self.make, self.variants[name], columns)
                try:
                    measured = measure(ROOT / "build" / self.name, name, make, columns, chosen,
                                       numbers, say)
                except StepError as error:
                    say(str(error))
                    raise typer.Exit(1) from None
                kept |= {key(name, columns, device): m for device, m in measured.items()}
                self.save(kept)
        wrong = self.errors(kept)
        for text in (*self.table(kept), *wrong):
            say(text)
        raise typer.Exit(1 if wrong else 0)


def choice(text, allowed, what):
    """Names of a comma-separated option; all when it is empty."""
    names = [name.strip() for name in text.split(",")] if text else list(allowed)
    wrong = [name for name in names if name not in allowed]
    if wrong:
        raise typer.BadParameter(f"{', '.join(wrong)}: allowed {what} are {', '.join(allowed)}")
    return names


def seed_numbers(text):
    """Those of a comma-separated option, which may be "none"."""
    if text == "none":
        return []
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise typer.BadParameter(f"seeds {text!r}: allowed are numbers, as in 1,2,3, and none")
    return sorted({int(seed) for seed in text.split(",")})


def seeds_of(measured):
    """The seeds of all arrays, in words."""
    seeds = {", ".join(values.get("fmax_by_seed", ())) or "none" for values in measured.values()}
    return seeds.pop() if len(seeds) == 1 else "of each array in fmax_by_seed"
