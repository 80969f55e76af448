"""What a user can get wrong, in one table: each a single line that says what, where and what is allowed; exit status 2;
nothing half-written, and everything that was there before still there, byte for byte."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
import yaml

from ncfm import cli
from ncfm.core.store import load_tensors, read_json, save_tensors, write_json, write_text

REPOSITORY = Path(__file__).resolve().parent.parent
TRIAL: dict[str, Any] = {
    "architectures": ["convnet-3"],
    "datasets": {"digits": {"ipcs": [1, 2]}},
    "methods": {
        "paper": {"seeds": [0]},
        "random": {"seeds": [0]},
        "random-curated": {"stage": "curate", "of": "random"},
    },
    "pretrain": {"width": 4, "pool": 1, "epochs": 1},
    "distill": {"iterations": 2, "batch_real": 8, "num_frequencies": 16},
    "evaluate": {"width": 4, "epochs": 1, "networks": 1, "looks": 1},
}
RESULTS = "results/trial"
PARAMS, DATA = f"{RESULTS}/params", f"{RESULTS}/datasets/digits"
POOL, SET = f"{RESULTS}/extractors/digits/convnet-3.safetensors", f"{RESULTS}/sets/digits/ipc1/random/seed0"
PROGRESS = re.compile(r"(pretrain|distill|evaluate): \d+/\d+ ")
STAGES: dict[str, dict[str, str]] = {  # by stage the good arguments; outputs go to a fresh place
    "prepare": {"params": f"{PARAMS}/prepare/digits.json", "out": "results/new/digits"},
    "pretrain": {"params": f"{PARAMS}/pretrain/digits.json", "data": DATA, "out": "results/new/pool.safetensors"},
    "distill": {
        "params": f"{PARAMS}/distill/digits/ipc1/paper.json",
        "data": DATA,
        "extractors": POOL,
        "ipc": "1",
        "method": "paper",
        "out": "results/new/paper",
    },
    "select": {
        "params": f"{PARAMS}/select/digits/ipc1/random.json",
        "data": DATA,
        "ipc": "1",
        "method": "random",
        "out": "results/new/random",
    },
    "curate": {
        "params": f"{PARAMS}/curate/digits/ipc1/random-curated.json",
        "data": DATA,
        "extractors": POOL,
        "set": f"{SET}/distilled.safetensors",
        "method": "random-curated",
        "out": "results/new/curated",
    },
    "evaluate": {
        "params": f"{PARAMS}/evaluate/digits/ipc1/random/convnet-3.json",
        "data": DATA,
        "set": f"{SET}/distilled.safetensors",
        "out": "results/new/convnet-3.json",
    },
}


def command(stage: str, **changes: str) -> list[str]:
    arguments = {**STAGES[stage], **changes}
    return [stage, *(word for name, value in arguments.items() for word in (f"--{name}", value))]


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a tiny campaign has run up to a selected set."""
    folder = tmp_path_factory.mktemp("computed")
    write_text(folder / "params/base.yaml", (REPOSITORY / "params/base.yaml").read_text(encoding="utf-8"))
    write_text(folder / "params/trial.yaml", yaml.safe_dump(TRIAL))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("NCFM_TRACKING", "off")
        assert cli.main(["use", "trial"]) == 0
        for arguments in (
            command("prepare", out=DATA),
            command("pretrain", out=POOL),
            command("select", out=SET),
        ):
            assert cli.main(arguments) == 0
    return folder


@pytest.fixture
def place(computed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, made the current one."""
    folder = tmp_path / "place"
    shutil.copytree(computed, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NCFM_TRACKING", "off")
    return folder


def refuses(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that a command ends with one good line, and leaves every file as it was.

    ``expected``: what the line says, from its start and in this order; " … " stands for anything.
    """
    before = files_below(Path.cwd())
    capsys.readouterr()
    assert cli.main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not PROGRESS.match(line)]
    assert len(lines) == 1
    assert matches(lines[0], f"ncfm: {expected}"), f"{lines[0]!r} does not say {expected!r}"
    after = files_below(Path.cwd())
    assert after.keys() == before.keys() and after == before


