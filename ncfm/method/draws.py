"""What one iteration of a distillation draws on the CPU: for all classes in one call each, moved to the device at once.

Shapes: C classes, B real images of the class that has most in an iteration, N real images of all classes together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.utils.rnn import pad_sequence

from ncfm.core.params import DistillParams
from ncfm.datasets.split import Split
from ncfm.method.augmentation import Draw, draw_each
from ncfm.run.compute import moved


@dataclass(frozen=True)
class Draws:
    """One iteration's draws, on the device."""

    siamese: Draw  # 2 C rows: class c matches with row c, and its calibration takes row C + c
    real_rows: Tensor  # (N,), the real images' rows in the split, class by class


class RealBatches:
    """Which real images the classes see: ``batch_real`` of each, or all of a class that has no more.

    A class takes equally many in every iteration, so that what is known of the places in a batch is made only once:
    ``start[c]`` is the place of class c's first image among the N, ``of_class`` (N,) each image's class, ``place`` (N,)
    its place in a table (C, B) whose short rows are filled up, and ``weights`` (C, B) the share of each place in its
    class's mean, or None where all classes have B.
    """

    def __init__(self, params: DistillParams, split: Split) -> None:
        self.params, self.device = params, split.images.device
        rows = [rows.cpu() for rows in split.by_class]
        self.longest = max(map(len, rows))
        sizes = torch.tensor([min(len(one), params.batch_real) for one in rows])
        self.most = int(sizes.max())
        self._table = pad_sequence(rows, batch_first=True)
        self._missing = torch.arange(self.longest) >= torch.tensor([len(one) for one in rows])[:, None]
        self._used = torch.arange(self.most) < sizes[:, None]
        self.start = [0, *sizes.cumsum(0).tolist()]
        self.of_class, self.place = moved(
            [torch.arange(len(rows)).repeat_interleave(sizes), self._used.flatten().nonzero().flatten()], self.device
        )
        self.weights = None if self._used.all() else (self._used / sizes[:, None]).to(self.device)

    def rows(self, draws: Generator) -> Tensor:
        """Return the rows (N,) in the split of an iteration's real images, class by class, on the CPU.

        Random ones of each class without a repeat, or always the first (``real_batches``).
        """
        if self.params.real_batches == "first" or self.longest <= self.params.batch_real:
            return self._table[:, : self.most][self._used]
        keys = torch.rand(self._table.shape, generator=draws).masked_fill_(self._missing, torch.inf)
        return self._table.gather(1, keys.argsort(1)[:, : self.most])[self._used]

    def draw(self, resolution: int, draws: Generator) -> Draws:
        """Draw what an iteration needs, the real images first, which methods of one seed have in common."""
        rows = self.rows(draws)
        siamese = draw_each(self.params.augmentation, 2 * len(self._table), resolution, draws)
        return Draws(siamese.to(self.device), *moved([rows], self.device))
