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
    """The file in which one run keeps what it needs to continue after a kill.

    Attributes:
        path: the file, which need not exist.
        key: says which run the file belongs to; what another run left there is not taken up.
    """

    path: Path
    key: str

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Write tensors and JSON-able values atomically. Raises :class:`~ncfm.core.errors.StorageError`."""
        # The values are a text of their own, which keeps the order of keys: the history of a resumed run has its
        # columns in the same order.
        save_tensors(self.path, tensors, {"key": self.key, "text": json.dumps(values)})

    def load(self, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the tensors and the values; None where there is no file, it is torn, or it is another run's.

        A torn checkpoint costs time, but not the run: the stage starts afresh.
        """
        if not self.path.is_file():
            return None
        try:
            tensors, state = load_tensors(self.path, device)
        except DataError:
            return None
        return (tensors, json.loads(state["text"])) if state.get("key") == self.key and "text" in state else None

    def remove(self) -> None:
        """Delete the file, if there is one: the stage has written its outputs."""
        self.path.unlink(missing_ok=True)


def optimiser_tensors(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """Return an optimiser's state (moments, step counts) as named tensors."""
    state = optimiser.state_dict()["state"]
    return {
        f"{prefix}.{parameter}.{name}": value
        for parameter, entries in state.items()
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
