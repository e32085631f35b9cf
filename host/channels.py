"""Channel pipelines: a 1x1 convolution whose channels go through a depthwise layer as they come.

For small planes with many weights, where a chain's weights would not fit: a range of the expanded
channels is computed, over all rows, while VECTOR works on the range before it (a depthwise
convolution or a pool). Where COMPUTE does both, by turns, the next range's weights come meanwhile.
Every weight is loaded once and used once. The depthwise result either goes to DRAM range by range,
or stays in ABUF for a second 1x1 convolution, and perhaps an add with the pipeline's input behind
it.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import lcm

from ..spec import isa
from ..spec.formats import LANES
from .emit import BANKS, Addresses, LayerEmitter, Memories, move_rows
from .graph import ADD, CONV, DEPTHWISE, POOL
from .tiling import Tiling, split

COUNTS = (1, 2, 3, 4, 6, 8)      # Of the array's columns in a range.


@dataclass(frozen=True)
class ChannelTiling:
    """channels: of a range of the expanded tensor; second: of the second convolution's."""

    channels: int
    second: int = 0

    def text(self):
        return f"{self.channels} channels at a time" + (
            f", then {self.second}" if self.second else "")


def is_pointwise(geo):
    return geo.op == CONV and (geo.kh, geo.kw, geo.stride, geo.padding) == (1, 1, 1, 0)


def can_pipeline(layers, geos):
    """Whether these consecutive layers, which keep to themselves, can be a channel pipeline, ABUF
    aside."""
    if not 2 <= len(layers) <= 4 or not is_pointwise(geos[0]):
        return False
    if geos[1].op not in (DEPTHWISE, POOL):
        return False
    if len(layers) > 2 and not is_pointwise(geos[2]):
        return False
    if len(layers) > 3 and not (geos[3].op == ADD and set(layers[3].inputs) == {
            layers[2].output, layers[0].inputs[0]}):
        return False
    return all(before.output in layer.inputs for before, layer in pairwise(layers))


def keeps_to_itself(layers, network):
    """No other layer reads what lies inside, and it is not the network's output."""
    inside = {layer.output for layer in layers[:-1]}
    return network.output not in inside and not any(
        inside & set(layer.inputs) for layer in network.layers
        if not any(layer is mine for mine in layers))


