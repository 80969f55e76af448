"""Networks, their training, the extractor pool and evaluation."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
import torch

from ncfm.artifacts import load_tensors, read_json
from ncfm.datasets.split import load_split
from ncfm.errors import DataError, DivergenceError, ParamsError
from ncfm.evaluate import look_epochs, summary
from ncfm.extractors import Pool
from ncfm.models.convnet import HalvingPool
from ncfm.models.registry import ARCHITECTURES, build, smallest_resolution
from ncfm.params import EvaluateParams, PretrainParams
from ncfm.seeding import derive_seed, generator
from ncfm.training import accuracy, learning_rate, train

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def on_the_processor(monkeypatch):
    monkeypatch.setenv("NCFM_DEVICE", "cpu")


@pytest.fixture
def data(tmp_path):
    return helpers.write_dataset(tmp_path / "data")


@pytest.fixture
def pool(data, tmp_path):
    return helpers.run_pretrain(data, tmp_path / "pool.safetensors", norm="batch")


def network(arch="convnet-3", name="weights", **changes):
    shape = {"channels": 3, "resolution": smallest_resolution(arch), "classes": 5, "width": 4, "norm": "instance"}
    return build(arch, **{**shape, **changes}, generator=generator(name))


# --- architectures


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("multiple", [1, 2])
def test_contract_of_every_architecture(arch, norm, multiple):
    resolution = smallest_resolution(arch) * multiple
    built = network(arch, norm=norm, resolution=resolution).eval()
    images = torch.randn(2, 3, resolution, resolution, generator=generator("images"))
    features = built.features(images)
    assert features.shape == (2, built.feature_dimension)
    assert built(images).shape == (2, 5)
    torch.testing.assert_close(built(images), built.head(features))
    # An image's features depend on no other image of the batch: the discrepancies rest on that.
    torch.testing.assert_close(built.features(images[:1]), features[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_weights_come_from_the_generator_alone(arch):
    state = torch.random.get_rng_state()
    first, again, other = network(arch), network(arch), network(arch, name="other")
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.head.weight, other.head.weight)
    bound = first.feature_dimension**-0.5
    assert 0.8 * bound < first.head.weight.abs().max() <= bound


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_resolution_too_small_or_not_a_multiple(arch):
    least = smallest_resolution(arch)
    for resolution in (least // 2, least + 1):
        with pytest.raises(ParamsError, match=rf"{arch} .* resolution {resolution} \(allowed: multiples of {least}\)"):
            network(arch, resolution=resolution)


def test_unknown_architecture():
    with pytest.raises(ParamsError, match="unknown architecture 'convnet-33'; did you mean 'convnet-3'"):
        build("convnet-33", channels=3, resolution=8, classes=2, width=4, norm="none", generator=generator())


def test_sizes_of_the_papers_networks():
    built = network("convnet-3", resolution=32, width=128, classes=10)
    assert sum(parameter.numel() for parameter in built.parameters()) == 320_010
    for arch, resolution in (("convnet-3", 32), ("convnet-4", 64), ("convnet-5", 128)):
        assert network(arch, resolution=resolution, width=128).feature_dimension == 2048


def test_pooling_is_the_mean_of_two_by_two():
    images = torch.randn(2, 3, 8, 8, generator=generator("images"), dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(HalvingPool()(images), torch.nn.functional.avg_pool2d(images, 2))
    assert torch.autograd.gradcheck(HalvingPool(), images, fast_mode=True)


# --- training


def test_learning_rates_of_the_two_protocols():
    rates = [learning_rate(PretrainParams(), epoch) for epoch in range(60)]
    assert rates == pytest.approx([0.01] * 40 + [0.002] * 10 + [0.0004] * 10)
    rates = [learning_rate(EvaluateParams(), epoch) for epoch in range(2000)]
    assert rates == pytest.approx([0.001 * 0.5 ** (epoch // 400) for epoch in range(2000)])


def train_tiny(data, names=("a",), **changes):
    split = load_split(data, "train")
    built, losses = network(resolution=8, classes=3), []
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


def test_infinite_loss_stops_training(data):
    with pytest.raises(DivergenceError, match=r"training a: the loss is nan in epoch \d; .* \(1e\+30\)"):
        train_tiny(data, learning_rate=1e30)


def test_accuracy_is_the_share_of_right_answers(data):
    split = load_split(data, "test")
    built = network(resolution=8, classes=3).eval()
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
        blended, trained = held.choose(draws)
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
    monkeypatch.setattr("ncfm.evaluate.accuracy", lambda network, split: next(looks))
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)  # one network after the other
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
