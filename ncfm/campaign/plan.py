"""What a campaign will cost before anything runs: cells, device hours and disk by stage. No torch: it is quick."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ncfm.campaign.campaign import Campaign
from ncfm.campaign.costs import CPU, DEVICES, Device
from ncfm.core.errors import ParamsError, one_of
from ncfm.core.layout import title
from ncfm.core.machine import main_memory
from ncfm.core.params import DistillParams, EvaluateParams, PretrainParams
from ncfm.datasets.catalogue import DatasetFacts, facts_of
from ncfm.method.shipped import find_extractors
from ncfm.stages import cells as kinds
from ncfm.stages import costs
from ncfm.stages.cells import Cell, DatasetCell
from ncfm.stages.costs import DEFAULTS, Cost, NoFormulaError, Reads
from ncfm.stages.table import STAGES

GIB = 2**30
# Main memory of any job: Python, torch and two Snakemakes; a GPU's driver is given as much again (not measured). And
# what is held on a CPU by a network that says nothing of its work.
BASE_BYTES, GUESSED_BYTES = 2e9, 6e9
DAY = 24  # hours


@dataclass(frozen=True)
class PlanLine:
    """The cells of one stage on one data set: how many, and of those with an estimate the hours by device and bytes."""

    stage: str
    dataset: str
    cells: int
    hours: tuple[float, ...]
    disk: float
    unknown: int  # cells without an estimate, for want of a formula for their network or stage


def costs_of(campaign: Campaign, artefact: str | None = None) -> dict[Cell, Cost | None]:
    """Return what each cell of the campaign, or of one artefact of it, costs; None where there is no formula for it."""
    cells = campaign.part(artefact)
    return {cell: cost_of(cell, campaign) for cell in cells if isinstance(cell, DatasetCell)}


def plan(estimates: Mapping[Cell, Cost | None]) -> list[PlanLine]:
    """Return one line per stage and data set, in the order of the pipeline, of what some cells cost."""
    groups: dict[tuple[str, str], list[Cost | None]] = {}
    for cell, cost in estimates.items():
        groups.setdefault((cell.stage, str(cell.names["dataset"])), []).append(cost)
    lines = []
    for names, group in groups.items():
        known = [cost for cost in group if cost]
        hours = tuple(seconds / 3600 for seconds in seconds_of(known))
        lines.append(PlanLine(*names, len(group), hours, sum(cost.disk for cost in known), len(group) - len(known)))
    return lines


def cost_of(cell: DatasetCell, campaign: Campaign) -> Cost | None:
    """Return what a cell costs, or None where there is no formula for it."""
    params, cost, made = campaign.params, STAGES[cell.stage].cost, cell
    while isinstance(made, kinds.Curate | kinds.TestingCell):  # its factor is that of the set that it reads
        made = campaign.sets[made.dataset, made.ipc, str(made.names.get("source", made.method)), made.seed]
    extractors = kinds.Pretrain(cell.dataset, str(cell.values.get("extractor")))
    pool = params.get(extractors, DEFAULTS)
    assert isinstance(pool, PretrainParams)
    factor, snapshots = getattr(params[made], "factor", 1), len(getattr(params[made], "snapshots", ()))
    reads = Reads(facts_of(cell.dataset), int(cell.names.get("ipc", 0)), factor, pool, snapshots)
    try:
        found = cost(params[cell], reads) if cost else None
    except NoFormulaError:
        return None
    if found and isinstance(cell, kinds.Pretrain) and (ready := find_extractors(pool, cell.dataset)):
        return replace(found, work=found.work * (1 - len(ready.members) / pool.pool))
    return found


def memory(cell: Cell, cost: Cost | None, networks: int = 1, processes: int = 1, gpus: int = 0) -> float:
    """Return the bytes of main memory that a job needs, about: on a GPU no more of it than the data set.

    Of its ``processes`` each holds the data set and the extractors; the ``networks`` at a time, in all of them, are
    threads that share these.
    """
    if not isinstance(cell, DatasetCell):
        return BASE_BYTES
    network, shared = (cost.network, cost.shared) if cost else (GUESSED_BYTES, 0)
    held = 0 if gpus else networks * network + processes * shared
    return BASE_BYTES * (1 + gpus) + processes * costs.dataset_bytes(facts_of(cell.dataset)) + held


def seconds_of(known: Sequence[Cost]) -> tuple[float, ...]:
    """Return the seconds that each device needs for all of these."""
    return tuple(seconds_on(device, known) for device in DEVICES)


def seconds_on(device: Device, costs: Iterable[Cost | None]) -> float:
    """Return the seconds that a device needs for all costs that are known."""
    return sum(device.seconds(cost.work, cost.params) for cost in costs if cost)


def reported_seconds(
    facts: DatasetFacts, ipc: int, pool: PretrainParams, distill: DistillParams | None, evaluate: EvaluateParams
) -> tuple[float, ...] | None:
    """Return what one reported accuracy costs from nothing at the full protocol, by device, or None without a formula.

    That is the extractor pool, where the distillation reads one, the distillation on its network (none for a coreset:
    ``distill`` is None), and the evaluation of one set. Numbers of one data set share the pool.
    """
    reads = Reads(facts, ipc, distill.factor if distill else 1, pool)
    try:
        parts = [costs.evaluate(evaluate, reads)]
        if distill and distill.extractor == "pool":
            parts.append(costs.pretrain(pool, reads))
        if distill:
            parts.append(costs.distill(distill, reads))
    except NoFormulaError:
        return None
    return seconds_of(parts)


def plan_text(campaign: Campaign, artefact: str | None = None) -> str:
    """Return the plan of a campaign, or of one of its artefacts, as text. Raises :class:`ParamsError` for another."""
    if artefact and artefact not in campaign.artefacts:
        raise ParamsError(one_of("artefact", artefact, campaign.artefacts, f"campaign {campaign.name}"))
    estimates = costs_of(campaign, artefact)
    lines = plan(estimates)
    head = ["cells", *(f"{device.name} (h)" for device in DEVICES), "disk"]
    rows = [[line.stage, line.dataset, *_cells([line])] for line in lines]
    grid = [["stage", "data set", *head], *rows, ["all", "", *_cells(lines)]]
    text = [": ".join([campaign.name, *([artefact] if artefact else []), campaign.title]), "", *aligned(grid, 2)]
    if campaign.artefacts and not artefact:
        grid = [["artefact", "", *head]]
        for name, part in campaign.artefacts.items():
            grid.append([name, "", *_cells(plan({cell: estimates[cell] for cell in part if cell in estimates}))])
        text += ["", "Each artefact from nothing; what several need runs once and is counted in each:"]
        text += aligned(grid, 2)
    if estimates:
        job, size = _largest(estimates)
        held = f"{_size(size)} ({job}); this machine has {_size(main_memory())}"
        text += ["", f"Main memory of the largest job, on CPUs, one network at a time: {held}"]
    text += ["", "Estimates, not measurements: the arithmetic in closed form at these rates (ncfm/campaign/costs.py):"]
    text += [f"  {device.name}: {device.source}" for device in DEVICES]
    text += ["Hours are those of the whole device, idle else; DVC's cache may hold the disk's amount a second time."]
    if unknown := sum(line.unknown for line in lines):
        named = f"{unknown} cells of networks or stages that have no formula"
        text += [f"Without an estimate, and not in the sums: {named}."]
    return "\n".join(text) + "\n"


def _largest(estimates: Mapping[Cell, Cost | None]) -> tuple[str, float]:
    """Return the job of the most memory, on CPUs and with one network at a time, and its bytes."""
    cell = max(estimates, key=lambda one: memory(one, estimates[one]))
    return f"{cell.stage} {title(cell.names)}", memory(cell, estimates[cell])


def warning(campaign: Campaign, artefact: str | None, device: Device) -> list[str]:
    """Return a line each where a campaign, or an artefact of it, takes more than a day, or what this machine has."""
    name = _named(campaign, artefact)
    estimates = costs_of(campaign, artefact)
    hours, beyond = seconds_on(device, estimates.values()) / 3600, _beyond(name, estimates, device)
    if hours <= DAY:
        return beyond
    first = next(iter(campaign.artefacts), "")
    ways = f"; a part of it: snakemake {first}" if first and not artefact else ""
    line = (
        f"{name}: about {hours_text(hours)} hours of {device.name} from nothing, by `ncfm plan {campaign.name}`; "
        f"what is done is not done again, and Ctrl-C stops{ways}"
    )
    return [line, *beyond]


def lacking(campaign: Campaign, artefact: str | None = None) -> list[str]:
    """Return a line each where a campaign, or an artefact of it, takes more than this machine's memory or free disk."""
    return _beyond(_named(campaign, artefact), costs_of(campaign, artefact), CPU)


