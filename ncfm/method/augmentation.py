"""Siamese augmentation (DSA, Zhao and Bilen 2021) and CutMix, as drawn parameters applied to whole batches.

Matching draws once for each class, which is what "siamese" means, and training once for each image. All draws are
made on the CPU, so that a run has the same augmentation on every device. Images are normalised before, so that the
zeros which crop and cutout bring in are the data set's mean colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from ncfm.run.compute import moved

# The strengths in the configurations of the authors' released program (docs/method.md, section 5).
BRIGHTNESS, SATURATION, CONTRAST = 1.0, 2.0, 0.5
CROP, CUTOUT, SCALE, ROTATE = 0.125, 0.5, 1.2, 15.0
GEOMETRIES = ("crop", "scale", "rotate")  # an image gets one of them at most


@dataclass(frozen=True)
class Draw:
    """Parameters of N augmentations; every tensor has N rows, or is None where the strategy leaves the step out."""

    brightness: Tensor | None = None  # (N, 1, 1, 1), a shift; the next two are factors
    saturation: Tensor | None = None
    contrast: Tensor | None = None
    shift: Tensor | None = None  # (N, 2) pixels, rows and columns, of crop
    matrix: Tensor | None = None  # (N, 2, 3) of scale or rotate
    corner: Tensor | None = None  # (N, 2), top left of the cutout box, possibly outside the image
    flip: Tensor | None = None  # (N,) bool

    @property
    def drawn(self) -> dict[str, Tensor]:
        """The parameters that the strategy has, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def for_images(self, index: Tensor) -> Draw:
        """Return the draw whose row i is this draw's row ``index[i]``: several images share one row."""
        return Draw(**{name: value[index] for name, value in self.drawn.items()})

    def to(self, device: torch.device) -> Draw:
        """Return the draw on the device, with one transfer for each data type."""
        return Draw(**dict(zip(self.drawn, moved(list(self.drawn.values()), device), strict=True)))


def draw(strategy: str, count: int, resolution: int, generator: torch.Generator) -> Draw:
    """Draw the parameters of ``count`` augmentations of square images from a CPU generator.

    The strategy's parts are joined by "_": color, crop, cutout, flip, scale, rotate; empty for none. Of several among
    crop, scale and rotate, and of parts joined by "|" (as in DSA and DM), one is drawn for the whole batch.
    """
    choices = strategy.split("|")
    parts = (choices[_below(len(choices), generator)] if len(choices) > 1 else strategy).split("_")
    geometries = _geometries(parts)
    geometry = geometries[_below(len(geometries), generator)] if geometries else ""
    return _draw(parts, geometry, count, resolution, generator)


def draw_each(strategy: str, count: int, resolution: int, generator: torch.Generator) -> Draw:
    """Draw like :func:`draw`, except that where one of several is drawn, each of the ``count`` rows draws its own."""
    options = [
        (parts, geometry)
        for parts in (choice.split("_") for choice in strategy.split("|"))
        for geometry in _geometries(parts) or [""]
    ]
    drawn = [_draw(*option, count, resolution, generator).drawn for option in options]
    if len(drawn) == 1:
        return Draw(**drawn[0])
    chosen = torch.randint(len(options), (count,), generator=generator)
    neutral = {
        "brightness": torch.zeros(count, 1, 1, 1),
        "saturation": torch.ones(count, 1, 1, 1),
        "contrast": torch.ones(count, 1, 1, 1),
        "shift": torch.zeros(count, 2, dtype=torch.long),
        "matrix": torch.eye(2, 3).expand(count, 2, 3),
        "corner": torch.full((count, 2), resolution),  # below and right of the image
        "flip": torch.zeros(count, dtype=torch.bool),
    }
    row = torch.arange(count)
    merged = {
        name: torch.stack([option.get(name, nothing) for option in drawn])[chosen, row]
        for name, nothing in neutral.items()
        if any(name in option for option in drawn)
    }
    return Draw(**merged)


def _geometries(parts: list[str]) -> list[str]:
    return [part for part in GEOMETRIES if part in parts]


def _draw(parts: list[str], geometry: str, count: int, resolution: int, generator: torch.Generator) -> Draw:
    """Draw the parameters of the parts, of whose crop, scale and rotate only ``geometry`` counts."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator)

    values: dict[str, Tensor] = {}
    if "color" in parts:
        values["brightness"] = (uniform(1, 1, 1) - 0.5) * BRIGHTNESS
        values["saturation"] = uniform(1, 1, 1) * SATURATION
        values["contrast"] = uniform(1, 1, 1) + CONTRAST
    if geometry == "crop":
        reach = _crop_reach(resolution)
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
    return Draw(**values)


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))


def _crop_reach(resolution: int) -> int:
    return int(resolution * CROP + 0.5)


def _cutout_side(resolution: int) -> int:
    return int(resolution * CUTOUT + 0.5)


def apply(images: Tensor, drawn: Draw) -> Tensor:
    """Apply N draws to N normalised images (N, C, H, W), or one draw to all; differentiable for the images.

    Order: flip, brightness, saturation, contrast, then crop, scale or rotate, then cutout. Images and draw are on one
    device, and nothing is read from it.
    """
    if drawn.flip is not None:
        images = torch.where(drawn.flip.view(-1, 1, 1, 1), images.flip(-1), images)
    if drawn.brightness is not None:
        images = images + drawn.brightness
    if drawn.saturation is not None and images.shape[1] > 1:  # grey images have no saturation to change
        grey = images.mean(1, keepdim=True)
        images = (images - grey) * drawn.saturation + grey
    if drawn.contrast is not None:
        middle = images.mean((1, 2, 3), keepdim=True)
        images = (images - middle) * drawn.contrast + middle
    if drawn.shift is not None:
        images = _shifted(images, drawn.shift)
    if drawn.matrix is not None:
        matrices = drawn.matrix.to(images.dtype).expand(len(images), -1, -1)
        grid = affine_grid(matrices, list(images.shape), align_corners=False)
        images = grid_sample(images, grid, align_corners=False)
    if drawn.corner is not None:
        images = images * _cutout_mask(drawn.corner, images.shape[-1]).to(images.dtype)
    return images


def _shifted(images: Tensor, shift: Tensor) -> Tensor:
    """Move images by whole pixels, as many as a crop reaches or fewer; what comes in is zero."""
    size, reach = images.shape[-1], _crop_reach(images.shape[-1])
    padded = pad(images, (reach, reach, reach, reach))
    rows, columns = ((shift + reach)[..., None] + torch.arange(size, device=shift.device)).unbind(1)
    places = (rows[:, :, None] * padded.shape[-1] + columns[:, None, :]).flatten(1)[:, None]
    return padded.flatten(2).gather(2, places.expand(*images.shape[:2], -1)).view_as(images)


def _cutout_mask(corner: Tensor, size: int) -> Tensor:
    """Return 0 inside each box and 1 outside it, (N, 1, size, size)."""
    from_corner = torch.arange(size, device=corner.device) - corner[..., None]
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
