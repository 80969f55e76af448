"""Run one stage for Snakemake: `run_stage.py STAGE -- COMMAND`, through DVC or directly.

Through DVC (`dvc repro -s STAGE`) a stage that was computed before, on the same files, comes back from the cache. The
command itself runs where NCFM_RUNNER=direct says so, or where there is no git checkout, no `.dvc` or no dvc.
NCFM_FORCE=1 computes in any case. Nothing here is part of the rules, so changing it makes no result old.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

RUNNERS = ("dvc", "direct")


def main(arguments: list[str]) -> None:
    """Become the stage's process, so that signals reach it and its exit status is ours."""
    stage, separator, *command = arguments
    if separator != "--" or not command:
        sys.exit("run_stage.py: usage: run_stage.py STAGE -- COMMAND")
    # ncfm and dvc stand beside the Python that runs Snakemake, whether or not its environment is activated.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if runner() == "dvc":
        force = ["-f"] if os.environ.get("NCFM_FORCE") == "1" else []
        # Without --wait-for-lock parallel calls fail at once.
        command = ["dvc", "--wait-for-lock", "repro", "-q", "-s", *force, stage]
    sys.stdout.flush()
    os.execvp(command[0], command)


def runner() -> str:
    """Return who runs the stage: NCFM_RUNNER, or else dvc where it can work, or else direct."""
    chosen = os.environ.get("NCFM_RUNNER")
    if chosen is None:
        ready = shutil.which("dvc") and shutil.which("git") and Path(".git").exists() and Path(".dvc/config").is_file()
        return "dvc" if ready else "direct"
    if chosen not in RUNNERS:
        sys.exit(f"run_stage.py: NCFM_RUNNER: is {chosen!r} (allowed: {', '.join(RUNNERS)})")
    return chosen


if __name__ == "__main__":
    main(sys.argv[1:])
