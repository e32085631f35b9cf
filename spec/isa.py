"""Accelerator commands.

A program is a sequence of 32-bit words in DRAM, read once from first to last::

    31     29 28       24 23                              0
    +--------+-----------+--------------------------------+
    | engine |  register |  value                         |
    +--------+-----------+--------------------------------+

The dispatcher moves each word into the queue of its engine. An engine takes its words in order:
a word *sets a register* (registers keep their value until set again; all are 0 at program start),
a ``WAIT_*`` word holds the engine until the named engine has *completed* at least ``value`` GOs
since program start, and ``GO`` executes with the registers as they are. The four engines run side
by side; the WAIT words alone order them. Executing a program's words one after another in program
order (as the golden model does) must give the same result: the packer checks that every pair of
overlapping accesses is ordered by WAITs.

On-chip memories
    ABUF  activation vectors: 4 lanes x int16, ``abuf_depth`` vectors.
    WBUF  weight words of COMPUTE: ``columns`` x int16, ``wbuf_depth`` words; of an array that takes
          weights as they are stored (spec/arch.py): ``columns`` fields.
    VBUF  weight words of VECTOR: 4 channels x int16, ``vbuf_depth`` words.
    PBUF  requantization records, 64 bits, ``pbuf_depth`` records (see PARAM_*).
    Addresses wrap: each counts modulo the depth of its memory.

DRAM addresses are 32-bit-word offsets into the model's region; an access at or beyond the
region's end stops the program with an error.

LOAD: for run r < RUNS: decode RUN_LEN blocks of FORMAT from word ADDR + r*RUN_STRIDE; block i goes
    to DST_MEM: ABUF and PBUF: address DST + r*DST_STRIDE + i (a PBUF record is a raw16 block);
    WBUF: word DST + r*DST_STRIDE + i // LANE_BLOCKS, columns 4*(i % LANE_BLOCKS) .. +3;
    VBUF: word DST + r*DST_STRIDE + i.

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

An array of deltas takes a tile's references from the words at W_BASE + tile*W_TILE, its deltas from
those behind, WBUF[k][j] being the weight they make; of an array of codes it is what the code means.
DEPTHWISE and POOL are errors there.

(For POOL, px//4 is not added to the row address: IN_CH = 1 walks the vectors of a row.)
Shifts are arithmetic; the packer proves from the weights that acc never leaves ACC_BITS.
A dense convolution has IN_CH = vectors a row; a depthwise one CIN = 1 and IN_GROUP = vectors a
row; an add is depthwise with KH = 2, KY_STEP = distance of its operands and IN_ROWS as large as can
be (ROWS_ANY); a global average pool is depthwise + POOL with KH = H, CIN = vectors a row, W_STEP =
0. All but the dense ones are done faster, and beside COMPUTE, by VECTOR where its limits allow.

VECTOR: depthwise convolutions, adds and pools; a row of KW taps at once, 4 pixels of it::

    for c in range(COUT):
      for y in range(1 if POOL else OUT_ROWS):
        for x in range(1 if POOL else OUT_VECS):
          acc[0..3] = 0
          k = W_BASE + c//4*W_TILE
          for ky in range(KH):
            r = y*STRIDE + ky + ROW_OFF
            row = IN_BASE + (IN_AT + y*Y_STEP + ky*KY_STEP) % RING + c*IN_CH
            for kx in range(KW):                                  # POOL: vectors of the row
              for i in range(4):
                px = (4*x + i)*STRIDE + kx - PAD_X                # POOL: px = 4*kx + i
                v = ABUF[row + px//4][px%4]
                if not (0 <= r < IN_ROWS and 0 <= px < IN_W): v = 0
                acc[i] += v * VBUF[k][c%4]
              k += 1                                              # POOL: k stays
          if POOL: acc[0] = acc[0]+acc[1]+acc[2]+acc[3]
          out[i], lanes beyond OUT_W, PBUF[P_BASE + c]: as in COMPUTE
          ABUF[OUT_BASE + y*OUT_ROW + x + c*OUT_CH] = out

RING = 0 stands for 2^16. IN_AT, Y_STEP and KY_STEP are below RING: the rows of the input lie in a
ring of RING vectors, each row with all its channels in one piece. KW is 1 to 3, KH at most 16 and
PAD_X at most 2 (no limits for POOL, which takes no notice of KW, STRIDE and PAD_X); a GO must not
write what it reads. An add has KH = 2, KY_STEP = distance of its operands, W_TILE = 0.
"""

LOAD, COMPUTE, STORE, VECTOR, CTRL = 0, 1, 2, 3, 4
ENGINES = {LOAD: "load", COMPUTE: "compute", STORE: "store", VECTOR: "vector", CTRL: "ctrl"}

ENGINE_SHIFT, REG_SHIFT, VALUE_BITS = 29, 24, 24
QUEUE_DEPTH = 256  # Words an engine's queue holds.

ACC_BITS = 40
ROWS_ANY = 0x7fff

# Registers all four engines share; to wait for engine e: WAIT_LOAD + e.
GO, WAIT_LOAD, WAIT_COMPUTE, WAIT_STORE, WAIT_VECTOR = 0, 1, 2, 3, 4
COMMON_REGS = {"GO": GO, "WAIT_LOAD": WAIT_LOAD, "WAIT_COMPUTE": WAIT_COMPUTE,
               "WAIT_STORE": WAIT_STORE, "WAIT_VECTOR": WAIT_VECTOR}

