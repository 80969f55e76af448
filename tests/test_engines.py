"""Snakemake and DVC: the same stages on the same files, and what they say where something is wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from engine_tree import BIN, ROOT, Tree

from ncfm.campaign import campaign, engines
from ncfm.core.errors import INTERRUPTED
from ncfm.core.store import read_json, write_json, write_text
from ncfm.stages import table

# A campaign whose selections read extractors and whose distillations are none.
CORESETS = """
architectures: [convnet-3]
datasets: {digits: {ipcs: [1, 2]}}
methods: {random: {}, herding: {seeds: [0, 1]}, forgetting-tiles: {}, whole: {}}
pretrain: {count_forgetting: true}
"""

# What the tiny campaign leaves out: other protocols, curation, continual learning, anytime curves, search.
TRIAL = """
architectures: [convnet-3, convnet-4]
datasets: {digits: {ipcs: [1, 2]}}
methods: {paper: {seeds: [0, 1]}, random: {}, paper-curated: {}, whole: {}}
protocols: [released, dm]
continual: {steps: [2, 5], methods: [paper, random], protocol: dm}
anytime: {methods: [paper, random], protocol: dm}
search: {depths: [3, 4], widths: [8], norms: [none], methods: [paper], protocol: dm}
"""

# Two tables that share cells, one of continual learning; `paper` is made for its curation alone, `random` for nothing
# at IPC 2.
ARTEFACTS = """
architectures: [convnet-3, convnet-4]
datasets: {digits: {ipcs: [1, 2]}}
methods: {paper: {seeds: [0, 1]}, random: {}, paper-curated: {}, whole: {}}
protocols: [released, dm]
continual: {steps: [2, 5], methods: [paper, random], protocol: dm}
anytime: {methods: [paper, random]}
search: {depths: [3], widths: [8], norms: [none], methods: [paper, random]}
artefacts:
  table1: {datasets: {digits: [1]}, methods: [random, paper, whole]}
  table4: {datasets: {digits: [1, 2]}, methods: [paper-curated], architectures: [convnet-3, convnet-4]}
  protocols: {datasets: {digits: [1]}, methods: [random], protocols: [released, dm]}
  learning: {datasets: {digits: [1]}, methods: [paper, random], continual: true}
  curves: {datasets: {digits: [1]}, methods: [paper, random], anytime: true}
  networks: {datasets: {digits: [1]}, methods: [random, whole], search: true}
"""

# The report's files are named one by one in the table, some of them by their folders in DVC.
READS, WRITES = "params/report.json evaluations sets", "report.html metrics.json metrics.record.json tables figures"

pytest.importorskip("snakemake")
pytest.importorskip("dvc")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A checkout that nothing is computed in."""
    tree = Tree(tmp_path_factory.mktemp("sources") / "ncfm", git=True)
    (tree.folder / "params/coresets.yaml").write_text(CORESETS)
    (tree.folder / "params/trial.yaml").write_text(TRIAL)
    (tree.folder / "params/artefacts.yaml").write_text(ARTEFACTS)
    return tree


HOST = socket.gethostname()
Stages = dict[str, tuple[list[str], set[str], set[str]]]


def of_snakemake(tree: Tree, name: str, target: str = "all") -> Stages:
    """Return Snakemake's jobs of a campaign or a target as it prints them: DVC's name, command, inputs and outputs."""
    printed = tree.run("snakemake", "-nFp", target, "--quiet", "reason", "--cores", "2", "--config", f"campaign={name}")
    found = {}
    for job in printed.split("\nrule ")[1:]:
        lines = [line.strip() for line in job.splitlines()]
        pairs = [line.split(": ", 1) for line in lines if line.startswith(("input: ", "output: "))]
        files = {key: set(text.split(", ")) for key, text in pairs}
        shell = next((line for line in lines if "workflow/run_stage.py" in line), "")
        if shell:
            runner, command = shell.split(" > ")[0].split(" -- ")
            campaign_, stage = runner.split()[-2:]
            assert campaign_ == name
            found[stage] = (command.split(), files["input"], files["output"])
    return found


