"""The digits data set: scikit-learn's 1,797 handwritten digits, enlarged from 8 x 8 to 16 x 16."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ncfm.datasets.catalogue import DatasetFacts
from ncfm.datasets.sources import Loaded, Source

TEST_EVERY = 5


def _embedded(facts: DatasetFacts, root: Path) -> Loaded:
    """Read the digits out of scikit-learn; neither argument is used.

    Pixels 0..16 are enlarged bilinearly by 2 (``align_corners=False``: weights of quarters, so the result is exact and
    the same on every machine), multiplied by 255/16 and rounded half to even. The package has no split of its own:
    within each class, in the package's order, every fifth image from the first on is a test image.
    """
    from sklearn.datasets import load_digits

    pixels, targets = load_digits(return_X_y=True)
    small = torch.from_numpy(pixels.astype(np.float32)).view(-1, 1, 8, 8)
    large = interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    images = (large * 255 / 16).round().to(torch.uint8)
    labels = torch.from_numpy(targets.astype(np.int64))
    test = _test_mask(labels)
    origin = {"package": "scikit-learn", "version": metadata.version("scikit-learn"), "function": "load_digits"}
    return Loaded({"train": (images[~test], labels[~test]), "test": (images[test], labels[test])}, origin)


def _test_mask(labels: Tensor) -> Tensor:
    """Mark every fifth image of each class, (N,) bool."""
    mask = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        mask[(labels == label).nonzero().squeeze(1)[::TEST_EVERY]] = True
    return mask


SOURCES: dict[str, Source] = {"embedded": _embedded}
