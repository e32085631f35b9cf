"""Groups of operands through an array (MacArray and those with its ports), in Migen's simulator."""

import random

from common import simulate

from litepress.spec.formats import LANES


def packed(values, bits):
    return sum((int(v) & (1 << bits) - 1) << bits * i for i, v in enumerate(values))


def run_array(dut, groups, columns, x_bits, w_bits, weight_latency, seed, gaps, valid=None):
    """What comes out: {"out": [[4 sums] a column and group], "sums": likewise, or empty each}, in
    the clocks after ``dump``, or those in which the signal ``valid`` is 1."""
    rng = random.Random(seed)
    beats, since = [], columns
    for x, w in groups:
        for k in range(len(x)):
            # A last operand waits until the earlier group has been shifted out.
            last = k == len(x) - 1
            while rng.random() < gaps or (last and since < columns):
                beats.append(None)
                since += 1
            beats.append((x[k], w[k], k == 0, last))
            since = 1 if last else since + 1
    clocks = len(beats) + weight_latency + w_bits + columns + 24
    results = {"out": [], "sums": []}

    def drive():
        weights = [0] * weight_latency
        for n in range(clocks):
            beat = beats[n] if n < len(beats) else None
            yield dut.valid.eq(beat is not None)
            if beat is None:
                beat = ([rng.getrandbits(x_bits) for _ in range(LANES)],
                        [rng.getrandbits(w_bits) for _ in range(columns)],
                        rng.getrandbits(1), rng.getrandbits(1))
            operand, weight, first, last = beat
            yield dut.operand.eq(packed(operand, x_bits))
            yield dut.first.eq(int(first))
            yield dut.last.eq(int(last))
            weights.append(packed(weight, w_bits))
            yield dut.weights.eq(weights[n])
            yield

    def take():
        left = 0
        for _ in range(clocks):
            yield
            if left if valid is None else (yield valid):
                for name, taken in results.items():
                    row = []
                    for signal in getattr(dut, name, []):
                        row.append((yield signal))
                    taken.append(row)
                left -= 1
            if valid is None and (yield dut.dump):
                assert left == 0, "a group came before the earlier one was read"
                left = columns
    simulate(dut, drive(), take())
    return results
