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

# Features of real images (C, B, D) and of synthetic ones (C, M, D), frequencies (F, D) or None, the stage's params;
# returns one value per class, (C,). B and M may differ.
Measure = Callable[["Tensor", "Tensor", Any, DistillParams], "Tensor"]
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


DISCREPANCIES: Registry[Discrepancy] = Registry("discrepancy", __name__)
