"""DD-Ranking's scores: closed forms, and the table from a campaign's rows with all that they need, or not."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from report_helpers import evaluate, make, read, run

from ncfm.report.tables.ranking import augmentation_robust_score, label_robust_score, normalised

CAMPAIGN = """
architectures: [convnet-3]
datasets: {digits: {ipcs: [1]}}
methods:
  paper: {seeds: [0, 1]}
  random: {}
  whole: {}
  paper-curated: {}
  random-curated: {stage: curate, of: random, label: random curated}
  paper-tuned: {stage: curate, of: paper, label: tuned, curate: {finetune: 3}}
protocols: [released, dm, plain]
"""


def test_closed_forms():
    assert (normalised(-1), normalised(1)) == (pytest.approx(0), pytest.approx(1))
    assert normalised(0) == pytest.approx(1 / (math.e + 1))
    # better than random by everything and than the whole data by everything: 1; the reverse: 0
    assert label_robust_score(0, 1, 1, 0) == pytest.approx(1)
    assert label_robust_score(1, 0, 0, 1) == pytest.approx(0)
    assert augmentation_robust_score(1, 0, 1, 0) == pytest.approx(1)
    assert augmentation_robust_score(0, 1, 0, 1) == pytest.approx(0)
    # as good as random images and as the whole data
    assert label_robust_score(0.7, 0.7, 0.4, 0.4) == pytest.approx(1 / (math.e + 1))
    # a gain of 0.3 over random images, a loss of 0.1 against the whole data: alpha 0.1
    assert label_robust_score(0.8, 0.7, 0.6, 0.3) == pytest.approx((math.exp(0.1) - 1 / math.e) / (math.e - 1 / math.e))
    assert label_robust_score(0.8, 0.7, 0.6, 0.3, weight=1) == pytest.approx(normalised(0.3))
    assert augmentation_robust_score(0.6, 0.4, 0.5, 0.1) == pytest.approx(normalised(0.3))
    assert augmentation_robust_score(0.6, 0.4, 0.5, 0.1, weight=1) == pytest.approx(normalised(0.2))


ACCURACIES = {  # in percent: protocols released, dm, plain
    "paper": {None: 60, "dm": 50, "plain": 40},
    "random": {None: 30, "dm": 20, "plain": 25},
    "whole": {None: 98, "dm": 90, "plain": 80},
    "paper-curated": {None: 70, "dm": 55, "plain": 45},
    "random-curated": {None: 35, "dm": 22, "plain": 27},
    "paper-tuned": {None: 72, "dm": 56, "plain": 46},
}


def table() -> dict[str, dict[str, str]]:
    return {line["method"]: line for line in csv.DictReader(read("tables/ranking.csv").splitlines())}


def test_scores_from_a_campaigns_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = make(tmp_path, monkeypatch, CAMPAIGN)
    for cell in chosen.cells_of("evaluate"):
        value = ACCURACIES[cell.method][cell.protocol] + (2 * cell.seed - 1 if cell.method == "paper" else 0)
        evaluate(chosen, cell, [value], [99.0])
    assert run() == 0
    found = table()
    assert set(found) == {"paper", "paper-curated", "paper-tuned"}
    # LRS: half the gain over random under `released`, less half the loss against the whole data under `dm`
    for method, lrs, ars in (
        ("paper", (0.6 - 0.3 - (0.9 - 0.5)) / 2, (0.5 - 0.2 + 0.4 - 0.25) / 2),
        # curated: against random images curated alike; hard labels are those of the method it was made from
        ("paper-curated", (0.7 - 0.35 - (0.9 - 0.5)) / 2, (0.55 - 0.22 + 0.45 - 0.27) / 2),
    ):
        assert float(found[method]["lrs"]) == pytest.approx(normalised(lrs), abs=1e-4)
        assert float(found[method]["ars"]) == pytest.approx(normalised(ars), abs=1e-4)
        assert found[method]["missing"] == ""
    assert (found["paper-tuned"]["lrs"], found["paper-tuned"]["ars"]) == ("", "")
    expected = "the same images with hard labels (dm), random images curated alike (released)"
    assert found["paper-tuned"]["missing"].startswith(expected)
    assert f"| {100 * 0.6:.1f}" in read("tables/ranking.md")
    rows = {line["method"]: line for line in csv.DictReader(read("tables/results.csv").splitlines())}
    assert rows["paper"]["curation"] == "" and rows["paper-curated"]["curation"] == "soft labels"
    assert rows["paper-tuned"]["curation"] == "soft labels, fine-tuned (3 steps)"


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = make(tmp_path, monkeypatch, CAMPAIGN)
    for cell in chosen.cells_of("evaluate"):
        if cell.method in ("paper", "random") and cell.protocol is not None:
            evaluate(chosen, cell, [50.0], [50.0])
    assert run() == 0
    line = table()["paper"]
    assert (line["lrs"], line["missing"]) == ("", "whole (dm), paper (released), random (released)")
    assert float(line["ars"]) == pytest.approx(normalised(0), abs=1e-4)
    assert "whole (dm)" in read("tables/ranking.md")
