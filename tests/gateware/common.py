"""Drivers for stream endpoints with seeded random stalls, and a simulation that cannot hang."""

import random

from litex.gen.sim import run_simulation


class SimulationTimeoutError(AssertionError):
    """A simulation did not end by itself."""


def stalls(seed, stall):
    """Endless bools, True with probability ``stall``, in bursts of mixed length."""
    rng = random.Random(seed)
    while True:
        stalled = rng.random() < stall
        for _ in range(rng.choice((1, 1, 1, 2, 5)) if 0 < stall < 1 else 1):
            yield stalled


def feed(endpoint, beats, seed=0, stall=0.0, lasts=None):
    """Generator: send ``beats`` to an endpoint with random pauses.

    beats: iterable of ints (field ``data``) or dicts (field -> int). lasts: bools, one a beat.
    A beat once offered stays until it is taken.
    """
    pause = stalls(seed, stall)
    lasts = iter(lasts) if lasts is not None else None
    for beat in beats:
        while next(pause):
            yield endpoint.valid.eq(0)
            yield
        for name, value in (beat if isinstance(beat, dict) else {"data": beat}).items():
            yield getattr(endpoint, name).eq(value)
        if lasts is not None:
            yield endpoint.last.eq(int(next(lasts)))
        yield endpoint.valid.eq(1)
        yield
        while not (yield endpoint.ready):
            yield
    yield endpoint.valid.eq(0)


def drain(endpoint, count, out, seed=0, stall=0.0, fields=("data", "last"), clocks=None):
    """Generator: take ``count`` beats with random pauses and append to the list ``out``: a tuple of
    ``fields`` each (the bare value when there is one field). Checks that what is offered stays as
    it is until it is taken. clocks: list that gets the clock number of each beat."""
    pause = stalls(seed, stall)
    offered, clock = None, 0
    while len(out) < count:
        ready = not next(pause)
        yield endpoint.ready.eq(int(ready))
        yield
        clock += 1
        if (yield endpoint.valid):
            values = []
            for name in fields:
                values.append((yield getattr(endpoint, name)))
            assert offered in (None, values), f"changed from {offered} to {values} while waiting"
            offered = None if ready else values
            if ready:
                out.append(tuple(values) if len(values) > 1 else values[0])
                if clocks is not None:
                    clocks.append(clock)
        else:
            assert offered is None, f"took back {offered}"
    yield endpoint.ready.eq(0)


def simulate(dut, *generators, timeout=20000, vcd_name=None):
    """Run until all generators end; SimulationTimeoutError after ``timeout`` clocks."""
    running = [len(generators)]

    def counted(generator):
        yield from generator
        running[0] -= 1

    def watchdog():
        for _ in range(timeout):
            if not running[0]:
                return
            yield
        raise SimulationTimeoutError(f"{type(dut).__name__}: {running[0]} of {len(generators)} "
                                     f"drivers still wait after {timeout} clocks")

    run_simulation(dut, [counted(g) for g in generators] + [watchdog()], vcd_name=vcd_name)
