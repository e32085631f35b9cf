"""Accuracy of an image by the golden model, on several processes."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np

BATCH = 20
# One thread of BLAS a process: the processes already use the cores.
_BLAS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_device = None


def _start(data, exact_bytes):
    global _device
    from .device.golden import GoldenDevice
    from .image import Image

    _device = GoldenDevice(exact_bytes)
    _device.load(Image.parse(data, "image"))


def _run(xs):
    return _device.run_batch(xs, batch=BATCH)


def golden_logits(image, xs, processes=None, exact_bytes=False, progress=None):
    """xs: float32 (N, C, H, W), preprocessed -> float64 (N, outputs) of the golden model.

    processes: default one a core. progress(done, total) after every batch of 20.
    """
    processes = processes or os.cpu_count() or 1
    chunks = [xs[i:i + BATCH] for i in range(0, len(xs), BATCH)]
    saved = {name: os.environ.get(name) for name in _BLAS}
    os.environ.update(dict.fromkeys(_BLAS, "1"))
    try:
        # Spawned, not forked: torch's threads do not survive a fork.
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start,
                                 (image.bytes(), exact_bytes)) as pool:
            outputs, done = [], 0
            for out in pool.map(_run, chunks):
                outputs.append(out)
                done += len(out)
                if progress:
                    progress(done, len(xs))
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
    return np.concatenate(outputs)


def accuracy(logits, labels):
    """Per cent of rows whose largest entry is at the label."""
    return 100.0 * float((np.asarray(logits).argmax(1) == np.asarray(labels)).mean())
