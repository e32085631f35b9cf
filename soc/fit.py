"""What an accelerator needs of an FPGA, estimated in no time, beside what the FPGA has.

Multipliers and block RAMs are counted; LUTs come from synthesis results and are good to a twentieth
(docs/boards.md).
"""

from dataclasses import dataclass

from ..gateware.buffers import ram_parts
from ..spec.arch import MAC
from ..spec.formats import LANES, VALUE_BITS
from .boards import DDR3, NO_BYPASS, NO_WIDE

# size: LUT4, block RAMs of 18 kbit, multipliers of 18 x 18. A 12F is sold with a 25F's silicon.
DEVICES = {
    "85F": (83640, 208, 156),
    "45F": (43848, 108, 72),
    "25F": (24288, 56, 28),
    "12F": (24288, 56, 28),
}

REQUANT_DSPS  = 2                    # Of a requantizer, for each lane, unless said otherwise.
TAPS          = 3                    # Of VECTOR, a multiplier each and lane.
RECORD_BITS   = 64
BANKS         = 4                    # Of ABUF.
EBR_WIDTHS    = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
# Block RAMs beside ABUF, WBUF, VBUF and PBUF: CPU 4, ROM 4, SRAM 2, wire 3, profile memory 4,
# queues and COMPUTE's results 6; VECTOR's queue and results; ebpc's FIFOs.
FIXED_EBRS, VECTOR_EBRS, EBPC_EBRS = 23, 4, 4

# LUTs, by synthesis: docs/results/bitstream.json and synth.json, docs/compute.md, decisions.md.
COLUMN_LUTS   = 323
VECTOR_LUTS   = 5875
CODEC_LUTS    = {"zfpe": 2500, "zfpi": 1400, "ebpc": 4100, "delta": 300, "pot": 150}
EBR_LUTS      = 30                   # Registers and multiplexers round a block RAM of the memories.
DDR3_LUTS     = 3500                 # Its PHY, 128-bit controller and ports, beyond those of SDR.
FIXED_LUTS    = 19450                # Everything else.
# What a requantizer is smaller by with a third DSP, with ``narrow``; a SoC by options of Yosys.
THIRD_DSP_LUTS, NARROW_LUTS = 640, 440
OPTION_LUTS = {NO_BYPASS: 1100, NO_WIDE: 400}
# What a CPU is smaller by than the one with a cache: LUTs, block RAMs.
CPUS = {"lite": (0, 0), "minimal": (1000, 2)}

# Of LUTs, that nextpnr finds wires for: a 25F full to 93 % was not routed.
ROUTABLE = 0.9


@dataclass(frozen=True)
class Needs:
    luts: int
    ebrs: int
    dsps: int


def memory_ebrs(depth, width):
    """Block RAMs of one of the accelerator's memories, of ``depth`` words."""
    return sum(min(-(-depth//words)*-(-(high - low)//bits) for words, bits in EBR_WIDTHS)
               for low, high in ram_parts(depth, width))


def needs(arch, ddr3=False, codecs=tuple(CODEC_LUTS), requant_dsps=REQUANT_DSPS,
          requant_narrow=False, cpu="lite", synthesis="", **_):
    """Needs of a SoC with an accelerator of these options (gateware.accelerator.Accelerator; others
    of them are not looked at), its array one of multipliers. cpu, synthesis: see Board. ValueError:
    a CPU or a codec that is not known here."""
    for field, names, known in (("cpu", (cpu,), CPUS), ("codecs", codecs, CODEC_LUTS)):
        wrong = [name for name in names if name not in known]
        if wrong:
            raise ValueError(f"{field} {wrong[0]!r}: allowed are {', '.join(known)}")
    lane_bits = VALUE_BITS if arch.array == MAC else 8
    memories = BANKS*memory_ebrs(arch.abuf_depth//BANKS, LANES*VALUE_BITS)
    memories += arch.wbuf_lanes//LANES*memory_ebrs(arch.wbuf_depth, LANES*lane_bits)
    memories += (1 + arch.vector)*memory_ebrs(arch.pbuf_depth, RECORD_BITS)
    if arch.vector:
        memories += memory_ebrs(arch.vbuf_depth, LANES*VALUE_BITS)
    luts = FIXED_LUTS + COLUMN_LUTS*arch.columns + VECTOR_LUTS*arch.vector + EBR_LUTS*memories
    luts += sum(CODEC_LUTS[name] for name in codecs) + DDR3_LUTS*ddr3
    luts -= THIRD_DSP_LUTS*(requant_dsps == 3) + NARROW_LUTS*requant_narrow
    luts -= CPUS[cpu][0] + sum(luts for option, luts in OPTION_LUTS.items() if option in synthesis)
    ebrs = FIXED_EBRS - CPUS[cpu][1] + memories + VECTOR_EBRS*arch.vector
    ebrs += EBPC_EBRS*("ebpc" in codecs)
    dsps = LANES*(arch.columns + requant_dsps + (TAPS + REQUANT_DSPS)*arch.vector)
    return Needs(luts, ebrs, dsps)


def needs_of(board, arch):
    """Needs of ``board`` (boards.Board) with an accelerator of size ``arch`` (Arch)."""
    return needs(arch, board.memory == DDR3, **board.accel, cpu=board.cpu,
                 synthesis=board.synthesis)


def check_fit(board, arch):
    """ValueError: the FPGA of ``board`` (boards.Board) has not what ``arch`` (Arch) needs; of an
    array without multipliers of its own only block RAMs are looked at."""
    if board.size not in DEVICES:
        raise ValueError(f"board {board.name}: device {board.device}: size {board.size!r}: known "
                         f"are {', '.join(DEVICES)}")
    wanted = needs_of(board, arch)
    luts, ebrs, dsps = DEVICES[board.size]
    counts = [("block RAMs", wanted.ebrs, ebrs, "")]
    if arch.array == MAC:
        counts += [("multipliers", wanted.dsps, dsps, ""),
                   ("LUTs (about)", wanted.luts, int(ROUTABLE*luts), " that can be routed")]
    lacking = [f"{need:,} {name} of {has:,}{which}"
               for name, need, has, which in counts if need > has]
    if lacking:
        raise ValueError(f"board {board.name}: arch {board.arch}: too large for {board.device}: it "
                         f"needs {', '.join(lacking)}: choose a smaller --arch")
