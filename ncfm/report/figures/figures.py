"""The figures: distilled images, accuracies and losses. Equal input gives equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from PIL import Image, ImageDraw, ImageFont

from ncfm.core.errors import DataError
from ncfm.core.layout import RELEASED
from ncfm.core.pictures import picture_of
from ncfm.core.store import load_tensors, replacing, write_with
from ncfm.report.collect import Collected, Row, StoredSet

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#000000")
ROWS = 3  # images per class and method in the picture of sets
POINTS = 500  # of one loss curve
ABREAST = 3  # panels side by side
MARGIN, LINE, LABELS = 12, 26, 170  # pixels: border, height of a line of text, width of the methods' names
BEST: Any = {"marker": "D", "markerfacecolor": "white", "markeredgecolor": "black", "linestyle": ""}
STYLE: Any = {  # matplotlib types it by a list of all its keys
    "svg.hashsalt": "ncfm",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
}


def write_sets(collected: Collected, columns: int, path: Path) -> None:
    """Write the images of each method's first seed as one PNG: per data set and IPC, at most ``columns`` classes.

    Raises:
        DataError: where a set's file is torn.
    """
    groups: dict[tuple[str, int], list[StoredSet]] = {}
    for stored in collected.sets:
        group = groups.setdefault((str(stored.cell.dataset), int(stored.cell.ipc or 0)), [])
        if stored.metadata and stored.cell.method not in [other.cell.method for other in group]:
            group.append(stored)
    panels = [
        _panel(f"{dataset}, IPC {ipc}", ipc, group, collected.labels, columns)
        for (dataset, ipc), group in groups.items()
        if group
    ]
    panels = panels or [_blank("no set has been made yet")]
    width = max(panel.shape[1] for panel in panels)
    padded = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in panels]
    picture = Image.fromarray(np.concatenate(padded))
    write_with(path, lambda stream: picture.save(stream, format="PNG"))


def _panel(title: str, ipc: int, group: Sequence[StoredSet], labels: Mapping[str, str], columns: int) -> np.ndarray:
    """Return one data set at one IPC: a heading, the class names, and a block of images per method."""
    blocks = []
    for stored in group:
        tensors, metadata = load_tensors(stored.folder / "distilled.safetensors")
        classes = int(metadata["classes"])
        columns = min(classes, columns)
        images = torch.cat([tensors["images"][tensors["labels"] == label][:ROWS] for label in range(columns)])
        method = str(stored.cell.method)
        blocks.append((labels.get(method, method), picture_of(images, columns)))
    names = [str(name) for name in metadata["label_names"][:columns]]
    shown = f" (first {ROWS} of {ipc} images per class)" if ipc > ROWS else ""
    shown += f" (first {columns} of {classes} classes)" if columns < classes else ""
    height = 2 * LINE + MARGIN + sum(block.shape[0] + MARGIN // 2 for _, block in blocks)
    width = LABELS + max(block.shape[1] for _, block in blocks) + MARGIN
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, LINE // 2), title + shown, "black", _font(17, bold=True), anchor="lm")
    step = blocks[0][1].shape[1] / columns
    font = _fitting(max(names, key=len), step - 4)
    for index, name in enumerate(names):
        draw.text((LABELS + (index + 0.5) * step, 1.5 * LINE), name, "#444444", font, anchor="mm")
    top = 2 * LINE
    for label, block in blocks:
        draw.text(
            (MARGIN, top + block.shape[0] / 2), label, "black", _fitting(label, LABELS - 1.5 * MARGIN), anchor="lm"
        )
        picture.paste(Image.fromarray(block), (LABELS, top))
        top += block.shape[0] + MARGIN // 2
    return np.asarray(picture)


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(findfont(f"DejaVu Sans:{'bold' if bold else 'regular'}"), size)


def _fitting(text: str, width: float) -> ImageFont.FreeTypeFont:
    """Return the largest font, 15 points at most, in which ``text`` is no wider than ``width`` pixels."""
    return next((font for size in range(15, 7, -1) if (font := _font(size)).getlength(text) <= width), _font(8))


def _blank(text: str) -> np.ndarray:
    picture = Image.new("RGB", (400, 3 * LINE), "white")
    ImageDraw.Draw(picture).text((200, 1.5 * LINE), text, "black", _font(15), anchor="mm")
    return np.asarray(picture)


def write_accuracies(collected: Collected, stem: Path) -> None:
    """Write ``stem``.png and .svg: a panel per test network, protocol and IPC, a bar per method.

    The IPCs of a network stand side by side; where there is but one each, networks do. The whole training set, which
    has no IPC, is the last bar of each. A bar is the mean last accuracy with its deviation; every network and the mean
    best stand on it.
    """
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "x"}):
        groups: dict[tuple[str, str, str], dict[int, list[Row]]] = {}
        for row in collected.rows:
            groups.setdefault((row.dataset, row.arch, row.protocol), {}).setdefault(row.ipc, []).append(row)
        lines: list[list[tuple[str, list[Row]]]] = []
        for (dataset, arch, protocol), by_ipc in groups.items():
            for ipc, rows in [(ipc, rows) for ipc, rows in by_ipc.items() if all(row.whole for row in rows)]:
                if len(by_ipc) > 1:
                    del by_ipc[ipc]
                    by_ipc.update({other: [*known, *rows] for other, known in by_ipc.items()})
            how = f"tested with {arch}" if protocol == RELEASED else f"{arch}, protocol {protocol}"
            heads = {ipc: f"{dataset}, IPC {ipc}, {how}" for ipc in sorted(by_ipc)}
            lines.append([(head, by_ipc[ipc]) for ipc, head in heads.items()])
        if len(lines) >= ABREAST and all(len(line) == 1 for line in lines):
            lines = [[line[0] for line in lines[at : at + ABREAST]] for at in range(0, len(lines), ABREAST)]
        bars = [max(len(rows) for _, rows in line) for line in lines] or [1]
        columns = max(map(len, lines), default=1)
        height = sum(0.27 * count + 0.85 for count in bars) + 0.5
        figure = Figure(figsize=(min(2.6 + 3.7 * columns, 14.0), height), layout="constrained")
        axes = figure.subplots(
            len(bars), columns, squeeze=False, sharex=True, gridspec_kw={"height_ratios": [b + 2 for b in bars]}
        )
        for row, count, line in zip(axes, bars, lines, strict=False):
            for axis, (head, rows) in zip(row, line, strict=False):
                _accuracy_panel(axis, rows, count)
                axis.set_title(head, loc="left", fontsize=10)
            for axis in row[len(line) :]:
                axis.set_axis_off()
        for column in range(columns):
            lowest = max((row for row, line in enumerate(lines) if len(line) > column), default=0)
            axes[lowest, column].set_xlabel("test accuracy (%), last epoch ± std")
            axes[lowest, column].tick_params(labelbottom=True)
        handles = [
            Line2D(
                [], [], color="black", marker="o", markersize=3, alpha=0.4, linestyle="", label="one network (last)"
            ),
            Line2D([], [], markersize=5, label="mean best (test-selected)", **BEST),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
        save(figure, stem)


def _accuracy_panel(axis: Axes, rows: Sequence[Row], bars: int) -> None:
    """Draw a bar for each row; ``bars`` is how many there is room for, the same in panels side by side."""
    for place, row in enumerate(rows):
        if not row.evaluations:
            axis.text(1, place, "not run", va="center", fontsize=8, color="#666666")
            continue
        last = np.concatenate([evaluation.last for evaluation in row.evaluations])
        best = np.concatenate([evaluation.best for evaluation in row.evaluations])
        deviation = last.std(ddof=1) if len(last) > 1 else 0.0
        axis.barh(place, last.mean(), 0.8, color=COLOURS[0], alpha=0.6, xerr=deviation, ecolor="black", capsize=2)
        spread = np.linspace(-0.25, 0.25, len(last)) if len(last) > 1 else np.zeros(1)
        axis.scatter(last, place + spread, s=8, color="black", alpha=0.35, linewidths=0, zorder=3)
        axis.plot(best.mean(), place, markersize=5, zorder=5, **BEST)
        axis.text(1, place, f"{last.mean():.1f}", va="center", fontsize=8, zorder=5)
    axis.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(bars - 0.4, -0.6)


def write_histories(collected: Collected, stem: Path) -> None:
    """Write ``stem``.png and .svg: the loss over the iterations, a panel per data set and IPC, a colour per method.

    Raises:
        DataError: where a history is not a CSV file with the columns ``step`` and ``loss``.
    """
    histories = [(s, read_history(s.folder / "history.csv")) for s in collected.sets if s.cell.stage == "distill"]
    histories = [(stored, history) for stored, history in histories if not history.empty]
    with matplotlib.rc_context(STYLE):
        panels = list(dict.fromkeys((stored.cell.dataset, stored.cell.ipc) for stored, _ in histories))
        methods = list(dict.fromkeys(str(stored.cell.method) for stored, _ in histories))
        figure, axes = panel_grid(len(panels), "no distillation in this campaign", 3.6, 0.0)
        for axis, panel in zip(axes, panels, strict=False):
            for stored, history in histories:
                if (stored.cell.dataset, stored.cell.ipc) == panel:
                    index = methods.index(str(stored.cell.method))
                    draw_loss(axis, history, colour(index), dashes(index))
            axis.set_title(f"{panel[0]}, IPC {panel[1]}", loc="left", fontsize=11)
            axis.set_xlabel("iteration")
            axis.set_ylabel("loss (mean over classes)")
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("")
        handles = [
            Line2D([], [], color=colour(i), linestyle=dashes(i), label=collected.labels.get(method, method))
            for i, method in enumerate(methods)
        ]
        note = "one line per seed (running mean); discrepancies differ in scale"
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=4,
            frameon=False,
            fontsize=9,
            title=note,
            title_fontsize=9,
        )
        save(figure, stem)


def read_history(path: Path) -> pd.DataFrame:
    """Read a history's columns ``step`` and ``loss``; empty where there is none. Raises :class:`DataError`."""
    if not path.is_file():
        return pd.DataFrame()
    try:
        return pd.read_csv(path)[["step", "loss"]].astype(float)
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable history ({reason}); delete it and run its stage again") from error


