"""Sets from the outside: coresets, the record, and files or numbers that do not belong together."""

from __future__ import annotations

import json
from pathlib import Path

import helpers
import pytest
import torch
from torch.nn.functional import avg_pool2d, one_hot

import ncfm
from ncfm.core.errors import DataError, ParamsError
from ncfm.core.params import SelectParams
from ncfm.core.seeding import generator
from ncfm.core.store import load_tensors, save_tensors
from ncfm.datasets.split import Split, load_split
from ncfm.method.coresets import RULES, Request
from ncfm.method.coresets.forgetting import ForgettingEvents
from ncfm.method.coresets.untrained import farthest_first, herd
from ncfm.method.pool import Pool
from ncfm.stages.select import select

CORESETS = [name for name, rule in RULES.items() if not rule.whole]


@pytest.mark.parametrize("rule", CORESETS)
def test_every_rule_takes_different_real_images_of_the_class(rule, data, pool, tmp_path):
    split = load_split(data, "train")
    chosen = ncfm.load(helpers.run_select(data, tmp_path, ipc=4, pool=pool, rule=rule))
    for label in range(3):
        real = {image.numpy().tobytes() for image in split.pixels(split.by_class[label])}
        taken = [image.numpy().tobytes() for image in chosen.pixels[chosen.labels == label]]
        assert len(set(taken)) == 4
        assert set(taken) <= real
    again = ncfm.load(helpers.run_select(data, tmp_path / "again", ipc=4, pool=pool, rule=rule))
    assert torch.equal(again.stored, chosen.stored)
    other = ncfm.load(helpers.run_select(data, tmp_path / "other", ipc=4, seed=1, pool=pool, rule=rule))
    assert not torch.equal(other.stored, chosen.stored)


@pytest.mark.parametrize("rule", CORESETS)
def test_tiles_are_shrunken_real_images_in_the_same_storage(rule, data, pool, tmp_path):
    """IPC 2 as tiles holds the images that the rule chooses at eight images per class."""
    split = load_split(data, "train")
    tiles = ncfm.load(helpers.run_select(data, tmp_path, ipc=2, pool=pool, rule=rule, factor=2))
    assert tiles.stored.shape == (6, 3, 8, 8)
    assert tiles.labels.bincount().tolist() == [8] * 3
    for label in range(3):
        small = avg_pool2d(split.pixels(split.by_class[label]), 2)
        held = tiles.stored[2 * label : 2 * label + 2]
        corners = [held[:, :, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
        distance = torch.cdist(torch.cat(corners).flatten(1), small.flatten(1))
        assert distance.min(1).values.max() < 1e-5
        assert len(set(distance.argmin(1).tolist())) == 8


def test_all_stores_every_image_of_classes_of_any_size(data, tmp_path):
    tensors, facts = load_tensors(data / "train.safetensors")
    kept = torch.arange(36)[4:]  # class 0 loses two images, the others one
    save_tensors(tmp_path / "train.safetensors", {name: value[kept] for name, value in tensors.items()}, facts)
    path = helpers.run_select(tmp_path, tmp_path / "set", ipc=10, rule="all")
    assert load_tensors(path)[0]["images"].dtype == torch.uint8
    split, whole = load_split(tmp_path, "train"), ncfm.load(path)
    assert whole.labels.tolist() == [0] * 10 + [1] * 11 + [2] * 11
    assert torch.equal(whole.pixels, split.pixels(torch.cat(split.by_class)))
    torch.testing.assert_close(whole.images, split.normalisation(whole.pixels))
    assert (tmp_path / "set/grid.png").stat().st_size > 0
    evaluation = json.loads(helpers.run_evaluate(data, path, tmp_path / "e.json").read_text())
    assert evaluation["training_images"] == 32


def test_all_has_one_ipc(data, tmp_path):
    with pytest.raises(ParamsError, match=r"^--ipc: is 4, but the rule all stores every image of made \(allowed: 12,"):
        helpers.run_select(data, tmp_path, ipc=4, rule="all")
    with pytest.raises(ParamsError, match=r"^--ipc: is 12, which takes 48 real images per class"):
        helpers.run_select(data, tmp_path, ipc=12, rule="all", factor=2)


# --- the rules by hand


def test_herding_by_hand():
    """Mean 3: the nearest is 2 (4 is later); then 2 * 3 - 2 = 4; then 9 - 6 = 3, nearest unused 1; then 12 - 7 = 5."""
    features = torch.tensor([[1.0], [2.0], [8.0], [4.0], [0.0]])
    assert herd(features, 5).tolist() == [1, 3, 0, 2, 4]


def test_herding_keeps_the_mean_better_than_chance():
    features = torch.randn(200, 5, generator=generator("features"))
    mean = features.mean(0)
    chance = [features[torch.randperm(200, generator=generator(seed))[:10]].mean(0) for seed in range(20)]
    ours = (features[herd(features, 10)].mean(0) - mean).norm()
    assert ours < 0.5 * min((one - mean).norm() for one in chance)


def test_k_center_by_hand():
    """From 4: the farthest is 10 (0 is nearer); then 0; then 7, which is 3 from both sides."""
    features = torch.tensor([[0.0], [4.0], [5.0], [7.0], [10.0]])
    assert farthest_first(features, 4, start=1).tolist() == [1, 4, 0, 3]
    assert sorted(farthest_first(torch.zeros(4, 2), 4, start=2).tolist()) == [0, 1, 2, 3]  # equal rows: each once


def test_k_center_covers():
    """Within twice the smallest radius (Gonzalez 1985), which three tight clusters bound by their size."""
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]).repeat_interleave(20, 0)
    features = centres + 0.1 * torch.rand(60, 2, generator=generator("clusters"))
    for start in (0, 25, 59):
        chosen = features[farthest_first(features, 3, start)]
        assert torch.cdist(features, chosen).min(1).values.max() < 0.1 * 2**0.5


