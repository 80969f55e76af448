"""MLflow: what arrives in a real store, that nothing arrives twice, and that nothing about it can fail a stage."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from ncfm.core.errors import NcfmError
from ncfm.core.store import read_json, write_json, write_text
from ncfm.run import sending, tracking
from ncfm.run.record import Record

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
        MlflowClient(tracking.store_uri()).search_experiments()
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
    return MlflowClient(tracking.store_uri())


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
    tracking.import_records(Path("results"))
    before = everything()
    tracking.import_records(Path("results"))
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
    tags |= {f"input.{path}": digest for path, digest in content["inputs"].items()}
    tags |= {"commit": content["commit"]} if content["commit"] else {}
    assert tags.items() <= run.data.tags.items()
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, [tag.value for tag in used.tags]) == ("train", ["training"])
    assert used.dataset.digest == next(iter(content["inputs"].values()))[:36]
    assert run.data.tags["mlflow.source.name"] == "ncfm distill" and run.data.tags["ncfm.current"] == "true"
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
    tracking.import_records(Path("results"))
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
    tracking.import_records(Path("moved"))
    found = {run.data.tags["stage"]: run.data.params for run in stage_runs()}
    names = {name: str(value) for name, value in tested.items()}
    assert found["evaluate"] == {**names, "networks": "2", "epochs": "5", "protocol": "released"}
    wanted = {**names, "networks": "2", "protocol": "dm", "distill.iterations": "7", "pretrain.epochs": "20"}
    assert found["continual"] == wanted
    assert found["distill"]["pretrain.epochs"] == "20"


def evaluated(seed: int, last: float, epochs: int = 2, arch: str = "convnet-3", protocol: str | None = None) -> None:
    """An evaluation of two networks, whose accuracies are ``last`` and one more."""
    names = {**NAMES, "seed": seed, "arch": arch, **({"protocol": protocol} if protocol else {})}
    out = Path(f"results/toy/evaluations/seed{seed}/{arch}.{protocol}.json")
    record = Record("evaluate", out, {"networks": 2, "epochs": epochs}, names, [])
    record.run = tracking.Run(record.content, record.path)
    for network in range(2):
        for epoch in range(1, epochs + 1):
            values = {"network": network, "epoch": epoch, "test_accuracy": last + network}
            record.log(network * epochs + epoch, values)
    write_text(out, "tested")
    record.finish([out], {"last": last + 0.5, "best": last + 1})


@pytest.mark.usefixtures("store")
def test_a_cell_has_the_mean_of_its_sets_as_they_stand() -> None:
    for seed, last in ((0, 60.0), (1, 62.0), (2, 70.0)):
        evaluated(seed, last)
    evaluated(2, 64.0, epochs=3)  # takes the place of the one before
    evaluated(0, 10.0, arch="vgg-11")  # tested fewer sets
    evaluated(0, 5.0, protocol="dm")
    (parent,) = [run for run in all_runs() if "ncfm.group" in run.data.tags]
    shown = {name: parent.data.metrics[name] for name in ("sets", "last.mean", "last.deviation", "best.mean")}
    assert shown == {"sets": 3, "last.mean": 62.5, "last.deviation": 2, "best.mean": 63}
    children = [run for run in stage_runs() if run.data.tags["mlflow.parentRunId"] == parent.info.run_id]
    current = [run for run in children if run.data.tags["ncfm.current"] == "true"]
    assert (len(children), len(current)) == (6, 5)
    assert parent.data.metrics["seconds"] == pytest.approx(sum(run.data.metrics["seconds"] for run in current))
    assert parent.info.end_time == max(run.info.end_time for run in children)


@pytest.mark.usefixtures("store")
def test_each_network_has_its_own_curve_over_epochs() -> None:
    evaluated(0, 60.0)
    (run,) = stage_runs()
    assert history(run, "test_accuracy/network0") == [(1, 60.0), (2, 60.0)]
    assert history(run, "test_accuracy/network1") == [(1, 61.0), (2, 61.0)]
    assert run.data.metrics.keys() >= {"last", "best"} and "epoch" not in run.data.metrics


@pytest.mark.usefixtures("store")
def test_the_run_of_a_report_has_no_metric_for_each_cell() -> None:
    record = stage(steps=0, names={}, name="report")
    record.finish([], {"digits/ipc1/paper/last": 60.0, "cells": 4.0})
    (run,) = stage_runs()
    assert run.data.metrics["cells"] == 4 and not [name for name in run.data.metrics if "ipc1" in name]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("wanted", [True, False])
def test_a_set_is_an_artifact_unless_it_is_not_wanted(wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCFM_TRACKING_SETS", "on" if wanted else "off")
    record = stage(steps=0)
    stored = record.path.with_name("distilled.safetensors")
    write_text(stored, "images")
    record.finish([stored], {})
    (run,) = stage_runs()
    found = [file.path for file in client().list_artifacts(run.info.run_id)]
    assert ("distilled.safetensors" in found) is wanted


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
def test_a_failed_stage_says_so() -> None:
    stage(steps=1).run.fail("FAILED")
    assert [run.info.status for run in stage_runs()] == ["FAILED"]


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
    run.finish(record)


def test_eight_processes_on_a_fresh_store_lose_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    record = stage(False)
    finish(record)
    write_json("template.json", read_json(record.path) | {"metrics": {"accuracy": 0.5}, "history": "none"})
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
    assert len({run.data.tags["mlflow.parentRunId"] for run in runs}) == 1
    assert len(all_runs()) == 9


def test_without_mlflow_the_stage_works_and_its_record_is_sent_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mlflow", None)
        record = stage()
        record.save_history = lambda path: None  # type: ignore[method-assign]  # curves come from the record then
        finish(record)
        with pytest.raises(NcfmError, match="mlflow is not installed"):
            tracking.import_records(Path("results"))
    assert capsys.readouterr() == ("", "")
    assert not sending.FOLDER.exists()
    tracking.import_records(Path("results"))
    (run,) = stage_runs()
    assert history(run) == LOSSES


def test_tracking_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCFM_TRACKING", "off")
    finish(stage())
    assert not sending.FOLDER.exists()


def test_a_store_out_of_reach_costs_one_line_and_no_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    record = stage()
    finish(record)
    assert record.path.is_file()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ncfm: the MLflow store http://127.0.0.1:9 cannot be reached (")
    assert "secret" not in line
    with pytest.raises(NcfmError, match="cannot be reached") as found:
        tracking.import_records(Path("results"))
    assert "secret" not in str(found.value)


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
        tracking.import_records(Path("results"))
    assert "results/a/b.record.json: not a record of ncfm" in str(found.value)
    assert "results/a/c.record.json: Invalid isoformat string: 'never'" in str(found.value)
    assert capsys.readouterr().out == "records sent: 1, already there: 0, failed: 3\n"
    with pytest.raises(NcfmError, match="no such folder"):
        tracking.import_records(Path("elsewhere"))


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
    tracking.import_records(Path("moved"))
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
    tracking.import_records(Path("results"))
    assert set(artifacts()) == {"tables/metrics.json", "figures/grid.svg", "a.html"}


@pytest.mark.usefixtures("store")
def test_a_file_that_is_not_the_recorded_one_is_left_out() -> None:
    record = stage(False)
    finish(record)
    write_text(record.path.with_name("history.csv"), "step,loss\n0,7\n")
    write_text(record.path.with_name("grid.png"), "another picture")
    tracking.import_records(Path("results"))
    assert artifacts() == {"tables/all.csv": "content"}
    assert "loss" not in {name for name in stage_runs()[0].data.metrics if history(stage_runs()[0], name) == [(0, 7.0)]}


@pytest.mark.usefixtures("store")
def test_what_is_published_is_imported_only_when_asked_for() -> None:
    finish(stage(False))
    shutil.move("results/toy", "results/published/toy")
    tracking.import_records(Path("results"))
    assert not stage_runs()
    tracking.import_records(Path("results/published"))
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
        with tracking.quiet():
            tracking.Sender(tracking.Store(), record, Path("nowhere")).complete(record, Path("nowhere"))
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
    assert tracking.links("http://here") == {
        "toy": f"http://here/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    }
    assert "params/toy.yaml" in experiment.tags["mlflow.note.content"]


def test_a_question_mark_in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = folder / "what? 100%#1"
    odd.mkdir()
    monkeypatch.chdir(odd)
    finish(stage())
    assert (odd / sending.FOLDER / "mlflow.db").is_file()
    assert [path.name for path in folder.iterdir()] == [odd.name]
    assert history(stage_runs()[0]) == LOSSES and "grid.png" in artifacts()
