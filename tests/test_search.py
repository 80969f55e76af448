"""Architecture search: every network of the grid, kills, what does not fit, the correlation, its table and figure."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
from report_helpers import REPOSITORY, make, read, run

from ncfm.campaign import campaign
from ncfm.campaign.plan import cost_of, seconds_of
from ncfm.core.errors import DataError, ParamsError
from ncfm.core.store import read_json, write_json, write_text
from ncfm.report.tables.search import rank_correlation
from ncfm.stages import table
from ncfm.stages.cells import Cell


def test_it_trains_every_network_of_the_grid_and_they_learn(data, coreset, tmp_path):
    settings = {"epochs": 40, "cutmix_probability": 0, "augmentation": ""}
    content = read_json(helpers.run_search(data, coreset, tmp_path / "s.json", **settings))
    networks = [(network["arch"], network["width"], network["norm"]) for network in content["networks"]]
    assert networks == [("convnet-3", width, norm) for width in (4, 8) for norm in ("none", "batch")]
    accuracies = [network["accuracies"] for network in content["networks"]]
    assert all(len(repeats) == 2 and min(repeats) > 70 for repeats in accuracies)


def test_it_continues_after_a_kill_and_repeats_its_bytes(data, coreset, tmp_path, capfd):
    settings = {"epochs": 12, "cutmix_probability": 0, "augmentation": ""}
    whole = helpers.run_search(data, coreset, tmp_path / "whole.json", **settings)
    runs = [one for network in read_json(whole)["networks"] for one in network["accuracies"]]
    assert len(runs) == 8 and len(set(runs)) > 2  # repeats and networks are not one and the same
    with pytest.raises(helpers.Killed):
        helpers.run_search(data, coreset, tmp_path / "killed.json", kill_at=6, **settings)
    capfd.readouterr()
    killed = helpers.run_search(data, coreset, tmp_path / "killed.json", **settings)
    assert "search: continuing from" in capfd.readouterr().err
    assert killed.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "killed.checkpoint.safetensors").exists()


def test_another_data_set_is_refused(data, coreset, tmp_path):
    with pytest.raises(DataError, match=r"was made from made, but .* holds other"):
        helpers.run_search(helpers.write_dataset(tmp_path / "o", "other"), coreset, tmp_path / "s.json")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 35, 90], 1),
        ([1, 2, 3, 4], [9, 7, 5, 1], -1),
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 1 - 6 * 4 / (5 * 24)),  # 1 - 6 sum d^2 / (n (n^2 - 1)), no ties
        ([1, 1, 2], [1, 2, 3], 3**0.5 / 2),  # ranks 1.5, 1.5, 3 and 1, 2, 3: covariance 0.75, deviations sqrt(0.75), 1
    ],
)
def test_rank_correlation_in_closed_form(first, second, expected):
    assert rank_correlation(np.array(first), np.array(second)) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(rank_correlation(np.array(first), np.full(len(first), 7.0)))


CAMPAIGN = """
architectures: [convnet-3]
datasets: {digits: {ipcs: [1, 2]}}
methods: {paper: {seeds: [0, 1]}, random: {}, whole: {}}
search: {depths: [3], widths: [8, 16], norms: [none, default, instance], methods: [paper], protocol: dm}
"""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"norms": "[bach]"}, r"search\.norms: is 'bach', which convnet-3 cannot take \(allowed: default, instance"),
        ({"norms": "[group]", "widths": "[8, 6]"}, r"search\.norms: is 'group', .* but width is 6"),
        ({"depths": "[2]"}, r"search\.depths: unknown architecture 'convnet-2'.*allowed: convnet-3, "),
    ],
)
def test_networks_that_cannot_be(change, expected, tmp_path):
    grid = {"depths": "[3]", "widths": "[8]", "norms": "[none]", "methods": "[paper]", **change}
    entry = ", ".join(f"{key}: {value}" for key, value in grid.items())
    write_text(tmp_path / "base.yaml", (REPOSITORY / "params/base.yaml").read_text())
    write_text(tmp_path / "trial.yaml", CAMPAIGN.replace(CAMPAIGN[CAMPAIGN.index("search:") :], f"search: {{{entry}}}"))
    with pytest.raises(ParamsError, match=f"trial.yaml: {expected}"):
        campaign.load("trial", tmp_path)


def test_a_grid_that_the_data_set_cannot_take_is_skipped(tmp_path):
    write_text(tmp_path / "base.yaml", (REPOSITORY / "params/base.yaml").read_text())
    write_text(tmp_path / "trial.yaml", CAMPAIGN.replace("depths: [3]", "depths: [3, 5]"))
    chosen = campaign.load("trial", tmp_path)
    assert not chosen.cells_of("search") and chosen.cells_of("evaluate")
    assert {one.stage for one in chosen.skipped} == {"search"}
    assert "search.depths: convnet-5 cannot take digits, whose resolution is 16" in chosen.skipped[0].reason


def test_a_plan_adds_up_the_networks(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, CAMPAIGN)
    cell = chosen.cells_of("search")[0]
    alone = []
    for arch, width, norm in chosen.params[cell].candidates:
        one = chosen.params[cell].model_copy(update={"depths": (3,), "widths": (width,), "norms": (norm,)})
        assert one.candidates == [(arch, width, norm)]
        alone.append(seconds_of([cost_of(cell, replace(chosen, params={**chosen.params, cell: one}))]))
    assert len(alone) == 4 and min(alone[0]) > 0
    assert seconds_of([cost_of(cell, chosen)]) == pytest.approx(tuple(map(sum, zip(*alone, strict=True))))


def answers(cell: Cell, values: list[list[float]], params: Any) -> None:
    networks = [
        {"arch": arch, "width": width, "norm": norm, "accuracies": repeats}
        for (arch, width, norm), repeats in zip(params.candidates, values, strict=True)
    ]
    write_json(table.output("made-up", cell), {"names": cell.names, "networks": networks})


def test_table_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = make(tmp_path, monkeypatch, CAMPAIGN)
    cells = chosen.cells_of("search")
    assert [(cell.ipc, cell.method, cell.seed) for cell in cells] == [
        *((1, "paper", 0), (1, "paper", 1), (139, "whole", 0), (2, "paper", 0), (2, "paper", 1)),
    ]
    first, second, whole, *missing = cells
    params = chosen.params[first]
    assert params.candidates == [("convnet-3", w, n) for w in (8, 16) for n in ("none", "instance")]
    answers(whole, [[80, 80], [90, 90], [60, 62], [70, 70]], params)  # ranks 3, 4, 1, 2
    answers(first, [[30, 32], [40, 40], [10, 10], [20, 20]], params)  # the same order
    answers(second, [[30, 30], [20, 20], [10, 10], [20, 60]], params)  # ranks 3, 2, 1, 4: sum d^2 = 8, so 0.2
    assert run() == 0
    one, two = csv.DictReader(read("tables/search.csv").splitlines())
    expected = {
        **{"ipc": "1", "method": "paper", "protocol": "dm", "networks": "4", "n": "2", "spearman": "0.6000"},
        **{"chosen": "convnet-3 8 instance / convnet-3 16 instance", "chosen_whole": "80.0000", "missing": ""},
        **{"best": "convnet-3 8 instance", "best_whole": "90.0000"},
    }
    assert {key: one[key] for key in expected} == expected
    assert float(one["spearman_std"]) == pytest.approx(0.8 / 2**0.5, abs=1e-4)
    assert (two["ipc"], two["spearman"]) == ("2", "")
    assert two["missing"] == ", ".join(str(table.output("made-up", cell)) for cell in missing)
    assert "0.60 ± 0.57" in read("tables/search.md") and "80.0 ± 14.1" in read("tables/search.md")
    assert "trained on the whole training set" in read("figures/search.svg")
    file_of_whole = Path(table.output("made-up", whole))
    assert file_of_whole.name == "search.dm.json"
    file_of_whole.unlink()
    assert run() == 0
    one, two = csv.DictReader(read("tables/search.csv").splitlines())
    assert (one["spearman"], one["n"], one["missing"]) == ("", "2", str(file_of_whole))
    write_json(file_of_whole, {"names": whole.names})
    assert run() == 2
    assert "not a search (KeyError: 'networks')" in capsys.readouterr().err
