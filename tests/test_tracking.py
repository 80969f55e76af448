"""MLflow: what arrives in a real store, that nothing arrives twice, and that nothing about it can fail a stage."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from ncfm.core.errors import NcfmError
from ncfm.core.store import read_json, write_json, write_text
from ncfm.report import links as page_links
from ncfm.run import sending, standing, tracking
from ncfm.run.record import Record
from ncfm.run.tracking import import_records, links

NAMES = {"dataset": "digits", "ipc": 1, "method": "paper", "seed": 0}
PARAMS = {"iterations": 4, "psi": {"steps": 2}, "long": "x" * 7000}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with its own store."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "NCFM_TRACKING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tracking, "PATIENCE", 0.0)
    monkeypatch.setattr(tracking, "INTERVAL", 0.0)
    return tmp_path


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs, made once: making one takes more than a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("template"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        sending.FOLDER.mkdir(parents=True)
        MlflowClient(sending.store_uri()).search_experiments()
        return sending.FOLDER.resolve() / "mlflow.db"


@pytest.fixture
def store(folder: Path, empty_store: Path) -> None:
    """An empty store in the working folder."""
    (folder / sending.FOLDER).mkdir(parents=True)
    shutil.copy(empty_store, sending.FOLDER)


def stage(run: bool = True, steps: int = 4, names: dict[str, Any] = NAMES, name: str = "distill") -> Record:
    """A stage that reads a file and is about to write its set."""
    write_text("results/toy/data/train.safetensors", "data")
    out = Path("results/toy/sets", "-".join(map(str, names.values())) or "report", f"{name}.safetensors")
    record = Record(name, out, PARAMS, names, ["results/toy/data/train.safetensors"])
    if run:
        record.run = tracking.Run(record.content, record.path)
    for step in range(steps):
        record.log(step, {"loss": 1 / (step + 1), "rate": 0.5})
    return record


def finish(record: Record) -> None:
    """Write the outputs of :func:`stage` and finish."""
    folder = record.path.parent
    outputs: list[str | Path] = [folder / "distill.safetensors", folder / "grid.png", folder / "tables" / "all.csv"]
    for path in outputs:
        write_text(path, "content")
    record.save_history(folder / "history.csv")
    outputs += [folder / "history.csv"] if "history" in record.content else []
    record.finish(outputs, {"loss": 0.2, "rate": 0.5, "accuracy": 0.5})


def client() -> Any:
    return MlflowClient(sending.store_uri())


def all_runs() -> list[Any]:
    experiment = client().get_experiment_by_name("toy")
    return [] if experiment is None else list(client().search_runs([experiment.experiment_id]))


def stage_runs() -> list[Any]:
    return [run for run in all_runs() if "ncfm.key" in run.data.tags]


def history(run: Any, metric: str = "loss") -> list[tuple[int, float]]:
    return [(point.step, round(point.value, 4)) for point in client().get_metric_history(run.info.run_id, metric)]


def everything() -> str:
    """All that the store holds, as text."""
    runs = sorted(all_runs(), key=lambda run: run.info.run_id)
    return json.dumps([[run.to_dictionary(), [history(run, name) for name in run.data.metrics]] for run in runs])


LOSSES = [(0, 1.0), (1, 0.5), (2, 0.3333), (3, 0.25)]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("live", [True, False])
def test_a_record_arrives_whole_live_or_imported(live: bool, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = stage(run=live)
    finish(record)
    import_records(Path("results"))
    before = everything()
    import_records(Path("results"))
    assert everything() == before
    lines = capsys.readouterr()
    assert lines.out.splitlines()[0] == f"records sent: {int(not live)}, already there: {int(live)}, failed: 0"
    assert lines.out.splitlines()[1] == "records sent: 0, already there: 1, failed: 0"
    assert [line.split()[:3] for line in lines.err.splitlines()] == 2 * [["track", "import:", "1/1"]]

    (run,) = stage_runs()
    (parent,) = [run for run in all_runs() if "ncfm.group" in run.data.tags]
    assert (run.info.run_name, run.info.status) == ("distill digits ipc1 paper seed0", "FINISHED")
    assert parent.info.run_name == "digits ipc1 paper"
    names = {name: str(value) for name, value in NAMES.items()}
    assert run.data.params == {"iterations": "4", "psi.steps": "2", "long": "x" * 6000, **names}
    assert history(run) == LOSSES
    final = {name: value for name, value in run.data.metrics.items() if name not in ("loss", "rate")}
    own = {"seconds": record.content["seconds"], "peak_process_gb": record.content["peak_gb"]["process"]}
    assert final == {"final_loss": 0.2, "accuracy": 0.5, **own} and own["peak_process_gb"] > 0.01
    assert history(run, "rate") == [(step, 0.5) for step in range(4)]
    content = record.content
    tags = {"stage": "distill", "campaign": "toy", "ipc": "1", "mlflow.parentRunId": parent.info.run_id}
    tags |= {"ncfm.key": content["key"], "hardware.cpu": content["hardware"]["cpu"]}
    tags |= {"commit": content["commit"]} if content["commit"] else {}
    assert tags.items() <= run.data.tags.items()
    assert not [name for name in run.data.tags if "/" in name]  # a column for each path would bury the others
    assert run.data.tags["mlflow.source.name"] == "ncfm distill"
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert artifacts.is_relative_to(folder / "results" / "mlflow" / "artifacts")
    found = {path.relative_to(artifacts).as_posix() for path in artifacts.rglob("*") if path.is_file()}
    assert found == {"record.json", "grid.png", "history.csv", "tables/all.csv"}
    assert read_json(artifacts / "record.json") == read_json(record.path)


@pytest.mark.usefixtures("store")
def test_runs_of_one_cell_share_a_parent() -> None:
    for names, name in (
        (NAMES, "distill"),
        (NAMES | {"seed": 1}, "distill"),
        (NAMES | {"arch": "convnet-3"}, "evaluate"),
        ({"dataset": "digits"}, "prepare"),
        ({}, "report"),
    ):
        finish(stage(False, 0, names, name))
    import_records(Path("results"))
    titles = {run.info.run_id: run.info.run_name for run in all_runs()}
    grouped = {run.info.run_name: titles.get(run.data.tags.get("mlflow.parentRunId")) for run in stage_runs()}
    assert grouped == {
        "distill digits ipc1 paper seed0": "digits ipc1 paper",
        "distill digits ipc1 paper seed1": "digits ipc1 paper",
        "evaluate digits ipc1 paper seed0 convnet-3": "digits ipc1 paper",
        "prepare digits": "digits",
        "report": None,
    }
    assert len(titles) == 7


@pytest.mark.usefixtures("store")
def test_a_test_of_a_set_has_the_params_of_what_it_stands_on() -> None:
    """Also when the results were moved before they are imported, and not those of a set that has taken its place."""

    def ran(name: str, names: dict[str, Any], params: dict[str, Any], inputs: list[str | Path]) -> Path:
        out = Path("results/toy", name, f"{name}.safetensors")
        record = Record(name, out, params, names, inputs)
        write_text(out, f"what {name} made of {params}")
        record.finish([out], {})
        return out

    data = ran("prepare", {"dataset": "digits"}, {"root": "data"}, [])
    pool = ran("pretrain", {"dataset": "digits", "arch": "convnet-3"}, {"epochs": 20}, [data])
    stored = ran("distill", NAMES, {"iterations": 100}, [data, pool])
    tested: dict[str, Any] = {**NAMES, "arch": "convnet-3"}
    ran("evaluate", tested, {"networks": 2, "epochs": 5}, [stored])
    ran("distill", NAMES, {"iterations": 7}, [data, pool])
    ran("continual", tested | {"protocol": "dm"}, {"networks": 2}, [stored])
    shutil.move("results/toy", "moved")
    import_records(Path("moved"))
    found = {run.data.tags["stage"]: run.data.params for run in stage_runs()}
    names = {name: str(value) for name, value in tested.items()}
    assert found["evaluate"] == {**names, "networks": "2", "epochs": "5", "protocol": "released"}
    wanted = {**names, "networks": "2", "protocol": "dm", "distill.iterations": "7", "pretrain.epochs": "20"}
    assert found["continual"] == wanted
    assert found["distill"]["pretrain.epochs"] == "20"


CHILD = """
import os, signal, sys
from pathlib import Path
from ncfm.run import tracking
from ncfm.core.params import PrepareParams
from ncfm.run.record import recorded

