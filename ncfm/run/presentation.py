"""What a run shows of a stage's record: tags, history, artifacts."""

from __future__ import annotations

import csv
import datetime
import json
import math
import os
import posixpath
import re
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ncfm.core import layout
from ncfm.core.errors import DataError
from ncfm.core.store import read_json, sha256

MOST_BYTES = 5_000_000  # of one artifact
MOST_BYTES_OF_SET = 10_000_000  # of a distilled set, which NCFM_TRACKING_SETS=off leaves out
SET = "distilled.safetensors"
MOST_INPUTS = 20  # input files that get a tag each; the record names all
ARTIFACTS = (".png", ".svg", ".pdf", ".csv", ".md", ".tex", ".html", ".json")
KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH = 250, 6000, 8000  # MLflow's limits, in characters
CELL, CURRENT = "ncfm.cell", "ncfm.current"  # tags: which cell, and whether the run's results are those that stand
GROUP = ("dataset", "ipc", "method")  # the names that make a cell: its runs are shown together

Content = Mapping[str, Any]  # of a record


class Row(NamedTuple):
    """The metrics of one step, and when they were measured (milliseconds since 1970)."""

    step: int
    values: Mapping[str, float]
    milliseconds: int


def read_record(path: Path) -> Content:
    """Read a finished stage's record. Raises :class:`DataError` where it is torn or not a record."""
    record = read_json(path)
    needed = ("key", "stage", "campaign", "names", "params", "inputs", "started", "seconds", "metrics")
    missing = [name for name in needed if name not in record] if isinstance(record, dict) else ["everything"]
    if missing:
        raise DataError(f"{path}: not a record of ncfm ({', '.join(missing)} missing)")
    return record


def moment(record: Content, seconds: float = 0.0) -> int:
    """Return the time ``seconds`` after the stage began, in milliseconds since 1970."""
    return int(datetime.datetime.fromisoformat(record["started"]).timestamp() * 1000) + int(seconds * 1000)


def files_of(record: Content, path: Path) -> dict[str, Path]:
    """Return the files that the stage of the record at ``path`` wrote, by the names it gave them, as far as unchanged.

    They lie beside the record, also where it was moved or copied since; a file there that is not the one that the
    record names, by its SHA-256, belongs to another run and is left out.
    """
    home = PurePosixPath(record["output"]).parent if "output" in record else None
    found = {}
    for name, digest in record.get("outputs", {}).items():
        file = Path(name) if home is None else Path(os.path.normpath(path.parent / os.path.relpath(name, home)))
        if file.is_file() and sha256(file) == digest:
            found[name] = file
    return found


def row_of(step: int, values: Mapping[str, float], milliseconds: int) -> Row:
    """Return a row of history as a run shows it: of several networks each by its own epochs, under its own names."""
    if "network" not in values or "epoch" not in values:
        return Row(step, dict(values), milliseconds)
    own = {name: value for name, value in values.items() if name not in ("network", "epoch")}
    place = f"network{int(values['network'])}"
    return Row(int(values["epoch"]), {f"{name}/{place}": value for name, value in own.items()}, milliseconds)


def history_of(record: Content, files: Mapping[str, Path]) -> list[Row]:
    """Return the rows of the record's history: from its file, else from the record itself."""
    file = files.get(record.get("history", ""))
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines()) if file else record.get("rows", [])
    ended = moment(record, record["seconds"])
    return [
        row_of(int(row["step"]), {k: float(value) for k, value in row.items() if k != "step" and value != ""}, ended)
        for row in rows
    ]


def final_metrics(record: Content, history: list[Row]) -> dict[str, float]:
    """Return the final numbers: ``final_<name>`` where a curve has that name, and none where that curve ends there."""
    ends = {name: value for row in history for name, value in row.values.items()}
    found = {"seconds": float(record["seconds"])}
    found |= {f"peak_{where}_gb": float(value) for where, value in record.get("peak_gb", {}).items()}
    for name, value in record["metrics"].items():
        if "/" in name:  # a report's number of one cell, which is a run of its own
            continue
        if name not in ends:
            found[key_of(name)] = float(value)
        elif not math.isclose(value, ends[name], rel_tol=1e-5):  # a history file keeps six digits
            found[key_of(f"final_{name}")] = float(value)
    return found


def artifacts_of(files: Iterable[Path]) -> list[tuple[Path, str | None]]:
    """Return the small files worth a look, each with its folder in the run: tables/, figures/ or none."""
    paths = list(files)
    root = Path(os.path.commonpath([path.parent for path in paths] or [Path()]))
    sets = 0 if os.environ.get("NCFM_TRACKING_SETS", "").lower() == "off" else MOST_BYTES_OF_SET
    most = {path: sets if path.name == SET else MOST_BYTES if path.suffix in ARTIFACTS else 0 for path in paths}
    small = [path for path in paths if path.stat().st_size < most[path]]
    return [(path, None if path.parent == root else os.path.relpath(path.parent, root)) for path in small]


