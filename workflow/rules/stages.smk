# One rule for each stage of the table (ncfm/stages/table.py) that the campaign has cells of.
for stage in dict.fromkeys(cell.stage for cell in CAMPAIGN.cells):

    rule:
        name:
            stage
        input:
            lambda wildcards, stage=stage: inputs_of(stage, wildcards),
        output:
            [shown(template) for template in STAGES[stage].outputs],
        log:
            log_of(stage),
        wildcard_constraints:
            **constraints_of(stage),
        threads: (lambda wildcards, stage=stage: cores_of(stage, wildcards)) if STAGES[stage].networks else 1
        resources:
            gpu=(lambda wildcards, stage=stage: gpus_of(stage, wildcards)) if GPU and STAGES[stage].gpu else 0,
        params:
            job=lambda wildcards, stage=stage: job_of(stage, wildcards),
        shell:
            f"NCFM_CORES={{threads}} python workflow/run_stage.py {CAMPAIGN.name} {{params.job}} > {{log}} 2>&1"