def of_dvc(tree: Tree, name: str) -> Stages:
    """Return DVC's stages of a campaign: name, then command, dependencies and outputs."""
    from dvc.repo import Repo

    tree.run("ncfm", "use", name)
    with Repo(str(tree.folder)) as repo:
        return {
            stage.addressing: (
                stage.cmd.split(),
                {dep.def_path for dep in stage.deps},
                {out.def_path for out in stage.outs},
            )
            for stage in repo.index.stages
        }


def of_table(name: str) -> Stages:
    """Return a campaign's stages as the table has them."""
    chosen = campaign.load(name)
    return {
        table.address(name, cell): (
            table.command(name, cell).split(),
            set(campaign.inputs(chosen, cell)),
            set(table.outputs(name, cell)),
        )
        for cell in chosen.cells
    }


def without_report(stages: Stages, name: str) -> Stages:
    return {address: stage for address, stage in stages.items() if address != f"report@{name}"}


@pytest.mark.parametrize("name", ["coresets", "trial", "artefacts"])
def test_snakemake_has_the_stages_of_the_table(name: str, sources: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sources.folder)
    sources.run("ncfm", "params", name)
    assert of_snakemake(sources, name) == of_table(name)


@pytest.mark.parametrize("name", [*campaign.available(ROOT / "params"), "coresets", "trial", "artefacts"])
def test_dvc_has_the_stages_of_the_table(name: str, sources: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sources.folder)
    dvc, expected = of_dvc(sources, name), of_table(name)
    command, _, outputs = dvc.pop(f"params@{name}")
    assert (command, outputs) == (["ncfm", "params", name], {f"results/{name}/params"})
    command, *named = expected[f"report@{name}"]
    assert command == dvc[f"report@{name}"][0]
    for files, folders, names in zip(named, dvc[f"report@{name}"][1:], (READS, WRITES), strict=True):
        assert folders == {f"results/{name}/{part}" for part in names.split()}
        assert all(any(Path(path).is_relative_to(folder) for folder in folders) for path in files)
    assert without_report(dvc, name) == without_report(expected, name)


def test_the_committed_pipeline_is_the_table() -> None:
    assert (ROOT / "dvc.yaml").read_text(encoding="utf-8") == engines.dvc_yaml(), "run `make dvc.yaml`"


