"""Run one stage for Snakemake, `run_stage.py CAMPAIGN STAGE -- COMMAND`, through DVC or directly; `run_stage.py mend`.

Through DVC (`dvc repro -s STAGE`) a stage that was computed before, on the same files, comes back from the cache. DVC
knows the stages of the active campaign only: for another one the command itself runs, and a line says so. It runs too
where NCFM_RUNNER=direct says so, or where there is no git checkout, no `.dvc` or no dvc. NCFM_FORCE=1 computes in any
case. `mend` runs nothing, and mends what a killed DVC left torn. Nothing here is part of the rules, so changing it
makes no result old.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

RUNNERS = ("dvc", "direct")
ACTIVE = Path("params/campaign.yaml")
RWLOCK = Path(".dvc/tmp/rwlock")
DVCS_OWN = Path(".dvc/tmp/lock")  # held by each DVC that writes
LOCKS = (Path("dvc.lock"), Path("params/dvc.lock"))
CONFLICT = re.compile(r"^(<<<<<<< |=======$|>>>>>>> )", re.MULTILINE)  # what git writes where two branches differ


def main(arguments: list[str]) -> None:
    """Run the stage, and exit with its status."""
    if arguments == ["mend"]:
        mend_files()
        return
    if len(arguments) < 4 or arguments[2] != "--":
        sys.exit("run_stage.py: usage: run_stage.py CAMPAIGN STAGE -- COMMAND")
    campaign, stage, _, *command = arguments
    # ncfm and dvc stand beside the Python that runs Snakemake, whether or not its environment is activated.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if runner() == "dvc":
        before = active()
        if before[0] == campaign:
            status = through_dvc(stage)
            if status == 0 or active() == before:
                sys.exit(status)
            # `ncfm use` switched meanwhile, perhaps to and fro, and DVC may not have known the stage. The stage's name
            # holds the campaign, so that DVC has not run a cell of another one.
        print(
            f"run_stage.py: {campaign} is not the active campaign, or was not all the time: running {stage} "
            f"without DVC; `ncfm use {campaign}`, then `dvc commit -f`, hands the results to DVC",
            flush=True,
        )
    os.execvp(command[0], command)  # signals reach it, and its exit status is ours


def through_dvc(stage: str) -> int:
    """Let DVC run the stage and return its exit status; what ends this process, SIGKILL too, ends DVC and the stage."""
    mend_files()
    force = ["-f"] if os.environ.get("NCFM_FORCE") == "1" else []
    sys.stdout.flush()
    # Without --wait-for-lock parallel calls fail at once; with -q DVC's own errors would not be printed.
    child = subprocess.Popen(["dvc", "--wait-for-lock", "repro", "-s", *force, stage])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, frame: child.send_signal(got))
    guarded = guard(child.pid)
    engine = parent_of(os.getppid())  # Snakemake, above the shell that it started us in
    while True:
        try:
            status = child.wait(timeout=0.2)
            os.write(guarded, b".")
            return status if status >= 0 else 128 - status
        except subprocess.TimeoutExpired:
            if parent_of(os.getppid()) != engine:
                stop(child.pid)  # a killed Snakemake leaves its jobs, and DVC would call their files busy


def guard(process: int) -> int:
    """Start a process that ends ``process``, and all that it started, once this one is gone; return what stops it.

    It reads a pipe whose other end only this process has, which the system closes however this process ends. A byte
    written there tells it that there is nothing to end.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(reading)
        return writing
    os.close(writing)
    for number in (signal.SIGTERM, signal.SIGINT):  # sent to all of a terminal: this process passes them on
        signal.signal(number, signal.SIG_IGN)
    if not os.read(reading, 1):
        stop(process)
    os._exit(0)


def mend_files() -> None:
    """Mend what a DVC that was killed while it wrote left torn, since no later call could read it.

    Its list of busy files goes. Of `dvc.lock`, which knows all results, the copy comes back that was kept before the
    last stage ran: that stage alone is not in it, and DVC's cache has its results. Without a copy the torn file goes
    aside, and all results come from the cache. One with git's marks of a conflict is left as it is.
    """
    if not settles(RWLOCK):
        print(f"run_stage.py: {RWLOCK}: a killed DVC left it torn: removed", flush=True)
        RWLOCK.unlink(missing_ok=True)
    with no_dvc_writing():
        for lock in filter(Path.is_file, LOCKS):
            text, kept = lock.read_text(encoding="utf-8"), Path(".dvc/tmp", f"{'-'.join(lock.parts)}.kept")
            if CONFLICT.search(text):
                continue
            if text.startswith("schema:") and text.endswith("\n"):  # parsing it would take seconds
                write(kept, text)
            elif kept.is_file():
                write(lock, kept.read_text(encoding="utf-8"))
                print(f"run_stage.py: {lock}: a killed DVC left it torn: as it was before the last stage", flush=True)
            else:
                torn = kept.with_suffix(".torn")
                lock.replace(torn)
                print(f"run_stage.py: {lock}: a killed DVC left it torn: it is {torn} now", flush=True)


def settles(path: Path) -> bool:
    """Return whether a file is not there, or is whole JSON within two seconds: a living DVC may be writing it."""
    for _ in range(20):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return True
        except ValueError:
            time.sleep(0.1)
        else:
            return True
    return False


@contextlib.contextmanager
def no_dvc_writing() -> Iterator[None]:
    """Wait for DVC's own lock and hold it: writing a `dvc.lock` of hundreds of stages takes a living DVC seconds."""
    DVCS_OWN.parent.mkdir(parents=True, exist_ok=True)
    with DVCS_OWN.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def write(path: Path, text: str) -> None:
    """Put a file with this text in the place of another one, at once."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def parent_of(process: int) -> int | None:
    """Return the number of a process's parent; None where it has ended, or this system does not say."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def stop(process: int) -> None:
    """End a process and all that it started."""
    for child in [int(path.name) for path in Path("/proc").glob("[0-9]*") if parent_of(int(path.name)) == process]:
        stop(child)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)


def active() -> tuple[str | None, int, int]:
    """Return the active campaign, and which version of its file says so: `ncfm use` puts a new file in its place."""
    if not ACTIVE.is_file():
        return None, 0, 0
    version = ACTIVE.stat()
    found = re.search(r"^campaign: (\S+)$", ACTIVE.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None, version.st_ino, version.st_mtime_ns


def runner() -> str:
    """Return who runs the stage: NCFM_RUNNER, or else dvc where it can work, or else direct."""
    ready = shutil.which("dvc") and shutil.which("git") and Path(".git").exists() and Path(".dvc/config").is_file()
    chosen = os.environ.get("NCFM_RUNNER", "dvc" if ready else "direct")
    if chosen not in RUNNERS:
        sys.exit(f"run_stage.py: NCFM_RUNNER: is {chosen!r} (allowed: {', '.join(RUNNERS)})")
    return chosen


if __name__ == "__main__":
    main(sys.argv[1:])
