"""A stage's record: what ran, on which inputs, where, how long, with what result.

It lies beside the stage's main output as `<output>.record.json`. Later stages never read it, so times and host names in
it cannot change any content hash; the report prints hardware and commit from it, and `ncfm track import` sends it to
MLflow where that was not possible while the stage ran.
"""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import os
import platform
import re
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ncfm.core.checkpoint import Checkpoint
from ncfm.core.layout import record_file
from ncfm.core.store import check_writable, json_text, sha256, write_json, write_text

if TYPE_CHECKING:
    from ncfm.core.params import StageParams
    from ncfm.run.tracking import Run

FORMAT = 1


class Record:
    """Collects the record of one stage and passes it on.

    It lies at ``path``, beside the main ``output``. ``params`` are JSON-able; ``names`` are those of the cell; of
    ``inputs`` the params file is no part. ``content`` is what is written: its ``key`` is a hash of what the run
    computes, so runs of one key compute the same, and MLflow continues the one instead of adding another.
    """

    def __init__(
        self,
        stage: str,
        output: str | Path,
        params: Mapping[str, Any],
        names: Mapping[str, Any],
        inputs: list[str | Path],
    ) -> None:
        self.stage = stage
        self.path = Path(record_file(PurePosixPath(Path(output).as_posix())))
        self._clock = time.perf_counter()
        self._run: Run | None = None
        self._checkpoint: Checkpoint | None = None
        self._history: dict[int, dict[str, float]] = {}
        self.content: dict[str, Any] = {
            "format": FORMAT,
            "stage": stage,
            "campaign": campaign_of(output),
            "names": dict(names),
            "params": dict(params),
            "inputs": {str(path): sha256(path) for path in inputs},
            "command": shlex.join(["ncfm", *sys.argv[1:]]),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "hardware": hardware(),
            "versions": versions(),
            **commit(),
        }
        identity = {key: self.content[key] for key in ("stage", "campaign", "names", "params", "inputs")}
        self.content["key"] = hashlib.sha256(json_text(identity).encode()).hexdigest()

    def send_to(self, run: Run) -> None:
        """Pass everything from now on to ``run`` as well."""
        self._run = run

    def checkpoint(self, path: Path) -> Checkpoint:
        """Return the checkpoint of this run at ``path``, which :meth:`finish` will remove."""
        self._checkpoint = Checkpoint(path, self.content["key"])
        return self._checkpoint

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one row of history. A step that is there already is replaced."""
        self._history[step] = dict(values)
        if self._run is not None:
            self._run.log(step, values)

    def log_all(self, history: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Add rows of history, as :meth:`history` returns them."""
        for step, values in history:
            self.log(step, values)

    def history(self) -> list[tuple[int, dict[str, float]]]:
        """Return the history in the order of steps, each row a step and its values."""
        return sorted(self._history.items())

    @property
    def rows(self) -> list[dict[str, float]]:
        """The history in the order of steps, each row with its step."""
        return [{"step": step, **values} for step, values in self.history()]

    def save_history(self, path: str | Path) -> None:
        """Write the history as CSV, floats with six digits, and note its place in the record."""
        rows = self.rows
        stream = io.StringIO()
        writer = csv.DictWriter(stream, dict.fromkeys(key for row in rows for key in row), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: value if isinstance(value, int) else f"{value:.6g}" for key, value in row.items()})
        write_text(path, stream.getvalue())
        self.content["history"] = str(path)

    def finish(self, outputs: list[str | Path], metrics: Mapping[str, float]) -> None:
        """Write the record, with the stage's outputs and final numbers, send it, and remove the checkpoint."""
        self.content["outputs"] = {str(path): sha256(path) for path in outputs}
        self.content["metrics"] = dict(metrics)
        if self._history and "history" not in self.content:  # else `ncfm track import` would have no curves
            self.content["rows"] = [{key: value for key, value in row.items() if isfinite(value)} for row in self.rows]
        self.content["peak_gb"] = peak_memory()
        self.content["seconds"] = round(time.perf_counter() - self._clock, 3)
        write_json(self.path, self.content)
        if self._run is not None:
            self._run.finish(self.content)
        if self._checkpoint is not None:
            self._checkpoint.path.unlink(missing_ok=True)

    def fail(self, status: str) -> None:
        """Close the run as ``FAILED`` or ``KILLED``; no record file is written."""
        if self._run is not None:
            self._run.fail(status)


@contextmanager
def recorded(
    params: StageParams,
    output: Path,
    names: Mapping[str, str | int],
    inputs: list[str | Path],
    threads: int | None = None,
) -> Iterator[Record]:
    """Set the process up for a stage (:func:`~ncfm.run.compute.set_up`), open its :class:`Record`, send it to MLflow
    where that is installed, and close it.

    Raises :class:`StorageError` where the output cannot be written and :class:`DataError` where an input is missing.
    """
    from ncfm.run import tracking
    from ncfm.run.compute import set_up, shard

    check_writable(output)
    set_up(threads, bounded=getattr(params, "recompute", False))
    record = Record(params.stage, output, params.model_dump(mode="json"), names, inputs)
    if shard()[0] == 0:  # of several processes one is the run
        record.send_to(tracking.start(record.content))
    try:
        yield record
    except BaseException as error:
        record.fail("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED")
        raise


def campaign_of(path: str | Path) -> str:
    """Return the campaign whose `results/<campaign>/` the path lies in, or ``adhoc``."""
    parts = Path(path).parts
    return parts[parts.index("results") + 1] if "results" in parts[:-1] else "adhoc"


def hardware() -> dict[str, Any]:
    """Return the processor, cores, memory (GiB) and GPU of this machine, and the threads that each network has."""
    import torch

    memory = 0.0
    with suppress(ValueError, OSError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def peak_memory() -> dict[str, float]:
    """Return the most memory, in GB (1e9 bytes), that this process held so far, and its tensors on the GPU."""
    import torch

    found = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["gpu"] = torch.cuda.max_memory_allocated() / 1e9
    return {name: round(value, 3) for name, value in found.items()}


def _processor() -> str:
    text = ""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name[^:\n]*:(.*)", text, re.MULTILINE)
    return model[1].strip() if model else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python, torch, torchvision and ncfm."""
    from importlib import metadata  # a slow import, which every command would pay for

    import torch

    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in ("torchvision", "ncfm"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def commit() -> dict[str, Any]:
    """Return the git commit of the program and whether its code or params differ from it; empty without git."""
    folder = Path(__file__).resolve().parent.parent.parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "ncfm", "params/base.yaml")
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    return {"commit": head, "dirty": bool(changed)}
