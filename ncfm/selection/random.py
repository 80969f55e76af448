"""The rule `random`: images of each class drawn uniformly, without replacement."""

from __future__ import annotations

import torch
from torch import Tensor

from ncfm.datasets.split import Split


def choose(split: Split, wanted: int, draws: torch.Generator) -> Tensor:
    """Return (classes, wanted) indices into ``split``, each row different images of one class."""
    return torch.stack([rows[torch.randperm(len(rows), generator=draws)[:wanted]] for rows in split.by_class])
