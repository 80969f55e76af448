"""The contract of every data set of the catalogue, on small files in its real layout; and what can be wrong there."""

from __future__ import annotations

import errno
import functools
import http.server
import io
import threading
from pathlib import Path

import dataset_files as made
import numpy as np
import pytest
import torch
from PIL import Image

from ncfm.core.errors import DataError
from ncfm.core.params import PrepareParams
from ncfm.core.store import read_json
from ncfm.core.torchvision_shim import torchvision
from ncfm.datasets.catalogue import CATALOGUE, facts_of
from ncfm.datasets.imagenet_classes import IMAGENET_CLASSES
from ncfm.datasets.sets.imagenet_subsets import shrink_and_crop
from ncfm.datasets.split import load_split
from ncfm.run.record import Record
from ncfm.stages.prepare import prepare, statistics

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FIRST_TINY = "n00001000"
FILES = ("train.safetensors", "test.safetensors", "card.json")
TINY = [name for name in CATALOGUE if name.startswith("tinyimagenet")]


def run(out: Path, dataset: str, root: Path, source: str = "auto") -> dict:
    params = PrepareParams(dataset=dataset, source=source, root=str(root))
    record = Record("prepare", out / "card.json", params.model_dump(mode="json"), {"dataset": dataset}, [])
    prepare(params, out, record)
    return read_json(out / "card.json")


def fill(name: str, root: Path, monkeypatch) -> made.Arrays | None:
    """Write a data set's files and shrink what the catalogue says of it; return what must come out, where known."""
    if list(facts_of(name).sources) == ["embedded"]:
        return None
    made.small(name, monkeypatch)
    if name in made.FILLERS:
        return made.FILLERS[name](name, root, monkeypatch)
    if name in TINY:
        made.write(root / made.TINY, made.tiny_files(name))
        return reference(root / made.TINY / "train", by_annotations(root / made.TINY), lambda image: image)
    made.write(root, made.imagenet_files(name))
    resize = torchvision.transforms.Compose(
        [torchvision.transforms.Resize(128), torchvision.transforms.CenterCrop(128)]
    )
    folders = [folder for folder, _ in IMAGENET_CLASSES[name]]
    return reference(root / "train", in_folders(root / "val"), resize, folders)


def in_folders(place: Path) -> dict[str, list[Path]]:
    return {folder.name: sorted(folder.rglob("*.JPEG")) for folder in sorted(place.iterdir())}


def by_annotations(place: Path) -> dict[str, list[Path]]:
    rows = [line.split("\t") for line in (place / "val" / "val_annotations.txt").read_text().splitlines()]
    return {
        wnid: sorted(place / "val" / "images" / file for file, label, *_ in rows if label == wnid)
        for wnid in sorted({row[1] for row in rows})
    }


def reference(train: Path, test: dict[str, list[Path]], form, folders: list[str] | None = None) -> made.Arrays:
    """Return the images as torchvision would read and resize them, class by class and by file name."""
    arrays = {}
    for split, found in (("train", in_folders(train)), ("test", test)):
        chosen = [found[folder] for folder in folders or found]
        images = [np.array(form(Image.open(path).convert("RGB"))) for paths in chosen for path in paths]
        labels = np.repeat(np.arange(len(chosen)), [len(paths) for paths in chosen])
        arrays[split] = (np.stack(images).transpose(0, 3, 1, 2), labels)
    return arrays


