"""Where every reported number stands over all published campaigns."""

from pathlib import Path

import pandas as pd
import pytest

from ncfm.core.errors import DataError
from ncfm.core.layout import COMPACT
from ncfm.report.overview import campaign_line, overview, overview_markdown, write_overview
from ncfm.report.verdicts.reported import read_reported
from ncfm.report.verdicts.table import COLUMNS, COSTS

PUBLISHED = Path(__file__).parent.parent / "results/published"
FILES = ("verdicts.csv", "verdicts.md", "campaigns.md")


def verdicts(*lines: tuple[int, str, str | None]) -> pd.DataFrame:
    """Return a table of verdicts: of each line the number, the verdict and the method."""
    texts = dict.fromkeys(COLUMNS, "") | {"source": "NCFM Table 5", "metric": "accuracy", "reported": "60.0"}
    numbers = {
        name: float("nan") for name in (*COSTS, "reported_std", "difference", "n", "interval_low", "interval_high")
    }
    ours = {"last": 59.0, "best": 60.0, "ours": 60.0}
    names = ("number", "verdict", "method")
    return pd.DataFrame([{**texts, **numbers, **ours, **dict(zip(names, line, strict=True))} for line in lines])


def test_the_nearest_protocol_counts_and_no_campaign_hides_another():
    campaigns = {
        "small": verdicts((1, "protocol differs", "paper"), (2, "not run", None), (3, "checked by arithmetic", None)),
        "fast": verdicts((1, "reached at a smaller budget", "fast"), (2, "not run", None), (4, "inconclusive", "fast")),
        "slow": verdicts(
            (1, "not reached at this budget", "slow"), (3, "checked by arithmetic", None), (4, "below", "slow")
        ),
    }
    table = overview(campaigns)
    assert table[["number", "verdict", "campaign"]].to_numpy().tolist() == [
        [1, "reached at a smaller budget", "fast"],
        [1, "not reached at this budget", "slow"],
        [2, "not run", "small"],
        [3, "checked by arithmetic", "small"],
        [4, "below", "slow"],
    ]
    text = overview_markdown(table)
    assert "in full or at another budget: 2 numbers" in text and "[slow](slow/tables/verdicts.md)" in text
    accuracies = next(line for line in text.splitlines() if line.startswith("| accuracies"))
    assert [cell.strip() for cell in accuracies.split("|")][2:-1] == ["1", "1", "1", "1", "4"]  # a number once each


def test_a_line_of_a_campaign_adds_up_its_records():
    machine = {"hardware": {"cpu": "EPYC", "cores": 2, "gpu": None}, "versions": {"torch": "2.13.0"}, "dirty": False}
    content = {
        "params/report.json": {"title": "a title"},
        "sets/a.record.json": {**machine, "stage": "distill", "seconds": 40, "commit": "a" * 40},
        "sets/b.record.json": {**machine, "stage": "select", "seconds": 1, "commit": "b" * 40},
        "evaluations/a.json": {"networks": [{}, {}, {}]},
        "evaluations/a.record.json": {**machine, "stage": "evaluate", "seconds": 20, "commit": "b" * 40, "dirty": True},
    }
    line = campaign_line("one", content)
    assert line["campaign"] == "[one](one/tables/results.md)" and line["of"] == "[a title](../../params/one.yaml)"
    assert (line["sets"], line["networks"], line["time"], line["on"]) == (2, 3, "61 s", "EPYC, 2 cores")
    assert line["commits"] == "aaaaaaa, bbbbbbb, bbbbbbb+"


def test_the_committed_overview_is_of_what_is_published(tmp_path):
    for path in (path for name in ("tables/verdicts.csv", *COMPACT) for path in PUBLISHED.glob(f"*/{name}")):
        target = tmp_path / path.relative_to(PUBLISHED)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    write_overview(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (PUBLISHED / name).read_bytes(), "run `python -m ncfm.report.publish`"
    table = pd.read_csv(tmp_path / "verdicts.csv")
    assert set(table["number"]) == {number.number for number in read_reported()}


def test_a_table_of_another_version_is_one_line(tmp_path):
    (tmp_path / "old/tables").mkdir(parents=True)
    (tmp_path / "old/tables/verdicts.csv").write_text("number,verdict\n1,below\n")
    with pytest.raises(DataError, match=r"old/tables/verdicts.csv: has other columns .* run `ncfm report`"):
        write_overview(tmp_path)
