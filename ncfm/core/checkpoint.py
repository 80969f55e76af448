"""Checkpoints of a running stage: tensors and plain values in one safetensors file, taken up only by the same run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncfm.core.errors import DataError
from ncfm.core.store import load_tensors, save_tensors


def save(path: Path, key: str, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically. ``key`` says which run it belongs to; ``values`` are JSON-able."""
    # As text of its own, which keeps the order of keys: a resumed run's history has its columns in the same order.
    save_tensors(path, tensors, {"key": key, "text": json.dumps(values)})


def load(path: Path, key: str, where: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return a checkpoint's tensors and values; None where there is none, it is torn, or it is another run's.

    A torn checkpoint costs time, not the run: the stage starts afresh.
    """
    if not path.is_file():
        return None
    try:
        tensors, state = load_tensors(path, where)
    except DataError:
        return None
    return (tensors, json.loads(state["text"])) if state.get("key") == key and "text" in state else None


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
