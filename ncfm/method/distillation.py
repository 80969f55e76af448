"""Distillation: move synthetic images until their features cannot be told from the real ones' (the minmax game).

Shapes: C classes, K stored images per class, B real images.

Every draw of iteration i comes from generators derived from (data set, IPC, seed, i), so a resumed run needs no random
state and equals an uninterrupted one. The method's name is left out on purpose: methods with one seed start from the
same images and see the same real batches, so what differs between them is the method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ncfm.core import checkpoint
from ncfm.core.errors import DivergenceError, ParamsError
from ncfm.core.params import DistillParams
from ncfm.core.seeding import generator
from ncfm.datasets.split import Split
from ncfm.method import augmentation
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.method.frequencies import build_sampling_network, draw_frequencies
from ncfm.method.initial_images import initial_images
from ncfm.method.losses import Batch, Losses
from ncfm.method.pool import Pool
from ncfm.models.base import Network
from ncfm.run.compute import add_over_processes, shard


class Distillation:
    """One distillation in progress.

    Attributes:
        images: the stored synthetic images (C, K, c, h, w), the leaf that the optimiser moves.
        psi: the sampling network, or None where the frequencies are Gaussian or the discrepancy has none.
        iteration: number of finished iterations.
    """

    def __init__(self, params: DistillParams, split: Split, pool: Pool, ipc: int, seed: int) -> None:
        self.params, self.split, self.pool = params, split, pool
        self.discrepancy = DISCREPANCIES.find(params.discrepancy, "discrepancy")
        self.names = (split.dataset, ipc, "distill", seed)
        self.device = split.images.device
        self.iteration = 0
        self.rank, self.processes = shard()
        if self.processes > 1 and params.update != "joint":
            raise ParamsError(f"update: is {params.update!r}, but several processes need joint steps (allowed: joint)")
        start = initial_images(params, split, ipc, generator(*self.names, "initialisation"))
        self.images = nn.Parameter(start.to(self.device))
        self.optimiser: torch.optim.Optimizer
        if params.optimizer == "adamw":
            self.optimiser = torch.optim.AdamW([self.images], params.learning_rate, weight_decay=params.weight_decay)
        else:
            self.optimiser = torch.optim.SGD(
                [self.images], params.learning_rate, momentum=params.momentum, weight_decay=params.weight_decay
            )
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, factor=params.plateau_factor, patience=params.plateau_patience
        )
        self.psi = None
        if self.discrepancy.uses_frequencies and params.frequencies != "gaussian":
            dimension = pool.blended.feature_dimension
            self.psi = build_sampling_network(dimension, generator(*self.names, "psi")).to(self.device)
        # `released`: the authors' program adds the ascent gradient to the descent gradient, whose sum is exactly zero,
        # so its psi never moves; here it is simply given no optimiser.
        self.psi_optimiser = None
        if self.psi is not None and params.frequencies == "mixture":
            self.psi_optimiser = torch.optim.Adam(self.psi.parameters(), params.sampler_learning_rate, maximize=True)
        self.losses = Losses(params, split, pool)

    def step(self) -> dict[str, float]:
        """Run one iteration (method.md section 5) and return its row of history."""
        with torch.no_grad():
            self.images.clamp_(0, 1)
        if self.params.schedule == "cosine":
            share = self.iteration / self.params.iterations
            self.optimiser.param_groups[0]["lr"] = self.params.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
        rate = self.optimiser.param_groups[0]["lr"]
        draws = generator(*self.names, self.iteration)
        device_draws = generator(*self.names, self.iteration, "device", device=self.device)
        extractor, trained = self.pool.choose(draws)
        if self.params.extractor == "random":
            extractor = self.pool.randomise(generator(*self.names, self.iteration, "extractor"))
        everything = range(self.split.classes)
        if self.params.update == "joint":
            # Every process draws for all classes, so that the draws do not depend on the number of processes.
            plan = self.plan(everything, draws)
            augmentations = self.augmentations(everything if self.params.calibration else (), draws)
            mine = everything[self.rank :: self.processes]
            calibrating = {label: augmentations[label] for label in mine if label in augmentations}
            total, calibrated = self.update(
                {label: plan[label] for label in mine}, calibrating, extractor, trained, device_draws
            )
        else:
            total = calibrated = 0.0
            for label in everything:
                total += self.update(self.plan([label], draws), {}, extractor, trained, device_draws)[0]
            for label in everything if self.params.calibration else ():
                calibrating = self.augmentations([label], draws)
                calibrated += self.update(None, calibrating, extractor, trained, device_draws)[1]
        self.iteration += 1
        row = {
            "loss": total / self.split.classes,
            "calibration": calibrated / self.split.classes,
            "learning_rate": rate,
        }
        if self.params.schedule == "plateau":
            self.plateau.step(row["loss"] + self.params.calibration * row["calibration"])
        return row

    def plan(self, labels: Sequence[int], draws: torch.Generator) -> dict[int, Batch]:
        """Draw, for each class, one siamese augmentation and the real images."""
        plan = {}
        for label in labels:
            drawn = augmentation.draw(self.params.augmentation, 1, self.split.resolution, draws)
            plan[label] = Batch(drawn, self.real_batch(label, draws))
        return plan

    def augmentations(self, labels: Sequence[int], draws: torch.Generator) -> dict[int, augmentation.Draw]:
        """Draw one siamese augmentation for each class."""
        return {label: augmentation.draw(self.params.augmentation, 1, self.split.resolution, draws) for label in labels}

    def real_batch(self, label: int, draws: torch.Generator) -> Tensor:
        """Return the indices of a class's real images: random ones, or always the first (``real_batches``)."""
        rows = self.split.by_class[label]
        if self.params.real_batches == "first" or len(rows) <= self.params.batch_real:
            return rows[: self.params.batch_real]
        chosen = torch.randperm(len(rows), generator=draws)[: self.params.batch_real]
        return rows[chosen.to(rows.device)]

    def frequencies(self, extractor: Network, device_draws: torch.Generator) -> Tensor | None:
        """Draw the frequencies (F, D) of one step, from psi where there is one; None for other discrepancies."""
        if not self.discrepancy.uses_frequencies:
            return None
        kind, number = self.params.frequencies, self.params.num_frequencies
        return draw_frequencies(kind, number, extractor.feature_dimension, device_draws, self.psi)

    def update(
        self,
        plan: Mapping[int, Batch] | None,
        calibrating: Mapping[int, augmentation.Draw],
        extractor: Network,
        trained: Network,
        device_draws: torch.Generator,
    ) -> tuple[float, float]:
        """Let the images descend, and psi ascend on the matching loss alone: one step each; return the two losses.

        The two gradients are read off one graph but never added: the images' goes to the images' optimiser, psi's to
        psi's (whose optimiser maximises). Classes are taken a group at a time, so that the memory of one group is all
        that is held: gradients with respect to the frequencies add up, and go on to psi at the end. Losses and
        gradients are summed over the processes.

        Args:
            plan: what the classes to match see; None: none are matched.
            calibrating: the augmentations of the classes to calibrate; empty: none are.
            extractor: gives the features.
            trained: the network that calibrates.
            device_draws: of the frequencies.
        """
        ascending = [] if plan is None or self.psi_optimiser is None or self.psi is None else [*self.psi.parameters()]
        plan = plan or {}  # empty: of more processes than classes
        drawn_FD = self.frequencies(extractor, device_draws) if plan else None
        leaf_FD = None if drawn_FD is None else drawn_FD.detach().requires_grad_(bool(ascending))
        losses = torch.zeros(3, device=self.device)
        gradients = [torch.zeros_like(moving) for moving in (self.images, *ascending)]
        for group in self.losses.groups(list(plan or calibrating), self.images.shape[1]):
            stored = {label: self.images.detach()[label].requires_grad_() for label in group}
            here = {label: calibrating[label] for label in group if label in calibrating}
            matching = self.losses.matching({c: plan[c] for c in group if c in plan}, stored, extractor, leaf_FD)
            calibration = self.losses.calibration(here, stored, trained)
            loss = matching + self.params.calibration * calibration
            loss.backward()
            for label, images in stored.items():
                assert images.grad is not None
                gradients[0][label] = images.grad
            losses += torch.stack([matching, calibration, loss]).detach()
        if ascending and drawn_FD is not None and leaf_FD is not None:
            gradients[1:] = torch.autograd.grad(drawn_FD, ascending, leaf_FD.grad)
        add_over_processes(losses, *gradients)
        if not losses.isfinite().all():
            raise DivergenceError(
                f"distillation: the loss is {losses[-1].item()} in iteration {self.iteration + 1}; lower learning_rate "
                f"({self.params.learning_rate}); the last checkpoint is kept"
            )
        if not all(gradient.isfinite().all() for gradient in gradients):
            raise DivergenceError(
                f"distillation: a gradient is not finite in iteration {self.iteration + 1} (loss {losses[-1].item()}); "
                "the last checkpoint is kept"
            )
        self.images.grad = gradients[0]
        self.optimiser.step()
        for parameter, gradient in zip(ascending, gradients[1:], strict=True):
            parameter.grad = gradient
        if ascending and self.psi_optimiser:
            self.psi_optimiser.step()
        return losses[0].item(), losses[1].item()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that the next iteration depends on, as tensors and plain values."""
        tensors = {"images": self.images.detach()}
        tensors |= checkpoint.optimiser_tensors(self.optimiser, "optimiser")
        if self.psi is not None:
            tensors |= {f"psi.{name}": value for name, value in self.psi.state_dict().items()}
        if self.psi_optimiser is not None:
            tensors |= checkpoint.optimiser_tensors(self.psi_optimiser, "psi_optimiser")
        plateau = {name: getattr(self.plateau, name) for name in ("best", "num_bad_epochs", "last_epoch")}
        plateau["best"] = plateau["best"] if math.isfinite(plateau["best"]) else None
        rate = self.optimiser.param_groups[0]["lr"]
        return tensors, {"iteration": self.iteration, "learning_rate": rate, "plateau": plateau}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> list[tuple[int, dict[str, float]]]:
        """Continue from what :meth:`state` returned; gives back the history that was saved with it."""
        with torch.no_grad():
            self.images.copy_(tensors["images"])
        checkpoint.restore_optimiser(self.optimiser, "optimiser", tensors)
        if self.psi is not None:
            self.psi.load_state_dict({n.removeprefix("psi."): v for n, v in tensors.items() if n.startswith("psi.")})
        if self.psi_optimiser is not None:
            checkpoint.restore_optimiser(self.psi_optimiser, "psi_optimiser", tensors)
        plateau = values["plateau"]
        self.plateau.best = math.inf if plateau["best"] is None else plateau["best"]
        self.plateau.num_bad_epochs, self.plateau.last_epoch = plateau["num_bad_epochs"], plateau["last_epoch"]
        self.optimiser.param_groups[0]["lr"] = values["learning_rate"]
        self.iteration = values["iteration"]
        return [(step, row) for step, row in values["history"]]
