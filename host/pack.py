"""From a quantized network to an image: plan, encode weights, prove, check, assemble."""

import numpy as np

from ..spec import image as layout
from ..spec import isa
from ..spec.formats import LANES
from .codecs import huffman
from .codecs.block import encode_blocks, roundtrip
from .codecs.stored import pack_group
from .emit import as_stored, weight_format
from .graph import ADD, CONV, DEPTHWISE, POOL
from .hazards import check
from .image import Image, row_bytes
from .plan import PlanError, plan

ON_CHIP = "int16, on chip"    # Format of tensors inside a chain, in an image's meta.


class PackError(ValueError):
    """A network that cannot be packed: one line naming layer, channel, value and limit."""


def pack(network, arch, keep=False, region_bytes=32 << 20, fuse=True):
    """graph.Network, Arch -> Image.

    keep: a DRAM place of its own for every tensor, so that none stays on chip alone. fuse: layers
    may pass their rows on in ABUF, without encoding them (host/chain.py). region_bytes: what the
    device has. ValueError (PackError, PlanError, HazardError): one line that says what does not
    fit.
    """
    for layer in network.layers:
        _check_numbers(network, layer)
    made = plan(network, arch, keep, region_bytes, fuse=fuse)
    weights, params, coded = bytearray(), bytearray(), []
    for p in made.layers:
        stored = stored_weights(p.layer)
        _prove(network, p.layer, stored, made.places)
        assert made.weights_at + len(weights) == p.weights_at
        data = encode_weights(p, arch)
        coded.append(min(len(data), len(huffman.encode(data, huffman.field_bits(data)))))
        weights += data
        params += encode_params(p.layer.requant)
    words = np.array(made.program.words, "<u4")
    check(words, arch, made.region_bytes, made.activations_at)
    return Image.build(arch, [(layout.WEIGHTS, made.weights_at, bytes(weights)),
                              (layout.PARAMS, made.params_at, bytes(params)),
                              (layout.PROGRAM, made.program_at, words.tobytes())],
                       len(words), made.region_bytes, _meta(network, arch, made, coded))


# Weights and parameters ---------------------------------------------------------------------------

def _by_tap(layer):
    """Weights of CONV or DEPTHWISE as (taps, channels), taps in the order of COMPUTE's loops; of
    ADD or POOL as (taps, 1)."""
    w = layer.weights.astype(np.int16)
    return w.reshape(len(w), -1).T if layer.op in (CONV, DEPTHWISE) else w.reshape(-1, 1)


def _blocks(values):
    """(taps, channels) int16 -> (taps, ceil(channels/4), 4), zero padded."""
    taps, channels = values.shape
    return np.pad(values, ((0, 0), (0, -channels % LANES))).reshape(taps, -1, LANES)


def stored_weights(layer):
    """What LOAD will decode of the layer's weights: int16 (taps, channels)."""
    values = _by_tap(layer)
    if layer.op not in (CONV, DEPTHWISE):
        return values
    blocks = np.ascontiguousarray(_blocks(values)).reshape(-1, LANES)
    stored = roundtrip(blocks, layer.weight_format.in_run(values.shape[1]))
    return stored.reshape(len(values), -1)[:, :values.shape[1]]


def encode_weights(p, arch):
    """Bytes of a LayerPlan's weights: its runs one after another."""
    values = _by_tap(p.layer)
    out = []
    for load in p.loads:
        for run in load.runs:
            if p.geo.shared_weights:
                groups = [np.broadcast_to(values, (len(values), run.groups[0][1]))]
            else:
                groups = [values[:, first:first + n] for first, n in run.groups]
            if as_stored(p.geo, arch):
                out += [pack_group(group, arch.weight_format) for group in groups]
                continue
            parts = [_blocks(group).reshape(-1, LANES) for group in groups]
            if run.stride is None:
                parts = [np.concatenate(parts)]
            out += [encode_blocks(np.ascontiguousarray(blocks), run.fmt).tobytes()
                    for blocks in parts]
    data = b"".join(out)
    assert len(data) == p.weight_bytes
    return data


def encode_params(requant):
    """PBUF records of a layer: bytes, 8 a channel."""
    m, s, b = (np.asarray(v).astype(np.int64).view(np.uint64) for v in
               (requant.m, requant.s, requant.b))
    record = m | s << np.uint64(isa.PARAM_M_BITS) \
        | b << np.uint64(isa.PARAM_M_BITS + isa.PARAM_S_BITS)
    return record.astype("<u8").tobytes()


# Proofs -------------------------------------------------------------------------------------------

