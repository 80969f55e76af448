"""Training of networks, the extractor pool and evaluation."""

from __future__ import annotations

import helpers
import numpy as np
import pretend_device
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from ncfm.core.errors import DataError, DivergenceError
from ncfm.core.params import EvaluateParams, PretrainParams
from ncfm.core.seeding import derive_seed, generator
from ncfm.core.store import load_tensors, read_json
from ncfm.datasets.split import load_split
from ncfm.method.pool import Pool
from ncfm.method.training import accuracy, learning_rate, train
from ncfm.models.registry import build
from ncfm.stages.evaluate import look_epochs, summary

CPU = torch.device("cpu")


@pytest.fixture
def pool(data, tmp_path):
    return helpers.run_pretrain(data, tmp_path / "pool.safetensors", norm="batch")


def network():
    shape = {"channels": 3, "resolution": helpers.RESOLUTION, "classes": 3, "width": 4, "norm": "instance"}
    return build("convnet-3", **shape, generator=generator("weights"))


# --- training


def test_learning_rates_of_the_two_protocols():
    rates = [learning_rate(PretrainParams(), epoch) for epoch in range(60)]
    assert rates == pytest.approx([0.01] * 40 + [0.002] * 10 + [0.0004] * 10)
    rates = [learning_rate(EvaluateParams(), epoch) for epoch in range(2000)]
    assert rates == pytest.approx([0.001 * 0.5 ** (epoch // 400) for epoch in range(2000)])


def train_tiny(data, names=("a",), **changes):
    split = load_split(data, "train")
    built, losses = network(), []
    params = PretrainParams(**{**helpers.NETWORK, "epochs": 3, **changes})

    def normalised(index):
        assert built.training
        return split.normalisation(split.pixels(index))

    def after_epoch(epoch, loss):
        assert not built.training  # else testing would change the statistics of batch-norm
        losses.append(loss)
        assert epoch == len(losses)

    train(built, normalised, split.labels, params, names, after_epoch)
    return built, losses


def test_training_learns_and_depends_on_its_names_only(data):
    learned = {"epochs": 15, "learning_rate": 0.1, "optimizer": "adamw", "cutmix_probability": 0}
    (first, losses), (again, _), (other, _) = (train_tiny(data, names, **learned) for names in ("a", "a", "b"))
    assert losses[-1] < 0.7 * losses[0]
    assert accuracy(first, load_split(data, "test")) > 80
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize("soft", [False, True])
def test_cutmix_weighs_the_two_labels_by_their_pixels(soft):
    """Images of one colour per class: what share of an image has a class's colour is what its label has to be."""
    labels = torch.arange(12) % 3
    images = one_hot(labels, 3).float()[:, :, None, None].expand(-1, -1, 8, 8)

    class ReadsColours(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, batch):
            seen.append(batch.mean((2, 3)))
            return self.scale * seen[-1]

    shares, seen, losses = [], [], []
    for name in range(10):
        seen.clear(), losses.clear()
        params = PretrainParams(epochs=1, batch=12, augmentation="", cutmix_probability=1)
        targets = one_hot(labels, 3).float() if soft else labels
        train(ReadsColours(), images.__getitem__, targets, params, (name,), lambda epoch, loss: losses.append(loss))
        assert losses == [pytest.approx(float(cross_entropy(2.0 * seen[0], seen[0])), rel=1e-5)]
        shares.append(float(seen[0].amax(1).min()))
    assert min(shares) < 0.8  # some were mixed


def test_infinite_loss_stops_training(data):
    with pytest.raises(DivergenceError, match=r"training a: the loss is nan in epoch \d; .* \(1000000.0\)"):
        train_tiny(data, learning_rate=1e6)


def reads_of_an_epoch(data, batch):
    """Train for two epochs of batches of so many images on a pretended device; return what is read from it."""
    with pretend_device.pretended():
        split = load_split(data, "train", pretend_device.DEVICE)
        built, params = (
            network().to(split.labels.device),
            PretrainParams(**{**helpers.NETWORK, "epochs": 2, "batch": batch}),
        )
        with pretend_device.Counts() as counts:
            train(built, lambda index: split.normalisation(split.pixels(index)), split.labels, params, ("a",))
    return counts.reads / params.epochs


def test_training_reads_the_device_once_an_epoch_however_many_its_batches(data):
    assert reads_of_an_epoch(data, 4) == reads_of_an_epoch(data, 32) == 1


def test_accuracy_is_the_share_of_right_answers(data):
    split = load_split(data, "test")
    built = network().eval()
    with torch.no_grad():
        built.head.weight.zero_()
        built.head.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))  # says class 1 whatever it sees
    assert accuracy(built, split) == pytest.approx(100 / 3)


# --- the pool


def test_blending_ends_and_middle(pool):
    held = Pool(pool, CPU)
    tensors, _ = load_tensors(pool)
    names = [name for name, _ in held.blended.named_parameters()]
    buffers = [name for name in held.blended.state_dict() if name not in names]
    assert any(name.endswith("running_mean") for name in buffers)
    for member in range(2):
        ends = [{n: tensors[f"{member}.{end}.{n}"] for n in (*names, *buffers)} for end in ("initial", "trained")]
        assert all(not torch.equal(ends[0][name], ends[1][name]) for name in (*names, *buffers))
        for beta, expected in (
            (1.0, ends[0]),
            (0.0, ends[1]),
            (0.5, {name: (ends[0][name] + ends[1][name]) / 2 for name in names}),
        ):
            state = held.blend(member, beta).state_dict()
            for name in names:
                if beta == 0.5:
                    torch.testing.assert_close(state[name], expected[name])
                else:
                    assert torch.equal(state[name], expected[name])
            for name in buffers:
                assert torch.equal(state[name], ends[1][name])


def test_choosing_reaches_every_member_and_leaves_the_pool_alone(pool):
    held, fresh = Pool(pool, CPU), Pool(pool, CPU)
    draws, seen = generator("choose"), set()
    for _ in range(20):
        held.choose(draws)
        blended, trained = held.blended, held.trained
        assert not blended.training
        assert not any(parameter.requires_grad for one in (blended, trained) for parameter in one.parameters())
        ends = [fresh.blend(member, 0.0).head.weight.clone() for member in range(2)]
        seen.add(next(member for member in range(2) if torch.equal(trained.head.weight, ends[member])))
    assert seen == {0, 1}
    for member in range(2):
        for beta in (0.0, 1.0):
            assert torch.equal(held.blend(member, beta).head.weight, fresh.blend(member, beta).head.weight)


def test_members_start_differently_and_other_files_are_refused(pool, data):
    tensors, facts = load_tensors(pool)
    assert not torch.equal(tensors["0.initial.head.weight"], tensors["1.initial.head.weight"])
    assert (facts["pool"], facts["dataset"], facts["arch"]) == (2, "made", "convnet-3")
    with pytest.raises(DataError, match="is not an extractor pool"):
        Pool(data / "train.safetensors", CPU)


# --- evaluation


def test_looking_at_the_test_set_changes_no_training(data, coreset, tmp_path):
    """So the protocol `last` is the column `last` of `released`."""
    often, once = (
        read_json(helpers.run_evaluate(data, coreset, tmp_path / f"{looks}.json", looks=looks))["networks"]
        for looks in (4, 1)
    )
    assert [network["last"] for network in often] == [network["last"] for network in once]
    assert [network["best"] for network in once] == [network["last"] for network in once]


@pytest.mark.parametrize(
    ("epochs", "looks", "expected"),
    [(2000, 20, set(range(100, 2001, 100))), (3, 20, {1, 2, 3}), (7, 1, {7}), (1, 5, {1}), (10, 4, {2, 5, 8, 10})],
)
def test_looks_are_evenly_spaced_and_end_with_the_last_epoch(epochs, looks, expected):
    assert look_epochs(epochs, looks) == expected


def test_summary_against_numpy():
    values = [61.25, 60.5, 63.0, 59.75]
    expected = {"mean": np.mean(values), "std": np.std(values, ddof=1), "n": 4}
    assert summary(values) == pytest.approx(expected, abs=1e-6)
    assert summary([50.0]) == {"mean": 50.0, "std": None, "n": 1}


@pytest.fixture
def stored(data, pool, tmp_path):
    return helpers.run_distill(data, pool, tmp_path / "set")


def test_evaluation_keeps_last_and_best_of_every_network(data, stored, tmp_path, monkeypatch):
    looks = iter([10.0, 50.0, 30.0, 40.0, 20.0, 40.0, 5.0, 6.0, 7.0])
    monkeypatch.setattr("ncfm.stages.evaluate.accuracy", lambda network, split: next(looks))
    monkeypatch.setenv("NCFM_CORES", "1")  # one network after the other
    content = read_json(helpers.run_evaluate(data, stored, tmp_path / "e.json", epochs=6, looks=3, networks=3))
    assert content["training_images"] == 3 * 2 * 4
    found = [(one["network"], one["last"], one["best"], one["best_epoch"]) for one in content["networks"]]
    assert found == [(0, 30.0, 50.0, 4), (1, 40.0, 40.0, 2), (2, 7.0, 7.0, 6)]
    assert [epoch for epoch, _, _ in content["networks"][0]["curve"]] == [2, 4, 6]
    assert content["last"] == summary([30.0, 40.0, 7.0])
    assert content["best"] == summary([50.0, 40.0, 7.0])
    assert len({loss for one in content["networks"] for _, _, loss in one["curve"]}) == 9  # the networks differ


def test_evaluation_refuses_another_data_set(stored, tmp_path):
    other = helpers.write_dataset(tmp_path / "other", "other")
    with pytest.raises(DataError, match=r"was made from made, but .* holds other"):
        helpers.run_evaluate(other, stored, tmp_path / "e.json")


# --- seeds


def test_derived_seeds():
    assert derive_seed("a", 1) == derive_seed("a", "1") == 4742018630964328543  # the same on every machine
    assert len({derive_seed(*names) for names in (("a", 1), (1, "a"), ("a1",), ("a", 1, ""), ("a", 11), ())}) == 6
    assert all(0 <= derive_seed(name) < 2**63 for name in range(50))
    assert torch.randint(1000, (4,), generator=generator("a", 1)).tolist() == [406, 163, 704, 605]
