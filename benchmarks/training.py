"""Seconds to train networks: a pretraining epoch of one extractor, and the networks of an evaluation.

`python benchmarks/training.py`. ConvNet-3, width 128, CIFAR-10's shape. Each variant trains as many networks,
one after the other on all threads or side by side on one each ; seconds are per network. The variants
run in turn. A part of an epoch is timed and scaled up; the batches have two sizes, as in the full epoch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from common import begin, flop, made_split, rates, save, seconds

from ncfm.core.params import EvaluateParams, NetworkParams, PretrainParams
from ncfm.core.seeding import generator
from ncfm.method.training import forwards, new_network, train
from ncfm.run.compute import precision_on, side_by_side

NETWORKS = 2
TIMED_BATCHES, REST = 24, 80  # REST: images of the last batch, as in CIFAR-10's epoch of 50,000
FULL_IMAGES = 50000
VARIANTS: dict[str, tuple[bool, dict[str, Any]]] = {
    "one after the other": (False, {}),
    "side by side": (True, {}),
    "side by side, compiled": (True, {"compile": True}),
    "side by side, bfloat16": (True, {"precision": "bfloat16"}),
    "one after the other, compiled, bfloat16": (False, {"compile": True, "precision": "bfloat16"}),
    "side by side, compiled, bfloat16": (True, {"compile": True, "precision": "bfloat16"}),
}


def trainer(params: NetworkParams, arch: str, images: int, side: bool, device: torch.device) -> Callable[[], None]:
    """Return a call that trains the networks on ``images`` random images for the params' epochs."""
    split = made_split(10, images // 10, 32, device)
    forward_of = forwards(params, device, lambda: new_network(arch, params, split, generator("shape")))
    normalised = split.normalisation(split.images) if images < 1000 else None

    def work(index: int, check: Callable[[], None]) -> None:
        network = new_network(arch, params, split, generator(index))

        def at(rows: torch.Tensor) -> torch.Tensor:
            return split.normalisation(split.pixels(rows)) if normalised is None else normalised[rows]

        train(network, at, split.labels, params, (index,), lambda *_: None, forward_of(network), check)

    def in_turn() -> None:
        for index in range(NETWORKS):
            work(index, lambda: None)

    def together() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # for each network, as the stages run
        side_by_side(NETWORKS, (), work, lambda *_: None, device)
        torch.set_num_threads(threads)

    return together if side else in_turn


def measure(name: str, model: type[NetworkParams], images: int, epochs: int, scale: float, options: Any) -> None:
    """Time every variant; ``scale`` turns the seconds of a call into those of one network's whole."""
    device = begin()
    found_rates = rates(device)
    calls = {}
    for label, (side, changes) in VARIANTS.items():
        params = model(epochs=epochs, **changes)
        if changes.get("precision", "float32") == precision_on(params, device):
            calls[label] = (trainer(params, "convnet-3", images, side, device), changes.get("precision", "float32"))
            calls[label][0]()  # compiles, and warms up
    work = flop(trainer(model(epochs=epochs), "convnet-3", images, False, device)) / NETWORKS * scale
    times: dict[str, list[float]] = {label: [] for label in calls}
    for _ in range(options.repeats):
        for label, (call, _) in calls.items():
            times[label] += [value / NETWORKS * scale for value in seconds(call, device, 1, 0)]
            print(f"{name}: {label}: {times[label][-1]:.2f} s", flush=True)
    first = median(times["one after the other"])
    variants = {}
    for label, measured in times.items():
        floor = work / found_rates[f"convolution {calls[label][1]}"]
        variants[label] = {
            "seconds": median(measured),
            "all_seconds": measured,
            "speedup": first / median(measured),
            "floor_seconds": floor,
            "achieved": floor / median(measured),
        }
    shape = {"network": "convnet-3, width 128", "networks": NETWORKS, "images": images, "epochs": epochs}
    save(name, {**shape, "scaled_by": scale, "flop": work, "rates": found_rates, "variants": variants})


def main() -> None:
    """Time pretraining and evaluation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    part = 128 * TIMED_BATCHES + REST - (128 * TIMED_BATCHES + REST) % 10
    measure("pretraining-epoch", PretrainParams, part, 1, FULL_IMAGES / part, options)
    # IPC 10: 400 decoded images; 5 of the 2000 epochs are timed.
    measure("evaluation-network", EvaluateParams, 400, 5, 2000 / 5, options)


if __name__ == "__main__":
    main()
