"""Seconds per iteration of distillation at the released settings: CIFAR-10, IPC 10, 1024 real images, 4096 frequencies.

`python benchmarks/distillation.py [--shape cifar10] [--ipc 10] [--repeats 3]`. The variants run in turn, so that what
else the machine does hits all of them. The floor is the arithmetic alone at the rate of the heaviest layer.
"""

from __future__ import annotations

import argparse
from statistics import mean, median

import torch
from common import SHAPES, begin, distillation, flop, rates, save, seconds

from ncfm.run.compute import precision_on

VARIANTS = {
    "all images at once": {"images_at_once": 10**9},
    "pieces": {},
    "pieces, recomputed": {"recompute": True},
    "pieces, compiled": {"compile": True},
    "pieces, bfloat16": {"precision": "bfloat16"},
    "pieces, compiled, bfloat16": {"compile": True, "precision": "bfloat16"},
}


def main() -> None:
    """Time every variant and compare its gradients with the first's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="cifar10")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = begin()
    measured_rates = rates(device)
    runs, gradients, losses = {}, {}, {}
    for name, changes in VARIANTS.items():
        run = distillation(SHAPES[options.shape], options.ipc, device, learning_rate=1e-9, **changes)
        if changes.get("precision") == precision_on(run.params, device) or "precision" not in changes:
            runs[name] = run
            run.step()
            losses[name] = run.read_back()[0][1]["loss"]
            assert run.images.grad is not None
            gradients[name] = run.images.grad.clone()
    work = flop(runs["pieces"].step)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.repeats):
        for name, run in runs.items():
            times[name] += seconds(run.step, device, 1, 0)
            print(f"{name}: {times[name][-1]:.2f} s", flush=True)
    exact = gradients["all images at once"]
    variants = {}
    for name, measured in times.items():
        precision = "bfloat16" if "bfloat16" in name else "float32"
        floor = work / measured_rates[f"convolution {precision}"]
        variants[name] = {
            "seconds": median(measured),
            "mean_seconds": mean(measured),
            "all_seconds": measured,
            "floor_seconds": floor,
            "achieved": floor / median(measured),
            "relative_loss_error": abs(losses[name] / losses["all images at once"] - 1),
            "relative_gradient_error": float((gradients[name] - exact).norm() / exact.norm()),
            "gradient_cosine": float(torch.cosine_similarity(gradients[name].flatten(), exact.flatten(), dim=0)),
        }
    save(
        f"distillation-{options.shape}-ipc{options.ipc}",
        {"shape": options.shape, "ipc": options.ipc, "flop": work, "rates": measured_rates, "variants": variants},
    )
    for name, row in variants.items():
        print(f"{name:32s} {row['seconds']:8.3f} s  {row['achieved']:5.0%} of the floor's rate")


if __name__ == "__main__":
    main()
