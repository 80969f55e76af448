"""Campaigns: which layer wins, what `like` takes over, which files a change touches, and the committed params."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from ncfm.campaign import campaign, engines, layers
from ncfm.campaign.campaign import Campaign
from ncfm.core import layout
from ncfm.core.errors import ParamsError
from ncfm.core.params import DistillParams, EvaluateParams, PretrainParams, SelectParams, parse
from ncfm.core.store import read_json, write_text
from ncfm.stages import cells, table
from ncfm.stages.table import STAGES

REPOSITORY = Path(__file__).resolve().parent.parent
COMMITTED = REPOSITORY / "params"
BASE: dict[str, Any] = {
    "methods": {
        "paper": {"label": "Paper", "stage": "distill"},
        "random": {"label": "Random", "stage": "select"},
    }
}
OWN: dict[str, Any] = {
    "architectures": ["convnet-3", "convnet-4"],
    "datasets": {"digits": {"ipcs": [1, 2]}},
    "methods": {"paper": {"seeds": [0, 5]}, "random": {}},
}


def put(content: dict[str, Any], keys: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """Return ``content`` with ``value`` at ``keys``."""
    content = part = copy.deepcopy(content)
    for key in keys[:-1]:
        part = part.setdefault(key, {})
    part[keys[-1]] = value
    return content


def resolve(base: dict[str, Any] = BASE, own: dict[str, Any] = OWN) -> Campaign:
    """Write the two files into the current folder's `params/`, and load the campaign."""
    write_text("params/base.yaml", yaml.safe_dump(base))
    write_text("params/trial.yaml", yaml.safe_dump(own))
    return campaign.load("trial")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


LAYERS = [  # as the head of ncfm/campaign/campaign.py documents it, later ones winning
    (file, (*section, "evaluate", "epochs"))
    for file in ("base", "own")
    for section in ((), ("datasets", "digits"), ("datasets", "digits", "by_ipc", 1), ("methods", "paper"))
]


def test_each_layer_wins_over_those_before_it():
    cell = cells.Evaluate("digits", 1, "paper", 5, "convnet-4")
    contents = {"base": BASE, "own": OWN}
    assert resolve().params[cell] == EvaluateParams(arch="convnet-4", norm="instance")
    for position, (file, keys) in enumerate(LAYERS, start=1):
        contents[file] = put(contents[file], keys, 100 + position)
        changed = resolve(contents["base"], contents["own"]).params[cell]
        assert changed == EvaluateParams(arch="convnet-4", norm="instance", epochs=100 + position), (file, keys)


def test_the_params_name_the_norm_that_default_stands_for():
    resolved = resolve(own={**OWN, "architectures": ["convnet-3", "alexnet"]}).params
    norms = {cell.arch: params.norm for cell, params in resolved.items() if cell.stage in ("pretrain", "evaluate")}
    assert norms == {"convnet-3": "instance", "alexnet": "none"}
    chosen = resolve(own={**OWN, "evaluate": {"norm": "batch"}}).params
    assert {params.norm for cell, params in chosen.items() if cell.stage == "evaluate"} == {"batch"}


def test_a_protocol_wins_over_every_other_layer():
    contents = {"base": BASE, "own": OWN}
    for file, keys in LAYERS:
        contents[file] = put(contents[file], keys, 100)
    base = put(contents["base"], ("protocols", "dm", "evaluate"), {"epochs": 7, "batch": 8})
    own = put(contents["own"], ("protocols",), ["released", "dm"])
    cell = cells.Evaluate("digits", 1, "paper", 5, "convnet-4")
    other = dataclasses.replace(cell, protocol="dm")
    chosen = resolve(base, own)
    assert chosen.params[cell] == EvaluateParams(arch="convnet-4", norm="instance", epochs=100)
    assert chosen.params[other] == EvaluateParams(arch="convnet-4", norm="instance", epochs=7, batch=8)
    assert (cell.key, other.key) == ("digits-ipc1-paper-seed5-convnet-4", "digits-ipc1-paper-seed5-convnet-4-dm")
    assert str(table.output("trial", other)).endswith("evaluations/digits/ipc1/paper/seed5/convnet-4.dm.json")
    own = put(contents["own"], ("protocols",), {"dm": {"evaluate": {"batch": 9}}})  # a mapping: with changes of its own
    chosen = resolve(base, own)
    assert cell not in chosen.params
    assert chosen.params[other] == EvaluateParams(arch="convnet-4", norm="instance", epochs=7, batch=9)


