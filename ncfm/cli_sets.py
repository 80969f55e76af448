"""Sub-commands of `ncfm` that bring images and sets in and out: import, export, and distilling a user's own folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from ncfm.run.record import recorded

Command = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]
FORMATS = ("pt", "png", "npz")
SET = "results/digits/sets/digits/ipc10/paper/seed0/distilled.safetensors"
EXAMPLES = {
    "import": (
        "ncfm import data_20000.pt --dataset cifar10 --ipc 10 --method authors --out results/authors/ipc10 "
        "--data results/cifar10-cpu/datasets/cifar10"
    ),
    "export": f"ncfm export {SET} --format png --out digits-distilled",
}


def add_commands(command: Command, cell: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add `import` and `export`. ``command`` adds a sub-command, ``cell`` the options --ipc, --method and --seed."""
    sub = command("import", _import, "Read a set that NCFM's authors released: a torch file of [images, labels].")
    sub.add_argument("file", type=Path, metavar="PATH", help="the .pt file; no code in it is run")
    sub.add_argument("--dataset", required=True, help="the data set that it stands for, e.g. cifar10")
    sub.add_argument("--factor", type=int, default=2, help="tiles per side of each stored image (default 2)")
    cell(sub)
    sub.add_argument("--out", type=Path, required=True, metavar="PATH", help="folder for the set and grid.png")
    tests = sub.add_argument_group("to test the set under every protocol as well (docs/evaluation.md)")
    tests.add_argument(
        "--data", type=Path, metavar="PATH", help="folder that `ncfm prepare` wrote; its test split is read"
    )
    tests.add_argument("--epochs", type=int, help="of each training, at most (default: the protocol's)")
    tests.add_argument("--networks", type=int, help="under each protocol, at most (default: the protocol's)")

    sub = command("export", _export, "Write a set as the authors' .pt, as PNG folders <class>/<number>.png, or as npz.")
    sub.add_argument("set", type=Path, metavar="SET", help="distilled.safetensors")
    sub.add_argument("--format", choices=FORMATS, required=True, help="pt and npz: [0, 1] floats; png: 8 bits")
    sub.add_argument("--decoded", action="store_true", help="the training images, not the stored ones they come from")
    sub.add_argument("--out", type=Path, required=True, metavar="PATH", help="the file, or for png the folder")


WITH_PARAMS = ("extractors", "method", "out")  # needed beside --params
WITHOUT_PARAMS = ("resolution", "iterations", "epochs", "pool")  # read only without


def add_distill_options(sub: argparse.ArgumentParser) -> None:
    """Add what `distill` is told in its two ways: of a campaign's cell, or of a user's own folder."""
    cell = sub.add_argument_group("with --params, on a prepared data set")
    cell.add_argument("--params", type=Path, metavar="PATH", help="params of the stage (JSON)")
    cell.add_argument("--extractors", type=Path, metavar="PATH", help="file that `ncfm pretrain` wrote")
    both = sub.add_argument_group("in both ways")
    both.add_argument("--method", help="with --params: the name to keep in the set; without: a recipe (default paper)")
    both.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="with --params: folder for distilled.safetensors, history.csv and grid.png; "
        "without: folder for all stages (default results/adhoc/<folder name>)",
    )
    own = sub.add_argument_group("without --params, on your own folder of images")
    own.add_argument("--resolution", type=int, help="32, 64 or 128 (default: nearest to the images' median side)")
    own.add_argument("--iterations", type=int, help="of the distillation (default 200)")
    own.add_argument("--epochs", type=int, help="of each extractor; evaluation trains ten times as many (default 20)")
    own.add_argument("--pool", type=int, help="number of extractors (default 4)")


def has_params(options: argparse.Namespace) -> bool:
    """Say whether `distill` runs a campaign's cell. Raises :class:`ParamsError` where the two ways are mixed."""
    from ncfm.core.errors import ParamsError

    told = {name for name in (*WITH_PARAMS, *WITHOUT_PARAMS) if getattr(options, name) is not None}
    if options.params is None:
        if "extractors" in told:
            raise ParamsError("--extractors: is read only with --params, which is missing")
        return False
    for name in WITH_PARAMS:
        if name not in told:
            raise ParamsError(f"--{name}: is missing, but is needed with --params")
    for name in WITHOUT_PARAMS:
        if name in told:
            raise ParamsError(f"--{name}: is read only without --params, whose file says it")
    return True


def distill_folder(options: argparse.Namespace) -> None:
    """Run `distill` on a user's own folder of images, and print where the set is and how good."""
    from ncfm.core.params import parse
    from ncfm.outside.adhoc import Wish, distill_folder

    told = {name: getattr(options, name) for name in ("ipc", "seed", "method", *WITHOUT_PARAMS)}
    wish = parse(Wish, {name: value for name, value in told.items() if value is not None}, "ncfm distill")
    print(distill_folder(options.data, wish, options.out))


def _import(options: argparse.Namespace) -> None:
    from ncfm.core.errors import DataError, ParamsError
    from ncfm.core.params import parse
    from ncfm.outside.exchange import ImportParams, import_set

    if options.ipc < 1:
        raise ParamsError(f"--ipc: is {options.ipc}, but must be at least 1")
    if not options.file.is_file():  # no stage writes it, which the record's own message would ask for
        raise DataError(f"{options.file}: no such file")
    params = parse(ImportParams, {"factor": options.factor}, "ncfm import")
    names = {"dataset": options.dataset, "ipc": options.ipc, "method": options.method, "seed": options.seed}
    tests = _tests(options)
    stored = options.out / "distilled.safetensors"
    with recorded(params, stored, names, [options.file]) as record:
        import_set(params, options.file, names, options.out, record)
    for line in tests(stored, names):
        print(line, flush=True)


def _tests(options: argparse.Namespace) -> Callable[[Path, dict[str, str | int]], Iterable[str]]:
    """Return what tests an imported set, once all that the user said of it is checked; nothing without ``--data``."""
    from ncfm.core.errors import ParamsError
    from ncfm.core.params import parse

    told = {name: value for name in ("epochs", "networks") if (value := getattr(options, name)) is not None}
    if options.data is None:
        if told:
            raise ParamsError(f"--{next(iter(told))}: is read only with --data, which is missing")
        return lambda stored, names: ()
    from ncfm.outside.judge import Limits, check_data, evaluate_all

    limits = parse(Limits, told, "import")
    check_data(options.data, options.dataset)
    return lambda stored, names: evaluate_all(stored, options.data, names, options.out, limits)


def _export(options: argparse.Namespace) -> None:
    from ncfm.outside.exchange import export_set

    export_set(options.set, options.format, options.decoded, options.out)
