"""What a campaign will cost before anything runs: cells, device hours and disk by stage. No torch: it is quick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ncfm.campaign import costs
from ncfm.campaign.campaign import Campaign
from ncfm.campaign.costs import DEVICES, Work, network_work
from ncfm.core.errors import ParamsError, one_of
from ncfm.core.params import (
    ComputeParams,
    ContinualParams,
    CurateParams,
    DistillParams,
    EvaluateParams,
    PretrainParams,
    SearchParams,
    SelectParams,
)
from ncfm.datasets.catalogue import DatasetFacts, facts_of
from ncfm.method.coresets import RULES
from ncfm.stages import cells as kinds
from ncfm.stages.cells import Cell, DatasetCell, SetCell

LABEL_BYTES, FLOAT_BYTES = 8, 4
ROW_BYTES = 120  # of a history or of one look at the test set
GIB = 2**30


@dataclass(frozen=True)
class Line:
    """The cells of one stage on one data set: how many, and of those with an estimate hours and bytes.

    ``hours`` are those of each of :data:`~ncfm.campaign.costs.DEVICES`. ``unknown`` cells have no estimate, for want of
    a formula for their network or stage.
    """

    stage: str
    dataset: str
    cells: int
    hours: tuple[float, ...]
    disk: float
    unknown: int


def plan(campaign: Campaign, artefact: str | None = None) -> list[Line]:
    """Return one line per stage and data set, in the order of the pipeline, of the campaign or of one artefact."""
    groups: dict[tuple[str, str], list[DatasetCell]] = {}
    for cell in campaign.part(artefact):
        if isinstance(cell, DatasetCell):
            groups.setdefault((cell.stage, cell.dataset), []).append(cell)
    lines = []
    for (stage, dataset), cells in groups.items():
        known = [(cell, seconds) for cell in cells if (seconds := seconds_of(cell, campaign)) is not None]
        hours = tuple(sum(seconds[index] for _, seconds in known) / 3600 for index in range(len(DEVICES)))
        disk = sum(disk_of(cell, campaign) for cell, _ in known)
        lines.append(Line(stage, dataset, len(cells), hours, disk, len(cells) - len(known)))
    return lines


def seconds_of(cell: DatasetCell, campaign: Campaign) -> tuple[float, ...] | None:
    """Return the seconds that each device needs for a cell, or None where there is no formula for it."""
    params, facts = campaign.params[cell], facts_of(cell.dataset)
    trained = isinstance(params, SelectParams) and RULES[params.rule].trains
    if cell.stage in ("prepare", "select") and not trained:  # downloads, copies, features: minutes at most
        return _seconds([])
    if isinstance(params, SearchParams):
        once, images = params.model_copy(update={"looks": 1}), _images(cell, campaign)
        candidates = [network_work(arch, facts, width, norm) for arch, width, norm in params.candidates]
        works = [costs.evaluation(once, facts, network, images) for network in candidates if network]
        return _seconds([(params, work) for work in works]) if all(candidates) else None
    pool = params if isinstance(params, PretrainParams | EvaluateParams) else _pool(cell, campaign)
    network = network_work(pool.arch, facts, pool.width, pool.norm)
    if network is None:
        return None
    if isinstance(params, PretrainParams):
        work = costs.pretraining(params, facts, network)
    elif isinstance(params, DistillParams):
        work = costs.distillation(params, facts, network, _ipc(cell))
    elif isinstance(params, SelectParams):
        work = costs.training(pool.model_copy(update={"epochs": params.epochs}), network, facts.images("train"))
    elif isinstance(params, CurateParams):
        work = costs.curation(params, network, _images(cell, campaign), _pool(cell, campaign).pool)
    elif isinstance(params, EvaluateParams):
        work = costs.evaluation(params, facts, network, _images(cell, campaign))
        if isinstance(params, ContinualParams):  # at step k on k shares of the classes
            work *= (params.steps + 1) / 2
    else:
        return None
    return _seconds([(params if isinstance(params, ComputeParams) else pool, work)])


def _seconds(parts: Sequence[tuple[ComputeParams, Work]]) -> tuple[float, ...]:
    """Return the seconds that each device needs for all parts."""
    return tuple(sum(device.seconds(work, params) for params, work in parts) for device in DEVICES)


def disk_of(cell: DatasetCell, campaign: Campaign) -> float:
    """Return the bytes that a cell writes, about."""
    params, facts = campaign.params[cell], facts_of(cell.dataset)
    pixels = facts.channels * facts.resolution**2
    if isinstance(params, PretrainParams):
        network = network_work(params.arch, facts, params.width, params.norm)
        return 2 * params.pool * network.parameters * FLOAT_BYTES if network else 0.0
    if isinstance(params, DistillParams | SelectParams | CurateParams):
        rows = params.iterations if isinstance(params, DistillParams) else 0
        return facts.classes * _ipc(cell) * pixels * FLOAT_BYTES + rows * ROW_BYTES
    if isinstance(params, EvaluateParams):
        return 2 * params.networks * min(params.looks, params.epochs) * ROW_BYTES  # in the result and in its record
    if isinstance(params, SearchParams):
        return 2 * len(params.candidates) * params.networks * ROW_BYTES
    return (facts.images("train") + facts.images("test")) * (pixels + LABEL_BYTES)


def _ipc(cell: DatasetCell) -> int:
    return cell.ipc if isinstance(cell, SetCell) else 0


def _pool(cell: Cell, campaign: Campaign) -> PretrainParams:
    params = campaign.params[kinds.Pretrain(str(cell.values["dataset"]), str(cell.values["extractor"]))]
    assert isinstance(params, PretrainParams)
    return params


def _images(cell: DatasetCell, campaign: Campaign) -> int:
    """Return the training images of the set that a curation or an evaluation reads, decoded."""
    assert isinstance(cell, SetCell)
    made: SetCell = cell
    while not isinstance(params := campaign.params[made], DistillParams | SelectParams):
        made = campaign.sets[cell.dataset, cell.ipc, str(made.names.get("source", cell.method)), cell.seed]
    return facts_of(cell.dataset).classes * cell.ipc * params.factor**2


def reported_seconds(
    facts: DatasetFacts, ipc: int, pool: PretrainParams, distill: DistillParams | None, evaluate: EvaluateParams
) -> tuple[float, ...] | None:
    """Return what one reported accuracy costs from nothing at the full protocol, by device, or None without a formula.

    That is the extractor pool, where the distillation reads one, the distillation on its network (none for a coreset:
    ``distill`` is None), and the evaluation of one set. Numbers of one data set share the pool.
    """
    extractor, network = (network_work(one.arch, facts, one.width, one.norm) for one in (pool, evaluate))
    if extractor is None or network is None:
        return None
    images = facts.classes * ipc * (distill.factor if distill else 1) ** 2
    parts: list[tuple[ComputeParams, Work]] = [(evaluate, costs.evaluation(evaluate, facts, network, images))]
    if distill and distill.extractor == "pool":
        parts.append((pool, costs.pretraining(pool, facts, extractor)))
    if distill:
        parts.append((distill, costs.distillation(distill, facts, extractor, ipc)))
    return _seconds(parts)


def plan_text(campaign: Campaign, artefact: str | None = None) -> str:
    """Return the plan of a campaign, or of one of its artefacts, as text. Raises :class:`ParamsError` for another."""
    if artefact and artefact not in campaign.artefacts:
        raise ParamsError(one_of("artefact", artefact, campaign.artefacts, f"campaign {campaign.name}"))
    lines = plan(campaign, artefact)
    head = ["cells", *(f"{device.name} (h)" for device in DEVICES), "disk"]
    grid = [["stage", "data set", *head]]
    grid += [[line.stage, line.dataset, *_cells([line])] for line in lines]
    grid.append(["all", "", *_cells(lines)])
    text = [": ".join([campaign.name, *([artefact] if artefact else []), campaign.title]), "", *_aligned(grid)]
    if campaign.artefacts and not artefact:
        grid = [["artefact", "", *head]]
        grid += [[name, "", *_cells(plan(campaign, name))] for name in campaign.artefacts]
        text += ["", "Each artefact from nothing; what several need runs once and is counted in each:", *_aligned(grid)]
    text += ["", "Estimates, not measurements: the arithmetic in closed form at these rates (ncfm/campaign/costs.py):"]
    text += [f"  {device.name}: {device.source}" for device in DEVICES]
    text += ["Hours are those of the whole device, idle else; DVC's cache may hold the disk's amount a second time."]
    if unknown := sum(line.unknown for line in lines):
        text += [
            f"Without an estimate, and not in the sums: {unknown} cells of networks or stages that have no formula."
        ]
    return "\n".join(text) + "\n"


def _cells(lines: Sequence[Line]) -> list[str]:
    """Return the sums of some lines as text: cells, hours and disk; question marks where nothing is known."""
    count = sum(line.cells for line in lines)
    if sum(line.unknown for line in lines) == count:
        return [str(count), *("?" for _ in DEVICES), "?"]
    hours = [sum(line.hours[index] for line in lines) for index in range(len(DEVICES))]
    return [str(count), *map(_hours, hours), _size(sum(line.disk for line in lines))]


def _aligned(grid: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a grid of text: the first two columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    form = "  ".join(f"{{:{'<' if index < 2 else '>'}{width}}}" for index, width in enumerate(widths))
    return [form.format(*row).rstrip() for row in grid]


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}" if hours >= 0.01 else "0" if hours == 0 else "<0.01"


def _size(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"
