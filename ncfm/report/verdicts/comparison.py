"""Which of our numbers is held against a reported one, and where its protocol differs. Rules: docs/verdicts.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ncfm.core.layout import RELEASED
from ncfm.core.params import DistillParams, EvaluateParams, PretrainParams, SelectParams, StageParams
from ncfm.datasets.imagenet_classes import IMAGENET_CLASSES
from ncfm.method.coresets import RULES
from ncfm.models.registry import ARCHITECTURES, norm_of
from ncfm.report.collect import Row, StoredSet

# What the tables were made with, as far as is known, where it is not the defaults of ncfm/core/params.py.
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
    "dm": {
        "extractor": "random",
        "discrepancy": "mmd",
        "normalise_features": False,
        "loss_scale": 1.0,
        "calibration": 0.0,
        "factor": 1,
        "initialisation": "random",
        "batch_real": 256,
        "optimizer": "sgd",
        "learning_rate": 0.04,
        "weight_decay": 0.0,
        "schedule": "constant",
        "augmentation": "color|crop|cutout|flip|scale|rotate",
    },
}
_SGD = {"batch": 256, "optimizer": "sgd", "weight_decay": 5e-4, "learning_rate": 0.01, "cutmix_probability": 0.0}
_SGD |= {"milestones": (0.5,), "decay": 0.1}
# How networks were trained behind the reported rows: protocols of params/base.yaml, where they are not the defaults.
PROTOCOLS: dict[str, dict[str, Any]] = {
    RELEASED: {},
    "dm": {**_SGD, "epochs": 1000, "augmentation": "color|crop|cutout|flip|scale|rotate"},
    "dc": {**_SGD, "epochs": 300, "augmentation": ""},
}
# Where the released configurations depart from both, by data set and IPC (facts/protocol.md sections 1 to 3).
EXCEPTIONS: dict[tuple[str, int], dict[str, dict[str, Any]]] = {
    ("cifar100", 10): {"distill": {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.5}},
    ("tinyimagenet", 10): {"evaluate": {"epochs": 300, "looks": 6}},
    ("tinyimagenet", 50): {"evaluate": {"epochs": 40, "looks": 8}},
}
SUBSETS = {"pretrain": {"epochs": 80}, "evaluate": {"networks": 3}}  # of ImageNet, at every IPC
# NCFM's program has a list of its own of two subsets (facts/protocol.md section 4): NCFM's rows are of those classes.
OWN_LISTS = {name: name.removesuffix("-released") for name in IMAGENET_CLASSES if name.endswith("-released")}
PSI_PAIR = "psi vs no psi"  # how the note of a reported gain begins that is Table 5 with psi minus without
CURATED = ("NCFM Table 1", "NCFM Table 2", "NCFM Table 4", "NCFM Fig 3 (digitised)")
WHOLE = "Whole Dataset"
SHAPE = ("arch", "width", "norm")  # params of extractors that matter where they are not trained
# Fields that change nothing unless another field has a certain value; None: they never do.
CONDITIONS: dict[str, tuple[str, object] | None] = {
    "checkpoint_every": None,
    "images_at_once": None,
    "recompute": None,
    "compile": None,
    "load": ("initialisation", "load"),
    "shrink": ("initialisation", "mix"),
    "momentum": ("optimizer", "sgd"),
    "alpha": ("discrepancy", "ncfd"),
    "frequencies": ("discrepancy", "ncfd"),
    "num_frequencies": ("discrepancy", "ncfd"),
    "sampler_learning_rate": ("frequencies", "mixture"),
    "plateau_patience": ("schedule", "plateau"),
    "plateau_factor": ("schedule", "plateau"),
}


@dataclass(frozen=True)
class Comparison:
    """How a reported number is held against one of our methods.

    Attributes:
        accuracy: which of ours is compared, ``best`` or ``last``.
        recipe: params behind the reported set besides the defaults of its stage; None where nothing is known.
        obstacle: why no verdict is possible whatever the params; empty where one is.
        remark: what a reader must know of a verdict that is possible.
        protocol: how networks were trained behind the reported number: a name in :data:`PROTOCOLS`.
    """

    accuracy: str
    recipe: Mapping[str, Any] | None = None
    obstacle: str = ""
    remark: str = ""
    protocol: str = RELEASED


def is_ours(method: str) -> bool:
    """Say whether this project can run a method of the reported rows: NCFM, DM, coresets, the whole training set."""
    return method in ("NCFM", "DM", WHOLE) or method.lower() in RULES


def reported_name(dataset: str | None) -> str | None:
    """Return the name that the reported rows have for a data set: one name for both lists of a subset."""
    return OWN_LISTS.get(dataset or "", dataset)


def compare(reported: Mapping[str, str], stored: StoredSet) -> Comparison | None:
    """Say how a reported row is held against a set's method, or None where it is another method."""
    comparison, classes = _compare(reported, stored), _other_classes(reported, stored)
    if comparison is None or not classes:
        return comparison
    return replace(comparison, obstacle="; ".join(filter(None, [classes, comparison.obstacle])))


