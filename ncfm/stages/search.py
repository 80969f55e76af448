"""Architecture search on distilled sets: every network of a grid is trained on one set and tested on real images.

Whether the set puts the networks in the order that the whole training set does is for the report to say (the experiment
of DC's paper, Zhao et al. 2021, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ncfm.core import checkpoint
from ncfm.core.params import SearchParams
from ncfm.core.progress import Progress
from ncfm.core.seeding import generator
from ncfm.core.store import write_json
from ncfm.datasets.split import Split
from ncfm.method.distilled import DistilledSet, load_with_test
from ncfm.method.training import accuracy, new_network, train
from ncfm.run.compute import accelerated, device, side_by_side
from ncfm.run.record import Record

FORMAT = 1


def search(
    params: SearchParams, data: Path, distilled: Path, names: Mapping[str, Any], out: Path, record: Record
) -> None:
    """Train each network of the grid ``params.networks`` times and write the accuracies after the last epoch.

    A finished network is kept in a checkpoint, so that a killed run continues with the next one.

    Args:
        params: the training, and the grid.
        data: folder of the prepared data set; only its test split is read.
        distilled: the set.
        names: dataset, ipc, method, seed, and the protocol where it is not the released one.
        out: the JSON file.
        record: takes every accuracy.

    Raises:
        DataError: where the set and the data set do not belong together.
    """
    where = device()
    test, images = load_with_test(distilled, data, where)
    resume, key = out.with_name(f"{out.stem}.checkpoint.safetensors"), record.content["key"]
    _, values = checkpoint.load(resume, key) or ({}, {"accuracies": []})
    done: dict[int, float] = dict(values["accuracies"])
    runs = [(*candidate, repeat) for candidate in params.candidates for repeat in range(params.networks)]
    for index, tested in done.items():
        record.log(index + 1, {"accuracy": tested})
    start = len(done) * params.epochs
    with Progress(len(runs) * params.epochs, "search", start=start, unit="epoch") as progress:

        def train_one(index: int, check: Callable[[], None]) -> float:
            return _train_one(params, test, images, runs[index], check, progress)

        def finished(index: int, tested: float) -> None:
            done[index] = tested
            checkpoint.save(resume, key, {}, {"accuracies": list(done.items())})
            record.log(index + 1, {"accuracy": tested})

        side_by_side(len(runs), frozenset(done), train_one, finished, where)
    networks = [
        {
            "arch": arch,
            "width": width,
            "norm": norm,
            "accuracies": [done[place * params.networks + repeat] for repeat in range(params.networks)],
        }
        for place, (arch, width, norm) in enumerate(params.candidates)
    ]
    content = {
        "format": FORMAT,
        "names": dict(names),
        "training_images": len(images),
        "params": params.model_dump(mode="json"),
        "networks": networks,
    }
    write_json(out, content)
    record.finish([out], {"mean": sum(done.values()) / len(done)})
    resume.unlink(missing_ok=True)


def _train_one(
    params: SearchParams,
    test: Split,
    images: DistilledSet,
    run: tuple[str, int, str, int],
    check: Callable[[], None],
    progress: Progress,
) -> float:
    """Train one fresh network (architecture, width, normalisation, repeat); return its accuracy in percent."""
    arch, width, norm, repeat = run
    names = (*images.names.values(), "search", *run)
    # Never compiled: each would need a compilation of its own, and most are small.
    own = params.model_copy(update={"width": width, "norm": norm, "compile": False})
    network = new_network(arch, own, test, generator(*names, "weights"))
    forward = accelerated(network, own, test.labels.device)

    def normalised(index: Tensor) -> Tensor:
        return images.images[index]

    def after_epoch(epoch: int, loss: float) -> None:
        progress.step(width=width, repeat=repeat, loss=loss)

    train(network, normalised, images.targets, params, names, after_epoch, forward, check)
    return accuracy(network, test)
