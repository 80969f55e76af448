"""What is published of a campaign: few small files, of which its page and tables are made again, byte for byte."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image
from report_helpers import DIGITS, REPOSITORY, RESULTS, fill, make, record_of, run

from ncfm import cli
from ncfm.core.layout import COMPACT, record_file
from ncfm.core.store import read_json, sha256, write_json, write_text
from ncfm.report.page import image, image_of
from ncfm.report.publish import PUBLISHED, main, publish, thinned
from ncfm.run import sending
from ncfm.run.tracking import import_records
from ncfm.stages import table

EVERYTHING = """
architectures: [convnet-3]
datasets: {cifar10: {ipcs: [10]}}
methods: {paper: {seeds: [0, 1]}, paper-curated: {}, released: {}, herding: {}, random: {}, whole: {}}
protocols: [released, dm]
report: {comparisons: [[paper, random]]}
continual: {steps: [2], methods: [random]}
anytime: {methods: [random]}
search: {methods: [random], depths: [3], widths: [8, 16], norms: [instance]}
"""
FOLDER = PUBLISHED / "made-up"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Report and publish a campaign that has a bit of everything; return the tables of its report."""
    chosen = make(tmp_path, monkeypatch, EVERYTHING)
    fill(chosen, {"paper": 68.8, "paper-curated": 70.0, "herding": 40.0, "random": 30.0})
    networks = [{"accuracies": [80.0, 41.5]}, {"accuracies": [82.0, 40.0]}]
    candidates = [{"arch": "convnet-3", "width": w, "norm": "instance", "accuracies": [w]} for w in (8, 16)]
    for cell in chosen.cells_of("continual", "anytime", "search"):
        points = [{"iteration": 0, "accuracies": [30.5]}]
        content = {"names": cell.names, "classes": [5, 10], "snapshots": points}
        content["networks"] = networks if cell.stage == "continual" else candidates
        output = table.output("made-up", cell)
        write_json(Path(output), content)
        write_json(Path(record_file(output)), record_of(cell, 4.0, chosen.params[cell].model_dump(mode="json")))
    write_text("README.md", "results/published/made-up/figures/paper.png, not-made-up/figures/accuracy.png\n")
    assert run() == 0 and main(["made-up"]) == 0
    return {path.name: path.read_bytes() for path in RESULTS.glob("tables/*") if ".record." not in path.name}


def report_again() -> int:
    return cli.main(["report", "--params", f"{FOLDER}/params.json", "--results", str(FOLDER)])


