rule curate:
    input:
        params="results/{campaign}/params/curate/{dataset}/ipc{ipc}/{method}.json",
        train="results/{campaign}/datasets/{dataset}/train.safetensors",
        extractors=extractors_of,
        source=lambda wildcards: "results/{campaign}/sets/{dataset}/ipc{ipc}/%s/seed{seed}/distilled.safetensors"
        % source_of(wildcards),
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
        "results/{campaign}/logs/curate/{dataset}-ipc{ipc}-{method}-seed{seed}.log",
    wildcard_constraints:
        method=methods_of("curate"),
    threads: 1
    resources:
        gpu=GPU,
    params:
        folder=subpath(output.set, parent=True),
    shell:
        "python workflow/run_stage.py curate@{wildcards.dataset}-ipc{wildcards.ipc}-{wildcards.method}-seed{wildcards.seed} --"
        " ncfm curate --params {input.params} --data results/{wildcards.campaign}/datasets/{wildcards.dataset}"
        " --extractors {input.extractors} --set {input.source} --method {wildcards.method} --out {params.folder} > {log} 2>&1"
