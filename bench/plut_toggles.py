"""Toggles a MAC of arrays of codes and plain weights: a stand-in for their dynamic power.

    python -m litepress.bench.plut_toggles --checkpoint models/checkpoints/resnet20_pot4.npz

Each array of bench/plut_arrays, with whole accumulators, is synthesized to ECP5 cells, and the
cells are simulated: outputs of LUTs, carry cells, multiplexers, flip-flops and block RAMs that
change from one clock to the next are counted. Glitches within a clock, the clock tree, the lengths
of wires and what happens inside a block RAM are not. The sums that come out are compared with
NumPy's.

Data: a 3x3 layer of a ResNet-20 of models.pot_train and what FashionMNIST's test images give it,
four neighbours in a row at a time, as the accelerator takes them; the arrays of other codes get the
same layer's levels, as near as they come. Without a checkpoint, Gaussian weights, and Gaussian
pixels of which negative ones are 0. Writes docs/results/plut_toggles.json, figures of both.
"""

import json
import os
import re
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from migen import Cat, Instance, Signal
from torch import nn

from ..gateware.plut import CODEBOOKS, PlutArray
from ..host.command import start
from ..models import pot_train
from ..spec.formats import LANES
from . import array_surroundings, pages, plut_arrays, results
from .array_surroundings import ROOT
from .demo import console
from .ecp5_tools import YOSYS, execute
from .synth_wrapper import verilog

COMMAND = "python -m litepress.bench.plut_toggles"
WORK = ROOT / "build" / "plut_toggles"
STREAMS = 64       # Simulated at once, a bit of an integer each.
TAPS = 64          # Of a group.
WARM = 24          # First clocks, not counted.
COLUMNS = 16
# Products, codebook.
ARRAYS = (("static", "pot"), ("row", "pot"), ("shift", "pot"), ("static", "apot"), ("row", "apot"),
          ("lut", ""))
IMAGES = 4         # Whose pixels a layer gets.
LAYER = "blocks.4.first.0"
BOXES = "(* blackbox *) module PRODUCTS(input [7:0] X, input [2:0] E, output [{top}:0] P);\n" \
        "parameter LANE = 0; parameter COLUMN = 0; endmodule\n"


class BoxedArray(PlutArray):
    """The static array with its memories left open: what they would give comes from outside."""

    def prepare(self, operands, indices):
        self.multiply_latency = 2
        self.products = {}
        for i, x in enumerate(operands):
            for j, index in enumerate(indices):
                data = Signal(self.product_bits)
                p = Signal((self.product_bits, True), reset_less=True)
                self.specials += Instance("PRODUCTS", p_LANE=i, p_COLUMN=j, i_X=Cat(x),
                                          i_E=Cat(index), o_P=data)
                self.sync += p.eq(data)
                self.products[i, j] = p


# Netlist ------------------------------------------------------------------------------------------


def netlist(kind, codebook):
    """Module of Yosys's JSON, of an array of ECP5 cells; and the array."""
    if kind == "lut":
        variant = plut_arrays.VARIANTS["plain8_lut"]
        array = variant.build(COLUMNS, True)
    else:
        variant = plut_arrays.Variant(kind, kind, kind, codebook, narrow=False)
        array = (BoxedArray(COLUMNS, codebook, 4, "static", x_bits=8, primitive=True,
                            taps=array_surroundings.TAPS, narrow=False)
                 if kind == "static" else variant.build(COLUMNS, True))
    bits = getattr(array, "product_bits", 0)
    module = array_surroundings.Surroundings(COLUMNS, 8, variant.w_bits, len(array.out[0]),
                                             lambda: array)
    text = verilog(module)[0]
    folder = WORK / f"{kind}_{codebook}"
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "boxes.v", BOXES.format(top=bits - 1))
    source = folder / "core.v"
    if not (source.exists() and source.read_text() == text and (folder / "core.json").exists()):
        (folder / "core.json").unlink(missing_ok=True)
        results.write(source, text)
        execute(YOSYS, ["-p", "read_verilog -lib boxes.v; read_verilog core.v; synth_ecp5 -top "
                        "core; write_json core.json"], folder, "yosys.log", f"{kind}: synthesis")
    return json.loads((folder / "core.json").read_text())["modules"]["core"], array


