"""Small files in the real layout of every data set, written by the tests: what a user would have on disk."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from ncfm.core.torchvision_shim import torchvision
from ncfm.datasets.catalogue import CATALOGUE, facts_of
from ncfm.datasets.imagenet_classes import IMAGENET_CLASSES

PER_CLASS = {"train": 3, "test": 2}
Arrays = dict[str, tuple[np.ndarray, np.ndarray]]  # by split: images (N, C, H, W), labels (N,)
TINY = "tiny-imagenet-200"


def small(name: str, monkeypatch) -> None:
    """Let the catalogue say that every class has PER_CLASS images, and state no content."""
    facts = facts_of(name)
    sizes = {split: (range(count, count + 1),) * facts.classes for split, count in PER_CLASS.items()}
    monkeypatch.setitem(CATALOGUE.entries, name, dataclasses.replace(facts, sizes=sizes, content={}))


def arrays(name: str, side: int, channels: int) -> Arrays:
    """Return random images, the classes shuffled."""
    draw, made = np.random.default_rng(11), {}
    for split, count in PER_CLASS.items():
        labels = draw.permutation(np.repeat(np.arange(facts_of(name).classes), count))
        made[split] = (draw.integers(0, 256, (len(labels), channels, side, side), dtype=np.uint8), labels)
    return made


def cifar(name: str, root: Path, monkeypatch) -> Arrays:
    kind = getattr(torchvision.datasets, name.upper())
    made, files = arrays(name, 32, 3), {}
    key = "fine_labels" if name == "cifar100" else "labels"
    for split, listed in (("train", kind.train_list), ("test", kind.test_list)):
        images, labels = made[split]
        for (file, _), rows in zip(listed, np.array_split(np.arange(len(labels)), len(listed)), strict=True):
            values = {"data": images[rows].reshape(len(rows), -1), key: labels[rows].tolist()}
            files[file] = pickle.dumps(values, protocol=2)
    files[kind.meta["filename"]] = pickle.dumps({kind.meta["key"]: list(facts_of(name).label_names)}, protocol=2)
    md5 = {file: hashlib.md5(data).hexdigest() for file, data in files.items()}
    monkeypatch.setattr(kind, "train_list", [[file, md5[file]] for file, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [[file, md5[file]] for file, _ in kind.test_list])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5[kind.meta["filename"]]})
    write(root / kind.base_folder, files)
    return made


def serve_cifar(name: str, root: Path, served: Path, address: str, monkeypatch) -> None:
    kind = getattr(torchvision.datasets, name.upper())
    served.mkdir()
    with tarfile.open(served / kind.filename, "w:gz") as tar:
        tar.add(root / kind.base_folder, kind.base_folder)
    monkeypatch.setattr(kind, "url", f"{address}/{kind.filename}")
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5((served / kind.filename).read_bytes()).hexdigest())


MNIST = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}


def mnist(name: str, root: Path, monkeypatch) -> Arrays:
    made, files = arrays(name, 28, 1), {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = made[split]
        header = struct.pack(">4i", 0x803, len(images), 28, 28)
        files[f"{prefix}-images-idx3-ubyte"] = header + images.tobytes()
        files[f"{prefix}-labels-idx1-ubyte"] = struct.pack(">2i", 0x801, len(labels)) + labels.astype("u1").tobytes()
    write(root / MNIST[name] / "raw", files)
    border = ((0, 0), (0, 0), (2, 2), (2, 2))
    return {split: (np.pad(images, border), labels) for split, (images, labels) in made.items()}


def serve_mnist(name: str, root: Path, served: Path, address: str, monkeypatch) -> None:
    kind = getattr(torchvision.datasets, MNIST[name])
    files = {f"{path.name}.gz": gzip.compress(path.read_bytes()) for path in (root / MNIST[name] / "raw").iterdir()}
    write(served, files)
    monkeypatch.setattr(kind, "mirrors", [f"{address}/"])
    monkeypatch.setattr(kind, "resources", [(file, hashlib.md5(data).hexdigest()) for file, data in files.items()])


def svhn(name: str, root: Path, monkeypatch) -> Arrays:
    kind, made, listed = torchvision.datasets.SVHN, arrays(name, 32, 3), {}
    for split, (images, labels) in made.items():
        stream = io.BytesIO()
        # In the official files the digit 0 has the label 10.
        scipy.io.savemat(
            stream, {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None].astype("u1")}
        )
        url, file, _ = kind.split_list[split]
        write(root, {file: stream.getvalue()})
        listed[split] = [url, file, hashlib.md5(stream.getvalue()).hexdigest()]
    monkeypatch.setattr(kind, "split_list", listed)
    return made


def serve_svhn(name: str, root: Path, served: Path, address: str, monkeypatch) -> None:
    kind = torchvision.datasets.SVHN
    write(served, {path.name: path.read_bytes() for path in root.iterdir()})
    listed = {split: [f"{address}/{file}", file, md5] for split, (_, file, md5) in kind.split_list.items()}
    monkeypatch.setattr(kind, "split_list", listed)


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@functools.cache
def picture(seed: int, width: int, height: int, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    """Return an image file of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    image = Image.fromarray(coarse, "RGBA").convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.convert(mode).save(stream, kind)
    return stream.getvalue()


