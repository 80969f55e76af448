"""Architecture search on distilled sets: every network of a grid is trained on one set and tested on real images.

The report says whether the set ranks them as all training images do (DC's paper, Zhao et al. 2021, section 4.2).
"""

from __future__ import annotations

from pathlib import Path

from ncfm.core.params import SearchParams
from ncfm.core.progress import Progress
from ncfm.core.seeding import generator
from ncfm.method.distilled import load_with_test
from ncfm.method.training import accuracy, new_network, train
from ncfm.run.compute import Check, accelerated, chosen_device
from ncfm.run.record import Record
from ncfm.stages.repeats import Rows, Tensors, train_networks, write_tests


def search(params: SearchParams, data: Path, distilled: Path, out: Path, record: Record) -> None:
    """Train each network of the grid ``params.networks`` times, and write its accuracies; only test images are read."""
    device = chosen_device()
    test, images = load_with_test(distilled, data, device)
    grid, repeats = params.candidates, params.networks

    def train_one(index: int, check: Check, progress: Progress) -> tuple[float, Tensors]:
        candidate, repeat = divmod(index, repeats)
        arch, width, norm = grid[candidate]
        drawn = (*images.names.values(), "search", arch, width, norm, repeat)
        # Never compiled: each network would need a compilation of its own, and most are small.
        training = params.model_copy(update={"width": width, "norm": norm, "compile": False})
        network = new_network(arch, training, test, generator(*drawn, "weights"))
        forward = accelerated(network, training, device)

        def after_epoch(epoch: int, loss: float) -> None:
            progress.step(width=width, repeat=repeat, loss=loss)

        train(network, images.images.__getitem__, images.targets, params, drawn, after_epoch, forward, check)
        return accuracy(network, test), {}

    def rows_of(index: int, tested: float) -> Rows:
        return [(index + 1, {"accuracy": tested})]

    tested, _ = train_networks(len(grid) * repeats, params.epochs, train_one, rows_of, out, record, device)
    networks = [
        {"arch": arch, "width": width, "norm": norm, "accuracies": tested[place * repeats : (place + 1) * repeats]}
        for place, (arch, width, norm) in enumerate(grid)
    ]
    content = {"training_images": len(images), "networks": networks}
    write_tests(out, content, {"mean": sum(tested) / len(tested)}, record)
