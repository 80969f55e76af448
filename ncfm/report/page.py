"""The page report.html: verdicts, results, pictures, curves and the command behind each number, in one file.

It stands alone: no script, no other file; the style and the pictures are inside. Equal input gives equal bytes.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import pandas as pd
from PIL import Image

from ncfm.core.layout import RELEASED
from ncfm.report.collect import Collected, ResultRow, Values, hardware_text
from ncfm.report.figures.panels import DPI
from ncfm.report.tables import results as tables
from ncfm.report.verdicts import text as verdict_text
from ncfm.report.verdicts.answers import VERDICTS

STYLE = Path(__file__).with_name("page.css")
NUMBERS = ("IPC", "difference", "make set (s)", "evaluate (s)", "between seeds", *VERDICTS, "all")
WIDE = ("why",)
FIGURES = (
    ("paper", "The paper's tables and figures", "Reported, and ours in the colour of the verdict.", "verdicts"),
    ("grid", "Distilled images", "Images of each method's first seed, a column per class.", "images"),
    ("accuracy", "Accuracies", "Last accuracy of every method, each network a dot, and the mean best.", "curves"),
    ("history", "Losses", "Loss over the iterations of every distillation.", "curves"),
    ("continual", "Continual learning", "Accuracy on the classes seen so far, at each step.", "curves"),
    ("search", "Architecture search", "Networks trained on each set and on the whole training set.", "curves"),
)
SECTIONS = {
    "verdicts": "Verdicts",
    "results": "Results",
    "images": "Distilled images",
    "curves": "Curves",
    "commands": "Where each number comes from",
}
LOSSY = 40  # quality of a picture of images as WebP: a page with 42 sets of CIFAR-10 stays below a megabyte
WEBP_MOST = 16383  # pixels that a side of a WebP can have
CSS_DPI = 96


def page(
    collected: Collected,
    results: pd.DataFrame,
    verdicts: pd.DataFrame,
    touched: pd.Series,
    pictures: Mapping[str, str],
) -> str:
    """Return the page as HTML.

    Args:
        collected: what the campaign has.
        results: of :func:`~ncfm.report.tables.results.results_table`.
        verdicts: of :func:`~ncfm.report.verdicts.table.verdict_table`.
        touched: marks the verdicts about the campaign's data sets.
        pictures: the ``img`` elements, of :func:`image`, of those of :data:`FIGURES` that have something to show.
    """
    title = f"NCFM, reproduced: {escape(collected.title)}"
    body = {
        "verdicts": _verdicts(verdicts, touched, _figures(pictures, "verdicts")),
        "results": _results(results),
        "images": _figures(pictures, "images"),
        "curves": _figures(pictures, "curves"),
        "commands": "\n".join(_commands(collected.rows)),
    }
    links = "".join(f'<li><a href="#{name}">{head}</a></li>' for name, head in SECTIONS.items())
    parts = [
        f'<section aria-labelledby="{name}">\n<h2 id="{name}">{head}</h2>\n{body[name]}\n</section>'
        for name, head in SECTIONS.items()
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>",
            f"<style>\n{STYLE.read_text(encoding='utf-8')}</style></head>",
            '<body><a class="skip" href="#main">Skip to the content</a>',
            f"<header><h1>{title}</h1>",
            "<p>Dataset distillation by neural characteristic function matching (arXiv 2502.20653): what the paper "
            "reports beside what this campaign measured, and how each number came about.</p>",
            f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>',
            '<main id="main">',
            *parts,
            "</main>",
            '<footer class="soft"><p>Written by <code>ncfm report</code> from the files of the campaign.</p></footer>',
            "</body></html>",
            "",
        ]
    )


def _verdicts(table: pd.DataFrame, touched: pd.Series, picture: str) -> str:
    """Return the counts, their picture, and every verdict once: held against the campaign, the others folded away."""
    tiles = []
    for verdict in VERDICTS:
        here = table["verdict"] == verdict
        text = f"{int((here & touched).sum())}<small>of all {len(table)}: {int(here.sum())}</small>"
        tiles.append(f'<div><dt class="{_class(verdict)}">{verdict}</dt><dd>{text}</dd></div>')
    answered = verdict_text.is_answered(table) & touched
    near, far = touched & ~answered, ~touched
    parts = [
        f"<p>{escape(verdict_text.NOTE)}</p>",
        f'<p class="soft">Numbers on the data sets of this campaign: {int(touched.sum())} of {len(table)}.</p>',
        f'<dl class="counts">{"".join(tiles)}</dl>',
        "<details><summary>Counts by table and figure</summary>",
        f"{_table(verdict_text.counts(table), 'Counts')}</details>",
        picture,
    ]
    for mask, head, opened in (
        (answered, "Held against this campaign", True),
        (near, "On the same data sets, not run", False),
        (far, "On other data sets", False),
    ):
        if not mask.any():
            continue
        body, params = verdict_text.readable(table[mask])
        body = body.loc[:, (body != "").any()]
        text = _table(body, head, [f"n{number}" for number in table[mask]["number"]])
        if params:
            lines = "".join(f"<li>{escape(one)}</li>" for one in params)
            text += f"\n<p>Params that differ from the full protocol, as ours (full):</p>\n<ol>{lines}</ol>"
        count = f"{head}: {int(mask.sum())}"
        note = "" if opened else f'<p class="soft">{escape(verdict_text.COST_NOTE)}</p>\n'
        if opened:
            parts.append(f"<h3>{count}</h3>\n{text}")
        else:
            parts.append(f"<details><summary>{count}</summary>\n{note}{text}</details>")
    return "\n".join(parts)


def _results(table: pd.DataFrame) -> str:
    body, below = tables.rounded(table)
    lines = "".join(f"<li><b>{escape(mark)}</b>: {escape(text)}</li>" for mark, text in below)
    remarks = f'\n<ul class="soft">{lines}</ul>' if lines else ""
    return f"<p>{escape(tables.NOTE)}</p>\n{_table(body, 'Results')}{remarks}"


def image(path: Path, name: str) -> str:
    """Return the ``img`` element of a figure that is inside the page: its PNG, or the smaller of two kinds of WebP.

    Args:
        path: the PNG file.
        name: of the figure, in :data:`FIGURES`.
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


