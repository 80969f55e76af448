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


def outputs_folder() -> Path:
    """Return the folder of the locks of outputs: this machine's or, in a job of SLURM's, one that all nodes share.

    A job runs in the root of the checkout, whose file system Snakemake needs on all nodes.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return locks_folder()
    folder = Path(".snakemake/ncfm-locks")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def only_writer(output: Path) -> Iterator[bool]:
    """Wait until no other process of this user writes ``output``, here or in any job; give whether it had to wait.

    A stage whose engine was killed goes on, and the next call of the same stage waits for it instead of writing the
    same files beside it. The lock's file is outside the results, and holding it is what counts, not its being there.
    """
    name = hashlib.sha256(os.path.realpath(output).encode()).hexdigest()[:32]  # Path.resolve fails on links in a loop
    lock = FileLock(outputs_folder() / f"{name}.lock")
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
