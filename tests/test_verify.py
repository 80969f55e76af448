"""`ncfm verify`: a results tree against its records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ncfm import cli
from ncfm.core.store import read_json, sha256, write_json, write_text
from ncfm.run.presentation import key_of_run

ROOT = Path("results/made-up")


def put(name: str, text: str, inputs: list[str], stage: str) -> None:
    """Write a file and its record, as a stage does."""
    write_text(ROOT / name, text)
    record = {"stage": stage, "campaign": "made-up", "names": {"ipc": 1}, "params": {"epochs": 2}}
    record |= {"inputs": {str(ROOT / one): sha256(ROOT / one) for one in inputs}}
    record |= {"key": key_of_run(record), "started": "2026-01-01", "seconds": 1, "metrics": {"last": 70.0000004}}
    record |= {"output": str(ROOT / name), "outputs": {str(ROOT / name): sha256(ROOT / name)}}
    write_json((ROOT / name).with_suffix(".record.json"), record)


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put("sets/seed0/distilled.txt", "images", [], "distill")
    put("evaluations/seed0/convnet-3.txt", "70", ["sets/seed0/distilled.txt"], "evaluate")


def test_untouched_results_hold_wherever_they_lie(capsys):
    assert cli.main(["verify"]) == 0
    assert capsys.readouterr().out == "results: every file is as its record says (2 records)\n"
    shutil.move("results", "elsewhere/results")
    assert cli.main(["verify", "elsewhere"]) == 0


def test_what_was_changed_is_named_with_who_wrote_and_who_read_it(capsys):
    write_text(ROOT / "sets/seed0/distilled.txt", "other images")
    assert cli.main(["verify", str(ROOT)]) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"{ROOT}/evaluations/seed0/convnet-3.txt: evaluate read another {ROOT}/sets/seed0/distilled.txt than the one "
        "that is there",
        f"{ROOT}/sets/seed0/distilled.txt: is not what distill wrote",
    ]
    assert said.err == f"ncfm: {ROOT}: 2 files are not as the 2 records say\n"


def test_the_copies_of_sets_in_mlflows_store_need_no_record(capsys):
    write_text("results/mlflow/artifacts/toy/0/artifacts/distilled.safetensors", "a copy")
    assert cli.main(["verify"]) == 0
    assert "every file is as its record says" in capsys.readouterr().out


def test_missing_files_torn_records_and_empty_folders(capsys):
    (ROOT / "evaluations/seed0/convnet-3.txt").unlink()
    write_text(ROOT / "sets/seed0/distilled.record.json", "{")
    assert cli.main(["verify"]) == 2
    assert capsys.readouterr().out.splitlines() == [
        f"{ROOT}/evaluations/seed0/convnet-3.txt: is missing; evaluate wrote it",
        f"{ROOT}/sets/seed0/distilled.record.json: is not a whole record",
    ]
    assert cli.main(["verify", "params"]) == 2
    assert capsys.readouterr().err == "ncfm: params: holds no record of a stage\n"


def test_a_missing_input_is_named_once(capsys):
    (ROOT / "sets/seed0/distilled.txt").unlink()
    assert cli.main(["verify"]) == 2
    missing = f"{ROOT}/sets/seed0/distilled.txt: is missing; distill wrote it"
    assert capsys.readouterr().out.splitlines() == [missing]
    (ROOT / "sets/seed0/distilled.record.json").unlink()
    assert cli.main(["verify"]) == 2
    reader = f"{ROOT}/evaluations/seed0/convnet-3.txt: evaluate"
    assert capsys.readouterr().out == f"{reader} read {ROOT}/sets/seed0/distilled.txt, which is missing\n"


def test_results_without_a_record_are_named(capsys):
    cell = "digits/ipc1/paper/seed0"
    found = [ROOT / f"evaluations/{cell}/convnet-3.json", ROOT / f"sets/{cell}/distilled.safetensors"]
    for file in (*found, ROOT / f"evaluations/{cell}/.half.json", Path("results/published/distilled.safetensors")):
        write_text(file, "{}")
    assert cli.main(["verify"]) == 2
    said = [f"{file}: has no record of a stage that wrote it" for file in found]
    assert capsys.readouterr().out.splitlines() == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"params": {"epochs": 3}}, "was changed: its key is not that of"),
        ({"names": {"ipc": 10}}, "was changed: its key is not that of"),
        ({"params": {"epochs": float("nan")}}, "was changed: its key is not that of"),
        ({"metrics": {"last": 71}}, "was changed: its last is not that of"),
        ({"metrics": {"last": "70"}}, "was changed: its last is not that of"),
        ({"outputs": []}, "is not a whole record"),
        ({"names": "digits"}, "is not a whole record"),
        ({"output": 1}, "is not a whole record"),
    ],
)
def test_a_changed_record_is_named(change, said, capsys):
    test = "evaluations/digits/ipc1/paper/seed0/convnet-3.json"
    put(test, '{"last": {"mean": 70.0}}', [], "evaluate")
    assert cli.main(["verify"]) == 0
    record = (ROOT / test).with_suffix(".record.json")
    record.write_text(json.dumps({**read_json(record), **change}))
    capsys.readouterr()
    assert cli.main(["verify"]) == 2
    assert capsys.readouterr().out.startswith(f"{record}: {said}")