GRID: dict[str, Any] = {"depths": [3], "widths": [8], "norms": ["none"], "methods": ["paper"]}
AT_LEAST_1 = "but should be greater than or equal to 1"
# what is put where, and what the line must say after the name of the file
CAMPAIGN_FAULTS: list[tuple[str, str, Any, str]] = [
    # keys that are not known, wherever they stand
    ("trial", "titel", "x", "unknown key 'titel'; did you mean 'title'? (allowed: … architectures"),
    ("trial", "evaluate.epohcs", 1, "evaluate: unknown key 'epohcs'; did you mean 'epochs'? (allowed: … looks"),
    ("trial", "evaluate.arch", "convnet-3", "evaluate: unknown key 'arch' … (allowed: "),
    ("base", "methods.paper.distill.alhpa", 0, "methods.paper.distill: unknown key 'alhpa'; did you mean 'alpha'?"),
    ("base", "prepare.rot", "x", "prepare: unknown key 'rot'; did you mean 'root'? (allowed: source, root)"),
    ("trial", "datasets.digits.pretrain.pol", 1, "datasets.digits.pretrain: unknown key 'pol'; did you mean 'pool'?"),
    ("trial", "datasets.digits.by_ipc", {9: {"select": {"rul": 1}}}, "datasets.digits.by_ipc.9.select: … 'rule'?"),
    ("trial", "methods.paper.pretrain", {"pool": 1}, "methods.paper: unknown key 'pretrain' … distill … seeds)"),
    # names that are not known
    ("trial", "datasets.digit", {"ipcs": [1]}, "datasets: unknown dataset 'digit'; did you mean 'digits'? … cifar10, "),
    ("trial", "methods.papr", {}, "methods: unknown method 'papr'; did you mean 'paper'? (allowed: … random-tiles"),
    ("trial", "methods.a", {"like": "papper"}, "methods.a.like: unknown method 'papper'; did you mean 'paper'?"),
    ("trial", "methods.a", {"like": "a"}, "methods.a.like: leads back to 'a', but must end at"),
    ("trial", "protocols", ["dmm"], "protocols: unknown protocol 'dmm'; did you mean 'dm'? (allowed: authors-2026-"),
    ("trial", "protocols", ["dm", "dm"], "protocols: is ['dm', 'dm'], but must name at least one, and each once"),
    ("trial", "protocols", "dm", "protocols: is 'dm', but must be a mapping"),
    ("trial", "protocols.dm", {"distill": {}}, "protocols.dm: unknown key 'distill' (allowed: evaluate, sets)"),
    ("trial", "protocols.dm", {"evaluate": {"epochs": 0}}, f"protocols.dm.evaluate.epochs: is 0, {AT_LEAST_1}"),
    ("trial", "protocols", ["record"], "protocols: is ['record'], but names a protocol 'record'"),
    (
        "trial",
        "continual",
        {"steps": [5], "methods": ["papr"]},
        "continual.methods: unknown method of this campaign 'p",
    ),
    ("trial", "continual", {"steps": [5], "methods": ["paper"], "protocol": "d"}, "continual.protocol: unknown protoc"),
    ("trial", "continual", {"steps": [5]}, "continual.methods: is missing"),
    ("trial", "continual", {"steps": [1], "methods": ["paper"]}, "continual.steps.0: is 1, but should be greater than"),
    ("trial", "prepare.root", "~/data", "prepare.root: is '~/data', but must be a path written out: no ~, and no"),
    (
        "trial",
        "methods.paper.distill.load",
        "{a}/set",
        "methods.paper.distill.load: is '{a}/set', but must be a path written out",
    ),
    ("trial", "methods.forgetting", {}, "pretrain.count_forgetting: is false, but the method forgetting reads what"),
    ("trial", "search", GRID, "search: needs the method 'whole' in methods, to compare with"),
    ("trial", "search", {**GRID, "methods": ["papr"]}, "search.methods: unknown method of this campaign 'papr'; did "),
    ("trial", "search", {**GRID, "protocol": "d"}, "search.protocol: unknown protocol 'd'"),
    ("trial", "methods.a/b", {"like": "paper"}, "methods.a/b: is 'a/b', but should match pattern"),
    ("trial", "methods.paper.stage", "distil", "methods.paper.stage: unknown stage … (allowed: distill, select, cu"),
    (
        "trial",
        "methods.c",
        {"like": "paper-curated", "of": "papr"},
        "methods.c.of: … 'paper'? (allowed: paper, random)",
    ),
    (
        "trial",
        "methods.c",
        {"stage": "curate"},
        "methods.c.of: unknown method of this campaign None (allowed: paper, r",
    ),
    (
        "trial",
        "methods",
        {"whole": {}, "c": {"stage": "curate", "of": "whole"}},
        "methods.c.of: is whole, which is all",
    ),
    (
        "trial",
        "protocols",
        ["released", "anytime"],
        "protocols: is … names a protocol 'anytime', whose files",
    ),
    ("trial", "methods.released-curated", {}, "methods.released-curated.of: unknown method of … (allowed: paper, ra"),
    (
        "trial",
        "methods.paper.of",
        "random",
        "methods.paper.of: is never read (allowed: in a method with stage: curate)",
    ),
    ("trial", "methods.random.curate", {"finetune": 1}, "methods.random.curate: is never read (allowed: select, the"),
    ("trial", "methods.paper-curated", {"seeds": [0, 3]}, "methods.paper-curated.seeds: has 3, of which paper has no "),
    ("trial", "curate.labels", "sotf", "curate.labels: unknown labels 'sotf'; did you mean 'soft'? (allowed: hard, s"),
    ("trial", "architectures", ["convnet3"], "architectures: unknown architecture … 'convnet-3'? (allowed: convnet-3,"),
    ("trial", "pretrain.arch", "convnet-33", "pretrain.arch: unknown architecture … 'convnet-3'? … convnet-4"),
    (
        "trial",
        "pretrain.norm",
        "batchnorm",
        "pretrain.norm: unknown norm … 'batch'? (allowed: default, instance,",
    ),
    (
        "trial",
        "distill.discrepancy",
        "ncdf",
        "distill.discrepancy: unknown … 'ncfd'? (allowed: ncfd, mmd, mse, en",
    ),
    (
        "trial",
        "methods.paper.distill.frequencies",
        "gauss",
        "methods.paper.distill.frequencies: … 'gaussian'? … mixture",
    ),
    ("trial", "distill.schedule", "cosin", "distill.schedule: unknown schedule … 'cosine'? … plateau)"),
    (
        "trial",
        "distill.initialisation",
        "nois",
        "distill.initialisation: … 'noise'? (allowed: mix, random, noise, load)",
    ),
    ("trial", "methods.random.distill", {"alpha": 1}, "methods.random.distill: is never read (allowed: select"),
    ("trial", "methods.random.select.rule", "herdin", "methods.random.select.rule: unknown rule … 'herding'"),
    ("trial", "distill.augmentation", "colour_crop", "distill.augmentation: … 'colour'; did you mean 'color'? … crop"),
    ("trial", "prepare.source", "kaggle", "prepare.source: unknown source of digits 'kaggle' (allowed: auto, embedded"),
    ("trial", "prepare.source", "npm", "prepare.source: unknown source of digits 'npm' (allowed: auto, embedded)"),
    # values of another kind or out of range
    ("trial", "evaluate.epochs", "many", "evaluate.epochs: is 'many', but must be a number"),
    ("trial", "evaluate.epochs", 0, f"evaluate.epochs: is 0, {AT_LEAST_1}"),
    ("trial", "evaluate.batch", 0, f"evaluate.batch: is 0, {AT_LEAST_1}"),
    ("trial", "distill.iterations", -5, f"distill.iterations: is -5, {AT_LEAST_1}"),
    ("trial", "distill.alpha", 1.5, "distill.alpha: is 1.5, but should be less than or equal to 1"),
    ("trial", "distill.learning_rate", float("nan"), "distill.learning_rate: is nan, but should be"),
    ("trial", "distill.loss_scale", float("inf"), "distill.loss_scale: is inf, but should be a finite number"),
    ("trial", "pretrain.milestones", 0.5, "pretrain.milestones: is 0.5, but should be a list"),
    ("trial", "distill", [1], "distill: is [1], but must be a mapping"),
    ("trial", "methods", None, "methods: is None, but must be a mapping"),
    ("trial", "methods", {}, "methods: is missing or empty, but a campaign needs at least one"),
    ("trial", "evaluate.epochs", True, "evaluate.epochs: is True, but must be a number"),
    ("trial", "distill.learning_rate", False, "distill.learning_rate: is False, but must be a number"),
    ("trial", "evaluate.compile", "yes", "evaluate.compile: is 'yes', but must be true or false"),
    ("trial", "distill.recompute", 1, "distill.recompute: is 1, but must be true or false"),
    ("trial", "distill.learning_rate", 1e38, "distill.learning_rate: is 1e+38, but should be less than or equal to"),
    ("trial", "evaluate.epochs", 10**400, "evaluate.epochs: is 1000 … but should be less than or equal to"),
    ("trial", "distill.num_frequencies", 10**12, "distill.num_frequencies: is 1000000000000, but should be less"),
    ("trial", "distill.batch_real", 10**12, "distill.batch_real: is 1000000000000, but should be less"),
    ("trial", "evaluate.networks", 10**12, "evaluate.networks: is 1000000000000, but should be less"),
    ("trial", "pretrain.pool", 10**18, "pretrain.pool: is 1000000000000000000, but should be less"),
    ("trial", "evaluate.milestones", [0.8, 0.2], "evaluate.milestones: is [0.8, 0.2], but must increase"),
    (
        "trial",
        "evaluate",
        {"epochs": 5, "looks": 6},
        "evaluate.looks: has 6, but must have at most one look an epoch (epochs: 5)",
    ),
    ("trial", "title", "a\nb", "title: is 'a\\nb', but must be one line of at most 200 printable"),
    ("trial", "title", "\x1b[31mred", "title: is '\\x1b[31mred', but must be one line of at most 200 printable"),
    ("trial", "methods.paper.label", "a\nb", "methods.paper.label: is 'a\\nb', but must be one line"),
    # images per class and seeds
    ("trial", "datasets.digits.ipcs", [True], "datasets.digits.ipcs.0: is True, but must be a number"),
    ("trial", "datasets.digits.by_ipc", {"01": {}}, "datasets.digits.by_ipc.01: is '01', but must be a number"),
    (
        "trial",
        "datasets.digits.by_ipc",
        {5: {}},
        "datasets.digits.by_ipc: is … has IPC 5, which is not in ipcs: [",
    ),
    ("trial", "methods.paper.seeds", [10**30], "methods.paper.seeds.0: is 1000 … but should be less than"),
    ("trial", "datasets.digits.ipcs", [0], f"datasets.digits.ipcs.0: is 0, {AT_LEAST_1}"),
    ("trial", "datasets.digits.ipcs", [1, -1], f"datasets.digits.ipcs.1: is -1, {AT_LEAST_1}"),
    ("trial", "datasets.digits.ipcs", [], "datasets.digits.ipcs: is [], but must name at least one, and each once"),
    ("trial", "datasets.digits.ipcs", [1, 1], "datasets.digits.ipcs: is [1, 1], but must name … each once"),
    ("trial", "datasets.digits", {}, "datasets.digits.ipcs: is missing, but a campaign needs at least one IPC"),
    ("trial", "methods.paper.seeds", [], "methods.paper.seeds: is [], but must name at least one"),
    ("trial", "methods.paper.seeds", [0, 0], "methods.paper.seeds: is [0, 0], but must name … each once"),
    ("trial", "methods.paper.seeds", [-1], "methods.paper.seeds.0: is -1, but should be greater than or equal to 0"),
    # values that do not fit each other
    ("trial", "distill.initialisation", "load", "distill.load: is missing, but initialisation: load needs the file"),
    ("trial", "architectures", ["convnet-5"], "architectures: convnet-5 cannot take digits, … 16 … multiples of 32)"),
    ("trial", "evaluate", {"norm": "group", "width": 6}, "evaluate.norm: is 'group', … width is 6 … multiples of 4)"),
    # values that do not fit each other, wherever they stand
    (
        "trial",
        "methods.random.evaluate",
        {"looks": 10**9},
        "methods.random.evaluate.looks: has 1000000000, … epochs: 1",
    ),
    ("trial", "evaluate.milestones", [0.2, 0.4], "evaluate.milestones: has 2, … one milestone an epoch (epochs: 1)"),
    ("trial", "methods.random-curated.curate", {"teachers": 2}, "methods.random-curated.curate.teachers: is 2, … pool"),
    ("trial", "distill.processes", 11, "distill.processes: is 11, but digits has 10 classes (allowed: 1 to 10)"),
    ("trial", "distill", {"processes": 2, "update": "per-class"}, "distill.processes: is 2, but update is per-"),
    ("trial", "protocols.dm", {"sets": {"nowhere": [1]}}, "protocols.dm.sets: unknown dataset 'nowhere'"),
    ("trial", "report", {"comparisons": [["paper", "paper"]]}, "report.comparisons: is … pairs of two methods"),
    (
        "trial",
        "report",
        {"comparisons": [["paper", "random"], ["random", "paper"]]},
        "report.comparisons: is … each pair once",
    ),
    ("trial", "methods.paper.label", "  ", "methods.paper.label: is '  ', but must be one line of at most 200"),
    ("trial", "title", "a" * 201, "title: is 'aaa … but must be one line of at most 200 printable characters"),
    ("trial", "distill.load", "set.safetensors", "distill.load: is set.safetensors, but initialisation is mix ("),
    ("trial", "methods.paper.label", "random", "methods.random.label: is 'random', which paper is called too"),
    ("trial", "title", " ", "title: is ' ', but must be one line of at most 200 printable"),
    (
        "trial",
        "distill",
        {"initialisation": "load", "load": "results/trial/sets/digits/ipc1/paper/seed0/distilled.safetensors"},
        "distill.load: is results/trial/sets/digits/ipc1/paper/seed0/distilled.safetensors, the set that",
    ),
    ("trial", "prepare.root", "a\0b", "prepare.root: is 'a\\x00b', but must be a path: one line"),
    ("trial", "distill.load", "x" * 256, "distill.load: is 'xxx … but must be a path: one line"),
    ("trial", "methods." + "a" * 65, {"like": "paper"}, "methods.aaa … but should have at most 64 characters"),
    # ranges that would mean nothing, and numbers in disguise
    ("trial", "distill.augmentation", "color|color", "distill.augmentation: is … must name each part"),
    ("trial", "distill.augmentation", "color_color", "distill.augmentation: is … must name each part"),
    ("trial", "evaluate.milestones", [0], "evaluate.milestones.0: is 0, but should be greater than 0"),
    ("trial", "evaluate.milestones", [1], "evaluate.milestones.0: is 1, but should be less than 1"),
    ("trial", "evaluate.momentum", 1, "evaluate.momentum: is 1, but should be less than 1"),
    ("trial", "evaluate.decay", 2, "evaluate.decay: is 2, but should be less than or equal to 1"),
    ("trial", "evaluate.weight_decay", 1e7, "evaluate.weight_decay: is 10000000.0, but should be less than"),
    ("trial", "distill.loss_scale", 1e7, "distill.loss_scale: is 10000000.0, but should be less than"),
    ("trial", "evaluate.epochs", "1_0", "evaluate.epochs: is '1_0', but must be a number"),
    ("trial", "evaluate.learning_rate", "+1", "evaluate.learning_rate: is '+1', but must be a number"),
    ("trial", "datasets.digits.by_ipc", {1: {}, "1": {}}, "datasets.digits.by_ipc.1: is '1', but must be a number"),
    # more than the machine has
    ("trial", "pretrain.width", 10**6, "pretrain.width: is 1000000, but training convnet-3 takes … GiB of memory, and"),
]

