"""Which GPUs a process computes on: those with the fewest others, so that no two share one while one is free."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence

from filelock import FileLock, Timeout

from ncfm.core.errors import ParamsError
from ncfm.core.lock import locks_folder

_HELD: list[FileLock] = []  # until this process ends, however it ends


def visible() -> list[str]:
    """Return the names of the GPUs that this process may use: CUDA_VISIBLE_DEVICES, else all that the driver lists."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        names = [name.strip() for name in given.split(",") if name.strip()]
        return list(itertools.takewhile(lambda name: not name.startswith("-"), names))  # -1 ends the list for CUDA
    if not (tool := shutil.which("nvidia-smi")):
        return []
    command = [tool, "--query-gpu=uuid", "--format=csv,noheader"]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    return found.stdout.split() if found.returncode == 0 else []


def wanted() -> int:
    """Return whether jobs ask for GPUs, as 1 or 0: what NCFM_GPU says, else whether they find some and may use them.

    Raises :class:`ParamsError` for another NCFM_GPU.
    """
    on_cpu = os.environ.get("NCFM_DEVICE", "").startswith("cpu")
    said = os.environ.get("NCFM_GPU", "0" if on_cpu or not shutil.which("nvidia-smi") else "1")
    if said not in ("0", "1"):
        raise ParamsError(f"NCFM_GPU: is {said!r} (allowed: 0, 1)")
    return int(said)


def take(count: int, names: Sequence[str]) -> list[str]:
    """Take ``count`` of the GPUs ``names``, first those that no other process of this user has taken.

    Raises :class:`ParamsError` where there are fewer.
    """
    if len(names) < count:
        raise ParamsError(f"processes: is {count}, but there are {len(names)} GPUs ({', '.join(names) or 'none'})")
    taken: list[str] = []
    for others in itertools.count():  # how many processes a GPU has already
        for name in names:
            if len(taken) < count and name not in taken and _lock(f"{name}-{others}"):
                taken.append(name)
        if len(taken) == count:
            return taken
    raise AssertionError("unreachable")


def _lock(name: str) -> bool:
    lock = FileLock(locks_folder() / f"gpu-{name.replace('/', '_')}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    _HELD.append(lock)
    return True


def choose(count: int) -> None:
    """Let this process, and what it starts, see ``count`` GPUs, where there are any; before torch looks for them.

    What NCFM_DEVICE says goes first.
    """
    names = visible()
    if not os.environ.get("NCFM_DEVICE") and (len(names) > 1 or (names and count > 1)):
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(take(count, names))
