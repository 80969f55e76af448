"""How far a campaign is: which of its cells are done, which run or failed, and how long the rest takes. No torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from ncfm.campaign.campaign import Campaign, inputs
from ncfm.campaign.costs import CPU
from ncfm.campaign.plan import aligned, costs_of, seconds_on
from ncfm.core.errors import FAULT, DataError
from ncfm.core.layout import record_file, title
from ncfm.core.progress import duration
from ncfm.core.store import json_text, read_json
from ncfm.stages import table
from ncfm.stages.cells import Artefact, Cell, Report

LIVE_SECONDS = 60.0  # a running stage writes into its log at least that often
CRASHES = ("Traceback (most recent call last)", "ERROR: ")  # how a line of Python's or DVC's begins where a stage ends
ROW = ("dataset", "ipc", "method")  # the names of a row of the grid


class State(StrEnum):
    """How far a cell is."""

    DONE = "done"
    OLD = "out of date"  # done, but with other params than the campaign has now, or from what is not done
    RUNNING = "running"
    FAILED = "failed"
    TO_DO = "to do"


SIGNS = {State.DONE: "#", State.OLD: "~", State.RUNNING: ">", State.FAILED: "!", State.TO_DO: "."}  # in the grid


def states_of(campaign: Campaign) -> dict[Cell, tuple[State, str]]:
    """Return the state of every cell and, of those that run or failed, the last line that their log has to say."""
    found: dict[Cell, tuple[State, str]] = {}
    made: dict[str, State] = {}  # by the file
    for cell in campaign.cells:  # in the order of the pipeline
        state, said = _own_state(campaign, cell)
        if state is State.DONE and any(made.get(file, state) is not state for file in inputs(campaign, cell)):
            state = State.OLD
        found[cell] = state, said
        made |= dict.fromkeys(table.outputs(campaign.name, cell), state)
    return found


def _own_state(campaign: Campaign, cell: Cell) -> tuple[State, str]:
    """Return a cell's state, whatever the state of what it reads, and what its log says."""
    record = Path(record_file(table.output(campaign.name, cell)))
    if record.is_file() and Path(table.output(campaign.name, cell)).is_file():
        try:
            content = read_json(record)
            params, names = json_text(content["params"]), content.get("names", {}).items()
        except (DataError, KeyError, TypeError, AttributeError):
            return State.OLD, ""
        same = params == json_text(campaign.params[cell].model_dump(mode="json"))
        same &= all(cell.values.get(name) == value for name, value in names)  # else it is a copy of another cell's
        return (State.DONE if same or isinstance(cell, Report | Artefact) else State.OLD), ""
    log = Path(table.place(campaign.name, cell, table.STAGES[cell.stage].log))
    if not log.is_file():
        return State.TO_DO, ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    faults = [line.removeprefix(FAULT) for line in lines if line.startswith(FAULT)]
    if faults or any(line.startswith(CRASHES) for line in lines):
        last = faults or [line for line in lines if line.strip()]
        return State.FAILED, f"{last[-1]} ({log})"
    if time.time() - log.stat().st_mtime < LIVE_SECONDS:
        return State.RUNNING, next((line for line in reversed(lines) if line.startswith(f"{cell.stage}:")), "")
    return State.TO_DO, ""  # killed: its checkpoint is taken up


def status_text(campaign: Campaign) -> str:
    """Return the campaign's state: its grid, a line for each stage, what runs or failed by name, and the hours left."""
    found = states_of(campaign)
    lines = grid({cell: state for cell, (state, _) in found.items()})
    for stage in dict.fromkeys(cell.stage for cell in campaign.cells):
        states = [state for cell, (state, _) in found.items() if cell.stage == stage]
        counts = ", ".join(f"{states.count(state)} {state}" for state in State if state in states)
        lines.append(f"{stage:10} {counts}")
    for cell, (state, said) in found.items():
        if state in (State.RUNNING, State.FAILED):
            lines.append(f"{state}: {f'{cell.stage} {title(cell.names)}'.strip()}{f': {said}' if said else ''}")
    lines.append("")
    left = {cell: cost for cell, cost in costs_of(campaign).items() if found[cell][0] is not State.DONE}
    unknown = sum(cost is None for cost in left.values())
    more = f", besides {unknown} cells without an estimate" if unknown else ""
    seconds = seconds_on(CPU, left.values())
    taken = "less than a minute" if seconds < 60 else f"about {duration(seconds)}"
    time_left = f"{taken} on {CPU.name}{more}" if left else "nothing"
    return "\n".join([*lines, f"left: {time_left}"]) + "\n"


def grid(states: Mapping[Cell, State]) -> list[str]:
    """Return the lines of a grid: a row for each data set, IPC and method, a column a stage, a sign a cell."""
    rows: dict[tuple[Any, ...], dict[str, str]] = {}
    for cell, state in states.items():
        if cell.stage in (*table.MAKERS, *table.TESTERS):
            row = rows.setdefault(tuple(cell.names[name] for name in ROW), {})
            row[cell.stage] = row.get(cell.stage, "") + SIGNS[state]
    stages = [stage for stage in table.STAGES if any(stage in row for row in rows.values())]
    cells = [["", *stages]]
    for names, row in sorted(rows.items(), key=lambda one: one[0][:2]):
        cells.append([title(dict(zip(ROW, names, strict=True))), *(row.get(stage, "") for stage in stages)])
    return [*aligned(cells, len(cells[0])), "  ".join(f"{sign} {state}" for state, sign in SIGNS.items()), ""]
