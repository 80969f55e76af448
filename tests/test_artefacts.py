"""Artefacts of a campaign: the union of their cells, their reports, and params/paper.yaml against what is reported."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from report_helpers import evaluate, make

from ncfm import cli
from ncfm.campaign import campaign, engines
from ncfm.core.errors import ParamsError
from ncfm.core.store import write_text
from ncfm.report.verdicts.candidates import OWN_LISTS
from ncfm.report.verdicts.differences import differences
from ncfm.report.verdicts.protocol import full_protocol
from ncfm.report.verdicts.reported import ReportedNumber, read_reported
from ncfm.stages import table
from ncfm.stages.cells import Artefact, Cell, Distill, Evaluate, Pretrain

COMMITTED = Path(__file__).resolve().parent.parent / "params"
OWN = """
architectures: [convnet-3, convnet-4]
datasets: {digits: {ipcs: [1, 2]}, cifar10: {ipcs: [1], pretrain: {arch: convnet-4}}}
methods: {paper: {seeds: [0, 1]}, random: {}, herding: {}, paper-curated: {seeds: [1]}, whole: {}}
protocols: [released, dm]
continual: {steps: [2, 5], methods: [paper, random], protocol: dm}
artefacts:
  table1: {datasets: {digits: [1]}, methods: [random, paper, whole]}
  table4: {datasets: {digits: [2, 1]}, methods: [random, paper-curated], architectures: [convnet-4], protocols: [dm]}
  own: {datasets: {digits: [1], cifar10: [1]}, methods: [random]}
  learning: {datasets: {digits: [1]}, methods: [paper], continual: true}
