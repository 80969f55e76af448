"""What came of a folder of images that was distilled: in two lines, and on a page with every set made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ncfm.core.layout import SPLIT_FILES, title
from ncfm.core.store import read_json, sha256
from ncfm.datasets.catalogue import counted
from ncfm.datasets.folder import Listing
from ncfm.method.distilled import load
from ncfm.run.presentation import beside, read_record, records_below
from ncfm.stages.table import MAKERS, STAGES

Summary = Mapping[str, Any]  # accuracies of networks: mean, std, n


@dataclass(frozen=True)
class Made:
    """A set, and what its test found."""

    names: Mapping[str, Any]
    stored: Path
    command: str
    last: Summary
    epochs: int  # that each network trained on it

    @property
    def label(self) -> str:
        """Its method, IPC and seed in words."""
        return f"{self.names['method']}, IPC {self.names['ipc']}, seed {self.names['seed']}"


@dataclass(frozen=True)
class Extractors:
    """The networks that were trained on all training images, for the distillation."""

    count: int
    epochs: int
    accuracy: float  # in percent

    def text(self, epochs: int) -> str:
        """Say what they are, beside networks that were trained for ``epochs``."""
        how = f"{counted(self.count, 'network')}, {counted(self.epochs, 'epoch')}"
        return f"{how}; no ceiling: those of a set train {epochs}"


@dataclass(frozen=True)
class Outcome:
    """A distilled set of a folder, and accuracies on the same test images to hold its own against."""

    listing: Listing
    read: str  # what was read of it
    notes: tuple[str, ...]
    made: Made
    by_chance: Made  # random images of equal storage
    extractors: Extractors

    def text(self) -> str:
        """Return where the set is, how good it is on which images, and the two to hold it against."""
        last, beside_it = self.made.last, self.extractors
        trained = f"({counted(last['n'], 'network')} trained on it, {counted(self.made.epochs, 'epoch')})"
        chance = f"random images of equal storage {_accuracy(self.by_chance.last)}; "
        chance = "" if self.made.names == self.by_chance.names else chance  # which it is itself
        return (
            f"{self.made.stored}: test accuracy {_accuracy(last)} {trained} on {self._tested_on()}\n"
            f"beside it: {chance}the extractors, trained on "
            f"the whole training set, {beside_it.accuracy:.1f} % ({beside_it.text(self.made.epochs)})"
        )

    def page(self, every: list[Made], root: Path) -> str:
        """Return a page to lie in ``root``: what was read, accuracy and images of ``every`` set, how to use one."""
        from ncfm.report.page import TEMPLATES, image

        whole, data = self.extractors, load(self.made.stored)
        rows = [(one.label, _accuracy(one.last), _networks(one)) for one in every]
        rows.append(("the whole training set: the extractors", f"{whole.accuracy:.1f} %", whole.text(self.made.epochs)))
        return TEMPLATES.get_template("folder.html").render(
            name=self.listing.name,
            read=self.read,
            notes=self.notes,
            tested=self._tested_on(),
            rows=rows,
            classes=self.listing.label_names,
            pictures=[
                (one.label, one.stored, one.stored.relative_to(root), image(one.stored.with_name("grid.png"), "grid"))
                for one in every
            ],
            stored=self.made.stored,
            images=len(data),
            commands=dict.fromkeys(one.command for one in every),
        )

    def _tested_on(self) -> str:
        count = len(self.listing.all_files("test"))
        if self.listing.test_folder:
            return f"the {count} images of {self.listing.test_folder}"
        return f"a held-out fifth of each class ({count} images)"


def sets_in(root: Path, data: Path) -> list[Made]:
    """Return the sets below a folder of results that were made of the prepared images ``data`` and tested on these.

    What was made of other images, and what was tested before it was made anew, is left out.
    """
    train, test = (sha256(data / file) for file in SPLIT_FILES.values())
    parts = {PurePosixPath(STAGES[stage].writes[0]).parts[0] for stage in (*MAKERS, "evaluate")}
    paths = [path for part in sorted(parts) for path in records_below(root / part)]
    records = [(path, read_record(path)) for path in paths]
    stored = {
        (title(record["names"]), record["outputs"][record["output"]]): (path, record)
        for path, record in records
        if record["stage"] in MAKERS and train in record["inputs"].values()
    }
    found = []
    for path, record in records:
        if record["stage"] != "evaluate" or test not in record["inputs"].values():
            continue
        names = {name: value for name, value in record["names"].items() if name != "arch"}
        keys = [(title(names), digest) for digest in record["inputs"].values()]
        if maker := next((stored[key] for key in keys if key in stored), None):
            place, made = maker
            last = read_json(beside(path, record, record["output"]))["last"]
            epochs = record["params"]["epochs"]
            found.append(Made(names, beside(place, made, made["output"]), made["command"], last, epochs))
    return sorted(found, key=lambda one: (one.names["ipc"], one.names["method"], one.names["seed"]))


def _networks(made: Made) -> str:
    return f"{counted(made.last['n'], 'network')}, {counted(made.epochs, 'epoch')}"


def _accuracy(found: Summary) -> str:
    return f"{found['mean']:.1f} % ± {found['std']:.1f}"