def _other_classes(reported: Mapping[str, str], stored: StoredSet) -> str:
    """Say whose list of a subset's classes the set has, where the reported row has the other one."""
    name, ours = reported["dataset"], stored.cell.dataset
    if name not in OWN_LISTS.values() or (reported["method"] == "NCFM") == (ours in OWN_LISTS):
        return ""
    whose = "prior work has MTT's" if ours in OWN_LISTS else f"NCFM's program has {name}-released, another"
    return f"one class differs: {whose} list of this subset"


def _compare(reported: Mapping[str, str], stored: StoredSet) -> Comparison | None:
    method, params = reported["method"], stored.params
    if stored.cell.stage == "curate":
        return _compare_curated(reported, stored)
    if stored.cell.stage == "select":
        return _compare_coreset(reported, params)
    if params["discrepancy"] == "ncfd" and method == "NCFM":
        return _compare_ncfm(reported["source"], reported["variant"], params)
    if params["discrepancy"] == "mmd" and method == "DM":
        return _compare_dm(reported["source"], params)
    return None


def full_protocol(reported: Mapping[str, str]) -> tuple[PretrainParams, DistillParams | None, EvaluateParams]:
    """Return extractors, distillation (None for a coreset) and evaluation behind a row of ours, as far as is known."""
    method, variant, arch = reported["method"], reported["variant"], reported["arch"].lower()
    protocol = {"NCFM": RELEASED, "DM": "dm"}.get(method, "dc")
    special = _exceptions(reported["dataset"], int(reported["ipc"])) if protocol == RELEASED else {}
    pool = {"arch": _extractor(reported["note"]) or arch, **special.get("pretrain", {})}
    evaluate = {**PROTOCOLS[protocol], "arch": arch, **special.get("evaluate", {})}
    distill = None
    if protocol != "dc":
        bare = variant == "w/o psi" or variant.startswith("alpha=")
        values = {
            **RECIPES["dm" if protocol == "dm" else "w/o psi" if bare else "with psi"],
            **special.get("distill", {}),
        }
        for key, field in (("alpha", "alpha"), ("num_freqs", "num_frequencies")):
            if variant.startswith(f"{key}="):
                values[field] = variant.removeprefix(f"{key}=")
        distill = DistillParams.model_validate(values)
    return PretrainParams.model_validate(pool), distill, EvaluateParams.model_validate(evaluate)


def _compare_ncfm(source: str, variant: str, params: Mapping[str, Any]) -> Comparison | None:
    psi = _psi(params)
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


def _compare_curated(reported: Mapping[str, str], stored: StoredSet) -> Comparison | None:
    params = stored.source.params if stored.source else {}
    if params.get("discrepancy") != "ncfd" or _psi(params) != "with psi":
        return None
    if reported["method"] != "NCFM" or reported["source"] not in CURATED:
        return None
    hard = stored.params["labels"] == "hard"
    remark = "the paper does not say how it curated"
    if reported["source"] == "NCFM Table 4" and reported["arch"] != "ConvNet-3":
        remark += ", nor which normalisation that network has"
    return Comparison("best", RECIPES["with psi"], "curated without soft labels" if hard else "", remark)


