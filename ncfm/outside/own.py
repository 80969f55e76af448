"""`ncfm add`: look through a folder of images once, and make it a data set that campaigns can name."""

from __future__ import annotations

import shlex
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ncfm.core.errors import ParamsError, notices
from ncfm.core.params import DistillParams, PretrainParams
from ncfm.core.store import is_text, json_text, write_text
from ncfm.core.values import LONGEST_NAME, Name
from ncfm.datasets.catalogue import CATALOGUE
from ncfm.datasets.folder import facts_of_folder, list_folder, load_folder
from ncfm.datasets.sets.own import PLACE, Facts
from ncfm.outside.adhoc import check_apart, network_of, read_at


def add(folder: Path, name: str | None, resolution: int | None) -> str:
    """Write the facts of a folder to ``params/datasets/``; return what was read, and how a campaign names it.

    Raises DataError where the folder is missing or in no layout of `ncfm/datasets/folder.py`, and ParamsError for a
    name that is not fit or stands for other images, for a resolution that is not offered, and in the folder itself.
    """
    listing = list_folder(folder)
    name = name or listing.name.lower()
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        allowed = f"small letters, digits and '-', {LONGEST_NAME} at most, a letter or digit first"
        raise ParamsError(f"--name: {name!r} must be {allowed}") from error
    path = PLACE / f"{name}.json"
    check_apart(folder, path, "run this in another folder")
    resolution, read = read_at(listing, resolution)
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
    network = network_of(resolution)
    extractors = "" if network == PretrainParams.model_validate({}).arch else f"  pretrain: {{arch: {network}}}\n"
    notes = notices(*loaded.origin.get("notes", ()))
    return (
        f"{folder}: {read}\n{notes}wrote {path}\nin a campaign, params/NAME.yaml:\n"
        f"  architectures: [{network}]\n{extractors}  datasets:\n    {name}: {{{_ipcs(known.smallest_class)}}}\n"
        f"found where it lies now, or as {shlex.quote(name)} in the folder `prepare: {{root: ...}}`"
    )


def _ipcs(smallest: int) -> str:
    """Return how a campaign names an IPC that the ``smallest`` class, of so many images, can give: 10, or the most."""
    tiles = DistillParams.model_validate({}).factor ** 2
    return f"ipcs: [{min(10, smallest // tiles)}]" if smallest >= tiles else "ipcs: [1], distill: {factor: 1}"