@pytest.mark.parametrize("name", CATALOGUE)
def test_contract(name, tmp_path, monkeypatch):
    expected = fill(name, tmp_path / "root", monkeypatch)
    facts = facts_of(name)
    card = run(tmp_path / "out", name, tmp_path / "root", next(iter(facts.sources)))
    for split in ("train", "test"):
        data = load_split(tmp_path / "out", split)
        count = sum(allowed[0] for allowed in facts.sizes[split])
        assert data.images.shape == (count, facts.channels, facts.resolution, facts.resolution)
        assert (data.images.dtype, data.labels.dtype) == (torch.uint8, torch.int64)
        assert [len(members) for members in data.by_class] == [allowed[0] for allowed in facts.sizes[split]]
        assert (data.dataset, data.classes) == (name, facts.classes)
        assert len(set(data.label_names)) == facts.classes
        assert not facts.label_names or data.label_names == facts.label_names
        assert data.normalisation.mean.flatten().tolist() == pytest.approx(facts.mean)
        assert data.normalisation.std.flatten().tolist() == pytest.approx(facts.std)
        if expected:
            assert np.array_equal(data.images.numpy(), expected[split][0])
            assert np.array_equal(data.labels.numpy(), expected[split][1])
        assert card["images"][split] == count
        assert list(card["images_per_class"][split]) == sorted(data.label_names)
    assert card["measured"]["mean"] == statistics(load_split(tmp_path / "out", "train").images)[0]
    assert card["source"]["name"] == next(iter(facts.sources))
    run(tmp_path / "again", name, tmp_path / "root")
    for file in FILES:
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "out" / file).read_bytes()


@pytest.mark.parametrize("name", made.SERVERS)
def test_download(name, tmp_path, monkeypatch):
    fill(name, tmp_path / "root", monkeypatch)
    run(tmp_path / "folder", name, tmp_path / "root", "folder")
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setenv("no_proxy", "*")
        address = f"http://127.0.0.1:{server.server_port}"
        made.SERVERS[name](name, tmp_path / "root", tmp_path / "served", address, monkeypatch)
        card = run(tmp_path / "download", name, tmp_path / "fresh")
        server.shutdown()
    assert card["source"]["name"] == "torchvision"
    assert address in card["source"]["url"]
    for file in FILES[:2]:
        assert (tmp_path / "folder" / file).read_bytes() == (tmp_path / "download" / file).read_bytes()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        pass


def test_tiny_imagenet_is_the_same_in_every_layout(tmp_path, monkeypatch):
    made.small("tinyimagenet", monkeypatch)
    files = made.tiny_files("tinyimagenet")
    made.write(tmp_path / "a", files)
    made.zipped(tmp_path / "b" / f"{made.TINY}.zip", {**files, f"train/{FIRST_TINY}/._x.JPEG": b"what macOS adds"})
    made.write(tmp_path / "c" / made.TINY, made.as_folders(files))
    made.write(tmp_path / "d", {**made.as_folders(files), "words.txt": files["words.txt"]})
    cards = [run(tmp_path / f"out-{place}", "tinyimagenet", tmp_path / place) for place in "abcd"]
    assert [card["source"]["name"] for card in cards] == ["folder", "archive", "folder", "folder"]
    assert all(card["sha256"] == cards[0]["sha256"] for card in cards)
    for file in FILES[:2]:
        a, b, _, d = ((tmp_path / f"out-{place}" / file).read_bytes() for place in "abcd")
        assert a == b == d
    assert cards[0]["label_names"][:2] == ["thing 1000", "thing 1007"]
    assert cards[2]["label_names"][:2] == ["n00001000", "n00001007"]  # nothing there tells names


def test_real_slice(tmp_path):
    if not (SHARED / "tiny-imagenet-200-slice.zip").is_file():
        pytest.skip(f"no slice of the real Tiny ImageNet in {SHARED}")
    card = run(tmp_path, "tinyimagenet-slice", SHARED, "archive")
    assert card["sha256"] == dict(facts_of("tinyimagenet-slice").content)
    assert card["label_names"][0] == "goldfish"


def test_public_archive_has_another_split(tmp_path, monkeypatch):
    public, files = facts_of("imagenette"), made.imagenet_files("imagenette")
    made.small("imagenette", monkeypatch)
    made.write(tmp_path / "imagenette2", files)
    assert "public archive" in run(tmp_path / "out", "imagenette", tmp_path)["source"]["split"]
    assert all(allowed[0] == 50 < allowed[-1] for allowed in public.sizes["test"])


