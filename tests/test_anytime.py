"""Anytime curves: snapshots are what a shorter look at the same run sees, kills, the stage, its table and figure."""

from __future__ import annotations

import csv

import helpers
import pytest
import torch
from report_helpers import make, read, run

import ncfm
from ncfm.campaign.plan import costs_of
from ncfm.core.checkpoint import Checkpoint
from ncfm.core.errors import ParamsError
from ncfm.core.layout import record_file
from ncfm.core.params import DistillParams, parse
from ncfm.core.store import read_json, write_json
from ncfm.datasets.catalogue import facts_of
from ncfm.stages import anytime, costs, table

CHANGES = {"iterations": 5, "schedule": "constant", "checkpoint_every": 2}


def test_a_snapshot_is_the_set_of_as_many_iterations(data, pool, tmp_path):
    whole = ncfm.load(helpers.run_distill(data, pool, tmp_path / "whole", **CHANGES, snapshots=[2, 3, 5], log_every=4))
    assert list(whole.snapshots) == [2, 3, 5]
    for iteration, snapshot in whole.snapshots.items():
        alone = helpers.run_distill(data, pool, tmp_path / str(iteration), **{**CHANGES, "iterations": iteration})
        assert torch.equal(snapshot.stored, ncfm.load(alone).stored)
        assert torch.equal(snapshot.labels, whole.labels)
    assert torch.equal(whole.snapshots[5].images, whole.images)
    assert not ncfm.load(helpers.run_distill(data, pool, tmp_path / "plain", **CHANGES)).snapshots


def test_a_kill_keeps_snapshots_and_their_times(data, pool, tmp_path):
    names = {"dataset": "made", "ipc": 2, "method": "test", "seed": 0}
    changes = {**CHANGES, "snapshots": [1, 3, 4]}
    whole = helpers.run_distill(data, pool, tmp_path / "whole", **changes)
    with pytest.raises(helpers.Killed):
        helpers.run_distill(data, pool, tmp_path / "killed", kill_at=5, **changes)
    params = DistillParams(**{**helpers.TINY_DISTILL, **changes})
    out = tmp_path / "killed/distilled.safetensors"
    key = helpers.record_of("distill", out, params, **names).content["key"]
    assert Checkpoint(tmp_path / "killed/checkpoint.safetensors", key).load()[1]["iteration"] == 4
    killed = helpers.run_distill(data, pool, tmp_path / "killed", **changes)
    assert whole.read_bytes() == killed.read_bytes()
    for folder in ("whole", "killed"):
        record = read_json(tmp_path / folder / "distilled.record.json")
        marks = record["marks"]
        assert record["seconds"] >= marks[-1]["seconds"]  # of all processes, not of the last alone
        assert [mark["iteration"] for mark in marks] == [1, 3, 4, 5]
        for name in ("seconds", "processor_seconds"):
            assert 0 < marks[0][name] <= marks[1][name] <= marks[2][name] <= marks[3][name]


@pytest.mark.parametrize(("snapshots", "message"), [([3, 2], "must increase"), ([0], "greater than or equal to 1")])
def test_snapshots_that_mean_nothing(snapshots, message):
    with pytest.raises(ParamsError, match=message):
        parse(DistillParams, {"snapshots": snapshots}, "here")


def test_every_snapshot_is_evaluated_as_the_set_alone_would_be(data, pool, tmp_path):
    whole = helpers.run_distill(data, pool, tmp_path / "whole", **CHANGES, snapshots=[2])
    content = read_json(helpers.run_anytime(data, whole, tmp_path / "a.json"))
    assert [point["iteration"] for point in content["snapshots"]] == [2, 0]  # 0: as it was finished
    short = helpers.run_distill(data, pool, tmp_path / "short", **{**CHANGES, "iterations": 2})
    for point, stored in zip(content["snapshots"], (short, whole), strict=True):
        alone = read_json(helpers.run_evaluate(data, stored, tmp_path / f"{stored.parent.name}.json"))
        assert point["accuracies"] == [network["last"] for network in alone["networks"]]
    with pytest.raises(helpers.Killed):
        helpers.run_anytime(data, whole, tmp_path / "killed.json", kill_at=3)
    assert read_json(helpers.run_anytime(data, whole, tmp_path / "killed.json")) == content


