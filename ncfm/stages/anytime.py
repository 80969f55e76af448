"""Anytime curves: every snapshot of a set is evaluated, so that accuracy can be held against the time of its making.

When each snapshot was taken, in seconds, stands in the record of the set's making. A set without snapshots, such as a
coreset, has one point.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import torch

from ncfm.core.params import AnytimeParams
from ncfm.core.progress import Progress
from ncfm.core.seeding import generator
from ncfm.method.distilled import load_with_test
from ncfm.method.training import accuracy, forwards, new_network, train
from ncfm.run.compute import Check, chosen_device
from ncfm.run.record import Record
from ncfm.stages.repeats import Rows, Tensors, train_networks, write_tests

FINISHED = 0  # in place of an iteration: the set as it was finished


def anytime(params: AnytimeParams, data: Path, distilled: Path, out: Path, record: Record) -> None:
    """Train ``params.networks`` fresh networks on each snapshot and on the finished set; write their last accuracies.

    The draws are those of an evaluation, equal for all snapshots. Of the data set only the test split is read. A
    snapshot that equals the finished set has its accuracies: the points of a method are the same ones for every seed.
    """
    device = chosen_device()
    test, finished = load_with_test(distilled, data, device)
    forward_of = forwards(params, device, lambda: new_network(params.arch, params, test, generator("overwritten")))
    sets = {**finished.snapshots, FINISHED: finished}
    trained_as = {at: FINISHED if torch.equal(one.stored, finished.stored) else at for at, one in sets.items()}
    iterations, points = [at for at, trained in trained_as.items() if at == trained], list(sets)

    def train_one(index: int, check: Check, progress: Progress) -> tuple[float, Tensors]:
        place, repeat = divmod(index, params.networks)
        images = sets[iterations[place]]
        drawn = (*images.names.values(), "evaluate", params.arch, repeat)
        network = new_network(params.arch, params, test, generator(*drawn, "weights"))

        def after_epoch(epoch: int, loss: float) -> None:
            progress.step(snapshot=iterations[place], network=repeat, loss=loss)

        forward = forward_of(network)
        train(network, images.images.__getitem__, images.targets, params, drawn, after_epoch, forward, check)
        return accuracy(network, test), {}

    def rows_of(index: int, tested: float) -> Rows:
        place, repeat = divmod(index, params.networks)
        for point, at in enumerate(points):
            if trained_as[at] == iterations[place]:
                step = point * params.networks + repeat + 1
                yield step, {"iteration": at, "network": repeat, "accuracy": tested}

    count = len(iterations) * params.networks
    tested, _ = train_networks(count, params.epochs, train_one, rows_of, out, record, device)
    found = {at: tested[place * params.networks :][: params.networks] for place, at in enumerate(iterations)}
    snapshots = [{"iteration": at, "accuracies": found[trained_as[at]]} for at in points]
    content = {"training_images": len(finished), "snapshots": snapshots}
    write_tests(out, content, {"last": fmean(found[FINISHED])}, record)
