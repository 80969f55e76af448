"""The page report.html: verdicts, results, pictures, curves and the command behind each number, in one file.

It stands alone: no script, no other file; the style and the pictures are inside. Equal input gives equal bytes.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from ncfm.core.layout import RELEASED
from ncfm.report.collect import Collected, ResultRow, Values, commit_text, hardware_text
from ncfm.report.figures.panels import DPI
from ncfm.report.tables import comparisons, selection, settings
from ncfm.report.tables import results as tables
from ncfm.report.verdicts import text as verdict_text
from ncfm.report.verdicts.rules import Verdict

NUMBERS = ("IPC", "difference", "make set (s)", "evaluate (s)", *Verdict, "all")
FIGURES = (
    ("paper", "The paper's tables and figures", "Reported, and ours in the colour of the verdict.", "verdicts"),
    ("grid", "Distilled images", "Images of each method's first seed, a column per class.", "images"),
    ("accuracy", "Accuracies", "Last accuracy of every method, each network a dot, and the mean best.", "curves"),
    ("history", "Losses", "Loss over the iterations of every distillation.", "curves"),
    ("comparisons", "Paired differences", "The first method minus the second, seed by seed.", "comparisons"),
    ("continual", "Continual learning", "Accuracy on the classes seen so far, at each step.", "curves"),
    ("anytime", "Anytime curves", "Accuracy of the set as it was after some time of its distillation.", "curves"),
    ("search", "Architecture search", "Networks trained on each set and on the whole training set.", "curves"),
)
SECTIONS = {
    "verdicts": "Verdicts",
    "results": "Results",
    "comparisons": "Methods against each other",
    "images": "Distilled images",
    "curves": "Curves",
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
    collected: Collected, frames: Mapping[str, pd.DataFrame], touched: pd.Series, pictures: Mapping[str, str]
) -> str:
    """Return the page as HTML, from the campaign's tables by name; where it touches no number, results come first.

    ``touched`` marks the verdicts about the campaign's data sets; ``pictures`` are the ``img`` elements, of
    :func:`image`, of those of :data:`FIGURES` that have something to show.
    """
    verdicts = frames["verdicts"]
    rows, remarks = tables.rounded(frames["results"])
    order = SECTIONS if touched.any() else dict(sorted(SECTIONS.items(), key=lambda section: section[0] == "verdicts"))
    answered = verdict_text.is_answered(verdicts) & touched
    accuracies = verdicts[touched & (verdicts["metric"] == "accuracy")]["verdict"].value_counts()
    return TEMPLATES.get_template("page.html").render(
        title=f"NCFM, reproduced: {collected.title}",
        sections=order,
        touches=bool(touched.any()),
        figures=FIGURES,
        pictures=pictures,
        verdicts_note=verdict_text.NOTE,
        tiles=[(verdict, accuracies.get(verdict, 0)) for verdict in verdict_text.told(accuracies)],
        summary=verdict_text.summary(verdicts, touched),
        counts=verdict_text.counts(verdicts, verdict_text.kinds(verdicts), "kind"),
        by_source=verdict_text.counts(verdicts, verdict_text.sources(verdicts), "reported in"),
        groups=[
            _group("Held against this campaign", verdicts[answered]),
            _group("On the same data sets, not run", verdicts[touched & ~answered], verdict_text.COST_NOTE),
            _group("On other data sets", verdicts[~touched], verdict_text.COST_NOTE),
        ],
        compared=(comparisons.comparisons_texts(frames["comparisons"]), comparisons.NOTE),
        selected=(selection.selection_texts(frames["selection"]), selection.NOTE),
        results_note=tables.NOTE,
        rows=rows,
        remarks=remarks,
        settings=(settings.settings_tables(collected), settings.NOTE),
        sources=[_source(row) for row in collected.rows],
        numbers=NUMBERS,
        len=len,
    )


def _group(head: str, table: pd.DataFrame, note: str = "") -> Values:
    """Return verdicts that stand together on the page, folded away where they have a note."""
    body, params = verdict_text.readable(table)
    texts = body.loc[:, (body != "").any()]
    return {"head": head, "texts": texts, "numbers": table["number"].tolist(), "params": params, "note": note}


def _source(row: ResultRow) -> tuple[str, str, pd.DataFrame]:
    """Return a row of the results, what of it was not run, and the records of its sets and its evaluations."""
    records = [(f"set, seed {one.cell.seed}", one.record) for one in row.sets]
    records += [(f"evaluation, seed {one.seed}", one.record) for one in row.evaluations]
    how = "" if row.protocol == RELEASED else f", protocol {row.protocol}"
    head = f"{row.dataset}, IPC {row.ipc}, {row.label}, {row.arch}{how}"
    lines = [
        {
            "what": what,
            "command": str(record.get("command", "")),
            "hardware": hardware_text(record),
            "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
            "commit": commit_text(record),
            "seconds": tables.number(record["seconds"], 1),
        }
        for what, record in records
        if record is not None
    ]
    return head, row.reason, pd.DataFrame(lines)


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
