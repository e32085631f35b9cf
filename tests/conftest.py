"""One thread a test process: pytest-xdist already uses the cores, and threads that wait for each
other on busy cores are many times slower. Set before NumPy and PyTorch are imported."""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
