"""Train the small network of models/tiny.py on FashionMNIST.

    python -m litepress.models.train_tiny
"""

from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import Progress

from ..host.command import start
from .checkpoint import save_checkpoint
from .data import fashion_mnist
from .tiny import TinyNet, preprocess_tiny

BATCH = 128


def accuracy(model, x, labels):
    """Per cent of right answers; x: float32 tensor, labels: int64 tensor."""
    model.eval()
    with torch.no_grad():
        right = sum(int((model(a).argmax(1) == b).sum())
                    for a, b in zip(x.split(500), labels.split(500), strict=True))
    return 100 * right / len(labels)


def main(epochs: Annotated[int, typer.Option(help="Passes over the 60,000 images.")] = 2,
         seed: int = 1):
    """Train; write models/checkpoints/tiny.npz and tiny.json.

    Example: python -m litepress.models.train_tiny
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)    # The same sums in the same order wherever it runs.
    (images, labels), (test_images, test_labels) = (fashion_mnist(s) for s in ("train", "test"))
    x, y = torch.from_numpy(preprocess_tiny(images)), torch.from_numpy(labels.astype(np.int64))
    model = TinyNet()
    steps = epochs * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, steps)
    with Progress() as bar:
        task = bar.add_task("train", total=steps)
        for _ in range(epochs):
            model.train()
            for chunk in torch.randperm(len(x)).split(BATCH)[:len(x) // BATCH]:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x[chunk]), y[chunk]).backward()
                optimizer.step()
                schedule.step()
                bar.advance(task)
    percent = accuracy(model, torch.from_numpy(preprocess_tiny(test_images)),
                       torch.from_numpy(test_labels.astype(np.int64)))
    print(f"test accuracy on 10,000 FashionMNIST images: {percent:.2f} %")
    save_checkpoint("tiny", {k: v.numpy() for k, v in model.state_dict().items()},
                    f"python -m litepress.models.train_tiny --epochs {epochs} --seed {seed}",
                    data="FashionMNIST", test_images=10000, float_accuracy_percent=percent)


if __name__ == "__main__":
    start(main, "train_tiny")
