"""What every source of a data set gives: the tensors of both splits, and where their bytes came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Loaded:
    """A data set as a source gave it.

    Attributes:
        splits: for ``train`` and ``test`` the images, uint8 (N, C, H, W), and the labels, int64 (N,).
        origin: what the bytes were: package, file names, checksums. It goes into the card.
    """

    splits: dict[str, tuple[Tensor, Tensor]]
    origin: dict[str, Any]


# A source takes the folder ``prepare.root`` and raises DataError, in one line, where it cannot give the data.
Source = Callable[[Path], Loaded]