# Values that do not fit the data set: their cells are skipped with the reason, the others run.
IMPOSSIBLE = [
    ("trial", "datasets.digits.ipcs", [1, 140], "datasets.digits.ipcs: is 140, but the … (allowed: 1 to 139)"),
    (
        "trial",
        "continual",
        {"steps": [3], "methods": ["paper"]},
        "continual.steps: is 3, but must divide the 10 classes",
    ),
    (
        "trial",
        "distill.factor",
        3,
        "distill.factor: is 3, but must divide the resolution 16 of digits (allowed: [1, 2, 4",
    ),
    ("trial", "distill.factor", 16, "distill.factor: is 16, which at IPC 1 takes 256 real images … up to 139)"),
    ("trial", "methods.random.select", {"factor": 16}, "methods.random.select.factor: is 16, … up to 139)"),
    ("trial", "pretrain.arch", "convnet-5", "pretrain.arch: convnet-5 cannot take digits, … 16 … multiples of 32)"),
    ("trial", "pretrain", {"arch": "vit-tiny", "norm": "batch"}, "pretrain.norm: is 'batch', … vit-tiny … layer)"),
    ("trial", "architectures", ["convnet-3", "convnet-5"], "architectures: convnet-5 cannot take digits"),
]


def put_into(path: Path, key: str, value: Any) -> None:
    """Put a value into a params file."""
    content = part = yaml.safe_load(path.read_text(encoding="utf-8"))
    *names, last = key.split(".")
    for name in names:
        part = part.setdefault(name, {})
    part[last] = value
    write_text(path, yaml.safe_dump(content))


