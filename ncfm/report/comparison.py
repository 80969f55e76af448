"""Which of our numbers is held against a reported one, and where its protocol differs. Rules: docs/verdicts.md."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ncfm.datasets.imagenet_classes import IMAGENET_CLASSES
from ncfm.models.registry import ARCHITECTURES, norm_of
from ncfm.params import DistillParams, EvaluateParams, PretrainParams, SelectParams, StageParams
from ncfm.report.collect import Row, StoredSet

# What the tables were made with, as far as is known, where it is not the defaults of ncfm/params.py.
RECIPES: dict[str, dict[str, Any]] = {
    "with psi": {},
    "w/o psi": {
        "frequencies": "gaussian",
        "num_frequencies": 4096,
        "real_batches": "first",
        "shrink": "nearest",
        "update": "per-class",
        "schedule": "plateau",
    },
}
# Where the released configurations depart from both, by data set and IPC (facts/protocol.md sections 1 to 3).
EXCEPTIONS: dict[tuple[str, int], dict[str, dict[str, Any]]] = {
    ("cifar100", 10): {"distill": {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.5}},
    ("tinyimagenet", 10): {"evaluate": {"epochs": 300}},
    ("tinyimagenet", 50): {"evaluate": {"epochs": 40}},
}
SUBSETS = {"pretrain": {"epochs": 80}, "evaluate": {"networks": 3}}  # of ImageNet, at every IPC
PSI_PAIR = "psi vs no psi"  # how the note of a reported gain begins that is Table 5 with psi minus without
CURATED = ("NCFM Table 1", "NCFM Table 2", "NCFM Table 4", "NCFM Fig 3 (digitised)")
# Fields that change nothing unless another field has a certain value; None: they never do.
CONDITIONS: dict[str, tuple[str, object] | None] = {
    "checkpoint_every": None,
    "images_at_once": None,
    "recompute": None,
    "compile": None,
    "load": ("initialisation", "load"),
    "momentum": ("optimizer", "sgd"),
    "sampler_learning_rate": ("frequencies", "mixture"),
    "plateau_patience": ("schedule", "plateau"),
    "plateau_factor": ("schedule", "plateau"),
}


@dataclass(frozen=True)
class Comparison:
    """How a reported number is held against one of our methods.

    Attributes:
        accuracy: which of ours is compared, ``best`` or ``last``.
        recipe: values of DistillParams behind the reported number besides the defaults; None where none is known.
        obstacle: why no verdict is possible whatever the params; empty where one is.
    """

    accuracy: str
    recipe: Mapping[str, Any] | None = None
    obstacle: str = ""


def is_ours(method: str) -> bool:
    """Say whether a method of the reported rows can be run by this project: NCFM, DM's kin, and coresets by name."""
    names = {"ncfm", "dm"}
    for model, field in ((SelectParams, "rule"), (DistillParams, "discrepancy")):
        names |= set(typing.get_args(model.model_fields[field].annotation))
    return method.lower() in names


def compare(reported: Mapping[str, str], stored: StoredSet) -> Comparison | None:
    """Say how a reported row is held against a set's method, or None where it is another method."""
    method, kind = reported["method"], stored.params.get("rule" if stored.cell.stage == "select" else "discrepancy")
    if kind == "ncfd" and method == "NCFM":
        return _compare_ncfm(reported["source"], reported["variant"], stored.params)
    if kind == "mmd" and method == "DM":
        return Comparison("last", obstacle="our MMD is not DM (pretrained extractors), and DM's training is another")
    if kind == method.lower() and (stored.cell.stage != "select" or stored.params["factor"] == 1):
        return Comparison("last", obstacle="the row is from prior work, trained by another protocol, last epoch")
    return None


def full_distillation(reported: Mapping[str, str]) -> DistillParams | None:
    """Return the distillation behind a reported row at the full protocol, as far as is known; None for a coreset."""
    if reported["method"] == "DM":
        return DistillParams.model_validate({"discrepancy": "mmd"})
    if reported["method"] != "NCFM":
        return None
    variant = reported["variant"]
    bare = variant == "w/o psi" or variant.startswith("alpha=")
    values = dict(RECIPES["w/o psi" if bare else "with psi"])
    for key, field in (("alpha", "alpha"), ("num_freqs", "num_frequencies")):
        if variant.startswith(f"{key}="):
            values[field] = variant.removeprefix(f"{key}=")
    return DistillParams.model_validate(values)


