"""Snakemake and DVC: the same stages on the same files, and the real workflow from one engine to the other and back."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ncfm.campaign import campaign
from ncfm.core import layout
from ncfm.core.store import load_tensors, read_json

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SET = Path("results/tiny/sets/digits/ipc1/paper/seed0")
EVALUATIONS = Path("results/tiny/evaluations/digits/ipc1")
# A campaign whose selections read extractors and whose distillations are none.
CORESETS = """
architectures: [convnet-3]
datasets: {digits: {ipcs: [1, 2]}}
methods: {random: {}, herding: {seeds: [0, 1]}, forgetting-tiles: {}, whole: {}}
"""
STAGES = {"prepare": 1, "pretrain": 1, "distill": 1, "select": 1, "evaluate": 2, "report": 1}

# What the tiny campaign leaves out: other protocols of evaluation, curation, continual learning, search.
TRIAL = """
architectures: [convnet-3, convnet-4]
datasets: {digits: {ipcs: [1, 2]}}
methods: {paper: {seeds: [0, 1]}, random: {}, paper-curated: {}, whole: {}}
protocols: [released, dm]
continual: {steps: [2, 5], methods: [paper, random], protocol: dm}
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
search: {depths: [3], widths: [8], norms: [none], methods: [paper, random]}
artefacts:
  table1: {datasets: {digits: [1]}, methods: [random, paper, whole]}
  table4: {datasets: {digits: [1, 2]}, methods: [paper-curated], architectures: [convnet-3, convnet-4]}
  protocols: {datasets: {digits: [1]}, methods: [random], protocols: [released, dm]}
  learning: {datasets: {digits: [1]}, methods: [paper, random], continual: true}
  networks: {datasets: {digits: [1]}, methods: [random, whole], search: true}
"""

pytest.importorskip("snakemake")
pytest.importorskip("dvc")


class Tree:
    """A copy of this repository's sources, as a git checkout or as a downloaded archive would be."""

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
        return kept | {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1", "NCFM_TRACKING": "off"}

    def run(self, *command: str, status: int = 0) -> str:
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
            timeout=300,
            check=False,
        )
        logs = "".join(path.read_text() for path in self.folder.glob("results/*/logs/**/*.log"))
        assert done.returncode == status, f"{command}: {done.stdout}\n{logs}"
        return done.stdout

    def snakemake(self, *arguments: str) -> str:
        """Run Snakemake on the tiny campaign."""
        return self.run("snakemake", *arguments, "--cores", "1", "--config", "campaign=tiny")

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

    def contents(self) -> dict[Path, bytes]:
        """Return the bytes of the campaign's results."""
        parts = ("params", "datasets", "extractors", "sets", "evaluations", "tables", "figures")
        paths = [path for part in parts for path in (self.folder / "results/tiny" / part).rglob("*")]
        return {path: path.read_bytes() for path in paths if path.is_file()}

    def times(self, *names: str) -> dict[Path, int]:
        """Return the time stamps of some of the campaign's results."""
        return {p: p.stat().st_mtime_ns for name in names for p in (self.folder / "results/tiny" / name).rglob("*")}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A checkout that nothing is computed in."""
    tree = Tree(tmp_path_factory.mktemp("sources") / "ncfm", git=True)
    (tree.folder / "params/coresets.yaml").write_text(CORESETS)
    (tree.folder / "params/trial.yaml").write_text(TRIAL)
    (tree.folder / "params/artefacts.yaml").write_text(ARTEFACTS)
    return tree


def of_snakemake(name: str, target: str | None = None) -> dict[str, tuple[str, set[str], set[str]]]:
    """Return Snakemake's jobs of a campaign or a target: DVC's name of the stage, then command, inputs and outputs."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(config={"campaign": name}),
            snakefile=Path("Snakefile"),
        )
        workflow.dag(DAGSettings(forceall=True, targets={target} if target else set()))
        inner = workflow._workflow
        inner._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True)
        inner._build_dag()
        jobs = [job for job in inner.dag.jobs if job.rule.name not in ("all", target)]
        found = {}
        for job in jobs:
            runner, command = job.shellcmd.split(" > ")[0].split(" -- ")
            start, stage = runner.rsplit(" ", 1)
            assert start.endswith("python workflow/run_stage.py")
            found[stage] = (command, set(map(str, job.input)), set(map(str, job.output)))
        return found


def of_dvc(name: str) -> dict[str, tuple[str, set[str], set[str]]]:
    """Return DVC's stages of a campaign: name, then command, dependencies and outputs."""
    from dvc.repo import Repo

    campaign.use(campaign.load(name))
    with Repo(".") as repo:
        return {
            stage.addressing: (stage.cmd, {dep.def_path for dep in stage.deps}, {out.def_path for out in stage.outs})
            for stage in repo.index.stages
        }


def stage_of(cell: layout.Cell) -> str:
    """Return the name of a cell's stage in DVC."""
    if cell.artefact:
        return f"params/dvc.yaml:{cell.artefact}"
    return f"{cell.group}@{cell.key}" if cell.key else cell.group


@pytest.mark.parametrize("name", [*campaign.available(ROOT / "params"), "coresets", "trial", "artefacts"])
def test_both_engines_have_the_same_stages(name: str, sources: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sources.folder)
    snakemake, dvc = of_snakemake(name), of_dvc(name)
    command, _, outputs = dvc.pop("params")
    assert (command, outputs) == (f"ncfm params {name}", {f"results/{name}/params"})
    cells = {stage_of(cell) for cell in campaign.load(name).cells}
    assert set(snakemake) == set(dvc) == cells
    # The report's files are named one by one in Snakemake, by their folders in DVC.
    inputs, folders = snakemake["report"][1], dvc["report"][1]
    assert folders == {f"results/{name}/{part}" for part in ("params/report.json", "evaluations", "sets")}
    assert all(any(Path(path).is_relative_to(folder) for folder in folders) for path in inputs)
    made = {path for _, _, paths in snakemake.values() for path in paths}
    assert {path for path in made if "/evaluations/" in path} <= inputs
    assert {path for path in made if path.endswith("/distilled.safetensors")} <= inputs
    for found in (snakemake, dvc):
        found["report"] = (found["report"][0], set(), found["report"][2])
    assert snakemake == dvc


