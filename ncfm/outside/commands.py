"""The sub-commands of `ncfm` that bring data sets and distilled sets in, and these out: add, import, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ncfm.campaign.options import PATH
from ncfm.core.errors import ParamsError
from ncfm.core.layout import SET_FILE
from ncfm.outside.wish import Wish

FORMATS = ("pt", "png", "npz", "parquet")
EXPORT = "export results/digits/sets/digits/ipc10/paper/seed0/distilled.safetensors --format png --out digits-images"
IMPORT = (
    "import data_20000.pt --dataset cifar10 --ipc 10 --method authors --out results/authors/ipc10 "
    "--data results/cifar10-cpu/datasets/cifar10"
)


@click.command("add", epilog="\b\nexample:\n  ncfm add photos --resolution 32")
@click.argument("folder", type=PATH)
@click.option("--name", help="of the data set (default: the folder's, in small letters)")
@click.option("--resolution", type=int, help=str(Wish.model_fields["resolution"].description))
def add_command(folder: Path, name: str | None, resolution: int | None) -> None:
    """Make a FOLDER of images, one sub-folder per class, a data set that campaigns can name."""
    from ncfm.outside.own import add

    print(add(folder, name, resolution))


@click.command("import", epilog=f"\b\nexample:\n  ncfm {IMPORT}")
@click.argument("file", type=PATH)
@click.option("--dataset", help="that it stands for, e.g. cifar10 (default: that of --data, else as our exports say)")
@click.option("--factor", type=int, help="tiles per side of each stored image (default: what its form has)")
@click.option("--ipc", type=click.IntRange(min=1), help="stored images per class (default: as many as it holds)")
@click.option("--run", type=int, default=0, show_default=True, help="which of several runs in it, from 0")
@click.option("--normalised", is_flag=True, help="its pixels are normalised (known of the forms of MTT, DC, DSA, DM)")
@click.option("--method", help="its name, kept in the set's metadata (default: as our exports say)")
@click.option("--seed", type=int, help="kept in the set's metadata (default: as our exports say, else 0)")
@click.option("--out", type=PATH, required=True, metavar="PATH", help="folder for the set and grid.png")
@click.option("--data", type=PATH, metavar="PATH", help="folder that `ncfm prepare` wrote: test under every protocol")
@click.option("--epochs", type=int, help="with --data: of each training, at most (default: the protocol's)")
@click.option("--networks", type=int, help="with --data: under each protocol, at most (default: the protocol's)")
def import_command(file: Path, out: Path, data: Path | None, **values: Any) -> None:
    """Read a set that somebody else's program wrote; no code in it is run.

    \b
    FILE is one of: a torch file of [images, labels] (NCFM's authors), or of {"data": [[images, labels], ...]}
    (DC, DSA, DM); images_best.pt with labels_best.pt beside it (MTT, TESLA, DATM); or what `ncfm export` wrote:
    .pt, .npz, .parquet, or a folder <class>/<number>.png. Labels may be classes, probabilities or logits.
    """
    from ncfm.core.params import parse
    from ncfm.method.distilled import load
    from ncfm.outside.adhoc import Limits, check_apart, evaluate_all
    from ncfm.outside.exchange import ImportParams, import_set, target_of
    from ncfm.outside.foreign import files_of, read_foreign
    from ncfm.run import gpus
    from ncfm.run.record import recorded

    params = parse(ImportParams, {name: values[name] for name in ImportParams.model_fields}, "ncfm import")
    cut = {name: values[name] for name in ("epochs", "networks") if values[name] is not None}
    if cut and data is None:
        raise ParamsError(f"--{next(iter(cut))}: is read only with --data, which is missing")
    limits = parse(Limits, cut, "import")
    found = read_foreign(file, params.run)
    if found.folders:
        check_apart(file, out, "name another place with --out")
    origin = found.facts.origin
    target = target_of(values["dataset"], data, file, found.facts.dataset)
    if (method := values["method"] or origin.method) is None:
        raise ParamsError(f"--method: is missing, and {file} does not say which it is of")
    seed = origin.seed if values["seed"] is None else values["seed"]
    names = {"dataset": target.dataset, "ipc": values["ipc"] or 0, "method": method, "seed": seed}
    stored = out / SET_FILE
    if data is not None:
        gpus.choose(1)  # before a record asks torch for its GPU
    with recorded(params, stored, names, files_of(file)) as record:
        import_set(params, file, found, target, names, out, record)
    more = "the same command with --data FOLDER, which `ncfm prepare` wrote, tests it under every protocol"
    print(f"{stored}: written, with {out / 'grid.png'}" + ("" if data else f"; next: {more}"), flush=True)
    if data is not None:
        for line in evaluate_all(stored, data, load(stored).names, out, limits):
            print(line, flush=True)


@click.command("export", epilog=f"\b\nexample:\n  ncfm {EXPORT}")
@click.argument("set")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), required=True, help="pt, npz: floats; png, parquet: 8 bits"
)
@click.option("--stored", is_flag=True, help="the stored images of several tiles, not the training images in them")
@click.option("--out", type=PATH, required=True, metavar="PATH", help="the file, or for png the folder")
def export_command(set: str, form: str, stored: bool, out: Path) -> None:
    """Write the training images of a SET: torch, npz, folders <class>/<number>.png, or Parquet for `datasets`.

    SET is a distilled.safetensors, or the name of a set that ships with the repository, such as cifar10-ipc10-fast.
    """
    from ncfm.outside.export import export_set

    print(export_set(set, form, stored, out))
