"""The report on made-up campaigns: numbers against hand computation, every verdict, equal bytes, faults."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from report_helpers import CIFAR, DIGITS, REPOSITORY, RESULTS, evaluate, make, read, reported, run, set_folder

from ncfm import cli
from ncfm.core.params import DistillParams, EvaluateParams
from ncfm.core.store import read_json, write_json, write_text
from ncfm.report.tables.results import latex_escape
from ncfm.report.verdicts.protocol import PROTOCOLS, RECIPES
from ncfm.stages import table
from ncfm.stages.table import STAGES

OUTPUTS = STAGES["report"].writes


def test_numbers_are_those_computed_by_hand(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, DIGITS)
    first, second, missing = chosen.cells_of("evaluate")
    evaluate(chosen, first, [60, 62], [63, 63])
    evaluate(chosen, second, [66, 68], [67, 71])
    assert run() == 0
    # last 60, 62, 66, 68: mean 64, squares 16 + 4 + 4 + 16 = 40, over 3; seeds 61 and 67: squares 9 + 9, over 1
    # best 63, 63, 67, 71: mean 66, squares 9 + 9 + 1 + 25 = 44, over 3
    metrics = read_json("results/made-up/metrics.json")
    assert metrics == {
        "digits": {
            "ipc1": {
                "paper": {"convnet-3": {"last": 64, "best": 66}},
            }
        }
    }
    head, line, absent = read("tables/results.csv").splitlines()
    row = dict(zip(head.split(","), line.split(","), strict=True))
    expected = {
        "last": "64.0000",
        "last_low": "25.8814",
        "last_std": "3.6515",
        "best_std": "3.8297",
        "last_high": "102.1186",
        "training_images_per_class": "4.0000",
    }
    assert {key: row[key] for key in expected} == expected
    (times,) = csv.DictReader(read("tables/times.csv").splitlines())
    expected = {"distill_seconds": "10.0000", "evaluate_seconds": "4.0000", "commit": "0123456+"}
    assert {key: times[key] for key in expected} == expected and times["hardware"] == "Made_up & Co 100%, 2 cores"
    reason = f"not run: {table.output('made-up', missing)} is missing"
    assert reason in absent and reason in read("tables/results.md")
    assert "| 64.0 | 25.9 to 102.1 | 66.0" in re.sub(" +", " ", read("tables/results.md"))  # t of one degree: 12.7 x 3
    assert "64.0 & 25.9 to 102.1" in read("tables/results.tex")
    assert "The other 483 of 483 numbers are about other data sets" in read("tables/verdicts.md")
    assert not Path(RESULTS, "tables/paper.md").exists()  # it touches none of the paper's tables
    record = read_json("results/made-up/metrics.record.json")
    assert record["metrics"]["digits/ipc1/paper/convnet-3/last"] == 64 and len(record["inputs"]) == 2


def test_protocols_are_told_apart(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, DIGITS.replace("[0, 1]", "[0]") + "protocols: [released, dm]\n")
    for cell in chosen.cells_of("evaluate"):
        value = {None: 60.0, "dm": 40.0}[cell.names.get("protocol")]
        evaluate(chosen, cell, [value], [value + 1])
    assert run() == 0
    rows = list(csv.DictReader(read("tables/results.csv").splitlines()))
    expected = [("paper", "released", 60), ("paper", "dm", 40), ("random", "released", 60), ("random", "dm", 40)]
    assert [(row["method"], row["protocol"], float(row["last"])) for row in rows] == expected
    leaves = read_json("results/made-up/metrics.json")["digits"]["ipc1"]["paper"]
    assert {name: leaf["best"] for name, leaf in leaves.items()} == {"convnet-3": 61, "convnet-3.dm": 41}


def test_cells_that_cannot_be_are_rows_with_their_reason(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, DIGITS)
    for cell in chosen.cells_of("evaluate"):
        evaluate(chosen, cell, [60.0], [61.0])
    names = {"stage": "evaluate", "dataset": "digits", "ipc": 1, "method": "random", "arch": "vit-tiny"}
    coreset = {"stage": "select", "dataset": "digits", "ipc": 500, "method": "herding", "reason": "too few images"}
    contents = read_json(RESULTS / "params/report.json")
    contents["skipped"] = [{**names, "protocol": "dm", "seed": 0, "reason": "too small a picture"}, coreset]
    write_json(RESULTS / "params/report.json", contents)
    assert run() == 0
    rows = list(csv.DictReader(read("tables/results.csv").splitlines()))
    shown = [(row["label"], row["arch"], row["protocol"], row["last"], row["note"]) for row in rows[-2:]]
    assert shown == [
        ("random", "vit-tiny", "dm", "", "skipped: too small a picture"),
        ("herding", "", "released", "", "skipped: too few images"),
    ]
    for name in ("tables/results.md", "tables/results.tex", "report.html"):
        assert "skipped: too small a picture" in read(name) and "skipped: too few images" in read(name)
    assert "herding" not in read("metrics.json")


def verdicts() -> dict[tuple[str, str, str, str], tuple[str, str, str]]:
    table = csv.DictReader(read("tables/verdicts.csv").splitlines())
    return {
        (line["source"].removeprefix("NCFM "), line["ipc"], line["variant"].split(" (")[0], line["method"]): (
            line["verdict"],
            line["reason"],
            line["params_that_differ"],
        )
        for line in table
        if line["metric"] == "accuracy"
    }


def test_every_verdict_is_reached(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, CIFAR)
    spread = np.linspace(-0.5, 0.5, 10)
    for cell in chosen.cells_of("evaluate"):
        # Table 5: 68.9 and 77.4 with psi, 65.6 and 74.2 without
        centre = {("paper", 10): 68.8, ("paper", 50): 80.0, ("released", 10): 60.0}.get((cell.method, cell.ipc), 40.0)
        if (cell.method, cell.ipc) != ("released", 50):
            best = list(centre + 0.1 * (cell.seed - 1) + spread)
            evaluate(chosen, cell, [value - 5 for value in best], best)
    assert run() == 0
    found = verdicts()
    assert found["Table 5", "10", "with psi", "NCFM (paper)"] == ("reproduced", "", "")
    assert found["Table 5", "50", "with psi", "NCFM (paper)"] == ("above", "", "")
    assert found["Table 5", "10", "w/o psi", "NCFM (released)"] == ("below", "", "")
    absent = "results/made-up/evaluations/cifar10/ipc50/released/seed0/convnet-3.json is missing (and 2 more)"
    assert found["Table 5", "50", "w/o psi", "NCFM (released)"] == ("not run", absent, "")
    assert found["Table 1", "10", "with psi", "NCFM (paper)"] == ("protocol differs", "no curation here", "")
    assert found["Table 1", "10", "", "random"][0] == found["Table 1", "10", "", "MMD"][0] == "protocol differs"
    assert found["Fig 5 (digitised)", "10", "alpha=0.5", "NCFM (released)"][0] == "below"
    assert not any(source == "Table 5" and method in ("random", "MMD") for source, _, _, method in found)


def test_a_cut_budget_is_another_protocol_and_says_how(tmp_path, monkeypatch):
    text = CIFAR + "pretrain: {pool: 4}\ndistill: {iterations: 100, checkpoint_every: 7}\nevaluate: {width: 64}\n"
    chosen = make(tmp_path, monkeypatch, text)
    for cell in chosen.cells_of("evaluate"):
        evaluate(chosen, cell, [68.0, 69.0], [68.0, 70.0])
    assert run() == 0
    params = "extractors: pool 4 (20); distillation: iterations 100 (20000); evaluation: width 64 (128)"
    assert verdicts()["Table 5", "10", "with psi", "NCFM (paper)"] == ("protocol differs", "", params)
    assert verdicts()["Table 1", "10", "with psi", "NCFM (paper)"] == ("protocol differs", "no curation here", params)
    assert re.search(rf"- \*\*params \d+\*\*: {re.escape(params)}\n", read("tables/verdicts.md"))


def test_recipes_are_those_of_the_base_params():
    methods = yaml.safe_load((REPOSITORY / "params/base.yaml").read_text())["methods"]
    for variant, method in (("with", "paper"), ("without", "released"), ("dm", "dm")):
        assert DistillParams(**methods[method]["distill"]) == DistillParams(**RECIPES[variant])


def test_protocols_are_those_of_the_base_params():
    protocols = yaml.safe_load((REPOSITORY / "params/base.yaml").read_text())["protocols"]
    assert len(PROTOCOLS) == 10
    for name in set(PROTOCOLS) - {"released"}:
        assert EvaluateParams(**protocols[name]["evaluate"]) == EvaluateParams(**PROTOCOLS[name])


@pytest.mark.parametrize(
    ("std", "digitised", "method", "margin"),
    [
        (None, False, "NCFM", 0.05),
        (None, True, "NCFM", 0.1),
        (1.0, False, "NCFM", 0.05),  # of ten networks on one set, which the prediction interval is about
        (1.0, False, "Random", 0.05 + 1.96 / 5**0.5),
    ],
)
def test_the_margin_of_a_reported_number(std, digitised, method, margin):
    assert reported(value="50.0", std=std, digitised=digitised, method=method).margin == pytest.approx(margin)


def test_only_what_the_campaign_has_is_written(tmp_path, monkeypatch):
    """And what it no longer has is removed; a file of the user's own stays."""
    chosen = make(tmp_path, monkeypatch, DIGITS + "report: {comparisons: [[paper, random]]}\n")
    for cell in chosen.cells_of("evaluate"):
        evaluate(chosen, cell, [60.0, 61.0], [62.0, 63.0])
    assert run() == 0
    always = {"tables": ["results", "times", "verdicts"], "figures": ["accuracy", "grid", "history"]}
    assert shown() == {folder: sorted([*names, "comparisons"]) for folder, names in always.items()}
    write_text(RESULTS / "tables/own.md", "mine")
    make(tmp_path, monkeypatch, DIGITS)
    assert run() == 0
    assert shown() == {**always, "tables": ["own", *always["tables"]]}


