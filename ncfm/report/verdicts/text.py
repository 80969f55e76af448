"""The verdicts for people: one form of every line, shared by Markdown and the page, and the counts by source."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ncfm.report.tables.results import ONE_SET, Values, counts_text, interval_text, markdown, number
from ncfm.report.verdicts.rules import Verdict
from ncfm.report.verdicts.table import COSTS

QUANTITIES = {
    "accuracy": "accuracy (%)",
    "ratio_percent": "images kept (%)",
    "speed_s_per_iter": "seconds per iteration",
    "gpu_mem_gb": "GPU memory (GB)",
    "speed_reduction_x": "times faster",
    "mem_reduction_x": "times less memory",
    "accuracy_gain_pp": "gain (points)",
    "accuracy_drop_pp": "drop (points)",
    "loss": "loss",
}
KINDS = {  # what is counted apart, so that nobody takes arithmetic for a reproduction
    "accuracy": "accuracies",
    "accuracy_gain_pp": "differences of accuracies",
    "accuracy_drop_pp": "differences of accuracies",
    "ratio_percent": "arithmetic",
    "loss": "losses",
}
OTHER_KIND = "times and memory"
NOTE = (
    "Every reported number has one line; accuracies are in percent. NCFM's accuracies are test-selected and compared "
    "with our best, and beside it with our last; rows of prior work with our last. Networks are averaged inside a "
    "distillation seed; intervals are t intervals over seeds: of one more set's mean where the number is one set's, "
    "else of our mean. Ratios of kept images are checked by arithmetic and need no run. Rules: docs/verdicts.md."
)
COST_NOTE = (
    "Hours: the estimated time of one number from nothing at the full protocol, its pool of extractors included, on "
    "two CPU cores (a measured rate) and on an H100 (an assumed one); docs/performance.md."
)
PAPER = "NCFM "  # how the sources in the paper begin
ALWAYS_SHOWN = (Verdict.REPRODUCED, Verdict.REACHED)
IN_SUMMARY = {Verdict.DIFFERS: "under another protocol"}
LAST_DIGITS = {"accuracy": 1, "accuracy_gain_pp": 1}  # decimals of our values; other metrics have three


def counts(table: pd.DataFrame, by: pd.Series, head: str) -> pd.DataFrame:
    """Return how many lines of each kind or source have each verdict that occurs, as text; the last line sums up."""
    counted = pd.crosstab(by, table["verdict"], margins=True, margins_name="all")
    occurring = [verdict for verdict in Verdict if verdict in set(table["verdict"])]
    counted = counted.reindex(index=[*dict.fromkeys(by), "all"], columns=[*occurring, "all"], fill_value=0)
    return counted.astype(str).reset_index(names=head)


def short(source: str) -> str:
    """Return a source without the paper's name."""
    return source.removeprefix(PAPER)


def kinds(table: pd.DataFrame) -> pd.Series:
    """Return of each line what it is counted as: accuracies, times and memory, losses, arithmetic."""
    return table["metric"].map(KINDS).fillna(OTHER_KIND).rename("kind")


def sources(table: pd.DataFrame) -> pd.Series:
    """Return of each line where it is reported, without the paper's name."""
    return table["source"].map(short)


def summary(table: pd.DataFrame, touched: pd.Series) -> str:
    """Return the answer in a sentence or two: how the paper's accuracies fare here, and NCFM's nearest number."""
    paper = table[table["source"].str.startswith(PAPER)]
    if not touched.any():
        return f"None of the {len(paper)} numbers that the paper reports is about this campaign's data sets."
    accuracies = paper[paper["metric"] == "accuracy"]
    found = accuracies["verdict"].value_counts()
    texts = [f"{found.get(verdict, 0)} {IN_SUMMARY.get(verdict, verdict)}" for verdict in verdicts_to_show(found)]
    text = f"Of the {len(accuracies)} accuracies among the paper's {len(paper)} numbers: {', '.join(texts)}."
    ours = accuracies[(accuracies["reported_method"] == "NCFM") & accuracies["ours"].notna()]
    if ours.empty:
        return text
    line = min(ours.to_dict("records"), key=_distance)
    source = ", ".join(filter(None, (short(line["source"]), line["variant"])))
    return (
        f"{text} On {line['dataset']} at IPC {line['ipc']}, tested by {line['arch']}, ours is {line['last']:.1f} after "
        f"the last epoch ({line['best']:.1f} at its best look) for a reported {line['reported']} ({source}): "
        f"{line['verdict']}."
    )


def verdicts_to_show(found: pd.Series) -> list[Verdict]:
    """Return the verdicts to show: those counted in ``found``, and always the two that speak for the paper."""
    return [verdict for verdict in Verdict if verdict in ALWAYS_SHOWN or verdict in found]


def _distance(line: Values) -> tuple[bool, bool, bool]:
    """Order NCFM's lines by how well they answer what the paper is read for."""
    return (
        line["verdict"] == Verdict.DIFFERS,
        (line["artefact"], line["variant"]) != ("table5", "with psi"),
        line["ipc"] != "10",
    )


