"""`ncfm verify`: a results tree against its records."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ncfm import cli
from ncfm.core.store import sha256, write_json, write_text

ROOT = Path("results/made-up")


def put(name: str, text: str, inputs: list[str], stage: str) -> None:
    """Write a file and its record, as a stage does."""
    write_text(ROOT / name, text)
    hashes = {str(ROOT / one): sha256(ROOT / one) for one in inputs}
    content = {"stage": stage, "output": str(ROOT / name), "outputs": {str(ROOT / name): sha256(ROOT / name)}}
    write_json((ROOT / name).with_suffix(".record.json"), {**content, "inputs": hashes})


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
