"""Accelerator commands.

A program is a sequence of 32-bit words in DRAM, read once from first to last::

    31    30 29        24 23                              0
    +-------+------------+--------------------------------+
    | engine|  register  |  value                         |
    +-------+------------+--------------------------------+

The dispatcher moves each word into the queue of its engine. An engine takes its words in order:
a word *sets a register* (registers keep their value until set again; all are 0 at program start),
a ``WAIT_*`` word holds the engine until the named engine has *completed* at least ``value`` GOs
since program start, and ``GO`` executes with the registers as they are. The three engines run side
by side; the WAIT words alone order them. Executing a program's words one after another in program
order (as the golden model does) must give the same result: the packer checks that every pair of
overlapping accesses is ordered by WAITs.

On-chip memories
    ABUF  activation vectors: 4 lanes x int16, ``abuf_depth`` vectors.
    WBUF  weight words: ``columns`` x int16, ``wbuf_depth`` words.
    PBUF  requantization records, 64 bits, ``pbuf_depth`` records (see PARAM_*).
    Addresses wrap: each counts modulo the depth of its memory.

DRAM addresses are 32-bit-word offsets into the model's region; an access at or beyond the
region's end stops the program with an error.

LOAD: for run r < RUNS: decode RUN_LEN blocks of FORMAT from word ADDR + r*RUN_STRIDE; block i goes
    to DST_MEM: ABUF and PBUF: address DST + r*DST_STRIDE + i (a PBUF record is a raw16 block);
    WBUF: word DST + r*DST_STRIDE + i // LANE_BLOCKS, columns 4*(i % LANE_BLOCKS) .. +3.

STORE: for run r < RUNS: encode RUN_LEN vectors from ABUF SRC + r*SRC_STRIDE in FORMAT to words
    ADDR + r*RUN_STRIDE on.

SEGMENT: blocks of an ebpc segment, 1 to 256; segment i of a run has its slot at the run's word
    i*(1 + SEGMENT) (spec/formats.py). LOAD reads, and STORE writes, only the words a segment needs.
    Other formats take no notice of it.

COMPUTE: one loop nest serves every operation (C = columns of the array)::

    for tile in range(ceil(COUT / C)):                 # C output channels at a time
      for y in range(OUT_ROWS):
        for x in range(OUT_VECS):                      # 4 output pixels at a time
          for j in range(min(C, COUT - tile*C)):       # all j at once unless DEPTHWISE
            c = tile*C + j
            acc[0..3] = 0
            k = W_BASE + tile*W_TILE
            for ci in range(CIN):
              for ky in range(KH):
                r = y*STRIDE + ky + ROW_OFF
                row = IN_BASE + (y*STRIDE + ROW_OFF)*IN_ROW + ky*KY_STEP + ci*IN_CH
                      + (c*IN_GROUP if DEPTHWISE else 0)
                for kx in range(KW):
                  for i in range(4):
                    px = (4*x + i)*STRIDE + kx - PAD_X            # POOL: px = 4*ci + i
                    v = ABUF[row + px//4][px%4]                   # POOL: ABUF[row][i]
                    if not (0 <= r < IN_ROWS and 0 <= px < IN_W): v = 0
                    acc[i] += v * WBUF[k][j]
                  k += W_STEP
            if POOL: acc[0] = acc[0]+acc[1]+acc[2]+acc[3]
            m, s, b = PBUF[P_BASE + c]
            out[i] = clamp((((acc[i]*m) >> 16) + b) >> s, CLAMP_LO, CLAMP_HI)
            lanes with 4*x + i >= OUT_W repeat the last lane with 4*x + i < OUT_W
            ABUF[OUT_BASE + y*OUT_ROW + x + c*OUT_CH] = out

(For POOL, px//4 is not added to the row address: IN_CH = 1 walks the vectors of a row.)
Shifts are arithmetic; the packer proves from the weights that acc never leaves ACC_BITS.
A dense convolution has IN_CH = vectors a row; a depthwise one CIN = 1 and IN_GROUP = vectors a
row; a residual add is depthwise with KH = 2, KY_STEP = distance of its operands and IN_ROWS as
large as can be (ROWS_ANY); a global average pool is depthwise + POOL with KH = H, CIN = vectors a
row, W_STEP = 0.
"""

LOAD, COMPUTE, STORE, CTRL = 0, 1, 2, 3
ENGINES = {LOAD: "load", COMPUTE: "compute", STORE: "store", CTRL: "ctrl"}

ENGINE_SHIFT, REG_SHIFT, VALUE_BITS = 30, 24, 24
QUEUE_DEPTH = 256  # Words an engine's queue holds.

ACC_BITS = 40
ROWS_ANY = 0x7fff

# Registers all three engines share.
GO, WAIT_LOAD, WAIT_COMPUTE, WAIT_STORE = 0, 1, 2, 3
COMMON_REGS = {"GO": GO, "WAIT_LOAD": WAIT_LOAD, "WAIT_COMPUTE": WAIT_COMPUTE,
               "WAIT_STORE": WAIT_STORE}