# name: (number, bits, signed)
LOAD_REGS = {
    "ADDR":        (5, 24, False),
    "RUNS":        (6, 12, False),
    "RUN_STRIDE":  (7, 20, False),
    "RUN_LEN":     (8, 20, False),
    "FORMAT":      (9, 13, False),
    "DST_MEM":     (10, 2, False),
    "DST":         (11, 16, False),
    "DST_STRIDE":  (12, 16, False),
    "LANE_BLOCKS": (13, 6, False),
    "SEGMENT":     (14, 9, False),
}
STORE_REGS = {
    "ADDR":        (5, 24, False),
    "RUNS":        (6, 12, False),
    "RUN_STRIDE":  (7, 20, False),
    "RUN_LEN":     (8, 20, False),
    "FORMAT":      (9, 13, False),
    "SRC":         (10, 16, False),
    "SRC_STRIDE":  (11, 16, False),
    "SEGMENT":     (12, 9, False),
}
COMPUTE_REGS = {
    "IN_BASE":  (5, 16, False),
    "IN_ROW":   (6, 16, False),
    "IN_CH":    (7, 16, False),
    "IN_GROUP": (8, 16, False),
    "IN_ROWS":  (9, 15, False),
    "IN_W":     (10, 12, False),
    "CIN":      (11, 12, False),
    "KH":       (12, 10, False),
    "KW":       (13, 4, False),
    "STRIDE":   (14, 2, False),
    "ROW_OFF":  (15, 12, True),
    "PAD_X":    (16, 3, False),
    "KY_STEP":  (17, 16, False),   # Modulo 2^16: ABUF addresses wrap.
    "OUT_ROWS": (18, 12, False),
    "OUT_VECS": (19, 10, False),
    "COUT":     (20, 13, False),
    "OUT_BASE": (21, 16, False),
    "OUT_ROW":  (22, 16, False),
    "OUT_CH":   (23, 16, False),
    "OUT_W":    (24, 12, False),
    "W_BASE":   (25, 16, False),
    "W_TILE":   (26, 16, False),
    "W_STEP":   (27, 1, False),
    "P_BASE":   (28, 13, False),
    "CLAMP_LO": (29, 16, True),
    "CLAMP_HI": (30, 16, True),
    "FLAGS":    (31, 2, False),
}
VECTOR_REGS = {
    "IN_BASE":  (5, 16, False),
    "IN_AT":    (6, 16, False),
    "RING":     (7, 16, False),
    "Y_STEP":   (8, 16, False),
    "KY_STEP":  (9, 16, False),
    "IN_CH":    (10, 16, False),
    "IN_ROWS":  (11, 15, False),
    "IN_W":     (12, 12, False),
    "KH":       (13, 10, False),
    "KW":       (14, 2, False),
    "STRIDE":   (15, 2, False),
    "ROW_OFF":  (16, 12, True),
    "PAD_X":    (17, 2, False),
    "OUT_ROWS": (18, 12, False),
    "OUT_VECS": (19, 10, False),
    "COUT":     (20, 13, False),
    "OUT_BASE": (21, 16, False),
    "OUT_ROW":  (22, 16, False),
    "OUT_CH":   (23, 16, False),
    "OUT_W":    (24, 12, False),
    "W_BASE":   (25, 16, False),
    "W_TILE":   (26, 16, False),
    "P_BASE":   (27, 13, False),
    "CLAMP_LO": (28, 16, True),
    "CLAMP_HI": (29, 16, True),
    "FLAGS":    (30, 2, False),    # FLAG_POOL only.
}
# CTRL words. END ends the program once all engines are idle and their queues empty. MARK waits for
# the same, then writes the counters into profile slot `value` and begins them anew; LAP does so
# when COMPUTE comes to it in its queue, and holds up nobody.
END, MARK, LAP = 0, 1, 2
CTRL_REGS = {"END": (END, 24, False), "MARK": (MARK, 24, False), "LAP": (LAP, 24, False)}
REGS = {LOAD: LOAD_REGS, COMPUTE: COMPUTE_REGS, STORE: STORE_REGS, VECTOR: VECTOR_REGS,
        CTRL: CTRL_REGS}

MEM_ABUF, MEM_WBUF, MEM_PBUF, MEM_VBUF = 0, 1, 2, 3
FLAG_DEPTHWISE, FLAG_POOL = 1, 2

MAX_KW = 7          # Widest kernel in x; KW = 1 for POOL and adds.
STRIDES = (1, 2)
VECTOR_KW, VECTOR_KH, VECTOR_PAD = 3, 16, 2   # Largest of a VECTOR GO that is no POOL.

# A PBUF record: multiplier m (unsigned), shift s (unsigned), bias b (signed), LSB first.
# b carries the rounding constant 1 << (s-1).
PARAM_M_BITS, PARAM_S_BITS, PARAM_B_BITS = 16, 6, 42

# Counters, 32 bits each, in this order in a profile slot. They count since the last MARK or LAP.
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
    "stall_vector",       # COMPUTE held by WAIT_VECTOR.
    "vector_busy",        # VECTOR executing a GO.
    "vector_stall",       # VECTOR executing, but no vector moves: ABUF port taken, weights missing.
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
    engine, reg, value = w >> ENGINE_SHIFT, w >> REG_SHIFT & 0x1f, w & (1 << VALUE_BITS) - 1
    for number, bits, signed in REGS.get(engine, {}).values():
        if number == reg and signed and value >> (bits - 1):
            value -= 1 << bits
    return engine, reg, value
