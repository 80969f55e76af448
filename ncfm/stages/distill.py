"""The stage `distill`: a data set in, a few synthetic images of each class out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncfm.core.params import DistillParams
from ncfm.core.pictures import write_grid
from ncfm.datasets.split import load_split
from ncfm.method.distillation import Distillation
from ncfm.method.distilled import save_set
from ncfm.method.pool import load_pool
from ncfm.run.compute import chosen_device, process_group
from ncfm.run.record import Record
from ncfm.stages.repeats import checkpoint_in, iterate


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
    device = chosen_device()
    split = load_split(data, "train", device)
    run = Distillation(params, split, load_pool(extractors, data, split), int(names["ipc"]), int(names["seed"]))
    checkpoint, leads = checkpoint_in(out, record), run.rank == 0
    with process_group(device):
        iterate(run, params.iterations, params.checkpoint_every, checkpoint, record, device, leads)
    if not leads:
        return
    stored, history_file, grid = out / "distilled.safetensors", out / "history.csv", out / "grid.png"
    images = run.images.detach().clamp(0, 1).cpu()
    record.save_history(history_file)
    write_grid(images.flatten(0, 1), split.classes, grid)
    save_set(stored, images, split, params.factor, names)
    record.finish([stored, history_file, grid], record.history()[-1][1])
    checkpoint.remove()
