# What the rules share: the shell's path, patterns of names, and the files of the campaign's cells.
import re
import shlex
import shutil
import sys
from pathlib import Path

# Jobs run on the Python that runs Snakemake, whether or not its environment is activated.
shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")

# Where there is no GPU nobody queues for one, and cells run side by side on the cores.
GPU = int(shutil.which("nvidia-smi") is not None)


def any_of(names):
    """Return the pattern that matches exactly these names, and nothing where there are none."""
    return "|".join(sorted({re.escape(name) for name in names if name})) or "(?!)"


def tests_of(stage):
    """Return the pattern of what a stage's files are called."""
    return any_of(layout.evaluation_name(cell) for cell in CAMPAIGN.of(stage))


def methods_of(stage):
    """Return the pattern of the methods that a stage makes."""
    return any_of(cell.method for cell in CAMPAIGN.of(stage))


def extractors_of(wildcards):
    """Return the extractor pool that a set is made with: all but selections by a rule that needs none."""
    cells = {(cell.dataset, str(cell.ipc), cell.method): cell for cell in CAMPAIGN.of("distill", "select", "curate")}
    cell = cells[wildcards.dataset, wildcards.ipc, wildcards.method]
    return str(layout.extractor_file(CAMPAIGN.name, cell.dataset, cell.extractor)) if cell.extractor else []


def source_of(wildcards):
    """Return the method whose set a curation starts from."""
    sources = {cell.method: cell.of for cell in CAMPAIGN.of("curate")}
    return sources[wildcards.method]


def protocol_of(wildcards):
    """Return the protocol of the evaluation whose files have this name."""
    cells = {layout.evaluation_name(cell): cell for cell in CAMPAIGN.of(*layout.TESTS)}
    return cells[wildcards.test].protocol or layout.RELEASED


def set_files(name, *stages):
    """Return one file of every set that the stages (where none is named, all) make."""
    cells = CAMPAIGN.of(*(stages or campaigns.MAKERS))
    return [str(layout.set_folder(CAMPAIGN.name, cell) / name) for cell in cells]


def evaluation_files():
    """Return the file of every evaluation, continual learning and searches included, and its record."""
    files = [layout.evaluation_file(CAMPAIGN.name, cell) for cell in CAMPAIGN.of(*layout.TESTS)]
    return [str(path) for file in files for path in (file, layout.record_file(file))]


def tables_of(artefact):
    """Return the files that the report of an artefact writes."""
    return expand(rules.artefact.output, campaign=CAMPAIGN.name, artefact=artefact)
