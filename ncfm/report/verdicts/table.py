"""The table of verdicts: one line for each number that the paper reports. Rules: docs/verdicts.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ncfm.campaign.costs import DEVICES
from ncfm.campaign.plan import reported_seconds
from ncfm.core.params import DistillParams
from ncfm.datasets.catalogue import CATALOGUE
from ncfm.models.registry import ARCHITECTURES
from ncfm.report.collect import ResultRow
from ncfm.report.origins import commit_text
from ncfm.report.verdicts.answers import MEASURED, Answer, answer, not_run
from ncfm.report.verdicts.candidates import Reason, reported_name
from ncfm.report.verdicts.protocol import full_protocol
from ncfm.report.verdicts.reported import ReportedNumber
from ncfm.report.verdicts.rules import Verdict

COSTS = tuple(f"{device.name} (h)" for device in DEVICES)
COLUMNS = (  # of verdicts.csv
    *("number", "source", "metric", "dataset", "ipc", "arch", "reported_method", "variant", "reported", "reported_std"),
    *("method", "last", "best", "ours", "n_seeds", "n", "compared", "difference"),
    *("interval_low", "interval_high", "interval_of", "verdict", "verdict_last", "reason", "params_that_differ"),
    *("commit", "commands", *COSTS),
)
PLACES = ("artefact", "alpha", "num_frequencies", "step")  # of the reported number, for the paper's own tables
UNMEASURED = {  # metrics that no stage measures or that follow from other rows
    "speed_reduction_x": Reason.RATIO_TO_OTHER,
    "mem_reduction_x": Reason.RATIO_TO_OTHER,
    "accuracy_gain_pp": Reason.FOLLOWS,
    "accuracy_drop_pp": Reason.FOLLOWS,
}


def verdict_table(rows: Sequence[ResultRow], reported: Sequence[ReportedNumber]) -> pd.DataFrame:
    """Give every reported number its verdict by the campaign's rows: one line each, in order.

    Its columns are :data:`COLUMNS`, :data:`PLACES`, ``value`` (the reported number, if it is one) and ``quoted``
    (whether its method is not part of this project).
    """
    lines = [_line(one, rows) for one in reported]
    columns = [*COLUMNS, *PLACES, "value", "quoted"]
    return pd.DataFrame(lines, columns=columns).astype(dict.fromkeys((*COSTS, "value", *PLACES[1:]), float))


def touches(table: pd.DataFrame, rows: Sequence[ResultRow]) -> pd.Series:
    """Mark the lines of the verdict table that are about one of the campaign's data sets."""
    return table["dataset"].isin({reported_name(row.dataset) for row in rows})


def _line(reported: ReportedNumber, rows: Sequence[ResultRow]) -> dict[str, Any]:
    found = answer(reported, rows) or _absence(reported)
    same = ("number", "source", "metric", "dataset", "ipc", "arch", "variant", *PLACES)
    ours = ("method", "last", "best", "ours", "n_seeds", "n", "compared", "difference", "verdict", "verdict_last")
    low, high = found.bounds or (None, None)
    return {
        **{name: getattr(reported, name) for name in same},
        **{"reported_method": reported.method, "reported": reported.value, "reported_std": reported.std},
        **{name: getattr(found, name) for name in (*ours, "reason", "params_that_differ")},
        **{"interval_low": low, "interval_high": high, "value": reported.quantity},
        "interval_of": None if low is None else "one more set" if found.new_set else "the mean",
        "commit": " / ".join(dict.fromkeys(map(commit_text, found.records))),
        "commands": "; ".join(str(record.get("command", "")) for record in found.records),
        "quoted": any(obstacle.reason is Reason.QUOTED for obstacle in found.obstacles),
        **(_cost(reported) if found.verdict is Verdict.NOT_RUN else {}),
    }


def _absence(reported: ReportedNumber) -> Answer:
    """Say why no cell of the campaign answers a reported number."""
    if not reported.is_ours:
        return not_run(Reason.QUOTED)
    if reported.metric in UNMEASURED:
        return not_run(UNMEASURED[reported.metric])
    if reported.dataset not in CATALOGUE:
        return not_run(Reason.NO_DATASET, reported.dataset)
    if reported.network not in ARCHITECTURES:
        return not_run(Reason.NO_NETWORK, reported.arch)
    if reported.metric in MEASURED:
        return not_run(Reason.NOT_HERE_BENCHMARK, reported.hardware or "a GPU")
    return not_run(Reason.NOT_HERE)


def _cost(reported: ReportedNumber) -> dict[str, float]:
    """Return the estimated hours of a number that this project could run; nothing for others."""
    known = reported.dataset in CATALOGUE and reported.network in ARCHITECTURES and reported.is_ours
    if not known or not reported.ipc.isdigit() or reported.metric not in ("accuracy", "loss"):
        return {}
    full = full_protocol(reported)
    distillation = full.making if isinstance(full.making, DistillParams) else None
    facts = CATALOGUE[reported.dataset]
    seconds = reported_seconds(facts, int(reported.ipc), full.extractors, distillation, full.evaluation)
    return {name: one / 3600 for name, one in zip(COSTS, seconds, strict=True)} if seconds else {}