def _compare_ncfm(source: str, variant: str, params: Mapping[str, Any]) -> Comparison | None:
    psi = "w/o psi" if params["frequencies"] == "gaussian" else "with psi"
    recipe, alpha, number = RECIPES[psi], params["alpha"], params["num_frequencies"]
    if source == "NCFM Table 5" and variant == psi:
        return Comparison("best", recipe)
    # Figure 5 does not mention psi, but at alpha 0.5 it equals the cells without psi of Table 5 within 0.3 points.
    if source == "NCFM Fig 5 (digitised)" and psi == "w/o psi" and variant == f"alpha={alpha:g}":
        return Comparison("best", {**recipe, "alpha": alpha})
    if variant == f"num_freqs={number}":
        obstacle = "the paper does not say whether psi or curation was on"
        if "text" in source:
            obstacle = f"an approximate claim in running text; {obstacle}"
        return Comparison("best", {**recipe, "num_frequencies": number}, obstacle)
    return Comparison("best", recipe, "no curation here") if source in CURATED and psi == "with psi" else None


def differences(row: Row, stored: StoredSet, recipe: Mapping[str, Any], note: str = "") -> list[str]:
    """List where a cell's params differ from the full protocol, as ``stage: field ours (full), ...``.

    Extractors are of the network that tests, unless the reported row's ``note`` names another.
    """
    special = _exceptions(row)
    full_pool = {**_network(PretrainParams, _extractor(note) or row.arch), **special.get("pretrain", {})}
    full_evaluate = {**_network(EvaluateParams, row.arch), **special.get("evaluate", {})}
    distillation = {**_defaults(DistillParams), **recipe, **special.get("distill", {})}
    return [
        *_differing("extractors", stored.pool or {}, full_pool),
        *_differing("distillation", stored.params, distillation),
        *_differing("evaluation", row.evaluations[0].params, full_evaluate),
    ]


def timing_differences(row: Row, stored: StoredSet, recipe: Mapping[str, Any]) -> list[str]:
    """List the params that make an iteration of another size than the full protocol's, as :func:`differences` does."""
    full_pool = {key: value for key, value in _network(PretrainParams, row.arch).items() if key in ("width", "norm")}
    distillation = {**_defaults(DistillParams), **recipe, **_exceptions(row).get("distill", {})}
    for field in ("iterations", "learning_rate", "schedule", "load"):
        del distillation[field]
    return [
        *_differing("extractors", stored.pool or {}, {**full_pool, "arch": row.arch}),
        *_differing("distillation", stored.params, distillation),
    ]


def _exceptions(row: Row) -> Mapping[str, dict[str, Any]]:
    return SUBSETS if row.dataset in IMAGENET_CLASSES else EXCEPTIONS.get((row.dataset, row.ipc), {})


def _extractor(note: str) -> str:
    found = re.search(r"condensed on (\S+)", note)
    return found[1].lower() if found else ""


def _differing(stage: str, ours: Mapping[str, Any], full: Mapping[str, Any]) -> list[str]:
    # A field that older results do not have did not exist then, and its default changes nothing.
    fields = [
        f"{key} {ours.get(key)} ({value})"
        for key, value in full.items()
        if ours.get(key, value) != value and _matters(key, ours)
    ]
    return [f"{stage}: {', '.join(fields)}"] if fields else []


def _defaults(model: type[StageParams]) -> dict[str, Any]:
    return model.model_validate({}).model_dump(mode="json")


def _network(model: type[PretrainParams] | type[EvaluateParams], arch: str) -> dict[str, Any]:
    """Return the defaults of a stage on networks, with the architecture's own normalisation."""
    values = {**_defaults(model), "arch": arch}
    norm = norm_of(arch, values["norm"], values["width"]) if arch in ARCHITECTURES else values["norm"]
    return {**values, "norm": norm}


def _matters(key: str, ours: Mapping[str, Any]) -> bool:
    condition = CONDITIONS.get(key, ("", ""))
    if condition is None:
        return False
    return condition == ("", "") or ours.get(condition[0]) == condition[1]
