"""The programs of the self-test, one a test, and the data they need: see host/selftest.py."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from ..spec import image as layout
from ..spec import isa
from ..spec.formats import (
    DELTA,
    EBPC_KINDS,
    FIXED_BITS,
    KINDS,
    LANES,
    RATES,
    RAW8,
    RAW16,
    WEIGHT_KINDS,
    WORD_BITS,
    WORD_BYTES,
    Format,
)
from .codecs.block import encode_blocks
from .codecs.stored import pack_group
from .hazards import check
from .pack import encode_params
from .program import Program

# Byte offsets in the region: fixed, so that programs can be written before the sections' sizes are
# known.
DATA_AT, PARAMS_AT, PROGRAM_AT, TABLE_AT, OUTPUT_AT = 0x400, 0x20000, 0x24000, 0x34000, 0x38000
CLOCKS = 1 << 21        # More than any test takes, and than the accelerator's watchdog.
RAW8_FORMAT, RAW16_FORMAT = Format(RAW8, 8), Format(RAW16, 16)
SEGMENT = 16            # Blocks of an ebpc segment.
EDGES = ((-32768, 32767, 0, -1), (0, 0, 0, 0), (1, -1, 128, -129), (255, 256, -128, 127))

TITLES = {
    layout.TEST_COPY: "DMA and ABUF",
    layout.TEST_DECODE: "decoder {}",
    layout.TEST_ENCODE: "encoder {}",
    layout.TEST_CONV: "array, convolution",
    layout.TEST_DEPTHWISE: "array, depthwise",
    layout.TEST_POOL: "array, pool",
    layout.TEST_REQUANTIZE: "requantizer",
    layout.TEST_VECTOR_DEPTHWISE: "VECTOR, depthwise",
    layout.TEST_VECTOR_ADD: "VECTOR, addition",
    layout.TEST_VECTOR_POOL: "VECTOR, pool",
}


@dataclass(frozen=True)
class Entry:
    """A test: the fields of spec/image.py's SELFTEST_FIELDS."""

    id: int
    program_offset: int
    program_words: int
    output_offset: int
    output_bytes: int
    output_crc: int = 0
    clocks: int = CLOCKS

    @property
    def name(self):
        """What is tested, in words."""
        return TITLES.get(self.id >> 8, f"test {self.id:#x}").format(
            KINDS.get(self.id & 0xff, "?"))

    def bytes(self):
        """As in the table."""
        return layout.SELFTEST_ENTRY.pack(*(getattr(self, n) for n, _ in layout.SELFTEST_FIELDS))


