"""Pictures of a stored set: its images as one PNG, a column per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ncfm.core.store import write_with

GAP = 2  # white pixels between images
SIDE = 64  # an image is enlarged to about this many pixels ...
WIDEST = 1600  # ... unless the picture would become wider than this


def picture_of(images: torch.Tensor, classes: int) -> np.ndarray:
    """Return a set as one uint8 picture (height, width, 3): a column per class, every image enlarged by a whole factor.

    The images (N, C, H, W), of one or three channels, are pixels in [0, 1] or uint8, and ordered by class. Raises
    ValueError where they do not divide into ``classes`` equal groups.
    """
    count, _, height, width = images.shape
    if classes < 1 or count < classes or count % classes:
        raise ValueError(f"{count} images do not divide into {classes} classes")
    scale = max(1, min(SIDE // max(height, width), (WIDEST // classes - GAP) // width))
    pixels = images.detach().cpu()
    if pixels.dtype != torch.uint8:
        pixels = (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8)
    enlarged = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy().repeat(scale, axis=1).repeat(scale, axis=2)
    framed = np.pad(enlarged, ((0, 0), (GAP, 0), (GAP, 0), (0, 0)), constant_values=255)
    table = np.hstack([np.vstack(list(column)) for column in np.split(framed, classes)])
    return np.pad(table, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


def write_grid(images: torch.Tensor, classes: int, path: str | Path) -> None:
    """Write the picture that :func:`picture_of` makes as a PNG. Raises :class:`~ncfm.core.errors.StorageError`."""
    picture = Image.fromarray(picture_of(images, classes))
    write_with(path, lambda stream: picture.save(stream, format="PNG"))
