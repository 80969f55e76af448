"""`ncfm add`: look through a folder of images once, and make it a data set that campaigns can name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from ncfm.core.errors import ParamsError, one_of
from ncfm.core.store import is_text, json_text, write_text
from ncfm.datasets.catalogue import CATALOGUE
from ncfm.datasets.folder import facts_of_folder, list_folder, load_folder, median_side
from ncfm.datasets.sets.own import PLACE, Facts
from ncfm.outside.adhoc import NETWORKS, nearest_resolution

FIT = re.compile(r"[a-z0-9][a-z0-9-]*").fullmatch  # names stand in paths and in the workflow's patterns


def add(folder: Path, name: str | None, resolution: int | None) -> str:
    """Write the facts of a folder to ``params/datasets/``; return what was read, and how a campaign names it.

    Raises DataError where the folder is missing or in no layout of `ncfm/datasets/folder.py`, and ParamsError for a
    name that is not fit or stands for other images, and for a resolution that is not offered.
    """
    listing = list_folder(folder)
    name = name or listing.name.lower()
    if not FIT(name):
        raise ParamsError(f"--name: {name!r} must be small letters, digits and '-', a letter or digit first")
    path = PLACE / f"{name}.json"
    if resolution not in (None, *NETWORKS):
        raise ParamsError(one_of("resolution", resolution, NETWORKS, "--resolution"))
    resolution = resolution or nearest_resolution(median_side(listing.all_files("train")))
    loaded = load_folder(listing, resolution)
    known = facts_of_folder(listing, loaded)
    facts = Facts(
        folder=str(folder.resolve()),
        resolution=resolution,
        label_names=known.label_names,
        sizes={split: tuple(counts[0] for counts in classes) for split, classes in known.sizes.items()},
        mean=known.mean,
        std=known.std,
        content=loaded.content(),
    )
    text = json_text(facts.model_dump(mode="json"))
    # A name stands for one content: what a campaign has computed on it would else be of other images than it says.
    if name in CATALOGUE and not is_text(path, text):
        raise ParamsError(f"--name: {name} is another data set, or holds other images; take a new name, as {name}-2")
    write_text(path, text)
    network = NETWORKS[resolution]
    notes = "".join(f"note: {note}\n" for note in loaded.origin.get("notes", ()))
    return (
        f"{folder}: {listing.summary}; read at {resolution} x {resolution}\n{notes}wrote {path}\n"
        f"in a campaign, params/NAME.yaml:\n  architectures: [{network}]\n  datasets:\n    {name}: {{ipcs: [10]}}\n"
        f"found where it lies now, or as {shlex.quote(name)} in the folder `prepare: {{root: ...}}`"
    )
