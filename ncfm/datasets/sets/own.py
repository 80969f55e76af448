"""Data sets of users' own: folders of images that `ncfm add` has looked through, one file of facts each."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ncfm.core.errors import DataError
from ncfm.core.params import parse
from ncfm.core.store import read_json
from ncfm.datasets.catalogue import DatasetFacts, Loaded, exactly

PLACE = Path("params/datasets")  # of the files of facts, to be committed with the campaigns that name them


class Facts(BaseModel):
    """What a file of facts holds; the file has the data set's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    resolution: int
    label_names: tuple[str, ...]
    sizes: dict[str, tuple[int, ...]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    content: dict[str, str]


def read(path: Path) -> DatasetFacts:
    """Return the facts in a file. Raises DataError or ParamsError where it is torn or holds something else."""
    facts = parse(Facts, read_json(path), str(path))

    def load(known: DatasetFacts, root: Path) -> Loaded:
        """Read the folder, or where it lies elsewhere, the one of the data set's name in ``root``."""
        from ncfm.datasets.folder import list_folder, load_folder

        places = (Path(facts.folder), root / known.name)
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            raise DataError(f"{known.name}: its images lie neither in {places[0]} nor in {places[1]}")
        listing = list_folder(folder)
        if listing.label_names != known.label_names:
            raise DataError(f"{folder}: its classes are no longer those of {path}")
        return load_folder(listing, known.resolution)

    sizes = {split: exactly(*counts) for split, counts in facts.sizes.items()}
    sources = {"folder": load}
    return DatasetFacts(
        path.stem, facts.resolution, sizes, facts.mean, facts.std, sources, facts.label_names, facts.content, order=200
    )


ENTRIES = tuple(read(path) for path in sorted(PLACE.glob("*.json")))
