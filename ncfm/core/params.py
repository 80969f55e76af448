"""The models of `params/*.yaml`: what each stage can be told, with the range of every value and its source.

Each stage has one frozen model. Defaults are the paper's or, where the paper is silent, the released program's; the
text beside a field says which. Campaign files change them (`ncfm/campaign/layers.py`).
"""

from __future__ import annotations

import re
import types
import typing
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ncfm.core import values as kinds
from ncfm.core.errors import SHOWN, ParamsError, one_of
from ncfm.core.values import (
    Count,
    CountOrNone,
    FilePath,
    Flag,
    Held,
    Milestones,
    Networks,
    NonNegative,
    Number,
    Positive,
    Share,
    Strategy,
)

TEST_BATCH = 500  # test images that pass a network at once
Optimizer = Literal["sgd", "adamw", "adam"]  # of networks; adam takes its weight decay as a part of the gradient


class StageParams(BaseModel):
    """Base of all stages' params: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    stage: ClassVar[str]
    unread_with: ClassVar[dict[str, tuple[str, tuple[object, ...]]]] = {}  # key: another, with which it is not read

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the params name, which the stage reads besides those of its command."""
        return ()


class PrepareSource(StageParams):
    """Where a data set comes from: what a campaign can say of the stage `prepare`."""

    source: str = Field("auto", description="auto tries the data set's sources in the order of its file")
    root: FilePath = Field(
        "data", description="folder for downloads, or the one that holds your files (docs/datasets.md)"
    )


class PrepareParams(PrepareSource):
    """The stage `prepare`; a campaign names the data set in `datasets`."""

    stage = "prepare"
    dataset: str = Field(description="name of an entry of ncfm/datasets/sets/")


class ComputeParams(StageParams):
    """How fast a stage that runs networks computes. Only ``precision`` changes results by more than rounding.

    On a GPU convolutions in float32 are torch's default, TF32 where the GPU has it, as in the authors' program.
    """

    precision: Literal["float32", "bfloat16"] = Field("float32", description="of activations (bfloat16: autocast)")
    compile: Flag = Field(False, description="compile networks (torch.compile; needs a compiler of C++, on a GPU of C)")


class NetworkParams(ComputeParams):
    """How a network is built and trained; shared by the extractor pool and by evaluation."""

    unread_with = {"momentum": ("optimizer", ("adamw", "adam"))}

    width: Held = Field(128, description="channels per block of a ConvNet (paper: 128); others scale with it")
    norm: Literal["default", "instance", "batch", "group", "layer", "none"] = Field(
        "default", description="normalisation; default: the architecture's own, a ConvNet's is instance (paper)"
    )
    epochs: Count = Field(60, description="passes over the training images")
    batch: Held = Field(128, description="images of a step")
    optimizer: Optimizer = Field("sgd", description="adam takes its weight decay as a part of the gradient")
    learning_rate: Positive = Field(0.01, description="before the first milestone")
    momentum: kinds.Momentum = Field(0.9, description="of sgd")
    weight_decay: NonNegative = Field(5e-4, description="share of the weights taken off in a step, times the rate")
    milestones: Milestones = Field((2 / 3, 5 / 6), description="shares of the epochs where the rate decays")
    decay: kinds.Factor = Field(0.2, description="factor of the learning rate at each milestone")
    augmentation: Strategy = Field("color_crop", description="one draw per image; parts joined by |: one of them")
    cutmix_probability: Share = Field(0.5, description="share of batches that CutMix mixes, with Beta(1, 1)")


class PretrainParams(NetworkParams):
    """The extractor pool (paper section 4; released program: 20 networks, 60 epochs)."""

    stage = "pretrain"
    arch: str = Field("convnet-3", description="name of an entry of ncfm/models/families/")
    pool: Networks = Field(20, description="number of networks, each kept at its start and at its end")
    kept: Literal["float32", "float16"] = Field("float32", description="what trained weights are rounded to")
    count_forgetting: Flag = Field(False, description="count how often each image is forgotten (for rule: forgetting)")


