"""Without a campaign: a folder of images from end to end, or one set under every protocol of `params/base.yaml`.

Run again, it skips every stage whose record says that the same params and inputs gave the outputs that are there, and
the stage that was cut off continues. The protocols have the budgets of `params/paper.yaml`, so that accuracies can be
compared with reported ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Any

from pydantic import BaseModel, Field

from ncfm.campaign.layers import Layers
from ncfm.core.errors import NOTICE, ParamsError, one_of
from ncfm.core.layout import ADHOC, RELEASED, SPLIT_FILES, WHOLE, campaign_folder, record_file
from ncfm.core.lock import only_writer
from ncfm.core.params import (
    Count,
    CurateParams,
    DistillParams,
    EvaluateParams,
    PretrainParams,
    SelectParams,
    StageParams,
    parse,
)
from ncfm.core.store import read_json, write_text
from ncfm.datasets.catalogue import counted
from ncfm.datasets.folder import Listing, facts_of_folder, list_folder, load_folder
from ncfm.datasets.pictures import pixel_sizes
from ncfm.method.coresets import RULES
from ncfm.method.distilled import load
from ncfm.models.registry import ARCHITECTURES
from ncfm.outside.outcome import Extractors, Outcome, sets_in
from ncfm.outside.wish import Wish
from ncfm.run import gpus
from ncfm.run.record import Record, recorded
from ncfm.stages import cells
from ncfm.stages import prepare as datasets
from ncfm.stages.curate import curate
from ncfm.stages.distill import distill
from ncfm.stages.evaluate import evaluate
from ncfm.stages.pretrain import pretrain
from ncfm.stages.select import select
from ncfm.stages.table import STAGES

NETWORKS = {32: "convnet-3", 64: "convnet-4", 128: "convnet-5"}  # by the smallest resolution, as in the paper
BASE = Path(__file__).resolve().parent.parent.parent / "params/base.yaml"
FULL = BASE.with_name("paper.yaml")


def network_of(resolution: int) -> str:
    """Return the network for images of ``resolution``: the deepest whose last maps have at least 4 x 4 values."""
    return NETWORKS[max((side for side in NETWORKS if side <= resolution), default=min(NETWORKS))]


RESOLUTIONS = tuple(side for side in range(16, 257) if ARCHITECTURES[network_of(side)].takes(side))

# Budgets for minutes on two cores, in the spirit of params/digits.yaml: narrow networks, few iterations, large steps.
WIDTH = 32
PRETRAIN = {"width": WIDTH, "count_forgetting": True}  # so that every method can read the same pool
DISTILL = {"batch_real": 128, "checkpoint_every": 25}
LEARNING_RATE = 0.01
# No flip: the folder may hold letters, digits or signs, which a mirror turns into others.
EVALUATE = {"width": WIDTH, "batch": 32, "networks": 3, "looks": 1, "augmentation": "color_crop_scale_rotate"}


Recipe = DistillParams | SelectParams | CurateParams
MAKE: dict[str, Callable[..., None]] = {"distill": distill, "select": select, "curate": curate}


class FolderParams(StageParams):
    """The stage `prepare` on a folder of images."""

    stage = "prepare"
    folder: str
    resolution: int


def distill_folder(folder: Path, wish: Wish, out: Path | None = None) -> str:
    """Distill a folder of images; return where the set is, its accuracy on which images, and two to hold it against.

    These are random images of equal storage, and the extractors, which were trained on the whole training set. All goes
    to ``out`` (default: results/adhoc/<folder name>), laid out as the results of a campaign; a page there shows every
    set that was made of the images. Raises DataError for a folder that is missing or in no layout of
    `ncfm/datasets/folder.py`, or an unreadable image, and ParamsError for an unknown method, a resolution that is not
    offered, an IPC that a class cannot give, and an ``out`` that is in the folder or holds another folder's results.
    """
    recipes = recipes_of(wish.method, wish)
    listing = list_folder(folder)
    tiles = next(recipe.factor**2 for recipe in recipes.values() if not isinstance(recipe, CurateParams))
    check_enough(folder, listing, wish.ipc, tiles)
    root = out or Path(campaign_folder(ADHOC), listing.name)
    check_apart(folder, root, "name another place with --out")
    resolution, read = read_at(listing, wish.resolution)
    say(f"{folder}: {read}")
    name, arch = listing.name, network_of(resolution)

    def place(cell: cells.Cell) -> Path:
        return root / STAGES[cell.stage].writes[0].format(**cell.values)

    prepared, pretrained = cells.Prepare(name), cells.Pretrain(name, arch)
    card, pool = place(prepared), place(pretrained)
    data = card.parent
    train, test = (data / file for file in SPLIT_FILES.values())
    check_same_folder(folder, card, root)

    gpus.choose(1)  # before a record asks torch for its GPU
    notes = prepare_folder(FolderParams(folder=str(folder.resolve()), resolution=resolution), listing, card)
    training = parse(PretrainParams, {**PRETRAIN, "arch": arch, "pool": wish.pool, "epochs": wish.epochs}, "pretrain")
    run_stage(training, pool, pretrained.names, [train, test], pretrain, data, pool)

    def make_set(method: str, params: Recipe, source: Path | None = None) -> tuple[Mapping[str, Any], Path]:
        """Make the set of a method, of a ``source`` where it curates one, and test it; return its names and place."""
        say(f"{params.stage}: {method}, IPC {wish.ipc}")
        cell = STAGES[params.stage].cell(dataset=name, ipc=wish.ipc, method=method, seed=wish.seed)  # type: ignore
        reads_pool = not isinstance(params, SelectParams) or RULES[params.rule].reads_extractors
        stored = place(cell)
        inputs: list[str | Path] = [train, *([pool] if reads_pool else []), *([source] if source else [])]
        given = [pool if reads_pool else None, *([source] if source else []), stored.parent]
        run_stage(params, stored, cell.names, inputs, MAKE[params.stage], data, *given)
        testing = parse(EvaluateParams, {**EVALUATE, "arch": arch, "epochs": 10 * wish.epochs}, "evaluate")
        tested = cells.Evaluate(name, wish.ipc, method, wish.seed, arch)
        say(f"{tested.stage}: {method}, IPC {wish.ipc}")
        run_stage(testing, place(tested), tested.names, [stored, test], evaluate, data, stored, place(tested))
        return cell.names, stored

    source = None
    for method, recipe in recipes.items():
        names, source = make_set(method, recipe, source)
    chance, _ = make_set("random", recipes_of("random", wish)["random"])
    every = sets_in(root, data)
    whole = read_json(Path(record_file(PurePosixPath(pool))))["metrics"]["test_accuracy"]
    made, by_chance = (next(one for one in every if one.names == wanted) for wanted in (names, chance))
    outcome = Outcome(listing, read, notes, made, by_chance, Extractors(wish.pool, wish.epochs, whole))
    write_text(root / "report.html", outcome.page(every, root))
    return f"{outcome.text()}\nall on one page: {root / 'report.html'}"


def prepare_folder(params: FolderParams, listing: Listing, card: Path) -> tuple[str, ...]:
    """Make the data set of ``card`` from a folder of images, unless it is there; say and return the notes on it."""

    def prepare(params: FolderParams, record: Record) -> None:
        loaded = load_folder(listing, params.resolution)
        datasets.write(facts_of_folder(listing, loaded), "folder", loaded, card.parent, record)

    run_stage(params, card, {"dataset": listing.name}, [*listing.all_files("train", "test")], prepare)
    notes = tuple(read_json(card)["source"].get("notes", ()))
    for note in notes:
        say(f"{NOTICE}{note}")
    return notes


def read_at(listing: Listing, resolution: int | None) -> tuple[int, str]:
    """Return the resolution at which a folder is read, ``resolution`` or the nearest to its images, and what is read.

    Raises ParamsError for a resolution that no network takes, and DataError for an unreadable image.
    """
    if resolution not in (None, *RESOLUTIONS):
        raise ParamsError(f"--resolution: is {resolution}, but must be one of {', '.join(map(str, RESOLUTIONS))}")
    sizes = sorted(pixel_sizes(listing.all_files("train", "test")), key=lambda size: (size[0] * size[1], size))
    resolution = resolution or nearest_resolution(median(map(min, sizes)))
    smallest, largest = (f"{width} x {height}" for width, height in (sizes[0], sizes[-1]))
    span = smallest if smallest == largest else f"{smallest} to {largest}"
    taken = f"images of {span} pixels, the middle square of each read at {resolution} x {resolution}"
    return resolution, f"{listing.summary}; {taken}"


def check_apart(folder: Path, written: Path, remedy: str) -> None:
    """Raise :class:`ParamsError` where ``written`` would lie in a folder of images: the next run would read it."""
    if written.resolve().is_relative_to(folder.resolve()):
        raise ParamsError(f"{written}: would lie in {folder}, the folder of images, as one more class; {remedy}")


def check_same_folder(folder: Path, card: Path, root: Path) -> None:
    """Raise :class:`ParamsError` where the data set of ``card``, in the results ``root``, is of another folder."""
    record = Path(record_file(PurePosixPath(card)))
    if record.is_file():
        other = Path(read_json(record)["params"].get("folder", ""))
        if other.resolve() != folder.resolve():
            raise ParamsError(f"{root}: holds the results of the folder {other}; name another place with --out")


def check_enough(folder: Path, listing: Listing, ipc: int, tiles: int) -> None:
    """Raise :class:`ParamsError` where a class has too few training images for a set of so many tiles an image."""
    wanted, most = ipc * tiles, min(map(len, listing.files["train"])) // tiles
    for label, files in zip(listing.label_names, listing.files["train"], strict=True):
        if len(files) < wanted:
            allowed = f"allowed here: --ipc 1 to {most}" if most else f"add images: at least {tiles} for training"
            starts = f"--ipc {ipc} starts from {wanted} real images of each class ({allowed})"
            raise ParamsError(f"{folder}: class {label!r} has {counted(len(files), 'image')} to train on, but {starts}")


def recipes_of(method: str, wish: Wish) -> dict[str, Recipe]:
    """Return recipes of `params/base.yaml` at the budget for folders, by method, in the order in which they are used.

    The last is that of ``method``; before it comes that of the set which it curates, if it does. Raises
    :class:`ParamsError` for other names.
    """
    layers = Layers(BASE)
    methods = [one for one in layers.known if layers.stage(one) in MAKE and one != WHOLE]
    if method not in methods:
        raise ParamsError(one_of("method", method, methods, "--method"))
    if source := layers.source(method):
        return {**recipes_of(source, wish), method: layers.merged(CurateParams, method=method)[0]}
    if layers.stage(method) == "select":
        return {method: layers.merged(SelectParams, method=method)[0]}
    given = {key: value for key, (value, _) in layers.given("distill", method=method).items()}
    small = given.get("update") == "per-class"  # it takes a step per class in each iteration
    rate = {} if small else {"learning_rate": LEARNING_RATE}
    return {method: parse(DistillParams, {**DISTILL, **rate, **given, "iterations": wish.iterations}, str(BASE))}


def say(text: str) -> None:
    """Print a line beside the results, at once."""
    print(text, file=sys.stderr, flush=True)


def nearest_resolution(side: float) -> int:
    """Return the offered resolution that is nearest to ``side`` (in pixels), the smaller of two."""
    return min(NETWORKS, key=lambda resolution: abs(resolution - side))


def run_stage(
    params: StageParams,
    output: Path,
    names: Mapping[str, Any],
    inputs: list[str | Path],
    work: Callable[..., None],
    *given: Any,
) -> None:
    """Call a stage's function, as ``work``, unless the outputs are there, of the same params and inputs."""
    with only_writer(output):
        if Record(params.stage, output, params.model_dump(mode="json"), names, inputs).is_finished():
            say(f"{params.stage}: done before ({output})")
            return
        with recorded(params, output, names, inputs) as record:
            work(params, *given, record)


