"""Verdicts: every number that the paper reports beside ours, by the rules in docs/verdicts.md. One line a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ncfm.campaign.costs import DEVICES
from ncfm.campaign.plan import reported_seconds
from ncfm.core.layout import RELEASED
from ncfm.datasets.catalogue import CATALOGUE
from ncfm.datasets.imagenet_classes import PUBLIC_SPLIT
from ncfm.models.registry import ARCHITECTURES
from ncfm.report.collect import Row
from ncfm.report.figures.figures import read_history
from ncfm.report.tables.results import hardware_text
from ncfm.report.verdicts.comparison import (
    PSI_PAIR,
    RECIPES,
    Comparison,
    compare,
    differences,
    full_protocol,
    is_ours,
    reported_name,
    timing_differences,
)
from ncfm.report.verdicts.intervals import Line, bootstrap, held, judge, margin, mean_of, number_of

REPORTED = Path(__file__).with_name("reported.csv")
VERDICTS = ("reproduced", "above", "below", "protocol differs", "not run")
COSTS = tuple(f"{device.name} (h)" for device in DEVICES)
COLUMNS = (
    *("number", "source", "metric", "dataset", "ipc", "arch", "reported_method", "variant", "reported", "reported_std"),
    *("method", "last", "best", "ours", "n_seeds", "n", "compared", "difference", "interval_low", "interval_high"),
    *("verdict", "reason", "params_that_differ", *COSTS),
)
QUOTED = "the method is not part of this project; the number is quoted"
BENCHMARK = "measured by benchmarks/table3.py, see benchmarks/results/<machine>/table3.md"
MEASURED = {"speed_s_per_iter": "seconds", "gpu_mem_gb": "peak memory"}  # read from the records of the sets
# Metrics that no stage measures or that follow from other rows, and why.
UNMEASURED = {
    "speed_reduction_x": "a ratio to a method that is not part of this project",
    "mem_reduction_x": "a ratio to a method that is not part of this project",
    "accuracy_gain_pp": "a difference of reported numbers, each of which has its own line",
    "accuracy_drop_pp": "a difference of reported numbers, each of which has its own line",
}


def read_reported(path: Path = REPORTED) -> pd.DataFrame:
    """Read all reported numbers, as text: values can be words or ranges."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def verdict_table(rows: Sequence[Row], reported: pd.DataFrame) -> pd.DataFrame:
    """Give every reported number its verdict.

    Args:
        rows: the campaign's, of :func:`~ncfm.report.collect.collect`.
        reported: what :func:`read_reported` gave.

    Returns:
        One line per line of ``reported``, in its order, with the columns :data:`COLUMNS`.

    Raises:
        DataError: where a history that a line needs is torn.
    """
    entries = [{str(key): str(value) for key, value in entry.items()} for entry in reported.to_dict("records")]
    lines = [_line(number, entry, rows) for number, entry in enumerate(entries, start=1)]
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype(dict.fromkeys(COSTS, float))


def touches(table: pd.DataFrame, rows: Sequence[Row]) -> pd.Series:
    """Mark the lines of the verdict table that are about one of the campaign's data sets."""
    return table["dataset"].isin({reported_name(row.dataset) for row in rows})


def _line(number: int, entry: Mapping[str, str], rows: Sequence[Row]) -> Line:
    same = ("source", "metric", "dataset", "ipc", "arch", "variant")
    line: Line = {"number": number, **{key: entry[key] for key in same}, "reported_method": entry["method"]}
    line |= {"reported": entry["value"], "reported_std": number_of(entry["std"])}
    metric = entry["metric"]
    if metric == "ratio_percent":
        return line | _ratio(entry)
    found: Line | None = None
    if metric == "accuracy":
        found = _accuracy(entry, rows)
    elif metric in MEASURED:
        found = _measured(entry, rows)
    elif metric == "loss":
        found = _loss(entry, rows)
    elif entry["note"].startswith(PSI_PAIR):
        found = _gain(entry, rows)
    return line | (found or {"verdict": "not run", "reason": _absence(entry)}) | _cost(entry, found)


def _absence(entry: Mapping[str, str]) -> str:
    """Say why no cell of the campaign answers a reported row."""
    if not is_ours(entry["method"]):
        return QUOTED
    if entry["metric"] in UNMEASURED:
        return UNMEASURED[entry["metric"]]
    if entry["dataset"] not in CATALOGUE:
        return f"the data set {entry['dataset']} is not part of this project"
    if entry["arch"].lower() not in ARCHITECTURES:
        return f"the network {entry['arch']} is not part of this project"
    needs = f"; needs {entry['hardware'] or 'a GPU'}; {BENCHMARK}" if entry["metric"] in MEASURED else ""
    return f"not in this campaign{needs}"


