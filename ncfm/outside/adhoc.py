"""A user's own folder of images from end to end, without a campaign: prepare, pretrain, distill, evaluate.

It calls the stages' own functions, each with its record beside its output. Run again, it skips every stage whose record
says that the same params and inputs gave the outputs that are there, and the stage that was cut off continues.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ncfm.campaign.file import CampaignFile, read_yaml
from ncfm.core.errors import DataError, ParamsError, one_of
from ncfm.core.params import Count, DistillParams, EvaluateParams, PretrainParams, StageParams, parse
from ncfm.core.store import read_json, sha256
from ncfm.outside.folder import Listing, facts_of_folder, list_folder, load_folder, median_side
from ncfm.run.record import Record, recorded
from ncfm.stages import cells
from ncfm.stages import prepare as datasets
from ncfm.stages.distill import distill
from ncfm.stages.evaluate import evaluate
from ncfm.stages.pretrain import pretrain
from ncfm.stages.repeats import Names
from ncfm.stages.table import STAGES

NETWORKS = {32: "convnet-3", 64: "convnet-4", 128: "convnet-5"}  # by resolution, as in the paper
BASE = Path(__file__).resolve().parent.parent.parent / "params/base.yaml"

# Budgets for minutes on two cores, in the spirit of params/digits.yaml: narrow networks, few iterations, large steps.
WIDTH = 32
PRETRAIN = {"width": WIDTH}
DISTILL = {"batch_real": 128, "checkpoint_every": 25}
LEARNING_RATE = 0.01
# No flip: the folder may hold letters, digits or signs, which a mirror turns into others.
EVALUATE = {"width": WIDTH, "batch": 32, "networks": 3, "looks": 1, "augmentation": "color_crop_scale_rotate"}


class Wish(BaseModel):
    """What the user can choose."""

    model_config = ConfigDict(frozen=True)
    ipc: Count
    method: str = "paper"
    seed: int = Field(0, ge=0)
    resolution: int | None = Field(None, description="of the images; None: the allowed one nearest to theirs")
    iterations: Count = Field(200, description="of the distillation")
    epochs: Count = Field(20, description="of each extractor on the real images; evaluation trains ten times as many")
    pool: Count = Field(4, description="number of extractors")


class FolderParams(StageParams):
    """The stage `prepare` on a folder of images."""

    stage = "prepare"
    folder: str
    resolution: int


def distill_folder(folder: Path, wish: Wish, out: Path | None = None) -> str:
    """Distill a folder of images and return one line: where the set is, and its accuracy on which images.

    Everything goes to ``out`` (default: results/adhoc/<folder name>), laid out as the results of a campaign. Raises
    DataError for a folder that is missing or in no layout of `ncfm/outside/folder.py`, or an unreadable image, and
    ParamsError for an unknown method, a resolution that is not offered, or an IPC that a class cannot give.
    """
    recipe = recipe_of(wish.method)
    listing = list_folder(folder)
    _check_enough(folder, listing, wish.ipc, recipe.factor)
    if wish.resolution not in (None, *NETWORKS):
        raise ParamsError(one_of("resolution", wish.resolution, NETWORKS, "--resolution"))
    resolution = wish.resolution or nearest_resolution(median_side(listing.all_files("train")))
    name, arch = listing.name, NETWORKS[resolution]
    prepared, pretrained = cells.Prepare(name), cells.Pretrain(name, arch)
    distilled = cells.Distill(name, wish.ipc, wish.method, wish.seed)
    evaluated = cells.Evaluate(*distilled.set_names, arch)
    root, all_cells = out or Path("results/adhoc") / name, (prepared, pretrained, distilled, evaluated)
    outputs = (root / STAGES[cell.stage].writes[0].format(**cell.values) for cell in all_cells)
    card, pool, stored, evaluation = outputs
    data, names, tested = card.parent, distilled.names, evaluated.names
    train, test = data / "train.safetensors", data / "test.safetensors"

    def prepare(record: Record) -> None:
        loaded = load_folder(listing, resolution)
        datasets.write(facts_of_folder(listing, loaded), "folder", loaded, data, record)

    preparing = FolderParams(folder=str(folder), resolution=resolution)
    run_stage(preparing, card, prepared.names, [*listing.all_files("train", "test")], prepare)
    training = parse(PretrainParams, {**PRETRAIN, "arch": arch, "pool": wish.pool, "epochs": wish.epochs}, "pretrain")
    run_stage(training, pool, pretrained.names, [train, test], pretrain, training, data, pool)
    distilling = recipe.model_copy(update={"iterations": wish.iterations})
    run_stage(distilling, stored, names, [train, pool], distill, distilling, data, pool, names, stored.parent)
    testing = parse(EvaluateParams, {**EVALUATE, "arch": arch, "epochs": 10 * wish.epochs}, "evaluate")
    run_stage(testing, evaluation, tested, [stored, test], evaluate, testing, data, stored, tested, evaluation)
    last, count = read_json(evaluation)["last"], len(listing.all_files("test"))
    accuracy = f"test accuracy {last['mean']:.1f} % ± {last['std']:.1f} ({last['n']} networks trained on it)"
    held_out = f"a held-out fifth of each class ({count} images)"
    images = f"the {count} images of {listing.test_folder}" if listing.test_folder else held_out
    return f"{stored}: {accuracy} on {images}"


def recipe_of(method: str) -> DistillParams:
    """Return a recipe of `params/base.yaml` at the budget for folders. Raises :class:`ParamsError` for other names."""
    methods = parse(CampaignFile, read_yaml(BASE), str(BASE)).methods
    recipes = {name: entry.values_for("distill") for name, entry in methods.items() if entry.stage == "distill"}
    if method not in recipes:
        raise ParamsError(one_of("method", method, recipes, "--method"))
    values = {**DISTILL, **recipes[method]}
    if values.get("update") != "per-class":  # which takes a step per class in each iteration: enough small ones
        values = {"learning_rate": LEARNING_RATE, **values}
    return parse(DistillParams, values, str(BASE))


def nearest_resolution(side: float) -> int:
    """Return the offered resolution that is nearest to ``side`` (in pixels), the smaller of two."""
    return min(NETWORKS, key=lambda resolution: abs(resolution - side))


def _check_enough(folder: Path, listing: Listing, ipc: int, factor: int) -> None:
    wanted, most = ipc * factor**2, min(map(len, listing.files["train"])) // factor**2
    for label, files in zip(listing.label_names, listing.files["train"], strict=True):
        if len(files) < wanted:
            allowed = f"allowed here: --ipc 1 to {most}" if most else f"add images: at least {factor**2} for training"
            starts = f"--ipc {ipc} starts from {wanted} real images of each class ({allowed})"
            raise ParamsError(f"{folder}: class {label!r} has {len(files)} images to train on, but {starts}")


def run_stage(
    params: StageParams,
    output: Path,
    names: Names,
    inputs: list[str | Path],
    work: Callable[..., None],
    *arguments: Any,
) -> None:
    """Call a stage's function on its arguments and its record, unless the same params and inputs gave its outputs."""
    wanted = Record(params.stage, output, params.model_dump(mode="json"), names, inputs)
    try:
        found = read_json(wanted.path)
        same = found["key"] == wanted.content["key"]
        finished = same and all(sha256(path) == digest for path, digest in found["outputs"].items())
    except (DataError, KeyError, TypeError):  # no record, or a torn one
        finished = False
    if finished:
        print(f"{params.stage}: done before ({output})", file=sys.stderr, flush=True)
        return
    with recorded(params, output, names, inputs) as record:
        work(*arguments, record)