def test_released_variants_differ_in_one_class():
    for name in ("imagefruit", "imageyellow"):
        pairs = zip(IMAGENET_CLASSES[name], IMAGENET_CLASSES[f"{name}-released"], strict=True)
        assert sum(mine != theirs for mine, theirs in pairs) == 1


@pytest.mark.parametrize("shape", [(128, 128), (500, 375), (375, 500), (129, 128), (90, 333), (1, 5)])
def test_crop_is_torchvisions(shape):
    image = Image.open(io.BytesIO(made.picture(1, *shape)))
    by_torchvision = torchvision.transforms.functional.center_crop(
        torchvision.transforms.functional.resize(image, 128), [128, 128]
    )
    assert np.array_equal(np.array(shrink_and_crop(image)), np.array(by_torchvision))


def fails(tmp_path: Path, name: str, *texts: str, source: str = "folder") -> None:
    """Prepare fails with one line that holds ``texts`` and leaves nothing in the output folder."""
    with pytest.raises(DataError) as caught:
        run(tmp_path / "out", name, tmp_path / "root", source)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for text in texts:
        assert text in message
    assert not list((tmp_path / "out").iterdir())


FIRST = IMAGENET_CLASSES["imagemeow"][0][0]


@pytest.mark.parametrize(
    ("damage", "texts"),
    [
        ({f"train/{FIRST}/": None}, (f"root/train/{FIRST}: no such folder",)),
        ({f"val/{FIRST}/": None, f"val/{FIRST}/readme.txt": b"x"}, (f"root/val/{FIRST}: holds no images",)),
        ({f"train/{FIRST}/x_8.JPEG": None}, ("class tabby has 2 train images", "must have 3")),
        ({f"train/{FIRST}/y.png": b""}, ("class tabby has 4 train images", "must have 3")),
        ({f"train/{FIRST}/x_15.JPEG": b"text"}, (f"root/train/{FIRST}/x_15.JPEG: not a whole image (no JPEG or PNG)",)),
        ({f"val/{FIRST}/x_8.JPEG": made.picture(1, 300, 200)[:-200]}, (f"val/{FIRST}/x_8.JPEG: not a whole image",)),
        ({"train/": None}, ("root: no folder train/ in it, nor in its imagenet/", "imagemeow")),
    ],
)
def test_damaged_imagenet_folder(tmp_path, monkeypatch, damage, texts):
    made.small("imagemeow", monkeypatch)
    files = made.imagenet_files("imagemeow")
    for name, data in damage.items():
        files = {file: kept for file, kept in files.items() if data is not None or not file.startswith(name)}
        files |= {} if data is None else {name: data}
    made.write(tmp_path / "root", files)
    fails(tmp_path, "imagemeow", *texts)


@pytest.mark.parametrize("source", ["folder", "archive"])
@pytest.mark.parametrize(
    ("damage", "texts"),
    [
        ({"train/n00001007/": None}, ("train/n00001007: no such folder",)),
        ({"train/n00001000/images/n00001000_9.JPEG": None}, ("class thing 1000 has 2 train images, but", "have 3")),
        ({"train/n00001000/images/n00001000_9.JPEG": made.picture(0, 64, 63)}, ("_9.JPEG: is 64 x 63 pixels", "64 x")),
        ({"train/n00001000/images/n00001000_9.JPEG": made.picture(0, 64, 64)[:300]}, ("_9.JPEG: not a whole image",)),
        ({"wnids.txt": b"n00001000\n"}, ("has 1 classes, but tinyimagenet-slice has 10",)),
        ({"val/val_annotations.txt": b""}, ("val/val_annotations.txt: no such file, or it is empty",)),
        ({"val/val_annotations.txt": b"val_0.JPEG\tn7\t0\n"}, ("val_annotations.txt: line 1: has the class 'n7'",)),
        ({"val/val_annotations.txt": b"val_0.JPEG"}, ("val_annotations.txt: line 1: has the class ''",)),
        ({"val/val_annotations.txt": b"val_0.JPEG\tn00001000\n"}, ("JPEG: has no class in val/val_annotations.txt",)),
        ({"val/images/val_0.JPEG": None}, ("val/images/val_0.JPEG: no such image",)),
    ],
)
def test_damaged_tiny_imagenet(tmp_path, monkeypatch, damage, texts, source):
    made.small("tinyimagenet-slice", monkeypatch)
    files = made.tiny_files("tinyimagenet-slice")
    for name, data in damage.items():
        files = {file: kept for file, kept in files.items() if data is not None or not file.startswith(name)}
        files |= {} if data is None else {name: data}
    if source == "folder":
        made.write(tmp_path / "root", files)
    else:
        made.zipped(tmp_path / "root" / f"{made.TINY}-slice.zip", files)
    fails(tmp_path, "tinyimagenet-slice", *texts, source=source)


