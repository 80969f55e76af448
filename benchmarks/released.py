"""The released program beside ours, in one run: seconds per iteration at CIFAR-10, IPC 10, and per pretraining epoch.

`python benchmarks/released.py FOLDER`, with a checkout of github.com/gszfwsb/NCFM in FOLDER, outside this repository.
Its own functions for losses, augmentation, decoding, network and training are called on random pixels in memory. Left
out, in its favour: its loader threads, and reading two networks from disk at each iteration. Its `.cuda()` is undone
on a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from common import SHAPES, begin, distillation, made_split, save, seconds
from training import FULL_IMAGES, TIMED_BATCHES, trainer

from ncfm.core.params import PretrainParams
from ncfm.core.torchvision_shim import torchvision  # noqa: F401 (before the released program imports it)
from ncfm.run.compute import chosen_device

IPC, REAL = 10, 1024
OURS: dict[str, dict[str, Any]] = {
    "ours, float32": {},
    "ours, bfloat16, compiled": {"precision": "bfloat16", "compile": True},
}
SETTINGS = SimpleNamespace(
    **{"num_freqs": 4096, "dataset": "cifar10", "aug_type": "color_crop_cutout", "mixup": "cut", "rank": 0},
    **{"mix_p": 0.5, "beta": 1.0, "nclass": 10},
)


def begin_released(folder: str | Path, device: torch.device) -> None:
    """Let this process call the released program, whose checkout lies in ``folder``, without its others and its GPU."""
    sys.path.insert(0, str(folder))
    if device.type == "cpu":
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
        torch.nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[method-assign, assignment]
    from utils import train_val

    train_val.sync_distributed_metric = lambda values: values  # one process
    train_val.random_indices = lambda labels, nclass: torch.randperm(len(labels)).to(device)  # "cuda" is written in it


def iteration(device: torch.device) -> Any:
    """Return one iteration of the released program as a call."""
    from condenser.compute_loss import compute_calib_loss, compute_match_loss
    from condenser.decode import decode
    from models.convnet import ConvNet
    from NCFM.NCFM import CFLossFunc, cailb_loss, match_loss
    from utils.diffaug import diffaug

    SETTINGS.cf_loss_func = CFLossFunc(0.5, 0.5)
    augment, _ = diffaug(SETTINGS, device=device)
    networks = [ConvNet(10, net_width=128, net_depth=3).to(device) for _ in range(2)]
    split = made_split(10, REAL, 32, device)
    real = {c: split.pixels(split.by_class[c]) for c in range(10)}
    data = torch.rand(10 * IPC, 3, 32, 32, device=device, requires_grad=True)
    optimiser = torch.optim.AdamW([data], lr=0.001, weight_decay=5e-4)
    silent = SimpleNamespace(start_step=lambda: None, record=lambda name: None)
    loader = SimpleNamespace(class_sample=lambda c: (real[c], None))

    def sample(c: int) -> Any:
        rows = slice(c * IPC, (c + 1) * IPC)
        return decode("single", (32, 32), data[rows], torch.full((IPC,), c, device=device), 2)

    def step() -> None:
        data.data.clamp_(0, 1)
        compute_match_loss(
            SETTINGS, loader, sample, augment, match_loss, optimiser, range(10), silent, networks[0], data.grad
        )
        compute_calib_loss(sample, augment, cailb_loss, optimiser, 1, range(10), silent, networks[1], 1, data.grad)

    return step


def epoch(device: torch.device) -> Any:
    """Return a part of a pretraining epoch of the released program as a call: whole batches, in memory."""
    from models.convnet import ConvNet
    from utils import train_val
    from utils.diffaug import diffaug

    SETTINGS.aug_type = "color_crop"
    _, augment = diffaug(SETTINGS, device=device)
    network = ConvNet(10, net_width=128, net_depth=3).to(device)
    optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    split = made_split(10, 128, 32, device)
    batch = (split.pixels(torch.arange(128, device=device)), split.labels[:128])
    batches = [batch] * TIMED_BATCHES
    loss = torch.nn.CrossEntropyLoss()
    return lambda: train_val.train_epoch(SETTINGS, batches, network, loss, optimiser, 0, augment)


def main() -> None:
    """Time the released program and ours in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--commit", default="de92fb8", help="of the checkout")
    options = parser.parse_args()
    device = chosen_device()
    begin_released(options.folder, device)
    found: dict[str, dict[str, Any]] = {"iteration": {}, "pretraining_epoch": {}}
    part = 128 * TIMED_BATCHES

    def record(kind: str, name: str, call: Any, scale: float = 1.0) -> None:
        times = [value * scale for value in seconds(call, device, options.repeats, 1)]
        found[kind][name] = {"seconds": min(times), "all_seconds": times}
        print(kind, name, times, flush=True)

    with contextlib.redirect_stdout(io.StringIO()):
        step, part_of_epoch = iteration(device), epoch(device)
    # As it is, and then in a process that keeps its memory, as ours do: that alone is a part of the difference.
    for name, prepare in (("released", lambda: None), ("released, in our process", begin)):
        prepare()
        record("iteration", name, step)
        record("pretraining_epoch", name, part_of_epoch, FULL_IMAGES / part)
    for name, changes in OURS.items():
        record("iteration", name, distillation(SHAPES["cifar10"], IPC, device, **changes).step)
        params = PretrainParams(epochs=1, **changes)
        two_networks = trainer(params, "convnet-3", part, device.type == "cpu", device)
        record("pretraining_epoch", name, two_networks, FULL_IMAGES / part / 2)
    for rows in found.values():
        for row in rows.values():
            row["times_faster"] = rows["released"]["seconds"] / row["seconds"]
    save("released", {"released_commit": options.commit, **found})


if __name__ == "__main__":
    main()
