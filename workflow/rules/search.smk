rule search:
    input:
        params="results/{campaign}/params/search/{dataset}/ipc{ipc}/{method}/{test}.json",
        set="results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/distilled.safetensors",
        test="results/{campaign}/datasets/{dataset}/test.safetensors",
    output:
        accuracies="results/{campaign}/evaluations/{dataset}/ipc{ipc}/{method}/seed{seed}/{test}.json",
        record="results/{campaign}/evaluations/{dataset}/ipc{ipc}/{method}/seed{seed}/{test}.record.json",
    log:
        "results/{campaign}/logs/search/{dataset}-ipc{ipc}-{method}-seed{seed}-{test}.log",
    wildcard_constraints:
        method=methods_of("search"),
        test=tests_of("search"),
    threads: 1
    resources:
        gpu=GPU,
    params:
        # The stage's name says the search: what follows is the protocol, if there is one to name.
        test=lambda wildcards: wildcards.test.removeprefix("search").replace(".", "-"),
        protocol=protocol_of,
    shell:
        "python workflow/run_stage.py search@{wildcards.dataset}-ipc{wildcards.ipc}-{wildcards.method}-seed{wildcards.seed}{params.test}"
        " -- ncfm search --params {input.params} --data results/{wildcards.campaign}/datasets/{wildcards.dataset}"
        " --set {input.set} --protocol {params.protocol} --out {output.accuracies} > {log} 2>&1"
