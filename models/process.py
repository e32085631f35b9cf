"""The process that trains: one thread, and memory that is kept."""

import ctypes

import torch

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def settle_process():
    """One thread, so that sums are the same, in the same order, wherever it runs. And freed memory
    stays with the process: by glibc's defaults every large tensor is mapped and cleared by the
    kernel anew, a third of the time of a network on full batches."""
    torch.set_num_threads(1)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 2**26)
