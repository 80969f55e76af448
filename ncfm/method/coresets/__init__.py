"""Coresets: rules that choose real images; what a rule is asked, and the features that some compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ncfm.core.params import TEST_BATCH
from ncfm.core.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ncfm.datasets.split import Split
    from ncfm.method.pool import Pool


@dataclass(frozen=True)
class Request:
    """What a rule chooses from."""

    split: Split  # for training
    wanted: int  # images of each class
    seed: int
    draws: torch.Generator  # for the rule's own draws, on the CPU
    pool: Pool | None = None  # for rules that read the extractors

    def picked(self) -> tuple[Pool, int]:
        """Return the pool and the member of it that the seed picks: seeds differ though a rule draws nothing."""
        assert self.pool is not None
        return self.pool, self.seed % self.pool.members

    def class_features(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield, class by class, the indices (n,) of all its images in the split, and their features (n, D).

        One trained network of the pool, chosen by the seed, gives them; neither augmented nor L2-normalised (as in
        IDC's herding, docs/method.md).
        """
        import torch

        pool, member = self.picked()
        network = pool.blend(member, beta=0.0)
        for rows in self.split.by_class:
            pieces = (self.split.normalisation(self.split.pixels(piece)) for piece in rows.split(TEST_BATCH))
            yield rows, torch.cat([network.features(piece) for piece in pieces])


@dataclass(frozen=True)
class Rule:
    """A rule, as ``select.rule`` names it."""

    name: str
    choose: Callable[[Request], list[Tensor]]  # for each class, the indices into the split of what it chose, each once
    reads_extractors: bool = False  # needs the pool: its networks' features, or what their training counted
    reads_events: bool = False  # of forgetting, which the pool's training counts with ``pretrain.count_forgetting``
    whole: bool = False  # takes every image: one set per data set, stored as bytes, whose IPC is what it holds
    order: int = 100  # place in lists


RULES: Registry[Rule] = Registry("rule", __name__)
