"""The golden model: executes an image's program on the image's bytes, bit-exactly.

It knows nothing of layers: it walks the program words of the PROGRAM section through the four
engines of spec/isa.py, one after another, on a DRAM that holds the sections and a batch of
activation regions. What it proves is therefore what the hardware runs.

``exact_bytes=True`` packs every STORE to bits and decodes every LOAD from them. The default keeps
the decoded value of what was stored beside the (not yet packed) values and reuses it when a LOAD
reads the same blocks: equal by the codecs' roundtrip test, and several times faster; bytes are made
when somebody reads them.
"""

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass

import numpy as np

from ..spec import isa
from ..spec.formats import LANES, WORD_BYTES, Format
from ..spec.image import NOT_LOADED, PROGRAM
from .codecs.block import decode_blocks, encode_blocks, roundtrip
from .golden_compute import compute, vector
from .hazards import walk


class GoldenError(ValueError):
    """A program that the accelerator would stop with an error."""


@dataclass
class _Run:
    """Blocks written by one run of a STORE at byte ``start``: values before and after the codec,
    (n, batch, 4). ``end``: the byte where it ends, or where a later run has cut it off."""

    fmt: Format
    values: np.ndarray
    decoded: np.ndarray
    start: int
    end: int


class _Dram:
    """The model's region: sections shared by the batch, activations per image.

    Byte offsets below ``base`` are the sections (read only for the program), above are activations.
    """

    def __init__(self, image, batch, exact_bytes):
        loaded = [s for s in image.sections if s.dram != NOT_LOADED]
        self.base = max(s.dram + s.size for s in loaded)
        self.base += -self.base % WORD_BYTES
        self.size = image.header["region_bytes"]
        self.shared = np.zeros(self.base, np.uint8)
        for s in loaded:
            self.shared[s.dram:s.dram + s.size] = np.frombuffer(s.data, np.uint8)
        self.bytes = np.zeros((batch, self.size - self.base), np.uint8)
        self.exact = exact_bytes
        self.runs = {}     # First byte still valid -> _Run, where `bytes` is stale; they never
                           # overlap.
        self.offsets = []  # The offsets in order.

    def check(self, start, size, what):
        if start + size > self.size:
            raise GoldenError(f"{what}: bytes {start} to {start + size} of a region of {self.size}")

    def _touching(self, start, end):
        """(offset, end, run) of the pending runs that touch bytes start..end, in order."""
        first = max(bisect_right(self.offsets, start) - 1, 0)
        for offset in self.offsets[first:bisect_left(self.offsets, end)]:
            run = self.runs[offset]
            if run.end > start:
                yield offset, run.end, run

    def _drop(self, offset):
        del self.runs[offset]
        del self.offsets[bisect_left(self.offsets, offset)]

    def flush(self, start, end):
        """Pack the pending runs that touch bytes start..end."""
        for offset, stop, run in list(self._touching(start, end)):
            data = encode_blocks(np.ascontiguousarray(run.values.swapaxes(0, 1)), run.fmt)
            self.bytes[:, offset - self.base:stop - self.base] = \
                data[:, offset - run.start:stop - run.start]
            self._drop(offset)

    def _cut(self, start, end):
        """Forget what pending runs hold in bytes start..end: nobody reads it any more."""
        for offset, stop, run in list(self._touching(start, end)):
            if offset < start and stop > end:
                self.flush(offset, stop)
            elif offset < start:
                run.end = start
            else:
                self._drop(offset)
                if stop > end:
                    self.runs[end] = run
                    insort(self.offsets, end)

    def read(self, start, size):
        """Bytes of every image: (batch, size) uint8."""
        self.flush(start, start + size)
        if start + size <= self.base:
            return np.broadcast_to(self.shared[start:start + size], (len(self.bytes), size))
        if start < self.base:
            raise GoldenError(f"read across the end of the sections at byte {self.base}")
        return self.bytes[:, start - self.base:start - self.base + size]

    def write(self, start, data):
        """data: (batch, size) uint8."""
        size = data.shape[1]
        self.check(start, size, "write")
        if start < self.base:
            raise GoldenError(f"write at byte {start}: the sections end at {self.base}")
        self.flush(start, start + size)
        self.bytes[:, start - self.base:start - self.base + size] = data

    def store(self, start, values, fmt):
        """values: int16 (n, batch, 4)."""
        size = fmt.run_words(len(values)) * WORD_BYTES
        if self.exact:
            self.write(start, encode_blocks(np.ascontiguousarray(values.swapaxes(0, 1)), fmt))
            return
        self.check(start, size, "STORE")
        if start < self.base:
            raise GoldenError(f"STORE at byte {start}: the sections end at {self.base}")
        self._cut(start, start + size)
        low, high = fmt.range
        decoded = values if fmt.lossless and values.min() >= low and values.max() <= high \
            else roundtrip(values, fmt)
        self.runs[start] = _Run(fmt, values, decoded, start, start + size)
        insort(self.offsets, start)

    def load(self, start, blocks, fmt):
        """(n, batch, 4) int16, or (n, 1, 4) from the sections."""
        size = fmt.run_words(blocks) * WORD_BYTES
        self.check(start, size, "LOAD")
        if start + size <= self.base:
            data = self.shared[None, start:start + size]
            return decode_blocks(data, fmt, blocks).swapaxes(0, 1)
        pieces = self._pending(start, blocks, fmt)
        if pieces is not None:
            return pieces
        return decode_blocks(np.ascontiguousarray(self.read(start, size)), fmt, blocks) \
            .swapaxes(0, 1)

    def _pending(self, start, blocks, fmt):
        """The decoded blocks where pending runs hold exactly them, else None."""
        pieces, want = [], blocks
        while want:
            at = bisect_right(self.offsets, start) - 1
            if at < 0:
                return None
            run = self.runs[self.offsets[at]]
            unit = fmt.segment or 1        # Blocks that begin at a place of their own,
            bits = 8 * WORD_BYTES * fmt.slot_words if fmt.segment else fmt.block_bits
            index, rest = divmod(8 * (start - run.start), bits)
            held = len(run.values)
            if run.end - run.start < fmt.run_words(held) * WORD_BYTES:
                held = 8 * (run.end - run.start) // bits * unit
            if run.fmt != fmt or index * unit >= held or rest:
                return None
            piece = run.decoded[index * unit:min(index * unit + want, held)]
            want -= len(piece)
            if want and (len(piece) % unit or len(piece) // unit * bits % 8):
                return None
            start += len(piece) // unit * bits // 8
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


class Golden:
    """An accelerator with an image loaded. ``run`` takes a batch of inputs.

    ValueError (hazards.HazardError): a program with an unknown register, a WAIT that can never end,
    or no END.
    """

    def __init__(self, image, exact_bytes=False):
        self.image = image
        self.exact_bytes = exact_bytes
        self.arch = image.arch
        self._gos = walk(np.frombuffer(image.section(PROGRAM).data, "<u4"))
        self._cache = {}   # Decoded LOADs of sections: the same for every batch.

    def run(self, inputs, after_layer=None):
        """inputs: sequence of encoded input tensors (bytes). Returns the encoded outputs, bytes.

        ``after_layer(slot, read)`` is called at every MARK and LAP; ``read(offset, size)`` gives
        (batch, size) uint8 of the region.
        """
        header = self.image.header
        batch = np.stack([np.frombuffer(x, np.uint8) for x in inputs])
        if batch.shape[1] != header["input_bytes"]:
            raise GoldenError(f"input of {batch.shape[1]} bytes: the image takes "
                              f"{header['input_bytes']}")
        self._dram = _Dram(self.image, len(batch), self.exact_bytes)
        self._dram.write(header["input_offset"], batch)
        self._abuf = np.zeros((self.arch.abuf_depth, len(batch) * LANES), np.int16)
        self._wbuf = np.zeros((self.arch.wbuf_depth, self.arch.wbuf_lanes), np.int16)
        self._pbuf = np.zeros((self.arch.pbuf_depth, LANES), np.int16)
        self._vbuf = np.zeros((self.arch.vbuf_depth, LANES), np.int16)
        action = {isa.LOAD: self._load, isa.STORE: self._store,
                  isa.COMPUTE: lambda r: compute(self._abuf, self._wbuf, self._pbuf, r,
                                                 self.arch),
                  isa.VECTOR: lambda r: vector(self._abuf, self._vbuf, self._pbuf, r)}
        for go in self._gos:
            if go.engine == isa.CTRL:
                if after_layer:
                    after_layer(go.index, self._dram.read)
                continue
            try:
                action[go.engine](go.registers)
            except (OverflowError, ValueError) as error:
                raise GoldenError(f"word {go.position} ({isa.ENGINES[go.engine]}): {error}") \
                    from None
        out = self._dram.read(header["output_offset"], header["output_bytes"])
        return [row.tobytes() for row in out]

    def read(self, offset, size):
        """Bytes of the region after a run: (batch, size) uint8."""
        return self._dram.read(offset, size)

    def _load(self, r):
        fmt = Format.from_code(r["FORMAT"], r["SEGMENT"])
        for run in range(r["RUNS"]):
            start = (r["ADDR"] + run * r["RUN_STRIDE"]) * WORD_BYTES
            dst = r["DST"] + run * r["DST_STRIDE"]
            if r["DST_MEM"] == isa.MEM_ABUF:
                vectors = self._dram.load(start, r["RUN_LEN"], fmt)
                at = (dst + np.arange(r["RUN_LEN"])) & len(self._abuf) - 1
                batch = self._abuf.shape[1] // LANES
                vectors = np.broadcast_to(vectors, (len(at), batch, LANES))
                self._abuf[at] = vectors.reshape(len(at), -1)
                continue
            key = (start, r["RUN_LEN"], fmt)
            if key not in self._cache:
                if start + fmt.run_words(r["RUN_LEN"]) * WORD_BYTES > self._dram.base:
                    raise GoldenError(f"weights or parameters at byte {start}: the sections end at "
                                      f"{self._dram.base}")
                self._cache[key] = np.ascontiguousarray(
                    self._dram.load(start, r["RUN_LEN"], fmt)[:, 0])
            vectors = self._cache[key]
            i = np.arange(r["RUN_LEN"])
            if r["DST_MEM"] in (isa.MEM_PBUF, isa.MEM_VBUF):
                memory = self._pbuf if r["DST_MEM"] == isa.MEM_PBUF else self._vbuf
                memory[(dst + i) & len(memory) - 1] = vectors
            else:
                word, slot = divmod(i, r["LANE_BLOCKS"])
                view = self._wbuf.reshape(len(self._wbuf), -1, LANES)
                view[(dst + word) & len(view) - 1, slot] = vectors

    def _store(self, r):
        fmt = Format.from_code(r["FORMAT"], r["SEGMENT"])
        batch = self._abuf.shape[1] // LANES
        for run in range(r["RUNS"]):
            at = (r["SRC"] + run * r["SRC_STRIDE"] + np.arange(r["RUN_LEN"])) & len(self._abuf) - 1
            values = self._abuf[at].reshape(len(at), batch, LANES)
            self._dram.store((r["ADDR"] + run * r["RUN_STRIDE"]) * WORD_BYTES, values, fmt)
