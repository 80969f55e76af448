"""One process at a time writes a stage's output: the lock goes with the process that holds it, however that ends."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def locks_folder() -> Path:
    """Return this user's folder of locks on this machine; made where needed."""
    folder = Path(tempfile.gettempdir(), f"ncfm-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@contextmanager
def only_writer(output: Path) -> Iterator[bool]:
    """Wait until no other process of this user on this machine writes ``output``; give whether it had to wait.

    A stage whose engine was killed goes on, and the next call of the same stage waits for it instead of writing the
    same files beside it. The lock's file is in the system's folder for temporary files, outside the results.
    """
    lock = FileLock(locks_folder() / f"{hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:32]}.lock")
    waited = False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another process that writes {output}", file=sys.stderr, flush=True)
        lock.acquire()
        waited = True
    try:
        yield waited
    finally:
        lock.release()
