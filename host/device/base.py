"""What golden model, simulation and board have in common."""

from abc import ABC, abstractmethod

import numpy as np


class DeviceError(RuntimeError):
    """The device is not there, does not answer, refused a request or failed; one clear line."""


class RequestError(DeviceError):
    """An ERROR reply. ``code`` is a key of spec.wire.ERRORS, ``detail`` the number beside it."""

    def __init__(self, message, code, detail):
        super().__init__(message)
        self.code = code
        self.detail = detail


class Device(ABC):
    """Something that runs images. A context manager: leaving it closes the device.

    image: the host.image.Image that was loaded, or None.
    """

    image = None

    @abstractmethod
    def load(self, image, progress=None):
        """Make ``image`` the one that runs. progress(bytes_done, bytes_total) is called on the way.
        DeviceError: the image does not fit this device, or it cannot be reached."""

    def run(self, x):
        """One inference. x: float (C, H, W), preprocessed. Returns the logits (or the output
        tensor, flat), float64."""
        image = self._loaded()
        return image.output_values(self.run_raw(image.encode_input(x)))

    @abstractmethod
    def run_raw(self, data):
        """Encoded input tensor (bytes) -> encoded output tensor (bytes)."""

    def run_batch(self, xs, batch=16, progress=None):
        """xs: float (N, C, H, W) -> float64 (N, outputs), one after another. progress(done, total)
        is called after every ``batch``."""
        outputs = []
        for x in xs:
            outputs.append(self.run(x))
            if progress and (len(outputs) % batch == 0 or len(outputs) == len(xs)):
                progress(len(outputs), len(xs))
        return np.stack(outputs)

    @abstractmethod
    def counters(self):
        """Of the last run: list over profile slots of dict counter name -> int
        (spec.isa.COUNTERS)."""

    def read_tensor_bytes(self, name):
        """The tensor's bytes in the region after the last run; those that mean nothing are zero
        (Image.used_bytes)."""
        image = self._loaded()
        tensor = image.tensor(name)
        return image.used_bytes(name, self._read_region(tensor.offset, tensor.bytes))

    @abstractmethod
    def selftest(self, arch=None, image=None, dram_bytes=None, progress=None):
        """Test the device itself; overwrites what its DRAM holds. Returns a generator of
        selftest.Outcome, one a test, from what all others need to what needs them.

        arch: the Arch it should have, default what it says. image: made by host.selftest.build,
        default one for what it says. dram_bytes: of DRAM, spread over all of it, whose every bit
        is tested; default all of it. progress(what, done, total) is called on the way.
        DeviceError: it does not answer."""

    @abstractmethod
    def _read_region(self, offset, size):
        """Bytes of the model's region."""

    def read_tensor(self, name):
        """An activation tensor as it is in DRAM after the last run: int16 (C, H, W). Only tensors
        whose place nothing else has taken since still hold their values."""
        return self._loaded().decode_tensor(name, self.read_tensor_bytes(name))

    def close(self):
        """Free what the device holds; it cannot be used afterwards."""
        self.image = None

    def _loaded(self):
        if self.image is None:
            raise DeviceError("no image is loaded: call load(image) first")
        return self.image

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
