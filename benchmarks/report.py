"""Write the paper's Table 3 and Figure 3 with our rows beside the reported ones, for each machine that was measured.

`python benchmarks/report.py` reads `results/<machine>/table3.json` (benchmarks/table3.py) and the reported numbers, and
writes `table3.csv`, `.md`, `.tex` and `figure3.png`, `.svg` beside it. Unless the machine is the paper's, a row is a
measurement of ours, not a verdict on the paper's seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from common import RESULTS
from matplotlib.figure import Figure

from ncfm.core.store import read_json, write_text, write_with
from ncfm.report.figures.panels import COLOURS, STYLE
from ncfm.report.verdicts.reported import REPORTED

MEASURES = {"speed_s_per_iter": "seconds", "gpu_mem_gb": "gigabytes"}
NAMES = {"cifar100": "CIFAR-100", "tinyimagenet": "Tiny ImageNet"}


def table3(measured: dict[str, Any]) -> pd.DataFrame:
    """Return the paper's rows and ours: one line per method and variant, columns by measure, data set and IPC."""
    reported = pd.read_csv(REPORTED)
    rows = reported[(reported["source"] == "NCFM Table 3") & reported["metric"].isin(list(MEASURES))]
    lines: dict[tuple[str, str], dict[tuple[str, str, int], str]] = {}
    for row in rows.itertuples():
        variant = "" if pd.isna(row.variant) else f" {row.variant}"
        line = lines.setdefault((f"{row.method}{variant}", str(row.hardware).removeprefix("1x ")), {})
        line[MEASURES[row.metric], NAMES[row.dataset], int(row.ipc)] = str(row.value)
    machine = measured["hardware"]["gpu"] or f"{measured['hardware']['cores']} cores, {measured['hardware']['cpu']}"
    for row in measured["rows"]:
        if (row["dataset"], row["ipc"]) in {("cifar100", 1), ("cifar100", 100)}:
            continue  # of Figure 3
        line = lines.setdefault((f"ours {row['variant']}", machine), {})
        for measure in MEASURES.values():
            whole = row["share_of_classes"] == 1 or measure == "seconds"
            line[measure, NAMES[row["dataset"]], row["ipc"]] = f"{row[measure]:.3g}" if whole else "not measured"
    table = pd.DataFrame.from_dict(lines, orient="index")
    table.index = pd.MultiIndex.from_tuples(table.index, names=["method", "hardware"])
    table.columns = [f"{measure}, {dataset} IPC {ipc}" for measure, dataset, ipc in table.columns]
    return table.fillna("").reset_index()


def markdown(table: pd.DataFrame, measured: dict[str, Any]) -> str:
    """Return the table as Markdown, with what was measured how."""
    lines = ["# Table 3: seconds per iteration and peak memory (GB)", ""]
    lines += ["| " + " | ".join(table.columns) + " |", "|" + " --- |" * len(table.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    hardware, share = measured["hardware"], min(row["share_of_classes"] for row in measured["rows"])
    machine = f"{hardware['cpu']}, {hardware['threads']} threads, GPU: {hardware['gpu'] or 'none'}"
    made = f"torch {measured['versions']['torch']}, commit {str(measured['commit'])[:7]}; {measured['settings']}"
    lines += ["", f"Ours: `{measured['command']}`, {machine}, {made}."]
    if share < 1:
        lines += [f"Tiny ImageNet: a share of {share} of the classes was run and the seconds scaled up."]
    return "\n".join(lines) + "\n"


def figure3(measured: dict[str, Any]) -> Figure:
    """Return seconds and memory against IPC on CIFAR-100: NCFM and DATM as reported, and ours."""
    reported = pd.read_csv(REPORTED)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    machine = measured["hardware"]["gpu"] or f"{measured['hardware']['cores']} CPU cores"
    for axes, (metric, measure) in zip(figure.subplots(1, 2), MEASURES.items(), strict=True):
        sources = ["NCFM Fig 3 (inset table)", "NCFM Fig 3 (label)"]
        found = reported[reported["source"].isin(sources) & (reported["metric"] == metric)]
        for colour, method in zip(COLOURS, ("DATM", "NCFM"), strict=False):
            line = found[found["method"] == method]
            place = f"{method}, reported ({line['hardware'].iloc[0]})"
            axes.plot(line["ipc"].astype(int), line["value"].astype(float), "o--", color=colour, label=place)
        ours = [row for row in measured["rows"] if row["dataset"] == "cifar100" and row["variant"] == "w/o psi"]
        ours.sort(key=lambda row: row["ipc"])
        axes.plot(
            [r["ipc"] for r in ours], [r[measure] for r in ours], "s-", color=COLOURS[2], label=f"ours ({machine})"
        )
        axes.set(xscale="log", yscale="log", xlabel="IPC, CIFAR-100")
        axes.set_ylabel("seconds per iteration" if measure == "seconds" else "peak memory, GB")
        axes.set_xticks([1, 10, 50, 100], ["1", "10", "50", "100"])
        axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)
    return figure


def write(folder: Path) -> None:
    """Write the table and the figure of one machine."""
    measured = read_json(folder / "table3.json")
    table = table3(measured)
    write_text(folder / "table3.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(folder / "table3.md", markdown(table, measured))
    write_text(folder / "table3.tex", table.to_latex(index=False, escape=True))
    with mpl.rc_context(STYLE):
        figure = figure3(measured)
        write_with(folder / "figure3.png", lambda stream: figure.savefig(stream, format="png", dpi=120))
        write_with(folder / "figure3.svg", lambda s: figure.savefig(s, format="svg", metadata={"Date": None}))
    print(folder / "table3.md")


def main() -> None:
    """Write them for every machine."""
    for path in sorted(RESULTS.glob("*/table3.json")):
        write(path.parent)


if __name__ == "__main__":
    main()
