"""MLflow, imported here only: every execution of a stage is a run, sent while it lasts and completed from its record.

It is imported late, because that takes longer than a short stage. Whatever goes wrong here never fails a stage: its
record stays beside its output, and ``ncfm track import`` completes later, through the same code, what was half sent.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
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
from ncfm.core.errors import DataError, NcfmError
from ncfm.core.progress import Progress
from ncfm.core.store import replacing
from ncfm.run import presentation as runs
from ncfm.run.presentation import Content, Row

FOLDER = Path("results", "mlflow")
APART = {"published", "shipped"}  # folders of results whose records are of other machines
PATIENCE = 5.0  # seconds before a stage opens the store: a shorter stage sends everything at its end, in one go
PASSWORD = r"//[^/@\s]*@"  # in an address, and the user before it
INTERVAL = 2.0  # seconds between two sendings


def store_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, else the SQLite store ``results/mlflow/mlflow.db`` of the current folder."""
    database = FOLDER / "mlflow.db"
    # In an address a question mark ends the path, so that a folder with one in its name cannot be written out.
    place = database if "?" in str(database.resolve()) else database.resolve()
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{place}"


def import_records(folder: Path) -> None:
    """Send each record below ``folder`` whose run is not complete, and print a summary.

    What is published of campaigns is left out: it is of other machines. A record that cannot be sent does not stop the
    others. Raises :class:`NcfmError` for no folder, no MLflow, a store out of reach, and at the end for such records.
    """
    _need_mlflow("import again")
    if not folder.is_dir():
        raise NcfmError(f"{folder}: no such folder; name the one that holds the results")
    paths = [path for path in sorted(folder.rglob("*.record.json")) if not APART & set(path.relative_to(folder).parts)]
    try:
        with _quiet():
            store = _Store()
            store.client.search_experiments(max_results=1)  # a store out of reach is no record's fault
    except Exception as error:
        raise NcfmError(_unreachable(error)) from error
    sent, there, failed = 0, 0, []
    with Progress(len(paths), "track import", unit="record") as progress:
        for path in paths:
            try:
                record = runs.read_record(path)
                with _quiet():
                    if store.is_finished(record):
                        there += 1
                    else:
                        _Sender(store, record, path).complete(record, path)
                        sent += 1
            except DataError as error:
                failed.append(str(error))
            except Exception as error:
                failed.append(f"{path}: {_first_line(error)}")
            progress.step()
    print(f"records sent: {sent}, already there: {there}, failed: {len(failed)}")
    if failed:
        raise NcfmError(f"{len(failed)} of {len(paths)} records could not be sent: {'; '.join(failed)}")


def _need_mlflow(then: str) -> None:
    if importlib.util.find_spec("mlflow") is None:
        raise NcfmError(f"mlflow is not installed here; `pip install mlflow`, then {then}")


def links(address: str) -> dict[str, str]:
    """Return the page of each campaign's runs, by campaign, where MLflow's server has this address.

    Without the choice of workflow MLflow opens an experiment on an empty page for language models.
    """
    with _quiet():
        found = _Store().client.search_experiments()
    pages = {one.name: f"{address}/#/experiments/{one.experiment_id}/runs" for one in found}
    return {name: f"{page}?workflowType=machine_learning" for name, page in sorted(pages.items())}


def serve(port: int) -> None:
    """Print a link for each campaign, and become MLflow's server. Raises :class:`NcfmError` without MLflow."""
    _need_mlflow("try again")
    address = f"http://127.0.0.1:{port}"
    pages = links(address)
    print("\n".join(f"{name}: {page}" for name, page in pages.items()) or "no run has been sent yet", flush=True)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    server = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--backend-store-uri", store_uri()]
    os.execv(sys.executable, server)


class Run:
    """The run of a stage that computes, where it is ``wanted`` and not off: sends batches of rows until one fails.

    ``path`` is where the stage's record will lie.
    """

    def __init__(self, record: Content, path: Path, wanted: bool = True) -> None:
        self._record, self._path = record, path
        self._rows: list[Row] = []
        self._due = time.monotonic() + PATIENCE
        self._sender: _Sender | None = None
        off = not wanted or os.environ.get("NCFM_TRACKING", "").lower() == "off"
        self._given_up = off or importlib.util.find_spec("mlflow") is None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Buffer the metrics of one step; send what is buffered where it is time to."""
        if self._given_up:
            return
        self._rows.append(Row(step, dict(values), int(time.time() * 1000)))
        if time.monotonic() >= self._due:
            self._try(lambda sender: None)

    def finish(self, record: dict[str, Any]) -> None:
        """Send the rest and the finished record."""
        self._try(lambda sender: sender.complete(record, self._path))

    def fail(self, status: str) -> None:
        """Close as FAILED or KILLED, silently: what made the stage fail is about to be reported, on one line."""
        self._try(lambda sender: sender.client.set_terminated(sender.run_id, status), report=False)

    def _try(self, act: Callable[[_Sender], None], report: bool = True) -> None:
        if self._given_up:
            return
        try:
            with _quiet():
                self._sender = self._sender or _Sender(_Store(), self._record, self._path)
                self._sender.send(self._rows)
                self._rows = []
                act(self._sender)
        except Exception as error:
            self._given_up = True
            if report:
                print(f"ncfm: {_unreachable(error)}; `ncfm track import` sends the record later", file=sys.stderr)
        self._due = time.monotonic() + INTERVAL


class _Store:
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


class _Sender:
    """One run in an open store: continues the run that carries the record's key, or creates it."""

    def __init__(self, store: _Store, record: Content, path: Path) -> None:
        from mlflow.entities import Dataset, DatasetInput, Param, RunTag

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
            files = runs.inputs_of(record).items()
            inputs = [DatasetInput(Dataset(p, sha[:36], "local", json.dumps({"uri": p})), []) for p, sha in files]
            if inputs:
                self.client.log_inputs(self.run_id, inputs)
        self.metrics = run.data.metrics
        history = (self.client.get_metric_history(self.run_id, name) for name in self.metrics)
        self.sent = {(metric.key, metric.step) for metrics in history for metric in metrics}
        values = runs.texts(runs.params_of(record, path), runs.PARAM_LENGTH)
        params = [Param(*pair) for pair in values.items() if pair[0] not in run.data.params]  # they can't be changed
        self.client.log_batch(self.run_id, params=params, tags=[RunTag(*pair) for pair in tags.items()])

    def _parent(self, store: _Store, experiment: str, record: Content) -> str | None:
        """Return the run that groups the runs of one cell (data set, IPC, method), or of one data set."""
        group = {name: str(record["names"][name]) for name in runs.GROUP if name in record["names"]}
        if not group:
            return None
        title = layout.title(group)
        key = title.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")  # a filter's text ends at the plain one
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings, and stop the garbage collector: it takes a third of the time of importing mlflow."""
    gc.disable()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        gc.enable()


def _first_line(error: Exception) -> str:
    text = (str(error).partition("\n")[0] or type(error).__name__)[:200]
    return re.sub(PASSWORD, "//", text)


def _unreachable(error: Exception) -> str:
    store = re.sub(PASSWORD, "//", store_uri())
    return f"the MLflow store {store} cannot be reached ({_first_line(error)})"
