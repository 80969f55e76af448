"""Read torch files without running code in them: tensors, plain values, and numpy's arrays, which become tensors.

Stand-ins take the place of numpy's own functions: with these a file could lay an array of objects over bytes of its
choice, and so run code.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ncfm.core.errors import DataError
from ncfm.outside.refused import other_objects

NUMBERS = re.compile(r"[biuf][1248]").fullmatch  # numpy's codes of the types that tensors have too


class Kind:
    """Stands for `numpy.dtype`: the type of an array's entries."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def read(self, raw: bytes) -> np.ndarray:
        """Return the numbers in ``raw``, in this machine's byte order."""
        found = np.frombuffer(raw, np.dtype(self.order + self.code))
        return found.astype(found.dtype.newbyteorder("="))


class Array:
    """Stands for `numpy.ndarray`; ``content`` is a tensor, or None where it holds anything but numbers."""

    content: torch.Tensor | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, columns_first, raw = state
        if NUMBERS(kind.code):
            array = kind.read(raw).reshape(shape, order="F" if columns_first else "C")
            self.content = torch.from_numpy(array.copy())


def _array(*_: Any) -> Array:
    return Array()


def _scalar(kind: Kind, raw: bytes) -> Any:
    return kind.read(raw)[0].item() if NUMBERS(kind.code) else None


# The names of numpy's functions before numpy 2 and since.
NAMES = {"multiarray._reconstruct": _array, "multiarray.scalar": _scalar}
ALLOWED: list[Any] = [(made, f"numpy.{core}.{name}") for name, made in NAMES.items() for core in ("core", "_core")]
ALLOWED += [(Array, "numpy.ndarray"), (Kind, "numpy.dtype")]


def load_plain(source: Path) -> Any:
    """Return what a torch file holds. Raises :class:`DataError` where it is torn, or holds other objects."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(ALLOWED):
            warnings.simplefilter("ignore")  # torch warns of what is refused anyway; the message is one line
            return _as_tensors(torch.load(source, map_location="cpu", weights_only=True))
    except Exception as error:  # torch names its errors differently for each way in which a file can be wrong
        if type(error).__name__ == "UnpicklingError":
            raise DataError(other_objects(source)) from error
        raise DataError(
            f"{source}: is damaged or was cut short, so it is no whole torch file; fetch it again"
        ) from error


def _as_tensors(content: Any) -> Any:
    """Return the content with tensors in place of arrays, at any depth."""
    if isinstance(content, Array):
        return content.content
    if isinstance(content, dict):
        return {key: _as_tensors(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_as_tensors(value) for value in content]
    return content
