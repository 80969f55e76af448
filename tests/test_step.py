"""The batched step: against one class at a time, on a device, its host work, what is not finite between readings."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path

import helpers
import pretend_device
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from ncfm.core.errors import DivergenceError
from ncfm.core.params import DistillParams
from ncfm.core.seeding import generator
from ncfm.core.store import load_tensors, read_json, read_metadata
from ncfm.datasets.split import load_split
from ncfm.method import augmentation
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.method.distillation import Distillation
from ncfm.method.multiformation import decode
from ncfm.method.pool import Pool
from ncfm.run.compute import chosen_device

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from host_work import host_work

MIXED = "color_crop_flip_scale_rotate"


@pytest.fixture(scope="module")
def pool(data, tmp_path_factory):
    # Without normalisation layers few ReLUs sit on their kinks, where rounding decides whether a gradient passes.
    return helpers.run_pretrain(data, tmp_path_factory.mktemp("pool") / "pool.safetensors", norm="none", width=16)


@pytest.fixture
def start(data, pool):
    """Return a function that starts a distillation, of unequal classes if so asked, on the device in use."""

    def build(unequal=False, **changes):
        split = load_split(data, "train", chosen_device())
        if unequal:  # 12, 8 and 4 images, where a batch takes 6
            kept = torch.cat([rows[:count] for rows, count in zip(split.by_class, (12, 8, 4), strict=True)])
            split = dataclasses.replace(split, images=split.images[kept], labels=split.labels[kept])
        params = DistillParams(**{**helpers.TINY_DISTILL, "initialisation": "random", **changes})
        return Distillation(params, split, Pool(pool, split.images.device), 2, 0)

    return build


# --- against one class at a time


def by_one_class(run, label, drawn, extractor, frequencies):
    """Return a class's matching loss and calibration from its own images alone, written as the formulas are."""
    params, split, start = run.params, run.split, run.real.start
    images = run.images[label]

    def seen(pixels, row):
        one = drawn.siamese.for_images(torch.tensor([row]))
        return augmentation.apply(split.normalisation(pixels), one)

    def features(pixels):
        found = extractor.features(seen(pixels, label))
        return normalize(found, dim=-1)[None] if params.normalise_features else found[None]

    real = features(split.pixels(drawn.real_rows[start[label] : start[label + 1]])).detach()
    synthetic = features(decode(images, params.factor))
    discrepancy = DISCREPANCIES[params.discrepancy].measure(real, synthetic, None, frequencies, params)
    logits = run.pool.trained(seen(decode(images, params.factor), split.classes + label))
    return params.loss_scale * discrepancy.sum(), cross_entropy(logits, torch.full((len(logits),), label))


CHANGES = [
    *({"discrepancy": name} for name in DISCREPANCIES),
    {"frequencies": "gaussian"},
    {"frequencies": "released"},
    {"unequal": True},
    *({"unequal": True, "discrepancy": name} for name in DISCREPANCIES),
    {"unequal": True, "real_batches": "first", "images_at_once": 5},
    {"images_at_once": 7, "recompute": True},
    {"images_at_once": 16},
    {"factor": 1},
    {"normalise_features": False, "loss_scale": 1.0},
    {"augmentation": MIXED},
    {"augmentation": "crop|cutout|rotate|flip"},
    {"augmentation": ""},
]