def _figures(pictures: Mapping[str, str], section: str) -> str:
    parts = []
    for name, head, text, place in FIGURES:
        if place == section and name in pictures:
            box = f'<div class="scroll" role="region" tabindex="0" aria-label="{head}">{pictures[name]}</div>'
            parts.append(f"<figure>{box}<figcaption>{escape(text)}</figcaption></figure>")
    return "\n".join(parts)


def _commands(rows: Sequence[ResultRow]) -> Iterator[str]:
    """Yield, for each row of the results, the records of its sets and its evaluations."""
    for row in rows:
        records = [(f"set, seed {one.cell.seed}", one.record) for one in row.sets]
        records += [(f"evaluation, seed {one.seed}", one.record) for one in row.evaluations]
        known = [_record(what, record) for what, record in records if record is not None]
        how = "" if row.protocol == RELEASED else f", protocol {row.protocol}"
        head = escape(f"{row.dataset}, IPC {row.ipc}, {row.label}, {row.arch}{how}")
        text = _table(pd.DataFrame(known), head) if known else "<p>No record is there.</p>"
        note = f"<p>{escape(row.reason)}</p>" if row.reason else ""
        yield f"<details><summary>{head}</summary>\n{note}{text}</details>"


def _record(what: str, record: Values) -> dict[str, str]:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return {
        "what": what,
        "command": str(record.get("command", "")),
        "hardware": hardware_text(record),
        "versions": versions,
        "commit": tables.commit_text(record),
        "seconds": tables.number(record["seconds"], 1),
    }


def _table(table: pd.DataFrame, caption: str, ids: Sequence[str] = ()) -> str:
    """Return a table of texts that scrolls inside its own box."""
    heads = [str(head) for head in table.columns]
    lines = []
    for index, values in enumerate(table.to_numpy().tolist()):
        identity = f' id="{ids[index]}"' if ids else ""
        lines.append(f"<tr{identity}>{''.join(map(_cell, heads, map(str, values)))}</tr>")
    top = "".join(f'<th scope="col"{_number(head)}>{escape(head)}</th>' for head in heads)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table><caption>{caption}</caption>\n'
        f"<thead><tr>{top}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>"
    )


def _cell(head: str, value: str) -> str:
    text = escape(value)
    if head == "verdict":
        return f'<td class="verdict {_class(value)}">{text}</td>'
    if head == "command":
        return f'<td class="command"><code>{text}</code></td>'
    wide = ' class="wide"' if head in WIDE and len(value) > 40 else ""
    return f"<td{wide or _number(head)}>{text}</td>"


def _number(head: str) -> str:
    return ' class="number"' if head in NUMBERS else ""


def _class(verdict: str) -> str:
    return verdict.replace(" ", "-")
