"""Runs a float graph, for calibration and comparison."""

import torch

from .graph import ADD, CONV, DEPTHWISE


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
            a = live[layer.inputs[0]]
            if layer.op in (CONV, DEPTHWISE):
                y = torch.nn.functional.conv2d(
                    a, torch.from_numpy(layer.weight).float(),
                    torch.from_numpy(layer.bias).float(), layer.stride, layer.padding,
                    groups=len(layer.weight) if layer.op == DEPTHWISE else 1)
            elif layer.op == ADD:
                y = a + live[layer.inputs[1]]
            else:
                y = a.mean((2, 3), keepdim=True)
            after = y.clamp(layer.lo, layer.hi)
            if watch:
                watch(layer, y, after)
            live[layer.output] = after
            for name in layer.inputs:
                if last[name] == index:
                    live.pop(name, None)
    return live[graph.output].flatten(1)