def test_a_target_plans_its_own_cells_only(sources: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table 4 of the paper: at IPC 10 and 50 seeds x (paper, released, curated) and DM, each on four networks."""
    monkeypatch.chdir(sources.folder)
    sources.run("ncfm", "params", "paper")
    stages = of_snakemake(sources, "paper", "table4")
    counts = Counter("table" if ":" in stage else stage.split("@")[0] for stage in stages)
    sets = {"distill": 2 * (3 + 3 + 1), "curate": 2 * 3}
    assert counts == {"prepare": 1, "pretrain": 1, **sets, "evaluate": 4 * sum(sets.values()), "table": 1}
    cells = campaign.load("paper").artefacts["table4"]
    assert set(stages) == {table.address("paper", c) for c in cells} | {"params/dvc.yaml:paper_table4"}


def test_dry_runs_write_nothing(tmp_path: Path) -> None:
    """In a fresh clone. (DVC needs --force there: without it it looks for files that no stage has made yet.)"""
    tree = Tree(tmp_path / "ncfm", git=True)
    before = tree.files()
    assert "pretrain" in tree.snakemake("-n")
    assert tree.run("dvc", "repro", "--dry", "--force").count("> ncfm ") == 40
    assert tree.files() == before


def test_a_cluster_is_told_what_each_job_needs(sources: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes are at least half an hour; a GPU is asked for where the nodes have one, whatever this machine has."""
    for gpu in ("1", "0"):
        told = {**sources.environment(), "NCFM_GPU": gpu}
        monkeypatch.setattr(Tree, "environment", lambda tree, told=told: told)
        printed = sources.run("snakemake", "-n", "--config", "campaign=tiny")
        needs = dict(re.findall(r"rule (\w+):.*?resources: ([^\n]*)", printed, re.DOTALL))
        asked = {
            stage: int(re.search(r"mem_mb=(\d+)", text)[1]) for stage, text in needs.items() if stage in table.STAGES
        }
        assert 4000 <= asked["select"] < asked["distill"] and 4000 <= asked["evaluate"] < 9000
        assert (asked["distill"] >= 8000) is (gpu == "1")  # as much again for a driver
        assert all(int(re.search(r"runtime=(\d+)", needs[one])[1]) >= 30 for one in ("distill", "evaluate"))
        assert f"gpu={gpu}" in needs["distill"] and "gpu=0" in needs["select"]


def test_results_of_the_future_do_not_hide_a_change(tmp_path: Path) -> None:
    """The clock was set back after they were made: Snakemake alone would find nothing to do."""
    tree = Tree(tmp_path / "ncfm", git=False)
    target = "results/tiny/sets/digits/ipc1/random/seed0/grid.png"
    tree.run("snakemake", "--cores", "1", "--config", "campaign=tiny", "--", target)
    for path in (tree.folder / "results").rglob("*"):
        os.utime(path, (path.stat().st_mtime + 86_400,) * 2)  # in their order
    said = tree.run("snakemake", "-n", "--config", "campaign=tiny", "--", target)
    assert "Nothing to be done" in said and "files of tiny were of the future" in said
    tree.edit("random: {seeds: [0]}", "random: {seeds: [0], select: {factor: 2}}")
    assert "select" in tree.run("snakemake", "-n", "--config", "campaign=tiny", "--", target)


def test_a_folder_is_unlocked_only_where_all_that_may_have_locked_it_are_dead(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "ncfm", git=False)
    card, notes = "results/tiny/datasets/digits/card.json", tree.folder / ".snakemake"
    lock, living = notes / "locks/0.output.lock", psutil.Process()
    write_text(lock, f"{card}\n")
    for name, owner in {"dead": [HOST, 2**22 + 1, 0.0], "living": [HOST, living.pid, living.create_time()]}.items():
        write_json(notes / f"ncfm-owners/{name}.json", owner)
    assert "cannot be locked: another snakemake works on these files here" in tree.run(
        "snakemake", "--cores", "1", "--config", "campaign=tiny", "--", card, status=1
    )
    write_json(notes / "ncfm-owners/living.json", ["elsewhere", 1, 0.0])
    assert "cannot be locked: another snakemake works on these files here" in tree.run(
        "snakemake", "--cores", "1", "--config", "campaign=tiny", "--", card, status=1
    )
    (notes / "ncfm-owners/living.json").unlink()
    assert "is dead" not in tree.run("snakemake", "-n", "--config", "campaign=tiny") and lock.exists()
    assert "is dead: unlocked" in tree.run("snakemake", "--cores", "1", "--config", "campaign=tiny", "--", card)
    assert not list(notes.glob("*/*.json")) and not lock.exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "ncfm", git=False)
    (tree.folder / "results").touch()
    printed = tree.run("snakemake", "--cores", "1", "--config", "campaign=tiny", status=1)
    fault = "cannot be written: a part of the path is a file, not a folder"
    assert printed.splitlines()[-1] == f"ncfm: results/report.html: {fault}"
    shutil.rmtree(tree.folder / ".snakemake")
    write_text(tree.folder / ".snakemake", "in the way")
    printed = tree.run("snakemake", "-n", "--config", "campaign=tiny", status=1)
    assert fault in printed.splitlines()[-1] and "Traceback" not in printed


