"""The stage `distill`: a data set in, a few synthetic images of each class out."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncfm.core import checkpoint
from ncfm.core.params import DistillParams
from ncfm.core.pictures import write_grid
from ncfm.core.progress import Progress
from ncfm.datasets.split import load_split
from ncfm.method.distillation import Distillation
from ncfm.method.distilled import save_set
from ncfm.method.pool import load_pool
from ncfm.run.compute import device, process_group
from ncfm.run.record import Record


def distill(
    params: DistillParams, data: Path, extractors: Path, names: Mapping[str, Any], out: Path, record: Record
) -> None:
    """Distill a data set and write `distilled.safetensors`, `history.csv` and `grid.png` into ``out``.

    A checkpoint is written into ``out`` at an interval; the same command continues from it after a kill. Where
    ``torchrun`` started several processes, each computes the gradients of its share of the classes.

    Raises:
        ParamsError: an IPC that the data set cannot give.
        DataError: data set, extractors or the set to load do not belong together.
        DivergenceError: a loss that is infinite or not a number.
    """
    where = device()
    split = load_split(data, "train", where)
    pool = load_pool(extractors, data, split)
    run = Distillation(params, split, pool, int(names["ipc"]), int(names["seed"]))
    resume, key = out / "checkpoint.safetensors", record.content["key"]
    if saved := checkpoint.load(resume, key, where):
        for step, row in run.restore(*saved):
            record.log(step, row)
    leads = run.rank == 0  # one process shows the progress and writes
    with (
        process_group(where),
        Progress(
            params.iterations, "distill", start=run.iteration, stream=None if leads else io.StringIO()
        ) as progress,
    ):
        while run.iteration < params.iterations:
            row = run.step()
            record.log(run.iteration, row)
            progress.step(loss=row["loss"])
            if leads and run.iteration % params.checkpoint_every == 0 and run.iteration < params.iterations:
                tensors, values = run.state()
                history = [(int(row["step"]), {k: v for k, v in row.items() if k != "step"}) for row in record.rows]
                checkpoint.save(resume, key, tensors, {**values, "history": history})
    if not leads:
        return
    stored, history_file, grid = out / "distilled.safetensors", out / "history.csv", out / "grid.png"
    images = run.images.detach().clamp(0, 1).cpu()
    record.save_history(history_file)
    write_grid(images.flatten(0, 1), split.classes, grid)
    save_set(stored, images, split, params.factor, names)
    record.finish([stored, history_file, grid], {k: v for k, v in record.rows[-1].items() if k != "step"})
    resume.unlink(missing_ok=True)
