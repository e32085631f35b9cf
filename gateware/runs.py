"""Runs: the addresses a LOAD or STORE walks, in DRAM and on chip (spec/isa.py)."""

from litex.gen import *
from litex.soc.interconnect import stream
from migen import *

from ..spec import formats, isa
from .buffers import ADDRESS_BITS, SLOT_BITS
from .dma import OFFSET_BITS

# FormatCheck --------------------------------------------------------------------------------------

class FormatCheck(LiteXModule):
    """Splits a FORMAT register. Its outputs come a clock later: they choose between whole engines'
    paths.

    Parameters
    ----------
    classic, improved, ebpc, delta, codebooks : bool
        There are codecs of ``zfpeN``, of ``zfpiN``, of the ebpc formats, of ``deltaN``, of ``potN``
        and ``apot4``.

    Attributes
    ----------
    code : Signal(13)
        In: value of the register.
    bits : Signal(5)
        Out: bits a value.
    ok : Signal
        Out: there is such a format, and a codec of it.
    ebpc, unsigned, delta : Signal
        Out: it is an ebpc format; that of uint8; a delta format. Only where ``ok``.
    """
    def __init__(self, classic=True, improved=True, ebpc=True, delta=True,
        codebooks=True):
        self.code     = Signal(13)
        self.bits     = Signal(5)
        self.ok       = Signal()
        self.ebpc     = Signal()
        self.unsigned = Signal()
        self.delta    = Signal()

        # # #

        kinds = [formats.RAW8, formats.RAW8U, formats.RAW16]
        kinds += [formats.ZFPE]*classic + [*formats.ZFPI_KINDS]*improved
        kinds += [*formats.EBPC_KINDS]*ebpc + [formats.DELTA]*delta
        kinds += [formats.POT, formats.APOT]*codebooks
        bits = self.code[8:]
        def allowed(kind):
            if kind in formats.FIXED_BITS:
                return bits == formats.FIXED_BITS[kind]
            low, high = formats.RATES[kind]
            return (bits >= low) & (bits <= high)
        self.sync += [
            self.bits.eq(bits),
            self.ok.eq(0),
            If(self.code[4:8] == 0,
                Case(self.code[:4], {kind: self.ok.eq(allowed(kind)) for kind in kinds})
            ),
            self.unsigned.eq(self.code[:4] == formats.EBPC8U),
            self.delta.eq(self.code[:4] == formats.DELTA),
            *([self.ebpc.eq(Reduce("OR", [self.code[:4] == kind for kind in formats.EBPC_KINDS]))]
                if ebpc else []),
        ]

# WordAddresses ------------------------------------------------------------------------------------

