"""MLflow, imported here only: every execution of a stage is a run, sent while it lasts and completed from its record.

It is imported late, because that takes longer than a short stage. Whatever goes wrong here never fails a stage: its
record stays beside its output, and ``ncfm track import`` completes later, through the same code, what was half sent.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import logging
import os
import re
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from ncfm.core import layout
from ncfm.core.store import replacing
from ncfm.run import presentation as runs
from ncfm.run import standing
from ncfm.run.presentation import Content, Row

FOLDER = Path("results", "mlflow")
PATIENCE = 5.0  # seconds before a stage opens the store: a shorter stage sends everything at its end, in one go
PASSWORD = r"//[^/@\s]*@"  # in an address, and the user before it
INTERVAL = 2.0  # seconds between two sendings


def store_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, else the SQLite store ``results/mlflow/mlflow.db`` of the current folder."""
    database = FOLDER / "mlflow.db"
    # In an address a question mark ends the path, so that a folder with one in its name cannot be written out.
    place = database if "?" in str(database.resolve()) else database.resolve()
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{place}"


class Run:
    """The run of a stage that computes, where it is ``wanted`` and not off: sends batches of rows until one fails.

    ``path`` is where the stage's record will lie.
    """

    def __init__(self, record: Content, path: Path, wanted: bool = True) -> None:
        self._record, self._path = record, path
        self._rows: list[Row] = []
        self._due = time.monotonic() + PATIENCE
        self._sender: Sender | None = None
        setting = os.environ.get("NCFM_TRACKING", "").lower()
        off, self._late = not wanted or setting == "off", setting == "late"
        self._given_up = off or importlib.util.find_spec("mlflow") is None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Buffer the metrics of one step; send what is buffered where it is time to."""
        if self._given_up:
            return
        self._rows.append(Row(step, dict(values), int(time.time() * 1000)))
        if time.monotonic() >= self._due:
            self._try(lambda sender: None)

    def finish(self, record: dict[str, Any]) -> None:
        """Send the rest and the finished record, but leave that of a short stage to an import, where that is set."""
        if self._late and time.monotonic() < self._due and self._sender is None:
            return

        def act(sender: Sender) -> None:
            sender.complete(record, self._path)
            sender.refresh(record["campaign"])

        self._try(act)

    def fail(self, status: str) -> None:
        """Close as FAILED or KILLED, silently: what made the stage fail is about to be reported, on one line."""

        def act(sender: Sender) -> None:
            sender.client.set_terminated(sender.run_id, status)
            sender.refresh(self._record["campaign"])

        self._try(act, report=False)

    def _try(self, act: Callable[[Sender], None], report: bool = True) -> None:
        if self._given_up:
            return
        try:
            with quiet():
                self._sender = self._sender or Sender(Store(), self._record, self._path)
                self._sender.send(map(runs.curves, self._rows))
                self._rows = []
                act(self._sender)
        except Exception as error:
            self._given_up = True
            if report:
                print(f"ncfm: {unreachable(error)}; `ncfm track import` sends the record later", file=sys.stderr)
        self._due = time.monotonic() + INTERVAL


class Store:
    """An open MLflow store, silent and without telemetry."""

    def __init__(self) -> None:
        uri = store_uri()
        database = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
        home = (database.parent if database else FOLDER).resolve()
        home.mkdir(parents=True, exist_ok=True)
        self.artifacts = home / "artifacts" if database else None
        self.lock = FileLock(home / "store.lock", timeout=60)  # seconds
        gc.collect(1)
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a server that is away must not hold a stage
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient

        for logger in ("mlflow", "alembic", "urllib3"):  # after the import, which sets the first one's level
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        with self.lock:  # processes that create the tables of one new database together destroy it
            if database is not None and not database.exists():
                with replacing(database) as fresh:  # a process killed meanwhile would leave it broken for good
                    MlflowClient(f"sqlite:///{fresh}").delete_experiment("0")  # `Default`, which stays empty
                with contextlib.closing(sqlite3.connect(database)) as connection:
                    connection.execute("PRAGMA journal_mode=wal")  # readers and writers don't wait for each other
            self.client = MlflowClient(uri)
        gc.freeze()  # mlflow's thousands of classes: walking over them again makes the stage and its exit slow

    def experiment(self, campaign: str) -> str:
        """Return the id of a campaign's experiment; made, or restored from MLflow's bin, where needed."""
        found = self.client.get_experiment_by_name(campaign)
        if found is None:
            place = (self.artifacts / campaign).as_uri() if self.artifacts else None
            return self.client.create_experiment(campaign, place, {"mlflow.note.content": runs.description(campaign)})
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def finished(self, record: Content) -> Any | None:
        """Return the run of a record if it is complete, else None."""
        found = self.client.get_experiment_by_name(record["campaign"])
        same = standing.runs_with(self.client, found.experiment_id, standing.KEY, record["key"]) if found else []
        whole = (run for run in same if run.info.status == "FINISHED" and standing.CURRENT in run.data.tags)
        return next(whole, None)

    def mark(self, record: Content, run_id: str) -> None:
        """Tell the finished run of a record, and older ones of the same names, which of them stands now."""
        with self.lock:
            standing.mark(self.client, self.experiment(record["campaign"]), record, run_id)

    def refresh(self, campaign: str, group: str | None) -> None:
        """Compute the numbers of a cell's run from the runs below it."""
        if group is not None:
            with self.lock:
                standing.refresh(self.client, self.experiment(campaign), group)


