rule distill:
    input:
        params="results/{campaign}/params/distill/{dataset}/ipc{ipc}/{method}.json",
        train="results/{campaign}/datasets/{dataset}/train.safetensors",
        extractors=extractors_of,
    output:
        set="results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/distilled.safetensors",
        history="results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/history.csv",
        grid=report(
            "results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/grid.png",
            caption="../report/set.rst",
            category="Sets",
            labels={"data set": "{dataset}", "IPC": "{ipc}", "method": "{method}", "seed": "{seed}"},
        ),
        record="results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/distilled.record.json",
    log:
        "results/{campaign}/logs/distill/{dataset}-ipc{ipc}-{method}-seed{seed}.log",
    wildcard_constraints:
        method=methods_of("distill"),
    threads: 1
    resources:
        gpu=GPU,
    params:
        folder=subpath(output.set, parent=True),
    shell:
        "python workflow/run_stage.py distill@{wildcards.dataset}-ipc{wildcards.ipc}-{wildcards.method}-seed{wildcards.seed} --"
        " ncfm distill --params {input.params} --data results/{wildcards.campaign}/datasets/{wildcards.dataset}"
        " --extractors {input.extractors} --ipc {wildcards.ipc} --method {wildcards.method} --seed {wildcards.seed}"
        " --out {params.folder} > {log} 2>&1"
