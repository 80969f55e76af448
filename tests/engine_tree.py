"""A copy of this repository's sources in which a test runs the real workflow, under either engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


class Tree:
    """A copy of this repository's sources, as a git checkout or as a downloaded archive would be."""

    tracked = False  # whether its stages go to MLflow

    def __init__(self, folder: Path, git: bool) -> None:
        skip = (
            ".git",
            ".venv",
            ".snakemake",
            "results",
            "data",
            "cache",
            "tmp",
            "tests",
            "dvc.lock",
            "*.egg-info",
            "__*__",
        )
        shutil.copytree(
            ROOT, folder, ignore=lambda at, names: shutil.ignore_patterns(*skip)(at, names) - {"__init__.py"}
        )
        self.folder, self.git = folder, git
        if git:
            for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "start"]):
                identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
                subprocess.run(["git", *identity, *command], cwd=folder, check=True)

    def environment(self) -> dict[str, str]:
        """Return an environment without this process's engine settings; ncfm is the tree's."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("NCFM_", "SNAKEMAKE", "DVC"))}
        kept |= {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        return kept if self.tracked else kept | {"NCFM_TRACKING": "off"}

    def commit(self) -> None:
        """Commit the tracked files as they are."""
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", *identity, "commit", "-qam", "change"], cwd=self.folder, check=True)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command of the virtual environment; what it prints can be read once it has ended."""
        return subprocess.Popen(
            [BIN / command[0], *command[1:]],
            cwd=self.folder,
            env=self.environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *command: str, status: int = 0, timeout: float = 300) -> str:
        """Run a command of the virtual environment and return what it printed. Only for DVC is that on the path."""
        environment = self.environment()
        if command[0] == "dvc":
            environment["PATH"] = os.pathsep.join([str(BIN), environment["PATH"]])
        done = subprocess.run(
            [BIN / command[0], *command[1:]],
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        logs = "".join(path.read_text() for path in self.folder.glob("results/*/logs/**/*.log"))
        assert done.returncode == status, f"{command}: {done.stdout}\n{logs}"
        return done.stdout

    def snakemake(self, *arguments: str, cores: int = 1) -> str:
        """Run Snakemake on the tiny campaign."""
        return self.run("snakemake", *arguments, "--cores", str(cores), "--config", "campaign=tiny")

    def edit(self, old: str, new: str) -> None:
        """Change the tiny campaign's file."""
        path = self.folder / "params/tiny.yaml"
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    def computed(self) -> Counter[str]:
        """Return how often each stage was computed: DVC's run cache has one entry for each time."""
        entries = [yaml.safe_load(p.read_text()) for p in self.folder.glob(".dvc/cache/runs/*/*/*") if p.is_file()]
        return Counter(entry["cmd"].split()[1] for entry in entries)

    def contents(self, name: str = "tiny") -> dict[Path, bytes]:
        """Return the bytes of a campaign's results but for those that hold times: records, other tables."""
        parts = ("params", "datasets", "extractors", "sets", "evaluations", "figures")
        paths = [path for part in parts for path in (self.folder / "results" / name / part).rglob("*")]
        paths += (self.folder / "results" / name / "tables").glob("results.*")
        return {path: path.read_bytes() for path in paths if path.is_file() and not path.name.endswith("record.json")}

    def files(self) -> dict[Path, bytes]:
        """Return the bytes of every file but the engines' own notes and compiled Python."""
        skip = (".snakemake", ".git", "__pycache__", "tmp")
        paths = [path for path in self.folder.rglob("*") if path.is_file() and not set(skip) & set(path.parts)]
        return {path: path.read_bytes() for path in paths}

    def tracked_changes(self) -> str:
        """Return what git sees changed among the tracked files."""
        command = ["git", "status", "--porcelain", "--untracked-files=no"]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout

    def times(self, *names: str) -> dict[Path, int]:
        """Return the time stamps of some of the campaign's results."""
        return {p: p.stat().st_mtime_ns for name in names for p in (self.folder / "results/tiny" / name).rglob("*")}
