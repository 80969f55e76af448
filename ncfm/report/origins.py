"""How each number came about: the stages behind a row of the results, and on which machine and commit they ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ncfm.core import layout
from ncfm.core.progress import duration
from ncfm.report.collect import Collected, ResultRow, StoredSet, Values
from ncfm.report.files import ResultsFolder
from ncfm.stages import cells, table
from ncfm.stages.cells import Cell


@dataclass(frozen=True)
class Origin:
    """A stage behind a number: its command, its record if one is there, and those of its files that are there.

    Each has its name, and the file that holds it: in a published campaign that is one of a few.
    """

    campaign: str
    cell: Cell
    command: str
    record: Values | None
    files: tuple[tuple[str, Path], ...]


def origins_of(row: ResultRow, campaign: str, results: ResultsFolder) -> list[Origin]:
    """Return the stages behind a row, in the order in which they run, each once."""
    found = []
    for cell in dict.fromkeys(_cells(row)):
        record = results.read(layout.record_file(table.output(campaign, cell)))
        command = str((record or {}).get("command") or table.command(campaign, cell))
        paths = (table.params_file(campaign, cell), *map(PurePosixPath, table.outputs(campaign, cell)))
        files = tuple((path.name, holder) for path in paths if (holder := results.holder(path)))
        found.append(Origin(campaign, cell, command, record, files))
    return found


def _cells(row: ResultRow) -> Iterator[Cell]:
    yield cells.Prepare(row.dataset)
    for stored in row.sets:
        yield from _making(stored)
    for evaluation in row.evaluations:
        protocol = None if row.protocol == layout.RELEASED else row.protocol
        yield cells.Evaluate(row.dataset, row.ipc, row.method, evaluation.seed, row.arch, protocol)


def _making(stored: StoredSet) -> Iterator[Cell]:
    if extractor := stored.cell.values.get("extractor"):
        yield cells.Pretrain(stored.cell.dataset, str(extractor))
    if stored.source:
        yield from _making(stored.source)
    yield stored.cell


def ran(collected: Collected, origins: Sequence[Origin]) -> list[tuple[str, str]]:
    """Return what was run, as names and texts: one command for all, and when, for how long, and on what it ran."""
    records = list({origin.command: origin.record for origin in origins if origin.record}.values())
    facts = [("command", f"snakemake --cores all --config campaign={one.campaign}") for one in origins[:1]]
    if finished := max((str(record.get("started", "")) for record in records), default=""):
        facts.append(("last stage started", f"{finished[:16].replace('T', ' ')} UTC"))
    if records:
        seconds = sum(record["seconds"] for record in records)
        facts.append(("computed in", f"{duration(seconds)} of {len(records)} stages, added up"))
    texts = {"on": hardware_text, "torch": lambda record: record["versions"]["torch"], "commit": commit_text}
    for name, text in texts.items():
        facts.append((name, ", ".join(sorted({text(record) for record in records}))))
    left = sum(len(row.missing) for row in collected.rows)
    return [*((name, text) for name, text in facts if text), *([("not run", f"{left} evaluations")] if left else [])]


def hardware_text(record: Values) -> str:
    """Return the machine of a record, e.g. ``NVIDIA H200`` or ``Intel Xeon, 2 cores``, and what it could not do."""
    hardware = record["hardware"]
    machine = hardware["gpu"] or f"{hardware['cpu']}, {hardware['cores']} cores"
    lacking = record.get("params", {}).get("precision") == "bfloat16" and not hardware.get("bfloat16", True)
    return f"{machine}, bfloat16 computed in float32" if lacking else machine


def commit_text(record: Values) -> str:
    """Return the short commit of a record, with ``+`` where the code differed from it."""
    return f"{record['commit'][:7]}{'+' if record['dirty'] else ''}" if record["commit"] else "unknown"
