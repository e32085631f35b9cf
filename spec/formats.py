"""Storage formats: how a vector of 4 int16 values lies in DRAM.

Everything that moves through DRAM is a sequence of *blocks*. A block holds one vector of
``LANES`` = 4 int16 values; blocks follow each other LSB first without gaps inside a *run*, and a
run begins on a 32-bit word boundary (the last word of a run is padded with zero bits). But for
ebpc, a block has a fixed size of ``4 * bits`` bits.

============  ========================================  ====================================
format        block                                     decoded value
============  ========================================  ====================================
``raw8``      4 x int8                                  sign-extended
``raw8u``     4 x uint8                                 zero-extended
``raw16``     4 x int16                                 itself
``zfpeN``     exponent (8 bits), 4 x (flag, N-3 bits)   classic ZFPe of the four integers
``zfpiN``     head (4 bits), 4 x (N-1 bits)             improved ZFPe, see below
``ebpc8``     variable, in segments                     sign-extended, as raw8
``ebpc8u``    variable, in segments                     zero-extended, as raw8u
``deltaN``    4 x int of N bits, references ahead       reference + delta, see below
``potN``      4 x code of N bits                        0 or a power of two, either sign
``apot4``     4 x code of 4 bits                        as potN by another codebook
============  ========================================  ====================================

``zfpeN`` takes the four int16 values as the numbers -32768.0 .. 32767.0, and its decoder returns
``floor(x + 1/2)`` of the decoded number, saturated to int16 (done on the fixed-point value: see
``host.codecs.zfpe``; a block whose exponent is above 143, which only comes from a corrupt stream,
saturates every lane that is not 0 by its sign). Encoding into raw8, raw8u and ebpc saturates.

``zfpiN``, N = 4..15, is a rounded block float with lanes of N bits, k = 2 * m + l: m is the lane's
field of N-1 bits, and the lowest bit l is shared between lanes. The head holds e and l:

==================  ================  ===========================================
suffix              head, LSB first   l
==================  ================  ===========================================
(none), ``u``       e (3), l (1)      one for all four lanes
``n``, ``nu``       e (2), l0, l1     l0 for lanes 0 and 1, l1 for lanes 2 and 3
==================  ================  ===========================================

Decoded value: ``k << max(0, top - e)``. Signed: k is two's complement, top = max(0, 16 - N). With
``u`` k is unsigned, top = max(0, 15 - N), and negative values are encoded as 0. Encoding is
specified in ``host.codecs.zfpe_improved``.

``ebpc``: a run is cut into segments of ``segment`` blocks (the last may be shorter), each coded as
spec/ebpc.py says into a slot of its own: 1 + segment words for 8-bit values, so that any segment is
found without an index. Only the words that a segment needs are written and read.

``deltaN``, N = 2..6, is for weights: those of a channel are a reference r (int8) and deltas d (N
bits, two's complement), r + (d << 8 - N). A run holds the weights of ``segment`` times 4 channels:
it begins with ``segment`` words, the references of 4 channels each (the first one lowest); block k
behind them belongs to the channels of word k modulo ``segment``.

``potN``, N = 3 and 4, and ``apot4`` are for weights: a code's N-1 lowest bits are a place in the
format's codebook of magnitudes (CODEBOOKS), its highest bit is the sign. Encoding takes the nearest
level, of two as near the one further from 0; 0 has the code 0.
"""

from dataclasses import dataclass, replace

LANES = 4        # Values in a block: pixels along x for activations, output channels for weights.
VALUE_BITS = 16  # On-chip width of an activation or a weight.
WORD_BITS = 32   # A DRAM word: addresses in the program count these.
WORD_BYTES = WORD_BITS // 8

(RAW8, RAW8U, RAW16, ZFPE, ZFPI, ZFPIU, ZFPIN, ZFPINU, EBPC8, EBPC8U, DELTA, POT,
 APOT) = range(13)
KINDS = {RAW8: "raw8", RAW8U: "raw8u", RAW16: "raw16", ZFPE: "zfpe", ZFPI: "zfpi", ZFPIU: "zfpiu",
         ZFPIN: "zfpin", ZFPINU: "zfpinu", EBPC8: "ebpc8", EBPC8U: "ebpc8u", DELTA: "delta",
         POT: "pot", APOT: "apot"}
