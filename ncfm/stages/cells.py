"""Cells: one type per stage, a stage on one choice of names. Paths and commands follow from the table of stages."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar

from ncfm.core.layout import RELEASED, title


@dataclass(frozen=True)
class Cell:
    """One stage on one choice of names; a name that is None is left out of keys and files."""

    stage: ClassVar[str]  # the name of the class in small letters

    def __init_subclass__(cls) -> None:
        cls.stage = cls.__name__.lower()

    @cached_property
    def names(self) -> dict[str, str | int]:
        """The names that the cell has, without the stage."""
        pairs = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in pairs.items() if value is not None}

    @cached_property
    def key(self) -> str:
        """The cell's name in `dvc.yaml` and in messages, e.g. ``digits-ipc1-paper-seed0-convnet-3``."""
        return title(self.names, "-")

    @cached_property
    def values(self) -> dict[str, str | int]:
        """What the path templates of the table are filled with: the names, and what is made of them."""
        return self.names


@dataclass(frozen=True)
class DatasetCell(Cell):
    """A cell about one data set."""

    dataset: str


class Prepare(DatasetCell):
    """A data set as tensors."""


@dataclass(frozen=True)
class Pretrain(DatasetCell):
    """A pool of extractors of one architecture, which whoever reads the pool calls the extractor."""

    arch: str

    @cached_property
    def values(self) -> dict[str, str | int]:
        """See :class:`Cell`."""
        return {**self.names, "extractor": self.arch}


@dataclass(frozen=True)
class SetCell(DatasetCell):
    """A cell about one small set: a method at an IPC with a seed."""

    ipc: int
    method: str
    seed: int

    @property
    def set_names(self) -> tuple[str, int, str, int]:
        """The names of the set that the cell makes or reads."""
        return self.dataset, self.ipc, self.method, self.seed


@dataclass(frozen=True)
class MakingCell(SetCell):
    """A cell that makes a set; ``extractor`` is the architecture of the pool that it reads, if it reads one."""

    extractor: str | None = None


class Distill(MakingCell):
    """A distilled set."""


class Select(MakingCell):
    """A coreset."""


@dataclass(frozen=True)
class Curate(MakingCell):
    """A curated set; ``source`` is the method whose set of the same seed it starts from."""

    source: str | None = None


@dataclass(frozen=True)
class TestingCell(SetCell):
    """A cell that trains fresh networks on a set; ``protocol`` says how, None for :data:`RELEASED`."""

    @property
    def file(self) -> str:
        """How its files begin: ``convnet-3``, ``convnet-3.dm``, ``convnet-3.steps5``, or ``search``."""
        own = {name: value for name, value in self.names.items() if name in ("arch", "protocol", "steps")}
        return title({"arch": self.stage, **own}, ".")

    @cached_property
    def values(self) -> dict[str, str | int]:
        """See :class:`Cell`; ``protocol`` is spelled out, and ``file`` is what the cell's files are called."""
        return {**self.names, "protocol": self.names.get("protocol", RELEASED), "file": self.file}


@dataclass(frozen=True)
class Evaluate(TestingCell):
    """Fresh networks of one architecture trained on a set."""

    arch: str
    protocol: str | None = None


@dataclass(frozen=True)
class Continual(TestingCell):
    """A set learnt class by class in ``steps`` groups."""

    arch: str
    protocol: str | None = None
    steps: int = 1


@dataclass(frozen=True)
class Anytime(TestingCell):
    """The snapshots of a set, each evaluated."""

    arch: str
    protocol: str | None = None

    @property
    def file(self) -> str:
        """See :class:`TestingCell`; an evaluation's files would have the same names."""
        return f"{super().file}.{self.stage}"


@dataclass(frozen=True)
class Search(TestingCell):
    """A grid of architectures trained on a set."""

    protocol: str | None = None


class Report(Cell):
    """The report of a whole campaign."""


@dataclass(frozen=True)
class Artefact(Cell):
    """One table or figure of a campaign."""

    artefact: str
