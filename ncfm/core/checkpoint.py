"""Checkpoints of a running stage: tensors and plain values in one safetensors file, taken up only by the same run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncfm.core.errors import DataError
from ncfm.core.store import load_tensors, save_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """The file in which the run called ``key`` keeps what it needs to continue after a kill; it need not exist."""

    path: Path
    key: str

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Write tensors and JSON-able values atomically. Raises :class:`~ncfm.core.errors.StorageError`."""
        # As a text of their own the values keep the order of their keys, which is that of the history's columns.
        save_tensors(self.path, tensors, {"key": self.key, "text": json.dumps(values)})

    def load(self, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the tensors and the values; None, for a fresh start, where there is no whole file of this run."""
        try:
            tensors, state = load_tensors(self.path, device)
        except DataError:
            return None
        return (tensors, json.loads(state["text"])) if state.get("key") == self.key and "text" in state else None


def optimiser_tensors(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """Return an optimiser's state (moments, step counts) as named tensors."""
    return {
        f"{prefix}.{parameter}.{name}": value
        for parameter, entries in optimiser.state_dict()["state"].items()
        for name, value in entries.items()
        if value is not None
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimiser_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(f"{prefix}."):
            parameter, name = key.removeprefix(f"{prefix}.").split(".")
            state.setdefault(int(parameter), {})[name] = value.clone()
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
