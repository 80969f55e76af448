"""Sets in other formats: what is written can be read again, and an imported set is as good as the one it came from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import record_of, run_evaluate
from PIL import Image

from ncfm import cli
from ncfm.core.params import PrepareParams, SelectParams
from ncfm.core.store import load_tensors, read_json, save_tensors, sha256
from ncfm.core.torchvision_shim import torchvision
from ncfm.method.distilled import load
from ncfm.outside.adhoc import Limits, protocols
from ncfm.outside.exchange import class_folders
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
    export(digits, "pt", "set.pt")
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
    assert record["inputs"] == {"mixed.pt": sha256("mixed.pt")} and record["params"] == {"factor": 2}


def test_an_imported_set_is_tested_under_every_protocol(digits, capsys):
    export(digits, "pt", "set.pt")
    command = [*import_command("set.pt", "new"), "--data", str(digits), "--epochs", "4", "--networks", "1"]
    assert cli.main(command) == 0
    shown = capsys.readouterr().out.splitlines()
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
    assert "nowhere/train.safetensors: no such file" in no_data and "--epochs: is read only with --data" in no_test


def test_protocols_have_the_exceptions_of_data_set_and_ipc():
    def epochs(dataset: str, ipc: int, **limits: int) -> dict[str, int]:
        return {name: params.epochs for name, params in protocols(dataset, ipc, Limits(**limits)).items()}

    usual = {"released": 2000, "dm": 1000, "dc": 300, "plain": 1000, "released-2026": 3000}
    assert epochs("mnist", 10) == epochs("cifar10", 50) == usual
    assert epochs("cifar10", 10) == {**usual, "authors-2026-cifar10-ipc10": 4000}
    assert epochs("tinyimagenet", 10) == {**usual, "released": 300, "authors-2026-tinyimagenet-ipc10": 300}
    cut = {"released": 40, "dm": 500, "dc": 300, "plain": 500, "released-2026": 500}
    assert epochs("tinyimagenet", 50, epochs=500) == {**cut, "authors-2026-tinyimagenet-ipc50": 30}
    found = [protocols(name, 10, Limits())["released"] for name in ("digits", "cifar10", "tinyimagenet", "imagemeow")]
    assert [params.arch for params in found] == ["convnet-3", "convnet-3", "convnet-4", "convnet-5"]
    assert [params.networks for params in found] == [10, 10, 10, 3]


def test_png_and_npz_hold_the_same_images(digits):
    original = load(digits / "distilled.safetensors")
    export(digits, "npz", "set.npz")
    content = np.load("set.npz", allow_pickle=False)
    assert np.array_equal(content["images"], original.stored.numpy())
    assert content["labels"].tolist() == [label for label in range(10) for _ in range(2)]
    export(digits, "png", "stored")
    export(digits, "png", "decoded", "--decoded")
    for folder, images, labels in (
        ("stored", original.stored, torch.tensor(content["labels"])),
        ("decoded", original.pixels, original.labels),
    ):
        order = labels.argsort(stable=True)
        found = torchvision.datasets.ImageFolder(folder, loader=Image.open)
        assert found.classes == original.label_names and found.targets == labels[order].tolist()
        pixels = torch.stack([torch.tensor(np.asarray(image) / 255.0) for image, _ in found])
        assert (pixels - images[order, 0]).abs().max() <= 0.5 / 255 + 1e-6


def test_soft_labels_are_not_dropped_without_a_word(digits, capsys):
    tensors, facts = load_tensors(digits / "distilled.safetensors")
    soft = torch.full((4 * len(tensors["images"]), 10), 0.1)
    save_tensors(Path("curated.safetensors"), {**tensors, "soft_labels": soft}, facts)
    assert cli.main(["export", "curated.safetensors", "--format", "pt", "--out", "curated.pt"]) == 0
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
        (b"", {}, "is not a whole torch file of tensors alone"),
        ([GOOD[0], Path("x")], {}, "is not a whole torch file of tensors alone"),
        (GOOD[0], {}, "does not hold a list of two tensors"),
        ([*GOOD, GOOD[1]], {}, "does not hold a list of two tensors"),
        (GOOD, {"ipc": "1"}, "shape (20, 1, 16, 16), but digits at IPC 1 has (10, 1, 16, 16)"),
        (GOOD, {"dataset": "cifar10"}, "shape (20, 1, 16, 16), but cifar10 at IPC 2 has (20, 3, 32, 32)"),
        ([GOOD[0], GOOD[1][:3]], {}, "holds labels of shape (3,)"),
        ([GOOD[0], GOOD[1].float()], {}, "holds labels of shape (20,) and type torch.float32"),
        ([GOOD[0], GOOD[1] + 1], {}, "holds labels 1 to 10, but digits has 0 to 9"),
        ([GOOD[0], GOOD[1].clamp(max=8)], {}, "holds 4 images of class 8 (8), but --ipc says 2"),
        ([(GOOD[0] * 255).to(torch.uint8), GOOD[1]], {}, "holds images of type torch.uint8"),
        ([GOOD[0].to_sparse(), GOOD[1]], {}, "does not hold a list of two tensors"),
        ([GOOD[0].to("meta"), GOOD[1]], {}, "does not hold a list of two tensors"),
        (None, {}, "set.pt: no such file"),
        (changed(float("nan")), {}, "not finite"),
        (changed(-2.1), {}, "holds pixels from -2.1 to 0.5, but un-normalised"),
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
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not Path("new/distilled.safetensors").exists()


def test_pixels_slightly_outside_are_clamped_and_counted(capsys):
    torch.save(changed(1.02), "set.pt")
    assert cli.main(import_command("set.pt", "new")) == 0
    assert "1 of 5120 pixels lay outside [0, 1] and are clamped" in capsys.readouterr().err
    assert load("new/distilled.safetensors").stored.max() == 1


def test_a_set_whose_data_set_names_its_classes_itself(capsys):
    """The catalogue names no class of Tiny ImageNet; those of an imported set must be told apart all the same."""
    images, labels = torch.rand(200, 3, 64, 64), torch.arange(200)
    torch.save([torch.nn.Parameter(images), labels], "set.pt")
    assert cli.main(import_command("set.pt", "new", dataset="tinyimagenet", ipc="1")) == 0
    assert capsys.readouterr().err == ""  # a gradient wanted of the images changes nothing
    assert cli.main(["export", "new/distilled.safetensors", "--format", "png", "--out", "pictures"]) == 0
    pictures = torchvision.datasets.ImageFolder("pictures")
    assert pictures.targets == list(range(200)) and pictures.classes[:2] == ["000", "001"]
    torch.save([images, labels.clamp(max=198)], "set.pt")
    assert cli.main(import_command("set.pt", "other", dataset="tinyimagenet", ipc="1")) == 2
    assert "holds 2 images of class 198 (198), but --ipc says 1 of each" in capsys.readouterr().err


def test_exports_do_not_mix_with_other_files(digits, capsys):
    Path("full").mkdir()
    Path("full/x.png").touch()
    stored = str(digits / "distilled.safetensors")
    assert cli.main(["export", stored, "--format", "png", "--out", "full"]) == 2
    assert "full: is not empty" in capsys.readouterr().err
    assert cli.main(["export", stored, "--format", "pt", "--out", "full"]) == 2
    assert "full: cannot be written: a folder of that name is in the way" in capsys.readouterr().err


def test_the_example_of_the_readme_runs():
    """As it stands, on the set that ships."""
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    data, network = names["data"], names["network"]
    assert (len(data), data.classes, data.names["method"]) == (40, 10, "fast")
    with torch.no_grad():
        assert (network(data.images).argmax(1) == data.labels).float().mean() > 0.5
