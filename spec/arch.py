"""Sizes of one accelerator: what gateware builds and what the planner plans for.

``array`` is what COMPUTE's multipliers take: "mac", any weights, as int16; or a weight format whose
fields they multiply as they are stored, without decoding them first:

"deltaN"
    The deltas of N bits; the references of a group of ``columns`` channels are ``head_words`` words
    ahead of its deltas in WBUF, N bits in each, lowest first.

"potN", "apot4"
    Codes of N bits, no words ahead.

Such an array's words are ``columns`` fields of N bits, column 0 lowest, and lie in DRAM as they do
in WBUF: LOAD takes them for raw8, four bytes a block. Only dense convolutions can be done with it.

Without VECTOR, which a small FPGA has no multipliers for, COMPUTE does its work too (spec/isa.py);
nothing reads VBUF then, and ``vbuf_depth`` is of no use.
"""

from dataclasses import asdict, dataclass, replace

from . import isa
from .formats import DELTA, LANES, RATES, REFERENCE_BITS, VALUE_BITS, WORD_BITS, Format

MAC = "mac"
# Images and HELLO say an array by its place here: new ones go to the end.
ARRAYS = (MAC, *(f"delta{bits}" for bits in range(RATES[DELTA][0], RATES[DELTA][1] + 1)),
          "pot3", "pot4", "apot4")


@dataclass(frozen=True)
class Arch:
    """``columns`` output channels x 4 pixels multiply at once; the depths are in words of each
    on-chip memory (see spec/isa.py) and powers of two; ``vector``: the engine VECTOR is there."""

    columns: int = 16
    abuf_depth: int = 16384
    wbuf_depth: int = 2048
    pbuf_depth: int = 2048
    vbuf_depth: int = 2048
    array: str = MAC
    vector: bool = True

    def __post_init__(self):
        if self.columns % LANES or not 4 <= self.columns <= 64:
            raise ValueError(f"arch: columns = {self.columns}: allowed are multiples of 4, 4 to 64")
        for name, low, high in (("abuf_depth", 256, 65536), ("wbuf_depth", 64, 65536),
                                ("pbuf_depth", 64, 8192), ("vbuf_depth", 64, 65536)):
            depth = getattr(self, name)
            if depth & (depth - 1) or not low <= depth <= high:
                raise ValueError(f"arch: {name} = {depth}: allowed are powers of two, "
                                 f"{low} to {high}")
        if self.array not in ARRAYS:
            raise ValueError(f"arch: array = {self.array!r}: allowed are {', '.join(ARRAYS)}")
        if self.columns * self.weight_bits % WORD_BITS:
            raise ValueError(f"arch: columns = {self.columns} of {self.weight_bits} bits: allowed "
                             f"with array {self.array} are whole {WORD_BITS}-bit words")
        if self.vector not in (False, True):
            raise ValueError(f"arch: vector = {self.vector}: allowed are 0 and 1")

    @classmethod
    def of(cls, fields):
        """From a mapping that holds the sizes among others: an image's header, or a HELLO reply,
        whose ``engines`` say whether VECTOR is there. ValueError: sizes there are not."""
        array = fields["array"]
        if not 0 <= array < len(ARRAYS):
            raise ValueError(f"arch: array {array}: allowed are 0 to {len(ARRAYS) - 1}")
        if "vector" not in fields:
            fields = fields | {"vector": fields["engines"] >> isa.VECTOR & 1}
        made = cls(**{name: fields[name] for name in cls.__dataclass_fields__}
                   | {"array": ARRAYS[array]})
        return replace(made, vector=bool(made.vector))

    @property
    def weight_format(self):
        """The Format the array takes, or None: any."""
        return None if self.array == MAC else Format.parse(self.array)

    @property
    def weight_bits(self):
        """Bits of a weight in WBUF."""
        return VALUE_BITS if self.array == MAC else self.weight_format.bits

    @property
    def head_words(self):
        """WBUF words ahead of a group's weights."""
        fmt = self.weight_format
        return -(-REFERENCE_BITS // fmt.bits) if fmt and fmt.kind == DELTA else 0

    @property
    def wbuf_lanes(self):
        """Values of a WBUF word, as LOAD sees it."""
        return self.columns if self.array == MAC else self.columns * self.weight_bits // 8

    def word_blocks(self, channels):
        """Blocks that LOAD takes for that many columns of a WBUF word."""
        return -(-channels // LANES) if self.array == MAC \
            else -(-channels * self.weight_bits // WORD_BITS)

    @property
    def multipliers(self):
        return LANES * self.columns

    def as_dict(self):
        """What ``of`` takes: name -> int."""
        return asdict(self) | {"array": ARRAYS.index(self.array), "vector": int(self.vector)}


# The sizes each device class carries; boards name one of these.
ARCHS = {
    "tiny": Arch(columns=4, abuf_depth=2048, wbuf_depth=512, pbuf_depth=256, vbuf_depth=256),
    "25f":  Arch(columns=4, abuf_depth=4096, wbuf_depth=2048, pbuf_depth=512, vbuf_depth=64,
                 vector=False),
    "45f":  Arch(columns=16, abuf_depth=8192, wbuf_depth=2048, pbuf_depth=1024, vbuf_depth=64,
                 vector=False),
    "85f":  Arch(columns=32),
    "sim":  Arch(columns=16),
    # Weights of 4 bits take a quarter of WBUF's bits.
    "tiny-delta4": Arch(columns=8, abuf_depth=2048, wbuf_depth=1024, pbuf_depth=256, vbuf_depth=256,
                        array="delta4"),
    "sim-delta4":  Arch(columns=16, wbuf_depth=8192, array="delta4"),
    "tiny-pot4":   Arch(columns=8, abuf_depth=2048, wbuf_depth=1024, pbuf_depth=256, vbuf_depth=256,
                        array="pot4"),
    "sim-pot4":    Arch(columns=16, wbuf_depth=8192, array="pot4"),
}