def test_forgetting_counts_by_hand():
    epochs = ["00011", "10110", "00101", "10110", "00111"]  # a row per epoch, a column per image
    labels, order = torch.tensor([0, 1, 2, 1, 0]), torch.tensor([3, 0, 4, 2, 1])
    events = ForgettingEvents(labels)
    for row in epochs:
        right = torch.tensor([mark == "1" for mark in row])
        logits = one_hot(torch.where(right, labels, (labels + 1) % 3), 3).float()
        for batch in order.split(2):
            events.judge(batch, logits[batch])
    assert events.counts.tolist() == [2, 0, 0, 1, 2]


def test_forgetting_chooses_the_most_forgotten(data, pool, tmp_path):
    """From made counts of the pool's second network: the highest of each class, whatever the ties among the others."""
    split, (tensors, facts) = load_split(data, "train"), load_tensors(pool)
    often, once = [rows[7].item() for rows in split.by_class], [rows[3].item() for rows in split.by_class]
    counts = torch.zeros(len(split.labels), dtype=torch.int32)
    counts[often], counts[once] = 4, 1
    save_tensors(tmp_path / "pool.safetensors", {**tensors, "1.forgotten": counts}, facts)
    request = requested(tmp_path / "pool.safetensors", split, wanted=3, seed=3)
    chosen = [rows.tolist() for rows in RULES["forgetting"].choose(request)]
    assert [rows[:2] for rows in chosen] == [list(pair) for pair in zip(often, once, strict=True)]


def requested(pool: Path, split: Split, wanted: int, seed: int) -> Request:
    return Request(split, wanted, seed, generator("draws"), Pool(pool, torch.device("cpu")))


def test_the_pools_training_counts_what_is_forgotten(data, pool, tmp_path):
    """It judges every image once an epoch, and nothing that CutMix mixed; counting changes no network."""
    settings = {"epochs": 9, "cutmix_probability": 0.0}
    counting = helpers.run_pretrain(data, tmp_path / "counting.safetensors", **settings)
    other = helpers.run_pretrain(data, tmp_path / "other.safetensors", **settings, count_forgetting=False)
    kept, plain = load_tensors(counting)[0], load_tensors(other)[0]
    counted = {name: kept.pop(name) for name in ("0.forgotten", "1.forgotten")}
    assert kept.keys() == plain.keys() and all(torch.equal(kept[name], plain[name]) for name in kept)
    assert all(counts.shape == (36,) and 0 < counts.max() <= 4 for counts in counted.values())
    assert not torch.equal(*counted.values())
    mixed = helpers.run_pretrain(data, tmp_path / "mixed.safetensors", **{**settings, "cutmix_probability": 1.0})
    assert load_tensors(mixed)[0]["0.forgotten"].max() == 0


