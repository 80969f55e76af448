"""Names that everything agrees on: of cells, of protocols, of a campaign's folder, of files of images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import Any

RELEASED = "released"  # the protocol of evaluation that is meant where none is named
WHOLE = "whole"  # the method of all training images, which a search compares with
ADHOC = "adhoc"  # what stands in place of a campaign's name for runs without one
ELSEWHERE = ("published", "shipped")  # folders of results/ whose records are of other machines
MLFLOW = "mlflow"  # folder of results/ with MLflow's store, and its copies of sets
APART = (*ELSEWHERE, MLFLOW, ADHOC)  # folders of results/ that no campaign writes
MLFLOW_PORT = 5000  # of the server that `ncfm ui` starts, unless it is told another
COMPACT = ("params.json", "evaluations.json", "records.json", "histories.json")  # hold a published campaign, by path
# The names that tell one cell from another, in this order, and what is written before each.
NAMES = {"dataset": "", "ipc": "ipc", "method": "", "seed": "seed", "arch": "", "protocol": "", "steps": "steps"}
NAMES |= {"artefact": ""}
SPLIT_FILES = {"train": "train.safetensors", "test": "test.safetensors"}  # of a prepared data set, in its folder
SET_FILE = "distilled.safetensors"  # of a set, however made, in its folder


def title(names: Mapping[str, Any], separator: str = " ") -> str:
    """Return names as a person writes them, e.g. ``digits ipc1 paper seed0 convnet-3``."""
    return separator.join(f"{prefix}{names[name]}" for name, prefix in NAMES.items() if names.get(name) is not None)


@cache
def campaign_folder(campaign: str) -> PurePosixPath:
    """Return the folder of everything that a campaign writes."""
    return PurePosixPath("results", campaign)


def record_file(output: PurePosixPath) -> PurePosixPath:
    """Return the record beside a stage's main output: what ran, when, where and on what (never an input of a stage)."""
    return output.parent / f"{output.stem}.record.json"
