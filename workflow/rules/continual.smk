rule continual:
    input:
        params="results/{campaign}/params/continual/{dataset}/ipc{ipc}/{method}/{test}.json",
        set="results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/distilled.safetensors",
        test="results/{campaign}/datasets/{dataset}/test.safetensors",
    output:
        accuracies="results/{campaign}/evaluations/{dataset}/ipc{ipc}/{method}/seed{seed}/{test}.json",
        record="results/{campaign}/evaluations/{dataset}/ipc{ipc}/{method}/seed{seed}/{test}.record.json",
    log:
        "results/{campaign}/logs/continual/{dataset}-ipc{ipc}-{method}-seed{seed}-{test}.log",
    wildcard_constraints:
        method=methods_of("continual"),
        test=tests_of("continual"),
    threads: 1
    resources:
        gpu=GPU,
    params:
        test=lambda wildcards: wildcards.test.replace(".", "-"),
        protocol=protocol_of,
    shell:
        "python workflow/run_stage.py continual@{wildcards.dataset}-ipc{wildcards.ipc}-{wildcards.method}-seed{wildcards.seed}-{params.test}"
        " -- ncfm continual --params {input.params} --data results/{wildcards.campaign}/datasets/{wildcards.dataset}"
        " --set {input.set} --protocol {params.protocol} --out {output.accuracies} > {log} 2>&1"
