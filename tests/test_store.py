"""Files on disk: whole or not at all, equal content gives equal bytes, and torn files are named in one line."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from ncfm.core import store
from ncfm.core.errors import DataError, StorageError, one_of

TENSORS = {"images": torch.arange(24, dtype=torch.uint8).view(2, 3, 4), "labels": torch.tensor([1, -2])}
METADATA = {"names": {"ipc": 1, "method": "é"}, "mean": [0.1, 0.2], "a": None}


def only(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_replacing_writes_whole_files_into_new_folders(tmp_path):
    target = tmp_path / "a/b/text.txt"
    store.write_text(target, "one\n")
    store.write_text(target, "two\n")
    assert target.read_bytes() == b"two\n" and only(target.parent, "text.txt")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask  # not the private mode of temporary files


def test_a_file_is_replaced_by_renaming(tmp_path):
    """So a reader has the old file or the new one, and never a part of either."""
    target = tmp_path / "text.txt"
    store.write_text(target, "old")
    with target.open(encoding="utf-8") as reader:
        with store.replacing(target) as temporary:
            temporary.write_text("new")
            written = temporary.stat().st_ino
        assert target.stat().st_ino == written
        assert reader.read() == "old"


@pytest.mark.parametrize("fault", [ValueError("a bug"), KeyboardInterrupt(), SystemExit(143)])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(fault, tmp_path):
    target = tmp_path / "text.txt"
    store.write_text(target, "old")

    def write() -> None:
        with store.replacing(target) as temporary:
            assert temporary.parent == target.parent and temporary.suffix == target.suffix
            temporary.write_text("half of the ne")
            raise fault

    with pytest.raises(type(fault)):
        write()
    assert target.read_text() == "old" and only(tmp_path, "text.txt")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_while_writing(code, tmp_path):
    target = tmp_path / "pool.safetensors"
    store.save_tensors(target, TENSORS, METADATA)
    old = target.read_bytes()

    def fail(stream: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    with pytest.raises(StorageError, match=r"pool\.safetensors: cannot be written: the disk") as raised:
        store.write_with(target, fail)
    assert "\n" not in str(raised.value)
    assert target.read_bytes() == old and only(tmp_path, target.name)


def test_the_reason_is_told_or_the_error_is_passed_on(tmp_path):
    store.write_text(tmp_path / "file", "")
    (tmp_path / "folder").mkdir()
    for path, reason in (("file/x", "a file, not a folder"), ("folder", "in the way"), ("n" * 300, "too long")):
        with pytest.raises(StorageError, match=reason):
            store.write_text(tmp_path / path, "text")
        with pytest.raises(StorageError, match=reason):
            store.check_writable(tmp_path / path)
    assert only(tmp_path, "file", "folder")
    with pytest.raises(ConnectionResetError), store.storage_errors(tmp_path):
        raise ConnectionResetError(errno.ECONNRESET, "not about this file")


def test_check_writable_makes_the_folder_and_leaves_it_empty(tmp_path):
    store.check_writable(tmp_path / "new/out.json")
    assert only(tmp_path / "new")


def test_what_killed_processes_left_goes_with_time(tmp_path):
    old, young = tmp_path / ".distilled.0123abcd.tmp.safetensors", tmp_path / ".mlflow.0123abcd.tmp.db-journal"
    others = tmp_path / ".hidden.tmp", tmp_path / "mine.0123abcd.tmp.png"
    for path in (old, young, *others):
        path.touch()
    os.utime(old, (0, 0))
    store.check_writable(tmp_path / "new.json")
    assert not old.exists() and young.exists()
    store.sweep(tmp_path, older_than=0)
    assert only(tmp_path, *(path.name for path in others))


def test_a_text_is_told_from_another_one(tmp_path):
    target = tmp_path / "values.json"
    assert not store.is_text(target, "")
    store.write_json(target, {"b": 1, "a": [1.5, None]})
    assert store.is_text(target, store.json_text({"a": [1.5, None], "b": 1}))
    assert not store.is_text(target, store.json_text({"b": 2}))
    assert target.read_text() == '{\n  "a": [\n    1.5,\n    null\n  ],\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write_json(target, {"a": float("nan")})
    assert store.read_json(target) == {"a": [1.5, None], "b": 1} and only(tmp_path, target.name)
    target.write_bytes(b"\xff")
    assert not store.is_text(target, "\xff")


def test_tensors_and_metadata_come_back(tmp_path):
    target = tmp_path / "set.safetensors"
    turned = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)).t().requires_grad_()
    store.save_tensors(target, {**TENSORS, "turned": turned, "empty": torch.zeros(0, 3)}, METADATA)
    tensors, metadata = store.load_tensors(target)
    assert metadata == METADATA == store.read_metadata(target)
    assert tensors.keys() == {"images", "labels", "turned", "empty"}
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)
    assert torch.equal(tensors["turned"], turned) and not tensors["turned"].requires_grad
    assert tensors["empty"].shape == (0, 3)


def test_equal_content_gives_equal_bytes_in_every_process(tmp_path):
    code = (
        "import sys, torch; from ncfm.core.store import save_tensors\n"
        "metadata = {name: set_ for set_, name in enumerate(sorted({'b', 'a', 'c', 'd'}))}\n"
        "save_tensors(sys.argv[1], {'y': torch.ones(3), 'x': torch.zeros(2)}, metadata)"
    )
    files = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    for seed, path in enumerate(files):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        subprocess.run([sys.executable, "-c", code, path], check=True, env=environment)
    first, second = (path.read_bytes() for path in files)
    assert first == second
    store.save_tensors(
        tmp_path / "3.safetensors", {"x": torch.zeros(2), "y": torch.ones(3)}, {"a": 0, "b": 1, "c": 2, "d": 3}
    )
    assert (tmp_path / "3.safetensors").read_bytes() == first  # whatever the order in which it was given


@pytest.mark.parametrize("kept", [0, 4, 20, -1])
def test_torn_safetensors(kept, tmp_path):
    target = tmp_path / "set.safetensors"
    store.save_tensors(target, TENSORS, METADATA)
    target.write_bytes(target.read_bytes()[:kept])
    for read in (store.load_tensors, store.read_metadata):
        with pytest.raises(DataError) as raised:
            read(target)
        assert str(raised.value).startswith(f"{target}: not a whole safetensors file (")
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe", b"a: 1\nb: 2\n"])
def test_torn_json(content, tmp_path):
    target = tmp_path / "values.json"
    target.write_bytes(content)
    with pytest.raises(DataError) as raised:
        store.read_json(target)
    assert str(raised.value).startswith(f"{target}: not a readable JSON file (") and "\n" not in str(raised.value)


def test_missing_files(tmp_path):
    for read in (store.load_tensors, store.read_metadata, store.read_json, store.sha256):
        with pytest.raises(DataError, match=r"none: no such file; run the stage that writes it first$"):
            read(tmp_path / "none")
    with pytest.raises(DataError, match="is a folder, but a file is wanted"):
        store.sha256(tmp_path)


def test_hashes(tmp_path):
    content = bytes(range(256)) * 5000  # more than one block
    (tmp_path / "file").write_bytes(content)
    assert store.sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    tensor = torch.arange(6, dtype=torch.int32).view(2, 3)
    same = store.tensor_sha256(tensor)
    assert store.tensor_sha256(tensor.t().contiguous().t()) == same
    for other in (tensor.long(), tensor.view(3, 2), tensor + 1):
        assert store.tensor_sha256(other) != same


def test_names_that_are_not_known():
    assert one_of("method", "papr", ["paper", "mmd"], "x.yaml: methods") == (
        "x.yaml: methods: unknown method 'papr'; did you mean 'paper'? (allowed: paper, mmd)"
    )
    assert one_of("seed", 7, [1, 2]) == "unknown seed 7 (allowed: 1, 2)"


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000], ids=["nested", "digits"])
def test_json_that_no_reader_can_hold_is_one_line(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json: not a readable JSON file"):
        store.read_json(tmp_path / "a.json")
