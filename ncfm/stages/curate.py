"""Curation: fine-tune the images of a finished set, and label what it trains by the pool (docs/method.md, section 6).

The paper names both without saying how. Labels: `soft` is the sound way, `released` is what the authors' program does,
a variant by itself. Fine-tuning is this project's: the stored images descend the cross-entropy of trained networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from ncfm.core.checkpoint import optimiser_tensors, restore_optimiser
from ncfm.core.errors import DivergenceError
from ncfm.core.params import CurateParams
from ncfm.core.seeding import generator
from ncfm.datasets.split import load_split
from ncfm.method import augmentation
from ncfm.method.distilled import DistilledSet, check_fits, load, write_set
from ncfm.method.multiformation import decode
from ncfm.method.pool import Pool, load_pool
from ncfm.run.compute import accelerated, chosen_device, images_at_once, pieces
from ncfm.run.record import Record
from ncfm.stages.repeats import iterate

TRAINED = 0.0  # the share of the initial weights in a trained network


def curate(params: CurateParams, data: Path, extractors: Path, source: Path, out: Path, record: Record) -> None:
    """Curate a set and write `distilled.safetensors`, with ``soft_labels`` where asked for, and `grid.png`.

    The networks of the pool, as they were after training, judge the images of ``source``. Raises DivergenceError for a
    loss that is infinite or not a number.
    """
    device, names = chosen_device(), record.content["names"]
    split, start = load_split(data, "train"), load(source, device)
    pool = load_pool(extractors, data, split, device)
    check_fits(start, source, split, data)
    run = _FineTuning(params, start, pool, (split.dataset, names["ipc"], "curate", names["seed"]))
    iterate(run, params.finetune, params.checkpoint_every, out, record, device)
    images = run.images.detach()
    logits = teachers_logits(params, start.normalisation(decode(images, start.factor)), pool)
    wrong = float((logits.softmax(2).mean(0).argmax(1) != start.labels).float().mean())
    soft, released = soft_labels(logits, start.labels), released_labels(logits[0], start.labels)
    labels = {"hard": None, "soft": soft, "released": released}[params.labels]
    files = write_set(out, images.unflatten(0, (split.classes, -1)), split, start.factor, names, labels)
    loss = {"loss": record.rows[-1]["loss"]} if record.rows else {}
    record.finish(files, {**loss, "misclassified_share": wrong})


def soft_labels(logits_TNC: Tensor, labels: Tensor) -> Tensor:
    """Return (N, C) class probabilities, averaged over T networks; where their top class is wrong, the hard label."""
    return _hard_where_wrong(logits_TNC.softmax(2).mean(0), labels)


def released_labels(logits_NC: Tensor, labels: Tensor) -> Tensor:
    """Return (N, C) class probabilities as the released program has them (docs/method.md, section 7).

    It replaces the logits of misclassified images by a 0/1 vector and takes the softmax of all: of ten classes, the
    true one of a misclassified image is left with a share of e / (e + 9) = 0.232.
    """
    return _hard_where_wrong(logits_NC, labels).softmax(1)


def _hard_where_wrong(scores_NC: Tensor, labels: Tensor) -> Tensor:
    """Return the scores; where their top class is wrong, the label as a 0/1 vector instead."""
    hard = one_hot(labels, scores_NC.shape[1]).to(scores_NC)
    return torch.where((scores_NC.argmax(1) != labels)[:, None], hard, scores_NC)


@torch.no_grad()
def teachers_logits(params: CurateParams, images: Tensor, pool: Pool) -> Tensor:
    """Return the logits (T, N, C) of trained pool networks on normalised images (N, c, h, w).

    The released program asks one network; `soft` asks the first ``params.teachers``, or all.
    """
    count = 1 if params.labels == "released" else params.teachers or pool.members
    at_once, network = _at_once(pool, images), accelerated(pool.blended, params, images.device)
    found = []
    for member in range(min(count, pool.members)):
        pool.blend(member, TRAINED)
        found.append(torch.cat([network(images[piece]) for piece in pieces(len(images), at_once)]))
    return torch.stack(found)


def _at_once(pool: Pool, images: Tensor) -> int:
    return images_at_once(pool.facts["width"], images.shape[-1], images.device)


class _FineTuning:
    """Fine-tuning in progress, of ``images`` (N, c, h, w), the stored images of the set ``start``.

    One step: a trained network of the pool is drawn; the mean cross-entropy of all decoded images, each with its own
    augmentation, is what Adam lowers; pixels stay in [0, 1]. Every random draw derives from ``names``.
    """

    def __init__(self, params: CurateParams, start: DistilledSet, pool: Pool, names: Sequence[object]) -> None:
        self.params, self.start, self.pool, self.names = params, start, pool, names
        self.iteration, self.log_every, self.loss = 0, 1, math.nan
        self.images = nn.Parameter(start.stored.clone())
        self.optimiser = torch.optim.Adam([self.images], params.learning_rate)
        self.at_once = max(1, _at_once(pool, self.images) // start.factor**2)
        self.forward = accelerated(pool.blended, params, self.images.device)

    def step(self) -> None:
        draws = generator(*self.names, self.iteration + 1)
        self.pool.blend(int(torch.randint(self.pool.members, (), generator=draws)), TRAINED)
        self.loss = self.backward(draws)
        self.optimiser.step()
        with torch.no_grad():
            self.images.clamp_(0, 1)
        self.iteration += 1

    def read_back(self) -> list[tuple[int, dict[str, float]]]:
        return [(self.iteration, {"loss": self.loss})]

    def backward(self, draws: torch.Generator) -> float:
        """Set the images' gradient of the mean cross-entropy, some images at a time; return that mean."""
        images, start = self.images, self.start
        images.grad = None
        drawn = augmentation.draw(self.params.augmentation, len(start), images.shape[-1], draws).to(images.device)
        total = 0.0
        for piece in pieces(len(images), self.at_once):
            decoded = start.normalisation(decode(images[piece], start.factor))
            stored = torch.arange(len(images), device=images.device)[piece]
            rows = torch.cat([stored + tile * len(images) for tile in range(start.factor**2)])  # tile by tile
            logits = self.forward(augmentation.apply(decoded, drawn.for_images(rows)))
            loss = cross_entropy(logits, start.labels[rows], reduction="sum") / len(start)
            if not loss.isfinite():
                rate = self.params.learning_rate
                raise DivergenceError(f"curation: the loss is {loss.item()}; lower learning_rate ({rate})")
            loss.backward()
            total += float(loss.detach())
        return total

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {"images": self.images.detach(), **optimiser_tensors(self.optimiser, "optimiser")}
        return tensors, {"iteration": self.iteration}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        with torch.no_grad():
            self.images.copy_(tensors["images"])
        restore_optimiser(self.optimiser, "optimiser", tensors)
        self.iteration = values["iteration"]
