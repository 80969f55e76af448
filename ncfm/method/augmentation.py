"""Siamese augmentation (DSA, Zhao and Bilen 2021) and CutMix, as drawn parameters applied to whole batches.

Matching draws once for a whole class batch, which is what "siamese" means; training draws once per image. All draws are
made on the CPU, so that a run has the same augmentation on every device. Images are normalised before, so that the
zeros which crop and cutout bring in are the data set's mean colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

# The strengths in the configurations of the authors' released program (docs/method.md, section 5).
BRIGHTNESS, SATURATION, CONTRAST = 1.0, 2.0, 0.5
CROP, CUTOUT, SCALE, ROTATE = 0.125, 0.5, 1.2, 15.0


@dataclass(frozen=True)
class Draw:
    """Parameters of N augmentations; every tensor has N rows, or is None where the strategy leaves the step out."""

    geometry: str  # which of crop, scale and rotate was drawn for this batch, or none
    brightness: Tensor | None = None  # (N, 1, 1, 1), a shift; the next two are factors
    saturation: Tensor | None = None
    contrast: Tensor | None = None
    shift: Tensor | None = None  # (N, 2) pixels, rows and columns, of crop
    matrix: Tensor | None = None  # (N, 2, 3) of scale or rotate
    corner: Tensor | None = None  # (N, 2), top left of the cutout box, possibly outside the image
    flip: Tensor | None = None  # (N,) bool

    def for_images(self, index: Tensor) -> Draw:
        """Return the draw whose row i is this draw's row ``index[i]``: several images share one row."""
        rows = {name: value[index] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Draw(self.geometry, **rows)


def draw(strategy: str, count: int, resolution: int, generator: torch.Generator) -> Draw:
    """Draw the parameters of ``count`` augmentations of square images from a CPU generator.

    The strategy's parts are joined by "_": color, crop, cutout, flip, scale, rotate; empty for none. Of several among
    crop, scale and rotate, and of parts joined by "|" (as in DSA and DM), one is drawn for the whole batch.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator)

    choices = strategy.split("|")
    parts = [choices[_below(len(choices), generator)]] if len(choices) > 1 else strategy.split("_")
    geometries = [part for part in ("crop", "scale", "rotate") if part in parts]
    geometry = geometries[_below(len(geometries), generator)] if geometries else "none"
    values: dict[str, Tensor] = {}
    if "color" in parts:
        values["brightness"] = (uniform(1, 1, 1) - 0.5) * BRIGHTNESS
        values["saturation"] = uniform(1, 1, 1) * SATURATION
        values["contrast"] = uniform(1, 1, 1) + CONTRAST
    if geometry == "crop":
        reach = int(resolution * CROP + 0.5)
        values["shift"] = torch.randint(-reach, reach + 1, (count, 2), generator=generator)
    elif geometry == "scale":
        values["matrix"] = pad(torch.diag_embed(uniform(2) * (SCALE - 1 / SCALE) + 1 / SCALE), (0, 1))
    elif geometry == "rotate":
        angle = (uniform() - 0.5) * 2 * ROTATE * torch.pi / 180
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(count)
        values["matrix"] = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)
    if "cutout" in parts:
        side = _cutout_side(resolution)
        values["corner"] = torch.randint(resolution + 1 - side % 2, (count, 2), generator=generator) - side // 2
    if "flip" in parts:
        values["flip"] = uniform() < 0.5
    return Draw(geometry, **values)


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))


def _cutout_side(resolution: int) -> int:
    return int(resolution * CUTOUT + 0.5)


def apply(images: Tensor, drawn: Draw) -> Tensor:
    """Apply N draws to N normalised images (N, C, H, W), or one draw to all; differentiable for the images.

    Order: flip, brightness, saturation, contrast, then crop, scale or rotate, then cutout.
    """
    device = images.device
    if drawn.flip is not None:
        images = torch.where(drawn.flip.to(device).view(-1, 1, 1, 1), images.flip(-1), images)
    if drawn.brightness is not None:
        images = images + drawn.brightness.to(device)
    if drawn.saturation is not None and images.shape[1] > 1:  # grey images have no saturation to change
        grey = images.mean(1, keepdim=True)
        images = (images - grey) * drawn.saturation.to(device) + grey
    if drawn.contrast is not None:
        middle = images.mean((1, 2, 3), keepdim=True)
        images = (images - middle) * drawn.contrast.to(device) + middle
    if drawn.shift is not None:
        images = _shifted(images, drawn.shift)
    if drawn.matrix is not None:
        matrices = drawn.matrix.to(device, images.dtype).expand(len(images), -1, -1)
        grid = affine_grid(matrices, list(images.shape), align_corners=False)
        images = grid_sample(images, grid, align_corners=False)
    if drawn.corner is not None:
        images = images * _cutout_mask(drawn.corner, images.shape[-1]).to(device, images.dtype)
    return images


def _shifted(images: Tensor, shift: Tensor) -> Tensor:
    """Move images by whole pixels; what comes in is zero."""
    size = images.shape[-1]
    reach = int(shift.abs().max())
    padded = pad(images, (reach, reach, reach, reach))
    if len(shift) == 1:
        top, left = (reach + shift[0]).tolist()
        return padded[:, :, top : top + size, left : left + size]
    rows, columns = ((shift + reach)[..., None] + torch.arange(size)).to(images.device).unbind(1)
    return padded.take_along_dim(rows[:, None, :, None], 2).take_along_dim(columns[:, None, None, :], 3)


def _cutout_mask(corner: Tensor, size: int) -> Tensor:
    """Return 0 inside each box and 1 outside it, (N, 1, size, size)."""
    from_corner = torch.arange(size) - corner[..., None]
    inside = (from_corner >= 0) & (from_corner < _cutout_side(size))
    return ~(inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]


def cutmix(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Paste one random box from a shuffled batch into every square image (CutMix, Yun et al. 2019) with Beta(1, 1).

    Returns the mixed images (N, C, H, W); the order (N,) of the images that the boxes came from; the share of the
    original that is left, so that the loss is ``share * loss(labels) + (1 - share) * loss(labels[order])``.
    """
    size = images.shape[-1]
    order = torch.randperm(len(images), generator=generator).to(images.device)
    share = float(torch.rand((), generator=generator))  # Beta(1, 1) is uniform
    half = int(size * (1 - share) ** 0.5) // 2
    centre = _below(size, generator), _below(size, generator)  # row and column
    (top, bottom), (left, right) = ((max(place - half, 0), min(place + half, size)) for place in centre)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
    return mixed, order, 1 - (bottom - top) * (right - left) / size**2
