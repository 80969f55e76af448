"""NCFM: a reproduction of Neural Characteristic Function Matching (CVPR 2025) with a verdict on every number.

``ncfm.load("…/distilled.safetensors")`` gives a torch data set of decoded, normalised training images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncfm.method.distilled import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # Late, so that the engines can read campaigns without waiting for torch.
    if name == "load":
        from ncfm.method.distilled import load

        return load
    raise AttributeError(f"module 'ncfm' has no attribute {name!r}")
