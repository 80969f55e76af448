"""Made-up campaigns whose report can be held to hand computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ncfm import cli
from ncfm.campaign import campaign
from ncfm.core.layout import record_file
from ncfm.core.store import save_tensors, write_json, write_text
from ncfm.report.collect import Collected, collect
from ncfm.report.files import ResultsFolder, read_contents
from ncfm.report.verdicts.reported import ReportedNumber
from ncfm.stages import table
from ncfm.stages.cells import Cell
from ncfm.stages.table import MAKERS, SET_FOLDER

REPOSITORY = Path(__file__).parent.parent
RESULTS = Path("results/made-up")
HARDWARE = {"cpu": "Made_up & Co 100%", "cores": 2, "threads": 2, "memory_gib": 8.0, "gpu": None}
DIGITS = """
architectures: [convnet-3]
datasets: {digits: {ipcs: [1]}}
methods: {paper: {seeds: [0, 1]}, random: {}}
"""
CIFAR = """
architectures: [convnet-3]
datasets: {cifar10: {ipcs: [10, 50]}}
methods: {paper: &three {seeds: [0, 1, 2]}, released: *three, random: *three, mmd: *three}
"""


def record_of(cell: Cell, seconds: float, params: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage": cell.stage,
        "names": cell.names,
        "params": params,
        "command": f"ncfm {cell.stage} --method {cell.names['method']} --seed {cell.names['seed']} '<&>'",
        "hardware": HARDWARE,
        "versions": {"torch": "2.13.0"},
        "seconds": seconds,
        "commit": "0123456789abcdef",
        "dirty": True,
        "outputs": {"results/made-up/made-up": "0" * 64},
    }


def make(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> campaign.Campaign:
    """Write a campaign, its params and a set and history for each of its sets below ``folder``, and go there."""
    write_text(folder / "params/made-up.yaml", text)
    write_text(folder / "params/base.yaml", (REPOSITORY / "params/base.yaml").read_text())
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NCFM_TRACKING", "off")
    chosen = campaign.load("made-up")
    campaign.write_params(chosen)
    for cell in chosen.cells_of(*MAKERS):
        ipc, seed = (int(cell.names[name]) for name in ("ipc", "seed"))
        images = torch.rand(10 * ipc, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
        labels = torch.arange(10).repeat_interleave(ipc)
        metadata = {"classes": 10, "label_names": [f"class {index}" for index in range(10)], "names": cell.names}
        output = table.output("made-up", cell)
        save_tensors(Path(output), {"images": images, "labels": labels}, metadata)
        write_json(Path(record_file(output)), record_of(cell, 10.0, chosen.params[cell].model_dump(mode="json")))
        if cell.stage == "distill":
            rows = [f"{step},{300 / (step + 1)},0.5,0.01" for step in range(30)]
            write_text(set_folder(cell) / "history.csv", "\n".join(["step,loss,calibration,learning_rate", *rows, ""]))
    return chosen


def set_folder(cell: Cell) -> Path:
    """Return the folder of a set."""
    return Path(table.place("made-up", cell, SET_FOLDER))


def evaluate(
    chosen: campaign.Campaign,
    cell: Cell,
    last: list[float],
    best: list[float],
    curves: list[list[float]] | None = None,
) -> Path:
    """Write the evaluation of a cell with the given accuracies, and those at each look if there are more."""
    output, curves = table.output("made-up", cell), curves or [[one] for one in last]
    networks = [
        {"network": index, "last": a, "best": b, "best_epoch": 1, "curve": [[1, look, 0.1] for look in curve]}
        for index, (a, b, curve) in enumerate(zip(last, best, curves, strict=True))
    ]
    params = chosen.params[cell].model_dump(mode="json")
    content = {"format": 1, "names": cell.names, "training_images": 40, "params": params, "networks": networks}
    write_json(Path(output), content)
    write_json(Path(record_file(output)), record_of(cell, 4.0, params))
    return Path(output)


def fill(chosen: campaign.Campaign, centres: dict[str, float]) -> None:
    """Write the evaluations of the methods named: ten networks around a centre, seeds 0.1 apart around it."""
    evaluated = chosen.cells_of("evaluate")
    for cell in evaluated:
        if (method := cell.names["method"]) in centres:
            middle = np.mean([one.names["seed"] for one in evaluated if one.names["method"] == method])
            centre = centres[str(method)] + 0.1 * (cell.names["seed"] - middle)
            values = list(centre + np.linspace(-0.5, 0.5, 10))
            evaluate(chosen, cell, values, values)


def run() -> int:
    return cli.main(["report", "--params", f"{RESULTS}/params/report.json", "--results", str(RESULTS)])


def read(name: str) -> str:
    return Path(RESULTS, name).read_text(encoding="utf-8")


def collected() -> Collected:
    [contents] = read_contents(RESULTS / "params/report.json")
    return collect(contents, ResultsFolder("made-up", RESULTS))


def reported(**changes: Any) -> ReportedNumber:
    """Return one reported number on CIFAR-10 at IPC 10: NCFM's of Table 5 with psi."""
    values = {"number": 1, "source": "NCFM Table 5", "artefact": "table5", "method": "NCFM", "dataset": "cifar10"}
    values |= {"ipc": "10", "arch": "ConvNet-3", "metric": "accuracy", "variant": "with psi", "psi": "with"}
    return ReportedNumber.model_validate({**values, "value": "68.9", **changes})
