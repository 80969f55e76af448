"""What a campaign answers to one reported number: mean, interval and verdict, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ncfm.core.layout import RELEASED
from ncfm.datasets.catalogue import CATALOGUE
from ncfm.datasets.imagenet_classes import PUBLIC_SPLIT
from ncfm.report.collect import ResultRow, hardware_text
from ncfm.report.verdicts.candidates import Candidate, Obstacle, Reason, candidates, distilled
from ncfm.report.verdicts.differences import Difference, differences_text
from ncfm.report.verdicts.intervals import bootstrap, interval, judge, mean_of, middle
from ncfm.report.verdicts.reported import ReportedNumber

VERDICTS = ("reproduced", "above", "below", "protocol differs", "not run")
NOT_RUN, DIFFERS = VERDICTS[-1], VERDICTS[-2]
MEASURED = {"speed_s_per_iter": "seconds", "gpu_mem_gb": "peak memory"}  # read from the records of the sets


@dataclass(frozen=True)
class Answer:
    """What the campaign says of one reported number; None where it has nothing to say.

    ``ours`` is the mean of what ``compared`` names, over ``n`` values of ``n_seeds`` sets, with its 95% interval
    ``bounds``; of an accuracy ``last`` and ``best`` are both means, in percent. ``difference`` is ours minus the
    reported value. ``obstacles`` say why no verdict is possible, or no number of ours; ``differences`` are the params
    that differ from the full protocol.
    """

    verdict: str
    method: str | None = None
    last: float | None = None
    best: float | None = None
    ours: float | None = None
    n_seeds: int | None = None
    n: int | None = None
    compared: str | None = None
    difference: float | None = None
    bounds: tuple[float, float] | None = None
    obstacles: tuple[Obstacle, ...] = ()
    remarks: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()

    @property
    def reason(self) -> str:
        """Obstacles and remarks for people."""
        return "; ".join([*(obstacle.text for obstacle in self.obstacles), *self.remarks])

    @property
    def params_that_differ(self) -> str:
        """The differences for people."""
        return differences_text(self.differences)


def not_run(reason: Reason, detail: str = "") -> Answer:
    """Return the answer of a campaign that has no number."""
    return Answer(NOT_RUN, obstacles=(Obstacle(reason, detail),))


def hold(
    reported: ReportedNumber,
    values: Sequence[Sequence[float]],
    obstacles: Sequence[Obstacle],
    differences: Sequence[Difference],
    single: str = "network",
    **known: Any,
) -> Answer:
    """Return mean, interval, difference and verdict of our values against a reported number.

    ``values`` are by distillation seed, then by network; ``single`` says in a word what a single value is of,
    and ``known`` are other fields of the answer.
    """
    n, mean, quantity = sum(map(len, values)), mean_of(values), reported.quantity
    bounds = interval(values) if n > 1 else None
    obstacles = (*obstacles, *([] if bounds else [Obstacle(Reason.ONE_VALUE, single)]))
    verdict = DIFFERS
    if bounds and quantity is not None and not obstacles and not differences:
        verdict = judge(*bounds, quantity, reported.margin)
    return Answer(
        verdict,
        ours=mean,
        n_seeds=len(values),
        n=n,
        difference=None if quantity is None else mean - quantity,
        bounds=bounds,
        obstacles=obstacles,
        differences=tuple(differences),
        **known,
    )


def answer(reported: ReportedNumber, rows: Sequence[ResultRow]) -> Answer | None:
    """Return what the campaign's rows answer to a reported number; None where no row of it does."""
    if reported.metric == "ratio_percent":
        return _ratio(reported)
    if reported.metric == "accuracy":
        return _accuracy(reported, rows)
    if reported.metric in MEASURED:
        return _measured(reported, rows)
    if reported.metric == "loss":
        return _loss(reported, rows)
    return _gain(reported, rows) if reported.gain else None


def _accuracy(reported: ReportedNumber, rows: Sequence[ResultRow]) -> Answer | None:
    found = candidates(reported, rows)
    if not found:
        return None
    row, comparison = found[0].row, found[0].comparison
    name = row.label if row.protocol == RELEASED else f"{row.label} ({row.protocol})"
    if not row.evaluations:
        return replace(not_run(Reason.MISSING, row.missing_text), method=name, compared=comparison.accuracy)
    public = [Obstacle(Reason.PUBLIC_IMAGES)] if row.split == PUBLIC_SPLIT else []
    remarks = (comparison.remark, f"ours: {row.curation}" if row.curation else "", row.reason)
    return hold(
        reported,
        row.accuracies(comparison.accuracy),
        [*comparison.obstacles, *public],
        found[0].differences,
        method=name,
        compared=comparison.accuracy,
        last=mean_of(row.accuracies("last")),
        best=mean_of(row.accuracies("best")),
        remarks=tuple(filter(None, remarks)),
    )


