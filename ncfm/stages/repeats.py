"""What the stages share: the loop over several networks, and the loop over iterations on one set of images.

Both log, show progress and checkpoint what is finished: the same command continues after a kill, on CPUs to the same
bytes (on a GPU torch adds some gradients up in any order).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ncfm.core.progress import Progress
from ncfm.core.store import write_json
from ncfm.run.compute import Check, side_by_side
from ncfm.run.record import Record

FORMAT = 1  # of the JSON files of tests
Values = TypeVar("Values")
Tensors = Mapping[str, Tensor]
Rows = Iterable[tuple[int, Mapping[str, float]]]  # of a record's history: each a step and its values


class Iterated(Protocol):
    """What :func:`iterate` can run."""

    iteration: int  # number of finished iterations
    log_every: int  # iterations between two read-backs

    def step(self) -> None:
        """Run one iteration."""

    def read_back(self) -> list[tuple[int, dict[str, float]]]:
        """Return the rows of history since the last call: each an iteration and its values, among them a ``loss``."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that the next iteration depends on, as tensors and JSON-able values."""

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Continue from what :meth:`state` returned."""


def train_networks(
    count: int,
    steps: int,
    train_one: Callable[[int, Check, Progress], tuple[Values, Tensors]],
    rows_of: Callable[[int, Values], Rows],
    out: Path,
    record: Record,
    device: torch.device,
    unit: str = "epoch",
    ready: Mapping[int, tuple[Values, Tensors]] | None = None,
) -> tuple[list[Values], dict[str, Tensor]]:
    """Train ``count`` networks, side by side where that is faster; return their values by index, and all tensors.

    ``train_one`` gets a network's index, a function to call before every batch, and the progress, of which it makes
    ``steps`` steps, each a ``unit``. It returns JSON-able values, of which ``rows_of`` makes the rows of history, and
    tensors with names that no other network has. Networks that are ``ready`` need no training. The checkpoint is beside
    ``out``.
    """
    tensors, saved = record.resume(out.with_name(f"{out.stem}.checkpoint.safetensors")) or ({}, {})
    finished: dict[int, Values] = dict(saved.get("finished", []))
    for index, (values, made) in (ready or {}).items():
        finished[index] = values
        tensors.update(made)
    for index, values in finished.items():
        record.log_all(rows_of(index, values))
    with Progress(count * steps, record.stage, start=len(finished) * steps, unit=unit) as progress:

        def keep(index: int, result: tuple[Values, Tensors]) -> None:
            finished[index], made = result
            tensors.update(made)
            record.keep(tensors, {"finished": list(finished.items())})
            record.log_all(rows_of(index, finished[index]))

        side_by_side(count, frozenset(finished), lambda index, check: train_one(index, check, progress), keep, device)
    return [finished[index] for index in range(count)], tensors


def write_tests(out: Path, content: Mapping[str, Any], metrics: Mapping[str, float], record: Record) -> None:
    """Write what a stage tested as the JSON file ``out``, with names and params, and finish the record."""
    head = {"format": FORMAT, "names": record.content["names"], "params": record.content["params"]}
    write_json(out, {**head, **content})
    record.finish([out], metrics)


def iterate(
    run: Iterated,
    iterations: int,
    every: int,
    out: Path,
    record: Record,
    device: torch.device,
    leads: bool = True,
    marks: Collection[int] = (),
) -> None:
    """Run what is left of the ``iterations``, with a checkpoint in the folder ``out`` after ``every`` so many of them.

    Its tensors are read onto ``device``. Of several processes only the one that ``leads`` shows progress and writes.
    The record gets as `marks` what the stage had taken at each of ``marks``, and after the last iteration.
    """
    marked: list[dict[str, float]] = []
    if saved := record.resume(out / "checkpoint.safetensors", device):
        run.restore(*saved)
        record.log_all(saved[1]["history"])
        marked = saved[1]["marks"]
    stream = None if leads else io.StringIO()
    with Progress(iterations, record.stage, start=run.iteration, stream=stream) as progress:
        while run.iteration < iterations:
            run.step()
            ends, marks_here = run.iteration == iterations, run.iteration in marks
            saves = run.iteration % every == 0 and not ends
            if run.iteration % run.log_every and not (saves or ends or marks_here):
                continue
            for iteration, row in run.read_back():
                record.log(iteration, row)
                progress.step(loss=row["loss"])
            if marks_here or (ends and marks):
                marked.append({"iteration": run.iteration, **record.spent()})
            if leads and saves:
                tensors, values = run.state()
                record.keep(tensors, {**values, "history": record.history(), "marks": marked})
    if marked:
        record.content["marks"] = marked