def _cost(entry: Mapping[str, str], found: Line | None) -> Line:
    """Return the estimated hours of a number that this project could run but did not; nothing for others."""
    known = entry["dataset"] in CATALOGUE and entry["arch"].lower() in ARCHITECTURES and is_ours(entry["method"])
    if not known or not entry["ipc"].isdigit() or entry["metric"] not in ("accuracy", "loss"):
        return {}
    if found is not None and found["verdict"] != "not run":
        return {}
    seconds = reported_seconds(CATALOGUE[entry["dataset"]], int(entry["ipc"]), *full_protocol(entry))
    return {name: one / 3600 for name, one in zip(COSTS, seconds, strict=True)} if seconds else {}


def _candidates(entry: Mapping[str, str], rows: Sequence[Row]) -> list[tuple[Row, Comparison]]:
    """Return the campaign's rows of this data set, IPC, network and method, the nearest to its protocol first.

    Nearest by params alone: evaluated before missing, no obstacle before one, then fewer params that differ, then the
    campaign's order. Accuracies play no part.
    """
    found: list[tuple[tuple[bool, bool, int], Row, Comparison]] = []
    for row in rows:
        ipc = "full" if row.whole else str(row.ipc)
        if (reported_name(row.dataset), ipc, row.arch) != (entry["dataset"], entry["ipc"], entry["arch"].lower()):
            continue
        comparison = compare(entry, row.sets[0])
        if comparison is not None:
            params = differences(row, comparison, entry["note"]) if row.evaluations else []
            found.append(((not row.evaluations, bool(comparison.obstacle), _fields(params)), row, comparison))
    return [(row, comparison) for _, row, comparison in sorted(found, key=lambda item: item[0])]


def _fields(params: Sequence[str]) -> int:
    return sum(stage.count(",") + 1 for stage in params)


def _accuracy(entry: Mapping[str, str], rows: Sequence[Row]) -> Line | None:
    candidates = _candidates(entry, rows)
    if not candidates:
        return None
    row, comparison = candidates[0]
    name = row.label if row.protocol == RELEASED else f"{row.label} ({row.protocol})"
    line: Line = {"method": name, "compared": comparison.accuracy}
    if not row.evaluations:
        return {**line, "verdict": "not run", "reason": row.reason.removeprefix("not run: ")}
    ours = [getattr(evaluation, comparison.accuracy) for evaluation in row.evaluations]
    reasons = [comparison.obstacle] if comparison.obstacle else []
    if row.split == PUBLIC_SPLIT:
        reasons.append("tested on other images: the public archive divides the data set anew")
    params = differences(row, comparison, entry["note"])
    line |= {name: mean_of([getattr(evaluation, name) for evaluation in row.evaluations]) for name in ("last", "best")}
    line |= held(entry, ours, reasons, params)
    ours_is = f"ours: {row.curation}" if row.curation else ""
    told = (line["reason"], comparison.remark, ours_is, row.reason)
    line["reason"] = "; ".join([reason for reason in told if reason])
    return line


def _distilled(entry: Mapping[str, str], rows: Sequence[Row], psi: bool) -> list[tuple[Row, list[str]]]:
    """Return the rows whose sets NCFM distilled on the data set, IPC and network of a reported row, psi on or off.

    Each with its params that make an iteration another than the full protocol's; those with the fewest first.
    """
    recipe = RECIPES["with psi" if psi else "w/o psi"]
    found = []
    for row in rows:
        stored = row.sets[0]
        place = (row.dataset, str(row.ipc), (stored.pool or {}).get("arch"))
        if place == (entry["dataset"], entry["ipc"], entry["arch"].lower()) and entry["method"] == "NCFM":
            learned = stored.params.get("frequencies") != "gaussian"
            if stored.params.get("discrepancy") == "ncfd" and learned == psi:
                found.append((row, timing_differences(row, stored, recipe)))
    return sorted(found, key=lambda item: _fields(item[1]))


