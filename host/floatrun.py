"""Runs a float graph, for calibration and comparison."""

import torch

from .graph import ADD, CONV, DEPTHWISE


def run_float_layer(layer, inputs):
    """A FloatLayer's output before its activation, float32 (N, C, H, W); inputs: list of tensors
    alike."""
    if layer.op in (CONV, DEPTHWISE):
        return torch.nn.functional.conv2d(
            inputs[0], torch.from_numpy(layer.weight).float(), torch.from_numpy(layer.bias).float(),
            layer.stride, layer.padding,
            groups=len(layer.weight) if layer.op == DEPTHWISE else 1)
    if layer.op == ADD:
        return inputs[0] + inputs[1]
    return inputs[0].mean((2, 3), keepdim=True)


def _last_use(graph):
    last = {t: i for i, layer in enumerate(graph.layers) for t in layer.inputs}
    return last | {graph.output: len(graph.layers)}


def run_float(graph, x, watch=None):
    """x: float32 (N, C, H, W) tensor or array -> float32 (N, outputs).

    watch(layer, before, after), if given, sees each layer's output before and after its activation;
    watch(None, x, x) the input.
    """
    x = torch.as_tensor(x, dtype=torch.float32)
    last, live = _last_use(graph), {graph.input: x}
    if watch:
        watch(None, x, x)
    with torch.no_grad():
        for index, layer in enumerate(graph.layers):
            y = run_float_layer(layer, [live[t] for t in layer.inputs])
            after = y.clamp(layer.lo, layer.hi)
            if watch:
                watch(layer, y, after)
            live[layer.output] = after
            for name in layer.inputs:
                if last[name] == index:
                    live.pop(name, None)
    return live[graph.output].flatten(1)