def shown() -> dict[str, list[str]]:
    return {folder: sorted({path.stem for path in (RESULTS / folder).iterdir()}) for folder in ("tables", "figures")}


def test_equal_input_gives_equal_bytes(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, DIGITS)
    for cell in chosen.cells_of("evaluate"):
        evaluate(chosen, cell, [60.0, 61.0], [62.0, 63.0])
    assert run() == 0
    first = {name: Path("results/made-up", name).read_bytes() for name in OUTPUTS}
    assert run() == 0
    assert {name: Path("results/made-up", name).read_bytes() for name in OUTPUTS} == first


def test_faults_are_one_line(tmp_path, monkeypatch, capsys):
    chosen = make(tmp_path, monkeypatch, DIGITS)
    cells = chosen.cells_of("evaluate")
    whole = {cell: evaluate(chosen, cell, [60.0], [61.0]) for cell in cells}
    text = whole[cells[0]].read_text()
    history = set_folder(chosen.cells_of("distill")[0]) / "history.csv"
    other = json.loads(text) | {"networks": []}
    contents = Path("results/made-up/params/report.json")
    listed = json.loads(contents.read_text())
    odd = {"labels": None, "campaign": [], "cells": {"evaluate": [{"ipc": 1}]}, "skipped": [{}]}
    card = table.place("made-up", cells[0], "datasets/{dataset}/card.json")
    write_text(card, '{"source": {}}')
    for path, content, words in (
        *((contents, json.dumps(listed | {key: value}), f"{key}") for key, value in odd.items()),
        (Path(card), "[[]]", "is no mapping"),
        (Path(card), '{"source": null}', "not the card of a data set (AttributeError: "),
        (Path(table.params_file("made-up", chosen.cells_of("distill")[0])), "7", "is no mapping"),
        (whole[cells[0]], text[:50], "not a readable JSON file"),
        (whole[cells[0]], json.dumps(other), "not an evaluation (ValueError: no networks)"),
        (whole[cells[0]], whole[cells[1]].read_text(), "its place is for"),
        (history, "", "not a readable history"),
        (history.with_name("distilled.safetensors"), "torn", "not a whole safetensors file"),
    ):
        kept = path.read_bytes()
        path.write_text(content)
        assert run() == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and str(path) in error and words in error, error
        path.write_bytes(kept)
    assert run() == 0


