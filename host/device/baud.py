"""The speed of a serial line, found by asking for a HELLO at each of the usual ones.

At a wrong speed the device sees bytes that no frame is made of; should they look like the start of
one, its receiver gives that up after 2^20 clocks without a byte. It waits as long as here is waited
for an answer, so each HELLO comes to a receiver that looks for a SYNC. What is lost nevertheless,
or comes to a device that is busy, is asked again in the next round.
"""

import select
import time

import serial

from ...spec import wire
from . import frame

try:
    import termios
except ImportError:
    termios = None

# What a port raises that is gone, or cannot do what it is asked.
ERRORS = (serial.SerialException, OSError, *([termios.error] if termios else []))
ANSWER_S = 0.15     # A HELLO is waited for so long in the first round; doubles.


def detect(line, timeout):
    """Set the pyserial port ``line`` to the first of spec.wire.BAUDS at which a device answers.

    All are tried at least once, then again until ``timeout`` seconds are over. Returns (that speed,
    or None: nobody answers; the speeds that the port itself refuses). One of ERRORS: the port is
    gone.
    """
    end = time.monotonic() + timeout
    wait, first, refused = ANSWER_S, True, []
    while first or len(refused) < len(wire.BAUDS):
        for rate in wire.BAUDS:
            if rate in refused:
                continue
            if not first and time.monotonic() >= end:
                return None, refused
            try:
                line.baudrate = rate
            except (*ERRORS, ValueError):
                refused.append(rate)
                continue
            if _answers(line, wait):
                return rate, refused
        wait, first = 2 * wait, False
    return None, refused


def _answers(line, seconds):
    """Whether a reply to anything arrives within ``seconds``, at the speed that is set."""
    # What came at the speed before is no bytes at this one.
    line.reset_input_buffer()
    deframer = frame.Deframer()
    # Requests count from 1 on: a late answer to this is not taken for one of theirs.
    line.write(frame.encode(wire.HELLO, 0))
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([line.fileno()], [], [], left)[0] \
                and _replies(deframer.feed(line.read(65536))):
            return True
    # A reply may lie behind noise that looks like the start of a frame.
    while len(deframer.buffer) >= len(wire.SYNC):
        if _replies(deframer.skip()):
            return True
    return False


def _replies(frames):
    # Not our own request, come back over a loop.
    return any(kind & wire.REPLY for kind, _, _ in frames)
