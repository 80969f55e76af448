"""What Snakemake prints of the time left: each stage's own mean, and "more than" where a stage has not run yet."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

plugin = pytest.importorskip("snakemake_logger_plugin_ncfm")
common = pytest.importorskip("snakemake_interface_logger_plugins.common")


def events(handler: Any, clock: list[float], jobs: list[tuple[str, float]]) -> str:
    """Let jobs run one after the other, each a rule and its seconds; return what is said of the time left."""
    for number, (rule, seconds) in enumerate(jobs):
        record = {"event": common.LogEvent.JOB_INFO, "jobid": number, "rule_name": rule, "output": [], "levelno": 20}
        handler.emit(SimpleNamespace(**record))
        clock[0] += seconds
        handler.emit(SimpleNamespace(event=common.LogEvent.JOB_FINISHED, job_id=number, levelno=20))
    return handler._time_left()


def test_the_time_left_follows_from_the_stages_that_are_left(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    handler = object.__new__(plugin.LogHandler)
    handler.common_settings = SimpleNamespace(dryrun=False)
    handler.__post_init__()
    stats = {"select": 3, "evaluate": 3, "all": 1, "total": 7}
    handler.emit(SimpleNamespace(event=common.LogEvent.RUN_INFO, stats=stats, levelno=20))
    assert events(handler, clock, []) == ""
    assert events(handler, clock, [("select", 2.0)]) == ", more than 4 s left"
    assert events(handler, clock, [("evaluate", 60.0), ("select", 2.0)]) == ", about 2 min left"
    assert events(handler, clock, [("select", 2.0), ("evaluate", 60.0), ("evaluate", 60.0)]) == ""
