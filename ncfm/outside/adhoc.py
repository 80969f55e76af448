"""A user's own folder of images from end to end, without a campaign: prepare, pretrain, distill, evaluate.

It calls the stages' own functions, each with its record beside its output. Run again, it skips every stage whose record
says that the same params and inputs gave the outputs that are there, and the stage that was cut off continues.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ncfm.campaign.file import CampaignFile, read_yaml
from ncfm.core import layout
from ncfm.core.errors import DataError, ParamsError, one_of
from ncfm.core.params import Count, DistillParams, EvaluateParams, PretrainParams, StageParams, parse
from ncfm.core.store import read_json, sha256
from ncfm.outside.folder import Listing, facts_of_folder, list_folder, load_folder, median_side
from ncfm.run.record import Record, recorded
from ncfm.stages import cells, table
from ncfm.stages import prepare as datasets
from ncfm.stages.cells import Cell
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

    Args:
        folder: FOLDER/<class>/*.png, or FOLDER/train/<class> with FOLDER/test/<class> or FOLDER/val/<class>.
        wish: what to make.
        out: where everything goes, laid out as the results of a campaign; results/adhoc/<folder name> by default.

    Raises:
        DataError: a folder that is missing or in no such layout, an unreadable image.
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
    root, name, arch = out or Path("results/adhoc") / listing.name, listing.name, NETWORKS[resolution]

    def place(cell: Cell) -> Path:
        return root / table.output("", cell).relative_to(layout.campaign_folder(""))

    of_set = (name, wish.ipc, wish.method, wish.seed)
    data, pool = place(cells.Prepare(name)).parent, place(cells.Pretrain(name, arch))
    stored, evaluation = place(cells.Distill(*of_set)), place(cells.Evaluate(*of_set, arch))
    set_folder = stored.parent
    names: dict[str, str | int] = {"dataset": name, "ipc": wish.ipc, "method": wish.method, "seed": wish.seed}

    preparing = FolderParams(folder=str(folder), resolution=resolution)

    def prepare(record: Record) -> None:
        loaded = load_folder(listing, resolution)
        datasets.write(facts_of_folder(listing, loaded), "folder", loaded, data, record)

    run_stage(preparing, data / "card.json", {"dataset": name}, listing.all_files("train", "test"), prepare)
    splits = [data / "train.safetensors", data / "test.safetensors"]
    training = parse(PretrainParams, {**PRETRAIN, "arch": arch, "pool": wish.pool, "epochs": wish.epochs}, "pretrain")
    run_stage(training, pool, {"dataset": name, "arch": arch}, splits, lambda r: pretrain(training, data, pool, r))
    distilling = recipe.model_copy(update={"iterations": wish.iterations})
    read = [splits[0], pool]
    run_stage(distilling, stored, names, read, lambda r: distill(distilling, data, pool, names, set_folder, r))
    testing = parse(EvaluateParams, {**EVALUATE, "arch": arch, "epochs": 10 * wish.epochs}, "evaluate")
    with_arch, read = {**names, "arch": arch}, [stored, splits[1]]
    run_stage(testing, evaluation, with_arch, read, lambda r: evaluate(testing, data, stored, with_arch, evaluation, r))
    return f"{stored}: {_accuracy(evaluation)} on {_test_images(listing)}"


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
    for label, files in zip(listing.label_names, listing.files["train"], strict=True):
        wanted, most = ipc * factor**2, listing.smallest_class // factor**2
        if len(files) < wanted:
            allowed = f"allowed here: --ipc 1 to {most}" if most else f"add images: at least {factor**2} for training"
            raise ParamsError(
                f"{folder}: class {label!r} has {len(files)} images to train on, but --ipc {ipc} starts from {wanted} "
                f"real images of each class ({allowed})"
            )


def run_stage(
    params: StageParams,
    output: Path,
    names: Mapping[str, str | int],
    inputs: list[Path],
    work: Callable[[Record], None],
) -> None:
    """Run one stage under its record, unless its outputs are there, made by the same params from the same inputs."""
    paths: list[str | Path] = [*inputs]
    if _finished(Record(params.stage, output, params.model_dump(mode="json"), names, paths)):
        print(f"{params.stage}: done before ({output})", file=sys.stderr, flush=True)
        return
    with recorded(params, output, names, paths) as record:
        work(record)


def _finished(wanted: Record) -> bool:
    try:
        found = read_json(wanted.path)
        same = found["key"] == wanted.content["key"]
        return same and all(sha256(path) == digest for path, digest in found["outputs"].items())
    except (DataError, KeyError, TypeError):  # no record, or a torn one: the stage runs
        return False


def _accuracy(evaluation: Path) -> str:
    last = read_json(evaluation)["last"]
    return f"test accuracy {last['mean']:.1f} % ± {last['std']:.1f} ({last['n']} networks trained on it)"


def _test_images(listing: Listing) -> str:
    count = len(listing.all_files("test"))
    if listing.test_folder:
        return f"the {count} images of {listing.test_folder}"
    return f"a held-out fifth of each class ({count} images)"
