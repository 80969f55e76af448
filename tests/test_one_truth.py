"""The real workflow from one engine to the other and back, through a kill, changes, deletions and another's clone."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_tree import BIN, Tree

from ncfm.core.store import load_tensors, read_json

SET = Path("results/tiny/sets/digits/ipc1/paper/seed0")
EVALUATIONS = Path("results/tiny/evaluations/digits/ipc1")
NOTHING = "Nothing to be done"
STAGES = {"prepare": 1, "pretrain": 1, "distill": 1, "select": 1, "evaluate": 2, "report": 1}

pytest.importorskip("snakemake")
pytest.importorskip("dvc")


def kill_while_distilling(tree: Tree) -> int:
    """Start the workflow, kill Snakemake alone at a checkpoint of the distillation, return the last one's iteration."""
    checkpoint = tree.folder / SET / "checkpoint.safetensors"
    kill_when(tree, ["snakemake", "--cores", "1", "--config", "campaign=tiny"], checkpoint.is_file)
    return int(json.loads(load_tensors(checkpoint)[1]["text"])["iteration"])


def after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def kill_when(tree: Tree, command: list[str], is_time: Callable[[], bool]) -> None:
    """Start an engine and kill it alone when it is time; what it ran must end by itself."""
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    process = subprocess.Popen(
        [BIN / command[0], *command[1:]],
        cwd=tree.folder,
        env={**tree.environment(), "PATH": path},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 240
        while not is_time() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
        # Until init has reaped them all: DVC takes a zombie for a living stage that holds its lock.
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < end:
                os.killpg(process.pid, 0)
                time.sleep(0.01)


def jobs_started_first(tree: Tree) -> int:
    """Return how many jobs Snakemake began its last run with."""
    log = max((tree.folder / ".snakemake/log").iterdir(), key=os.path.getmtime)
    return int(log.read_text().partition("Execute ")[2].split()[0])


def test_one_truth(tmp_path: Path) -> None:
    """One long walk, since every step needs the one before: no stage is ever computed twice on the same values."""
    tree = Tree(tmp_path / "ncfm", git=True)
    tree.edit("iterations: 4", "iterations: 150")
    tree.run("ncfm", "use", "tiny")
    # Killed in the middle, the same command finishes the work, from the checkpoint.
    assert 0 < kill_while_distilling(tree) < 150
    unlocked, *printed = [line for line in tree.snakemake().splitlines() if line.startswith(("[", "ncfm: "))]
    line = r"\[\d/\d\] evaluate digits ipc1 (paper|random) seed0 convnet-3: \d+\.\d% \(\d+ s\)"
    assert any(re.fullmatch(line + r"(, (about|more than) \d+ s left)?", one) for one in printed)
    assert unlocked.endswith("is dead: unlocked")
    assert re.fullmatch(r"\[\d/\d\] report: done \(\d+ s\).*", printed[-1]) and len(printed) < 7
    assert tree.computed() == STAGES
    assert not list(tree.folder.rglob("*checkpoint.safetensors"))
    first = tree.contents()

    # Snakemake then DVC.
    assert NOTHING in tree.snakemake()
    tree.run("dvc", "repro")
    assert tree.computed() == STAGES

    # A parameter of the evaluation changes, DVC runs, is killed, and runs again; Snakemake has nothing left to do.
    untouched = tree.times("datasets", "extractors", "sets")
    tree.edit("epochs: 2", "epochs: 3")
    kill_when(tree, ["dvc", "repro"], after(random.uniform(1, 8)))
    tree.run("dvc", "repro")
    after_change = Counter(STAGES) + Counter(evaluate=2, report=1)
    assert tree.computed() == after_change
    assert tree.times("datasets", "extractors", "sets") == untouched
    assert len(read_json(tree.folder / EVALUATIONS / "paper/seed0/convnet-3.json")["networks"]) == 1
    assert NOTHING in tree.snakemake()
    changed = (tree.folder / "results/tiny/report.html").read_text().partition("Since the report before")[2]
    assert "<td>evaluate.epochs</td>" in changed and "<td>2</td><td>3</td>" in changed

    # Reverted: Snakemake notices, although its own last run had these values, and DVC's cache gives the results back.
    # The params files are written before anything else runs, or DVC would call them busy.
    tree.edit("epochs: 3", "epochs: 2")
    shutil.rmtree(tree.folder / "results/tiny/datasets")
    tree.snakemake(cores=2)
    assert jobs_started_first(tree) == 1
    assert tree.contents() == first
    tree.run("dvc", "repro")
    assert NOTHING in tree.snakemake()
    assert tree.computed() == after_change

    # Results deleted: both engines bring them back.
    shutil.rmtree(tree.folder / "results")
    tree.snakemake()
    assert tree.contents() == first
    shutil.rmtree(tree.folder / "results/tiny/tables")
    tree.run("dvc", "repro")
    assert tree.contents() == first
    assert tree.computed() == after_change

    # A new cell: only its own stages and the report.
    tree.edit("random: {seeds: [0]}", "random: {seeds: [0, 1]}")
    tree.snakemake()
    after_growth = after_change + Counter(select=1, evaluate=1, report=1)
    assert tree.computed() == after_growth
    tree.run("dvc", "repro")
    assert tree.computed() == after_growth

    check_what_engines_show(tree)
    check_a_colleague_has_nothing_to_do(tree)


def check_what_engines_show(tree: Tree) -> None:
    assert "convnet-3.last" in tree.run("dvc", "metrics", "show")
    tree.run("dvc", "plots", "show")
    tree.snakemake("--report", "report.html")
    shown = (tree.folder / "report.html").read_text()
    files = re.findall(r'"results/tiny/([^"{}]*)": \{"name": ', shown)
    assert {"tables/results.csv", "sets/digits/ipc1/paper/seed0/grid.png"} <= set(files)
    assert not any(file.endswith("history.csv") for file in files)  # one for each set would bury the tables


def check_a_colleague_has_nothing_to_do(tree: Tree) -> None:
    """What was pushed and committed is done in a fresh clone, for both engines; a file that was changed is not."""
    tree.run("dvc", "remote", "add", "-d", "store", str(tree.folder.parent / "store"))
    tree.run("dvc", "push")
    subprocess.run(["git", "add", "dvc.lock", ".dvc/config", "params"], cwd=tree.folder, check=True)
    tree.commit()
    clone = copy.copy(tree)
    clone.folder = tree.folder.parent / "colleague"
    subprocess.run(["git", "clone", "-q", tree.folder, clone.folder], check=True)
    clone.run("dvc", "pull")
    assert re.fullmatch(r"tiny: (\d+) of \1 cells are done; snakemake does the others\n", clone.run("ncfm", "settle"))
    assert NOTHING in clone.snakemake("-n")
    assert "Data and pipelines are up to date" in clone.run("dvc", "repro")
    theirs, ours = ([*map(bytes, one.contents().values())] for one in (clone, tree))
    assert sorted(theirs) == sorted(ours) and not clone.computed()
    path = clone.folder / EVALUATIONS / "paper/seed0/convnet-3.json"
    text = path.read_text()
    path.unlink()
    path.write_text(text + " ")
    assert "tiny: 7 of 9 cells are done" in clone.run("ncfm", "settle")
