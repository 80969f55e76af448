"""What a cell costs before it runs: its arithmetic in closed form, and the bytes that it writes and holds, about.

The table of stages names one function per stage: of a cell's params and of what it reads. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from ncfm.core import params as models
from ncfm.datasets.catalogue import DatasetFacts
from ncfm.method.coresets import RULES
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.models.registry import ARCHITECTURES, NetworkWork, Shape

LABEL_BYTES, FLOAT_BYTES = 8, 4
# Memory, as measured on a CPU (docs/cluster.md): of a weight with its gradient and two moments, of a weight of psi,
# and of an activation, which a test drops after its layer, and training keeps with all that is made of it.
WEIGHT_BYTES, PSI_BYTES, TESTED_BYTES, TRAINED_BYTES = 4 * FLOAT_BYTES, 48, 10, 28
ROW_BYTES = 120  # of a history or of one look at the test set
DEFAULTS = models.PretrainParams.model_validate({})


class NoFormulaError(Exception):
    """A network says nothing of its work."""


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


def network_work(arch: str, facts: DatasetFacts, width: int, norm: str) -> NetworkWork:
    """Return the work of one image in a network. Raises :class:`NoFormulaError` where its architecture says nothing."""
    work = ARCHITECTURES[arch].work if arch in ARCHITECTURES else None
    if work is None:
        raise NoFormulaError(arch)
    return work(Shape(facts.channels, facts.resolution, facts.classes, width, norm))


def training(params: models.NetworkParams, network: NetworkWork, images: int) -> Work:
    """Return the work of training one network: forward, and back to all weights and all inputs but the images."""
    flop = images * (3 * (network.body + network.head) - network.first)
    return Work(flop, 2 * images * network.activations, ceil(images / params.batch)) * params.epochs


def testing(network: NetworkWork, images: int) -> Work:
    """Return the work of one pass over ``images`` test images."""
    return Work(images * (network.body + network.head), images * network.activations)


@dataclass(frozen=True)
class Reads:
    """What a cell reads; the defaults stand for what it does not read."""

    facts: DatasetFacts
    ipc: int = 0  # of the set that it reads or makes
    factor: int = 1  # of the same set
    pool: models.PretrainParams = DEFAULTS  # of its extractors
    snapshots: int = 0  # of the same set

    @property
    def images(self) -> int:
        """Decoded images of the set."""
        return self.facts.classes * self.ipc * self.factor**2

    @property
    def set_pixels(self) -> int:
        """The numbers that the set stores."""
        return self.facts.classes * self.ipc * self.facts.channels * self.facts.resolution**2

    @property
    def decoded_bytes(self) -> int:
        """The memory of the set's decoded images."""
        return FLOAT_BYTES * self.images * self.facts.channels * self.facts.resolution**2

    @property
    def pool_bytes(self) -> int:
        """The bytes of its extractors, as a file and in memory: each network's start and end."""
        return 2 * self.pool.pool * self.extractor.parameters * FLOAT_BYTES

    @property
    def extractor(self) -> NetworkWork:
        """The work of one image in a network of the pool."""
        return network_work(self.pool.arch, self.facts, self.pool.width, self.pool.norm)


@dataclass(frozen=True)
class Cost:
    """The bytes that a cell writes, what it computes in the precision of ``params``, and the bytes that this holds.

    ``network`` are those of each network that is trained side by side, ``shared`` those that all networks of a process
    share, beyond the data set.
    """

    disk: float
    work: Work = Work()
    params: models.ComputeParams = DEFAULTS
    network: float = 0.0
    shared: float = 0.0

    @property
    def memory(self) -> float:
        """The bytes that a process with one network holds beyond the data set."""
        return self.network + self.shared


def dataset_bytes(facts: DatasetFacts) -> int:
    """Return the bytes of a data set, as files and in memory: those of its pixels and labels."""
    image_bytes = facts.channels * facts.resolution**2 + LABEL_BYTES
    return (facts.images("train") + facts.images("test")) * image_bytes


def network_bytes(network: NetworkWork, trained: int, tested: int = 0) -> float:
    """Return the memory of a network that learns from so many images at once, and is tested on so many."""
    images = max(TRAINED_BYTES * trained, TESTED_BYTES * tested)
    return images * network.activations + WEIGHT_BYTES * network.parameters


def prepare(params: models.PrepareParams, reads: Reads) -> Cost:
    """Return the cost of a data set: its files only, since downloads and copies take minutes at most."""
    return Cost(dataset_bytes(reads.facts))


def pretrain(params: models.PretrainParams, reads: Reads) -> Cost:
    """Return the cost of an extractor pool, each network of which is tested once."""
    network, facts = reads.extractor, reads.facts
    one = training(params, network, facts.images("train")) + testing(network, facts.images("test"))
    memory = network_bytes(network, min(params.batch, facts.images("train")), models.TEST_BATCH)
    return Cost(reads.pool_bytes, one * params.pool, params, memory, reads.pool_bytes)


