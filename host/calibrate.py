"""Calibration: what the tensors of a network look like on real inputs."""

from dataclasses import dataclass

import numpy as np

from .floatrun import run_float

BATCH = 32


@dataclass
class Calibration:
    """``images``: float32 (N, C, H, W). ``low``, ``high``: tensor name -> float, extremes seen.
    ``means``: layer name -> float64 (cout,), mean output before the activation."""

    images: np.ndarray
    low: dict
    high: dict
    means: dict


def calibrate(graph, images, progress=None):
    """Run float32 ``images`` (N, C, H, W) through the graph. progress("calibrate", done, total).

    ValueError: shape or values of the images.
    """
    images = np.asarray(images, np.float32)
    want = graph.shapes[graph.input]
    if images.ndim != 4 or images.shape[1:] != tuple(want) or not len(images):
        raise ValueError(f"calibration images of shape {images.shape}: expected (N, "
                         f"{', '.join(map(str, want))}), N at least 1")
    if not np.isfinite(images).all():
        raise ValueError("calibration images: contain NaN or infinity")
    result = Calibration(images, {}, {}, {})

    def watch(layer, before, after):
        name = graph.input if layer is None else layer.output
        result.low[name] = min(result.low.get(name, np.inf), float(after.min()))
        result.high[name] = max(result.high.get(name, -np.inf), float(after.max()))
        if layer is not None:
            total = before.double().mean((2, 3)).sum(0).numpy()
            result.means[layer.name] = result.means.get(layer.name, 0) + total

    for start in range(0, len(images), BATCH):
        run_float(graph, images[start:start + BATCH], watch)
        if progress:
            progress("calibrate", min(start + BATCH, len(images)), len(images))
    result.means = {name: total / len(images) for name, total in result.means.items()}
    return result
