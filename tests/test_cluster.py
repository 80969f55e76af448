"""The profile for SLURM, where SLURM and its plugin are: the tiny campaign through all that ends a job."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from engine_tree import Tree

NODES = shutil.which("sinfo") and subprocess.run(["sinfo", "-h"], check=False, capture_output=True).stdout
PLUGIN = importlib.util.find_spec("snakemake_executor_plugin_slurm")
pytestmark = pytest.mark.skipif(not (NODES and PLUGIN), reason="needs SLURM and snakemake-executor-plugin-slurm")

STATUS = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5"]
COMMAND = ["snakemake", "--workflow-profile", "profiles/slurm", *STATUS, "--config", "campaign=tiny"]
ASKED = "return lambda wildcards, attempt: attempt * found(wildcards)"  # of memory, then of time, in common.smk
LOG = "results/tiny/logs/distill/digits-ipc1-paper-seed0.log"


class ClusterTree(Tree):
    """A copy of the sources whose jobs run on the nodes' CPUs, without DVC; its rules ask for what a test says."""

    def environment(self) -> dict[str, str]:
        """Return the environment, with the plugin wherever it is installed."""
        plugin = str(Path(str(PLUGIN.origin)).parent.parent) if PLUGIN else ""
        paths = os.pathsep.join([str(self.folder), plugin])
        return {**super().environment(), "NCFM_RUNNER": "direct", "NCFM_DEVICE": "cpu", "PYTHONPATH": paths}

    def ask(self, megabytes: str, minutes: str) -> None:
        """Let the rules ask for so much memory and time, by the stage."""
        rules = self.folder / "workflow/rules/common.smk"
        start, middle, end = rules.read_text().split(ASKED)
        asked = (f"return lambda wildcards, attempt: attempt * ({one})" for one in (megabytes, minutes))
        rules.write_text(start + next(asked) + middle + next(asked) + end)


@pytest.fixture
def tree(tmp_path: Path) -> ClusterTree:
    return ClusterTree(tmp_path / "ncfm", git=True)


def test_a_job_killed_for_its_memory_is_done_with_more(tree):
    """The extractors get too little at first."""
    tree.ask('350 if stage == "pretrain" else 1200', "30")
    printed = tree.run(*COMMAND)
    assert "report: done" in printed
    config = subprocess.run(["scontrol", "show", "config"], check=True, capture_output=True, text=True).stdout
    if "OverMemoryKill" in config:  # where the cluster watches it
        assert "FAILED pretrain" in printed
    assert "Nothing to be done" in tree.run(*COMMAND, "-n")


def test_a_job_killed_for_its_time_goes_on_from_its_checkpoint(tree):
    """A distillation of about two minutes, on cores that do nothing else, gets one at first."""
    tree.edit("iterations: 4", "iterations: 10000")
    tree.ask("1200", '1 if stage == "distill" and attempt == 1 else 30')
    printed = tree.run(*COMMAND, timeout=1800)
    assert "report: done" in printed
    assert int(re.findall(r"distill: (\d+)/10000", (tree.folder / LOG).read_text())[0]) > 100  # of the last attempt


def test_a_cancelled_campaign_goes_on(tree):
    """Snakemake is killed and its jobs are cancelled while one of them runs; the same command finishes the rest."""
    tree.ask("1200", "30")
    first = tree.start(*COMMAND)
    while (
        "RUNNING" not in subprocess.run(["squeue", "-h", "-o", "%T"], check=True, capture_output=True, text=True).stdout
    ):
        assert first.poll() is None
        time.sleep(0.2)
    first.kill()
    first.communicate()
    subprocess.run(["scancel", "--user", str(os.getuid())], check=True)
    assert "report: done" in tree.run(*COMMAND)
    assert "Nothing to be done" in tree.run(*COMMAND, "-n")