def matches(line: str, expected: str) -> bool:
    """Say whether a line begins as expected; " … " stands for anything."""
    return re.match(".*".join(re.escape(part) for part in expected.split(" … ")), line) is not None


@pytest.mark.parametrize("fault", IMPOSSIBLE, ids=lambda fault: f"{fault[1]}={fault[2]}")
def test_what_cannot_be_is_skipped_with_a_reason(fault, place):
    file, key, value, expected = fault
    put_into(place / f"params/{file}.yaml", key, value)
    assert cli.main(["use", "trial"]) == 0
    contents = read_json(f"{PARAMS}/report.json")
    assert contents["cells"]["evaluate"]
    assert any(matches(one["reason"], f"params/{file}.yaml: {expected}") for one in contents["skipped"])


@pytest.mark.parametrize("fault", CAMPAIGN_FAULTS, ids=lambda fault: f"{fault[1]}={fault[2]}"[:60])
def test_faults_in_a_campaign(fault, place, capsys):
    file, key, value, expected = fault
    put_into(place / f"params/{file}.yaml", key, value)
    refuses(["use", "trial"], f"params/{file}.yaml: {expected}", capsys)


BOMB = b"a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%b]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"methods: [", "params/trial.yaml: not valid YAML (line 2: "),
        (b"title: \xff\xfe", "params/trial.yaml: not valid YAML ('utf-8' codec"),
        (b"- a\n- b\n", "params/trial.yaml: is ['a', 'b'], but must be a mapping"),
        (b"", "params/trial.yaml: datasets: is missing"),
        (b"? [a, b]\n: c\n", "params/trial.yaml: not valid YAML (line 1: found unhashable key)"),
        (b"7: x\n", "params/trial.yaml: 7: is "),
        (b"title: a\npretrain: {}\ntitle: b\n", "params/trial.yaml: … (line 3: the key 'title' stands there twice)"),
        (b"distill: {alpha: 1, alpha: 0}\n", "params/trial.yaml: … (line 1: the key 'alpha' stands there twice)"),
        (b"[" * 5000 + b"]" * 5000, "params/trial.yaml: "),
        (b"distill: {iterations: " + b"9" * 5000 + b"}", "params/trial.yaml: not valid YAML ("),
        (b"title: 2026-13-45", "params/trial.yaml: not valid YAML (month must be in 1..12"),
        (b"a: " + b"[" * 30000, "params/trial.yaml: not valid YAML (line 1: nested more than 50 deep"),
        (BOMB + b"pretrain: {norm: *a8}", "params/trial.yaml: not valid YAML (line 6: … more than 100000 values)"),
        (b"a: &a [*a]", "params/trial.yaml: not valid YAML (line 1: *a stands in itself)"),
        (b"title: '" + b"x" * 11 * 2**20 + b"'", "params/trial.yaml: is too large for a file of params (allowed: 10 M"),
        (b"{1: a, 1.0: b}", "params/trial.yaml: not valid YAML (line 1: the key '1.0' stands there twice)"),
        *(
            (b"evaluate: {epochs: %b}" % form, f"params/trial.yaml: … the number '{form.decode()}' would be read as")
            for form in (b"010", b"0x10", b"1:30", b"1_0")
        ),
    ],
    ids=lambda text: str(text[:40]),
)
def test_faulty_params_files(content, expected, place, capsys):
    (place / "params/trial.yaml").write_bytes(content)
    refuses(["use", "trial"], expected, capsys)


