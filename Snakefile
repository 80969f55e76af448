# The whole workflow: `snakemake` regenerates every result of the active campaign. `--config campaign=NAME` runs
# another for this call; `ncfm use NAME` makes it the active one. Each job runs through workflow/run_stage.py; see
# docs/engines.md.
import gc
import sys

from ncfm.campaign import campaign as campaigns, engines
from ncfm.campaign.layers import check_declared
from ncfm.core.errors import NcfmError
from ncfm.stages.table import MAKERS, STAGES

gc.set_threshold(200_000)  # a plan is many objects, none of them garbage: looking through them takes 0.4 s else


container: "docker://python:3.11"  # used only with --software-deployment-method apptainer


try:
    check_declared("key", config, ["campaign"], "--config")
    CAMPAIGN = campaigns.load(str(config["campaign"]) if "campaign" in config else engines.active())
except NcfmError as error:
    sys.exit(f"ncfm: {error}")


include: "workflow/rules/common.smk"
include: "workflow/rules/usage.smk"


onstart:
    say_hours()
    if engines.is_active(CAMPAIGN):  # its file may name other cells by now, which DVC must know
        engines.refresh(CAMPAIGN)


onsuccess:
    send_records()
    say_results()


onerror:
    send_records()


include: "workflow/rules/params.smk"
include: "workflow/rules/stages.smk"


# A target for each table and figure, by name: `snakemake table4`.
for cell in CAMPAIGN.cells_of("artefact"):

    rule:
        name:
            cell.artefact
        input:
            table.outputs(CAMPAIGN.name, cell),


rule all:
    default_target: True
    input:
        [table.outputs(CAMPAIGN.name, cell) for cell in CAMPAIGN.cells_of("report", "artefact")],
        [str(table.output(CAMPAIGN.name, cell)) for cell in CAMPAIGN.cells_of(*MAKERS)],