def lut(init, inputs):
    """Python expression of a LUT; M is all ones."""
    if not inputs:
        return "M" if init & 1 else "0"
    half = 1 << len(inputs) - 1
    low, high = init & (1 << half) - 1, init >> half
    top, rest = inputs[-1], inputs[:-1]
    if low == high:
        return lut(low, rest)
    if top in ("0", "M"):
        return lut(high if top == "M" else low, rest)
    if low == high ^ (1 << half) - 1:
        return f"({top} ^ {lut(low, rest)})"
    a, b = lut(low, rest), lut(high, rest)
    return f"mux({top}, {a}, {b})"


NET = re.compile(r"v\[(-?\d+)\]")


def mux(select, low, high):
    return low ^ select & (low ^ high)


def compiled(lines):
    """A function of the values of all nets, and all ones."""
    scope = {"mux": mux}
    exec("\n ".join(["def function(v, M):", *lines, "return"]), scope)
    return scope["function"]


class Simulation:
    """A netlist, STREAMS times, a clock at a time: ``step(inputs)`` -> values of the outputs.
    ``toggles``: {kind of cell: how often an output changed}."""

    def __init__(self, module):
        self.module = module
        self.toggles, self.counted = {}, False
        drivers, unnamed = {}, 0
        self.flops, self.boxes = [], []

        def net(bit):
            return {"0": "0", "x": "0", "1": "M"}.get(bit, f"v[{bit}]")

        def pin(cell, name, default="0"):
            return net(cell["connections"].get(name, [default])[0])

        def bits(cell, *names):
            return [pin(cell, name) for name in names]
        for cell in module["cells"].values():
            kind, out = cell["type"], cell["connections"]
            if kind == "TRELLIS_FF":
                p = cell["parameters"]
                data, q = pin(cell, "DI"), out["Q"][0]
                if p["CEMUX"].strip() == "CE":
                    data = f"mux({pin(cell, 'CE')}, v[{q}], {data})"
                reset = "M" if p["REGSET"] == "SET" else "0"
                lsr = pin(cell, "LSR")
                self.flops.append((q, data if lsr == "0" else f"mux({lsr}, {data}, {reset})"))
            elif kind == "PRODUCTS":
                p = cell["parameters"]
                self.boxes.append((int(p["LANE"], 2), int(p["COLUMN"], 2), out["P"]))
            elif kind == "LUT4":
                drivers[out["Z"][0]] = (kind, lut(int(cell["parameters"]["INIT"], 2),
                                                    bits(cell, "A", "B", "C", "D")))
            elif kind == "PFUMX":
                drivers[out["Z"][0]] = (kind, "mux({}, {}, {})".format(
                    *bits(cell, "C0", "BLUT", "ALUT")))
            elif kind == "L6MUX21":
                drivers[out["Z"][0]] = (kind, "mux({}, {}, {})".format(
                    *bits(cell, "SD", "D0", "D1")))
            elif kind == "CCU2C":
                carry = pin(cell, "CIN")
                for k in "01":
                    assert cell["parameters"][f"INJECT1_{k}"] == "NO"
                    init = int(cell["parameters"][f"INIT{k}"], 2)
                    pins = bits(cell, *(f"{port}{k}" for port in "ABCD"))
                    whole, low = lut(init, pins), lut(init & 15, pins[:2])
                    if out.get(f"S{k}"):
                        drivers[out[f"S{k}"][0]] = (kind, f"({whole} ^ {carry})")
                    # Between the two bits there is a wire without a name.
                    unnamed -= 1
                    after = out["COUT"][0] if k == "1" and out.get("COUT") else unnamed
                    drivers[after] = ("carry", f"mux({whole}, {low}, {carry})")
                    carry = f"v[{after}]"
            else:
                raise ValueError(f"cell {kind}: not known to the simulation")
        # Every cell behind those it depends on.
        order, done = [], set()
        for bit in drivers:
            stack = [(bit, False)]
            while stack:
                b, ready = stack.pop()
                if b in done or b not in drivers:
                    continue
                if ready:
                    done.add(b)
                    order.append(b)
                else:
                    stack.append((b, True))
                    stack += [(int(n), False) for n in NET.findall(drivers[b][1])]
        slots = {}

        def slot(bit):
            return slots.setdefault(bit, len(slots))

        def renamed(text):
            return NET.sub(lambda match: f"v[{slot(int(match[1]))}]", text)
        self.evaluate = compiled([f"v[{slot(b)}] = {renamed(drivers[b][1])}" for b in order])
        self.clocked = compiled([f"return [{', '.join(renamed(d) for _, d in self.flops)}]"])
        self.flop_slots = [slot(q) for q, _ in self.flops]
        self.boxes = [(i, j, [slot(b) for b in ports]) for i, j, ports in self.boxes]
        self.ports = {name: [slot(b) if isinstance(b, int) else None for b in port["bits"]]
                      for name, port in module["ports"].items()}
        self.kinds = [(drivers[b][0], slots[b]) for b in order]
        self.kinds += [("TRELLIS_FF", s) for s in self.flop_slots]
        self.kinds += [("block RAM", s) for *_, ports in self.boxes for s in ports]
        self.v = [0] * len(slots)
        self.settled = self.v
        self.mask = (1 << STREAMS) - 1

    def step(self, inputs, products):
        """inputs: {port: [bits]}, a clock's; products: {(lane, column): [bits]}, that the memories
        give in it."""
        before = self.settled
        for name, values in inputs.items():
            for s, value in zip(self.ports[name], values, strict=True):
                if s is not None:
                    self.v[s] = value
        for i, j, ports in self.boxes:
            for s, value in zip(ports, products[i, j], strict=True):
                self.v[s] = value
        self.evaluate(self.v, self.mask)
        if self.counted:
            for kind, s in self.kinds:
                self.toggles[kind] = self.toggles.get(kind, 0) + (before[s] ^ self.v[s]).bit_count()
        self.settled = list(self.v)
        result = {name: [0 if s is None else self.v[s] for s in ports]
                  for name, ports in self.ports.items()}
        for s, value in zip(self.flop_slots, self.clocked(self.v, self.mask), strict=True):
            self.v[s] = value
        return result


