"""The sub-commands of `ncfm` that bring sets in and out: import and export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ncfm.core.errors import DataError, ParamsError

PATH = click.Path(path_type=Path)
FORMATS = ("pt", "png", "npz")
EXPORT = "export results/digits/sets/digits/ipc10/paper/seed0/distilled.safetensors --format png --out digits-images"
IMPORT = (
    "import data_20000.pt --dataset cifar10 --ipc 10 --method authors --out results/authors/ipc10 "
    "--data results/cifar10-cpu/datasets/cifar10"
)


@click.command("import", epilog=f"\b\nexample:\n  ncfm {IMPORT}")
@click.argument("file", type=PATH)
@click.option("--dataset", required=True, help="the data set that it stands for, e.g. cifar10")
@click.option("--factor", type=int, default=2, show_default=True, help="tiles per side of each stored image")
@click.option("--ipc", type=click.IntRange(min=1), required=True, help="images per class to store")
@click.option("--method", required=True, help="name of the method, kept in the set's metadata")
@click.option("--seed", type=int, default=0, show_default=True, help="kept in the set's metadata")
@click.option("--out", type=PATH, required=True, metavar="PATH", help="folder for the set and grid.png")
@click.option("--data", type=PATH, metavar="PATH", help="folder that `ncfm prepare` wrote: test under every protocol")
@click.option("--epochs", type=int, help="with --data: of each training, at most (default: the protocol's)")
@click.option("--networks", type=int, help="with --data: under each protocol, at most (default: the protocol's)")
def import_command(file: Path, factor: int, out: Path, data: Path | None, **values: Any) -> None:
    """Read a set that NCFM's authors released: a torch FILE of [images, labels]; no code in it is run."""
    from ncfm.core.params import parse
    from ncfm.datasets.split import dataset_name
    from ncfm.outside.adhoc import Limits, evaluate_all
    from ncfm.outside.exchange import ImportParams, import_set
    from ncfm.run.record import recorded

    if not file.is_file():  # no stage writes it, which the record's own message would ask for
        raise DataError(f"{file}: no such file")
    params = parse(ImportParams, {"factor": factor}, "ncfm import")
    names = {name: values[name] for name in ("dataset", "ipc", "method", "seed")}
    cut = {name: values[name] for name in ("epochs", "networks") if values[name] is not None}
    if cut and data is None:
        raise ParamsError(f"--{next(iter(cut))}: is read only with --data, which is missing")
    limits = parse(Limits, cut, "import")
    if data is not None and (found := dataset_name(data)) != values["dataset"]:
        raise DataError(f"{data}: holds {found}, but the set stands for {values['dataset']}")
    stored = out / "distilled.safetensors"
    with recorded(params, stored, names, [file]) as record:
        import_set(params, file, names, out, record)
    if data is not None:
        for line in evaluate_all(stored, data, names, out, limits):
            print(line, flush=True)


@click.command("export", epilog=f"\b\nexample:\n  ncfm {EXPORT}")
@click.argument("set", type=PATH)
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="pt, npz: [0, 1] floats; png: 8 bits")
@click.option("--decoded", is_flag=True, help="the training images, not the stored ones they come from")
@click.option("--out", type=PATH, required=True, metavar="PATH", help="the file, or for png the folder")
def export_command(set: Path, form: str, decoded: bool, out: Path) -> None:
    """Write a SET as the authors' .pt, as PNG folders <class>/<number>.png, or as npz."""
    from ncfm.outside.exchange import export_set

    export_set(set, form, decoded, out)