@pytest.mark.parametrize("where", ["title", "pretrain.norm", "methods.paper.stage", "protocols", "methods.aaa"])
def test_a_message_shows_only_a_part_of_a_huge_value(where, place, capsys):
    for value in ("x\n" * 10**5, [["x" * 99] * 99] * 9):
        put_into(place / "params/trial.yaml", where, value)
        assert cli.main(["use", "trial"]) == 2
        assert len(capsys.readouterr().err) < 5000
    (place / "params/trial.yaml").write_text("methods: {" + "x" * 10**5 + ": {a: 1}}")
    assert cli.main(["use", "trial"]) == 2
    assert len(capsys.readouterr().err) < 5000


def test_missing_params_files(place, capsys):
    refuses(["use", "trail"], "params: unknown campaign 'trail'; did you mean 'trial'? (allowed: trial)", capsys)
    shutil.copy(place / "params/trial.yaml", place / "params/trial copy.yaml")
    refuses(["use", "trial copy"], "params/trial copy.yaml: the file's name may hold letters, digits", capsys)
    (place / "params/base.yaml").unlink()
    (place / "params/base.yaml").symlink_to("/dev/zero")
    refuses(["use", "trial"], "params/base.yaml: is not a file that could hold params", capsys)
    (place / "params/base.yaml").unlink()
    refuses(["use", "trial"], "params/base.yaml: no such file; … restore it from git", capsys)
    shutil.rmtree(place / "params")
    refuses(["params", "trial"], "params: unknown campaign 'trial' (allowed: there is none here)", capsys)


