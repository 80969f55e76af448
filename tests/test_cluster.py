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
    asked = "return lambda wildcards, attempt: attempt * found(wildcards)"
    before, after = rules.read_text().split(asked, 1)  # the first is that of memory
    little = 'return lambda wildcards, attempt: attempt * (350 if stage == "pretrain" else 1200)'
    rules.write_text(before + little + after)
    plugin = str(Path(str(PLUGIN.origin)).parent.parent) if PLUGIN else ""
    settings = {"NCFM_RUNNER": "direct", "NCFM_DEVICE": "cpu"}
    paths = os.pathsep.join([str(tree.folder), plugin])
    tree.environment = lambda: {**Tree.environment(tree), **settings, "PYTHONPATH": paths}  # type: ignore[method-assign]
    status = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5"]
    command = ["snakemake", "--workflow-profile", "profiles/slurm", *status, "--config", "campaign=tiny"]
    printed = tree.run(*command)
    assert "report: done" in printed
    jobs = subprocess.run(["scontrol", "show", "config"], check=True, capture_output=True, text=True).stdout
    if "OverMemoryKill" in jobs:  # where the cluster watches it
        assert "FAILED pretrain" in printed
    assert "Nothing to be done" in tree.run(*command, "-n")
