"""The page report.html: verdicts, results, pictures, curves and the command behind each number, in one file.

It stands alone: no script, no other file; the style and the pictures are inside. Equal input gives equal bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import pandas as pd

from ncfm.core.layout import RELEASED
from ncfm.report.collect import Collected, Row, Values
from ncfm.report.tables import results as tables
from ncfm.report.verdicts import text as verdict_text
from ncfm.report.verdicts.verdicts import VERDICTS

STYLE = Path(__file__).with_name("page.css")
NUMBERS = ("IPC", "difference", "make set (s)", "evaluate (s)", "between seeds", *VERDICTS, "all")
WIDE = ("why",)
FIGURES = (
    ("paper.svg", "The paper's tables and figures", "Reported, and ours in the colour of the verdict.", "verdicts"),
    ("grid.png", "Distilled images", "Images of each method's first seed, a column per class.", "images"),
    ("accuracy.svg", "Accuracies", "Last accuracy of every method, each network a dot, and the mean best.", "curves"),
    ("history.svg", "Losses", "Loss over the iterations of every distillation.", "curves"),
    ("continual.svg", "Continual learning", "Accuracy on the classes seen so far, at each step.", "curves"),
    ("search.svg", "Architecture search", "Networks trained on each set and on the whole training set.", "curves"),
)
SECTIONS = {
    "verdicts": "Verdicts",
    "results": "Results",
    "images": "Distilled images",
    "curves": "Curves",
    "commands": "Where each number comes from",
}
KINDS = {".png": "image/png", ".svg": "image/svg+xml"}


def page(
    collected: Collected, results: pd.DataFrame, verdicts: pd.DataFrame, touched: pd.Series, figures: Sequence[Path]
) -> str:
    """Return the page as HTML.

    Args:
        collected: what the campaign has.
        results: of :func:`~ncfm.report.tables.results.results_table`.
        verdicts: of :func:`~ncfm.report.verdicts.verdicts.verdict_table`.
        touched: marks the verdicts about the campaign's data sets.
        figures: those of :data:`FIGURES` that have something to show.
    """
    title = f"NCFM, reproduced: {escape(collected.title)}"
    body = {
        "verdicts": _verdicts(verdicts, touched, _figures(figures, "verdicts")),
        "results": _results(results),
        "images": _figures(figures, "images"),
        "curves": _figures(figures, "curves"),
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
    held = verdict_text.is_held(table) & touched
    near, far = touched & ~held, ~touched
    parts = [
        f"<p>{escape(verdict_text.NOTE)}</p>",
        f'<p class="soft">Numbers on the data sets of this campaign: {int(touched.sum())} of {len(table)}.</p>',
        f'<dl class="counts">{"".join(tiles)}</dl>',
        "<details><summary>Counts by table and figure</summary>",
        f"{_table(verdict_text.counts(table), 'Counts')}</details>",
        picture,
    ]
    for mask, head, opened in (
        (held, "Held against this campaign", True),
        (near, "On the same data sets, not run", False),
        (far, "On other data sets", False),
    ):
        if not mask.any():
            continue
        body, params = verdict_text.shown(table[mask])
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


def _figures(paths: Sequence[Path], section: str) -> str:
    parts, written = [], {path.name: path for path in paths}
    for name, head, text, where in FIGURES:
        path = written.get(name)
        if where == section and path is not None:
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            image = f'<img alt="{escape(text)}" src="data:{KINDS[path.suffix]};base64,{data}">'
            box = f'<div class="scroll" role="region" tabindex="0" aria-label="{head}">{image}</div>'
            parts.append(f"<figure>{box}<figcaption>{escape(text)}</figcaption></figure>")
    return "\n".join(parts)


def _commands(rows: Sequence[Row]) -> Iterator[str]:
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
        "hardware": tables.hardware_text(record),
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
