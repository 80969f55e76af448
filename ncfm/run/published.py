"""Records of published campaigns, made again from the few files that hold what is published, for MLflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Any

from ncfm.core import layout
from ncfm.core.layout import COMPACT
from ncfm.core.store import json_text, read_json
from ncfm.run.presentation import Content, key_of_run

UNKNOWN = "1970-01-01T00:00:00+00:00"  # the start of a stage that was published before records told it
MADE = "sets/{dataset}/ipc{ipc}/{method}/seed{seed}/distilled.record.json"  # of the set that a stage tested


def published_below(folder: Path) -> dict[Path, Content]:
    """Return the records of the campaigns published below a folder, by where each would lie as a file of its own.

    In a folder of all results those of other machines are left out. Raises :class:`DataError` for a torn file.
    """
    homes = (path.parent for path in sorted(folder.rglob(COMPACT[0])))
    whole = [home for home in homes if all((home / name).is_file() for name in COMPACT)]
    asked = [home for home in whole if set(layout.ELSEWHERE).isdisjoint(home.relative_to(folder).parts)]
    return {path: record for home in asked for path, record in _records_of(home)}


def _records_of(home: Path) -> Iterator[tuple[Path, Content]]:
    params, evaluations, records, histories = (read_json(home / name) for name in COMPACT)
    resolved = {sha256(json_text(values).encode()).hexdigest(): values for values in params.values()}
    campaign = f"published/{home.resolve().name}"
    for path, facts in records.items():
        if "stage" not in facts:  # the card of a data set
            continue
        output = path.replace(".record.json", ".json")
        known = {"started": UNKNOWN, **facts, "campaign": campaign, "output": f"results/{campaign}/{output}"}
        known["params"] = resolved.get(facts["params_sha256"], {})
        known["inputs"] = facts["outputs"]  # they tell its run from that of the same params on another machine
        record = {**known, "inputs": {}, "key": key_of_run(known), **_numbers(facts["stage"], evaluations.get(output))}
        if history := histories.get(str(Path(path).with_name("history.csv"))):
            record["rows"] = [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]
        made = records.get(MADE.format(**facts["names"])) if "networks" in record["params"] else None
        if made:
            record["params"] = record["params"] | {made["stage"]: resolved.get(made["params_sha256"], {})}
        yield home / path, record


def _numbers(stage: str, tested: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the final numbers and the history of a test of a set, as its record had them; of other stages none."""
    if tested is None:
        return {"metrics": {}, "rows": []}
    final, rows = NUMBERS[stage](tested)
    return {"metrics": final, "rows": [{"step": step, **row} for step, row in enumerate(rows, start=1)]}


def _evaluate(tested: Mapping[str, Any]) -> Numbers:
    networks = tested["networks"]
    rows = [
        {"network": one["network"], "epoch": epoch, "test_accuracy": accuracy, "loss": loss}
        for one in networks
        for epoch, accuracy, loss in one["curve"]
    ]
    return {which: fmean(network[which] for network in networks) for which in ("last", "best")}, rows


def _continual(tested: Mapping[str, Any]) -> Numbers:
    rows = [
        {"network": network, "classes": classes, "accuracy": accuracy}
        for network, one in enumerate(tested["networks"])
        for classes, accuracy in zip(tested["classes"], one["accuracies"], strict=True)
    ]
    return {"final": fmean(network["accuracies"][-1] for network in tested["networks"])}, rows


def _anytime(tested: Mapping[str, Any]) -> Numbers:
    rows = [
        {"iteration": point["iteration"], "network": network, "accuracy": accuracy}
        for point in tested["snapshots"]
        for network, accuracy in enumerate(point["accuracies"])
    ]
    return {"last": fmean(tested["snapshots"][-1]["accuracies"])}, rows


def _search(tested: Mapping[str, Any]) -> Numbers:
    rows = [{"accuracy": accuracy} for network in tested["networks"] for accuracy in network["accuracies"]]
    return {"mean": fmean(row["accuracy"] for row in rows)}, rows


Numbers = tuple[dict[str, float], list[dict[str, Any]]]  # the final ones, and rows of history
NUMBERS: dict[str, Callable[[Mapping[str, Any]], Numbers]] = {  # by stage, under the names that its record has
    "evaluate": _evaluate,
    "continual": _continual,
    "anytime": _anytime,
    "search": _search,
}