@pytest.fixture
def double(monkeypatch):
    """Let all be computed in float64: equation 5's root enlarges the rounding of float32 by up to some hundredths."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_the_step_is_that_of_each_class_alone(changes, start):
    run = start(**changes)
    # What the fused Adam reads from tensors must be float32 in any case.
    run.failed, run.schedule.rate = run.failed.to(torch.float32), run.schedule.rate.to(torch.float32)
    run.link()
    run.pool.choose(generator("pool"))
    drawn = run.real.draw(8, generator("draws"))
    frequencies = run.frequencies(generator("device draws"))
    each = [by_one_class(run, label, drawn, run.pool.blended, frequencies) for label in range(3)]
    matching, calibration = (sum(values) for values in zip(*each, strict=True))
    of_matching, *of_psi = torch.autograd.grad(matching, [run.images, *run.ascending], retain_graph=True)
    (of_calibration,) = torch.autograd.grad(calibration, run.images)
    found = run.match(range(3), drawn, generator("device draws"), calibrates=True)
    assert run.images.dtype == torch.float64
    assert found.tolist() == pytest.approx([matching.item(), calibration.item()], rel=1e-9)
    of_images = of_matching + run.params.calibration * of_calibration
    for gradients, wanted in (
        ([run.images.grad], [of_images]),
        ([parameter.grad for parameter in run.ascending], of_psi),
    ):
        one, other = (torch.cat([torch.zeros(1), *(value.flatten() for value in side)]) for side in (gradients, wanted))
        assert (one - other).norm() <= 1e-9 * other.norm()


def test_small_classes_give_all_their_images_and_large_ones_some(start):
    run = start(unequal=True)
    for seed in range(20):
        parts = run.real.rows(generator(seed)).split([6, 6, 4])
        for rows, members in zip(parts, run.split.by_class, strict=True):
            assert len(set(rows.tolist())) == len(rows)
            assert set(rows.tolist()) <= set(members.tolist())


def test_a_class_alone_moves_no_other(start):
    run = start(update="per-class")
    run.pool.choose(generator("pool"))
    drawn = run.real.draw(8, generator("draws"))
    run.match(range(1, 2), drawn, generator("device draws"), calibrates=False)
    assert run.images.grad[[0, 2]].abs().max() == 0 < run.images.grad[1].abs().max()
    run.calibrate(range(2, 3), drawn)
    assert run.images.grad[[0, 1]].abs().max() == 0 < run.images.grad[2].abs().max()


# --- readings


@pytest.mark.parametrize("changes", [{}, {"schedule": "plateau"}, {"update": "per-class", "optimizer": "sgd"}], ids=str)
def test_the_interval_of_readings_changes_nothing(changes, data, pool, tmp_path):
    often, seldom = (
        helpers.run_distill(
            data, pool, tmp_path / str(every), log_every=every, iterations=7, checkpoint_every=2, **changes
        )
        for every in (1, 5)
    )
    assert torch.equal(load_tensors(often)[0]["images"], load_tensors(seldom)[0]["images"])
    rows = helpers.rows_of(often.parent / "history.csv")
    assert helpers.rows_of(seldom.parent / "history.csv") == rows
    assert [row["step"] for row in rows] == list(range(1, 8))


def test_a_kill_between_two_readings_loses_nothing(data, pool, tmp_path):
    changes = {"iterations": 7, "checkpoint_every": 2, "log_every": 3, "schedule": "plateau"}
    whole = helpers.run_distill(data, pool, tmp_path / "whole", **changes)
    with pytest.raises(helpers.Killed):
        helpers.run_distill(data, pool, tmp_path / "killed", kill_at=5, **changes)
    saved = read_metadata(tmp_path / "killed/checkpoint.safetensors")
    assert json.loads(saved["text"])["iteration"] == 4
    killed = helpers.run_distill(data, pool, tmp_path / "killed", **changes)
    assert torch.equal(load_tensors(whole)[0]["images"], load_tensors(killed)[0]["images"])
    assert (whole.parent / "history.csv").read_text() == (killed.parent / "history.csv").read_text()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_is_reported_with_its_iteration_and_moves_nothing(where, optimizer, start):
    """The third of five iterations fails, none of which reads the device."""
    run, good = start(optimizer=optimizer), []
    frequencies = run.frequencies

    def drawn(draws):
        found = frequencies(draws)
        if run.iteration == 2 and where == "loss":
            return found * math.nan
        if run.iteration == 2:
            found.register_hook(lambda gradient: gradient * math.inf)
        return found

    run.frequencies = drawn
    for iteration in range(5):
        run.step()
        if iteration == 1:
            good = [value.detach().clone() for value in (run.images.clamp(0, 1), *run.psi.parameters())]
    what = "the loss is nan" if where == "loss" else "a gradient is not finite"
    with pytest.raises(DivergenceError, match=rf"{what} in iteration 3; lower learning_rate \(0.05\); the last check"):
        run.read_back()
    assert all(torch.equal(*pair) for pair in zip(good, (run.images, *run.psi.parameters()), strict=True))


# --- the host, and a device


def test_host_work_does_not_grow_with_the_classes():
    few, many = (host_work(classes, ipc, "joint") for classes, ipc in ((10, 20), (100, 2)))
    assert many.operations <= 1.2 * few.operations
    assert many.reads == few.reads == 0
    assert max(many.copies, few.copies) <= 5


@pytest.mark.parametrize("changes", [{}, {"schedule": "plateau"}, {"unequal": True}, {"extractor": "random"}], ids=str)
def test_nothing_is_read_from_the_device_and_little_copied_to_it(changes, start):
    with pretend_device.pretended():
        run = start(**changes)
        run.step()
        with pretend_device.Counts() as counts:
            run.step()
    assert counts.reads == 0
    assert counts.copies <= 5


def test_a_tensor_on_the_wrong_device_is_noticed():
    with pretend_device.pretended():
        here, elsewhere = torch.ones(2, device=pretend_device.DEVICE), torch.ones(2)
        assert (here + 1.5).tolist() == [2.5, 2.5]
        with pytest.raises(RuntimeError, match="expected all tensors to be on one device"):
            here + elsewhere
        with pytest.raises(RuntimeError, match="expected all tensors to be on one device"):
            torch.nn.functional.linear(here[None], elsewhere[None])


STAGES = {
    "pretrain": lambda data, made, out: helpers.run_pretrain(data, out / "made", augmentation=MIXED),
    **{
        f"distill {changes}": lambda data, made, out, changes=changes: helpers.run_distill(
            data, made["pool"], out, images_at_once=16, **changes
        )
        for changes in (
            {},
            {"update": "per-class", "frequencies": "released", "schedule": "plateau"},
            {"discrepancy": "mmd", "optimizer": "sgd", "extractor": "random", "augmentation": "crop|rotate|flip"},
            {"discrepancy": "mse", "initialisation": "noise", "recompute": True},
            {"discrepancy": "energy", "real_batches": "first", "batch_real": 1024},
        )
    },
    "curate": lambda data, made, out: helpers.run_curate(data, made["pool"], made["set"], out, finetune=2),
    "evaluate": lambda data, made, out: helpers.run_evaluate(data, made["set"], out / "made.json"),
    "evaluate curated": lambda data, made, out: helpers.run_evaluate(
        data, made["curated"], out / "made.json", optimizer="sgd", augmentation=MIXED
    ),
    "anytime": lambda data, made, out: helpers.run_anytime(data, made["set"], out / "made.json"),
    "continual": lambda data, made, out: helpers.run_continual(data, made["set"], out / "made.json"),
}


@pytest.fixture(scope="module")
def made(data, pool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    stored = helpers.run_distill(data, pool, folder / "set", snapshots=[1])
    return {"pool": pool, "set": stored, "curated": helpers.run_curate(data, pool, stored, folder / "curated")}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_computes_on_a_device_what_it_does_on_the_cpu(stage, data, made, tmp_path):
    here = STAGES[stage](data, made, tmp_path / "cpu")
    with pretend_device.pretended():
        there = STAGES[stage](data, made, tmp_path / "device")
    if here.suffix == ".json":
        assert read_json(here) == read_json(there)
        return
    one, other = (load_tensors(path)[0] for path in (here, there))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)
