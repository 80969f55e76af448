"""What a stage costs before it runs: its arithmetic in closed form, and the seconds that a device needs for it.

Pure functions of params and facts; nothing here imports torch. seconds = FLOP / rate of the heaviest layer
+ activations / rate of all that is no convolution (normalisation, pooling, augmentation) + steps x overhead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from ncfm.core.params import ComputeParams, CurateParams, DistillParams, EvaluateProtocol, NetworkParams, PretrainParams
from ncfm.datasets.catalogue import DatasetFacts
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.models.registry import ARCHITECTURES, NetworkWork, Shape

STEP_SECONDS = 0.005  # overhead of one optimiser step: Python and kernel launches (assumed)


@dataclass(frozen=True)
class Work:
    """An amount of work: floating point operations (two to a multiply-add), activations passed, optimiser steps."""

    flop: float = 0.0
    activations: float = 0.0
    steps: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.flop + other.flop, self.activations + other.activations, self.steps + other.steps)

    def __mul__(self, times: float) -> Work:
        return Work(self.flop * times, self.activations * times, self.steps * times)


def network_work(arch: str, facts: DatasetFacts, width: int, norm: str) -> NetworkWork | None:
    """Return the work of one image in a network, or None for an architecture that says nothing of it."""
    work = ARCHITECTURES[arch].work if arch in ARCHITECTURES else None
    return work(Shape(facts.channels, facts.resolution, facts.classes, width, norm)) if work else None


def distillation(params: DistillParams, facts: DatasetFacts, network: NetworkWork, ipc: int) -> Work:
    """Return the work of a whole distillation (docs/method.md, section 5).

    Real images pass forward only; synthetic ones forward and back to the pixels, for matching and for calibration.
    The discrepancy's own share stands in its file.
    """
    classes = facts.classes
    real_images = min(params.batch_real, ceil(facts.images("train") / classes))
    synthetic_images = ipc * params.factor**2
    real = classes * real_images
    synthetic = classes * synthetic_images * (3 if params.recompute else 2)  # image passes, here and to calibrate
    passes = real + synthetic * (2 if params.calibration else 1)
    head = 2 * classes * synthetic_images * network.head if params.calibration else 0
    discrepancy = DISCREPANCIES[params.discrepancy]
    flop = discrepancy.flop(params, classes, real_images, synthetic_images, network.features)
    steps = 2 * classes  # each class is drawn, augmented and compared on its own, in joint steps too
    return Work(flop + passes * network.body + head, passes * network.activations, steps) * params.iterations


def training(params: NetworkParams, network: NetworkWork, images: int) -> Work:
    """Return the work of training one network: forward, and back to all weights and all inputs but the images."""
    flop = images * (3 * (network.body + network.head) - network.first)
    return Work(flop, 2 * images * network.activations, ceil(images / params.batch)) * params.epochs


def testing(network: NetworkWork, images: int) -> Work:
    """Return the work of one pass over ``images`` test images."""
    return Work(images * (network.body + network.head), images * network.activations)


def pretraining(params: PretrainParams, facts: DatasetFacts, network: NetworkWork) -> Work:
    """Return the work of the whole extractor pool."""
    return (training(params, network, facts.images("train")) + testing(network, facts.images("test"))) * params.pool


def evaluation(params: EvaluateProtocol, facts: DatasetFacts, network: NetworkWork, images: int) -> Work:
    """Return the work of one evaluation: ``params.networks`` networks trained on ``images`` decoded images."""
    one = training(params, network, images) + testing(network, facts.images("test")) * min(params.looks, params.epochs)
    return one * params.networks


def curation(params: CurateParams, network: NetworkWork, images: int, pool: int) -> Work:
    """Return the work of a curation: the teachers look once at all ``images`` decoded ones, fine-tuning at each step.

    ``pool`` is the number of networks there are; fine-tuning goes forward and back to the pixels.
    """
    teachers = 1 if params.labels == "released" else min(params.teachers or pool, pool)
    step = Work(2 * images * (network.body + network.head), 2 * images * network.activations, 1)
    return testing(network, images) * teachers + step * params.finetune


@dataclass(frozen=True)
class Device:
    """A device's rates, measured by this project or assumed, and their source.

    ``flop_rate``: FLOP per second in convolutions, by precision. ``activation_rate``: activations per second in all
    else, by (precision, compiled).
    """

    name: str
    flop_rate: Mapping[str, float]
    activation_rate: Mapping[tuple[str, bool], float]
    measured: bool
    source: str

    def seconds(self, work: Work, params: ComputeParams) -> float:
        """Return the seconds that the device needs for ``work``."""
        rest = work.activations / self.activation_rate[params.precision, params.compile]
        return work.flop / self.flop_rate[params.precision] + rest + work.steps * STEP_SECONDS


# Rates of the heaviest layer and the slowest of three benchmarks (a distillation, an extractor, an evaluation network)
# in all else; tests/test_plan.py holds them to the files.
CPU = Device(
    "2 CPU cores",
    {"float32": 2.256e11, "bfloat16": 4.764e11},
    {("float32", False): 5.6e8, ("float32", True): 8e8, ("bfloat16", False): 5.2e8, ("bfloat16", True): 9.6e8},
    True,
    "benchmarks/results/cpu-2 (two cores of an AMD EPYC with AVX-512 bfloat16, ConvNet-3 of width 128)",
)


def _assumed(name: str, bytes_per_second: float) -> Device:
    """Return a GPU of the H100's arithmetic, by its data sheet and two assumptions.

    Convolutions at 30% of the dense tensor-core peak (float32 as TF32); per activation 48 bytes moved in float32 and
    24 in bfloat16, halved by compilation, at half of the memory's bandwidth.
    """
    moved = {("float32", False): 48, ("float32", True): 24, ("bfloat16", False): 24, ("bfloat16", True): 12}
    rates = {how: bytes_per_second / 2 / size for how, size in moved.items()}
    source = "data sheet and assumed shares of it (ncfm/campaign/costs.py); never measured by this project"
    return Device(name, {"float32": 0.3 * 4.95e14, "bfloat16": 0.3 * 9.89e14}, rates, False, source)


H100, H200 = _assumed("H100", 3.35e12), _assumed("H200", 4.8e12)
DEVICES = (CPU, H100, H200)
