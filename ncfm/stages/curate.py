"""Curation: fine-tune the images of a finished set and label its training images by the pool (method.md section 6).

The paper names both without saying how. Labels: `soft` is the sound way, `released` the authors' program's as a variant
of its own. Fine-tuning is ours: the stored images descend the cross-entropy of trained pool networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from ncfm.core import checkpoint
from ncfm.core.errors import DivergenceError
from ncfm.core.params import CurateParams, DistillParams
from ncfm.core.pictures import write_grid
from ncfm.core.progress import Progress
from ncfm.core.seeding import generator
from ncfm.datasets.split import load_split
from ncfm.method import augmentation
from ncfm.method.distilled import DistilledSet, check_fits, load, save_set
from ncfm.method.multiformation import decode
from ncfm.method.pool import Pool, check_pool
from ncfm.method.training import Forward
from ncfm.run.compute import accelerated, device, images_at_once, pieces
from ncfm.run.record import Record

TRAINED = 0.0  # the share of the initial weights in a trained network


def curate(
    params: CurateParams,
    data: Path,
    extractors: Path,
    source: Path,
    names: Mapping[str, Any],
    out: Path,
    record: Record,
) -> None:
    """Curate a set and write `distilled.safetensors`, with ``soft_labels`` where asked for, and `grid.png`.

    Fine-tuning has a checkpoint in ``out``; the same command continues from it after a kill.

    Args:
        params: which labels, how many steps of fine-tuning.
        data: folder of the prepared data set.
        extractors: the pool whose trained networks judge.
        source: the `distilled.safetensors` to start from.
        names: dataset, ipc, method, seed of the new set.
        out: folder for the outputs.
        record: takes the history of fine-tuning and how many images were relabelled.

    Raises:
        DataError: data set, extractors and set do not belong together.
        DivergenceError: a loss that is infinite or not a number.
    """
    where = device()
    split, pool, start = load_split(data, "train"), Pool(extractors, where), load(source, where)
    check_pool(pool, extractors, split, data)
    check_fits(start, source, split, data)
    images = fine_tuned(params, start, pool, (split.dataset, names["ipc"], "curate", names["seed"]), out, record)
    pixels = start.normalisation(decode(images, start.factor))
    logits = teachers_logits(params, pixels, pool)
    wrong = float((logits.softmax(2).mean(0).argmax(1) != start.labels).float().mean())
    labels = {
        "hard": lambda: None,
        "soft": lambda: soft_labels(logits, start.labels),
        "released": lambda: released_labels(logits[0], start.labels),
    }[params.labels]()
    stored, grid = out / "distilled.safetensors", out / "grid.png"
    write_grid(images, split.classes, grid)
    save_set(stored, images.unflatten(0, (split.classes, -1)).cpu(), split, start.factor, names, labels)
    loss = {"loss": record.rows[-1]["loss"]} if record.rows else {}
    record.finish([stored, grid], {**loss, "misclassified_share": wrong})
    (out / "checkpoint.safetensors").unlink(missing_ok=True)


def soft_labels(logits_TNC: Tensor, labels: Tensor) -> Tensor:
    """Return (N, C) class probabilities, averaged over T networks; where their top class is wrong, the hard label."""
    probabilities = logits_TNC.softmax(2).mean(0)
    hard = one_hot(labels, probabilities.shape[1]).to(probabilities)
    wrong = probabilities.argmax(1) != labels
    return torch.where(wrong[:, None], hard, probabilities)


def released_labels(logits_NC: Tensor, labels: Tensor) -> Tensor:
    """Return (N, C) class probabilities as the released program has them (facts/protocol.md section 5).

    It replaces the logits of misclassified images by a 0/1 vector and takes the softmax of all: of ten classes, the
    true one of a misclassified image is left with a share of e / (e + 9) = 0.232.
    """
    hard = one_hot(labels, logits_NC.shape[1]).to(logits_NC)
    wrong = logits_NC.argmax(1) != labels
    return torch.where(wrong[:, None], hard, logits_NC).softmax(1)


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
    return images_at_once(DistillParams.model_validate({}), pool.facts["width"], images.shape[-1], images.device)


def fine_tuned(
    params: CurateParams, start: DistilledSet, pool: Pool, names: Sequence[object], out: Path, record: Record
) -> Tensor:
    """Return the stored images (N, c, h, w) after ``params.finetune`` steps of descent; zero steps leave them alone.

    One step: a trained network of the pool is drawn; the mean cross-entropy of all decoded images, each with its own
    augmentation, is what Adam lowers; pixels stay in [0, 1].
    """
    if not params.finetune:
        return start.stored
    images = nn.Parameter(start.stored.clone())
    at_once = max(1, _at_once(pool, images) // start.factor**2)
    optimiser = torch.optim.Adam([images], params.learning_rate)
    resume, key, done = out / "checkpoint.safetensors", record.content["key"], 0
    if saved := checkpoint.load(resume, key, images.device):
        tensors, values = saved
        with torch.no_grad():
            images.copy_(tensors["images"])
        checkpoint.restore_optimiser(optimiser, "optimiser", tensors)
        done = values["iteration"]
        for step, row in values["history"]:
            record.log(step, row)
    forward = accelerated(pool.blended, params, images.device)
    with Progress(params.finetune, "curate", start=done) as progress:
        for iteration in range(done + 1, params.finetune + 1):
            draws = generator(*names, iteration)
            pool.blend(int(torch.randint(pool.members, (), generator=draws)), TRAINED)
            loss = _backward(params, images, start, forward, at_once, draws)
            optimiser.step()
            with torch.no_grad():
                images.clamp_(0, 1)
            record.log(iteration, {"loss": loss})
            progress.step(loss=loss)
            if iteration % params.checkpoint_every == 0 and iteration < params.finetune:
                tensors = {"images": images.detach(), **checkpoint.optimiser_tensors(optimiser, "optimiser")}
                history = [(int(row["step"]), {"loss": row["loss"]}) for row in record.rows]
                checkpoint.save(resume, key, tensors, {"iteration": iteration, "history": history})
    return images.detach()


def _backward(
    params: CurateParams,
    images: nn.Parameter,
    start: DistilledSet,
    forward: Forward,
    at_once: int,
    draws: torch.Generator,
) -> float:
    """Set the images' gradient of the mean cross-entropy, some images at a time; return that mean."""
    images.grad = None
    drawn = augmentation.draw(params.augmentation, len(start), images.shape[-1], draws)
    total, tiles = 0.0, start.factor**2
    for piece in pieces(len(images), at_once):
        decoded = start.normalisation(decode(images[piece], start.factor))
        rows = torch.arange(len(images))[piece]
        rows = torch.cat([rows + tile * len(images) for tile in range(tiles)])  # decoding goes tile by tile
        logits = forward(augmentation.apply(decoded, drawn.for_images(rows)))
        loss = cross_entropy(logits, start.labels[rows.to(images.device)], reduction="sum") / len(start)
        if not loss.isfinite():
            raise DivergenceError(f"curation: the loss is {loss.item()}; lower learning_rate ({params.learning_rate})")
        loss.backward()
        total += float(loss.detach())
    return total
