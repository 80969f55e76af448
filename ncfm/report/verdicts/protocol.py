"""The full protocol behind a reported number: what its extractors, its set and its test networks were made with.

It is the defaults of ncfm/core/params.py but for what stands here, as far as the paper, its program and the papers of
prior work say (docs/verdicts.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from ncfm.core.layout import RELEASED
from ncfm.core.params import DistillParams, EvaluateParams, PretrainParams, SelectParams
from ncfm.datasets.imagenet_classes import IMAGENET_CLASSES
from ncfm.models.registry import ARCHITECTURES, norm_of
from ncfm.report.verdicts.reported import ReportedNumber

# What sets were distilled with: NCFM's with psi and without, and DM's.
RECIPES: dict[str, dict[str, Any]] = {
    "with": {},
    "without": {
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
_SGD |= {"milestones": (0.5,), "decay": 0.1, "looks": 1}
# How networks were trained behind the reported numbers: protocols of params/base.yaml, where they are not the defaults.
PROTOCOLS: dict[str, dict[str, Any]] = {
    RELEASED: {},
    "dm": {**_SGD, "epochs": 1000, "augmentation": "color|crop|cutout|flip|scale|rotate"},
    "dc": {**_SGD, "epochs": 300, "augmentation": ""},
    # The settings, chosen row by row, under which the authors evaluated their own sets again in May 2026.
    "authors-2026-cifar10-ipc1": {"learning_rate": 6e-4, "looks": 100},
    "authors-2026-cifar10-ipc10": {"epochs": 4000, "batch": 256, "looks": 200},
    "authors-2026-cifar100-ipc1": {"optimizer": "adam"},
    "authors-2026-cifar100-ipc50": {"epochs": 1000},
    "authors-2026-tinyimagenet-ipc1": {"learning_rate": 4e-4},
    "authors-2026-tinyimagenet-ipc10": {"learning_rate": 5e-4, "epochs": 300, "looks": 6},
    "authors-2026-tinyimagenet-ipc50": {"learning_rate": 5e-4, "epochs": 30, "looks": 8},
}
# Where NCFM's released configurations depart from both, by data set and IPC (github.com/gszfwsb/NCFM, config/).
EXCEPTIONS: dict[tuple[str, str], dict[str, dict[str, Any]]] = {
    ("cifar100", "10"): {"distill": {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.5}},
    ("tinyimagenet", "10"): {"evaluate": {"epochs": 300, "looks": 6}},
    ("tinyimagenet", "50"): {"evaluate": {"epochs": 40, "looks": 8}},
}
Networks = TypeVar("Networks", PretrainParams, EvaluateParams)
SUBSETS = {"pretrain": {"epochs": 80}, "evaluate": {"networks": 3}}  # of ImageNet, at every IPC


@dataclass(frozen=True)
class FullProtocol:
    """The params behind a reported number, by stage; ``making`` is of the distillation or of the selection."""

    extractors: PretrainParams
    making: DistillParams | SelectParams
    evaluation: EvaluateParams


def full_protocol(reported: ReportedNumber, psi: str | None = None) -> FullProtocol:
    """Return the params behind a reported number of NCFM, DM or a coreset rule, as far as is known.

    ``psi`` is for a number of NCFM that does not say: ``with``, the default, or ``without``.
    """
    protocol = reported.protocol or {"NCFM": RELEASED, "DM": "dm"}.get(reported.method, "dc")
    special: dict[str, dict[str, Any]] = {}
    if protocol == RELEASED:
        known = EXCEPTIONS.get((reported.dataset, reported.ipc), {})
        special = SUBSETS if reported.dataset in IMAGENET_CLASSES else known
    making: DistillParams | SelectParams
    if protocol == "dc":
        making = SelectParams.model_validate({"rule": reported.method.lower()})
    else:
        recipe = RECIPES["dm" if protocol == "dm" else reported.psi or psi or "with"]
        swept = {"alpha": reported.alpha, "num_frequencies": reported.num_frequencies}
        swept = {name: value for name, value in swept.items() if value is not None}
        making = DistillParams.model_validate({**recipe, **special.get("distill", {}), **swept})
    extractor = reported.extractor.lower() or reported.network
    pool = PretrainParams.model_validate({"arch": extractor, **special.get("pretrain", {})})
    evaluation = {**PROTOCOLS[protocol], "arch": reported.network, **special.get("evaluate", {})}
    return FullProtocol(with_norm(pool), making, with_norm(EvaluateParams.model_validate(evaluation)))


def with_norm(params: Networks) -> Networks:
    """Return params of networks with the architecture's own normalisation in place of ``default``."""
    if params.arch not in ARCHITECTURES:
        return params
    return params.model_copy(update={"norm": norm_of(params.arch, params.norm, params.width)})