def test_a_campaign_that_changed_since_it_was_chosen(place, capsys):
    write_text(place / "params/trial.yaml", yaml.safe_dump({**TRIAL, "datasets": {"digits": {"ipcs": [1]}}}))
    expected = "params/campaign.yaml: lists other cells than params/trial.yaml; run `ncfm use trial`"
    refuses(["params", "trial"], expected, capsys)


def change(path: str, **values: Any) -> Callable[[], object]:
    return lambda: write_json(path, {**read_json(path), **values})


def truncate(path: str) -> Callable[[], object]:
    return lambda: os.truncate(path, Path(path).stat().st_size // 2)


def strip(path: str, *tensors: str) -> None:
    """Leave only some tensors, and of the facts only the name of the data set."""
    kept = {name: tensor for name, tensor in load_tensors(path)[0].items() if name in tensors}
    save_tensors(path, kept, {"dataset": "digits"})


def rename_dataset() -> None:
    """Make a second data set `other` of the same images."""
    for split in ("train", "test"):
        tensors, facts = load_tensors(f"{DATA}/{split}.safetensors")
        save_tensors(f"other/{split}.safetensors", tensors, {**facts, "dataset": "other"})


def prepare_anew() -> None:
    """Make a second data set `anew` of the same name, with smaller images."""
    for split in ("train", "test"):
        tensors, facts = load_tensors(f"{DATA}/{split}.safetensors")
        smaller = tensors["images"][..., ::2, ::2].contiguous()
        save_tensors(f"anew/{split}.safetensors", {**tensors, "images": smaller}, facts)


DISTILL_PARAMS, EVALUATE_PARAMS = STAGES["distill"]["params"], STAGES["evaluate"]["params"]
SELECT_PARAMS = STAGES["select"]["params"]
DISTILLED, TRAIN, TEST = f"{SET}/distilled.safetensors", f"{DATA}/train.safetensors", f"{DATA}/test.safetensors"
TORN = "not a whole safetensors file … move it away and run the stage that wrote it"
IN_THE_WAY = "cannot be written: a part of the path is a file, not a folder"
# stage, changed arguments, what is done before, what the line must say
STAGE_FAULTS: list[tuple[str, dict[str, str], Callable[[], object] | None, str]] = [
    # params
    ("pretrain", {"params": "no.json"}, None, "no.json: no such file"),
    ("pretrain", {"params": "params"}, None, "params: is a folder, but a file is wanted"),
    ("pretrain", {"params": "params/base.yaml"}, None, "params/base.yaml: is the file of a campaign"),
    ("distill", {}, truncate(DISTILL_PARAMS), f"{DISTILL_PARAMS}: not a readable JSON file … move it away"),
    ("distill", {}, change(DISTILL_PARAMS, alhpa=1), f"{DISTILL_PARAMS}: unknown key 'alhpa'; did you mean 'alpha'?"),
    ("distill", {}, change(DISTILL_PARAMS, alpha=-1), f"{DISTILL_PARAMS}: alpha: is -1, but should be greater than"),
    (
        "evaluate",
        {},
        change(EVALUATE_PARAMS, arch="vgg"),
        "unknown architecture 'vgg'; did you mean 'vgg-11'?",
    ),
    (
        "evaluate",
        {},
        change(EVALUATE_PARAMS, learning_rate=1e6, epochs=20, weight_decay=1e3),
        "training … the loss is … lower learning_rate",
    ),
    # numbers on the command line
    ("select", {"seed": "-5"}, None, "Invalid value for '--seed': -5 is not in the range 0<=x<=9223372036854775807"),
    ("select", {"seed": "1" + "0" * 30}, None, "Invalid value for '--seed': 1000 … is not in the range"),
    ("select", {"method": "a\nb"}, None, "Invalid value for '--method': 'a\\nb' is no name (allowed: small letters"),
    ("pretrain", {}, change(STAGES["pretrain"]["params"], width=10**6), "width: is 1000000, but training"),
    ("distill", {"ipc": "0"}, None, "Invalid value for '--ipc': 0 is not in the range x>=1"),
    ("select", {"ipc": "-3"}, None, "Invalid value for '--ipc': -3 is not in the range x>=1"),
    ("select", {"ipc": "140"}, None, "--ipc: is 140, … the smallest class of digits has 139 (allowed: 1 to 139"),
    ("distill", {"ipc": "140"}, None, "--ipc: is 140, … the smallest class of digits has 139 (allowed: 1 to 139"),
    # data
    ("pretrain", {"data": "nowhere"}, None, "nowhere/train.safetensors: no such file; run the stage that writes it"),
    ("distill", {}, truncate(TRAIN), f"{TRAIN}: {TORN}"),
    ("pretrain", {}, truncate(TEST), f"{TEST}: {TORN}"),
    ("pretrain", {}, lambda: Path(TEST).unlink(), f"{TEST}: no such file; run the stage that writes it"),
    ("select", {}, lambda: strip(TRAIN, "labels"), f"{TRAIN}: holds no images and labels"),
    (
        "select",
        {},
        lambda: strip(TRAIN, "images", "labels"),
        f"{TRAIN}: holds no images and labels, or not what is known",
    ),
    # extractors
    ("select", {}, change(SELECT_PARAMS, rule="herding"), "--extractors: is missing, but the rule herding reads an"),
    ("select", {"extractors": POOL}, None, f"--extractors: is {POOL}, but the rule random reads no pool; leave it out"),
    ("distill", {"extractors": "no.safetensors"}, None, "no.safetensors: no such file; run the stage that writes it"),
    ("distill", {}, truncate(POOL), f"{POOL}: {TORN}"),
    ("distill", {"extractors": TEST}, None, f"{TEST}: is not an extractor pool; run `ncfm pretrain` again"),
    ("distill", {"data": "other"}, rename_dataset, f"{POOL}: was trained on digits, but other holds other"),
    ("distill", {"data": "anew"}, prepare_anew, f"{POOL}: was trained on resolution 16, but anew has 8"),
    (
        "distill",
        {},
        change(DISTILL_PARAMS, initialisation="load", load="/dev/zero"),
        "/dev/zero: cannot be read (it is a",
    ),
    # sets
    ("evaluate", {"set": "no.safetensors"}, None, "no.safetensors: no such file; run the stage that writes it"),
    ("evaluate", {}, truncate(DISTILLED), f"{DISTILLED}: {TORN}"),
    ("evaluate", {"set": POOL}, None, f"{POOL}: is not a distilled set … images, … missing)"),
    ("evaluate", {"data": "other"}, rename_dataset, f"{DISTILLED}: was made from digits, but other holds other"),
    (
        "evaluate",
        {"data": "anew"},
        prepare_anew,
        f"{DISTILLED}: was made from 10 classes of images (1, 16, 16), but anew holds 10 of (1, 8, 8)",
    ),
    (
        "distill",
        {},
        change(DISTILL_PARAMS, initialisation="load", load="no.safetensors"),
        "no.safetensors: no such file",
    ),
    (
        "distill",
        {"ipc": "2"},
        change(DISTILL_PARAMS, initialisation="load", load=DISTILLED),
        f"{DISTILLED}: holds images (10, 1, 16, 16), but (10, 2, 1, 16, 16) are wanted",
    ),
    ("curate", {"set": "no.safetensors"}, None, "no.safetensors: no such file; run the stage that writes it first"),
    ("curate", {"data": "other"}, rename_dataset, f"{POOL}: was trained on digits, but other holds other"),
    ("curate", {"extractors": TEST}, None, f"{TEST}: is not an extractor pool; run `ncfm pretrain` again"),
    (
        "evaluate",
        {},
        lambda: save_tensors(
            DISTILLED, {**load_tensors(DISTILLED)[0], "soft_labels": torch.ones(3, 10)}, load_tensors(DISTILLED)[1]
        ),
        f"{DISTILLED}: holds soft labels (3, 10), but (10, 10) are wanted",
    ),
    # places of what is read, or of another kind of file
    ("evaluate", {"out": DISTILLED}, None, f"--out: is {DISTILLED}, but has to end in .json"),
    ("evaluate", {"out": "params/trial.yaml"}, None, "--out: is params/trial.yaml, but has to end in .json"),
    ("evaluate", {"out": EVALUATE_PARAMS}, None, f"--out: is {EVALUATE_PARAMS}, but {EVALUATE_PARAMS} is read; name"),
    ("evaluate", {"out": f"{DATA}/card.json"}, None, f"--out: is {DATA}/card.json, but {DATA} is read; name another"),
    ("pretrain", {"out": TRAIN}, None, f"--out: is {TRAIN}, but {DATA} is read; name another place"),
    ("curate", {"out": SET}, None, f"--out: is {DISTILLED}, but {DISTILLED} is read; name another place"),
    # places that cannot be written: a file where a folder should be, the reverse, a system folder
    ("select", {"out": f"{DATA}/card.json/set"}, None, f"{DATA}/card.json/set/distilled.safetensors: {IN_THE_WAY}"),
    (
        "select",
        {"out": "loop"},
        lambda: Path("loop").symlink_to("loop"),
        "loop/distilled.safetensors: cannot be written",
    ),
    ("prepare", {"out": f"{DATA}/card.json"}, None, f"{DATA}/card.json/card.json: {IN_THE_WAY}"),
    ("pretrain", {"out": "params"}, None, "params: cannot be written: a folder of that name is in the way"),
    ("pretrain", {"out": "/proc/ncfm/pool.safetensors"}, None, "/proc/ncfm/pool.safetensors: cannot be written: its"),
]


@pytest.mark.parametrize("fault", STAGE_FAULTS, ids=lambda fault: f"{fault[0]}: {fault[3][:40]}")
def test_faults_of_a_stage(fault, place, capsys):
    stage, arguments, before, expected = fault
    if before:
        before()
    refuses(command(stage, **arguments), expected, capsys)


ALLOCATORS = (
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 137438953472 bytes. Error code 12"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has"),
)


