"""From an unmodified torch.nn.Module to a float graph of the four operations, by torch.export.

BatchNorm is folded into the convolution before it (float64), ReLU-like activations into the
operation before them. What is not supported is collected and reported at once, with module names.
"""

import copy
import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import torch

from .graph import ADD, CONV, DEPTHWISE, POOL

MAX_KERNEL = 7


class UnsupportedError(ValueError):
    """One or more layers cannot be imported; the message lists all of them."""


@dataclass
class FloatLayer:
    """One operation on real numbers, with the activation that follows it.

    weight: float64 (cout, cin/groups, kh, kw) of CONV and DEPTHWISE, else None; bias: float64
    (cout,); lo, hi: bounds of the activation, -inf and inf when there is none; step: float64
    (cout,), of which a channel's weights are integer multiples, None: they were not trained so.
    """

    name: str
    op: str
    inputs: list
    output: str
    weight: np.ndarray = None
    bias: np.ndarray = None
    stride: int = 1
    padding: int = 0
    lo: float = -math.inf
    hi: float = math.inf
    source: list = field(default_factory=list)
    step: np.ndarray = None


@dataclass
class FloatGraph:
    """Layers in execution order; ``shapes``: tensor name -> (C, H, W); ``input``, ``output``:
    tensor names; ``input_shape``: of an input as the module takes it, which may be flattened into
    the shape it has in the graph."""

    name: str
    layers: list
    shapes: dict
    input: str
    output: str
    input_shape: tuple = ()

    def flattened(self, inputs):
        """Inputs (N, *input_shape), as the module takes them, to (N, C, H, W) of the graph.
        ValueError: their shape is another."""
        inputs = np.asarray(inputs, np.float32)
        if inputs.shape[1:] != self.input_shape or not len(inputs):
            raise ValueError(f"calibration images of shape {inputs.shape}: expected (N, "
                             f"{', '.join(map(str, self.input_shape))}), N at least 1")
        return inputs.reshape(len(inputs), *self.shapes[self.input])


def _module_name(node):
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return (stack[-1][0] if stack else "") or node.name


