"""Distillation: move synthetic images until their features cannot be told from the real ones' (the minmax game).

Every draw of iteration i comes from generators derived from (data set, IPC, seed, i), so a resumed run needs no random
state. The method's name is left out on purpose: methods with one seed start from the same images and see the same real
batches, so what differs between them is the method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ncfm.core.checkpoint import optimiser_tensors, restore_optimiser
from ncfm.core.errors import DivergenceError, ParamsError
from ncfm.core.params import DistillParams
from ncfm.core.seeding import generator
from ncfm.datasets.split import Split
from ncfm.method import augmentation
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.method.frequencies import build_sampling_network, draw_frequencies
from ncfm.method.initial_images import initial_images
from ncfm.method.losses import Batch, Batches, Drawn, Losses, Stored
from ncfm.method.pool import Pool
from ncfm.method.training import build_optimiser
from ncfm.models.base import Network
from ncfm.run.compute import add_over_processes, shard

Matching = Callable[[Sequence[int], Stored], Tensor]  # the loss of a group of classes, from their stored images


class Distillation:
    """One distillation in progress, with ``iteration`` iterations done.

    ``images`` are the stored synthetic images (C, K, c, h, w), the leaf that the optimiser moves; ``psi`` is the
    sampling network, or None where the frequencies are Gaussian or the discrepancy has none.
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
        self.optimiser = build_optimiser([self.images], params, fused=None)
        self.plateau = ReduceLROnPlateau(self.optimiser, factor=params.plateau_factor, patience=params.plateau_patience)
        self.psi = None
        if self.discrepancy.uses_frequencies and params.frequencies != "gaussian":
            dimension = pool.blended.feature_dimension
            self.psi = build_sampling_network(dimension, generator(*self.names, "psi")).to(self.device)
        # `released`: the authors' program adds the ascent gradient to the descent gradient, whose sum is exactly zero,
        # so its psi never moves; here it is simply given no optimiser.
        self.psi_optimiser, self.ascending = None, []
        if self.psi is not None and params.frequencies == "mixture":
            self.ascending = list(self.psi.parameters())
            self.psi_optimiser = torch.optim.Adam(self.ascending, params.sampler_learning_rate, maximize=True)
        self.losses = Losses(params, split, pool)

    def step(self) -> dict[str, float]:
        """Run one iteration (docs/method.md, section 5) and return its row of history."""
        with torch.no_grad():
            self.images.clamp_(0, 1)
        group = self.optimiser.param_groups[0]
        if self.params.schedule == "cosine":  # the plateau rule sets its own rate
            share = self.iteration / self.params.iterations
            group["lr"] = self.params.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
        rate = group["lr"]
        draws = generator(*self.names, self.iteration)
        device_draws = generator(*self.names, self.iteration, "device", device=self.device)
        extractor, trained = self.pool.choose(draws)
        if self.params.extractor == "random":
            extractor = self.pool.randomise(generator(*self.names, self.iteration, "extractor"))
        classes = range(self.split.classes)
        calibrated_classes = classes if self.params.calibration else range(0)
        matching = calibration = 0.0
        if self.params.update == "joint":
            # Every process draws for all classes, so that the draws do not depend on the number of processes.
            batches = self.draw_batches(classes, draws)
            calibrating = self.draw_augmentations(calibrated_classes, draws)
            own = slice(self.rank, None, self.processes)
            batches = {label: batches[label] for label in classes[own]}
            calibrating = {label: calibrating[label] for label in calibrated_classes[own]}
            matching, calibration = self.match(batches, calibrating, extractor, trained, device_draws)
        else:
            for label in classes:
                matching += self.match(self.draw_batches([label], draws), {}, extractor, trained, device_draws)[0]
            for label in calibrated_classes:
                calibration += self.calibrate(self.draw_augmentations([label], draws), trained)
        self.iteration += 1
        count = self.split.classes
        row = {"loss": matching / count, "calibration": calibration / count, "learning_rate": rate}
        if self.params.schedule == "plateau":
            self.plateau.step(row["loss"] + self.params.calibration * row["calibration"])
        return row

    def draw_batches(self, labels: Sequence[int], draws: Generator) -> dict[int, Batch]:
        """Draw, for each class, one siamese augmentation and the real images."""
        return {
            label: Batch(self.draw_augmentations([label], draws)[label], self.real_rows(label, draws))
            for label in labels
        }

    def draw_augmentations(self, labels: Sequence[int], draws: Generator) -> dict[int, augmentation.Draw]:
        """Draw one siamese augmentation for each class."""
        return {label: augmentation.draw(self.params.augmentation, 1, self.split.resolution, draws) for label in labels}

    def real_rows(self, label: int, draws: Generator) -> Tensor:
        """Return the indices of a class's real images: random ones, or always the first (``real_batches``)."""
        rows = self.split.by_class[label]
        if self.params.real_batches == "first" or len(rows) <= self.params.batch_real:
            return rows[: self.params.batch_real]
        chosen = torch.randperm(len(rows), generator=draws)[: self.params.batch_real]
        return rows[chosen.to(rows.device)]

    def frequencies(self, extractor: Network, device_draws: Generator) -> Tensor | None:
        """Draw the frequencies (F, D) of one step, from psi where there is one; None for other discrepancies."""
        if not self.discrepancy.uses_frequencies:
            return None
        kind, number = self.params.frequencies, self.params.num_frequencies
        return draw_frequencies(kind, number, extractor.feature_dimension, device_draws, self.psi)

    def match(
        self, batches: Batches, calibrating: Drawn, extractor: Network, trained: Network, device_draws: Generator
    ) -> tuple[float, float]:
        """Let the images descend on matching and calibration, and psi ascend on matching alone: one step each.

        ``extractor`` gives the features of the classes in ``batches``, ``trained`` calibrates those in ``calibrating``,
        which are some of the same classes. The two gradients are read off one graph but never added: the images' goes
        to the images' optimiser, psi's to psi's (whose optimiser maximises). The groups' gradients with respect to the
        frequencies add up, and go on to psi at the end.

        Returns matching loss and calibration, each summed over the classes of all processes.
        """
        drawn_FD = self.frequencies(extractor, device_draws) if batches else None
        leaf_FD = None if drawn_FD is None else drawn_FD.detach().requires_grad_(bool(self.ascending))

        def matching(group: Sequence[int], stored: Stored) -> Tensor:
            return self.losses.matching({label: batches[label] for label in group}, stored, extractor, leaf_FD)

        losses, of_images = self.descent(list(batches), matching, calibrating, trained)
        of_psi: Sequence[Tensor] = [torch.zeros_like(parameter) for parameter in self.ascending]
        if self.ascending and drawn_FD is not None and leaf_FD is not None:
            of_psi = torch.autograd.grad(drawn_FD, self.ascending, leaf_FD.grad)
        self.move(losses, of_images, of_psi)
        return losses[0].item(), losses[1].item()

    def calibrate(self, calibrating: Drawn, trained: Network) -> float:
        """Let the images of some classes descend on the calibration by ``trained`` alone; return its sum over them."""
        nothing = torch.zeros((), device=self.device)
        losses, of_images = self.descent(list(calibrating), lambda group, stored: nothing, calibrating, trained)
        self.move(losses, of_images, ())
        return losses[1].item()

    def descent(
        self, labels: Sequence[int], matching: Matching, calibrating: Drawn, trained: Network
    ) -> tuple[Tensor, Tensor]:
        """Return matching loss, calibration and their weighted sum (3,), and the sum's gradient for the images.

        Classes are taken a group at a time, so that the memory of one group is all that is held.
        """
        losses, gradient = torch.zeros(3, device=self.device), torch.zeros_like(self.images)
        for group in self.losses.groups(labels, self.images.shape[1]):
            stored = {label: self.images.detach()[label].requires_grad_() for label in group}
            calibrated = {label: calibrating[label] for label in group if label in calibrating}
            parts = matching(group, stored), self.losses.calibration(calibrated, stored, trained)
            loss = parts[0] + self.params.calibration * parts[1]
            loss.backward()
            for label, images in stored.items():
                assert images.grad is not None
                gradient[label] = images.grad
            losses += torch.stack([*parts, loss]).detach()
        return losses, gradient

    def move(self, losses: Tensor, of_images: Tensor, of_psi: Sequence[Tensor]) -> None:
        """Add losses and gradients up over the processes, in place, and step the images, and psi where it has any.

        Raises :class:`DivergenceError` where a loss or a gradient is infinite or not a number; nothing has moved then.
        """
        add_over_processes(losses, of_images, *of_psi)
        where, kept = f"in iteration {self.iteration + 1}", "the last checkpoint is kept"
        if not losses.isfinite().all():
            advice = f"lower learning_rate ({self.params.learning_rate})"
            raise DivergenceError(f"distillation: the loss is {losses[-1].item()} {where}; {advice}; {kept}")
        if not all(gradient.isfinite().all() for gradient in (of_images, *of_psi)):
            loss = f"(loss {losses[-1].item()})"
            raise DivergenceError(f"distillation: a gradient is not finite {where} {loss}; {kept}")
        self.images.grad = of_images
        self.optimiser.step()
        if of_psi and self.psi_optimiser is not None:
            for parameter, gradient in zip(self.ascending, of_psi, strict=True):
                parameter.grad = gradient
            self.psi_optimiser.step()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that the next iteration depends on, as tensors and plain values."""
        tensors = {"images": self.images.detach(), **optimiser_tensors(self.optimiser, "optimiser")}
        if self.psi is not None:
            tensors |= {f"psi.layers.{name}": value for name, value in self.psi.state_dict().items()}
        if self.psi_optimiser is not None:
            tensors |= optimiser_tensors(self.psi_optimiser, "psi_optimiser")
        plateau = {name: getattr(self.plateau, name) for name in ("best", "num_bad_epochs", "last_epoch")}
        rate = self.optimiser.param_groups[0]["lr"]
        return tensors, {"iteration": self.iteration, "learning_rate": rate, "plateau": plateau}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Continue from what :meth:`state` returned."""
        with torch.no_grad():
            self.images.copy_(tensors["images"])
        restore_optimiser(self.optimiser, "optimiser", tensors)
        if self.psi is not None:
            self.psi.load_state_dict({name: tensors[f"psi.layers.{name}"] for name in self.psi.state_dict()})
        if self.psi_optimiser is not None:
            restore_optimiser(self.psi_optimiser, "psi_optimiser", tensors)
        self.plateau.load_state_dict(values["plateau"])
        self.optimiser.param_groups[0]["lr"] = values["learning_rate"]
        self.iteration = values["iteration"]