def _measured(reported: ReportedNumber, rows: Sequence[ResultRow]) -> Answer | None:
    """Hold the seconds of an iteration, or the peak memory, of each set's record against what is reported of a GPU."""
    found = distilled(reported, rows, reported.psi or "without")
    known = [(row, params) for row, params in found if any(one.record for one in row.sets)]
    if not known:
        return None
    row, params = known[0]
    records = [(one.record, one.params["iterations"]) for one in row.sets if one.record]
    hardware = hardware_text(records[0][0])
    obstacles = []
    if reported.psi is None:
        obstacles.append(Obstacle(Reason.TEXT_CLAIM if reported.artefact == "text" else Reason.PSI_UNSAID))
    if not reported.hardware.startswith("1x ") or reported.hardware.split()[1] not in hardware:
        theirs = reported.hardware or "a GPU that is not named"
        obstacles.append(Obstacle(Reason.HARDWARE, f"{hardware}, reported on {theirs}"))
    if reported.metric == "gpu_mem_gb":
        peaks = [record["peak_gb"] for record, _ in records if "peak_gb" in record]  # older records have none
        if not all("gpu" in peak for peak in peaks):
            obstacles.append(Obstacle(Reason.HOST_MEMORY))
        values = [[peak.get("gpu", peak["process"])] for peak in peaks]
    else:
        values = [[record["seconds"] / iterations] for record, iterations in records]
    if not values:
        return None
    return hold(reported, values, obstacles, params, "set", method=row.label, compared=MEASURED[reported.metric])


def _loss(reported: ReportedNumber, rows: Sequence[ResultRow]) -> Answer | None:
    """Hold the loss of our sets at a reported iteration against a point of the paper's loss curves."""
    step = reported.step or 1  # ours are counted from 1
    for row, _ in distilled(reported, rows, "with"):
        histories = [one.history for one in row.sets if not one.history.empty]
        values = [history["loss"][history["step"] == step].tolist() for history in histories]
        if values := list(filter(None, values)):
            return hold(reported, values, [Obstacle(Reason.LOSS_SCALE)], (), "set", method=row.label, compared="loss")
    return None


def _gain(reported: ReportedNumber, rows: Sequence[ResultRow]) -> Answer | None:
    """Hold the difference of Table 5, with psi minus without, against a gain that the text claims."""
    place = (reported.dataset, reported.ipc)
    pools = [row.sets[0].pool for row in rows if (row.dataset, str(row.ipc)) == place]
    arch = next((str(pool["arch"]) for pool in pools if pool), "")
    sides: list[Candidate] = []
    found: list[Difference] = []
    for psi, variant in (("with", "with psi"), ("without", "w/o psi")):
        cell = reported.model_copy(update={"artefact": "table5", "psi": psi, "arch": arch})
        known = [one for one in candidates(cell, rows) if one.row.evaluations]
        if not known:
            return None
        sides.append(known[0])
        found += [replace(one, variant=variant) for one in known[0].differences]
    values = [side.row.accuracies("best") for side in sides]
    low, high = middle(bootstrap(values[0], 0) - bootstrap(values[1], 1))
    ours = mean_of(values[0]) - mean_of(values[1])
    return Answer(
        DIFFERS if found else judge(low, high, float(reported.value), reported.margin),
        method="difference of ours",
        compared="best",
        ours=ours,
        n=sum(len(one) for value in values for one in value),
        n_seeds=sum(map(len, values)),
        difference=ours - float(reported.value),
        bounds=(low, high),
        differences=tuple(found),
    )


def _ratio(reported: ReportedNumber) -> Answer:
    """Check a reported ratio of kept images by arithmetic: IPC times classes over the training images, in percent."""
    facts = CATALOGUE.get(reported.dataset)
    if facts is None:
        return not_run(Reason.NO_DATASET, reported.dataset)
    if any(len(allowed) > 1 for allowed in facts.sizes["train"]):
        return not_run(Reason.COPY_DEPENDENT)
    kept, value = 100 * int(reported.ipc) * facts.classes / facts.images("train"), float(reported.value)
    return Answer(
        judge(kept, kept, value, reported.margin),
        method="arithmetic",
        compared="ratio",
        ours=kept,
        difference=kept - value,
        remarks=("IPC x classes / training images, no run",),
    )