# name: (number, bits, signed)
LOAD_REGS = {
    "ADDR":        (4, 24, False),
    "RUNS":        (5, 12, False),
    "RUN_STRIDE":  (6, 20, False),
    "RUN_LEN":     (7, 20, False),
    "FORMAT":      (8, 13, False),
    "DST_MEM":     (9, 2, False),
    "DST":         (10, 16, False),
    "DST_STRIDE":  (11, 16, False),
    "LANE_BLOCKS": (12, 6, False),
    "SEGMENT":     (13, 9, False),
}
STORE_REGS = {
    "ADDR":        (4, 24, False),
    "RUNS":        (5, 12, False),
    "RUN_STRIDE":  (6, 20, False),
    "RUN_LEN":     (7, 20, False),
    "FORMAT":      (8, 13, False),
    "SRC":         (9, 16, False),
    "SRC_STRIDE":  (10, 16, False),
    "SEGMENT":     (11, 9, False),
}
COMPUTE_REGS = {
    "IN_BASE":  (4, 16, False),
    "IN_ROW":   (5, 16, False),
    "IN_CH":    (6, 16, False),
    "IN_GROUP": (7, 16, False),
    "IN_ROWS":  (8, 15, False),
    "IN_W":     (9, 12, False),
    "CIN":      (10, 12, False),
    "KH":       (11, 10, False),
    "KW":       (12, 4, False),
    "STRIDE":   (13, 2, False),
    "ROW_OFF":  (14, 12, True),
    "PAD_X":    (15, 3, False),
    "KY_STEP":  (16, 16, False),   # Modulo 2^16: ABUF addresses wrap.
    "OUT_ROWS": (17, 12, False),
    "OUT_VECS": (18, 10, False),
    "COUT":     (19, 13, False),
    "OUT_BASE": (20, 16, False),
    "OUT_ROW":  (21, 16, False),
    "OUT_CH":   (22, 16, False),
    "OUT_W":    (23, 12, False),
    "W_BASE":   (24, 16, False),
    "W_TILE":   (25, 16, False),
    "W_STEP":   (26, 1, False),
    "P_BASE":   (27, 13, False),
    "CLAMP_LO": (28, 16, True),
    "CLAMP_HI": (29, 16, True),
    "FLAGS":    (30, 2, False),
}
# CTRL words act in the dispatcher: END ends the program once all engines are idle and their queues
# empty; MARK waits for the same, then writes the counters into profile slot `value`.
END, MARK = 0, 1
CTRL_REGS = {"END": (END, 24, False), "MARK": (MARK, 24, False)}
REGS = {LOAD: LOAD_REGS, COMPUTE: COMPUTE_REGS, STORE: STORE_REGS, CTRL: CTRL_REGS}

MEM_ABUF, MEM_WBUF, MEM_PBUF = 0, 1, 2
FLAG_DEPTHWISE, FLAG_POOL = 1, 2

MAX_KW = 7          # Widest kernel in x; KW = 1 for POOL and adds.
STRIDES = (1, 2)

# A PBUF record: multiplier m (unsigned), shift s (unsigned), bias b (signed), LSB first.
# b carries the rounding constant 1 << (s-1).
PARAM_M_BITS, PARAM_S_BITS, PARAM_B_BITS = 16, 6, 42

# Counters, 32 bits each, in this order in a profile slot. They count since the last MARK.
COUNTERS = (
    "cycles",             # System clocks.
    "mac_cycles",         # Clocks in which the array took an operand.
    "stall_load",         # COMPUTE held by WAIT_LOAD.
    "stall_store",        # COMPUTE held by WAIT_STORE.
    "stall_abuf",         # COMPUTE working, but no operand: ABUF port taken or window filling.
    "stall_requant",      # COMPUTE working, but the requantizer is not done with the last tile.
    "load_busy",          # LOAD executing a GO.
    "load_starved",       # LOAD executing, its decoder waiting for DRAM.
    "store_busy",         # STORE executing a GO.
    "store_blocked",      # STORE executing, its writer waiting for DRAM.
    "read_words",         # 32-bit words read by LOAD.
    "write_words",        # 32-bit words written by STORE.
    "fetch_words",        # Program words.
)
PROFILE_SLOTS = 128

# Error codes of the accelerator (CSR `error`), 0 = none.
ERRORS = {
    1: ("ILLEGAL", "illegal command word"),
    2: ("READ_BOUNDS", "LOAD outside the model's region"),
    3: ("WRITE_BOUNDS", "STORE outside the model's region"),
    4: ("FETCH_BOUNDS", "program outside the model's region"),
    5: ("FORMAT", "unknown storage format"),
    6: ("WATCHDOG", "no progress: a command did not end"),
    7: ("PARAMETER", "a register's value is out of range"),
    8: ("STREAM", "a compressed segment is corrupt"),
}


def word(engine, reg, value):
    """One program word; ValueError when the value does not fit the register (signed: two's
    complement)."""
    named = {number: (name, bits, signed) for name, (number, bits, signed) in REGS[engine].items()}
    if engine != CTRL:
        named |= {number: (name, VALUE_BITS, False) for name, number in COMMON_REGS.items()}
    if reg not in named:
        raise ValueError(f"engine {ENGINES[engine]}: no register {reg}")
    name, bits, signed = named[reg]
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= value <= high:
        raise ValueError(f"{ENGINES[engine]}.{name} = {value}: allowed are {low} to {high}")
    return engine << ENGINE_SHIFT | reg << REG_SHIFT | value & (1 << bits) - 1


def split(w):
    """(engine, register, value) of a program word; a signed register's value comes signed."""
    engine, reg, value = w >> ENGINE_SHIFT, w >> REG_SHIFT & 0x3f, w & (1 << VALUE_BITS) - 1
    for number, bits, signed in REGS[engine].values():
        if number == reg and signed and value >> (bits - 1):
            value -= 1 << bits
    return engine, reg, value
