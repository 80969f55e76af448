"""The sections of a campaign about tests of sets other than evaluation, and the cells that each asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict

from ncfm.campaign.checks import check_architecture
from ncfm.core.errors import ImpossibleError
from ncfm.core.layout import RELEASED, WHOLE
from ncfm.core.params import Count, EvaluateParams, StageParams
from ncfm.datasets.catalogue import DatasetFacts
from ncfm.models.registry import norm_of
from ncfm.stages.table import STAGES

Item = TypeVar("Item", int, str)
Evaluation = Callable[[str | None], EvaluateParams]  # of an architecture; None: as the files say, unchecked
Variant = Callable[[], StageParams]  # gives params, or raises where the cell cannot be


def each_once(values: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return ``values``; raise ValueError where there are none or one stands twice."""
    if not values or len(set(values)) != len(values):
        raise ValueError("must name at least one, and each once")
    return values


Once = AfterValidator(each_once)


class SetTests(BaseModel):
    """A test of sets: on the sets of which methods, trained under which protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    also: ClassVar[tuple[str, ...]] = ()  # methods that are tested as well, where the campaign has them

    methods: Annotated[tuple[str, ...], Once]
    protocol: str = RELEASED

    def variants(
        self, stage: str, architectures: Sequence[str], facts: DatasetFacts, evaluation: Evaluation, place: str
    ) -> Iterator[tuple[dict[str, Any], Variant]]:
        """Yield, for each test of one set, the names beyond the set's and what gives its params.

        ``evaluation`` gives the params of an evaluation under the section's protocol; ``place`` is the params file and
        the section ``stage``, for messages.
        """
        for arch in architectures:
            yield {"arch": arch}, partial(_as_evaluated, stage, evaluation, arch)


class ContinualTests(SetTests):
    """Continual learning: in how many steps."""

    steps: Annotated[tuple[Count, ...], Once]

    def variants(
        self, stage: str, architectures: Sequence[str], facts: DatasetFacts, evaluation: Evaluation, place: str
    ) -> Iterator[tuple[dict[str, Any], Variant]]:
        """See :class:`SetTests`: one for each number of steps and architecture."""

        def params(arch: str, steps: int) -> StageParams:
            if facts.classes % steps:
                raise ImpossibleError(
                    f"{place}.steps: is {steps}, but must divide the {facts.classes} classes of {facts.name}"
                )
            return _as_evaluated(stage, evaluation, arch, steps=steps)

        for steps, arch in product(self.steps, architectures):
            yield {"arch": arch, "steps": steps}, partial(params, arch, steps)


class SearchTests(SetTests):
    """Architecture search: a grid of ConvNets, compared with their accuracies on the whole training set."""

    also = (WHOLE,)

    depths: Annotated[tuple[Count, ...], Once]
    widths: Annotated[tuple[Count, ...], Once]
    norms: Annotated[tuple[str, ...], Once]

    def variants(
        self, stage: str, architectures: Sequence[str], facts: DatasetFacts, evaluation: Evaluation, place: str
    ) -> Iterator[tuple[dict[str, Any], Variant]]:
        """See :class:`SetTests`: one for the whole grid, each network of which can take the data set."""

        def params() -> StageParams:
            norms: dict[str, None] = {}
            for arch in (f"convnet-{depth}" for depth in self.depths):
                check_architecture(arch, facts, f"{place}.depths")
                for norm in self.norms:
                    norms |= {norm_of(arch, norm, width, f"{place}.norms"): None for width in self.widths}
            grid = {"depths": self.depths, "widths": self.widths, "norms": tuple(norms)}
            # What a search does not read stays as it is, so that changing it re-runs nothing.
            training = evaluation(None).model_dump(exclude={"arch", "width", "norm", "looks"})
            return STAGES[stage].params.model_validate({**training, **grid})

        yield {}, params


def _as_evaluated(stage: str, evaluation: Evaluation, arch: str, **extra: int) -> StageParams:
    return STAGES[stage].params.model_validate({**evaluation(arch).model_dump(), **extra})


def section_of(stage: str) -> type[SetTests]:
    """Return the form of a stage's section in a params file."""
    forms: dict[str, type[SetTests]] = {"continual": ContinualTests, "search": SearchTests}
    return forms.get(stage, SetTests)
