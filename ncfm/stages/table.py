"""The one table of stages: for each its params, names, files and words for people.

The command line, the Snakemake rules, `dvc.yaml`, plans, names of runs and the report's contents are made from it.
Paths are templates below ``results/<campaign>/``, filled with a cell's values; no torch is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import PurePosixPath
from string import Formatter
from typing import Any, Literal

from ncfm.core import params as models
from ncfm.core.layout import NAMES, SET_FILE, SPLIT_FILES, campaign_folder, record_file
from ncfm.stages import cells, costs
from ncfm.stages.cells import Cell
from ncfm.stages.costs import Cost, Reads

DATA = "datasets/{dataset}"
TRAIN, TEST = (f"{DATA}/{file}" for file in SPLIT_FILES.values())
POOL = "extractors/{dataset}/{extractor}.safetensors"
SET_FOLDER = "sets/{dataset}/ipc{ipc}/{method}/seed{seed}"
SET = f"{SET_FOLDER}/{SET_FILE}"
SOURCE = SET.replace("{method}", "{source}")
EVALUATION = "evaluations/{dataset}/ipc{ipc}/{method}/seed{seed}/{file}"
OF_SET = "{dataset}/ipc{ipc}/{method}"


@dataclass(frozen=True)
class Argument:
    """An argument of a stage's command: ``--name VALUE``."""

    name: str
    value: str  # template of its value: a path below the campaign's folder, or one of the cell's names
    help: str
    kind: Literal["input", "output", "name"]
    optional: bool = False  # whether only some cells have it, those with all the values that the template asks for


@dataclass(frozen=True)
class Stage:
    """One stage: the function of its name in its file here gets params, inputs, out and record; reports have none."""

    example: Cell  # for the help text; its type is that of all cells of the stage
    params: type[models.StageParams]
    cost: Callable[[Any, Reads], Cost] | None  # of a cell, from its params, for `ncfm plan`; None: not known
    params_file: str  # template of the file with a cell's resolved params; seeds share one
    help: str
    arguments: tuple[Argument, ...]  # of its command, besides ``--params``
    reads: tuple[str, ...]  # templates of its files, besides the params
    writes: tuple[str, ...]  # templates, the main output first; the record is added
    may_write: tuple[str, ...] = ()  # templates of files that it writes only where there is something to show
    side_by_side: str = ""  # the params field that counts networks or processes, each of which may have a core on CPUs
    gpu: bool = True  # whether it computes on a GPU where there is one
    local: bool = False  # whether it runs where one submits to a cluster: it takes seconds, or needs the network
    command: str = ""  # the sub-command, where it is not the stage's name

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.example.stage

    @property
    def cell(self) -> type[Cell]:
        """The type of its cells."""
        return type(self.example)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Templates of all files that it writes, the main output first and the record last."""
        return *self.writes, str(record_file(PurePosixPath(self.writes[0])))

    @property
    def wildcards(self) -> tuple[str, ...]:
        """The names in the path of its main output, in their order: they tell one of its jobs from another."""
        return fields(self.writes[0])

    def at_a_time(self, params: models.StageParams, gpus: int) -> int:
        """Return how many networks a job computes at a time, of one process or several: on GPUs one in each."""
        return int(getattr(params, "processes" if gpus else self.side_by_side, 1))

    @property
    def log(self) -> str:
        """Template of where its jobs write what they print, e.g. ``logs/distill/digits-ipc1-paper-seed0.log``."""
        names = "-".join(f"{NAMES.get(name, '')}{{{name}}}" for name in self.wildcards)
        return f"logs/{self.name}/{names or self.name}.log"


_DATA = Argument("data", DATA, "folder that `ncfm prepare` wrote", "input")
_EXTRACTORS = Argument("extractors", POOL, "file that `ncfm pretrain` wrote", "input")
_SOME_EXTRACTORS = replace(_EXTRACTORS, help=f"{_EXTRACTORS.help}, for the rules that need it", optional=True)
_IPC = Argument("ipc", "{ipc}", "images per class to store", "name")
_METHOD = Argument("method", "{method}", "name of the method, kept in the set's metadata", "name")
_SEED = Argument("seed", "{seed}", "every random draw derives from it", "name")
_PROTOCOL = Argument("protocol", "{protocol}", "name of the protocol, kept with the result", "name")
_SET = Argument("set", SET, SET_FILE, "input")
_SOURCE = Argument("set", SOURCE, f"{SET_FILE} to start from", "input")
_SET_OUT = Argument("out", SET_FOLDER, f"folder for {SET_FILE} and grid.png", "output")
_TEST_OUT = Argument("out", f"{EVALUATION}.json", "the .json file with the accuracies", "output")
_RESULTS = Argument("results", "", "folder of the campaign's results", "output")


def _testing(example: Cell, params: type[models.StageParams], cost: Callable[[Any, Reads], Cost], text: str) -> Stage:
    """Return a stage that trains networks on a set and writes one JSON file."""
    arguments, file = (_DATA, _SET, _PROTOCOL, _TEST_OUT), f"params/{example.stage}/{OF_SET}/{{file}}.json"
    return Stage(example, params, cost, file, text, arguments, (SET, TEST), (f"{EVALUATION}.json",))


def _report(example: Cell, file: str, text: str, writes: tuple[str, ...], may_write: tuple[str, ...] = ()) -> Stage:
    """Return a stage that reads many cells' results; which ones its params file says."""
    params, names = models.ReportParams, (_RESULTS,)
    return Stage(
        example, params, None, file, text, names, (), writes, may_write, gpu=False, local=True, command="report"
    )