"""


def load(text: str, folder: Path) -> campaign.Campaign:
    write_text(folder / "base.yaml", (COMMITTED / "base.yaml").read_text(encoding="utf-8"))
    write_text(folder / "trial.yaml", text)
    return campaign.load("trial", folder)


def keys(cells: tuple[Cell, ...] | list[Cell], *stages: str) -> list[str]:
    return [cell.key for cell in cells if cell.stage in stages]


def test_the_cells_are_the_union_each_once(tmp_path):
    chosen = load(OWN, tmp_path)
    assert list(chosen.artefacts) == ["table1", "table4", "own", "learning"]
    assert keys(chosen.cells, "evaluate") == [
        "digits-ipc1-paper-seed0-convnet-3",
        "digits-ipc1-paper-seed1-convnet-3",
        "digits-ipc1-random-seed0-convnet-3",
        "digits-ipc1-random-seed0-convnet-4-dm",
        "digits-ipc1-paper-curated-seed1-convnet-4-dm",
        "digits-ipc139-whole-seed0-convnet-3",
        "digits-ipc2-random-seed0-convnet-4-dm",
        "digits-ipc2-paper-curated-seed1-convnet-4-dm",
        "cifar10-ipc1-random-seed0-convnet-4",  # the data set's own network
    ]
    assert keys(chosen.cells, "continual") == [
        f"digits-ipc1-paper-seed{seed}-convnet-3-dm-steps{steps}" for steps in (2, 5) for seed in (0, 1)
    ]
    # What a curation starts from is made, though not evaluated; herding is declared, but nothing selects it.
    assert "digits-ipc2-paper-seed1" in keys(chosen.artefacts["table4"], "distill")
    assert not [cell for cell in chosen.cells if cell.names.get("method") == "herding"]
    assert keys(chosen.cells, "pretrain") == ["digits-convnet-3"]  # nothing of CIFAR-10 reads a pool
    members = {cell for cells in chosen.artefacts.values() for cell in cells}
    assert members == {cell for cell in chosen.cells if cell.stage not in ("report", "artefact")}
    assert keys(chosen.cells, "artefact", "report") == [*chosen.artefacts, ""]
    shared = Evaluate("digits", 1, "random", 0, "convnet-3")
    assert [name for name, cells in chosen.artefacts.items() if shared in cells] == ["table1", "own"]


def test_an_artefact_that_names_everything_has_the_cells_of_the_cross(tmp_path):
    cross = yaml.safe_load(OWN)
    del cross["artefacts"]
    whole = {"datasets": {"digits": [1, 2], "cifar10": [1]}, "methods": list(cross["methods"])}
    whole |= {"architectures": cross["architectures"], "protocols": cross["protocols"]}
    learning = {**whole, "methods": ["paper", "random"], "continual": True}
    del learning["protocols"]
    named = load(yaml.safe_dump(cross | {"artefacts": {"all-of-it": whole, "learning": learning}}), tmp_path)
    expected = load(yaml.safe_dump(cross), tmp_path)
    assert [cell for cell in named.cells if not isinstance(cell, Artefact)] == list(expected.cells)
    assert {cell: params for cell, params in named.params.items() if not isinstance(cell, Artefact)} == expected.params
    assert engines.active_text(named) == engines.active_text(expected)
    assert not engines.artefacts_text(expected)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("table1.datasets", {"digit": [1]}, "table1.datasets: unknown data set of this campaign"),
        ("table1.datasets", {"digits": [3]}, "table1.datasets.digits: unknown IPC of digits in this"),
        ("table1.datasets", {}, "table1.datasets: is {}, but "),
        ("table1.methods", ["rando"], "table1.methods: unknown method of this campaign 'rando'; did"),
        ("table1.architectures", ["convnet-5"], "table1.architectures: unknown architecture of this campaign 'c"),
        ("table1.protocols", ["plain"], "table1.protocols: unknown protocol of this campaign 'plain'"),
        ("table1.method", ["random"], "table1: unknown key 'method'; did you mean 'methods'?"),
        ("learning.methods", ["herding"], "learning.methods: unknown method of continual 'herding' (allowed"),
        ("learning.protocols", ["dm"], "learning.protocols: is never read (allowed: in an artefact without"),
        ("report", {"datasets": {"digits": [1]}, "methods": ["random"]}, "names an artefact 'report' (allowed: any"),
        ("Table 1", {"datasets": {"digits": [1]}, "methods": ["random"]}, "Table 1: is 'Table 1', but "),
    ],
)  # fmt: skip
def test_faults_of_artefacts_are_one_line(key, value, message, tmp_path):
    content = yaml.safe_load(OWN)
    place = content["artefacts"]
    *path, last = key.split(".")
    for part in path:
        place = place[part]
    place[last] = value
    with pytest.raises(ParamsError, match=re.escape(message)) as caught:
        load(yaml.safe_dump(content), tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/trial.yaml: ") and "\n" not in str(caught.value)


SIX = """
architectures: [convnet-3]
datasets: {cifar10: {ipcs: [10]}}
methods: {paper: {}, random: {}, gaussian: {}}
continual: {steps: [2], methods: [random]}
artefacts:
  table5: {datasets: {cifar10: [10]}, methods: [paper]}
  coresets: {datasets: {cifar10: [10]}, methods: [random]}
  learning: {datasets: {cifar10: [10]}, methods: [random], continual: true}
