"""The page: what comes first, what changed since the report before, the commands that make a number from nothing."""

from __future__ import annotations

import json
import re
import subprocess
from html import escape, unescape
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from report_helpers import CIFAR, DIGITS, RESULTS, evaluate, fill, make, read, run

from ncfm import cli
from ncfm.core.layout import record_file
from ncfm.core.store import write_text
from ncfm.report import page as pages
from ncfm.report.page import compact
from ncfm.report.publish import PUBLISHED, main
from ncfm.run import record as records

TWO = DIGITS.replace("ipcs: [1]", "ipcs: [1, 10]")


def table_below(head: str) -> list[list[str]]:
    """Return the lines of the first table below a heading of the page, its heads first."""
    table = re.search(f">{re.escape(head)}.*?<table>(.*?)</table>", read("report.html"), re.DOTALL)[1]
    return [re.findall("<t[dh][^>]*>([^<]*)</t[dh]>", line) for line in re.findall("<tr.*?</tr>", table, re.DOTALL)]


def test_an_accuracy_comes_third_and_what_all_lines_share_is_said_above(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, TWO)
    for cell in chosen.cells_of("evaluate"):
        evaluate(chosen, cell, [60, 62], [63, 63])
    assert run() == 0
    heads, first, *_ = table_below("Results</h2>")
    assert heads[:3] == ["method", "data set, IPC", "last"] and first[:3] == ["NCFM (paper)", "digits, 1", "61.0"]
    assert "test network" not in heads and "In all lines: test network convnet-3; protocol released" in read(
        "report.html"
    )


def test_accuracies_come_first(tmp_path, monkeypatch):
    fill(make(tmp_path, monkeypatch, TWO), {"paper": 60.0})
    assert run() == 0
    said = "Accuracy after the last epoch, in percent, on digits at IPC 1, tested by convnet-3: NCFM (paper) 60.0."
    assert read("report.html").index(said) < read("report.html").index("<dl")


def links_of(page: Path) -> set[str]:
    """Return where a page leads, within itself left out."""
    return set(re.findall('href="([^#][^"]*)"', page.read_text("utf-8")))


def test_every_link_leads_to_a_file_also_where_the_page_is_published(tmp_path, monkeypatch):
    """The file that leads to MLflow is there from `ncfm ui` on; a published page has no such link."""
    monkeypatch.setattr(pages, "commits_address", lambda: "https://a.host/me/ncfm/commit/")
    fill(make(tmp_path, monkeypatch, CIFAR), {"paper": 60.0, "random": 30.0})
    for name in ("method", "verdicts"):
        write_text(f"docs/{name}.md", "")
    assert run() == 0 and main(["made-up"]) == 0
    page, published = (links_of(folder / "report.html") for folder in (RESULTS, PUBLISHED / "made-up"))
    outside = {"https://a.host/me/ncfm/commit/0123456", "https://arxiv.org/abs/2502.20653"}
    assert outside < page and outside < published
    assert {"../../docs/verdicts.md", "../../params/made-up.yaml", "sets/cifar10/ipc10/paper/seed0/history.csv"} < page
    assert all((RESULTS / unquote(link)).is_file() for link in page - outside - {"../mlflow/made-up.html"})
    assert "../mlflow/made-up.html" in page
    compact_files = {"params.json", "evaluations.json", "records.json", "histories.json"}
    assert {"../../../docs/verdicts.md", "../../../params/made-up.yaml", *compact_files} < published
    assert all((PUBLISHED / "made-up" / unquote(link)).is_file() for link in published - outside)
    remade = ["report", "--params", f"{PUBLISHED}/made-up/params.json", "--results", f"{PUBLISHED}/made-up"]
    assert cli.main(remade) == 0 and links_of(PUBLISHED / "made-up/report.html") == published


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/me/ncfm.git", "https://github.com/me/ncfm/commit/"),
        ("https://me:secret@git.example.org:8443/a/b/ncfm", "https://git.example.org:8443/a/b/ncfm/commit/"),
        ("http://localhost:3000/me/ncfm/", "http://localhost:3000/me/ncfm/commit/"),
        ("git@github.com:me/ncfm.git", "https://github.com/me/ncfm/commit/"),
        ("ssh://git@gitlab.com:22/me/ncfm.git", "https://gitlab.com/me/ncfm/commit/"),
        ("/srv/ncfm", None),
        ("file:///srv/ncfm.git", None),
    ],
)
def test_the_page_of_a_commit_where_the_remote_is_a_hosts(remote, address, monkeypatch):
    monkeypatch.setattr(subprocess, "check_output", lambda *_, **__: f"{remote}\n")
    assert records.commits_address() == address


def test_only_columns_that_tell_lines_apart_can_leave_a_table():
    whole = pd.DataFrame(
        {"network": ["a", "a"], "seeds": ["1", "2"], "verdict": ["same", "same"], "curation": ["-", "-"]}
    )
    texts, said = compact(whole)
    assert list(texts) == ["seeds", "verdict"] and said == "network a"
    assert compact(whole[:1])[1] == ""  # a single line keeps everything


def test_a_changed_param_and_the_accuracies_that_it_moved_are_shown_until_the_next_change(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, DIGITS)
    for cell in chosen.cells_of("evaluate"):
        evaluate(chosen, cell, [60, 62], [63, 63])
    assert run() == 0
    assert "Since the report before" not in read("report.html")
    chosen = make(tmp_path, monkeypatch, DIGITS.replace("seeds: [0, 1]", "seeds: [0, 1], distill: {iterations: 20}"))
    for cell in chosen.cells_of("evaluate"):
        evaluate(chosen, cell, [50, 50] if cell.names["method"] == "paper" else [60, 62], [63, 63])
    assert run() == 0
    page, place = read("report.html"), "digits, IPC 1, NCFM (paper), convnet-3, released"
    _, *lines = table_below("Since the report before")
    assert lines == [["distill.iterations", place, "20000", "20"], ["accuracy", place, "61.0", "50.0"]]
    assert run() == 0 and read("report.html") == page  # the same report again shows the same
    write_text(RESULTS / "report.before.json", "torn")
    assert run() == 0 and "Since the report before" not in read("report.html")


def test_the_commands_of_a_number_start_from_nothing(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, DIGITS)
    for cell in chosen.cells_of("evaluate"):
        Path(record_file(evaluate(chosen, cell, [60], [60]))).unlink()
    for record in RESULTS.rglob("*.record.json"):
        record.unlink()
    assert run() == 0
    commands = unescape(re.search('<pre class="commands">(.*?)</pre>', read("report.html"), re.DOTALL)[1]).splitlines()
    assert commands[0] == "ncfm params made-up" and all(str(RESULTS) in one for one in commands[1:])
    stages = [command.split()[1] for command in commands]
    assert stages == ["params", "prepare", "pretrain", *["distill"] * 2, *["evaluate"] * 2]


def test_names_with_html_are_text(tmp_path, monkeypatch):
    """A title and a label may hold anything printable: both come from files of other people as well."""
    evil = "<script>alert(1)</script>&\"'</style>"
    text = DIGITS.replace("title: made-up", "") + f"title: {json.dumps(evil)}\n"
    text = text.replace("paper: {", f"paper: {{label: {json.dumps(evil)}, ", 1)
    chosen = make(tmp_path, monkeypatch, text)
    for cell in chosen.cells_of("evaluate"):
        evaluate(chosen, cell, [60, 62], [63, 63])
    assert run() == 0
    page = read("report.html")
    assert page.count(escape(evil)) >= 3 and evil not in page
    assert page.count("<script>") == 1, "the page's own"