def test_what_people_do_by_accident_is_one_line(sources: Tree) -> None:
    """A target that another campaign has; Snakemake's own report in the root, beside the campaigns' pages."""
    for words, said in {
        ("-n", "table5"): "table5: not in campaign tiny, but in paper: snakemake table5 --config campaign=paper",
        ("--report",): "--report: name a file, e.g. snakemake --report results/tiny/snakemake.html",
    }.items():
        printed = sources.run("snakemake", *words, "--config", "campaign=tiny", status=1)
        assert printed.splitlines()[-1] == f"ncfm: {said}"


def test_a_faulty_campaign_is_one_line(sources: Tree) -> None:
    for word, said in {
        "campaign=tinny": "ncfm: params: unknown campaign 'tinny'; did you mean 'tiny'?",
        "campain=tiny": "ncfm: --config: unknown key 'campain'; did you mean 'campaign'?",
    }.items():
        printed = sources.run("snakemake", "-n", "--config", word, status=1)
        assert said in printed and "Traceback" not in printed


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], str]:
    """workflow/run_stage.py's choice, in an empty folder."""
    spec = importlib.util.spec_from_file_location("run_stage", ROOT / "workflow/run_stage.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NCFM_RUNNER", raising=False)
    monkeypatch.setenv("PATH", str(BIN), prepend=os.pathsep)
    return module.runner


