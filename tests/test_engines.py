"""Snakemake and DVC: the same stages on the same files, and the real workflow from one engine to the other and back."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ncfm.campaign import campaign, engines
from ncfm.core.store import load_tensors, read_json
from ncfm.stages import table

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

pytest.importorskip("snakemake")
pytest.importorskip("dvc")


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


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A checkout that nothing is computed in."""
    tree = Tree(tmp_path_factory.mktemp("sources") / "ncfm", git=True)
    (tree.folder / "params/coresets.yaml").write_text(CORESETS)
    (tree.folder / "params/trial.yaml").write_text(TRIAL)
    (tree.folder / "params/artefacts.yaml").write_text(ARTEFACTS)
    return tree


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


def without_report_inputs(stages: Stages, name: str) -> Stages:
    command, _, outputs = stages[f"report@{name}"]
    return {**stages, f"report@{name}": (command, set(), outputs)}


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
    # The report's files are named one by one in the table, by their folders in DVC.
    inputs, folders = expected[f"report@{name}"][1], dvc[f"report@{name}"][1]
    assert folders == {f"results/{name}/{part}" for part in ("params/report.json", "evaluations", "sets")}
    assert all(any(Path(path).is_relative_to(folder) for folder in folders) for path in inputs)
    assert without_report_inputs(dvc, name) == without_report_inputs(expected, name)


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
        assert "mem_mb=16000" in needs["distill"] and "mem_mb=8000" in needs["evaluate"]
        assert all(int(re.search(r"runtime=(\d+)", needs[one])[1]) >= 30 for one in ("distill", "evaluate"))
        assert f"gpu={gpu}" in needs["distill"] and "gpu=0" in needs["select"]


def test_what_people_do_by_accident_is_one_line(sources: Tree) -> None:
    """A target that another campaign has; Snakemake's own report in the root, beside the campaigns' pages."""
    for words, said in {
        ("-n", "table5"): "table5: not in campaign tiny, but in paper: snakemake table5 --config campaign=paper",
        ("--report",): "--report: name a file, e.g. snakemake --report results/tiny/snakemake.html",
    }.items():
        printed = sources.run("snakemake", *words, "--config", "campaign=tiny", status=1)
        assert printed.splitlines()[-1] == f"ncfm: {said}"


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
    tree.tracked = True
    tree.snakemake(card)
    with contextlib.closing(sqlite3.connect(tree.folder / "results/mlflow/mlflow.db")) as store:
        assert set(store.execute("SELECT name FROM runs")) == {("prepare digits",), ("digits",)}
    assert read_json(tree.folder / card)["dataset"] == "digits"
    assert not (tree.folder / ".dvc/cache").exists()
    assert "Nothing to be done" in tree.snakemake(card)


def kill_while_distilling(tree: Tree) -> int:
    """Start the workflow, kill Snakemake alone at a checkpoint of the distillation, return the last one's iteration.

    What Snakemake ran through DVC must end by itself.
    """
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
        process.kill()
        process.wait()
        # Until init has reaped them all: DVC takes a zombie for a living stage that holds its lock.
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < end:
                os.killpg(process.pid, 0)
                time.sleep(0.01)
    return int(json.loads(load_tensors(checkpoint)[1]["text"])["iteration"])


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
    assert differing == {"params", "sets", "evaluations", "figures"}  # an iteration more; data set and pool are equal

    # A campaign of one call: no tracked file changes, and what it made can be handed to DVC.
    tree.run("ncfm", "use", "tiny")
    (tree.folder / "results/second/report.html").unlink()
    tree.run(*command, "campaign=second")
    assert (tree.folder / "results/second/report.html").is_file() and tree.tracked_changes() == ""
    assert "second is not the active campaign" in (tree.folder / "results/second/logs/report/report.log").read_text()
    tree.run("ncfm", "use", "second")
    tree.run("dvc", "commit", "-f")
    assert "Data and pipelines are up to date" in tree.run("dvc", "repro")


def test_what_dvc_finds_wrong_is_on_the_screen(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "ncfm", git=True)
    tree.run("ncfm", "use", "tiny")
    (tree.folder / ".dvc/tmp").mkdir(exist_ok=True)
    (tree.folder / ".dvc/tmp/rwlock").touch()  # torn, as a killed DVC leaves it
    tree.run("snakemake", "--cores", "1", "results/tiny/datasets/digits/card.json")
    assert "a killed DVC left it torn: removed" in (tree.folder / "results/tiny/logs/prepare/digits.log").read_text()
    shutil.rmtree(tree.folder / "results/tiny/datasets")
    (tree.folder / "dvc.yaml").write_text("stages: [")
    printed = tree.run("snakemake", "--cores", "1", status=1)
    assert "dvc.yaml' is invalid" in printed
    assert "FAILED prepare (results/tiny/logs/prepare/digits.log):\n" in printed


def test_one_truth(tmp_path: Path) -> None:
    """One long walk, since every step needs the one before: no stage is ever computed twice on the same values."""
    tree = Tree(tmp_path / "ncfm", git=True)
    tree.edit("iterations: 4", "iterations: 150")
    tree.run("ncfm", "use", "tiny")
    nothing = "Nothing to be done"

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
    changed = (tree.folder / "results/tiny/report.html").read_text().partition("Since the report before")[2]
    assert "<td>evaluate.epochs</td>" in changed and "<td>2</td><td>3</td>" in changed

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

    check_what_engines_show(tree)
    check_a_colleague_has_nothing_to_do(tree)


def check_what_engines_show(tree: Tree) -> None:
    assert "convnet-3.last" in tree.run("dvc", "metrics", "show")
    tree.run("dvc", "plots", "show")
    tree.snakemake("--report", "report.html")
    assert (tree.folder / "report.html").stat().st_size > 100_000


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
    assert "Nothing to be done" in clone.snakemake("-n")
    assert "Data and pipelines are up to date" in clone.run("dvc", "repro")
    theirs, ours = ([*map(bytes, one.contents().values())] for one in (clone, tree))
    assert sorted(theirs) == sorted(ours) and not clone.computed()
    path = clone.folder / EVALUATIONS / "paper/seed0/convnet-3.json"
    text = path.read_text()
    path.unlink()
    path.write_text(text + " ")
    assert "tiny: 7 of 9 cells are done" in clone.run("ncfm", "settle")
