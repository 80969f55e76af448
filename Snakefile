# The whole workflow: `snakemake` regenerates every result of the active campaign. `ncfm use NAME` or
# `--config campaign=NAME` chooses another. Each job runs through workflow/run_stage.py; see docs/engines.md.
import sys

from ncfm.campaign import campaign as campaigns
from ncfm.core import layout
from ncfm.core.errors import NcfmError


container: "docker://python:3.11"  # used only with --software-deployment-method apptainer


try:
    CAMPAIGN = campaigns.load(str(config.get("campaign") or campaigns.active()))
    # Not a rule: everything behind a rule that ran would run again. Unchanged files are left alone.
    campaigns.write_params(CAMPAIGN)
except NcfmError as error:
    sys.exit(f"ncfm: {error}")


include: "workflow/rules/common.smk"


wildcard_constraints:
    campaign=any_of([CAMPAIGN.name]),
    dataset=any_of(cell.dataset for cell in CAMPAIGN.of("prepare")),
    ipc=r"\d+",
    seed=r"\d+",
    arch=any_of(cell.arch for cell in CAMPAIGN.of("pretrain")),


onstart:
    campaigns.use(CAMPAIGN)
    # DVC's own stage for the params files that were written above, so that `dvc repro` finds nothing to do.
    shell(f"python workflow/run_stage.py params -- ncfm params {CAMPAIGN.name}")


include: "workflow/rules/prepare.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/distill.smk"
include: "workflow/rules/select.smk"
include: "workflow/rules/curate.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/continual.smk"
include: "workflow/rules/search.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/artefact.smk"


rule all:
    default_target: True
    input:
        expand(rules.report.output, campaign=CAMPAIGN.name),
        tables_of(CAMPAIGN.artefacts),
        set_files("distilled.safetensors"),
