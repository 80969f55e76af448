"""The form of `params/<campaign>.yaml`: what may stand where, each value checked where it stands."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, create_model

from ncfm.core import params as models
from ncfm.core.layout import RELEASED, WHOLE
from ncfm.core.values import Count, Counts, Flag, Groups, Line, Name, Names, Seed, each_once
from ncfm.stages.table import MAKERS, STAGES, TESTERS

RESERVED_ARTEFACTS = (*STAGES, "all", "params")  # rules of the Snakefile
OWN_SECTIONS = tuple(name for name in TESTERS if name != "evaluate")  # a section each, which artefacts can ask for


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SetTests(_Form):
    """The section of a test of sets: of which methods, trained under which protocol."""

    also: ClassVar[tuple[str, ...]] = ()  # methods that are tested as well, where the campaign has them

    methods: Names
    protocol: str = RELEASED


class ContinualTests(SetTests):
    """Continual learning: in how many steps."""

    steps: Annotated[tuple[Groups, ...], AfterValidator(each_once)]


class SearchTests(SetTests):
    """Architecture search: a grid of ConvNets, compared with their accuracies on the whole training set."""

    also = (WHOLE,)

    depths: Counts
    widths: Counts
    norms: Names


class _Part(_Form):
    evaluate: models.EvaluateProtocol | None = None

    def values_for(self, stage: str) -> dict[str, Any]:
        """Return the values that this part of the file names for a stage."""
        values = getattr(self, stage)
        return values.model_dump(exclude_unset=True) if values else {}


class ProtocolEntry(_Part):
    """A protocol of evaluation: where it differs from what the rest of the file and the defaults say."""

    sets: dict[str, Counts] = Field({}, description="data sets and IPCs that it was made for; none: for all")


_MADE: dict[str, Any] = {stage: (STAGES[stage].params | None, None) for stage in MAKERS}  # fields: type and default


class Section(create_model("Made", __base__=_Part, **_MADE)):  # type: ignore[misc]
    """What a part of a params file changes for each stage: keys that it does not name stay unset."""


class _DatasetSection(Section):
    prepare: models.PrepareSource | None = None
    pretrain: models.PretrainParams | None = None


def _listed(by_ipc: dict[int, Section], entry: ValidationInfo) -> dict[int, Section]:
    ipcs = entry.data.get("ipcs", ())
    for ipc in by_ipc.keys() - set(ipcs) if ipcs else ():
        raise ValueError(f"has IPC {ipc}, which is not in ipcs: {list(ipcs)}")
    return by_ipc


class DatasetEntry(_DatasetSection):
    """A data set of a campaign: the IPCs to run, and what differs for it, or for it at one IPC."""

    ipcs: Counts = ()
    by_ipc: Annotated[dict[Count, Section], AfterValidator(_listed)] = {}


class MethodEntry(Section):
    """A method of a campaign: its stage, its seeds, and what differs for it. `like` starts from another method."""

    like: str | None = None
    stage: Literal[MAKERS] | None = None  # type: ignore[valid-type]
    of: str | None = Field(None, description="with stage: curate, the method whose sets it curates")
    label: Line | None = Field(None, description="name in the tables; not taken over by `like`")
    seeds: Annotated[tuple[Seed, ...], AfterValidator(each_once)] | None = None


class ArtefactEntry(_Form):
    """A table or figure: which of the cells that the campaign declares it is made of."""

    datasets: Annotated[dict[str, Counts], Field(min_length=1)]
    methods: Names
    architectures: Names = ()  # where none are named, each data set's own, the network of its extractors
    protocols: Names = ()
    continual: Flag = False  # whether its cells are the campaign's continual learning on these methods
    anytime: Flag = False  # whether its cells are the campaign's evaluations of snapshots of these methods
    search: Flag = False  # whether its cells are the campaign's architecture search with these methods


def _mapping(protocols: Any) -> Any:
    """Turn a list of names into the mapping that it is short for."""
    return {name: {} for name in each_once(tuple(map(str, protocols)))} if isinstance(protocols, list) else protocols


def _free(protocols: dict[str, ProtocolEntry]) -> dict[str, ProtocolEntry]:
    for name in protocols:  # files are called <arch>.<protocol>.json
        if name in ("record", *TESTERS) or name.startswith("steps"):
            raise ValueError(f"names a protocol {name!r}, whose files would be taken for others")
    return protocols


def _own_names(artefacts: dict[str, ArtefactEntry]) -> dict[str, ArtefactEntry]:
    for name in artefacts:  # rules of the Snakefile have these names
        if name in RESERVED_ARTEFACTS:
            raise ValueError(f"names an artefact {name!r} (allowed: any but {', '.join(RESERVED_ARTEFACTS)})")
    return artefacts


class CampaignFile(_DatasetSection):
    """The whole of one params file."""

    title: Line = ""
    report: models.ReportParams | None = None
    architectures: Names = ()
    protocols: Annotated[dict[Name, ProtocolEntry], BeforeValidator(_mapping), AfterValidator(_free)] = {}
    artefacts: Annotated[dict[Name, ArtefactEntry], AfterValidator(_own_names)] = {}
    datasets: dict[str, DatasetEntry] = {}
    methods: dict[Name, MethodEntry] = {}
    continual: ContinualTests | None = None
    anytime: SetTests | None = None
    search: SearchTests | None = None

    @property
    def tests(self) -> dict[str, SetTests]:
        """The sections about tests of sets other than evaluation that the file has."""
        return {name: section for name in OWN_SECTIONS if (section := getattr(self, name))}
