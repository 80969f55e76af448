# One rule for each stage of the table (ncfm/stages/table.py) that the campaign has cells of.
for stage in dict.fromkeys(cell.stage for cell in CAMPAIGN.cells):

    rule:
        name:
            stage
        input:
            partial(inputs_of, stage),
        output:
            [shown(template) for template in STAGES[stage].outputs],
        log:
            log_of(stage),
        wildcard_constraints:
            **constraints_of(stage),
        threads: partial(cores_of, stage)
        resources:
            gpu=partial(gpus_of, stage),
        params:
            address=partial(address_of, stage),
            command=partial(command_of, stage),
        shell:
            "NCFM_CORES={threads} python workflow/run_stage.py {wildcards.campaign} {params.address} -- {params.command} > {log} 2>&1"
