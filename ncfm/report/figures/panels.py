"""What the figures share: colours, style, a grid of panels, and how they are written. Equal input gives equal bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle, product
from pathlib import Path
from typing import Any

import matplotlib
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


def panel_grid(figure: Figure, count: int, height: float, foot: float, sharey: bool = False) -> list[Axes]:
    """Make room in a figure for ``count`` panels, two abreast; return its axes; those beyond ``count`` are not shown.

    A row of panels is ``height`` inches high, the room below all ``foot``.
    """
    columns = min(count, 2)
    rows = -(-count // columns)
    figure.set_size_inches(4.6 * columns + 0.6, height * rows + foot)
    axes: list[Axes] = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel().tolist()
    for axis in axes[count:]:
        axis.set_axis_off()
    return axes


def line_styles(methods: Iterable[str]) -> dict[str, tuple[Any, str]]:
    """Return dashes and colour of each method's line: other dashes where the colours come round."""
    return dict(zip(dict.fromkeys(methods), cycle(product(("-", "--", ":", "-."), COLOURS)), strict=False))


def shared_legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """Put one legend below all panels, with each label once."""
    drawn = [axis.get_legend_handles_labels() for axis in axes]
    lines = {label: line for pair in drawn for line, label in zip(*pair, strict=True)}
    figure.legend(list(lines.values()), list(lines), ncols=4, **LEGEND)


@contextmanager
def drawing(stem: Path, grid: str = "y") -> Iterator[Figure]:
    """Give an empty figure, and write it as ``stem``.png and .svg; ``grid`` is the axis that has grid lines."""
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": grid}):
        figure = Figure(layout="constrained")
        yield figure
        with replacing(stem.with_suffix(".png")) as path:
            figure.savefig(path, dpi=DPI, metadata={"Software": None})
        with replacing(stem.with_suffix(".svg")) as path:
            figure.savefig(path, metadata={"Date": None})
