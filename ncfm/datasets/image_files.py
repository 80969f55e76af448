"""Image files by class, in a folder or a zip archive: found in a fixed order, decoded one at a time into one tensor."""

from __future__ import annotations

import bisect
import io
import itertools
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncfm.core.errors import DataError, one_line
from ncfm.datasets.catalogue import DatasetFacts, Loaded, check_sizes

if TYPE_CHECKING:
    from PIL import Image

# Matches the names of images, but not "._x.JPEG": what macOS puts into archives.
IS_IMAGE = re.compile(r"(.*/)?[^./][^/]*\.(jpe?g|png)", re.IGNORECASE | re.DOTALL).fullmatch


class Files:
    """Files below a folder on disk; all names are relative to it, with slashes."""

    def __init__(self, root: Path | zipfile.Path, remedy: str = "") -> None:
        self.root, self.remedy = root, remedy  # what messages advise where a file cannot be read

    def place(self, name: str) -> str:
        """Return how messages call a file or folder."""
        return str(self.root / name)

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders directly in ``folder``, sorted; none where there is no such folder."""
        parent = self.root / folder
        return sorted(path.name for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []

    def images(self, folder: str) -> list[str]:
        """Return the images at any depth below ``folder``, sorted by name; none where there is no such folder."""
        root = Path(self.place(""))
        return sorted(filter(IS_IMAGE, (path.relative_to(root).as_posix() for path in (root / folder).rglob("*"))))

    def read(self, name: str) -> bytes:
        """Return a file's bytes, none where there is no such file. Raises :class:`DataError` if unreadable."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or one_line(error)
            raise DataError(f"{self.place(name)}: cannot be read ({reason}){self.remedy}") from error


class Archive(Files):
    """Files in a zip archive, below the folder in it that holds ``train``."""

    def __init__(self, path: Path) -> None:
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not a whole zip archive ({one_line(error)}); fetch it again") from error
        names = archive.namelist()
        tops = [f"/{name}".partition("/train/")[0] for name in names if "/train/" in f"/{name}"]
        top = f"{min(tops, key=len, default='')}/".removeprefix("/")
        super().__init__(zipfile.Path(archive, top), "; fetch it again")
        self._prefix = f"{path}: {top}"
        self._images = sorted(name.removeprefix(top) for name in filter(IS_IMAGE, names) if name.startswith(top))

    def place(self, name: str) -> str:
        """See :class:`Files`."""
        return f"{self._prefix}{name}"

    def images(self, folder: str) -> list[str]:
        """See :class:`Files`."""
        start, stop = (bisect.bisect_left(self._images, f"{folder}{end}") for end in "/0")  # "0" follows "/"
        return self._images[start:stop]


def find_folder(facts: DatasetFacts, root: Path, names: Iterable[str]) -> Files:
    """Return the first of ``root`` and its folders ``names`` that holds ``train``, or raise :class:`DataError`."""
    for folder in (root, *(root / name for name in names)):
        if (folder / "train").is_dir():
            return Files(folder)
    raise DataError(
        f"{root}: no folder train/ in it, nor in its {' or '.join(f'{name}/' for name in names)}; "
        f"prepare.root must be the folder that holds the files of {facts.name} (docs/datasets.md)"
    )


def class_images(files: Files, folder: str, classes: Iterable[str]) -> list[list[str]]:
    """Return the images of each class folder in ``folder``. Raises :class:`DataError` where one has none."""
    found = []
    for name in classes:
        found.append(files.images(f"{folder}/{name}"))
        if not found[-1]:
            said = "holds no images" if name in files.folders(folder) else "no such folder"
            raise DataError(f"{files.place(f'{folder}/{name}')}: {said}; each class needs its own (docs/datasets.md)")
    return found


def load_classes(
    facts: DatasetFacts,
    files: Files,
    splits: dict[str, list[list[str]]],
    names: tuple[str, ...],
    origin: dict[str, Any],
    form: Callable[[Image.Image], Image.Image] = lambda image: image,
) -> Loaded:
    """Decode the images of both splits, whose names ``splits`` holds for each class; ``names`` are the classes'.

    ``form`` makes an RGB image one of the data set. What decodes goes into the card, as two decoders may differ by
    rounding. Raises :class:`DataError` where a class has too few or too many images, before any is decoded, or an image
    is not whole or of another size.
    """
    import numpy as np
    import torch
    from PIL import __version__, features

    from ncfm.core.progress import Progress

    for split, classes in splits.items():
        check_sizes(facts, split, [len(images) for images in classes], names, files.place(""))
    loaded, shape = {}, (facts.resolution, facts.resolution)
    for split, classes in splits.items():
        sizes = torch.tensor([len(images) for images in classes])
        tensor = torch.empty(int(sizes.sum()), 3, *shape, dtype=torch.uint8)
        with Progress(len(tensor), f"prepare {facts.name} {split}", unit="images") as progress:
            for target, name in zip(tensor, itertools.chain.from_iterable(classes), strict=True):
                place = files.place(name)
                image = form(decode(files.read(name), place, "image", "fetch it again", "RGB"))
                if image.size != shape:
                    found, wanted = (f"{width} x {height}" for width, height in (image.size, shape))
                    raise DataError(f"{place}: is {found} pixels, but must be {wanted}")
                target.copy_(torch.from_numpy(np.array(image)).permute(2, 0, 1))
                progress.step()
        loaded[split] = (tensor, torch.arange(len(classes)).repeat_interleave(sizes))
    turbo = features.version("libjpeg_turbo")
    library = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"
    return Loaded(loaded, {**origin, "decoder": f"Pillow {__version__}, {library}"}, names)


def decode(data: bytes, place: str, kind: str, remedy: str, mode: str | None = None) -> Image.Image:
    """Return an image, whatever mode (greyscale, palette, CMYK) it has, in ``mode`` or else as it is.

    Raises :class:`DataError`, which calls it a ``kind`` and ends with ``remedy``, if it is not whole.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as image:
            return image.convert(mode)
    except (OSError, SyntaxError, EOFError, ValueError, zlib.error, Image.DecompressionBombError) as error:
        # Pillow's message may hold the address of the buffer.
        reason = "no JPEG or PNG" if isinstance(error, UnidentifiedImageError) else one_line(error)
        raise DataError(f"{place}: not a whole {kind} ({reason}); {remedy}") from error
