"""The report stage: read a campaign's results, write its tables, figures and page, or one artefact's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ncfm.core.lock import only_writer
from ncfm.core.params import ReportParams, parse
from ncfm.core.store import json_text, storage_errors, write_text
from ncfm.report.changes import changes
from ncfm.report.collect import collect, result_files
from ncfm.report.figures.accuracy import write_accuracies
from ncfm.report.figures.anytime import write_anytime
from ncfm.report.figures.comparisons import write_comparisons
from ncfm.report.figures.continual import write_courses
from ncfm.report.figures.history import write_histories
from ncfm.report.figures.paper import write_paper
from ncfm.report.figures.search import write_searches
from ncfm.report.figures.sets import write_sets
from ncfm.report.files import ResultsFolder, read_contents
from ncfm.report.origins import origins_of
from ncfm.report.page import image, image_of, page
from ncfm.report.tables import anytime, comparisons, continual, paper, ranking, results, search, selection, times
from ncfm.report.verdicts.reported import read_reported
from ncfm.report.verdicts.table import COLUMNS, touches, verdict_table
from ncfm.report.verdicts.text import verdicts_markdown
from ncfm.run.record import recorded
from ncfm.stages import cells, table
from ncfm.stages.running import check_no_campaign
from ncfm.stages.table import STAGES

# How each table becomes Markdown and, if it does, LaTeX; verdicts and the paper's own tables are written apart.
Writer = Callable[[pd.DataFrame, str], str]
WRITERS: dict[str, tuple[Writer, Writer | None]] = {
    "results": (results.results_markdown, results.results_latex),
    "times": (times.times_markdown, None),
    "selection": (selection.selection_markdown, None),
    "ranking": (ranking.ranking_markdown, None),
    "comparisons": (comparisons.comparisons_markdown, comparisons.comparisons_latex),
    "continual": (continual.continual_markdown, None),
    "anytime": (anytime.anytime_markdown, None),
    "search": (search.search_markdown, None),
}


def run_report(params_file: Path, folder: Path, threads: int) -> None:
    """Write the report of a campaign or of one artefact, and its record; of a published campaign, all its reports.

    ``params_file`` holds the report's params, or is the ``params.json`` of a published campaign; ``folder`` is that of
    the campaign's results, into which the report is written, too. A fault is a :class:`NcfmError` of one line.
    """
    check_no_campaign(params_file, "report")
    for contents in read_contents(params_file):
        values = {key: value for key, value in contents.items() if key in ReportParams.model_fields}
        params = parse(ReportParams, values, str(params_file))
        files = ResultsFolder(contents["campaign"], folder)
        artefact = contents.get("artefact")
        cell = cells.Artefact(artefact) if artefact else cells.Report()
        stage = STAGES[cell.stage]
        optional = [files.root / path for path in stage.may_write]
        main = files.place(table.output(contents["campaign"], cell))
        with only_writer(main), recorded(params, main, cell.names, result_files(contents, files), threads) as record:
            shown = Shown(contents, files)
            with storage_errors(files.root):  # of an earlier report, which may have had more to say
                for path in optional:
                    path.unlink(missing_ok=True)
            numbers = artefact_report(artefact, shown) if artefact else report(params, shown)
            writes = [files.root / path.format(artefact=artefact) for path in stage.writes]
            record.finish([*writes, *(path for path in optional if path.is_file())], numbers)


class Shown:
    """What a report shows: what the params list, as ``report_contents`` in ncfm/campaign/campaign.py writes them."""

    def __init__(self, contents: dict[str, Any], files: ResultsFolder) -> None:
        self.root, self.files, self.collected = files.root, files, collect(contents, files)
        self.origins = [(row, origins_of(row, contents["campaign"], files)) for row in self.collected.rows]
        self.verdicts = verdict_table(self.collected.rows, read_reported())
        self.courses = continual.collect_courses(contents, files)
        self.searches = search.collect_searches(contents, files)
        self.anytime = anytime.anytime_table(anytime.collect_snapshots(contents, files), self.collected.sets)
        self.results = results.results_table(self.collected)
        pairs = [(first, second) for first, second in contents.get("comparisons", ())]
        self.comparisons = comparisons.comparisons_table(self.collected.rows, pairs)
        self.learnt, self.searched = continual.continual_table(self.courses), search.search_table(self.searches)


def report(params: ReportParams, shown: Shown) -> dict[str, float]:
    """Write the report of a campaign: of the files that the table of stages names those that say something.

    Returns its metrics.
    """
    collected, figures, title, verdicts = shown.collected, shown.root / "figures", shown.collected.title, shown.verdicts
    touched, artefacts = touches(verdicts, collected.rows), paper.touched_artefacts(verdicts)
    metrics = results.metrics(shown.results)
    frames = {
        "results": shown.results,
        "verdicts": verdicts[list(COLUMNS)],
        "times": times.times_table(collected),
        "selection": selection.selection_table(collected.rows),
        "ranking": ranking.scored(collected.rows),
        "comparisons": shown.comparisons,
        "continual": shown.learnt,
        "anytime": shown.anytime,
        "search": shown.searched,
    }
    texts = {f"{name}.csv": results.csv_text(frame) for name, frame in frames.items()}
    texts["verdicts.md"] = verdicts_markdown(verdicts, touched, title)
    for name, (as_markdown, as_latex) in WRITERS.items():
        texts[f"{name}.md"] = as_markdown(frames[name], title)
        texts |= {f"{name}.tex": as_latex(frames[name], title)} if as_latex else {}
    silent = {name for name, frame in frames.items() if frame.empty}
    for name, text in texts.items():
        if name.partition(".")[0] not in silent or f"tables/{name}" in STAGES["report"].writes:
            write_text(shown.root / "tables" / name, text)
    if artefacts:
        write_text(shown.root / "tables/paper.csv", paper.artefacts_csv(verdicts, artefacts))
        write_text(shown.root / "tables/paper.md", paper.artefacts_markdown(verdicts, title, artefacts))
        write_text(shown.root / "tables/paper.tex", paper.artefacts_latex(verdicts, title, artefacts))
    write_text(shown.root / "metrics.json", json_text(metrics))
    drawn = {
        "paper": write_paper(verdicts, collected, artefacts, figures / "paper"),
        "accuracy": write_accuracies(collected, figures / "accuracy"),
        "history": write_histories(collected, figures / "history"),
        "comparisons": write_comparisons(shown.comparisons, figures / "comparisons"),
        "continual": write_courses(shown.courses, figures / "continual"),
        "anytime": write_anytime(shown.anytime, figures / "anytime"),
        "search": write_searches(shown.searches, figures / "search"),
        "grid": write_sets(collected, params.grid_columns, figures / "grid.png"),
    }
    pictures = {name: image(figures / f"{name}.png", name) for name, any_ in drawn.items() if any_}
    if not drawn["grid"] and (published := image_of(shown.root / "report.html", "grid")):
        pictures["grid"] = published
    frames |= {"verdicts": verdicts, "changes": changes(collected, shown.root)}
    write_text(shown.root / "report.html", page(collected, frames, touched, pictures, shown.origins, shown.files))
    return next(iter(pd.json_normalize(metrics, sep="/").to_dict("records")), {})


def artefact_report(name: str, shown: Shown) -> dict[str, float]:
    """Write one table or figure of the campaign: its CSV, Markdown and LaTeX, and its picture.

    Where the paper has it, the CSV and the picture hold the paper's cells, reported beside ours with the verdict, else
    our own cells (accuracies, continual learning, anytime curves, or a search); Markdown and LaTeX hold all of them.
    """
    title, verdicts = f"{name}, {shown.collected.title}", shown.verdicts
    known, learnt, searched = shown.results, shown.learnt, shown.searched
    artefact = paper.paper_name(name, verdicts)
    csv = results.csv_text(next((one for one in (known, learnt, shown.anytime) if len(one)), searched))
    texts = []  # Markdown and LaTeX
    if artefact:
        csv, only = paper.artefacts_csv(verdicts, [artefact]), [artefact]
        texts.append((paper.artefacts_markdown(verdicts, title, only), paper.artefacts_latex(verdicts, title, only)))
    if len(known):
        texts.append((results.results_markdown(known, title), results.results_latex(known, title)))
    if len(learnt):
        texts.append((continual.continual_markdown(learnt, title), continual.continual_latex(learnt, title)))
    if len(shown.anytime):
        texts.append((anytime.anytime_markdown(shown.anytime, title), anytime.anytime_latex(shown.anytime, title)))
    if len(searched):
        latex = results.latex_table(searched, f"Architecture search: {title}.")
        texts.append((search.search_markdown(searched, title), latex))
    stem = shown.root / "artefacts" / name
    drawn = artefact is not None and write_paper(verdicts, shown.collected, [artefact], stem)
    drawn = drawn or write_courses(shown.courses, stem) or write_anytime(shown.anytime, stem)
    if not drawn and not write_searches(shown.searches, stem):
        write_accuracies(shown.collected, stem)
    md, tex = ("\n".join(parts) for parts in (zip(*texts, strict=True) if texts else ((), ())))
    for end, text in (("csv", csv), ("md", md), ("tex", tex)):
        write_text(stem.with_name(f"{name}.{end}"), text)
    return {}