def test_a_layer_reaches_its_own_cells_only():
    own = put(OWN, ("datasets", "digits", "by_ipc", 1, "evaluate", "epochs"), 7)
    own = put(own, ("methods", "random", "evaluate", "batch"), 9)
    for cell, params in resolve(own=own).params.items():
        if cell.stage == "evaluate":
            expected = {"epochs": 7} if cell.ipc == 1 else {}
            expected |= {"batch": 9} if cell.method == "random" else {}
            assert params == EvaluateParams(arch=cell.arch, norm="instance", **expected)


def test_like_takes_over_everything_but_the_label():
    base = put(BASE, ("methods", "paper", "distill"), {"alpha": 0.1, "factor": 1, "iterations": 10})
    own = put(OWN, ("methods", "paper", "distill"), {"factor": 4})
    own = put(own, ("methods", "second"), {"like": "first", "label": "Second", "distill": {"iterations": 30}})
    own = put(
        own, ("methods", "first"), {"like": "paper", "seeds": [3], "distill": {"iterations": 20, "calibration": 0}}
    )
    chosen = resolve(base, own)
    found = {cell.method: (cell.seed, chosen.params[cell]) for cell in chosen.cells_of("distill") if cell.ipc == 1}
    assert found["paper"] == (5, DistillParams(alpha=0.1, factor=4, iterations=10))
    assert found["first"] == (3, DistillParams(alpha=0.1, factor=4, iterations=20, calibration=0))
    assert found["second"] == (3, DistillParams(alpha=0.1, factor=4, iterations=30, calibration=0))
    assert chosen.labels == {"paper": "Paper", "random": "Random", "first": "first", "second": "Second"}


def test_a_campaign_can_add_a_method_of_its_own():
    own = {**OWN, "methods": {"tiles": {"stage": "select", "select": {"factor": 2}}}}
    chosen = resolve(own=own)
    assert {(cell.stage, cell.method, cell.seed) for cell in chosen.cells_of("select", "distill")} == {
        ("select", "tiles", 0)
    }
    assert not chosen.cells_of("pretrain")  # nothing reads a pool


def test_cells_of_a_campaign():
    chosen = resolve()
    assert [cell.stage for cell in chosen.cells] == sorted((c.stage for c in chosen.cells), key=list(STAGES).index)
    assert chosen.cells_of("prepare") == [cells.Prepare("digits")]
    assert chosen.cells_of("pretrain") == [cells.Pretrain("digits", "convnet-3")]
    assert [cell.key for cell in chosen.cells_of("distill")] == [
        f"digits-ipc{k}-paper-seed{s}" for k in (1, 2) for s in (0, 5)
    ]
    assert {cell.extractor for cell in chosen.cells_of("distill")} == {"convnet-3"}
    assert [cell.key for cell in chosen.cells_of("select")] == ["digits-ipc1-random-seed0", "digits-ipc2-random-seed0"]
    assert len(chosen.cells_of("evaluate")) == 2 * len(chosen.cells_of("distill", "select"))
    assert chosen.title == "trial"


def written(name: str = "trial") -> dict[str, tuple[str, int]]:
    """Return the text and time stamp of every params file below the campaign's results."""
    root = Path(layout.campaign_folder(name)) / "params"
    return {str(p.relative_to(root)): (p.read_text(), p.stat().st_mtime_ns) for p in sorted(root.rglob("*.json"))}


