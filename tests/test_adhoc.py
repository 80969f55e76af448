"""A user's own folder: what is read from it, what is refused, a killed run that continues, and the tutorial."""

from __future__ import annotations

import re
import shlex
import shutil
import struct
import subprocess
import sys
import zlib
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import KillAt, Killed
from PIL import Image

from ncfm import cli
from ncfm.core.errors import DataError, NcfmError, ParamsError
from ncfm.core.store import read_json, sha256, write_text
from ncfm.datasets.folder import list_folder, load_folder
from ncfm.datasets.pictures import pixel_sizes
from ncfm.datasets.split import load_split
from ncfm.method.distilled import load
from ncfm.models.registry import build
from ncfm.outside import adhoc, own
from ncfm.outside.wish import Wish

TUTORIAL = Path(__file__).resolve().parent.parent / "docs/tutorial.md"
SMALL = ["--iterations", "4", "--epochs", "1", "--pool", "1"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NCFM_TRACKING", "off")


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for values in (adhoc.PRETRAIN, adhoc.EVALUATE):
        monkeypatch.setitem(values, "width", 8)
    monkeypatch.setitem(adhoc.EVALUATE, "networks", 2)
    monkeypatch.setitem(adhoc.DISTILL, "batch_real", 32)


def picture(path: str, value: object = 100, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def write_classes(folder: str, count: int, classes: str = "ab") -> None:
    for label, name in enumerate(classes):
        for number in range(count):
            pixels = np.full((8, 8, 3), (90 * label, 60 + number, 10 * number), dtype=np.uint8)
            pixels[6:, 6:] = 255
            Path(folder, name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(f"{folder}/{name}/{number:02}.png")


def test_a_folder_without_test_images_holds_out_every_fifth():
    write_classes("pets", 7)
    listing = list_folder(Path("pets"))
    assert (listing.name, listing.label_names, listing.test_folder) == ("pets", ("a", "b"), None)
    assert [[file.stem for file in files] for files in listing.files["test"]] == [["00", "05"]] * 2
    assert [[file.stem for file in files] for files in listing.files["train"]] == [["01", "02", "03", "04", "06"]] * 2


@pytest.mark.parametrize("test", ["test", "val"])
def test_a_folder_with_a_split_keeps_it(test):
    write_classes("pets/train", 3)
    write_classes(f"pets/{test}", 2)
    listing = list_folder(Path("pets"))
    assert listing.test_folder == Path("pets", test)
    assert [len(files) for files in listing.files["train"]] == [3, 3]
    images, labels = load_folder(listing, 4).splits["test"]
    assert labels.tolist() == [0, 0, 1, 1] and images[:, :, 0, 0].tolist() == [
        [90 * label, 60 + number, 10 * number] for label in range(2) for number in range(2)
    ]


def test_images_are_cropped_to_their_middle_turned_upright_and_share_their_channels():
    wide = np.zeros((8, 24), dtype=np.uint8)
    wide[:, 8:16] = 200
    for name in "ab":
        picture(f"grey/{name}/0.png", 50, mode="L")
        picture(f"grey/{name}/deep.png", 257 * 150, mode="I;16")
        Image.fromarray(wide).save(f"grey/{name}/wide.JPG", quality=95)
    turned = Image.fromarray(np.repeat(np.arange(8, dtype=np.uint8)[:, None] * 30, 8, axis=1))
    exif = turned.getexif()
    exif[0x0112] = 3  # the camera was upside down
    turned.save("grey/b/turned.png", exif=exif)
    listing = list_folder(Path("grey"))
    assert sorted(set(pixel_sizes(listing.all_files("train", "test")))) == [(8, 8), (24, 8)]
    splits = load_folder(listing, 8).splits  # the first file of each class is held out
    deep, middle, _, upright, _ = splits["train"][0]
    assert splits["train"][0].shape == (5, 1, 8, 8) and (deep == 150).all()
    assert (middle.float() - 200).abs().max() < 8
    assert upright[0, :, 0].tolist() == [210 - 30 * row for row in range(8)]
    picture("grey/a/1.png", (1, 2, 3))
    assert load_folder(list_folder(Path("grey")), 8).splits["train"][0].shape[1] == 3


@pytest.mark.parametrize(("side", "resolution"), [(8, 32), (48, 32), (49, 64), (96, 64), (97, 128), (4000, 128)])
def test_the_nearest_resolution(side, resolution):
    assert adhoc.nearest_resolution(side) == resolution


def run(*more: str) -> list[str]:
    return ["distill", "--data", "pets", "--ipc", "1", *SMALL, *more]


def outputs(folder: str) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and "record" not in path.name and path.name != "report.html"  # it names the folder
    }


@pytest.mark.usefixtures("_small")
def test_a_folder_from_end_to_end_killed_on_the_way(capsys, monkeypatch):
    write_classes("pets/train", 5, "abc")
    write_classes("pets/test", 2, "abc")
    monkeypatch.setitem(adhoc.DISTILL, "checkpoint_every", 2)
    assert cli.main(run("--out", "whole")) == 0
    place = "sets/pets/ipc1/paper/seed0/distilled.safetensors"
    line, beside, page = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        rf"whole/{place}: test accuracy [\d.]+ % ± [\d.]+ \(2 networks trained on it, 10 epochs\) "
        r"on the 6 images of pets/test",
        line,
    )
    evaluated = read_json("whole/evaluations/pets/ipc1/paper/seed0/convnet-3.json")
    assert f"{evaluated['last']['mean']:.1f} %" in line
    text = Path(page.removeprefix("all on one page: ")).read_text(encoding="utf-8")
    for accuracy in re.findall(r"[\d.]+ % ± [\d.]+|[\d.]+ %", line + beside):
        assert f">{accuracy}</td>" in text
    assert f"ncfm.load(&#34;whole/{place}&#34;)" in text or f'ncfm.load("whole/{place}")' in text
    assert "to right: a, b, c." in text and text.count("<img alt=") == 2
    data = load(f"whole/{place}")
    assert data.stored.shape == (3, 3, 32, 32) and data.label_names == ["a", "b", "c"]
    assert load_split("whole/datasets/pets", "train").images.shape == (15, 3, 32, 32)

    started = []

    def start(record, path, wanted=True):
        started.extend([record["stage"]] * wanted)
        return KillAt(3 if record["stage"] == "distill" and started.count("distill") == 1 else 0)

    monkeypatch.setattr(KillAt, "finish", lambda self, record: None)
    monkeypatch.setattr("ncfm.run.record.Run", start)
    with pytest.raises(Killed):
        cli.main(run("--out", "killed"))
    assert not Path("killed", place).exists()
    capsys.readouterr()
    assert cli.main(run("--out", "killed")) == 0
    assert "distill: continuing from 2 of 4" in capsys.readouterr().err
    beside = ["select", "evaluate"]  # of random images
    assert started == ["prepare", "pretrain", "distill", "distill", "evaluate", *beside]  # no finished stage ran again
    assert outputs("killed") == outputs("whole")
    picture("pets/train/a/00.png", (1, 2, 3))  # another image: everything is made anew
    assert cli.main(run("--out", "killed")) == 0
    assert started[7:] == ["prepare", "pretrain", "distill", "evaluate", *beside]
    assert outputs("killed").keys() == outputs("whole").keys()


def test_a_folder_is_distilled_on_a_gpu_that_is_chosen_before_anything_runs(monkeypatch):
    write_classes("photos", 20)
    chosen = []
    monkeypatch.setattr("ncfm.run.gpus.choose", chosen.append)

    def first(*given):
        raise Killed

    monkeypatch.setattr(adhoc, "run_stage", first)
    with pytest.raises(Killed):
        adhoc.distill_folder(Path("photos"), Wish(ipc=1))
    assert chosen == [1]


def test_a_data_set_is_named_as_all_is_that_stands_in_paths():
    write_classes("photos", 1)
    for name in ("a" * 65, "a_b", "-a", "a\n"):
        with pytest.raises(ParamsError, match=r"^--name: .* must be small letters, digits and '-', 64 at most"):
            own.add(Path("photos"), name, None)


def truncated() -> None:
    path = Path("pets/b/03.png")
    Image.effect_noise((64, 64), 90).save(path)
    path.write_bytes(path.read_bytes()[:1000])


def other_test_classes() -> None:
    write_classes("pets/train", 6)
    write_classes("pets/val", 6, "ac")


@pytest.mark.parametrize(
    ("change", "more", "expected"),
    [
        (None, ["--data", "cats"], "cats: no such folder"),
        (None, ["--data", "pets/a"], "pets/a: holds 0 class folders, but at least two are wanted"),
        (lambda: Path("pets/empty").mkdir(), [], "pets/empty: holds no images (looked for .png"),
        (other_test_classes, [], "pets/val: must hold the same classes as pets/train, but only one has 'b'"),
        (None, ["--ipc", "2"], "pets: class 'a' has 7 images to train on, but --ipc 2 starts from 8 … --ipc 1 to 1)"),
        (lambda: picture("pets/c/0.png"), [], "pets: class 'c' has 0 images to train on … add images: at least 4"),
        (truncated, [], "pets/b/03.png: is no readable, whole image ("),
        (lambda: Path("pets/a/02.png").write_text("x"), [], "pets/a/02.png: is no readable, whole image (of no"),
        (lambda: Path("pets/a/99.png").symlink_to("gone"), [], "pets/a/99.png: is no readable … (No such file"),
        (lambda: picture("pets/a/02.tif", 1, mode="F"), [], "pets/a/02.tif: is no readable … its pixels have 32 bits"),
        (
            None,
            ["--method", "papr"],
            "--method: unknown method 'papr'; did you mean 'paper'? (allowed: amplitude, dm",
        ),
        (None, ["--resolution", "50"], "--resolution: is 50, but must be one of 16, 24, 32, … 256"),
        (None, ["--out", "pets/new"], "pets/new: would lie in pets, the folder of images, as one more class; … --out"),
        (None, ["pets"], "pets: is read only without --data and --params"),
        (None, ["--ipc", "0"], "Invalid value for '--ipc': 0 is not in the range x>=1"),
        (None, ["--iterations", "0"], "ncfm distill: iterations: is 0, but should be"),
        (None, ["--extractors", "x"], "--extractors: is read only with --params"),
        (None, ["--params", "x"], "--extractors: is missing, but is needed with --params"),
        (
            None,
            ["--params", "x", "--extractors", "x", "--method", "x", "--out", "x"],
            "--iterations: is read only without --params",
        ),
        (lambda: Path("results").write_text(""), [], "results/adhoc/pets/ … : cannot be written"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(change, more, expected, capsys):
    write_classes("pets", 9)
    if change:
        change()
    assert cli.main(run(*more)) == 2
    *before, line = capsys.readouterr().err.splitlines()
    assert all("classes, images to train on" in one for one in before)
    assert re.match("ncfm: " + ".*".join(re.escape(part) for part in expected.split(" … ")), line), line
    assert not list(Path().rglob("*.safetensors"))


def test_every_recipe_of_the_base_file_is_offered():
    wish = adhoc.Wish(ipc=1, iterations=3, epochs=5)
    recipes = {name: adhoc.recipes_of(name, wish)[name] for name in ("paper", "fast", "released", "random", "herding")}
    assert recipes["paper"].frequencies == "mixture" and recipes["paper"].learning_rate == 0.01
    assert recipes["released"].update == "per-class" and recipes["released"].learning_rate == 0.001
    assert recipes["fast"].kept == "uint8" and recipes["fast"].iterations == 3
    assert (recipes["herding"].rule, recipes["random"].factor) == ("herding", 1)
    assert list(adhoc.recipes_of("paper-curated", wish)) == ["paper", "paper-curated"]
    with pytest.raises(NcfmError, match="unknown method 'whole'"):
        adhoc.recipes_of("whole", wish)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("method", ["random", "random-tiles", "herding", "paper-curated"])
def test_a_set_without_distillation_or_with_more_of_a_folder(method, capsys):
    write_classes("pets", 9)
    assert cli.main(run("--method", method)) == 0
    first, beside, _ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"results/adhoc/pets/sets/pets/ipc1/{method}/seed0/distilled.safetensors: test accuracy ")
    chance = "" if method == "random" else r"random images of equal storage [\d.]+ % ± [\d.]+; "
    assert re.fullmatch(
        rf"beside it: {chance}the extractors, trained on the whole training "
        r"set, [\d.]+ % \(1 network, 1 epoch; no ceiling: those of a set train 10\)",
        beside,
    )


@pytest.mark.usefixtures("_small")
def test_a_page_keeps_every_set_of_its_folder_and_no_other_folder_takes_its_place(capsys):
    for folder in ("mine/photos", "yours/photos"):
        write_classes(folder, 9)
        Path(folder, "a/.old").mkdir()
    page, hidden = Path("results/adhoc/photos/report.html"), "left out, hidden folders: .old"
    small = [*SMALL, "--ipc", "1", "--resolution", "48"]
    assert cli.main(["distill", "mine/photos", *small, "--method", "random-tiles"]) == 0
    error = capsys.readouterr().err
    assert "images of 8 x 8 pixels, the middle square of each read at 48 x 48" in error
    assert error.count(f"note: {hidden}\n") == 1
    assert error.index("evaluate: random-tiles, IPC 1\n") < error.index("evaluate: random, IPC 1\n")
    before = outputs("results")

    assert cli.main(["distill", "--data", "yours/photos", *small]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    other = Path("mine/photos").resolve()
    assert line == f"ncfm: results/adhoc/photos: holds the results of the folder {other}; name another place with --out"
    assert outputs("results") == before

    assert cli.main(["distill", "--data", str(other), *small, "--method", "random"]) == 0, "the same folder"
    assert f"note: {hidden}\n" in capsys.readouterr().err, "although nothing is prepared again"
    text = unescape(page.read_text(encoding="utf-8"))
    links = [page.parent / link for link in re.findall('href="([^"]*)"', text)]
    assert {link.name for link in links} == {"distilled.safetensors"} and all(link.is_file() for link in links)
    rows = re.findall(r"<tr><td>(.*?)</td><td class=\"number\">([\d.]+) %", text)
    assert [what for what, _ in rows][:2] == ["random, IPC 1, seed 0", "random-tiles, IPC 1, seed 0"]
    for method, (_, accuracy) in zip(("random", "random-tiles"), rows, strict=False):
        found = read_json(f"results/adhoc/photos/evaluations/photos/ipc1/{method}/seed0/convnet-3.json")
        assert accuracy == f"{found['last']['mean']:.1f}"
    assert f"<li>{hidden}</li>" in text and text.count("<img alt=") == 2 and "<span>a</span><span>b</span>" in text
    snippet = re.search(r"<pre class=\"commands\">(import.*?)</pre>", text, re.DOTALL)
    made: dict[str, object] = {}
    exec(snippet[1] if snippet else "", made)
    assert next(iter(made["loader"]))[0].shape == (2, 3, 48, 48)

    picture("mine/photos/a/00.png", (1, 2, 3))  # other images: sets of the former ones are compared no longer
    assert cli.main(["distill", "mine/photos", *small, "--method", "random"]) == 0
    assert "random-tiles" not in page.read_text(encoding="utf-8")


def test_without_a_folder_the_line_says_how_to_name_it(capsys):
    assert cli.main(["distill", "--ipc", "1"]) == 2
    assert capsys.readouterr().err == "ncfm: --data: is missing, a folder of images: ncfm distill --data FOLDER\n"


@pytest.mark.parametrize("side", [16, 48, 56, 64, 112, 128, 256])
def test_the_network_of_a_resolution_takes_it(side):
    arch, generator = adhoc.network_of(side), torch.Generator()
    network = build(arch, channels=1, resolution=side, classes=2, width=4, norm="default", generator=generator)
    assert side in adhoc.RESOLUTIONS and network(torch.zeros(1, 1, side, side)).shape == (1, 2)


@pytest.mark.usefixtures("_small")
def test_the_tutorial_runs(capsys):
    """Every block as it stands, only with a smaller budget."""
    blocks = re.findall(r"```(python|sh)\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "sh", "python", "sh"]
    for language, block in blocks:
        if language == "sh":
            for line in block.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "ncfm"
                assert cli.main([*arguments, *(SMALL if arguments[0] == "distill" else [])]) == 0
        else:
            assert "zip(" in block or "range(30)" in block
            exec(block.replace("range(30)", "range(4)"), {})
    told = capsys.readouterr().out
    accuracy = re.search(r"^([\d.]+)% of 364 real test images, learned from 400 distilled ones$", told, re.MULTILINE)
    assert accuracy and float(accuracy[1]) > 60
    assert len(list(Path("digits-distilled").glob("*/*.png"))) == 400
    assert np.load("digits.npz")["images"].shape == (400, 1, 32, 32)


def shown(folder: str, resolution: int = 8) -> tuple[list[int], list[str], torch.Tensor]:
    """Return how many training images a folder has by class, the notes, and the training images."""
    listing = list_folder(Path(folder))
    loaded = load_folder(listing, resolution)
    return [len(files) for files in listing.files["train"]], loaded.origin.get("notes", []), loaded.splits["train"][0]


def test_splits_have_many_names_and_what_is_not_read_is_named():
    for split, number in (("Training", 4), ("valid", 3), ("validation", 2), ("notes", 1)):
        write_classes(f"pets/{split}", number, "abc")
    listing = list_folder(Path("pets"))
    assert [len(files) for files in listing.files["train"]] == [4, 4, 4]
    assert listing.test_folder == Path("pets/valid") and len(listing.all_files("test")) == 9
    assert listing.notes == ("not read, beside Training: notes, validation",)
    assert listing.summary == "3 classes, images to train on: a 4, b 4, c 4; tested on the 9 of pets/valid"
    shutil.rmtree("pets/Training")
    shutil.rmtree("pets/notes")
    with pytest.raises(DataError, match=r"pets: holds valid, validation, but no folder train with classes"):
        list_folder(Path("pets"))


def test_names_of_splits_with_a_second_word_and_images_of_no_class():
    for split, number in (("training_set", 4), ("train labels", 1), ("Test-Images", 2)):
        write_classes(f"pets/{split}", number)
    for loose in ("pets/0.png", "pets/training_set/0.JPG", "pets/Test-Images/0.bmp", "pets/.hidden.png"):
        picture(loose)
    listing = list_folder(Path("pets"))
    assert [len(files) for files in listing.files["train"]] == [4, 4]
    assert listing.test_folder == Path("pets/Test-Images")
    assert listing.notes == (
        "not read, beside training_set: train labels",
        "left out, outside the folders of classes: 3 images",
    )
    assert list_folder(Path("pets/training_set")).notes == ("left out, outside the folders of classes: 1 image",)


def test_links_are_followed_and_hidden_folders_are_not():
    write_classes("pets", 6, "abc")
    write_classes("elsewhere", 4)
    Path("pets/a/more").symlink_to(Path("elsewhere/a").resolve())
    Path("pets/a/back").symlink_to(Path("pets/a").resolve())  # a circle
    for hidden in (".ipynb_checkpoints", "__MACOSX"):
        Path("pets/b", hidden).mkdir()
        shutil.copy("pets/b/00.png", Path("pets/b", hidden, "77.png"))
    write_text("pets/c/notes.txt", "")
    counts, notes, _ = shown("pets")
    assert counts == [8, 4, 4]
    assert notes[:2] == ["left out, of other kinds: 1 .txt", "left out, hidden folders: .ipynb_checkpoints, __MACOSX"]


def test_bits_transparency_and_formats():
    for label, name in enumerate("ab"):
        for number in range(5):
            picture(f"deep/{name}/{number}.png", 4095 - 2048 * label - number, mode="I;16")
            icon = np.zeros((8, 8, 4), dtype=np.uint8)
            icon[number, label:, 3] = 255  # black where it is not transparent
            Path(f"icons/{name}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(icon).save(f"icons/{name}/{number}.png")
            Image.new("L", (8, 8), 10 * number + label).save(f"icons/{name}/{number}.jfif", "JPEG")
    with pytest.raises(DataError, match="every image is of one colour"):
        shown("deep")
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 64).save("deep/a/11.png")
    _, notes, images = shown("deep")
    assert notes[0] == "values of 16-bit images go up to 4095: they are read as 12 bits"
    assert images[0].unique().tolist() == [round(4094 / 4095 * 255)] and images[-1].unique().tolist() == [127]
    counts, notes, images = shown("icons")
    assert counts == [8, 8] and notes[0] == "10 images are transparent: they are laid on white"
    assert (images == 255).sum() > 100 and (images == 0).any()


def write_deep(path: str, pixels: np.ndarray) -> None:
    """Write a PNG of 16 bits with two (grey, alpha), three or four channels, which Pillow cannot."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_few_levels_of_16_bit_colours_are_refused(channels):
    levels = np.arange(64 * channels).reshape(8, 8, channels)
    for bits, folder in ((12, "scans"), (16, "whole")):
        pixels = levels * (2**bits // levels.size)
        if channels != 3:
            pixels[..., -1] = 2**bits - 1
        for name in ("a", "b"):
            for number in range(2):
                write_deep(f"{folder}/{name}/{number}.png", pixels)
    with pytest.raises(
        DataError, match=r"^scans: its 16-bit .* of 12 bits, .* upper 4 .*: magick FILE .* multiply 16 -depth 8 COPY$"
    ):
        shown("scans")
    assert len(shown("whole")[2].unique()) > 50


def write_tiff(path: str, pixels: np.ndarray, planes: bool) -> None:
    """Write an uncompressed TIFF of 16-bit colours, side by side or each in a plane of its own."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    height, width, channels = pixels.shape
    parts = [pixels[..., number].astype("<u2").tobytes() for number in range(channels)]
    parts = parts if planes else [pixels.astype("<u2").tobytes()]
    tags = {256: [width], 257: [height], 258: [16] * channels, 259: [1], 262: [2], 273: [], 277: [channels]}
    tags |= {278: [height], 279: [len(part) for part in parts], 284: [1 + planes]}
    far = 8 + 2 + 12 * len(tags) + 4
    data = b"".join(parts)
    tags[273] = [far + len(parts[0]) * number for number in range(len(parts))]
    heads, lists = b"", b""
    for tag, values in tags.items():
        text = struct.pack(f"<{len(values)}I", *values)
        place = text if len(values) == 1 else struct.pack("<I", far + len(data) + len(lists))
        lists += text if len(values) > 1 else b""
        heads += struct.pack("<HHI", tag, 4, len(values)) + place
    head = b"II" + struct.pack("<HIH", 42, 8, len(tags)) + heads + struct.pack("<I", 0)
    Path(path).write_bytes(head + data + lists)


def test_colours_of_16_bits_in_a_tiff_are_read_or_refused_where_they_lie_in_planes():
    pixels = np.arange(192).reshape(8, 8, 3) * 340
    for name in ("a", "b"):
        for number in range(2):
            write_tiff(f"scans/{name}/{number}.tif", pixels, planes=False)
    assert (shown("scans")[2][0].permute(1, 2, 0).numpy() == pixels // 256).all()
    write_tiff("scans/b/1.tif", pixels, planes=True)
    with pytest.raises(DataError, match=r"^scans/b/1.tif: is no readable, .* in planes, which are not read; "):
        shown("scans")


def test_twelve_bits_of_a_pgm_dark_masks_frames_and_colours_without_a_pattern():
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    for name in ("a", "b"):
        for number in range(2):
            picture(f"flat/{name}/{number}.png", (200, 30, 90 * number))
            picture(f"masks/{name}/{number}.png", 0, mode="L")
            Image.fromarray((pixels % 2).astype(np.uint8)).save(f"masks/{name}/{number}.png")
            frames = [Image.fromarray((pixels * scale).astype(np.uint8)) for scale in (1, 4)]
            picture(f"moving/{name}/{number}.gif", 0, mode="L")
            frames[1].save(f"moving/{name}/{number}.gif", save_all=True, append_images=frames[:1])
            picture(f"scans/{name}/{number}.pgm", 0, mode="L")
            Path(f"scans/{name}/{number}.pgm").write_bytes(b"P5 8 8 4095\n" + (pixels * 65).astype(">u2").tobytes())
    with pytest.raises(DataError, match="flat: every image is of one colour"):
        shown("flat")
    dark = "no pixel is brighter than 1 of 255: scale the values up if these are masks of classes"
    assert shown("masks")[1][0] == dark
    _, notes, images = shown("moving")
    assert notes[0] == "4 images have several frames: the first of each is read" and images.max() == 252
    _, notes, images = shown("scans")
    assert (images[0, 0].numpy() == (pixels * (65 * 255 / 4095)).round()).all() and "bits" not in "".join(notes)


def test_the_same_image_on_both_sides_is_named():
    write_classes("pets/train", 5)
    write_classes("pets/test", 2)
    shutil.copy("pets/train/a/00.png", "pets/test/a/00.png")
    _, notes, _ = shown("pets")
    assert [note.partition(":")[0] for note in notes] == ["test images that are among the training images as well"]


def test_folders_that_cannot_be_right():
    for name in ("a", "b"):
        for inner in ("left", "right"):
            picture(f"nested/{name}/{inner}/0.png", 9)
    with pytest.raises(DataError, match=r"nested: every folder in it holds left, right; wanted is nested/<class>"):
        list_folder(Path("nested"))
    write_classes("outer/data/train", 2)
    with pytest.raises(DataError, match=r"^outer: holds 1 class folder, but .*; did you mean outer/data\?$"):
        list_folder(Path("outer"))
    with pytest.raises(DataError, match=r"png$"):
        list_folder(Path("outer/data/train/a"))


def test_a_class_that_would_be_tested_and_never_trained_on_cannot_be_added(capsys):
    write_classes("single", 1)
    assert cli.main(["add", "single"]) == 2
    wanted = "single: class 'a' has one image, which is to test on, and none to train on (add images)"
    assert capsys.readouterr().err.splitlines()[-1] == f"ncfm: {wanted}"
    assert not Path("params").exists()


def test_many_classes_are_summed_up():
    write_classes("many", 6, "abcdefghijkl")
    picture("many/a/99.png")
    summary = list_folder(Path("many")).summary
    assert summary == "12 classes, images to train on: 4 to 5 in each class; tested on every 5th image (24)"


def ncfm(*command: str) -> subprocess.CompletedProcess[str]:
    """Run `ncfm` in a process of its own, which reads the files of facts that are there then."""
    return subprocess.run([sys.executable, "-m", "ncfm.cli", *command], check=False, capture_output=True, text=True)


def test_a_folder_becomes_a_data_set_that_campaigns_name():
    write_classes("Pets/train", 8)
    write_classes("Pets/test", 2)
    shutil.copytree(adhoc.BASE.parent, "params")
    added = ncfm("add", "Pets", "--resolution", "32")
    assert added.returncode == 0 and "pets: {ipcs: [2]}" in added.stdout
    write_classes("few", 4)  # of which three are trained on
    told = [line[2:] for line in ncfm("add", "few").stdout.splitlines() if line.startswith("  ")]
    write_text("params/few.yaml", "\n".join([*told, "methods: {paper: {}, random: {}}\n"]))
    assert re.search(r"^distill +few +1 ", ncfm("plan", "few").stdout, re.MULTILINE)
    campaign = Path("params/tiny.yaml").read_text("utf-8").replace("digits:", "pets:")
    write_text("params/mine.yaml", campaign)
    assert ncfm("params", "mine").returncode == 0
    prepare = ("prepare", "--params", "results/mine/params/prepare/pets.json", "--out", "data/pets")
    assert ncfm(*prepare).returncode == 0
    assert torch.equal(load_split("data/pets", "train").images, shown("Pets", 32)[2])

    assert ncfm("add", "Pets", "--resolution", "32").returncode == 0, "the same again"
    picture("Pets/train/a/00.png", (1, 2, 3))
    refused = {
        ("add", "Pets"): "--name: pets is another data set",
        prepare: "pets: source folder gave other train images",
    }
    refused[("add", "Pets", "--name", "a/b")] = "--name: 'a/b' must be small letters"
    for command, said in refused.items():
        result = ncfm(*command)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1) and said in result.stderr, result.stderr
    assert ncfm("add", "Pets", "--name", "pets-2").returncode == 0