@pytest.mark.parametrize("name", ["", "..", "made-up/..", "/made-up", "made-up/params"])
def test_only_a_campaign_is_published_and_nothing_else_is_replaced(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for place in (".", "results", "results/made-up"):
        write_text(Path(place, "report.html"), "mine")
    before = sorted(Path().rglob("*"))
    assert main([name]) == 2
    assert capsys.readouterr().err == f"ncfm: {name!r} is no campaign (allowed: the name of a folder in results/)\n"
    assert sorted(Path().rglob("*")) == before


def test_page_and_tables_are_made_again_from_what_is_published(published):
    page = (FOLDER / "report.html").read_text()
    for name in published:
        (FOLDER / "tables" / name).unlink()
    shutil.rmtree(RESULTS)  # nothing of the full results is read
    assert report_again() == 0
    assert {name: (FOLDER / "tables" / name).read_bytes() for name in published} == published
    assert b"40.7500" in published["continual.csv"] and b"1.0000" in published["search.csv"]
    again = (FOLDER / "report.html").read_text()
    assert again.count("<img alt=") == page.count("<img alt=") == 8
    links = re.findall('class="file" href="([^"]*)"', page)
    assert "tables/results.csv" in links and all((FOLDER / link).is_file() for link in links)
    assert "distilled.safetensors" in page  # named, and linked where it is there
    assert image_of(FOLDER / "report.html", "grid") in page  # the picture of sets is the published one


def test_a_folder_without_tensors_or_page_has_no_picture_of_sets(published):
    (FOLDER / "report.html").unlink()
    assert report_again() == 0
    assert (FOLDER / "report.html").read_text().count("<img alt=") == 7


def test_few_files_are_published_and_records_say_what_ran(published):
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    tables = {f"tables/{name}" for name in published}
    assert files == {
        *COMPACT,
        *tables,
        "metrics.json",
        "report.html",
        "figures/paper.png",
    }  # the one that the README shows
    name = "sets/cifar10/ipc10/paper/seed0/distilled.record.json"
    record, full = read_json(FOLDER / "records.json")[name], read_json(RESULTS / name)
    kept = ("command", "hardware", "versions", "commit", "dirty", "seconds", "names", "outputs")
    assert {key: record[key] for key in kept} == {key: full[key] for key in kept} and "params" not in record
    params = read_json(FOLDER / "params.json")["params/distill/cifar10/ipc10/paper.json"]
    assert params == full["params"] == read_json(RESULTS / "params/distill/cifar10/ipc10/paper.json")
    assert record["params_sha256"] == sha256(RESULTS / "params/distill/cifar10/ipc10/paper.json")


@pytest.mark.parametrize(
    "page", sorted((REPOSITORY / PUBLISHED).glob("*/report.html")), ids=lambda page: str(page.parent.name)
)
def test_every_link_of_a_page_in_the_repository_leads_to_a_file(page):
    links = re.findall('href="([^"#:]+)"', page.read_text("utf-8"))
    assert links and not [link for link in links if not (page.parent / unquote(link)).is_file()]


def test_what_is_published_is_an_experiment_of_its_own(published, monkeypatch, capsys):
    """With the params and numbers that the campaign's own runs have; an import of all results leaves it out."""
    for name in ("NCFM_TRACKING", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    shutil.rmtree(RESULTS)
    import_records(Path("results"))
    assert "holds no record" in capsys.readouterr().out and not sending.FOLDER.exists()
    records = [name for name, facts in read_json(FOLDER / "records.json").items() if "stage" in facts]
    for sent, there in ((len(records), 0), (0, len(records))):
        import_records(FOLDER)
        assert capsys.readouterr().out == f"records sent: {sent}, already there: {there}, failed: 0\n"
    client = MlflowClient(sending.store_uri())
    [experiment] = client.search_experiments()
    assert experiment.name == "published/made-up"
    runs = {run.info.run_name: run.data for run in client.search_runs([experiment.experiment_id])}
    assert runs["cifar10 ipc10 paper"].metrics["test_accuracy.mean"] == pytest.approx(68.8)
    assert runs["cifar10 ipc10 paper"].metrics["test_accuracy.n"] == 20
    for stage, name, value in (("continual", "last", 40.75), ("anytime", "last", 30.5), ("search", "mean", 12.0)):
        found = [run.metrics[f"test_accuracy.{name}"] for title, run in runs.items() if title.startswith(f"{stage} ")]
        assert found and set(found) == {value}
    one, params = runs["evaluate cifar10 ipc10 paper seed0 convnet-3"], read_json(FOLDER / "params.json")
    assert one.params["distill.iterations"] == str(params["params/distill/cifar10/ipc10/paper.json"]["iterations"])
    assert one.params["epochs"] == str(params["params/evaluate/cifar10/ipc10/paper/convnet-3.json"]["epochs"])
    [run] = client.search_runs([experiment.experiment_id], "tags.mlflow.runName = 'distill cifar10 ipc10 paper seed0'")
    assert [point.value for point in client.get_metric_history(run.info.run_id, "loss")][:2] == [300.0, 150.0]


def test_empty_tables_are_not_published(tmp_path, monkeypatch):
    fill(make(tmp_path, monkeypatch, DIGITS), {"paper": 60.0})
    assert run() == 0 and main(["made-up"]) == 0
    published = {path.stem for path in FOLDER.glob("tables/*")}
    assert published == {"results", "times", "verdicts"}


def test_publishing_what_is_published_changes_nothing(published):
    before = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    publish(FOLDER, FOLDER)
    assert {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()} == before


def test_a_campaign_without_a_report_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["made-up"]) == 2
    expected = "ncfm: results/made-up: has no report.html; run the campaign, or `ncfm report`, first\n"
    assert capsys.readouterr().err == expected


def test_a_long_history_keeps_what_figures_and_verdicts_read():
    history = pd.DataFrame({"step": range(1, 20001), "loss": 1.0})
    steps = set(thinned(history, {1, 777, 10000})["step"])
    assert {*range(1, 11), 777, 10000} <= steps and 500 <= len(steps) <= 520
    assert len(thinned(history.head(300), set())) == 300


def test_a_picture_too_tall_for_webp_stays_a_png(tmp_path):
    for height, kind in ((100, "webp"), (16384, "png")):
        Image.new("RGB", (8, height), "white").save(tmp_path / "grid.png")
        assert f'width="8" src="data:image/{kind};base64,' in image(tmp_path / "grid.png", "grid")
