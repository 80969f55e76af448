"""Image files as people have them: how a folder of them is to be read, and one of them as a tensor.

Depth of 16-bit values, transparency and several frames are guessed from all files together, and each guess is a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from ncfm.core.errors import DataError, one_line

SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's names of grey images; "I" is that of PGM
UPPER_EIGHT = re.compile(";16[BLN]").search  # of 16-bit colours, in Pillow's names, which keeps the upper eight bits
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners write into 16-bit files
GREY = ("1", "L", "LA", *SIXTEEN_BITS)


def pixel_sizes(files: Sequence[Path]) -> list[tuple[int, int]]:
    """Return the width and height of each image in pixels; only their heads are read. Raises :class:`DataError`."""
    sizes = []
    for file in files:
        with _opened(file) as image:
            sizes.append(image.size)
    return sizes


@dataclass(frozen=True)
class Reading:
    """How images of a folder are read: the mode ``L`` or ``RGB``, the largest value of 16-bit files, and the grey level
    behind transparent pixels.
    """

    mode: str
    largest: int = 2**16 - 1
    ground: int = 255


@dataclass(frozen=True)
class _Seen:
    """What one file shows of how it is to be read."""

    mode: str
    frames: int
    transparent: bool
    brightness: float | None  # mean grey level where a transparent image is not transparent
    largest: int  # value of a 16-bit grey image; 0 in others
    largest_upper: int  # value of the upper eight bits of a 16-bit colour image; 0 in others


def _look(path: Path) -> _Seen:
    with _opened(path) as image:
        upper = UPPER_EIGHT(str(image.tile)) and image.mode not in SIXTEEN_BITS  # the tile is gone once it is decoded
        transparent, brightness = False, None
        if image.mode not in SIXTEEN_BITS and image.has_transparency_data:
            grey, alpha = np.asarray(image.convert("RGBA").convert("LA"), dtype=float).transpose(2, 0, 1)
            transparent = bool(alpha.min() < 255)
            brightness = float((grey * alpha).sum() / alpha.sum()) if alpha.any() else None
        largest = int(np.asarray(image).max()) if image.mode in SIXTEEN_BITS else 0
        largest_upper = int(np.asarray(image.convert("RGB")).max()) if upper else 0
        return _Seen(image.mode, getattr(image, "n_frames", 1), transparent, brightness, largest, largest_upper)


def reading_of(name: str, files: Sequence[Path]) -> tuple[Reading, list[str]]:
    """Return how to read the files of the folder ``name``, and notes on what had to be guessed or is not read.

    Raises :class:`DataError` for an unreadable image, and for 16-bit colours of which only few levels could be read.
    """
    seen = [_look(file) for file in files]
    notes, largest = [], max(one.largest for one in seen)
    if upper := max(one.largest_upper for one in seen):
        bits = _bits(256 * upper + 255)
        if bits < DEPTHS[-1]:
            text = f"16-bit colour images hold values of {bits} bits, of which only the upper {bits - 8} would be read"
            convert = f"magick FILE -evaluate multiply {2 ** (16 - bits)} -depth 8 COPY"
            raise DataError(f"{name}: its {text}; make a copy of 8 bits of each: {convert}")
    if largest and _bits(largest) < DEPTHS[-1]:
        notes.append(f"values of 16-bit images go up to {largest}: they are read as {_bits(largest)} bits")
    brightness = [one.brightness for one in seen if one.brightness is not None]
    dark = not brightness or sum(brightness) / len(brightness) < 128
    if transparent := sum(one.transparent for one in seen):
        notes.append(f"{transparent} images are transparent: they are laid on {'white' if dark else 'black'}")
    if several := sum(one.frames > 1 for one in seen):
        notes.append(f"{several} images have several frames: the first of each is read")
    mode = "L" if {one.mode for one in seen} <= set(GREY) else "RGB"
    return Reading(mode, 2 ** _bits(largest) - 1 if largest else 2**16 - 1, 255 if dark else 0), notes


def _bits(largest: int) -> int:
    return next(bits for bits in DEPTHS if largest < 2**bits)


def read_image(path: Path, resolution: int, reading: Reading) -> Tensor:
    """Read one image, upright, its middle square scaled to ``resolution``: uint8 (C, H, W).

    Of several frames the first is taken. Raises :class:`DataError` where the image is unreadable, truncated, or neither
    of 8 nor of 16 bits.
    """
    with _opened(path) as image:
        square: Image.Image = image
        if image.mode in SIXTEEN_BITS:  # Pillow would cut off what is above 255
            square = Image.fromarray((np.asarray(image) * (255 / reading.largest)).round().astype(np.uint8))
        elif image.has_transparency_data:
            opaque = Image.new("RGBA", image.size, (reading.ground,) * 3 + (255,))
            square = Image.alpha_composite(opaque, image.convert("RGBA"))
            square.info = image.info  # with its orientation
        # Turned as the camera was held; cropped before it is scaled, so that no side is stretched.
        square = ImageOps.exif_transpose(square).convert(reading.mode)
        square = ImageOps.fit(square, (resolution, resolution), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(square))
    return pixels[None] if reading.mode == "L" else pixels.permute(2, 0, 1).contiguous()


def _in_planes(image: ImageFile.ImageFile) -> bool:
    """Tell whether this is a TIFF that Pillow takes for one of 8 bits: its colours apart, and not compressed."""
    bits, planes = 258, 284  # the numbers of TIFF's tags
    tags = getattr(image, "tag_v2", {})
    raw = any(codec == "raw" for codec, *_ in image.tile)
    return raw and tags.get(planes) == 2 and max(tags.get(bits, (8,))) > 8


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    try:
        with Image.open(path) as image:
            if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
                raise ValueError("its pixels have 32 bits, but 8 or 16 are wanted")
            if _in_planes(image):
                raise ValueError("its 16-bit colours lie in planes, which are not read; save it without planes")
            yield image
    except Exception as error:  # each format's decoder has errors of its own
        said = getattr(error, "strerror", None) or one_line(error)
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else said
        raise DataError(f"{path}: is no readable, whole image ({reason}); replace it or move it away") from error
