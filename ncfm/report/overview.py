"""What all published campaigns say together: `verdicts.md` and `.csv`, and `campaigns.md`, below `results/published/`.

The first two tell where every reported number stands. Of a number's verdicts those by the protocol nearest to the
reported one count: in full, else at another budget, else inconclusive, else by another protocol. All of these stand
there, so that no campaign hides what another one says. `campaigns.md` lists what was run, on what and for how long.
`python -m ncfm.report.publish` writes all three anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ncfm.core.errors import DataError
from ncfm.core.progress import duration
from ncfm.core.store import write_text
from ncfm.report.collect import Values
from ncfm.report.files import read_compact
from ncfm.report.origins import commit_text, hardware_text
from ncfm.report.tables.results import csv_text, document, markdown
from ncfm.report.verdicts import text
from ncfm.report.verdicts.rules import Verdict
from ncfm.report.verdicts.table import COLUMNS, COSTS
from ncfm.stages.table import MAKERS

NEAREST = (  # first the verdicts by the full protocol
    {Verdict.REPRODUCED, Verdict.ABOVE, Verdict.BELOW, Verdict.ARITHMETIC, Verdict.WRONG_ARITHMETIC},
    {Verdict.REACHED, Verdict.NOT_REACHED},
    {Verdict.INCONCLUSIVE},
    {Verdict.DIFFERS},
    {Verdict.NOT_RUN},
)
RUN = (NEAREST[0] | NEAREST[1] | NEAREST[2]) - {Verdict.ARITHMETIC, Verdict.WRONG_ARITHMETIC}
NUMBERS = (
    "reported_std",
    "last",
    "best",
    "ours",
    "n_seeds",
    "n",
    "difference",
    "interval_low",
    "interval_high",
    *COSTS,
)
NOTE = (
    "One line for each verdict of the nearest protocol that any published campaign has of a number: the full one, else "
    "another budget. Where campaigns or methods differ, each has its line. What a campaign measured by yet another "
    "protocol stands in its own verdicts. Written by `python -m ncfm.report.publish`. Rules: docs/verdicts.md."
)
CAMPAIGNS_NOTE = (
    "What was run, by the records of the stages: `snakemake --cores 2 --config campaign=NAME` each, most with "
    "`NCFM_RUNNER=direct NCFM_TRACKING=off`. The time is that of all stages, added up, most of them on one core, while "
    "other work often shared the machine; the first lines of params/NAME.yaml say how long the whole campaign took, "
    "and which commit made what. Extractors that ship are not in it: they took 164 min. Written by "
    "`python -m ncfm.report.publish`."
)


def write_overview(published: Path) -> None:
    """Write ``verdicts.csv``, ``verdicts.md`` and ``campaigns.md`` from all campaigns below ``published``."""
    files = {path.parent.parent.name: path for path in sorted(published.glob("*/tables/verdicts.csv"))}
    table = overview({campaign: _read(path) for campaign, path in files.items()})
    write_text(published / "verdicts.csv", csv_text(table))
    write_text(published / "verdicts.md", overview_markdown(table))
    lines = pd.DataFrame([campaign_line(name, read_compact(published / name)) for name in files])
    write_text(published / "campaigns.md", document("Published campaigns", CAMPAIGNS_NOTE, lines))


def campaign_line(name: str, content: Mapping[str, Any]) -> dict[str, object]:
    """Return what was run of a campaign: its ``content`` is that of its few files, by path."""
    records = [value for path, value in content.items() if path.endswith(".record.json")]
    tested = [value for path, value in content.items() if path.startswith("evaluations/") and "networks" in value]

    def all_of(text: Callable[[Values], str]) -> str:
        return ", ".join(sorted({text(record) for record in records}))

    return {
        "campaign": f"[{name}]({name}/tables/results.md)",
        "of": f"[{content['params/report.json']['title']}](../../params/{name}.yaml)",
        "sets": sum(record["stage"] in MAKERS for record in records),
        "networks": sum(len(evaluation["networks"]) for evaluation in tested),
        "time": duration(sum(record["seconds"] for record in records)),
        "on": all_of(hardware_text),
        "torch": all_of(lambda record: record["versions"]["torch"]),
        "commits": all_of(commit_text),
    }


def overview(campaigns: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return of each reported number the verdicts that count, in the paper's order, with the column ``campaign``.

    ``campaigns`` are tables with the columns :data:`COLUMNS`, by the campaigns' names. Equal lines of several
    campaigns, as arithmetic has, are one.
    """
    every = pd.concat([table.assign(campaign=name) for name, table in campaigns.items()], ignore_index=True)
    every["rank"] = every["verdict"].map({verdict: at for at, same in enumerate(NEAREST) for verdict in same})
    nearest = every[every["rank"] == every.groupby("number")["rank"].transform("min")]
    same = [column for column in COLUMNS if column not in COSTS]
    return nearest.sort_values("number", kind="stable").drop_duplicates(same)[[*COLUMNS, "campaign"]]


def overview_markdown(table: pd.DataFrame) -> str:
    """Return the overview as Markdown: the counts, a number once each, then the lines of :data:`RUN`."""
    order = {verdict: at for at, verdict in enumerate(Verdict)}
    once = table.sort_values("verdict", key=lambda verdicts: verdicts.map(order), kind="stable")
    once = once.drop_duplicates("number").sort_values("number")
    run = table[table["verdict"].isin(RUN)]
    parts = [
        "# Where every reported number stands",
        NOTE,
        markdown(text.counts(once, text.kinds(once), "kind")),
        markdown(text.counts(once, text.sources(once), "reported in")),
        f"## Run as reported, in full or at another budget: {run['number'].nunique()} numbers",
    ]
    if len(run):
        lines, params = text.readable(run)
        places = [f"[{name}]({name}/tables/verdicts.md)" for name in run["campaign"]]
        parts += [markdown(lines[lines.columns[:-1]].assign(campaign=places)), *text.params_notes(params)]
    return "\n\n".join(parts) + "\n"


def _read(path: Path) -> pd.DataFrame:
    """Read a campaign's verdicts. Raises :class:`DataError` where the file has other columns."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(table.columns) != list(COLUMNS):
        raise DataError(f"{path}: has other columns than this version writes; run `ncfm report` on the campaign again")
    kinds = {"number": int, **dict.fromkeys(NUMBERS, float)}
    return table.replace({name: {"": None} for name in (*NUMBERS, "method")}).astype(kinds)
