"""The command `ncfm`: one thin sub-command per stage; those around campaigns and sets are in files of their own."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from ncfm import cli_campaigns, cli_sets
from ncfm.core.errors import NcfmError, ParamsError
from ncfm.core.layout import RELEASED
from ncfm.run.record import recorded as _recorded

PATHS = "results/digits"
PARAMS, DATA = f"{PATHS}/params", f"{PATHS}/datasets/digits"
POOL, SETS = f"{PATHS}/extractors/digits/convnet-3.safetensors", f"{PATHS}/sets/digits/ipc1"
TESTS = {"evaluate": "convnet-3", "continual": "convnet-3.steps5", "search": "search"}
EXAMPLES = {
    **cli_campaigns.EXAMPLES,
    "prepare": f"ncfm prepare --params {PARAMS}/prepare/digits.json --out {DATA}",
    "pretrain": f"ncfm pretrain --params {PARAMS}/pretrain/digits.json --data {DATA} --out {POOL}",
    "distill": (
        "ncfm distill --data photos --ipc 10\n"
        f"  ncfm distill --params {PARAMS}/distill/digits/ipc1/paper.json --data {DATA} --extractors {POOL} "
        f"--ipc 1 --method paper --seed 0 --out {SETS}/paper/seed0"
    ),
    "select": (
        f"ncfm select --params {PARAMS}/select/digits/ipc1/random.json --data {DATA} "
        f"--ipc 1 --method random --seed 0 --out {SETS}/random/seed0"
    ),
    "curate": (
        f"ncfm curate --params {PARAMS}/curate/digits/ipc1/paper-curated.json --data {DATA} --extractors {POOL} "
        f"--set {SETS}/paper/seed0/distilled.safetensors --method paper-curated --out {SETS}/paper-curated/seed0"
    ),
    **{
        stage: (
            f"ncfm {stage} --params {PARAMS}/{stage}/digits/ipc1/paper/{name}.json --data {DATA} "
            f"--set {SETS}/paper/seed0/distilled.safetensors "
            f"--out {PATHS}/evaluations/digits/ipc1/paper/seed0/{name}.json"
        )
        for stage, name in TESTS.items()
    },
    "report": f"ncfm report --params {PATHS}/params/report.json --results {PATHS}",
    "track": "ncfm track import results",
    **cli_sets.EXAMPLES,
}

INPUTS = {
    "params": "params of the stage (JSON)",
    "data": "folder that `ncfm prepare` wrote",
    "extractors": "file that `ncfm pretrain` wrote",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, or 2 with one line on standard error, or 130 and 143."""
    parser = _parser()
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        options.run(options)
    except NcfmError as error:
        print(f"ncfm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ncfm: interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    return 0


def _terminated(signum: int, frame: FrameType | None) -> None:
    # An exception, not a sudden death: temporary files are removed and the tracked run is closed as killed.
    raise SystemExit(128 + signum)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ncfm",
        description="A reproduction of NCFM (Neural Characteristic Function Matching) with a verdict on every number.",
        epilog="Each stage reads the files named on its command line and writes the files named there, nothing else. "
        "`snakemake` and `dvc repro` run these commands for you; see README.md.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {EXAMPLES[name]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        return sub

    def path(sub: argparse.ArgumentParser, name: str, text: str, required: bool = True) -> None:
        sub.add_argument(f"--{name}", type=Path, required=required, metavar="PATH", help=text)

    def inputs(sub: argparse.ArgumentParser, *names: str) -> None:
        for name in names:
            path(sub, name, INPUTS[name])

    def cell(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--ipc", type=int, required=True, help="images per class to store")
        sub.add_argument("--method", required=True, help="name of the method, kept in the set's metadata")
        sub.add_argument("--seed", type=int, default=0, help="every random draw derives from it (default 0)")

    cli_campaigns.add_commands(command)

    sub = command("prepare", _prepare, "Fetch a data set, check it and write it as tensors.")
    inputs(sub, "params")
    path(sub, "out", "folder for train.safetensors, test.safetensors and card.json")

    sub = command("pretrain", _pretrain, "Train the pool of extractors; keep each network's start and end.")
    inputs(sub, "params", "data")
    path(sub, "out", "the pool's .safetensors file")

    sub = command("distill", _distill, "Distill a data set, or your own folder of images, into a few images per class.")
    path(sub, "data", "folder that `ncfm prepare` wrote; without --params: a folder of images, FOLDER/<class>/*.png")
    sub.add_argument("--ipc", type=int, required=True, help="images per class to store")
    sub.add_argument("--seed", type=int, default=0, help="every random draw derives from it (default 0)")
    cli_sets.add_distill_options(sub)

    sub = command("select", _select, "Select real images as a coreset of equal storage.")
    inputs(sub, "params", "data")
    path(sub, "extractors", "file that `ncfm pretrain` wrote, for the rules that need it", required=False)
    cell(sub)
    path(sub, "out", "folder for distilled.safetensors and grid.png")

    sub = command("curate", _curate, "Label the images of a set by the extractors, and fine-tune them.")
    inputs(sub, "params", "data", "extractors")
    path(sub, "set", "distilled.safetensors to start from")
    sub.add_argument("--method", required=True, help="name of the new method, kept in the set's metadata")
    path(sub, "out", "folder for distilled.safetensors and grid.png")

    for name, run, text in (
        ("evaluate", _evaluate, "Train fresh networks on a distilled set and test them on real images."),
        ("continual", _continual, "Train fresh networks as classes arrive in groups, each time on all seen so far."),
        ("search", _search, "Train a grid of networks on a set, to see which architectures it finds best."),
    ):
        sub = command(name, run, text)
        inputs(sub, "params", "data")
        path(sub, "set", "distilled.safetensors")
        sub.add_argument("--protocol", default=RELEASED, help="name of the protocol, kept with the result")
        path(sub, "out", "the .json file with the accuracies")

    cli_sets.add_commands(command, cell)

    sub = command("report", _report, "Write the tables and figures of a campaign, or one of its artefacts.")
    inputs(sub, "params")
    path(sub, "results", "folder of the campaign's results")

    sub = command("track", _track, "Send records of finished stages to MLflow.")
    sub.add_argument("action", choices=["import"], help="import: send every record below FOLDER that is not there yet")
    sub.add_argument("folder", type=Path, nargs="?", default=Path("results"), help="where to look (default results)")
    return parser


def _prepare(options: argparse.Namespace) -> None:
    from ncfm.core.params import PrepareParams, read_stage_params
    from ncfm.stages.prepare import prepare

    params = read_stage_params(PrepareParams, options.params)
    with _recorded(params, options.out / "card.json", {"dataset": params.dataset}, []) as record:
        prepare(params, options.out, record)


def _pretrain(options: argparse.Namespace) -> None:
    from ncfm.core.params import PretrainParams, read_stage_params
    from ncfm.datasets.split import dataset_name
    from ncfm.stages.pretrain import pretrain

    params = read_stage_params(PretrainParams, options.params)
    names = {"dataset": dataset_name(options.data), "arch": params.arch}
    inputs: list[str | Path] = [options.data / "train.safetensors", options.data / "test.safetensors"]
    with _recorded(params, options.out, names, inputs) as record:
        pretrain(params, options.data, options.out, record)


def _distill(options: argparse.Namespace) -> None:
    if not cli_sets.has_params(options):
        cli_sets.distill_folder(options)
        return
    from ncfm.core.params import DistillParams, read_stage_params
    from ncfm.datasets.split import dataset_name
    from ncfm.stages.distill import distill

    params = read_stage_params(DistillParams, options.params)
    names = {"dataset": dataset_name(options.data), **_cell_names(options)}
    inputs: list[str | Path] = [options.data / "train.safetensors", options.extractors]
    if params.initialisation == "load":
        inputs.append(params.load)
    with _recorded(params, options.out / "distilled.safetensors", names, inputs) as record:
        distill(params, options.data, options.extractors, names, options.out, record)


def _select(options: argparse.Namespace) -> None:
    from ncfm.core.params import SelectParams, read_stage_params
    from ncfm.datasets.split import dataset_name
    from ncfm.stages.select import check_extractors, select

    params = read_stage_params(SelectParams, options.params)
    check_extractors(params, options.extractors)
    names = {"dataset": dataset_name(options.data), **_cell_names(options)}
    inputs: list[str | Path] = [options.data / "train.safetensors"]
    if options.extractors:
        inputs.append(options.extractors)
    with _recorded(params, options.out / "distilled.safetensors", names, inputs) as record:
        select(params, options.data, options.extractors, names, options.out, record)


def _curate(options: argparse.Namespace) -> None:
    from ncfm.core.params import CurateParams, read_stage_params
    from ncfm.core.store import read_metadata
    from ncfm.stages.curate import curate

    params = read_stage_params(CurateParams, options.params)
    names = {**read_metadata(options.set).get("names", {}), "method": options.method}
    inputs: list[str | Path] = [options.data / "train.safetensors", options.extractors, options.set]
    with _recorded(params, options.out / "distilled.safetensors", names, inputs) as record:
        curate(params, options.data, options.extractors, options.set, names, options.out, record)


def _cell_names(options: argparse.Namespace) -> dict[str, str | int]:
    if options.ipc < 1:
        raise ParamsError(f"--ipc: is {options.ipc}, but must be at least 1")
    return {"ipc": options.ipc, "method": options.method, "seed": options.seed}


def _evaluate(options: argparse.Namespace) -> None:
    from ncfm.core.params import EvaluateParams, read_stage_params
    from ncfm.stages.evaluate import evaluate

    params = read_stage_params(EvaluateParams, options.params)
    names = _trained_names(options, arch=params.arch)
    with _recorded(params, options.out, names, [options.set, options.data / "test.safetensors"]) as record:
        evaluate(params, options.data, options.set, names, options.out, record)


def _continual(options: argparse.Namespace) -> None:
    from ncfm.core.params import ContinualParams, read_stage_params
    from ncfm.stages.continual import continual

    params = read_stage_params(ContinualParams, options.params)
    names = _trained_names(options, arch=params.arch, steps=params.steps)
    with _recorded(params, options.out, names, [options.set, options.data / "test.safetensors"]) as record:
        continual(params, options.data, options.set, names, options.out, record)


def _search(options: argparse.Namespace) -> None:
    from ncfm.core.params import SearchParams, read_stage_params
    from ncfm.stages.search import search

    params = read_stage_params(SearchParams, options.params)
    names = _trained_names(options)
    with _recorded(params, options.out, names, [options.set, options.data / "test.safetensors"]) as record:
        search(params, options.data, options.set, names, options.out, record)


def _trained_names(options: argparse.Namespace, **own: str | int) -> dict[str, str | int]:
    from ncfm.core.store import read_metadata

    protocol = {} if options.protocol == RELEASED else {"protocol": options.protocol}
    return {**read_metadata(options.set).get("names", {}), **own, **protocol}


def _report(options: argparse.Namespace) -> None:
    from ncfm.core.params import ReportParams, parse
    from ncfm.report.build import artefact_report, report
    from ncfm.report.collect import evaluation_files, read_contents

    contents = read_contents(options.params)
    own = {key: value for key, value in contents.items() if key in ReportParams.model_fields}
    params = parse(ReportParams, own, str(options.params))
    inputs = evaluation_files(contents, options.results)
    if artefact := contents.get("artefact"):
        with _recorded(params, options.results / f"tables/{artefact}.csv", {"artefact": artefact}, inputs) as record:
            artefact_report(contents, options.results, record)
        return
    with _recorded(params, options.results / "tables/metrics.json", {}, inputs) as record:
        report(params, contents, options.results, record)


def _track(options: argparse.Namespace) -> None:
    from ncfm.run import tracking

    tracking.import_records(options.folder)


if __name__ == "__main__":
    sys.exit(main())
