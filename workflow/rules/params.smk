# The params files of cells that are missing or old. Unchanged files have no rule, so that only what changed runs again.
STALE_PARAMS = {str(path): text for path, text in campaigns.stale_params(CAMPAIGN).items()}
# Stands for all of them: a file that was never there before, so that the rule runs whatever the times of files say.
PARAMS_WRITTEN = f"{FOLDER}/logs/params/{campaigns.digest(STALE_PARAMS)}"


if STALE_PARAMS:

    rule params:
        input:
            "params/base.yaml",
            f"params/{CAMPAIGN.name}.yaml",
        output:
            touch(PARAMS_WRITTEN),
        log:
            f"{FOLDER}/logs/params.log",
        priority: 1
        localrule: True
        threads: 1
        resources:
            reading=ALONE,
        params:
            campaign=CAMPAIGN.name,
        # Written first, so that DVC notices where the program changed and not the campaign's file.
        shell:
            "(ncfm params {params.campaign} && python workflow/run_stage.py {params.campaign} params@{params.campaign} --"
            " ncfm params {params.campaign}) > {log} 2>&1"
