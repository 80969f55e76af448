rule select:
    input:
        params="results/{campaign}/params/select/{dataset}/ipc{ipc}/{method}.json",
        train="results/{campaign}/datasets/{dataset}/train.safetensors",
    output:
        set="results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/distilled.safetensors",
        grid=report(
            "results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/grid.png",
            caption="../report/set.rst",
            category="Sets",
            labels={"data set": "{dataset}", "IPC": "{ipc}", "method": "{method}", "seed": "{seed}"},
        ),
        record="results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/distilled.record.json",
    log:
        "results/{campaign}/logs/select/{dataset}-ipc{ipc}-{method}-seed{seed}.log",
    wildcard_constraints:
        method=methods_of("select"),
    threads: 1
    params:
        folder=subpath(output.set, parent=True),
    shell:
        "python workflow/run_stage.py select@{wildcards.dataset}-ipc{wildcards.ipc}-{wildcards.method}-seed{wildcards.seed} --"
        " ncfm select --params {input.params} --data results/{wildcards.campaign}/datasets/{wildcards.dataset}"
        " --ipc {wildcards.ipc} --method {wildcards.method} --seed {wildcards.seed}"
        " --out {params.folder} > {log} 2>&1"