@pytest.mark.parametrize("stage", ["prepare", "pretrain", "distill", "select", "evaluate", "report"])
def test_a_change_writes_exactly_its_stage_anew(stage):
    changes = {
        "prepare": {"root": "elsewhere"},
        "pretrain": {"epochs": 3},
        "distill": {"iterations": 3},
        "select": {"factor": 2},
        "evaluate": {"epochs": 3},
        "report": {"grid_columns": 3},
    }
    campaign.write_params(resolve())
    before = written()
    campaign.write_params(resolve())
    assert written() == before
    campaign.write_params(resolve(own=put(OWN, (stage,), changes[stage])))
    after = written()
    assert after.keys() == before.keys()
    touched = {name for name in after if after[name] != before[name]}
    assert touched == {name for name in after if name.startswith(stage)}


def test_the_whole_training_set_is_one_cell_at_its_own_ipc():
    """Its IPC is the smallest class, so what a campaign says of an IPC it distills at is not said of the ceiling."""
    base = put(BASE, ("methods", "whole"), {"stage": "select", "select": {"rule": "all"}, "evaluate": {"epochs": 60}})
    own = put(OWN, ("methods", "whole"), {"evaluate": {"networks": 3}})
    own = put(own, ("datasets", "digits", "by_ipc", 1, "evaluate"), {"epochs": 7})
    chosen = resolve(base, own)
    assert [cell.key for cell in chosen.cells_of("select") if cell.method == "whole"] == ["digits-ipc139-whole-seed0"]
    found = [params for cell, params in chosen.params.items() if cell.stage == "evaluate" and cell.method == "whole"]
    assert found == [EvaluateParams(arch=arch, norm="instance", epochs=60, networks=3) for arch in own["architectures"]]
    (skipped,) = resolve(base, put(own, ("methods", "whole", "select"), {"factor": 2})).skipped
    assert "methods.whole.select.factor: is 2, which at IPC 139 takes 556 real images" in skipped.reason
    own = put(own, ("artefacts",), {"tabled": {"datasets": {"digits": [1]}, "methods": ["whole", "random"]}})
    (skipped,) = resolve(base, put(own, ("methods", "whole", "select"), {"factor": 2})).artefacts_skipped["tabled"]
    assert skipped.names["method"] == "whole"


def test_the_set_to_start_from_is_an_input_in_both_engines():
    started = {"like": "paper", "distill": {"initialisation": "load", "load": "elsewhere/distilled.safetensors"}}
    chosen = resolve(own=put(OWN, ("methods", "started"), started))
    cells = [cell for cell in chosen.cells_of("distill") if cell.ipc == 1 and cell.seed == 0]
    read = {cell.method: "elsewhere/distilled.safetensors" in campaign.inputs(chosen, cell) for cell in cells}
    known = yaml.safe_load(engines.active_text(chosen))["cells"]["distill"].values()
    loaded = {item["method"]: item["load"].startswith("elsewhere/") for item in known}
    assert read == loaded == {"paper": False, "started": True}
    assert "${item.load}" in yaml.safe_load(engines.dvc_yaml())["stages"]["distill"]["do"]["deps"]


@pytest.mark.parametrize("name", ["mlflow", "adhoc", "published"])
def test_a_campaign_has_a_folder_of_results_for_itself(name):
    resolve()
    Path("params/trial.yaml").rename(f"params/{name}.yaml")
    with pytest.raises(ParamsError, match=f"^params: unknown campaign '{name}'"):
        campaign.load(name)


