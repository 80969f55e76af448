"""What ships with the repository: a pool taken from there is the one that training gives, a set has a name."""

from __future__ import annotations

from pathlib import Path

import helpers
import pytest
import torch
from report_helpers import make

import ncfm
from ncfm.campaign.plan import costs_of
from ncfm.core.errors import DataError
from ncfm.core.params import DistillParams, PretrainParams
from ncfm.core.store import load_tensors, read_json, save_tensors, write_json
from ncfm.method import shipped
from ncfm.method.distilled import in_bytes
from ncfm.report.ship import main, ship
from ncfm.run.record import Record
from ncfm.stages.distill import distill
from ncfm.stages.pretrain import pretrain

ROUNDED = {**helpers.NETWORK, "pool": 3, "epochs": 2, "kept": "float16"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder in the place of results/shipped/."""
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


def trained(data: Path, out: Path, **changes: object) -> Path:
    """Pretrain as the command does, with the data among the record's inputs."""
    params = PretrainParams(**{**ROUNDED, **changes})
    names = {"dataset": "made", "arch": params.arch}
    inputs: list[str | Path] = [data / "train.safetensors", data / "test.safetensors"]
    pretrain(params, data, out, Record("pretrain", out, params.model_dump(mode="json"), names, inputs))
    return out


def taken(pool: Path) -> list[int]:
    return read_json(pool.with_name(f"{pool.stem}.record.json")).get("shipped", {}).get("members", [])


def test_a_shipped_pool_is_the_pool_that_training_gives(data, tmp_path):
    made = trained(data, tmp_path / "made/pool.safetensors")
    ship(made)
    again = trained(data, tmp_path / "again/pool.safetensors")
    assert taken(made) == [] and taken(again) == [0, 1, 2]
    for name in ("pool.safetensors", "pool.history.csv"):
        assert made.with_name(name).read_bytes() == again.with_name(name).read_bytes()
    assert read_json(again.with_name("pool.record.json"))["shipped"]["made"][0]["seconds"] > 0


def test_more_members_are_trained_and_then_ship_as_well(data, folder, tmp_path):
    ship(trained(data, tmp_path / "few/pool.safetensors", pool=1))
    more = trained(data, tmp_path / "more/pool.safetensors")
    assert taken(more) == [0]
    note = read_json(ship(more).with_suffix(".json"))
    assert [one["members"] for one in note["made"]] == [[0], [1, 2]]
    assert taken(trained(data, tmp_path / "fewer/pool.safetensors", pool=2)) == [0, 1]
    assert sorted(path.name for path in folder.rglob("*.*")) == ["made-convnet-3.json", "made-convnet-3.safetensors"]


@pytest.mark.parametrize("change", [{"epochs": 1}, {"width": 8}, {"kept": "float32"}, {"learning_rate": 0.02}])
def test_other_params_are_trained(data, tmp_path, change):
    ship(trained(data, tmp_path / "made/pool.safetensors", pool=1))
    assert taken(trained(data, tmp_path / "other/pool.safetensors", pool=1, **change)) == []


def test_other_images_and_damaged_files_are_not_used(data, tmp_path, capfd):
    target = ship(trained(data, tmp_path / "made/pool.safetensors", pool=1))
    other = helpers.write_dataset(tmp_path / "other")
    tensors, facts = load_tensors(other / "train.safetensors")
    save_tensors(other / "train.safetensors", {**tensors, "images": 255 - tensors["images"]}, facts)
    assert taken(trained(other, tmp_path / "images/pool.safetensors", pool=1)) == []
    assert "was trained on other images" in capfd.readouterr().err
    target.write_bytes(target.read_bytes()[:-8])
    assert taken(trained(data, tmp_path / "torn/pool.safetensors", pool=1)) == []
    assert "is not the file that was shipped" in capfd.readouterr().err
    target.unlink()
    assert taken(trained(data, tmp_path / "gone/pool.safetensors", pool=1)) == []
    assert "no such file" in capfd.readouterr().err


def test_float16_changes_weights_and_losses_by_rounding_only(data, tmp_path):
    pools = [trained(data, tmp_path / kept / "pool.safetensors", kept=kept) for kept in ("float32", "float16")]
    exact, rounded = (load_tensors(pool)[0] for pool in pools)
    assert exact.keys() == rounded.keys()
    for name, value in exact.items():
        wanted = value.half().float() if ".trained." in name and value.is_floating_point() else value
        assert torch.equal(rounded[name], wanted)
    histories = []
    for pool in pools:
        out = helpers.run_distill(data, pool, tmp_path / f"set-{pool.parent.name}", learning_rate=0.001)
        histories.append([(row["loss"], row["calibration"]) for row in helpers.rows_of(out.with_name("history.csv"))])
    assert torch.allclose(*map(torch.tensor, histories), rtol=2e-3)


def test_a_set_is_loaded_by_name(data, pool, tmp_path):
    out = tmp_path / "set/distilled.safetensors"
    names = {"dataset": "made", "ipc": 2, "method": "test", "seed": 0}
    changes = {**helpers.TINY_DISTILL, "snapshots": [1]}
    params = DistillParams(**changes, kept="uint8")
    record = Record("distill", out, params.model_dump(mode="json"), names, [])
    distill(params, data, pool, out.parent, record)
    exact = ncfm.load(helpers.run_distill(data, pool, tmp_path / "exact", **changes))
    with pytest.raises(DataError, match=r"unknown shipped set 'made-ipc2-test' \(allowed: there is none here"):
        ncfm.load("made-ipc2-test")
    target = ship(out)
    found = ncfm.load("made-ipc2-test")
    assert torch.equal(found.stored, in_bytes(exact.stored).float().div(255))
    assert torch.equal(found.stored, ncfm.load(out).stored) and torch.equal(found.labels, exact.labels)
    assert (ncfm.load(out).snapshots[1].stored - exact.snapshots[1].stored).abs().max() <= 0.5 / 255 + 1e-6
    assert not found.snapshots and found.names == names
    assert repr(found) == "<made ipc2 test seed0: 24 training images, 3 x 8 x 8, 3 classes, 6 stored images>"
    assert read_json(target.with_suffix(".json"))["params"]["kept"] == "uint8"


def test_what_does_not_ship(data, pool, tmp_path, capsys):
    params = DistillParams(**helpers.TINY_DISTILL)
    out = tmp_path / "set/distilled.safetensors"
    names = {"dataset": "made", "ipc": 2, "method": "test", "seed": 0}
    distill(params, data, pool, out.parent, Record("distill", out, params.model_dump(mode="json"), names, []))
    assert main([str(out)]) == 2
    assert "was made with kept: float32 (what ships has uint8)" in capsys.readouterr().err
    assert main([str(tmp_path / "nothing.safetensors")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_plan_counts_only_what_is_left_to_train(tmp_path, monkeypatch, folder):
    chosen = make(tmp_path, monkeypatch, CAMPAIGN)
    (cell,) = chosen.cells_of("pretrain")
    whole = costs_of(chosen)[cell]
    note = {"dataset": "digits", "params": chosen.params[cell].model_dump(), "histories": {"0": [], "1": [], "9": []}}
    write_json(folder / "extractors/digits-convnet-3.json", note)
    left = costs_of(chosen)[cell]
    assert left.work.flop == pytest.approx(whole.work.flop / 2) and left.disk == whole.disk


CAMPAIGN = """
architectures: [convnet-3]
datasets: {digits: {ipcs: [1]}}
methods: {paper: {}}
pretrain: {pool: 4}
"""