tracking.PATIENCE = tracking.INTERVAL = 0.0
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
names = {"dataset": "digits"}
out = Path("results/toy/card.json")
with recorded(PrepareParams(dataset="digits"), out, names, []) as record:
    for step in range(int(sys.argv[2])):
        record.log(step, {"loss": 1 / (step + 1)})
    record.run.wait()
    if sys.argv[1] != "0":
        os.kill(os.getpid(), int(sys.argv[1]))
    record.finish([], {})
"""


@pytest.mark.usefixtures("store")
def test_a_killed_stage_says_so_and_its_next_attempt_continues_the_same_run() -> None:
    def attempt(signal_number: int, steps: int) -> tuple[str, list[tuple[int, float]]]:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", CHILD, str(signal_number), str(steps)], env=environment, check=False)
        (run,) = stage_runs()
        return run.info.status, history(run)

    assert attempt(9, 2) == ("RUNNING", LOSSES[:2])
    assert attempt(15, 3) == ("KILLED", LOSSES[:3])
    assert attempt(0, 4) == ("FINISHED", LOSSES)


@pytest.mark.usefixtures("store")
def test_a_stage_does_not_wait_for_a_slow_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store hangs until all steps were computed; nothing is lost by that."""
    computed, real = threading.Event(), tracking.Sender

    def slow(*arguments: Any) -> Any:
        assert computed.wait(60)
        return real(*arguments)

    monkeypatch.setattr(tracking, "Sender", slow)
    record = stage()
    computed.set()
    finish(record)
    (run,) = stage_runs()
    assert (run.info.status, history(run)) == ("FINISHED", LOSSES)


