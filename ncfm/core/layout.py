"""Where everything lies under `results/<campaign>/`: pure functions from names to paths, and nothing else.

The Snakefile, `dvc.yaml` and the stages agree because they all follow this file (a test compares them).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

TESTS = ("evaluate", "continual", "search")  # the stages that train networks on one set and test them
RELEASED = "released"  # the protocol of evaluation that is meant where none is named
WHOLE = "whole"  # the method of all training images, which a search compares with


@dataclass(frozen=True)
class Cell:
    """One stage on one choice of names; names that the stage does not have stay None.

    ``extractor`` is the architecture of the pool that a distillation, selection or curation reads, ``of`` the method
    whose set a curation starts from; they are no part of the key. ``protocol`` is how an evaluation trains, None for
    :data:`RELEASED`. ``artefact`` is the table or figure that a report is of, None for the whole campaign's.
    """

    stage: str
    dataset: str | None = None
    ipc: int | None = None
    method: str | None = None
    seed: int | None = None
    arch: str | None = None
    extractor: str | None = None
    protocol: str | None = None
    of: str | None = None
    steps: int | None = None
    artefact: str | None = None

    @property
    def key(self) -> str:
        """The cell's name in `dvc.yaml` and MLflow, e.g. ``digits-ipc1-paper-seed0-convnet-3``."""
        parts = [
            self.dataset,
            None if self.ipc is None else f"ipc{self.ipc}",
            self.method,
            None if self.seed is None else f"seed{self.seed}",
            self.arch,
            self.protocol,
            None if self.steps is None else f"steps{self.steps}",
            self.artefact,
        ]
        return "-".join(part for part in parts if part is not None)

    @property
    def group(self) -> str:
        """The stage's name in `dvc.yaml`: the stage itself, or a second name where it reads other files."""
        if self.artefact:
            return "artefact"
        return "select-with-extractors" if self.stage == "select" and self.extractor else self.stage

    @property
    def names(self) -> dict[str, str | int]:
        """The names that the cell has, without the stage."""
        pairs = {
            "dataset": self.dataset,
            "ipc": self.ipc,
            "method": self.method,
            "seed": self.seed,
            "arch": self.arch,
            "extractor": self.extractor,
            "protocol": self.protocol,
            "of": self.of,
            "steps": self.steps,
            "artefact": self.artefact,
        }
        return {name: value for name, value in pairs.items() if value is not None}


def campaign_folder(campaign: str) -> PurePosixPath:
    """Return the folder of everything that a campaign writes."""
    return PurePosixPath("results", campaign)


def params_file(campaign: str, cell: Cell) -> PurePosixPath:
    """Return the file of a cell's resolved params. Seeds share one file: a seed is a name, not a parameter."""
    root = campaign_folder(campaign) / "params"
    if cell.stage in ("prepare", "pretrain"):
        return root / cell.stage / f"{cell.dataset}.json"
    if cell.stage in ("distill", "select", "curate"):
        return root / cell.stage / str(cell.dataset) / f"ipc{cell.ipc}" / f"{cell.method}.json"
    if cell.stage in TESTS:
        folder = root / cell.stage / str(cell.dataset) / f"ipc{cell.ipc}" / str(cell.method)
        return folder / f"{evaluation_name(cell)}.json"
    return root / (f"artefact/{cell.artefact}.json" if cell.artefact else "report.json")


def dataset_folder(campaign: str, dataset: str) -> PurePosixPath:
    """Return the folder of `train.safetensors`, `test.safetensors`, `card.json`."""
    return campaign_folder(campaign) / "datasets" / dataset


def extractor_file(campaign: str, dataset: str, arch: str) -> PurePosixPath:
    """Return the file of the extractor pool."""
    return campaign_folder(campaign) / "extractors" / dataset / f"{arch}.safetensors"


def set_folder(campaign: str, cell: Cell) -> PurePosixPath:
    """Return the folder of one distilled, selected or curated set."""
    folder = campaign_folder(campaign) / "sets" / str(cell.dataset) / f"ipc{cell.ipc}" / str(cell.method)
    return folder / f"seed{cell.seed}"


def evaluation_name(cell: Cell) -> str:
    """Return how an evaluation's files begin: ``convnet-3``, or ``convnet-3.dm`` under the protocol ``dm``.

    Continual learning in 5 steps: ``convnet-3.steps5``. A search, which has many architectures: ``search``.
    """
    steps = None if cell.steps is None else f"steps{cell.steps}"
    return ".".join(name for name in (cell.arch or cell.stage, cell.protocol, steps) if name is not None)


def evaluation_file(campaign: str, cell: Cell) -> PurePosixPath:
    """Return the JSON file of one evaluation, of continual learning or of a search."""
    folder = campaign_folder(campaign) / "evaluations" / str(cell.dataset) / f"ipc{cell.ipc}" / str(cell.method)
    return folder / f"seed{cell.seed}" / f"{evaluation_name(cell)}.json"


def record_file(output: PurePosixPath) -> PurePosixPath:
    """Return the record beside a stage's main output: what ran, when, where and on what (never an input of a stage)."""
    return output.parent / f"{output.stem}.record.json"