def place(groups, depth):
    """ABUF places of tensors, name -> address, or None if they do not fit.

    groups: a list of dicts name -> size (vectors). One tensor lies behind the other, but a group on
    banks of its own as long as all find room: two engines that read from a bank, or write to one,
    halve their pace, so what one reads and what another reads belong in different groups.
    """
    places, at = {}, 0
    left = sum(sum(group.values()) for group in groups)
    if left > depth:
        return None
    for group in groups:
        aligned = -(-at // (depth // BANKS)) * (depth // BANKS)
        if any(group.values()) and aligned + left <= depth:
            at = aligned
        for name, size in group.items():
            places[name] = at
            at += size
            left -= size
    return places


class Pipeline:
    """ABUF places: ``fits`` if they do. layers, geos: of the pipeline; tiling: ChannelTiling."""

    def __init__(self, layers, geos, tiling, arch):
        self.layers, self.geos, self.tiling, self.arch = layers, geos, tiling, arch
        first, second = geos[0], geos[1]
        range_ = min(tiling.channels, first.cout)
        self.input = first.in_rows * first.cin * first.in_vecs
        self.middle = first.out_rows * range_ * first.out_vecs       # A slot; there are two.
        self.stays = len(layers) > 2
        self.result = second.out_rows * second.out_vecs * (second.cout if self.stays else range_)
        self.final = geos[2].out_rows * geos[2].cout * geos[2].out_vecs if self.stays else 0
        self.added = self.final if len(layers) > 3 else 0
        # Without an add the input is done with when the second convolution begins.
        shared = self.stays and len(layers) == 3
        self.places = place([
            {"middle0": self.middle, "middle1": self.middle},
            {"result0": self.result, "result1": 0 if self.stays else self.result},
            {"input": max(self.input, self.final) if shared else self.input},
            {"final": 0 if shared else self.final}, {"added": self.added}], arch.abuf_depth)
        self.fits = self.places is not None
        if shared and self.fits:
            self.places["final"] = self.places["input"]


class PipelineEmitter:
    """Appends the GOs of a Pipeline to a Program; ``run()`` once. Arguments as ChainEmitter's."""

    def __init__(self, program, pipeline, tensors, addresses, places, memories=None):
        self.program, self.pipeline = program, pipeline
        self.tensors, self.addresses = tensors, addresses
        memories = memories or Memories(pipeline.arch)
        self.emitters = [
            LayerEmitter(program, layer, tensors, geo, tiling,
                         Addresses((), 0, weights, params), pipeline.arch, memories)
            for layer, geo, tiling, (weights, params) in zip(
                pipeline.layers, pipeline.geos, layer_tilings(pipeline.geos, pipeline.tiling),
                places, strict=True)]

    def run(self):
        pipeline = self.pipeline
        layers, geos, places = pipeline.layers, pipeline.geos, pipeline.places
        first, second = geos[0], geos[1]
        turn = 0
        # The first weights do not wait for the input.
        self._constants(0, split(first.cout, pipeline.tiling.channels)[0])
        self._move(isa.LOAD, layers[0].inputs[0], places["input"])
        for a, b in split(first.cout, pipeline.tiling.channels):
            middle = places[f"middle{turn % 2}"]
            self._go(0, (a, b), places["input"], first.in_rows, middle, (b - a) * first.out_vecs)
            if pipeline.stays:
                out, row = places["result0"] + a * second.out_vecs, second.cout * second.out_vecs
            else:
                out, row = places[f"result{turn % 2}"], (b - a) * second.out_vecs
            self._go(1, (a, b), middle, second.in_rows, out, row)
            if not pipeline.stays:
                self._move(isa.STORE, layers[1].output, out, (a, b))
            turn += 1
        if not pipeline.stays:
            return
        third, out = geos[2], places["final"]
        for a, b in split(third.cout, pipeline.tiling.second):
            self._go(2, (a, b), places["result0"], third.in_rows, out + a * third.out_vecs,
                     third.cout * third.out_vecs)
        if len(layers) > 3:
            operands = [places["final"] if name == layers[2].output else places["input"]
                        for name in layers[3].inputs]
            self._go(3, (0, geos[3].cout), operands[0], geos[3].in_rows, places["added"],
                     geos[3].cout * geos[3].out_vecs, operands[1] - operands[0])
            out = places["added"]
        self._move(isa.STORE, layers[-1].output, out)

    def _constants(self, i, channels):
        emitter = self.emitters[i]
        return emitter.load_weights(channels), emitter.load_params(channels)

    def _go(self, i, channels, place, rows, out, out_row, distance=0):
        """All rows of a range of channels of layer i."""
        geo = self.pipeline.geos[i]
        w_base, p_base = self._constants(i, channels)
        in_row = (geo.cin if geo.dense else channels[1] - channels[0]) * geo.in_vecs
        self.emitters[i].compute(channels[1] - channels[0], 0, geo.out_rows, place, in_row, 0, rows,
                                 out, out_row, w_base, p_base, distance)

    def _move(self, engine, name, place, channels=None):
        """LOAD or STORE of a whole tensor, or of a range of its channels over all rows."""
        count, rows, width = self.tensors[name].shape
        fmt, vectors = self.tensors[name].fmt, -(-width // 4)
        a, b = channels or (0, count)
        move_rows(self.program, engine, fmt, self.addresses[name] + fmt.run_words(a * vectors),
                  rows, (b - a) * vectors, fmt.run_words(count * vectors), place)


def layer_tilings(geos, tiling):
    """How the weights of a pipeline's layers lie in DRAM: in its ranges of channels."""
    sizes = [tiling.channels, tiling.channels, tiling.second, geos[-1].cout]
    return [Tiling(geo.out_rows, min(size, geo.cout), min(size, geo.cout), False, True, 1, 1)
            for geo, size in zip(geos, sizes[:len(geos)], strict=True)]


def candidates(layers, geos, arch):
    """Pipelines that fit all memories."""
    found = []
    step = lcm(arch.columns, geos[1].channel_step)
    for count in COUNTS:
        channels = count * step
        if channels > geos[0].cout and count > 1:
            break
        second = 0
        if len(layers) > 2:
            second = max(1, arch.wbuf_depth // 2 // geos[2].taps) * arch.columns
            second = min(second, -(-geos[2].cout // arch.columns) * arch.columns)
        tiling = ChannelTiling(min(channels, geos[0].cout), min(second, geos[2].cout)
                               if second else 0)
        made = Pipeline(layers, geos, tiling, arch)
        words = -(-channels // arch.columns) * geos[0].taps
        group = LANES if geos[1].vector else min(arch.columns, channels)
        taps = -(-channels // group) * (1 if geos[1].shared_weights else geos[1].taps)
        if not geos[1].vector:
            words, taps = words + taps, 0
        fits = made.fits and words <= arch.wbuf_depth // 2 and taps <= arch.vbuf_depth // 2 \
            and max(channels, second) <= arch.pbuf_depth // 2
        if len(geos) > 2:
            fits = fits and geos[2].taps <= arch.wbuf_depth
        if len(geos) > 3:
            fits = fits and geos[3].cout <= arch.pbuf_depth // 2
        if fits:
            found.append(made)
    return found
