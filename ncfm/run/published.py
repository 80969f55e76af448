"""Records of published campaigns, made again from the few files that hold what is published, for MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
        record = {**known, "inputs": {}, "key": key_of_run(known), **_numbers(evaluations.get(output, {}))}
        if history := histories.get(str(Path(path).with_name("history.csv"))):
            record["rows"] = [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]
        made = records.get(MADE.format(**facts["names"])) if "networks" in record["params"] else None
        if made:
            record["params"] = record["params"] | {made["stage"]: resolved.get(made["params_sha256"], {})}
        yield home / path, record


def _numbers(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the final numbers and the curves of an evaluation, as its record had them; of other tests none."""
    networks = [network for network in evaluation.get("networks", ()) if "curve" in network]
    looks = [(network["network"], *look) for network in networks for look in network["curve"]]
    names = ("step", "network", "epoch", "test_accuracy", "loss")
    rows = [dict(zip(names, (step, *look), strict=True)) for step, look in enumerate(looks)]
    final = {which: fmean(network[which] for network in networks) for which in ("last", "best") if networks}
    return {"metrics": final, "rows": rows}
