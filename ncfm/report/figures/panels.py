"""What the figures share: colours, style, a grid of panels, and how they are written. Equal input gives equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncfm.core.store import replacing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#000000")
DPI = 150
LEGEND: Any = {"loc": "outside lower center", "frameon": False, "fontsize": 9}
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


def panel_grid(count: int, nothing: str, height: float, foot: float, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure with room for ``count`` panels, two abreast, and its axes; those beyond ``count`` are not shown.

    Without a panel the figure says ``nothing``. A row of panels is ``height`` inches high, the room below all ``foot``.
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
        figure.savefig(path, dpi=DPI, metadata={"Software": None})
    with replacing(stem.with_suffix(".svg")) as path:
        figure.savefig(path, metadata={"Date": None})