def test_a_snapshot_that_equals_the_finished_set_is_a_point_that_costs_no_training(data, pool, tmp_path, monkeypatch):
    """In bytes a late snapshot may be the finished set's for one seed alone: the points are those of all seeds."""
    steps, trained = {"iterations": 3, "schedule": "constant", "kept": "uint8", "snapshots": [1, 2, 3]}, []
    still = helpers.run_distill(data, pool, tmp_path / "still", **steps, learning_rate=1e-9)
    moved = helpers.run_distill(data, pool, tmp_path / "moved", **steps, learning_rate=0.05)
    train = anytime.train
    monkeypatch.setattr(anytime, "train", lambda *given: trained.append(given) or train(*given))
    for stored, trainings in ((still, 1), (moved, 3)):
        out = stored.with_suffix(".json")
        points = read_json(helpers.run_anytime(data, stored, out, networks=1, epochs=1))["snapshots"]
        assert [point["iteration"] for point in points] == [1, 2, 3, 0]
        assert len({tuple(point["accuracies"]) for point in points}) <= trainings == len(trained)
        trained.clear()


CAMPAIGN = """
architectures: [convnet-3]
datasets: {digits: {ipcs: [1]}}
methods: {paper: {seeds: [0, 1]}, random: {seeds: [0]}}
distill: {iterations: 40, snapshots: [10]}
anytime: {methods: [paper, random]}
"""


def test_table_and_figure(tmp_path, monkeypatch, capsys):
    chosen = make(tmp_path, monkeypatch, CAMPAIGN)
    first, second, random = chosen.cells_of("anytime")
    last, alike = [80, 90], [87, 87]  # a snapshot of the last iteration is the finished set: one line
    for cell, values in ((first, [[50, 70], last, last]), (second, [[62, 62], alike, alike]), (random, [[40, 44]])):
        points = [
            {"iteration": iteration, "accuracies": one}
            for iteration, one in zip((10, 40, 0)[-len(values) :], values, strict=True)
        ]
        write_json(table.output("made-up", cell), {"names": cell.names, "snapshots": points})
    for cell, minutes in zip(chosen.cells_of("distill"), (1, 2), strict=True):
        path = record_file(table.output("made-up", cell))
        marks = [
            {"iteration": iteration, "seconds": 9.0, "processor_seconds": 60.0 * minutes * iteration}
            for iteration in (10, 40)
        ]
        write_json(path, {**read_json(path), "marks": marks})
    assert run() == 0
    early, late, alone = csv.DictReader(read("tables/anytime.csv").splitlines())
    # seeds 60 and 62: mean 61, t interval 12.706 x sqrt(2) / sqrt(2); minutes 10 and 20, 40 and 80
    expected = {
        "iteration": "10",
        "minutes": "15.0000",
        "accuracy": "61.0000",
        "accuracy_low": "48.2938",
        "n_seeds": "2",
    }
    assert {key: early[key] for key in expected} == expected
    assert {key: late[key] for key in ("iteration", "minutes", "accuracy")} == {
        **{"iteration": "40", "minutes": "60.0000", "accuracy": "86.0000"}
    }
    assert (alone["accuracy"], alone["minutes"], alone["iteration"]) == ("42.0000", "", "")
    assert "48.3 to 73.7" in read("tables/anytime.md")
    assert "minutes of the processor" in read("figures/anytime.svg")
    write_json(table.output("made-up", first), {"names": first.names})
    assert run() == 2
    assert "not evaluations of snapshots (KeyError: 'snapshots')" in capsys.readouterr().err


def test_a_campaign_plans_snapshots_and_refuses_those_never_reached(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, CAMPAIGN)
    estimates, evaluation, snapshots = costs_of(chosen), *(chosen.cells_of(one)[0] for one in ("evaluate", "anytime"))
    params, digits = chosen.params[evaluation], facts_of("digits")
    look = costs.testing(costs.network_work("convnet-3", digits, params.width, params.norm), digits.images("test"))
    once = estimates[evaluation].work.flop - look.flop * params.networks * (params.looks - 1)
    assert estimates[snapshots].work.flop == pytest.approx(2 * once)  # the snapshot and the finished set
    with pytest.raises(
        ParamsError, match=r"distill.snapshots: names 10, which is never reached \(allowed: 1 to 9, its"
    ):
        make(tmp_path, monkeypatch, CAMPAIGN.replace("iterations: 40", "iterations: 9"))
