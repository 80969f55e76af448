"""What a selection rule is asked, and the features that some rules compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ncfm.core.params import SelectParams
from ncfm.datasets.split import Split
from ncfm.method.pool import Pool
from ncfm.method.training import TEST_BATCH


@dataclass(frozen=True)
class Request:
    """What a rule chooses from.

    Attributes:
        params: the stage's params.
        split: the training split.
        wanted: how many images of each class.
        seed: the cell's seed.
        draws: a CPU generator for the rule's own draws.
        pool: the extractors, for rules that read them (``reads_extractors``), else None.
    """

    params: SelectParams
    split: Split
    wanted: int
    seed: int
    draws: torch.Generator
    pool: Pool | None = None

    @torch.no_grad()
    def class_features(self) -> Iterator[Tensor]:
        """Yield, class by class, the features (n, D) of all its images, in the order of ``split.by_class``.

        They are the flattened features of one trained network of the pool, the seed's own as long as there are as many
        networks as seeds; neither augmented nor L2-normalised (as IDC's herding; facts in docs/method.md).
        """
        assert self.pool is not None
        network = self.pool.blend(self.seed % self.pool.members, beta=0.0)
        for rows in self.split.by_class:
            yield torch.cat(
                [network.features(self.split.normalisation(self.split.pixels(one))) for one in rows.split(TEST_BATCH)]
            )


# A rule returns, for each class, the indices into the split of the images that it chose, each once.
Rule = Callable[[Request], list[Tensor]]
