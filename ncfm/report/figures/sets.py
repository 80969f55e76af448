"""The picture of sets: images of each method's first seed, a column per class. Equal input gives equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from ncfm.core.pictures import picture_of
from ncfm.core.store import load_tensors, write_with
from ncfm.report.collect import Collected, StoredSet, grouped

ROWS = 3  # images per class and method
MARGIN, LINE, LABELS = 12, 26, 170  # pixels: border, height of a line of text, width of the methods' names


def write_sets(collected: Collected, columns: int, path: Path) -> bool:
    """Write the images of each method's first seed as one PNG: per data set and IPC, at most ``columns`` classes.

    Returns whether there is any set. A picture that is there is left alone where the tensors are not. A set's file
    that is torn is a :class:`DataError`.
    """
    panels = []
    for (dataset, ipc), group in grouped(collected.sets, lambda one: (one.cell.dataset, one.cell.ipc)).items():
        first = {stored.cell.method: stored for stored in reversed(group) if stored.tensors}
        shown = [stored for stored in group if stored is first.get(stored.cell.method)]
        if shown:
            panels.append(_panel(f"{dataset}, IPC {ipc}", ipc, shown, collected.labels, columns))
    if not panels and path.is_file():
        return False
    pictures = panels or [_blank("no set has been made yet")]
    width = max(panel.shape[1] for panel in pictures)
    padded = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures]
    picture = Image.fromarray(np.concatenate(padded))
    write_with(path, lambda stream: picture.save(stream, format="PNG"))
    return bool(panels)


def _panel(title: str, ipc: int, group: Sequence[StoredSet], labels: Mapping[str, str], columns: int) -> np.ndarray:
    """Return one data set at one IPC: a heading, the class names, and a block of images per method."""
    blocks = []
    for stored in group:
        assert stored.tensors is not None
        tensors, metadata = load_tensors(stored.tensors)
        classes = int(metadata["classes"])
        columns = min(classes, columns)
        images = torch.cat([tensors["images"][tensors["labels"] == label][:ROWS] for label in range(columns)])
        blocks.append((labels.get(stored.cell.method, stored.cell.method), picture_of(images, columns)))
    names = [str(name) for name in metadata["label_names"][:columns]]
    which = f" (first {ROWS} of {ipc} images per class)" if ipc > ROWS else ""
    which += f" (first {columns} of {classes} classes)" if columns < classes else ""
    height = 2 * LINE + MARGIN + sum(block.shape[0] + MARGIN // 2 for _, block in blocks)
    width = LABELS + max(block.shape[1] for _, block in blocks) + MARGIN
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, LINE // 2), title + which, "black", _font(17, bold=True), anchor="lm")
    step = blocks[0][1].shape[1] / columns
    font = _fitting(max(names, key=len), step - 4)
    for index, name in enumerate(names):
        draw.text((LABELS + (index + 0.5) * step, 1.5 * LINE), name, "#444444", font, anchor="mm")
    top = 2 * LINE
    for label, block in blocks:
        font = _fitting(label, LABELS - 1.5 * MARGIN)
        draw.text((MARGIN, top + block.shape[0] / 2), label, "black", font, anchor="lm")
        picture.paste(Image.fromarray(block), (LABELS, top))
        top += block.shape[0] + MARGIN // 2
    return np.asarray(picture)


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(findfont(f"DejaVu Sans:{'bold' if bold else 'regular'}"), size)


def _fitting(text: str, width: float) -> ImageFont.FreeTypeFont:
    """Return the largest font, 15 points at most, in which ``text`` is no wider than ``width`` pixels."""
    return next((font for size in range(15, 7, -1) if (font := _font(size)).getlength(text) <= width), _font(8))


def _blank(text: str) -> np.ndarray:
    picture = Image.new("RGB", (400, 3 * LINE), "white")
    ImageDraw.Draw(picture).text((200, 1.5 * LINE), text, "black", _font(15), anchor="mm")
    return np.asarray(picture)
