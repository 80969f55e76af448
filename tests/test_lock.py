"""Two processes that would write the same output: the second waits, and goes on however the first one ends."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from ncfm import cli
from ncfm.core.lock import only_writer
from ncfm.core.store import write_json
from ncfm.stages import running

HOLD = """
import sys, time
from pathlib import Path
from ncfm.core.lock import only_writer
with only_writer(Path("results/set")) as waited:
    print(waited, flush=True)
    time.sleep(60 if sys.argv[1] == "hold" else 0)
"""


def holder(what: str, **settings: str) -> subprocess.Popen[str]:
    pipe, environment = subprocess.PIPE, {**os.environ, **settings}
    return subprocess.Popen([sys.executable, "-c", HOLD, what], stdout=pipe, stderr=pipe, text=True, env=environment)


@pytest.mark.parametrize("nodes", [False, True])
def test_the_second_waits_and_says_so_until_the_first_is_gone(nodes, tmp_path, monkeypatch):
    """On one machine, and as jobs on two nodes of a cluster, which have a folder for temporary files each."""
    monkeypatch.chdir(tmp_path)
    settings: list[dict[str, str]] = [{}, {}]
    for number in (0, 1) if nodes else ():
        (tmp_path / f"node{number}").mkdir()
        settings[number] = {"TMPDIR": str(tmp_path / f"node{number}"), "SLURM_JOB_ID": str(number)}
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    first = holder("hold", **settings[0])
    assert first.stdout is not None and first.stdout.readline() == "False\n"
    second = holder("go", **settings[1])
    assert second.stderr is not None
    assert second.stderr.readline() == "waiting for another process that writes results/set\n"
    with only_writer(Path("results/other")) as waited:  # another output is free
        assert not waited
    assert second.poll() is None
    first.send_signal(signal.SIGKILL)
    assert second.communicate(timeout=30)[0] == "True\n" and second.returncode == 0
    first.communicate()


@pytest.mark.parametrize("waited", [True, False])
def test_what_the_other_process_finished_is_not_made_again(waited, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NCFM_TRACKING", "off")
    write_json("digits.json", {"dataset": "digits"})
    command = ["prepare", "--params", "digits.json", "--out", "results/toy/digits"]
    assert cli.main(command) == 0
    record = Path("results/toy/digits/card.record.json")
    before = record.stat().st_mtime_ns
    monkeypatch.setattr(running, "only_writer", lambda path: nullcontext(waited))
    assert cli.main(command) == 0
    assert (record.stat().st_mtime_ns == before) is waited
    assert ("prepare: done meanwhile" in capsys.readouterr().err) is waited


def test_what_a_living_dvc_is_writing_is_not_taken_for_torn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its own lock, held here as DVC holds it, is waited for; the copy that is kept is the whole file."""
    mend = [sys.executable, str(Path(__file__).parents[1] / "workflow/run_stage.py"), "mend"]
    monkeypatch.chdir(tmp_path)
    Path(".dvc/tmp").mkdir(parents=True)
    with Path(".dvc/tmp/lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        Path("dvc.lock").write_text("schema: '2.0'\n")
        mending = subprocess.Popen(mend, stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        assert mending.poll() is None
        Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    assert mending.communicate() == ("", None)
    assert Path(".dvc/tmp/dvc.lock.kept").read_text() == Path("dvc.lock").read_text() == "schema: '2.0'\nstages: {}\n"
