"""What the command line says before and while a campaign runs: campaigns, methods, explain, status, notes in plan."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from report_helpers import evaluate, make

from ncfm import cli
from ncfm.core.errors import NOTICE
from ncfm.core.layout import record_file
from ncfm.core.store import write_json, write_text
from ncfm.report.reference import reference_text
from ncfm.stages import table

CAMPAIGN = """
title: a campaign
architectures: [convnet-3]
datasets: {digits: {ipcs: [1, 10], by_ipc: {10: {distill: {iterations: 7}}}}}
protocols: {released: {}, dm: {evaluate: {epochs: 3}}}
methods: {paper: {seeds: [0, 1]}, random: {}}
distill: {iterations: 50}
evaluate: {epochs: 9, networks: 2}
"""


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    return make(tmp_path, monkeypatch, CAMPAIGN)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert cli.main(list(arguments)) == status
    output = capsys.readouterr()
    return output.err if status else output.out


@pytest.mark.usefixtures("chosen")
def test_explain_names_each_value_and_its_place(capsys):
    text = said(capsys, "explain", "distill.iterations", "made-up")
    assert text.splitlines() == [
        "distill.iterations: int from 1 to 1,000,000,000, default 20000",
        "  steps of all classes' images",
        "50  from params/made-up.yaml: distill.iterations, in 2 cells:",
        "  digits ipc1 paper (2 seeds)",
        "7  from params/made-up.yaml: datasets.digits.by_ipc.10.distill.iterations, in 2 cells:",
        "  digits ipc10 paper (2 seeds)",
    ]
    assert said(capsys, "explain", "iterations", "made-up").splitlines() == text.splitlines()
    text = said(capsys, "explain", "evaluate.epochs", "made-up")
    assert "9  from params/made-up.yaml: evaluate.epochs, in 6 cells:" in text
    assert "3  from params/made-up.yaml: protocols.dm.evaluate.epochs, in 6 cells:" in text
    text = said(capsys, "explain", "distill.frequencies", "made-up")
    assert text.startswith("distill.frequencies: gaussian or mixture or released, default mixture\n")
    assert "mixture  from params/base.yaml: methods.paper.distill.frequencies, in 4 cells:" in text
    assert "0.5  from its default, in 4 cells:" in said(capsys, "explain", "distill.alpha", "made-up")
    assert said(capsys, "explain", "curate.labels", "made-up").endswith("no cell of made-up reads it\n")


@pytest.mark.usefixtures("chosen")
@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "distil.alpha",
            "ncfm: ncfm explain distil.alpha: unknown stage 'distil'; did you mean 'distill'? (allowed: pre",
        ),
        (
            "distill.alfa",
            "ncfm: ncfm explain distill.alfa: unknown key 'alfa'; did you mean 'alpha'? (allowed: precision",
        ),
        ("alfa", "ncfm: ncfm explain: unknown key of a stage's params 'alfa'; did you mean 'alpha'? (allowed: source,"),
        ("distill", "ncfm: ncfm explain distill: which of its keys? (allowed: precision,"),
        ("epochs", "ncfm: ncfm explain epochs: of which stage? (allowed: pretrain.epochs, evaluate.epochs,"),
    ],
)
def test_explain_of_nothing_that_there_is(capsys, key, message):
    assert said(capsys, "explain", key, "made-up", status=2).startswith(message)


def test_explain_lists_a_dozen_cells_of_each_value(tmp_path, monkeypatch, capsys):
    ipcs = list(range(1, 16))
    make(tmp_path, monkeypatch, CAMPAIGN.replace("ipcs: [1, 10]", f"ipcs: {ipcs}"))
    lines = said(capsys, "explain", "distill.alpha", "made-up").splitlines()
    assert lines[-2].endswith("in 30 cells:") and lines[-1].endswith("digits ipc12 paper (2 seeds) and 3 more")


@pytest.mark.usefixtures("chosen")
def test_a_value_that_does_not_reach_every_cell_is_named_in_plan_and_use(capsys):
    at = "params/made-up.yaml: datasets.digits.by_ipc.10.distill.iterations"
    note = f"note: params/made-up.yaml: distill.iterations does not reach digits ipc10 paper: 7 from {at}\n"
    for command in ("plan", "use"):
        text = said(capsys, command, "made-up")
        assert note in text
        assert text.count("note: ") == 1 + text.count("protocols.dm")  # a protocol wins as well, and is named


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ("distill: {plateau_factor: 0.1}", "distill.plateau_factor is never read, because of schedule: cosine"),
        ("distill: {discrepancy: mmd, alpha: 0.1}", "distill.alpha is never read, because of discrepancy: mmd"),
        ("pretrain: {optimizer: adam, momentum: 0.8}", "pretrain.momentum is never read, because of optimizer: adam"),
        ("anytime: {methods: [paper]}", "anytime: none of its methods keeps snapshots (distill: {snapshots: [...]})"),
    ],
)
def test_a_value_that_another_leaves_unread_is_named(more, note, tmp_path, monkeypatch, capsys):
    make(tmp_path, monkeypatch, CAMPAIGN.replace("\ndistill: {iterations: 50}", "") + f"{more}\n")
    assert f"note: params/made-up.yaml: {note}\n" in said(capsys, "plan", "made-up")


def test_a_section_that_no_cell_reads_is_named(tmp_path, monkeypatch, capsys):
    make(tmp_path, monkeypatch, CAMPAIGN + "curate: {finetune: 1}\n")
    assert "note: params/made-up.yaml: curate reaches no cell\n" in said(capsys, "plan", "made-up")


@pytest.mark.usefixtures("chosen")
def test_campaigns_and_methods(capsys):
    assert said(capsys, "campaigns") == "  made-up  a campaign\n"
    said(capsys, "use", "made-up")
    assert said(capsys, "campaigns") == "* made-up  a campaign\n"
    lines = said(capsys, "methods").splitlines()
    assert [line.split(maxsplit=2) for line in lines if line.startswith(("herding ", "paper "))] == [
        ["herding", "select", "herding"],
        ["paper", "distill", "NCFM (paper)"],
    ]


def test_the_reference_is_that_of_the_program():
    page = Path(__file__).parent.parent / "docs/reference.md"
    assert page.read_text(encoding="utf-8") == reference_text(), "run `make docs/reference.md`"
    for stage in table.STAGES.values():
        assert all(field.description for field in stage.params.model_fields.values()), stage.name


def test_a_copy_of_another_cells_result_is_not_done(chosen, capsys):
    cell = chosen.cells_of("prepare")[0]
    path, content = Path(table.output("made-up", cell)), {"params": chosen.params[cell].model_dump(mode="json")}
    for names, state in (({"dataset": "digits"}, "done"), ({"dataset": "mnist"}, "out of date")):
        write_json(path, {})
        write_json(record_file(path), {**content, "names": names})
        assert f"prepare    1 {state}\n" in said(capsys, "status", "made-up")


def test_status(chosen, capsys):
    first, second, *_ = chosen.cells_of("evaluate")
    evaluate(chosen, first, [50.0, 51.0], [50.0, 51.0])
    path = evaluate(chosen, second, [50.0, 51.0], [50.0, 51.0])
    write_json(record_file(path), {"params": {**chosen.params[second].model_dump(mode="json"), "epochs": 1}})
    for cell in chosen.cells_of(*table.MAKERS):  # the made-up sets are all there but for one
        distilled = Path(table.output("made-up", cell))
    distilled.unlink()
    log = Path("results/made-up/logs/prepare/digits.log")
    write_text(log, "ncfm: data: no such folder\n")
    notice = f"{NOTICE}this cpu has no bfloat16 arithmetic; computing in float32"  # is no fault
    running = f"pretrain: 3/8 network 0 loss 1.6\n{notice}\n"
    write_text("results/made-up/logs/pretrain/digits-convnet-3.log", running)
    log_of_test = Path("results/made-up/logs/evaluate/digits-ipc10-random-seed0-convnet-3.dm.log")
    write_text(log_of_test, "evaluate: network 0\nncfm: out of memory\n")
    log_of_crash = Path("results/made-up/logs/evaluate/digits-ipc10-random-seed0-convnet-3.log")
    write_text(log_of_crash, "evaluate: network 0\nTraceback (most recent call last)\nMemoryError\n")
    text = said(capsys, "status", "made-up")
    rows, others = text.split("\n# done  ~ out of date  > running  ! failed  . to do\n\n")
    assert [row.split() for row in rows.splitlines()] == [
        ["distill", "select", "evaluate"],
        ["digits", "ipc1", "paper", "~~", "~~.."],
        ["digits", "ipc1", "random", "~", ".."],
        ["digits", "ipc10", "paper", "~~", "...."],
        ["digits", "ipc10", "random", ".", "!!"],
    ]
    assert others.splitlines()[:-2] == [
        "prepare    1 failed",
        "pretrain   1 running",
        "distill    4 out of date",
        "select     1 out of date, 1 to do",
        "evaluate   2 out of date, 2 failed, 8 to do",
        "report     1 to do",
        f"failed: prepare digits: data: no such folder ({log})",
        "running: pretrain digits convnet-3: pretrain: 3/8 network 0 loss 1.6",
        f"failed: evaluate digits ipc10 random seed0 convnet-3: MemoryError ({log_of_crash})",
        f"failed: evaluate digits ipc10 random seed0 convnet-3 dm: out of memory ({log_of_test})",
    ]
    assert text.splitlines()[-1].startswith("left: about ")
    before = time.time() - 3600
    os.utime("results/made-up/logs/pretrain/digits-convnet-3.log", (before, before))
    assert "pretrain   1 to do" in said(capsys, "status", "made-up")