def formats(kind, lanes):
    """All formats of a kind as a run may have them. lanes: of a WBUF word, which limit delta."""
    if kind in FIXED_BITS:
        return [Format(kind, FIXED_BITS[kind], SEGMENT if kind in EBPC_KINDS else 0)]
    low, high = RATES[kind]
    segment = min(2, lanes // LANES) if kind == DELTA else 0
    made = [Format(kind, bits, segment) for bits in range(low, high + 1)]
    return [fmt for fmt in made if kind not in WEIGHT_KINDS or kind == DELTA or fmt.codebook]


def _runs(kind):
    """(runs, blocks of one) of a format's test: no run of fixed blocks fills its last word in all
    rates, and of ebpc's segments the last is shorter."""
    if kind in EBPC_KINDS:
        return 2, 2 * SEGMENT + SEGMENT // 2
    return {DELTA: (2, 12)}.get(kind, (3, 5) if kind in RATES else (3, 21))


class Programs:
    """``words`` of all programs, one after another; the ``data`` and ``params`` they LOAD; and
    ``entries``, an Entry of each whose CRC nobody knows yet. Each test is added by a method."""

    def __init__(self, arch):
        self.arch = arch
        self.rng = np.random.default_rng(1)
        self.data, self.params = bytearray(), bytearray()
        self.words, self.entries = [], []
        self.p = Program(arch)
        self.stored = 0          # Words of output so far.

    # Parts of a program ---------------------------------------------------------------------------

    def put(self, data, at=DATA_AT):
        """Bytes into a section, which begins at ``at``; their word address in DRAM."""
        section = self.params if at == PARAMS_AT else self.data
        address = (at + len(section)) // WORD_BYTES
        section += data + bytes(-len(data) % WORD_BYTES)
        return address

    def lively(self, *shape, bits=16):
        """int16 (*shape, 4): blocks of many magnitudes, up to twice what ``bits`` hold, the last
        ones edges."""
        scale = np.exp2(self.rng.integers(1, min(bits + 1, 16), shape))[..., None]
        values = (self.rng.uniform(-1, 1, (*shape, LANES)) * scale).astype(np.int16)
        values.reshape(-1, LANES)[-len(EDGES):] = EDGES
        return values

    def noise(self, vectors):
        """int16 (vectors, 4)."""
        return self.rng.integers(-32768, 32768, (vectors, LANES)).astype(np.int16)

    def load(self, values, memory=isa.MEM_ABUF, at=0, fmt=RAW16_FORMAT, lane_blocks=1):
        """LOAD one run of values, int16 (blocks, 4), or of its bytes. Of weights and parameters,
        others go half the memory on: they must not take their place."""
        blocks = len(values) // LANES if isinstance(values, bytes) else len(values)
        data = values if isinstance(values, bytes) else values.astype("<i2").tobytes()
        where = PARAMS_AT if memory == isa.MEM_PBUF else DATA_AT
        address = self.put(data, where)
        self.p.go(isa.LOAD, constant=True, ADDR=address, RUNS=1, RUN_LEN=blocks, FORMAT=fmt.code,
                  DST_MEM=memory, DST=at, LANE_BLOCKS=lane_blocks)
        half = {isa.MEM_WBUF: self.arch.wbuf_depth, isa.MEM_VBUF: self.arch.vbuf_depth,
                isa.MEM_PBUF: self.arch.pbuf_depth}.get(memory, 0) // 2
        if 0 < blocks // lane_blocks <= half:
            self.p.go(isa.LOAD, constant=True, ADDR=address + 2, DST=at + half)

    def load_weights(self, tiles, taps):
        """Fill WBUF with weights of that many tiles; words of one tile."""
        arch = self.arch
        if arch.weight_format is None:
            lanes = arch.columns // LANES
            self.load(self.noise(tiles * taps * lanes), isa.MEM_WBUF, lane_blocks=lanes)
            return taps
        values = self.rng.integers(-100, 101, (tiles, taps, arch.columns)).astype(np.int16)
        data = b"".join(pack_group(tile, arch.weight_format) for tile in values)
        self.load(data, isa.MEM_WBUF, fmt=RAW8_FORMAT,
                  lane_blocks=arch.word_blocks(arch.columns))
        return arch.head_words + taps

    def load_records(self, channels, shift):
        """Fill PBUF with parameters that bring sums below 2**(shift + 15) back to 16 bits."""
        s = np.full(channels, shift) + self.rng.integers(0, 3, channels)
        m = self.rng.integers(1 << 14, 1 << 16, channels)
        b = self.rng.integers(-(1 << shift + 12), 1 << shift + 12, channels)
        self.load_params(m, s, b)

    def load_params(self, m, s, b):
        records = encode_params(SimpleNamespace(m=m, s=s, b=b))
        self.load(np.frombuffer(records, "<i2").reshape(-1, LANES), isa.MEM_PBUF)

    def store(self, source, blocks, fmt=RAW16_FORMAT, runs=1, stride=0):
        words = fmt.run_words(blocks)
        self.p.go(isa.STORE, ADDR=OUTPUT_AT // WORD_BYTES + self.stored, RUNS=runs,
                  RUN_STRIDE=words if runs > 1 else 0, RUN_LEN=blocks, FORMAT=fmt.code, SRC=source,
                  SRC_STRIDE=stride, SEGMENT=fmt.segment)
        self.stored += runs * words

    def end(self, test, kind=0):
        """Keep the program as a test."""
        self.p.end()
        self.entries.append(Entry(test << 8 | kind, PROGRAM_AT + WORD_BYTES * len(self.words),
                                  len(self.p.words), OUTPUT_AT, WORD_BYTES * self.stored))
        check(self.p.words, self.arch, OUTPUT_AT + WORD_BYTES * self.stored, OUTPUT_AT)
        self.words += self.p.words
        self.p, self.stored = Program(self.arch), 0

    # Ways and formats -----------------------------------------------------------------------------

    def copy(self):
        """All of ABUF: windows of the same noise, each 7 vectors on, so that whatever address lines
        are mixed up, other values come back."""
        window, step = 128, 7
        runs = self.arch.abuf_depth // window
        noise = self.noise(window + step * (runs - 1)).astype("<i2").tobytes()
        self.p.go(isa.LOAD, constant=True, ADDR=self.put(noise), RUNS=runs,
                  RUN_STRIDE=step * RAW16_FORMAT.block_bits // WORD_BITS, RUN_LEN=window,
                  FORMAT=RAW16_FORMAT.code, DST_MEM=isa.MEM_ABUF, DST_STRIDE=window)
        self.store(0, self.arch.abuf_depth)
        self.end(layout.TEST_COPY)

    def decode(self, kind):
        """Every rate of a kind: a run of any bits, and runs of encoded values."""
        runs, blocks = _runs(kind)
        held = 0
        for fmt in formats(kind, self.arch.wbuf_lanes):
            low, high = fmt.range
            values = self.lively(runs, blocks, bits=high.bit_length() + 1)
            if kind in EBPC_KINDS:
                values *= self.rng.random(values.shape) < 0.4
            data = encode_blocks(np.clip(values, low, high), fmt)
            if kind not in EBPC_KINDS:
                used = WORD_BITS * fmt.segment + blocks * fmt.block_bits
                bits = self.rng.integers(0, 2, 8 * data.shape[1]) * (
                    np.arange(8 * data.shape[1]) < used)
                data[0] = np.packbits(bits.astype(np.uint8), bitorder="little")
            self.p.go(isa.LOAD, constant=True, ADDR=self.put(data.tobytes()), RUNS=runs,
                      RUN_STRIDE=fmt.run_words(blocks), RUN_LEN=blocks, FORMAT=fmt.code,
                      DST_MEM=isa.MEM_ABUF, DST=held, DST_STRIDE=blocks, SEGMENT=fmt.segment)
            held += runs * blocks
        self.store(0, held)
        self.end(layout.TEST_DECODE, kind)

    def encode(self, kind):
        """Every rate of a kind."""
        runs, blocks = _runs(kind)
        stride = blocks + 5
        fmts = formats(kind, self.arch.wbuf_lanes)
        values = self.lively(runs * stride, bits=fmts[0].range[1].bit_length() + 1)
        if kind in EBPC_KINDS:
            values *= self.rng.random(values.shape) < 0.4
        self.load(values)
        for fmt in fmts:
            self.store(0, blocks, fmt, runs, stride)
        self.end(layout.TEST_ENCODE, kind)

    # COMPUTE --------------------------------------------------------------------------------------

    def fitting(self, channels, inputs, outputs):
        """How many of ``channels`` fit ABUF, which take that many vectors."""
        return min(channels, self.arch.pbuf_depth, (self.arch.abuf_depth - inputs) // outputs)

    def window(self, rows, vecs, width, kernel, cout):
        """Registers of both engines for a kernel over rows of ``width`` pixels, its output as large
        as its input."""
        return {"IN_ROWS": rows, "IN_W": width, "KH": kernel, "KW": kernel, "STRIDE": 1,
                "ROW_OFF": -(kernel // 2), "PAD_X": kernel // 2, "OUT_ROWS": rows,
                "OUT_VECS": vecs, "OUT_W": width, "COUT": cout, "OUT_ROW": cout * vecs,
                "OUT_CH": vecs, "CLAMP_LO": -31000, "CLAMP_HI": 32000}

    def convolution(self):
        """3x3 over 3 channels of 3x7 pixels: every column, and all but one in a second tile."""
        cin, rows, vecs, width = 3, 3, 2, 7
        row = cin * vecs
        cout = self.fitting(2 * self.arch.columns - 1, rows * row, rows * vecs)
        self.load(self.noise(rows * row))
        tile = self.load_weights(-(-cout // self.arch.columns), 9 * cin)
        self.load_records(cout, 16 if self.arch.weight_format is None else 9)
        self.p.go(isa.COMPUTE, IN_ROW=row, IN_CH=vecs, CIN=cin, KY_STEP=row, OUT_BASE=rows * row,
                  W_TILE=tile, W_STEP=1, **self.window(rows, vecs, width, 3, cout))
        self.store(rows * row, cout * rows * vecs)
        self.end(layout.TEST_CONV)

    def depthwise(self):
        """3x3 over 2x7 pixels, each column its own channel."""
        rows, vecs, width = 2, 2, 7
        cout = self.fitting(self.arch.columns + 2, 0, 2 * rows * vecs)
        size = rows * cout * vecs
        self.load(self.noise(size))
        tile = self.load_weights(-(-cout // self.arch.columns), 9)
        self.load_records(cout, 15)
        self.p.go(isa.COMPUTE, IN_ROW=cout * vecs, IN_GROUP=vecs, CIN=1, KY_STEP=cout * vecs,
                  OUT_BASE=size, W_TILE=tile, W_STEP=1, FLAGS=isa.FLAG_DEPTHWISE,
                  **self.window(rows, vecs, width, 3, cout))
        self.store(size, size)
        self.end(layout.TEST_DEPTHWISE)

    def pool(self):
        """The sum of 2x7 pixels of each channel."""
        rows, vecs, width = 2, 2, 7
        cout = self.fitting(self.arch.columns + 2, 0, rows * vecs + 1)
        size = rows * cout * vecs
        self.load(self.noise(size))
        tile = self.load_weights(-(-cout // self.arch.columns), 1)
        self.load_records(cout, 15)
        self.p.go(isa.COMPUTE, **self.window(rows, vecs, width, 1, cout) | {
            "IN_ROW": cout * vecs, "IN_CH": 1, "IN_GROUP": vecs, "CIN": vecs, "KH": rows,
            "KY_STEP": cout * vecs, "OUT_BASE": size, "W_TILE": tile, "W_STEP": 0,
            "FLAGS": isa.FLAG_DEPTHWISE | isa.FLAG_POOL, "OUT_ROWS": 1, "OUT_VECS": 1, "OUT_W": 1,
            "OUT_ROW": 0, "OUT_CH": 1})
        self.store(size, cout)
        self.end(layout.TEST_POOL)

    def requantize(self):
        """Multipliers, shifts and biases from end to end of their ranges, and two clamps."""
        cin, vecs = 4, 2
        cout = self.fitting(40, cin * vecs, 2 * vecs)
        self.load(self.noise(cin * vecs))
        tile = self.load_weights(-(-cout // self.arch.columns), cin)
        m = self.rng.integers(0, 1 << isa.PARAM_M_BITS, cout)
        m[:3] = 0, 1, (1 << isa.PARAM_M_BITS) - 1
        s = self.rng.integers(0, 1 << isa.PARAM_S_BITS - 1, cout)
        s[3:6] = 0, (1 << isa.PARAM_S_BITS) - 1, 42
        half = 1 << isa.PARAM_B_BITS - 1
        b = self.rng.integers(-half, half, cout) >> self.rng.integers(0, isa.PARAM_B_BITS, cout)
        b[6:8] = -half, half - 1
        self.load_params(m, s, b)
        common = self.window(1, vecs, LANES * vecs, 1, cout)
        for i, (low, high) in enumerate(((-32768, 32767), (-300, 200))):
            self.p.go(isa.COMPUTE, **common | {
                "IN_ROW": cin * vecs, "IN_CH": vecs, "CIN": cin, "KY_STEP": cin * vecs,
                "OUT_BASE": cin * vecs + i * cout * vecs, "W_TILE": tile, "W_STEP": 1,
                "CLAMP_LO": low, "CLAMP_HI": high})
        self.store(cin * vecs, 2 * cout * vecs)
        self.end(layout.TEST_REQUANTIZE)

    # VECTOR ---------------------------------------------------------------------------------------

    def vector(self, test, operands, words, taps, registers, outputs=None):
        """A test of 8 channels of 3x7 pixels, ``operands`` tensors side by side in ABUF."""
        channels, rows, vecs, width = 8, 3, 2, 7
        row = channels * vecs
        size = operands * rows * row
        self.load(self.noise(size))
        self.load(self.noise(words * taps), isa.MEM_VBUF)
        self.load_records(channels, 15)
        self.p.go(isa.VECTOR, **self.window(rows, vecs, width, 1, channels) | {
            "RING": rows * row, "Y_STEP": row, "KY_STEP": row, "IN_CH": vecs, "W_TILE": taps,
            "OUT_BASE": size} | registers(row, rows))
        self.store(size, outputs or rows * row)
        self.end(test)

    def vector_depthwise(self):
        """3x3; the rows lie in a ring, the first one last."""
        self.vector(layout.TEST_VECTOR_DEPTHWISE, 1, 2, 9, lambda row, rows: {
            "KH": 3, "KW": 3, "PAD_X": 1, "ROW_OFF": -1, "IN_AT": (rows - 2) * row})

    def vector_add(self):
        self.vector(layout.TEST_VECTOR_ADD, 2, 1, 2, lambda row, rows: {
            "KH": 2, "IN_ROWS": isa.ROWS_ANY, "RING": 0, "KY_STEP": rows * row, "W_TILE": 0})

    def vector_pool(self):
        self.vector(layout.TEST_VECTOR_POOL, 1, 2, 1, lambda row, rows: {
            "KH": rows, "OUT_ROWS": 1, "OUT_VECS": 1, "OUT_W": 1, "OUT_ROW": 0, "OUT_CH": 1,
            "FLAGS": isa.FLAG_POOL}, outputs=8)
