"""ZFPe's transform: zfp's lift over four lanes and negabinary, as pipeline stages.

Numbers are 32-bit fixed point by definition of the format. A lane here keeps only the bits from
``lsb`` (its absolute position) up: the ones below are zero. Steps are numbered as in
host/codecs/zfpe.py.
"""

from migen import *

TOP_BITS   = 32
NEGABINARY = 0xaaaaaaaa

# Lift ---------------------------------------------------------------------------------------------

def forward_lift(pipe, lanes, lsb, carry):
    """Step 3, 4 stages. ``lanes``: signed x, y, z, w from bit ``lsb``, |value| < 2^30; ``carry``:
    what to delay alongside. Returns (lanes, their lsbs, carry).

    As long as there is room below, halving moves lsb down instead of losing a bit. At bit 0 the
    low bit is lost, and the difference d = b - ((a + b) >> 1) is (b - a + 1) >> 1.
    """
    x, y, z, w = lanes

    def halves(a, b, lsb):
        """(a + b)/2 and b - (a + b)/2 one bit below lsb, if there is one."""
        if lsb > 0:
            return pipe.signed(a + b, TOP_BITS - lsb), pipe.signed(b - a, TOP_BITS - lsb)
        # As wide as the sums: in Verilog a carry above the signal assigned to would be lost.
        total, rest = pipe.signed(a + b, TOP_BITS), pipe.signed(b - a + 1, TOP_BITS)
        return pipe.signed(total >> 1, TOP_BITS - 1), pipe.signed(rest >> 1, TOP_BITS - 1)

    [x, w], [z, y], carry = pipe.stage(halves(x, w, lsb), halves(z, y, lsb), carry)
    lsb = max(lsb - 1, 0)
    [x, z], [w, y], carry = pipe.stage(halves(x, z, lsb), halves(w, y, lsb), carry)
    lsb = max(lsb - 1, 0)

    # w += y >> 1; y -= w >> 1. From here |value| < 2^31.
    w_lsb = max(lsb - 1, 0)
    w     = (w << lsb - w_lsb) + (y if lsb > 0 else y >> 1)
    w     = pipe.signed(w, TOP_BITS - w_lsb)
    x, y, z, w, carry = pipe.stage(x, y, z, w, carry)
    y_lsb = max(w_lsb - 1, 0)
    y     = (y << lsb - y_lsb) - (w if w_lsb > 0 else w >> 1)
    y     = pipe.signed(y, TOP_BITS - y_lsb)
    x, y, z, w, carry = pipe.stage(x, y, z, w, carry)
    return [x, y, z, w], [lsb, y_lsb, lsb, w_lsb], carry


def inverse_lift(pipe, lanes, carry):
    """Inverse of step 3, 4 stages. ``lanes``: signed x, y, z, w of n bits, the top n of 32. Returns
    (lanes, carry), lanes now the top n + 2 bits, modulo 2^32."""
    x, y, z, w = lanes
    n = len(x)

    # y += w >> 1; w -= y >> 1, each with one more bit below.
    y = pipe.signed((y << 1) + w, n + 1)
    x, y, z, w, carry = pipe.stage(x, y, z, w, carry)
    w = pipe.signed((w << 2) - y, n + 2)
    x, y, z, w, carry = pipe.stage(x, y, z, w, carry)
    y = pipe.signed(y << 1, n + 2)
    # y += w; w = 2*w - y is the pair w + y, w - y; likewise z, x and so on.
    y, w = pipe.signed(w + y, n + 2), pipe.signed(w - y, n + 2)
    z, x = pipe.signed(x + z, n),     pipe.signed(x - z, n)
    x, y, z, w, carry = pipe.stage(x, y, z, w, carry)
    x, z = pipe.signed(x << 2, n + 2), pipe.signed(z << 2, n + 2)
    y, z = pipe.signed(z + y, n + 2), pipe.signed(z - y, n + 2)
    w, x = pipe.signed(x + w, n + 2), pipe.signed(x - w, n + 2)
    x, y, z, w, carry = pipe.stage(x, y, z, w, carry)
    return [x, y, z, w], carry

# Negabinary ---------------------------------------------------------------------------------------

def to_negabinary(pipe, lane, lsb):
    """Step 4, combinational: the 32 - lsb bits of u. Below lsb the number is zero and M + 0 does
    not carry: only the mask must keep its absolute alignment."""
    mask = NEGABINARY >> lsb
    return pipe.unsigned(lane + mask, TOP_BITS - lsb) ^ mask


def from_negabinary(pipe, u, lsb):
    """Inverse of step 4, combinational: signed, as wide as u, 32 - lsb bits."""
    mask = NEGABINARY >> lsb
    return pipe.signed((u ^ mask) - mask, TOP_BITS - lsb)

# Step 5 -------------------------------------------------------------------------------------------

def shorten(pipe, u, lsb, payload):
    """Step 5, combinational: (flag, payload bits) of a negabinary number from bit lsb up."""
    flag  = u[28 - lsb:] != 0
    large = u[32 - payload - lsb:32 - lsb]
    small = u[28 - payload - lsb:28 - lsb]
    return flag, pipe.unsigned(Mux(flag, large, small), payload)


def lengthen(pipe, flag, payload):
    """Inverse of step 5, combinational: the top 4 + len(payload) bits of u."""
    bits = len(payload)
    return pipe.unsigned(Mux(flag, Cat(C(0, 4), payload), payload), bits + 4)
