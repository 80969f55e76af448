"""The page report.html: verdicts, results, pictures, curves and the command behind each number, in one file.

It stands alone: the style, the pictures and the few lines of script that copy commands are inside, and it reads well
without them. It links to other files of the campaign where they are there. Equal input gives equal bytes.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from ncfm.core.layout import RELEASED
from ncfm.report import changes, links
from ncfm.report.collect import Collected, ResultRow, Values
from ncfm.report.figures.panels import DPI
from ncfm.report.files import ResultsFolder
from ncfm.report.origins import Origin, commit_text, hardware_text, ran
from ncfm.report.tables import comparisons, selection, settings, times
from ncfm.report.tables import results as tables
from ncfm.report.verdicts import text as verdict_text
from ncfm.report.verdicts.rules import Verdict
from ncfm.run.record import commits_address

WHERE = "data set, IPC"
NUMBERS = ("last", "best (test-selected)", "difference", "make set (s)", "evaluate (s)", *Verdict, "all")
# Columns that are the caption's where all lines have the same in them: they tell lines apart, or say how all were run.
COMMON = (
    *(WHERE, "test network", "network", "protocol", "curation", "training images per class"),
    *("n", "seeds", "looks taken", "pairs", "our method", "run on", "torch", "commit"),
)
FIGURES = (
    ("paper", "The paper's tables and figures", "Reported, and ours in the colour of the verdict.", "verdicts"),
    ("grid", "Distilled images", "Images of each method's first seed, a column per class.", "images"),
    ("accuracy", "Accuracies", "Last accuracy of every method, each network a dot, and the mean best.", "results"),
    ("history", "Losses", "Loss over the iterations of every distillation.", "curves"),
    ("comparisons", "Paired differences", "The first method minus the second, seed by seed.", "comparisons"),
    ("continual", "Continual learning", "Accuracy on the classes seen so far, at each step.", "curves"),
    ("anytime", "Anytime curves", "Accuracy of the set as it was after some time of its distillation.", "curves"),
    ("search", "Architecture search", "Networks trained on each set and on the whole training set.", "curves"),
)
SECTIONS = {
    "results": "Results",
    "comparisons": "Methods against each other",
    "images": "Distilled images",
    "curves": "Curves",
    "verdicts": "Verdicts",
    "params": "Params",
    "commands": "Where each number comes from",
}
LOSSY = 40  # quality of a picture of images as WebP: a page with 42 sets of CIFAR-10 stays below a megabyte
WEBP_MOST = 16383  # pixels that a side of a WebP can have
CSS_DPI = 96
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    finalize=lambda value: value if isinstance(value, Markup) else Markup(escape(str(value))),  # as in published pages
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


def page(
    collected: Collected,
    frames: Mapping[str, pd.DataFrame],
    touched: pd.Series,
    pictures: Mapping[str, str],
    origins: Sequence[tuple[ResultRow, Sequence[Origin]]],
    results: ResultsFolder,
) -> str:
    """Return the page as HTML, from the campaign's tables by name.

    ``touched`` marks the verdicts about the campaign's data sets; ``pictures`` are the ``img`` elements, of
    :func:`image`, of those of :data:`FIGURES` that have something to show; ``origins`` are the stages behind each row.
    The page will lie beside the ``results``.
    """
    verdicts = frames["verdicts"]
    rows, remarks = tables.rounded(frames["results"])
    compared = comparisons.comparisons_texts(frames["comparisons"])
    answered = verdict_text.is_answered(verdicts) & touched
    accuracies = verdicts[touched & (verdicts["metric"] == "accuracy")]["verdict"].value_counts()
    every = [origin for _, behind in origins for origin in behind]
    return TEMPLATES.get_template("page.html").render(
        title=f"NCFM, reproduced: {collected.title}",
        ran=ran(collected, every),
        tables=[name for name, frame in frames.items() if len(frame) and name != "changes"],
        sections=SECTIONS,
        touches=bool(touched.any()),
        accuracies=tables.accuracies_text(frames["results"]),
        file_of_campaign=f"params/{results.campaign}.yaml",
        linked=links.documents(results.root),
        commits=links.commits(commits_address()),
        runs="" if results.is_published else links.runs(results.campaign, results.root),
        figures=FIGURES,
        charts=[name for name, *_ in FIGURES if name != "grid"],
        pictures=pictures,
        verdicts_note=verdict_text.NOTE,
        tiles=[(verdict, accuracies.get(verdict, 0)) for verdict in verdict_text.verdicts_to_show(accuracies)],
        summary=verdict_text.summary(verdicts, touched),
        counts=verdict_text.counts(verdicts, verdict_text.kinds(verdicts), "kind"),
        by_source=verdict_text.counts(verdicts, verdict_text.sources(verdicts), "reported in"),
        groups=[
            _group("Held against this campaign", verdicts[answered]),
            _group("On the same data sets, not run", verdicts[touched & ~answered], verdict_text.COST_NOTE),
            _group("On other data sets", verdicts[~touched], verdict_text.COST_NOTE),
        ],
        compared=(_led(compared, "method", "against", WHERE, "difference"), comparisons.NOTE),
        selected=(selection.selection_texts(frames["selection"]), selection.NOTE),
        results_note=tables.NOTE,
        rows=_led(rows, "method", WHERE, "last", "95%", "n"),
        remarks=remarks,
        took=(_led(times.times_texts(frames["times"]), "method", WHERE), times.NOTE),
        settings=(settings.settings_tables(collected), settings.NOTE),
        changed=(frames["changes"], changes.NOTE),
        sources=[_source(row, behind, results.root) for row, behind in origins],
        numbers=NUMBERS,
        compact=compact,
        len=len,
    )


def _led(texts: pd.DataFrame, *first: str) -> pd.DataFrame:
    """Return a table of texts with the columns ``first`` before the others; data set and IPC become one."""
    if not len(texts):
        return texts
    places = texts["data set"].astype(str) + ", " + texts["IPC"].astype(str)
    texts = texts.drop(columns=["data set", "IPC"]).assign(**{WHERE: places})
    return texts[[*first, *texts.columns.difference(first, sort=False)]]


def compact(texts: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return a table without those of the columns :data:`COMMON` that hold one value, and what these say."""
    columns = texts.columns.intersection(COMMON, sort=False) if len(texts) > 1 else []
    same = {head: str(texts[head].iloc[0]) for head in columns if texts[head].nunique(dropna=False) == 1}
    said = [f"{head} {value}" for head, value in same.items() if value not in ("-", "")]
    return texts.drop(columns=list(same)), "; ".join(said)


