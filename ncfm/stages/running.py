"""Run one stage on the files of its command: read its params, name the cell, open the record, call the function."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from ncfm.core.errors import ParamsError
from ncfm.core.layout import RELEASED
from ncfm.core.lock import only_writer
from ncfm.core.params import StageParams, parse
from ncfm.core.store import check_not_read, read_json, read_metadata
from ncfm.stages.table import Stage

THREADS = 1  # of each network that a stage computes, in whichever engine; NCFM_THREADS says otherwise


def run(stage: Stage, params_file: Path, values: Mapping[str, Any]) -> None:
    """Run a stage of the table, no report, on a cell's resolved params.

    ``values`` are those of the stage's arguments by name, None for an optional one that is left out. Raises
    :class:`~ncfm.core.errors.NcfmError`, one line: what was wrong, where, what is allowed.
    """
    check_no_campaign(params_file, f"{stage.name}/...")
    params = parse(stage.params, read_json(params_file), str(params_file))
    from ncfm.run import gpus
    from ncfm.run.compute import shard
    from ncfm.run.record import Record, recorded

    function = getattr(import_module(f"ncfm.stages.{stage.name}"), stage.name)  # only a stage that runs waits for torch
    inputs = [values[argument.name] for argument in stage.arguments if argument.kind == "input"]
    main, *read = (place(stage, template, values) for template in (stage.writes[0], *stage.reads))
    assert main is not None
    files: list[str | Path] = [*filter(None, read), *params.files]
    check_output(stage, main, [params_file, *filter(None, inputs), *files])
    names = names_of(params, values)
    alone, processes = shard()[1] == 1, getattr(params, "processes", 1)
    if not alone:
        from ncfm.run.ranks import end_with_parent

        end_with_parent()
    with only_writer(main) if alone else nullcontext(False) as waited:  # several processes write together
        if alone and stage.gpu:
            gpus.choose(processes)  # before torch looks for them
        if waited and Record(stage.name, main, params.model_dump(mode="json"), names, files).is_finished():
            print(f"{stage.name}: done meanwhile ({main})", file=sys.stderr)
            return
        if alone and processes > 1:
            from ncfm.run.ranks import run_ranks

            words = (word for name, value in values.items() if value is not None for word in (f"--{name}", str(value)))
            run_ranks(processes, [stage.name, "--params", str(params_file), *words])
            return
        with recorded(params, main, names, files, THREADS) as record:
            function(params, *inputs, values["out"], record)


def check_no_campaign(params_file: Path, wanted: str) -> None:
    """Raise :class:`ParamsError` for a campaign's file, where the params of one cell are ``wanted``."""
    if params_file.suffix in (".yaml", ".yml"):
        wanted = f"that of one cell, results/<campaign>/params/{wanted}.json, which `ncfm params` writes"
        raise ParamsError(f"{params_file}: is the file of a campaign, but --params takes {wanted}")


def check_output(stage: Stage, main: Path, reads: Iterable[str | Path]) -> None:
    """Raise :class:`~ncfm.core.errors.NcfmError` where the main output has another ending, or is what is read."""
    ending = PurePosixPath(stage.writes[0]).suffix
    if main.suffix != ending and not main.is_dir():
        raise ParamsError(f"--out: is {main}, but has to end in {ending}")
    check_not_read(main, reads)


def place(stage: Stage, template: str, values: Mapping[str, Any]) -> Path | None:
    """Return the path of a file of the stage, below the argument whose template begins its own; None where left out."""
    for argument in stage.arguments:
        if argument.kind != "name" and PurePosixPath(template).is_relative_to(argument.value):
            value = values[argument.name]
            return None if value is None else value / PurePosixPath(template).relative_to(argument.value)
    raise ValueError(f"{stage.name}: no argument holds {template}")


def names_of(params: StageParams, values: Mapping[str, Any]) -> dict[str, str | int]:
    """Return the names of the cell: those of the set or data set that it reads, of its arguments and of its params."""
    from ncfm.datasets.split import dataset_name

    names: dict[str, str | int] = {}
    if "set" in values:
        names = dict(read_metadata(values["set"]).get("names", {}))
    elif "data" in values:
        names = {"dataset": dataset_name(values["data"])}
    names |= {name: values[name] for name in ("ipc", "method", "seed") if name in values}
    names |= {name: getattr(params, name) for name in ("dataset", "arch", "steps") if hasattr(params, name)}
    return names | ({} if values.get("protocol", RELEASED) == RELEASED else {"protocol": values["protocol"]})
