"""The stage `select`: coresets of real images, chosen by the rules of `ncfm/method/coresets/`."""

from __future__ import annotations

from pathlib import Path

from ncfm.core.errors import ParamsError
from ncfm.core.params import SelectParams
from ncfm.core.seeding import generator
from ncfm.datasets.split import load_split
from ncfm.method.coresets import RULES, Request
from ncfm.method.distilled import write_set
from ncfm.method.multiformation import tile
from ncfm.method.pool import load_pool
from ncfm.run.compute import chosen_device
from ncfm.run.record import Record


def select(params: SelectParams, data: Path, extractors: Path | None, out: Path, record: Record) -> None:
    """Select real images of each class and store them, whole or as tiles, with the storage of ``ipc`` images per class.

    ``extractors`` is None for the rules that read no pool. Raises ParamsError for an unknown rule, extractors that do
    not go with it, and an IPC below 1 or above what each class has, which is the IPC of a set of all images.
    """
    rule, names = RULES.find(params.rule, "rule"), record.content["names"]
    if rule.reads_extractors and extractors is None:
        raise ParamsError(f"--extractors: is missing, but the rule {rule.name} reads an extractor pool")
    if extractors is not None and not rule.reads_extractors:
        raise ParamsError(f"--extractors: is {extractors}, but the rule {rule.name} reads no pool; leave it out")
    ipc, seed = names["ipc"], names["seed"]
    split = load_split(data, "train", chosen_device() if extractors else "cpu")
    wanted, smallest = ipc * params.factor**2, min(len(rows) for rows in split.by_class)
    if rule.whole and ipc != smallest:
        raise ParamsError(
            f"--ipc: is {ipc}, but the rule {rule.name} stores every image of {split.dataset} "
            f"(allowed: {smallest}, the size of the smallest class)"
        )
    if ipc < 1 or wanted > smallest:
        raise ParamsError(
            f"--ipc: is {ipc}, which takes {wanted} real images per class, but the smallest class of {split.dataset} "
            f"has {smallest} (allowed: 1 to {smallest} real images)"
        )
    pool = load_pool(extractors, data, split) if extractors else None
    draws = generator(split.dataset, ipc, "select", seed)
    index = rule.choose(Request(split, wanted, seed, draws, pool))
    # A whole set is stored as bytes: a quarter of the space of what the other sets hold, and exactly the same.
    images = [split.images[rows] if rule.whole else tile(split.pixels(rows), params.factor) for rows in index]
    files = write_set(out, images, split, params.factor, names)
    record.finish(files, {"images": sum(len(rows) for rows in index)})
