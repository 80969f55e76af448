"""What DVC reads: the active campaign and its cells, `dvc.yaml`, and a stage for each artefact of the campaign.

`python -m ncfm.campaign.engines` prints `dvc.yaml`, which is committed; a test holds the two together.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

from ncfm.campaign import campaign as campaigns
from ncfm.campaign.campaign import PARAMS, Campaign
from ncfm.campaign.reading import read_yaml
from ncfm.core.errors import ParamsError
from ncfm.core.layout import campaign_folder
from ncfm.core.store import is_text
from ncfm.stages import cells, table
from ncfm.stages.cells import Cell
from ncfm.stages.table import MAKERS, STAGES, Stage

ACTIVE = "campaign.yaml"  # the active campaign and its cells
LOADED = "load"  # the params key that names a file which the stage reads besides those of its command
HEAD = """\
# Written by `make dvc.yaml` from the table of stages (ncfm/stages/table.py), so that both engines run the same commands
# on the same files. `dvc repro` runs the active campaign, whose cells `ncfm use NAME` writes to params/campaign.yaml.
vars: [params/campaign.yaml]

stages:
  params:
    foreach: ${cells.params}
    do:
      cmd: ncfm params ${campaign}
      params:
        - params/base.yaml:
        - params/${campaign}.yaml:
      outs:
        # Kept in place: the command leaves unchanged files alone, so that Snakemake too sees only what changed.
        - results/${campaign}/params: {cache: false, persist: true}
"""
WRAPPER = textwrap.TextWrapper(120, " " * 6, " " * 8, break_long_words=False, break_on_hyphens=False)


def active(folder: Path = PARAMS) -> str:
    """Return the name of the active campaign. Raises :class:`ParamsError` where ``ncfm use`` has never run."""
    path = folder / ACTIVE
    try:
        values = read_yaml(path, end="\ncells:")  # which are thousands of lines
    except ParamsError as error:  # a merge left its marks, for example
        remedy = "; `ncfm use NAME` writes it anew" if path.is_file() else ""
        raise ParamsError(f"{error}{remedy}") from error
    if not isinstance(values, dict) or not isinstance(values.get("campaign"), str):
        raise ParamsError(f"{path}: campaign: is missing; run `ncfm use NAME` to write it")
    return values["campaign"]


def active_if_any() -> str | None:
    """Return the name of the active campaign, or None where there is none yet."""
    try:
        return active()
    except ParamsError:
        return None


def is_active(campaign: Campaign) -> bool:
    """Say whether a campaign is the active one; before the first ``ncfm use`` none is."""
    return (PARAMS / ACTIVE).is_file() and active() == campaign.name


def use(campaign: Campaign) -> None:
    """Make a campaign the active one: write its params and, for DVC, its cells, each only where changed."""
    campaigns.write_params(campaign)  # first: where they can't be written, the active campaign stays the old one
    refresh(campaign)


def refresh(campaign: Campaign) -> None:
    """Write `params/campaign.yaml` and, of artefacts, `params/dvc.yaml`, each only where changed."""
    campaigns.write_changed(_texts(campaign, PARAMS))


def check_active(campaign: Campaign, folder: Path = PARAMS) -> None:
    """Raise :class:`ParamsError` where `params/campaign.yaml` lists other cells than the campaign's own file does."""
    if not all(is_text(path, text) if text else not path.exists() for path, text in _texts(campaign, folder).items()):
        own = f"{folder / campaign.name}.yaml"
        raise ParamsError(f"{folder / ACTIVE}: lists other cells than {own}; run `ncfm use {campaign.name}`")


def _texts(campaign: Campaign, folder: Path) -> dict[Path, str]:
    return {folder / ACTIVE: active_text(campaign), folder / "dvc.yaml": artefacts_text(campaign)}


def active_text(campaign: Campaign) -> str:
    """Return the text of `params/campaign.yaml`: the active campaign and its cells, for dvc.yaml."""
    found: dict[str, dict[str, Any]] = {"params": {campaign.name: {}}}
    for stage in STAGES:
        if stage != cells.Artefact.stage:
            of_stage = {table.address(campaign.name, cell): cell for cell in campaign.cells_of(stage)}
            found[stage] = {name.partition("@")[2]: _item(campaign, cell) for name, cell in of_stage.items()}
    head = "# Written by `ncfm use NAME`; dvc.yaml runs these cells. Edit params/<campaign>.yaml, then run it again.\n"
    return head + yaml.safe_dump({"campaign": campaign.name, "cells": found}, sort_keys=False, width=120)


