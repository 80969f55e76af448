"""What Snakemake prints: a line for each finished stage, with its number, its time and the time left.

Snakemake finds this package by its name; `logger: ncfm` in the profile chooses it. The file in `.snakemake/log/` still
has all that Snakemake says. Dry runs, warnings and errors are printed as Snakemake words them, but for a locked folder.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from ncfm.core.errors import FAULT, INTERRUPTED
from ncfm.core.layout import title
from ncfm.core.progress import duration
from ncfm.stages.table import STAGES

# Of a job that failed: what `_failure` says in the words of its log, and what the last line says once more.
SAID_BEFORE = ("RuleException:\nCalledProcessError in file", "WorkflowError:\nAt least one job did not complete")
# What Snakemake says on the way that a user waits for: there is nothing to do, or it ends early and how.
PASSED_ON = ("Nothing to be done", "Will exit after finishing", "Terminating processes on user request")
LOCKED = "Directory cannot be locked"  # Snakemake's words, after which it advises to unlock what another one works on
WAIT = f"{FAULT}{LOCKED}: another snakemake works on these files here; wait for it (if none runs anywhere: make unlock)"
# Of a record's metrics, the first that it has.
SHOWN = {"last": "{:.1f}%", "test_accuracy": "{:.1f}%", "loss": "loss {:.3g}", "images": "{:.0f} images"}


class LogHandler(LogHandlerBase):
    """Prints to standard error."""

    writes_to_stream, writes_to_file = True, False
    has_filter, has_formatter, needs_rulegraph = False, False, False  # Snakemake's own are used where a text is its own

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._jobs: dict[int, tuple[str, float, list[str]]] = {}  # of each job that began its rule, when, its outputs
        self._left: dict[str, int] = {}  # jobs of each rule that have not finished
        self._total = 0  # of these at the start
        self._took: dict[str, list[float]] = {}  # seconds of those that have
        self._finished: list[int] = []  # since the last line

    def emit(self, record: logging.LogRecord) -> None:
        """Print what an event is worth."""
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_ERROR:
            self._failure(record.__dict__)
        elif self.common_settings.dryrun or record.levelno >= logging.WARNING:
            if not record.getMessage().startswith(SAID_BEFORE):
                self._print(WAIT if LOCKED in record.getMessage() else self.format(record))
        elif event == LogEvent.JOB_INFO:
            began = record.rule_name, time.monotonic(), list(record.output)  # type: ignore[attr-defined]
            self._jobs[record.jobid] = began  # type: ignore[attr-defined]
        elif event == LogEvent.RUN_INFO:
            stats: dict[str, int] = record.stats  # type: ignore[attr-defined]
            self._left = {rule: count for rule, count in stats.items() if rule in STAGES}
            self._total = sum(self._left.values())
        elif event == LogEvent.JOB_FINISHED:
            self._finished.append(record.job_id)  # type: ignore[attr-defined]
            self._count(record.job_id)  # type: ignore[attr-defined]
        elif event == LogEvent.PROGRESS:
            self._progress(self._total - sum(self._left.values()))
        elif event is None and record.getMessage().startswith(PASSED_ON):
            self._print(self.format(record))

    def _progress(self, done: int) -> None:
        """Print a line for each stage that has finished since the last one; ``done`` have by now."""
        estimate = self._time_left() if done < self._total else ""
        texts = [text for job in self._finished if (text := _result(self._jobs.pop(job, ("", 0.0, []))[2]))]
        for number, text in enumerate(texts, done + 1 - len(texts)):
            self._print(f"[{number}/{self._total}] {text}{estimate}")
        self._finished = []

    def _count(self, job: int) -> None:
        rule, began, _ = self._jobs.get(job, ("", 0.0, []))
        if rule in self._left:
            self._left[rule] -= 1
            self._took.setdefault(rule, []).append(time.monotonic() - began)

    def _time_left(self) -> str:
        """Return the time left: each rule's own mean, as many jobs side by side as so far; unknown rules add to it."""
        spent = sum(map(sum, self._took.values()))
        if not spent:
            return ""
        side_by_side = max(1.0, spent / (time.monotonic() - self._began))
        known = {rule: sum(took) / len(took) for rule, took in self._took.items()}
        left = sum(count * known.get(rule, 0.0) for rule, count in self._left.items()) / side_by_side
        unknown = any(count and rule not in known for rule, count in self._left.items())
        return f", {'more than' if unknown else 'about'} {duration(left)} left" if left >= 1 else ""

    def _failure(self, job: dict[str, Any]) -> None:
        """Print why a job failed, by the line of its log that says so or else the log's end, or that it was stopped."""
        logs = [Path(name) for name in job["log"]]
        lines = [line for log in logs if log.is_file() for line in log.read_text("utf-8", "replace").splitlines()]
        if INTERRUPTED in lines:
            self._print(f"{job['rule_name']}: {INTERRUPTED}")
            return
        said = [line.removeprefix(FAULT) for line in lines if line.startswith(FAULT)][-1:] or lines[-20:]
        where = ", ".join(map(str, logs)) or "no log"
        self._print("\n".join([f"FAILED {job['rule_name']} ({where}):", *(f"  {line}" for line in said)]))

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _result(outputs: list[str]) -> str:
    """Return the stage, its names, its number and its time, from the record among its outputs; empty without one."""
    for name in outputs:
        if name.endswith(".record.json"):
            try:
                record = json.loads(Path(name).read_text(encoding="utf-8"))
                names, metrics, seconds = title(record["names"]), record["metrics"], record["seconds"]
            except (OSError, ValueError, KeyError):
                return ""
            shown = next((text.format(metrics[key]) for key, text in SHOWN.items() if key in metrics), "done")
            return f"{record['stage']} {names}".strip() + f": {shown} ({duration(seconds)})"
    return ""
