"""Which of our rows answers a reported number, and what stands in the way of a verdict. Rules: docs/verdicts.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from ncfm.datasets.imagenet_classes import IMAGENET_CLASSES
from ncfm.report.collect import ResultRow, StoredSet
from ncfm.report.verdicts.differences import Budget, Difference, differences, timing_differences
from ncfm.report.verdicts.protocol import FullProtocol, full_protocol
from ncfm.report.verdicts.reported import WHOLE_METHOD, ReportedNumber

# NCFM's program has a list of its own of two subsets: NCFM's rows are of those classes (docs/verdicts.md).
OWN_LISTS = {name: name.removesuffix("-released") for name in IMAGENET_CLASSES if name.endswith("-released")}


class Reason(Enum):
    """Why no verdict is possible, or why there is no number of ours; ``{}`` stands for the obstacle's detail."""

    MTT_CLASSES = "one class differs: prior work has MTT's list of this subset"
    NCFM_CLASSES = "one class differs: NCFM's program has {}-released, another list of this subset"
    PUBLIC_IMAGES = "tested on other images: the public archive divides the data set anew"
    NOT_CURATED = "no curation here"
    HARD_LABELS = "curated without soft labels"
    APPROXIMATE = "an approximate claim in running text"
    PSI_OR_CURATION_UNSAID = "the paper does not say whether psi or curation was on"
    AUTHORS_FILES = "the authors' own files evaluated again; how they were distilled is not published"
    NOT_DM = "our MMD is not DM, which has random extractors"
    DM_PROTOCOL_UNKNOWN = "not of DM's paper: its protocol is unknown"
    DM_BATCH_NORM = "DM's program tests these networks with batch-norm"
    DC_PROTOCOL_UNKNOWN = "not of DC's paper: its protocol is unknown"
    WHOLE_PROTOCOL_UNKNOWN = "the paper does not say how it trained on the whole data set"
    PSI_UNSAID = "psi not stated"
    TEXT_CLAIM = "text claim"
    HARDWARE = "on {}"
    HOST_MEMORY = "memory of the whole process on the host"
    LOSS_SCALE = "the plotted scale is not that of the released program, which prints about 18 at the start"
    # Why there is no number of ours.
    MISSING = "{}"
    QUOTED = "the method is not part of this project; the number is quoted"
    RATIO_TO_OTHER = "a ratio to a method that is not part of this project"
    FOLLOWS = "a difference of reported numbers, each of which has its own line"
    NO_DATASET = "the data set {} is not part of this project"
    NO_NETWORK = "the network {} is not part of this project"
    NOT_HERE = "not in this campaign"
    NOT_HERE_BENCHMARK = (
        "not in this campaign; needs {}; measured by benchmarks/table3.py, see benchmarks/results/<machine>/table3.md"
    )
    COPY_DEPENDENT = "how many training images there are depends on the copy of the data set"


@dataclass(frozen=True)
class Obstacle:
    """One reason, and the detail that it names, if any."""

    reason: Reason
    detail: str = ""

    @property
    def text(self) -> str:
        """What people read."""
        return self.reason.value.format(self.detail)


@dataclass(frozen=True)
class Comparison:
    """How a reported number is held against one of our methods, of which ``accuracy``, ``best`` or ``last``.

    ``full`` are the params behind the number, if known; ``obstacles`` say why no verdict is possible whatever the
    params, ``remark`` what a reader must know of one that is.
    """

    accuracy: str
    full: FullProtocol | None = None
    obstacles: tuple[Obstacle, ...] = ()
    remark: str = ""


@dataclass(frozen=True)
class Candidate:
    """A row of the campaign that answers a reported number, how, and where its params differ."""

    row: ResultRow
    comparison: Comparison
    differences: tuple[Difference, ...]


def reported_name(dataset: str) -> str:
    """Return the name that the reported rows have for a data set: one name for both lists of a subset."""
    return OWN_LISTS.get(dataset, dataset)


def candidates(reported: ReportedNumber, rows: Sequence[ResultRow]) -> list[Candidate]:
    """Return the campaign's rows of a number's data set, IPC, network and method, the nearest to its protocol first.

    Nearest by params alone: evaluated before missing, no obstacle before one, a smaller budget before another protocol,
    then fewer params that differ, then the campaign's order. Accuracies play no part.
    """
    found = []
    for row in rows:
        ipc = "full" if row.whole else str(row.ipc)
        if (reported_name(row.dataset), ipc, row.arch) != (reported.dataset, reported.ipc, reported.network):
            continue
        comparison = compare(reported, row.sets[0])
        if comparison is not None:
            full = comparison.full if row.evaluations else None
            differ = differences(row, full, comparison.accuracy) if full else ()
            found.append(Candidate(row, comparison, differ))
    return sorted(found, key=_distance)


def _distance(one: Candidate) -> tuple[bool, bool, bool, int]:
    another = any(difference.budget is not Budget.CHEAPER for difference in one.differences)
    return not one.row.evaluations, bool(one.comparison.obstacles), another, len(one.differences)


