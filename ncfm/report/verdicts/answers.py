"""What a campaign answers to one reported number: mean, interval and verdict, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ncfm.core.layout import RELEASED
from ncfm.datasets.catalogue import CATALOGUE
from ncfm.datasets.imagenet_classes import PUBLIC_SPLIT
from ncfm.report.collect import Evaluation, ResultRow, Values
from ncfm.report.origins import hardware_text
from ncfm.report.verdicts.candidates import Obstacle, Reason, candidates, distilled
from ncfm.report.verdicts.differences import Budget, Difference, differences, differences_text
from ncfm.report.verdicts.intervals import interval, mean_of, seed_means
from ncfm.report.verdicts.pairs import paired
from ncfm.report.verdicts.reported import ReportedNumber
from ncfm.report.verdicts.rules import MOST_POINTS, MOST_SHARE, Target, Verdict, judge, seeds_text

MEASURED = {"speed_s_per_iter": "seconds", "gpu_mem_gb": "peak memory"}  # read from the records of the sets


REFUTES_NOTHING = "a larger budget may still reach it, so this refutes nothing"


@dataclass(frozen=True)
class Answer:
    """What the campaign says of one reported number; None where it has nothing to say.

    ``ours`` is the mean of what ``compared`` names, over ``n`` values of ``n_seeds`` sets. ``bounds`` is the 95% t
    interval over the seeds that the number is held against: of one more set's mean where ``new_set``, else of the mean.
    Of an accuracy ``last`` and ``best`` are both means, in percent; of one that is compared with our best,
    ``verdict_last`` is the verdict on our last. ``difference`` is ours minus the reported value. ``obstacles`` say why
    no verdict is possible, or no number of ours; ``differences`` are the params that differ from the full protocol, and
    ``records`` those of the stages that ours comes from.
    """

    verdict: Verdict
    method: str | None = None
    last: float | None = None
    best: float | None = None
    ours: float | None = None
    n_seeds: int | None = None
    n: int | None = None
    compared: str | None = None
    difference: float | None = None
    bounds: tuple[float, float] | None = None
    new_set: bool = False
    verdict_last: Verdict | None = None
    obstacles: tuple[Obstacle, ...] = ()
    remarks: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    records: tuple[Values, ...] = ()

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
    return Answer(Verdict.NOT_RUN, obstacles=(Obstacle(reason, detail),))


def hold(
    reported: ReportedNumber,
    values: Sequence[Sequence[float]],
    obstacles: Sequence[Obstacle],
    differences: Sequence[Difference],
    remarks: Sequence[str] = (),
    **known: Any,
) -> Answer:
    """Return mean, interval, difference and verdict of our values against a reported number.

    ``values`` are by distillation seed, then by network; ``known`` are other fields of the answer.
    """
    means, quantity = seed_means(values), reported.quantity
    mean = float(means.mean())
    target = None if quantity is None or obstacles else target_of(reported, quantity, differences)
    new_set = target is not None and target.new_set
    verdict = judge(means, target) if target else Verdict.DIFFERS
    if target and verdict is Verdict.INCONCLUSIVE:
        remarks = (seeds_text(means, target), *remarks)
    if verdict is Verdict.NOT_REACHED:
        remarks = (REFUTES_NOTHING, *remarks)
    return Answer(
        verdict,
        ours=mean,
        n_seeds=len(values),
        n=sum(map(len, values)),
        difference=None if quantity is None else mean - quantity,
        bounds=interval(means, new_set),
        new_set=new_set,
        obstacles=tuple(obstacles),
        differences=tuple(differences),
        remarks=tuple(remarks),
        **known,
    )


def target_of(reported: ReportedNumber, quantity: float, differences: Sequence[Difference]) -> Target | None:
    """Return what our seeds are held against, or None where another protocol stands behind the number.

    Only an accuracy can be reached at a smaller budget: one that is cheaper wherever it differs.
    """
    accuracy = reported.metric == "accuracy"
    if any(one.budget is not Budget.CHEAPER or not accuracy for one in differences):
        return None
    most = MOST_POINTS if accuracy or reported.gain else MOST_SHARE * quantity
    return Target(quantity, reported.margin, reported.one_set, bool(differences), most)


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
    obstacles = [*comparison.obstacles, *public]
    remarks = (comparison.remark, f"ours: {row.curation}" if row.curation else "", row.reason)
    verdict_last = None
    if comparison.accuracy == "best":
        differ = differences(row, comparison.full, "last") if comparison.full else ()
        verdict_last = hold(reported, row.accuracies("last"), obstacles, differ).verdict
    return hold(
        reported,
        row.accuracies(comparison.accuracy),
        obstacles,
        found[0].differences,
        list(filter(None, remarks)),
        method=name,
        compared=comparison.accuracy,
        last=mean_of(row.accuracies("last")),
        best=mean_of(row.accuracies("best")),
        verdict_last=verdict_last,
        records=records_of(row.evaluations),
    )


def records_of(evaluations: Sequence[Evaluation]) -> tuple[Values, ...]:
    """Return the records of evaluations that are there."""
    return tuple(one.record for one in evaluations if one.record)


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
    known_of = {"method": row.label, "compared": MEASURED[reported.metric]}
    return hold(reported, values, obstacles, params, records=tuple(record for record, _ in records), **known_of)


def _loss(reported: ReportedNumber, rows: Sequence[ResultRow]) -> Answer | None:
    """Hold the loss of our sets at a reported iteration against a point of the paper's loss curves."""
    step = reported.step or 1  # ours are counted from 1
    for row, _ in distilled(reported, rows, "with"):
        histories = [one.history for one in row.sets if not one.history.empty]
        values = [history["loss"][history["step"] == step].tolist() for history in histories]
        if values := list(filter(None, values)):
            return hold(reported, values, [Obstacle(Reason.LOSS_SCALE)], (), method=row.label, compared="loss")
    return None