def _files(folder: str, names: str, ends: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.{end}" for name in names.split() for end in ends.split())


_OF = ("digits", 1, "paper", 0)
_ALL = (
    Stage(
        cells.Prepare("digits"),
        models.PrepareParams,
        costs.prepare,
        "params/prepare/{dataset}.json",
        "Fetch a data set, check it and write it as tensors.",
        (Argument("out", DATA, f"folder for {', '.join(SPLIT_FILES.values())} and card.json", "output"),),
        (),
        (f"{DATA}/card.json", TRAIN, TEST),
        gpu=False,
        local=True,
    ),
    Stage(
        cells.Pretrain("digits", "convnet-3"),
        models.PretrainParams,
        costs.pretrain,
        "params/pretrain/{dataset}.json",
        "Train the pool of extractors; keep each network's start and end.",
        (_DATA, Argument("out", POOL, "the pool's .safetensors file", "output")),
        (TRAIN, TEST),
        (POOL, "extractors/{dataset}/{extractor}.history.csv"),
        side_by_side="pool",
    ),
    Stage(
        cells.Distill(*_OF, "convnet-3"),
        models.DistillParams,
        costs.distill,
        f"params/distill/{OF_SET}.json",
        "Distill a data set, or your own folder of images, into a few images per class.",
        (_DATA, _EXTRACTORS, _IPC, _METHOD, _SEED, _SET_OUT),
        (TRAIN, POOL),
        (SET, f"{SET_FOLDER}/history.csv", f"{SET_FOLDER}/grid.png"),
        side_by_side="processes",
    ),
    Stage(
        cells.Select("digits", 1, "random", 0),
        models.SelectParams,
        costs.select,
        f"params/select/{OF_SET}.json",
        "Select real images as a coreset of equal storage.",
        (_DATA, _IPC, _METHOD, _SEED, _SET_OUT, _SOME_EXTRACTORS),
        (TRAIN, POOL),
        (SET, f"{SET_FOLDER}/grid.png"),
    ),
    Stage(
        cells.Curate("digits", 1, "paper-curated", 0, "convnet-3", "paper"),
        models.CurateParams,
        costs.curate,
        f"params/curate/{OF_SET}.json",
        "Label the images of a set by the extractors, and fine-tune them.",
        (_DATA, _EXTRACTORS, _SOURCE, _METHOD, _SET_OUT),
        (TRAIN, POOL, SOURCE),
        (SET, f"{SET_FOLDER}/grid.png"),
    ),
    _testing(
        cells.Evaluate(*_OF, "convnet-3"),
        models.EvaluateParams,
        costs.evaluate,
        "Train fresh networks on a distilled set and test them on real images.",
    ),
    _testing(
        cells.Continual(*_OF, "convnet-3", steps=5),
        models.ContinualParams,
        costs.continual,
        "Train fresh networks as classes arrive in groups, each time on all seen so far.",
    ),
    _testing(
        cells.Anytime(*_OF, "convnet-3"),
        models.AnytimeParams,
        costs.anytime,
        "Train fresh networks on every snapshot of a set: accuracy against the time of its making.",
    ),
    _testing(
        cells.Search(*_OF),
        models.SearchParams,
        costs.search,
        "Train a grid of networks on a set, to see which architectures it finds best.",
    ),
    _report(
        cells.Artefact("table5"),
        "params/artefact/{artefact}.json",
        "Write one table or figure of a campaign.",
        _files("artefacts", "{artefact}", "csv md tex svg png"),
    ),
    _report(
        cells.Report(),
        "params/report.json",
        "Write the tables and figures of a campaign, or one of its artefacts.",
        (
            *("metrics.json", "report.html", "figures/grid.png"),
            *_files("tables", "results", "csv md tex"),
            *_files("tables", "times verdicts", "csv md"),
            *_files("figures", "accuracy", "svg png"),
        ),
        (
            *_files("tables", "paper comparisons", "csv md tex"),
            *_files("tables", "selection ranking continual anytime search", "csv md"),
            *_files("figures", "paper history comparisons continual anytime search", "svg png"),
        ),
    ),
)
STAGES: dict[str, Stage] = {stage.name: stage for stage in _ALL}
# The stages that make small sets, and those that train networks on small sets to test them.
MAKERS = tuple(name for name, stage in STAGES.items() if stage.writes[0] == SET)
TESTERS = tuple(name for name, stage in STAGES.items() if issubclass(stage.cell, cells.TestingCell))


@cache
def fields(template: str) -> tuple[str, ...]:
    """Return the names that a template asks for, each once, in their order."""
    return tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(template) if name))


