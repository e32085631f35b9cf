"""A small MobileNetV2-style network for FashionMNIST at its own 28x28: what CI runs on the SoC.

It has every operation of the big one: 3x3 stride 2, 1x1, depthwise stride 1 and 2, residual adds,
global average pool, fully connected.
"""

import numpy as np
import torch
from torch import nn

from .checkpoint import CHECKPOINTS
from .data import CALIBRATION_IMAGES, fashion_mnist

CHECKPOINT = CHECKPOINTS / "tiny.npz"
RESOLUTION = 28


def _convolution(cin, cout, kernel, stride=1, groups=1, activation=True):
    layers = [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False),
              nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, *([nn.ReLU6()] if activation else []))


class InvertedResidual(nn.Module):
    """Sandler et al., "MobileNetV2", 2018, section 3.3: expand, depthwise, project."""

    def __init__(self, cin, cout, stride, expand):
        super().__init__()
        wide = cin * expand
        self.residual = stride == 1 and cin == cout
        self.body = nn.Sequential(_convolution(cin, wide, 1),
                                  _convolution(wide, wide, 3, stride, groups=wide),
                                  _convolution(wide, cout, 1, activation=False))

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


class TinyNet(nn.Module):
    """(N, 1, 28, 28) -> (N, 10)."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            _convolution(1, 16, 3, 2),
            InvertedResidual(16, 16, 1, 3),
            InvertedResidual(16, 24, 2, 4),
            InvertedResidual(24, 24, 1, 3),
            _convolution(24, 72, 1))
        self.classifier = nn.Linear(72, 10)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def preprocess_tiny(images):
    """uint8 (N, 28, 28) -> float32 (N, 1, 28, 28) in -1..1."""
    return (images[:, None] / 127.5 - 1).astype(np.float32)


def tiny():
    """The trained network, in eval mode."""
    if not CHECKPOINT.exists():
        raise FileNotFoundError(f"{CHECKPOINT}: not found; train it with `python -m "
                                f"litepress.models.train_tiny`")
    model = TinyNet()
    with np.load(CHECKPOINT) as arrays:
        model.load_state_dict({k: torch.from_numpy(arrays[k]) for k in arrays.files})
    return model.eval()


def calibration_images(count=CALIBRATION_IMAGES):
    """The first training images: float32 (count, 1, 28, 28)."""
    return preprocess_tiny(fashion_mnist("train")[0][:count])
