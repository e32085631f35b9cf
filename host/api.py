"""``litepress.compress``: from a PyTorch module to an image, in one call."""

from ..spec.arch import ARCHS, Arch
from ..spec.formats import Format


def compress(module, example, calibration, weights="zfpi8", activations="zfpi8", arch="sim",
             overrides=None, bias_correction=True, rounding=True, equalization=False,
             allocation=True, one_scale=False, keep=False, fuse=True, name=None, labels=None,
             preprocessing=None, steps=None, measure_cost=True,
             progress=None):
    """Quantize, compress, plan and pack a network.

    module: torch.nn.Module, unmodified; it is not changed. example: float32 (1, C, H, W), its
    shape is the network's input. calibration: float32 (N, C, H, W), real inputs. weights,
    activations: storage formats (spec/formats.py); overrides: layer or tensor name -> format.
    Corrections on the calibration inputs, none of which costs hardware: bias_correction, rounding
    (host/quantize.py, host/rounding.py), equalization (host/equalize.py), allocation: zfpe and zfpi
    formats name the average bits a value, and every tensor gets its own (host/allocate.py).
    one_scale: one weight scale a layer, not one a channel. steps: parameter name of weights that
    were trained as integers -> the integers' unit (one, or one an output channel): they stay as
    they are, with BatchNorm in the requantization. measure_cost: what the image lost on the
    calibration inputs goes into its meta["calibration"]; without corrections that is a run of both
    networks.
    arch: a name of spec.arch.ARCHS or an Arch. keep: a place of its own for every tensor, so that
    all can be read back. fuse: layers may pass their activations on inside the chip, as int16 and
    not encoded (always off with keep). labels, preprocessing: kept in the image for its users.
    progress: called with (step, done, total).
    Returns a host.image.Image. Raises ValueError: unsupported layers (all of them listed), formats,
    shapes, tensors that do not fit.
    """
    from .allocate import allocate
    from .calibrate import calibrate
    from .equalize import equalize
    from .importer import import_module
    from .pack import pack
    from .quantize import quantize

    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f"arch {arch!r}: allowed are {', '.join(ARCHS)}")
        arch = ARCHS[arch]
    if not isinstance(arch, Arch):
        raise ValueError(f"arch: {arch!r} is neither a name nor an Arch")
    if steps and equalization:
        raise ValueError("equalization: moves weights off their steps: allowed is one of both")
    graph = import_module(module, example, name=name, steps=steps)
    calibration = graph.flattened(calibration)
    if equalization:
        graph = equalize(graph, calibration, progress=progress)
    ranges = calibrate(graph, calibration, progress=progress)
    weights, activations = Format.parse(weights), Format.parse(activations)
    overrides = overrides or {}
    if allocation:
        overrides = allocate(graph, ranges, weights, activations, overrides,
                             progress=progress) | overrides
    network = quantize(graph, ranges, weights, activations, overrides,
                       bias_correction=bias_correction, rounding=rounding, one_scale=one_scale,
                       measure_cost=measure_cost, progress=progress)
    if graph.input_shape != graph.shapes[graph.input]:
        network.meta["input_shape"] = list(graph.input_shape)
    if labels is not None:
        network.meta["labels"] = list(labels)
    if preprocessing is not None:
        network.meta["preprocessing"] = preprocessing
    return pack(network, arch, keep=keep, fuse=fuse)