def test_the_runner_goes_without_dvc(runner: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert runner() == "direct"
    Path(".dvc").mkdir()
    Path(".dvc/config").touch()
    assert runner() == "direct"  # no git checkout
    Path(".git").mkdir()
    assert runner() == "dvc"
    monkeypatch.setenv("NCFM_RUNNER", "direct")
    assert runner() == "direct"
    monkeypatch.setenv("NCFM_RUNNER", "slurm")
    with pytest.raises(SystemExit, match=r"NCFM_RUNNER: is 'slurm' \(allowed: dvc, direct\)"):
        runner()
    monkeypatch.delenv("NCFM_RUNNER")
    monkeypatch.setenv("PATH", "/nowhere")
    assert runner() == "direct"


def test_a_downloaded_archive_runs_without_git(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "ncfm", git=False)
    card = "results/tiny/datasets/digits/card.json"
    tree.tracked = True
    tree.snakemake(card)
    with contextlib.closing(sqlite3.connect(tree.folder / "results/mlflow/mlflow.db")) as store:
        assert set(store.execute("SELECT name FROM runs")) == {("prepare digits",), ("digits",)}
    assert read_json(tree.folder / card)["dataset"] == "digits"
    assert not (tree.folder / ".dvc/cache").exists()
    assert "Nothing to be done" in tree.snakemake(card)


def test_what_dvc_finds_wrong_is_on_the_screen(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "ncfm", git=True)
    tree.run("ncfm", "use", "tiny")
    (tree.folder / ".dvc/tmp").mkdir(exist_ok=True)
    (tree.folder / ".dvc/tmp/rwlock").touch()  # torn, as a killed DVC leaves it
    tree.run("snakemake", "--cores", "1", "results/tiny/datasets/digits/card.json")
    log = tree.folder / "results/tiny/logs/prepare/digits.log"
    assert "rwlock: a killed DVC left it torn: removed" in log.read_text()
    tree.run("snakemake", "--cores", "1", "results/tiny/sets/digits/ipc1/random/seed0/grid.png")
    known = (tree.folder / "dvc.lock").read_text()
    (tree.folder / "dvc.lock").write_text(known[: len(known) // 2].rstrip())
    shutil.rmtree(tree.folder / "results/tiny/datasets")
    tree.run("snakemake", "--cores", "1", "results/tiny/datasets/digits/card.json")
    assert "dvc.lock: a killed DVC left it torn: as it was before the last stage" in log.read_text()
    assert "prepare@tiny_digits:" in (tree.folder / "dvc.lock").read_text()
    check_dvc_goes_on_without_a_copy(tree, known)
    shutil.rmtree(tree.folder / "results/tiny/datasets")
    (tree.folder / "dvc.yaml").write_text("stages: [")
    printed = tree.run("snakemake", "--cores", "1", status=1)
    assert "dvc.yaml' is invalid" in printed
    assert "FAILED prepare (results/tiny/logs/prepare/digits.log):\n" in printed


def test_a_lock_with_conflicts_is_left_alone_and_never_a_copy(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "ncfm", git=False)
    lock, kept = tree.folder / "dvc.lock", tree.folder / ".dvc/tmp/dvc.lock.kept"
    write_text(lock, "schema: '2.0'\nstages: {}\n")
    tree.run("python", "workflow/run_stage.py", "mend")
    whole = kept.read_text()
    sides = "<<<<<<< HEAD\nstages: {}\n=======\nstages: {a: 1}\n>>>>>>> other\n"
    for text in (f"schema: '2.0'\n{sides}", sides):
        write_text(lock, text)
        assert tree.run("python", "workflow/run_stage.py", "mend") == ""
        assert lock.read_text() == text and kept.read_text() == whole


STANDS_FOR_DVC = """#!/bin/sh
sleep 300 & echo $$ $! > started.new
mv started.new started
wait
"""


def test_a_killed_runner_leaves_neither_dvc_nor_the_stage(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "ncfm", git=True)
    write_text(tree.folder / "bin/dvc", STANDS_FOR_DVC)
    (tree.folder / "bin/dvc").chmod(0o755)
    write_text(tree.folder / "params/campaign.yaml", "campaign: tiny\n")
    (tree.folder / "bin/python").symlink_to(sys.executable)  # dvc is looked for beside it
    command = [tree.folder / "bin/python", "workflow/run_stage.py", "tiny", "stage", "--", "true"]
    run = subprocess.Popen(command, cwd=tree.folder, env=tree.environment())
    while not (tree.folder / "started").exists():
        assert run.poll() is None
        time.sleep(0.01)
    started = [psutil.Process(int(number)) for number in (tree.folder / "started").read_text().split()]
    run.kill()
    run.wait()
    left = psutil.wait_procs(started, timeout=60)[1]
    for one in left:
        one.kill()
    assert not left


# Where the tests run in the background, the shell lets all that they start ignore SIGINT.
HEARS = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"


def test_who_interrupts_snakemake_hears_that_it_ends(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "ncfm", git=False)
    tree.edit("epochs: 1\n", "epochs: 100000\n")
    with (tree.folder / "printed").open("w") as printed:
        run = subprocess.Popen(
            [sys.executable, "-c", HEARS, BIN / "snakemake", "--cores", "1", "--config", "campaign=tiny"],
            cwd=tree.folder,
            env=tree.environment(),
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    log = tree.folder / "results/tiny/logs/pretrain/digits-convnet-3.log"
    while not log.is_file() or "pretrain: " not in log.read_text():
        assert run.poll() is None
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGINT)  # as Ctrl-C does
    assert run.wait(timeout=60) == 1
    said = (tree.folder / "printed").read_text().splitlines()
    assert "Terminating processes on user request, this might take some time." in said
    assert f"pretrain: {INTERRUPTED}" in said and not any("FAILED" in line for line in said)


def check_dvc_goes_on_without_a_copy(tree: Tree, known: str) -> None:
    """What `make unlock` calls: the torn file is kept aside, and DVC finds what was computed in its cache."""
    computed = tree.computed()
    (tree.folder / "dvc.lock").write_text(known[: len(known) // 2].rstrip())
    (tree.folder / ".dvc/tmp/dvc.lock.kept").unlink()
    said = tree.run("python", "workflow/run_stage.py", "mend")
    assert "dvc.lock: a killed DVC left it torn: it is .dvc/tmp/dvc.lock.torn now" in said
    assert (tree.folder / ".dvc/tmp/dvc.lock.torn").stat().st_size
    tree.run("dvc", "repro", "prepare@tiny_digits")
    assert tree.computed() == computed
