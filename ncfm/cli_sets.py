"""Sub-commands of `ncfm` that bring sets in and out: import and export."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ncfm.recording import recorded

Command = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]
FORMATS = ("pt", "png", "npz")
SET = "results/digits/sets/digits/ipc10/paper/seed0/distilled.safetensors"
EXAMPLES = {
    "import": "ncfm import data_20000.pt --dataset cifar10 --ipc 10 --method authors --out results/authors/ipc10",
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

    sub = command("export", _export, "Write a set as the authors' .pt, as PNG folders <class>/<number>.png, or as npz.")
    sub.add_argument("set", type=Path, metavar="SET", help="distilled.safetensors")
    sub.add_argument("--format", choices=FORMATS, required=True, help="pt and npz: [0, 1] floats; png: 8 bits")
    sub.add_argument("--decoded", action="store_true", help="the training images, not the stored ones they come from")
    sub.add_argument("--out", type=Path, required=True, metavar="PATH", help="the file, or for png the folder")


def _import(options: argparse.Namespace) -> None:
    from ncfm.errors import ParamsError
    from ncfm.exchange import ImportParams, import_set
    from ncfm.params import parse

    if options.ipc < 1:
        raise ParamsError(f"--ipc: is {options.ipc}, but must be at least 1")
    params = parse(ImportParams, {"factor": options.factor}, "ncfm import")
    names = {"dataset": options.dataset, "ipc": options.ipc, "method": options.method, "seed": options.seed}
    with recorded(params, options.out / "distilled.safetensors", names, [options.file]) as record:
        import_set(params, options.file, names, options.out, record)


def _export(options: argparse.Namespace) -> None:
    from ncfm.exchange import export_set

    export_set(options.set, options.format, options.decoded, options.out)
