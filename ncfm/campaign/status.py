"""How far a campaign is: which of its cells are done, which run or failed, and how long the rest takes. No torch."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path

from ncfm.campaign.campaign import Campaign
from ncfm.campaign.costs import CPU
from ncfm.campaign.plan import costs_of, hours_text, seconds_on
from ncfm.core.errors import FAULT, DataError
from ncfm.core.layout import record_file, title
from ncfm.core.store import json_text, read_json
from ncfm.stages import table
from ncfm.stages.cells import Artefact, Cell, Report

LIVE_SECONDS = 60.0  # a running stage writes into its log at least that often


class State(StrEnum):
    """How far a cell is."""

    DONE = "done"
    CHANGED = "params changed"  # done, but with other params than the campaign has now
    RUNNING = "running"
    FAILED = "failed"
    TO_DO = "to do"


def state_of(campaign: Campaign, cell: Cell) -> tuple[State, str]:
    """Return a cell's state and, of one that runs or failed, the last line that its log has to say."""
    record = Path(record_file(table.output(campaign.name, cell)))
    if record.is_file() and Path(table.output(campaign.name, cell)).is_file():
        try:
            params = read_json(record)["params"]
        except (DataError, KeyError, TypeError):
            params = None
        wanted = campaign.params[cell].model_dump(mode="json")
        same = isinstance(cell, Report | Artefact) or json_text(params) == json_text(wanted)
        return (State.DONE if same else State.CHANGED), ""
    log = Path(table.place(campaign.name, cell, table.STAGES[cell.stage].log))
    if not log.is_file():
        return State.TO_DO, ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if faults := [line for line in lines if line.startswith(FAULT)]:
        return State.FAILED, f"{faults[-1].removeprefix(FAULT)} ({log})"
    if time.time() - log.stat().st_mtime < LIVE_SECONDS:
        return State.RUNNING, next((line for line in reversed(lines) if line.startswith(f"{cell.stage}:")), "")
    return State.TO_DO, ""  # killed: its checkpoint is taken up


def status_text(campaign: Campaign) -> str:
    """Return the campaign's state: a line for each stage, those that run or failed by name, and the hours left."""
    found = {cell: state_of(campaign, cell) for cell in campaign.cells}
    lines = []
    for stage in dict.fromkeys(cell.stage for cell in campaign.cells):
        states = [state for cell, (state, _) in found.items() if cell.stage == stage]
        counts = ", ".join(f"{states.count(state)} {state}" for state in State if state in states)
        lines.append(f"{stage:10} {counts}")
    for cell, (state, said) in found.items():
        if state in (State.RUNNING, State.FAILED):
            lines.append(f"{state}: {f'{cell.stage} {title(cell.names)}'.strip()}{f': {said}' if said else ''}")
    left = {cell: cost for cell, cost in costs_of(campaign).items() if found[cell][0] is not State.DONE}
    hours = seconds_on(CPU, left.values()) / 3600
    unknown = sum(cost is None for cost in left.values())
    more = f", besides {unknown} cells without an estimate" if unknown else ""
    return "\n".join([*lines, f"left: about {hours_text(hours)} h on {CPU.name}{more}"]) + "\n"
