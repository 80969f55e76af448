"""MLflow, imported here only: an open store, and one run in it, which is continued where it is there already.

It is imported late, because that takes longer than a short stage.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import sqlite3
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from ncfm.core import layout
from ncfm.core.store import replacing
from ncfm.run import presentation as runs
from ncfm.run.presentation import Content, Row

FOLDER = Path("results", "mlflow")


def store_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, else the SQLite store ``results/mlflow/mlflow.db`` of the current folder."""
    database = FOLDER / "mlflow.db"
    # In an address a question mark ends the path, so that a folder with one in its name cannot be written out.
    place = database if "?" in str(database.resolve()) else database.resolve()
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{place}"


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
            text = f"The runs of `params/{campaign}.yaml`; its report is `results/{campaign}/report.html`."
            return self.client.create_experiment(campaign, place, {"mlflow.note.content": text})
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def find(self, experiment: str, tag: str, value: str) -> Any | None:
        """Return the first run that carries a tag, or None."""
        return next(iter(self.client.search_runs([experiment], f"tags.`{tag}` = '{value}'", max_results=1)), None)

    def is_finished(self, record: Content) -> bool:
        """Tell whether the run of a record is complete."""
        found = self.client.get_experiment_by_name(record["campaign"])
        run = self.find(found.experiment_id, "ncfm.key", record["key"]) if found else None
        return run is not None and run.info.status == "FINISHED"


class Sender:
    """One run in an open store: continues the run that carries the record's key, or creates it."""

    def __init__(self, store: Store, record: Content, path: Path) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        self.client = store.client
        with store.lock:  # find-or-create, and the inputs' shared rows, are not atomic in MLflow
            experiment = store.experiment(record["campaign"])
            tags = runs.tags_of(record)
            if parent := self._parent(store, experiment, record):
                tags["mlflow.parentRunId"] = parent
            run = store.find(experiment, "ncfm.key", record["key"])
            if run is None:
                name = f"{record['stage']} {layout.title(record['names'])}".strip()
                run = self.client.create_run(experiment, runs.moment(record), tags, name)
            self.run_id: str = run.info.run_id
            self.client.update_run(self.run_id, "RUNNING")
            inputs = [
                DatasetInput(
                    Dataset(name, digest, "local", json.dumps({"uri": path})), [InputTag("mlflow.data.context", use)]
                )
                for name, digest, path, use in runs.datasets_of(record)
            ]
            if inputs:
                self.client.log_inputs(self.run_id, inputs)
            self.experiment, self.parent, self.lock = experiment, parent, store.lock
        self.metrics = run.data.metrics
        history = (self.client.get_metric_history(self.run_id, name) for name in self.metrics)
        self.sent = {(metric.key, metric.step) for metrics in history for metric in metrics}
        values = runs.texts(runs.params_of(record, path), runs.PARAM_LENGTH)
        params = [Param(*pair) for pair in values.items() if pair[0] not in run.data.params]  # they can't be changed
        self.client.log_batch(self.run_id, params=params, tags=[RunTag(*pair) for pair in tags.items()])

    def _parent(self, store: Store, experiment: str, record: Content) -> str | None:
        """Return the run that groups the runs of one cell (data set, IPC, method), or of one data set."""
        group = {name: str(record["names"][name]) for name in runs.GROUP if name in record["names"]}
        if not group:
            return None
        title = layout.title(group)
        key = runs.quoted(title)
        run = store.find(experiment, "ncfm.group", key)
        if run is None:
            run = self.client.create_run(experiment, runs.moment(record), {"ncfm.group": key, **group}, title)
            self.client.set_terminated(run.info.run_id, "FINISHED", runs.moment(record))
        return str(run.info.run_id)

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
        with self.lock:  # of several stages of a cell that end together the last one sees all
            self._supersede(record)
            if self.parent:
                self._summarise(self.parent, ended)

    def _supersede(self, record: Content) -> None:
        """Mark the run as that whose results stand, and those of the same cell before it as no longer so."""
        mine = f"tags.`{runs.CELL}` = '{runs.cell_of(record)}' and tags.`{runs.CURRENT}` = 'true'"
        for before in self.client.search_runs([self.experiment], mine):
            if before.info.run_id != self.run_id:
                self.client.set_tag(before.info.run_id, runs.CURRENT, "false")
        self.client.set_tag(self.run_id, runs.CURRENT, "true")

    def _summarise(self, parent: str, ended: int) -> None:
        """Give the run of a cell what its stages' runs, those that stand, amount to; it ends with the last of them."""
        from mlflow.entities import Metric

        mine = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`{runs.CURRENT}` = 'true'"
        found = self.client.search_runs([self.experiment], mine, max_results=5000)
        known = self.client.get_run(parent)
        values = runs.summary_of([(run.data.tags, run.data.params, run.data.metrics) for run in found])
        changed = {name: value for name, value in values.items() if known.data.metrics.get(name) != value}
        self.client.log_batch(parent, [Metric(name, value, ended, 0) for name, value in changed.items()])
        self.client.set_terminated(parent, "FINISHED", max(ended, *(run.info.end_time or 0 for run in found), 0))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings, and stop the garbage collector: it takes a third of the time of importing mlflow."""
    gc.disable()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        gc.enable()
