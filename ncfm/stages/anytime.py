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

    The draws are those of an evaluation, equal for all snapshots. Of the data set only the test split is read.
    """
    device = chosen_device()
    test, finished = load_with_test(distilled, data, device)
    forward_of = forwards(params, device, lambda: new_network(params.arch, params, test, generator("overwritten")))
    unfinished = {at: one for at, one in finished.snapshots.items() if not torch.equal(one.stored, finished.stored)}
    sets = {**unfinished, FINISHED: finished}
    iterations = list(sets)

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
        return [(index + 1, {"iteration": iterations[place], "network": repeat, "accuracy": tested})]

    count = len(sets) * params.networks
    tested, _ = train_networks(count, params.epochs, train_one, rows_of, out, record, device)
    points = [
        {"iteration": iteration, "accuracies": tested[place * params.networks : (place + 1) * params.networks]}
        for place, iteration in enumerate(iterations)
    ]
    content = {"training_images": len(finished), "snapshots": points}
    write_tests(out, content, {"last": fmean(tested[-params.networks :])}, record)
