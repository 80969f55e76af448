"""Every execution of a stage is a run in MLflow, sent while it lasts and completed from its record.

Whatever goes wrong here never fails a stage: its record stays beside its output, and ``ncfm track import`` completes
later, through the same code, what was half sent.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ncfm.core.errors import NOTICE, DataError, NcfmError, ParamsError
from ncfm.core.progress import Progress
from ncfm.run import browser, standing
from ncfm.run import presentation as runs
from ncfm.run.presentation import Content, Row
from ncfm.run.published import published_below
from ncfm.run.sending import PASSWORD, Sender, Store, address_of, page_of, quiet, store_uri, write_link

PATIENCE = 5.0  # seconds before a stage opens the store: a shorter stage sends everything at its end, in one go
INTERVAL = 2.0  # seconds between two sendings
LAST_WAIT = 60.0  # seconds that a finished stage waits until everything is sent
SETTINGS = ("on", "late", "off")  # of NCFM_TRACKING; late: a short stage leaves its record to an import
LATER = "`ncfm track import` sends the record later"
Job = tuple[list[Row], Callable[[Sender], None], bool]  # what to send, what to do then, whether to report a failure


def import_records(folder: Path) -> None:
    """Send each record below ``folder`` whose run is not complete, and print a summary.

    What is published of campaigns is of other machines: it is left out unless ``folder`` lies within it, and is then
    sent as an experiment of its own, ``published/<campaign>``. A record that cannot be sent does not stop the
    others. Raises :class:`NcfmError` for no folder, no MLflow, a store out of reach, and at the end for such records.
    """
    _need_mlflow("import again")
    if not folder.is_dir():
        raise NcfmError(f"{folder}: {'is a file' if folder.exists() else 'no such folder'}; name the folder of results")
    published = published_below(folder)
    paths = [*runs.records_below(folder), *published]
    if not paths:
        print(f"{folder}: holds no record of a stage (for published campaigns name their own folder)")
        return

    def read(path: Path) -> Content:
        return published[path] if path in published else runs.read_record(path)

    def started(path: Path) -> str:
        try:
            return str(read(path)["started"])
        except DataError:
            return ""

    try:
        with quiet():
            store = Store()
            store.client.search_experiments(max_results=1)  # a store out of reach is no record's fault
    except Exception as error:
        raise NcfmError(_unreachable(error)) from error
    counts, failed, groups = {"sent": 0, "there": 0}, list[str](), set[tuple[str, str | None]]()
    with Progress(len(paths), "track import", unit="record") as progress:
        for path in sorted(paths, key=started):  # of several runs of the same names the last stands
            try:
                record = read(path)
                with quiet():
                    counts["sent" if _send(store, record, path) else "there"] += 1
                groups.add((record["campaign"], standing.group_of(record)))
            except DataError as error:
                failed.append(str(error))
            except Exception as error:
                failed.append(f"{path}: {_first_line(error)}")
            progress.step()
    print(f"records sent: {counts['sent']}, already there: {counts['there']}, failed: {len(failed)}")
    try:
        with quiet():
            for campaign, group in groups:
                store.refresh(campaign, group)
    except Exception as error:
        raise NcfmError(_unreachable(error)) from error
    if failed:
        raise NcfmError(f"{len(failed)} of {len(paths)} records could not be sent: {'; '.join(failed)}")


def _send(store: Store, record: runs.Content, path: Path) -> bool:
    """Send a record and say so, unless its run is complete; then only tell whether it stands."""
    if run := store.finished(record):
        store.mark(record, run.info.run_id)
        return False
    Sender(store, record, path).complete(record, path)
    return True


def _need_mlflow(then: str) -> None:
    if importlib.util.find_spec("mlflow") is None:
        raise NcfmError(f"mlflow is not installed here; `pip install mlflow`, then {then}")


def links(address: str) -> dict[str, str]:
    """Return the page of each campaign's runs, by campaign, where MLflow's server has this address."""
    with quiet():
        found = Store().client.search_experiments()
    return {one.name: page_of(address, one.experiment_id) for one in sorted(found, key=lambda one: one.name)}


def serve(port: int, opened: str | None = None) -> None:
    """Print a link for each campaign, have the pages' links lead there, and become MLflow's server.

    The runs of the campaign ``opened`` are shown in a browser, where the terminal has one with windows. Where the
    store is a server itself, nothing is served. Raises :class:`NcfmError` without MLflow and for a busy port.
    """
    _need_mlflow("try again")
    served = store_uri().startswith("http")
    if not served and browser.answers(port):
        raise NcfmError(f"--port: {port} is in use on this machine; name another, e.g. ncfm ui --port {port + 1}")
    pages = links(address_of(port))
    for name, page in pages.items():
        write_link(name, page)
    print("\n".join(f"{name}: {page}" for name, page in pages.items()) or "no run has been sent yet", flush=True)
    if served:
        return
    if opened in pages and sys.stdout.isatty() and browser.has_window():
        subprocess.Popen([sys.executable, "-m", "ncfm.run.browser", pages[opened], str(port)])
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    server = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--backend-store-uri", store_uri()]
    os.execv(sys.executable, server)


class Run:
    """The run of a stage that computes, where it is ``wanted`` and not off: sends batches of rows until one fails.

    A thread of its own sends, so that the stage never waits for the store while it computes; only at its end it does,
    at most :data:`LAST_WAIT`. ``path`` is where the stage's record will lie.
    """

    def __init__(self, record: Content, path: Path, wanted: bool = True) -> None:
        self._record, self._path = record, path
        self._rows: list[Row] = []
        self._due = time.monotonic() + PATIENCE
        self._jobs: queue.Queue[Job] = queue.Queue()
        self._thread: threading.Thread | None = None
        setting = os.environ.get("NCFM_TRACKING", "").lower() or SETTINGS[0]
        if setting not in SETTINGS:
            raise ParamsError(f"NCFM_TRACKING: is {setting!r} (allowed: {', '.join(SETTINGS)})")
        off, self._late = not wanted or setting == "off", setting == "late"
        self._given_up = off or importlib.util.find_spec("mlflow") is None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Buffer the metrics of one step; have what is buffered sent where it is time to."""
        if self._given_up:
            return
        self._rows.append(Row(step, dict(values), int(time.time() * 1000)))
        if time.monotonic() >= self._due:
            self._post(lambda sender: None)

    def finish(self, record: dict[str, Any]) -> None:
        """Send the rest and the finished record, but leave that of a short stage to an import, where that is set."""
        if self._late and time.monotonic() < self._due and self._thread is None:
            return

        def act(sender: Sender) -> None:
            sender.complete(record, self._path)
            sender.refresh(record["campaign"])

        self._post(act)
        if not self.wait():
            print(f"{NOTICE}the MLflow store is slow; {LATER}", file=sys.stderr)

    def fail(self, status: str) -> None:
        """Close as FAILED or KILLED, silently: what made the stage fail is about to be reported, on one line."""

        def act(sender: Sender) -> None:
            sender.client.set_terminated(sender.run_id, status)
            sender.refresh(self._record["campaign"])

        self._post(act, report=False)
        self.wait()

    def wait(self) -> bool:
        """Wait until all that was logged is sent, at most :data:`LAST_WAIT`; return whether it is."""
        end = time.monotonic() + LAST_WAIT
        while (busy := self._jobs.unfinished_tasks > 0) and time.monotonic() < end:
            time.sleep(0.01)
        return not busy

    def _post(self, act: Callable[[Sender], None], report: bool = True) -> None:
        """Leave the buffered rows, and what is to be done after them, to the thread."""
        if self._given_up:
            return
        self._jobs.put((self._rows, act, report))
        self._rows = []
        if self._thread is None:  # a daemon: a store that hangs must not keep the process
            self._thread = threading.Thread(target=self._send_all, name="tracking", daemon=True)
            self._thread.start()
        self._due = time.monotonic() + INTERVAL

    def _send_all(self) -> None:
        sender: Sender | None = None
        while True:
            rows, act, report = self._jobs.get()
            try:
                if not self._given_up:
                    with quiet():
                        sender = sender or Sender(Store(), self._record, self._path)
                        sender.send(map(runs.curves, rows))
                        act(sender)
            except Exception as error:
                self._given_up = True
                if report:
                    print(f"{NOTICE}{_unreachable(error)}; {LATER}", file=sys.stderr)
            finally:
                self._jobs.task_done()


def _first_line(error: Exception) -> str:
    """Return an error's first line, without passwords."""
    text = (str(error).partition("\n")[0] or type(error).__name__)[:200]
    return re.sub(PASSWORD, "//", text)


def _unreachable(error: Exception) -> str:
    """Return the line for a store that an error keeps out of reach."""
    store = re.sub(PASSWORD, "//", store_uri())
    return f"the MLflow store {store} cannot be reached ({_reason(error)})"


def _reason(error: Exception) -> str:
    """Return what the system said where an error goes back to that ("Connection refused"), else the error's line."""
    below: BaseException | None = error
    while below:
        if isinstance(below, OSError) and below.strerror:
            return below.strerror
        below = below.__cause__ or below.__context__
    return _first_line(error)
