"""The golden model as a device: the same calls as a simulator or a board."""

import numpy as np

from ..golden import Golden


class GoldenDevice:
    """``exact_bytes=True`` packs and unpacks every block (host/golden.py); runs take batches."""

    def __init__(self, exact_bytes=True):
        self.exact_bytes = exact_bytes
        self._golden = None

    def load(self, image, progress=None):
        self._golden = Golden(image, self.exact_bytes)
        if progress:
            size = len(image.bytes())
            progress(size, size)

    def _loaded(self):
        if self._golden is None:
            raise RuntimeError("golden: no image loaded; call load(image) first")
        return self._golden

    def run_raw(self, data):
        """Encoded input tensor (bytes) -> encoded output tensor (bytes)."""
        return self._loaded().run([data])[0]

    def run(self, x):
        """x: float (C, H, W), preprocessed -> float64 logits (or the output tensor, flat)."""
        image = self._loaded().image
        return image.output_values(self.run_raw(image.encode_input(x)))

    def run_batch(self, xs, batch=16, progress=None):
        """xs: float (N, C, H, W) -> float64 (N, outputs). progress(done, total) after a batch."""
        golden = self._loaded()
        image, outputs = golden.image, []
        for start in range(0, len(xs), batch):
            encoded = [image.encode_input(x) for x in xs[start:start + batch]]
            outputs += [image.output_values(y) for y in golden.run(encoded)]
            if progress:
                progress(len(outputs), len(xs))
        return np.stack(outputs)

    def counters(self):
        """The golden model counts no clocks: an empty list."""
        return []

    def read_tensor(self, name):
        """int16 (C, H, W) of the last run; the image must have been packed with keep=True unless
        it is the output."""
        return self._loaded().image.decode_tensor(name, self.read_tensor_bytes(name))

    def read_tensor_bytes(self, name):
        """The tensor's bytes in the region after the last run."""
        tensor = self._loaded().image.tensor(name)
        return self._loaded().read(tensor.offset, tensor.bytes)[0].tobytes()

    def close(self):
        self._golden = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
