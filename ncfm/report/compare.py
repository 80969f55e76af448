"""How near two runs of a campaign are: accuracies cell by cell, beside what two runs of one cell should differ by.

The same command on another machine rounds differently, and training makes such differences grow: the networks of a cell
are then other draws of the same kind. So the means of two runs of n networks should differ by about s sqrt(2 / n), and
hardly ever by more than twice that; s is how networks of one set deviate, over all cells of the data set and IPC.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ncfm.campaign.plan import aligned
from ncfm.core import layout
from ncfm.core.errors import DataError
from ncfm.core.params import parse
from ncfm.datasets.catalogue import some
from ncfm.report.collect import Evaluation, StoredSet, Values, collect
from ncfm.report.files import COMPACT, ResultsFolder, read_contents
from ncfm.report.verdicts.differences import differing, pool_fields
from ncfm.stages.table import STAGES

HARDLY = 2.0  # times the expected difference
SHOWN = 3  # params that differ, at most


@dataclass(frozen=True)
class EvaluatedSet:
    """One evaluated set, and the params of its making."""

    evaluation: Evaluation
    stored: StoredSet

    @property
    def group(self) -> tuple[str, int]:
        """Its data set and IPC."""
        return self.stored.cell.dataset, self.stored.cell.ipc

    @property
    def stages(self) -> dict[str, tuple[Values, Collection[str] | None]]:
        """The params behind its accuracy, by stage, and which of them it depends on, where not on all."""
        found: dict[str, tuple[Values, Collection[str] | None]] = {}
        for made in filter(None, (self.stored.source, self.stored)):
            found |= {"pretrain": (made.pool, pool_fields(made))} if made.pool else {}
            found[made.cell.stage] = made.params, None
        return {**found, "evaluate": (self.evaluation.params, None)}


def compare_text(ours: Path, theirs: Path) -> str:
    """Return the comparison of two folders of results as text. Raises :class:`DataError` where they share no cell."""
    one, other = evaluated_sets(ours), evaluated_sets(theirs)
    shared = [names for names in one if names in other]
    if not shared:
        raise DataError(f"{ours} and {theirs}: have no evaluation in common")
    deviations = _deviations([run[names] for run in (one, other) for names in shared])
    grid, gaps, beyond = [("cell", "first", "second", "difference", "expected", "")], [], 0
    for names in shared:
        both = one[names].evaluation.last, other[names].evaluation.last
        first, second = (float(np.mean(accuracies)) for accuracies in both)
        gaps.append(second - first)
        expected = deviations.get(one[names].group, math.nan) * math.sqrt(sum(1 / len(last) for last in both))
        differ = list(_differing(one[names], other[names]))
        notes = [f"params differ: {some(differ, SHOWN)}"] if differ else []
        if abs(gaps[-1]) > HARDLY * expected:
            notes.append("more than twice")
            beyond += 1
        known = "?" if math.isnan(expected) else f"{expected:.1f}"
        grid.append((names, f"{first:.1f}", f"{second:.1f}", f"{gaps[-1]:+.1f}", known, ", ".join(notes)))
    lines = aligned(grid, len(grid[0]))
    alone = [f"{len(found) - len(shared)} only in {place}" for place, found in ((ours, one), (theirs, other))]
    summary = f"{len(shared)} cells in both, {', '.join(alone)}. Mean difference {np.mean(gaps):+.2f} points, largest "
    summary += f"{max(gaps, key=abs):+.2f}; beyond twice the expected one: {beyond}."
    how = "expected: of two runs of one cell, by how networks of one set deviate (?: no set of two networks says it)"
    return "\n".join([f"first: {ours}, second: {theirs}; accuracies after the last epoch", *lines, how, summary]) + "\n"


def _differing(ours: EvaluatedSet, theirs: EvaluatedSet) -> Iterator[str]:
    """Yield the params in which two runs of a cell differ, but for those that change no accuracy after the last epoch.

    What a run of an earlier version has no value of had the default then; what is no param any more is left out.
    """
    for stage in {**ours.stages, **theirs.stages}:
        if stage not in ours.stages or stage not in theirs.stages:
            yield stage
            continue
        (values, fields), (others, _) = ours.stages[stage], theirs.stages[stage]
        model = STAGES[stage].params
        known = [{name: one[name] for name in one.keys() & model.model_fields} for one in (values, others)]
        first, second = (parse(model, one, f"params of {stage}") for one in known)
        for one in differing(stage, first.model_dump(mode="json"), second, fields, but=("networks", "looks")):
            yield f"{stage}.{one.field}"


def evaluated_sets(folder: Path) -> dict[str, EvaluatedSet]:
    """Return what was evaluated in a campaign's folder of results, or in a published one, by the names of the cell."""
    published = (folder / COMPACT[0]).is_file()
    file = folder / (COMPACT[0] if published else "params/report.json")
    if not file.is_file():
        raise DataError(f"{folder}: holds no results of a campaign; run it, or name another folder: ncfm compare A B")
    found: dict[str, EvaluatedSet] = {}
    for contents in read_contents(file):
        for row in collect(contents, ResultsFolder(contents["campaign"], folder)).rows:
            sets = {stored.cell.seed: stored for stored in row.sets}
            for one in row.evaluations:
                names = {**sets[one.seed].cell.names, "arch": row.arch, "protocol": row.protocol}
                found[layout.title(names)] = EvaluatedSet(one, sets[one.seed])
    return found


def _deviations(runs: list[EvaluatedSet]) -> dict[tuple[str, int], float]:
    """Return how networks of one set deviate, by data set and IPC, from all sets that have several networks."""
    variances: dict[tuple[str, int], list[float]] = {}
    for run in runs:
        if len(run.evaluation.last) > 1:
            variances.setdefault(run.group, []).append(float(np.var(run.evaluation.last, ddof=1)))
    return {group: math.sqrt(float(np.mean(found))) for group, found in variances.items()}