"""


def test_the_report_of_an_artefact_needs_its_own_cells_only(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, SIX)
    tables = Path("results/made-up/artefacts")
    wanted = next(cell for cell in chosen.cells_of("evaluate") if cell.method == "paper")
    evaluate(chosen, wanted, [66.0] * 10, [68.9] * 10)
    for name in chosen.artefacts:
        params = str(table.params_file("made-up", Artefact(name)))
        assert cli.main(["report", "--params", params, "--results", "results/made-up"]) == 0
        files = {f"{name}.{end}" for end in ("csv", "md", "tex", "png", "svg", "record.json")}
        assert files == {path.name for path in tables.iterdir() if path.name.startswith(name)}
    pictures = {name: (tables / f"{name}.svg").read_text() for name in chosen.artefacts}
    assert "<!-- Table 5: cifar10, IPC 10 -->" in pictures["table5"] and "<!-- not run -->" in pictures["coresets"]
    assert "NCFM with psi,cifar10 IPC 10,68.9,68.9 best,inconclusive" in (tables / "table5.csv").read_text()
    assert "Table 5" in (tables / "table5.md").read_text() and "random" not in (tables / "table5.md").read_text()
    # No table of the paper: our own cells, here still to run.
    head, line = (tables / "coresets.csv").read_text().splitlines()
    assert "last_std" in head and "is missing" in line
    head, line = (tables / "learning.csv").read_text().splitlines()
    assert "final_std" in head and "steps2" in line and "tabular" in (tables / "learning.tex").read_text()


@pytest.fixture(scope="module")
def paper() -> campaign.Campaign:
    return campaign.load("paper", COMMITTED)


def test_the_paper_has_a_cell_for_every_accuracy_that_ncfm_reports(paper):
    """Of NCFM, DM, the coresets and the whole set, each in the artefact of the same name, on the network reported."""
    names = {"NCFM": ("paper", "released"), "Whole Dataset": ("whole",)}
    names |= {one: (one.lower(),) for one in ("Random", "Herding", "Forgetting", "DM")}
    checked = Counter[str]()
    for number in read_reported():
        if number.metric not in ("accuracy", "loss") or number.method not in names:
            continue
        if number.artefact in ("text", "beyond the paper"):
            continue
        name, methods = number.artefact.replace("fig", "figure"), set(names[number.method])
        if number.alpha is not None:
            ours = f"alpha-{f'{number.alpha:g}'.replace('.', '')}"
            methods = {"released" if number.alpha == 0.5 else ours}
        if number.num_frequencies is not None:
            methods = {"paper" if number.num_frequencies == 1024 else f"frequencies-{number.num_frequencies}"}
        dataset = number.dataset
        if number.method == "NCFM" and dataset in OWN_LISTS.values():
            dataset += "-released"  # of the classes of its program
        found = [
            cell
            for cell in paper.artefacts[name]
            if (cell.stage, cell.names["dataset"], cell.names.get("arch")) == ("evaluate", dataset, number.network)
            and cell.names["method"] in methods
            and number.ipc in (str(cell.names["ipc"]), "full")
        ]
        assert found, number
        checked[name] += 1
    assert set(checked) == {*(f"table{n}" for n in (1, 2, 4, 5)), *(f"figure{n}" for n in (3, 5, 6, 7))}
    assert sum(checked.values()) == 196


def test_the_paper_runs_at_the_full_protocol(paper):
    """No param of NCFM's own cells differs from what a verdict asks of them."""
    recipes, checked = {"paper": "with", "released": "without"}, 0
    for cell in paper.cells_of("evaluate"):
        if cell.method not in recipes or cell.seed:
            continue
        extractor = extractor_of(paper, cell.dataset)
        made = Distill(cell.dataset, cell.ipc, cell.method, 0, extractor)
        pool = paper.params[Pretrain(cell.dataset, extractor)].model_dump(mode="json")
        stored = SimpleNamespace(cell=made, params=paper.params[made].model_dump(mode="json"), pool=pool, source=None)
        evaluation = SimpleNamespace(params=paper.params[cell].model_dump(mode="json"))
        row = SimpleNamespace(evaluations=[evaluation], sets=[stored])
        place = {
            "dataset": cell.dataset,
            "ipc": str(cell.ipc),
            "arch": cell.arch,
            "extractor": extractor,
            "psi": recipes[cell.method],
        }
        number = ReportedNumber(number=1, source="", artefact="", method="NCFM", metric="accuracy", value="", **place)
        assert differences(row, full_protocol(number), "best") == (), cell
        checked += 1
    assert checked == 2 * (3 * 3 + 2 * 8 + 2 * 3 + 1 + 2)  # tables 1, 2 and 4, figure 3, lossless


def extractor_of(paper: campaign.Campaign, dataset: str) -> str:
    return next(cell.arch for cell in paper.cells_of("pretrain") if cell.dataset == dataset)


def test_each_network_fits_its_resolution(paper):
    depths = {cell.dataset: int(cell.arch[-1]) for cell in paper.cells_of("pretrain")}
    assert Counter(depths.values()) == {3: 2, 4: 1, 5: 8}
    assert depths["tinyimagenet"] == 4