class DistillParams(ComputeParams):
    """One distillation: NCFM or another discrepancy on the same loop (docs/method.md, sections 1 to 5)."""

    stage = "distill"
    unread_with = {
        "shrink": ("initialisation", ("random", "noise", "load")),
        "load": ("initialisation", ("mix", "random", "noise")),
        "sampler_learning_rate": ("frequencies", ("gaussian", "released")),
        "momentum": ("optimizer", ("adamw",)),
        **dict.fromkeys(("plateau_patience", "plateau_factor"), ("schedule", ("constant", "cosine"))),
    }
    factor: Count = Field(2, description="multi-formation: factor x factor tiles per stored image")
    initialisation: Literal["mix", "random", "noise", "load"] = Field(
        "mix",
        description="mix: tiles of shrunken real images, random: real images, noise: Gaussian, load: a finished set",
    )
    shrink: Literal["area", "nearest"] = Field("area", description="of mix initialisation (released program: nearest)")
    load: FilePath = Field("", description="distilled.safetensors to start from, with initialisation: load")
    iterations: Count = Field(20000, description="steps of all classes' images")
    batch_real: Held = Field(1024, description="real images per class and iteration, or all where there are fewer")
    real_batches: Literal["random", "first"] = Field("random", description="first: of each class (released program)")
    update: Literal["joint", "per-class"] = Field("joint", description="per-class: a step for each (released program)")
    discrepancy: str = Field("ncfd", description="name of an entry of ncfm/method/discrepancies/")
    extractor: Literal["pool", "random"] = Field("pool", description="random: fresh random weights each time (DM)")
    normalise_features: Flag = Field(True, description="scale each image's features to length 1 (DM does not)")
    loss_scale: Positive = Field(300.0, description="factor of the discrepancy (released program)")
    alpha: Share = Field(0.5, description="weight of amplitude; phase has 1 - alpha (paper eq. 5)")
    root: Flag = Field(True, description="square root of equation 5 at each frequency; false: without it")
    frequencies: Literal["gaussian", "mixture", "released"] = Field(
        "mixture",
        description="mixture: of psi, trained by ascent; released: of psi as the program computes it, untrained",
    )
    num_frequencies: Held = Field(1024, description="paper: 1024; released configs: 4096")
    frequency_scale: Positive = Field(1.0, description="factor of the frequencies; small ones see little but the mean")
    sampler_learning_rate: Positive = Field(1e-4, description="Adam rate of the sampling network's ascent")
    calibration: NonNegative = Field(1.0, description="weight of the cross-entropy step; 0 switches it off")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="of the images")
    learning_rate: Positive = Field(0.001, description="of the images, whose pixels lie in [0, 1]")
    momentum: kinds.Momentum = Field(0.5, description="of sgd")
    weight_decay: NonNegative = Field(5e-4, description="of the images")
    schedule: Literal["constant", "cosine", "plateau"] = Field(
        "cosine", description="plateau: the released program's rule"
    )
    plateau_patience: Count = Field(500, description="iterations without a better loss before the rate falls")
    plateau_factor: Annotated[float, Number, Field(gt=0, lt=1)] = Field(0.5, description="of the rate when it falls")
    augmentation: Strategy = Field("color_crop_cutout", description="one draw for all images of a class")
    checkpoint_every: Count = Field(500, description="iterations between checkpoints")
    processes: kinds.Processes = Field(
        1, description="of one machine, a GPU each, among which the classes of a joint step are divided"
    )
    snapshots: kinds.Increasing = Field(
        (), description="iterations after which the set is kept too (docs/evaluation.md)"
    )
    log_every: CountOrNone = Field(0, description="iterations between two readings of the losses; 0: 10, on a CPU 1")
    kept: Literal["float32", "uint8"] = Field("float32", description="what the finished images are rounded to")
    images_at_once: CountOrNone = Field(0, description="that pass a network at a time; 0: what suits the device")
    recompute: Flag = Field(False, description="activations in the backward pass: images_at_once bounds the memory")

    @property
    def files(self) -> tuple[str, ...]:
        """The set to start from."""
        return (self.load,) if self.initialisation == "load" else ()


class SelectParams(StageParams):
    """A coreset of real images, of equal storage."""

    stage = "select"
    rule: str = Field("random", description="name of an entry of ncfm/method/coresets/")
    factor: Count = Field(1, description="1: whole images; above: factor x factor shrunken images per stored one")


class CurateParams(ComputeParams):
    """Curation of a finished set: labels from the pool, fine-tuning of the images (docs/method.md, section 6)."""

    stage = "curate"
    unread_with = {
        "teachers": ("labels", ("released",)),
        **dict.fromkeys(("learning_rate", "augmentation"), ("finetune", (0,))),
    }
    labels: Literal["hard", "soft", "released"] = Field(
        "soft", description="released: as the released program, which takes 0/1 for logits where a network errs"
    )
    teachers: CountOrNone = Field(0, description="pool networks whose probabilities soft labels average; 0: all")
    finetune: CountOrNone = Field(0, description="steps of the images down the pool's cross-entropy")
    learning_rate: Positive = Field(0.001, description="Adam rate of fine-tuning")
    augmentation: Strategy = Field("color_crop_cutout", description="strategy of fine-tuning, one draw per image")
    checkpoint_every: Count = Field(100, description="steps of fine-tuning between checkpoints")


