"""The quantized network: what the front end produces and the planner consumes.

Integers only: a real value is ``q * scale``. Every layer computes what COMPUTE in spec/isa.py
computes, so weights and requantization parameters stand here as the hardware takes them.
"""

from dataclasses import dataclass, field

import numpy as np

from ..spec.formats import Format

CONV, DEPTHWISE, ADD, POOL = "conv", "depthwise", "add", "pool"


@dataclass
class Tensor:
    """An activation tensor. ``shape`` is (channels, height, width); real = q * scale."""

    name: str
    shape: tuple
    fmt: Format
    scale: float


@dataclass
class Requant:
    """Per output channel: y = clamp((((acc * m) >> 16) + b) >> s, lo, hi).

    m: (cout,) int64, 0..65535; s: (cout,) int64, 0..63; b: (cout,) int64, 42 bits signed, holding
    the bias and the rounding constant; lo, hi: int.
    """

    m: np.ndarray
    s: np.ndarray
    b: np.ndarray
    lo: int
    hi: int


@dataclass
class Layer:
    """One operation.

    op: CONV (1x1, KxK, fully connected on a 1x1 tensor), DEPTHWISE, ADD (two inputs), POOL (global
    average: sum over the plane).
    weights: int16, (cout, cin, kh, kw) for CONV; (channels, 1, kh, kw) for DEPTHWISE; (2,) for ADD,
    the factors of the two inputs; (1,) for POOL. These are the values before ``weight_format``
    encodes them; ADD and POOL weights are stored as raw16.
    padding: pixels added left and on top (right and bottom follow from the shapes).
    """

    name: str
    op: str
    inputs: list
    output: str
    weights: np.ndarray
    requant: Requant
    weight_format: Format
    stride: int = 1
    padding: int = 0
    source: str = ""           # Name(s) of the modules this came from, for messages and tables.
    macs: int = 0


@dataclass
class Network:
    """Layers in execution order. ``input`` and ``output`` name tensors; ``meta`` is JSON-able:
    model name, labels, preprocessing, calibration data, float accuracy..."""

    name: str
    tensors: dict              # name -> Tensor
    layers: list
    input: str
    output: str
    meta: dict = field(default_factory=dict)