def _compare_dm(source: str, params: Mapping[str, Any]) -> Comparison:
    if params.get("extractor", "pool") != "random" or params.get("normalise_features", True):
        return Comparison("last", obstacle="our MMD is not DM, which has random extractors")
    obstacle = {
        "NCFM Table 2": "not of DM's paper: its protocol is unknown",
        "NCFM Table 4": "DM's program tests these networks with batch-norm",
    }.get(source, "")
    remark = "by DM's protocol; what our DM does otherwise stands in docs/method.md"
    return Comparison("last", RECIPES["dm"], obstacle, remark, "dm")


def _compare_coreset(reported: Mapping[str, str], params: Mapping[str, Any]) -> Comparison | None:
    rule, method = params["rule"], reported["method"]
    if rule == "all" and method == WHOLE:
        return Comparison("last", obstacle="the paper does not say how it trained on the whole data set")
    if rule != method.lower() or params["factor"] != 1:
        return None
    # DC's paper has CIFAR alone; who trained the coresets of the other data sets, and how, is not known.
    obstacle = "" if reported["dataset"].startswith("cifar") else "not of DC's paper: its protocol is unknown"
    return Comparison("last", {"rule": rule}, obstacle, "by DC's protocol", "dc")


def _psi(params: Mapping[str, Any]) -> str:
    return "w/o psi" if params["frequencies"] == "gaussian" else "with psi"


def differences(row: Row, comparison: Comparison, note: str = "") -> list[str]:
    """List where a cell's params differ from the full protocol, as ``stage: field ours (full), ...``.

    A curated set's are those of the set that it was made from. Extractors are of the network that tests, unless the
    reported row's ``note`` names another. How often the test set is looked at changes nothing of the last epoch.
    """
    if comparison.recipe is None:
        return []
    made = row.sets[0].source or row.sets[0]
    select = made.cell.stage == "select"
    full = {**_defaults(SelectParams if select else DistillParams), **comparison.recipe}
    if select and made.params["rule"] != "forgetting":
        del full["epochs"]
    pool = _network(PretrainParams, _extractor(note) or row.arch)
    special = _exceptions(row.dataset, row.ipc) if comparison.protocol == RELEASED else {}  # NCFM's own
    full |= {} if select else special.get("distill", {})
    pool |= special.get("pretrain", {})
    if made.params.get("extractor") == "random" or made.params.get("rule") == "forgetting":
        pool = {name: pool[name] for name in SHAPE}
    elif select:
        del pool["pool"]  # one network of the pool is used
    evaluate = _network(EvaluateParams, row.arch, PROTOCOLS[comparison.protocol]) | special.get("evaluate", {})
    if comparison.accuracy == "last":
        del evaluate["looks"]
    return [
        *(_differing("extractors", made.pool, pool) if made.pool else []),
        *_differing("selection" if select else "distillation", made.params, full),
        *_differing("evaluation", row.evaluations[0].params, evaluate),
    ]


def timing_differences(row: Row, stored: StoredSet, recipe: Mapping[str, Any]) -> list[str]:
    """List the params that make an iteration of another size than the full protocol's, as :func:`differences` does."""
    full_pool = {key: value for key, value in _network(PretrainParams, row.arch).items() if key in ("width", "norm")}
    distillation = {**_defaults(DistillParams), **recipe, **_exceptions(row.dataset, row.ipc).get("distill", {})}
    for field in ("iterations", "learning_rate", "schedule", "load"):
        del distillation[field]
    return [
        *_differing("extractors", stored.pool or {}, {**full_pool, "arch": row.arch}),
        *_differing("distillation", stored.params, distillation),
    ]


def _exceptions(dataset: str, ipc: int) -> Mapping[str, dict[str, Any]]:
    return SUBSETS if dataset in IMAGENET_CLASSES else EXCEPTIONS.get((dataset, ipc), {})


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


def _network(
    model: type[PretrainParams] | type[EvaluateParams], arch: str, told: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the defaults of a stage on networks but for what is told, with the architecture's own normalisation."""
    values = {**model.model_validate(dict(told)).model_dump(mode="json"), "arch": arch}
    norm = norm_of(arch, values["norm"], values["width"]) if arch in ARCHITECTURES else values["norm"]
    return {**values, "norm": norm}


def _matters(key: str, ours: Mapping[str, Any]) -> bool:
    condition = CONDITIONS.get(key, ("", ""))
    if condition is None:
        return False
    return condition == ("", "") or ours.get(condition[0]) == condition[1]
