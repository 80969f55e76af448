# The params files of cells that are missing or old. Unchanged files have no rule, so that only what changed runs again.
STALE_PARAMS = campaigns.stale_params(CAMPAIGN)

if STALE_PARAMS:

    rule params:
        input:
            "params/base.yaml",
            f"params/{CAMPAIGN.name}.yaml",
        output:
            [str(path) for path in STALE_PARAMS],
            # Never there before: the rule runs, whatever the times of the files say.
            touch(f"results/{CAMPAIGN.name}/logs/params/{campaigns.digest(STALE_PARAMS)}"),
        log:
            f"results/{CAMPAIGN.name}/logs/params.log",
        threads: 1
        params:
            campaign=CAMPAIGN.name,
        # Written first, so that DVC notices where the program changed and not the campaign's file.
        shell:
            "(ncfm params {params.campaign} && python workflow/run_stage.py {params.campaign} params@{params.campaign} --"
            " ncfm params {params.campaign}) > {log} 2>&1"
