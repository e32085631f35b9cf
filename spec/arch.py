"""Sizes of one accelerator: what gateware builds and what the planner plans for."""

from dataclasses import asdict, dataclass

from .formats import LANES


@dataclass(frozen=True)
class Arch:
    """``columns`` output channels x 4 pixels multiply at once; the depths are in words of each
    on-chip memory (see spec/isa.py) and powers of two."""

    columns: int = 16
    abuf_depth: int = 16384
    wbuf_depth: int = 2048
    pbuf_depth: int = 2048
    vbuf_depth: int = 2048

    def __post_init__(self):
        if self.columns % LANES or not 4 <= self.columns <= 64:
            raise ValueError(f"arch: columns = {self.columns}: allowed are multiples of 4, 4 to 64")
        for name, low, high in (("abuf_depth", 256, 65536), ("wbuf_depth", 64, 65536),
                                ("pbuf_depth", 64, 8192), ("vbuf_depth", 64, 65536)):
            depth = getattr(self, name)
            if depth & (depth - 1) or not low <= depth <= high:
                raise ValueError(f"arch: {name} = {depth}: allowed are powers of two, "
                                 f"{low} to {high}")

    @classmethod
    def of(cls, fields):
        """From a mapping that holds the sizes among others: an image's header, a HELLO reply."""
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})

    @property
    def multipliers(self):
        return LANES * self.columns

    def as_dict(self):
        return asdict(self)


# The sizes each device class carries; boards name one of these.
ARCHS = {
    "tiny": Arch(columns=4, abuf_depth=2048, wbuf_depth=512, pbuf_depth=256, vbuf_depth=256),
    "25f":  Arch(columns=4, abuf_depth=4096, wbuf_depth=2048, pbuf_depth=1024, vbuf_depth=512),
    "45f":  Arch(columns=16, abuf_depth=8192, wbuf_depth=1024, pbuf_depth=1024, vbuf_depth=1024),
    "85f":  Arch(columns=32),
    "sim":  Arch(columns=16),
}