def _gain(reported: ReportedNumber, rows: Sequence[ResultRow]) -> Answer | None:
    """Hold the difference of Table 5, with psi minus without, against a gain that the text claims; seeds are paired."""
    place = (reported.dataset, reported.ipc)
    pools = [row.sets[0].pool for row in rows if (row.dataset, str(row.ipc)) == place]
    arch = next((str(pool["arch"]) for pool in pools if pool), "")
    sides: list[ResultRow] = []
    found: list[Difference] = []
    for psi, variant in (("with", "with psi"), ("without", "w/o psi")):
        cell = reported.model_copy(update={"artefact": "table5", "psi": psi, "arch": arch})
        known = [one for one in candidates(cell, rows) if one.row.evaluations]
        if not known:
            return None
        sides.append(known[0].row)
        found += [replace(one, variant=variant) for one in known[0].differences]
    pairs = paired(sides[0], sides[1], "best")
    if not pairs:
        return None
    records = records_of([*sides[0].evaluations, *sides[1].evaluations])
    values = [[one] for one in pairs.values()]
    return hold(reported, values, (), found, method="difference of ours", compared="best", records=records)


def _ratio(reported: ReportedNumber) -> Answer:
    """Check a reported ratio of kept images by arithmetic: IPC times classes over the training images, in percent."""
    facts = CATALOGUE.get(reported.dataset)
    if facts is None:
        return not_run(Reason.NO_DATASET, reported.dataset)
    if any(len(allowed) > 1 for allowed in facts.sizes["train"]):
        return not_run(Reason.COPY_DEPENDENT)
    kept, value = 100 * int(reported.ipc) * facts.classes / facts.images("train"), float(reported.value)
    return Answer(
        Verdict.ARITHMETIC if abs(kept - value) <= reported.margin else Verdict.WRONG_ARITHMETIC,
        method="arithmetic",
        compared="ratio",
        ours=kept,
        difference=kept - value,
        remarks=("IPC x classes / training images, no run",),
    )
