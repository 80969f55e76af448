"""A tiny made data set, tiny params and short ways to run a stage, for the tests of the method."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from ncfm.core.params import (
    AnytimeParams,
    ContinualParams,
    CurateParams,
    DistillParams,
    EvaluateParams,
    PretrainParams,
    SearchParams,
    SelectParams,
    StageParams,
)
from ncfm.core.seeding import generator
from ncfm.core.store import save_tensors
from ncfm.method.coresets import RULES
from ncfm.method.distillation import Distillation
from ncfm.run.record import Record
from ncfm.stages.anytime import anytime
from ncfm.stages.continual import continual
from ncfm.stages.curate import curate
from ncfm.stages.distill import distill
from ncfm.stages.evaluate import evaluate
from ncfm.stages.pretrain import pretrain
from ncfm.stages.search import search
from ncfm.stages.select import select

CLASSES, PER_CLASS, CHANNELS, RESOLUTION = 3, 12, 3, 8
NETWORK: dict[str, Any] = {"width": 4, "batch": 8}
TINY_DISTILL: dict[str, Any] = {
    "iterations": 2,
    "batch_real": 6,
    "num_frequencies": 64,
    "learning_rate": 0.05,
    "sampler_learning_rate": 0.01,
    "plateau_patience": 1,
}


class Killed(BaseException):
    """Stands for the death of a process in the middle of a stage."""


class KillAt:
    """A run that dies when it is told of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def log(self, step: int, values: object) -> None:
        if step == self.step:
            raise Killed

    def finish(self, *_: object) -> None:
        raise AssertionError("the stage should have died")

    def fail(self, status: str) -> None:
        pass


def write_dataset(folder: Path, dataset: str = "made") -> Path:
    """Write a data set whose classes are bright on the left, on the right and on top, as `ncfm prepare` does."""
    bright = torch.zeros(CLASSES, 1, RESOLUTION, RESOLUTION)
    half = RESOLUTION // 2
    bright[0, :, :, :half] = bright[1, :, :, half:] = bright[2, :, :half] = 120
    for split in ("train", "test"):
        labels = torch.arange(CLASSES).repeat(PER_CLASS)
        shape = (len(labels), CHANNELS, RESOLUTION, RESOLUTION)
        images = (torch.randint(0, 130, shape, generator=generator("made", split)) + bright[labels]).to(torch.uint8)
        facts = {
            "dataset": dataset,
            "classes": CLASSES,
            "label_names": ["left", "right", "top"],
            "mean": [0.49, 0.48, 0.47],
            "std": [0.27, 0.26, 0.28],
        }
        save_tensors(folder / f"{split}.safetensors", {"images": images, "labels": labels}, facts)
    return folder


def record_of(stage: str, out: Path, params: StageParams, kill_at: int | None = None, **names: Any) -> Record:
    """Return the record of a stage; with ``kill_at`` the stage dies when it logs that step."""
    record = Record(stage, out, params.model_dump(mode="json"), names, [])
    if kill_at is not None:
        record.run = KillAt(kill_at)
    return record


def run_pretrain(data: Path, out: Path, kill_at: int | None = None, **changes: Any) -> Path:
    """Pretrain a pool of two networks, two epochs each unless changed; return its file."""
    params = PretrainParams(**{**NETWORK, "pool": 2, "epochs": 2, "count_forgetting": True, **changes})
    pretrain(params, data, out, record_of("pretrain", out, params, kill_at))
    return out


def distill_params(**changes: Any) -> DistillParams:
    """Return small params; a ``loss_scale`` may be beyond its range, for a loss that becomes infinite."""
    beyond = {"loss_scale": changes.pop("loss_scale")} if "loss_scale" in changes else {}
    return DistillParams(**{**TINY_DISTILL, **changes}).model_copy(update=beyond)


def run_distill(
    data: Path, pool: Path, out: Path, *, seed: int = 0, ipc: int = 2, kill_at: int | None = None, **changes: Any
) -> Path:
    """Distill for two iterations unless changed; return the set's file."""
    params = distill_params(**changes)
    names = {"dataset": "made", "ipc": ipc, "method": "test", "seed": seed}
    distill(params, data, pool, out, record_of("distill", out / "distilled.safetensors", params, kill_at, **names))
    return out / "distilled.safetensors"


def run_select(data: Path, out: Path, ipc: int = 2, seed: int = 0, pool: Path | None = None, **changes: Any) -> Path:
    """Select a coreset; return the set's file. The pool is passed on where the rule reads it."""
    params = SelectParams(**changes)
    names = {"dataset": "made", "ipc": ipc, "method": "test", "seed": seed}
    extractors = pool if RULES[params.rule].reads_extractors else None
    select(params, data, extractors, out, record_of("select", out / "distilled.safetensors", params, **names))
    return out / "distilled.safetensors"


def run_curate(data: Path, pool: Path, stored: Path, out: Path, kill_at: int | None = None, **changes: Any) -> Path:
    """Curate a set; return the new set's file."""
    params = CurateParams(**changes)
    names = {"dataset": "made", "ipc": 2, "method": "curated", "seed": 0}
    curate(params, data, pool, stored, out, record_of("curate", out / "d.safetensors", params, kill_at, **names))
    return out / "distilled.safetensors"


def run_evaluate(data: Path, stored: Path, out: Path, kill_at: int | None = None, **changes: Any) -> Path:
    """Evaluate with two networks of four epochs unless changed; return the JSON file."""
    params = EvaluateParams(**{**NETWORK, "networks": 2, "epochs": 4, "looks": 2, **changes})
    evaluate(params, data, stored, out, record_of("evaluate", out, params, kill_at, arch=params.arch))
    return out


def run_continual(data: Path, stored: Path, out: Path, kill_at: int | None = None, **changes: Any) -> Path:
    """Learn continually in three steps with two networks of four epochs unless changed; return the JSON file."""
    params = ContinualParams(**{**NETWORK, "networks": 2, "epochs": 4, "steps": 3, **changes})
    continual(params, data, stored, out, record_of("continual", out, params, kill_at, arch=params.arch))
    return out


def run_anytime(data: Path, stored: Path, out: Path, kill_at: int | None = None, **changes: Any) -> Path:
    """Evaluate snapshots with two networks of four epochs unless changed; return the JSON file."""
    params = AnytimeParams(**{**NETWORK, "networks": 2, "epochs": 4, **changes})
    anytime(params, data, stored, out, record_of("anytime", out, params, kill_at, arch=params.arch))
    return out


def run_search(data: Path, stored: Path, out: Path, kill_at: int | None = None, **changes: Any) -> Path:
    """Train ConvNet-3 of two widths and two normalisations twice, four epochs, unless changed; return the JSON file."""
    grid = {"widths": (4, 8), "norms": ("none", "batch")}
    params = SearchParams(**{"batch": 8, "networks": 2, "epochs": 4, "learning_rate": 0.02, **grid, **changes})
    search(params, data, stored, out, record_of("search", out, params, kill_at))
    return out


def row_of(run: Distillation) -> dict[str, float]:
    """Take one step of a distillation and return its row of history."""
    run.step()
    ((iteration, row),) = run.read_back()
    assert iteration == run.iteration
    return row


def rows_of(history: Path) -> list[dict[str, float]]:
    """Return the rows of a `history.csv`."""
    with history.open(newline="", encoding="utf-8") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]