def _group(head: str, table: pd.DataFrame, note: str = "") -> Values:
    """Return verdicts that stand together on the page, folded away where they have a note."""
    body, params = verdict_text.readable(table)
    texts = body.loc[:, (body != "").any()]
    read_for = [head for head in ("ours", "reported", "verdict") if head in texts]
    texts = _led(texts, "row", WHERE, *read_for)
    return {"head": head, "texts": texts, "numbers": table["number"].tolist(), "params": params, "note": note}


def _source(row: ResultRow, behind: Sequence[Origin], root: Path) -> Values:
    """Return a row of the results, what of it was not run, the commands that lead to it, and what they left."""
    how = "" if row.protocol == RELEASED else f", protocol {row.protocol}"
    lines = [
        {
            "what": " ".join([origin.cell.stage, *([f"seed {seed}"] if (seed := _seed(origin)) is not None else [])]),
            "hardware": hardware_text(record),
            "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
            "commit": commit_text(record),
            "seconds": tables.number(record["seconds"], 1),
            "files": [(name, file.relative_to(root).as_posix()) for name, file in origin.files],
        }
        for origin in behind
        if (record := origin.record) is not None
    ]
    return {
        "head": f"{row.dataset}, IPC {row.ipc}, {row.label}, {row.arch}{how}",
        "reason": row.reason,
        "commands": [f"ncfm params {behind[0].campaign}", *(origin.command for origin in behind)] if behind else [],
        "records": pd.DataFrame(lines),
    }


def _seed(origin: Origin) -> int | None:
    return getattr(origin.cell, "seed", None)


def image(path: Path, name: str) -> str:
    """Return the ``img`` element of a figure that is inside the page: its PNG, or the smaller of two kinds of WebP.

    ``name`` is of the figure, in :data:`FIGURES`.
    """
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    kind, encoded = "png", [path.read_bytes()]
    if max(picture.size) <= WEBP_MOST:
        kind, encoded = "webp", []
        for how in ({"lossless": True}, {"quality": LOSSY}):
            stream = io.BytesIO()
            picture.save(stream, format="WEBP", **how)
            encoded.append(stream.getvalue())
    data = base64.b64encode(min(encoded, key=len)).decode("ascii")
    width = picture.width if name == "grid" else round(picture.width * CSS_DPI / DPI)
    return f'<img alt="{_alt(name)}" width="{width}" src="data:image/{kind};base64,{data}">'


def image_of(page: Path, name: str) -> str | None:
    """Return the ``img`` element of a figure in a page that is there, or None."""
    found = re.search(f'<img alt="{re.escape(_alt(name))}"[^>]*>', page.read_text("utf-8")) if page.is_file() else None
    return found[0] if found else None


def _alt(name: str) -> str:
    return escape(next(text for figure, _, text, _ in FIGURES if figure == name))
