"""Two runs of a campaign beside each other: differences by hand, what they should be, and a published one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from report_helpers import DIGITS, evaluate, make

from ncfm import cli
from ncfm.core.store import read_json, write_json
from ncfm.report.publish import publish


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """A campaign of three sets, evaluated, and a copy of its results in `kept/before`."""
    chosen = make(tmp_path, monkeypatch, DIGITS)
    for cell, last in zip(chosen.cells_of("evaluate"), ([50.0, 52.0], [60.0, 62.0], [30.0, 32.0]), strict=True):
        evaluate(chosen, cell, last, last)
    shutil.copytree("results/made-up", "kept/before")
    return chosen


def said(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert cli.main(["compare", *arguments]) == status
    output = capsys.readouterr()
    return output.err if status else output.out


def test_differences_by_hand(chosen, capsys):
    first, second, _ = chosen.cells_of("evaluate")
    evaluate(chosen, first, [51.0, 53.0], [51.0, 53.0])
    evaluate(chosen, second, [65.0, 67.0], [65.0, 67.0])
    # Every set has the deviation sqrt(2): two networks each, so the means should differ by sqrt(2) sqrt(1/2 + 1/2).
    lines = [line.split("  ") for line in said(capsys, "kept/before", "made-up").splitlines()]
    cells = [[part.strip() for part in line if part.strip()] for line in lines[2:5]]
    assert cells == [
        ["digits ipc1 paper seed0 convnet-3 released", "51.0", "52.0", "+1.0", "1.4"],
        ["digits ipc1 paper seed1 convnet-3 released", "61.0", "66.0", "+5.0", "1.4", "more than twice"],
        ["digits ipc1 random seed0 convnet-3 released", "31.0", "31.0", "+0.0", "1.4"],
    ]
    summary = "3 cells in both, 0 only in kept/before, 0 only in results/made-up. "
    summary += "Mean difference +2.00 points, largest +5.00; beyond twice the expected one: 1."
    assert "  ".join(lines[5]).startswith("expected: of two runs of one cell") and "  ".join(lines[6]) == summary


def test_other_params_and_missing_cells_are_named(chosen, capsys, monkeypatch):
    changed = make(Path.cwd(), monkeypatch, DIGITS + "evaluate: {epochs: 7}\n")
    first, *_ = changed.cells_of("evaluate")
    evaluate(changed, first, [51.0], [51.0])
    Path("kept/before", "evaluations/digits/ipc1/random/seed0/convnet-3.json").unlink()
    text = said(capsys, "made-up", "kept/before")
    assert "params differ: evaluate.epochs" in next(line for line in text.splitlines() if " paper seed0 " in line)
    assert "2 cells in both, 1 only in results/made-up, 0 only in kept/before" in text


def test_params_of_another_version_and_those_that_change_nothing_are_no_difference(chosen, capsys):
    """What was published before a param existed had its default; a param that is gone says nothing."""
    for path in Path("kept/before/params").rglob("*.json"):
        values = read_json(path)
        if path.parts[3] == "distill":
            values.pop("root")
            write_json(path, values | {"gone": 60, "log_every": 7})
    assert "params differ" not in said(capsys, "made-up", "kept/before")
    for path in Path("kept/before/params/distill").rglob("*.json"):
        write_json(path, read_json(path) | {"root": False, "iterations": 9})
    text = said(capsys, "made-up", "kept/before")
    assert text.count("params differ: distill.iterations, distill.root\n") == 2


def test_with_what_is_published(chosen, capsys):
    assert cli.main(["report", "--params", "results/made-up/params/report.json", "--results", "results/made-up"]) == 0
    publish(Path("results/made-up"), Path("results/published/made-up"))
    text = said(capsys, "made-up")
    assert "second: results/published/made-up" in text and "largest +0.00; beyond twice the expected one: 0." in text


def test_nothing_to_compare(chosen, capsys):
    assert "made-up: holds no results of a campaign" in said(capsys, "made-up", "nowhere/made-up", status=2)
    shutil.rmtree("kept/before/evaluations")
    assert "have no evaluation in common" in said(capsys, "made-up", "kept/before", status=2)