def is_answered(table: pd.DataFrame) -> pd.Series:
    """Mark the lines that a cell of the campaign answers, or would answer once it has run."""
    return table["method"].notna()


def readable(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return verdict lines as text, and the params that differ, which the lines name by number from 1 on."""
    params: dict[str, int] = {}
    return pd.DataFrame([_readable(line, params) for line in table.to_dict("records")]), list(params)


def _readable(line: Values, params: dict[str, int]) -> dict[str, str]:
    decimals = LAST_DIGITS.get(line["metric"], 3)
    return {
        "reported in": short(line["source"]),
        "row": row_name(line) + ("" if line["metric"] == "accuracy" else f", {QUANTITIES[line['metric']]}"),
        "data set": line["dataset"],
        "IPC": line["ipc"],
        "network": line["arch"],
        "reported": reported(line),
        "ours": _ours(line, decimals),
        "verdict": line["verdict"],
        "on our last": "" if _none(line["verdict_last"]) else line["verdict_last"],
        "difference": "" if _none(line["difference"]) else f"{line['difference']:+.{decimals}f}",
        "95% interval": bounds(line, decimals),
        "our method": "" if _none(line["method"]) else line["method"],
        "n": "" if _none(line["n"]) else counts_text(line),
        "commit": line["commit"],
        "why": _why(line, params),
        "hours (2 CPU cores / H100)": cost(line),
    }


def bounds(line: Values, decimals: int) -> str:
    """Return the interval that a number is held against, and of what it is; nothing for one set."""
    text = interval_text(line["interval_low"], line["interval_high"], decimals)
    return "" if _none(line["n"]) else text if text == ONE_SET else f"{text} ({line['interval_of']})"


def row_name(line: Values) -> str:
    """Return the paper's name of a row: method and variant."""
    return f"{line['reported_method']} {line['variant'].split(' (headline', maxsplit=1)[0]}".strip()


def reported(line: Values) -> str:
    """Return a reported value as it is printed, with its deviation."""
    return line["reported"] + ("" if _none(line["reported_std"]) else f" ± {line['reported_std']:.1f}")


def _ours(line: Values, decimals: int) -> str:
    if _none(line["ours"]):
        return ""
    if line["metric"] == "accuracy":
        return f"{number(line['last'], 1)} last, {number(line['best'], 1)} best"
    return f"{line['ours']:.{decimals}f}"


def _why(line: Values, params: dict[str, int]) -> str:
    reasons = [line["reason"]] if line["reason"] else []
    if not _none(line["params_that_differ"]) and line["params_that_differ"]:
        reasons.append(f"params {params.setdefault(line['params_that_differ'], len(params) + 1)}")
    return "; ".join(reasons)


def cost(line: Values) -> str:
    """Return the estimated hours of a number that could be run: CPU / H100."""
    return "" if _none(line[COSTS[0]]) else f"{line[COSTS[0]]:,.1f} / {line[COSTS[1]]:,.1f}"


def _none(value: Any) -> bool:
    return bool(pd.isna(value))


def params_notes(params: list[str]) -> list[str]:
    """Return the paragraph of Markdown that says what the params are that lines name by number; none for none."""
    lines = [f"- **params {index}**: {text}" for index, text in enumerate(params, start=1)]
    return ["\n".join(["Params that differ from the full protocol, as ours (full):", "", *lines])] if lines else []


def verdicts_markdown(table: pd.DataFrame, touched: pd.Series, title: str) -> str:
    """Return the verdicts as Markdown: the counts, then what the campaign touches; verdicts.csv has every line."""
    answered = is_answered(table) & touched
    parts = [f"# Verdicts: {title}", summary(table, touched), NOTE]
    if touched.any():
        parts += [markdown(counts(table, kinds(table), "kind")), markdown(counts(table, sources(table), "reported in"))]
    body, params = readable(table[answered])
    if answered.any():
        parts += [f"## Held against this campaign: {answered.sum()}", markdown(body.drop(columns=body.columns[-1]))]
        parts += params_notes(params)
    rest = table[touched & ~answered]
    quoted = rest["quoted"]
    if len(rest[~quoted]):
        body, _ = readable(rest[~quoted])
        columns = ["reported in", "row", "data set", "IPC", "network", "reported", "why", body.columns[-1]]
        parts += [f"## On the same data sets, not run: {len(body)}", COST_NOTE, markdown(body[columns])]
    if quoted.any():
        methods = rest[quoted]["reported_method"].value_counts(sort=False)
        names = ", ".join(f"{method} ({count})" for method, count in methods.items())
        parts += [f"## On the same data sets, quoted only: {quoted.sum()}"]
        parts += [f"Of methods that this project has not: {names}."]
    others = len(table) - int(touched.sum())
    parts += [f"The other {others} of {len(table)} numbers are about other data sets; `verdicts.csv` has every one."]
    return "\n\n".join(parts) + "\n"