class Limits(BaseModel, frozen=True):
    """What the user can cut: a smaller number than the protocol's own."""

    epochs: Count | None = Field(None, description="of each network's training, at most")
    networks: Count | None = Field(None, description="trained under each protocol, at most")


def protocols(dataset: str, ipc: int, resolution: int, limits: Limits) -> dict[str, EvaluateParams]:
    """Return by name how each protocol made for it trains on a set of this data set and IPC, ``released`` first."""
    layers = Layers(BASE, FULL)
    arch = network_of(resolution)
    found: dict[str, EvaluateParams] = {}
    entries = layers.files[str(BASE)].protocols
    for name in (
        RELEASED,
        *(name for name, one in entries.items() if not one.sets or ipc in one.sets.get(dataset, ())),
    ):
        params, _ = layers.merged(EvaluateParams, dataset, ipc, protocol=name)
        cut = {key: min(value, getattr(params, key)) for key, value in limits.model_dump(exclude_none=True).items()}
        params = params.model_copy(update={"arch": arch, **cut})
        if name == RELEASED or params.model_copy(update={"looks": found[RELEASED].looks}) != found[RELEASED]:
            found[name] = params  # `last` is the same training: its number is a column of `released`
    return found


def evaluate_all(stored: Path, data: Path, names: Mapping[str, str | int], out: Path, limits: Limits) -> Iterator[str]:
    """Evaluate a set of these names under every protocol into ``out``, a JSON file each; yield one line for each."""
    resolution = load(stored).stored.shape[-1]
    for name, params in protocols(str(names["dataset"]), int(names["ipc"]), resolution, limits).items():
        cell = cells.Evaluate(**{**names, "arch": params.arch, "protocol": None if name == RELEASED else name})  # type: ignore
        path = out / f"{cell.file}.json"
        run_stage(params, path, cell.names, [stored, data / SPLIT_FILES["test"]], evaluate, data, stored, path)
        result = read_json(path)
        accuracy = ", ".join(f"{which} {result[which]['mean']:.1f} %" for which in ("last", "best"))
        yield f"{name}: {accuracy} ({params.networks} x {params.arch}, {params.epochs} epochs): {path}"
