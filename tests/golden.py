"""Golden numbers: what fixed tiny runs compute. `python tests/golden.py` writes tests/golden.json anew.

Speed must not change results. A change that is meant to change them writes the file anew and says so: the numbers of
pretraining are those of the plain engine of commit 94c6823, before anything was made fast; those of distillation are of
the batched step (November 2026), whose draws are others.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import helpers

from ncfm.core.store import load_tensors, read_json

FILE = Path(__file__).parent / "golden.json"
RECIPES = {
    "paper": {"frequencies": "mixture", "schedule": "cosine", "update": "joint"},
    "released": {
        "frequencies": "gaussian",
        "schedule": "plateau",
        "update": "per-class",
        "real_batches": "first",
        "shrink": "nearest",
    },
    "mmd": {"discrepancy": "mmd", "optimizer": "sgd", "learning_rate": 0.1},
    "mse": {"discrepancy": "mse", "schedule": "constant", "initialisation": "noise"},
}


def numbers(folder: Path) -> dict[str, list[float]]:
    """Run every stage that trains, on a tiny made data set, and return what it computed."""
    data = helpers.write_dataset(folder / "data")
    pool = helpers.run_pretrain(data, folder / "pool.safetensors", count_forgetting=False)
    with (folder / "pool.history.csv").open(newline="", encoding="utf-8") as stream:
        found = {"pretrain": [float(row["loss"]) for row in csv.DictReader(stream)]}
    found["pool"] = [float(value.double().square().sum()) for _, value in sorted(load_tensors(pool)[0].items())]
    # On images this small instance normalisation sees channels of a few equal values, where rounding decides.
    pool = helpers.run_pretrain(data, folder / "batch.safetensors", norm="batch")
    for name, recipe in RECIPES.items():
        stored = helpers.run_distill(data, pool, folder / name, **{"iterations": 3, "learning_rate": 0.002, **recipe})
        rows = helpers.rows_of(folder / name / "history.csv")
        found[f"{name} loss"] = [row["loss"] for row in rows]
        found[f"{name} calibration"] = [row["calibration"] for row in rows]
        images = load_tensors(stored)[0]["images"].double()
        found[f"{name} images"] = images.square().sum((1, 2, 3)).tolist()
    for optimizer in ("sgd", "adamw"):
        out = helpers.run_evaluate(data, folder / "paper/distilled.safetensors", folder / "e.json", optimizer=optimizer)
        found[f"evaluate {optimizer}"] = [look[2] for one in read_json(out)["networks"] for look in one["curve"]]
        (folder / "e.json").unlink()
    return found


if __name__ == "__main__":
    os.environ["NCFM_DEVICE"] = "cpu"
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps({name: [float(f"{v:.6g}") for v in values] for name, values in numbers(Path(folder)).items()})
    FILE.write_text(text.replace('], "', '],\n"') + "\n", encoding="utf-8")
