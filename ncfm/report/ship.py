"""Ship results: copy a pool of extractors, or distilled sets, to `results/shipped/`, where all campaigns find them.

`python -m ncfm.report.ship FILE ...` (`make ship FILES=...`); FILE is a pool that `ncfm pretrain` wrote with
`kept: float16`, or a `distilled.safetensors` that `ncfm distill` wrote with `kept: uint8`, with its record beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from ncfm.core.errors import FAULT, DataError, NcfmError
from ncfm.core.layout import SPLIT_FILES, record_file, title
from ncfm.core.store import load_tensors, read_json, save_tensors, sha256, write_json
from ncfm.method import shipped
from ncfm.report.publish import facts


def ship(source: Path) -> Path:
    """Ship a pool or a set; return its file. Raises :class:`DataError` for anything else, or one kept too large."""
    record = read_json(Path(record_file(PurePosixPath(source))))
    if record["stage"] == "pretrain":
        return _ship_extractors(source, record)
    if record["stage"] == "distill":
        return _ship_set(source, record)
    raise DataError(f"{source}: was made by the stage {record['stage']} (allowed: pretrain, distill)")


def _ship_extractors(source: Path, record: dict[str, Any]) -> Path:
    """Write the trained weights of a pool as float16, which they were rounded to."""
    _check_kept(source, record, "float16")
    tensors, pool = load_tensors(source)
    history = pd.read_csv(source.with_name(f"{source.stem}.history.csv"))
    histories = {
        str(member): [row.dropna().to_dict() for _, row in rows.drop(columns="step").astype(object).iterrows()]
        for member, rows in history.groupby("network")
    }
    trained = {
        name.replace(".trained.", "."): value.half() if value.is_floating_point() else value
        for name, value in tensors.items()
        if ".trained." in name
    }
    earlier = record.get("shipped", {}).get("made", [])  # members that were taken from what ships already
    others = sorted(set(range(int(pool["pool"]))) - {member for one in earlier for member in one["members"]})
    made = [*earlier, *([{"members": others, **facts(record)}] if others else [])]
    params = {name: value for name, value in record["params"].items() if name != "pool"}
    data = next(digest for path, digest in record["inputs"].items() if path.endswith(SPLIT_FILES["train"]))
    target = shipped.SHIPPED / "extractors" / f"{pool['dataset']}-{pool['arch']}.safetensors"
    save_tensors(target, dict(sorted(trained.items())), {})
    note = {"dataset": pool["dataset"], "params": params, "data": data, "made": made, "histories": histories}
    return _noted(target, note)


def _ship_set(source: Path, record: dict[str, Any]) -> Path:
    """Write a set without its snapshots."""
    _check_kept(source, record, "uint8")
    tensors, known = load_tensors(source)
    names = record["names"]
    target = shipped.SHIPPED / "sets" / f"{title({**names, 'seed': None}, '-')}.safetensors"
    tensors.pop("snapshots", None)
    save_tensors(target, tensors, {name: value for name, value in known.items() if name != "snapshots"})
    return _noted(target, {"names": names, "params": record["params"], "made": [facts(record)]})


def _check_kept(source: Path, record: dict[str, Any], kept: str) -> None:
    if record["params"].get("kept") != kept:
        raise DataError(f"{source}: was made with kept: {record['params'].get('kept')} (what ships has {kept})")


def _noted(target: Path, note: dict[str, Any]) -> Path:
    write_json(target.with_suffix(".json"), {"sha256": sha256(target), **note})
    return target


def main(arguments: list[str]) -> int:
    """Ship the files named; return the exit status."""
    try:
        for source in arguments:
            print(ship(Path(source)))
    except NcfmError as error:
        print(f"{FAULT}{error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