class Sender:
    """One run in an open store: continues the run that carries the record's key, or creates it."""

    def __init__(self, store: Store, record: Content, path: Path) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        self.store, self.client, self._group = store, store.client, standing.group_of(record)
        with store.lock:  # find-or-create, and the inputs' shared rows, are not atomic in MLflow
            experiment = store.experiment(record["campaign"])
            tags = runs.tags_of(record)
            if self._group:
                tags[standing.PARENT] = standing.parent(self.client, experiment, record, self._group)
            run = next(iter(standing.runs_with(self.client, experiment, standing.KEY, record["key"])), None)
            if run is None:
                name = f"{record['stage']} {layout.title(record['names'])}".strip()
                run = self.client.create_run(experiment, runs.moment(record), tags, name)
            self.run_id: str = run.info.run_id
            self.client.update_run(self.run_id, "RUNNING")
            inputs = [
                DatasetInput(Dataset(name, digest, "local", source), [InputTag("mlflow.data.context", context)])
                for name, digest, source, context in runs.datasets_of(record)
            ]
            if inputs:
                self.client.log_inputs(self.run_id, inputs)
            self.client.log_batch(self.run_id, tags=[RunTag(*pair) for pair in tags.items()])
        self.metrics = run.data.metrics
        history = (self.client.get_metric_history(self.run_id, name) for name in self.metrics)
        self.sent = {(metric.key, metric.step) for metrics in history for metric in metrics}
        values = runs.texts(runs.params_of(record, path), runs.PARAM_LENGTH)
        params = [Param(*pair) for pair in values.items() if pair[0] not in run.data.params]  # they can't be changed
        self.client.log_batch(self.run_id, params=params)

    def send(self, rows: Iterable[Row]) -> None:
        """Send what is not there yet of the rows' metrics."""
        from mlflow.entities import Metric

        metrics = [
            Metric(runs.key_of(name), float(value), row.milliseconds, row.step)
            for row in rows
            for name, value in row.values.items()
            if (runs.key_of(name), row.step) not in self.sent
        ]
        self.client.log_batch(self.run_id, metrics)
        self.sent |= {(metric.key, metric.step) for metric in metrics}

    def complete(self, record: Content, path: Path) -> None:
        """Send what is not there yet of a finished stage, whose record lies at ``path``, and end the run."""
        from mlflow.entities import Metric

        files = runs.files_of(record, path)
        history, ended = runs.history_of(record, files), runs.moment(record, record["seconds"])
        self.send(history)
        final = runs.final_metrics(record, history)
        last = max((step for _, step in self.sent), default=0)
        changed = [Metric(name, value, ended, last) for name, value in final.items() if self.metrics.get(name) != value]
        self.client.log_batch(self.run_id, changed)
        self.client.log_dict(self.run_id, dict(record), "record.json")
        for file, place in runs.artifacts_of(files.values()):
            self.client.log_artifact(self.run_id, str(file), place)
        self.client.set_terminated(self.run_id, "FINISHED", ended)
        self.store.mark(record, self.run_id)

    def refresh(self, campaign: str) -> None:
        """Bring the run of the whole cell up to date."""
        self.store.refresh(campaign, self._group)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings, and stop the garbage collector: it takes a third of the time of importing mlflow."""
    gc.disable()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        gc.enable()


def first_line(error: Exception) -> str:
    """Return an error's first line, without passwords."""
    text = (str(error).partition("\n")[0] or type(error).__name__)[:200]
    return re.sub(PASSWORD, "//", text)


def unreachable(error: Exception) -> str:
    """Return the line for a store that an error keeps out of reach."""
    store = re.sub(PASSWORD, "//", store_uri())
    return f"the MLflow store {store} cannot be reached ({first_line(error)})"
