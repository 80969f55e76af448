"""A user's own folder of images from end to end, without a campaign: prepare, pretrain, distill, evaluate.

It calls the stages' own functions, each with its record beside its output. Run again, it skips every stage whose record
says that the same params and inputs gave the outputs that are there, and the stage that was cut off continues.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ncfm.campaign.layers import Layers
from ncfm.core import layout
from ncfm.core.errors import DataError, ParamsError, one_of
from ncfm.core.params import Count, DistillParams, EvaluateParams, PretrainParams, StageParams, parse
from ncfm.core.store import read_json, sha256
from ncfm.outside.folder import Listing, facts_of_folder, list_folder, load_folder, median_side
from ncfm.run.record import Record, recorded
from ncfm.stages import cells, table
from ncfm.stages import prepare as datasets
from ncfm.stages.distill import distill
from ncfm.stages.evaluate import evaluate
from ncfm.stages.pretrain import pretrain

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

    Everything goes to ``out`` (default: results/adhoc/<folder name>), laid out as the results of a campaign.

    Raises:
        DataError: a folder that is missing or in no layout of `ncfm/outside/folder.py`, an unreadable image.
        ParamsError: an unknown method, a resolution that is not offered, an IPC that a class cannot give.
    """
    recipe = recipe_of(wish.method)
    listing = list_folder(folder)
    _check_enough(folder, listing, wish.ipc, recipe.factor)
    resolution = wish.resolution
    if resolution is None:
        resolution = nearest_resolution(median_side(listing.all_files("train")))
    if resolution not in NETWORKS:
        raise ParamsError(one_of("resolution", resolution, NETWORKS, "--resolution"))
    name, arch = listing.name, NETWORKS[resolution]
    prepared, pretrained = cells.Prepare(name), cells.Pretrain(name, arch)
    distilled = cells.Distill(name, wish.ipc, wish.method, wish.seed)
    evaluated = cells.Evaluate(*distilled.set_names, arch)
    root, nowhere = out or Path("results/adhoc") / name, layout.campaign_folder("")
    places = [table.output("", cell) for cell in (prepared, pretrained, distilled, evaluated)]
    card, pool, stored, evaluation = (root / place.relative_to(nowhere) for place in places)
    data = card.parent
    train, test = data / "train.safetensors", data / "test.safetensors"

    def prepare(record: Record) -> None:
        loaded = load_folder(listing, resolution)
        datasets.write(facts_of_folder(listing, loaded), "folder", loaded, data, record)

    preparing = FolderParams(folder=str(folder), resolution=resolution)
    run_stage(preparing, card, prepared.names, listing.all_files("train", "test"), prepare)
    training = parse(PretrainParams, {**PRETRAIN, "arch": arch, "pool": wish.pool, "epochs": wish.epochs}, "pretrain")
    run_stage(training, pool, pretrained.names, [train, test], partial(pretrain, training, data, pool))
    distilling = recipe.model_copy(update={"iterations": wish.iterations})
    work = partial(distill, distilling, data, pool, stored.parent)
    run_stage(distilling, stored, distilled.names, [train, pool], work)
    testing = parse(EvaluateParams, {**EVALUATE, "arch": arch, "epochs": 10 * wish.epochs}, "evaluate")
    work = partial(evaluate, testing, data, stored, evaluation)
    run_stage(testing, evaluation, evaluated.names, [stored, test], work)
    last, count = read_json(evaluation)["last"], len(listing.all_files("test"))
    accuracy = f"test accuracy {last['mean']:.1f} % ± {last['std']:.1f} ({last['n']} networks trained on it)"
    held_out = f"a held-out fifth of each class ({count} images)"
    images = f"the {count} images of {listing.test_folder}" if listing.test_folder else held_out
    return f"{stored}: {accuracy} on {images}"


def recipe_of(method: str) -> DistillParams:
    """Return a recipe of `params/base.yaml` at the budget for folders. Raises :class:`ParamsError` for other names."""
    methods = Layers(BASE).campaign.methods
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
    wanted, most = ipc * factor**2, listing.smallest_class // factor**2
    for label, files in zip(listing.label_names, listing.files["train"], strict=True):
        if len(files) < wanted:
            allowed = f"allowed here: --ipc 1 to {most}" if most else f"add images: at least {factor**2} for training"
            raise ParamsError(
                f"{folder}: class {label!r} has {len(files)} images to train on, but --ipc {ipc} starts from {wanted} "
                f"real images of each class ({allowed})"
            )


def run_stage(
    params: StageParams, output: Path, names: Mapping[str, Any], inputs: list[Path], work: Callable[[Record], None]
) -> None:
    """Run one stage under its record, unless its outputs are there, made by the same params from the same inputs."""
    paths: list[str | Path] = [*inputs]
    wanted = Record(params.stage, output, params.model_dump(mode="json"), names, paths)
    try:
        found = read_json(wanted.path)
        same = found["key"] == wanted.content["key"]
        finished = same and all(sha256(path) == digest for path, digest in found["outputs"].items())
    except (DataError, KeyError, TypeError):  # no record, or a torn one
        finished = False
    if finished:
        print(f"{params.stage}: done before ({output})", file=sys.stderr, flush=True)
        return
    with recorded(params, output, names, paths) as record:
        work(record)
