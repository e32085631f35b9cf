"""FashionMNIST, as installed by Debian's package dataset-fashion-mnist."""

import gzip
from pathlib import Path

import numpy as np

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
LABELS = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
          "ankle boot")
# ImageNet's statistics, which the backbone was trained with.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CALIBRATION_IMAGES = 256


def fashion_mnist(split, folder=FASHION_MNIST):
    """(images uint8 (N, 28, 28), labels uint8 (N,)); split: "train" (60,000) or "test" (10,000).

    Raises FileNotFoundError, naming the file and the package, when the data is not installed.
    """
    stem = {"train": "train", "test": "t10k"}[split]
    arrays = []
    for kind, offset in (("images-idx3", 16), ("labels-idx1", 8)):
        path = Path(folder) / f"{stem}-{kind}-ubyte.gz"
        if not path.exists():
            raise FileNotFoundError(f"{path}: not found; install Debian's dataset-fashion-mnist, "
                                    f"or give a folder with FashionMNIST's four .gz files")
        with gzip.open(path) as file:
            arrays.append(np.frombuffer(file.read(), np.uint8, offset=offset))
    return arrays[0].reshape(-1, 28, 28), arrays[1]


def preprocess(images, resolution):
    """uint8 (N, 28, 28) -> float32 (N, 3, resolution, resolution): bilinear, ImageNet mean/std."""
    import torch

    x = torch.from_numpy(images.astype(np.float32) / 255)[:, None]
    x = torch.nn.functional.interpolate(x, (resolution, resolution), mode="bilinear",
                                        align_corners=False)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    return ((x - mean) / std).numpy()


def describe(resolution):
    """What to keep in an image's meta about its input."""
    return {"resolution": resolution, "mean": MEAN, "std": STD, "resize": "bilinear",
            "range": "0..1 before mean and std"}


def calibration_images(resolution=96, count=CALIBRATION_IMAGES):
    """The first training images, preprocessed: float32 (count, 3, resolution, resolution)."""
    return preprocess(fashion_mnist("train")[0][:count], resolution)