def test_folder_without_permission(tmp_path, monkeypatch):
    def refused(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(made.Path, "is_dir", refused)  # whoever runs the tests may be root, who is refused nothing
    with pytest.raises(DataError, match=r"root/train: cannot be read \(no permission\)"):
        run(tmp_path / "out", "imagemeow", tmp_path / "root", "folder")


def test_damaged_archive(tmp_path, monkeypatch):
    path = tmp_path / "root" / f"{made.TINY}-slice.zip"
    fails(tmp_path, "tinyimagenet-slice", f"{path}: no such file", source="archive")
    files = made.tiny_files("tinyimagenet-slice")
    whole = made.zipped(path, files).read_bytes()
    path.write_bytes(whole[:-100])
    fails(tmp_path, "tinyimagenet-slice", f"{path}: not a whole zip archive", source="archive")
    made.small("tinyimagenet-slice", monkeypatch)
    image = files["train/n00001000/images/n00001000_9.JPEG"]
    path.write_bytes(whole.replace(image, image[:-9] + b"othersxxx", 1))
    fails(tmp_path, "tinyimagenet-slice", "n00001000_9.JPEG: cannot be read (Bad CRC-32", source="archive")


def test_damaged_files_of_torchvision(tmp_path, monkeypatch):
    root = tmp_path / "root"
    fails(tmp_path, "mnist", f"{root / 'MNIST' / 'raw'}: no such folder")
    fill("mnist", root, monkeypatch)
    labels = root / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    whole = labels.read_bytes()
    for damaged, texts in (
        (whole[:-1], ("MNIST/raw: files missing or corrupted", "train-labels-idx1-ubyte")),
        (b"", ("MNIST/raw: files missing or corrupted",)),
        (whole[:-1] + b"\x0a", ("gave the train label 10, but labels are 0 to 9",)),
        (whole[:-1] + bytes([(whole[-1] + 1) % 10]), ("has 2 train images, but in mnist must have 3",)),
    ):
        labels.write_bytes(damaged)
        fails(tmp_path, "mnist", *texts)
    labels.unlink()
    fails(tmp_path, "mnist", "files missing or corrupted")
    labels.write_bytes(whole[:4] + (29).to_bytes(4, "big") + whole[8:-1])  # one label too few for the images
    fails(tmp_path, "mnist", "gave train images uint8 (30, 1, 32, 32) with labels (29,)")
    fill("svhn", root, monkeypatch)
    with (root / "test_32x32.mat").open("ab") as stream:
        stream.write(b"x")
    fails(tmp_path, "svhn", "files missing or corrupted", "train_32x32.mat, test_32x32.mat")


def test_documentation_tells_of_every_data_set():
    text = (Path(__file__).resolve().parent.parent / "docs" / "datasets.md").read_text(encoding="utf-8")
    for name, facts in CATALOGUE.items():
        assert f"`{name}`" in text
        commands = [line.split() for line in text.splitlines() if line.startswith(f"prepare {name} ")]
        assert [command[2] in ("auto", *facts.sources) for command in commands] == [True], name
