"""The rule `forgetting` (Toneva et al. 2019): the images that a network most often learns and then forgets again.

The training that is watched is that of a network of the pool, chosen by the seed, with ``pretrain.count_forgetting``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncfm.method.coresets import Request, Rule

if TYPE_CHECKING:
    from torch import Tensor


class ForgettingEvents:
    """How often each of N training images was classified right when it was judged, and wrong the next time.

    As in Toneva et al. (algorithm 1) an image is judged as it comes in its batch, augmented and before the step. An
    image that is never learned counts 0, as in DeepCore; Toneva et al. count it as forgotten infinitely often.
    """

    def __init__(self, labels: Tensor) -> None:
        import torch

        self._labels, self._right = labels, torch.zeros_like(labels, dtype=torch.bool)
        self.counts = torch.zeros_like(labels, dtype=torch.int32)  # (N,)

    def judge(self, index: Tensor, logits: Tensor) -> None:
        """Judge the images at ``index`` (B,), each once, by their logits (B, classes)."""
        right = logits.argmax(1) == self._labels[index]
        self.counts[index] += self._right[index] & ~right
        self._right[index] = right


def choose(request: Request) -> list[Tensor]:
    """Return, for each class, the ``wanted`` images with the most forgetting events; ties are drawn."""
    import torch

    pool, member = request.picked()
    counts = pool.forgetting_events(member, len(request.split.labels))
    chosen = []
    for rows in request.split.by_class:
        order = rows[torch.randperm(len(rows), generator=request.draws).to(rows.device)]
        chosen.append(order[counts[order].argsort(descending=True, stable=True)[: request.wanted]])
    return chosen


ENTRIES = (Rule("forgetting", choose, reads_extractors=True, reads_events=True, order=4),)
