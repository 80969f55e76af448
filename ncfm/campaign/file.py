"""The form of `params/<campaign>.yaml`: what may stand where, each value checked where it stands."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from ncfm.campaign.sections import Once, SetTests, each_once, section_of
from ncfm.core.errors import ParamsError
from ncfm.core.params import Count, EvaluateProtocol, PrepareSource, PretrainParams, ReportParams
from ncfm.stages.table import MAKERS, STAGES, TESTERS

# Stages, rules of the Snakefile, and files that the report of a whole campaign writes.
RESERVED_ARTEFACTS = (*STAGES, "all", "params", *sorted({PurePosixPath(one).stem for one in STAGES["report"].writes}))
Name = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]*$")]  # it becomes a folder and a part of a DVC stage's name


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluate: EvaluateProtocol | None = None

    def values_for(self, stage: str) -> dict[str, Any]:
        """Return the values that this part names for a stage."""
        values = getattr(self, stage)
        return values.model_dump(exclude_unset=True) if values else {}


_STAGES: Any = {name: (STAGES[name].params | None, None) for name in MAKERS}


class Section(create_model("Section", __base__=_Part, **_STAGES)):  # type: ignore[misc]
    """What a part of a params file changes for each stage: keys that it does not name stay unset."""


class _DatasetSection(Section):
    prepare: PrepareSource | None = None
    pretrain: PretrainParams | None = None


class DatasetEntry(_DatasetSection):
    """A data set of a campaign: the IPCs to run, and what differs for it, or for it at one IPC."""

    ipcs: Annotated[tuple[Count, ...], Once] = ()
    by_ipc: dict[Count, Section] = {}


class MethodEntry(Section):
    """A method of a campaign: its stage, its seeds, and what differs for it. `like` starts from another method."""

    like: str | None = None
    stage: Literal[MAKERS] | None = None  # type: ignore[valid-type]
    of: str | None = Field(None, description="with stage: curate, the method whose sets it curates")
    label: str | None = Field(None, description="name in the tables; not taken over by `like`")
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Once] | None = None


class ProtocolEntry(_Part):
    """A protocol of evaluation: where it differs from what the rest of the file and the defaults say."""


def _named(protocols: Any) -> Any:
    """Turn a list of names into the mapping that it is short for."""
    if not isinstance(protocols, list):
        return protocols
    return {name: {} for name in each_once(tuple(map(str, protocols)))}


def _free(protocols: dict[str, ProtocolEntry]) -> dict[str, ProtocolEntry]:
    for name in protocols:  # files are called <arch>.<protocol>.json
        if name == "record" or name.startswith("steps"):
            raise ValueError(f"names a protocol {name!r}, whose files would be taken for others")
    return protocols


OWN_SECTIONS = tuple(name for name in TESTERS if name != "evaluate")  # a section each, which artefacts can ask for


class _ArtefactEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: Annotated[dict[str, Annotated[tuple[Count, ...], Once]], Field(min_length=1)]
    methods: Annotated[tuple[str, ...], Once]
    architectures: Annotated[tuple[str, ...], Once] = ()
    protocols: Annotated[tuple[str, ...], Once] = ()

    @property
    def tests(self) -> list[str]:
        """The sections that it asks for, e.g. by `continual: true`; where there are any, nothing is evaluated."""
        return [name for name in OWN_SECTIONS if getattr(self, name)]


_ASKED: Any = dict.fromkeys(OWN_SECTIONS, (bool, False))


class ArtefactEntry(create_model("ArtefactEntry", __base__=_ArtefactEntry, **_ASKED)):  # type: ignore[misc]
    """A table or figure: which of the cells that the campaign declares it is made of.

    ``architectures``: where none are named, each data set's own, the network of its extractors. With ``continual`` its
    cells are the campaign's continual learning on these methods, with ``search`` its architecture search.
    """


def _own_names(artefacts: dict[str, ArtefactEntry]) -> dict[str, ArtefactEntry]:
    for name in artefacts:  # rules of the Snakefile and files in tables/ have these names
        if name in RESERVED_ARTEFACTS:
            raise ValueError(f"names an artefact {name!r} (allowed: any but {', '.join(RESERVED_ARTEFACTS)})")
    return artefacts


class _CampaignFile(_DatasetSection):
    title: str = ""
    report: ReportParams | None = None
    architectures: Annotated[tuple[str, ...], Once] = ()
    protocols: Annotated[dict[Name, ProtocolEntry], BeforeValidator(_named), AfterValidator(_free)] = {}
    artefacts: Annotated[dict[Name, ArtefactEntry], AfterValidator(_own_names)] = {}
    datasets: dict[str, DatasetEntry] = {}
    methods: dict[Name, MethodEntry] = {}

    @property
    def tests(self) -> dict[str, SetTests]:
        """The sections about tests of sets other than evaluation that the file has."""
        return {name: section for name in OWN_SECTIONS if (section := getattr(self, name))}


_SECTIONS: Any = {name: (section_of(name) | None, None) for name in OWN_SECTIONS}


class CampaignFile(create_model("CampaignFile", __base__=_CampaignFile, **_SECTIONS)):  # type: ignore[misc]
    """The whole of one params file."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which would keep the last of two equal keys without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(None, None, f"the key {key.value!r} stands there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, end: str = "") -> Any:
    """Return what a YAML file says, up to the text ``end``; nothing is an empty mapping.

    Raises :class:`ParamsError`, also for a key that stands there twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.load(text.partition(end)[0] if end else text, _Loader)
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: no such file; run `ncfm use NAME` or restore it from git") from error
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = f"line {mark.line + 1}: {error.problem}" if mark else str(error)  # type: ignore[union-attr]
        raise ParamsError(f"{path}: not valid YAML ({' '.join(reason.split())})") from error
    return {} if values is None else values
