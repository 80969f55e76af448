rule evaluate:
    input:
        params="results/{campaign}/params/evaluate/{dataset}/ipc{ipc}/{method}/{test}.json",
        set="results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/distilled.safetensors",
        test="results/{campaign}/datasets/{dataset}/test.safetensors",
    output:
        evaluation="results/{campaign}/evaluations/{dataset}/ipc{ipc}/{method}/seed{seed}/{test}.json",
        record="results/{campaign}/evaluations/{dataset}/ipc{ipc}/{method}/seed{seed}/{test}.record.json",
    log:
        "results/{campaign}/logs/evaluate/{dataset}-ipc{ipc}-{method}-seed{seed}-{test}.log",
    wildcard_constraints:
        method=methods_of("evaluate"),
        test=tests_of("evaluate"),
    threads: 1
    resources:
        gpu=GPU,
    params:
        test=lambda wildcards: wildcards.test.replace(".", "-"),
        protocol=protocol_of,
    shell:
        "python workflow/run_stage.py evaluate@{wildcards.dataset}-ipc{wildcards.ipc}-{wildcards.method}-seed{wildcards.seed}-{params.test}"
        " -- ncfm evaluate --params {input.params} --data results/{wildcards.campaign}/datasets/{wildcards.dataset}"
        " --set {input.set} --protocol {params.protocol} --out {output.evaluation} > {log} 2>&1"
