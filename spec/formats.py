"""Storage formats: how a vector of 4 int16 values lies in DRAM.

Everything that moves through DRAM is a sequence of *blocks*. A block holds one vector of
``LANES`` = 4 int16 values and has a fixed size of ``4 * bits`` bits; blocks follow each other
LSB first without gaps inside a *run*, and a run begins on a 32-bit word boundary (the last word
of a run is padded with zero bits).

==========  ==========================================  ====================================
format      block                                       decoded value
==========  ==========================================  ====================================
``raw8``    4 x int8                                    sign-extended
``raw8u``   4 x uint8                                   zero-extended
``raw16``   4 x int16                                   itself
``zfpeN``   exponent (8 bits), 4 x (flag, N-3 bits)     classic ZFPe of the four integers
==========  ==========================================  ====================================

``zfpeN`` takes the four int16 values as the numbers -32768.0 .. 32767.0, and its decoder returns
``floor(x + 1/2)`` of the decoded number, saturated to int16 (done on the fixed-point value: see
``host.codecs.zfpe``). Encoding into raw8/raw8u saturates.
"""

from dataclasses import dataclass

LANES = 4        # Values in a block: pixels along x for activations, output channels for weights.
VALUE_BITS = 16  # On-chip width of an activation or a weight.
WORD_BITS = 32   # A DRAM word: addresses in the program count these.
WORD_BYTES = WORD_BITS // 8

RAW8, RAW8U, RAW16, ZFPE = 0, 1, 2, 3
KINDS = {RAW8: "raw8", RAW8U: "raw8u", RAW16: "raw16", ZFPE: "zfpe"}

ZFPE_EXPONENT_BITS = 8
ZFPE_MIN_BITS, ZFPE_MAX_BITS = 4, 16


@dataclass(frozen=True)
class Format:
    """A storage format: ``kind`` (one of KINDS) and ``bits`` per value, every header included."""

    kind: int
    bits: int

    @property
    def block_bits(self):
        return LANES * self.bits

    @property
    def code(self):
        """Value of a FORMAT register: kind in bits 3..0, bits per value in 12..8."""
        return self.kind | self.bits << 8

    @property
    def name(self):
        return f"zfpe{self.bits}" if self.kind == ZFPE else KINDS[self.kind]

    @property
    def lossless(self):
        return self.kind != ZFPE

    @property
    def range(self):
        """(lowest, highest) value a decoder can return."""
        return {RAW8: (-128, 127), RAW8U: (0, 255)}.get(self.kind, (-32768, 32767))

    def run_words(self, blocks):
        """32-bit words of a run of that many blocks."""
        return -(-blocks * self.block_bits // WORD_BITS)

    def __str__(self):
        return self.name

    @staticmethod
    def parse(text):
        """``raw8 | raw8u | raw16 | zfpe4 .. zfpe16`` (also ``zfpe:12``) to a Format; ValueError."""
        fixed = {"raw8": (RAW8, 8), "raw8u": (RAW8U, 8), "raw16": (RAW16, 16)}
        if text in fixed:
            return Format(*fixed[text])
        if text.startswith("zfpe"):
            digits = text[4:].lstrip(":")
            if digits.isdigit() and ZFPE_MIN_BITS <= int(digits) <= ZFPE_MAX_BITS:
                return Format(ZFPE, int(digits))
        raise ValueError(f"format {text!r}: allowed are raw8, raw8u, raw16 and zfpe"
                         f"{ZFPE_MIN_BITS} to zfpe{ZFPE_MAX_BITS}")

    @staticmethod
    def from_code(code):
        """The Format of a FORMAT register value; ValueError when there is none."""
        kind, bits = code & 0xf, code >> 8
        if kind not in KINDS:
            raise ValueError(f"format code {code:#x}: kind {kind} is not one of {KINDS}")
        fmt = Format.parse(KINDS[kind] + (str(bits) if kind == ZFPE else ""))
        if fmt.code != code:
            raise ValueError(f"format code {code:#x}: expected {fmt.code:#x} for {fmt}")
        return fmt
