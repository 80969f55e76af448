"""One split of a data set, whole and as uint8 on the device; batches are cut, scaled and normalised there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ncfm.core.errors import DataError
from ncfm.core.layout import SPLIT_FILES
from ncfm.core.store import load_tensors, read_metadata


@dataclass(frozen=True)
class Normalisation:
    """Per-channel statistics, each (1, C, 1, 1), for pixels in [0, 1]."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, facts: Mapping[str, Any], device: str | torch.device = "cpu") -> Normalisation:
        """Return that of facts whose ``mean`` and ``std`` are a number per channel."""
        statistics = torch.tensor([facts["mean"], facts["std"]], dtype=torch.float32, device=device)
        return cls(*statistics.view(2, 1, -1, 1, 1))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalise pixels in [0, 1], (N, C, H, W)."""
        return (pixels - self.mean) / self.std

    def undo(self, normalised: Tensor) -> Tensor:
        """Return the pixels of normalised images."""
        return normalised * self.std + self.mean

    @property
    def facts(self) -> dict[str, list[float]]:
        """What :meth:`of` makes it of."""
        return {"mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist()}


@dataclass(frozen=True)
class Split:
    """Images, uint8 (N, C, H, W), and labels of one split, int64 (N,) in [0, classes), and the data set's facts."""

    dataset: str
    images: Tensor
    labels: Tensor
    classes: int
    label_names: tuple[str, ...]
    normalisation: Normalisation

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.images.shape[1]

    @property
    def resolution(self) -> int:
        """Height and width of an image."""
        return self.images.shape[-1]

    @cached_property
    def by_class(self) -> tuple[Tensor, ...]:
        """For each class the indices of its images, in the order of the data set."""
        return tuple((self.labels == label).nonzero().squeeze(1) for label in range(self.classes))

    def pixels(self, index: Tensor) -> Tensor:
        """Return the images at ``index`` as float32 in [0, 1]."""
        return self.images[index].float().div_(255)


def load_split(folder: str | Path, split: Literal["train", "test"], device: str | torch.device = "cpu") -> Split:
    """Read a split that `ncfm prepare` wrote. Raises :class:`DataError` where it is missing, torn or not a data set."""
    path = Path(folder) / SPLIT_FILES[split]
    tensors, facts = load_tensors(path, device)
    known = {"dataset", "classes", "label_names", "mean", "std"}
    if not {"images", "labels"} <= tensors.keys() or not known <= facts.keys():
        raise DataError(f"{path}: holds no images and labels, or not what is known of them; run `ncfm prepare` again")
    images, labels = tensors["images"], tensors["labels"]
    if images.dtype != torch.uint8 or images.dim() != 4 or labels.shape != images.shape[:1]:
        raise DataError(f"{path}: images must be uint8 (N, C, H, W) with one label each; run `ncfm prepare` again")
    names, normalisation = tuple(facts["label_names"]), Normalisation.of(facts, device)
    return Split(facts["dataset"], images, labels.long(), facts["classes"], names, normalisation)


def dataset_name(folder: str | Path) -> str:
    """Return the name of the data set in ``folder``. Raises :class:`DataError` where there is none."""
    return str(read_metadata(Path(folder) / SPLIT_FILES["train"]).get("dataset", "unknown"))


def statistics(images: Tensor) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel of uint8 images (N, C, H, W), for pixels in [0, 1].

    They are computed from counts of the 256 values, so they do not depend on the order of a floating-point sum.
    """
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]).double()
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    deviation = (shares * (values - mean[:, None]) ** 2).sum(1).sqrt()
    return [round(value, 5) for value in mean.tolist()], [round(value, 5) for value in deviation.tolist()]
