"""Where the report reads a campaign's results from: its folder, or the few files of a published one.

Both are asked for the paths of the table of stages. A published folder holds, as ``{path: content}``, in each of
:data:`COMPACT` what the campaign's folder holds in many files; it has no tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from ncfm.core.errors import DataError, ParamsError, one_line
from ncfm.core.layout import COMPACT, campaign_folder
from ncfm.core.params import parse
from ncfm.core.store import read_json
from ncfm.stages.table import STAGES


class _Skipped(BaseModel):
    model_config = ConfigDict(extra="allow")
    stage: str
    reason: str


class _Contents(BaseModel):
    """What the params of a report hold at least."""

    model_config = ConfigDict(extra="allow")
    campaign: str
    title: str
    labels: dict[str, str]
    cells: dict[str, list[dict[str, str | int]]]
    skipped: list[_Skipped] = []


class ResultsFolder:
    """The results of a campaign below its folder ``root``, wherever that is: a file each, or as they are published."""

    def __init__(self, campaign: str, root: Path) -> None:
        self.root, self.campaign, self._prefix = root, campaign, campaign_folder(campaign)
        self._published = read_compact(root) if (root / COMPACT[0]).is_file() else None

    @property
    def is_published(self) -> bool:
        """Say whether the few files of a published campaign are read."""
        return self._published is not None

    def place(self, path: PurePosixPath) -> Path:
        """Return where a file of the table of stages really lies; a message names that."""
        return self.root / path.relative_to(self._prefix)

    def has(self, path: PurePosixPath) -> bool:
        """Say whether a file is there."""
        if self._published is None:
            return self.place(path).is_file()
        return str(path.relative_to(self._prefix)) in self._published

    def holder(self, path: PurePosixPath) -> Path | None:
        """Return the file that holds the content of a file, which may be one of the few; None where there is none."""
        if (place := self.place(path)).is_file():
            return place
        return self.root / home(str(path.relative_to(self._prefix))) if self.has(path) else None

    def read(self, path: PurePosixPath) -> Any:
        """Return the mapping in a JSON file; None where it is missing. Raises :class:`DataError` where it is torn."""
        if not self.has(path):
            return None
        below = str(path.relative_to(self._prefix))
        content = read_json(self.place(path)) if self._published is None else self._published[below]
        if not isinstance(content, dict):
            raise DataError(f"{self.place(path)}: is no mapping; move it away and run the stage that wrote it")
        return content

    def history(self, path: PurePosixPath) -> pd.DataFrame:
        """Return a history's columns ``step`` and ``loss``; empty where there is none. Raises :class:`DataError`."""
        if self._published is None and self.has(path):
            return read_history(self.place(path))
        return pd.DataFrame(self.read(path) or {}).astype(float)

    def files(self, paths: Iterable[PurePosixPath]) -> list[str | Path]:
        """Return the files that hold these paths, of those that are there."""
        places = map(self.place, paths) if self._published is None else (self.root / name for name in COMPACT)
        return [place for place in places if place.is_file()]


def home(path: str) -> str:
    """Return the file of :data:`COMPACT` that holds a path below the campaign's folder."""
    if path.endswith((".record.json", "card.json")):
        return "records.json"
    return {"params": "params.json", "evaluations": "evaluations.json"}.get(path.partition("/")[0], "histories.json")


def read_compact(root: Path) -> dict[str, Any]:
    """Return everything that a published folder holds: path below the campaign's folder to content."""
    files = [root / name for name in COMPACT if (root / name).is_file()]
    return {path: content for file in files for path, content in read_json(file).items()}


def read_history(path: Path) -> pd.DataFrame:
    """Read the columns ``step`` and ``loss`` of a history. Raises :class:`DataError`."""
    try:
        return pd.read_csv(path)[["step", "loss"]].astype(float)
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        advice = "move it away and run the stage that wrote it"
        raise DataError(f"{path}: not a readable history ({one_line(error)}); {advice}") from error


def read_contents(path: Path) -> list[dict[str, Any]]:
    """Read the params of a report; of a published campaign, of all its reports. Errors are :class:`NcfmError`."""
    content = read_json(path)
    reports = [content]
    if path.name == COMPACT[0] and isinstance(content, dict):
        reports = [content[key] for key in content if key == "params/report.json" or key.startswith("params/artefact/")]
    for one in reports or [{}]:
        try:
            contents = parse(_Contents, one, str(path))
            for stage, cells in contents.cells.items():
                for names in cells:
                    STAGES[stage].cell(**names)
        except (ParamsError, KeyError, TypeError) as error:
            fault = str(error) if isinstance(error, ParamsError) else f"{path}: cells: are not those of a campaign"
            raise ParamsError(f"{fault}; run `ncfm params NAME` to write the file anew") from error
    return reports
