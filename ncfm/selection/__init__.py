"""Coresets of real images: one file per rule, all meeting the contract of :func:`select`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncfm.datasets.split import Split, load_split
from ncfm.distilled import save_set
from ncfm.errors import ParamsError
from ncfm.multiformation import tile
from ncfm.params import SelectParams
from ncfm.pictures import write_grid
from ncfm.records import Record
from ncfm.seeding import generator
from ncfm.selection.random import choose as choose_random

# A rule gets the split, how many images of each class are wanted, and a generator; it returns one index per image,
# (classes, wanted), into the split.
Rule = Callable[[Split, int, torch.Generator], Tensor]
RULES: dict[str, Rule] = {"random": choose_random}


def select(params: SelectParams, data: Path, names: Mapping[str, Any], out: Path, record: Record) -> None:
    """Select real images of each class and store them, whole or as tiles, with the storage of ``ipc`` images per class.

    Args:
        params: the rule and the factor.
        data: folder of the prepared data set.
        names: dataset, ipc, method, seed.
        out: folder for `distilled.safetensors` and `grid.png`.
        record: is finished here.

    Raises:
        ParamsError: where a class has fewer images than are wanted.
    """
    split = load_split(data, "train")
    wanted = int(names["ipc"]) * params.factor**2
    check_enough(split, int(names["ipc"]), wanted)
    index = RULES[params.rule](split, wanted, generator(split.dataset, names["ipc"], "select", names["seed"]))
    images = torch.stack([tile(split.pixels(rows), params.factor) for rows in index])
    stored, grid = out / "distilled.safetensors", out / "grid.png"
    save_set(stored, images, split, params.factor, names)
    write_grid(images.flatten(0, 1), split.classes, grid)
    record.finish([stored, grid], {"images": index.numel()})


def check_enough(split: Split, ipc: int, wanted: int) -> None:
    """Raise :class:`ParamsError` where ``ipc`` is below 1 or a class has fewer than ``wanted`` images."""
    smallest = min(len(rows) for rows in split.by_class)
    if ipc < 1 or wanted > smallest:
        raise ParamsError(
            f"--ipc: is {ipc}, which takes {wanted} real images per class, but the smallest class of {split.dataset} "
            f"has {smallest} (allowed: 1 to {smallest} real images)"
        )
