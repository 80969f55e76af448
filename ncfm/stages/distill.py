"""The stage `distill`: a data set in, a few synthetic images of each class out."""

from __future__ import annotations

from pathlib import Path

from ncfm.core.params import DistillParams
from ncfm.datasets.split import load_split
from ncfm.method.distillation import Distillation
from ncfm.method.distilled import in_bytes, write_set
from ncfm.method.pool import load_pool
from ncfm.run.compute import chosen_device, process_group
from ncfm.run.record import Record
from ncfm.stages.repeats import iterate


def distill(params: DistillParams, data: Path, extractors: Path, out: Path, record: Record) -> None:
    """Distill a data set and write `distilled.safetensors`, `history.csv` and `grid.png` into ``out``.

    Where ``torchrun`` started several processes, each computes the gradients of its share of the classes. Raises
    ParamsError for an IPC that the data set cannot give, DivergenceError for a loss that is infinite or not a number.
    """
    device, names = chosen_device(), record.content["names"]
    split = load_split(data, "train", device)
    run = Distillation(params, split, load_pool(extractors, data, split), names["ipc"], names["seed"])
    leads = run.rank == 0  # one process shows the progress and writes
    with process_group(device):
        iterate(run, params.iterations, params.checkpoint_every, out, record, device, leads, params.snapshots)
    if not leads:
        return
    record.save_history(out / "history.csv")
    images, snapshots = run.images.detach().clamp(0, 1), run.snapshots
    if params.kept == "uint8":
        images, snapshots = in_bytes(images), {iteration: in_bytes(one) for iteration, one in snapshots.items()}
    files = write_set(out, images, split, params.factor, names, snapshots=snapshots)
    record.finish([*files, out / "history.csv"], record.history()[-1][1])
