# What the rules share: the shell's path, and for each stage the cell that a job's wildcards name.
import re
import shlex
import shutil
from functools import cache, partial
from pathlib import Path, PurePosixPath

from ncfm.core import layout
from ncfm.stages import table

# Jobs run on the Python that runs Snakemake, whether or not its environment is activated.
shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")

# Where there is no GPU nobody queues for one, and cells run side by side on the cores.
GPU = int(shutil.which("nvidia-smi") is not None)


def any_of(names):
    """Return the pattern that matches exactly these names, and nothing where there are none."""
    return "|".join(sorted({re.escape(str(name)) for name in names})) or "(?!)"


@cache
def names_in(stage):
    """Return the wildcards of a stage's outputs."""
    return tuple(dict.fromkeys(re.findall(r"{(\w+)}", table.STAGES[stage].writes[0])))


@cache
def cells_by_wildcards(stage):
    """Return the cells of a stage by the values of its wildcards."""
    return {tuple(str(c.values[name]) for name in names_in(stage)): c for c in CAMPAIGN.cells_of(stage)}


def constraints_of(stage):
    """Return for each wildcard of a stage's outputs the pattern of its values: stages share folders."""
    return {name: any_of(c.values[name] for c in CAMPAIGN.cells_of(stage)) for name in names_in(stage)}


def cell_of(stage, wildcards):
    """Return the cell that a job's wildcards name."""
    return cells_by_wildcards(stage)[tuple(wildcards[name] for name in names_in(stage))]


def log_of(stage):
    """Return where a stage's jobs write what they print, e.g. ``logs/distill/digits-ipc1-paper-seed0.log``."""
    return (
        f"results/{{campaign}}/logs/{stage}/"
        + "-".join(f"{layout.NAMES.get(n, '')}{{{n}}}" for n in names_in(stage))
        + ".log"
    )


def inputs_of(stage, wildcards):
    return campaigns.inputs(CAMPAIGN, cell_of(stage, wildcards))


def job_of(stage, wildcards):
    """Return what workflow/run_stage.py is told: DVC's name of the stage, and its command."""
    cell = cell_of(stage, wildcards)
    return f"{table.address(CAMPAIGN.name, cell)} -- {table.command(CAMPAIGN.name, cell)}"


def cores_of(stage, wildcards):
    """Return the cores of a job: one for each network that it trains side by side, as far as there are so many."""
    wanted = getattr(CAMPAIGN.params[cell_of(stage, wildcards)], table.STAGES[stage].networks)
    return max(1, min(workflow.cores or 1, wanted))


def gpus_of(stage, wildcards):
    """Return whether a job computes on a GPU: a coreset whose rule reads no extractors does not."""
    return GPU * all(table.has(cell_of(stage, wildcards), file) for file in table.STAGES[stage].reads)


def shown(template):
    """Return an output's path with its wildcards, marked for `snakemake --report` where workflow/report/ has words on it."""
    path = f"results/{{campaign}}/{template}"
    stem = (
        "artefact" if "{artefact}" in template else "set" if template.startswith("sets/") else PurePosixPath(path).stem
    )
    kind = {".csv": "Tables", ".svg": "Figures", "grid.png": "Figures"}
    category = next((kind[end] for end in kind if template.endswith(end)), None)
    if category is None or not Path(workflow.basedir, f"workflow/report/{stem}.rst").is_file():
        return path
    if stem == "set" and not template.endswith(".png"):
        return path
    labels = {name: f"{{{name}}}" for name in re.findall(r"{(\w+)}", template)}
    return report(
        path, caption=f"../report/{stem}.rst", category="Sets" if stem == "set" else category, labels=labels or None
    )
