"""The extractor pool in use: blend the start and the end of a pretrained network at a step of distillation."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ncfm.core.errors import DataError, ParamsError
from ncfm.core.seeding import generator
from ncfm.core.store import load_tensors
from ncfm.datasets.split import Split
from ncfm.models.base import Network
from ncfm.models.registry import build
from ncfm.run.compute import moved

FORGOTTEN = ".forgotten"  # ends the name of a member's forgetting events in the pool's file


def load_pool(path: Path, data: Path, split: Split, device: torch.device | None = None) -> Pool:
    """Read a pool for ``split``, which was read from ``data``. Raises :class:`DataError` where it is another's."""
    pool = Pool(path, device or split.images.device)
    if pool.facts["dataset"] != split.dataset:
        raise DataError(f"{path}: was trained on {pool.facts['dataset']}, but {data} holds {split.dataset}")
    for name in ("classes", "channels", "resolution"):  # a folder of images that was prepared anew has the same name
        if (wanted := getattr(split, name)) != pool.facts[name]:
            raise DataError(f"{path}: was trained on {name} {pool.facts[name]}, but {data} has {wanted}")
    return pool


class Pool:
    """A pretrained pool on the device. Raises :class:`DataError` where the file is missing, torn, or not a pool."""

    def __init__(self, path: Path, device: torch.device) -> None:
        tensors, facts = load_tensors(path, device)
        if not facts.get("pool"):
            raise DataError(f"{path}: is not an extractor pool; run `ncfm pretrain` again")
        self.facts, self.members, self._path, self._device = facts, int(facts["pool"]), path, device
        # Two networks of one shape: the blended extractor, and the trained member that calibration asks.
        self.blended = self.fresh(generator("overwritten")).to(device).eval().requires_grad_(False)
        self.trained = self.fresh(generator("overwritten")).to(device).eval().requires_grad_(False)
        names = self.blended.state_dict().keys()
        self._weights = [
            {end: {name: tensors[f"{member}.{end}.{name}"] for name in names} for end in ("initial", "trained")}
            for member in range(self.members)
        ]
        self._events = {name: value for name, value in tensors.items() if name.endswith(FORGOTTEN)}

    def fresh(self, weights: torch.Generator) -> Network:
        """Return a new network of the members' kind, width and normalisation, with random weights, on the CPU."""
        shape = {name: self.facts[name] for name in ("channels", "resolution", "classes", "width", "norm")}
        return build(self.facts["arch"], **shape, generator=weights)

    def randomise(self, weights: torch.Generator) -> None:
        """Give the blended extractor fresh random weights, as DM does at each iteration (docs/method.md, section 8)."""
        if self.facts["norm"] == "batch":
            needs = "the pool's batch-norm needs trained statistics"
            raise ParamsError(f"extractor: is 'random', but {needs} (allowed: pool)")
        fresh = self.fresh(weights).state_dict()
        self.blended.load_state_dict(dict(zip(fresh, moved(list(fresh.values()), self._device), strict=True)))

    def forgetting_events(self, member: int, images: int) -> Tensor:
        """Return how often each of the ``images`` for training was forgotten while a member was trained: (images,).

        Raises :class:`DataError` where the pool did not count, or was trained on other images.
        """
        if (found := self._events.get(f"{member}{FORGOTTEN}")) is None:
            raise DataError(
                f"{self._path}: has no forgetting events (allowed: made with pretrain.count_forgetting: true)"
            )
        if len(found) != images:
            raise DataError(f"{self._path}: was trained on {len(found)} images, but the data has {images}")
        return found

    def choose(self, draws: torch.Generator) -> None:
        """Draw a member and beta ~ U(0, 1), and set ``blended`` and ``trained`` to that (paper section 4.1)."""
        member = int(torch.randint(self.members, (), generator=draws))
        self.blend(member, beta=float(torch.rand((), generator=draws)))
        self.trained.load_state_dict(self._weights[member]["trained"])

    def blend(self, member: int, beta: float) -> Network:
        """Set the blended extractor to ``beta * initial + (1 - beta) * trained``, with the buffers of ``trained``."""
        weights = self._weights[member]
        self.blended.load_state_dict(weights["trained"])
        for name, parameter in self.blended.named_parameters():
            # Written out, not lerp: 0 and 1 give exactly the two ends.
            parameter.copy_(beta * weights["initial"][name] + (1 - beta) * weights["trained"][name])
        return self.blended