# Data ---------------------------------------------------------------------------------------------


def gaussian(rng):
    """Weights (channels, taps) and pixels (positions, LANES, taps), 0 to 127, of no layer in
    particular."""
    weights = rng.normal(size=(256, TAPS))
    pixels = np.maximum(rng.normal(size=(256, LANES, TAPS)), 0)
    return weights, np.clip(np.round(pixels / 3 * 127), 0, 127).astype(np.int64)


def layer_data(checkpoint, name):
    """The levels (channels, taps) of a convolution with stride 1 of a trained ResNet-20, and its
    inputs for IMAGES test images, (positions, LANES, taps): LANES positions side by side. Taps are
    in the order of COMPUTE: channel, row, column. ValueError: no such layer."""
    images, _ = pot_train.dataset("fashion", "test")
    model, steps = pot_train.load(checkpoint, pot_train.network("resnet20", 1))
    layers = {n: m for n, m in model.named_modules()
              if isinstance(m, nn.Conv2d) and m.stride == (1, 1) and m.in_channels > 1}
    if name not in layers:
        raise ValueError(f"--layer {name}: allowed are {', '.join(layers)}")
    seen = []
    layers[name].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(pot_train.normalize(images[:IMAGES]))
    x, conv = seen[0], layers[name]
    columns = x.shape[3] // LANES * LANES
    taps = nn.functional.unfold(x, conv.kernel_size, padding=conv.padding)
    taps = taps.reshape(len(x), -1, *x.shape[2:])[..., :columns].permute(0, 2, 3, 1)
    pixels = (taps / x.max() * 127).round().reshape(-1, LANES, taps.shape[-1])
    levels = conv.weight.detach().flatten(1).numpy() / steps[f"{name}.weight"][:, None]
    return levels, pixels.numpy().astype(np.int64)


