"""torchvision beside a CPU build of torch.

torchvision's Python code registers fake kernels for two of its compiled operators at import. A
wheel made for another build of torch cannot load them, so they are declared here first; nothing in
LitePress calls them.
"""

import torch

_library = None


def import_torchvision():
    """Declare the operators once, then import and return torchvision."""
    global _library
    if _library is None:
        _library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
    return torchvision