@pytest.mark.usefixtures("store")
def test_a_failed_stage_says_so() -> None:
    stage(steps=1).run.fail("FAILED")
    assert [run.info.status for run in stage_runs()] == ["FAILED"]


@pytest.mark.usefixtures("store")
def test_a_finished_run_whose_repetition_fails_stands_no_longer() -> None:
    for end, expected in (
        (finish, ("FINISHED", "true")),
        (lambda record: record.run.fail("FAILED"), ("FAILED", "false")),
        (finish, ("FINISHED", "true")),
    ):
        end(stage())
        (run,) = stage_runs()
        assert (run.info.status, run.data.tags["ncfm.current"]) == expected


@pytest.mark.usefixtures("store")
def test_a_finished_stage_that_runs_again_is_not_doubled() -> None:
    finish(stage())
    finish(stage())
    (run,) = stage_runs()
    assert (run.info.status, history(run)) == ("FINISHED", LOSSES)


def write_one_run(folder: str, number: int) -> None:
    """What each of the processes does that start together."""
    os.chdir(folder)
    record = read_json("template.json")
    record["key"] = f"key{number}"
    record["names"]["seed"] = number
    tracking.PATIENCE = tracking.INTERVAL = 0.0
    run = tracking.Run(record, Path("nowhere.record.json"))
    for step in range(20):
        run.log(step, {"loss": 1 / (step + 1), "rate": 0.5})
    run.log(20, {"network": 0, "epoch": 20, "test_accuracy": 50.0 + number})
    run.finish(record)