class WordAddresses(LiteXModule):
    """DRAM word offsets of all words of all runs, one a clock.

    Attributes
    ----------
    start : Signal
        In: pulse; the parameters must stay as they are until the last offset is taken.
    addr, runs, stride, length, bits, ahead : Signal
        In: first word, runs, words from a run to the next, blocks a run, bits a value, words of a
        run before its blocks. Neither ``runs`` nor ``length`` may be 0.
    source : Endpoint("address")
        ``last``: last word of a run.
    words : Signal
        Out: words of a run, from the first offset on.
    busy : Signal
        Out: not all offsets have been taken.
    """
    def __init__(self):
        regs = isa.LOAD_REGS
        self.start  = Signal()
        self.addr   = Signal(regs["ADDR"][1])
        self.runs   = Signal(regs["RUNS"][1])
        self.stride = Signal(regs["RUN_STRIDE"][1])
        self.length = Signal(regs["RUN_LEN"][1])
        self.bits   = Signal(5)
        self.ahead  = Signal(5)
        self.source = source = stream.Endpoint([("address", OFFSET_BITS)])
        self.busy   = Signal()

        # # #

        # Words of a run: ceil(length * 4*bits / 32), by shift and add over the bits of `bits`.
        width = len(self.length) + len(self.bits)
        total = Signal(width)
        shift = Signal(width)
        rest  = Signal(len(self.bits))
        self.words = words = Signal(width - 3)
        self.comb += words.eq(total >> 3)

        run  = Signal(OFFSET_BITS)   # First word of the next run.
        runs = Signal(len(self.runs))
        left = Signal(len(words))
        self.comb += source.last.eq(left == 0)
        self.fsm = fsm = FSM(reset_state="IDLE")
        fsm.act("IDLE",
            If(self.start,
                NextValue(total, Cat(Constant(7, 3), self.ahead)),
                NextValue(shift, self.length),
                NextValue(rest, self.bits),
                NextValue(run, self.addr),
                NextValue(runs, self.runs),
                NextState("MULTIPLY"),
            )
        )
        fsm.act("MULTIPLY",
            NextValue(shift, shift << 1),
            NextValue(rest, rest >> 1),
            If(rest[0],
                NextValue(total, total + shift)
            ),
            If(rest == 0,
                NextState("FIRST")
            )
        )
        fsm.act("FIRST",
            NextValue(source.address, run),
            NextValue(run, run + self.stride),
            NextValue(left, words - 1),
            NextValue(runs, runs - 1),
            NextState("RUN"),
        )
        fsm.act("RUN",
            source.valid.eq(1),
            If(source.ready,
                NextValue(source.address, source.address + 1),
                NextValue(left, left - 1),
                If(source.last,
                    NextValue(source.address, run),
                    NextValue(run, run + self.stride),
                    NextValue(left, words - 1),
                    NextValue(runs, runs - 1),
                    If(runs == 0,
                        NextState("IDLE")
                    )
                )
            )
        )
        self.comb += self.busy.eq(self.start | ~fsm.ongoing("IDLE"))

# VectorAddresses ----------------------------------------------------------------------------------

class VectorAddresses(LiteXModule):
    """On-chip addresses of all vectors of all runs, one a clock.

    Attributes
    ----------
    start : Signal
        In: pulse; the parameters must stay as they are until the last address is taken.
    base, runs, stride, length, slots : Signal
        In: first address, runs, addresses from a run to the next, vectors a run, vectors an
        address (LANE_BLOCKS). Neither ``runs``, ``length`` nor ``slots`` may be 0.
    source : Endpoint("address", "slot", "final")
        ``last``: last vector of a run; ``final``: of all runs. Addresses count modulo 2^16.
    """
    def __init__(self):
        regs = isa.LOAD_REGS
        self.start  = Signal()
        self.base   = Signal(ADDRESS_BITS)
        self.runs   = Signal(regs["RUNS"][1])
        self.stride = Signal(ADDRESS_BITS)
        self.length = Signal(regs["RUN_LEN"][1])
        self.slots  = Signal(regs["LANE_BLOCKS"][1])
        self.source = source = stream.Endpoint(
            [("address", ADDRESS_BITS), ("slot", SLOT_BITS), ("final", 1)])

        # # #

        run  = Signal(ADDRESS_BITS)   # First address of the next run.
        runs = Signal(len(self.runs))
        left = Signal(len(self.length))
        self.comb += [
            source.last.eq(left == 0),
            source.final.eq(source.last & (runs == 0)),
        ]
        self.sync += [
            If(source.valid & source.ready,
                left.eq(left - 1),
                source.slot.eq(source.slot + 1),
                If(source.slot == self.slots - 1,
                    source.slot.eq(0),
                    source.address.eq(source.address + 1),
                ),
                If(source.last,
                    left.eq(self.length - 1),
                    runs.eq(runs - 1),
                    run.eq(run + self.stride),
                    source.slot.eq(0),
                    source.address.eq(run),
                ),
                If(source.final, source.valid.eq(0)),
            ),
            If(self.start,
                source.valid.eq(1),
                source.slot.eq(0),
                source.address.eq(self.base),
                run.eq(self.base + self.stride),
                runs.eq(self.runs - 1),
                left.eq(self.length - 1),
            ),
        ]