def distilled(
    reported: ReportedNumber, rows: Sequence[ResultRow], psi: str
) -> list[tuple[ResultRow, tuple[Difference, ...]]]:
    """Return the rows whose sets NCFM distilled on a number's data set, IPC and network, with psi or without.

    Each with its params that make an iteration another than the full protocol's; those with the fewest first.
    """
    found = []
    for row in rows:
        stored = row.sets[0]
        place = (row.dataset, str(row.ipc), (stored.pool or {}).get("arch"))
        method = stored.params.get("discrepancy") == "ncfd" and psi_of(stored.params) == psi
        if method and place == (reported.dataset, reported.ipc, reported.network) and reported.method == "NCFM":
            found.append((row, timing_differences(stored, full_protocol(reported, psi))))
    return sorted(found, key=lambda item: len(item[1]))


def psi_of(params: Mapping[str, Any]) -> str:
    """Say whether a distillation learned its frequencies: ``with`` psi or ``without``."""
    return "without" if params.get("frequencies") == "gaussian" else "with"


def compare(reported: ReportedNumber, stored: StoredSet) -> Comparison | None:
    """Say how a reported number is held against a set's method, or None where it is another method."""
    comparison = _compare(reported, stored)
    if comparison is None or reported.dataset not in OWN_LISTS.values():
        return comparison
    released = stored.cell.dataset in OWN_LISTS
    if (reported.method == "NCFM") == released:
        return comparison
    classes = Obstacle(Reason.MTT_CLASSES) if released else Obstacle(Reason.NCFM_CLASSES, reported.dataset)
    return replace(comparison, obstacles=(classes, *comparison.obstacles))


def _compare(reported: ReportedNumber, stored: StoredSet) -> Comparison | None:
    method, params = reported.method, stored.params
    if stored.cell.stage == "select":
        return _compare_coreset(reported, params)
    if stored.cell.stage == "curate":
        source = stored.source.params if stored.source else {}
        ncfm = method == "NCFM" and reported.curated and source.get("discrepancy") == "ncfd"
        return _compare_curated(reported, params) if ncfm and psi_of(source) == "with" else None
    if params["discrepancy"] == "ncfd" and method == "NCFM":
        return _compare_ncfm(reported, params)
    if params["discrepancy"] == "mmd" and method == "DM":
        return _compare_dm(reported, params)
    return None


def _compare_ncfm(reported: ReportedNumber, params: Mapping[str, Any]) -> Comparison | None:
    psi, full = psi_of(params), full_protocol(reported, psi_of(params))
    if reported.protocol:
        return Comparison("best", full, (Obstacle(Reason.AUTHORS_FILES),))
    if reported.artefact == "table5" and reported.psi == psi:
        return Comparison("best", full)
    # Figure 5 does not mention psi, but at alpha 0.5 it equals the cells without psi of Table 5 within 0.3 points.
    if reported.artefact == "fig5" and reported.psi == psi and reported.alpha == params["alpha"]:
        return Comparison("best", full)
    if reported.num_frequencies is not None:
        obstacles: tuple[Obstacle, ...] = (Obstacle(Reason.PSI_OR_CURATION_UNSAID),)
        if reported.artefact == "text":
            obstacles = (Obstacle(Reason.APPROXIMATE), *obstacles)
        same = reported.num_frequencies == params["num_frequencies"]
        return Comparison("best", full, obstacles) if same else None
    if reported.curated and psi == "with":
        return Comparison("best", full, (Obstacle(Reason.NOT_CURATED),))
    return None


def _compare_curated(reported: ReportedNumber, params: Mapping[str, Any]) -> Comparison:
    remark = "the paper does not say how it curated"
    if reported.artefact == "table4" and reported.network != "convnet-3":
        remark += ", nor which normalisation that network has"
    obstacles = (Obstacle(Reason.HARD_LABELS),) if params["labels"] == "hard" else ()
    return Comparison("best", full_protocol(reported), obstacles, remark)


def _compare_dm(reported: ReportedNumber, params: Mapping[str, Any]) -> Comparison:
    if params.get("extractor", "pool") != "random" or params.get("normalise_features", True):
        return Comparison("last", obstacles=(Obstacle(Reason.NOT_DM),))
    known = {"table2": Reason.DM_PROTOCOL_UNKNOWN, "table4": Reason.DM_BATCH_NORM}
    obstacles = (Obstacle(known[reported.artefact]),) if reported.artefact in known else ()
    remark = "by DM's protocol; what our DM does otherwise stands in docs/method.md"
    return Comparison("last", full_protocol(reported), obstacles, remark)


def _compare_coreset(reported: ReportedNumber, params: Mapping[str, Any]) -> Comparison | None:
    rule, method = params["rule"], reported.method
    if rule == "all" and method == WHOLE_METHOD:
        return Comparison("last", obstacles=(Obstacle(Reason.WHOLE_PROTOCOL_UNKNOWN),))
    if rule != method.lower() or params["factor"] != 1:
        return None
    # DC's paper has CIFAR alone; who trained the coresets of the other data sets, and how, is not known.
    obstacles = () if reported.dataset.startswith("cifar") else (Obstacle(Reason.DC_PROTOCOL_UNKNOWN),)
    return Comparison("last", full_protocol(reported), obstacles, "by DC's protocol")
