"""What works on the whole MLflow store: sending the records that it lacks, and serving it."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from ncfm.core.errors import DataError, NcfmError
from ncfm.core.progress import Progress
from ncfm.run import presentation as runs
from ncfm.run import standing
from ncfm.run.tracking import Sender, Store, first_line, quiet, store_uri, unreachable

APART = {"published", "shipped"}  # folders of results whose records are of other machines


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
        with quiet():
            store = Store()
            store.client.search_experiments(max_results=1)  # a store out of reach is no record's fault
    except Exception as error:
        raise NcfmError(unreachable(error)) from error
    counts, failed, groups = {"sent": 0, "there": 0}, list[str](), set[tuple[str, str | None]]()
    with Progress(len(paths), "track import", unit="record") as progress:
        for path in sorted(paths, key=_started):  # of several runs of the same names the last stands
            try:
                record = runs.read_record(path)
                with quiet():
                    counts["sent" if _send(store, record, path) else "there"] += 1
                groups.add((record["campaign"], standing.group_of(record)))
            except DataError as error:
                failed.append(str(error))
            except Exception as error:
                failed.append(f"{path}: {first_line(error)}")
            progress.step()
    print(f"records sent: {counts['sent']}, already there: {counts['there']}, failed: {len(failed)}")
    try:
        with quiet():
            for campaign, group in groups:
                store.refresh(campaign, group)
    except Exception as error:
        raise NcfmError(unreachable(error)) from error
    if failed:
        raise NcfmError(f"{len(failed)} of {len(paths)} records could not be sent: {'; '.join(failed)}")


def _started(path: Path) -> str:
    try:
        return str(runs.read_record(path)["started"])
    except DataError:
        return ""


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
    """Return the page of each campaign's runs, by campaign, where MLflow's server has this address.

    Without the choice of workflow MLflow opens an experiment on an empty page for language models.
    """
    with quiet():
        found = Store().client.search_experiments()
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
