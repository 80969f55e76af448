"""Two campaigns at once in one folder, under both engines: the same bytes, and neither disturbs the other."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from engine_tree import Tree

pytest.importorskip("snakemake")
pytest.importorskip("dvc")


def test_both_engines_compute_the_same_bytes_and_campaigns_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Two campaigns at once while `ncfm use` switches between them, against `dvc repro` of one alone."""
    reference, tree = Tree(tmp_path / "reference", git=True), Tree(tmp_path / "ncfm", git=True)
    names = ("tiny", "second")
    for one in (reference, tree):
        one.edit("pool: 1", "pool: 2")  # two networks side by side, where there are the cores
        text = (one.folder / "params/tiny.yaml").read_text()
        (one.folder / "params/second.yaml").write_text(text.replace("iterations: 4", "iterations: 5"))
        subprocess.run(["git", "add", "."], cwd=one.folder, check=True)
        one.commit()
    reference.run("ncfm", "use", "tiny")
    reference.run("dvc", "repro")
    tree.run("ncfm", "use", "tiny")
    tree.commit()
    command = ["snakemake", "--cores", "1", "--config"]
    running = [tree.start(*command, f"campaign={name}") for name in names]
    switches = 0
    while any(process.poll() is None for process in running):
        tree.run("ncfm", "use", names[switches % 2])
        switches += 1
        time.sleep(5)
    assert switches > 2
    for process in running:
        printed, _ = process.communicate()
        assert process.returncode == 0, printed
    expected = {path.relative_to(reference.folder): content for path, content in reference.contents().items()}
    assert {path.relative_to(tree.folder): content for path, content in tree.contents().items()} == expected
    second = {
        path.relative_to(tree.folder / "results/second"): content for path, content in tree.contents("second").items()
    }
    first = {path.relative_to("results/tiny"): content for path, content in expected.items()}
    assert second.keys() == first.keys()
    differing = {path.parts[0] for path in first if first[path] != second[path] and "random" not in path.parts}
    assert differing - {"tables"} == {
        "params",
        "sets",
        "evaluations",
        "figures",
    }  # an iteration more; data set and pool are equal

    # A campaign of one call: no tracked file changes, and what it made can be handed to DVC.
    tree.run("ncfm", "use", "tiny")
    (tree.folder / "results/second/report.html").unlink()
    tree.run(*command, "campaign=second")
    assert (tree.folder / "results/second/report.html").is_file() and tree.tracked_changes() == ""
    assert "second is not the active campaign" in (tree.folder / "results/second/logs/report/report.log").read_text()
    tree.run("ncfm", "use", "second")
    tree.run("dvc", "commit", "-f")
    assert "Data and pipelines are up to date" in tree.run("dvc", "repro")
