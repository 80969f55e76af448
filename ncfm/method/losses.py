"""The losses of a distillation's iteration: the discrepancy of real and synthetic features, and the calibration.

Shapes: C classes, K stored images per class, M = factor^2 K decoded ones, B real images, D features, F frequencies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.utils.checkpoint import checkpoint as checkpointed

from ncfm.core.params import DistillParams
from ncfm.datasets.split import Split
from ncfm.method import augmentation
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.method.multiformation import decode
from ncfm.method.pool import Pool
from ncfm.models.base import Network
from ncfm.run.compute import accelerated, images_at_once, pieces

Features = Callable[[Tensor], Tensor]
Drawn = Mapping[int, augmentation.Draw]  # the siamese augmentation of each class
Batches = Mapping[int, "Batch"]
Stored = Mapping[int, Tensor]  # the stored synthetic images of each class, (K, c, h, w)


@dataclass(frozen=True)
class Batch:
    """What one class sees in one iteration: its siamese augmentation, and its real images' rows (B,) in the split."""

    drawn: augmentation.Draw
    real_rows: Tensor


class Losses:
    """Losses from draws made before: the pool's blended network gives the features, its trained one the logits."""

    def __init__(self, params: DistillParams, split: Split, pool: Pool) -> None:
        self.params, self.split = params, split
        self.device = split.images.device
        self.at_once = images_at_once(params, pool.facts["width"], split.resolution, self.device)
        self.features = {
            pool.blended: accelerated(pool.blended.features, params, self.device),
            pool.trained: accelerated(pool.trained.forward, params, self.device),
        }

    def groups(self, labels: Sequence[int], ipc: int) -> list[Sequence[int]]:
        """Return the classes in groups of equal size or one apart, each as many as pass a network at once, or one."""
        size = max(1, self.at_once // (ipc * self.params.factor**2))
        return [labels[piece] for piece in pieces(len(labels), size)] if labels else []

    def matching(self, batches: Batches, stored: Stored, extractor: Network, frequencies_FD: Tensor | None) -> Tensor:
        """Return the scaled discrepancy, summed over the classes of ``batches``, of which there may be none.

        Differentiable for the images and the frequencies. Each class has one siamese augmentation for its real and
        synthetic images; no gradient passes the real side.
        """
        features, measure = self.features[extractor], DISCREPANCIES[self.params.discrepancy].measure
        synthetic = self.pass_through({label: batch.drawn for label, batch in batches.items()}, stored, features)
        losses = [torch.zeros(0, device=self.device)]
        for label, batch in batches.items():
            real_1BD, synthetic_1MD = self.real_features(batch, features)[None], self.compared(synthetic[label])[None]
            losses.append(measure(real_1BD, synthetic_1MD, frequencies_FD, self.params))
        return self.params.loss_scale * torch.cat(losses).sum()

    @torch.no_grad()
    def real_features(self, batch: Batch, features: Features) -> Tensor:
        """Return the features to compare of a class's real images, (B, D), ``images_at_once`` at a time."""
        parts = [batch.real_rows[piece] for piece in pieces(len(batch.real_rows), self.at_once)]
        images = (self.split.normalisation(self.split.pixels(rows)) for rows in parts)
        return self.compared(torch.cat([features(augmentation.apply(one, batch.drawn)) for one in images]))

    def compared(self, features_BD: Tensor) -> Tensor:
        """Return features as the discrepancy takes them: of length 1 (docs/method.md, section 1) if so set."""
        return normalize(features_BD, dim=-1) if self.params.normalise_features else features_BD

    def pass_through(self, drawn: Drawn, stored: Stored, function: Features) -> dict[int, Tensor]:
        """Return ``function`` of each class's decoded and augmented images; classes share a call where several fit."""
        if not drawn:
            return {}
        together = torch.cat([self.recomputed(self.augmented, stored[label], one) for label, one in drawn.items()])
        outputs = [self.recomputed(function, together[piece]) for piece in pieces(len(together), self.at_once)]
        return dict(zip(drawn, torch.cat(outputs).chunk(len(drawn)), strict=True))

    def augmented(self, stored_Kchw: Tensor, drawn: augmentation.Draw) -> Tensor:
        """Return the decoded, normalised and augmented images of one class: (M, c, h, w)."""
        return augmentation.apply(self.split.normalisation(decode(stored_Kchw, self.params.factor)), drawn)

    def recomputed(self, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """Call ``function``; with ``recompute`` the backward pass calls it again, and its activations are not kept."""
        if not self.params.recompute:
            return function(*arguments)
        return checkpointed(function, *arguments, use_reentrant=False, preserve_rng_state=False)

    def calibration(self, drawn: Drawn, stored: Stored, trained: Network) -> Tensor:
        """Return the trained member's cross-entropy on the augmented synthetic images, summed over the classes, of
        which there may be none. In the released program, not in the paper (docs/method.md, section 5).
        """
        losses = [torch.zeros(0, device=self.device)]
        for label, logits in self.pass_through(drawn, stored, self.features[trained]).items():
            losses.append(cross_entropy(logits, torch.full((len(logits),), label, device=self.device))[None])
        return torch.cat(losses).sum()
