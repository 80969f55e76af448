"""Imports torchvision, also where its compiled part does not match torch; everything takes torchvision from here.

Package indexes pair a CPU-only torch with a torchvision built for CUDA. Its extension then does not load, and its
import stops at fake kernels for two operators that the extension would have declared. We use none of its operators, so
their schemas are declared here and the import goes through. Where torchvision imports by itself, this does nothing.
`make setup` calls `python -m ncfm.core.torchvision_shim`, which says what a user should know of the installed pair.
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


def notes(torch_version: str, torchvision_version: str, declared: bool) -> list[str]:
    """Return what is wrong with the pair, and how to import torchvision where it does not import by itself."""
    found = []
    (major, minor), (zero, theirs) = (map(int, one.split(".")[:2]) for one in (torch_version, torchvision_version))
    if (major, zero) == (2, 0) and theirs != minor + 15:  # 2.11 and 0.26, 2.12 and 0.27, ...
        wanted = f"0.{minor + 15}"
        found.append(f"torch {torch_version} goes with torchvision {wanted}, but {torchvision_version} is installed")
    if declared:
        found.append(
            f"torchvision {torchvision_version} was built for another torch than {torch_version}, and does not import "
            "by itself; in your own programs write `from ncfm.core.torchvision_shim import torchvision`"
        )
    return found


if __name__ == "__main__":
    for _note in notes(str(torch.__version__), torchvision.__version__, _DECLARED is not None):
        print(f"note: {_note}")
