"""Our evaluation of a distilled set beside the authors' released program: does each part agree, and do the accuracies?

`python benchmarks/agreement.py FOLDER DATA [--set NAME] [--networks N] [--processes P]`, with a checkout of
github.com/gszfwsb/NCFM in FOLDER, outside this repository, and a prepared data set in DATA (`ncfm prepare`). Its own
functions are called for decoding, augmentation, CutMix, network, training and test, on a CPU in float32; only its data
loaders are left out. Prints a Markdown table and writes benchmarks/results/, after every network; networks that are
there are not trained again.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import scipy.stats
import torch
from common import RESULTS, begin, made_split, save
from released import SETTINGS, begin_released
from torch import Tensor, nn

import ncfm
from ncfm.core.params import EvaluateParams
from ncfm.core.seeding import generator
from ncfm.core.store import read_json
from ncfm.core.torchvision_shim import torchvision  # noqa: F401 (before the released program imports it)
from ncfm.datasets.split import Split, load_split
from ncfm.method import augmentation
from ncfm.method.training import accuracy, new_network, train
from ncfm.models.base import Network

PARAMS = EvaluateParams(norm="instance", looks=1)
FILE = RESULTS / f"cpu-{torch.get_num_threads()}" / "agreement.json"
CPU, DRAWS, STEPS = torch.device("cpu"), 2000, 50


def their_network(network: Network | None = None) -> nn.Module:
    """Return a network of the released program, with the weights of ours where one is given."""
    from models.convnet import ConvNet

    theirs: nn.Module = ConvNet(10, net_norm="instance", net_depth=3, net_width=PARAMS.width)
    for ours, other in pairs(network, theirs) if network else ():
        other.data.copy_(ours)
    return theirs


def pairs(ours: Network, theirs: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each parameter of ours with the one in its place in the released program's network."""
    layers = {f"blocks.{4 * depth}": f"layers.conv.{depth}" for depth in range(3)}
    layers |= {f"blocks.{4 * depth + 1}": f"layers.norm.{depth}" for depth in range(3)} | {"head": "classifier"}
    found = dict(theirs.named_parameters())
    for name, value in ours.named_parameters():
        layer, _, end = name.rpartition(".")
        yield value, found[f"{layers[layer]}.{end}"]


