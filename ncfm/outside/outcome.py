"""What came of a folder of images that was distilled: in two lines, and on a page."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncfm.datasets.folder import Listing
from ncfm.method.distilled import load

Tested = Mapping[str, Any]  # accuracies of networks: mean, std, n


@dataclass(frozen=True)
class Outcome:
    """A distilled set of a folder, and accuracies on the same test images to hold its own against."""

    listing: Listing
    resolution: int
    made_by: str  # method and IPC
    stored: Path
    last: Tested
    by_chance: Tested  # of random images of equal storage
    whole: float  # of the extractors, which were trained on the whole training set, in percent
    pool: str  # how many these are, and how long they trained

    def text(self) -> str:
        """Return where the set is, how good it is on which images, and the two to hold it against."""
        trained = f"({self.last['n']} networks trained on it)"
        return (
            f"{self.stored}: test accuracy {_accuracy(self.last)} {trained} on {self._tested_on()}\n"
            f"beside it: random images of equal storage {_accuracy(self.by_chance)}, "
            f"the whole training set {self.whole:.1f} % ({self.pool})"
        )

    def page(self) -> str:
        """Return a page that stands alone: what was read, the accuracies, the images, how to use the set."""
        from ncfm.report.page import TEMPLATES, image

        data = load(self.stored)
        rows = [
            (f"the distilled set ({self.made_by})", _accuracy(self.last), f"{self.last['n']} networks"),
            ("random images of equal storage", _accuracy(self.by_chance), f"{self.by_chance['n']} networks"),
            ("the whole training set", f"{self.whole:.1f} %", self.pool),
        ]
        return TEMPLATES.get_template("folder.html").render(
            name=self.listing.name,
            read=f"{self.listing.summary}; read at {self.resolution} x {self.resolution}",
            tested=self._tested_on(),
            rows=rows,
            classes=data.label_names,
            picture=image(self.stored.with_name("grid.png"), "grid"),
            stored=self.stored,
            images=len(data),
            command=shlex.join(["ncfm", *sys.argv[1:]]),
        )

    def _tested_on(self) -> str:
        count = len(self.listing.all_files("test"))
        if self.listing.test_folder:
            return f"the {count} images of {self.listing.test_folder}"
        return f"a held-out fifth of each class ({count} images)"


def _accuracy(found: Tested) -> str:
    return f"{found['mean']:.1f} % ± {found['std']:.1f}"
