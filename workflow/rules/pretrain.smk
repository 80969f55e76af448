rule pretrain:
    input:
        params="results/{campaign}/params/pretrain/{dataset}.json",
        train="results/{campaign}/datasets/{dataset}/train.safetensors",
        test="results/{campaign}/datasets/{dataset}/test.safetensors",
    output:
        pool="results/{campaign}/extractors/{dataset}/{arch}.safetensors",
        history="results/{campaign}/extractors/{dataset}/{arch}.history.csv",
        record="results/{campaign}/extractors/{dataset}/{arch}.record.json",
    log:
        "results/{campaign}/logs/pretrain/{dataset}-{arch}.log",
    threads: workflow.cores or 1
    resources:
        gpu=GPU,
    shell:
        "python workflow/run_stage.py pretrain@{wildcards.dataset}-{wildcards.arch} -- ncfm pretrain --params {input.params}"
        " --data results/{wildcards.campaign}/datasets/{wildcards.dataset} --out {output.pool} > {log} 2>&1"
