"""MLflow, imported here only: an open store, and one run in it, which is continued where it is there already.

It is imported late, because that takes longer than a short stage.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

from filelock import FileLock

from ncfm.core import layout
from ncfm.core.store import replacing, sweep, write_text
from ncfm.run import presentation as runs
from ncfm.run import standing
from ncfm.run.presentation import Content, Row

FOLDER = Path("results", "mlflow")
PASSWORD = r"//[^/@\s]*@"  # in an address, and the user before it


def store_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, else the SQLite store ``results/mlflow/mlflow.db`` of the current folder."""
    database = FOLDER / "mlflow.db"
    # In an address a question mark ends the path, so that a folder with one in its name cannot be written out.
    place = database if "?" in str(database.resolve()) else database.resolve()
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{place}"


def address_of(port: int = layout.MLFLOW_PORT) -> str:
    """Return where runs can be browsed: at the server that is their store, else at the one that `ncfm ui` starts."""
    uri = store_uri()
    return re.sub(PASSWORD, "//", uri).rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{port}"


def page_of(address: str, experiment: str) -> str:
    """Return the page of an experiment's runs, where MLflow's server has this address.

    Without the choice of workflow MLflow opens an experiment on an empty page for language models.
    """
    return f"{address}/#/experiments/{experiment}/runs?workflowType=machine_learning"


def link_of(campaign: str) -> Path:
    """Return the file that leads to a campaign's runs: the campaign's page has a link to it."""
    return FOLDER / f"{campaign}.html"


def write_link(campaign: str, page: str) -> None:
    """Write the file of :func:`link_of`, which says what to do where no server answers at ``page``.

    For what is no campaign of `results/` none is written: a server may have experiments of any name.
    """
    if Path(campaign).name != campaign or not (FOLDER.parent / campaign).is_dir():
        return
    to = escape(page)
    head = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="1; url={to}">'
    said = f'The runs of {escape(campaign)} are at <a href="{to}">{to}</a> while <code>make ui</code> serves them.'
    write_text(link_of(campaign), f"{head}\n<p>{said}</p>\n")


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
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # of a run that ends on a server
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a server that is away must not hold a stage
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient

        for logger in ("mlflow", "alembic", "urllib3"):  # after the import, which sets the first one's level
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        with self.lock:  # processes that create the tables of one new database together destroy it
            if database is not None and not database.exists():
                sweep(home, older_than=0)
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
            tags = {"mlflow.note.content": runs.description(campaign)}
            number = self.client.create_experiment(campaign, place, tags)
        else:
            number = str(found.experiment_id)
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(number)
        if not link_of(campaign).exists():
            write_link(campaign, page_of(address_of(), number))
        return number

    def finished(self, record: Content) -> Any | None:
        """Return the run of a record if it is complete, else None."""
        found = self.client.get_experiment_by_name(record["campaign"])
        same = standing.runs_with(self.client, found.experiment_id, standing.KEY, record["key"]) if found else []
        needed = {standing.CELL: runs.cell_of(record)}.items()  # what an earlier version sent is sent again
        whole = (run for run in same if standing.CURRENT in run.data.tags and needed <= run.data.tags.items())
        return next((run for run in whole if run.info.status == "FINISHED"), None)

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
            tags = runs.tags_of(record) | {standing.CURRENT: "false"}  # until it is complete
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
