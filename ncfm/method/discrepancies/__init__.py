"""Discrepancies between real and synthetic features; what each is and costs stands beside its formula.

Shapes, here and in the files: C classes, B real and M synthetic images of one class, D features, F frequencies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ncfm.core.params import DistillParams
from ncfm.core.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

# Features of real images (C, B, D) and of synthetic ones (C, M, D), weights (C, B) of the real ones or None,
# frequencies (F, D) or None, the stage's params; returns one value per class, (C,). B and M may differ. Where classes
# have unequally many real images the shorter rows are filled up, and the fillings' weight is 0: see `real_mean`.
Measure = Callable[["Tensor", "Tensor", Any, Any, DistillParams], "Tensor"]
# The stage's params, classes, real and synthetic images per class, D; returns FLOP per iteration.
Cost = Callable[[DistillParams, int, int, int, int], float]


@dataclass(frozen=True)
class Discrepancy:
    """A discrepancy, as ``distill.discrepancy`` names it."""

    name: str
    measure: Measure
    flop: Cost = lambda *_: 0.0  # of one iteration, forward and backward; 0 where they are few beside the networks'
    uses_frequencies: bool = False  # compares at frequencies, which distillation then draws
    reads: tuple[str, ...] = ()  # the fields of DistillParams that make no difference to the other discrepancies
    order: int = 100  # place in lists


def real_mean(values_CBX: Tensor, weights_CB: Tensor | None) -> Tensor:
    """Return the mean over each class's real images, (C, X), with weights that sum to 1, or the plain one."""
    return values_CBX.mean(-2) if weights_CB is None else (weights_CB[:, None] @ values_CBX).squeeze(-2)


DISCREPANCIES: Registry[Discrepancy] = Registry("discrepancy", __name__)
