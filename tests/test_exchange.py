"""Sets in other formats: what is written can be read again, and an imported set is as good as the one it came from."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import record_of, run_evaluate
from PIL import Image

from ncfm import cli
from ncfm.core.errors import DataError
from ncfm.core.params import PrepareParams, SelectParams
from ncfm.core.store import load_tensors, read_json, read_metadata, save_tensors, sha256, write_text
from ncfm.core.torchvision_shim import torchvision
from ncfm.datasets.catalogue import facts_of
from ncfm.method.distilled import DistilledSet, load
from ncfm.outside.adhoc import Limits, protocols
from ncfm.outside.export import class_folders
from ncfm.stages.prepare import prepare
from ncfm.stages.select import select


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, and a set of two stored images per class made of tiles."""
    folder = tmp_path_factory.mktemp("digits")
    params = PrepareParams(dataset="digits")
    prepare(params, folder, record_of("prepare", folder / "card.json", params))
    values = SelectParams(factor=2)
    names = {"dataset": "digits", "ipc": 2, "method": "tiles", "seed": 0}
    select(values, folder, None, folder, record_of("select", folder / "distilled.safetensors", values, **names))
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NCFM_TRACKING", "off")


def export(digits: Path, form: str, out: str, *more: str) -> None:
    stored = str(digits / "distilled.safetensors")
    assert cli.main(["export", stored, "--format", form, "--out", out, *more]) == 0


def import_command(file: str, out: str, **changes: str) -> list[str]:
    values = {"dataset": "digits", "ipc": "2", "method": "tiles", "out": out, **changes}
    return ["import", file, *(word for name, value in values.items() for word in (f"--{name}", value))]


def test_an_imported_set_is_the_set_it_came_from(digits):
    export(digits, "pt", "set.pt", "--stored")
    images, labels = torch.load("set.pt", weights_only=True)
    mixed = torch.arange(20).view(10, 2).T.flatten()  # 0, 1, ... 9, 0, 1, ... 9: not class by class
    torch.save([images[mixed].double(), labels[mixed].int()], "mixed.pt")
    for file in ("set", "mixed"):
        assert cli.main(import_command(f"{file}.pt", file)) == 0
        imported, original = load(f"{file}/distilled.safetensors"), load(digits / "distilled.safetensors")
        assert torch.equal(imported.stored, original.stored) and torch.equal(imported.images, original.images)
        assert torch.equal(imported.labels, original.labels) and imported.names == original.names
        assert sha256(f"{file}/grid.png") == sha256(digits / "grid.png")
    there = run_evaluate(digits, digits / "distilled.safetensors", Path("there.json"), epochs=3)
    here = run_evaluate(digits, Path("mixed/distilled.safetensors"), Path("here.json"), epochs=3)
    assert read_json(here)["networks"] == read_json(there)["networks"]
    record = read_json("mixed/distilled.record.json")
    assert record["inputs"] == {"mixed.pt": sha256("mixed.pt")} and record["params"] == {
        "factor": None,
        "normalised": False,
        "run": 0,
    }


def test_an_imported_set_is_tested_under_every_protocol(digits, capsys):
    export(digits, "pt", "set.pt", "--stored")
    capsys.readouterr()
    command = [*import_command("set.pt", "new"), "--data", str(digits), "--epochs", "4", "--networks", "1"]
    assert cli.main(command) == 0
    written, *shown = capsys.readouterr().out.splitlines()
    assert written == "new/distilled.safetensors: written, with new/grid.png"
    assert [line.partition(":")[0] for line in shown] == ["released", "dm", "dc", "plain", "released-2026"]
    released, *others = (read_json(line.rpartition(": ")[2]) for line in shown)
    assert "protocol" not in released["names"] and [found["names"]["protocol"] for found in others] == [
        "dm",
        "dc",
        "plain",
        "released-2026",
    ]
    for line, found in zip(shown, (released, *others), strict=True):
        assert found["params"]["epochs"] == 4 and found["last"]["n"] == 1
        assert f"last {found['last']['mean']:.1f} %, best {found['best']['mean']:.1f} %" in line
    assert (released["params"]["optimizer"], others[0]["params"]["optimizer"]) == ("adamw", "sgd")
    # The same training as the stage's own, and none of it twice.
    own = run_evaluate(digits, Path("new/distilled.safetensors"), Path("own.json"), **released["params"])
    assert read_json(own)["networks"] == released["networks"]
    assert cli.main(command) == 0
    assert capsys.readouterr().err.count("done before") == 5
    assert cli.main([*command[:-4], "--data", "nowhere"]) == cli.main([*command[:-6], "--epochs", "4"]) == 2
    no_data, no_test = capsys.readouterr().err.splitlines()
    assert "nowhere/test.safetensors: no such file" in no_data and "--epochs: is read only with --data" in no_test


