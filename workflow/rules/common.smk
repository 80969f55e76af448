# What the rules share: the shell's path, and for each stage the cell that a job's wildcards name.
import functools
import math
import os
import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from snakemake.resources import Resource

from ncfm.campaign.costs import CPU, H100
from ncfm.campaign.plan import cost_of, memory, seconds_on, warning
from ncfm.core.store import write_text
from ncfm.run import gpus
from ncfm.stages import table

# Jobs run on the Python that runs Snakemake, whether or not its environment is activated.
shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")

# Where there is no GPU, or NCFM_DEVICE is the CPU, nobody queues for one, and cells run side by side on the cores.
# NCFM_GPU=1 says that there are some where the jobs will run, though not here: on the machine from which one submits.
try:
    GPU = gpus.wanted()
except NcfmError as error:
    sys.exit(f"ncfm: {error}")
if "gpu" not in workflow.global_resources:  # else `--resources gpu=3` said how many jobs use them at a time
    workflow.register_resource("gpu", Resource("gpu", max(1, len(gpus.visible()))))
# DVC refuses who reads a folder while it writes it: the job that writes the params files runs alone, and first.
ALONE = 10_000
workflow.register_resource("reading", Resource("reading", ALONE))
PATIENCE, LEAST_MINUTES = 3, 30  # how many times the estimate a cluster lets a job run, and how long at least
MEMORY_MARGIN = 2  # times the estimate
# The campaign's name is no wildcard: the more of a path is plain text, the sooner Snakemake finds its rule.
FOLDER = f"results/{CAMPAIGN.name}"


# Importing mlflow takes longer than a short stage: their records are sent together at the end.
os.environ.setdefault("NCFM_TRACKING", "late")


def send_records():
    """Send to MLflow what the stages left to it; a fault is one line on the screen and fails nothing."""
    if os.environ.get("NCFM_TRACKING", "").lower() == "late" and find_spec("mlflow"):
        command = [sys.executable, "-m", "ncfm.cli", "track", "import", FOLDER]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


def of_cell(stage, value):
    """Return a function of a job's wildcards: ``value`` of the cell that they name."""
    names = STAGES[stage].wildcards
    found = {tuple(str(cell.values[name]) for name in names): cell for cell in CAMPAIGN.cells_of(stage)}
    return lambda wildcards: value(found[tuple(wildcards[name] for name in names)])


def constraints_of(stage):
    """Return for each wildcard of a stage's outputs the pattern of its values: stages share folders."""
    values = {name: {str(cell.values[name]) for cell in CAMPAIGN.cells_of(stage)} for name in STAGES[stage].wildcards}
    return {name: "|".join(map(re.escape, sorted(found))) for name, found in values.items()}


def inputs_of(cell):
    """Return a job's inputs; a params file that is still to be written is not there to be looked at."""
    return [PARAMS_WRITTEN if file in STALE_PARAMS else file for file in campaigns.inputs(CAMPAIGN, cell)]


def job_of(cell):
    """Return what workflow/run_stage.py is told: DVC's name of the cell's stage, and its command."""
    return f"{table.address(CAMPAIGN.name, cell)} -- {table.command(CAMPAIGN.name, cell)}"


def cores_of(cell):
    """Return the cores of a job: one for each network that it computes at a time, as far as there are so many."""
    return min(workflow.cores or 1, STAGES[cell.stage].at_a_time(CAMPAIGN.params[cell], gpus_of(cell)))


@functools.cache
def cost(cell):
    """Return what a cell costs; None where nothing is known of it."""
    return cost_of(cell, CAMPAIGN) if "dataset" in cell.names else None


def memory_of(stage):
    """Return a function of a job's wildcards and attempt: MB by the cost model, more at each attempt."""

    def megabytes(cell):
        processes = getattr(CAMPAIGN.params[cell], "processes", 1)
        held = memory(cell, cost(cell), max(cores_of(cell), processes), processes, gpus_of(cell))
        return math.ceil(MEMORY_MARGIN * held / 1e6)

    found = of_cell(stage, megabytes)
    return lambda wildcards, attempt: attempt * found(wildcards)


def minutes_of(stage):
    """Return a function of a job's wildcards and attempt: minutes by the cost model, more at each attempt."""

    def minutes(cell):
        estimate = seconds_on(H100 if gpus_of(cell) else CPU, [cost(cell)]) / 60
        return LEAST_MINUTES + math.ceil(PATIENCE * estimate)

    found = of_cell(stage, minutes)
    return lambda wildcards, attempt: attempt * found(wildcards)


def gpus_of(cell):
    """Return how many GPUs a job computes on: none for a coreset whose rule reads no extractors."""
    needed = STAGES[cell.stage].gpu and all(table.has(cell, file) for file in STAGES[cell.stage].reads)
    return GPU * needed * getattr(CAMPAIGN.params[cell], "processes", 1)


def shown(template):
    """Return an output's path, marked for `snakemake --report` where workflow/report/ has words on it."""
    path, of_set = f"{FOLDER}/{template}", template.startswith("sets/")
    stem = "artefact" if "{artefact}" in template else "set" if of_set else PurePosixPath(path).stem
    of_report = {".html": "Report", ".csv": "Tables", ".svg": "Figures", "grid.png": "Figures"}
    kinds = {"grid.png": "Sets"} if of_set else of_report
    category = next((kind for end, kind in kinds.items() if template.endswith(end)), None)
    if category is None or not Path(workflow.basedir, f"workflow/report/{stem}.rst").is_file():
        return path
    labels = {name: f"{{{name}}}" for name in table.fields(template)}
    return report(path, caption=f"../report/{stem}.rst", category=category, labels=labels or None)
