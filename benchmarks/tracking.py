"""MLflow under load: does a stage wait for the store, and is a metric lost or doubled?

`python benchmarks/tracking.py [SECONDS]` (default 120) lets 16 processes log at once, ten steps a second each, into a
fresh SQLite store, and then into a real `mlflow server` on loopback, stopped in the middle third. Afterwards `ncfm
track import` sends what was left. Prints a Markdown table, and writes benchmarks/results/.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import save
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parent.parent
STAGES = 16
STAGE = """
import json, sys, time
from pathlib import Path
from ncfm.core.params import PrepareParams
from ncfm.core.store import write_text
from ncfm.run.record import recorded

number, seconds = int(sys.argv[1]), float(sys.argv[2])
out = Path(f"results/load/set{number}/card.json")
longest, steps, begun = 0.0, 0, time.monotonic()
with recorded(PrepareParams(dataset="digits"), out, {"dataset": "digits", "seed": number}, []) as record:
    write_text(out, "{}")
    while time.monotonic() < begun + seconds:
        before = time.monotonic()
        record.log(steps, {"loss": 1 / (steps + 1), "rate": 0.5})
        longest, steps = max(longest, time.monotonic() - before), steps + 1
        time.sleep(0.1)
    record.save_history(out.with_name("history.csv"))
    ended = time.monotonic()
    record.finish([out, out.with_name("history.csv")], {})
told = {"longest": longest, "steps": steps, "at_the_end": time.monotonic() - ended}
write_text(Path(f"told{number}.json"), json.dumps(told))
"""


def address() -> str:
    """Return a free address on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def serve(folder: Path, place: str) -> subprocess.Popen[bytes]:
    """Start MLflow's server and wait until it answers."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", place.partition(":")[2]]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/files"]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    host, port = place.split(":")
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return process
        time.sleep(0.1)
    raise RuntimeError(f"the server did not start: {folder}/server.log")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server and what it started."""
    os.killpg(process.pid, 9)
    process.wait()


def measure(folder: Path, uri: str | None, seconds: float, place: str | None) -> dict[str, Any]:
    """Let all stages log at once; count afterwards what the store has."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NCFM_TRACKING": "on"}
    environment |= {"MLFLOW_TRACKING_URI": uri} if uri else {}
    server = serve(folder, place) if place else None
    command = [sys.executable, "-c", STAGE]
    running = [
        subprocess.Popen([*command, str(number), str(seconds)], cwd=folder, env=environment) for number in range(STAGES)
    ]
    if server and place:
        time.sleep(seconds / 3)
        stop(server)
        time.sleep(seconds / 3)
        server = serve(folder, place)
    died = [number for number, process in enumerate(running) if process.wait()]
    if died:
        raise RuntimeError(f"stages {died} ended with an error: see above")
    told = [json.loads((folder / f"told{number}.json").read_text()) for number in range(STAGES)]
    importing = [sys.executable, "-m", "ncfm.cli", "track", "import", "results"]
    done = subprocess.run(importing, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    client = MlflowClient(uri or f"sqlite:///{folder}/results/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("load")
    assert experiment is not None, done.stderr
    runs = client.search_runs([experiment.experiment_id], "tags.seed != ''", max_results=1000)
    runs = [run for run in runs if "ncfm.group" not in run.data.tags and "seed" in run.data.tags]
    lost = doubled = 0
    for run in runs:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
        expected = told[int(run.data.tags["seed"])]["steps"]
        lost, doubled = lost + expected - len(set(steps)), doubled + len(steps) - len(set(steps))
    if server:
        stop(server)
    return {
        "store": "server, stopped in between" if place else "SQLite",
        "runs": len(runs),
        "finished": sum(run.info.status == "FINISHED" for run in runs),
        "steps": sum(one["steps"] for one in told),
        "longest_wait": max(one["longest"] for one in told),
        "longest_end": max(one["at_the_end"] for one in told),
        "lost": lost,
        "doubled": doubled,
        "import": done.stdout.splitlines()[-1:],
    }


def main(seconds: float) -> None:
    """Measure both stores."""
    rows = []
    for server in (False, True):
        with tempfile.TemporaryDirectory() as name:
            place = address() if server else None
            rows.append(measure(Path(name), f"http://{place}" if place else None, seconds, place))
    print("| store | runs finished | steps | longest wait of a step (s) | of a stage's end (s) | lost | doubled |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        waits = f"{row['longest_wait']:.3f} | {row['longest_end']:.1f}"
        counts = f"{row['finished']} of {row['runs']} | {row['steps']}"
        print(f"| {row['store']} | {counts} | {waits} | {row['lost']} | {row['doubled']} |")
    save("tracking", {"seconds": seconds, "rows": rows})


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 120.0)