def test_a_table_older_than_its_results_says_so(tmp_path, monkeypatch, capsys):
    chosen = make(tmp_path, monkeypatch, DIGITS)
    files = [evaluate(chosen, cell, [60.0], [61.0]) for cell in chosen.cells_of("evaluate")]
    assert run() == 0
    capsys.readouterr()
    assert cli.main(["results", "made-up"]) == 0
    before = capsys.readouterr().out
    assert "note: " not in before
    evaluate(chosen, chosen.cells_of("evaluate")[0], [70.0], [71.0])
    files[1].unlink()
    assert cli.main(["results", "made-up"]) == 0
    added = capsys.readouterr().out.removeprefix(before)
    assert added.startswith("note: 2 files behind these numbers changed since the report; `snakemake ")


HOLD = """
import time
from pathlib import Path
from ncfm.core.lock import only_writer
with only_writer(Path("results/made-up/metrics.json")):
    print(flush=True)
    time.sleep(1)
"""


def test_two_reports_of_a_campaign_do_not_write_at_once(tmp_path, monkeypatch, capfd):
    chosen = make(tmp_path, monkeypatch, DIGITS)
    for cell in chosen.cells_of("evaluate"):
        evaluate(chosen, cell, [60.0], [61.0])
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        assert run() == 0
    assert "waiting for another process that writes results/made-up/metrics.json\n" in capfd.readouterr().err