def test_a_cell_that_cannot_be_is_skipped_with_its_reason(here):
    """At IPC 40, four tiles an image need 160 of the 139 real images; ConvNet-5 needs 32 pixels a side, not 16."""
    own = put(OWN, ("datasets", "digits", "ipcs"), [1, 40])
    own = put(own, ("architectures",), ["convnet-3", "convnet-5"])
    own = put(own, ("methods", "curated"), {"stage": "curate", "of": "paper"})
    own |= {"continual": {"steps": [5, 3], "methods": ["random"]}}
    chosen = resolve(own=own)
    ran = {
        (c.stage, c.ipc, c.method, c.names.get("arch"), c.names.get("steps")) for c in chosen.cells if "ipc" in c.names
    }
    assert {("evaluate", 1, "paper", "convnet-3", None), ("evaluate", 40, "random", "convnet-3", None)} < ran
    assert ("continual", 1, "random", "convnet-3", 5) in ran
    assert not any(arch == "convnet-5" or steps == 3 for _, _, _, arch, steps in ran)
    assert not any(ipc == 40 and method in ("paper", "curated") for _, ipc, method, _, _ in ran)
    reasons = {tuple(one.names.values()): one.reason for one in chosen.skipped}
    assert "factor: is 2, which at IPC 40 takes 160 real images" in reasons["digits", 40, "paper"]
    assert reasons["digits", 40, "curated"] == reasons["digits", 40, "paper"]
    assert "architectures: convnet-5 cannot take digits" in reasons["digits", 1, "paper", "convnet-5"]
    assert "continual.steps: is 3, but must divide the 10 classes" in reasons["digits", 1, "random", "convnet-3", 3]
    campaign.write_params(chosen)
    skipped = read_json("results/trial/params/report.json")["skipped"]
    assert [(one["stage"], one["reason"]) for one in skipped] == [(one.stage, one.reason) for one in chosen.skipped]


def test_where_nothing_can_be_the_campaign_stops(here):
    with pytest.raises(ParamsError, match=r"datasets.digits.ipcs: is 500, but the smallest class of digits has 139"):
        resolve(own=put(OWN, ("datasets", "digits", "ipcs"), [500]))


def test_selections_read_the_pool_where_their_rule_needs_it():
    own = put(OWN, ("methods", "random", "select"), {"rule": "herding"})
    for found, expected in ((resolve(own=own).cells_of("select"), "convnet-3"), (resolve().cells_of("select"), None)):
        assert {cell.extractor for cell in found} == {expected}
    only = {**own, "methods": {"random": own["methods"]["random"]}}
    assert [cell.key for cell in resolve(own=only).cells_of("pretrain")] == ["digits-convnet-3"]


def test_params_of_cells_that_are_gone_go_too(here):
    campaign.write_params(resolve())
    before = written()
    own = copy.deepcopy(OWN)
    del own["methods"]["random"]
    other = here / "results/trial/metrics.json"
    write_text(other, "{}")
    campaign.write_params(resolve(own=own))
    after = written()
    gone = {name for name in before if "random" in name}
    assert gone and after.keys() == before.keys() - gone
    assert {name for name in after if after[name] != before[name]} == {"report.json"}
    assert other.is_file()


def test_params_files_say_what_the_stages_read():
    chosen = resolve(own=put(OWN, ("methods", "paper", "distill"), {"learning_rate": "1e-4", "iterations": 3}))
    campaign.write_params(chosen)
    for cell, params in chosen.params.items():
        content = read_json(table.params_file("trial", cell))
        if cell.stage == "report":
            assert content["labels"] == chosen.labels
            for stage in ("distill", "select", "curate", "evaluate", "continual", "search"):
                assert content["cells"][stage] == [cell.names for cell in chosen.cells_of(stage)]
        else:
            assert parse(STAGES[cell.stage].params, content, "") == params
    assert chosen.params[chosen.cells_of("distill")[0]] == DistillParams(learning_rate=0.0001, iterations=3)