def _measured(entry: Mapping[str, str], rows: Sequence[Row]) -> Line | None:
    """Hold the seconds of an iteration, or the peak memory, of each set's record against what is reported of a GPU."""
    distilled = _distilled(entry, rows, psi=entry["variant"] == "with psi")
    found = [(row, params) for row, params in distilled if any(one.record for one in row.sets)]
    if not found:
        return None
    row, params = found[0]
    records = [(one.record, one.params["iterations"]) for one in row.sets if one.record]
    hardware = hardware_text(records[0][0])
    reasons = [entry["variant"]] if entry["variant"].endswith(("not stated", "text claim")) else []
    if not entry["hardware"].startswith("1x ") or entry["hardware"].split()[1] not in hardware:
        reasons.append(f"on {hardware}, reported on {entry['hardware'] or 'a GPU that is not named'}")
    if entry["metric"] == "gpu_mem_gb":
        peaks = [record["peak_gb"] for record, _ in records if "peak_gb" in record]  # older records have none
        if not all("gpu" in peak for peak in peaks):
            reasons.append("memory of the whole process on the host")
        values = [[peak.get("gpu", peak["process"])] for peak in peaks]
    else:
        values = [[record["seconds"] / iterations] for record, iterations in records]
    if not values:
        return None
    line: Line = {"method": row.label, "compared": MEASURED[entry["metric"]]}
    return line | held(entry, values, reasons, params, "one set")


def _loss(entry: Mapping[str, str], rows: Sequence[Row]) -> Line | None:
    """Hold the loss of our sets at a reported iteration against a point of the paper's loss curves."""
    step = int(entry["variant"].removeprefix("iteration ")) or 1  # ours are counted from 1
    for row, _ in _distilled(entry, rows, psi=True):
        histories = [read_history(one.folder / "history.csv") for one in row.sets]
        values = [history["loss"][history["step"] == step].tolist() for history in histories if not history.empty]
        values = [value for value in values if value]
        if values:
            reason = "the plotted scale is not that of the released program, which prints about 18 at the start"
            return {"method": row.label, "compared": "loss", **held(entry, values, [reason], [], "one set")}
    return None


def _gain(entry: Mapping[str, str], rows: Sequence[Row]) -> Line | None:
    """Hold the difference of Table 5, with psi minus without, against a gain that the text claims."""
    values, params = [], []
    for variant in ("with psi", "w/o psi"):
        place = (entry["dataset"], entry["ipc"])
        pools = [row.sets[0].pool for row in rows if (row.dataset, str(row.ipc)) == place]
        arch = next((pool["arch"] for pool in pools if pool), "")
        cell = {**entry, "source": "NCFM Table 5", "variant": variant, "arch": arch}
        candidates = [(row, c) for row, c in _candidates(cell, rows) if row.evaluations]
        if not candidates:
            return None
        row, comparison = candidates[0]
        values.append([evaluation.best for evaluation in row.evaluations])
        params += [f"{variant}, {one}" for one in differences(row, comparison)]
    drawn = bootstrap(values[0], 0) - bootstrap(values[1], 1)
    low, high = (float(bound) for bound in np.percentile(drawn, [2.5, 97.5]))
    ours = mean_of(values[0]) - mean_of(values[1])
    reported = float(entry["value"])
    return {
        "method": "difference of ours",
        "compared": "best",
        "ours": ours,
        "n": sum(len(one) for value in values for one in value),
        "n_seeds": sum(map(len, values)),
        "difference": ours - reported,
        "interval_low": low,
        "interval_high": high,
        "verdict": "protocol differs" if params else judge(low, high, reported, margin(entry)),
        "reason": "",
        "params_that_differ": "; ".join(params),
    }


def _ratio(entry: Mapping[str, str]) -> Line:
    """Check a reported ratio of kept images by arithmetic: IPC times classes over the training images, in percent."""
    facts = CATALOGUE.get(entry["dataset"])
    if facts is None:
        return {"verdict": "not run", "reason": f"the data set {entry['dataset']} is not part of this project"}
    if any(len(allowed) > 1 for allowed in facts.sizes["train"]):
        return {
            "verdict": "not run",
            "reason": "how many training images there are depends on the copy of the data set",
        }
    ours, reported = 100 * int(entry["ipc"]) * facts.classes / facts.images("train"), float(entry["value"])
    return {
        "method": "arithmetic",
        "compared": "ratio",
        "ours": ours,
        "difference": ours - reported,
        "verdict": judge(ours, ours, reported, margin(entry)),
        "reason": "IPC x classes / training images, no run",
    }