@pytest.mark.parametrize("content", [b"", b"last,label\n", b"\xff", b"last,label\n7", b"a,b\n1,2\n", b"last\nmany\n"])
def test_a_table_that_was_changed_is_one_line(content, tmp_path, monkeypatch, capsys):
    make(tmp_path, monkeypatch, DIGITS)
    (RESULTS / "tables").mkdir()
    (RESULTS / "tables/results.csv").write_bytes(content)
    assert cli.main(["results", "made-up"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ncfm: {RESULTS}/tables/results.csv: not the table of a report (")


def test_latex_escapes_every_special_character():
    assert latex_escape("a_b & 5% ±") == r"a\_b \& 5\% $\pm$"
    assert latex_escape("\\{x}~^#$") == r"\textbackslash{}\{x\}\textasciitilde{}\textasciicircum{}\#\$"


def test_the_page_shows_the_params_and_where_methods_differ(tmp_path, monkeypatch):
    text = DIGITS.replace("paper: {seeds: [0, 1]}", "paper: {}, mmd: {distill: {iterations: 7}}")
    chosen = make(tmp_path, monkeypatch, text)
    for cell in chosen.cells_of("evaluate"):
        evaluate(chosen, cell, [60, 62], [63, 63])
    assert run() == 0
    section = read("report.html").partition('<h2 id="params">')[2].partition("</section>")[0]
    differing, whole = section.split("<details>")
    lines = [re.findall(r"<td[^>]*>([^<]*)</td>", line) for line in differing.splitlines()]
    assert ["distill.iterations", "20000", "7", ""] in lines and ["distill.discrepancy", "ncfd", "mmd", ""] in lines
    assert "distill.augmentation" not in differing and "evaluate.epochs" not in differing
    assert "distill.augmentation" in whole and "evaluate.epochs" in whole and "pretrain.pool" in whole
