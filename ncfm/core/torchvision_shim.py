"""Imports torchvision, also where its compiled part does not match torch; everything takes torchvision from here.

Package indexes pair a CPU-only torch with a torchvision built for CUDA. Its extension then does not load, and its
import stops at fake kernels for two operators that the extension would have declared. We use none of its operators, so
their schemas are declared here and the import goes through. Where torchvision imports by itself, this does nothing.
"""

from __future__ import annotations

import torch

_DECLARED: torch.library.Library | None = None  # kept alive: the declarations go when the object goes

try:
    import torchvision
except RuntimeError as error:
    if "operator torchvision::" not in str(error):
        raise
    _DECLARED = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _DECLARED.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

__all__ = ["torchvision"]
