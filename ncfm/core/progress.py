"""Progress of a stage: a bar on a terminal (step, loss, rate, time left), plain lines in a log file."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """A context manager that shows on ``stream`` (standard error by default) how many of ``total`` steps are done.

    The ``start`` steps that a resumed run has done before do not count in the rate; ``unit`` is what one step is.
    """

    def __init__(self, total: int, label: str, start: int = 0, unit: str = "it", stream: TextIO | None = None) -> None:
        self.total, self.label, self.start, self.unit = total, label, start, unit
        self.done, self.stream = start, stream or sys.stderr
        self._terminal = self.stream.isatty()
        options = {"initial": start, "unit": unit, "disable": not (self._terminal and total), "dynamic_ncols": True}
        self._bar = tqdm(None, label, total, file=self.stream, **options)
        self._lock = threading.Lock()  # networks trained side by side share a bar
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Progress:
        if not self._terminal and self.start:
            print(f"{self.label}: continuing from {self.start} of {self.total}", file=self.stream, flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self, **values: float) -> None:
        """Count one step; ``values`` (a loss, an accuracy) are shown beside it. Safe to call from several threads."""
        shown = {name: f"{value:.4g}" for name, value in values.items()}
        with self._lock:
            self.done += 1
            if self._terminal:
                self._bar.set_postfix(shown, refresh=False)
                self._bar.update()
            elif (now := time.monotonic()) - self._last >= SECONDS_BETWEEN_LINES or self.done >= self.total:
                self._last = now
                rate = (self.done - self.start) / max(now - self._began, 1e-9)
                text = "".join(f"{name} {value} " for name, value in shown.items())
                line = f"{self.label}: {self.done}/{self.total} {text}{rate:.3g} {self.unit}/s, "
                print(f"{line}{duration((self.total - self.done) / rate)} left", file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """Return a time in the unit in which one reads it, e.g. ``38 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
