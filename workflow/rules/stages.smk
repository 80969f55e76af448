# One rule for each stage of the table (ncfm/stages/table.py) that the campaign has cells of.
for stage in dict.fromkeys(cell.stage for cell in CAMPAIGN.cells):

    rule:
        name:
            stage
        input:
            of_cell(stage, inputs_of),
        output:
            [shown(template) for template in STAGES[stage].outputs],
        log:
            f"{FOLDER}/{STAGES[stage].log}",
        wildcard_constraints:
            **constraints_of(stage),
        localrule: STAGES[stage].local
        threads: of_cell(stage, cores_of)
        resources:
            reading=1,
            gpu=of_cell(stage, gpus_of) if GPU else 0,
            mem_mb=memory_of(stage),
            runtime=minutes_of(stage),
        params:
            job=of_cell(stage, job_of),
        shell:
            f"NCFM_CORES={{threads}} python workflow/run_stage.py {CAMPAIGN.name} {{params.job}} > {{log}} 2>&1"
