"""What weighs how much in the joint step: size of each part's loss and of its gradient with respect to the images.

`python benchmarks/gradients.py RESULTS [DRAWS]` (default 6), where RESULTS is the folder of a campaign with CIFAR-10
and its extractors (e.g. results/cifar10-ipc10). At the random tiles that a distillation starts from and at the set
that ships, for each discrepancy and for the cross-entropy. Prints a Markdown table, and writes benchmarks/results/.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from common import begin, save
from torch import Tensor

from ncfm.core.params import DistillParams
from ncfm.core.store import load_tensors
from ncfm.datasets.split import Split, load_split
from ncfm.method.distillation import Distillation
from ncfm.method.distilled import find_set
from ncfm.method.pool import Pool, load_pool

FAST = {
    "frequencies": "mixture",
    "num_frequencies": 1024,
    "real_batches": "random",
    "update": "joint",
    "batch_real": 64,
}
ONE_SIDED = 1e-9  # so little of the matching that only the cross-entropy is left
PARTS: dict[str, dict[str, Any]] = {
    "NCFD": {"discrepancy": "ncfd", "calibration": 0},
    "MMD": {"discrepancy": "mmd", "calibration": 0},
    "energy distance": {"discrepancy": "energy", "calibration": 0},
    "cross-entropy": {"discrepancy": "mmd", "calibration": 1, "loss_scale": ONE_SIDED},
}


def measure(run: Distillation, shipped: str | None, draws: int) -> dict[str, float]:
    """Return the mean loss a class, and the mean length of the gradient, over draws at which the images stay."""
    if shipped:
        images = load_tensors(find_set(shipped), "cpu")[0]["images"]
        run.images.data.copy_((images / 255 if images.dtype == torch.uint8 else images).view_as(run.images))
    losses, lengths = list[float](), list[float]()

    def stay(found: Tensor, gradient: Tensor, of_psi: object) -> None:
        losses.append(float(found.sum()) / run.split.classes)
        lengths.append(float(gradient.norm()))

    run.move = stay  # type: ignore[method-assign]
    for _ in range(draws):
        run.step()
    return {"loss": mean(losses), "gradient": mean(lengths)}


def rows(split: Split, pool: Pool, draws: int) -> list[dict[str, Any]]:
    """Measure each part at each state."""
    found = []
    for ipc in (1, 10):
        for shipped in (None, f"cifar10-ipc{ipc}-fast"):
            for part, changes in PARTS.items():
                run = Distillation(DistillParams(**{**FAST, **changes}), split, pool, ipc, 0)
                found.append({"ipc": ipc, "set": shipped or "start", "part": part, **measure(run, shipped, draws)})
    return found


def main(results: Path, draws: int) -> None:
    """Print the table and write the numbers."""
    device = begin()
    split = load_split(results / "datasets/cifar10", "train", device)
    pool = load_pool(results / "extractors/cifar10/convnet-3.safetensors", results / "datasets/cifar10", split)
    found = rows(split, pool, draws)
    print("| IPC | images | part | loss | gradient |\n| --- | --- | --- | --- | --- |")
    for row in found:
        print(f"| {row['ipc']} | {row['set']} | {row['part']} | {row['loss']:.2f} | {row['gradient']:.2f} |")
    save("gradients", {"draws": draws, "rows": found})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 6)
