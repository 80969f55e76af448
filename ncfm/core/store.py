"""Files on disk: safetensors and JSON, written beside the target and renamed, so that nothing is ever half-written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from ncfm.core.errors import DataError, StorageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's write errors on ``path`` into one-line :class:`StorageError` messages."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full; free some space and run again, finished stages are kept",
            errno.EDQUOT: "the disk quota is used up; free some space and run again, finished stages are kept",
            **dict.fromkeys((errno.EACCES, errno.EPERM), "no permission to write there"),
            errno.EROFS: "the file system is read-only",
            **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "a part of the path is a file, not a folder"),
            errno.EISDIR: "a folder of that name is in the way",
            errno.ENOENT: "its folder does not exist and cannot be made",
            errno.ENAMETOOLONG: "the name is too long",
            errno.EIO: "the disk reports a fault",
        }
        if error.errno not in reasons:
            raise
        raise StorageError(f"{path}: cannot be written: {reasons[error.errno]}") from error


HALF_WRITTEN = re.compile(r"\..*\.[0-9a-f]{8}\.tmp(\..*)?").fullmatch  # the names that `replacing` gives


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give an empty file beside ``path``; on success it is renamed onto ``path``, on failure it is removed.

    The folder is made where needed. Raises :class:`StorageError`, as everything here that writes.
    """
    target = Path(path)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{target.stem}.{secrets.token_hex(4)}.tmp{target.suffix}"
        temporary.touch(exist_ok=False)
        try:
            yield temporary
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def sweep(folder: Path, older_than: float = 600) -> None:
    """Remove what killed processes left beside files of a folder; ``older_than`` in seconds: others may be writing."""
    for path in folder.iterdir():
        if HALF_WRITTEN(path.name):
            with suppress(OSError):  # another process swept it
                if time.time() - path.stat().st_mtime >= older_than:
                    path.unlink()


def check_writable(path: str | Path) -> None:
    """Make the folder of ``path`` and try to write there: better before hours of computing than after.

    What processes that were killed long ago left there goes.
    """
    target = Path(path)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=target.parent) as stream:
            stream.write(bytes(4096))  # a full disk may still take an empty file
        sweep(target.parent)


def check_not_read(out: Path, reads: Iterable[str | Path]) -> None:
    """Raise :class:`StorageError` where what ``--out`` names is one of the files read, or lies in a folder that is."""
    for read in reads:
        for place in (out, out.parent):
            with suppress(OSError):  # one of them is not there
                if place.samefile(read):
                    raise StorageError(f"--out: is {out}, but {read} is read; name another place")


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` atomically as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_with(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write atomically through a callback that is handed an open binary file."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        write(stream)


def json_text(value: Any) -> str:
    """Return the one JSON text this project writes for ``value``: sorted keys, two-space indent, final newline."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` atomically as JSON."""
    write_text(path, json_text(value))


def is_text(path: str | Path, text: str) -> bool:
    """Say whether a file is there and holds exactly this text."""
    try:
        return Path(path).read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


@contextmanager
def _reading(path: str | Path, fault: str) -> Iterator[None]:
    """Turn what can go wrong with reading ``path`` into :class:`DataError`, one line; ``fault`` takes the error."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; run the stage that writes it first") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, but a file is wanted") from error
    except (OSError, ValueError, RecursionError, SafetensorError) as error:  # JSON too deep, a number of 5000 digits
        raise DataError(f"{path}: {fault.format(error)}") from error


def read_json(path: str | Path) -> Any:
    """Read a JSON file. Raises :class:`DataError` where it is missing or torn."""
    with _reading(path, "not a readable JSON file ({0}); move it away and run the stage that wrote it"):
        return json.loads(Path(path).read_text(encoding="utf-8"))


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors, wherever they are, and JSON-able metadata atomically as one safetensors file."""
    from safetensors.torch import save

    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One key, since the format writes several in an order that changes from process to process.
    text = {"ncfm": json.dumps(metadata, sort_keys=True)}
    write_with(path, lambda stream: stream.write(save(ready, metadata=text)))


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read only the metadata of a file that :func:`save_tensors` wrote. Raises :class:`DataError`."""
    with _opened(path) as (_, metadata):
        return metadata


def load_tensors(path: str | Path, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file: its tensors and its metadata. Raises :class:`DataError` where missing or torn."""
    with _opened(path) as (stream, metadata):
        return {name: stream.get_tensor(name).to(device) for name in stream.keys()}, metadata  # noqa: SIM118 (not a dict)


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    with _reading(path, "not a whole safetensors file ({0}); move it away and run the stage that wrote it"):
        if not Path(path).is_file():
            raise FileNotFoundError(path)
        with safe_open(path, framework="pt") as stream:
            yield stream, json.loads((stream.metadata() or {}).get("ncfm", "{}"))


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal. Raises :class:`DataError` where it cannot be read."""
    with _reading(path, "cannot be read ({0.strerror})"):
        if Path(path).is_char_device():
            raise OSError(errno.EINVAL, "it is a device")
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def tensor_sha256(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's dtype, shape and bytes: equal tensors give equal hashes, whatever the file."""
    data = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{data.dtype} {tuple(data.shape)}".encode())
    digest.update(data.flatten().numpy().data)  # a view: a large data set must not be in memory twice
    return digest.hexdigest()
