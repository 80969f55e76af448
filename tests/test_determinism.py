"""Determinism: seeds decide every byte, the global random states are left alone, and a killed stage continues."""

from __future__ import annotations

import random
import re

import helpers
import numpy as np
import pytest
import torch

import ncfm


@pytest.fixture(scope="module")
def stored(data, pool, tmp_path_factory):
    return helpers.run_distill(data, pool, tmp_path_factory.mktemp("set"))


def test_same_seed_same_bytes_other_seed_other_bytes(data, pool, tmp_path):
    first, again, other = (
        helpers.run_distill(data, pool, tmp_path / name, seed=seed).read_bytes()
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again
    assert ncfm.load(tmp_path / "other/distilled.safetensors").names["seed"] == 1
    assert not torch.equal(
        ncfm.load(tmp_path / "other/distilled.safetensors").stored,
        ncfm.load(tmp_path / "first/distilled.safetensors").stored,
    )
    assert other != first


def test_no_stage_touches_or_reads_the_global_random_states(data, tmp_path):
    def states():
        return torch.random.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()

    def stages(folder):
        made = helpers.run_pretrain(data, folder / "pool.safetensors")
        distilled = helpers.run_distill(data, made, folder / "set")
        chosen = helpers.run_select(data, folder / "select", pool=made, rule="forgetting", factor=2)
        looked = helpers.run_evaluate(data, distilled, folder / "e.json")
        return [path.read_bytes() for path in (made, distilled, chosen, looked)]

    before = states()
    first = stages(tmp_path / "first")
    assert states() == before
    torch.rand(3), np.random.rand(3), random.random()
    assert stages(tmp_path / "second") == first


# --- continuing after a kill

RESUMED = {
    "paper": {"frequencies": "mixture", "update": "joint", "schedule": "cosine"},
    "released": {"frequencies": "gaussian", "update": "per-class", "schedule": "plateau", "real_batches": "first"},
    "sgd": {"frequencies": "released", "optimizer": "sgd", "schedule": "constant"},
}
LONG = {"iterations": 8, "checkpoint_every": 2}


def outputs(folder):
    return {name: (folder / name).read_bytes() for name in ("distilled.safetensors", "history.csv", "grid.png")}


@pytest.mark.parametrize("recipe", RESUMED)
def test_a_resumed_run_equals_an_uninterrupted_one(recipe, data, pool, tmp_path, capfd):
    settings = {**LONG, **RESUMED[recipe]}
    helpers.run_distill(data, pool, tmp_path / "whole", **settings)
    for died_at, continues_from in ((1, None), (4, 2), (8, 6)):  # at 4 the checkpoint of 4 is not yet written
        with pytest.raises(helpers.Killed):
            helpers.run_distill(data, pool, tmp_path / "killed", kill_at=died_at, **settings)
        said = capfd.readouterr().err
        assert ("continuing" in said) == (died_at > 4)
        assert (tmp_path / "killed/checkpoint.safetensors").exists() == (continues_from is not None)
    helpers.run_distill(data, pool, tmp_path / "killed", **settings)
    assert "continuing from 6 of 8" in capfd.readouterr().err
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")
    assert not (tmp_path / "killed/checkpoint.safetensors").exists()
    if recipe == "released":  # else the plateau's state would not have been tested
        assert len({row["learning_rate"] for row in helpers.rows_of(tmp_path / "whole/history.csv")}) > 1


@pytest.mark.parametrize("damage", ["torn", "empty", "other params"])
def test_an_unusable_checkpoint_means_a_fresh_start(damage, data, pool, tmp_path, capfd):
    settings = {**LONG, "learning_rate": 0.03}
    helpers.run_distill(data, pool, tmp_path / "whole", **settings)
    before = {**settings, "learning_rate": 0.01} if damage == "other params" else settings
    with pytest.raises(helpers.Killed):
        helpers.run_distill(data, pool, tmp_path / "killed", kill_at=5, **before)
    checkpoint = tmp_path / "killed/checkpoint.safetensors"
    if damage != "other params":
        whole = checkpoint.read_bytes()
        checkpoint.write_bytes(whole[: len(whole) // 2] if damage == "torn" else b"")
    capfd.readouterr()
    helpers.run_distill(data, pool, tmp_path / "killed", **settings)
    assert "continuing" not in capfd.readouterr().err
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")


@pytest.fixture
def cores(monkeypatch):
    """Return a setter of the number of cores; every network computes on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield lambda number: monkeypatch.setenv("NCFM_CORES", str(number))
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_pretraining_continues_after_a_kill(number, data, tmp_path, cores):
    cores(1)
    whole = helpers.run_pretrain(data, tmp_path / "whole.safetensors", pool=3)
    cores(number)
    out = tmp_path / "killed.safetensors"
    with pytest.raises(helpers.Killed):
        helpers.run_pretrain(data, out, kill_at=4, pool=3)  # after the last epoch of the second network
    assert not out.exists()
    assert (tmp_path / "killed.checkpoint.safetensors").exists()
    helpers.run_pretrain(data, out, pool=3)
    assert out.read_bytes() == whole.read_bytes()
    assert (tmp_path / "killed.history.csv").read_bytes() == (tmp_path / "whole.history.csv").read_bytes()
    assert not (tmp_path / "killed.checkpoint.safetensors").exists()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_evaluation_continues_after_a_kill(number, data, stored, tmp_path, capfd, cores):
    cores(1)
    whole = helpers.run_evaluate(data, stored, tmp_path / "whole.json", networks=3)
    cores(number)
    with pytest.raises(helpers.Killed):
        helpers.run_evaluate(data, stored, tmp_path / "killed.json", kill_at=8, networks=3)  # network 1's last look
    capfd.readouterr()
    out = helpers.run_evaluate(data, stored, tmp_path / "killed.json", networks=3)
    assert re.search(r"continuing from \d+ of 12" if number > 1 else "from 8 of 12", capfd.readouterr().err)
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "killed.checkpoint.safetensors").exists()
