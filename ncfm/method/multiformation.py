"""Multi-formation (docs/method.md, section 4): one stored image holds factor x factor tiles, each a training image.

Order, here and in the authors' released files: all images' first tiles, then all second tiles, row by row of tiles.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate


def decode(images: Tensor, factor: int) -> Tensor:
    """Cut stored images (N, C, H, W) into tiles, and enlarge each bilinearly: (factor^2 * N, C, H, W)."""
    if factor == 1:
        return images
    tiles = images.unflatten(3, (factor, -1)).unflatten(2, (factor, -1)).permute(2, 4, 0, 1, 3, 5).flatten(0, 2)
    return interpolate(tiles, size=images.shape[2:], mode="bilinear", align_corners=False)


def tile(images: Tensor, factor: int, shrink: str = "area") -> Tensor:
    """Shrink images (factor^2 * N, C, H, W) and set them as tiles (N, C, H, W): the inverse of :func:`decode`.

    ``area`` averages blocks of pixels; ``nearest`` keeps every factor-th pixel, as the released program.
    """
    if factor == 1:
        return images
    small = interpolate(images, size=[side // factor for side in images.shape[2:]], mode=shrink)
    return small.unflatten(0, (factor, factor, -1)).permute(2, 3, 0, 4, 1, 5).flatten(4, 5).flatten(2, 3)