class _Importer:
    def __init__(self, program, name, steps):
        self.program, self.steps = program, dict(steps or {})
        signature = program.graph_signature
        self.constants = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.problems = []
        self.tensor = {}         # node -> tensor name
        self.layer_of = {}       # tensor name -> the layer that makes it
        self.graph = FloatGraph(name, [], {}, None, None)

    def problem(self, node, text):
        kind = str(node.target).replace("aten.", "").rsplit(".", 1)[0]
        line = f"{_module_name(node)} ({kind}): {text}"
        if line not in self.problems:
            self.problems.append(line)

    def value(self, node):
        """A parameter or buffer as float64, None for None."""
        if node is None:
            return None
        full = self.constants.get(getattr(node, "name", None))
        if full is None:
            raise UnsupportedError(f"{self.graph.name}: computed weights ({node}): allowed are "
                                   f"parameters; fold weight_norm and the like first")
        value = self.program.state_dict.get(full, self.program.constants.get(full))
        return value.detach().double().numpy()

    def step(self, node, cout):
        """``steps`` of a weight parameter: float64 (cout,), or None."""
        name = self.constants.get(node.name)
        if name not in self.steps:
            return None
        step = np.asarray(self.steps.pop(name), np.float64)
        if step.shape not in ((), (cout,)) or not (np.isfinite(step) & (step > 0)).all():
            raise ValueError(f"steps: {name}: {step.shape}: allowed are {cout} positive numbers, "
                             f"or one")
        return np.broadcast_to(step, (cout,)).copy()

    def layer_name(self, node):
        """The module's name; with a number behind it where a module is called again."""
        name, taken = _module_name(node), {layer.name for layer in self.graph.layers}
        names = itertools.chain([name], (f"{name}#{i}" for i in itertools.count(2)))
        return next(n for n in names if n not in taken)

    def new(self, node, op, inputs, **fields):
        """Append a layer whose output is this node's tensor."""
        shape = tuple(node.meta["val"].shape)[1:]
        shape = shape + (1,) * (3 - len(shape))
        layer = FloatLayer(self.layer_name(node), op, [self.tensor[i] for i in inputs], node.name,
                           source=[_module_name(node)], **fields)
        self.graph.layers.append(layer)
        self.graph.shapes[node.name] = shape
        self.tensor[node] = node.name
        self.layer_of[node.name] = layer

    def alias(self, node):
        """The node's tensor is its input's, for what changes nothing."""
        self.tensor[node] = self.tensor.get(node.args[0])

    def unknown(self, node):
        """Stand-in for the output of what is not supported, so that the check can go on."""
        value = node.meta["val"]
        value = value[0] if isinstance(value, tuple | list) else value
        shape = tuple(value.shape)[1:]
        self.graph.shapes[node.name] = (shape + (1, 1, 1))[:3]
        self.tensor[node] = node.name

    def foldable(self, node):
        """The layer that makes this node's input, if nobody else reads it unfolded."""
        name = self.tensor.get(node.args[0])
        layer = self.layer_of.get(name)
        if layer is None or layer.lo > -math.inf or layer.hi < math.inf:
            return None
        # Every node that stands for this tensor, directly or through what changes nothing, has one
        # reader: a chain that ends here.
        if any(len(n.users) != 1 for n, t in self.tensor.items() if t == name and n is not node):
            return None
        return layer

    # One function for each operator of torch.export's graph.

    def conv2d(self, node):
        args = dict(zip(("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
                        node.args, strict=False)) | dict(node.kwargs)
        weight, bias = self.value(args["weight"]), self.value(args.get("bias"))
        stride, padding = args.get("stride", [1, 1]), args.get("padding", [0, 0])
        cout, cin, kh, kw = weight.shape
        groups = args.get("groups", 1)
        if isinstance(padding, str):
            return self.problem(node, f"padding = {padding!r}: allowed are numbers")
        wrong = []
        if kh != kw or kh > MAX_KERNEL:
            wrong.append(f"kernel {kh}x{kw}: allowed are square kernels up to {MAX_KERNEL}")
        if stride[0] != stride[-1] or stride[0] not in (1, 2):
            wrong.append(f"stride {list(stride)}: allowed are 1 and 2")
        if padding[0] != padding[-1] or padding[0] > kw // 2:
            wrong.append(f"padding {list(padding)}: allowed are 0 to kernel // 2, on all sides")
        if any(d != 1 for d in args.get("dilation", [1, 1])):
            wrong.append(f"dilation {list(args['dilation'])}: allowed is 1")
        if groups != 1 and not (groups == cout and cin == 1):
            wrong.append(f"groups = {groups} with {cout} output channels: allowed are 1 and the "
                         f"number of input and output channels")
        for text in wrong:
            self.problem(node, text)
        self.new(node, DEPTHWISE if groups != 1 else CONV, [args["input"]], weight=weight,
                 step=self.step(args["weight"], cout),
                 bias=np.zeros(cout) if bias is None else bias, stride=stride[0],
                 padding=padding[0])

    def batch_norm(self, node):
        _, gamma, beta, mean, var, training, _, eps, *_ = node.args
        layer = self.foldable(node)
        if training or mean is None:
            return self.problem(node, "uses batch statistics: allowed are running statistics")
        if layer is None or layer.weight is None:
            self.alias(node)
            if self.tensor[node] in self.layer_of or self.tensor[node] == self.graph.input:
                self.problem(node, "does not directly follow a convolution of its own")
            return
        mean, scale = self.value(mean), 1 / np.sqrt(self.value(var) + eps)
        if len(mean) != len(layer.bias):
            return self.problem(node, f"of {len(mean)} features behind {len(layer.bias)} channels: "
                                      "allowed is one for each")
        if gamma is not None:
            scale *= self.value(gamma)
        layer.weight = layer.weight * scale[:, None, None, None]
        layer.bias = (layer.bias - mean) * scale
        if layer.step is not None:
            layer.step = layer.step * np.where(scale == 0, 1, np.abs(scale))
        if beta is not None:
            layer.bias = layer.bias + self.value(beta)
        layer.source.append(_module_name(node))
        self.alias(node)
        self.layer_of[self.tensor[node]] = layer

    def activation(self, node, lo, hi):
        layer = self.foldable(node)
        self.alias(node)
        if layer is None:
            if self.tensor[node] in self.layer_of or self.tensor[node] == self.graph.input:
                self.problem(node, "does not directly follow a layer whose output only it reads")
            return
        layer.lo, layer.hi = lo, hi
        layer.source.append(_module_name(node))

    def relu(self, node):
        self.activation(node, 0.0, math.inf)

    def relu6(self, node):
        self.activation(node, 0.0, 6.0)

    def hardtanh(self, node):
        lo, hi = (*node.args[1:], *(-1.0, 1.0)[len(node.args) - 1:])
        self.activation(node, float(lo), float(hi))

    def clamp(self, node):
        lo, hi = (*node.args[1:], None, None)[:2]
        self.activation(node, -math.inf if lo is None else float(lo),
                        math.inf if hi is None else float(hi))

    def add(self, node):
        a, b = node.args[:2]
        in_place = str(node.target).startswith("aten.add_")
        if in_place and isinstance(a, torch.fx.Node) and len(a.users) != 1:
            return self.problem(node, "in place on a tensor that others read: allowed is a + b")
        if not all(isinstance(v, torch.fx.Node) and v in self.tensor for v in (a, b)):
            return self.problem(node, "allowed is the sum of two activation tensors")
        if a.meta["val"].shape != b.meta["val"].shape or node.kwargs.get("alpha", 1) != 1:
            return self.problem(node, "allowed are two tensors of one shape, alpha = 1")
        self.new(node, ADD, [a, b])

    def pool(self, node, x):
        shape = self.graph.shapes.get(self.tensor.get(x))
        if shape and shape[1:] == (1, 1):
            self.tensor[node] = self.tensor[x]
        else:
            self.new(node, POOL, [x])

    def adaptive_avg_pool2d(self, node):
        if list(node.args[1]) != [1, 1]:
            return self.problem(node, f"output size {list(node.args[1])}: allowed is 1")
        self.pool(node, node.args[0])

    def mean(self, node):
        dims = node.args[1] if len(node.args) > 1 else None
        if (node.args[0].meta["val"].dim() != 4 or not dims or node.kwargs.get("dtype")
                or sorted(d % 4 for d in dims) != [2, 3]):
            return self.problem(node, f"over dimensions {dims or 'all'}: allowed are 2 and 3, "
                                      f"float32")
        self.pool(node, node.args[0])

    def flatten(self, node):
        self.alias(node)
        shape = tuple(node.meta["val"].shape)
        if len(shape) != 2 or shape[0] != 1:
            self.problem(node, f"to a tensor of shape {list(shape)}: allowed is (N, features)")
        elif self.tensor[node] == self.graph.input:
            # The host flattens it. Who else reads the input wants its pixels.
            if self.graph.shapes[self.graph.input] != (shape[1], 1, 1) and \
                    len(node.args[0].users) != 1:
                return self.problem(node, "of an input that others read: allowed is one reader")
            self.graph.shapes[self.graph.input] = (shape[1], 1, 1)

    def linear(self, node):
        """A convolution without padding whose kernel is the whole plane."""
        x, weight = node.args[0], self.value(node.args[1])
        c, h, w = self.graph.shapes.get(self.tensor.get(x)) or (weight.shape[1], 1, 1)
        if x.meta["val"].dim() != 2:
            self.problem(node, f"on a tensor of {x.meta['val'].dim()} dimensions: allowed are 2 "
                               f"(flatten it)")
            c, h, w = weight.shape[1], 1, 1
        elif h != w or h > MAX_KERNEL:
            self.problem(node, f"on a flattened {c}x{h}x{w} tensor: allowed are square planes up "
                               f"to {MAX_KERNEL}x{MAX_KERNEL} pixels")
        bias = self.value(node.args[2]) if len(node.args) > 2 else None
        self.new(node, CONV, [x], weight=weight.reshape(-1, c, h, w),
                 step=self.step(node.args[1], len(weight)),
                 bias=np.zeros(len(weight)) if bias is None else bias)

    def same(self, node):
        self.alias(node)

    def dropout(self, node):
        self.alias(node)
        if node.args[2]:
            self.problem(node, "in training mode even in eval(): allowed is Dropout, or "
                               "training=self.training")

    OPERATORS = {
        "conv2d.default": conv2d, "conv2d.padding": conv2d, "batch_norm.default": batch_norm,
        "relu.default": relu, "relu_.default": relu, "relu6.default": relu6,
        "relu6_.default": relu6, "hardtanh.default": hardtanh, "hardtanh_.default": hardtanh,
        "clamp.default": clamp, "clamp_.default": clamp, "add.Tensor": add, "add_.Tensor": add,
        "adaptive_avg_pool2d.default": adaptive_avg_pool2d, "mean.dim": mean,
        "flatten.using_ints": flatten, "view.default": flatten, "reshape.default": flatten,
        "squeeze.dims": flatten, "linear.default": linear, "dropout.default": dropout,
        "dropout_.default": dropout, "feature_dropout.default": dropout, "alias.default": same,
        "contiguous.default": same,
    }

    def run(self):
        output = None
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                if node.name in self.program.graph_signature.user_inputs:
                    if self.graph.input is not None:
                        raise UnsupportedError("the module takes several inputs: allowed is one")
                    self.graph.input = self.tensor[node] = node.name
                    self.graph.input_shape = tuple(node.meta["val"].shape)[1:]
                    self.graph.shapes[node.name] = (*self.graph.input_shape, 1, 1)[:3]
            elif node.op == "output":
                outputs = node.args[0]
                if len(outputs) != 1:
                    self.problems.append(f"output: {len(outputs)} tensors: allowed is one")
                output = outputs[0]
            elif node.op == "call_function":
                operator = str(node.target).removeprefix("aten.")
                function = self.OPERATORS.get(operator)
                if function is None:
                    self.problem(node, "not supported; supported are Conv2d, BatchNorm2d, Linear, "
                                       "ReLU, ReLU6, Hardtanh, clamp, add, global average pool, "
                                       "flatten and Dropout")
                else:
                    function(self, node)
                if self.tensor.get(node) is None:
                    self.unknown(node)
        if self.problems:
            raise UnsupportedError(f"{self.graph.name}: {len(self.problems)} unsupported: "
                                   + "; ".join(self.problems))
        if self.steps:
            raise ValueError(f"steps: {', '.join(self.steps)}: no such weights in "
                             f"{self.graph.name}")
        self.graph.output = self.tensor[output]
        if not self.graph.layers:
            raise UnsupportedError(f"{self.graph.name}: no layers")
        return self.graph


def import_module(module, example, name=None, steps=None):
    """Import a module.

    module: torch.nn.Module (left as it is; a copy in eval mode is exported). example: float32
    (1, C, H, W) or (1, features), array or tensor. steps: parameter name of weights that were
    trained as integers -> the integers' unit, one a channel or one for all. Returns a FloatGraph.
    Raises UnsupportedError, listing everything unsupported, and ValueError for a wrong example.
    """
    x = torch.as_tensor(np.asarray(example), dtype=torch.float32)
    if x.dim() not in (2, 4) or x.shape[0] != 1:
        raise ValueError(f"example of shape {tuple(x.shape)}: expected (1, C, H, W) or "
                         f"(1, features)")
    name = name or type(module).__name__
    module = copy.deepcopy(module).eval()
    try:
        with torch.no_grad():
            program = torch.export.export(module, (x,))
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"{name}: torch.export fails on an input of shape {tuple(x.shape)}: "
                         f"{first}") from None
    return _Importer(program, name, steps).run()
