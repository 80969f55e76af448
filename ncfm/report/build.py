"""The report stage: read a campaign's results, write its tables, figures and page, or one artefact's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ncfm.core.params import ReportParams, parse
from ncfm.core.store import write_json, write_text
from ncfm.report.collect import collect, result_files
from ncfm.report.figures.accuracy import write_accuracies
from ncfm.report.figures.continual import write_courses
from ncfm.report.figures.history import write_histories
from ncfm.report.figures.paper import write_paper
from ncfm.report.figures.search import write_searches
from ncfm.report.figures.sets import write_sets
from ncfm.report.files import ResultsFolder, open_results, read_contents
from ncfm.report.page import image, image_of, page
from ncfm.report.tables import continual, paper, ranking, results, search
from ncfm.report.verdicts.reported import read_reported
from ncfm.report.verdicts.table import COLUMNS, touches, verdict_table
from ncfm.report.verdicts.text import verdicts_markdown
from ncfm.run.record import Record, recorded
from ncfm.stages import cells, table
from ncfm.stages.table import STAGES


def run_report(params_file: Path, folder: Path, threads: int) -> None:
    """Write the report of a campaign or of one artefact, and its record; of a published campaign, all its reports.

    Args:
        params_file: the report's params, or the ``params.json`` of a published campaign.
        folder: the campaign's results, or the published ones; the report is written there.
        threads: that the report may use.

    Raises:
        NcfmError: one line: a fault in the params, in a result, or in writing.
    """
    for contents in read_contents(params_file):
        values = {key: value for key, value in contents.items() if key in ReportParams.model_fields}
        params = parse(ReportParams, values, str(params_file))
        files = open_results(contents["campaign"], folder)
        artefact = contents.get("artefact")
        cell = cells.Artefact(artefact) if artefact else cells.Report()
        main = files.place(table.output(contents["campaign"], cell))
        with recorded(params, main, cell.names, result_files(contents, files), threads) as record:
            if artefact:
                artefact_report(contents, files, record)
            else:
                report(params, contents, files, record)


def report(params: ReportParams, contents: dict[str, Any], files: ResultsFolder, record: Record) -> None:
    """Write the report of a campaign: the files that the table of stages names.

    Args:
        params: what the tables show.
        contents: what there is to show: ``report_contents`` in ncfm/campaign/campaign.py.
        files: the campaign's results; the report is written below the same folder.
        record: the stage's record.

    Raises:
        DataError: where a file is torn or is not what its place says.
        StorageError: where an output cannot be written.
    """
    collected, tables, figures = collect(contents, files), files.root / "tables", files.root / "figures"
    title, known = collected.title, results.results_table(collected)
    verdicts, scores = verdict_table(collected.rows, read_reported()), ranking.ranking_table(collected.rows)
    touched, metrics = touches(verdicts, collected.rows), results.metrics(known)
    courses, searches = continual.collect_courses(contents, files), search.collect_searches(contents, files)
    learnt, searched = continual.continual_table(courses), search.search_table(searches)
    texts = {
        "results.csv": results.csv_text(known),
        "results.md": results.results_markdown(known, title),
        "results.tex": results.results_latex(known, title),
        "verdicts.csv": results.csv_text(verdicts[list(COLUMNS)]),
        "verdicts.md": verdicts_markdown(verdicts, touched, title),
        "paper.csv": paper.artefacts_csv(verdicts),
        "paper.md": paper.artefacts_markdown(verdicts, title),
        "paper.tex": paper.artefacts_latex(verdicts, title),
        "ranking.csv": results.csv_text(scores),
        "ranking.md": ranking.ranking_markdown(scores, title),
        "continual.csv": results.csv_text(learnt),
        "continual.md": continual.continual_markdown(learnt, title),
        "search.csv": results.csv_text(searched),
        "search.md": search.search_markdown(searched, title),
    }
    for name, text in texts.items():
        write_text(tables / name, text)
    write_json(tables / "metrics.json", metrics)
    drawn = {
        "paper": write_paper(verdicts, collected, paper.touched_artefacts(verdicts), figures / "paper"),
        "accuracy": write_accuracies(collected, figures / "accuracy"),
        "history": write_histories(collected, figures / "history"),
        "continual": write_courses(courses, figures / "continual"),
        "search": write_searches(searches, figures / "search"),
        "grid": write_sets(collected, params.grid_columns, figures / "grid.png"),
    }
    pictures = {name: image(figures / f"{name}.png", name) for name, any_ in drawn.items() if any_}
    if not drawn["grid"] and (published := image_of(files.root / "report.html", "grid")):
        pictures["grid"] = published
    write_text(files.root / "report.html", page(collected, known, verdicts, touched, pictures))
    record.finish([files.root / name for name in STAGES["report"].writes], _flat(metrics))


def artefact_report(contents: dict[str, Any], files: ResultsFolder, record: Record) -> None:
    """Write one table or figure of the campaign: ``tables/<artefact>.csv``, ``.md`` and ``.tex``, and
    ``figures/<artefact>.png`` and ``.svg``.

    Where the paper has it, the CSV and the picture hold the paper's cells, reported beside ours with the verdict, else
    our own cells (accuracies, continual learning, or a search); the Markdown and the LaTeX hold all of them.

    Args:
        contents: what the artefact has: ``report_contents`` in ncfm/campaign/campaign.py.
        files: the campaign's results; the artefact is written below the same folder.
        record: the stage's record.

    Raises:
        DataError: where a file is torn or is not what its place says.
        StorageError: where an output cannot be written.
    """
    collected, name = collect(contents, files), contents["artefact"]
    title = f"{name}, {collected.title}"
    verdicts = verdict_table(collected.rows, read_reported())
    courses, searches = continual.collect_courses(contents, files), search.collect_searches(contents, files)
    known, learnt = results.results_table(collected), continual.continual_table(courses)
    searched, artefact = search.search_table(searches), paper.paper_name(name, verdicts)
    csv = results.csv_text(next((one for one in (known, learnt) if len(one)), searched))
    md, tex = [], []
    if artefact:
        csv = paper.artefacts_csv(verdicts, [artefact])
        md.append(paper.artefacts_markdown(verdicts, title, [artefact]))
        tex.append(paper.artefacts_latex(verdicts, title, [artefact]))
    if len(known):
        md.append(results.results_markdown(known, title))
        tex.append(results.results_latex(known, title))
    if len(learnt):
        md.append(continual.continual_markdown(learnt, title))
        caption = f"Continual learning: {title}. {continual.NOTE}"
        tex.append(results.latex_table(continual.continual_texts(learnt), caption))
    if len(searched):
        md.append(search.search_markdown(searched, title))
        tex.append(results.latex_table(searched, f"Architecture search: {title}."))
    picture = files.root / f"figures/{name}"
    if artefact in paper.touched_artefacts(verdicts):
        write_paper(verdicts, collected, [artefact], picture)
    elif len(learnt):
        write_courses(courses, picture)
    elif len(searched):
        write_searches(searches, picture)
    else:
        write_accuracies(collected, picture)
    for end, text in (("csv", csv), ("md", "\n".join(md)), ("tex", "\n".join(tex))):
        write_text(files.root / f"tables/{name}.{end}", text)
    writes = (template.format(artefact=name) for template in STAGES["artefact"].writes)
    record.finish([files.root / path for path in writes], {})


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Return nested numbers under names joined by slashes."""
    flat: dict[str, float] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