def _item(campaign: Campaign, cell: Cell) -> dict[str, str | int]:
    """Return what dvc.yaml needs of a cell: its values, and inputs that only some have: others name one twice."""
    stage, found = STAGES[cell.stage], dict(cell.values)
    if LOADED in stage.params.model_fields:
        found[LOADED] = next(iter(campaign.params[cell].files), table.place(campaign.name, cell, stage.reads[0]))
    for argument in filter(lambda argument: argument.optional, stage.arguments):
        there = table.has(cell, argument.value)
        value = table.place(campaign.name, cell, argument.value if there else stage.reads[0])
        found |= {argument.name: value, "options": f"--{argument.name} {value}" if there else ""}
    return found


def artefacts_text(campaign: Campaign) -> str:
    """Return the text of `params/dvc.yaml`: a stage per artefact, as `dvc.yaml` cannot list inputs; empty for none."""
    stages = {
        table.address(campaign.name, cell).partition(":")[2]: {
            "wdir": "..",
            "cmd": table.command(campaign.name, cell),
            "deps": campaigns.inputs(campaign, cell),
            "outs": table.outputs(campaign.name, cell),
        }
        for cell in campaign.cells_of(cells.Artefact.stage)
    }
    head = "# Written by `ncfm use NAME`: `dvc repro params/dvc.yaml:CAMPAIGN_ARTEFACT` makes one artefact of it.\n"
    return head + yaml.safe_dump({"stages": stages}, sort_keys=False, width=120) if stages else ""


def dvc_yaml() -> str:
    """Return the text of `dvc.yaml`: every stage of the table over the cells that `params/campaign.yaml` names."""
    return HEAD + "".join(f"\n{_dvc_stage(stage)}" for stage in STAGES.values() if stage.cell is not cells.Artefact)


def _dvc_stage(stage: Stage) -> str:
    words = ["ncfm", stage.command or stage.name, "--params", _below(stage.params_file)]
    reads = {file: _below(file) for file in (stage.params_file, *stage.reads)}
    for argument in stage.arguments:
        name, value = argument.name, argument.value
        if argument.optional:
            reads[value] = f"${{item.{name}}}"
        else:
            words += [f"--{name}", _filled(value) if argument.kind == "name" else _below(value)]
    words += ["${item.options}"] if any(one.optional for one in stage.arguments) else []
    if LOADED in stage.params.model_fields:
        reads[LOADED] = f"${{item.{LOADED}}}"
    if stage.cell is cells.Report:  # of all cells, whose number differs
        reads |= {folder: _below(folder) for folder in ("evaluations", "sets")}
    writes = list(stage.outputs)
    if stage.may_write:  # by their folders: which files of them there are differs
        writes = list(dict.fromkeys(one.partition("/")[0] for one in (*writes, *stage.may_write)))
    curves = [one for one in writes if one.endswith("history.csv") and stage.name in MAKERS]
    metrics = [one for one in writes if one == "metrics.json"]
    values = {
        "deps": list(reads.values()),
        "outs": [_below(one) for one in writes if one not in (*curves, *metrics)],
        "metrics": [_below(one) for one in metrics],
        "plots": [{_below(one): {"x": "step", "y": "loss", "title": "${key}"}} for one in curves],
    }
    lines = [f"cmd: {' '.join(words)}", *(f"{key}: {json.dumps(value)}" for key, value in values.items() if value)]
    return "\n".join([f"  {stage.name}:\n    foreach: ${{cells.{stage.name}}}\n    do:", *map(WRAPPER.fill, lines), ""])


def _filled(template: str) -> str:
    """Return a template as DVC fills it, for each item of a stage."""
    return re.sub(r"{(\w+)}", r"${item.\1}", template)


def _below(template: str) -> str:
    return str(campaign_folder("${campaign}") / _filled(template))


if __name__ == "__main__":
    print(dvc_yaml(), end="")
