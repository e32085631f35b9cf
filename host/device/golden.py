"""The golden model as a device: the same calls as a simulator or a board."""

import numpy as np

from ...spec.arch import ARCHS
from ..golden import Golden
from .base import Device
from .selftest import check_golden


class GoldenDevice(Device):
    """``exact_bytes=True`` packs and unpacks every block (host/golden.py); runs take batches."""

    def __init__(self, exact_bytes=True):
        self.exact_bytes = exact_bytes
        self._golden = None

    def load(self, image, progress=None):
        """See Device.load."""
        self._golden = Golden(image, self.exact_bytes)
        self.image = image
        if progress:
            size = len(image.bytes())
            progress(size, size)

    def run_raw(self, data):
        """See Device.run_raw."""
        self._loaded()
        return self._golden.run([data])[0]

    def run_batch(self, xs, batch=16, progress=None):
        """See Device.run_batch; here a batch runs at once."""
        image, outputs = self._loaded(), []
        for start in range(0, len(xs), batch):
            encoded = [image.encode_input(x) for x in xs[start:start + batch]]
            outputs += [image.output_values(y) for y in self._golden.run(encoded)]
            if progress:
                progress(len(outputs), len(xs))
        return np.stack(outputs)

    def counters(self):
        """The golden model counts no clocks: an empty list."""
        return []

    def selftest(self, arch=None, image=None, dram_bytes=None, progress=None):
        """See Device.selftest: checks the table itself, for the Arch "sim" if none is given."""
        return check_golden(arch or (image.arch if image else ARCHS["sim"]), image)

    def _read_region(self, offset, size):
        return self._golden.read(offset, size)[0].tobytes()

    def close(self):
        """See Device.close."""
        super().close()
        self._golden = None
