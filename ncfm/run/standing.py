"""Which runs belong to the results that stand now, and what the run above those of one cell says of them.

Everything is computed again from the runs that are there, and nothing is added up: so it is right whatever was
repeated, imported late or run side by side. The caller holds the store's lock.
"""

from __future__ import annotations

import time
from typing import Any

from ncfm.core import layout
from ncfm.run import presentation as runs
from ncfm.run.presentation import Content

KEY, CELL, GROUP, CURRENT, PARENT = "ncfm.key", "ncfm.cell", "ncfm.group", "ncfm.current", "mlflow.parentRunId"


def runs_with(client: Any, experiment: str, tag: str, value: str) -> list[Any]:
    """Return all runs that carry a tag."""
    page = client.search_runs([experiment], f"tags.`{tag}` = '{value}'")
    found = list(page)
    while page.token:
        page = client.search_runs([experiment], f"tags.`{tag}` = '{value}'", page_token=page.token)
        found += page
    return found


def mark(client: Any, experiment: str, record: Content, run_id: str) -> None:
    """Tag the finished run of a record with whether it stands, and take that from another run of the same names.

    It does where its record lies in its place. Where no record lies there, as after a move, the last run stands.
    """
    same = {run.info.run_id: run.data.tags for run in runs_with(client, experiment, CELL, runs.cell_of(record))}
    tags = same.pop(run_id, {})
    rivals = {other: found["started"] for other, found in same.items() if found.get(CURRENT) == "true"}
    stands = runs.stands(record)
    if stands is None:
        stands = all(started <= record["started"] for started in rivals.values())
    if tags.get(CURRENT) != (text := str(stands).lower()):
        client.set_tag(run_id, CURRENT, text)
    for other in rivals if stands else ():
        client.set_tag(other, CURRENT, "false")


def group_of(record: Content) -> str | None:
    """Return the title of the cell (data set, IPC, method), or data set, whose runs are shown together."""
    group = {name: str(record["names"][name]) for name in runs.GROUP if name in record["names"]}
    return layout.title(group) or None


def parent(client: Any, experiment: str, record: Content, group: str) -> str:
    """Return the run above all runs of a group, made where there is none."""
    found = runs_with(client, experiment, GROUP, _searched(group))
    if found:
        return str(found[0].info.run_id)
    tags = {name: str(record["names"][name]) for name in runs.GROUP if name in record["names"]}
    return _create(client, experiment, runs.moment(record), {GROUP: _searched(group), **tags}, group)


def refresh(client: Any, experiment: str, group: str) -> None:
    """Give the run above a group its names as params, so that charts can have them as axes, the numbers of the runs
    below it that stand, and a time that covers them all.
    """
    parents = runs_with(client, experiment, GROUP, _searched(group))
    children = [child for one in parents for child in runs_with(client, experiment, PARENT, one.info.run_id)]
    if not children:
        return
    starts = min(child.info.start_time for child in children)
    kept = next((one for one in parents if one.info.start_time <= starts), None)
    if kept is None:  # MLflow cannot set back the start of a run
        tags = {name: text for name, text in parents[0].data.tags.items() if name in (GROUP, *runs.GROUP)}
        kept = client.get_run(_create(client, experiment, starts, tags, group))
    for child in children:
        if child.data.tags[PARENT] != kept.info.run_id:
            client.set_tag(child.info.run_id, PARENT, kept.info.run_id)
    for one in parents:  # also where two machines have made one each
        if one.info.run_id != kept.info.run_id:
            client.delete_run(one.info.run_id)
    names = {name: kept.data.tags[name] for name in runs.GROUP if name in kept.data.tags.keys() - kept.data.params}
    for name, text in names.items():
        client.log_param(kept.info.run_id, name, text)
    now = int(time.time() * 1000)
    standing = [child.data for child in children if child.data.tags.get(CURRENT) == "true"]
    for name, value in runs.cell_metrics((data.tags, data.metrics) for data in standing).items():
        if kept.data.metrics.get(name := runs.key_of(name)) != value:
            client.log_metric(kept.info.run_id, name, value, now, 0)
    ends = max([child.info.end_time for child in children if child.info.end_time] + [starts])
    if ends != kept.info.end_time:
        client.set_terminated(kept.info.run_id, "FINISHED", ends)


def _create(client: Any, experiment: str, starts: int, tags: dict[str, str], title: str) -> str:
    run_id = str(client.create_run(experiment, starts, tags, title).info.run_id)
    client.set_terminated(run_id, "FINISHED", starts)
    return run_id


def _searched(title: str) -> str:
    """Return a title as a filter can hold it: its text ends at a plain quotation mark."""
    return title.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
