"""Train the FashionMNIST head of MobileNetV2 on frozen backbone features.

    python -m litepress.models.train_head --resolution 96

Features are computed once and kept under build/; the head is a linear layer trained with AdamW.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import track

from ..host.command import start
from .checkpoint import save_checkpoint
from .data import LABELS, fashion_mnist, preprocess
from .mobilenet import RESOLUTION, load_backbone, mobilenet_v2

BATCH = 100


def features(split, count, resolution, cache):
    """float32 (count, 1280) after the global pool, and labels; kept in ``cache``."""
    images, labels = fashion_mnist(split)
    path = cache / f"features_{split}_{count}_{resolution}.npy"
    if not path.exists():
        model, out = load_backbone(mobilenet_v2()), []
        with torch.no_grad():
            for start in track(range(0, count, BATCH), description=f"{split} features"):
                x = torch.from_numpy(preprocess(images[start:start + BATCH], resolution))
                out.append(model.features(x).mean((2, 3)).numpy())
        cache.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, np.concatenate(out)[:count])
        temporary.replace(path)
    return np.load(path), labels[:count].astype(np.int64)


def train(x, labels, epochs, seed):
    """Linear head by AdamW with a cosine schedule on standardized features, folded back."""
    torch.manual_seed(seed)
    mean, std = x.mean(0), x.std(0) + 1e-3
    data = torch.from_numpy((x - mean) / std)
    target = torch.from_numpy(labels)
    head = torch.nn.Linear(x.shape[1], len(LABELS))
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in track(range(epochs), description="head"):
        for chunk in torch.randperm(len(data)).split(256):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(head(data[chunk]), target[chunk],
                                                     label_smoothing=0.05)
            loss.backward()
            optimizer.step()
        schedule.step()
    weight = head.weight.detach().numpy() / std
    return weight.astype(np.float32), (head.bias.detach().numpy() - weight @ mean).astype(
        np.float32)


def main(resolution: Annotated[int, typer.Option(help="Side of the input images.")] = RESOLUTION,
         images: Annotated[int, typer.Option(help="Training images.")] = 20000,
         epochs: int = 30, seed: int = 1,
         cache: Annotated[Path, typer.Option(help="Where features are kept.")] =
         Path("build/features")):
    """Train and write models/checkpoints/mobilenet_v2_fashion_RESOLUTION_head.npz and .json.

    Example: python -m litepress.models.train_head --resolution 96
    """
    x, labels = features("train", images, resolution, cache)
    test_x, test_labels = features("test", 10000, resolution, cache)
    weight, bias = train(x, labels, epochs, seed)
    accuracy = float(((test_x @ weight.T + bias).argmax(1) == test_labels).mean() * 100)
    print(f"test accuracy on 10,000 FashionMNIST images: {accuracy:.2f} %")
    save_checkpoint(f"mobilenet_v2_fashion_{resolution}_head", {"weight": weight, "bias": bias},
                    f"python -m litepress.models.train_head --resolution {resolution} --images "
                    f"{images} --epochs {epochs} --seed {seed}",
                    data="FashionMNIST, ImageNet backbone frozen", test_images=10000,
                    float_accuracy_percent=accuracy)


if __name__ == "__main__":
    start(main, "train_head")
