"""Progress of a stage: a bar on a terminal (step, loss, rate, time left), plain lines in a log file."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """A context manager that shows how far a loop has come.

    Args:
        total: number of steps.
        label: what is going on, e.g. ``"distill"``.
        start: steps already done (a resumed run); they do not count in the rate.
        unit: what one step is.
        stream: where to write; standard error by default.
    """

    def __init__(
        self, total: int, label: str, *, start: int = 0, unit: str = "it", stream: TextIO | None = None
    ) -> None:
        self.total, self.label, self.start, self.unit = total, label, start, unit
        self.stream = stream or sys.stderr
        self.done = start
        self._terminal = self.stream.isatty()
        self._lock = threading.Lock()  # networks trained side by side share a bar
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Progress:
        self._bar = tqdm(
            total=self.total,
            initial=self.start,
            desc=self.label,
            unit=self.unit,
            file=self.stream,
            disable=not (self._terminal and self.total),
            dynamic_ncols=True,
        )
        if not self._terminal and self.start:
            print(f"{self.label}: continuing from {self.start} of {self.total}", file=self.stream, flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def step(self, **values: float) -> None:
        """Count one step; ``values`` (a loss, an accuracy) are shown beside it. Safe to call from several threads."""
        with self._lock:
            self._step(values)

    def _step(self, values: Mapping[str, float]) -> None:
        self.done += 1
        shown = {name: f"{value:.4g}" for name, value in values.items()}
        if self._terminal:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()
            return
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES and self.done < self.total:
            return
        self._last = now
        rate = (self.done - self.start) / max(now - self._began, 1e-9)
        left = (self.total - self.done) / rate
        text = " ".join(f"{name} {value}" for name, value in shown.items())
        print(
            f"{self.label}: {self.done}/{self.total} {text} {rate:.3g} {self.unit}/s, {left:.0f} s left",
            file=self.stream,
            flush=True,
        )