def test_forgetting_needs_a_pool_that_counted_these_images(data, pool, tmp_path):
    split, (tensors, facts) = load_split(data, "train"), load_tensors(pool)
    plain = {name: value for name, value in tensors.items() if not name.endswith("forgotten")}
    for name, counts, message in (
        ("none", {}, r"has no forgetting events \(allowed: made with pretrain.count_forgetting: true\)"),
        ("other", {"0.forgotten": torch.zeros(35)}, "was trained on 35 images, but the data has 36"),
    ):
        save_tensors(tmp_path / f"{name}.safetensors", plain | counts, facts)
        with pytest.raises(DataError, match=f"{name}.safetensors: {message}"):
            RULES["forgetting"].choose(requested(tmp_path / f"{name}.safetensors", split, wanted=1, seed=0))


def test_extractors_that_are_missing_or_too_many(data, pool, tmp_path):
    record = helpers.record_of("select", tmp_path / "x", SelectParams(), ipc=1, method="test", seed=0)
    with pytest.raises(ParamsError, match="--extractors: is missing, but the rule herding reads an extractor pool"):
        select(SelectParams(rule="herding"), data, None, tmp_path, record)
    with pytest.raises(ParamsError, match=r"--extractors: is .*, but the rule random reads no pool"):
        select(SelectParams(), data, pool, tmp_path, record)
    other = helpers.write_dataset(tmp_path / "data", "other")
    with pytest.raises(DataError, match=r"was trained on made, but .* holds other"):
        helpers.run_select(other, tmp_path / "set", pool=pool, rule="k-center")


def test_unknown_names_in_the_params_of_a_stage_that_is_run_directly(data, pool, tmp_path):
    with pytest.raises(ParamsError, match=r"^rule: unknown rule 'herdin'; did you mean 'herding'"):
        select(SelectParams(rule="herdin"), data, None, tmp_path, helpers.record_of("select", tmp_path, SelectParams()))
    with pytest.raises(ParamsError, match=r"^discrepancy: unknown discrepancy 'ncdf'; did you mean 'ncfd'"):
        helpers.run_distill(data, pool, tmp_path, discrepancy="ncdf")


def test_more_images_than_a_class_has(data, pool, tmp_path):
    for run in (
        lambda: helpers.run_select(data, tmp_path, ipc=4, factor=2),
        lambda: helpers.run_distill(data, pool, tmp_path, ipc=4),
    ):
        with pytest.raises(ParamsError, match=r"--ipc: is 4, which takes 16 real .* made has 12"):
            run()
    with pytest.raises(ParamsError, match="--ipc: is 0"):
        helpers.run_select(data, tmp_path, ipc=0)


def test_extractors_of_another_data_set(pool, tmp_path):
    other = helpers.write_dataset(tmp_path / "data", "other")
    with pytest.raises(DataError, match=r"was trained on made, but .* holds other"):
        helpers.run_distill(other, pool, tmp_path / "set")


def test_loading_a_set_of_another_shape(data, pool, tmp_path):
    stored = helpers.run_distill(data, pool, tmp_path / "first", ipc=1)
    with pytest.raises(DataError, match=r"holds images \(3, 3, 8, 8\), but \(3, 2, 3, 8, 8\) are wanted"):
        helpers.run_distill(data, pool, tmp_path / "set", initialisation="load", load=str(stored))


def test_the_record_says_what_was_written(data, pool, tmp_path):
    path = helpers.run_distill(data, pool, tmp_path)
    record = json.loads((tmp_path / "distilled.record.json").read_text())
    assert set(record["outputs"]) == {str(tmp_path / n) for n in ("distilled.safetensors", "history.csv", "grid.png")}
    assert record["metrics"]["loss"] == pytest.approx(
        helpers.rows_of(path.parent / "history.csv")[-1]["loss"], rel=1e-5
    )
