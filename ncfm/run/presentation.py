"""What a run shows of a stage's record: tags, history, data sets, artifacts; and what the runs of one cell come to."""

from __future__ import annotations

import csv
import datetime
import hashlib
import json
import math
import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from statistics import fmean, stdev
from typing import Any, NamedTuple

from ncfm.core import layout
from ncfm.core.errors import DataError
from ncfm.core.store import json_text, read_json, sha256

MOST_BYTES = 5_000_000  # of one artifact
MOST_SET_BYTES = 10_000_000  # of a distilled set among them
ARTIFACTS = (".png", ".svg", ".pdf", ".csv", ".md", ".tex", ".html", ".json")
KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH, DIGEST_LENGTH = 250, 6000, 8000, 36  # MLflow's limits, in characters
GROUP = ("dataset", "ipc", "method")  # the names that make a cell: its runs are shown together
STEPS = ("epoch", "iteration", "classes")  # what counts the steps of one network, where a stage trains several
CURVES = {"accuracy": "test_accuracy"}  # what a record calls a curve, and what every run calls it
FINAL = dict.fromkeys(("last", "final", "test_accuracy"), "test_accuracy.last")  # likewise the final numbers
FINAL |= {"best": "test_accuracy.best", "mean": "test_accuracy.mean"}

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
    for name in ("names", "params", "inputs", "metrics", "outputs"):
        if not isinstance(record.get(name, {}), dict):
            raise DataError(f"{path}: not a record of ncfm ({name} is no mapping)")
    return record


def key_of_run(record: Content) -> str:
    """Return the hash of what a run computes, its record's ``key``: MLflow continues a run of the same key."""
    identity = {name: record[name] for name in ("stage", "campaign", "names", "params", "inputs")}
    return hashlib.sha256(json_text(identity).encode()).hexdigest()


def moment(record: Content, seconds: float = 0.0) -> int:
    """Return the time ``seconds`` after the stage began, in milliseconds since 1970."""
    return int(datetime.datetime.fromisoformat(record["started"]).timestamp() * 1000) + int(seconds * 1000)


def records_below(folder: Path) -> list[Path]:
    """Return the records below a folder of results, but for those of other machines."""
    found, elsewhere = sorted(folder.rglob("*.record.json")), set(layout.ELSEWHERE)
    return [path for path in found if elsewhere.isdisjoint(path.relative_to(folder).parts)]


def beside(path: Path, record: Content, name: str) -> Path:
    """Return where a file that the record at ``path`` names lies, also where both were moved together since."""
    home = PurePosixPath(record["output"]).parent
    return Path(os.path.normpath(path.parent / os.path.relpath(name, home)))


def files_of(record: Content, path: Path) -> dict[str, Path]:
    """Return the files that the stage of the record at ``path`` wrote, by the names it gave them, as far as unchanged.

    They lie beside the record, also where it was moved or copied since; a file there that is not the one that the
    record names, by its SHA-256, belongs to another run and is left out.
    """
    found = {}
    for name, digest in record.get("outputs", {}).items():
        file = beside(path, record, name) if "output" in record else Path(name)
        if file.is_file() and sha256(file) == digest:
            found[name] = file
    return found


def curves(row: Row) -> Row:
    """Return a row of history as points of curves, those of one of several networks with this one in their names.

    Its step is then its epoch, iteration or number of classes, so that each network's curve begins anew. The finished
    set, which `anytime` tests as iteration 0, is no point of a curve.
    """
    values = {CURVES.get(name, name): value for name, value in row.values.items()}
    if "network" not in values:
        return row._replace(values=values)
    network = int(values.pop("network"))
    step = next((int(values[name]) for name in STEPS if name in values), row.step)
    shown = {f"{name}.network{network}": value for name, value in values.items() if name not in STEPS and step > 0}
    return Row(step, shown, row.milliseconds)


def history_of(record: Content, files: Mapping[str, Path]) -> list[Row]:
    """Return the record's history as curves: from its file, else from the record itself."""
    file = files.get(record.get("history", ""))
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines()) if file else record.get("rows", [])
    ended = moment(record, record["seconds"])
    read = [(row["step"], {key: float(value) for key, value in row.items() if value != ""}) for row in rows]
    return [
        curves(Row(int(step), {key: values[key] for key in values if key != "step"}, ended)) for step, values in read
    ]


def final_metrics(record: Content, history: list[Row]) -> dict[str, float]:
    """Return the final numbers: ``final_<name>`` where a curve has that name, and none where that curve ends there.

    Those that a report has of each cell are left out: the cells' own runs carry them.
    """
    ends = {name: value for row in history for name, value in row.values.items()}
    found = {"seconds": float(record["seconds"])}
    found |= {f"peak_{where}_gb": float(value) for where, value in record.get("peak_gb", {}).items()}
    for name, value in record["metrics"].items():
        if "/" in name:
            continue
        if name not in ends:
            found[key_of(FINAL.get(name, name))] = float(value)
        elif not math.isclose(value, ends[name], rel_tol=1e-5):  # a history file keeps six digits
            found[key_of(f"final_{name}")] = float(value)
    return found