def has(cell: Cell, template: str) -> bool:
    """Say whether the cell has every value that a template asks for: a coreset without extractors has no pool."""
    return cell.values.keys() >= {*fields(template)}


def place(campaign: str, cell: Cell, template: str) -> str:
    """Return the path of a file of a cell: a template below the campaign's folder, filled."""
    return f"{campaign_folder(campaign)}/{template.format(**cell.values)}".rstrip("/")


def params_file(campaign: str, cell: Cell) -> PurePosixPath:
    """Return the file of a cell's resolved params. Seeds share one file: a seed is a name, not a parameter."""
    return PurePosixPath(place(campaign, cell, STAGES[cell.stage].params_file))


def output(campaign: str, cell: Cell) -> PurePosixPath:
    """Return the main output of a cell."""
    return PurePosixPath(place(campaign, cell, STAGES[cell.stage].writes[0]))


def outputs(campaign: str, cell: Cell) -> list[str]:
    """Return all files that a cell writes, the main output first, the record last."""
    return [place(campaign, cell, template) for template in STAGES[cell.stage].outputs]


def inputs(campaign: str, cell: Cell) -> list[str]:
    """Return the files that a cell reads: its params first. What a report reads, the campaign says."""
    reads = [template for template in STAGES[cell.stage].reads if has(cell, template)]
    return [str(params_file(campaign, cell)), *(place(campaign, cell, template) for template in reads)]


def command(campaign: str, cell: Cell) -> str:
    """Return the command that computes a cell."""
    stage = STAGES[cell.stage]
    words = ["ncfm", stage.command or stage.name, "--params", str(params_file(campaign, cell))]
    for argument in stage.arguments:
        if has(cell, argument.value):
            named = argument.kind == "name"
            value = argument.value.format(**cell.values) if named else place(campaign, cell, argument.value)
            words += [f"--{argument.name}", value]
    return " ".join(words)


def address(campaign: str, cell: Cell) -> str:
    """Return the name of a cell's stage for DVC. It holds the campaign, so that no other campaign's cell is meant."""
    key = "_".join(filter(None, (campaign, cell.key)))
    return f"params/dvc.yaml:{key}" if isinstance(cell, cells.Artefact) else f"{cell.stage}@{key}"
