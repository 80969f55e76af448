"""The report stage: read a campaign's results, write its tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ncfm.core.params import ReportParams
from ncfm.core.store import write_json, write_text
from ncfm.report.collect import collect
from ncfm.report.figures import figures
from ncfm.report.figures.paper import write_paper
from ncfm.report.page import page
from ncfm.report.tables import paper as artefacts
from ncfm.report.tables import results as tables
from ncfm.report.tables.continual import NOTE as CONTINUAL_NOTE
from ncfm.report.tables.continual import (
    collect_courses,
    continual_markdown,
    continual_table,
    shown_courses,
    write_courses,
)
from ncfm.report.tables.ranking import ranking_markdown, ranking_table
from ncfm.report.tables.search import collect_searches, search_markdown, search_table, write_searches
from ncfm.report.verdicts.text import verdicts_markdown
from ncfm.report.verdicts.verdicts import read_reported, touches, verdict_table
from ncfm.run.record import Record

OUTPUTS = (
    *("tables/results.csv", "tables/results.md", "tables/results.tex"),
    *("tables/verdicts.csv", "tables/verdicts.md", "tables/ranking.csv", "tables/ranking.md", "tables/metrics.json"),
    *("tables/paper.csv", "tables/paper.md", "tables/paper.tex", "figures/paper.png", "figures/paper.svg"),
    *("tables/continual.csv", "tables/continual.md", "figures/continual.png", "figures/continual.svg"),
    *("tables/search.csv", "tables/search.md", "figures/search.png", "figures/search.svg"),
    "report.html",
    *("figures/grid.png", "figures/accuracy.png", "figures/accuracy.svg", "figures/history.png", "figures/history.svg"),
)


def report(params: ReportParams, contents: dict[str, Any], results: Path, record: Record) -> None:
    """Write :data:`OUTPUTS` below ``results``.

    Args:
        params: what the tables show.
        contents: what there is to show: ``report_contents`` in ncfm/campaign/campaign.py.
        results: the campaign's folder.
        record: the stage's record.

    Raises:
        DataError: where a file is torn or is not what its place says.
        StorageError: where an output cannot be written.
    """
    collected = collect(contents, results)
    table = tables.results_table(collected.rows)
    verdicts = verdict_table(collected.rows, read_reported())
    touched = touches(verdicts, collected.rows)
    metrics = tables.metrics(table)
    figures.write_sets(collected, params.grid_columns, results / "figures/grid.png")
    figures.write_accuracies(collected, results / "figures/accuracy")
    figures.write_histories(collected, results / "figures/history")
    write_text(results / "tables/results.csv", tables.csv_text(table))
    write_text(results / "tables/results.md", tables.results_markdown(table, collected.title))
    write_text(results / "tables/results.tex", tables.results_latex(table, collected.title))
    write_text(results / "tables/verdicts.csv", tables.csv_text(verdicts))
    write_text(results / "tables/verdicts.md", verdicts_markdown(verdicts, touched, collected.title))
    write_text(results / "tables/paper.csv", artefacts.artefacts_csv(verdicts))
    write_text(results / "tables/paper.md", artefacts.artefacts_markdown(verdicts, collected.title))
    write_text(results / "tables/paper.tex", artefacts.artefacts_latex(verdicts, collected.title))
    held = write_paper(verdicts, collected, artefacts.touched_artefacts(verdicts), results / "figures/paper")
    ranking = ranking_table(collected.rows)
    write_text(results / "tables/ranking.csv", tables.csv_text(ranking))
    write_text(results / "tables/ranking.md", ranking_markdown(ranking, collected.title))
    courses = collect_courses(contents, results)
    learnt = continual_table(courses)
    write_courses(courses, results / "figures/continual")
    write_text(results / "tables/continual.csv", tables.csv_text(learnt))
    write_text(results / "tables/continual.md", continual_markdown(learnt, collected.title))
    searches = collect_searches(contents, results)
    searched = search_table(searches)
    write_searches(searches, results / "figures/search")
    write_text(results / "tables/search.csv", tables.csv_text(searched))
    write_text(results / "tables/search.md", search_markdown(searched, collected.title))
    write_json(results / "tables/metrics.json", metrics)
    drawn = {"grid.png": True, "accuracy.svg": True, "history.svg": True, "paper.svg": held}
    drawn |= {"continual.svg": bool(courses), "search.svg": bool(searches)}
    pictures = [results / "figures" / name for name, any_ in drawn.items() if any_]
    write_text(results / "report.html", page(collected, table, verdicts, touched, pictures))
    outputs: list[str | Path] = [results / name for name in OUTPUTS]
    record.finish(outputs, _flat(metrics))


def artefact_report(contents: dict[str, Any], results: Path, record: Record) -> None:
    """Write one table or figure of the campaign below ``results``: ``tables/<artefact>.csv``, ``.md`` and ``.tex``, and
    ``figures/<artefact>.png`` and ``.svg``.

    Where the paper has it, the CSV and the picture hold the paper's cells, reported beside ours with the verdict, else
    our own cells (accuracies, continual learning, or a search); the Markdown and the LaTeX hold all of them.

    Args:
        contents: what the artefact has: ``report_contents`` in ncfm/campaign/campaign.py.
        results: the campaign's folder.
        record: the stage's record.

    Raises:
        DataError: where a file is torn or is not what its place says.
        StorageError: where an output cannot be written.
    """
    collected, name = collect(contents, results), contents["artefact"]
    title = f"{name}, {collected.title}"
    verdicts = verdict_table(collected.rows, read_reported())
    courses, searches = collect_courses(contents, results), collect_searches(contents, results)
    table, learnt, found = tables.results_table(collected.rows), continual_table(courses), search_table(searches)
    known, picture = artefacts.paper_name(name, verdicts), results / f"figures/{name}"
    csv = tables.csv_text(next((one for one in (table, learnt) if len(one)), found))
    md, tex = [], []
    if known:
        csv = artefacts.artefacts_csv(verdicts, [known])
        md.append(artefacts.artefacts_markdown(verdicts, title, [known]))
        tex.append(artefacts.artefacts_latex(verdicts, title, [known]))
    if len(table):
        md.append(tables.results_markdown(table, title))
        tex.append(tables.results_latex(table, title))
    if len(learnt):
        md.append(continual_markdown(learnt, title))
        tex.append(
            artefacts.latex_table(shown_courses(learnt), f"Continual learning: {title}. {CONTINUAL_NOTE}") + "\n"
        )
    if len(found):
        md.append(search_markdown(found, title))
        tex.append(artefacts.latex_table(found, f"Architecture search: {title}.") + "\n")
    if known in artefacts.touched_artefacts(verdicts):
        write_paper(verdicts, collected, [known], picture)
    elif len(learnt):
        write_courses(courses, picture)
    elif len(found):
        write_searches(searches, picture)
    else:
        figures.write_accuracies(collected, picture)
    files = [results / f"tables/{name}.{kind}" for kind in ("csv", "md", "tex")]
    for file, text in zip(files, (csv, "\n".join(md), "\n".join(tex)), strict=True):
        write_text(file, text)
    record.finish([*files, *(picture.with_suffix(end) for end in (".png", ".svg"))], {})


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Return nested numbers under names joined by slashes."""
    flat: dict[str, float] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