def test_an_imported_set_is_tested_on_a_gpu_that_is_chosen_before_its_record_is_made(digits, monkeypatch):
    export(digits, "pt", "set.pt", "--stored")
    chosen = []
    monkeypatch.setattr("ncfm.run.gpus.choose", chosen.append)

    def first(*given):
        raise DataError(f"chosen: {chosen}")

    monkeypatch.setattr("ncfm.run.record.recorded", first)
    assert cli.main(import_command("set.pt", "new", data=str(digits))) == 2 and chosen == [1]


def test_protocols_have_the_exceptions_of_data_set_and_ipc():
    def epochs(dataset: str, ipc: int, **limits: int) -> dict[str, int]:
        return {name: params.epochs for name, params in protocols(dataset, ipc, 32, Limits(**limits)).items()}

    usual = {"released": 2000, "dm": 1000, "dc": 300, "plain": 1000, "released-2026": 3000}
    assert epochs("mnist", 10) == epochs("cifar10", 50) == usual
    assert epochs("cifar10", 10) == {**usual, "authors-2026-cifar10-ipc10": 4000}
    assert epochs("tinyimagenet", 10) == {**usual, "released": 300, "authors-2026-tinyimagenet-ipc10": 300}
    cut = {"released": 40, "dm": 500, "dc": 300, "plain": 500, "released-2026": 500}
    assert epochs("tinyimagenet", 50, epochs=500) == {**cut, "authors-2026-tinyimagenet-ipc50": 30}
    sides = {"digits": 16, "cifar10": 32, "tinyimagenet": 64, "imagemeow": 128}
    found = [protocols(name, 10, side, Limits())["released"] for name, side in sides.items()]
    assert [params.arch for params in found] == ["convnet-3", "convnet-3", "convnet-4", "convnet-5"]
    assert [params.networks for params in found] == [10, 10, 10, 3]


def test_png_and_npz_hold_the_same_images(digits):
    original = load(digits / "distilled.safetensors")
    export(digits, "npz", "set.npz", "--stored")
    content = np.load("set.npz", allow_pickle=False)
    assert np.array_equal(content["images"], original.stored.numpy())
    assert content["labels"].tolist() == [label for label in range(10) for _ in range(2)]
    export(digits, "png", "stored", "--stored")
    export(digits, "png", "decoded")
    for folder, images, labels in (
        ("stored", original.stored, torch.tensor(content["labels"])),
        ("decoded", original.pixels, original.labels),
    ):
        order = labels.argsort(stable=True)
        found = torchvision.datasets.ImageFolder(folder, loader=Image.open)
        assert found.classes == original.label_names and found.targets == labels[order].tolist()
        pixels = torch.stack([torch.tensor(np.asarray(image) / 255.0) for image, _ in found])
        assert (pixels - images[order, 0]).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("form", ["pt", "npz"])
def test_a_curated_set_keeps_classes_and_soft_labels(form, digits):
    """Also where one soft label favours another class than the image was made for."""
    tensors, facts = load_tensors(digits / "distilled.safetensors")
    original = load(digits / "distilled.safetensors")
    soft = torch.eye(10)[original.labels]
    soft[0] = soft[9]
    save_tensors(Path("curated.safetensors"), {**tensors, "soft_labels": soft}, facts)
    assert cli.main(["export", "curated.safetensors", "--format", form, "--out", f"set.{form}"]) == 0
    found, order = load_imported(f"set.{form}"), original.labels.argsort(stable=True)
    assert torch.equal(found.labels, original.labels[order]) and torch.equal(found.stored, original.pixels[order])
    assert found.soft_labels is not None and torch.equal(found.soft_labels, soft[order])