def _check_numbers(network, layer):
    """Tensors exist, weights and requantization have the types, lengths and ranges of spec/isa."""
    for name in (*layer.inputs, layer.output):
        if name not in network.tensors:
            raise PackError(f"layer {layer.name}: no tensor {name!r} in the network")
    wanted = 2 if layer.op == ADD else 1
    if len(layer.inputs) != wanted:
        raise PackError(f"layer {layer.name}: {len(layer.inputs)} inputs: {layer.op} takes "
                        f"{wanted}")
    if layer.weights.dtype != np.int16:
        raise PackError(f"layer {layer.name}: weights of {layer.weights.dtype}: allowed is int16")
    cout, r = network.tensors[layer.output].shape[0], layer.requant
    half = 1 << isa.PARAM_B_BITS - 1
    limits = (("m", r.m, 0, (1 << isa.PARAM_M_BITS) - 1), ("s", r.s, 0,
              (1 << isa.PARAM_S_BITS) - 1), ("b", r.b, -half, half - 1))
    for name, values, low, high in limits:
        values = np.asarray(values)
        if values.shape != (cout,) or values.dtype.kind not in "iu":
            raise PackError(f"layer {layer.name}: requant.{name} is {values.dtype} {values.shape}: "
                            f"allowed are integers ({cout},)")
        outside = (values < low) | (values > high)
        if outside.any():
            c = int(np.argmax(outside))
            raise PackError(f"layer {layer.name}, channel {c}: requant.{name} = {values[c]}: "
                            f"allowed are {low} to {high}")
    if not -32768 <= r.lo <= r.hi <= 32767:
        raise PackError(f"layer {layer.name}: clamp {r.lo} to {r.hi}: allowed are -32768 to 32767")


def _input_range(network, name, stored):
    """(lowest, highest) of a tensor as it is read: what its layer's clamp lets through where it
    stays on chip; where it is ``stored`` what a LOAD can give, which is both if lossless."""
    fmt = network.tensors[name].fmt
    low, high = fmt.range
    producer = next((layer for layer in network.layers if layer.output == name), None)
    if not stored:
        return producer.requant.lo, producer.requant.hi
    if producer is not None and fmt.lossless:
        return (min(max(producer.requant.lo, low), high), max(min(producer.requant.hi, high), low))
    return low, high


def _prove(network, layer, stored, places):
    """No accumulator leaves ACC_BITS, on the way or in the end: from the stored weights and what
    the inputs' formats can hold. stored: int16 (taps, channels); places: tensors in DRAM."""
    ranges = np.array([_input_range(network, n, n in places) for n in layer.inputs], np.float64)
    low, high = (ranges[:, [i]] for i in range(2))     # (inputs, 1): of each tap, or of all.
    w = stored.astype(np.float64)                      # Sums stay below 2^53: exact.
    products = np.stack([w * low, w * high, np.zeros_like(w)])    # Padding is zero.
    low, high = products.min(0).sum(0), products.max(0).sum(0)
    if layer.op == POOL:
        pixels = np.prod(network.tensors[layer.inputs[0]].shape[1:])
        low, high = low * pixels, high * pixels
    limit = 2.0 ** (isa.ACC_BITS - 1)
    for c in np.flatnonzero((high >= limit) | (low < -limit)):
        raise PackError(f"layer {layer.name}, channel {c}: the accumulator can reach "
                        f"{low[c]:.0f} to {high[c]:.0f}: {isa.ACC_BITS} bits hold "
                        f"{-limit:.0f} to {limit - 1:.0f}")


# META ---------------------------------------------------------------------------------------------

def _meta(network, arch, made, coded):
    """coded: bytes of each layer's weights as a Huffman stream, or as they are if that is less."""
    tensors = {}
    for name, offset in made.places.items():
        t = network.tensors[name]
        row = row_bytes(t.shape, t.fmt)
        tensors[name] = {"shape": list(map(int, t.shape)), "format": str(t.fmt),
                         "scale": float(t.scale), "offset": offset, "row_bytes": row,
                         "bytes": row * int(t.shape[1])}
    slots = [slot for slot, g in enumerate(made.groups) for _ in range(g.first, g.last)]
    layers = []
    for slot, p, huffman_bytes in zip(slots, made.layers, coded, strict=True):
        layer = p.layer
        layers.append({
            "name": layer.name, "op": layer.op, "source": layer.source,
            "inputs": list(layer.inputs), "output": layer.output,
            "input_shapes": [list(map(int, network.tensors[n].shape)) for n in layer.inputs],
            "output_shape": list(map(int, network.tensors[layer.output].shape)),
            "macs": int(layer.macs),
            "weights": int(layer.weights.size), "raw_bytes": 4 * int(layer.weights.size),
            "stored_bytes": p.weight_bytes, "huffman_bytes": huffman_bytes,
            "param_bytes": p.param_bytes,
            "weight_format": str(weight_format(p.geo, layer)),
            "input_formats": [tensors[n]["format"] if n in tensors else ON_CHIP
                              for n in layer.inputs],
            "output_format": tensors[layer.output]["format"] if layer.output in tensors
            else ON_CHIP, "slot": slot,
        })
    groups = [{"tiling": g.tiling.text(), "predicted": predicted}
              for g, predicted in zip(made.groups, made.predicted, strict=True)]
    return {"name": network.name, "labels": None, "preprocessing": None, **network.meta,
            "input": network.input, "output": network.output, "arch": arch.as_dict(),
            "tensors": tensors, "layers": layers, "groups": groups}


__all__ = ["PackError", "PlanError", "encode_params", "encode_weights", "pack", "stored_weights"]