class EvaluateProtocol(NetworkParams):
    """Training fresh networks on a distilled set (docs/method.md, section 6; defaults: released CIFAR protocol)."""

    epochs: Count = Field(2000, description="passes over the training images")
    optimizer: Optimizer = Field("adamw", description="adam takes its weight decay as a part of the gradient")
    learning_rate: Positive = Field(0.001, description="before the first milestone")
    weight_decay: NonNegative = Field(0.01, description="share of the weights taken off in a step, times the rate")
    milestones: Milestones = Field((0.2, 0.4, 0.6, 0.8), description="shares of the epochs where the rate decays")
    decay: kinds.Factor = Field(0.5, description="factor of the learning rate at each milestone")
    augmentation: Strategy = Field(
        "color_crop_flip_scale_rotate", description="one draw per image; parts joined by |: one of them"
    )
    networks: Networks = Field(10, description="fresh networks trained on one distilled set")
    looks: Count = Field(20, description="test-set passes over the training, evenly spaced; the last epoch is one")


class EvaluateParams(EvaluateProtocol):
    """The stage `evaluate`; a campaign names the architectures in `architectures`."""

    stage = "evaluate"
    arch: str = Field("convnet-3", description="name of an entry of ncfm/models/families/")


class ContinualParams(EvaluateParams):
    """The stage `continual`: classes that arrive in groups, and a fresh network at each step (DM's paper)."""

    stage = "continual"
    steps: kinds.Groups = Field(5, description="groups of classes; must divide their number")


class AnytimeParams(EvaluateParams):
    """The stage `anytime`: an evaluation of every snapshot of a set, after the last epoch."""

    stage = "anytime"


class SearchParams(EvaluateProtocol):
    """The stage `search`: a grid of ConvNets trained on one set, in place of one of ``width`` and ``norm``."""

    stage = "search"
    depths: tuple[Count, ...] = Field((3,), description="blocks of the ConvNets")
    widths: tuple[Count, ...] = Field((128,), description="channels per block")
    norms: tuple[str, ...] = Field(("instance",), description="normalisations")

    @property
    def candidates(self) -> list[tuple[str, int, str]]:
        """Architecture, width and normalisation of every network of the grid."""
        return [(f"convnet-{d}", w, n) for d in self.depths for w in self.widths for n in self.norms]


class ReportParams(StageParams):
    """What the tables show."""

    stage = "report"
    grid_columns: Count = Field(10, description="classes in the picture of distilled images")
    comparisons: kinds.Pairs = Field((), description="pairs of methods to compare by paired seeds")


Model = TypeVar("Model", bound=BaseModel)
StageModel = TypeVar("StageModel", bound=StageParams)


def parse(model: type[Model], values: Any, where: str) -> Model:
    """Build ``model`` from ``values``, or raise :class:`ParamsError`: ``where``, key, value, and what is allowed."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        kind, value, keys = first["type"], first["input"], [str(key) for key in first["loc"] if key != "[key]"]
        section, place = (": ".join(filter(None, (where, ".".join(part)))) for part in (keys[:-1], keys))
        if kind == "extra_forbidden":
            message = one_of("key", keys[-1], _fields_at(model, keys[:-1]), section)
        elif kind == "literal_error":
            allowed = str(first["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
            message = one_of(keys[-1], value, allowed, place)
        elif kind == "missing":
            message = f"{place}: is missing"
        else:
            text = re.sub("^(Input|String|Value error,) ", "", first["msg"]).replace("valid tuple", "list")
            text = "must be a mapping of keys to values" if kind in ("model_type", "dict_type") else text
            message = f"{place}: is {SHOWN.repr(value)}, but {text}"
        raise ParamsError(message) from None


def _fields_at(model: type[BaseModel], keys: list[str]) -> list[str]:
    """Return the field names of the model that ``keys`` lead to, passing through mappings."""
    current: Any = model
    for key in keys:
        fields = getattr(current, "model_fields", None)
        current = fields[key].annotation if fields else typing.get_args(current)[-1]
        if typing.get_origin(current) in (types.UnionType, typing.Union):
            current = typing.get_args(current)[0]
        if hasattr(current, "__metadata__"):  # Annotated
            current = typing.get_args(current)[0]
    return list(getattr(current, "model_fields", ()))
