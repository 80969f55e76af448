"""What the stages share: the loop over networks, the loop over iterations, and their checkpoints.

Pretraining, evaluation, continual learning and search train several networks; distillation and the fine-tuning of
curation take many iterations on one set of images. Both loops log to the stage's record, show progress, and keep what
is finished in a checkpoint, so that the same command continues after a kill and writes the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ncfm.core.params import StageParams
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

    def step(self) -> dict[str, float]:
        """Run one iteration and return its row of history, in which there is a ``loss``."""

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
) -> tuple[list[Values], dict[str, Tensor]]:
    """Train several networks, side by side where that is faster, each kept in a checkpoint when it is finished.

    Args:
        count: number of networks.
        steps: how often the training of one network calls ``progress.step``.
        train_one: called with the network's index, a function to call before every batch, and the progress; returns
            what is known of the trained network: JSON-able values, and tensors with names that no other network has.
        rows_of: gives the rows of history of the network at an index.
        out: the stage's main output, beside which the checkpoint lies.
        record: takes the rows.
        device: where the networks are trained.
        unit: what one step is.

    Returns:
        The values of each network, in the order of the indices, and the tensors of all.
    """
    checkpoint = record.checkpoint(out.with_name(f"{out.stem}.checkpoint.safetensors"))
    tensors, saved = checkpoint.load() or ({}, {})
    finished: dict[int, Values] = dict(saved.get("finished", []))
    for index, values in finished.items():
        record.log_all(rows_of(index, values))
    with Progress(count * steps, record.stage, start=len(finished) * steps, unit=unit) as progress:

        def work(index: int, check: Check) -> tuple[Values, Tensors]:
            return train_one(index, check, progress)

        def keep(index: int, result: tuple[Values, Tensors]) -> None:
            finished[index], made = result
            tensors.update(made)
            checkpoint.save(tensors, {"finished": list(finished.items())})
            record.log_all(rows_of(index, finished[index]))

        side_by_side(count, frozenset(finished), work, keep, device)
    return [finished[index] for index in range(count)], tensors


def write_tests(
    out: Path,
    names: Mapping[str, Any],
    params: StageParams,
    content: Mapping[str, Any],
    metrics: Mapping[str, float],
    record: Record,
) -> None:
    """Write what a stage tested as the JSON file ``out``, and finish the record."""
    write_json(out, {"format": FORMAT, "names": dict(names), "params": params.model_dump(mode="json"), **content})
    record.finish([out], metrics)


def iterate(
    run: Iterated,
    iterations: int,
    every: int,
    out: Path,
    record: Record,
    device: torch.device,
    leads: bool = True,
) -> None:
    """Run the iterations that a checkpoint leaves to do.

    Args:
        run: what is iterated.
        iterations: how many in all.
        every: iterations from one checkpoint to the next; the last iteration needs none.
        out: the folder that the stage writes to, in which the checkpoint lies.
        record: takes a row of history for each iteration.
        device: where the checkpoint's tensors shall be.
        leads: whether this process, of several, shows the progress and writes.
    """
    checkpoint = record.checkpoint(out / "checkpoint.safetensors")
    if saved := checkpoint.load(device):
        run.restore(*saved)
        record.log_all(saved[1]["history"])
    stream = None if leads else io.StringIO()
    with Progress(iterations, record.stage, start=run.iteration, stream=stream) as progress:
        while run.iteration < iterations:
            row = run.step()
            record.log(run.iteration, row)
            progress.step(loss=row["loss"])
            if leads and run.iteration % every == 0 and run.iteration < iterations:
                tensors, values = run.state()
                checkpoint.save(tensors, {**values, "history": record.history()})
