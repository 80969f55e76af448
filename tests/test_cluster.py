"""The profile for SLURM, where SLURM and its plugin for Snakemake are: the tiny campaign from nothing to its tables."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from engine_tree import Tree

NODES = shutil.which("sinfo") and subprocess.run(["sinfo", "-h"], check=False, capture_output=True).stdout
PLUGIN = importlib.util.find_spec("snakemake_executor_plugin_slurm")
pytestmark = pytest.mark.skipif(not (NODES and PLUGIN), reason="needs SLURM and snakemake-executor-plugin-slurm")


def test_a_campaign_on_the_cluster_retries_what_was_killed_for_its_memory(tmp_path: Path) -> None:
    """The extractors get too little memory at first."""
    tree = Tree(tmp_path / "ncfm", git=True)
    rules = tree.folder / "workflow/rules/common.smk"
    text = rules.read_text()
    needs = text.replace('"pretrain": 16_000', '"pretrain": 350').replace("16_000", "900").replace("8_000", "900")
    rules.write_text(needs)
    plugin = str(Path(str(PLUGIN.origin)).parent.parent) if PLUGIN else ""
    settings = {"NCFM_RUNNER": "direct", "NCFM_DEVICE": "cpu"}
    paths = os.pathsep.join([str(tree.folder), plugin])
    tree.environment = lambda: {**Tree.environment(tree), **settings, "PYTHONPATH": paths}  # type: ignore[method-assign]
    status = ["--slurm-status-command", "squeue", "--seconds-between-status-checks", "5"]
    command = ["snakemake", "--workflow-profile", "profiles/slurm", *status, "--config", "campaign=tiny"]
    printed = tree.run(*command)
    assert "report: done" in printed
    if "memory limit" in printed:  # where the cluster watches it
        assert "FAILED pretrain" in printed
    assert "Nothing to be done" in tree.run(*command, "-n")
