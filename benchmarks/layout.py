"""Two means that did not make training faster on a CPU: channels-last tensors, and the fused optimiser.

`python benchmarks/layout.py`: milliseconds of a training step of ConvNet-3, width 128, batch 128, in turn.
"""

from __future__ import annotations

from statistics import median

import torch
from common import begin, save, seconds
from torch.nn.functional import cross_entropy

from ncfm.core.seeding import generator
from ncfm.models.registry import build

VARIANTS = {"plain": (False, False), "channels-last": (True, False), "fused optimiser": (False, True)}


def main() -> None:
    """Measure every variant."""
    device = begin()
    images = torch.randn(128, 3, 32, 32, generator=generator("images")).to(device)
    labels = torch.zeros(128, dtype=torch.int64, device=device)
    steps = {}
    for name, (last, fused) in VARIANTS.items():
        shape = {"channels": 3, "resolution": 32, "classes": 10, "width": 128, "norm": "instance"}
        network = build("convnet-3", **shape, generator=generator("weights")).to(device)
        pixels = images
        if last:
            network, pixels = (
                network.to(memory_format=torch.channels_last),
                images.to(memory_format=torch.channels_last),
            )
        optimiser = torch.optim.AdamW(network.parameters(), fused=fused)

        def step(network=network, pixels=pixels, optimiser=optimiser) -> None:
            optimiser.zero_grad()
            cross_entropy(network(pixels), labels).backward()
            optimiser.step()

        steps[name] = step
        seconds(step, device, 2, 1)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(10):
        for name, step in steps.items():
            times[name] += seconds(step, device, 1, 0)
    found = {name: 1000 * median(measured) for name, measured in times.items()}
    print(found)
    save("layout", {"milliseconds": found})


if __name__ == "__main__":
    main()
