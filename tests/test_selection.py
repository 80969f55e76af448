"""Sets from the outside: coresets, the record, and files or numbers that do not belong together."""

from __future__ import annotations

import json
from typing import get_args

import helpers
import pytest
import torch

import ncfm
from ncfm.datasets.split import load_split
from ncfm.errors import DataError, ParamsError
from ncfm.params import SelectParams
from ncfm.selection import RULES


@pytest.fixture(autouse=True)
def on_the_processor(monkeypatch):
    monkeypatch.setenv("NCFM_DEVICE", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return helpers.write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def pool(data, tmp_path_factory):
    return helpers.run_pretrain(data, tmp_path_factory.mktemp("pool") / "pool.safetensors")


def test_selection_takes_different_real_images_of_the_class(data, tmp_path):
    assert set(RULES) == set(get_args(SelectParams.model_fields["rule"].annotation))
    split = load_split(data, "train")
    chosen = ncfm.load(helpers.run_select(data, tmp_path, ipc=4))
    for label in range(3):
        real = {image.numpy().tobytes() for image in split.pixels(split.by_class[label])}
        taken = [image.numpy().tobytes() for image in chosen.pixels[chosen.labels == label]]
        assert len(set(taken)) == 4
        assert set(taken) <= real
    other = ncfm.load(helpers.run_select(data, tmp_path / "other", ipc=4, seed=1))
    assert not torch.equal(other.stored, chosen.stored)


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