def test_a_target_plans_its_own_cells_only(sources: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table 4 of the paper: at IPC 10 and 50 seeds x (paper, released, curated) and DM, each on four networks."""
    monkeypatch.chdir(sources.folder)
    stages = of_snakemake("paper", "table4")
    counts = Counter("table" if ":" in stage else stage.split("@")[0] for stage in stages)
    sets = {"distill": 2 * (3 + 3 + 1), "curate": 2 * 3}
    assert counts == {"prepare": 1, "pretrain": 1, **sets, "evaluate": 4 * sum(sets.values()), "table": 1}
    assert set(stages) == {stage_of(c) for c in campaign.load("paper").artefacts["table4"]} | {"params/dvc.yaml:table4"}


def test_layout_is_what_the_engines_write(sources: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sources.folder)
    stages = of_dvc("artefacts")
    for cell in campaign.load("artefacts").cells:
        _, dependencies, outputs = stages[stage_of(cell)]
        assert str(layout.params_file("artefacts", cell)) in dependencies
        expected = {
            "prepare": lambda c: layout.dataset_folder("artefacts", c.dataset) / "card.json",
            "pretrain": lambda c: layout.extractor_file("artefacts", c.dataset, c.arch),
            "distill": lambda c: layout.set_folder("artefacts", c) / "distilled.safetensors",
            "select": lambda c: layout.set_folder("artefacts", c) / "distilled.safetensors",
            "curate": lambda c: layout.set_folder("artefacts", c) / "distilled.safetensors",
            "evaluate": lambda c: layout.evaluation_file("artefacts", c),
            "continual": lambda c: layout.evaluation_file("artefacts", c),
            "search": lambda c: layout.evaluation_file("artefacts", c),
            "report": lambda c: (
                layout.campaign_folder("artefacts")
                / (f"tables/{c.artefact}.csv" if c.artefact else "tables/metrics.json")
            ),
        }[cell.stage](cell)
        assert {str(expected), str(layout.record_file(expected))} <= outputs


def test_a_faulty_campaign_is_one_line(sources: Tree) -> None:
    printed = sources.run("snakemake", "-n", "--config", "campaign=tinny", status=1)
    assert "ncfm: params: unknown campaign 'tinny'; did you mean 'tiny'?" in printed
    assert "Traceback" not in printed


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
    tree.snakemake(card)
    assert read_json(tree.folder / card)["dataset"] == "digits"
    assert not (tree.folder / ".dvc/cache").exists()
    assert "Nothing to be done" in tree.snakemake(card)


def kill_while_distilling(tree: Tree) -> int:
    """Start the workflow, kill all of it with SIGKILL at a checkpoint of the distillation, return that iteration."""
    command = [BIN / "snakemake", "--cores", "1", "--config", "campaign=tiny"]
    process = subprocess.Popen(
        command,
        cwd=tree.folder,
        env=tree.environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoint = tree.folder / SET / "checkpoint.safetensors"
    try:
        end = time.monotonic() + 240
        while not checkpoint.is_file() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # Until init has reaped them all: DVC takes a zombie for a living stage that holds its lock.
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < end:
                os.killpg(process.pid, 0)
                time.sleep(0.01)
    return int(json.loads(load_tensors(checkpoint)[1]["text"])["iteration"])


def test_one_truth(tmp_path: Path) -> None:
    """One long walk, since every step needs the one before: no stage is ever computed twice on the same values."""
    tree = Tree(tmp_path / "ncfm", git=True)
    tree.edit("iterations: 4", "iterations: 60")
    nothing = "Nothing to be done"

    # Killed in the middle, the same command finishes the work, from the checkpoint.
    assert 0 < kill_while_distilling(tree) < 60
    tree.snakemake("--unlock")
    tree.snakemake()
    assert tree.computed() == STAGES
    assert not list(tree.folder.rglob("*checkpoint.safetensors"))
    first = tree.contents()

    # Snakemake then DVC.
    assert nothing in tree.snakemake()
    tree.run("dvc", "repro")
    assert tree.computed() == STAGES

    # A parameter of the evaluation changes, DVC runs; Snakemake has nothing left to do.
    untouched = tree.times("datasets", "extractors", "sets")
    tree.edit("epochs: 2", "epochs: 3")
    tree.run("dvc", "repro")
    after_change = Counter(STAGES) + Counter(evaluate=2, report=1)
    assert tree.computed() == after_change
    assert tree.times("datasets", "extractors", "sets") == untouched
    assert len(read_json(tree.folder / EVALUATIONS / "paper/seed0/convnet-3.json")["networks"]) == 1
    assert nothing in tree.snakemake()

    # Reverted: Snakemake notices, although its own last run had these values, and DVC's cache gives the results back.
    tree.edit("epochs: 3", "epochs: 2")
    tree.snakemake()
    assert tree.contents() == first
    tree.run("dvc", "repro")
    assert nothing in tree.snakemake()
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

    # What DVC and Snakemake show of it.
    assert "convnet-3.last" in tree.run("dvc", "metrics", "show")
    tree.run("dvc", "plots", "show")
    tree.snakemake("--report", "report.html")
    assert (tree.folder / "report.html").stat().st_size > 100_000
