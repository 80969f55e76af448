"""Publish a campaign: its page, tables and shown figures, and all its small results in four JSON files.

`python -m ncfm.report.publish CAMPAIGN` (`make publish`) writes `results/published/CAMPAIGN/`, of which `ncfm report`
makes page and tables again. It may read a published folder as well: so one is brought up to date.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd

from ncfm.core.errors import FAULT, DataError, NcfmError, ParamsError
from ncfm.core.layout import COMPACT
from ncfm.core.store import json_text, read_json, storage_errors, write_text
from ncfm.report.figures.history import POINTS
from ncfm.report.figures.paper import STARTS
from ncfm.report.files import home, read_compact, read_history
from ncfm.report.overview import write_overview
from ncfm.report.verdicts.reported import read_reported

PUBLISHED = Path("results/published")
REPORTS, PICTURES = ("metrics.json", "tables/*", "artefacts/*", "figures/*"), (".png", ".svg")
DOCUMENTS = ("README.md", "docs/*.md", "results/published/README.md")  # figures that these show are kept
FILE_LINK = re.compile('<a class="file" href="([^"]*)">(.*?)</a>')  # as page.html writes them
LEFT_OUT = re.compile(r"<!-- unpublished -->.*?<!-- end of unpublished -->", re.DOTALL)  # likewise
FACTS = (
    "stage",
    "names",
    "command",
    "started",
    "hardware",
    "versions",
    "commit",
    "dirty",
    "seconds",
    "marks",
    "shipped",
    "peak_gb",
    "outputs",
)


def publish(source: Path, target: Path) -> None:
    """Write what is published of a campaign to the folder ``target``, in place of what is there.

    ``source`` holds the campaign's results with their report, or what is published of them. Without a report it is a
    :class:`DataError`.
    """
    if not (source / "report.html").is_file():
        raise DataError(f"{source}: has no report.html; run the campaign, or `ncfm report`, first")
    content = read_compact(source) | _small_files(source)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            _write(source, content, folder)
            folder.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            folder.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _write(source: Path, content: Mapping[str, Any], folder: Path) -> None:
    for name in COMPACT:
        write_text(folder / name, lines({path: value for path, value in content.items() if home(path) == name}))
    campaign = content["params/report.json"]["campaign"]
    texts = "".join(path.read_text("utf-8") for pattern in DOCUMENTS for path in Path().glob(pattern))
    for path in (path for pattern in REPORTS for path in source.glob(pattern)):
        name = path.relative_to(source).as_posix()
        shown = path.suffix not in PICTURES or re.search(rf"(?<![\w-]){campaign}/{name}", texts)
        if shown and not name.endswith(".record.json"):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / name)
    page = published_page((source / "report.html").read_text("utf-8"), source, folder, set(content))
    write_text(folder / "report.html", page)


def published_page(page: str, source: Path, folder: Path, held: Set[str]) -> str:
    """Return the page of ``source`` as it stands in ``folder``: no report before, no link to what is not there.

    A path that is ``held`` in one of the few files leads to that one.
    """

    def link(found: re.Match[str]) -> str:
        path, text = unquote(found[1]), found[2]
        if path in held:
            path = home(path)
        elif path.startswith("../"):  # of the program
            path = Path(os.path.relpath(source / path, folder)).as_posix()
        return f'<a class="file" href="{quote(path)}">{text}</a>' if (folder / path).is_file() else text

    return FILE_LINK.sub(link, LEFT_OUT.sub("", page))


def _small_files(source: Path) -> dict[str, Any]:
    """Return what the small files of a campaign's folder hold, by their paths below it."""
    content: dict[str, Any] = {}
    for path in sorted(source.rglob("*.json")):
        name = path.relative_to(source).as_posix()
        if name.startswith(("metrics.", "artefacts/")):  # the reports' own records: `ncfm report` makes them
            continue
        if name.endswith(".record.json"):
            content[name] = facts(read_json(path))
        elif name.startswith(("params/", "evaluations/")) or path.name == "card.json":
            content[name] = read_json(path)
    steps = {max(number.step, 1) for number in read_reported() if number.step is not None}
    for path in sorted(source.glob("sets/**/history.csv")):
        thin = thinned(read_history(path), steps)
        content[path.relative_to(source).as_posix()] = {name: thin[name].tolist() for name in thin}
    return content


def facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is published of a record: what ran, where, how long, and the SHA-256 of its params and outputs."""
    known = {name: record[name] for name in FACTS if name in record}
    return {**known, "params_sha256": hashlib.sha256(json_text(record["params"]).encode()).hexdigest()}


def thinned(history: pd.DataFrame, steps: set[int]) -> pd.DataFrame:
    """Return the rows of a history that figures and verdicts read: about :data:`POINTS`, the first, and ``steps``."""
    stride = max(1, len(history) // POINTS)
    chosen = (history.index % stride == 0) | (history.index < STARTS) | history["step"].isin(steps)
    return history[chosen]


def lines(content: Mapping[str, Any]) -> str:
    """Return JSON with one line for each key, in order: small, and a difference of two versions names the key."""
    pairs = (f"{json.dumps(key)}: {json.dumps(content[key], sort_keys=True)}" for key in sorted(content))
    return "{\n" + ",\n".join(pairs) + "\n}\n"


def main(arguments: list[str]) -> int:
    """Publish the campaigns named, and write the overview of all anew; return the exit status."""
    try:
        for campaign in arguments:
            if campaign == ".." or (campaign,) != Path(campaign).parts:  # what is published is replaced as a whole
                raise ParamsError(f"{campaign!r} is no campaign (allowed: the name of a folder in results/)")
            publish(Path("results", campaign), PUBLISHED / campaign)
        write_overview(PUBLISHED)
    except NcfmError as error:
        print(f"{FAULT}{error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
