"""Open the record of a stage that a command runs, and close it whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ncfm.core.params import StageParams
    from ncfm.run.record import Record


@contextmanager
def recorded(
    params: StageParams, output: Path, names: Mapping[str, str | int], inputs: list[str | Path]
) -> Iterator[Record]:
    """Open the record of a stage, send it to MLflow where that is installed, and close it whatever happens."""
    from ncfm.core.store import check_writable
    from ncfm.run import tracking
    from ncfm.run.compute import set_up, shard
    from ncfm.run.record import Record

    check_writable(output)
    set_up(bounded=getattr(params, "recompute", False))
    record = Record(params.stage, output, params.model_dump(mode="json"), names, inputs)
    if shard()[0] == 0:  # of several processes one is the run
        record.send_to(tracking.start(record.content))
    try:
        yield record
    except (KeyboardInterrupt, SystemExit):
        record.fail("KILLED")
        raise
    except BaseException:
        record.fail("FAILED")
        raise
