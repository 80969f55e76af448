"""Verdicts and the page: every reported number exactly once, costs where it could be run, HTML that stands alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report_helpers import CIFAR, DIGITS, HARDWARE, RESULTS, collected, fill, make, read, reported, run

from ncfm.core.store import read_json, write_json, write_text
from ncfm.report import page as pages
from ncfm.report.collect import ResultRow
from ncfm.report.figures.paper import panels_of
from ncfm.report.page import SECTIONS
from ncfm.report.tables import paper as artefacts
from ncfm.report.verdicts.candidates import Reason
from ncfm.report.verdicts.reported import ReportedNumber, read_reported
from ncfm.report.verdicts.rules import Verdict
from ncfm.report.verdicts.table import COSTS, touches, verdict_table
from ncfm.stages.cells import Report

VOID = {"meta", "img"}
PAPER = "https://arxiv.org/abs/2502.20653"
TWO = """
architectures: [convnet-3]
datasets: {cifar10: {ipcs: [10]}}
methods:
  short: {like: paper, distill: {iterations: 10}, seeds: [0, 1, 2]}
  full: {like: paper, seeds: [0, 1, 2]}
  cut: {like: paper, distill: {alpha: 0.3}, seeds: [0, 1, 2]}
"""


def line_of(number: ReportedNumber, rows: Sequence[ResultRow] | None = None) -> pd.Series:
    """Return the verdict's line of a reported number, from the campaign's rows unless others are given."""
    return verdict_table(collected().rows if rows is None else rows, [number]).iloc[0]


@pytest.mark.parametrize("text", [DIGITS, CIFAR], ids=["no number touched", "many touched"])
def test_every_reported_number_has_exactly_one_line(text, tmp_path, monkeypatch):
    fill(make(tmp_path, monkeypatch, text), {"paper": 60.0, "released": 55.0, "random": 30.0})
    assert run() == 0
    table, numbers = pd.read_csv(RESULTS / "tables/verdicts.csv", dtype=str, keep_default_na=False), read_reported()
    assert len(table) == len(numbers) == 483
    assert list(table["number"].astype(int)) == list(range(1, 484))
    for ours, theirs in (("source", "source"), ("reported_method", "method"), ("reported", "value"), ("ipc", "ipc")):
        assert list(table[ours]) == [getattr(number, theirs) for number in numbers]
    assert set(table["verdict"]) <= set(Verdict)
    assert (table[table["verdict"] == "not run"]["reason"] != "").all()
    assert ((table["ours"] != "") == (table["verdict"] != "not run")).all()
    others = table["reported_method"].isin(("MTT", "TESLA", "FTD", "DATM", "FrePo", "KIP"))
    assert others.sum() > 80 and set(table[others]["reason"]) == {Reason.QUOTED.value}
    priced = table[COSTS[0]] != ""
    assert (table[priced]["verdict"] == "not run").all() and not (priced & others).any()
    assert priced.sum() > 40 and (table[priced][list(COSTS)].astype(float) > 0).all(axis=None)
    page = read("report.html")
    shown = list(range(1, 484)) if text is CIFAR else []  # one sentence stands for lines that are about nothing here
    assert sorted(map(int, re.findall(r'<tr id="n(\d+)">', page))) == shown
    for verdict in Verdict if text is CIFAR else ():
        assert page.count(f'<td class="verdict {verdict.replace(" ", "-")}">') == (table["verdict"] == verdict).sum()


def test_the_markdown_shows_only_what_the_campaign_touches(tmp_path, monkeypatch):
    fill(make(tmp_path, monkeypatch, CIFAR), {"paper": 60.0})
    assert run() == 0
    text = read("tables/verdicts.md")
    rows = collected().rows
    touched = touches(verdict_table(rows, read_reported()), rows)
    assert f"The other {483 - touched.sum()} of 483 numbers" in text and touched.sum() == 157
    assert "imagenette" not in text and "MTT (7)" in text
    shown = sum(int(count) for count in re.findall(r"^## .*: (\d+)$", text, re.MULTILINE))
    assert shown == touched.sum()


def test_the_report_opens_with_the_answer(tmp_path, monkeypatch):
    fill(make(tmp_path, monkeypatch, CIFAR + "distill: {iterations: 100}\n"), {"paper": 60.0})
    assert run() == 0
    found = verdict_table(collected().rows, read_reported())
    paper = found[found["source"].str.startswith("NCFM ") & (found["metric"] == "accuracy")]["verdict"].value_counts()
    answer = (
        f"Of the {paper.sum()} accuracies among the paper's 455 numbers: 0 reproduced, 0 reached at a smaller budget, "
        f"{paper['not reached at this budget']} not reached at this budget, {paper['protocol differs']} under another "
        f"protocol, {paper['not run']} not run. On cifar10 at IPC 10, tested by ConvNet-3, ours is 60.0 after the last "
        "epoch (60.0 at its best look) for a reported 68.9 (Table 5, with psi): not reached at this budget."
    )
    assert read("tables/verdicts.md").split("\n\n")[1] == answer
    page = read("report.html")
    assert (
        page.index(answer.replace("'", "&#x27;")) < page.index('<h2 id="results">') < page.index('<h2 id="verdicts">')
    )
    grid = [[cell.strip() for cell in line.split("|")] for line in read("tables/verdicts.md").splitlines()]
    head = next(cells for cells in grid if "kind" in cells)
    arithmetic = dict(zip(head, next(cells for cells in grid if "arithmetic" in cells), strict=True))
    assert arithmetic["checked by arithmetic"] == "9" and not {"reproduced", "above"} & set(head)


def test_a_campaign_that_touches_no_number_opens_with_its_results(tmp_path, monkeypatch):
    fill(make(tmp_path, monkeypatch, DIGITS), {"paper": 60.0})
    assert run() == 0
    page, answer = read("report.html"), "None of the 455 numbers that the paper reports is about this campaign"
    assert page.index('<h2 id="results">') < page.index('<h2 id="verdicts">') < page.index(answer)
    section = page.partition('<h2 id="verdicts">')[2].partition("</section>")[0]
    assert section.count("</p>") == 1 and "<table" not in section and 'href="tables/verdicts.csv"' in section
    assert (
        answer in read("tables/verdicts.md")
        and '<dl class="counts">' not in page
        and "| kind" not in read("tables/verdicts.md")
    )


def test_the_nearest_protocol_answers_whatever_its_accuracy(tmp_path, monkeypatch):
    fill(make(tmp_path, monkeypatch, TWO), {"short": 68.9, "full": 60.0, "cut": 68.9})
    line = line_of(reported())
    assert (line["method"], line["verdict"], line["params_that_differ"]) == ("full", "below", "")
    for path in RESULTS.glob("evaluations/cifar10/ipc10/full/*/convnet-3.json"):
        path.unlink()
    line = line_of(reported())
    differs = "distillation: iterations 10 (20000)"
    assert (line["method"], line["verdict"]) == ("short", "reached at a smaller budget")
    assert line["params_that_differ"] == differs  # one field each, but alpha 0.3 is another method


def test_a_gain_is_the_difference_of_two_of_ours(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, CIFAR)
    gain = reported(
        source="NCFM Sec 5.3.1 text", artefact="text", metric="accuracy_gain_pp", value="3.2", arch="", gain="psi"
    )
    fill(chosen, {"paper": 68.0})
    assert line_of(gain)["verdict"] == "not run"
    for centre, verdict in ((64.8, "reproduced"), (60.0, "above"), (68.0, "below")):
        fill(chosen, {"released": centre})
        line = line_of(gain)
        assert line["ours"] == pytest.approx(68.0 - centre) and line["verdict"] == verdict
        assert line["interval_low"] <= line["ours"] <= line["interval_high"]


def test_speed_memory_and_loss_are_read_from_records_and_histories(tmp_path, monkeypatch):
    few = "few: {like: paper, distill: {num_frequencies: 16}}"
    chosen = make(tmp_path, monkeypatch, CIFAR.replace("{paper:", f"{{{few}, paper:"))
    fill(chosen, {"paper": 60.0})
    speed = reported(metric="speed_s_per_iter", value="1.33", hardware="1x A100 80GB")
    line = line_of(speed)
    assert line["ours"] == pytest.approx(10.0 / 20000) and line["n_seeds"] == 3  # seconds of the made-up records
    assert line["verdict"] == "protocol differs" and "reported on 1x A100 80GB" in line["reason"]
    memory = speed.model_copy(update={"metric": "gpu_mem_gb", "value": "1.6"})
    assert line_of(memory)["verdict"] == "not run"  # records without it
    card = {"hardware": {**HARDWARE, "gpu": "NVIDIA A100 80GB"}}
    for peak, more, ours, verdict in (
        ({"process": 3.0}, {}, 3.0, "protocol differs"),
        ({"gpu": 1.55, "process": 3.0}, card, 1.55, "reproduced"),
    ):
        for path in RESULTS.glob("sets/cifar10/ipc10/paper/*/distilled.record.json"):
            write_json(path, {**read_json(path), "peak_gb": peak, **more})
        line = line_of(memory)
        assert (line["ours"], line["verdict"], line["compared"]) == (ours, verdict, "peak memory")
        assert ("memory of the whole process on the host" in line["reason"]) == ("gpu" not in peak)
    loss = reported(source="NCFM Fig 7 (digitised)", artefact="fig7", metric="loss", step=0, value="1.484")
    line = line_of(loss)
    assert (line["ours"], line["verdict"]) == (150.0, "protocol differs")  # 300 / (step + 1) at the first step
    assert line["method"] == "NCFM (paper)"  # the nearest, though another stands first
    later = line_of(loss.model_copy(update={"step": 10000}))
    assert (later["verdict"], later["reason"]) == ("not run", "not in this campaign") and later[COSTS[0]] > 0


@pytest.mark.parametrize(("value", "right"), [("0.2", True), ("0.20", True), ("0.25", False), ("0.190", False)])
def test_ratios_are_checked_by_arithmetic(value, right):
    line = line_of(reported(metric="ratio_percent", method="(all)", value=value), [])
    assert (line["ours"], line["verdict"] == "checked by arithmetic") == (0.2, right)  # 10 x 10 of 50,000
    assert right or line["verdict"] == "arithmetic differs"


def test_absence_is_explained_by_what_this_project_lacks():
    def why(**changes: str) -> str:
        return str(line_of(reported(**changes), [])["reason"])

    assert why(method="MTT") == why(method="MTT", metric="gpu_mem_gb", value="OOM") == Reason.QUOTED.value
    assert why(dataset="imagined") == "the data set imagined is not part of this project"
    assert why(arch="Imagined-9") == "the network Imagined-9 is not part of this project"
    assert why(metric="gpu_mem_gb").startswith("not in this campaign; needs a GPU; measured by benchmarks/table3.py")
    assert why() == why(method="DM") == why(method="Forgetting") == why(method="Whole Dataset", ipc="full")
    assert why() == "not in this campaign"


def test_the_papers_tables_are_laid_out_as_in_the_paper(tmp_path, monkeypatch):
    fill(make(tmp_path, monkeypatch, CIFAR), {"paper": 68.8, "random": 30.0})
    assert run() == 0
    numbers = read_reported()
    table = verdict_table(collected().rows, numbers)
    names = artefacts.touched_artefacts(table)
    assert names == ["table1", "table4", "table5", "fig5", "fig6", "fig7", "beyond the paper", "text"]
    here = artefacts.cells_of(table, "table5")
    assert list(here["row"].unique()) == ["NCFM w/o psi", "NCFM with psi"]
    here = here[here["row"] == "NCFM with psi"].set_index("column")
    cell, other = here.loc["cifar10 IPC 10"], here.loc["tinyimagenet IPC 50"]
    assert (cell["reported"], cell["verdict"]) == ("68.9", "reproduced")
    assert re.fullmatch(r"68\.8 \[68\.3, 69\.3\] best", cell["ours"])
    assert (other["reported"], other["ours"]) == ("26.5", "")
    assert "cifar10 IPC 10 VGG-11" in set(artefacts.cells_of(table, "table4")["column"])
    cells = pd.read_csv(RESULTS / "tables/paper.csv", dtype=str, keep_default_na=False)
    assert sorted(cells["reported"].str.split(" ").str[0]) == sorted(
        number.value for number in numbers if number.artefact in names
    )
    assert read("tables/paper.md").count("\n## ") == read("tables/paper.tex").count(r"\toprule") == len(names)
    assert f"68.9<br>{cell['ours']}: reproduced" in read("tables/paper.md")


def test_pictures_of_the_paper_show_reported_and_ours(tmp_path, monkeypatch):
    fill(make(tmp_path, monkeypatch, CIFAR), {"paper": 66.9, "random": 30.0})
    assert run() == 0
    numbers, svg = read_reported(), read("figures/paper.svg")
    for head in ("Table 1: cifar10, IPC 10", "Table 5: cifar10, IPC 10", "Fig 6: cifar10, IPC 10", "ours: below"):
        assert f"<!-- {head} -->" in svg
    assert "Table 2" not in svg and "cifar100" not in svg  # nothing of this campaign is held against them
    table = verdict_table(collected().rows, numbers)

    def drawn(name: str) -> Axes:
        axis = Figure().subplots()
        panels_of(table, collected(), name)[0].draw(axis)
        return axis

    curve = drawn("fig6")
    sweep = [number for number in numbers if number.artefact == "fig6"]
    assert list(curve.lines[0].get_ydata()) == [number.quantity for number in sweep]
    assert [text.get_text() for text in curve.get_xticklabels()] == [str(number.num_frequencies) for number in sweep]
    [ours] = curve.containers
    assert np.allclose(ours[0].get_xydata(), [[6, 66.9]])  # at the place of 1024
    assert list(drawn("fig7").lines[0].get_data()[1]) == [1.0, pytest.approx(0.966 / 1.484)]


class Reader(HTMLParser):
    """Checks that tags close in order, and collects what could lead outside."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "poster", "data"):
                self.references.append(str(value))
            if name == "id":
                self.ids.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_stands_alone_and_is_well_formed(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, CIFAR)
    fill(chosen, {"paper": 60.0, "random": 30.0})
    monkeypatch.setattr(pages, "commits_address", lambda: None)
    write_text("results/mlflow/made-up.html", "")  # as `ncfm ui` does
    assert run() == 0
    page, reader = read("report.html"), Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open and len(reader.ids) == len(set(reader.ids))
    assert not {"link", "iframe", "object", "embed", "base"} & set(reader.tags) and page.count("<script>") == 1
    links = [reference for reference in reader.references if not reference.startswith("data:image/")]
    within = [link for link in links if link.startswith("#")]
    assert within and all(link[1:] in reader.ids for link in within)
    files = [unquote(link) for link in links if link not in within and link != PAPER]
    assert {"tables/results.csv", "sets/cifar10/ipc10/paper/seed0/distilled.safetensors"} <= set(files)
    assert all((RESULTS / file).is_file() for file in files)
    assert len(reader.references) - len(links) == page.count("<img alt=") == 4
    assert not re.search(r"url\(|@import|http:", page) and page.count("https:") == page.count(PAPER) == 1
    assert set(SECTIONS) - {"comparisons"} <= set(reader.ids)  # the campaign compares none
    text = "".join(reader.text)
    for cell in chosen.cells:
        if cell.stage in ("distill", "select") or (
            cell.stage == "evaluate" and cell.names["method"] in ("paper", "random")
        ):
            assert f"ncfm {cell.stage} --method {cell.names['method']} --seed {cell.names['seed']} '<&>'" in text
    assert "Made_up & Co 100%, 2 cores" in text and "0123456+" in text and "torch 2.13.0" in text
    record = read_json("results/made-up/metrics.record.json")
    assert "results/made-up/report.html" in record["outputs"]
    assert Report() in chosen.params