def test_the_active_campaign(here):
    chosen = resolve()
    with pytest.raises(ParamsError, match=r"params/campaign\.yaml: no such file; run `ncfm use NAME`"):
        engines.active()
    with pytest.raises(ParamsError, match="run `ncfm use trial`"):
        engines.check_active(chosen)
    engines.use(chosen)
    assert engines.active() == "trial" and campaign.available() == ["trial"]
    engines.check_active(chosen)
    stamp = (here / "params/campaign.yaml").stat().st_mtime_ns
    engines.use(chosen)
    assert (here / "params/campaign.yaml").stat().st_mtime_ns == stamp
    engines.check_active(resolve(own=put(OWN, ("evaluate", "epochs"), 3)))  # the same cells with other values
    with pytest.raises(ParamsError, match="lists other cells"):
        engines.check_active(resolve(own=put(OWN, ("methods", "random", "seeds"), [1])))
    write_text("params/campaign.yaml", "cells: {}")
    with pytest.raises(ParamsError, match="campaign: is missing"):
        engines.active()
    write_text("params/campaign.yaml", "<<<<<<< HEAD\ncampaign: trial\n=======\n")  # as a merge leaves it
    with pytest.raises(ParamsError, match=r"not valid YAML .*; `ncfm use NAME` writes it anew"):
        engines.active()
    engines.use(chosen)
    assert engines.active() == "trial"


@pytest.mark.parametrize("name", campaign.available(COMMITTED))
def test_committed_campaigns(name):
    chosen = campaign.load(name, COMMITTED)
    for stage in STAGES:
        keys = [table.address(name, cell) for cell in chosen.cells_of(stage)]
        assert len(set(keys)) == len(keys)
        assert keys or stage not in ("prepare", "evaluate", "report")
    outputs = [file for cell in chosen.cells for file in table.outputs(name, cell)]
    assert len(set(outputs)) == len(outputs)
    assert not chosen.skipped
    assert len(set(chosen.labels.values())) == len(chosen.labels)
    head = (COMMITTED / f"{name}.yaml").read_text(encoding="utf-8")
    assert all(f"#   {word} " in head for word in ("command", "time", "result"))


def test_the_committed_active_campaign_is_in_step():
    name = engines.active(COMMITTED)
    engines.check_active(campaign.load(name, COMMITTED), COMMITTED)


def test_defaults_are_those_of_the_paper_and_the_released_program():
    """The numbers of docs/method.md, sections 1 to 6."""
    training = {"batch": 128, "width": 128, "norm": "default", "cutmix_probability": 0.5}
    pretrain = {
        **training,
        "pool": 20,
        "epochs": 60,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "milestones": (2 / 3, 5 / 6),
        "decay": 0.2,
        "augmentation": "color_crop",
    }
    evaluate = {
        **training,
        "networks": 10,
        "epochs": 2000,
        "optimizer": "adamw",
        "learning_rate": 0.001,
        "weight_decay": 0.01,
        "milestones": (0.2, 0.4, 0.6, 0.8),
        "decay": 0.5,
        "augmentation": "color_crop_flip_scale_rotate",
    }
    distill = {
        "factor": 2,
        "initialisation": "mix",
        "iterations": 20000,
        "batch_real": 1024,
        "loss_scale": 300,
        "alpha": 0.5,
        "calibration": 1,
        "optimizer": "adamw",
        "learning_rate": 0.001,
        "weight_decay": 5e-4,
        "plateau_patience": 500,
        "plateau_factor": 0.5,
        "augmentation": "color_crop_cutout",
    }
    for model, expected in ((PretrainParams, pretrain), (EvaluateParams, evaluate), (DistillParams, distill)):
        assert expected.items() <= model().model_dump().items()