def tiny_files(name: str) -> dict[str, bytes]:
    """Tiny ImageNet's own layout; the classes are not listed in order, and one image is grey."""
    wnids = [f"n{1000 + 7 * number:08d}" for number in range(facts_of(name).classes)]
    files, rows = {}, []
    for number, wnid in enumerate(wnids):
        for index in range(PER_CLASS["train"]):
            mode = "L" if (number, index) == (1, 2) else "RGB"
            files[f"train/{wnid}/images/{wnid}_{index + 9}.JPEG"] = picture((number + index) % 9, 64, 64, mode)
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"n_0.JPEG\t0\t0\t63\t63\n"
        for index in range(PER_CLASS["test"]):
            file = f"val_{(number * 37 + index * 501) % 997}.JPEG"
            files[f"val/images/{file}"] = picture(10 + (number + index) % 9, 64, 64)
            rows.append(f"{file}\t{wnid}\t0\t0\t63\t63\n")
    files["val/val_annotations.txt"] = "".join(sorted(rows)).encode()
    files["wnids.txt"] = "\n".join(wnids[::-1]).encode()
    files["words.txt"] = "".join(f"{wnid}\tthing {wnid[-4:]}, other\n" for wnid in wnids).encode()
    return files


def as_folders(files: dict[str, bytes]) -> dict[str, bytes]:
    """Turn Tiny ImageNet's layout into torchvision's ImageFolder layout, which has nothing but images in folders."""
    label = dict(row.split("\t")[:2] for row in files["val/val_annotations.txt"].decode().splitlines())
    turned = {}
    for name, data in files.items():
        if name.startswith("train/") and name.endswith(".JPEG"):
            turned[name.replace("/images/", "/")] = data
        elif name.startswith("val/images/"):
            file = name.rpartition("/")[2]
            turned[f"val/{label[file]}/{file}"] = data
    return turned


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"{TINY}/{name}", data)
    return path


def imagenet_files(name: str) -> dict[str, bytes]:
    """An ImageNet folder: images of many sizes, one grey, one CMYK, one a PNG by another name; and a class too many."""
    sizes = ((150, 131), (129, 300), (128, 128), (200, 97), (301, 175))
    files = {}
    for number, (folder, _) in enumerate((*IMAGENET_CLASSES[name], ("n00000001", "not in the subset"))):
        for split, split_folder in (("train", "train"), ("test", "val")):
            for index in range(PER_CLASS[split]):
                shape = sizes[(number + index) % len(sizes)]
                odd = {(2, 0): ("L", "JPEG"), (3, 1): ("CMYK", "JPEG"), (4, 1): ("P", "PNG")}.get((number, index), ())
                files[f"{split_folder}/{folder}/x_{index * 7 + 8}.JPEG"] = picture(number + 20 * index, *shape, *odd)
    return files


FILLERS: dict[str, Callable[..., Arrays]] = {
    **dict.fromkeys(("cifar10", "cifar100"), cifar),
    **dict.fromkeys(MNIST, mnist),
    "svhn": svhn,
}
SERVERS = {"cifar100": serve_cifar, "mnist": serve_mnist, "fashion-mnist": serve_mnist, "svhn": serve_svhn}