def test_eight_processes_on_a_fresh_store_lose_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    record = stage(False, names=NAMES | {"arch": "convnet-3"}, name="evaluate")
    finish(record)
    write_json("template.json", read_json(record.path) | {"metrics": {"accuracy": 0.5}, "history": "none"})
    record.path.unlink()
    context = multiprocessing.get_context("forkserver")  # mlflow is imported once, so they meet the store together
    context.set_forkserver_preload(["mlflow.store.tracking.sqlalchemy_store", __name__])
    writers = [context.Process(target=write_one_run, args=(str(folder), number)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    assert capfd.readouterr().err == ""
    runs = stage_runs()
    assert sorted(run.data.tags["seed"] for run in runs) == [str(number) for number in range(8)]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all([step for step, _ in history(run, "rate")] == list(range(20)) for run in runs)
    assert len(all_runs()) == 9
    (cell,) = [run for run in all_runs() if "ncfm.group" in run.data.tags]
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {cell.info.run_id}
    shown = {"seconds": 8 * read_json("template.json")["seconds"], "test_accuracy.mean": 53.5, "test_accuracy.n": 8}
    assert cell.data.metrics == pytest.approx(shown | {"test_accuracy.std": 6**0.5, "sets": 8})


def test_without_mlflow_the_stage_works_and_its_record_is_sent_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mlflow", None)
        record = stage()
        record.save_history = lambda path: None  # type: ignore[method-assign]  # curves come from the record then
        finish(record)
        with pytest.raises(NcfmError, match="mlflow is not installed"):
            import_records(Path("results"))
    assert capsys.readouterr() == ("", "")
    assert not sending.FOLDER.exists()
    import_records(Path("results"))
    (run,) = stage_runs()
    assert history(run) == LOSSES


def test_tracking_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCFM_TRACKING", "off")
    finish(stage())
    assert not sending.FOLDER.exists()
    monkeypatch.setenv("NCFM_TRACKING", "0")
    with pytest.raises(NcfmError, match=r"^NCFM_TRACKING: is '0' \(allowed: on, late, off\)$"):
        stage()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("patience", [0.0, 1000.0])
def test_a_short_stage_can_leave_its_record_to_an_import(patience: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Snakemake asks for; a long one sends its own, and one that fails too, which leaves no record."""
    monkeypatch.setenv("NCFM_TRACKING", "late")
    monkeypatch.setattr(tracking, "PATIENCE", patience)
    finish(stage())
    assert len(stage_runs()) == (patience == 0.0)
    import_records(Path("results"))
    assert [run.info.status for run in stage_runs()] == ["FINISHED"]
    stage(names=NAMES | {"seed": 1}).run.fail("FAILED")
    assert sorted(run.info.status for run in stage_runs()) == ["FAILED", "FINISHED"]


def test_a_store_out_of_reach_costs_one_line_and_no_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    record = stage()
    finish(record)
    assert record.path.is_file()
    (line,) = capsys.readouterr().err.splitlines()
    later = "`ncfm track import` sends the record later"
    assert line == f"note: the MLflow store http://127.0.0.1:9 cannot be reached (Connection refused); {later}"
    with pytest.raises(NcfmError, match="cannot be reached") as found:
        import_records(Path("results"))
    assert str(found.value) == "the MLflow store http://127.0.0.1:9 cannot be reached (Connection refused)"


@pytest.mark.usefixtures("store")
def test_one_bad_record_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    finish(stage(False))
    write_text("results/a/a.record.json", "{")
    write_text("results/a/b.record.json", "{}")
    other = read_json(next(Path("results").rglob("distill.record.json")))
    write_json("results/a/c.record.json", other | {"key": "c", "started": "never"})
    with pytest.raises(
        NcfmError, match=r"^3 of 4 records could not be sent: results/a/a.record.json: not a rea"
    ) as found:
        import_records(Path("results"))
    assert "results/a/b.record.json: not a record of ncfm" in str(found.value)
    assert "results/a/c.record.json: Invalid isoformat string: 'never'" in str(found.value)
    assert capsys.readouterr().out == "records sent: 1, already there: 0, failed: 3\n"
    with pytest.raises(NcfmError, match="no such folder"):
        import_records(Path("elsewhere"))


def artifacts() -> dict[str, str]:
    """The run's artifacts but for the record, and their contents."""
    (run,) = stage_runs()
    folder = Path(unquote(run.info.artifact_uri.removeprefix("file://")))
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "record.json")
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


@pytest.mark.usefixtures("store")
def test_what_is_attached_lies_beside_the_record() -> None:
    """The folder that the record names has another run's files by now."""
    finish(stage(False))
    whole = {
        path.name: path.read_text(encoding="utf-8")
        for path in Path("results/toy/sets").rglob("*.[pc]*")
        if path.is_file()
    }
    shutil.move("results/toy/sets", "moved")
    other = stage(False, steps=2)
    finish(other)
    for path in (file for file in other.path.parent.rglob("*") if file.is_file()):
        path.write_text("another run's", encoding="utf-8")
    import_records(Path("moved"))
    assert {Path(name).name: text for name, text in artifacts().items()} == whole
    assert history(stage_runs()[0]) == LOSSES


@pytest.mark.usefixtures("store")
def test_files_in_folders_beside_the_record(folder: Path) -> None:
    """A report's record lies in one of its folders."""
    record = Record("report", Path("results/toy/tables/metrics.json"), {}, {}, [])
    outputs: list[str | Path] = [
        "results/toy/tables/metrics.json",
        "results/toy/figures/grid.svg",
        "results/toy/a.html",
    ]
    for path in outputs:
        write_text(path, str(path))
    record.finish(outputs, {})
    import_records(Path("results"))
    assert set(artifacts()) == {"tables/metrics.json", "figures/grid.svg", "a.html"}


@pytest.mark.usefixtures("store")
def test_a_file_that_is_not_the_recorded_one_is_left_out() -> None:
    record = stage(False)
    finish(record)
    write_text(record.path.with_name("history.csv"), "step,loss\n0,7\n")
    write_text(record.path.with_name("grid.png"), "another picture")
    import_records(Path("results"))
    assert artifacts() == {"tables/all.csv": "content"}
    assert "loss" not in {name for name in stage_runs()[0].data.metrics if history(stage_runs()[0], name) == [(0, 7.0)]}


@pytest.mark.usefixtures("store")
def test_what_is_published_is_imported_only_when_asked_for() -> None:
    finish(stage(False))
    shutil.move("results/toy", "results/published/toy")
    import_records(Path("results"))
    assert not stage_runs()
    import_records(Path("results/published"))
    assert len(stage_runs()) == 1


@pytest.mark.usefixtures("store")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(
        st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40
    )
)
@example("Anna's photos")
@example('"it\'s" `quoted`; DROP TABLE runs --')
@example("100% = a/b\\c")
def test_any_name_finds_its_run_again(name: str) -> None:
    record = {**TEMPLATE, "names": {**NAMES, "dataset": name}, "key": derived(name)}
    for _ in range(2):
        with sending.quiet():
            sending.Sender(sending.Store(), record, Path("nowhere")).complete(record, Path("nowhere"))
    experiment = client().get_experiment_by_name("toy").experiment_id
    runs = client().search_runs([experiment], max_results=1000)
    found = [run for run in runs if run.data.tags["dataset"] == name]
    assert sorted("ncfm.key" in run.data.tags for run in found) == [False, True]  # the cell's parent, and the run


TEMPLATE: dict[str, Any] = {
    **{"stage": "distill", "campaign": "toy", "params": {}, "inputs": {}, "metrics": {}, "seconds": 1.0},
    "started": "2026-01-01T00:00:00+00:00",
}


def derived(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def test_each_campaign_has_a_link_to_its_runs_and_a_description() -> None:
    finish(stage())
    (experiment,) = client().search_experiments()  # no empty `Default` beside it
    assert links("http://here") == {
        "toy": f"http://here/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    }
    assert "params/toy.yaml" in experiment.tags["mlflow.note.content"]


def test_a_page_leads_to_the_address_that_the_server_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(stage())
    capsys.readouterr()
    served: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: served.append(command))
    tracking.serve(5017)
    name, _, address = capsys.readouterr().out.strip().partition(": ")
    assert name == "toy" and address.startswith("http://127.0.0.1:5017/#/") and "5017" in served[0]
    assert f"url={address}" in Path("results/toy", page_links.runs("toy", Path("results/toy"))).read_text()


def test_a_campaigns_runs_are_opened_once_the_server_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > {shown}/$(date +%s%N)\n')
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(program))
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        command = [sys.executable, "-m", "ncfm.run.browser", f"http://127.0.0.1:{port}/#/runs", str(port)]
        with subprocess.Popen(command) as waiting:
            time.sleep(1)
            assert waiting.poll() is None and not list(shown.iterdir())  # nothing answers yet
            server.listen()
        (one,) = shown.iterdir()
    assert one.read_text() == f"http://127.0.0.1:{port}/#/runs\n"


def test_no_browser_is_looked_for_where_nobody_sits(monkeypatch: pytest.MonkeyPatch) -> None:
    finish(stage())
    monkeypatch.setenv("BROWSER", "false")
    monkeypatch.setattr(os, "execv", lambda *_: None)
    started: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", started.append)
    tracking.serve(5017, "toy")
    assert not started
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    tracking.serve(5017, "another")
    assert not started
    tracking.serve(5017, "toy")
    assert len(started) == 1


@pytest.mark.usefixtures("store")
def test_a_page_leads_to_its_runs_from_the_first_one_on(monkeypatch: pytest.MonkeyPatch) -> None:
    finish(stage())
    link = Path("results/toy", page_links.runs("toy", Path("results/toy"))).resolve()
    assert "while <code>make ui</code> serves them" in link.read_text()
    assert f"url={links('http://127.0.0.1:5000')['toy']}" in link.read_text()
    for name in ("toy/../../outside", "/outside", "elsewhere"):
        sending.write_link(name, "http://here")
    assert not list(Path.cwd().rglob("outside.html")) and len(list(sending.FOLDER.glob("*.html"))) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@runs.example/at/")
    assert sending.page_of(sending.address_of(), "3").startswith("https://runs.example/at/#/experiments/3/runs?")


def test_a_question_mark_in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = folder / "what? 100%#1"
    odd.mkdir()
    monkeypatch.chdir(odd)
    finish(stage())
    assert (odd / sending.FOLDER / "mlflow.db").is_file()
    assert [path.name for path in folder.iterdir()] == [odd.name]
    assert history(stage_runs()[0]) == LOSSES and "grid.png" in artifacts()


def evaluated(seed: int, accuracies: list[float], started: str = "2026-01-01T10:00", **more: Any) -> Record:
    """The finished record of an evaluation of a set, of several networks, that took ten seconds."""
    names = {**NAMES, "seed": seed, "arch": more.pop("arch", "convnet-3"), **more.pop("names", {})}
    out = Path("results/toy/evaluations", "-".join(map(str, names.values())), "tested.json")
    record = Record("evaluate", out, {"networks": len(accuracies), **more}, names, [])
    for network, accuracy in enumerate(accuracies):
        for epoch, looked in ((5, accuracy / 2), (10, accuracy)):
            record.log(10 * network + epoch, {"network": network, "epoch": epoch, "test_accuracy": looked})
    record.content |= {"started": f"{started}:00+00:00"}
    write_json(out, accuracies)
    record.finish([out], {"last": sum(accuracies) / len(accuracies), "best": max(accuracies)})
    write_json(record.path, record.content | {"seconds": 10.0})
    record.content["seconds"] = 10.0
    return record


def send(record: Record) -> None:
    """What a stage that sends its own record does at its end."""
    run = tracking.Run(record.content, record.path)
    run.finish(record.content)


def cell() -> Any:
    """The one run that groups others."""
    (run,) = [run for run in all_runs() if "ncfm.group" in run.data.tags]
    return run


def minute(run: Any) -> tuple[float, float]:
    """When a run began and ended, in seconds after ten o'clock."""
    ten = 1767261600
    return run.info.start_time / 1000 - ten, run.info.end_time / 1000 - ten


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("live", [True, False])
def test_the_run_of_a_cell_has_the_numbers_and_the_time_of_the_runs_that_stand(live: bool) -> None:
    """Also after a stage is repeated with other params, and where the first of them arrives last."""
    for record in (
        lambda: evaluated(1, [50.0, 54.0], "2026-01-01T10:02"),
        lambda: evaluated(2, [10.0, 20.0], "2026-01-01T10:01"),
        lambda: evaluated(2, [60.0, 64.0], "2026-01-01T10:03", epochs=10),
        lambda: evaluated(0, [40.0, 44.0], "2026-01-01T10:00"),
    ):
        made = record()
        if live:
            send(made)
        else:
            import_records(Path("results"))
    deviation = ((2**2 + 2**2 + 8**2 + 12**2 + 12**2 + 8**2) / 5) ** 0.5
    expected = {"seconds": 30.0, "test_accuracy.mean": 52.0, "test_accuracy.std": deviation, "test_accuracy.n": 6}
    assert cell().data.metrics == pytest.approx(expected | {"sets": 3})
    assert minute(cell()) == (0.0, 190.0)
    assert cell().data.params == {"dataset": "digits", "ipc": "1", "method": "paper"}
    standing_runs = {(run.data.tags["seed"], run.data.params.get("epochs")): run for run in stage_runs()}
    marked = {key: run.data.tags["ncfm.current"] for key, run in standing_runs.items()}
    assert marked == {("0", None): "true", ("1", None): "true", ("2", None): "false", ("2", "10"): "true"}
    assert {run.data.tags["mlflow.parentRunId"] for run in stage_runs()} == {cell().info.run_id}
    before = everything()
    import_records(Path("results"))
    assert everything() == before


@pytest.mark.usefixtures("store")
def test_results_that_come_back_stand_again() -> None:
    """As DVC brings them back from its cache when params are changed back; a copy elsewhere changes nothing."""
    first = evaluated(0, [40.0])
    text = first.path.read_text(encoding="utf-8")
    send(first)
    send(evaluated(0, [60.0], "2026-01-01T11:00", epochs=10))
    assert cell().data.metrics["test_accuracy.mean"] == 60.0
    shutil.copytree("results/toy", "copy")
    write_text(first.path, text)
    import_records(Path("results"))
    assert cell().data.metrics["test_accuracy.mean"] == 40.0
    import_records(Path("copy"))
    assert cell().data.metrics["test_accuracy.mean"] == 40.0
    shutil.rmtree("results/toy")
    import_records(Path("copy"))  # where nothing stands any more, the last run does
    assert cell().data.metrics["test_accuracy.mean"] == 60.0


@pytest.mark.usefixtures("store")
def test_a_cell_with_several_tests_has_the_numbers_of_each() -> None:
    send(evaluated(0, [30.0], arch="alexnet"))
    send(evaluated(0, [20.0], names={"protocol": "dm"}))
    send(evaluated(0, [40.0]))
    found = {name: value for name, value in cell().data.metrics.items() if name.startswith("test_accuracy.mean")}
    tests = {"convnet-3.released": 40.0, "alexnet.released": 30.0, "convnet-3.dm": 20.0}
    assert found == {"test_accuracy.mean": 40.0, **{f"test_accuracy.mean.{name}": tests[name] for name in tests}}


@pytest.mark.usefixtures("store")
def test_each_network_has_its_own_curve_and_every_run_the_same_names() -> None:
    send(evaluated(0, [40.0, 44.0]))
    (run,) = stage_runs()
    assert history(run, "test_accuracy.network0") == [(5, 20.0), (10, 40.0)]
    assert history(run, "test_accuracy.network1") == [(5, 22.0), (10, 44.0)]
    final = {"test_accuracy.last": 42.0, "test_accuracy.best": 44.0}
    assert final.items() <= run.data.metrics.items()
    assert not {"network", "epoch", "last", "best"} & set(run.data.metrics)


@pytest.mark.usefixtures("store")
def test_a_run_that_stands_on_several_sets_has_the_params_that_all_have_alike() -> None:
    tested = []
    for seed, alpha in enumerate((0.1, 0.5, 0.1)):
        stored = Path(f"results/toy/sets/{seed}/distilled.safetensors")
        record = Record("distill", stored, {"iterations": 9, "alpha": alpha}, {**NAMES, "seed": seed}, [])
        write_text(stored, str(seed))
        record.finish([stored], {})
        tested.append(stored)
    record = Record("report", Path("results/toy/metrics.json"), {}, {}, tested)
    record.finish([], {})
    send(record)
    assert stage_runs()[0].data.params == {"distill.iterations": "9"}


@pytest.mark.usefixtures("store")
def test_a_report_has_no_metric_of_a_cell() -> None:
    record = Record("report", Path("results/toy/tables/metrics.json"), {}, {}, [])
    record.finish([], {"digits/ipc1/paper/convnet-3/last": 90.0})
    send(record)
    assert set(stage_runs()[0].data.metrics) == {"seconds", "peak_process_gb"}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("setting", "size", "attached"), [(None, 9, True), (None, 10_000_000, False), ("off", 9, False)]
)
def test_a_small_set_is_attached(
    setting: str | None, size: int, attached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if setting:
        monkeypatch.setenv("NCFM_TRACKING_SETS", setting)
    place = Path("results/toy/sets/digits/ipc1/paper/seed0")
    record = Record("select", place / "distilled.safetensors", {}, NAMES, [])
    write_text(place / "distilled.safetensors", "x" * size)
    write_text(place / "checkpoint.safetensors", "x")
    record.finish([place / "distilled.safetensors", place / "checkpoint.safetensors"], {})
    send(record)
    assert set(artifacts()) == ({"distilled.safetensors"} if attached else set())


@pytest.mark.usefixtures("store")
def test_a_run_names_the_data_that_it_trains_on_and_tests_on() -> None:
    files = ("datasets/digits/test", "sets/digits/ipc1/paper/seed0/distilled", "extractors/digits/convnet-3")
    paths: list[str | Path] = [f"results/toy/{name}.safetensors" for name in files]
    for path in paths:
        write_text(path, str(path))
    record = Record("evaluate", Path("results/toy/x.json"), {}, {**NAMES, "arch": "convnet-3"}, paths)
    record.finish([], {})
    send(record)
    shown = {
        one.dataset.name: (one.dataset.digest, {tag.key: tag.value for tag in one.tags})
        for one in stage_runs()[0].inputs.dataset_inputs
    }
    digests = [digest[:36] for digest in record.content["inputs"].values()]
    assert shown == {
        "digits test": (digests[0], {"mlflow.data.context": "evaluation"}),
        "digits ipc1 paper seed0": (digests[1], {"mlflow.data.context": "training"}),
    }


@pytest.mark.usefixtures("store")
def test_a_fault_in_the_run_of_a_cell_stops_no_stage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(standing, "refresh", lambda *_: 1 / 0)
        send(evaluated(0, [40.0]))
        assert "`ncfm track import` sends the record later" in capsys.readouterr().err
    assert cell().data.metrics == {}
    import_records(Path("results"))
    assert cell().data.metrics["test_accuracy.mean"] == 40.0


@pytest.mark.usefixtures("store")
def test_what_an_earlier_version_sent_is_sent_again(capsys: pytest.CaptureFixture[str]) -> None:
    send(evaluated(0, [40.0]))
    client().set_tag(stage_runs()[0].info.run_id, "ncfm.cell", "as it was")
    for _ in range(2):
        import_records(Path("results"))
    lines = [line.partition(", failed")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["records sent: 1, already there: 0", "records sent: 0, already there: 1"]
