"""Where our params differ from the full protocol behind a reported number: typed, field by field."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Any

from ncfm.core.params import PretrainParams, StageParams
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.report.collect import ResultRow, StoredSet
from ncfm.report.verdicts.protocol import FullProtocol

SHAPE = ("arch", "width", "norm")  # params of extractors that matter where they are not trained
UNTIMED = ("iterations", "learning_rate", "schedule", "load")  # params of which one iteration's cost does not depend
# Fields that change no result, but for rounding.
NEVER = ("checkpoint_every", "log_every", "snapshots", "images_at_once", "recompute", "compile", "processes")
# Fields that measure a budget, by stage: less of one is cheaper, more of it dearer. A difference in any other field is
# of another kind. A shorter number is the cheaper precision everywhere.
BUDGETS = {
    "extractors": ("pool", "epochs", "width"),
    "distillation": ("iterations", "batch_real", "num_frequencies"),
    "evaluation": ("looks",),
}
PRECISIONS = ("uint8", "float16", "bfloat16", "float32")  # of computing and of what is kept, the cheaper one first


class Budget(Enum):
    """What a difference makes of our budget, compared with the one behind a reported number."""

    CHEAPER = "cheaper than the paper's"
    DEARER = "dearer"
    OTHER = "other"


@dataclass(frozen=True)
class Difference:
    """One field in which our params differ from the full protocol's.

    ``stage`` is ``extractors``, ``distillation``, ``selection`` or ``evaluation``; where a number is made of two sets,
    ``variant`` says of which it is.
    """

    stage: str
    field: str
    ours: object
    full: object
    variant: str = ""
    paced: bool = False  # whether it is a larger rate that goes with fewer iterations (:func:`_paced`)

    @property
    def budget(self) -> Budget:
        """Whether ours is cheaper or dearer in this field, or another thing."""
        ours, full = self.ours, self.full
        if self.paced:
            return Budget.CHEAPER
        if self.field in ("precision", "kept"):
            ours, full = PRECISIONS.index(str(ours)), PRECISIONS.index(str(full))
        elif self.field not in BUDGETS.get(self.stage, ()):
            return Budget.OTHER
        return Budget.CHEAPER if ours < full else Budget.DEARER  # type: ignore[operator]


def differences(row: ResultRow, full: FullProtocol, accuracy: str) -> tuple[Difference, ...]:
    """Return where a row's params differ from the full protocol.

    A curated set's are those of the set that it was made from. How many networks are trained is no difference, nor how
    often the test set is looked at where ``accuracy`` is ``last`` and not ``best``. The row has an evaluation.
    """
    unread = ("networks", "looks") if accuracy == "last" else ("networks",)
    made = row.sets[0].source or row.sets[0]
    selected = made.cell.stage == "select"
    return (
        *(differing("extractors", made.pool, full.extractors, pool_fields(made)) if made.pool else ()),
        *differing("selection" if selected else "distillation", made.params, full.making),
        *differing("evaluation", row.evaluations[0].params, full.evaluation, but=unread),
    )


def pool_fields(made: StoredSet) -> Collection[str]:
    """Return the params of extractors that the making of a set depends on."""
    if made.params.get("extractor") == "random":
        return SHAPE
    unread = {"count_forgetting"}
    if made.cell.stage == "select":  # one network of the pool is used
        unread.add("pool")
    if made.params.get("rule") == "forgetting":  # which judges no batch that CutMix mixed
        unread.add("cutmix_probability")
    return [name for name in PretrainParams.model_fields if name not in unread]


def timing_differences(stored: StoredSet, full: FullProtocol) -> tuple[Difference, ...]:
    """Return the params of a distilled set that make an iteration of another size than the full protocol's."""
    return (
        *differing("extractors", stored.pool or {}, full.extractors, SHAPE),
        *differing("distillation", stored.params, full.making, but=UNTIMED),
    )


def differing(
    stage: str,
    ours: Mapping[str, Any],
    full: StageParams,
    fields: Collection[str] | None = None,
    but: Collection[str] = (),
) -> tuple[Difference, ...]:
    """Return where params differ from those of the full protocol, in the fields that matter.

    A field that older results do not have did not exist then, and its default changes nothing. ``fields`` are those
    to compare, by default all, ``but`` those to leave out.
    """
    values = full.model_dump(mode="json")
    return tuple(
        Difference(stage, name, ours[name], value, paced=name == "learning_rate" and _paced(ours, values))
        for name, value in values.items()
        if (fields is None or name in fields) and name not in but
        if ours.get(name, value) != value and _matters(full, name, ours)
    )


def _paced(ours: Mapping[str, Any], full: Mapping[str, Any]) -> bool:
    """Say whether fewer iterations have a larger rate that takes the images no further: rate times iterations, at most.

    Such a rate is part of the smaller budget: at the full one a few iterations would hardly move an image.
    """
    if not {"iterations", "learning_rate"} <= full.keys() or ours.get("optimizer") != full["optimizer"]:
        return False
    further = ours["learning_rate"] * ours["iterations"] > full["learning_rate"] * full["iterations"]
    return ours["iterations"] < full["iterations"] and ours["learning_rate"] > full["learning_rate"] and not further


def _matters(full: StageParams, name: str, ours: Mapping[str, Any]) -> bool:
    """Say whether ours read a field: no other of their fields leaves it unread, and their discrepancy has it."""
    readers = [one.name for one in DISCREPANCIES.values() if name in one.reads]
    if name in NEVER or (readers and ours.get("discrepancy", readers[0]) not in readers):
        return False
    other, idle = type(full).unread_with.get(name, ("", ()))
    return other not in ours or ours[other] not in idle


def differences_text(found: Iterable[Difference]) -> str:
    """Return differences as ``stage: field ours (full), ...; stage: ...``."""
    stages = []
    for (variant, stage), group in groupby(found, key=lambda one: (one.variant, one.stage)):
        fields = ", ".join(f"{one.field} {one.ours} ({one.full})" for one in group)
        stages.append(f"{variant}, {stage}: {fields}" if variant else f"{stage}: {fields}")
    return "; ".join(stages)
