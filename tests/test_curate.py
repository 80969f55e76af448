"""Curation: the two ways of labelling against hand computation, training on soft labels, fine-tuning of the images."""

from __future__ import annotations

import math

import helpers
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from ncfm.core.params import EvaluateParams
from ncfm.core.seeding import generator
from ncfm.core.store import load_tensors, read_json
from ncfm.method.distilled import load
from ncfm.method.pool import Pool
from ncfm.method.training import train
from ncfm.stages.curate import released_labels, soft_labels

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pool(data, tmp_path_factory):
    # Trained so far that it is right on some images and wrong on others.
    settings = {"epochs": 6, "learning_rate": 0.02, "optimizer": "adamw", "cutmix_probability": 0, "norm": "none"}
    return helpers.run_pretrain(data, tmp_path_factory.mktemp("pool") / "pool.safetensors", **settings)


@pytest.fixture(scope="module")
def stored(data, tmp_path_factory):
    return helpers.run_select(data, tmp_path_factory.mktemp("set"), factor=2)


# --- labels


def test_soft_labels_are_the_mean_probabilities_and_hard_where_these_are_wrong():
    # image 0: 0.6 and 0.9 for class 0; image 1: 0.8 and 0.3 for class 0 (mean 0.55), but it is of class 1
    logits = torch.tensor([[0.6, 0.8], [0.9, 0.3]]).logit()
    logits = torch.stack([logits, torch.zeros(2, 2)], 2)
    found = soft_labels(logits, torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor([[0.75, 0.25], [0.0, 1.0]]))


def test_released_labels_leave_the_true_class_of_a_misclassified_image_a_share_of_0_232():
    logits = torch.zeros(2, 10)
    logits[0, 3] = math.log(9 * 999)  # sure of class 3: a share of 0.999
    logits[1, 3] = 5.0  # sure as well, but the image is of class 7
    found = released_labels(logits, torch.tensor([3, 7]))
    assert found[0, 3] == pytest.approx(0.999, abs=1e-6)
    assert found[1, 7] == pytest.approx(0.232, abs=5e-4)
    torch.testing.assert_close(found[1, :7], torch.full((7,), 1 / (math.e + 9)))
    torch.testing.assert_close(soft_labels(logits[None], torch.tensor([3, 7]))[1], one_hot(torch.tensor(7), 10).float())


@pytest.mark.parametrize(("labels", "teachers"), [("soft", 0), ("soft", 1), ("released", 0)])
def test_a_curated_set_holds_the_pools_opinion_in_decode_order(labels, teachers, data, pool, stored, tmp_path):
    curated = load(helpers.run_curate(data, pool, stored, tmp_path, labels=labels, teachers=teachers))
    plain, held = load(stored), Pool(pool, CPU)
    assert torch.equal(curated.stored, plain.stored) and torch.equal(curated.labels, plain.labels)
    assert curated.names["method"] == "curated" and plain.soft_labels is None
    members = [0, 1] if labels == "soft" and teachers == 0 else [0]
    with torch.no_grad():
        logits = torch.stack([held.blend(member, 0.0)(plain.images) for member in members])
    assert {0.0, 1.0} == set((logits.mean(0).argmax(1) == plain.labels).float().tolist())
    for image in range(len(plain)):  # one by one, in the order that training sees
        probabilities = logits[:, image].softmax(1).mean(0)
        if probabilities.argmax() != plain.labels[image]:
            expected = one_hot(plain.labels[image], 3).float()
            expected = expected.softmax(0) if labels == "released" else expected
        else:
            expected = probabilities
        torch.testing.assert_close(curated.soft_labels[image], expected, atol=1e-5, rtol=1e-4)


def test_same_curation_same_bytes(data, pool, stored, tmp_path):
    first, again = (helpers.run_curate(data, pool, stored, tmp_path / n, finetune=2).read_bytes() for n in "ab")
    assert first == again


# --- training


def test_one_hot_labels_train_exactly_as_hard_ones():
    images, labels = torch.randn(6, 3, 8, 8, generator=generator("images")), torch.tensor([0, 1, 2, 0, 1, 2])
    soft = one_hot(labels, 3).float()

    def loss(targets, probability):
        """Return the loss before the first step, of one batch that holds all images."""
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 3, bias=False))
        with torch.no_grad():
            network[1].weight.copy_(torch.randn(3, 3 * 64, generator=generator("weights")))
        found, params = [], EvaluateParams(cutmix_probability=probability, epochs=1)
        train(network, images.__getitem__, targets, params, ("a",), lambda epoch, loss: found.append(loss))
        return torch.tensor(found[0])

    for probability in (0, 1):
        torch.testing.assert_close(loss(labels, probability), loss(soft, probability))
    mixed = soft * 0.7 + 0.1  # CutMix mixes probabilities linearly: the loss is linear in them
    uniform = torch.full_like(soft, 1 / 3)
    torch.testing.assert_close(loss(mixed, 1), 0.7 * loss(soft, 1) + 0.3 * loss(uniform, 1))


def test_evaluation_trains_on_the_soft_labels(data, pool, stored, tmp_path):
    curves = []
    for labels in ("soft", "hard"):  # of one name, so that all draws are the same
        path = helpers.run_curate(data, pool, stored, tmp_path / labels, labels=labels)
        assert ("soft_labels" in load_tensors(path)[0]) == (labels == "soft")
        out = helpers.run_evaluate(data, path, tmp_path / f"{labels}.json")
        curves.append([look[2] for one in read_json(out)["networks"] for look in one["curve"]])
    assert curves[0] != curves[1]


# --- fine-tuning


def test_fine_tuning_lowers_the_pools_loss_and_keeps_pixels(data, pool, stored, tmp_path):
    tuned = load(helpers.run_curate(data, pool, stored, tmp_path, finetune=100, learning_rate=0.02, augmentation=""))
    plain, held = load(stored), Pool(pool, CPU)

    @torch.no_grad()
    def loss(one):
        return sum(float(cross_entropy(held.blend(member, 0.0)(one.images), one.labels)) for member in range(2))

    assert loss(tuned) < 0.85 * loss(plain)  # two thirds of the pixels end black or white: there is no way further
    assert not torch.equal(tuned.stored, plain.stored)
    assert tuned.stored.min() >= 0 and tuned.stored.max() <= 1


def test_fine_tuning_does_not_depend_on_the_pieces_and_continues_after_a_kill(
    data, pool, stored, tmp_path, monkeypatch, capfd
):
    settings = {"finetune": 6, "checkpoint_every": 2, "labels": "hard"}
    whole = helpers.run_curate(data, pool, stored, tmp_path / "whole", **settings)
    with pytest.raises(helpers.Killed):
        helpers.run_curate(data, pool, stored, tmp_path / "killed", kill_at=5, **settings)
    capfd.readouterr()
    killed = helpers.run_curate(data, pool, stored, tmp_path / "killed", **settings)
    assert "continuing from 4 of 6" in capfd.readouterr().err
    assert killed.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "killed/checkpoint.safetensors").exists()
    width, side, at_once = 4, helpers.RESOLUTION, 5
    monkeypatch.setattr("ncfm.run.compute.CPU_ACTIVATIONS", at_once * width * side**2)
    pieces = load(helpers.run_curate(data, pool, stored, tmp_path / "pieces", **settings))
    torch.testing.assert_close(pieces.stored, load(whole).stored, atol=1e-5, rtol=0)
