"""Kill the workflow at random moments: does the next call finish it, with the same bytes as an undisturbed run?

`python benchmarks/kills.py [KILLS [ENGINE]]` (default 100, both) runs the campaign `tiny`, with 150 iterations, in
a clone of this checkout under each engine in turn. Each kill is a SIGKILL at a random moment to the engine alone,
to a random process below it, or to all of them; the same command is then called again until three kills have hit
it, and once more to the end. Compared by SHA-256 are images, extractors, sets, evaluations and the table of
results. Seeded, but a moment is a moment. Prints a Markdown table, and writes benchmarks/results/.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from common import save

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
ENGINES = {"snakemake": ["snakemake", "--cores", "1"], "dvc": ["dvc", "repro"]}
TARGETS = ("engine", "a process below", "all")
KILLS_A_TRIAL, LONGEST = 3, 900  # seconds that a call may take, on a machine that does other work
PARTS = ("datasets", "extractors", "sets", "evaluations")


def environment(tree: Path) -> dict[str, str]:
    """Return this process's environment with the clone's program first and nothing sent to MLflow."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("NCFM_", "SNAKEMAKE", "DVC"))}
    path = os.pathsep.join([str(BIN), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "NCFM_TRACKING": "off"}


def start(tree: Path, engine: str) -> subprocess.Popen[bytes]:
    """Start an engine in a session of its own; what it prints goes to a file beside the tree."""
    with tree.with_suffix(".log").open("ab") as log:
        command = [str(BIN / ENGINES[engine][0]), *ENGINES[engine][1:]]
        return subprocess.Popen(
            command, cwd=tree, env=environment(tree), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def kill(process: subprocess.Popen[bytes], target: str, chance: random.Random) -> bool:
    """Kill as ``target`` says; return whether there was something to kill."""
    try:
        top = psutil.Process(process.pid)
        below = top.children(recursive=True)
    except psutil.NoSuchProcess:
        return False
    if process.poll() is not None or (target == "a process below" and not below):
        return False
    victims = {"engine": [top], "all": [top, *below]}.get(target) or [chance.choice(below)]
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
    return True


def finish(tree: Path, engine: str) -> int:
    """Call the engine until it succeeds; return how many calls that took, or 0 where three calls did not."""
    for call in (1, 2, 3):
        process = start(tree, engine)
        try:
            if process.wait(timeout=LONGEST) == 0:
                return call
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # or it would work on during the next trial
            break
    return 0


def said(tree: Path) -> str:
    """Return the last of what the engine printed, in one line."""
    return " / ".join(tree.with_suffix(".log").read_text("utf-8", "replace").splitlines()[-20:])


def hashes(tree: Path) -> dict[str, str]:
    """Return the SHA-256 of the results that must not differ; half-written hidden files, which go later, are none."""
    folder = tree / "results/tiny"
    paths = [path for part in PARTS for path in (folder / part).rglob("*")] + [folder / "tables/results.csv"]
    kept = [path for path in sorted(paths) if path.is_file() and not path.name.startswith(".")]
    kept = [path for path in kept if not path.name.endswith("record.json")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def prepare(folder: Path, engine: str) -> Path:
    """Return a clone of this checkout, its campaign `tiny` active and long enough to be hit."""
    tree = folder / engine
    subprocess.run(["git", "clone", "-q", ROOT, tree], check=True)
    params = tree / "params/tiny.yaml"
    params.write_text(params.read_text("utf-8").replace("iterations: 4", "iterations: 150"), "utf-8")
    subprocess.run([BIN / "ncfm", "use", "tiny"], check=True, cwd=tree, env=environment(tree), capture_output=True)
    return tree


def main(kills: int, engines: list[str]) -> None:
    """Kill ``kills`` times, as often under each engine."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for engine in engines:
            tree, chance, hit = prepare(Path(name), engine), random.Random(engine), Counter[str]()
            begun = time.monotonic()
            if not finish(tree, engine):
                sys.exit(f"{engine}: fails undisturbed; it said: {said(tree)}")
            expected, length = hashes(tree), time.monotonic() - begun
            trials = again = lost = differ = 0
            while sum(hit.values()) < kills // len(engines):
                shutil.rmtree(tree / "results/tiny", ignore_errors=True)
                shutil.rmtree(tree / ".dvc/cache", ignore_errors=True)
                (tree / "dvc.lock").unlink(missing_ok=True)
                trials += 1
                for _ in range(KILLS_A_TRIAL):
                    process = start(tree, engine)
                    time.sleep(chance.uniform(0.5, length))
                    target = chance.choice(TARGETS)
                    hit[target] += kill(process, target, chance)
                    process.wait(timeout=LONGEST)
                calls = finish(tree, engine)
                again, lost = again + (calls > 1), lost + (calls == 0)
                if other := {name for name, _ in hashes(tree).items() ^ expected.items()}:
                    differ += 1
                    print(f"{engine}: other: {', '.join(sorted(other))}", file=sys.stderr)
                if calls != 1:
                    print(f"{engine}: {calls or 'three'} calls; they said: {said(tree)}", file=sys.stderr)
                print(f"{engine}: {sum(hit.values())} kills, {lost} not finished, {differ} differ", file=sys.stderr)
            row = {"engine": engine, "trials": trials, "kills": dict(hit), "called twice": again, "lost": lost}
            rows.append({**row, "other bytes": differ})
            save(f"kills-{engine}", rows[-1])
    print("| engine | kills | of the engine, a process below, all | trials | finished by the next call | other bytes |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        hit, by_next = row["kills"], row["trials"] - row["called twice"] - row["lost"]
        each = ", ".join(str(hit.get(target, 0)) for target in TARGETS)
        print(
            f"| {row['engine']} | {sum(hit.values())} | {each} | {row['trials']} | {by_next} | {row['other bytes']} |"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, sys.argv[2:] or list(ENGINES))