@pytest.mark.parametrize("content", ["cut", "npy", "strings", "facts"])
def test_npz_files_that_are_refused(content, digits, capsys):
    export(digits, "npz", "set.npz")
    whole = Path("set.npz").read_bytes()
    arrays = {"images": np.zeros(2), "labels": np.array(["a", "b"] if content == "strings" else [0, 1])}
    if content == "cut":
        Path("set.npz").write_bytes(whole[: len(whole) // 2])
    elif content == "npy":
        with Path("set.npz").open("wb") as stream:
            np.save(stream, arrays["images"])
    else:
        np.savez("set.npz", facts=np.array("{" if content == "facts" else "{}"), **arrays)
    expected = {"cut": "was cut short", "npy": "holds one array, but images and labels"}
    assert cli.main(import_command("set.npz", "new")) == 2
    assert f"set.npz: {expected.get(content, 'is not a whole npz file of numbers (')}" in capsys.readouterr().err


def test_folders_of_other_classes_are_refused(digits, capsys):
    export(digits, "png", "pictures", "--stored")
    Path("pictures/0").rename("pictures/zebra")
    Path("pictures/set.json").unlink()
    assert cli.main(import_command("pictures", "new")) == 2
    assert "holds the classes 1, 2, 3 ..., but digits has 0, 1, 2 ..." in capsys.readouterr().err
    write_text("pictures/set.json", "{")
    assert cli.main(import_command("pictures", "new")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_soft_labels_are_not_dropped_without_a_word(digits, capsys):
    tensors, facts = load_tensors(digits / "distilled.safetensors")
    soft = torch.full((4 * len(tensors["images"]), 10), 0.1)
    save_tensors(Path("curated.safetensors"), {**tensors, "soft_labels": soft}, facts)
    assert cli.main(["export", "curated.safetensors", "--format", "png", "--out", "curated"]) == 0
    assert "curated.safetensors has soft labels, which are left out" in capsys.readouterr().err
    export(digits, "pt", "set.pt")
    assert capsys.readouterr().err == ""


def test_folder_names_keep_the_order_of_the_labels():
    assert class_folders(["airplane", "bird"]) == ["airplane", "bird"]
    assert class_folders(["tench", "a/b"]) == ["0-tench", "1-a_b"]
    assert class_folders(["crane", *"klmnopqrs", "crane"])[::10] == ["00-crane", "10-crane"]


GOOD = torch.full((20, 1, 16, 16), 0.5), torch.arange(10).repeat_interleave(2)


def changed(value: float) -> list[torch.Tensor]:
    images = GOOD[0].clone()
    images[3, 0, 1, 2] = value
    return [images, GOOD[1]]


@pytest.mark.parametrize(
    ("content", "changes", "expected"),
    [
        (b"", {}, "set.pt: is empty"),
        (b"PK half of a file", {}, "set.pt: was cut short"),
        (b'{"error": 404}', {}, "set.pt: is JSON text, as servers send in place of a file"),
        (b"half a file", {}, "set.pt: is of no known form"),
        (b"<!DOCTYPE html><html>", {}, "set.pt: is a web page, so the download went wrong"),
        (b"version https://git-lfs.github.com/spec/v1", {}, "set.pt: is a pointer of Git LFS; run `git lfs pull`"),
        ({"data": [list(GOOD)]}, {"run": "1"}, "has 1 runs, so --run can be 0 to 0, but is 1"),
        (GOOD[0], {}, "holds one tensor alone; wanted is a list [images, labels], or two files, images_NAME.pt and"),
        (
            {"conv.weight": GOOD[0], "fc.weight": GOOD[0]},
            {},
            "holds conv.weight, fc.weight, but the names",
        ),
        ({"data": GOOD[0], "targets": GOOD[1]}, {}, "holds data, targets, but the names images and"),
        ([np.array([None]), GOOD[1]], {}, "does not hold a list of two tensors"),
        ([GOOD[0] / 255, GOOD[1]], {}, "holds pixels from 0.00196 to 0.00196, as if they were divided by 255 twice"),
        ([GOOD[0] * 0, GOOD[1]], {}, "holds pixels from 0 to 0, as if they were divided by 255 twice"),
        ([GOOD[0], torch.full((20, 10), float("nan"))], {}, "holds labels that are not finite"),
        (None, {"dataset": "", "data": "nowhere"}, "set.pt: no such file"),
        ([GOOD[0], Path("x")], {}, "holds other objects than tensors and arrays"),
        ([*GOOD, GOOD[1]], {}, "does not hold a list of two tensors"),
        (GOOD, {"ipc": "1"}, "holds 20 images, but 1 for each of 10 classes are wanted"),
        (GOOD, {"dataset": "cifar10"}, "images of shape (20, 1, 16, 16), but cifar10 has 3 channels"),
        ([GOOD[0], GOOD[1][:3]], {}, "holds labels of shape (3,)"),
        ([GOOD[0], GOOD[1].float()], {}, "holds labels of shape (20,) and type torch.float32"),
        ([GOOD[0], GOOD[1] + 1], {}, "holds labels 1 to 10, but digits has 0 to 9"),
        ([GOOD[0], GOOD[1].clamp(max=8)], {}, "holds 4 images of class 8 (8), but 2 of each are wanted"),
        ([GOOD[0] * 255, GOOD[1]], {}, "holds pixels from 128 to 128, as if they were not divided by 255"),
        (
            [torch.linspace(-1, 1, 5120).view(20, 1, 16, 16), GOOD[1]],
            {},
            "from -1 to 1, 50% of them outside [0, 1]: un-n",
        ),
        ([GOOD[0].int(), GOOD[1]], {}, "holds images of type torch.int32"),
        (
            {"images": GOOD[0], "labels": GOOD[1], "label_names": ["a", "b"]},
            {},
            "the classes a, b ..., but digits has 0, ",
        ),
        ({"images": GOOD[0], "labels": GOOD[1], "factor": "two"}, {}, "set.pt: factor: is 'two', but"),
        ([GOOD[0].to_sparse(), GOOD[1]], {}, "does not hold a list of two tensors"),
        ([GOOD[0].to("meta"), GOOD[1]], {}, "does not hold a list of two tensors"),
        (None, {}, "set.pt: no such file"),
        (changed(float("nan")), {}, "not finite"),
        (changed(-2.1), {}, "holds pixels from -2.1 to 0.5, 0% of them outside [0, 1]: un-normalised"),
        (GOOD, {"dataset": "digit"}, "--dataset: unknown dataset 'digit'; did you mean 'digits'?"),
        (GOOD, {"factor": "3"}, "--factor: is 3, but must divide the resolution 16"),
        (GOOD, {"factor": "0"}, "factor: is 0, but should be greater than or equal to 1"),
        (GOOD, {"ipc": "0"}, "Invalid value for '--ipc': 0 is not in the range x>=1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_are_refused(content, changes, expected, capsys):
    if isinstance(content, bytes):
        Path("set.pt").write_bytes(content)
    elif content is not None:
        torch.save(list(content) if isinstance(content, tuple) else content, "set.pt")
    assert cli.main(import_command("set.pt", "new", **changes)) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert expected in line
    assert not Path("new/distilled.safetensors").exists()


def test_pixels_outside_are_kept_and_counted(capsys):
    torch.save(changed(1.25), "set.pt")
    assert cli.main(import_command("set.pt", "new")) == 0
    assert "1 of 5120 pixels lie outside [0, 1] and are kept as they are" in capsys.readouterr().err
    assert load("new/distilled.safetensors").stored.max() == 1.25


def digits_like(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images as other programs keep them: in [0, 1], and normalised with the statistics of the digits."""
    facts = facts_of("digits")
    images = torch.rand(20, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    return images, (images - facts.mean[0]) / facts.std[0]


def imported(file: str, **changes: str) -> DistilledSet:
    assert cli.main(import_command(file, "new", **changes)) == 0
    return load("new/distilled.safetensors")


def test_the_files_of_dc_dsa_and_dm_are_read_with_their_numpy_scalars(capsys):
    runs = [digits_like(seed) for seed in range(3)]
    accuracies = {"ConvNet": [np.float64(50.5), np.float32(51), np.int64(3)]}
    torch.save({"data": [[images, GOOD[1]] for _, images in runs], "accs_all_exps": accuracies}, "res.pt")
    found = imported("res.pt", run="2")
    assert torch.allclose(found.stored, runs[2][0], atol=1e-6) and found.factor == 1
    assert "the form of DC, DSA and DM, run 2 of 3" in capsys.readouterr().err


class Foreigner:
    """An object whose loading would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


class Memory(Foreigner):
    """An array of objects laid over a byte string, as numpy's own function would make it: a way to run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.ndarray, ((1,), np.dtype("O"), bytearray(8))


def test_no_code_of_a_file_runs(capsys):
    torch.save({"data": [list(GOOD)], "more": Foreigner()}, "set.pt")
    assert cli.main(import_command("set.pt", "new")) == 2
    assert "could run their code" in capsys.readouterr().err and not Path("ran").exists()
    torch.save({"data": [list(GOOD)], "more": Memory()}, "set.pt")
    assert cli.main(import_command("set.pt", "new")) == 2


@pytest.mark.parametrize("module", ["numpy._core", "numpy.core"])
def test_arrays_of_numpy_are_read_as_tensors(module):
    """Whatever version of numpy named them, in any order and byte order, and beside arrays of other things."""
    pixels, normalised = (images.numpy() for images in digits_like(0))
    strange = np.asfortranarray(normalised.astype(">f8"))
    more = [np.array([50.5]), np.array(["a"]), np.array([{}, None]), np.float32(1), np.array(3)]
    torch.save(
        {"data": [[strange, GOOD[1].numpy()]], "accs_all_exps": more}, "new.pt", _use_new_zipfile_serialization=False
    )
    content = Path("new.pt").read_bytes()
    Path("res.pt").write_bytes(content.replace(b"cnumpy._core.", f"c{module}.".encode()))
    found = imported("res.pt")
    assert torch.allclose(found.stored, torch.from_numpy(pixels), atol=1e-6)
    assert found.labels.tolist() == GOOD[1].tolist()


def advice_of(file: str, capsys: pytest.CaptureFixture[str], **changes: str) -> str:
    """Import a file that is refused, and return the command that the line names."""
    capsys.readouterr()
    assert cli.main(import_command(file, "new", **changes)) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    return line[line.index("python -c") :]


def follow(command: str) -> int:
    """Run a command as a user would who pastes it into a shell."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment["PYTHONPATH"] = f"{Path(__file__).parent}:{environment.get('PYTHONPATH', '')}"
    return subprocess.run(command, shell=True, check=False, env=environment, capture_output=True).returncode


def test_the_advice_for_files_with_other_objects_works_and_harms_none(capsys):
    pixels, normalised = digits_like(0)
    runs = {"data": [[normalised, GOOD[1], Foreigner()]], "more": np.array([Foreigner()])}
    for content, save in ((runs, torch.save), ([pixels.numpy(), GOOD[1], Foreigner()], torch.save), (runs, pickled)):
        save(content, "it's.pt")
        before = sha256("it's.pt")
        command = advice_of("it's.pt", capsys)
        assert follow(command) == 0 and sha256("it's.pt") == before
        found = imported("plain-it's.pt", factor="1")
        assert torch.allclose(found.stored, pixels, atol=1e-6) and found.labels.tolist() == GOOD[1].tolist()
        assert follow(command) != 0  # the new file is one of the user's now
        Path("plain-it's.pt").unlink()


def pickled(content: object, file: str) -> None:
    with Path(file).open("wb") as stream:
        pickle.dump(content, stream)


@pytest.mark.parametrize("keys", [("image", "label"), ("x", "y"), ("data", "targets")])
def test_the_advice_for_dictionaries_with_other_keys_works(keys, capsys):
    pixels, _ = digits_like(0)
    torch.save({keys[0]: pixels.numpy(), keys[1]: GOOD[1], "epoch": 3}, "set.pt")
    assert follow(advice_of("set.pt", capsys)) == 0
    assert torch.equal(imported("plain-set.pt").stored, pixels)
    np.savez("set.npz", **{keys[0]: pixels.numpy(), keys[1]: GOOD[1].numpy()})
    assert follow(advice_of("set.npz", capsys)) == 0
    assert torch.equal(imported("plain-set.npz").stored, pixels)


def test_the_advice_for_packed_files_and_single_arrays_works(digits, capsys):
    export(digits, "pt", "set.pt", "--stored")
    Path("packed.pt.gz").write_bytes(gzip.compress(Path("set.pt").read_bytes()))
    assert follow(advice_of("packed.pt.gz", capsys)) == 0
    assert torch.equal(imported("plain-packed.pt").stored, load(digits / "distilled.safetensors").stored)
    np.save("IMAGES.npy", GOOD[0].numpy())
    np.save("LABELS.npy", GOOD[1].numpy())
    assert follow(advice_of("IMAGES.npy", capsys)) == 0
    assert torch.equal(imported("plain-IMAGES.npz").stored, GOOD[0])


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_was_cut_short_is_not_said_to_hold_other_objects(zipped, capsys):
    torch.save(list(GOOD), "whole.pt", _use_new_zipfile_serialization=zipped)
    Path("set.pt").write_bytes(Path("whole.pt").read_bytes()[:-5000])
    assert cli.main(import_command("set.pt", "new")) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "cut short" in line and "other objects" not in line


def test_a_folder_with_one_pair_is_read_and_several_are_named(capsys):
    pixels, normalised = digits_like(0)
    for name in ("labels", "images"):
        Path("mtt").mkdir(exist_ok=True)
        torch.save(normalised if name == "images" else GOOD[1], f"mtt/{name}_5000.pt")
    torch.save(normalised, "mtt/images_7.pt")
    for source in ("mtt", "mtt/labels_5000.pt", "mtt/images_5000.pt"):
        assert torch.allclose(imported(source).stored, pixels, atol=1e-6)
        assert list(read_json("new/distilled.record.json")["inputs"]) == ["mtt/images_5000.pt", "mtt/labels_5000.pt"]
    assert cli.main(import_command("mtt/images_7.pt", "new")) == 2
    assert "images_7.pt: holds one tensor of a pair, and the other, labels_7.pt, is not" in capsys.readouterr().err
    torch.save(GOOD[1], "mtt/labels_7.pt")
    assert cli.main(import_command("mtt", "new")) == 2
    assert "name one: mtt/images_5000.pt, mtt/images_7.pt" in capsys.readouterr().err


def test_uneven_soft_labels_are_said_to_be_taken_class_by_class(capsys):
    for labels, said in ((torch.eye(10)[GOOD[1]], 0), (torch.eye(10)[GOOD[1] * 0], 1)):
        torch.save([GOOD[0], labels], "set.pt")
        imported("set.pt")
        assert capsys.readouterr().err.count("images are taken to lie class by class") == said


def test_exports_say_what_they_are_and_other_files_are_asked_for_it(digits, capsys):
    original = load(digits / "distilled.safetensors")
    for file in ("set.pt", "set.npz", "set.parquet", "pictures"):
        export(digits, Path(file).suffix[1:] or "png", file)
        capsys.readouterr()
        assert cli.main(["import", file, "--out", "new"]) == 0
        assert {**load("new/distilled.safetensors").names, "ipc": 2} == original.names
        assert "new/distilled.safetensors: written, with new/grid.png; next: " in capsys.readouterr().out
    torch.save(list(GOOD), "bare.pt")
    assert (
        cli.main(["import", "bare.pt", "--out", "bare"])
        == cli.main(["import", "bare.pt", "--out", "bare", "--dataset", "digits"])
        == 2
    )
    no_dataset, no_method = capsys.readouterr().err.splitlines()
    assert "--dataset: is missing" in no_dataset and "--method: is missing, and bare.pt does not say" in no_method


def test_the_advice_for_a_folder_that_was_not_prepared_works(digits, capsys):
    for label, number in np.ndindex(2, 6):
        Path("My photos", str(label)).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(10 * label + number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(f"My photos/{label}/{number}.png")
    torch.save([torch.rand(2, 3, 32, 32), torch.arange(2)], "set.pt")
    command = ["import", "set.pt", "--method", "x", "--out", "new", "--factor", "1", "--data"]
    assert cli.main([*command, "My photos"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    commands, data = line[line.index("ncfm add") :].split("), and say --data ")
    assert follow(commands) == 0
    assert cli.main([*command, data, "--epochs", "1", "--networks", "1"]) == 0


def test_pairs_of_files_with_soft_labels_logits_or_classes():
    pixels, normalised = digits_like(0)
    logits = torch.eye(10)[GOOD[1]] * 5
    astray = logits[:1].expand(20, -1)  # soft labels that favour one class: then images lie class by class
    for labels in (GOOD[1], logits, logits.softmax(1), astray):
        torch.save(normalised, "images_best.pt")
        torch.save(labels, "labels_best.pt")
        for source in (".", "images_best.pt"):
            found = imported(source)
            assert torch.allclose(found.stored, pixels, atol=1e-6) and found.labels.tolist() == GOOD[1].tolist()
    assert found.soft_labels is not None and torch.allclose(found.soft_labels, astray.softmax(1))


def test_what_import_guesses_of_pixels_and_labels_it_says(capsys):
    """Pixels in [0, 1] are not turned back; probabilities may be rounded; other labels are said to be logits."""
    pixels, normalised = digits_like(0)
    rounded = torch.full((20, 10), 0.03).scatter(1, GOOD[1][:, None], 0.72)
    for images, labels in ((pixels, rounded), (normalised, rounded * 10)):
        torch.save(images, "images_best.pt")
        torch.save(labels, "labels_best.pt")
        found = imported("images_best.pt")
        assert torch.allclose(found.stored, pixels, atol=1e-6) and found.soft_labels is not None
        said = capsys.readouterr().err
        assert ("taken as they are" in said) is (images is pixels) is ("turned back" not in said)
        assert ("taken for logits" in said) is (images is normalised)
        wanted = rounded / 0.99 if images is pixels else (rounded * 10).softmax(1)
        assert torch.allclose(found.soft_labels, wanted, atol=1e-6)


def test_pictures_of_16_bits_keep_their_range_and_get_no_set_among_them(capsys):
    for label in range(10):
        Path(f"deep/{label}").mkdir(parents=True)
        Image.fromarray(np.full((16, 16), 257 * 20 * label, np.uint16)).save(f"deep/{label}/0.png")
    stored = imported("deep", ipc="1", factor="1").stored
    assert torch.equal((stored[:, 0, 0, 0] * 255).round(), 20.0 * torch.arange(10))
    assert cli.main(import_command("deep", "deep", ipc="1", factor="1")) == 2
    assert "deep: would lie in deep" in capsys.readouterr().err


def test_a_set_of_28_pixels_gets_the_border_of_our_mnist():
    images = torch.rand(10, 1, 28, 28)
    torch.save([images, torch.arange(10)], "set.pt")
    stored = imported("set.pt", dataset="mnist", ipc="1", factor="1").stored
    assert torch.equal(stored[..., 2:30, 2:30], images) and stored.sum() == pytest.approx(float(images.sum()), rel=1e-5)


def test_what_export_writes_import_reads(digits, capsys):
    original = load(digits / "distilled.safetensors")
    for form, out in (("pt", "set.pt"), ("npz", "set.npz"), ("png", "pictures"), ("parquet", "set.parquet")):
        for more, factor, images in (((), 1, original.pixels), (("--stored",), 2, original.stored)):
            capsys.readouterr()
            export(digits, form, f"{len(more)}{out}", *more)
            assert capsys.readouterr().out.startswith(f"{len(more)}{out}: {len(images)} ")
            found = load_imported(f"{len(more)}{out}")
            order = original.labels[: len(images)].argsort(stable=True)
            step = 0.5 / 255 + 1e-6 if form in ("png", "parquet") else 0
            assert found.factor == factor and (found.stored - images[order]).abs().max() <= step
            assert found.label_names == original.label_names and len(found) == len(original)


def test_stored_images_without_tiles_are_not_cut_into_tiles(digits):
    whole = load(digits / "distilled.safetensors").pixels
    export(digits, "pt", "whole.pt")
    load_imported("whole.pt")
    export(Path("new"), "pt", "again.pt", "--stored")
    found = load_imported("again.pt")
    assert found.factor == 1 and found.stored.shape == whole.shape


def load_imported(file: str) -> DistilledSet:
    command = [word for word in import_command(file, "new") if word not in ("--ipc", "2")]
    assert cli.main(command) == 0
    return load("new/distilled.safetensors")


def test_a_set_of_ones_own_folder_is_held_against_the_prepared_folder(digits):
    facts = read_metadata(digits / "test.safetensors")
    for split in ("train", "test"):
        tensors, _ = load_tensors(digits / f"{split}.safetensors")
        save_tensors(Path(f"mine/{split}.safetensors"), tensors, {**facts, "dataset": "mine"})
    export(digits, "pt", "set.pt", "--stored")
    command = ["import", "set.pt", "--method", "tiles", "--out", "new", "--data", "mine", "--epochs", "1"]
    assert cli.main([*command, "--networks", "1"]) == 0
    assert load("new/distilled.safetensors").dataset == "mine" and Path("new/convnet-3.dm.json").is_file()


def test_parquet_is_what_the_library_datasets_reads(digits):
    parquet = pytest.importorskip("pyarrow.parquet")
    export(digits, "parquet", "set.parquet")
    table, original = parquet.read_table("set.parquet"), load(digits / "distilled.safetensors")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"]["names"] == original.label_names and features["image"] == {"_type": "Image"}
    assert table["label"].to_pylist() == original.labels.tolist()
    with Image.open(io.BytesIO(table["image"][7]["bytes"].as_py())) as picture:
        assert np.abs(np.asarray(picture) / 255 - original.pixels[7, 0].numpy()).max() <= 0.5 / 255 + 1e-6


def test_a_set_that_ships_is_exported_by_its_name(capsys):
    assert cli.main(["export", "cifar10-ipc1-fast", "--format", "npz", "--out", "set.npz"]) == 0
    assert np.array_equal(np.load("set.npz")["images"], load("cifar10-ipc1-fast").pixels.numpy())
    assert cli.main(["export", "another", "--format", "npz", "--out", "another.npz"]) == 2
    assert "(allowed: cifar10-ipc1-fast" in capsys.readouterr().err


def test_a_set_whose_data_set_names_its_classes_itself(capsys):
    """The catalogue names no class of Tiny ImageNet; those of an imported set must be told apart all the same."""
    images, labels = torch.rand(200, 3, 64, 64), torch.arange(200)
    torch.save([torch.nn.Parameter(images), labels], "set.pt")
    assert cli.main(import_command("set.pt", "new", dataset="tinyimagenet", ipc="1")) == 0
    assert cli.main(["export", "new/distilled.safetensors", "--format", "png", "--stored", "--out", "pictures"]) == 0
    pictures = torchvision.datasets.ImageFolder("pictures")
    assert pictures.targets == list(range(200)) and pictures.classes[:2] == ["000", "001"]
    torch.save([images, labels.clamp(max=198)], "set.pt")
    assert cli.main(import_command("set.pt", "other", dataset="tinyimagenet", ipc="1")) == 2
    assert "holds 2 images of class 198 (198), but 1 of each are wanted" in capsys.readouterr().err


def test_exports_do_not_mix_with_other_files(digits, capsys):
    Path("full").mkdir()
    Path("full/x.png").touch()
    stored = str(digits / "distilled.safetensors")
    assert cli.main(["export", stored, "--format", "png", "--out", "full"]) == 2
    assert "full: is not empty" in capsys.readouterr().err
    assert cli.main(["export", stored, "--format", "pt", "--out", "full"]) == 2
    assert "full: cannot be written: a folder of that name is in the way" in capsys.readouterr().err
    before = Path(stored).read_bytes()
    assert cli.main(["export", stored, "--format", "pt", "--out", stored]) == 2
    assert f"--out: is {stored}, but {stored} is read; name another place" in capsys.readouterr().err
    assert Path(stored).read_bytes() == before


def test_the_example_of_the_readme_runs():
    """As it stands, on the set that ships."""
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    data, network = names["data"], names["network"]
    assert (len(data), data.classes, data.names["method"]) == (400, 10, "fast")
    with torch.no_grad():
        assert (network(data.images).argmax(1) == data.labels).float().mean() > 0.5
