"""The wire protocol between host and device: the same over a serial port and a simulator's socket.

A frame, little endian, 32-bit words after the sync bytes::

    SYNC (4 bytes) | type u8, seq u8, length u16 | payload, zero padded to 4 | CRC-32

``length`` counts payload bytes without padding, at most MAX_PAYLOAD; the CRC-32 (zlib's) covers the
header word and the padded payload. A receiver that sees a wrong CRC or a length over the maximum
drops the frame and looks for the next SYNC; it does not answer.

The host sends requests; the device executes them in the order they arrive and answers each with one
frame: same ``seq``, type | REPLY, or ERROR. Requests may be in flight together as long as the bytes
of unanswered frames (sync, header and CRC included) stay within ``rx_bytes`` of the HELLO reply. A
request may be sent again after a loss: all are idempotent (RUN by its token).

Addresses and lengths are bytes relative to the model's region and must stay inside it.

In a HELLO reply bit k of ``formats`` stands for kind k of spec/formats.py, which the device can
LOAD (and STORE, where it is for activations), bit k of ``engines`` for engine k of spec/isa.py.
``revision`` says what the device was built from: see revision_of.
"""

SYNC = bytes((0xa5, 0x4c, 0x50, 0x5a))
MAX_PAYLOAD = 1024
OVERHEAD = 12          # Bytes of a frame beside its padded payload.
PROTOCOL_VERSION = 7
# Of a board's serial line: the speed of a build, and what a host tries in turn that is not told it.
BAUD = 3_000_000
BAUDS = (BAUD, 2_000_000, 1_500_000, 1_000_000, 921_600, 500_000, 460_800, 230_400, 115_200)
MIN_BAUD = 9_600      # The receiver gives up a frame whose bytes come too slowly.

REPLY = 0x80
# type: (name, request payload, reply payload), fields are u32 unless said otherwise
(HELLO, WRITE, READ, CRC, RUN, STATUS, COUNTERS, VERIFY, ABORT, INFLATE, MEMTEST,
 SELFTEST) = range(1, 13)
ERROR = 0xff
TYPES = {
    HELLO:    ("HELLO", "", "protocol, rx_bytes, region_bytes, clock_hz, columns, abuf_depth, "
               "wbuf_depth, pbuf_depth, vbuf_depth, array, formats, engines, cycles_lo, cycles_hi, "
               "revision"),
    WRITE:    ("WRITE", "address, data (multiple of 4 bytes)", ""),
    READ:     ("READ", "address, length (at most MAX_PAYLOAD, multiple of 4)", "data"),
    CRC:      ("CRC", "address, length (multiple of 4)", "crc32 of those bytes"),
    VERIFY:   ("VERIFY", "", "bitmap of the sections whose CRC matches (bit i: section i; "
               "sections that are not loaded count as matching), section_count"),
    RUN:      ("RUN", "token (not 0; a repeated token is answered, not run again)", ""),
    STATUS:   ("STATUS", "", "state, error, detail, token, run_cycles_lo, run_cycles_hi, "
               "cycles_lo, cycles_hi, layers_done"),
    COUNTERS: ("COUNTERS", "profile slot", "the COUNTERS of spec/isa.py"),
    ABORT:    ("ABORT", "", ""),
    INFLATE:  ("INFLATE", "address, a stream of spec/huffman.py, whose data is written there",
               "bytes written"),
    MEMTEST:  ("MEMTEST", "what, address, length (multiple of 4, at least 8), flip",
               "wrong, address, expected, found, bits"),
    SELFTEST: ("SELFTEST", "index of the entry (spec/image.py)", "id, result, found, expected"),
}
# Of a MEMTEST. All overwrite DRAM but MEM_CHECK. ``wrong`` counts words; ``address``, ``expected``
# and ``found`` are of the first; ``bits``: of a word, that were wrong in any.
MEM_DATA = 0    # A one, then a zero, walks through the words at address and address + 4.
MEM_LINES = 1   # Words at address and at each power of two from it; here ``bits`` are those of the
                # addresses that were taken for each other.
MEM_FILL = 2    # Words that are all different are written, with the bits of ``flip`` inverted;
MEM_CHECK = 3   # ... and are read.
# Results in a SELFTEST reply, and what ``found`` and ``expected`` are then.
PASSED = 0      # The output's CRC-32, twice.
WRONG = 1       # The output's CRC-32, and the right one.
STOPPED = 2     # The accelerator's error and detail (spec/isa.py).
TIMEOUT = 3     # Clocks, and how many were allowed.
RESULTS = {PASSED: "passed", WRONG: "wrong", STOPPED: "stopped", TIMEOUT: "timeout"}
# States in a STATUS reply.
IDLE, RUNNING, DONE, FAILED = range(4)
STATES = {IDLE: "idle", RUNNING: "running", DONE: "done", FAILED: "failed"}

# Error codes in an ERROR reply (payload: code, detail).
ERRORS = {
    1: ("UNKNOWN_TYPE", "unknown request type"),
    2: ("BAD_LENGTH", "request payload has the wrong length"),
    3: ("OUT_OF_REGION", "address outside the model's region"),
    4: ("BUSY", "the accelerator is running"),
    5: ("NO_IMAGE", "no valid image header in the region"),
    6: ("VERSION", "image version not supported by this device"),
    7: ("ARCH", "image was planned for another accelerator size"),
    8: ("SECTION_CRC", "a section's CRC does not match (detail: its index)"),
    9: ("BAD_SLOT", "no such profile slot"),
    10: ("TOO_LARGE", "image needs a larger region than the device has"),
    11: ("STREAM", "Huffman stream is corrupt, or its data leaves the region (detail: address)"),
    12: ("NO_TEST", "the image has no such self-test (detail: its index)"),
}


def check_baud(baud):
    """ValueError: no serial line of a board runs at ``baud``."""
    if not MIN_BAUD <= baud <= BAUD:
        raise ValueError(f"--baud {baud}: allowed are {MIN_BAUD} to {BAUD}")


def revision_of(commit, changed):
    """A HELLO's ``revision``. commit: its hexadecimal digits, of which the first 7 are kept;
    changed: what was built differs from it. 0 stands for: not known."""
    return int(commit[:7], 16) << 4 | bool(changed)


def revision_text(revision):
    """A HELLO's ``revision`` as "8db05f8", "8db05f8+changes" or "not known"."""
    if not revision:
        return "not known"
    return f"{revision >> 4:07x}{'+changes' if revision & 1 else ''}"
