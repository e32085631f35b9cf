"""COMPUTE and VECTOR word for word from the loop nests of spec/isa.py: plain Python integers, slow.

What they add is where inputs come from. With ``reads="before"`` COMPUTE takes every one from ABUF
as it was before the GO: the engine reads ahead of its writes, so a program may only let the two
overlap where that makes no difference (an output vector over the inputs of that vector alone).
VECTOR, which must not write what it reads, takes them from ``source``.
"""

from litepress.spec import isa

ADDRESS_MASK = 0xffff


def unpack_param(record):
    """A 64-bit PBUF record -> (m, s, b)."""
    m = record & (1 << isa.PARAM_M_BITS) - 1
    s = record >> isa.PARAM_M_BITS & (1 << isa.PARAM_S_BITS) - 1
    b = record >> isa.PARAM_M_BITS + isa.PARAM_S_BITS
    if b >> isa.PARAM_B_BITS - 1:
        b -= 1 << isa.PARAM_B_BITS
    return m, s, b


def pack_param(m, s, b):
    """(m, s, b) -> a 64-bit PBUF record."""
    b &= (1 << isa.PARAM_B_BITS) - 1
    return m | s << isa.PARAM_M_BITS | b << isa.PARAM_M_BITS + isa.PARAM_S_BITS


def wrap(value, bits):
    """value as a two's complement number of that many bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def requantize(acc, m, s, b, low, high):
    """clamp((((acc*m) >> 16) + b) >> s, low, high); with low > high the upper bound wins."""
    return min(max((acc * m >> isa.PARAM_M_BITS) + b >> s, low), high)


def compute(abuf, wbuf, pbuf, r, columns, reads="before"):
    """One COMPUTE GO.

    abuf: list of lists of 4 int, written; wbuf: list of lists of ``columns`` int; pbuf: list of
    64-bit records; r: register name -> int; reads: "before", or "now" as the loop nest has it.
    """
    source = [list(vector) for vector in abuf] if reads == "before" else abuf
    depthwise = bool(r["FLAGS"] & isa.FLAG_DEPTHWISE)
    pool = bool(r["FLAGS"] & isa.FLAG_POOL)

    def vector(address):
        return source[(address & ADDRESS_MASK) % len(source)]

    for tile in range(-(-r["COUT"] // columns)):
        for y in range(r["OUT_ROWS"]):
            for x in range(r["OUT_VECS"]):
                for j in range(min(columns, r["COUT"] - tile * columns)):
                    c = tile * columns + j
                    acc = [0, 0, 0, 0]
                    k = r["W_BASE"] + tile * r["W_TILE"]
                    for ci in range(r["CIN"]):
                        for ky in range(r["KH"]):
                            row_in = y * r["STRIDE"] + ky + r["ROW_OFF"]
                            row = (r["IN_BASE"] + (y * r["STRIDE"] + r["ROW_OFF"]) * r["IN_ROW"]
                                   + ky * r["KY_STEP"] + ci * r["IN_CH"]
                                   + (c * r["IN_GROUP"] if depthwise else 0))
                            for kx in range(r["KW"]):
                                weight = wbuf[(k & ADDRESS_MASK) % len(wbuf)][j]
                                for i in range(4):
                                    if pool:
                                        px = 4 * ci + i
                                        v = vector(row)[i]
                                    else:
                                        px = (4 * x + i) * r["STRIDE"] + kx - r["PAD_X"]
                                        v = vector(row + px // 4)[px % 4]
                                    if not (0 <= row_in < r["IN_ROWS"] and 0 <= px < r["IN_W"]):
                                        v = 0
                                    acc[i] += v * weight
                                k += r["W_STEP"]
                    if pool:
                        acc[0] = acc[0] + acc[1] + acc[2] + acc[3]
                    m, s, b = unpack_param(pbuf[(r["P_BASE"] + c) % len(pbuf)])
                    out = [requantize(wrap(a, isa.ACC_BITS), m, s, b, r["CLAMP_LO"], r["CLAMP_HI"])
                           for a in acc]
                    inside = [i for i in range(4) if 4 * x + i < r["OUT_W"]]
                    if inside:
                        out[inside[-1]:] = [out[inside[-1]]] * (4 - inside[-1])
                    address = r["OUT_BASE"] + y * r["OUT_ROW"] + x + c * r["OUT_CH"]
                    abuf[(address & ADDRESS_MASK) % len(abuf)] = out


def vector(abuf, vbuf, pbuf, r, source=None):
    """One VECTOR GO.

    abuf: list of lists of 4 int, written; vbuf: list of lists of 4 int; pbuf: list of 64-bit
    records; r: register name -> int; source: what is read, abuf as it is if not given.
    """
    source = source or [list(v) for v in abuf]
    pool = bool(r["FLAGS"] & isa.FLAG_POOL)
    ring = r["RING"] or 1 << 16
    taps = range(-(-r["IN_W"] // 4) if pool else r["KW"])

    for c in range(r["COUT"]):
        for y in range(1 if pool else r["OUT_ROWS"]):
            for x in range(1 if pool else r["OUT_VECS"]):
                acc = [0, 0, 0, 0]
                k = r["W_BASE"] + c // 4 * r["W_TILE"]
                for ky in range(r["KH"]):
                    row_in = y * r["STRIDE"] + ky + r["ROW_OFF"]
                    row = (r["IN_BASE"]
                           + (r["IN_AT"] + y * r["Y_STEP"] + ky * r["KY_STEP"]) % ring
                           + c * r["IN_CH"])
                    for kx in taps:
                        weight = vbuf[(k & ADDRESS_MASK) % len(vbuf)][c % 4]
                        for i in range(4):
                            px = (4 * kx + i if pool
                                  else (4 * x + i) * r["STRIDE"] + kx - r["PAD_X"])
                            v = source[(row + px // 4 & ADDRESS_MASK) % len(source)][px % 4]
                            if not (0 <= row_in < r["IN_ROWS"] and 0 <= px < r["IN_W"]):
                                v = 0
                            acc[i] += v * weight
                        k += not pool
                if pool:
                    acc[0] = acc[0] + acc[1] + acc[2] + acc[3]
                m, s, b = unpack_param(pbuf[(r["P_BASE"] + c) % len(pbuf)])
                out = [requantize(wrap(a, isa.ACC_BITS), m, s, b, r["CLAMP_LO"], r["CLAMP_HI"])
                       for a in acc]
                inside = [i for i in range(4) if 4 * x + i < r["OUT_W"]]
                if inside:
                    out[inside[-1]:] = [out[inside[-1]]] * (4 - inside[-1])
                address = r["OUT_BASE"] + y * r["OUT_ROW"] + x + c * r["OUT_CH"]
                abuf[(address & ADDRESS_MASK) % len(abuf)] = out