FIXED_BITS = {RAW8: 8, RAW8U: 8, RAW16: 16, EBPC8: 8, EBPC8U: 8}
# The same format for values that are never negative.
UNSIGNED = {RAW8: RAW8U, ZFPI: ZFPIU, ZFPIN: ZFPINU, EBPC8: EBPC8U}

ZFPE_EXPONENT_BITS = 8
ZFPE_MIN_BITS, ZFPE_MAX_BITS = 4, 16
ZFPI_MIN_BITS, ZFPI_MAX_BITS = 4, 15
# kind: (exponent bits, unsigned)
ZFPI_KINDS = {ZFPI: (3, False), ZFPIU: (3, True), ZFPIN: (2, False), ZFPINU: (2, True)}
ZFPI_HEAD_BITS = 4
RATES = {ZFPE: (ZFPE_MIN_BITS, ZFPE_MAX_BITS),
         **dict.fromkeys(ZFPI_KINDS, (ZFPI_MIN_BITS, ZFPI_MAX_BITS)), DELTA: (2, 6), POT: (3, 4),
         APOT: (4, 4)}
# (kind, bits): magnitudes by code. Large ones, whatever their ratios: a requantization can make the
# steps of a sum smaller, not larger.
CODEBOOKS = {(POT, 3): (0, 16, 32, 64), (POT, 4): (0, 1, 2, 4, 8, 16, 32, 64),
             (APOT, 4): (0, 8, 16, 24, 32, 48, 64, 80)}
WEIGHT_KINDS = (DELTA, POT, APOT)   # Not for activations.
EBPC_KINDS = (EBPC8, EBPC8U)
REFERENCE_BITS = 8  # Of a channel's deltas; also what reference and deltas span together.
MAX_SEGMENT = 256   # Blocks; of delta, groups of 4 channels.
SEGMENT_CHANNELS = (64, 32, 16, 8)


