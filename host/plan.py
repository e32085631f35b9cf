"""The planner: a tiling for every layer, a DRAM place for every tensor, and the program.

Region of the model, from byte 0: header, weights, parameters, program, activations. A layer's
weights lie in the order in which its tiling loads them, so the tilings are chosen first; where a
tensor lies does not change what a tiling costs.
"""

from dataclasses import dataclass

from ..spec import isa
from ..spec.formats import WORD_BYTES
from ..spec.image import HEADER_BYTES
from .emit import (
    PARAM_WORDS,
    Addresses,
    LayerEmitter,
    weight_format,
    weight_loads,
)
from .image import align, row_bytes
from .predict import CLOCKS_PER_WORD, predict
from .program import Program
from .tiling import Geometry, PlanError, Tiling, candidates, geometry

TRIED = 6                   # Tilings of a layer that are emitted and timed.
WORD_COST = 8               # Clocks a program word must save: keeps programs small.
SLACK_BYTES = 1024          # Reserved behind the program: addresses change how many words it takes.


@dataclass(frozen=True)
class LayerPlan:
    """A layer with its tiling; weights and params: bytes in the region."""

    layer: object
    geo: Geometry
    tiling: Tiling
    loads: list                # of emit.WeightLoad
    weights_at: int
    weight_bytes: int
    params_at: int

    @property
    def param_bytes(self):
        return self.geo.cout * PARAM_WORDS * WORD_BYTES


@dataclass(frozen=True)
class Plan:
    """layers: LayerPlan each; places: tensor name -> byte offset; program: host.program.Program;
    weights_at..: byte offsets in the region; region_bytes: its size."""

    layers: list
    places: dict
    program: Program
    weights_at: int
    params_at: int
    program_at: int
    activations_at: int
    region_bytes: int
    predicted: list            # One dict a layer: see host.predict.


def choose(layer, tensors, arch, clocks_per_word=CLOCKS_PER_WORD):
    """(Geometry, Tiling) of a layer: the tiling that takes the fewest predicted clocks."""
    geo = geometry(layer, tensors, arch)
    best = None
    nowhere = Addresses((0,) * len(layer.inputs), 0, 0, 0)
    for tiling in candidates(geo, arch)[:TRIED]:
        program = Program(arch)
        LayerEmitter(program, layer, tensors, geo, tiling, nowhere, arch).run()
        program.mark(0)
        cycles = predict(program.gos, arch.columns, clocks_per_word)[0]["cycles"]
        cost = cycles + len(program.words) * WORD_COST
        if best is None or cost < best[0]:
            best = cost, tiling
    return geo, best[1]


def lifetimes(network):
    """Tensor name -> (first, last) layer during which it must stay in DRAM. The input and the
    output stay for the whole run, so that an image can run again without a new input."""
    last = len(network.layers) - 1
    spans = {network.input: (0, last)}
    for i, layer in enumerate(network.layers):
        for name in layer.inputs:
            if name not in spans:
                raise PlanError(f"layer {layer.name}: input {name} is no output of an earlier "
                                "layer")
            spans[name] = (spans[name][0], max(spans[name][1], i))
        if layer.output in spans:
            raise PlanError(f"layer {layer.name}: output {layer.output} is already written by an "
                            "earlier layer")
        spans[layer.output] = (i, i)
    if network.output not in spans:
        raise PlanError(f"network {network.name}: output {network.output} is written by no layer")
    spans[network.output] = (0, last)
    return spans


def allocate(sizes, spans, start, keep=False):
    """Places tensors above byte ``start``: name -> byte offset, and the end of the last.

    sizes: name -> bytes; spans: name -> (first, last) layer. Tensors that live at the same time do
    not overlap; the largest are placed first, each as low as it fits. keep: none overlap.
    """
    places = {}
    for name in sorted(spans, key=lambda n: (-sizes[n], spans[n])):
        first, last = spans[name]
        taken = sorted((places[other], places[other] + sizes[other]) for other in places
                       if keep or (spans[other][0] <= last and first <= spans[other][1]))
        at = start
        for low, high in taken:
            if at + sizes[name] <= low:
                break
            at = max(at, align(high))
        places[name] = at
    return {n: places[n] for n in spans}, max([start, *(places[n] + sizes[n] for n in places)])


def plan(network, arch, keep=False, region_bytes=32 << 20, clocks_per_word=CLOCKS_PER_WORD):
    """Plan a graph.Network for an Arch: a Plan.

    PlanError: a layer that no tiling can run, tensors that do not fit ``region_bytes``, more layers
    than profile slots.
    """
    if not 0 < len(network.layers) <= isa.PROFILE_SLOTS:
        raise PlanError(f"network {network.name}: {len(network.layers)} layers: allowed are 1 to "
                        f"{isa.PROFILE_SLOTS}, one a profile slot")
    chosen = {}
    layers, weights, params = [], 0, 0
    spans = lifetimes(network)
    for layer in network.layers:
        # Networks repeat their layers: the same shapes and formats get the same tiling.
        names = [*layer.inputs, layer.output]
        key = (layer.op, tuple(layer.weights.shape), layer.stride, layer.padding,
               layer.weight_format, len(set(layer.inputs)),
               *((network.tensors[n].shape, network.tensors[n].fmt) for n in names))
        if key not in chosen:
            chosen[key] = choose(layer, network.tensors, arch, clocks_per_word)[1]
        geo, tiling = geometry(layer, network.tensors, arch), chosen[key]
        loads, words = weight_loads(geo, tiling, arch, weight_format(geo, layer))
        layers.append(LayerPlan(layer, geo, tiling, loads, weights, words * WORD_BYTES, params))
        weights += words * WORD_BYTES
        params += layers[-1].param_bytes

    weights_at = HEADER_BYTES
    params_at = align(weights_at + weights)
    program_at = align(params_at + params)
    sizes = {n: network.tensors[n].shape[1] * row_bytes(network.tensors[n].shape,
                                                        network.tensors[n].fmt) for n in spans}
    layers = [LayerPlan(p.layer, p.geo, p.tiling, p.loads, weights_at + p.weights_at,
                        p.weight_bytes, params_at + p.params_at) for p in layers]
    reserved = SLACK_BYTES
    while True:
        activations_at = align(program_at + reserved)
        places, end = allocate(sizes, spans, activations_at, keep)
        program = _emit(network, layers, places, arch)
        size = len(program.words) * WORD_BYTES
        if size <= reserved:
            break
        reserved = size + SLACK_BYTES
    if end > region_bytes:
        raise PlanError(f"network {network.name}: weights, program and activations take {end} "
                        f"bytes: the region has {region_bytes}")
    predicted = predict(program.gos, arch.columns, clocks_per_word)
    return Plan(layers, places, program, weights_at, params_at, program_at, activations_at,
                align(end), predicted)


def _emit(network, layers, places, arch):
    program = Program(arch)
    for slot, p in enumerate(layers):
        addresses = Addresses(tuple(places[n] // WORD_BYTES for n in p.layer.inputs),
                              places[p.layer.output] // WORD_BYTES, p.weights_at // WORD_BYTES,
                              p.params_at // WORD_BYTES)
        try:
            LayerEmitter(program, p.layer, network.tensors, p.geo, p.tiling, addresses, arch).run()
        except PlanError:
            raise
        except ValueError as error:
            raise PlanError(f"{p.geo.title}: {error}") from None
        program.mark(slot)
    program.end()
    return program