@pytest.mark.parametrize("error", ALLOCATORS, ids=lambda error: type(error).__name__)
def test_a_machine_without_the_memory(error, place, capsys, monkeypatch):
    def refuse(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(cli, "run", refuse)
    refuses(command("select"), "not enough memory … lower width, batch", capsys)


def test_plans_note_what_this_machine_has_no_memory_for(place, capsys):
    put_into(place / "params/trial.yaml", "evaluate.width", 10**6)
    assert cli.main(["plan", "trial"]) == 0
    assert (
        "note: params/trial.yaml: evaluate.width: is 1000000, but training convnet-3 takes" in capsys.readouterr().out
    )


def test_campaigns_with_a_fault_are_listed_with_it(place, capsys):
    (place / "params/torn.yaml").write_text("methods: [")
    (place / "params/gone.yaml").symlink_to("nowhere")
    assert cli.main(["campaigns"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.replace("*", "").splitlines()]
    assert [name for name, _ in lines] == ["gone", "torn", "trial"]
    assert [text.startswith("cannot be read: params/") for _, text in lines] == [True, True, False]


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there(device, place, capsys, monkeypatch):
    monkeypatch.setenv("NCFM_DEVICE", device)
    refuses(command("distill"), f"NCFM_DEVICE: is '{device}', which this machine cannot use (allowed: cpu", capsys)


REFUSALS = (
    (errno.ENOSPC, "the disk is full; free some space and run again, finished stages are kept"),
    (errno.EROFS, "the file system is read-only"),
    (errno.EACCES, "no permission to write there"),
)


def refusing(code: int) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_refuses(stage, place, capsys, monkeypatch):
    for code, reason in REFUSALS:
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "TemporaryFile", refusing(code))  # at once
            refuses(command(stage), f"{place_of(stage)}: cannot be written: {reason}", capsys)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refusing(errno.ENOSPC))  # at the end of the first file
        refuses(command(stage), "results/new/ … : cannot be written: the disk is full", capsys)