def inputs_of(record: Content) -> dict[str, str]:
    """Return the first inputs and their SHA-256; a report reads more than fit, and the record names them all."""
    return dict(list(record["inputs"].items())[:MOST_INPUTS])


def datasets_of(record: Content) -> list[tuple[str, str, str, str]]:
    """Return the inputs as MLflow's data sets: each a name, a digest, its path, and what it is used for."""
    found = []
    for path, digest in inputs_of(record).items():
        parts = PurePosixPath(path).with_suffix("").parts
        name = " ".join(parts[3:] if parts[0] == "results" and len(parts) > 3 else parts[-1:])
        found.append((name, digest[:36], path, "evaluation" if parts[-1] == "test" else "training"))
    return found


def quoted(text: str) -> str:
    """Return a text that a filter of MLflow can hold: it would end at a plain quotation mark."""
    return text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")


def cell_of(record: Content) -> str:
    """Return the stage and names of a record, for a filter."""
    return quoted(f"{record['stage']} {layout.title(record['names'])}".strip())


def summary_of(runs: Iterable[tuple[Mapping[str, str], Mapping[str, str], Mapping[str, float]]]) -> dict[str, float]:
    """Return what the runs of one cell amount to, each given as tags, params and metrics.

    These are the seconds of all, and of its tests mean, deviation and number of sets: of those under the protocol
    ``released`` by the network that tested most sets, of several such the first by name.
    """
    every = list(runs)
    found = {"seconds": sum(metrics.get("seconds", 0.0) for _, _, metrics in every)}
    tests: dict[str, list[Mapping[str, float]]] = {}
    for tags, params, metrics in every:
        if tags.get("stage") == "evaluate" and params.get("protocol") == layout.RELEASED:
            tests.setdefault(params.get("arch", ""), []).append(metrics)
    if tests:
        chosen = tests[min(tests, key=lambda arch: (-len(tests[arch]), arch))]
        found["sets"] = float(len(chosen))
        for name in ("last", "best"):
            values = [metrics[name] for metrics in chosen if name in metrics]
            if values:
                found[f"{name}.mean"] = statistics.fmean(values)
            if len(values) > 1:
                found[f"{name}.deviation"] = statistics.stdev(values)
    return found


def tags_of(record: Content) -> dict[str, str]:
    """Return the tags: names, commit, hardware, versions and the SHA-256 of the inputs."""
    copied = ("stage", "campaign", "command", "commit", "dirty", "started", "hardware", "versions")
    tags = record["names"] | {name: record.get(name) for name in copied}
    tags |= {"input": inputs_of(record), "ncfm.key": record["key"], "mlflow.source.git.commit": record.get("commit")}
    tags |= {"mlflow.source.name": f"ncfm {record['stage']}", "mlflow.source.type": "LOCAL", CELL: cell_of(record)}
    return texts({name: value for name, value in tags.items() if value is not None}, TAG_LENGTH)


def params_of(record: Content, path: Path) -> dict[str, Any]:
    """Return what a run of the record at ``path`` has as params: the stage's own, the names that tell cells apart, and
    the params of the stages that made what it read, each under its stage (``distill.iterations``).
    """
    found = {**record["params"], **record["names"]}
    if "networks" in record["params"]:  # the stage tests a set by some protocol
        found.setdefault("protocol", layout.RELEASED)
    return {**_params_of_makers(record, path), **found}


def _params_of_makers(record: Content, path: Path) -> dict[str, Any]:
    home = PurePosixPath(record.get("output", "")).parent
    found: dict[str, Any] = {}
    for name, digest in record["inputs"].items():
        maker = path.parent / os.path.relpath(layout.record_file(PurePosixPath(name)), home)
        try:
            made = read_record(maker)
        except DataError:
            continue
        # The set or pool that was read, and no later one in its place; what `prepare` does is no param of a study.
        if made.get("outputs", {}).get(name) == digest and made["stage"] != "prepare":
            found |= {made["stage"]: made["params"], **_params_of_makers(made, maker)}
    return found


def texts(values: Mapping[str, Any], length: int, prefix: str = "") -> dict[str, str]:
    """Return nested values as one level of texts of at most ``length`` characters, with dots in the names."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= texts(value, length, f"{prefix}{name}.")
        else:
            found[key_of(prefix + name)] = (value if isinstance(value, str) else json.dumps(value))[:length]
    return found


def key_of(name: str) -> str:
    """Return a name with only the characters that MLflow takes in keys."""
    return re.sub(r"[^\w.\- /]", "_", posixpath.normpath(name))[:KEY_LENGTH]
