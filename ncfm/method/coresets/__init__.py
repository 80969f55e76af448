"""Coresets: rules that choose real images, one file each; what a rule is asked, and the features that some compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ncfm.core.params import SelectParams
from ncfm.core.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ncfm.datasets.split import Split
    from ncfm.method.pool import Pool


@dataclass(frozen=True)
class Request:
    """What a rule chooses from.

    Attributes:
        params: the stage's params.
        split: the training split.
        wanted: how many images of each class.
        seed: the cell's seed.
        draws: a CPU generator for the rule's own draws.
        pool: the extractors, for rules that read them, else None.
    """

    params: SelectParams
    split: Split
    wanted: int
    seed: int
    draws: torch.Generator
    pool: Pool | None = None

    def class_features(self) -> Iterator[Tensor]:
        """Yield, class by class, the features (n, D) of all its images, in the order of ``split.by_class``.

        They are the flattened features of one trained network of the pool, the seed's own as long as there are as many
        networks as seeds; neither augmented nor L2-normalised (as in IDC's herding, docs/method.md).
        """
        import torch

        from ncfm.method.training import TEST_BATCH

        assert self.pool is not None
        network = self.pool.blend(self.seed % self.pool.members, beta=0.0)
        for rows in self.split.by_class:
            with torch.no_grad():
                pieces = (self.split.normalisation(self.split.pixels(piece)) for piece in rows.split(TEST_BATCH))
                features_ND = torch.cat([network.features(piece) for piece in pieces])
            yield features_ND


@dataclass(frozen=True)
class Rule:
    """A rule, as params files name it.

    Attributes:
        name: value of ``select.rule``.
        choose: returns, for each class, the indices into the split of the images that it chose, each once.
        reads_extractors: whether it needs the extractor pool: its networks' features, or their architecture and width.
        trains: whether it trains one network of the pool's shape for ``select.epochs``.
        whole: whether it takes every image: one set per data set, stored as bytes, whose IPC is what it holds.
        order: place in lists.
    """

    name: str
    choose: Callable[[Request], list[Tensor]]
    reads_extractors: bool = False
    trains: bool = False
    whole: bool = False
    order: int = 100


RULES: Registry[Rule] = Registry("rule", __name__)