def place_of(stage: str) -> str:
    out = STAGES[stage]["out"]
    names = {"prepare": "/card.json", "distill": "/distilled.safetensors", "select": "/distilled.safetensors"}
    names["curate"] = names["select"]
    return out + names.get(stage, "")


def test_results_in_the_way_leave_the_active_campaign(place, capsys):
    write_text(place / "params/second.yaml", yaml.safe_dump(TRIAL))
    write_text(place / "results/second", "a file, not a folder")
    refuses(["use", "second"], f"results/second/params/ … : {IN_THE_WAY}", capsys)


WRONG_COMMANDS = [
    (
        ["report", "--params", "params/base.yaml", "--results", "results/trial"],
        "params/base.yaml: is the file of a cam",
    ),
    (["distil"], "No such command 'distil'. Did you mean 'distill'?"),
    (["use"], "Missing argument 'CAMPAIGN'"),
    (["evaluate"], "Missing option '--params'"),
    (["distill"], "Missing option '--ipc'"),
    (["select", "--ipc", "one"], "Invalid value for '--ipc': 'one' is not a valid integer"),
    (["export", "set", "--out", "set.pt"], "Missing option '--format'. Choose from: pt, png, npz, parquet"),
    (["track", "import", "params/base.yaml"], "params/base.yaml: is a file; name the folder of results"),
    (["distill", "--iter", "3"], "No such option … --iterations"),
    (["verify", "x" * 300], f"{'x' * 300}: File name too long"),
    (["ui", "--port", "-1"], "Invalid value for '--port': -1 is not in the range 1<=x<=65535"),
    (["track", "export"], "Invalid value for '{import}': 'export' is not 'import'"),
]


@pytest.mark.parametrize(("arguments", "expected"), WRONG_COMMANDS, ids=str)
def test_wrong_command_lines_are_one_line(arguments, expected, place, capsys):
    refuses(arguments, expected, capsys)


def test_an_output_that_refuses(place, capsys, monkeypatch):
    monkeypatch.setattr(cli.explain, "methods_text", refusing(errno.ENOSPC))
    refuses(["methods"], "a file or the screen: No space left on device", capsys)
    monkeypatch.setattr(os, "utime", refusing(errno.EROFS))
    refuses(["settle", "trial"], f"{DATA}/card.json: cannot be written: the file system is read-only", capsys)


def test_a_set_that_is_a_link_to_itself(place, capsys):
    Path(DISTILLED).unlink()
    Path(DISTILLED).symlink_to("distilled.safetensors")
    assert cli.main(["status", "trial"]) == 0 and cli.main(["settle", "trial"]) == 0
    assert "0 of" not in capsys.readouterr().out
    refuses(command("evaluate"), f"{DISTILLED}: no such file; run the stage that writes it first", capsys)


def test_without_a_command_the_help_is_shown(place, capsys):
    assert cli.main([]) == 2
    text = capsys.readouterr().err
    assert "Usage: ncfm" in text and text.count("...") == 1  # that of [ARGS]: no sentence is cut