def draw_loss(axis: Axes, history: pd.DataFrame, colour: str, dashes: str = "-") -> None:
    """Draw a loss curve of :func:`read_history`: every value faintly, and their running mean."""
    window, stride = max(1, len(history) // 25), max(1, len(history) // POINTS)
    smooth = history["loss"].rolling(window, center=True, min_periods=1).mean()
    axis.plot(history["step"][::stride], history["loss"][::stride], color=colour, alpha=0.18, linewidth=0.8)
    axis.plot(history["step"][::stride], smooth[::stride], color=colour, linestyle=dashes, linewidth=1.6)


def panel_grid(count: int, nothing: str, height: float, foot: float, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure with room for ``count`` panels, two abreast, and its axes; those beyond ``count`` are not shown.

    Args:
        count: number of panels; without any the figure says ``nothing``.
        nothing: why there is no panel.
        height: of a row of panels, in inches.
        foot: room below them, in inches.
        sharey: whether all panels have one scale.
    """
    columns = min(max(count, 1), 2)
    rows = -(-max(count, 1) // columns)
    figure = Figure(figsize=(4.6 * columns + 0.6, height * rows + foot), layout="constrained")
    axes: list[Axes] = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel().tolist()
    for axis in axes[count:]:
        axis.set_axis_off()
    if not count:
        axes[0].text(0.5, 0.5, nothing, ha="center", transform=axes[0].transAxes)
    return figure, axes


def colour(index: int) -> str:
    """Return the colour of the ``index``-th method of a figure."""
    return COLOURS[index % len(COLOURS)]


def dashes(index: int) -> Literal["-", "--", ":", "-."]:
    """Return the style of line of the ``index``-th method of a figure: another one where the colours come round."""
    styles: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
    return styles[index // len(COLOURS) % 4]


def save(figure: Figure, stem: Path) -> None:
    """Write ``stem``.png and ``stem``.svg, equal bytes for equal figures."""
    with replacing(stem.with_suffix(".png")) as path:
        figure.savefig(path, dpi=150, metadata={"Software": None})
    with replacing(stem.with_suffix(".svg")) as path:
        figure.savefig(path, metadata={"Date": None})