def _beyond(name: str, estimates: Mapping[Cell, Cost | None], device: Device) -> list[str]:
    """Return the lines on memory, that of jobs on CPUs (of another ``device`` nothing is said), and on disk."""
    lines = []
    job, held = _largest(estimates) if estimates and device is CPU else ("", 0)
    if held > main_memory():
        lines.append(f"{name}: {job} needs about {_size(held)} of memory, and this machine has {_size(main_memory())}")
    disk, free = sum(cost.disk for cost in estimates.values() if cost), shutil.disk_usage(".").free
    if disk > free:
        lines.append(f"{name}: writes about {_size(disk)} from nothing, and {_size(free)} of disk are free here")
    return lines


def _named(campaign: Campaign, artefact: str | None) -> str:
    return " ".join([campaign.name, *([artefact] if artefact else [])])


def _cells(lines: Sequence[PlanLine]) -> list[str]:
    """Return the sums of some lines as text: cells, hours and disk; question marks where nothing is known."""
    count = sum(line.cells for line in lines)
    if sum(line.unknown for line in lines) == count:
        return [str(count), *("?" for _ in DEVICES), "?"]
    hours = [sum(line.hours[index] for line in lines) for index in range(len(DEVICES))]
    return [str(count), *map(hours_text, hours), _size(sum(line.disk for line in lines))]


def aligned(grid: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return the lines of a grid of text: the first ``left`` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    form = "  ".join(f"{{:{'<' if index < left else '>'}{width}}}" for index, width in enumerate(widths))
    return [form.format(*row).rstrip() for row in grid]


def hours_text(hours: float) -> str:
    """Return hours as text, two digits of them."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}" if hours >= 0.01 else "0" if hours == 0 else "<0.01"


def _size(size: float) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"
