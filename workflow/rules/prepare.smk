rule prepare:
    input:
        params="results/{campaign}/params/prepare/{dataset}.json",
    output:
        train="results/{campaign}/datasets/{dataset}/train.safetensors",
        test="results/{campaign}/datasets/{dataset}/test.safetensors",
        card="results/{campaign}/datasets/{dataset}/card.json",
        record="results/{campaign}/datasets/{dataset}/card.record.json",
    log:
        "results/{campaign}/logs/prepare/{dataset}.log",
    threads: 1
    shell:
        "python workflow/run_stage.py prepare@{wildcards.dataset} -- ncfm prepare --params {input.params}"
        " --out results/{wildcards.campaign}/datasets/{wildcards.dataset} > {log} 2>&1"