def quantized(weights, kind, codebook):
    """(codes, the integers they mean), as near as the best scale comes."""
    if kind == "lut":
        values = np.clip(np.round(weights / np.abs(weights).max() * 127), -127, 127).astype(int)
        return values & 255, values
    levels = np.array(CODEBOOKS[codebook, 4])
    best = None
    steps = np.append(np.geomspace(0.1, 1.5, 60), 1)    # 1: trained levels as they are.
    for scale in np.abs(weights).max() / levels.max() * steps:
        index = np.abs(np.abs(weights)[..., None] / scale - levels).argmin(-1)
        values = levels[index] * np.where(weights < 0, -1, 1)
        error = ((weights - values * scale) ** 2).sum()
        if best is None or error < best[0]:
            best = error, index + 8 * (weights < 0) * (index > 0), values
    return best[1:]


def planes(values, bits):
    """[bits] integers, a bit a stream, of one number a stream."""
    taken = np.asarray(values, np.int64)[:, None] >> np.arange(bits) & 1
    packed = np.packbits(taken.astype(np.uint8), axis=0, bitorder="little")
    return [int.from_bytes(column.tobytes(), "little") for column in packed.T]


def run(kind, codebook, weights, pixels, seed=1):
    """Toggles a MAC, {kind of cell: number}, of an array that takes two groups of operands.
    RuntimeError when its sums are not NumPy's."""
    module, array = netlist(kind, codebook)
    bits = getattr(array, "product_bits", 0)
    simulation = Simulation(module)
    rng = np.random.default_rng(seed)
    codes, values = quantized(weights, kind, codebook)
    taps, w_bits = weights.shape[1], 8 if kind == "lut" else 4
    xs, chosen = [], []
    for _ in range(2):
        xs.append(pixels[rng.integers(0, len(pixels), STREAMS)])
        chosen.append(rng.integers(0, len(weights), (STREAMS, COLUMNS)))
    none = {(i, j): [0] * bits for i in range(LANES) for j in range(COLUMNS)}
    clocks = 2 * taps + COLUMNS + 40
    got = [[] for _ in range(STREAMS)]
    for n in range(clocks):
        simulation.counted = WARM <= n < 2 * taps
        inputs = {"sys_clk": [0], "sys_rst": [0], "valid": [0], "first": [0], "last": [0]}
        products = none
        if n < 2 * taps:
            x = xs[n // taps][..., n % taps]
            inputs |= {name: [simulation.mask * value] for name, value in (
                ("valid", 1), ("first", n % taps == 0), ("last", n % taps == taps - 1))}
            inputs["operand"] = [bit for i in range(LANES) for bit in planes(x[:, i], 8)]
        if 3 <= n < 2 * taps + 3:
            code = codes[chosen[(n - 3) // taps], (n - 3) % taps]
            inputs["weights"] = [b for j in range(COLUMNS) for b in planes(code[:, j], w_bits)]
        # The memory reads a clock after the code came, and gives the product in the next.
        m = n - 5
        if kind == "static" and 0 <= m < 2 * taps:
            # As the array has them: without a power of two that all have.
            w = np.array(array.codebook)[codes[chosen[m // taps], m % taps] & 7]
            x = xs[m // taps][..., m % taps]
            products = {(i, j): planes(x[:, i] * w[:, j], bits)
                        for i in range(LANES) for j in range(COLUMNS)}
        out = simulation.step(inputs, products)
        if out["out_valid"][0]:
            width = None
            sums = []
            for name in sorted(out):
                if re.fullmatch(r"out\d", name):
                    width = len(out[name])
                    number = np.zeros(STREAMS, np.int64)
                    for k, plane in enumerate(out[name]):
                        number |= (plane >> np.arange(STREAMS, dtype=object) & 1).astype(
                            np.int64) << k
                    sums.append((number ^ 1 << width - 1) - (1 << width - 1))
            for stream in range(STREAMS):
                got[stream].append([int(total[stream]) for total in sums])
    for stream in range(STREAMS):
        wanted = [(xs[g][stream] @ values[chosen[g][stream]].T).T.tolist() for g in range(2)]
        if got[stream] != [column for group in wanted for column in group]:
            raise RuntimeError(f"{kind} {codebook}: the netlist's sums are not those of NumPy")
    macs = (2 * taps - WARM) * STREAMS * LANES * COLUMNS
    return {name: round(count / macs, 3) for name, count in sorted(simulation.toggles.items())}


def named(kind, codebook):
    """Of figures."""
    return f"{kind}_{codebook}" if codebook else f"plain8_{kind}"


def table(toggles):
    """Markdown lines of {name: {kind of cell: toggles a MAC}}: a row an array, what its block RAMs
    give apart."""
    with_layer = any(name.startswith("layer_") for name in toggles)
    heads = ["products", "Gaussian", "of it block RAM"] + ["layer", "of it block RAM"] * with_layer
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for kind, codebook in ARRAYS:
        cells = []
        for prefix in ("", "layer_")[:1 + with_layer]:
            of = toggles[prefix + named(kind, codebook)]
            cells += [f"{sum(of.values()):.1f}", f"{of.get('block RAM', 0):.1f}"]
        variant = plut_arrays.VARIANTS["plain8_lut" if kind == "lut" else f"{kind}_{codebook}8"]
        lines.append(f"| {variant.text} | {' | '.join(cells)} |")
    return lines


def main(checkpoint: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Of "
                               "models.pot_train; none: Gaussian data.")] = None,
         layer: Annotated[str, typer.Option(help="Of the network, of stride 1.")] = LAYER):
    """Count toggles; exit code 1 when a netlist does not compute what it should.

    Example: python -m litepress.bench.plut_toggles --checkpoint models/checkpoints/NAME.npz
    """
    os.nice(10)
    data = {"": (*gaussian(np.random.default_rng(0)), "Gaussian weights and half-Gaussian pixels")}
    if checkpoint:
        data["layer_"] = *layer_data(checkpoint, layer), f"{layer} of {checkpoint.name}, " \
            f"FashionMNIST's first {IMAGES} test images"
    toggles, figures, about = {}, {}, []
    for prefix, (weights, pixels, text) in data.items():
        about.append(f"{text}: {weights.shape[1]} taps, pixels of a mean of {pixels.mean():.1f}, "
                     f"{(pixels == 0).mean():.0%} of them 0.")
        for kind, codebook in ARRAYS:
            name = prefix + named(kind, codebook)
            toggles[name] = run(kind, codebook, weights, pixels)
            figures[f"{name}_toggles_per_mac"] = round(sum(toggles[name].values()), 2)
            console.print(name, figures[f"{name}_toggles_per_mac"], toggles[name])
    command = COMMAND
    if checkpoint:
        command += f" --checkpoint {checkpoint} --layer {layer}"
    results.save("plut_toggles", command, f"64 lanes, {STREAMS} streams of 2 groups; "
                 f"{' '.join(about)}", figures, toggles=toggles)
    pages.fill(plut_arrays.PAGE, COMMAND, {"toggles": [*table(toggles), "", " ".join(about)]})


if __name__ == "__main__":
    start(main)