def distill(params: models.DistillParams, reads: Reads) -> Cost:
    """Return the cost of a distillation (docs/method.md, section 5).

    Real images pass forward only; synthetic ones forward and back to the pixels, for matching and for calibration.
    The discrepancy's own share stands in its file.
    """
    classes, network = reads.facts.classes, reads.extractor
    real_images = min(params.batch_real, ceil(reads.facts.images("train") / classes))
    synthetic_images = reads.ipc * params.factor**2
    real = classes * real_images
    synthetic = classes * synthetic_images * (3 if params.recompute else 2)  # image passes, here and to calibrate
    passes = real + synthetic * (2 if params.calibration else 1)
    head = 2 * classes * synthetic_images * network.head if params.calibration else 0
    discrepancy = DISCREPANCIES[params.discrepancy]
    flop = discrepancy.flop(params, classes, real_images, synthetic_images, network.features)
    steps = 2 * (classes if params.update == "per-class" else 1)  # one on matching and one on calibration, or on both
    work = Work(flop + passes * network.body + head, passes * network.activations, steps) * params.iterations
    pixel_bytes = 1 if params.kept == "uint8" else FLOAT_BYTES
    sets = reads.set_pixels * pixel_bytes * (1 + len(params.snapshots))
    # The synthetic images of one class are held at once, or fewer with `recompute`, to match and to calibrate.
    asked = min(params.images_at_once, classes * synthetic_images)
    passed = (asked or 1) if params.recompute else max(synthetic_images, asked)
    passed *= 2 if params.calibration and params.update == "joint" else 1
    looked_at = min(params.images_at_once, classes * real_images)  # that pass without a gradient
    memory = network_bytes(network, passed, looked_at) + WEIGHT_BYTES * reads.set_pixels
    if discrepancy.uses_frequencies:  # frequencies, the features at them, and psi: three layers of D x D weights
        compared = params.num_frequencies * (network.features + real_images + synthetic_images)
        memory += WEIGHT_BYTES * compared + PSI_BYTES * (params.frequencies != "gaussian") * 3 * network.features**2
    return Cost(sets + params.iterations * ROW_BYTES, work, params, memory, reads.pool_bytes)


def select(params: models.SelectParams, reads: Reads) -> Cost:
    """Return the cost of a coreset: of the features that its rule compares."""
    rule, images = RULES[params.rule], reads.facts.images("train")
    compares = rule.reads_extractors and not rule.reads_events
    disk = reads.set_pixels * (1 if rule.whole else FLOAT_BYTES)
    if not compares:
        return Cost(disk, shared=disk)
    features = FLOAT_BYTES * ceil(images / reads.facts.classes) * reads.extractor.features  # of a class
    memory, shared = network_bytes(reads.extractor, 0, models.TEST_BATCH), disk + features + reads.pool_bytes
    return Cost(disk, testing(reads.extractor, images), network=memory, shared=shared)


def curate(params: models.CurateParams, reads: Reads) -> Cost:
    """Return the cost of a curation: the teachers look at all images once, fine-tuning at each step, and back."""
    teachers = 1 if params.labels == "released" else min(params.teachers or reads.pool.pool, reads.pool.pool)
    look = testing(reads.extractor, reads.images)
    work = look * teachers + (look * 2 + Work(steps=1)) * params.finetune
    memory = network_bytes(reads.extractor, reads.factor**2)
    shared = reads.pool_bytes + WEIGHT_BYTES * reads.set_pixels + reads.decoded_bytes
    return Cost(reads.set_pixels * FLOAT_BYTES, work, params, memory, shared)


def evaluate(params: models.EvaluateParams, reads: Reads) -> Cost:
    """Return the cost of an evaluation; each look at the test set is a row of its result and of its record."""
    network = network_work(params.arch, reads.facts, params.width, params.norm)
    rows = 2 * params.networks * min(params.looks, params.epochs)
    memory = network_bytes(network, min(params.batch, reads.images), models.TEST_BATCH)
    return Cost(rows * ROW_BYTES, evaluation(params, network, reads), params, memory, reads.decoded_bytes)


def continual(params: models.ContinualParams, reads: Reads) -> Cost:
    """Return the cost of continual learning: at step k that of an evaluation on k shares of the classes."""
    cost = evaluate(params.model_copy(update={"compile": False}), reads)
    return replace(cost, work=cost.work * ((params.steps + 1) / 2))


def anytime(params: models.AnytimeParams, reads: Reads) -> Cost:
    """Return the cost of evaluating a set and each of its snapshots, with one look at the test set each."""
    cost = evaluate(params.model_copy(update={"looks": 1}), reads)
    return replace(cost, disk=cost.disk * (1 + reads.snapshots), work=cost.work * (1 + reads.snapshots), params=params)


def search(params: models.SearchParams, reads: Reads) -> Cost:
    """Return the cost of an architecture search, which tests each network once."""
    once = params.model_copy(update={"looks": 1, "compile": False})
    networks = [network_work(arch, reads.facts, width, norm) for arch, width, norm in params.candidates]
    work = sum((evaluation(once, network, reads) for network in networks), Work())
    batch = min(params.batch, reads.images)
    memory = max(network_bytes(network, batch, models.TEST_BATCH) for network in networks)
    rows = 2 * len(networks) * params.networks
    return Cost(rows * ROW_BYTES, work, once, memory, reads.decoded_bytes)


def evaluation(params: models.EvaluateProtocol, network: NetworkWork, reads: Reads) -> Work:
    """Return the work of training ``params.networks`` networks on a set, and of their looks at the test set."""
    looks = testing(network, reads.facts.images("test")) * min(params.looks, params.epochs)
    return (training(params, network, reads.images) + looks) * params.networks