def test_protocols_of_the_base(here):
    """The protocol of DSA and DM (docs/evaluation.md; docs/method.md, section 8)."""
    write_text("params/base.yaml", (COMMITTED / "base.yaml").read_text(encoding="utf-8"))
    write_text("params/trial.yaml", yaml.safe_dump({**OWN, "protocols": ["released", "last", "dm", "plain"]}))
    chosen = campaign.load("trial")
    found = {cell.protocol: chosen.params[cell] for cell in chosen.cells_of("evaluate") if cell.arch == "convnet-3"}
    dm = {
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "epochs": 1000,
        "batch": 256,
        "milestones": (0.5,),
        "decay": 0.1,
        "augmentation": "color|crop|cutout|flip|scale|rotate",
        "cutmix_probability": 0,
        "looks": 1,
    }
    assert found[None] == EvaluateParams(norm="instance")
    assert found["last"] == EvaluateParams(norm="instance", looks=1)
    assert found["dm"] == EvaluateParams(**dm, norm="instance")
    assert found["plain"] == EvaluateParams(**{**dm, "augmentation": "", "norm": "instance"})


def test_recipes_of_the_base(here):
    write_text("params/base.yaml", (COMMITTED / "base.yaml").read_text(encoding="utf-8"))
    rules = ("random", "herding", "k-center", "forgetting")
    coresets = {f"{rule}{tiles}": (rule, 2 if tiles else 1) for rule in rules for tiles in ("", "-tiles")}
    methods = ("paper", "released", "mmd", "mse", "gaussian", "amplitude", "phase", *coresets)
    own = {**OWN, "methods": {name: {} for name in methods}, "pretrain": {"count_forgetting": True}}
    write_text("params/trial.yaml", yaml.safe_dump(own))
    chosen = campaign.load("trial")
    found = {
        cell.method: chosen.params[cell].model_dump() for cell in chosen.cells_of("distill", "select") if cell.ipc == 1
    }
    default = DistillParams().model_dump()
    paper = {"discrepancy": "ncfd", "frequencies": "mixture", "num_frequencies": 1024, "real_batches": "random"}
    assert found["paper"] == default | paper | {"update": "joint", "schedule": "cosine"}
    released = {"frequencies": "gaussian", "num_frequencies": 4096, "real_batches": "first", "update": "per-class"}
    assert found["released"] == default | released | {"schedule": "plateau", "shrink": "nearest"}
    for name in ("mmd", "mse"):  # beside `paper`, only the discrepancy differs
        assert found[name] == found["paper"] | {"discrepancy": name}
    for name, changed in {
        "gaussian": {"frequencies": "gaussian"},
        "amplitude": {"alpha": 1},
        "phase": {"alpha": 0},
    }.items():
        assert found[name] == found["paper"] | changed
    for name, (rule, factor) in coresets.items():
        assert found[name] == SelectParams(rule=rule, factor=factor).model_dump()


def test_the_work_of_reading_grows_with_the_params_and_not_with_the_seeds(tmp_path, monkeypatch):
    """Both files are read once; each params of a cell is parsed once, whoever has it; so a plan stays linear."""
    counts = Counter[str]()
    for module, name in ((layers, "read_yaml"), (layers, "parse")):
        real = getattr(module, name)
        counted = lambda *given, real=real, name=name: counts.update([name]) or real(*given)  # noqa: E731
        monkeypatch.setattr(module, name, counted)
    text = "architectures: [convnet-3]\ndatasets: {digits: {ipcs: [1]}}\nmethods:\n"
    shutil.copy(REPOSITORY / "params/base.yaml", tmp_path)

    def work(methods: int, seeds: int) -> tuple[int, Counter[str]]:
        lines = [f"  m{number}: {{like: paper, seeds: {list(range(seeds))}}}\n" for number in range(methods)]
        write_text(tmp_path / "many.yaml", text + "".join(lines))
        counts.clear()
        return len(campaign.load("many", tmp_path).cells), counts.copy()

    (few, once), (more, seeded), (many, doubled) = work(10, 1), work(10, 20), work(20, 1)
    assert more > 9 * few and seeded == once and once["read_yaml"] == 2
    assert many < 2 * few and once["parse"] < doubled["parse"] <= 2 * once["parse"]