def cell_metrics(runs: Iterable[tuple[Mapping[str, str], Mapping[str, float]]]) -> dict[str, float]:
    """Return what the runs of one cell, each its tags and metrics, come to: seconds in all, and the accuracy.

    As in the report, that is the mean of the sets' means, the standard deviation and number of all networks. It is of
    the last epoch and, where a cell has several tests, of that by the protocol `released` on a ConvNet; each test then
    has its numbers also under its own architecture and protocol.
    """
    found, tests = list(runs), dict[tuple[str, str], list[list[float]]]()
    for tags, metrics in found:
        accuracies = [value for name, value in metrics.items() if name.startswith("test_accuracy.network")]
        if tags["stage"] == "evaluate" and accuracies:
            tests.setdefault((tags["arch"], tags.get("protocol", layout.RELEASED)), []).append(accuracies)
    ordered = sorted(tests, key=lambda test: (test[1] != layout.RELEASED, "convnet" not in test[0], test))
    numbers = {"seconds": math.fsum(metrics["seconds"] for _, metrics in found)}
    named = [(test, ".".join(("", *test))) for test in ordered] if len(ordered) > 1 else []
    for test, suffix in [(test, "") for test in ordered[:1]] + named:
        values = [value for accuracies in tests[test] for value in accuracies]
        numbers[f"test_accuracy.mean{suffix}"] = fmean(map(fmean, tests[test]))
        numbers |= {f"test_accuracy.std{suffix}": stdev(values)} if len(values) > 1 else {}
        numbers |= {f"test_accuracy.n{suffix}": float(len(values)), f"sets{suffix}": float(len(tests[test]))}
    return numbers


def stands(record: Content) -> bool | None:
    """Tell whether the record lies where its stage wrote it; None where no record lies there."""
    try:
        return bool(read_record(Path(layout.record_file(PurePosixPath(record["output"]))))["key"] == record["key"])
    except (DataError, KeyError):
        return None


def artifacts_of(files: Iterable[Path]) -> list[tuple[Path, str | None]]:
    """Return the small files worth a look, each with its folder in the run: tables/, figures/ or none.

    A small distilled set is among them unless NCFM_TRACKING_SETS is `off`.
    """
    paths = list(files)
    root = Path(os.path.commonpath([path.parent for path in paths] or [Path()]))
    most = dict.fromkeys(ARTIFACTS, MOST_BYTES)  # by ending
    if os.environ.get("NCFM_TRACKING_SETS", "").lower() != "off":
        most[layout.SET_FILE] = MOST_SET_BYTES
    small = [path for path in paths if path.stat().st_size < most.get(path.name, most.get(path.suffix, 0))]
    return [(path, None if path.parent == root else os.path.relpath(path.parent, root)) for path in small]


def datasets_of(record: Content) -> list[tuple[str, str, str, str]]:
    """Return the data sets and distilled sets that a stage read: name, digest, source, and what for."""
    found = []
    for name, digest in record["inputs"].items():
        path = PurePosixPath(name)
        if path.name in (*layout.SPLIT_FILES.values(), layout.SET_FILE):
            kind = next((place for place in ("sets", "datasets") if place in path.parts), None)
            words = path.parts[path.parts.index(kind) + 1 : -1] if kind else path.parts[-2:-1]
            title = " ".join([*words, *[path.stem] * (path.name != layout.SET_FILE)])
            context = "evaluation" if path.stem == "test" else "training"
            found.append((title, digest[:DIGEST_LENGTH], json.dumps({"uri": name}), context))
    return found


def cell_of(record: Content) -> str:
    """Return a hash of the stage and names of a run: of several runs with the same one, the last stands."""
    return hashlib.sha256(json.dumps([record["stage"], record["names"]], sort_keys=True).encode()).hexdigest()


def description(campaign: str) -> str:
    """Return what a campaign's experiment says of itself."""
    if campaign == layout.ADHOC:
        return "Runs without a campaign, such as `ncfm distill --data FOLDER`."
    return f"The runs of `params/{PurePosixPath(campaign).name}.yaml`; its report is `results/{campaign}/report.html`."


def tags_of(record: Content) -> dict[str, str]:
    """Return the tags: names, commit, hardware and versions, and nothing whose name differs between runs of a stage.

    The SHA-256 of each input is in the record, an artifact.
    """
    copied = ("stage", "campaign", "command", "commit", "dirty", "started", "hardware", "versions")
    tags = record["names"] | {name: record.get(name) for name in copied}
    tags |= {
        "ncfm.key": record["key"],
        "mlflow.source.git.commit": record.get("commit"),
        "mlflow.source.name": f"ncfm {record['stage']}",
        "mlflow.source.type": "LOCAL",
        "ncfm.cell": cell_of(record),
    }
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
            for stage, params in {made["stage"]: made["params"], **_params_of_makers(made, maker)}.items():
                known = found.get(stage, params)  # a report stands on many sets: it has what is alike in all
                found[stage] = dict(pair for pair in known.items() if pair in params.items())
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
