"""Distillation: the contract of every method, the two sides of the minmax game, seeds, and continuing after a kill."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Literal, get_args, get_origin

import helpers
import pytest
import torch
import yaml

import ncfm
from ncfm.campaign import campaign
from ncfm.core.errors import DivergenceError, NcfmError
from ncfm.core.params import DistillParams
from ncfm.core.seeding import generator
from ncfm.datasets.split import load_split
from ncfm.method.augmentation import Draw
from ncfm.method.coresets import RULES
from ncfm.method.distillation import Distillation
from ncfm.method.multiformation import decode
from ncfm.method.pool import Pool
from ncfm.stages.curate import curate
from ncfm.stages.distill import distill
from ncfm.stages.select import select
from ncfm.stages.table import MAKERS

PARAMS = Path(__file__).parent.parent / "params"


@pytest.fixture
def start(data, pool):
    """Return a function that starts a distillation and gives it back before its first iteration."""

    def build(seed=0, ipc=2, **changes):
        params = helpers.distill_params(**{"loss_scale": 1.0, **changes})
        return Distillation(params, load_split(data, "train"), Pool(pool, torch.device("cpu")), ipc, seed)

    return build


def check_set(path, ipc, factor):
    data = ncfm.load(path)
    assert data.stored.shape == (3 * ipc, 3, 8, 8)
    assert data.stored.dtype == torch.float32
    assert data.stored.min() >= 0
    assert data.stored.max() <= 1
    assert data.images.shape == (3 * ipc * factor**2, 3, 8, 8)
    assert data.labels.bincount().tolist() == [ipc * factor**2] * 3


# --- the contract


VARIANTS = [
    (name, value)
    for name, field in DistillParams.model_fields.items()
    if get_origin(field.annotation) is Literal
    for value in get_args(field.annotation)
]


@pytest.mark.parametrize(("name", "value"), VARIANTS)
@pytest.mark.parametrize("update", ["joint", "per-class"])
def test_every_variant_gives_a_set(name, value, update, data, pool, tmp_path):
    changes = {"update": update, "weight_decay": 0.0, name: value}
    if value == "load":
        changes["load"] = str(helpers.run_distill(data, pool, tmp_path / "first"))
    path = helpers.run_distill(data, pool, tmp_path / "set", **changes)
    check_set(path, ipc=2, factor=2)
    rows = helpers.rows_of(path.parent / "history.csv")
    assert [row["step"] for row in rows] == [1, 2]
    assert all(math.isfinite(number) for row in rows for number in row.values())
    assert (path.parent / "grid.png").stat().st_size > 0


def test_every_method_of_the_base_gives_a_set(data, pool, tmp_path):
    shutil.copy(PARAMS / "base.yaml", tmp_path)
    methods = {name: {"seeds": [0]} for name in yaml.safe_load((tmp_path / "base.yaml").read_text())["methods"]}
    small = {"architectures": ["convnet-3"], "datasets": {"digits": {"ipcs": [1]}}, "methods": methods}
    small["pretrain"] = {"count_forgetting": True}
    tiny = {"iterations": 2, "batch_real": 6, "num_frequencies": 64}
    (tmp_path / "all.yaml").write_text(yaml.safe_dump({**small, "distill": tiny}))
    resolved = campaign.load("all", tmp_path)
    seen = set()
    for cell in resolved.cells_of(*MAKERS):
        params, out = resolved.params[cell], tmp_path / cell.method
        ipc = helpers.PER_CLASS if cell.method == "whole" else 1
        names = {"dataset": "made", "ipc": ipc, "method": cell.method, "seed": 0}
        record = helpers.record_of(cell.stage, out / "distilled.safetensors", params, **names)
        if cell.stage == "distill":
            distill(params, data, pool, out, record)
        elif cell.stage == "select":
            select(params, data, pool if RULES[params.rule].reads_extractors else None, out, record)
        else:
            curate(params, data, pool, tmp_path / cell.source / "distilled.safetensors", out, record)
        check_set(out / "distilled.safetensors", ipc=ipc, factor=2 if cell.stage == "curate" else params.factor)
        assert ncfm.load(out / "distilled.safetensors").names == names
        seen.add(cell.method)
    assert seen == set(methods)


@pytest.mark.parametrize("discrepancy", ["ncfd", "mmd", "mse", "energy"])
def test_distillation_lowers_what_it_measures(discrepancy, start):
    run = start(
        discrepancy=discrepancy,
        iterations=20,
        initialisation="noise",
        frequencies="gaussian",
        augmentation="",
        batch_real=12,
        loss_scale=300,
        calibration=0,
    )
    before = matching_again(run).item()
    for _ in range(20):
        run.step()
    assert matching_again(run).item() < 0.8 * before


# --- one iteration


def draws_again(run):
    return run.real.draw(run.split.resolution, generator("draws"))


def matching_again(run, classes=range(3)):
    """Return the matching loss of fixed draws and weights."""
    run.pool.blend(0, 0.3)
    frequencies = run.frequencies(generator("device draws"))
    stored = run.images[classes.start : classes.stop]
    return run.matching(stored, classes, draws_again(run), frequencies)


def match_again(run, classes=range(3), calibrates=False):
    """Take the step of the same draws and weights."""
    run.pool.blend(0, 0.3)
    return run.match(classes, draws_again(run), generator("device draws"), calibrates).tolist()


def test_psi_ascends_and_leaves_the_images_alone(start):
    run = start(frequencies="mixture", sampler_learning_rate=1e-3)
    run.optimiser.param_groups[0]["lr"] = 0.0
    images, before = run.images.detach().clone(), matching_again(run)
    match_again(run)
    assert torch.equal(run.images, images)
    assert matching_again(run).item() > before.item()


def test_images_descend_and_leave_psi_alone(start):
    run = start(frequencies="mixture", learning_rate=1e-3)
    run.psi_optimiser.param_groups[0]["lr"] = 0.0
    weights, before = [p.detach().clone() for p in run.psi.parameters()], matching_again(run)
    match_again(run)
    assert all(torch.equal(old, new) for old, new in zip(weights, run.psi.parameters(), strict=True))
    assert matching_again(run).item() < before.item()


@pytest.mark.parametrize("update", ["joint", "per-class"])
def test_the_two_gradients_equal_those_computed_apart(update, start):
    run = start(frequencies="mixture", calibration=0.7)
    labels = range(3) if update == "joint" else range(1, 2)
    psi = list(run.psi.parameters())

    def calibration():
        return run.calibration(run.images[labels.start : labels.stop], labels, draws_again(run))

    of_psi = torch.autograd.grad(matching_again(run, labels), psi)
    of_matching = torch.autograd.grad(matching_again(run, labels), run.images)[0]
    of_calibration = torch.autograd.grad(calibration(), run.images)[0]
    assert of_calibration.abs().max() > 0
    before = (matching_again(run, labels).item(), calibration().item())
    found = match_again(run, labels, calibrates=True)
    assert found == pytest.approx(before)
    torch.testing.assert_close(run.images.grad, of_matching + 0.7 * of_calibration)
    for parameter, gradient in zip(psi, of_psi, strict=True):  # calibration has no part in it
        torch.testing.assert_close(parameter.grad, gradient)
    if update == "per-class":
        assert run.images.grad[[0, 2]].abs().max() == 0


@pytest.mark.parametrize("variant", ["mixture", "released"])
def test_released_psi_never_moves_and_the_mixtures_does(variant, start):
    run = start(frequencies=variant, iterations=4)
    weights = [parameter.detach().clone() for parameter in run.psi.parameters()]
    images = run.images.detach().clone()
    for _ in range(4):
        run.step()
    still = all(torch.equal(old, new) for old, new in zip(weights, run.psi.parameters(), strict=True))
    assert still == (variant == "released")
    assert not torch.equal(run.images, images)
    assert all(parameter.grad is None for parameter in run.pool.blended.parameters())


@pytest.mark.parametrize("discrepancy", ["ncfd", "mmd"])
@pytest.mark.parametrize("update", ["joint", "per-class"])
def test_the_real_images_themselves_are_at_zero(discrepancy, update, start):
    """Holds only where both sides get the same class, normalisation, extractor and siamese augmentation."""
    run = start(discrepancy=discrepancy, update=update, factor=1, ipc=12, initialisation="random", batch_real=1024)
    for seed in range(3):
        draws = generator(seed)
        for labels in [range(3)] if update == "joint" else [range(0, 1), range(1, 2), range(2, 3)]:
            run.pool.choose(draws)
            drawn = run.real.draw(run.split.resolution, draws)
            frequencies = run.frequencies(generator(seed, "device"))
            stored = run.images[labels.start : labels.stop]
            assert run.matching(stored, labels, drawn, frequencies).item() < 2e-3
    assert matching_again(start(discrepancy=discrepancy, seed=1)).item() > 1e-3  # others are not


@pytest.mark.parametrize("update", ["joint", "per-class"])
def test_calibration_asks_the_trained_member(update, start):
    run = start(update=update, augmentation="", learning_rate=1e-12, weight_decay=0.0)
    expected = []
    for member in range(2):
        trained = run.pool.blend(member, 0.0)
        losses = [
            torch.nn.functional.cross_entropy(trained(run.augmented(run.images[c], Draw())), torch.full((8,), c))
            for c in range(3)
        ]
        expected.append(sum(losses).item() / 3)
    found = helpers.row_of(run)["calibration"]
    assert min(abs(found - value) for value in expected) < 1e-6
    assert abs(expected[0] - expected[1]) > 1e-4


def test_images_are_clamped_then_decoded_then_normalised(start):
    run = start(learning_rate=1e-12, weight_decay=0.0)
    with torch.no_grad():
        run.images[0].fill_(2.0)
        run.images[1].fill_(-1.0)
    run.step()
    assert run.images[0].detach().unique().tolist() == pytest.approx([1.0], abs=1e-6)
    assert run.images[1].detach().abs().max() < 1e-6
    found = run.augmented(run.images[2], Draw())
    torch.testing.assert_close(found, run.split.normalisation(decode(run.images[2], 2)), atol=0, rtol=0)


def test_infinite_loss_stops_before_the_images_move(start, data, pool, tmp_path):
    run = start(loss_scale=1e300)
    images, weights = run.images.detach().clone(), [p.detach().clone() for p in run.psi.parameters()]
    for _ in range(3):
        run.step()
    with pytest.raises(DivergenceError, match=r"the loss is inf in iteration 1; lower learning_rate \(0.05\)"):
        run.read_back()
    assert torch.equal(run.images, images)
    assert all(torch.equal(old, new) for old, new in zip(weights, run.psi.parameters(), strict=True))
    with pytest.raises(NcfmError):
        helpers.run_distill(data, pool, tmp_path, loss_scale=1e300)
    assert not (tmp_path / "distilled.safetensors").exists()


def test_zero_calibration_is_no_calibration(start):
    run = start(calibration=0.0)
    assert helpers.row_of(run)["calibration"] == 0
    assert helpers.row_of(start(calibration=1.0))["calibration"] > 0


def test_features_are_compared_at_length_one_unless_the_params_say_otherwise(start):
    features = torch.randn(7, 5, generator=generator("features"))
    normalised, plain = start(), start(normalise_features=False)
    torch.testing.assert_close(normalised.compared(features).norm(dim=-1), torch.ones(7))
    assert torch.isfinite(normalised.compared(torch.zeros(2, 5))).all()
    assert torch.equal(plain.compared(features), features)


def test_schedules_of_the_image_rate(start):
    run = start(schedule="cosine", iterations=4, learning_rate=0.08)
    rates = [helpers.row_of(run)["learning_rate"] for _ in range(4)]
    assert rates == pytest.approx([0.04 * (1 + math.cos(math.pi * i / 4)) for i in range(4)])
    run = start(schedule="constant", iterations=3)
    assert [helpers.row_of(run)["learning_rate"] for _ in range(3)] == pytest.approx([0.05] * 3)


def rates_by_the_plateau_rule(values, rate, patience, factor):
    """Return the rate of each iteration: multiplied by ``factor`` after more than ``patience`` without a better one."""
    rates, best, worse = [], math.inf, 0
    for value in values:
        rates.append(rate)
        best, worse = (value, 0) if value < best * (1 - 1e-4) else (best, worse + 1)
        if worse > patience:
            rate, worse = rate * factor, 0
    return rates


def test_the_plateau_rule_watches_matching_and_weighted_calibration_together(start):
    for seed in range(20):  # until one tells the rule from its neighbours, which see one loss or another weight
        run = start(seed=seed, loss_scale=3.0, schedule="plateau", plateau_factor=0.7, calibration=0.3, iterations=12)
        rows = [helpers.row_of(run) for _ in range(12)]
        expected, *others = (
            rates_by_the_plateau_rule([a * row["loss"] + b * row["calibration"] for row in rows], 0.05, 1, 0.7)
            for a, b in ((1, 0.3), (1, 0), (0, 1), (1, 1))
        )
        assert [row["learning_rate"] for row in rows] == pytest.approx(expected)
        if expected[-1] < 0.05 and expected not in others:
            return
    pytest.fail("no seed tells the rules apart")


# --- the images' optimiser


def test_sgd_has_momentum_and_weight_decay(start):
    run = start(optimizer="sgd", schedule="constant", momentum=0.6, weight_decay=0.2)
    velocity = torch.zeros_like(run.images)
    for _ in range(3):
        before = run.images.detach().clamp(0, 1)
        run.step()
        velocity = 0.6 * velocity + run.images.grad + 0.2 * before
        torch.testing.assert_close(run.images.detach(), before - 0.05 * velocity)
    assert run.images.grad.abs().max() > 0


def test_adamw_decays_the_images_apart_from_the_gradient(start):
    plain, decayed = start(schedule="constant", weight_decay=0.0), start(schedule="constant", weight_decay=0.2)
    before = plain.images.detach().clone()
    plain.step(), decayed.step()
    torch.testing.assert_close(decayed.images.detach(), plain.images.detach() - 0.05 * 0.2 * before)


def test_real_batches(start):
    first, drawn = start(real_batches="first").real, start(real_batches="random").real
    by_class = start().split.by_class
    assert first.rows(generator(0)).tolist() == [row for rows in by_class for row in rows[:6].tolist()]
    one, other = (drawn.rows(generator(seed)).view(3, 6).tolist() for seed in range(2))
    assert one != other
    for batch in (one, other):
        for rows, members in zip(batch, by_class, strict=True):
            assert len(set(rows)) == 6
            assert set(rows) <= set(members.tolist())
    assert start(batch_real=1024).real.rows(generator(0)).tolist() == torch.cat(by_class).tolist()


def test_every_real_image_comes_equally_often(start):
    real = start().real
    counts = sum(real.rows(generator(seed)).bincount(minlength=36) for seed in range(400))
    assert counts.min() > 200 - 5 * 10  # of 400 batches of 6 of 12 images, whose deviation is 10
    assert counts.max() < 200 + 5 * 10


# --- seeds


def test_methods_of_one_seed_start_from_the_same_images(start):
    assert torch.equal(start(discrepancy="ncfd").images, start(discrepancy="mmd", update="per-class").images)
    assert not torch.equal(start().images, start(seed=1).images)
