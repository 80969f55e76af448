"""What every source of a data set gives: the tensors of both splits, and where their bytes came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncfm.core.errors import DataError
from ncfm.datasets.catalogue import DatasetFacts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Loaded:
    """A data set as a source gave it.

    Attributes:
        splits: for ``train`` and ``test`` the images, uint8 (N, C, H, W), and the labels, int64 (N,).
        origin: what the bytes were: package, file names, checksums. It goes into the card.
        label_names: class names in label order, where the facts leave them to the source.
    """

    splits: dict[str, tuple[Tensor, Tensor]]
    origin: dict[str, Any]
    label_names: tuple[str, ...] = ()


# A source takes the facts of the data set and the folder ``prepare.root``, and raises DataError, in one line, where it
# cannot give the data.
Source = Callable[[DatasetFacts, Path], Loaded]


def check_sizes(facts: DatasetFacts, split: str, sizes: Sequence[int], names: Sequence[str], where: str) -> None:
    """Raise :class:`DataError` where a class has a number of images that the facts do not allow.

    Args:
        facts: what is known of the data set.
        split: ``train`` or ``test``.
        sizes, names: for each class its number of images and its name.
        where: the source, put before the message.
    """
    for size, name, allowed in zip(sizes, names, facts.sizes[split], strict=True):
        if size not in allowed:
            least, most = allowed[0], allowed[-1]
            text = str(least) if least == most else f"{least} to {most}"
            raise DataError(
                f"{where}: class {name} has {size} {split} image{'' if size == 1 else 's'}, "
                f"but in {facts.name} must have {text}; see docs/datasets.md"
            )


def one_line(error: BaseException) -> str:
    """Return the text of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__
