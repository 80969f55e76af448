"""CONTRIBUTING.md holds: each thing that people add is one file, found by itself, and every example there runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ncfm.core.errors import ParamsError
from ncfm.core.registry import Registry
from ncfm.datasets.catalogue import CATALOGUE
from ncfm.method.coresets import RULES
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.models.registry import ARCHITECTURES

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = {section.partition("\n")[0]: section for section in TEXT.split("\n## ")}
# Of each section its examples: file and text.
EXAMPLES = {
    name: re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", section, re.DOTALL) for name, section in SECTIONS.items()
}
EXAMPLES = {name: found for name, found in EXAMPLES.items() if found}


def copy(folder: Path) -> Path:
    """Copy what a campaign runs with, but for the example that is in the repository already."""
    hidden = shutil.ignore_patterns("__pycache__", "campaign.yaml", "energy.py")
    for name in ("ncfm", "params", "workflow", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=hidden)
    shutil.copy(ROOT / "Snakefile", folder)
    base = folder / "params/base.yaml"
    values = yaml.safe_load(base.read_text(encoding="utf-8"))
    del values["methods"]["energy"]
    base.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return folder


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Lay ``changes`` over ``values``, mappings key by key."""
    both = {key: merged(values[key], changes[key]) for key in values.keys() & changes if isinstance(changes[key], dict)}
    return {**values, **changes, **both}


def follow(folder: Path, section: str, *, code: bool = True) -> None:
    """Do what a section says: write its file, where ``code``, and add its lines to the params files."""
    for name, text in EXAMPLES[section]:
        path = folder / name
        if path.suffix == ".yaml":
            values = merged(yaml.safe_load(path.read_text(encoding="utf-8")), yaml.safe_load(text))
            path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        elif code:
            assert not path.exists()
            path.write_text(text, encoding="utf-8")


def run(folder: Path, *command: str) -> tuple[int, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("NCFM_", "SNAKEMAKE"))}
    here = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "NCFM_RUNNER": "direct", "NCFM_TRACKING": "off"}
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=folder,
        env={**kept, **here, "NCFM_DEVICE": "cpu"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout


def test_the_page_has_an_example_of_each_thing():
    folders = [[Path(name).parent.name for name, _ in found] for found in EXAMPLES.values()]
    assert folders == [
        ["discrepancies", "params"],
        ["coresets", "params"],
        ["families", "params"],
        ["sets", "params"],
        ["params", "params"],
    ]


def test_the_example_of_a_discrepancy_is_the_repositorys():
    name, text = EXAMPLES["A discrepancy"][0]
    assert (ROOT / name).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("section", EXAMPLES)
def test_each_thing_is_one_file_and_its_lines_in_params_files(section, tmp_path):
    status, before = run(copy(tmp_path), "ncfm", "plan", "tiny")
    assert status == 0, before
    follow(tmp_path, section, code=False)
    if EXAMPLES[section][0][0].endswith(".py"):
        status, text = run(tmp_path, "ncfm", "plan", "tiny")
        assert status == 2 and text.count("\n") == 1 and text.startswith("ncfm: params/tiny.yaml: "), text
        assert ": unknown " in text
        name, text = EXAMPLES[section][0]
        (tmp_path / name).write_text(text, encoding="utf-8")
    status, after = run(tmp_path, "ncfm", "plan", "tiny")
    assert status == 0 and "?" not in after, after
    assert after != before


def test_the_examples_run_together_through_the_tiny_campaign(tmp_path):
    pytest.importorskip("snakemake")
    copy(tmp_path)
    for section in EXAMPLES:
        follow(tmp_path, section)
    tiny = tmp_path / "params/tiny.yaml"
    values = yaml.safe_load(tiny.read_text(encoding="utf-8"))
    for key in ("methods", "datasets"):  # only what was added
        values[key] = {name: entry for name, entry in values[key].items() if name in ("energy", "nearest", "bars")}
    values |= {"architectures": ["perceptron"], "protocols": ["sprint"]}
    tiny.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    status, text = run(tmp_path, "snakemake", "--cores", "2", "--config", "campaign=tiny")
    assert status == 0, text
    for method in ("energy", "nearest"):
        assert list((tmp_path / "results/tiny/evaluations").glob(f"bars/ipc1/{method}/seed0/perceptron.sprint.json"))
    table = (tmp_path / "results/tiny/tables/results.md").read_text(encoding="utf-8")
    assert all(label in table for label in ("energy distance", "nearest to the mean", "bars", "perceptron"))


@pytest.mark.parametrize("registry", [DISCREPANCIES, RULES, ARCHITECTURES, CATALOGUE], ids=lambda found: found.what)
def test_entries_have_an_order_and_a_name_of_their_own(registry, monkeypatch):
    entries = list(registry.values())
    assert [entry.order for entry in entries] == sorted(entry.order for entry in entries)
    assert all(registry[entry.name] is registry.find(entry.name) is entry for entry in entries)
    with pytest.raises(ParamsError, match=rf"^here: unknown {registry.what} 'x' \(allowed: {entries[0].name}, "):
        registry.find("x", "here")


def test_two_entries_of_one_name_are_refused(tmp_path, monkeypatch):
    package = tmp_path / "made_entries"
    package.mkdir()
    for file in ("__init__", "one", "two"):
        (package / f"{file}.py").write_text(
            "from ncfm.method.discrepancies import Discrepancy\nENTRIES = (Discrepancy('same', print),)\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="made_entries: two entries have one name: same, same"):
        len(Registry("thing", "made_entries"))


def test_reading_the_registries_imports_no_heavy_library():
    heavy = ("torch", "numpy", "PIL", "pandas", "torchvision", "sklearn")
    code = f"""
import sys
from ncfm.datasets.catalogue import CATALOGUE
from ncfm.method.coresets import RULES
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.models.registry import ARCHITECTURES
assert min(map(len, (CATALOGUE, RULES, DISCREPANCIES, ARCHITECTURES))) > 3
sys.exit(", ".join(name for name in {heavy} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
