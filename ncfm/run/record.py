"""A stage's record: what ran, on which inputs, where, how long, with what result.

It lies beside the stage's main output as `<output>.record.json`. Later stages never read it, so its times and hosts
change no content hash; the report prints hardware and commit from it, and `ncfm track import` sends it to MLflow later.
"""

from __future__ import annotations

import csv
import datetime
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
from importlib import metadata
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from ncfm.core.checkpoint import Checkpoint
from ncfm.core.errors import DataError
from ncfm.core.layout import ADHOC, record_file
from ncfm.core.machine import main_memory
from ncfm.core.params import StageParams
from ncfm.core.store import check_writable, read_json, sha256, write_json, write_text
from ncfm.run.compute import chosen_device, has_bfloat16, set_up, shard
from ncfm.run.presentation import key_of_run
from ncfm.run.tracking import Run


class Record:
    """Collects the record of one stage, writes it to ``path``, beside the main ``output``, and sends it to its ``run``.

    ``params`` are JSON-able; ``names`` are those of the cell; of ``inputs`` the params file is no part.
    """

    def __init__(
        self, stage: str, output: Path, params: Mapping[str, Any], names: Mapping[str, Any], inputs: list[str | Path]
    ) -> None:
        self.stage = stage
        self.path = Path(record_file(PurePosixPath(output)))
        self._began = _clocks()
        self._before = dict.fromkeys(self._began, 0.0)  # what earlier processes of this run took
        self._checkpoint: Checkpoint | None = None
        self._history: dict[int, dict[str, float]] = {}
        parts = output.parts
        self.content: dict[str, Any] = {
            "format": 1,
            "stage": stage,
            "campaign": parts[parts.index("results") + 1] if "results" in parts[:-1] else ADHOC,
            "output": str(output),
            "names": dict(names),
            "params": dict(params),
            "inputs": {str(path): sha256(path) for path in inputs},
            "command": shlex.join(["ncfm", *sys.argv[1:]]),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "hardware": hardware(),
            "versions": versions(),
            **commit(),
        }
        self.content["key"] = key_of_run(self.content)
        self.run = Run(self.content, self.path, wanted=False)

    def resume(self, path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the tensors and values that an earlier process of this run kept at ``path``, or None.

        :meth:`keep` will write there, and :meth:`finish` remove it.
        """
        self._checkpoint = Checkpoint(path, self.content["key"])
        saved = self._checkpoint.load(device)
        if saved:
            self._before = saved[1].pop("spent")
        return saved

    def keep(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Write what the next process needs to continue this run, the time spent included."""
        assert self._checkpoint is not None
        self._checkpoint.save(tensors, {**values, "spent": self.spent()})

    def spent(self) -> dict[str, float]:
        """Return what the run took so far: seconds, and those of the processor (of all its cores together)."""
        now = _clocks()
        return {name: round(self._before[name] + now[name] - began, 3) for name, began in self._began.items()}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one row of history. A step that is there already is replaced."""
        self._history[step] = dict(values)
        self.run.log(step, values)

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
        stream, columns = io.StringIO(), dict.fromkeys(key for row in self.rows for key in row)
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({key: value if isinstance(value, int) else f"{value:.6g}" for key, value in row.items()})
        write_text(path, stream.getvalue())
        self.content["history"] = str(path)

    def is_finished(self) -> bool:
        """Tell whether the record on disk is of the same run, and its outputs are there as that run wrote them."""
        try:
            found = read_json(self.path)
            same = found["key"] == self.content["key"]
            return same and all(sha256(path) == digest for path, digest in found["outputs"].items())
        except (DataError, KeyError, TypeError):  # no record, a torn one, or an output that is gone
            return False

    def finish(self, outputs: list[str | Path], metrics: Mapping[str, float]) -> None:
        """Write the record, with the stage's outputs and final numbers, send it, and remove the checkpoint."""
        self.content["outputs"] = {str(path): sha256(path) for path in outputs}
        self.content["metrics"] = dict(metrics)
        if self._history and "history" not in self.content:  # else `ncfm track import` would have no curves
            self.content["rows"] = [{key: value for key, value in row.items() if isfinite(value)} for row in self.rows]
        self.content["peak_gb"] = peak_memory()
        self.content["seconds"] = self.spent()["seconds"]
        write_json(self.path, self.content)
        self.run.finish(self.content)
        if self._checkpoint is not None:
            self._checkpoint.path.unlink(missing_ok=True)


@contextmanager
def recorded(
    params: StageParams, output: Path, names: Mapping[str, Any], inputs: list[str | Path], threads: int | None = None
) -> Iterator[Record]:
    """Set the process up for a stage, and give its :class:`Record`, which goes to MLflow if that is installed.

    Raises :class:`StorageError` where the output cannot be written and :class:`DataError` where an input is missing.
    """
    check_writable(output)
    set_up(threads, bounded=getattr(params, "recompute", False))
    record = Record(params.stage, output, params.model_dump(mode="json"), names, inputs)
    if shard()[0] == 0:  # of several processes one is the run
        record.run = Run(record.content, record.path)
    try:
        yield record
    except BaseException as error:
        record.run.fail("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED")
        raise


def _clocks() -> dict[str, float]:
    return {"seconds": time.perf_counter(), "processor_seconds": time.process_time()}


def hardware() -> dict[str, Any]:
    """Return this machine's processor, cores and memory (GiB), the GPU that is computed on, or None, and more.

    Namely the threads that each network has, and whether what computes has bfloat16 arithmetic: without it networks
    compute in float32, whatever the params say.
    """
    device = chosen_device()
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(main_memory() / 2**30, 1),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "bfloat16": has_bfloat16(device),
    }


def peak_memory() -> dict[str, float]:
    """Return the most memory, in GB (1e9 bytes), that this process held so far, and its tensors on the GPU."""
    found = {"process": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 3)}
    if torch.cuda.is_initialized():
        found["gpu"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
    return found


def _processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python, torch, torchvision and ncfm."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in ("torchvision", "ncfm"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def commit() -> dict[str, Any]:
    """Return the git commit of the program and whether its code or params differ from it; empty without git."""
    folder, nowhere = Path(__file__).resolve().parents[2], subprocess.DEVNULL
    commands = "git rev-parse HEAD", "git status --porcelain --untracked-files=no -- ncfm params/base.yaml"
    try:
        head, changed = (
            subprocess.check_output(command.split(), cwd=folder, stderr=nowhere, text=True, timeout=20).strip()
            for command in commands
        )
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    return {"commit": head, "dirty": bool(changed)}


def commits_address() -> str | None:
    """Return the address below which the host of the program's git remote shows commits; None where it has none."""
    command, folder = ["git", "remote", "get-url", "origin"], Path(__file__).resolve().parent
    try:
        remote = subprocess.check_output(command, cwd=folder, stderr=subprocess.DEVNULL, text=True, timeout=20).strip()
    except (OSError, subprocess.SubprocessError):
        return None
    for ssh in (r"ssh://git@([^:/]+)(?::\d+)?/", r"git@([^:/]+):/?"):
        remote = re.sub(f"^{ssh}", r"https://\1/", remote)
    found = re.fullmatch(r"(https?://)(?:[^@/]*@)?(.+?)(?:\.git)?/?", remote)  # a name or password is left out
    return f"{found[1]}{found[2]}/commit/" if found else None
