"""Continual learning: which classes a step sees, that it learns them, kills and seeds, and its tables."""

from __future__ import annotations

import csv
from pathlib import Path

import helpers
import pytest
import torch
from report_helpers import make, read, run

from ncfm.core.errors import DataError, ParamsError
from ncfm.core.store import read_json, write_json
from ncfm.datasets.split import load_split
from ncfm.method.distilled import load, write_set
from ncfm.stages import table
from ncfm.stages.continual import class_order, only, targets


def test_a_step_tests_the_classes_seen_only(data):
    split = load_split(data, "test")
    seen = only(split, torch.tensor([2, 0]))
    assert (seen.classes, seen.label_names) == (2, ("top", "left"))
    assert torch.equal(seen.images[seen.labels == 0], split.images[split.labels == 2])
    assert torch.equal(seen.images[seen.labels == 1], split.images[split.labels == 0])
    assert len(seen.labels) == 2 * helpers.PER_CLASS


def test_labels_of_a_step_are_those_of_the_classes_seen(data, tmp_path):
    images, soft = torch.rand(3, 1, 3, 8, 8), torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
    split, rows, seen = load_split(data, "train"), torch.tensor([0, 2]), torch.tensor([2, 0])
    names = {"dataset": "made", "ipc": 1, "method": "test", "seed": 0}
    write_set(tmp_path / "hard", images, split, 1, names)
    write_set(tmp_path / "soft", images, split, 1, names, soft)
    assert targets(load(tmp_path / "hard/distilled.safetensors"), rows, seen).tolist() == [1, 0]
    expected = torch.tensor([[3 / 8, 5 / 8], [6 / 8, 2 / 8]])
    torch.testing.assert_close(targets(load(tmp_path / "soft/distilled.safetensors"), rows, seen), expected)


def test_it_learns_and_one_class_is_always_right(data, coreset, tmp_path):
    settings = {"epochs": 40, "optimizer": "adamw", "learning_rate": 0.02, "norm": "none", "cutmix_probability": 0}
    content = read_json(helpers.run_continual(data, coreset, tmp_path / "c.json", augmentation="", **settings))
    assert content["classes"] == [1, 2, 3]
    for network in content["networks"]:
        assert network["order"] == class_order("made", 0, network["network"], 3).tolist()
        assert network["accuracies"][0] == 100
        assert min(network["accuracies"][1:]) > 70
    for orders in (
        [class_order("made", 0, r, 3) for r in range(60)],
        [class_order("made", s, 0, 3) for s in range(60)],
    ):
        assert len({tuple(order.tolist()) for order in orders}) == 6  # repeats and seeds reach every order


def test_it_continues_after_a_kill_and_repeats_its_bytes(data, coreset, tmp_path, capfd):
    whole = helpers.run_continual(data, coreset, tmp_path / "whole.json")
    with pytest.raises(helpers.Killed):
        helpers.run_continual(data, coreset, tmp_path / "killed.json", kill_at=6)  # the last step of the second network
    capfd.readouterr()
    killed = helpers.run_continual(data, coreset, tmp_path / "killed.json")
    assert "continuing from" in capfd.readouterr().err
    assert killed.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "killed.checkpoint.safetensors").exists()


def test_faults(data, coreset, tmp_path):
    with pytest.raises(ParamsError, match="steps: is 2, but must divide the 3 classes of made"):
        helpers.run_continual(data, coreset, tmp_path / "c.json", steps=2)
    with pytest.raises(DataError, match=r"was made from made, but .* holds other"):
        helpers.run_continual(helpers.write_dataset(tmp_path / "o", "other"), coreset, tmp_path / "c.json")


CAMPAIGN = """
architectures: [convnet-3]
datasets: {digits: {ipcs: [1]}}
methods: {paper: {seeds: [0, 1]}, random: {}}
continual: {steps: [2], methods: [paper, random], protocol: dm}
"""


def test_table_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = make(tmp_path, monkeypatch, CAMPAIGN)
    first, second, missing = chosen.cells_of("continual")
    for cell, values in ((first, [[90, 60], [80, 70]]), (second, [[100, 80]])):
        networks = [{"network": index, "order": [], "accuracies": one} for index, one in enumerate(values)]
        content = {"names": cell.names, "classes": [5, 10], "networks": networks}
        write_json(table.output("made-up", cell), content)
    assert run() == 0
    paper, random = csv.DictReader(read("tables/continual.csv").splitlines())
    # final 60, 70, 80: mean 70, deviation 10; means of the steps 75, 75, 90: mean 80, deviation 15 / sqrt(3)
    expected = {"steps": "2", "protocol": "dm", "final": "70.0000", "final_std": "10.0000", "mean": "80.0000", "n": "3"}
    assert {key: paper[key] for key in expected} == expected
    assert float(paper["mean_std"]) == pytest.approx(15 / 3**0.5, abs=1e-4)
    assert random["final"] == "" and random["missing"] == str(table.output("made-up", missing))
    assert "70.0 ± 10.0" in read("tables/continual.md")
    assert "classes seen" in read("figures/continual.svg")
    write_json(table.output("made-up", first), {"names": first.names})
    assert run() == 2
    assert "not continual learning (KeyError: 'networks')" in capsys.readouterr().err