@dataclass(frozen=True)
class Format:
    """A storage format: ``kind`` (one of KINDS) and ``bits`` per value, every header included (of
    ebpc: before coding; of delta: without references). ``segment``: blocks of an ebpc segment,
    groups of 4 channels in a delta run; 0 while the planner has not chosen it and for all others.
    """

    kind: int
    bits: int
    segment: int = 0

    @property
    def block_bits(self):
        return LANES * self.bits

    @property
    def code(self):
        """Value of a FORMAT register: kind in bits 3..0, bits per value in 12..8."""
        return self.kind | self.bits << 8

    @property
    def name(self):
        """What ``parse`` takes."""
        stem = KINDS[self.kind]
        if self.kind in WEIGHT_KINDS:
            stem = f"{stem}{self.bits}"
        elif self.kind in RATES:
            stem = f"{stem[:4]}{self.bits}{stem[4:]}"
        return f"{stem}.{self.segment}" if self.segment else stem

    @property
    def lossless(self):
        """Every value in ``range`` comes back as it was."""
        return self.kind not in RATES

    @property
    def range(self):
        """(lowest, highest) value a decoder can return."""
        if self.kind in (RAW8, EBPC8):
            return -128, 127
        if self.kind in (RAW8U, EBPC8U):
            return 0, 255
        if self.kind == DELTA:
            return -256, 255 - (1 << self.offset)
        if self.codebook:
            return -self.codebook[-1], self.codebook[-1]
        return (0, 32767) if self.kind in (ZFPIU, ZFPINU) else (-32768, 32767)

    @property
    def codebook(self):
        """Magnitudes by code, or None."""
        return CODEBOOKS.get((self.kind, self.bits))

    @property
    def offset(self):
        """What a delta is shifted left by."""
        return REFERENCE_BITS - self.bits

    @property
    def unsigned(self):
        """The format for values that are never negative: itself where there is no other."""
        return Format(UNSIGNED.get(self.kind, self.kind), self.bits, self.segment)

    def in_tensor(self, shape):
        """The format with what it needs to know of a (C, H, W) tensor: ebpc's segments are parts of
        a row, of 8 to 64 channels, so that tiles of channels can begin where segments do.
        ValueError: a row too wide for that."""
        if self.kind not in EBPC_KINDS or self.segment:
            return self
        channels, _, width = shape
        vectors = -(-width // LANES)
        for count in (*SEGMENT_CHANNELS, channels):
            if min(count, channels) * vectors <= MAX_SEGMENT and count >= min(8, channels):
                return replace(self, segment=min(count, channels) * vectors)
        raise ValueError(f"format {self}: width = {width}: allowed are 1 to "
                         f"{MAX_SEGMENT // 8 * LANES}")

    def in_run(self, channels):
        """The format with what it needs to know of a run of that many channels' weights."""
        return replace(self, segment=-(-channels // LANES)) if self.kind == DELTA else self

    @property
    def slot_words(self):
        """32-bit words of an ebpc segment's slot: header and raw values."""
        return 1 + self.segment * self.block_bits // WORD_BITS

    def run_words(self, blocks):
        """32-bit words of a run of that many blocks, empty parts of ebpc's slots and references of
        deltas included."""
        if self.kind in (*EBPC_KINDS, DELTA) and not self.segment:
            raise ValueError(f"format {self}: its segment is not chosen")
        if self.kind == DELTA:
            return self.segment - (-blocks * self.block_bits // WORD_BITS)
        if self.kind in EBPC_KINDS:
            full, rest = divmod(blocks, self.segment)
            return full * self.slot_words + (1 + rest * self.block_bits // WORD_BITS if rest else 0)
        return -(-blocks * self.block_bits // WORD_BITS)

    def __str__(self):
        return self.name

    @staticmethod
    def parse(text):
        """``raw8 | raw8u | raw16 | zfpe4..16 | zfpi4..15, with suffix n, u or nu | ebpc8 | ebpc8u |
        delta2..6 | pot3 | pot4 | apot4`` (also ``zfpe:12``; ``ebpc8.S``, ``delta4.S`` with segments
        of S) to a Format; ValueError."""
        names = {name: kind for kind, name in KINDS.items()}
        stem, _, segment = text.partition(".")
        segmented = segment.isdigit() and 1 <= int(segment) <= MAX_SEGMENT
        if stem in names and names[stem] in FIXED_BITS:
            kind = names[stem]
            if not segment or (kind in EBPC_KINDS and segmented):
                return Format(kind, FIXED_BITS[kind], int(segment or 0))
        for kind in WEIGHT_KINDS:
            rest = stem.removeprefix(KINDS[kind]).lstrip(":")
            low, high = RATES[kind]
            if rest != stem and rest.isdigit() and low <= int(rest) <= high \
                    and (not segment or (kind == DELTA and segmented)):
                return Format(kind, int(rest), int(segment or 0))
        family, rest = text[:4], text[4:].lstrip(":")
        digits = rest.rstrip("nu")
        kind = names.get(family + rest[len(digits):])
        if kind in RATES and digits.isdigit():
            low, high = RATES[kind]
            if low <= int(digits) <= high:
                return Format(kind, int(digits))
        raise ValueError(f"format {text!r}: allowed are raw8, raw8u, raw16, zfpe{ZFPE_MIN_BITS} to "
                         f"zfpe{ZFPE_MAX_BITS}, zfpi{ZFPI_MIN_BITS} to zfpi{ZFPI_MAX_BITS} (with "
                         f"n, u or nu), ebpc8, ebpc8u, delta{RATES[DELTA][0]} to "
                         f"delta{RATES[DELTA][1]}, pot3, pot4 and apot4")

    @staticmethod
    def from_code(code, segment=0):
        """The Format of a FORMAT and a SEGMENT register's values; ValueError when there is none."""
        kind, bits = code & 0xf, code >> 8
        if kind not in KINDS:
            raise ValueError(f"format code {code:#x}: kind {kind} is not one of {KINDS}")
        low, high = RATES.get(kind, 2 * (FIXED_BITS.get(kind),))
        if code & 0xf0 or not low <= bits <= high:
            raise ValueError(f"format code {code:#x}: bits = {bits}: allowed for {KINDS[kind]} are "
                             f"{low} to {high}")
        if kind not in (*EBPC_KINDS, DELTA):
            return Format(kind, bits)
        if not 1 <= segment <= MAX_SEGMENT:
            raise ValueError(f"format {KINDS[kind]}: segment = {segment}: allowed are 1 to "
                             f"{MAX_SEGMENT}")
        return Format(kind, bits, segment)
