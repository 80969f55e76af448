"""Time one training step of ConvNet-3 with two ways to halve the resolution: torch's AvgPool2d, and HalvingPool.

Run: `python benchmarks/pooling.py`. Prints the best of several repeats in milliseconds of processor time, one thread.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ncfm.core.seeding import generator
from ncfm.models.base import HalvingPool
from ncfm.models.registry import build
from ncfm.run.record import hardware

REPEATS = 20
BATCH, WIDTH = 128, 32


def best(run: Callable[[], object]) -> float:
    """Return the shortest of the repeats, in milliseconds, after one warm-up."""
    run()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def main() -> None:
    """Measure both, and say on what."""
    torch.set_num_threads(1)
    draws = generator("benchmark")
    images = torch.randn(BATCH, 3, 32, 32, generator=draws)
    labels = torch.randint(10, (BATCH,), generator=draws)
    print(f"{hardware()['cpu']}, 1 thread, torch {torch.__version__}, Python {platform.python_version()}")
    print(f"ConvNet-3, width {WIDTH}, {BATCH} CIFAR-10-sized images; best of {REPEATS}")
    for pool in (nn.AvgPool2d, HalvingPool):
        network = build(
            "convnet-3", channels=3, resolution=32, classes=10, width=WIDTH, norm="instance", generator=draws
        )
        for place, layer in enumerate(network.blocks):
            if isinstance(layer, HalvingPool):
                network.blocks[place] = pool(2) if pool is nn.AvgPool2d else pool()

        def forward(network: nn.Module = network) -> None:
            with torch.no_grad():
                network(images)

        def both(network: nn.Module = network) -> None:
            cross_entropy(network(images), labels).backward()

        print(f"{pool.__name__:12s} forward {best(forward):6.1f} ms   forward and backward {best(both):6.1f} ms")


if __name__ == "__main__":
    main()
