"""Distillation: move synthetic images until their features cannot be told from the real ones' (the minmax game).

Every draw of iteration i comes from generators derived from (data set, IPC, seed, i), so a resumed run needs no random
state. The method's name is left out on purpose: methods with one seed start from the same images and see the same real
batches, so what differs between them is the method.

Between two calls of :meth:`Distillation.read_back` nothing is read from the device, and what the host does grows with
the images that pass a network, not with the classes. Shapes: C classes, K stored images per class, G classes of a
group, M = factor^2 K decoded images and B real ones of a class, D features, F frequencies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils.checkpoint import checkpoint as checkpointed

from ncfm.core.checkpoint import optimiser_tensors, restore_optimiser
from ncfm.core.errors import DivergenceError, ParamsError
from ncfm.core.params import DistillParams
from ncfm.core.seeding import generator
from ncfm.datasets.split import Split
from ncfm.method import augmentation
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.method.draws import Draws, RealBatches
from ncfm.method.frequencies import build_sampling_network, draw_frequencies
from ncfm.method.initial_images import initial_images
from ncfm.method.multiformation import decode
from ncfm.method.pool import Pool
from ncfm.method.schedule import Schedule
from ncfm.method.training import build_optimiser, stop_where
from ncfm.run.compute import accelerated, add_over_processes, images_at_once, pieces, shard

READ_EVERY = 10  # iterations between two read-backs on a GPU, whose queue each of them empties
Features = Callable[[Tensor], Tensor]


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
        self.log_every = params.log_every or (1 if self.device.type == "cpu" else READ_EVERY)
        self.rank, self.processes = shard()
        if self.processes > 1 and params.update != "joint":
            raise ParamsError(f"update: is {params.update!r}, but several processes need joint steps (allowed: joint)")
        self.real = RealBatches(params, split)
        at_once = images_at_once(pool.facts["width"], split.resolution, self.device)
        self.at_once = params.images_at_once or at_once
        self.features = accelerated(pool.blended.features, params, self.device)
        self.logits = accelerated(pool.trained.forward, params, self.device)
        start = initial_images(params, split, ipc, generator(*self.names, "initialisation"))
        self.images = nn.Parameter(start.to(self.device))
        self.psi, self.psi_optimiser, self.ascending = None, None, []
        if self.discrepancy.uses_frequencies and params.frequencies != "gaussian":
            dimension = pool.blended.feature_dimension
            self.psi = build_sampling_network(dimension, generator(*self.names, "psi")).to(self.device)
        # `released`: the authors' program adds the ascent gradient to the descent gradient, whose sum is exactly zero,
        # so its psi never moves; here it is simply given no optimiser.
        if self.psi is not None and params.frequencies == "mixture":
            self.ascending = list(self.psi.parameters())
            self.psi_optimiser = torch.optim.Adam(
                self.ascending, params.sampler_learning_rate, maximize=True, fused=True
            )
        self.optimiser = build_optimiser([self.images], params)
        self.schedule = Schedule(params, self.device)
        self.failed = torch.zeros((), device=self.device)  # 1 from the first infinite loss or gradient on
        self.unread: list[Tensor] = []  # of each iteration since the last read-back: losses, rate, whether it failed
        self.snapshots: dict[int, Tensor] = {}  # the images as they were after some iterations
        self.link()

    def link(self) -> None:
        """Let the optimisers read the rate, and whether to move at all, from tensors on the device."""
        self.optimiser.param_groups[0]["lr"] = self.schedule.rate
        stop_where(self.failed, *filter(None, (self.optimiser, self.psi_optimiser)))

    def step(self) -> None:
        """Run one iteration (docs/method.md, section 5)."""
        with torch.no_grad():
            self.images.clamp_(0, 1)
        self.schedule.before(self.iteration)
        draws = generator(*self.names, self.iteration)
        device_draws = generator(*self.names, self.iteration, "device", device=self.device)
        self.pool.choose(draws)
        if self.params.extractor == "random":
            self.pool.randomise(generator(*self.names, self.iteration, "extractor"))
        drawn = self.real.draw(self.split.resolution, draws)  # for all classes, whatever this process computes
        classes, calibrates = range(self.split.classes), self.params.calibration > 0
        if self.params.update == "joint":
            own = slice(*(len(classes) * end // self.processes for end in (self.rank, self.rank + 1)))
            losses = self.match(classes[own], drawn, device_draws, calibrates)
        else:
            losses = torch.zeros(2, device=self.device)
            for label in classes:
                losses += self.match(classes[label : label + 1], drawn, device_draws, False)
            for label in classes if calibrates else ():
                losses += self.calibrate(classes[label : label + 1], drawn)
        self.iteration += 1
        self.unread.append(torch.stack([*losses / len(classes), self.schedule.rate, self.failed]))
        self.schedule.after((losses[0] + self.params.calibration * losses[1]) / len(classes))
        if self.iteration in self.params.snapshots:
            self.snapshots[self.iteration] = self.images.detach().clamp(0, 1)

    def match(self, classes: range, drawn: Draws, device_draws: Generator, calibrates: bool) -> Tensor:
        """Let the images of ``classes`` descend on matching and calibration, and psi ascend on matching: one step each.

        The two gradients are read off one graph but never added: the images' goes to the images' optimiser, psi's to
        psi's (whose optimiser maximises). The groups' gradients with respect to the frequencies add up, and go on to
        psi at the end. Returns matching loss and calibration (2,), each summed over the classes of all processes.
        """
        drawn_FD = self.frequencies(device_draws)
        leaf_FD = None if drawn_FD is None else drawn_FD.detach().requires_grad_(bool(self.ascending))

        def losses_of(stored: Tensor, group: range) -> tuple[Tensor, Tensor]:
            calibration = self.calibration(stored, group, drawn) if calibrates else torch.zeros((), device=self.device)
            return self.matching(stored, group, drawn, leaf_FD), calibration

        losses, of_images = self.descent(classes, losses_of)
        of_psi: Sequence[Tensor] = [torch.zeros_like(parameter) for parameter in self.ascending]
        if self.ascending and drawn_FD is not None and leaf_FD is not None and leaf_FD.grad is not None:
            of_psi = torch.autograd.grad(drawn_FD, self.ascending, leaf_FD.grad)
        self.move(losses, of_images, of_psi)
        return losses

    def calibrate(self, classes: range, drawn: Draws) -> Tensor:
        """Let the images of ``classes`` descend on the calibration alone; return 0 and its sum over them, (2,)."""
        none = torch.zeros((), device=self.device)
        losses, of_images = self.descent(classes, lambda stored, group: (none, self.calibration(stored, group, drawn)))
        self.move(losses, of_images, ())
        return losses

    def descent(
        self, classes: range, losses_of: Callable[[Tensor, range], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Return matching loss and calibration, (2,), and the gradient of their weighted sum for all images.

        Classes are taken a group at a time, as many as pass a network at once, or one: the memory of one group is all
        that is held. ``losses_of`` gets a group's stored images (G, K, c, h, w) and its classes.
        """
        losses, gradient = torch.zeros(2, device=self.device), torch.zeros_like(self.images)
        for group in self.cut(classes, self.images.shape[1] * self.params.factor**2):
            stored = self.images.detach()[group.start : group.stop].requires_grad_()
            matching, calibration = losses_of(stored, group)
            (matching + self.params.calibration * calibration).backward()
            assert stored.grad is not None
            gradient[group.start : group.stop] = stored.grad
            losses += torch.stack([matching, calibration]).detach()
        return losses, gradient

    def cut(self, classes: range, images: int) -> list[range]:
        """Cut classes that have so many images each into groups of ``images_at_once`` images or fewer, or one class."""
        return [classes[piece] for piece in pieces(len(classes), max(1, self.at_once // images))] if classes else []

    def frequencies(self, device_draws: Generator) -> Tensor | None:
        """Draw the frequencies (F, D) of one step, from psi where there is one; None for other discrepancies."""
        if not self.discrepancy.uses_frequencies:
            return None
        kind, number, scale = self.params.frequencies, self.params.num_frequencies, self.params.frequency_scale
        return draw_frequencies(kind, number, self.pool.blended.feature_dimension, device_draws, self.psi, scale)

    def matching(self, stored: Tensor, group: range, drawn: Draws, frequencies_FD: Tensor | None) -> Tensor:
        """Return the scaled discrepancy, summed over a group's classes; no gradient passes the real side."""
        synthetic_GMD = self.compared(self.pass_through(self.features, stored, group, drawn.siamese))
        losses = []
        for part in self.cut(group, self.real.most):
            real, weights = self.real_features(part, drawn)
            synthetic = synthetic_GMD[part.start - group.start : part.stop - group.start]
            losses.append(self.discrepancy.measure(real, synthetic, weights, frequencies_FD, self.params))
        return self.params.loss_scale * torch.cat(losses).sum()

    @torch.no_grad()
    def real_features(self, classes: range, drawn: Draws) -> tuple[Tensor, Tensor | None]:
        """Return the features to compare of the real images of ``classes`` (G, B, D), and their weights (G, B) or None.

        Images pass ``images_at_once`` at a time, whatever their class.
        """
        real, found = self.real, []
        first, last = real.start[classes.start], real.start[classes.stop]
        for piece in pieces(last - first, self.at_once):
            rows = slice(first + piece.start, first + piece.stop)
            images = self.split.normalisation(self.split.pixels(drawn.real_rows[rows]))
            found.append(self.features(augmentation.apply(images, drawn.siamese.for_images(real.of_class[rows]))))
        features_ND = self.compared(torch.cat(found))
        if real.weights is None:
            return features_ND.unflatten(0, (len(classes), -1)), None
        table = features_ND.new_zeros(len(classes) * real.most, features_ND.shape[1])
        table.index_copy_(0, real.place[first:last] - classes.start * real.most, features_ND)
        return table.unflatten(0, (len(classes), -1)), real.weights[classes.start : classes.stop]

    def compared(self, features: Tensor) -> Tensor:
        """Return features as the discrepancy takes them: of length 1 (docs/method.md, section 1) if so set."""
        return normalize(features, dim=-1) if self.params.normalise_features else features

    def calibration(self, stored: Tensor, group: range, drawn: Draws) -> Tensor:
        """Return the trained member's cross-entropy on the augmented synthetic images, summed over a group's classes.

        In the released program, not in the paper (docs/method.md, section 5).
        """
        logits = self.pass_through(self.logits, stored, group, drawn.siamese, first_row=self.split.classes)
        labels = torch.arange(group.start, group.stop, device=self.device).repeat_interleave(logits.shape[1])
        return cross_entropy(logits.flatten(0, 1), labels, reduction="sum") / logits.shape[1]

    def pass_through(
        self, function: Features, stored: Tensor, group: range, drawn: augmentation.Draw, first_row: int = 0
    ) -> Tensor:
        """Return ``function`` of a group's decoded, augmented images, (G, M, ...); class c has draw first_row + c."""
        tiles, (classes, ipc) = self.params.factor**2, stored.shape[:2]
        rows = torch.arange(first_row + group.start, first_row + group.stop, device=self.device)
        rows = rows.repeat_interleave(ipc).repeat(tiles)  # decoding gives all first tiles, then all second ones
        images = self.recomputed(self.augmented, stored.flatten(0, 1), drawn.for_images(rows))
        outputs = torch.cat([self.recomputed(function, images[piece]) for piece in pieces(len(images), self.at_once)])
        return outputs.unflatten(0, (tiles, classes, ipc)).transpose(0, 1).flatten(1, 2)

    def augmented(self, stored: Tensor, drawn: augmentation.Draw) -> Tensor:
        """Return stored images (N, c, h, w) decoded, normalised and augmented: (factor^2 N, c, h, w)."""
        return augmentation.apply(self.split.normalisation(decode(stored, self.params.factor)), drawn)

    def recomputed(self, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """Call ``function``; with ``recompute`` the backward pass calls it again, and its activations are not kept."""
        if not self.params.recompute:
            return function(*arguments)
        return checkpointed(function, *arguments, use_reentrant=False, preserve_rng_state=False)

    def move(self, losses: Tensor, of_images: Tensor, of_psi: Sequence[Tensor]) -> None:
        """Add losses and gradients up over the processes, in place, and step the images, and psi where it has any.

        From the first loss or gradient on that is infinite or not a number nothing moves any more.
        """
        add_over_processes(losses, of_images, *of_psi)
        sums = torch.stack([value.sum() for value in (losses, of_images, *of_psi)])  # finite where all that adds up is
        self.failed.copy_(torch.maximum(self.failed, 1 - sums.isfinite().all().float()))
        self.images.grad = of_images
        self.optimiser.step()
        if of_psi and self.psi_optimiser is not None:
            for parameter, gradient in zip(self.ascending, of_psi, strict=True):
                parameter.grad = gradient
            self.psi_optimiser.step()

    def read_back(self) -> list[tuple[int, dict[str, float]]]:
        """Return the history since the last call, each row an iteration and its values: the one read from the device.

        Raises :class:`DivergenceError` where a loss or a gradient was infinite or not a number; ``images`` and ``psi``
        are then as they were before the step that gave it.
        """
        found, self.unread = torch.stack(self.unread).tolist() if self.unread else [], []
        rows = []
        for iteration, (loss, calibration, rate, failed) in enumerate(found, self.iteration - len(found) + 1):
            if failed:
                total = loss + self.params.calibration * calibration
                what = "a gradient is not finite" if math.isfinite(total) else f"the loss is {total}"
                advice = f"lower learning_rate ({self.params.learning_rate}); the last checkpoint is kept"
                raise DivergenceError(f"distillation: {what} in iteration {iteration}; {advice}")
            rows.append((iteration, {"loss": loss, "calibration": calibration, "learning_rate": rate}))
        return rows

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that the next iteration depends on, as tensors and plain values."""
        tensors = {"images": self.images.detach(), "rate": self.schedule.rate, "plateau": self.schedule.plateau}
        tensors |= {f"snapshot.{iteration}": images for iteration, images in self.snapshots.items()}
        tensors |= optimiser_tensors(self.optimiser, "optimiser")
        if self.psi is not None:
            tensors |= {f"psi.layers.{name}": value for name, value in self.psi.state_dict().items()}
        if self.psi_optimiser is not None:
            tensors |= optimiser_tensors(self.psi_optimiser, "psi_optimiser")
        return tensors, {"iteration": self.iteration}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Continue from what :meth:`state` returned."""
        with torch.no_grad():
            self.images.copy_(tensors["images"])
            self.schedule.rate.copy_(tensors["rate"])
            self.schedule.plateau.copy_(tensors["plateau"])
        restore_optimiser(self.optimiser, "optimiser", tensors)
        if self.psi is not None:
            self.psi.load_state_dict({name: tensors[f"psi.layers.{name}"] for name in self.psi.state_dict()})
        if self.psi_optimiser is not None:
            restore_optimiser(self.psi_optimiser, "psi_optimiser", tensors)
        self.iteration = values["iteration"]
        kept = [iteration for iteration in self.params.snapshots if iteration <= self.iteration]
        self.snapshots = {iteration: tensors[f"snapshot.{iteration}"] for iteration in kept}
        self.link()
