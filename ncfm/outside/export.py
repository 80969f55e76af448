"""Write a set for other programs: torch, npz, folders of PNG files, or Parquet as the library `datasets` reads it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ncfm.core.errors import StorageError
from ncfm.core.store import check_not_read, json_text, storage_errors, write_text, write_with
from ncfm.method.distilled import DistilledSet, in_bytes, load
from ncfm.outside.foreign import FACTS, parquet_library


def export_set(path: str | Path, form: str, stored: bool, out: Path) -> str:
    """Write a set as `pt`, `png`, `npz` or `parquet`: its training images, or the stored ones, of tiles.

    ``path`` may be the name of a set that ships (:func:`ncfm.load`). ``out`` is the file, or for ``png`` the folder,
    which must be new or empty. Returns a line that says what was written. Raises :class:`DataError` for a set that is
    missing or torn, and :class:`StorageError` where ``out`` cannot be written.
    """
    check_not_read(out, [path])
    data = load(path)
    images = data.stored if stored else data.pixels
    labels = data.labels[: len(images)]
    facts = facts_of_set(data, stored)
    if data.soft_labels is not None and (stored or form in ("png", "parquet")):  # one class per image
        print(f"export: {path} has soft labels, which are left out; {out} holds each image's class", file=sys.stderr)
    if form in ("png", "parquet") and (outside := int(((images < 0) | (images > 1)).sum())):
        print(f"export: {outside} pixels lie outside [0, 1] and are clipped by 8-bit images", file=sys.stderr)
    soft = data.soft_labels if not stored else None
    if form == "png":
        _write_png(images, labels, data.label_names, facts, out)
    elif form == "npz":
        arrays = {"images": images.numpy(), "labels": (labels if soft is None else soft).numpy()}
        arrays |= {} if soft is None else {"classes": labels.numpy()}
        arrays["facts"] = np.array(json.dumps(facts))
        write_with(out, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]  # its option allow_pickle
    elif form == "parquet":
        _write_parquet(images, labels, facts, out)
    else:  # copied, because torch.save keeps the whole storage behind a view
        pair = [images.contiguous().clone(), (labels if soft is None else soft).clone()]
        classes = {} if soft is None else {"classes": labels.clone()}
        authors = stored and data.factor == 2  # a bare pair is read as theirs, of 2 x 2 tiles
        content: Any = pair if authors else {"images": pair[0], "labels": pair[1], **classes, **facts}
        write_with(out, lambda stream: torch.save(content, stream))
    what = f"stored images of {data.factor} x {data.factor} tiles" if stored and data.factor > 1 else "training images"
    shape = " x ".join(map(str, images.shape[1:]))
    return f"{out}: {len(images)} {what}, {shape}, {data.classes} classes of {data.dataset} ({form})"


def facts_of_set(data: DistilledSet, stored: bool) -> dict[str, Any]:
    """Return what a file of images and labels alone does not say: where they are from and how to read them."""
    facts = {"dataset": data.dataset, "label_names": list(data.label_names), **data.normalisation.facts}
    return {**facts, "factor": data.factor if stored else 1, "origin": dict(data.names)}


def _pictures(images: Tensor) -> list[Image.Image]:
    pixels = in_bytes(images.clamp(0, 1)).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(one.squeeze(2) if one.shape[2] == 1 else one) for one in pixels]


def _write_png(images: Tensor, labels: Tensor, label_names: Sequence[str], facts: dict[str, Any], out: Path) -> None:
    with storage_errors(out):
        if out.is_dir() and any(out.iterdir()):
            raise StorageError(f"{out}: is not empty; name a new folder, so that other images do not mix in")
    pictures, numbers = _pictures(images), labels.tolist()
    for label, name in enumerate(class_folders(label_names)):
        rows = [row for row, number in enumerate(numbers) if number == label]
        digits = len(str(len(rows) - 1))
        for number, row in enumerate(rows):
            save: Callable[..., None] = partial(pictures[row].save, format="PNG")
            write_with(out / name / f"{number:0{digits}d}.png", save)
    write_text(out / FACTS, json_text(facts))


def _write_parquet(images: Tensor, labels: Tensor, facts: dict[str, Any], out: Path) -> None:
    """Write the columns ``image`` (PNG) and ``label``, with the features that `datasets.load_dataset` looks for."""
    pa, parquet = parquet_library("--format parquet")
    encoded = []
    for picture in _pictures(images):
        stream = io.BytesIO()
        picture.save(stream, format="PNG")
        encoded.append({"bytes": stream.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(encoded, kind), "label": pa.array(labels.tolist(), pa.int64())})
    features = {"image": {"_type": "Image"}, "label": {"names": facts["label_names"], "_type": "ClassLabel"}}
    known = {"huggingface": json.dumps({"info": {"features": features}}), "ncfm": json.dumps(facts)}
    write_with(out, lambda stream: parquet.write_table(table.replace_schema_metadata(known), stream))


def class_folders(label_names: Sequence[str]) -> list[str]:
    """Return a folder name per class, whose alphabetical order is that of the labels: other programs number them so.

    Where the names alone would give another order, or the same folder twice, each is preceded by its label.
    """
    names = [name.replace("/", "_") for name in label_names]
    if names == sorted(set(names)) and not any(name.startswith(".") for name in names):
        return names
    digits = len(str(len(names) - 1))
    return [f"{label:0{digits}d}-{name}" for label, name in enumerate(names)]