def their_training(
    network: nn.Module, images: Tensor, labels: Tensor, epochs: int, augment: Callable[..., Any] | None
) -> None:
    """Train as the released program does: its epoch, its optimiser, its schedule (condenser/evaluate.py)."""
    from utils.train_val import train_epoch

    optimiser = torch.optim.AdamW(network.parameters(), lr=PARAMS.learning_rate)
    milestones = [share * epochs // 5 for share in (1, 2, 3, 4)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=PARAMS.decay)
    mixup = "cut" if augment else "none"
    for epoch in range(epochs):
        batches = [(images[rows].clone(), labels[rows]) for rows in torch.randperm(len(labels)).split(PARAMS.batch)]
        train_epoch(SETTINGS, batches, network, nn.CrossEntropyLoss(), optimiser, epoch, augment, mixup)
        schedule.step()


def begin_both(folder: str) -> None:
    """Set a process up for both programs, on a CPU."""
    warnings.filterwarnings("ignore")
    begin()
    begin_released(folder, CPU)


def parts(name: str) -> Iterator[tuple[str, str]]:
    """Yield what agrees, and how nearly."""
    from condenser.decode import decode
    from utils.diffaug import DiffAug
    from utils.mix_cut_up import rand_bbox

    held = ncfm.load(name)
    decoded, labels = decode("single", (32, 32), held.stored.float(), held.labels[: len(held.stored)], held.factor)
    yield "decoded pixels, largest difference", f"{float((decoded - held.pixels).abs().max()):.2g}"
    yield "their labels", "equal" if torch.equal(labels, held.labels) else "other"

    images, draws = held.images, generator("agreement")
    augment = DiffAug(strategy=PARAMS.augmentation, batch=False)

    def cut(batch: Tensor) -> Tensor:
        top, left, bottom, right = rand_bbox(batch.size(), np.random.beta(1.0, 1.0))
        batch[:, :, top:bottom, left:right] = batch[torch.randperm(len(batch)), :, top:bottom, left:right]
        return batch

    def drawn(batch: Tensor) -> Tensor:
        return augmentation.apply(batch, augmentation.draw(PARAMS.augmentation, len(batch), batch.shape[-1], draws))

    for what, theirs, ours in (
        ("augmentation", augment, drawn),
        ("CutMix", cut, lambda batch: augmentation.cutmix(batch, draws)[0]),
    ):
        first, second = (
            torch.stack([measures(call(images.clone()), images) for _ in range(DRAWS)]) for call in (theirs, ours)
        )
        error = ((first.var(0) + second.var(0)) / DRAWS).sqrt()
        apart = ((first - second).mean(0) / error)[error > 1e-6].abs()
        yield (
            f"{what}: {len(apart)} means over {DRAWS} batches, largest distance in standard errors",
            f"{float(apart.max()):.1f}",
        )

    ours = new_network("convnet-3", PARAMS, made_split(10, 1, 32, CPU), generator("agreement")).double()
    theirs = their_network(ours).double()
    plain = PARAMS.model_copy(update={"augmentation": "", "cutmix_probability": 0.0, "epochs": STEPS})
    train(ours, images.double().__getitem__, held.labels, plain, ("agreement",))
    their_training(theirs, images.double(), held.labels, STEPS, None)
    apart = max(float((one - other).abs().max()) for one, other in pairs(ours, theirs))
    yield f"{STEPS} epochs from equal weights in float64, not augmented: largest difference of a weight", f"{apart:.1g}"


def measures(batch: Tensor, images: Tensor) -> Tensor:
    """Return statistics of an augmented batch: of its pixels, its colours, its place, its middle and its border."""
    grey = batch.mean(1, keepdim=True)
    return torch.stack([
        batch.mean(), batch.std(), batch.abs().max(), (batch - grey).std(), (batch == 0).float().mean(),
        batch[:, :, :4].std(), batch[:, :, 12:20, 12:20].std(),
        (batch - images).square().mean(), (batch - images.flip(3)).square().mean(),
    ])  # fmt: skip


def trained(folder: str, name: str, data: str, whose: str, number: int) -> tuple[str, int, float]:
    """Train one network on the set, by the released program or by ours; return its accuracy after the last epoch."""
    begin_both(folder)
    torch.set_num_threads(1)
    held, test = ncfm.load(name), load_split(Path(data), "test", CPU)
    if whose == "ours":
        drawn = ("agreement", number)
        network = new_network("convnet-3", PARAMS, test, generator(*drawn, "weights"))
        train(network, held.images.__getitem__, held.labels, PARAMS, drawn)
        return whose, number, accuracy(network, test)
    from utils.diffaug import DiffAug

    np.random.seed(number + 1)
    torch.manual_seed(number + 1)
    network = their_network()
    their_training(network, held.images, held.labels, PARAMS.epochs, DiffAug(strategy=PARAMS.augmentation, batch=False))
    return whose, number, their_accuracy(network, test)


def their_accuracy(network: nn.Module, test: Split) -> float:
    """Return the released program's accuracy on the test images, in percent."""
    from utils.train_val import validate

    batches = [
        (test.normalisation(test.pixels(rows)), test.labels[rows]) for rows in torch.arange(len(test.labels)).split(500)
    ]
    with torch.no_grad():
        return float(validate(batches, network, nn.CrossEntropyLoss())[0])


def main() -> None:
    """Compare the parts, then train networks by both programs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("data")
    parser.add_argument("--set", default="cifar10-ipc1-fast", help="name of a set that ships, of CIFAR-10")
    parser.add_argument("--networks", type=int, default=6, help="of each program")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--commit", default="de92fb8", help="of the checkout")
    options = parser.parse_args()
    begin_both(options.folder)
    about = {"released_commit": options.commit, "set": options.set}
    before = read_json(FILE) if FILE.is_file() else {}
    networks = {whose: dict(before[whose]) if about.items() <= before.items() else {} for whose in ("theirs", "ours")}
    found: dict[str, Any] = {**about, **networks, "parts": {}}
    for part, value in parts(options.set):
        found["parts"][part] = value
        print(f"| {part} | {value} |", flush=True)
    with ProcessPoolExecutor(options.processes) as pool:
        given, jobs = (options.folder, options.set, options.data), []
        for number, whose in product(range(options.networks), networks):
            if str(number) not in networks[whose]:
                jobs.append(pool.submit(trained, *given, whose, number))
        for job in as_completed(jobs):
            whose, number, value = job.result()
            networks[whose][str(number)] = round(value, 2)
            print(f"| {whose}, network {number} | {value:.2f} |", flush=True)
            save("agreement", found)
    theirs, ours = ([*networks[whose].values()] for whose in networks)
    if min(len(theirs), len(ours)) > 1:
        low, high = scipy.stats.ttest_ind(theirs, ours, equal_var=False).confidence_interval()
        difference = fmean(theirs) - fmean(ours)
        found["theirs minus ours"] = {"difference": difference, "low": low, "high": high}
        print(f"| theirs minus ours, 95% (Welch) | {difference:+.2f} [{low:+.2f}, {high:+.2f}] |")
    save("agreement", found)


if __name__ == "__main__":
    main()
