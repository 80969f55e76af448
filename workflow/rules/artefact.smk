rule artefact:
    input:
        params="results/{campaign}/params/artefact/{artefact}.json",
        results=lambda wildcards: campaigns.artefact_files(CAMPAIGN, wildcards.artefact),
    output:
        table=report(
            "results/{campaign}/tables/{artefact}.csv",
            caption="../report/artefact.rst",
            category="Tables",
            labels={"artefact": "{artefact}"},
        ),
        text="results/{campaign}/tables/{artefact}.md",
        latex="results/{campaign}/tables/{artefact}.tex",
        record="results/{campaign}/tables/{artefact}.record.json",
        figure=report(
            "results/{campaign}/figures/{artefact}.svg",
            caption="../report/artefact.rst",
            category="Figures",
            labels={"artefact": "{artefact}"},
        ),
        picture="results/{campaign}/figures/{artefact}.png",
    log:
        "results/{campaign}/logs/artefact/{artefact}.log",
    wildcard_constraints:
        artefact=any_of(CAMPAIGN.artefacts),
    threads: 1
    shell:
        "python workflow/run_stage.py params/dvc.yaml:{wildcards.artefact} --"
        " ncfm report --params {input.params} --results results/{wildcards.campaign} > {log} 2>&1"


# A target for each, by name: `snakemake table4`.
for artefact in CAMPAIGN.artefacts:

    rule:
        name:
            artefact
        input:
            tables_of(artefact),
