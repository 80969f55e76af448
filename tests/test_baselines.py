"""Baselines: DM (Distribution Matching) by its own formula, on every fast path."""

from __future__ import annotations

from pathlib import Path

import helpers
import pytest
import torch
import yaml

from ncfm.core.errors import ParamsError
from ncfm.core.params import DistillParams
from ncfm.core.seeding import generator
from ncfm.datasets.split import load_split
from ncfm.method import augmentation
from ncfm.method.distillation import Distillation
from ncfm.method.pool import Pool
from ncfm.run import compute

CPU = torch.device("cpu")
BASE = yaml.safe_load((Path(__file__).parent.parent / "params/base.yaml").read_text(encoding="utf-8"))
DM = {**BASE["methods"]["dm"]["distill"], "batch_real": 6}


@pytest.fixture(scope="module")
def pool(data, tmp_path_factory):
    return helpers.run_pretrain(data, tmp_path_factory.mktemp("pool") / "pool.safetensors", norm="none", width=16)


@pytest.fixture
def start(data, pool):
    """Return a function that starts DM on the made data set."""

    def build(seed=0, **changes):
        params = DistillParams(**{**DM, **changes})
        return Distillation(params, load_split(data, "train"), Pool(pool, CPU), 2, seed)

    return build


def test_dm_step_is_sgd_on_the_squared_distance_of_mean_features_of_a_fresh_network(start):
    """One iteration by hand, from its draws; the rate is the step of SGD, whose momentum starts at zero."""
    run = start()
    names, images = run.names, run.images.detach().clone().requires_grad_()
    network = run.pool.fresh(generator(*names, 0, "extractor"))
    draws = generator(*names, 0)
    run.pool.choose(draws)  # the draws before the batches'
    drawn = run.real.draw(run.split.resolution, draws)
    loss = torch.zeros(())
    for label, rows in enumerate(drawn.real_rows.view(3, 6)):
        own = drawn.siamese.for_images(torch.tensor([label]))
        sides = run.split.normalisation(run.split.pixels(rows)), run.split.normalisation(images[label])
        means = [network.features(augmentation.apply(side, own)).mean(0) for side in sides]
        loss = loss + (means[0] - means[1]).square().sum()
    (gradient,) = torch.autograd.grad(loss, images)
    assert all(one.norm() > 0 for one in gradient)
    row = helpers.row_of(run)
    assert row["loss"] == pytest.approx(loss.item() / 3, rel=1e-5)
    assert row["calibration"] == 0
    torch.testing.assert_close(run.images.detach(), images.detach() - DM["learning_rate"] * gradient)


def test_dm_draws_a_new_network_at_each_iteration(start):
    def weights(seed, iterations):
        run = start(seed)
        for _ in range(iterations):
            run.step()
        return run.pool.blended.head.weight.clone()

    first, second, other = weights(0, 1), weights(0, 2), weights(1, 1)
    assert torch.equal(first, weights(0, 1))
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_random_extractor_leaves_the_real_batches_as_they_were(start):
    """Methods of one seed see the same real batches."""

    def batches(**changes):
        run, seen = start(**changes), []
        draw = run.real.draw
        run.real.draw = lambda resolution, draws: seen.append(draw(resolution, draws)) or seen[-1]
        run.step()
        return seen[0].real_rows.tolist()

    assert batches() == batches(extractor="pool")


@pytest.mark.parametrize("changes", [{"images_at_once": 1}, {"images_at_once": 4, "recompute": True}], ids=str)
def test_dm_in_pieces_and_recomputed(changes, start):
    plain, fast = start(), start(**changes)
    for run in (plain, fast):
        run.step(), run.step()
    assert plain.images.grad.norm() > 0
    assert (plain.images.grad - fast.images.grad).norm() <= 1e-3 * plain.images.grad.norm()


def test_dm_in_bfloat16(start, monkeypatch):
    monkeypatch.setattr(compute, "has_bfloat16", lambda device: True)
    plain, rough = start(), start(precision="bfloat16")
    for run in (plain, rough):
        run.step()
    assert torch.cosine_similarity(plain.images.grad.flatten(), rough.images.grad.flatten(), dim=0) > 0.9
    assert plain.images.grad.norm() > 0
    assert not torch.equal(plain.images.grad, rough.images.grad)


def test_batch_norm_without_statistics_is_refused(data, tmp_path):
    pool = helpers.run_pretrain(data, tmp_path / "pool.safetensors", norm="batch")
    with pytest.raises(ParamsError, match=r"^extractor: is 'random', but the pool's batch-norm needs trained stat"):
        helpers.run_distill(data, pool, tmp_path / "set", extractor="random")
