rule evaluate:
    input:
        params="results/{campaign}/params/evaluate/{dataset}/ipc{ipc}/{method}/{arch}.json",
        set="results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/distilled.safetensors",
        test="results/{campaign}/datasets/{dataset}/test.safetensors",
    output:
        evaluation="results/{campaign}/evaluations/{dataset}/ipc{ipc}/{method}/seed{seed}/{arch}.json",
        record="results/{campaign}/evaluations/{dataset}/ipc{ipc}/{method}/seed{seed}/{arch}.record.json",
    log:
        "results/{campaign}/logs/evaluate/{dataset}-ipc{ipc}-{method}-seed{seed}-{arch}.log",
    wildcard_constraints:
        method=methods_of("evaluate"),
    threads: 1
    resources:
        gpu=GPU,
    shell:
        "python workflow/run_stage.py evaluate@{wildcards.dataset}-ipc{wildcards.ipc}-{wildcards.method}-seed{wildcards.seed}-{wildcards.arch}"
        " -- ncfm evaluate --params {input.params} --data results/{wildcards.campaign}/datasets/{wildcards.dataset}"
        " --set {input.set} --out {output.evaluation} > {log} 2>&1"
